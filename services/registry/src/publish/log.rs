//! The log as the publisher reads it back from the topic.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{AppendError, Broker, BrokerError, Record, StartAt, StoredRecord, Tail, TopicPartition};
use kopuro_core::digest::Digest;
use kopuro_core::error::Refusal;
use kopuro_core::id::Instance;
use kopuro_core::statement::ViewStamp;
use kopuro_telemetry::metrics::{Alarm, Metrics};

use super::PublishError;
use super::refusal::{refused, unavailable};
use crate::anchor::Anchor;
use crate::follow::history::History;
use crate::record::{Entry, entry_digest};
use crate::view::{ApplyError, View};

/// How long the broker may keep silent about a record that it says it has.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Where a page of entries ends. **Units:** bytes.
const PAGE_BYTES_MAX: usize = 2 << 20;

/// Why the log could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The broker answered with a fault.
    #[error("the broker cannot be read")]
    Broker(#[from] BrokerError),
    /// The broker does not deliver what it says it has.
    #[error("the broker does not deliver what it says it has")]
    Silent,
}

impl From<ReadError> for PublishError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Broker(error) => Self::Broker(error),
            ReadError::Silent => Self::Incomplete,
        }
    }
}

/// What has been read of the topic.
pub(super) struct Log {
    broker: Arc<dyn Broker>,
    topic: TopicPartition,
    tail: Box<dyn Tail>,
    /// The offset up to which the topic has been read.
    next: u64,
    view: View,
    history: History,
    revisions: HashMap<Digest, u64>,
    places: Arc<RwLock<Vec<u64>>>,
    /// Whether an entry was read that others than this instance's authority and members have signed.
    strangers: bool,
    metrics: Arc<Metrics>,
}

impl Log {
    /// Reads the topic to its end.
    pub(super) async fn open(
        broker: Arc<dyn Broker>,
        topic: TopicPartition,
        anchor: Anchor,
        metrics: Arc<Metrics>,
    ) -> Result<Self, PublishError> {
        let tail = broker.tail(&topic, StartAt::Earliest).await?;
        let mut log = Self {
            broker,
            topic,
            tail,
            next: 0,
            view: View::new(anchor),
            history: History::new(),
            revisions: HashMap::new(),
            places: Arc::default(),
            strangers: false,
            metrics,
        };
        log.catch_up().await?;
        Ok(log)
    }

    pub(super) fn stamp(&self) -> ViewStamp {
        self.view.stamp()
    }

    pub(super) fn instance(&self) -> &Instance {
        &self.view.anchor().instance
    }

    pub(super) fn places(&self) -> Arc<RwLock<Vec<u64>>> {
        Arc::clone(&self.places)
    }

    /// Whether the topic holds what others have signed for an instance of this name, and nothing of this one. Entries
    /// that are no records do not count: whoever may write to the topic can add such.
    pub(super) fn is_foreign(&self) -> bool {
        self.strangers && self.view.stamp().size == 0
    }

    pub(super) fn root_at(&self, size: u64) -> Option<Digest> {
        self.history.root_at(size)
    }

    pub(super) fn is_attested(&self, digest: &Digest) -> bool {
        self.view.is_attested(digest)
    }

    pub(super) fn revision_of(&self, envelope: &[u8]) -> Option<u64> {
        self.revisions.get(&entry_digest(envelope)).copied()
    }

    /// Whether the log would take an entry.
    pub(super) fn check(&self, envelope: &[u8]) -> Result<Entry, Refusal> {
        self.view.check(envelope).map_err(|error| refused(&error))
    }

    /// Reads up to where the topic ends.
    pub(super) async fn catch_up(&mut self) -> Result<(), ReadError> {
        let end = self.broker.watermarks(&self.topic).await?.high;
        self.read_to(end).await
    }

    /// Appends an entry, unless the log has it, and gives its revision once it was read back.
    pub(super) async fn append(&mut self, envelope: &Bytes) -> Result<u64, Refusal> {
        self.catch_up().await.map_err(unavailable)?;
        if let Some(revision) = self.revision_of(envelope) {
            return Ok(revision);
        }
        self.check(envelope)?;
        let record = Record { key: Bytes::new(), value: envelope.clone(), headers: Vec::new() };
        match self.broker.append(&self.topic, record).await {
            Ok(position) => self.read_to(position.offset + 1).await.map_err(unavailable)?,
            // What became of it is for the topic to say.
            Err(error @ AppendError::Unknown(_)) => {
                self.catch_up().await.map_err(unavailable)?;
                return self.revision_of(envelope).ok_or_else(|| unavailable(error));
            }
            Err(error) => return Err(unavailable(error)),
        }
        match self.revision_of(envelope) {
            Some(revision) => Ok(revision),
            // Another writer's entry came before it.
            None => Err(self.check(envelope).err().unwrap_or_else(|| unavailable(ReadError::Silent))),
        }
    }

    async fn read_to(&mut self, end: u64) -> Result<(), ReadError> {
        while self.next < end {
            let stored = bounded(self.tail.next()).await?;
            self.next = stored.position.offset + 1;
            self.take(&stored);
        }
        Ok(())
    }

    fn take(&mut self, stored: &StoredRecord) {
        let (offset, bytes) = (stored.position.offset, &stored.record.value);
        match self.view.apply(bytes) {
            Ok(revision) => {
                self.history.push(self.view.stamp());
                self.revisions.insert(entry_digest(bytes), revision);
                self.places.write().unwrap_or_else(PoisonError::into_inner).push(offset);
            }
            Err(error) => {
                self.strangers |= matches!(error, ApplyError::NotAuthorized(_));
                self.metrics.alarm(Alarm::RegistryRecord);
                tracing::warn!(
                    offset,
                    error = &error as &dyn Error,
                    "an entry of the registry topic is no part of the log"
                );
            }
        }
    }
}

/// Reads the entries at `places`, which rise, up to a page's size.
pub(super) async fn read(
    broker: &dyn Broker,
    topic: &TopicPartition,
    places: &[u64],
) -> Result<Vec<Bytes>, ReadError> {
    let Some(first) = places.first() else { return Ok(Vec::new()) };
    let mut tail = broker.tail(topic, StartAt::Offset(*first)).await?;
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while let Some(place) = places.get(entries.len()) {
        let stored = bounded(tail.next()).await?;
        if stored.position.offset > *place {
            return Err(ReadError::Silent);
        }
        if stored.position.offset == *place {
            bytes += stored.record.value.len();
            entries.push(stored.record.value);
        }
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
    }
    Ok(entries)
}

/// Waits for a record that the broker says it has.
pub(super) async fn bounded(
    next: impl Future<Output = Result<StoredRecord, BrokerError>>,
) -> Result<StoredRecord, ReadError> {
    Ok(tokio::time::timeout(SILENCE_MAX, next).await.map_err(|_| ReadError::Silent)??)
}
