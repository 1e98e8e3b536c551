//! A broker that lies as it is told, in front of one that does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kopuro_broker::{
    AppendError, Appending, Broker, BrokerError, Record, StartAt, StoredRecord, Subscription, Tail,
    TopicPartition, TopicSettings, Watermarks,
};
use kopuro_core::topic::TopicName;

/// What becomes of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is appended and confirmed.
    Kept,
    /// It is appended, but nobody says so.
    KeptUnknown,
    /// It is lost, and nobody says so.
    LostUnknown,
    /// It is refused.
    Refused,
}

type OnRead = dyn Fn(&TopicPartition, StoredRecord) -> Vec<StoredRecord> + Send + Sync;
type Breaks = dyn Fn(&TopicPartition, &StoredRecord) -> bool + Send + Sync;
type OnAppend = dyn Fn(&TopicPartition, &Record) -> Fate + Send + Sync;

/// The decorator. What it tells is decided record by record.
pub(crate) struct ScriptedBroker {
    inner: Arc<dyn Broker>,
    on_read: Arc<OnRead>,
    breaks: Arc<Breaks>,
    on_append: Box<OnAppend>,
}

impl ScriptedBroker {
    /// Readers get what `on_read` makes of each record.
    pub(crate) fn reading(
        inner: &Arc<dyn Broker>,
        on_read: impl Fn(&TopicPartition, StoredRecord) -> Vec<StoredRecord> + Send + Sync + 'static,
    ) -> Arc<dyn Broker> {
        let (inner, on_read) = (Arc::clone(inner), Arc::new(on_read));
        Arc::new(Self {
            inner,
            on_read,
            breaks: Arc::new(|_, _| false),
            on_append: Box::new(|_, _| Fate::Kept),
        })
    }

    /// A reader's tail ends with an error instead of each record for which `breaks` says so.
    pub(crate) fn breaking(
        inner: &Arc<dyn Broker>,
        breaks: impl Fn(&TopicPartition, &StoredRecord) -> bool + Send + Sync + 'static,
    ) -> Arc<dyn Broker> {
        let (inner, on_read) = (Arc::clone(inner), Arc::new(|_: &TopicPartition, stored| vec![stored]));
        Arc::new(Self { inner, on_read, breaks: Arc::new(breaks), on_append: Box::new(|_, _| Fate::Kept) })
    }

    /// Writers get what `on_append` decides.
    pub(crate) fn appending(
        inner: &Arc<dyn Broker>,
        on_append: impl Fn(&TopicPartition, &Record) -> Fate + Send + Sync + 'static,
    ) -> Arc<dyn Broker> {
        let (inner, on_append) = (Arc::clone(inner), Box::new(on_append));
        let on_read = Arc::new(|_: &TopicPartition, stored| vec![stored]);
        Arc::new(Self { inner, on_read, breaks: Arc::new(|_, _| false), on_append })
    }
}

#[async_trait]
impl Broker for ScriptedBroker {
    async fn ensure_topic(&self, topic: &TopicName, settings: &TopicSettings) -> Result<(), BrokerError> {
        self.inner.ensure_topic(topic, settings).await
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32, BrokerError> {
        self.inner.partitions(topic).await
    }

    fn append(&self, target: &TopicPartition, record: Record) -> Appending {
        let silent = || BrokerError::Unavailable("scripted".into());
        match (self.on_append)(target, &record) {
            Fate::Kept => self.inner.append(target, record),
            Fate::KeptUnknown => {
                let appending = self.inner.append(target, record);
                Appending::new(async move {
                    appending.await?;
                    Err(AppendError::Unknown(silent()))
                })
            }
            Fate::LostUnknown => Appending::new(async move { Err(AppendError::Unknown(silent())) }),
            Fate::Refused => Appending::new(async move { Err(AppendError::NotAppended(silent())) }),
        }
    }

    async fn tail(&self, target: &TopicPartition, start: StartAt) -> Result<Box<dyn Tail>, BrokerError> {
        let inner = self.inner.tail(target, start).await?;
        let (target, on_read) = (target.clone(), Arc::clone(&self.on_read));
        let breaks = Arc::clone(&self.breaks);
        Ok(Box::new(ScriptedTail { inner, target, on_read, breaks, told: VecDeque::new() }))
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

struct ScriptedTail {
    inner: Box<dyn Tail>,
    target: TopicPartition,
    on_read: Arc<OnRead>,
    breaks: Arc<Breaks>,
    told: VecDeque<StoredRecord>,
}

#[async_trait]
impl Tail for ScriptedTail {
    async fn next(&mut self) -> Result<StoredRecord, BrokerError> {
        loop {
            if let Some(stored) = self.told.pop_front() {
                return Ok(stored);
            }
            let stored = self.inner.next().await?;
            if (self.breaks)(&self.target, &stored) {
                return Err(BrokerError::Damaged("scripted".into()));
            }
            self.told.extend((self.on_read)(&self.target, stored));
        }
    }
}
