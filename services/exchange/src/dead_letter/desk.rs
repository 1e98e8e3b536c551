//! Where a person looks at the dead letters of a member and resolves them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{
    AppendError, Broker, BrokerError, Position, Record, StartAt, StoredRecord, TopicPartition, Watermarks,
};
use kopuro_core::error::Reason;
use kopuro_core::id::MemberId;
use kopuro_core::statement::Statement;
use kopuro_core::time::{Clock, UnixMillis};
use kopuro_core::topic::{MemberTopic, TopicName};
use kopuro_registry::view::View;
use kopuro_telemetry::audit::{AuditEvent, AuditSink};
use kopuro_trust::member_secret::MemberSecret;
use tokio::time::timeout;

use super::entry::{self, Entry};
use super::letter::{Action, Letter, Resolution};
use super::listing::{Gathering, Listed, Listing, Summary};
use crate::inbox::Received;

/// The most entries of a partition that are listed: the newest.
const LISTED_MAX: u64 = 10_000;
/// How long the broker may take for one entry that it says is there.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// The longest text of a person. **Units:** bytes.
const BECAUSE_LEN_MAX: usize = 256;

/// The dead letters of one member.
///
/// Any number of these may be at work beside the member's gateways, on a broker that lets several processes in.
pub struct DeadLetters {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The member.
    pub member: MemberId,
    /// Its secret, by which its gateways' letters are known.
    pub secret: Arc<MemberSecret>,
    /// The gateway in whose name letters are resolved.
    pub gateway: String,
    /// Where resolutions are audited.
    pub audit: Arc<dyn AuditSink>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Why a person resolved a letter. **Limits:** 256 bytes without control characters. It is kept for years: it holds no
/// personal data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Because(String);

impl Because {
    /// Takes a text; `None` for one that is too long or holds control characters.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.len() <= BECAUSE_LEN_MAX && !text.chars().any(char::is_control);
        valid.then(|| Self(text.to_owned()))
    }
}

/// A letter's statement, and whether its record verifies by a view of the registry.
#[derive(Debug)]
pub struct Examined {
    /// The statement as the record has it.
    pub statement: Statement,
    /// Why the record does not verify, if it does not.
    pub verified: Result<(), Reason>,
}

/// Why a letter was not resolved.
#[derive(Debug, thiserror::Error)]
pub enum NotDone {
    /// No gateway of the member wrote it: who can write to the topic could otherwise have anything appended elsewhere.
    #[error("it is not the gateway's own: its record is not replayed")]
    Foreign,
    /// It is resolved already.
    #[error("it was {0} already")]
    Resolved(Action),
    /// The request has expired by what it says itself.
    #[error("its request has expired: replayed, it would be refused and have no effect")]
    Expired,
    /// The record is larger than any may be.
    #[error("its record was too large to be kept whole")]
    Cut,
    /// The topic has another entry, or none, where the letter was.
    #[error("the letter is not there any more")]
    Gone,
    /// The broker does not give the letter.
    #[error("the letter cannot be read")]
    Unreadable(#[source] BrokerError),
    /// The record was not appended, or its fate is unknown.
    #[error("its record could not be appended again")]
    NotReplayed(#[source] AppendError),
    /// The record was appended again, but the letter still shows as unresolved.
    #[error(
        "its record was appended again, and that could not be noted: replaying it once more does no harm"
    )]
    ReplayUnnoted(#[source] AppendError),
    /// Nothing was done.
    #[error("it could not be noted")]
    Unnoted(#[source] AppendError),
}

impl DeadLetters {
    /// Everything that was put aside for the member, as far as the broker shows it: the newest ten thousand entries of
    /// each partition. A topic that does not exist holds nothing.
    ///
    /// # Errors
    /// [`BrokerError`] when the topic cannot be read.
    pub async fn list(&self) -> Result<Listing, BrokerError> {
        let topic = self.topic();
        let partitions = match self.broker.partitions(&topic).await {
            Err(BrokerError::Topic(_)) => return Ok(Listing::default()),
            partitions => partitions?,
        };
        let (mut gathering, mut older) = (Gathering::new(&self.secret), 0);
        for partition in 0..partitions {
            let target = TopicPartition { topic: topic.clone(), partition };
            older += self.gather(&target, &mut gathering).await?;
        }
        Ok(gathering.finish(older))
    }

    /// Looks at the statement of a letter's record, by `view`; `None` when the record holds none that can be read, or the
    /// letter is not the gateway's own.
    ///
    /// # Errors
    /// [`NotDone`] when the letter cannot be read.
    pub async fn examine(&self, listed: &Listed, view: &View) -> Result<Option<Examined>, NotDone> {
        if listed.summary.is_none() {
            return Ok(None);
        }
        let Letter { record, cut, .. } = self.letter(listed).await?;
        let received = if cut.is_none() { Received::decode(&record.value).ok() } else { None };
        Ok(received.map(|received| {
            let statement = received.statement.clone();
            let verified = received.verify(view, self.clock.now()).map(drop);
            Examined { statement, verified }
        }))
    }

    /// Appends a letter's record again, as it was found, to the partition in which it stood, and notes that it was. There
    /// it passes every check as any other record; what it then says is for the bus to decide, and its letter is closed.
    ///
    /// When this is cut short between the two, the letter stays open and may be replayed twice: what the record asks for
    /// happens once all the same, since the bus takes each statement and each effect once.
    ///
    /// Gives where the record stands.
    ///
    /// # Errors
    /// [`NotDone`].
    pub async fn replay(&self, listed: &Listed, because: &Because) -> Result<Position, NotDone> {
        self.check_replayable(listed)?;
        let Letter { origin, record, .. } = self.letter(listed).await?;
        let target = TopicPartition { topic: origin.topic(), partition: origin.position.partition };
        let position = self.broker.append(&target, record).await.map_err(NotDone::NotReplayed)?;
        let action = Action::Replayed(position.offset);
        self.resolve(listed, action, because).await.map_err(NotDone::ReplayUnnoted)?;
        Ok(position)
    }

    /// Notes that a letter was looked at and is left.
    ///
    /// # Errors
    /// [`NotDone`].
    pub async fn discard(&self, listed: &Listed, because: &Because) -> Result<(), NotDone> {
        check_unresolved(listed)?;
        self.resolve(listed, Action::Discarded, because).await.map_err(NotDone::Unnoted)
    }

    fn check_replayable(&self, listed: &Listed) -> Result<(), NotDone> {
        check_unresolved(listed)?;
        match &listed.summary {
            None => Err(NotDone::Foreign),
            Some(Summary { cut: Some(_), .. }) => Err(NotDone::Cut),
            Some(summary) if summary.expired(self.clock.now()) => Err(NotDone::Expired),
            Some(_) => Ok(()),
        }
    }

    async fn resolve(&self, listed: &Listed, action: Action, because: &Because) -> Result<(), AppendError> {
        let now = self.clock.now();
        let target = TopicPartition { topic: self.topic(), partition: listed.position.partition };
        let resolution = Resolution {
            letter: listed.id,
            action,
            time: now,
            gateway: self.gateway.clone(),
            because: because.0.clone(),
        };
        let value = entry::write_resolution(&self.secret, &target, &resolution);
        let record = Record { key: Bytes::new(), value, headers: Vec::new() };
        self.broker.append(&target, record).await?;
        self.audit.record(self.event(listed, &resolution, now));
        Ok(())
    }

    fn event(&self, listed: &Listed, resolution: &Resolution, now: UnixMillis) -> AuditEvent {
        let Resolution { letter: _, action, time: _, gateway, because } = resolution;
        let (position, member) = (listed.position, &self.member);
        let mut detail = format!("dead letter {position} of {member} was {action} in the name of {gateway}");
        if !because.is_empty() {
            detail = format!("{detail}: {because}");
        }
        // Who can write to the topic is at fault for what is not the gateway's own.
        let reason = listed.summary.as_ref().map_or(Reason::RecordMalformed, |summary| summary.reason);
        let provider = listed.summary.as_ref().map(|summary| summary.origin.subsystem.clone());
        AuditEvent { detail, provider, ..AuditEvent::new(now, reason) }
    }

    /// Reads the newest entries of a partition; gives how many older ones there are.
    async fn gather(
        &self,
        target: &TopicPartition,
        gathering: &mut Gathering<'_>,
    ) -> Result<u64, BrokerError> {
        let Watermarks { low, high } = self.broker.watermarks(target).await?;
        let start = high.saturating_sub(LISTED_MAX).max(low);
        if start == high {
            return Ok(0);
        }
        let mut tail = self.broker.tail(target, StartAt::Offset(start)).await?;
        let mut next = start;
        while next < high {
            let stored = in_time(tail.next()).await?;
            next = stored.position.offset + 1;
            gathering.take(target, &stored);
        }
        Ok(start - low)
    }

    /// Reads a letter again, with its record.
    async fn letter(&self, listed: &Listed) -> Result<Letter, NotDone> {
        let target = TopicPartition { topic: self.topic(), partition: listed.position.partition };
        let stored = self.stored(&target, listed.position.offset).await.map_err(NotDone::Unreadable)?;
        match entry::read(&self.secret, &target, &stored.record.value) {
            Some(Entry::Letter(letter)) if letter.id() == listed.id => Ok(letter),
            Some(Entry::Letter(_) | Entry::Resolution(_)) | None => Err(NotDone::Gone),
        }
    }

    async fn stored(&self, target: &TopicPartition, offset: u64) -> Result<StoredRecord, BrokerError> {
        let mut tail = self.broker.tail(target, StartAt::Offset(offset)).await?;
        in_time(tail.next()).await
    }

    fn topic(&self) -> TopicName {
        TopicName::of_member(MemberTopic::DeadLetter, &self.member)
    }
}

fn check_unresolved(listed: &Listed) -> Result<(), NotDone> {
    match &listed.resolution {
        Some(resolution) => Err(NotDone::Resolved(resolution.action)),
        None => Ok(()),
    }
}

async fn in_time(
    reading: impl Future<Output = Result<StoredRecord, BrokerError>>,
) -> Result<StoredRecord, BrokerError> {
    let late = |_| BrokerError::Unavailable("it does not deliver what it says it has".into());
    timeout(READ_LIMIT, reading).await.map_err(late)?
}
