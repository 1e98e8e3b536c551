//! The symmetric secret that the replicas of one member share, and what is derived from it.
//!
//! Each purpose has its own key, expanded from the secret under its own label, so that a value made for one
//! purpose means nothing to another. Values made of several parts are length-prefixed, so that no two lists of
//! parts have the same bytes.

use std::fmt;
use std::path::Path;

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use kopuro_core::digest::{DIGEST_LEN, Digest};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::key_file::{self, KeyFileError};
use crate::random;
use crate::sealing::{self, KEY_LEN, TAG_LEN};

/// The length of a member secret. **Units:** bytes.
pub const MEMBER_SECRET_LEN: usize = 32;
/// How much longer a plaintext gets when sealed at rest. **Units:** bytes.
pub const AT_REST_OVERHEAD: usize = AT_REST_SALT_LEN + TAG_LEN;

const AT_REST_SALT_LEN: usize = 32;

const EXTRACT_SALT: &[u8] = b"kopuro/member-secret/v1";
const FINGERPRINT_LABEL: &[u8] = b"kopuro/fingerprint/v1";
const ORDERING_LABEL: &[u8] = b"kopuro/ordering-key/v1";
const MAC_LABEL: &[u8] = b"kopuro/mac/v1";
const AT_REST_LABEL: &[u8] = b"kopuro/at-rest/v1";

/// Why a member secret could not be loaded, or why what it protects was refused.
#[derive(Debug, Error)]
pub enum MemberSecretError {
    /// The secret's file could not be read; the operator must act.
    #[error("the member secret file was refused")]
    File(#[source] KeyFileError),
    /// The file does not hold exactly 32 bytes; the operator must act.
    #[error("the member secret is not {MEMBER_SECRET_LEN} bytes")]
    Length,
    /// A MAC does not match: the bytes were not written by a replica of this member, or were changed.
    #[error("the mac does not match")]
    Mac,
    /// A sealed value does not open: it is of another member or another context, or was changed.
    #[error("the sealed value does not open")]
    AtRest,
}

/// The secret of one member, in the forms that its purposes need. `Debug` shows nothing of it.
pub struct MemberSecret {
    fingerprint: hmac::Key,
    ordering: hmac::Key,
    mac: hmac::Key,
    at_rest: Prk,
}

impl MemberSecret {
    /// Reads the secret from a file of exactly 32 bytes that only its owner can read.
    ///
    /// # Errors
    /// [`MemberSecretError::File`] or [`MemberSecretError::Length`].
    pub fn from_file(path: &Path) -> Result<Self, MemberSecretError> {
        let bytes = key_file::read_secret(path).map_err(MemberSecretError::File)?;
        let bytes: &[u8; MEMBER_SECRET_LEN] =
            bytes.as_slice().try_into().map_err(|_| MemberSecretError::Length)?;
        Ok(Self::new(bytes))
    }

    /// Takes the secret's bytes, which must be random: anybody who guesses them can undo all that is built on them.
    pub fn new(bytes: &[u8; MEMBER_SECRET_LEN]) -> Self {
        let root = Salt::new(HKDF_SHA256, EXTRACT_SALT).extract(bytes);
        let hmac_key = |label| hmac::Key::new(HMAC_SHA256, expand(&root, &[label]).as_slice());
        Self {
            fingerprint: hmac_key(FINGERPRINT_LABEL),
            ordering: hmac_key(ORDERING_LABEL),
            mac: hmac_key(MAC_LABEL),
            at_rest: Prk::new_less_safe(HKDF_SHA256, expand(&root, &[AT_REST_LABEL]).as_slice()),
        }
    }

    /// The fingerprint of `parts` as a list, by which a retry is found to be the same request. Without the secret
    /// it tells nothing about the parts, however few values they may have.
    pub fn fingerprint(&self, parts: &[&[u8]]) -> Digest {
        Digest::from_bytes(hmac_of_list(&self.fingerprint, parts))
    }

    /// The ordering key that stands in a statement for the caller's `text`, which may be a personal number.
    pub fn ordering_key(&self, text: &str) -> [u8; DIGEST_LEN] {
        hmac_of_list(&self.ordering, &[text.as_bytes()])
    }

    /// The MAC of `bytes` in the meaning that `context` gives them.
    pub fn mac(&self, context: &str, bytes: &[u8]) -> [u8; DIGEST_LEN] {
        hmac_of_list(&self.mac, &[context.as_bytes(), bytes])
    }

    /// Verifies a MAC, in a time that does not depend on where it differs.
    ///
    /// # Errors
    /// [`MemberSecretError::Mac`].
    pub fn verify_mac(&self, context: &str, bytes: &[u8], mac: &[u8]) -> Result<(), MemberSecretError> {
        let expected = self.mac(context, bytes);
        aws_lc_rs::constant_time::verify_slices_are_equal(&expected, mac).map_err(|_| MemberSecretError::Mac)
    }

    /// Encrypts `plaintext` for this member alone, bound to the public context `aad`.
    ///
    /// Each value is encrypted under a key of its own, expanded from 32 random bytes that are stored before the
    /// ciphertext. Random 96-bit nonces under one key would reach AES-GCM's limit of 2³² messages (NIST SP 800-38D,
    /// section 8.3) within two months at 1,000 messages a second; this has no limit that a bus can reach.
    pub fn seal_at_rest(&self, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let salt = random::bytes::<AT_REST_SALT_LEN>();
        let mut sealed = Vec::with_capacity(plaintext.len() + AT_REST_OVERHEAD);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(&sealing::encrypt(&expand(&self.at_rest, &[&salt]), aad, plaintext));
        sealed
    }

    /// Decrypts what [`Self::seal_at_rest`] made with the same `aad`.
    ///
    /// # Errors
    /// [`MemberSecretError::AtRest`].
    pub fn open_at_rest(&self, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, MemberSecretError> {
        let (salt, ciphertext) =
            sealed.split_at_checked(AT_REST_SALT_LEN).ok_or(MemberSecretError::AtRest)?;
        sealing::decrypt(&expand(&self.at_rest, &[salt]), aad, ciphertext).ok_or(MemberSecretError::AtRest)
    }
}

impl fmt::Debug for MemberSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MemberSecret")
    }
}

fn expand(prk: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; KEY_LEN]> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    let okm = prk.expand(info, HKDF_SHA256).expect("HKDF-SHA256 expands to 32 bytes");
    okm.fill(key.as_mut_slice()).expect("the buffer is as long as was asked for");
    key
}

/// HMAC over each part preceded by its length as eight bytes, most significant first.
fn hmac_of_list(key: &hmac::Key, parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("HMAC-SHA256 is 32 bytes")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(byte: u8) -> MemberSecret {
        MemberSecret::new(&[byte; MEMBER_SECRET_LEN])
    }

    #[test]
    fn replicas_with_one_secret_agree() {
        let (one, two) = (secret(1), secret(1));
        assert_eq!(one.fingerprint(&[b"a", b"b"]), two.fingerprint(&[b"a", b"b"]));
        assert_eq!(one.ordering_key("20101199500001"), two.ordering_key("20101199500001"));
        assert!(two.verify_mac("marker", b"bytes", &one.mac("marker", b"bytes")).is_ok());
        assert_eq!(two.open_at_rest(b"aad", &one.seal_at_rest(b"aad", b"outcome")).unwrap(), b"outcome");
    }

    #[test]
    fn secrets_and_purposes_are_apart() {
        let (one, two) = (secret(1), secret(2));
        let values = |secret: &MemberSecret| {
            [*secret.fingerprint(&[b"text"]).as_bytes(), secret.ordering_key("text"), secret.mac("", b"text")]
        };
        let all = [values(&one), values(&two)].concat();
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert!(two.open_at_rest(b"", &one.seal_at_rest(b"", b"outcome")).is_err());
    }

    #[test]
    fn a_list_is_not_its_concatenation() {
        let secret = secret(1);
        let lists: [&[&[u8]]; 5] =
            [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"abc", b""], &[b"", b"abc"]];
        let distinct: std::collections::HashSet<_> = lists.map(|parts| secret.fingerprint(parts)).into();
        assert_eq!(distinct.len(), lists.len());
        assert_ne!(secret.mac("marker", b"x"), secret.mac("marke", b"rx"));
    }

    /// Fixed values, so that an upgrade cannot silently change what replicas and stored records agree on.
    /// **Source:** Python's `hmac` and RFC 5869 written out.
    #[test]
    fn derived_values_are_what_they_were() {
        let secret = MemberSecret::new(&std::array::from_fn(|index| u8::try_from(index).unwrap()));
        let values = [
            secret.fingerprint(&[b"service", b"method"]),
            Digest::from_bytes(secret.ordering_key("text")),
            Digest::from_bytes(secret.mac("marker", b"bytes")),
        ];
        assert_eq!(values.map(|value| value.to_string()), EXPECTED);
    }

    const EXPECTED: [&str; 3] = [
        "4f8df9b6efe7cacd371b51dc4bca5ac34b553f54ec7bc3c8fa004c05b8a2303a",
        "cdf3d10b7584adebc1a2ea7102961f83e415053acd26baccda18501268547f5a",
        "ed87432a84996673273c02abcb751231ceccea4dbb3d6a18a8c0064612647d77",
    ];

    #[test]
    fn equal_plaintexts_are_sealed_unequally() {
        let secret = secret(1);
        assert_ne!(secret.seal_at_rest(b"", b"outcome"), secret.seal_at_rest(b"", b"outcome"));
        assert_eq!(secret.seal_at_rest(b"", b"outcome").len(), 7 + AT_REST_OVERHEAD);
        assert!(secret.open_at_rest(b"", &[0; 31]).is_err());
        assert_eq!(format!("{secret:?}"), "MemberSecret");
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_file_holds_32_bytes() {
        let folder = tempfile::tempdir().unwrap();
        for (len, good) in [(31, false), (32, true), (33, false)] {
            let path = folder.path().join(len.to_string());
            key_file::write_secret(&path, &vec![7; len]).unwrap();
            assert_eq!(MemberSecret::from_file(&path).is_ok(), good);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

        #[test]
        fn every_flipped_bit_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            let secret = secret(1);
            let (mac, sealed) = (secret.mac("marker", &bytes), secret.seal_at_rest(b"aad", &bytes));
            prop_assert!(secret.open_at_rest(b"add", &sealed).is_err());
            prop_assert!(secret.verify_mac("marker", &bytes, &mac[..31]).is_err());
            for bit in 0..mac.len() * 8 {
                let mut flipped = mac;
                flipped[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(secret.verify_mac("marker", &bytes, &flipped).is_err());
            }
            for bit in 0..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(secret.open_at_rest(b"aad", &flipped).is_err());
            }
        }
    }
}
