//! Whether the node can do its work. The answer is computed again and again, and told to load balancers and operators.

use std::sync::Arc;
use std::time::Duration;

use kopuro_broker::Broker;
use kopuro_core::id::ServiceName;
use kopuro_core::time::Clock;
use kopuro_exchange::{Exchange, State};
use kopuro_registry::views::Views;
use kopuro_rpc::health::Serving;
use kopuro_rpc::operations::Readiness;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::serving::Progress;

/// How often the answer is computed when nothing is known to have changed.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long the broker may take to answer.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Looks at everything that the node needs.
pub(crate) struct Watcher {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) views: Arc<Views>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) draining: CancellationToken,
}

/// Who is told.
pub(crate) struct Tell {
    pub(crate) readiness: watch::Sender<Readiness>,
    pub(crate) health: watch::Sender<Arc<Serving>>,
}

impl Watcher {
    /// Tells what is true, until the node drains; the last word is that it does.
    pub(crate) async fn run(self, tell: Tell) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.views.changes();
        loop {
            tokio::select! {
                biased;
                () = self.draining.cancelled() => break,
                reasons = self.missing() => self.announce(&tell, reasons),
            }
            tokio::select! {
                () = self.draining.cancelled() => break,
                _ = looks.tick() => {}
                changed = changes.changed() => if changed.is_err() { looks.tick().await; },
            }
        }
        self.announce(&tell, vec!["the gateway is draining".to_owned()]);
    }

    async fn missing(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.broker.probe(PROBE_LIMIT).await.is_err() {
            reasons.push("the broker does not answer".to_owned());
        }
        if self.views.deciding(self.clock.now()).is_err() {
            reasons.push(
                "no recent checkpoint confirms the view of the registry, or one contradicts it".to_owned(),
            );
        }
        let Progress { wanted, begun, unattended } = self.progress.borrow().clone();
        reasons.extend(unattended.iter().map(|member| format!("outcomes for {member} are not read yet")));
        reasons
            .extend(wanted.difference(&begun).map(|subsystem| format!("{subsystem} cannot be served yet")));
        let State { not_yet_serving, calls_in_flight: _, serving: _ } = self.exchange.state();
        if not_yet_serving > 0 {
            reasons.push(format!(
                "{not_yet_serving} subsystems await partitions or what is known of their effects"
            ));
        }
        reasons
    }

    fn announce(&self, tell: &Tell, reasons: Vec<String>) {
        let readiness = Readiness { ready: reasons.is_empty(), reasons };
        let services = self.views.current().services().map(ServiceName::to_string).collect();
        let serving = Arc::new(Serving { ready: readiness.ready, services });
        tell.health.send_if_modified(|told| replace(told, serving));
        tell.readiness.send_if_modified(|told| {
            if told.ready != readiness.ready {
                tracing::info!(ready = readiness.ready, reasons = ?readiness.reasons, "readiness changed");
            }
            replace(told, readiness)
        });
    }
}

fn replace<T: PartialEq>(told: &mut T, truth: T) -> bool {
    let changed = *told != truth;
    *told = truth;
    changed
}
