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

#[cfg(test)]
mod tests;

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
