//! Tails: partitions read by clients that belong to no group.
//!
//! One client fetches any number of partitions over one connection per broker, and hands each to its own queue; only
//! a partition that is tailed twice at once needs a second client.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::context::Context;
use super::{message, off_runtime};
use crate::port::{BrokerError, StoredRecord, Tail, TopicPartition};

/// How often a client's thread looks whether it is still needed.
const TICK: Duration = Duration::from_millis(250);

/// The clients that tail.
pub(super) struct Tails {
    config: ClientConfig,
    fetchers: Mutex<Vec<Arc<Fetcher>>>,
}

/// One client and the partitions it fetches.
struct Fetcher {
    consumer: Arc<BaseConsumer<Context>>,
    partitions: Mutex<HashSet<TopicPartition>>,
    is_done: Arc<AtomicBool>,
}

impl Tails {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self { config, fetchers: Mutex::default() }
    }

    /// Begins to fetch a partition at `next`. Blocks shortly, for librdkafka's own threads.
    pub(super) fn start(&self, target: &TopicPartition, next: u64) -> Result<KafkaTail, BrokerError> {
        let fetcher = self.fetcher_for(target)?;
        KafkaTail::start(fetcher.clone(), target, next).inspect_err(|_| fetcher.release(target))
    }

    /// A client that does not fetch the partition yet; it is taken.
    fn fetcher_for(&self, target: &TopicPartition) -> Result<Arc<Fetcher>, BrokerError> {
        let mut fetchers = self.fetchers.lock().expect("no holder of the lock panics");
        if let Some(free) = fetchers.iter().find(|fetcher| fetcher.take(target)) {
            return Ok(free.clone());
        }
        let fresh = Arc::new(Fetcher::new(&self.config)?);
        fresh.take(target);
        fetchers.push(fresh.clone());
        Ok(fresh)
    }
}

impl Fetcher {
    fn new(config: &ClientConfig) -> Result<Self, BrokerError> {
        let consumer = config.create_with_context(Context::new("tail"));
        let consumer: Arc<BaseConsumer<Context>> =
            Arc::new(consumer.map_err(|error| message::fault(&error))?);
        let is_done = Arc::new(AtomicBool::new(false));
        let (polled, done) = (consumer.clone(), is_done.clone());
        // librdkafka wants someone to take its events; records do not come this way.
        off_runtime(move || {
            while !done.load(Ordering::Acquire) {
                if let Some(Err(error)) = polled.poll(TICK) {
                    tracing::debug!(%error, "the client that tails met a fault");
                }
            }
        });
        Ok(Self { consumer, partitions: Mutex::default(), is_done })
    }

    fn take(&self, target: &TopicPartition) -> bool {
        self.partitions.lock().expect("no holder of the lock panics").insert(target.clone())
    }

    fn release(&self, target: &TopicPartition) {
        self.partitions.lock().expect("no holder of the lock panics").remove(target);
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Release);
    }
}

/// A reader of one partition.
pub(super) struct KafkaTail {
    fetcher: Arc<Fetcher>,
    target: TopicPartition,
    /// Taken only when the tail is dropped.
    queue: Option<PartitionQueue<Context>>,
    filled: Arc<Notify>,
    next: u64,
    failure: Option<BrokerError>,
}

impl KafkaTail {
    fn start(fetcher: Arc<Fetcher>, target: &TopicPartition, next: u64) -> Result<Self, BrokerError> {
        let list = partition_list(target, Some(next))?;
        let partition = list.elements()[0].partition();
        // Split off before it is fetched: librdkafka then never puts its records into the common queue.
        let queue = fetcher.consumer.split_partition_queue(target.topic.as_str(), partition);
        let mut queue = queue.ok_or_else(|| BrokerError::Topic(target.topic.clone()))?;
        let filled = Arc::new(Notify::new());
        let bell = filled.clone();
        queue.set_nonempty_callback(move || bell.notify_one());
        fetcher.consumer.incremental_assign(&list).map_err(|error| message::fault(&error))?;
        Ok(Self { fetcher, target: target.clone(), queue: Some(queue), filled, next, failure: None })
    }

    /// What is at hand, without waiting.
    fn take(&mut self) -> Option<KafkaResult<StoredRecord>> {
        let queue = self.queue.as_ref()?;
        // An event that is no record is reported like an empty queue, so an empty answer is asked for twice.
        let polled = queue.poll(Duration::ZERO).or_else(|| queue.poll(Duration::ZERO))?;
        Some(polled.map(|message| message::stored_record(&message)))
    }

    fn fail(&mut self, error: &KafkaError) -> Result<(), BrokerError> {
        use RDKafkaErrorCode::{AutoOffsetReset, OffsetOutOfRange};
        let failure = match error.rdkafka_error_code() {
            Some(OffsetOutOfRange | AutoOffsetReset) => BrokerError::OffsetOutOfRange,
            code => match code.and_then(|code| message::topic_verdict(code, &self.target.topic)) {
                Some(verdict) => verdict,
                // Whatever else librdkafka reports, it goes on trying.
                None => {
                    tracing::debug!(target = %self.target, %error, "a tail met a fault that may pass");
                    return Ok(());
                }
            },
        };
        self.failure = Some(failure.clone());
        Err(failure)
    }
}

#[async_trait]
impl Tail for KafkaTail {
    async fn next(&mut self) -> Result<StoredRecord, BrokerError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        loop {
            tokio::task::coop::consume_budget().await;
            match self.take() {
                Some(Ok(stored)) if stored.position.offset >= self.next => {
                    self.next = stored.position.offset + 1;
                    return Ok(stored);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => self.fail(&error)?,
                None => self.filled.notified().await,
            }
        }
    }
}

impl Drop for KafkaTail {
    fn drop(&mut self) {
        let (fetcher, target, queue) = (self.fetcher.clone(), self.target.clone(), self.queue.take());
        off_runtime(move || {
            let stopped =
                partition_list(&target, None).map(|list| fetcher.consumer.incremental_unassign(&list));
            if let Ok(Err(error)) = stopped {
                tracing::warn!(%target, %error, "a tail could not be ended");
                return;
            }
            drop(queue);
            fetcher.release(&target);
        });
    }
}

/// A list of one partition.
pub(super) fn partition_list(
    target: &TopicPartition,
    offset: Option<u64>,
) -> Result<TopicPartitionList, BrokerError> {
    let unknown = |_| BrokerError::Topic(target.topic.clone());
    let partition = i32::try_from(target.partition).map_err(unknown)?;
    let offset = offset.map(i64::try_from).transpose().map_err(|_| BrokerError::OffsetOutOfRange)?;
    let offset = offset.map_or(Offset::Invalid, Offset::Offset);
    let mut list = TopicPartitionList::new();
    let added = list.add_partition_offset(target.topic.as_str(), partition, offset);
    added.map(|()| list).map_err(|error| message::fault(&error))
}
