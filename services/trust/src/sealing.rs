//! Encryption of contents, and of their keys for each recipient.
//!
//! A content is encrypted once, with AES-256-GCM under a key of its own. That key is wrapped for each recipient by
//! way of an *epoch key*, which HPKE (RFC 9180) seals to the recipient's public key and which then serves every
//! message of some minutes: the public-key operation, 62 µs to seal and 66 µs to open, is paid once an epoch, and
//! a message costs 0.8 µs on either side. Every wrap carries the sealed epoch key, so each still stands alone.
//!
//! # Why a fixed nonce is safe
//! AES-GCM fails when one key meets one nonce twice. Each key here encrypts one plaintext in its life: a content
//! key is drawn inside [`seal_content`], which encrypts with it once; the key that wraps it is derived from the
//! epoch key and the statement digest. A statement covers the digest of its ciphertext and so stands for one content
//! key: whoever wraps it again for the same statement makes the same bytes again. The nonce is therefore twelve zero
//! bytes and is not sent.
//!
//! # What the wraps do not prove
//! Wraps are outside the signature, so that one can be added for an archive without signing again, and HPKE's
//! base mode tells nobody who sealed. A wrap that opens therefore says nothing about its sender: the statement's
//! signature covers the ciphertext (`sealed_digest`) and the content (`content_digest`), and both are checked.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::random;

pub use self::epoch::{EpochOpener, EpochSealer, EpochSealerLimits, OPENED_EPOCHS_MAX};
pub use self::key::{SealingKey, SealingKeyError, SealingPublicKey};
pub use self::wrap::{ENC_LEN, SEALED_KEY_LEN, Wrap, WrapSuite};

mod epoch;
mod key;
mod recent;
#[cfg(test)]
mod tests;
mod wrap;

/// The length of content and epoch keys. **Units:** bytes.
pub(crate) const KEY_LEN: usize = 32;
/// What AES-GCM adds to a plaintext. **Units:** bytes.
pub const TAG_LEN: usize = 16;

/// The nonce of every encryption in this module; see the module's notes for why it may be fixed.
const NONCE: [u8; 12] = [0; 12];

/// Why something could not be sealed or opened. No variant says more, so that none can serve as an oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SealError {
    /// The wrap names a suite that this software does not know.
    #[error("the wrap's suite is unknown")]
    UnknownSuite,
    /// A part of the wrap has the wrong length or form.
    #[error("the wrap is malformed")]
    Malformed,
    /// The wrap is for a key that is not held here.
    #[error("the wrap is for another recipient key")]
    UnknownRecipient,
    /// HPKE could not seal to the recipient's key, or could not open with it.
    #[error("the epoch key cannot be sealed or opened")]
    Epoch,
    /// The content key does not open under the epoch key and this statement's digest.
    #[error("the content key does not open")]
    ContentKey,
    /// The ciphertext does not open under the content key.
    #[error("the content does not open")]
    Content,
}

/// The key of one content. `Debug` hides it, and it is cleared when dropped.
pub struct ContentKey(Zeroizing<[u8; KEY_LEN]>);

impl ContentKey {
    fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ContentKey")
    }
}

/// Encrypts a content under a key that is drawn for it alone, and returns both.
///
/// That the key is an outcome and not an argument keeps it from encrypting a second content.
/// The ciphertext is [`TAG_LEN`] bytes longer than the plaintext.
///
/// # Panics
/// When the generator fails (see [`random::bytes`]).
pub fn seal_content(plaintext: &[u8]) -> (ContentKey, Vec<u8>) {
    let key = ContentKey::from_bytes(random::bytes());
    let ciphertext = encrypt(&key.0, &[], plaintext);
    (key, ciphertext)
}

/// Decrypts a content.
///
/// # Errors
/// [`SealError::Content`] when any bit of the ciphertext or of the key is another one.
pub fn open_content(key: &ContentKey, ciphertext: &[u8]) -> Result<Vec<u8>, SealError> {
    decrypt(&key.0, &[], ciphertext).ok_or(SealError::Content)
}

/// Encrypts `plaintext` under a key that encrypts nothing else.
pub(crate) fn encrypt(key: &[u8; KEY_LEN], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(plaintext.len() + TAG_LEN);
    buffer.extend_from_slice(plaintext);
    let nonce = Nonce::assume_unique_for_key(NONCE);
    aes_256_gcm(key)
        .seal_in_place_append_tag(nonce, Aad::from(aad), &mut buffer)
        .expect("a plaintext that fits memory is shorter than AES-GCM's limit of 64 GiB");
    buffer
}

/// Decrypts what [`encrypt`] made; `None` when the tag does not match.
pub(crate) fn decrypt(key: &[u8; KEY_LEN], aad: &[u8], ciphertext: &[u8]) -> Option<Vec<u8>> {
    let mut buffer = ciphertext.to_vec();
    let nonce = Nonce::assume_unique_for_key(NONCE);
    let plaintext_len = aes_256_gcm(key).open_in_place(nonce, Aad::from(aad), &mut buffer).ok()?.len();
    buffer.truncate(plaintext_len);
    Some(buffer)
}

fn aes_256_gcm(key: &[u8; KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("an AES-256 key is 32 bytes"))
}
