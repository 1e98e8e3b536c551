//! What every case stands on: a broker to open and reopen, fresh topics, and bounded waiting.

use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{
    Broker, BrokerError, EmbeddedBroker, KafkaBroker, KafkaSettings, Position, Record, StoredRecord,
    Subscription, Tail, TopicPartition, TopicSettings,
};
use kopuro_core::id::SubsystemId;
use kopuro_core::topic::{SubsystemTopic, TopicName};

/// The longest that anything may take; only a failing case waits for it.
const LIMIT: Duration = Duration::from_secs(30);

/// The broker that a case runs against.
pub(crate) enum Fixture {
    Embedded(tempfile::TempDir),
    Kafka(String),
}

impl Fixture {
    pub(crate) fn embedded() -> Self {
        Self::Embedded(tempfile::tempdir().unwrap())
    }

    /// The Kafka given in the environment; `None`, said on standard error, when there is none.
    pub(crate) fn kafka(case: &str) -> Option<Self> {
        if let Ok(address) = std::env::var("KOPURO_TEST_KAFKA") {
            return Some(Self::Kafka(address));
        }
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "KOPURO_TEST_KAFKA is not set, and CI may skip nothing"
        );
        // Written past the test harness, which swallows what a passing test prints.
        let line = format!("skipped: kafka::{case}: KOPURO_TEST_KAFKA is not set\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        None
    }

    pub(crate) async fn open(&self) -> Arc<dyn Broker> {
        match self {
            Self::Embedded(folder) => EmbeddedBroker::open(folder.path()).unwrap(),
            Self::Kafka(address) => kafka(address).await,
        }
    }

    /// Ends `broker`, which must have no other holder, and opens a new one on the same data.
    pub(crate) async fn reopen(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker> {
        assert_eq!(Arc::strong_count(&broker), 1);
        tokio::task::spawn_blocking(move || drop(broker)).await.unwrap();
        self.open().await
    }
}

async fn kafka(address: &str) -> Arc<dyn Broker> {
    KafkaBroker::connect(KafkaSettings::single_broker(address)).await.unwrap()
}

/// A topic name that no other test has.
pub(crate) fn fresh_topic() -> TopicName {
    let subsystem =
        SubsystemId::parse(&format!("KG/GOV/70000005/test-{:032x}", rand::random::<u128>())).unwrap();
    TopicName::of_subsystem(SubsystemTopic::Call, &subsystem)
}

pub(crate) fn settings(partitions: u32) -> TopicSettings {
    TopicSettings { partitions, retention: Some(Duration::from_secs(3_600)), record_bytes_max: 1 << 20 }
}

/// Makes a fresh topic.
pub(crate) async fn topic_with(broker: &Arc<dyn Broker>, partitions: u32) -> TopicName {
    let topic = fresh_topic();
    broker.ensure_topic(&topic, &settings(partitions)).await.unwrap();
    topic
}

pub(crate) fn at(topic: &TopicName, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition }
}

pub(crate) fn record(value: impl Into<Vec<u8>>) -> Record {
    Record { key: Bytes::from_static(b"key"), value: Bytes::from(value.into()), headers: Vec::new() }
}

pub(crate) fn text(stored: &StoredRecord) -> String {
    String::from_utf8(stored.record.value.to_vec()).unwrap()
}

/// Appends and waits for the position.
pub(crate) async fn append(
    broker: &Arc<dyn Broker>,
    target: &TopicPartition,
    value: impl Into<Vec<u8>>,
) -> Position {
    soon(broker.append(target, record(value))).await.unwrap()
}

/// Reads `count` records.
pub(crate) async fn take(tail: &mut Box<dyn Tail>, count: usize) -> Vec<StoredRecord> {
    let mut records = Vec::new();
    while records.len() < count {
        records.push(soon(tail.next()).await.unwrap());
    }
    records
}

/// The next event of a subscription.
pub(crate) async fn event(subscription: &mut Box<dyn Subscription>) -> kopuro_broker::GroupEvent {
    soon(subscription.next()).await.unwrap()
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes too long")
}

pub(crate) fn is_topic_error<T>(outcome: &Result<T, BrokerError>, topic: &TopicName) -> bool {
    matches!(outcome, Err(BrokerError::Topic(named)) if named == topic)
}

pub(crate) fn embedded_at(folder: &Path) -> Arc<dyn Broker> {
    EmbeddedBroker::open(folder).unwrap()
}
