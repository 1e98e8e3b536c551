//! Serves the members' systems as the registry comes to know them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kopuro_core::id::SubsystemId;
use kopuro_exchange::Exchange;
use kopuro_registry::views::Views;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long to wait before a subsystem that could not be served is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// Which subsystems the gateway should serve, and which of them are served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Those with an endpoint whose members the gateway speaks for, by the registry.
    pub(crate) wanted: BTreeSet<SubsystemId>,
    /// Those that the engine has been told to serve.
    pub(crate) begun: BTreeSet<SubsystemId>,
}

/// Serves what the registry says, until `stop`.
pub(crate) struct Server {
    pub(crate) gateway: String,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) views: Arc<Views>,
    /// The subsystems that have an endpoint.
    pub(crate) endpoints: BTreeSet<SubsystemId>,
}

impl Server {
    /// Follows the registry. Progress is told through `tell`.
    pub(crate) async fn run(self, tell: watch::Sender<Progress>, stop: CancellationToken) {
        let mut changes = self.views.changes();
        let mut begun = BTreeSet::new();
        loop {
            changes.mark_unchanged();
            let wanted = self.wanted();
            tell.send_replace(Progress { wanted: wanted.clone(), begun: begun.clone() });
            let serving = self.serve(&wanted, &mut begun);
            tokio::select! {
                () = stop.cancelled() => return,
                () = serving => {}
            }
            let complete = wanted.is_subset(&begun);
            tell.send_replace(Progress { wanted, begun: begun.clone() });
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if !complete => {}
            }
        }
    }

    async fn serve(&self, wanted: &BTreeSet<SubsystemId>, begun: &mut BTreeSet<SubsystemId>) {
        for subsystem in wanted {
            if begun.contains(subsystem) {
                continue;
            }
            match self.exchange.serve(subsystem).await {
                Ok(()) => {
                    tracing::info!(%subsystem, "serving");
                    begun.insert(subsystem.clone());
                }
                Err(error) => tracing::warn!(%subsystem, %error, "the subsystem cannot be served yet"),
            }
        }
    }

    fn wanted(&self) -> BTreeSet<SubsystemId> {
        let view = self.views.current();
        let known = view.subsystems_of_gateway(&self.gateway).filter(|known| self.endpoints.contains(*known));
        known.filter(|known| view.takes_part(known).is_ok()).cloned().collect()
    }
}
