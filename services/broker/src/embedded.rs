//! The embedded broker: a durable, partitioned log in one process.
//!
//! One writer thread drains a bounded queue into one batch and syncs it (`fdatasync`) before it answers, so an
//! acknowledged append survives the loss of the process and of power, as far as the disk keeps what it has synced.
//! Committed group offsets are written and synced with the next batch, or within 200 ms: a crash may bring records
//! back, never skip one. One process owns the folder. Once a write has failed, appends are refused until a restart.

mod codec;
mod cursor;
mod group;
mod marks;
mod partition;
mod shared;
mod store;
mod subscription;
mod topics;
mod upkeep;
mod writer;

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::TopicName;

use self::cursor::Cursor;
use self::shared::Shared;
use self::store::Store;
use self::writer::Queue;
use crate::port::{
    AppendError, Appending, Broker, BrokerError, Record, StartAt, Subscription, Tail, TopicPartition,
    TopicSettings, Watermarks,
};

/// The broker of one process.
pub struct EmbeddedBroker {
    shared: Arc<Shared>,
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<()>,
    upkeep: JoinHandle<()>,
    stop_upkeep: SyncSender<()>,
}

impl EmbeddedBroker {
    /// Opens the log in `folder`, making it if it is missing. Blocks for the time that takes; a log that was not
    /// closed cleanly is replayed.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when another broker has the folder open or it cannot be used;
    /// [`BrokerError::Damaged`] when the log does not parse or is shorter than its high-water marks say: a person must
    /// then restore it.
    pub fn open(folder: impl AsRef<Path>) -> Result<Arc<Self>, BrokerError> {
        let store = Store::open(folder.as_ref())?;
        let topics = topics::recover(&store)?;
        let commits = store.commits()?;
        let (queue, intake) = Queue::new();
        let shared = Arc::new(Shared::new(store, queue, topics, commits));
        let threads = Threads::start(&shared, intake)?;
        Ok(Arc::new(Self { shared, threads: Mutex::new(Some(threads)) }))
    }

    /// Finishes the appends already queued, syncs, and frees the folder. Readers then learn [`BrokerError::Closed`].
    /// Dropping the broker does the same, blocking meanwhile.
    pub async fn close(self: &Arc<Self>) {
        let broker = self.clone();
        // The only failure is a panic of one of the threads, which has been reported where it happened.
        let _joined = tokio::task::spawn_blocking(move || broker.shut()).await;
    }

    fn shut(&self) {
        let Some(threads) = self.threads.lock().expect("no holder of the lock panics").take() else { return };
        self.shared.close_queue();
        threads.join();
        self.shared.close();
    }
}

impl Drop for EmbeddedBroker {
    fn drop(&mut self) {
        self.shut();
    }
}

impl Threads {
    fn start(shared: &Arc<Shared>, intake: writer::Intake) -> Result<Self, BrokerError> {
        let (stop_upkeep, stopped) = sync_channel(0);
        let (for_writer, for_upkeep) = (shared.clone(), shared.clone());
        let writer = spawn("kopuro-log-write", move || writer::run(&intake, &for_writer, now))?;
        let upkeep = spawn("kopuro-log-keep", move || upkeep::run(&for_upkeep, &stopped, now))?;
        Ok(Self { writer, upkeep, stop_upkeep })
    }

    fn join(self) {
        let Self { writer, upkeep, stop_upkeep } = self;
        drop(stop_upkeep);
        for thread in [writer, upkeep] {
            if thread.join().is_err() {
                tracing::error!("a thread of the embedded log has panicked");
            }
        }
    }
}

#[async_trait]
impl Broker for EmbeddedBroker {
    async fn ensure_topic(&self, topic: &TopicName, settings: &TopicSettings) -> Result<(), BrokerError> {
        let (shared, topic, settings) = (self.shared.clone(), topic.clone(), settings.clone());
        blocking(move || shared.ensure_topic(&topic, &settings)).await
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32, BrokerError> {
        self.shared.check_open()?;
        self.shared.topic(topic).map(|topic| topic.settings.partitions)
    }

    fn append(&self, target: &TopicPartition, record: Record) -> Appending {
        let pushed = self.shared.push(target, record);
        Appending::new(async move { pushed?.await.unwrap_or(Err(AppendError::Unknown(BrokerError::Closed))) })
    }

    async fn tail(&self, target: &TopicPartition, start: StartAt) -> Result<Box<dyn Tail>, BrokerError> {
        self.shared.check_open()?;
        let partition = self.shared.partition(target)?;
        let Watermarks { low, high } = partition.bounds();
        let next = match start {
            StartAt::Earliest => low,
            StartAt::Latest => high,
            StartAt::Offset(offset) if (low..=high).contains(&offset) => offset,
            StartAt::Offset(_) => return Err(BrokerError::OffsetOutOfRange),
        };
        Ok(Box::new(Cursor::new(self.shared.clone(), partition, next)))
    }

    async fn subscribe(
        &self,
        group: &str,
        topics: &[TopicName],
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        Ok(Box::new(self.shared.join(group, topics)?))
    }

    async fn watermarks(&self, target: &TopicPartition) -> Result<Watermarks, BrokerError> {
        self.shared.check_open()?;
        self.shared.partition(target).map(|partition| partition.bounds())
    }

    async fn committed(&self, group: &str, target: &TopicPartition) -> Result<Option<u64>, BrokerError> {
        self.shared.check_open()?;
        let partition = self.shared.partition(target)?;
        Ok(self.shared.committed(group, partition.id))
    }

    async fn probe(&self, limit: Duration) -> Result<(), BrokerError> {
        if let Some(error) = self.shared.failure.get() {
            return Err(error.clone());
        }
        let shared = self.shared.clone();
        let check = blocking(move || shared.store.check());
        let late = |_| BrokerError::Unavailable("the embedded log did not answer in time".into());
        tokio::time::timeout(limit, check).await.map_err(late)?
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, BrokerError> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|error| BrokerError::Unavailable(error.to_string()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(BrokerError::Closed))
}

/// The adapter's clock: it stamps records, as a Kafka broker does.
fn now() -> UnixMillis {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis::default().plus(since_epoch)
}

#[cfg(test)]
mod tests;
