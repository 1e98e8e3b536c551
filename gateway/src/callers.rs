//! Who is calling, and who is called, by the registry's view.

use std::sync::Arc;

use kopuro_core::error::Reason;
use kopuro_core::id::SubsystemId;
use kopuro_core::time::{Clock, UnixMillis};
use kopuro_registry::record::Key;
use kopuro_registry::views::Views;
use kopuro_rpc::callers::{Caller, Callers};
use kopuro_rpc::channel::Servers;
use kopuro_trust::certificate::VerifiedCertificate;

/// Callers as the registry knows them. A view too old to decide by still tells who connects: the engine refuses every
/// call then, with a reason that says so.
pub struct RegisteredCallers {
    /// The view.
    pub views: Arc<Views>,
}

impl Callers for RegisteredCallers {
    fn identify(&self, certificate: &VerifiedCertificate, now: UnixMillis) -> Result<Caller, Reason> {
        let view = self.views.current();
        let Key { id, member, subsystems, gateway, .. } = view.transport_key(&certificate.key_id(), now)?;
        Ok(Caller {
            key_id: *id,
            subsystems: subsystems.clone(),
            gateway: gateway.clone(),
            member: member.clone(),
        })
    }
}

/// The servers that may answer for one subsystem: holders of a transport key that speaks for it.
pub(crate) struct RegisteredServers {
    pub(crate) views: Arc<Views>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) subsystem: SubsystemId,
}

impl Servers for RegisteredServers {
    fn accepts(&self, certificate: &VerifiedCertificate) -> bool {
        let now = self.clock.now();
        let view = self.views.current();
        let key = view.transport_key(&certificate.key_id(), now);
        now <= certificate.not_after() && key.is_ok_and(|key| key.subsystems.contains(&self.subsystem))
    }
}
