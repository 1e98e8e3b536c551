//! What every part of the engine shares.

use std::sync::Arc;

use kopuro_broker::{Broker, BrokerError, TopicSettings};
use kopuro_core::error::Reason;
use kopuro_core::id::MemberId;
use kopuro_core::record::RECORD_LEN_MAX;
use kopuro_core::time::Clock;
use kopuro_core::topic::{MemberTopic, TopicName};
use kopuro_registry::contracts::Contracts;
use kopuro_registry::views::Views;
use kopuro_telemetry::audit::AuditSink;
use kopuro_telemetry::metrics::Metrics;
use tokio::sync::Semaphore;

use crate::dead_letter::ENTRY_LEN_MAX;
use crate::outbox::Outbox;
use crate::replica::Replica;
use crate::settings::ExchangeSettings;

/// The longest time for which records of calls, replies, markers and outcomes are kept: the outcome window and the
/// longest life of a request, with room. **Units:** seconds.
const RETENTION: std::time::Duration = std::time::Duration::from_secs(8 * 24 * 3600);

/// How many letters are written at once: each is held in memory, twice over, until it is durable.
const LETTERS_AT_ONCE: usize = 8;

/// The parts that a node gives its engine.
#[derive(Clone)]
pub struct Parts {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The registry's current view.
    pub views: Arc<Views>,
    /// Contracts by digest.
    pub contracts: Arc<Contracts>,
    /// This replica's keys.
    pub replica: Arc<Replica>,
    /// Where audit events go.
    pub audit: Arc<dyn AuditSink>,
    /// The node's metrics.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The bounds.
    pub settings: ExchangeSettings,
}

/// The parts, with the outbox that all of the engine appends through.
pub(crate) struct Node {
    pub(crate) parts: Parts,
    pub(crate) outbox: Outbox,
    /// Turns at writing a dead letter.
    pub(crate) letters: Semaphore,
}

impl Node {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        let outbox = Outbox::new(&parts);
        Arc::new(Self { parts, outbox, letters: Semaphore::new(LETTERS_AT_ONCE) })
    }

    /// Makes sure that a topic of `member` exists, for records of statements or what is as large, and says how many
    /// partitions it has.
    pub(crate) async fn ensure_topic(
        &self,
        topic: &TopicName,
        member: &MemberId,
    ) -> Result<u32, EnsureError> {
        self.ensure(topic, member, RECORD_LEN_MAX).await
    }

    /// Makes sure that `member`'s dead-letter topic exists. It takes more than the topics that records are put aside from,
    /// since a letter says more than its record.
    pub(crate) async fn ensure_dead_letters(&self, member: &MemberId) -> Result<(), EnsureError> {
        let topic = TopicName::of_member(MemberTopic::DeadLetter, member);
        self.ensure(&topic, member, ENTRY_LEN_MAX).await.map(drop)
    }

    async fn ensure(
        &self,
        topic: &TopicName,
        member: &MemberId,
        record_len_max: usize,
    ) -> Result<u32, EnsureError> {
        let partitions = self.parts.views.current().partitions(member);
        let partitions = partitions.ok_or(EnsureError::Unknown(Reason::MemberSuspended))?;
        let settings = TopicSettings {
            partitions,
            retention: Some(RETENTION),
            record_bytes_max: u32::try_from(record_len_max).unwrap_or(u32::MAX),
        };
        self.parts.broker.ensure_topic(topic, &settings).await?;
        Ok(partitions)
    }
}

/// Why a topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// The registry does not know the member.
    #[error("the member is not in the registry")]
    Unknown(Reason),
    /// The broker refused.
    #[error("the broker refused the topic")]
    Broker(#[from] BrokerError),
}
