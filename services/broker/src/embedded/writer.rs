//! The one thread that writes: it drains what is queued into one batch, syncs once, and answers.

use std::collections::HashMap;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};

use kopuro_core::time::UnixMillis;
use tokio::sync::oneshot;

use super::codec::PartitionId;
use super::partition::Partition;
use super::shared::Shared;
use super::store::{Commits, Store};
use crate::port::{AppendError, BrokerError, Position, Record, StoredRecord};

/// How many appends may wait. **Units:** records.
const QUEUE_LEN_MAX: usize = 8_192;
/// How much they may hold. **Units:** bytes.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// How much one sync covers. **Units:** records, bytes.
const BATCH_LEN_MAX: usize = 1_024;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// An append on its way.
pub(super) struct Pending {
    pub(super) partition: Arc<Partition>,
    pub(super) record: Record,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<Position, AppendError>>,
}

/// The entrance to the writer.
pub(super) struct Queue {
    sender: Mutex<Option<SyncSender<Pending>>>,
    bytes: Arc<AtomicUsize>,
}

/// Commits that no batch has carried yet.
pub(super) type DirtyCommits = Mutex<Commits>;

impl Queue {
    /// Makes the entrance and the writer's end of it.
    pub(super) fn new() -> (Self, Intake) {
        let (sender, receiver) = sync_channel(QUEUE_LEN_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        (Self { sender: Mutex::new(Some(sender)), bytes: bytes.clone() }, Intake { receiver, bytes })
    }

    /// Queues an append behind all earlier ones.
    pub(super) fn push(&self, pending: Pending) -> Result<(), AppendError> {
        let bytes = pending.bytes;
        let sender = self.sender.lock().expect("no holder of the lock panics");
        let sender = sender.as_ref().ok_or(AppendError::NotAppended(BrokerError::Closed))?;
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > QUEUE_BYTES_MAX {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(AppendError::QueueFull);
        }
        sender.try_send(pending).map_err(|refused| {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                TrySendError::Full(_) => AppendError::QueueFull,
                TrySendError::Disconnected(_) => AppendError::NotAppended(BrokerError::Closed),
            }
        })
    }

    /// Lets the writer finish what is queued and end.
    pub(super) fn close(&self) {
        self.sender.lock().expect("no holder of the lock panics").take();
    }
}

/// The writer's end of the queue.
pub(super) struct Intake {
    receiver: Receiver<Pending>,
    bytes: Arc<AtomicUsize>,
}

impl Intake {
    /// Waits for an append and takes what else is already there; `None` once the queue is closed and empty.
    fn take(&self) -> Option<Vec<Pending>> {
        let first = self.receiver.recv().ok()?;
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while batch.len() < BATCH_LEN_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(next) = self.receiver.try_recv() else { break };
            bytes += next.bytes;
            batch.push(next);
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        Some(batch)
    }
}

/// Writes until the queue is closed. After a failed write nothing more is written: what is on disk is then unknown,
/// and only opening the log anew finds out.
pub(super) fn run(intake: &Intake, shared: &Shared, now: impl Fn() -> UnixMillis) {
    while let Some(batch) = intake.take() {
        if let Some(error) = shared.failure.get() {
            refuse(batch, error);
        } else if let Err(error) = write(batch, &shared.store, &shared.dirty, now()) {
            tracing::error!(%error, "the embedded log cannot be written; appends are refused until a restart");
            shared.failure.get_or_init(|| error);
        }
    }
}

fn write(
    batch: Vec<Pending>,
    store: &Store,
    dirty: &DirtyCommits,
    now: UnixMillis,
) -> Result<(), BrokerError> {
    let (records, answers) = place(batch, now);
    let commits = mem::take(&mut *dirty.lock().expect("no holder of the lock panics"));
    let outcome = store.append(&records, &commits);
    if outcome.is_ok() {
        publish(records, &answers);
    }
    for Answer { position, sender, .. } in answers {
        // A caller that no longer waits has dropped its end.
        let _gone = sender.send(outcome.clone().map(|()| position).map_err(AppendError::Unknown));
    }
    outcome
}

struct Answer {
    partition: Arc<Partition>,
    position: Position,
    sender: oneshot::Sender<Result<Position, AppendError>>,
}

fn place(batch: Vec<Pending>, now: UnixMillis) -> (Vec<(PartitionId, StoredRecord)>, Vec<Answer>) {
    let mut next: HashMap<PartitionId, u64> = HashMap::new();
    let place_one = |Pending { partition, record, answer, .. }: Pending| {
        let next = next.entry(partition.id).or_insert_with(|| partition.bounds().high);
        let position = Position { partition: partition.id.partition, offset: *next };
        *next += 1;
        let stored = StoredRecord { position, append_time: partition.append_time(now), record };
        ((partition.id, stored), Answer { partition, position, sender: answer })
    };
    batch.into_iter().map(place_one).unzip()
}

fn publish(records: Vec<(PartitionId, StoredRecord)>, answers: &[Answer]) {
    let mut fresh: HashMap<PartitionId, (&Partition, Vec<StoredRecord>)> = HashMap::new();
    for ((id, record), answer) in records.into_iter().zip(answers) {
        fresh.entry(id).or_insert_with(|| (&answer.partition, Vec::new())).1.push(record);
    }
    for (partition, records) in fresh.into_values() {
        partition.publish(records);
    }
}

fn refuse(batch: Vec<Pending>, error: &BrokerError) {
    for pending in batch {
        let _gone = pending.answer.send(Err(AppendError::NotAppended(error.clone())));
    }
}
