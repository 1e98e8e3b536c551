//! Checkpoints of the registry's log, under keys that the log itself names.

use kopuro_core::id::Instance;
use kopuro_tlog::checkpoint::{Checkpoint, LogKey};
use kopuro_trust::signing::VerifyingKey;
use kopuro_trust::spki::PublicKey;

use crate::record::KeyPurpose;
use crate::view::View;

/// The name of the log, which is also that of its keys.
pub(crate) fn origin(instance: &Instance) -> String {
    format!("kopuro.{instance}.registry")
}

/// The key as a key of the log; `None` unless it is an Ed25519 key.
pub(crate) fn log_key(instance: &Instance, key: &VerifyingKey) -> Option<LogKey> {
    match PublicKey::parse(key.spki_der()).ok()? {
        PublicKey::Ed25519(public) => LogKey::new(&origin(instance), *public).ok(),
        PublicKey::P256(_) => None,
    }
}

/// Reads a signed checkpoint; `None` unless a checkpoint key of the view has signed it within the key's validity.
pub(crate) fn verify(view: &View, note: &[u8]) -> Option<Checkpoint> {
    let instance = &view.anchor().instance;
    view.delegate_keys(KeyPurpose::Checkpoint).find_map(|(key, verifying)| {
        let checkpoint = Checkpoint::verify(note, &log_key(instance, verifying)?).ok()?;
        (key.not_before..=key.not_after).contains(&checkpoint.time).then_some(checkpoint)
    })
}

/// The size that a note claims to be of, whoever wrote it.
pub(crate) fn claimed_size(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.lines().nth(1)?.parse().ok()
}
