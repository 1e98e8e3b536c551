//! The writer of the log.

mod contract;
mod submit;

use std::sync::Arc;

use bytes::Bytes;
use kopuro_broker::Broker;
use kopuro_core::error::{Reason, Refusal};
use kopuro_telemetry::metrics::Metrics;

use crate::publish::{PublishError, Publisher};
use crate::testing::{FixedClock, World};

async fn open(world: &World, broker: &Arc<dyn Broker>) -> Result<Arc<Publisher>, PublishError> {
    let (anchor, keys) = (world.anchor(), world.publisher_keys());
    let clock = Arc::new(FixedClock::new());
    Publisher::open(Arc::clone(broker), anchor, keys, clock, Metrics::new()).await
}

/// A publisher that has taken the world's log.
async fn publisher(world: &World, broker: &Arc<dyn Broker>) -> Arc<Publisher> {
    let publisher = open(world, broker).await.unwrap();
    for (revision, entry) in (0..).zip(&world.log) {
        assert_eq!(publisher.submit(entry.clone(), Bytes::new()).await, Ok(revision));
    }
    publisher
}

fn reason(outcome: Result<u64, Refusal>) -> Reason {
    outcome.expect_err("it must be refused").reason
}
