//! The broker port and its two adapters.
//!
//! Everything above this crate knows only [`Broker`]: durable, partitioned, append-only topics, tails that are woken, and consumer
//! groups. [`EmbeddedBroker`] keeps such a log in one process, for a first run, development, tests and a pilot in a single process;
//! [`KafkaBroker`] speaks to a Kafka cluster, for anything beyond. One contract-test suite (`tests/contract.rs`) runs
//! every case against both; Kafka there is a real one (`deploy/kafka`).
//!
//! # What is durable when
//! | | embedded | Kafka |
//! |---|---|---|
//! | an append that was answered with its position | on disk (`fdatasync`): survives the process and power | on every in-sync replica: survives `in_sync_replicas_min - 1` brokers; **not** synced to disk before the answer, so all replicas losing power at once can lose it |
//! | an append answered [`AppendError::Unknown`] | in the log or not; it shows after a restart | in the log or not; librdkafka no longer tries |
//! | any other [`AppendError`] | certainly in no log | certainly in no log |
//! | a committed offset | in memory at once, on disk within 200 ms or with the next append | on its way to the group's coordinator |
//! | a new topic | synced before the call returns | known to the cluster before the call returns |
//!
//! # What is in order when
//! Appends to one partition stand in the order in which [`Broker::append`] was called; positions rise strictly and may have
//! gaps. Append times (`LogAppendTime`) never go back within an embedded partition; on Kafka they follow the leader's clock.
//!
//! # Groups
//! A partition is revoked from a member before it is assigned to another, and it moves only once the member that
//! lost it has asked for its next event or is gone. A member that hangs holds on to its partitions: for ever in the
//! embedded broker, for `max.poll.interval.ms` (five minutes) on Kafka. Membership is a convenience, never a fence.
//!
//! # Limits
//! Appends wait in bounded queues, 64 MiB in all; a full one answers [`AppendError::QueueFull`]. A record's headers may take 16 KiB.
//! A reader behind the newest records of an embedded partition reads them from disk; 256 KiB per partition that is being read are kept
//! in memory. A Kafka client holds at most 8 MiB of records that have not been asked for.

pub mod durable;
pub mod embedded;
pub mod kafka;
mod port;

pub use embedded::EmbeddedBroker;
pub use kafka::{KafkaBroker, KafkaSettings, KafkaTls, SettingsFault};
pub use port::{
    AppendError, Appending, Broker, BrokerError, GroupEvent, Position, Record, StartAt, StoredRecord,
    Subscription, Tail, TopicPartition, TopicSettings, Watermarks,
};
