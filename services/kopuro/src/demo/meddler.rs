//! The broker's operator as the demonstration plays him: he reads, withholds, alters and repeats what is in the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kopuro_broker::{
    Appending, Broker, BrokerError, Position, Record, StartAt, Subscription, Tail, TopicPartition,
    TopicSettings, Watermarks,
};
use kopuro_core::topic::TopicName;

/// A broker through which everything passes, except what its operator withholds.
pub(super) struct Meddler {
    inner: Arc<dyn Broker>,
    withheld: Mutex<Option<Withheld>>,
}

struct Withheld {
    topic: TopicName,
    records: Vec<(TopicPartition, Record)>,
}

impl Meddler {
    pub(super) fn new(inner: Arc<dyn Broker>) -> Arc<Self> {
        Arc::new(Self { inner, withheld: Mutex::default() })
    }

    /// From here on, records for `topic` are acknowledged and kept back.
    pub(super) fn withhold(&self, topic: TopicName) {
        *self.lock() = Some(Withheld { topic, records: Vec::new() });
    }

    /// Lets everything pass again, what was kept back first.
    pub(super) async fn release(&self) {
        let withheld = self.lock().take();
        for (target, record) in withheld.into_iter().flat_map(|withheld| withheld.records) {
            // The demonstration shows what becomes of a record; one that is lost here is seen there.
            let _ = self.inner.append(&target, record).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Withheld>> {
        self.withheld.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Broker for Meddler {
    async fn ensure_topic(&self, topic: &TopicName, settings: &TopicSettings) -> Result<(), BrokerError> {
        self.inner.ensure_topic(topic, settings).await
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32, BrokerError> {
        self.inner.partitions(topic).await
    }

    fn append(&self, target: &TopicPartition, record: Record) -> Appending {
        let mut withheld = self.lock();
        match withheld.as_mut().filter(|withheld| withheld.topic == target.topic) {
            Some(withheld) => {
                withheld.records.push((target.clone(), record));
                let position = Position { partition: target.partition, offset: 0 };
                Appending::new(std::future::ready(Ok(position)))
            }
            None => self.inner.append(target, record),
        }
    }

    async fn tail(&self, target: &TopicPartition, start: StartAt) -> Result<Box<dyn Tail>, BrokerError> {
        self.inner.tail(target, start).await
    }

    async fn subscribe(
        &self,
        group: &str,
        topics: &[TopicName],
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        self.inner.subscribe(group, topics).await
    }

    async fn watermarks(&self, target: &TopicPartition) -> Result<Watermarks, BrokerError> {
        self.inner.watermarks(target).await
    }

    async fn committed(&self, group: &str, target: &TopicPartition) -> Result<Option<u64>, BrokerError> {
        self.inner.committed(group, target).await
    }

    async fn probe(&self, limit: Duration) -> Result<(), BrokerError> {
        self.inner.probe(limit).await
    }
}
