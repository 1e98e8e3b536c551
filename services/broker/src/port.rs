//! What the bus asks of a broker.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::TopicName;

/// How much a record's headers may hold. **Units:** bytes.
pub(crate) const HEADERS_BYTES_MAX: usize = 16 << 10;

/// A record to append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The record's key; the caller has already chosen the partition.
    pub key: Bytes,
    /// The record's value.
    pub value: Bytes,
    /// Conveniences outside every signature, such as `traceparent`; nothing is decided from them. **Limits:** 16 KiB.
    pub headers: Vec<(String, Bytes)>,
}

/// A record as the broker keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where the record stands.
    pub position: Position,
    /// When the broker appended it (`LogAppendTime`).
    pub append_time: UnixMillis,
    /// What was appended.
    pub record: Record,
}

/// A place in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition, from zero.
    pub partition: u32,
    /// The offset within the partition. Offsets rise but may have gaps.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.partition, self.offset)
    }
}

/// One partition of one topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition, from zero.
    pub partition: u32,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.topic, self.partition)
    }
}

/// How a topic is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// The number of partitions, fixed for the topic's life.
    pub partitions: u32,
    /// How long records are kept; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// The largest record taken, key and value together. **Units:** bytes.
    pub record_bytes_max: u32,
}

/// Where a tail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the oldest record kept.
    Earliest,
    /// With the first record appended after the call.
    Latest,
    /// With the first record at this offset or after it. Offsets below the oldest record kept, or beyond the next one
    /// to be appended, are refused: what is missing is never skipped silently.
    Offset(u64),
}

/// The bounds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The offset of the oldest record kept.
    pub low: u64,
    /// The offset that the next record will have, or more.
    pub high: u64,
}

/// Why an append was not confirmed. The difference decides what the caller may be told.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The record is certainly not in the log: the broker could not be reached, or refused it.
    #[error("the record was not appended")]
    NotAppended(#[source] BrokerError),
    /// The local queue is full; the record is certainly not in the log.
    #[error("the append queue is full")]
    QueueFull,
    /// The record is larger than the topic takes, or its headers than any topic does; it is certainly not in the log.
    #[error("the record is larger than the topic takes")]
    TooLarge,
    /// Nobody can say whether the record is in the log.
    #[error("it is unknown whether the record was appended")]
    Unknown(#[source] BrokerError),
}

/// Why the broker could not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BrokerError {
    /// The topic does not exist, or exists with other settings.
    #[error("topic {0} does not exist or has other settings")]
    Topic(TopicName),
    /// The offset is no longer, or not yet, in the log.
    #[error("the offset is outside the partition")]
    OffsetOutOfRange,
    /// The broker cannot be reached, or answers with a fault that may pass.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// The broker allows this client no such access; a person must act.
    #[error("the broker denies this client access: {0}")]
    Denied(String),
    /// The broker and this client do not accept each other's certificates; a person must act.
    #[error("no secure connection to the broker can be made: {0}")]
    Untrusted(String),
    /// The stored log is damaged; a person must act.
    #[error("the stored log is damaged: {0}")]
    Damaged(String),
    /// The broker has been shut down.
    #[error("the broker is closed")]
    Closed,
}

/// A pending append: resolves once the record is durable, or once its fate is decided or unknown.
/// Dropping it does not take the record back.
pub struct Appending(Pin<Box<dyn Future<Output = Result<Position, AppendError>> + Send>>);

impl Appending {
    /// Wraps an adapter's own future.
    pub fn new(future: impl Future<Output = Result<Position, AppendError>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Appending {
    type Output = Result<Position, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

/// A partitioned, durable, append-only log with consumer groups.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Makes the topic if it is missing. Retention and record size of a topic that exists are left as they are.
    ///
    /// # Errors
    /// [`BrokerError::Topic`] when it exists with another number of partitions.
    async fn ensure_topic(&self, topic: &TopicName, settings: &TopicSettings) -> Result<(), BrokerError>;

    /// How many partitions the topic has.
    ///
    /// # Errors
    /// [`BrokerError::Topic`] when it does not exist.
    async fn partitions(&self, topic: &TopicName) -> Result<u32, BrokerError>;

    /// Appends a record to a partition. The record is queued before the call returns, so two calls one after
    /// another append in that order; the future resolves once the record is durable.
    fn append(&self, target: &TopicPartition, record: Record) -> Appending;

    /// Reads a partition from `start` on, for ever. New records wake the reader; nothing is polled.
    ///
    /// # Errors
    /// [`BrokerError::Topic`] when the partition does not exist; [`BrokerError::OffsetOutOfRange`] when `start` is an
    /// offset outside it.
    async fn tail(&self, target: &TopicPartition, start: StartAt) -> Result<Box<dyn Tail>, BrokerError>;

    /// Joins the consumer group `group` on `topics`. Leaving is dropping the subscription.
    ///
    /// # Errors
    /// [`BrokerError::Topic`] when a topic does not exist.
    async fn subscribe(
        &self,
        group: &str,
        topics: &[TopicName],
    ) -> Result<Box<dyn Subscription>, BrokerError>;

    /// The oldest and the next offset of a partition.
    ///
    /// # Errors
    /// [`BrokerError::Topic`] when the partition does not exist.
    async fn watermarks(&self, target: &TopicPartition) -> Result<Watermarks, BrokerError>;

    /// The offset that `group` has committed for a partition: the next one it would read.
    ///
    /// # Errors
    /// [`BrokerError::Topic`] when the partition does not exist.
    async fn committed(&self, group: &str, target: &TopicPartition) -> Result<Option<u64>, BrokerError>;

    /// Whether the broker answers, for readiness.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when it does not answer in `limit`.
    async fn probe(&self, limit: Duration) -> Result<(), BrokerError>;
}

/// A reader of one partition.
#[async_trait]
pub trait Tail: Send {
    /// The next record; waits until there is one. Cancel-safe.
    ///
    /// # Errors
    /// [`BrokerError::OffsetOutOfRange`] when retention has removed the place it stood at. Faults that pass
    /// are ridden out by the adapter and not reported here.
    async fn next(&mut self) -> Result<StoredRecord, BrokerError>;
}

/// What a member of a consumer group learns, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// The member owns these partitions from here on.
    Assigned(Vec<TopicPartition>),
    /// The member owns these partitions no longer; records of theirs still in work must not be committed. They go to
    /// another member only once this one asks for its next event, or is dropped.
    Revoked(Vec<TopicPartition>),
    /// A record of an owned partition, in offset order within it.
    Record(TopicPartition, StoredRecord),
}

/// Membership in a consumer group. Dropping it leaves the group.
#[async_trait]
pub trait Subscription: Send {
    /// The next event; waits until there is one. Cancel-safe. A partition's records begin at the group's
    /// committed offset, or at the oldest record kept when there is none.
    ///
    /// # Errors
    /// [`BrokerError::Closed`] once the broker is shut down. Faults that pass are ridden out.
    async fn next(&mut self) -> Result<GroupEvent, BrokerError>;

    /// Commits `next_offset` as where the group goes on in a partition. It is a convenience, never a fence: nothing
    /// checks that this member still owns the partition.
    ///
    /// # Errors
    /// [`BrokerError`] when the commit could not be queued.
    fn commit(&self, target: &TopicPartition, next_offset: u64) -> Result<(), BrokerError>;
}
