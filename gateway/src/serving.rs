//! Serves the members' systems as the registry comes to know them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kopuro_core::id::{MemberId, SubsystemId};
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
    /// Members whose outcomes are not read yet, so that their calls would have to wait.
    pub(crate) unattended: BTreeSet<MemberId>,
}

/// Serves what the registry says, until `stop`.
pub(crate) struct Server {
    pub(crate) gateway: String,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) views: Arc<Views>,
    /// The subsystems that have an endpoint.
    pub(crate) endpoints: BTreeSet<SubsystemId>,
    /// The members that the gateway speaks for.
    pub(crate) members: BTreeSet<MemberId>,
}

impl Server {
    /// Follows the registry. Progress is told through `tell`.
    pub(crate) async fn run(self, tell: watch::Sender<Progress>, stop: CancellationToken) {
        let mut changes = self.views.changes();
        let mut progress = Progress { unattended: self.members.clone(), ..Progress::default() };
        loop {
            changes.mark_unchanged();
            progress.wanted = self.wanted();
            tell.send_replace(progress.clone());
            let Progress { wanted, begun, unattended } = &mut progress;
            let serving = async {
                self.attend(unattended).await;
                self.serve(wanted, begun).await;
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = serving => {}
            }
            tell.send_replace(progress.clone());
            let complete = progress.wanted.is_subset(&progress.begun) && progress.unattended.is_empty();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(AGAIN), if !complete => {}
            }
        }
    }

    /// Reads the outcomes of every member's calls before the first one is made.
    async fn attend(&self, unattended: &mut BTreeSet<MemberId>) {
        for member in unattended.clone() {
            if self.views.current().partitions(&member).is_some()
                && self.exchange.attend(&member).await.is_ok()
            {
                unattended.remove(&member);
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
