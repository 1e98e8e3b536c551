//! Who is calling.

use kopuro_core::digest::KeyId;
use kopuro_core::error::Reason;
use kopuro_core::id::{MemberId, SubsystemId};
use kopuro_core::time::UnixMillis;
use kopuro_trust::certificate::VerifiedCertificate;

/// A peer whose transport key is registered and in force. A handler finds it, as an `Arc`, in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key of the peer's certificate.
    pub key_id: KeyId,
    /// The subsystems that the key speaks for.
    pub subsystems: Vec<SubsystemId>,
    /// The gateway that holds the key; none for an agency's own system.
    pub gateway: Option<String>,
    /// The member that the key belongs to.
    pub member: Option<MemberId>,
}

/// Knows which keys may connect.
pub trait Callers: Send + Sync + 'static {
    /// Who the holder of a valid certificate is. It is asked on every request, so that a change acts on the next one.
    ///
    /// # Errors
    /// The reason to turn the peer away.
    fn identify(&self, certificate: &VerifiedCertificate, now: UnixMillis) -> Result<Caller, Reason>;
}
