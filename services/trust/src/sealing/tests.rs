//! Sealing: what opens, and everything near it that must not.

use std::time::Duration;

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use kopuro_core::digest::Digest;
use kopuro_core::time::UnixMillis;
use proptest::prelude::*;

use super::*;
use crate::test_openssl::Openssl;

mod oracle;

const NOW: UnixMillis = UnixMillis::new(1_795_000_000_000);

fn sealing_key() -> SealingKey {
    let pair = PrivateKey::generate(&ECDH_P256).unwrap();
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().unwrap();
    SealingKey::from_pkcs8_der(pkcs8.as_ref()).unwrap()
}

/// A recipient, and the public key that the registry would hold for it.
fn recipient() -> (EpochOpener, SealingPublicKey) {
    let key = sealing_key();
    let public = SealingPublicKey::from_spki_der(&key.public().to_spki_der()).unwrap();
    assert_eq!(public.key_id(), key.key_id());
    (EpochOpener::new([key], OPENED_EPOCHS_MAX), public)
}

fn sealer() -> EpochSealer {
    EpochSealer::new(EpochSealerLimits::default())
}

fn epoch_of(wrap: &Wrap) -> ([u8; ENC_LEN], [u8; SEALED_KEY_LEN]) {
    (wrap.enc, wrap.sealed_epoch_key)
}

#[test]
fn a_content_reaches_its_recipient() {
    let (opener, public) = recipient();
    let (sealer, digest) = (sealer(), Digest::of(b"statement"));
    for plaintext in [&b""[..], b"pension of somebody", &[7; 70_000]] {
        let (key, ciphertext) = seal_content(plaintext);
        assert_eq!(ciphertext.len(), plaintext.len() + TAG_LEN);
        let wrap = sealer.wrap(NOW, &public, &key, &digest).unwrap();
        let opened = opener.unwrap(&wrap, &digest).unwrap();
        assert_eq!(open_content(&opened, &ciphertext).unwrap(), plaintext);
    }
}

#[test]
fn equal_contents_are_sealed_unequally() {
    let ((_, first), (_, second)) = (seal_content(b"content"), seal_content(b"content"));
    assert_ne!(first, second);
}

#[test]
fn an_epoch_serves_messages_until_it_ends() {
    let (opener, public) = recipient();
    let limits = EpochSealerLimits { age_max: Duration::from_secs(60), messages_max: 3, recipients_max: 8 };
    let sealer = EpochSealer::new(limits);
    let (key, _) = seal_content(b"content");
    let digest = Digest::of(b"statement");
    let wrap_at = |now: UnixMillis| {
        let wrap = sealer.wrap(now, &public, &key, &digest).unwrap();
        opener.unwrap(&wrap, &digest).unwrap();
        epoch_of(&wrap)
    };
    let first = wrap_at(NOW);
    assert_eq!(wrap_at(NOW.plus(Duration::from_millis(59_999))), first);
    let second = wrap_at(NOW.plus(Duration::from_millis(60_000)));
    assert_ne!(second, first, "an epoch ends with its age");
    let third = wrap_at(NOW);
    assert_ne!(third, second, "an epoch ends when the clock is set back");
    assert_eq!([wrap_at(NOW), wrap_at(NOW)], [third, third]);
    assert_ne!(wrap_at(NOW), third, "an epoch ends with its count of messages");
    assert_eq!(opener.epochs_len(), 4);
}

#[test]
fn the_sealer_keeps_a_bounded_number_of_epochs() {
    let sealer = EpochSealer::new(EpochSealerLimits { recipients_max: 2, ..EpochSealerLimits::default() });
    let (key, _) = seal_content(b"content");
    let recipients: Vec<_> = (0..3).map(|_| recipient().1).collect();
    let wrap = |index: usize| {
        epoch_of(&sealer.wrap(NOW, &recipients[index], &key, &Digest::of(b"statement")).unwrap())
    };
    let epochs = [wrap(0), wrap(1), wrap(2)];
    assert_eq!([wrap(1), wrap(2)], [epochs[1], epochs[2]]);
    assert_ne!(wrap(0), epochs[0]);
}

#[test]
fn the_opener_keeps_a_bounded_number_of_epochs() {
    let key = sealing_key();
    let public = key.public().clone();
    let opener = EpochOpener::new([key], 2);
    for _ in 0..5 {
        let (key, _) = seal_content(b"content");
        let wrap = sealer().wrap(NOW, &public, &key, &Digest::of(b"statement")).unwrap();
        opener.unwrap(&wrap, &Digest::of(b"statement")).unwrap();
    }
    assert_eq!(opener.epochs_len(), 2);
}

#[test]
fn threads_share_a_sealer() {
    let (opener, public) = recipient();
    let sealer = EpochSealer::new(EpochSealerLimits { messages_max: 10, ..EpochSealerLimits::default() });
    std::thread::scope(|scope| {
        for thread in 0..4_u8 {
            let (sealer, opener, public) = (&sealer, &opener, &public);
            scope.spawn(move || {
                for round in 0..50_u8 {
                    let (key, ciphertext) = seal_content(&[thread, round]);
                    let digest = Digest::of(&[thread, round]);
                    let wrap = sealer.wrap(NOW, public, &key, &digest).unwrap();
                    let opened = opener.unwrap(&wrap, &digest).unwrap();
                    assert_eq!(open_content(&opened, &ciphertext).unwrap(), [thread, round]);
                }
            });
        }
    });
}

#[test]
fn a_wrap_opens_for_its_statement_and_recipient_only() {
    let ((opener, public), (other, _)) = (recipient(), recipient());
    let (key, _) = seal_content(b"content");
    let digest = Digest::of(b"statement");
    let wrap = sealer().wrap(NOW, &public, &key, &digest).unwrap();
    assert!(opener.holds(&public.key_id()) && !other.holds(&public.key_id()));
    assert_eq!(opener.unwrap(&wrap, &Digest::of(b"another")).unwrap_err(), SealError::ContentKey);
    assert_eq!(other.unwrap(&wrap, &digest).unwrap_err(), SealError::UnknownRecipient);
}

/// A recipient key id is bound by HPKE's `info`: a wrap cannot be turned to another key of the same holder.
#[test]
fn a_wrap_is_bound_to_its_recipient_key() {
    let keys = [sealing_key(), sealing_key()];
    let (first, second) = (keys[0].public().clone(), keys[1].key_id());
    let opener = EpochOpener::new(keys, OPENED_EPOCHS_MAX);
    let (key, _) = seal_content(b"content");
    let digest = Digest::of(b"statement");
    let wrap = sealer().wrap(NOW, &first, &key, &digest).unwrap();
    let turned = Wrap { recipient_key_id: second, ..wrap };
    assert_eq!(opener.unwrap(&turned, &digest).unwrap_err(), SealError::Epoch);
}

#[test]
fn a_wrap_from_the_wire_has_fixed_lengths_and_a_known_suite() {
    let (_, public) = recipient();
    let (key, _) = seal_content(b"content");
    let wrap = sealer().wrap(NOW, &public, &key, &Digest::of(b"statement")).unwrap();
    let Wrap { suite, recipient_key_id, enc, sealed_epoch_key, wrapped_content_key } = wrap.clone();
    let read =
        |suite, id: &[u8], enc: &[u8], epoch: &[u8], key: &[u8]| Wrap::from_wire(suite, id, enc, epoch, key);
    let (id, enc, epoch, key) =
        (&recipient_key_id.as_bytes()[..], &enc[..], &sealed_epoch_key[..], &wrapped_content_key[..]);
    assert_eq!(read(suite.to_wire(), id, enc, epoch, key), Ok(wrap));
    for suite in [0, 2, -1, i32::MAX] {
        assert_eq!(read(suite, id, enc, epoch, key), Err(SealError::UnknownSuite));
    }
    let hybrid = [&[6 + (enc[64] & 1)], &enc[1..]].concat();
    let long = [epoch, &[0]].concat();
    for (id, enc, epoch, key) in [
        (&id[1..], enc, epoch, key),
        (id, &enc[..33], epoch, key),
        (id, &hybrid, epoch, key),
        (id, enc, &long, key),
        (id, enc, epoch, &key[..47]),
    ] {
        assert_eq!(read(1, id, enc, epoch, key), Err(SealError::Malformed));
    }
}

#[test]
fn only_p256_keys_seal() {
    let ed25519 = crate::spki::PublicKey::Ed25519(&[9; 32]).to_der();
    assert!(SealingPublicKey::from_spki_der(&ed25519).is_err());
    let mut off_curve = [1; 65];
    off_curve[0] = 4;
    let off_curve = crate::spki::PublicKey::P256(&off_curve).to_der();
    assert!(SealingPublicKey::from_spki_der(&off_curve).is_err());
    assert!(matches!(SealingKey::from_pkcs8_der(&[0x30, 0]), Err(SealingKeyError::Unsupported)));
}

#[test]
fn openssl_keys_open_here() {
    let Some(openssl) = Openssl::find("openssl_keys_open_here") else { return };
    let path = openssl.genpkey(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let key = SealingKey::from_pem_file(&path).unwrap();
    let public = key.public().clone();
    let (content_key, ciphertext) = seal_content(b"content");
    let digest = Digest::of(b"statement");
    let wrap = sealer().wrap(NOW, &public, &content_key, &digest).unwrap();
    let opened = EpochOpener::new([key], 1).unwrap(&wrap, &digest).unwrap();
    assert_eq!(open_content(&opened, &ciphertext).unwrap(), b"content");
}

#[test]
fn debug_shows_no_secret() {
    let (key, _) = seal_content(b"content");
    assert_eq!(format!("{key:?}"), "ContentKey");
    let sealing = sealing_key();
    assert_eq!(format!("{sealing:?}"), format!("SealingKey({})", sealing.key_id()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn every_flipped_bit_of_a_wrap_or_content_is_refused(plaintext in proptest::collection::vec(any::<u8>(), 0..64)) {
        let (opener, public) = recipient();
        let digest = Digest::of(&plaintext);
        let (key, ciphertext) = seal_content(&plaintext);
        let wrap = sealer().wrap(NOW, &public, &key, &digest).unwrap();
        let suite = wrap.suite.to_wire().to_be_bytes();
        let regions = [&suite[..], wrap.recipient_key_id.as_bytes(), &wrap.enc, &wrap.sealed_epoch_key,
            &wrap.wrapped_content_key, &ciphertext, digest.as_bytes()];
        prop_assert_eq!(open_regions(&opener, &regions.map(<[u8]>::to_vec)).unwrap(), plaintext);
        for region in 0..regions.len() {
            for bit in 0..regions[region].len() * 8 {
                let mut flipped = regions.map(<[u8]>::to_vec);
                flipped[region][bit / 8] ^= 1 << (bit % 8);
                prop_assert!(open_regions(&opener, &flipped).is_err(), "region {} bit {}", region, bit);
            }
        }
        prop_assert_eq!(opener.epochs_len(), 1);
    }
}

fn open_regions(opener: &EpochOpener, regions: &[Vec<u8>; 7]) -> Result<Vec<u8>, SealError> {
    let [suite, id, enc, epoch, key, ciphertext, digest] = regions;
    let suite = i32::from_be_bytes(suite.as_slice().try_into().unwrap());
    let wrap = Wrap::from_wire(suite, id, enc, epoch, key)?;
    open_content(&opener.unwrap(&wrap, &Digest::from_slice(digest).unwrap())?, ciphertext)
}
