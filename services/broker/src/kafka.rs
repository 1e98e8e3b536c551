//! The broker on a Kafka cluster, through librdkafka.
//!
//! An append is acknowledged once all in-sync replicas have it (`acks=all`, at least `in_sync_replicas_min` of them). Kafka does
//! not sync to disk before it acknowledges: durability comes from replication, and all replicas losing power at once
//! can lose acknowledged records.
//!
//! While no broker can be reached, appends are refused at once, which is a certain answer; those already on their
//! way are reported unknown after `append_timeout_ms`.
//!
//! **Access rights.** On a cluster that denies by default a client needs: for appending, `Write` on the topic; for tails,
//! `Read` on the topic, and `Describe` on the group `kopuro-tail`, which it never joins; for a consumer group, `Read` on the topic and the
//! group; for making topics, `Create` and `Describe` on them. What it lacks is answered with [`BrokerError::Denied`], an append
//! with `NotAppended`. Only where the right to append was taken away while appends were on their way, those are reported unknown: an earlier
//! attempt of theirs may have reached the log.
//!
//! **Limits.** A topic that is deleted and made again under a running process is noticed only when an acknowledged
//! offset does not rise (the partition then takes no more appends), since librdkafka does not show topic ids here; a
//! tail of it may skip records unnoticed. Topics are never to be made anew under the same name. A process that has not itself asked for a topic to be made does not know its `record_bytes_max`, and
//! refuses only what Kafka refuses, which is a little more than that. A header whose name is not UTF-8 is left out of the
//! records that are read.

mod acknowledged;
mod context;
mod control;
mod message;
mod producer;
mod settings;
mod subscription;
mod tail;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kopuro_core::topic::TopicName;
use tokio::task::AbortHandle;

pub use self::settings::{KafkaSettings, KafkaTls, SettingsFault};

use self::context::Reach;
use self::control::{Control, blocking};
use self::producer::{Appender, Outcome};
use self::subscription::KafkaMember;
use self::tail::Tails;
use crate::port::{
    AppendError, Appending, Broker, BrokerError, HEADERS_BYTES_MAX, Record, StartAt, Subscription, Tail,
    TopicPartition, TopicSettings, Watermarks,
};

/// How often to look for a lost cluster.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The broker of a Kafka cluster.
pub struct KafkaBroker {
    settings: KafkaSettings,
    reach: Arc<Reach>,
    control: Arc<Control>,
    appender: Arc<Appender>,
    tails: Arc<Tails>,
    lookout: AbortHandle,
}

impl KafkaBroker {
    /// Connects to the cluster, and has the producer fetch its identity so that the first append does not wait for it.
    /// Needs a tokio runtime around it.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when the settings are wrong or no broker answers in time;
    /// [`BrokerError::Untrusted`] when that is for certificates.
    pub async fn connect(settings: KafkaSettings) -> Result<Arc<Self>, BrokerError> {
        if let Some(fault) = settings.faults().first() {
            return Err(BrokerError::Unavailable(fault.to_string()));
        }
        let reach = Arc::new(Reach::default());
        let control = Arc::new(Control::new(settings.clone())?);
        let appender = Arc::new(Appender::new(settings.producer(), reach.clone())?);
        tokio::select! {
            answer = control.probe(settings.request_timeout()) => answer.map_err(|_| reach.fault())?,
            () = reach.distrusted() => return Err(reach.fault()),
        }
        let tails = Arc::new(Tails::new(settings.tail()));
        let lookout = tokio::spawn(look_out(reach.clone(), control.clone())).abort_handle();
        Ok(Arc::new(Self { settings, reach, control, appender, tails, lookout }))
    }

    /// Waits until every queued append has been answered, at most as long as an append may take.
    pub async fn flush(&self) {
        let appender = self.appender.clone();
        let limit = Duration::from_millis(self.settings.append_timeout_ms.into());
        // The only failure is a panic, which has been reported where it happened.
        let _joined = tokio::task::spawn_blocking(move || appender.flush(limit)).await;
    }

    fn push(&self, target: &TopicPartition, record: &Record) -> Result<Answer, AppendError> {
        let bytes = record.key.len() + record.value.len();
        let bytes_max = self.control.record_bytes_max(&target.topic).unwrap_or(settings::RECORD_BYTES_LIMIT);
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > bytes_max as usize || headers > HEADERS_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        self.appender.push(target, record)
    }
}

type Answer = tokio::sync::oneshot::Receiver<Outcome>;

impl Drop for KafkaBroker {
    fn drop(&mut self) {
        self.lookout.abort();
    }
}

/// Once no broker can be reached, asks until one can: meanwhile appends are refused, which is a certain answer, instead
/// of waiting to be reported unknown.
async fn look_out(reach: Arc<Reach>, control: Arc<Control>) {
    loop {
        reach.lost().await;
        while reach.is_lost() {
            match control.probe(Duration::from_secs(1)).await {
                Ok(()) => reach.regain(),
                Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}

#[async_trait]
impl Broker for KafkaBroker {
    async fn ensure_topic(&self, topic: &TopicName, settings: &TopicSettings) -> Result<(), BrokerError> {
        self.control.ensure_topic(topic, settings).await
    }

    async fn partitions(&self, topic: &TopicName) -> Result<u32, BrokerError> {
        self.control.partitions(topic).await
    }

    fn append(&self, target: &TopicPartition, record: Record) -> Appending {
        let pushed = self.push(target, &record);
        Appending::new(async move { pushed?.await.unwrap_or(Err(AppendError::Unknown(BrokerError::Closed))) })
    }

    async fn tail(&self, target: &TopicPartition, start: StartAt) -> Result<Box<dyn Tail>, BrokerError> {
        let Watermarks { low, high } = self.control.watermarks(target).await?;
        let next = match start {
            StartAt::Earliest => low,
            StartAt::Latest => high,
            StartAt::Offset(offset) if (low..=high).contains(&offset) => offset,
            StartAt::Offset(_) => return Err(BrokerError::OffsetOutOfRange),
        };
        let (tails, target) = (self.tails.clone(), target.clone());
        Ok(Box::new(blocking(move || tails.start(&target, next)).await?))
    }

    async fn subscribe(
        &self,
        group: &str,
        topics: &[TopicName],
    ) -> Result<Box<dyn Subscription>, BrokerError> {
        for topic in topics {
            self.control.partitions(topic).await?;
        }
        let (config, topics) = (self.settings.member(group), topics.to_vec());
        Ok(Box::new(blocking(move || KafkaMember::join(&config, &topics)).await?))
    }

    async fn watermarks(&self, target: &TopicPartition) -> Result<Watermarks, BrokerError> {
        self.control.watermarks(target).await
    }

    async fn committed(&self, group: &str, target: &TopicPartition) -> Result<Option<u64>, BrokerError> {
        self.control.committed(group, target).await
    }

    async fn probe(&self, limit: Duration) -> Result<(), BrokerError> {
        self.control.probe(limit).await.map_err(|_| self.reach.fault())
    }
}

/// Runs librdkafka's blocking farewells on a thread of their own.
fn off_runtime(work: impl FnOnce() + Send + 'static) {
    let spawned = std::thread::Builder::new().name("kopuro-kafka".to_owned()).spawn(work);
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread could be started for the Kafka client");
    }
}
