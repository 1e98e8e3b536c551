//! Epoch keys: sealed once to a recipient's key, then used for the messages of some minutes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::time::UnixMillis;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke};
use zeroize::{Zeroize as _, Zeroizing};

use super::recent::Recent;
use super::wrap::{ENC_LEN, SEALED_KEY_LEN};
use super::{
    ContentKey, KEY_LEN, SealError, SealingKey, SealingPublicKey, Wrap, WrapSuite, decrypt, encrypt,
};
use crate::random;

/// What HPKE's `info` begins with; the recipient's key id follows, 32 bytes.
const EPOCH_LABEL: &[u8] = b"kopuro/epoch/v1";
/// What HKDF's `info` begins with; the statement digest follows, 32 bytes.
const WRAP_LABEL: &[u8] = b"kopuro/wrap/v1";

/// How many opened epochs a recipient may well remember: some 3 MiB.
pub const OPENED_EPOCHS_MAX: usize = 8_192;

/// How long an epoch lasts, and for how many recipients one is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochSealerLimits {
    /// The longest an epoch key serves. What a thief of the key can read is bounded by this.
    pub age_max: Duration,
    /// The most messages an epoch key serves.
    pub messages_max: u64,
    /// The most recipient keys for which an epoch is kept at a time; those unused for longest go first.
    pub recipients_max: usize,
}

impl Default for EpochSealerLimits {
    /// Five minutes, 2²⁰ messages, 4,096 recipient keys.
    fn default() -> Self {
        Self { age_max: Duration::from_secs(5 * 60), messages_max: 1 << 20, recipients_max: 4_096 }
    }
}

/// Wraps content keys for recipients. One serves a whole sender replica, from any number of threads: a message
/// within an epoch takes a shared lock for the length of one look-up.
///
/// Two threads that find an epoch ended at the same moment may both begin one; both are good.
pub struct EpochSealer {
    limits: EpochSealerLimits,
    epochs: Recent<KeyId, SealedEpoch>,
}

/// An epoch on the sender's side.
struct SealedEpoch {
    key: EpochKey,
    enc: [u8; ENC_LEN],
    sealed_epoch_key: [u8; SEALED_KEY_LEN],
    began_at: UnixMillis,
    messages: AtomicU64,
}

impl EpochSealer {
    /// Makes a sealer that has no epoch yet.
    pub fn new(limits: EpochSealerLimits) -> Self {
        Self { limits, epochs: Recent::new(limits.recipients_max) }
    }

    /// Wraps `content_key` for `recipient`, to be opened with the statement of that digest only.
    ///
    /// # Errors
    /// [`SealError::Epoch`] when HPKE cannot seal, which no recipient key that was taken should cause.
    pub fn wrap(
        &self,
        now: UnixMillis,
        recipient: &SealingPublicKey,
        content_key: &ContentKey,
        statement_digest: &Digest,
    ) -> Result<Wrap, SealError> {
        let epoch = match self.epochs.get(&recipient.key_id()) {
            Some(epoch) if epoch.admits(now, &self.limits) => epoch,
            Some(_) | None => self.begin(now, recipient)?,
        };
        Ok(Wrap {
            suite: WrapSuite::EpochP256Aes256Gcm,
            recipient_key_id: recipient.key_id(),
            enc: epoch.enc,
            sealed_epoch_key: epoch.sealed_epoch_key,
            wrapped_content_key: epoch.key.wrap(content_key, statement_digest),
        })
    }

    /// Begins an epoch whose first message is the caller's.
    fn begin(&self, now: UnixMillis, recipient: &SealingPublicKey) -> Result<Arc<SealedEpoch>, SealError> {
        let epoch = Arc::new(SealedEpoch::new(now, recipient)?);
        self.epochs.insert(recipient.key_id(), Arc::clone(&epoch));
        Ok(epoch)
    }
}

impl SealedEpoch {
    fn new(now: UnixMillis, recipient: &SealingPublicKey) -> Result<Self, SealError> {
        let secret = Zeroizing::new(random::bytes::<KEY_LEN>());
        let info = hpke_info(&recipient.key_id());
        let (enc, sealed) =
            hpke().seal(&info, &[], secret.as_slice(), recipient.as_hpke()).map_err(|_| SealError::Epoch)?;
        Ok(Self {
            key: EpochKey::new(&secret),
            enc: enc.0.try_into().map_err(|_| SealError::Epoch)?,
            sealed_epoch_key: sealed.try_into().map_err(|_| SealError::Epoch)?,
            began_at: now,
            messages: AtomicU64::new(1),
        })
    }

    /// Counts one more message in, unless the epoch has ended. A clock set back ends it too.
    fn admits(&self, now: UnixMillis, limits: &EpochSealerLimits) -> bool {
        now >= self.began_at
            && now.since(self.began_at) < limits.age_max
            && self.messages.fetch_add(1, Ordering::Relaxed) < limits.messages_max
    }
}

/// Unwraps content keys with the sealing keys held here, remembering opened epoch keys.
///
/// Which keys are held is fixed: on a change of keys the owner makes another opener. A wrap that does not open is
/// not remembered, so a forger can spend its recipient's time, 66 µs a wrap, but not its memory; verifying the
/// statement first leaves such time to whoever can change records, the broker.
pub struct EpochOpener {
    keys: HashMap<KeyId, SealingKey>,
    epochs: Recent<EpochName, EpochKey>,
}

/// What tells one epoch from another: all that its opening depends on.
#[derive(Clone, PartialEq, Eq, Hash)]
struct EpochName {
    recipient_key_id: KeyId,
    enc: [u8; ENC_LEN],
    sealed_epoch_key: [u8; SEALED_KEY_LEN],
}

impl EpochOpener {
    /// Makes an opener that holds `keys`, the retired ones included, and remembers at most `epochs_max` epochs.
    pub fn new(keys: impl IntoIterator<Item = SealingKey>, epochs_max: usize) -> Self {
        let keys = keys.into_iter().map(|key| (key.key_id(), key)).collect();
        Self { keys, epochs: Recent::new(epochs_max) }
    }

    /// Whether the private half of a key is held here.
    pub fn holds(&self, key_id: &KeyId) -> bool {
        self.keys.contains_key(key_id)
    }

    /// Unwraps the content key of the statement of that digest.
    ///
    /// # Errors
    /// [`SealError::UnknownRecipient`], [`SealError::Epoch`] or [`SealError::ContentKey`].
    pub fn unwrap(&self, wrap: &Wrap, statement_digest: &Digest) -> Result<ContentKey, SealError> {
        let Wrap { suite, recipient_key_id, enc, sealed_epoch_key, wrapped_content_key } = wrap;
        match suite {
            WrapSuite::EpochP256Aes256Gcm => {}
        }
        let key = self.keys.get(recipient_key_id).ok_or(SealError::UnknownRecipient)?;
        let name =
            EpochName { recipient_key_id: *recipient_key_id, enc: *enc, sealed_epoch_key: *sealed_epoch_key };
        let epoch = match self.epochs.get(&name) {
            Some(epoch) => epoch,
            None => self.open(key, name)?,
        };
        epoch.unwrap(wrapped_content_key, statement_digest)
    }

    fn open(&self, key: &SealingKey, name: EpochName) -> Result<Arc<EpochKey>, SealError> {
        let (enc, info) = (EncapsulatedSecret(name.enc.to_vec()), hpke_info(&name.recipient_key_id));
        let opened = hpke().open(&enc, &info, &[], &name.sealed_epoch_key, key.as_hpke());
        let secret = Zeroizing::new(opened.map_err(|_| SealError::Epoch)?);
        let epoch = Arc::new(EpochKey::new(secret.as_slice().try_into().map_err(|_| SealError::Epoch)?));
        self.epochs.insert(name, Arc::clone(&epoch));
        Ok(epoch)
    }

    #[cfg(test)]
    pub(super) fn epochs_len(&self) -> usize {
        self.epochs.len()
    }
}

/// An epoch key, in the form HKDF-Expand takes. aws-lc clears it when it is dropped.
struct EpochKey(Prk);

impl EpochKey {
    fn new(secret: &[u8; KEY_LEN]) -> Self {
        Self(Prk::new_less_safe(HKDF_SHA256, secret))
    }

    fn wrap(&self, content_key: &ContentKey, statement_digest: &Digest) -> [u8; SEALED_KEY_LEN] {
        let wrapped = encrypt(&self.message_key(statement_digest), &[], content_key.0.as_slice());
        wrapped.try_into().expect("a key of 32 bytes and its tag take 48")
    }

    fn unwrap(&self, wrapped: &[u8], statement_digest: &Digest) -> Result<ContentKey, SealError> {
        let opened =
            decrypt(&self.message_key(statement_digest), &[], wrapped).ok_or(SealError::ContentKey)?;
        let mut opened = Zeroizing::new(opened);
        let key = opened.as_slice().try_into().map(ContentKey::from_bytes).map_err(|_| SealError::ContentKey);
        opened.zeroize();
        key
    }

    /// The key that wraps the content key of one statement and nothing else.
    fn message_key(&self, statement_digest: &Digest) -> Zeroizing<[u8; KEY_LEN]> {
        let mut key = Zeroizing::new([0; KEY_LEN]);
        let info = [WRAP_LABEL, statement_digest.as_bytes()];
        let okm = self.0.expand(&info, HKDF_SHA256).expect("HKDF-SHA256 expands to 32 bytes");
        okm.fill(key.as_mut_slice()).expect("the buffer is as long as was asked for");
        key
    }
}

fn hpke() -> &'static dyn Hpke {
    DH_KEM_P256_HKDF_SHA256_AES_256
}

fn hpke_info(recipient_key_id: &KeyId) -> Vec<u8> {
    [EPOCH_LABEL, recipient_key_id.as_bytes()].concat()
}
