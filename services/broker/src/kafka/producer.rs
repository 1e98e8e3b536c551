//! Appends through librdkafka's idempotent producer.
//!
//! librdkafka resends on its own, so a record whose delivery failed may be in the log all the same. Only faults that
//! arise before anything is sent, or that no resending can hide, are answered as "not appended".

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};

use kopuro_core::topic::TopicName;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use tokio::sync::oneshot;

use super::context::{Context, Reach};
use super::message;
use super::off_runtime;
use crate::port::{AppendError, BrokerError, Position, Record, TopicPartition};

/// The outcome of one append.
pub(super) type Outcome = Result<Position, AppendError>;

/// The appending client. One that librdkafka has declared broken is replaced.
pub(super) struct Appender {
    config: ClientConfig,
    reach: Arc<Reach>,
    acknowledged: Arc<Acknowledged>,
    /// Empty only while the appender is dropped.
    producer: RwLock<Option<Arc<ThreadedProducer<Deliveries>>>>,
}

impl Appender {
    pub(super) fn new(config: ClientConfig, reach: Arc<Reach>) -> Result<Self, BrokerError> {
        let acknowledged = Arc::new(Acknowledged::default());
        let producer = make(&config, &reach, &acknowledged)?;
        Ok(Self { config, reach, acknowledged, producer: RwLock::new(Some(Arc::new(producer))) })
    }

    /// Queues a record behind all earlier ones of its partition.
    pub(super) fn push(
        &self,
        target: &TopicPartition,
        record: &Record,
    ) -> Result<oneshot::Receiver<Outcome>, AppendError> {
        if self.reach.is_lost() {
            return Err(AppendError::NotAppended(BrokerError::Unavailable(
                "no Kafka broker can be reached".into(),
            )));
        }
        self.acknowledged.check(target).map_err(AppendError::NotAppended)?;
        let producer = self.current();
        let (answer, answered) = oneshot::channel();
        let delivery = Box::new(Delivery { answer, topic: target.topic.clone() });
        let partition = i32::try_from(target.partition);
        let partition =
            partition.map_err(|_| AppendError::NotAppended(BrokerError::Topic(target.topic.clone())))?;
        let mut queued = BaseRecord::with_opaque_to(target.topic.as_str(), delivery)
            .partition(partition)
            .key(record.key.as_ref())
            .payload(record.value.as_ref());
        queued.headers = message::owned_headers(&record.headers);
        match producer.send(queued) {
            Ok(()) => Ok(answered),
            Err((error, _)) => Err(self.refused(&error, &producer, &target.topic)),
        }
    }

    /// Waits until everything queued has been answered, at most as long as an append may take. Blocks.
    pub(super) fn flush(&self, limit: std::time::Duration) {
        if let Err(error) = self.current().flush(limit) {
            tracing::warn!(%error, "appends were still on their way when the Kafka client closed");
        }
    }

    fn refused(
        &self,
        error: &KafkaError,
        broken: &Arc<ThreadedProducer<Deliveries>>,
        topic: &TopicName,
    ) -> AppendError {
        use RDKafkaErrorCode::{Fatal, MessageSizeTooLarge, QueueFull};
        let code = error.rdkafka_error_code();
        if code == Some(Fatal) {
            self.replace(broken);
        }
        match code {
            Some(QueueFull) => AppendError::QueueFull,
            Some(MessageSizeTooLarge) => AppendError::TooLarge,
            Some(code) if message::is_unknown_topic(code) => {
                AppendError::NotAppended(BrokerError::Topic(topic.clone()))
            }
            // librdkafka's codes are open-ended; whatever it refuses to queue, it has not sent.
            _ => AppendError::NotAppended(message::unavailable(error)),
        }
    }

    fn current(&self) -> Arc<ThreadedProducer<Deliveries>> {
        let producer = self.producer.read().expect("no holder of the lock panics");
        producer.clone().expect("only dropping takes the producer")
    }

    fn replace(&self, broken: &Arc<ThreadedProducer<Deliveries>>) {
        let mut producer = self.producer.write().expect("no holder of the lock panics");
        if !producer.as_ref().is_some_and(|current| Arc::ptr_eq(current, broken)) {
            return;
        }
        match make(&self.config, &self.reach, &self.acknowledged) {
            Ok(fresh) => {
                tracing::error!("the Kafka producer met a fatal fault and has been replaced");
                let old = producer.replace(Arc::new(fresh));
                off_runtime(move || drop(old));
            }
            Err(error) => {
                tracing::error!(%error, "the Kafka producer met a fatal fault and cannot be replaced");
            }
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let producer = self.producer.write().expect("no holder of the lock panics").take();
        off_runtime(move || drop(producer));
    }
}

fn make(
    config: &ClientConfig,
    reach: &Arc<Reach>,
    acknowledged: &Arc<Acknowledged>,
) -> Result<ThreadedProducer<Deliveries>, BrokerError> {
    let context = Deliveries {
        context: Context::watching("producer", reach.clone()),
        reach: reach.clone(),
        acknowledged: acknowledged.clone(),
    };
    ThreadedProducer::from_config_and_context(config, context).map_err(|error| message::unavailable(&error))
}

/// An append on its way.
struct Delivery {
    answer: oneshot::Sender<Outcome>,
    topic: TopicName,
}

/// Where delivery reports arrive, in order within a partition.
struct Deliveries {
    context: Context,
    reach: Arc<Reach>,
    acknowledged: Arc<Acknowledged>,
}

/// The last acknowledged offset of each partition.
///
/// A topic that was deleted and made again begins at zero, and librdkafka may then report records as delivered that
/// are in no log. Its topic id is out of reach here; what can be seen is an offset that does not rise. Such a partition takes
/// no more appends until a person has looked and the process is started again.
#[derive(Default)]
struct Acknowledged(Mutex<HashMap<TopicPartition, Last>>);

#[derive(Clone, Copy)]
enum Last {
    Offset(u64),
    Broken,
}

impl Acknowledged {
    fn check(&self, target: &TopicPartition) -> Result<(), BrokerError> {
        match self.0.lock().expect("no holder of the lock panics").get(target) {
            Some(Last::Broken) => Err(not_rising(target)),
            Some(Last::Offset(_)) | None => Ok(()),
        }
    }

    fn rise(&self, target: TopicPartition, offset: i64) -> Outcome {
        let mut all = self.0.lock().expect("no holder of the lock panics");
        let rises = match (all.get(&target), u64::try_from(offset)) {
            (None, Ok(offset)) => Some(offset),
            (Some(Last::Offset(last)), Ok(offset)) if *last < offset => Some(offset),
            (Some(Last::Offset(_) | Last::Broken), Ok(_)) | (_, Err(_)) => None,
        };
        if let Some(offset) = rises {
            let partition = target.partition;
            all.insert(target, Last::Offset(offset));
            return Ok(Position { partition, offset });
        }
        if !matches!(all.insert(target.clone(), Last::Broken), Some(Last::Broken)) {
            tracing::error!(%target, offset, "acknowledged offsets do not rise: was the topic made anew?");
        }
        Err(AppendError::Unknown(not_rising(&target)))
    }
}

fn not_rising(target: &TopicPartition) -> BrokerError {
    BrokerError::Damaged(format!("acknowledged offsets of {target} do not rise"))
}

fn failed(code: Option<RDKafkaErrorCode>, error: &KafkaError, topic: &TopicName) -> AppendError {
    match code {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => AppendError::TooLarge,
        // Brokers that only do not know it yet are asked again; this is the verdict that there is no such topic.
        Some(code) if message::is_unknown_topic(code) => {
            AppendError::NotAppended(BrokerError::Topic(topic.clone()))
        }
        // Of any other, an earlier attempt may have reached the log.
        _ => AppendError::Unknown(message::unavailable(error)),
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        let Delivery { answer, topic } = *delivery;
        let outcome = match result {
            Ok(message) => {
                self.reach.regain();
                let partition =
                    u32::try_from(message.partition()).expect("a delivered message has a partition");
                self.acknowledged.rise(TopicPartition { topic, partition }, message.offset())
            }
            Err((error, _)) => Err(failed(error.rdkafka_error_code(), error, &topic)),
        };
        // A caller that no longer waits has dropped its end.
        let _gone = answer.send(outcome);
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

#[cfg(test)]
mod tests {
    use kopuro_core::id::SubsystemId;
    use kopuro_core::topic::SubsystemTopic;

    use super::*;

    fn target() -> TopicPartition {
        let subsystem = SubsystemId::parse("KG/GOV/70000005/civil-registry").unwrap();
        TopicPartition { topic: TopicName::of_subsystem(SubsystemTopic::Call, &subsystem), partition: 1 }
    }

    #[test]
    fn an_offset_that_does_not_rise_stops_the_partition() {
        for offset in [7, 3, -1] {
            let acknowledged = Acknowledged::default();
            assert_eq!(acknowledged.rise(target(), 7).unwrap(), Position { partition: 1, offset: 7 });
            acknowledged.check(&target()).unwrap();
            let unknown = acknowledged.rise(target(), offset);
            assert!(matches!(unknown, Err(AppendError::Unknown(BrokerError::Damaged(_)))), "{unknown:?}");
            assert!(acknowledged.check(&target()).is_err());
            assert!(acknowledged.rise(target(), 8).is_err(), "it stays stopped");
        }
    }

    #[test]
    fn only_what_was_never_sent_is_certainly_not_appended() {
        use RDKafkaErrorCode::{
            MessageSizeTooLarge, MessageTimedOut, PurgeQueue, UnknownPartition, UnknownTopic,
        };
        let outcome = |code| failed(Some(code), &KafkaError::MessageProduction(code), &target().topic);
        assert!(matches!(outcome(MessageSizeTooLarge), AppendError::TooLarge));
        for code in [UnknownTopic, UnknownPartition] {
            assert!(matches!(outcome(code), AppendError::NotAppended(BrokerError::Topic(_))));
        }
        for code in [MessageTimedOut, PurgeQueue, RDKafkaErrorCode::PurgeInflight, RDKafkaErrorCode::Fatal] {
            assert!(matches!(outcome(code), AppendError::Unknown(_)), "{code:?}");
        }
    }
}
