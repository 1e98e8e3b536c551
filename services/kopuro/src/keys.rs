//! Loading a gateway's keys from the files that its configuration names.

use std::path::Path;

use kopuro_core::id::MemberId;
use kopuro_exchange::replica::Replica;
use kopuro_trust::member_secret::{MemberSecret, MemberSecretError};
use kopuro_trust::sealing::{SealingKey, SealingKeyError};
use kopuro_trust::signing::{Signer, SigningKeyError};

use crate::config::{GatewayConfig, MemberConfig};

/// Why a gateway's keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The signing key.
    #[error("the signing key {0} cannot be used")]
    Signing(String, #[source] SigningKeyError),
    /// A sealing key.
    #[error("the sealing key {0} cannot be used")]
    Sealing(String, #[source] SealingKeyError),
    /// A member's secret.
    #[error("the member secret {0} cannot be used")]
    Secret(String, #[source] MemberSecretError),
    /// A member's identifier.
    #[error("a member's identifier is malformed")]
    Member(#[from] kopuro_core::id::IdError),
}

/// A replica of the configured gateway, with fresh tokens.
///
/// # Errors
/// [`KeysError`] names the file.
pub fn replica(config: &GatewayConfig) -> Result<Replica, KeysError> {
    let shown = |path: &Path| path.display().to_string();
    let signer = Signer::from_pem_file(&config.signing_key)
        .map_err(|error| KeysError::Signing(shown(&config.signing_key), error))?;
    let (mut secrets, mut sealing) = (Vec::new(), Vec::new());
    for MemberConfig { id, secret, sealing_keys } in &config.members {
        let loaded =
            MemberSecret::from_file(secret).map_err(|error| KeysError::Secret(shown(secret), error))?;
        secrets.push((MemberId::parse(id)?, loaded));
        for path in sealing_keys {
            let key =
                SealingKey::from_pem_file(path).map_err(|error| KeysError::Sealing(shown(path), error))?;
            sealing.push(key);
        }
    }
    Ok(Replica::new(config.id.clone(), signer, sealing, secrets))
}
