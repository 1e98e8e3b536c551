//! How many requests wait in the broker for one subsystem.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kopuro_broker::{TopicPartition, Watermarks};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::Provider;

/// How often the lag is told.
const LAG_EVERY: Duration = Duration::from_secs(5);

/// A partition of the call topic that is this member's.
pub(super) struct Followed {
    pub(super) target: TopicPartition,
    /// The offset after the last request that is done; 0 until one is.
    pub(super) finished: Arc<AtomicU64>,
}

/// Tells the lag of some partitions until it is dropped or another takes its place: while a membership is lost, the requests
/// that nobody serves are told all the same. It has its own task, since a broker that is slow to say where a
/// log ends must not hold up requests.
pub(super) struct LagTeller(JoinHandle<()>);

impl LagTeller {
    pub(super) fn start(provider: Arc<Provider>, group: String, partitions: Vec<Followed>) -> Self {
        Self(tokio::spawn(tell(provider, group, partitions)))
    }
}

impl Drop for LagTeller {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn tell(provider: Arc<Provider>, group: String, partitions: Vec<Followed>) {
    let mut committed = vec![None; partitions.len()];
    let mut ticks = tokio::time::interval(LAG_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut lag = Some(0);
        for (followed, committed) in partitions.iter().zip(&mut committed) {
            let more = lag_of(&provider, &group, followed, committed).await;
            lag = lag.zip(more).map(|(lag, more)| lag + more);
        }
        // What the broker does not say is not told as none.
        if let Some(lag) = lag {
            provider.node.parts.metrics.set_broker_lag(&provider.subsystem, lag);
        }
    }
}

/// How many requests of a partition are not done. What was committed before this member took it over is asked once. What
/// cannot be learned now is learned the next time.
async fn lag_of(
    provider: &Provider,
    group: &str,
    followed: &Followed,
    committed: &mut Option<u64>,
) -> Option<u64> {
    let broker = &provider.node.parts.broker;
    let Watermarks { low, high } = broker.watermarks(&followed.target).await.ok()?;
    let before = match *committed {
        Some(before) => before,
        None => {
            let before = broker.committed(group, &followed.target).await.ok()?.unwrap_or(0);
            *committed.insert(before)
        }
    };
    let next = followed.finished.load(Ordering::Acquire).max(before).max(low);
    Some(high.saturating_sub(next))
}
