//! The broker port and its two adapters.
//!
//! The exchange engine knows only [`Broker`]. [`embedded`] keeps a durable log in one process, [`kafka`]
//! speaks to a Kafka cluster; one contract-test suite holds both to the same behaviour.

pub mod embedded;
pub mod kafka;
mod port;

pub use embedded::EmbeddedBroker;
pub use kafka::{KafkaBroker, KafkaSettings};
pub use port::{
    AppendError, Appending, Broker, BrokerError, GroupEvent, Position, Record, StartAt, StoredRecord,
    Subscription, Tail, TopicPartition, TopicSettings, Watermarks,
};
