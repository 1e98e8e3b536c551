//! What happens beside the writer: keeping commits, marks and retention.

use std::collections::BTreeMap;
use std::mem;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use kopuro_core::time::UnixMillis;

use super::marks::Marks;
use super::partition::Partition;
use super::shared::Shared;
use crate::port::BrokerError;

/// How long a commit may stay in memory only.
const TICK: Duration = Duration::from_millis(200);
/// How often marks are written while the log grows.
const MARKS_EVERY: Duration = Duration::from_secs(1);
/// How often retention looks for old records.
const RETENTION_EVERY: Duration = Duration::from_secs(5);
/// How many records retention deletes in one step. **Units:** records.
const DELETE_LEN_MAX: usize = 1_024;

/// Runs until `stop` is dropped; then keeps the last commits and marks.
pub(super) fn run(shared: &Shared, stop: &Receiver<()>, now: impl Fn() -> UnixMillis) {
    let (mut marked_at, mut swept_at) = (Instant::now(), Instant::now());
    let mut marks = Marks::new();
    while stop.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        report("commits", keep_commits(shared));
        if marked_at.elapsed() >= MARKS_EVERY {
            marked_at = Instant::now();
            report("marks", keep_marks(shared, &mut marks));
        }
        if swept_at.elapsed() >= RETENTION_EVERY {
            swept_at = Instant::now();
            report("retention", sweep(shared, now()));
        }
    }
    report("commits", keep_commits(shared));
    report("marks", keep_marks(shared, &mut marks));
}

/// Writes the commits that no append has carried.
pub(super) fn keep_commits(shared: &Shared) -> Result<(), BrokerError> {
    let commits = mem::take(&mut *shared.dirty.lock().expect("no holder of the lock panics"));
    if commits.is_empty() { Ok(()) } else { shared.store.keep_commits(&commits) }
}

/// Deletes the records whose retention has passed at `now`.
pub(super) fn sweep(shared: &Shared, now: UnixMillis) -> Result<(), BrokerError> {
    let topics = shared.topics.read().expect("no holder of the lock panics").clone();
    for topic in topics.values() {
        let Some(retention) = topic.settings.retention else { continue };
        for partition in &topic.partitions {
            sweep_partition(shared, partition, now.minus(retention))?;
        }
    }
    Ok(())
}

fn sweep_partition(shared: &Shared, partition: &Partition, horizon: UnixMillis) -> Result<(), BrokerError> {
    loop {
        let bounds = partition.bounds();
        let cut = shared.store.expired_below(partition.id, bounds, horizon, DELETE_LEN_MAX)?;
        let Some(cut) = cut else { return Ok(()) };
        // Readers learn of the new bound first, so that none meets a hole.
        partition.trim(cut);
        shared.store.delete(partition.id, bounds.low, cut)?;
    }
}

fn keep_marks(shared: &Shared, written: &mut Marks) -> Result<(), BrokerError> {
    let topics = shared.topics.read().expect("no holder of the lock panics").clone();
    let partitions = topics.values().flat_map(|topic| &topic.partitions);
    let marks: BTreeMap<_, _> = partitions.map(|partition| (partition.id, partition.bounds().high)).collect();
    if marks != *written {
        shared.store.write_marks(&marks)?;
        *written = marks;
    }
    Ok(())
}

fn report(what: &'static str, outcome: Result<(), BrokerError>) {
    if let Err(error) = outcome {
        tracing::error!(%error, what, "upkeep of the embedded log failed");
    }
}
