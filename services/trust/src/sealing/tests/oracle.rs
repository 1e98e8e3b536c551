//! The crate `hpke`, an implementation of RFC 9180 that shares no code with ours, seals for us and opens what we sealed.
//! HKDF-Expand is written out by hand, from RFC 5869 and RFC 2104.

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::DhP256HkdfSha256;
use hpke::{
    Deserializable as _, Kem, OpModeR, OpModeS, Serializable as _, single_shot_open, single_shot_seal,
};
use sha2::{Digest as _, Sha256};

use super::*;

type Private = <DhP256HkdfSha256 as Kem>::PrivateKey;
type Public = <DhP256HkdfSha256 as Kem>::PublicKey;
type Encapped = <DhP256HkdfSha256 as Kem>::EncappedKey;

#[test]
fn the_hpke_crate_opens_what_we_seal() {
    let key = sealing_key();
    let digest = Digest::of(b"statement");
    let (content_key, ciphertext) = seal_content(b"content");
    let wrap = sealer().wrap(NOW, key.public(), &content_key, &digest).unwrap();

    let private = Private::from_bytes(key.as_hpke().secret_bytes()).unwrap();
    let enc = Encapped::from_bytes(&wrap.enc).unwrap();
    let epoch_key = single_shot_open::<AesGcm256, HkdfSha256, DhP256HkdfSha256>(
        &OpModeR::Base,
        &private,
        &enc,
        &info(&key),
        &wrap.sealed_epoch_key,
        &[],
    );
    let message_key = hkdf_expand(&epoch_key.unwrap(), &[&b"kopuro/wrap/v1"[..], digest.as_bytes()].concat());
    let opened = decrypt(&message_key, &[], &wrap.wrapped_content_key).unwrap();
    let opened = ContentKey::from_bytes(opened.try_into().unwrap());
    assert_eq!(open_content(&opened, &ciphertext).unwrap(), b"content");
}

#[test]
fn we_open_what_the_hpke_crate_seals() {
    let key = sealing_key();
    let digest = Digest::of(b"statement");
    let (content_key, ciphertext) = seal_content(b"content");

    let spki = key.public().to_spki_der();
    let public = Public::from_bytes(&spki[spki.len() - 65..]).unwrap();
    let (enc, sealed_epoch_key) = single_shot_seal::<AesGcm256, HkdfSha256, DhP256HkdfSha256, _>(
        &OpModeS::Base,
        &public,
        &info(&key),
        &[5; 32],
        &[],
        &mut rand::rng(),
    )
    .unwrap();
    let message_key = hkdf_expand(&[5; 32], &[&b"kopuro/wrap/v1"[..], digest.as_bytes()].concat());
    let wrapped = encrypt(&message_key, &[], content_key.0.as_slice());

    let id = key.key_id();
    let wrap = Wrap::from_wire(1, id.as_bytes(), &enc.to_bytes(), &sealed_epoch_key, &wrapped).unwrap();
    let opened = EpochOpener::new([key], 1).unwrap(&wrap, &digest).unwrap();
    assert_eq!(open_content(&opened, &ciphertext).unwrap(), b"content");
}

fn info(key: &SealingKey) -> Vec<u8> {
    [&b"kopuro/epoch/v1"[..], key.key_id().as_bytes()].concat()
}

/// The first block of HKDF-Expand: HMAC(prk, info ‖ 01).
fn hkdf_expand(prk: &[u8], info: &[u8]) -> [u8; 32] {
    hmac(prk, &[info, &[1]].concat())
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let pad = |fill: u8| {
        let mut block = [fill; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
