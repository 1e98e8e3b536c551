//! Topics, bounds and commits: everything that asks the cluster and waits.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use kopuro_core::topic::TopicName;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::MetadataTopic;
use rdkafka::{ClientConfig, Offset};

use super::context::Context;
use super::message;
use super::settings::KafkaSettings;
use super::tail::partition_list;
use crate::port::{BrokerError, TopicPartition, TopicSettings, Watermarks};

/// A topic that does not exist, asked for to see whether anybody answers: the answer is small in any cluster.
const PROBE_TOPIC: &str = "kopuro.probe";
/// How soon to ask again whether a topic that was just made can be seen.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// How often to listen for what else is told while a group's coordinator is asked.
const LISTEN_EVERY: Duration = Duration::from_millis(250);

/// What is known of a topic.
#[derive(Clone, Copy)]
pub(super) struct Known {
    partitions: u32,
    /// Unknown to a process that has not asked for the topic to be made.
    record_bytes_max: Option<u32>,
}

/// The client that asks and makes.
pub(super) struct Control {
    settings: KafkaSettings,
    client: AdminClient<Context>,
    topics: RwLock<HashMap<TopicName, Known>>,
}

impl Control {
    pub(super) fn new(settings: KafkaSettings) -> Result<Self, BrokerError> {
        let client = settings.control().create_with_context(Context::new("control"));
        let client = client.map_err(|error| message::fault(&error))?;
        Ok(Self { settings, client, topics: RwLock::default() })
    }

    /// The largest record of a topic, if this process has asked for it to be made.
    pub(super) fn record_bytes_max(&self, topic: &TopicName) -> Option<u32> {
        self.topics
            .read()
            .expect("no holder of the lock panics")
            .get(topic)
            .and_then(|known| known.record_bytes_max)
    }

    /// Makes a topic unless it exists, and waits until it can be seen.
    pub(super) async fn ensure_topic(
        self: &Arc<Self>,
        topic: &TopicName,
        wanted: &TopicSettings,
    ) -> Result<(), BrokerError> {
        let partitions = i32::try_from(wanted.partitions).ok().filter(|partitions| *partitions > 0);
        let partitions = partitions.ok_or_else(|| BrokerError::Topic(topic.clone()))?;
        let partitions = match self.partitions(topic).await {
            // Not asked for once more: another broker may not know the topic yet.
            Err(BrokerError::Topic(_)) => self.make_topic(topic, partitions, wanted).await?,
            answer => answer?,
        };
        if partitions != wanted.partitions {
            return Err(BrokerError::Topic(topic.clone()));
        }
        let known = Known { partitions, record_bytes_max: Some(wanted.record_bytes_max) };
        self.topics.write().expect("no holder of the lock panics").insert(topic.clone(), known);
        Ok(())
    }

    async fn make_topic(
        self: &Arc<Self>,
        topic: &TopicName,
        partitions: i32,
        wanted: &TopicSettings,
    ) -> Result<u32, BrokerError> {
        let config = self.settings.topic(wanted);
        let replicas = TopicReplication::Fixed(self.settings.replication_factor.into());
        let fresh = NewTopic::new(topic.as_str(), partitions, replicas);
        let fresh = config.iter().fold(fresh, |fresh, (key, value)| fresh.set(key, value));
        let limit = Some(self.settings.request_timeout());
        let options = AdminOptions::new().request_timeout(limit).operation_timeout(limit);
        let made =
            self.client.create_topics([&fresh], &options).await.map_err(|error| message::fault(&error))?;
        match made.into_iter().next() {
            // Another process may have been faster; its partitions are counted below.
            Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => self.see_topic(topic).await,
            Some(Err((_, code))) => Err(message::topic_verdict(code, topic)
                .unwrap_or_else(|| BrokerError::Unavailable(format!("the topic could not be made: {code}")))),
            None => Err(BrokerError::Unavailable("the topic could not be made: no answer".into())),
        }
    }

    /// Waits until a topic that was just made is known to a broker and has leaders; gives its partitions.
    async fn see_topic(self: &Arc<Self>, topic: &TopicName) -> Result<u32, BrokerError> {
        let deadline = Instant::now() + self.settings.request_timeout();
        loop {
            match self.look_up(topic).await {
                Ok(Found { partitions, is_led: true }) => return Ok(partitions),
                Err(error @ BrokerError::Denied(_)) => return Err(error),
                Ok(_) | Err(_) if Instant::now() < deadline => tokio::time::sleep(ASK_AGAIN).await,
                Ok(_) => return Err(BrokerError::Unavailable("a partition has no leader".into())),
                Err(error) => return Err(error),
            }
        }
    }

    /// How many partitions a topic has; asked once, since it never changes.
    pub(super) async fn partitions(self: &Arc<Self>, topic: &TopicName) -> Result<u32, BrokerError> {
        let known = self.topics.read().expect("no holder of the lock panics").get(topic).copied();
        if let Some(known) = known {
            return Ok(known.partitions);
        }
        let partitions = self.look_up(topic).await?.partitions;
        let known = Known { partitions, record_bytes_max: None };
        self.topics.write().expect("no holder of the lock panics").entry(topic.clone()).or_insert(known);
        Ok(partitions)
    }

    async fn look_up(self: &Arc<Self>, topic: &TopicName) -> Result<Found, BrokerError> {
        let (control, topic) = (self.clone(), topic.clone());
        blocking(move || {
            let limit = control.settings.request_timeout();
            let metadata = control.client.inner().fetch_metadata(Some(topic.as_str()), limit);
            let metadata = metadata.map_err(|error| message::topic_fault(&error, &topic))?;
            let entry = metadata.topics().iter().find(|entry| entry.name() == topic.as_str());
            entry
                .ok_or_else(|| BrokerError::Topic(topic.clone()))
                .and_then(|entry| Found::read(entry, &topic))
        })
        .await
    }

    /// Checks that a partition exists.
    pub(super) async fn check(self: &Arc<Self>, target: &TopicPartition) -> Result<(), BrokerError> {
        let partitions = self.partitions(&target.topic).await?;
        if target.partition < partitions { Ok(()) } else { Err(BrokerError::Topic(target.topic.clone())) }
    }

    pub(super) async fn watermarks(
        self: &Arc<Self>,
        target: &TopicPartition,
    ) -> Result<Watermarks, BrokerError> {
        self.check(target).await?;
        let deadline = Instant::now() + self.settings.request_timeout();
        loop {
            let (control, asked) = (self.clone(), target.clone());
            match blocking(move || control.ask_watermarks(&asked)).await {
                Err(error @ BrokerError::Denied(_)) => return Err(error),
                // A partition that was just made, or moves, has no leader for a moment.
                Err(_) if Instant::now() < deadline => tokio::time::sleep(ASK_AGAIN).await,
                answer => return answer,
            }
        }
    }

    fn ask_watermarks(&self, target: &TopicPartition) -> Result<Watermarks, BrokerError> {
        let partition =
            i32::try_from(target.partition).map_err(|_| BrokerError::Topic(target.topic.clone()))?;
        let topic = target.topic.as_str();
        let bounds = self.client.inner().fetch_watermarks(topic, partition, self.settings.request_timeout());
        let (low, high) = bounds.map_err(|error| message::topic_fault(&error, &target.topic))?;
        let bound =
            |offset: i64| u64::try_from(offset).map_err(|_| BrokerError::Unavailable("no watermarks".into()));
        Ok(Watermarks { low: bound(low)?, high: bound(high)? })
    }

    /// A group's committed offset, asked by a client that does not join it.
    pub(super) async fn committed(
        self: &Arc<Self>,
        group: &str,
        target: &TopicPartition,
    ) -> Result<Option<u64>, BrokerError> {
        self.check(target).await?;
        let (config, limit) = (self.settings.member(group), self.settings.request_timeout());
        let target = target.clone();
        blocking(move || ask_committed(&config, &target, limit)).await
    }

    /// Whether any broker answers within `limit`.
    pub(super) async fn probe(self: &Arc<Self>, limit: Duration) -> Result<(), BrokerError> {
        let control = self.clone();
        blocking(move || {
            let answer = control.client.inner().fetch_metadata(Some(PROBE_TOPIC), limit);
            answer.map(drop).map_err(|error| message::fault(&error))
        })
        .await
    }
}

fn ask_committed(
    config: &ClientConfig,
    target: &TopicPartition,
    limit: Duration,
) -> Result<Option<u64>, BrokerError> {
    let consumer: BaseConsumer<Context> =
        config.create_with_context(Context::new("commits")).map_err(|error| message::fault(&error))?;
    let deadline = Instant::now() + limit;
    let list = loop {
        let failure = match consumer.committed_offsets(partition_list(target, None)?, limit.min(LISTEN_EVERY))
        {
            Ok(list) => break list,
            Err(failure) => failure,
        };
        let is_waiting = failure.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut);
        // librdkafka looks for the group's coordinator until time is up, and tells only those who poll that it may not.
        match consumer.poll(Duration::ZERO).and_then(Result::err) {
            Some(told) if told.rdkafka_error_code().is_some_and(message::is_denial) => {
                return Err(message::fault(&told));
            }
            Some(_) | None if is_waiting && Instant::now() < deadline => {}
            Some(_) | None => return Err(message::topic_fault(&failure, &target.topic)),
        }
    };
    let elements = list.elements();
    let Some(element) = elements.first() else { return Ok(None) };
    element.error().map_err(|error| message::topic_fault(&error, &target.topic))?;
    match element.offset() {
        Offset::Offset(offset) => Ok(u64::try_from(offset).ok()),
        _ => Ok(None),
    }
}

/// What the cluster says of a topic.
struct Found {
    partitions: u32,
    /// Whether every partition has a leader.
    is_led: bool,
}

impl Found {
    fn read(entry: &MetadataTopic, topic: &TopicName) -> Result<Self, BrokerError> {
        if let Some(code) = entry.error().map(RDKafkaErrorCode::from) {
            let transient = || BrokerError::Unavailable(code.to_string());
            return Err(message::topic_verdict(code, topic).unwrap_or_else(transient));
        }
        let is_led = entry.partitions().iter().all(|partition| partition.leader() >= 0);
        match u32::try_from(entry.partitions().len()) {
            Ok(0) => Err(BrokerError::Unavailable("the topic has no partitions yet".into())),
            Ok(partitions) => Ok(Self { partitions, is_led }),
            Err(_) => Err(BrokerError::Topic(topic.clone())),
        }
    }
}

/// Runs what may block where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(BrokerError::Closed))
}
