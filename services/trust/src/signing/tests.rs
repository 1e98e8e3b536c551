//! Signatures: what verifies, and everything near it that must not.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use proptest::prelude::*;

use super::*;
use crate::test_openssl::{Openssl, pae};

fn p256() -> Signer {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    Signer::from_pkcs8_der(pkcs8.as_ref()).unwrap()
}

fn ed25519() -> Signer {
    Signer::from_pkcs8_der(Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap().as_ref()).unwrap()
}

#[test]
fn what_a_key_signs_it_verifies() {
    for signer in [p256(), ed25519()] {
        let key = signer.verifying_key();
        assert_eq!((key.key_id(), key.algorithm()), (signer.key_id(), signer.algorithm()));
        assert_eq!(key.key_id(), KeyId::of_spki(signer.public_spki_der()));
        let signature = signer.sign(b"message");
        assert_eq!(key.verify(b"message", &signature), Ok(()));
        assert_eq!(key.verify(b"massage", &signature), Err(SignatureError::Mismatch));
    }
}

#[test]
fn a_key_does_not_verify_for_another() {
    let signature = p256().sign(b"message");
    assert_eq!(p256().verifying_key().verify(b"message", &signature), Err(SignatureError::Mismatch));
    assert_eq!(ed25519().verifying_key().verify(b"message", &signature), Err(SignatureError::Encoding));
}

/// aws-lc leaves s high in half of its signatures: of 64, one at least would be (but for a chance of 2⁻⁶⁴).
#[test]
fn the_signer_keeps_s_low() {
    let signer = p256();
    for round in 0..64_u8 {
        let signature = signer.sign(&[round]);
        assert_eq!(ecdsa::check_canonical(&signature), Ok(()));
        assert_eq!(signer.verifying_key().verify(&[round], &signature), Ok(()));
    }
}

#[test]
fn the_high_s_twin_is_refused() {
    let signer = p256();
    let (r, s) = ecdsa::decode(&signer.sign(b"message")).unwrap();
    let twin = ecdsa::encode(&r, &ecdsa::negate(&s));
    let lenient = ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, signer.public_spki_der()).unwrap();
    assert!(lenient.verify_sig(b"message", &twin).is_ok(), "the twin must be a signature to prove anything");
    assert_eq!(signer.verifying_key().verify(b"message", &twin), Err(SignatureError::HighS));
}

#[test]
fn a_second_der_spelling_is_refused() {
    let signer = p256();
    let der = signer.sign(b"message");
    let (r_len, body) = (usize::from(der[3]), &der[2..]);
    let (r, s) = (&der[4..4 + r_len], &der[6 + r_len..]);
    let sequence = |r: &[u8], s: &[u8]| {
        let integer = |value: &[u8]| [&[2, u8::try_from(value.len()).unwrap()], value].concat();
        let content = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(content.len()).unwrap()][..], &content].concat()
    };
    assert_eq!(sequence(r, s), der);
    let negative = |value: &[u8]| value.strip_prefix(&[0]).map_or(vec![0xff; 32], <[u8]>::to_vec);
    let spellings = [
        [&der[..], &[0]].concat(),
        sequence(&[&[0], r].concat(), s),
        sequence(r, &[&[0], s].concat()),
        sequence(&negative(r), s),
        sequence(&[], s),
        sequence(r, &[]),
        [&[0x30, 0x81, der[1]], body].concat(),
        [&[0x30, 0x80], body, &[0, 0]].concat(),
        [&[0x30, der[1] + 1], body, &[0]].concat(),
        [&[0x30, der[1] + 1, 2, 0x81], &der[3..]].concat(),
        der[..der.len() - 1].to_vec(),
        Vec::new(),
    ];
    for spelling in spellings {
        assert_eq!(signer.verifying_key().verify(b"message", &spelling), Err(SignatureError::Encoding));
    }
}

#[test]
fn an_ed25519_signature_has_one_encoding() {
    let signer = ed25519();
    let signature = signer.sign(b"message");
    let mut twin = signature.clone();
    let mut carry = 0_u16;
    for (byte, order) in twin[32..].iter_mut().zip(ed25519::ORDER) {
        carry += u16::from(*byte) + u16::from(order);
        *byte = u8::try_from(carry & 0xff).unwrap();
        carry >>= 8;
    }
    let key = signer.verifying_key();
    for bytes in [&twin[..], &signature[..63], &[&signature[..], &[0]].concat(), &[]] {
        assert_eq!(key.verify(b"message", bytes), Err(SignatureError::Encoding));
    }
}

#[test]
fn keys_that_are_no_safe_point_are_refused() {
    let mut off_curve = [1; 65];
    off_curve[0] = 4;
    let off_curve = PublicKey::P256(&off_curve).to_der();
    assert_eq!(VerifyingKey::from_spki_der(&off_curve).unwrap_err(), SpkiError::Point);
    let identity = std::array::from_fn(|index| u8::from(index == 0));
    let identity_negative =
        std::array::from_fn(|index| [u8::from(index == 0), 0x80][usize::from(index == 31)]);
    let not_reduced = std::array::from_fn(|index| if index == 0 { 0xee } else { 0xff });
    for key in [[0; 32], identity, identity_negative, not_reduced] {
        let der = PublicKey::Ed25519(&key).to_der();
        assert_eq!(VerifyingKey::from_spki_der(&der).unwrap_err(), SpkiError::Point);
    }
}

#[test]
fn other_private_keys_are_refused() {
    for bytes in [&[][..], &[0x30, 0], &[0x30; 200]] {
        assert!(matches!(Signer::from_pkcs8_der(bytes), Err(SigningKeyError::Unsupported)));
    }
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, &SystemRandom::new()).unwrap();
    assert!(matches!(Signer::from_pkcs8_der(pkcs8.as_ref()), Err(SigningKeyError::Unsupported)));
}

#[test]
fn debug_shows_the_key_id_only() {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let signer = Signer::from_pkcs8_der(pkcs8.as_ref()).unwrap();
    assert_eq!(format!("{signer:?}"), format!("Signer({})", signer.key_id()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_flipped_bit_of_a_signature_is_refused(message in proptest::collection::vec(any::<u8>(), 0..64)) {
        for signer in [p256(), ed25519()] {
            let (key, signature) = (signer.verifying_key(), signer.sign(&message));
            for bit in 0..signature.len() * 8 {
                let mut flipped = signature.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(key.verify(&message, &flipped).is_err(), "bit {} was not covered", bit);
            }
        }
    }

}

proptest! {
    #[test]
    fn a_der_pair_decodes_to_what_was_encoded(r in any::<[u8; 32]>(), s in any::<[u8; 32]>()) {
        prop_assert_eq!(ecdsa::decode(&ecdsa::encode(&r, &s)), Some((r, s)));
    }

    #[test]
    fn what_decodes_is_the_only_encoding(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Some((r, s)) = ecdsa::decode(&bytes) {
            prop_assert_eq!(ecdsa::encode(&r, &s), bytes);
        }
    }
}

/// The oracle of FORMATS: a signature over a DSSE pre-authentication encoding verifies by OpenSSL alone.
#[test]
fn openssl_verifies_what_we_sign() {
    let Some(openssl) = Openssl::find("openssl_verifies_what_we_sign") else { return };
    let message = pae("application/vnd.kopuro.statement.v1+protobuf", b"\x08\x01statement");
    let p256 = p256();
    openssl.accepts_p256(&message, &p256.sign(&message), p256.public_spki_der());
    let ed25519 = ed25519();
    openssl.accepts_ed25519(&message, &ed25519.sign(&message), ed25519.public_spki_der());
}

/// The reverse: keys made and messages signed by OpenSSL are taken, once s is low.
#[test]
fn openssl_keys_sign_here() {
    let Some(openssl) = Openssl::find("openssl_keys_sign_here") else { return };
    for arguments in
        [&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..], &["-algorithm", "ED25519"]]
    {
        let signer = Signer::from_pem_file(&openssl.genpkey(arguments)).unwrap();
        assert_eq!(signer.verifying_key().verify(b"message", &signer.sign(b"message")), Ok(()));
    }
}
