//! Appends through librdkafka's idempotent producer.
//!
//! librdkafka resends on its own, so a record whose delivery failed may be in the log all the same. Only faults that
//! arise before anything is sent, or that no resending can hide, are answered as "not appended".

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use kopuro_core::topic::TopicName;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::statistics::Statistics;
use tokio::sync::oneshot;

use super::acknowledged::Acknowledged;
use super::context::{Context, Reach};
use super::message;
use super::off_runtime;
use crate::port::{AppendError, BrokerError, Position, Record, TopicPartition};

/// How soon a producer that has broken is replaced: a client without any right breaks each at once, and they are dear.
const REPLACED_EVERY: Duration = Duration::from_secs(1);

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
            return Err(AppendError::NotAppended(self.reach.fault()));
        }
        let was_allowed = self.acknowledged.check(target).map_err(AppendError::NotAppended)?;
        let producer = self.current();
        let (answer, answered) = oneshot::channel();
        let delivery = Box::new(Delivery { answer, topic: target.topic.clone(), was_allowed });
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
            // librdkafka's codes are open-ended; whatever it refuses to queue, it has not sent.
            Some(Fatal) => AppendError::NotAppended(fatal(broken)),
            _ => AppendError::NotAppended(message::topic_fault(error, topic)),
        }
    }

    fn current(&self) -> Arc<ThreadedProducer<Deliveries>> {
        let producer = self.producer.read().expect("no holder of the lock panics");
        producer.clone().expect("only dropping takes the producer")
    }

    fn replace(&self, broken: &Arc<ThreadedProducer<Deliveries>>) {
        let mut producer = self.producer.write().expect("no holder of the lock panics");
        let is_current = producer.as_ref().is_some_and(|current| Arc::ptr_eq(current, broken));
        if !is_current || broken.context().made.elapsed() < REPLACED_EVERY {
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
        is_denied: AtomicBool::new(false),
        made: Instant::now(),
    };
    ThreadedProducer::from_config_and_context(config, context).map_err(|error| message::fault(&error))
}

/// What has ended a producer for good.
fn fatal(broken: &ThreadedProducer<Deliveries>) -> BrokerError {
    match broken.client().fatal_error() {
        Some((code, _)) => message::fault(&KafkaError::Global(code)),
        None => BrokerError::Unavailable("the Kafka producer met a fatal fault".into()),
    }
}

/// An append on its way.
struct Delivery {
    answer: oneshot::Sender<Outcome>,
    topic: TopicName,
    /// Whether appends to the partition were allowed when this one was queued.
    was_allowed: bool,
}

/// Where delivery reports arrive, in order within a partition.
struct Deliveries {
    context: Context,
    reach: Arc<Reach>,
    acknowledged: Arc<Acknowledged>,
    /// Whether the cluster has refused this producer its identity, without which it sends nothing.
    is_denied: AtomicBool,
    made: Instant,
}

fn failed(error: &KafkaError, topic: &TopicName, was_allowed: bool) -> AppendError {
    let code = error.rdkafka_error_code();
    if code == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
        return AppendError::TooLarge;
    }
    // Brokers that only do not know the topic yet are asked again; these are verdicts.
    match code.and_then(|code| message::topic_verdict(code, topic)) {
        // The right was taken away while the append was on its way: an earlier attempt may have reached the log.
        Some(verdict @ BrokerError::Denied(_)) if was_allowed => AppendError::Unknown(verdict),
        Some(verdict) => AppendError::NotAppended(verdict),
        // Of any other, an earlier attempt may have reached the log.
        None => AppendError::Unknown(message::fault(error)),
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Box<Delivery>) {
        let Delivery { answer, topic, was_allowed } = *delivery;
        let partition = |message: &BorrowedMessage<'_>| {
            u32::try_from(message.partition()).expect("an append names its partition")
        };
        let outcome = match result {
            Ok(message) => {
                self.reach.regain();
                let target = TopicPartition { partition: partition(message), topic };
                self.acknowledged.rise(target, message.offset())
            }
            Err((error, message)) => {
                let failure = failed(&self.cause(error), &topic, was_allowed);
                if let AppendError::NotAppended(BrokerError::Denied(_))
                | AppendError::Unknown(BrokerError::Denied(_)) = failure
                {
                    self.acknowledged.deny(TopicPartition { partition: partition(message), topic });
                }
                Err(failure)
            }
        };
        // A caller that no longer waits has dropped its end.
        let _gone = answer.send(outcome);
    }
}

impl Deliveries {
    /// Why an append failed. What was still queued when the producer was refused its identity is only said to be purged.
    fn cause(&self, error: &KafkaError) -> KafkaError {
        let is_purged = error.rdkafka_error_code() == Some(RDKafkaErrorCode::PurgeQueue);
        if is_purged && self.is_denied.load(Ordering::Acquire) {
            return KafkaError::MessageProduction(RDKafkaErrorCode::ClusterAuthorizationFailed);
        }
        error.clone()
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::ClusterAuthorizationFailed) {
            self.is_denied.store(true, Ordering::Release);
        }
        self.context.error(error, reason);
    }

    fn stats(&self, _: Statistics) {}
}

#[cfg(test)]
mod tests {
    use kopuro_core::id::SubsystemId;
    use kopuro_core::topic::SubsystemTopic;

    use super::*;

    fn topic() -> TopicName {
        let subsystem = SubsystemId::parse("KG/GOV/70000005/civil-registry").unwrap();
        TopicName::of_subsystem(SubsystemTopic::Call, &subsystem)
    }

    #[test]
    fn only_what_was_never_sent_is_certainly_not_appended() {
        use RDKafkaErrorCode::{
            MessageSizeTooLarge, MessageTimedOut, PurgeQueue, UnknownPartition, UnknownTopic,
        };
        let outcome = |code| failed(&KafkaError::MessageProduction(code), &topic(), false);
        assert!(matches!(outcome(MessageSizeTooLarge), AppendError::TooLarge));
        for code in [UnknownTopic, UnknownPartition] {
            assert!(matches!(outcome(code), AppendError::NotAppended(BrokerError::Topic(_))));
        }
        for code in [MessageTimedOut, PurgeQueue, RDKafkaErrorCode::PurgeInflight, RDKafkaErrorCode::Fatal] {
            assert!(matches!(outcome(code), AppendError::Unknown(_)), "{code:?}");
        }
    }

    #[test]
    fn a_denial_is_certain_unless_the_right_was_there() {
        use RDKafkaErrorCode::{ClusterAuthorizationFailed, TopicAuthorizationFailed};
        for code in [ClusterAuthorizationFailed, TopicAuthorizationFailed] {
            let outcome = |was_allowed| failed(&KafkaError::MessageProduction(code), &topic(), was_allowed);
            assert!(matches!(outcome(false), AppendError::NotAppended(BrokerError::Denied(_))));
            assert!(matches!(outcome(true), AppendError::Unknown(BrokerError::Denied(_))));
        }
    }
}
