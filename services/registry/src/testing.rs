//! A small instance for tests: an authority, two agencies, and brokers that do as they are told.

mod scripted;
mod world;

pub(crate) use scripted::{Fate, ScriptedBroker};
pub(crate) use world::{
    Agency, FixedClock, NOW, World, anchor_of, ecdsa, ed25519, notes_of, pension_descriptors,
    pension_package, pension_service, validity,
};

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kopuro_broker::{Broker, EmbeddedBroker};

/// The longest that anything may take; only a failing test waits for it.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// An embedded broker in a folder that lives as long as the first value.
pub(crate) fn broker() -> (tempfile::TempDir, Arc<dyn Broker>) {
    let folder = tempfile::tempdir().unwrap();
    let broker = EmbeddedBroker::open(folder.path()).unwrap();
    (folder, broker)
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes too long")
}

/// Waits until `holds`, for what cannot be awaited: a metric, a flag.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}
