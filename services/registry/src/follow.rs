//! Following the registry's log: every node builds and verifies its own view.
//!
//! What the broker delivers is data, not truth. An entry that does not apply is no part of the log: it is passed over,
//! and an alarm raised. Signed checkpoints say how large the log is and what its root is, so that entries withheld,
//! added or exchanged are found; one that contradicts the view makes it decide nothing more.

pub(crate) mod history;
mod observer;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use kopuro_broker::{Broker, BrokerError, StartAt, StoredRecord, Tail, TopicPartition, Watermarks};
use kopuro_core::bounds::VIEW_AGE_MAX;
use kopuro_core::time::{Clock, UnixMillis};
use kopuro_telemetry::metrics::{Alarm, Metrics};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use self::observer::{Finding, Observer, PATIENCE};
use crate::anchor::Anchor;
use crate::contracts::Contracts;
use crate::topics::Topics;
use crate::view::View;
use crate::views::Views;

/// How far back a new follower reads checkpoints: as many as come in some seconds.
const NOTES_BEFORE: u64 = 16;
/// How long entries are gathered before the view is replaced, since replacing it costs more than applying one.
const GATHERING: Duration = Duration::from_millis(10);
/// The most entries applied before the view is replaced.
const BATCH_MAX: usize = 4096;
/// How long to wait before a topic that could not be read is tried again.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How often the age of the view is looked at.
const TICK: Duration = Duration::from_secs(1);

/// How old a view may become.
#[derive(Clone, Copy, Debug)]
pub struct FollowSettings {
    /// Beyond this age the view decides nothing.
    pub age_max: Duration,
    /// Beyond this age an alarm is raised.
    pub age_alarm: Duration,
}

impl Default for FollowSettings {
    fn default() -> Self {
        Self { age_max: VIEW_AGE_MAX, age_alarm: Duration::from_secs(10) }
    }
}

/// Starts [`Following`].
#[derive(Debug)]
pub struct Follower;

/// A view that is kept up with the log for as long as this value lives.
pub struct Following {
    /// The view. It decides nothing until a checkpoint has confirmed it.
    pub views: Arc<Views>,
    /// The contracts that it speaks of.
    pub contracts: Arc<Contracts>,
    _tasks: JoinSet<()>,
}

impl Follower {
    /// Makes the registry's topics if they are missing, and follows them in tasks of their own, which end when the
    /// returned value is dropped.
    ///
    /// # Errors
    /// [`BrokerError`] when the topics can be neither made nor read: the operator must act.
    pub async fn start(
        broker: Arc<dyn Broker>,
        anchor: Anchor,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        settings: FollowSettings,
    ) -> Result<Following, BrokerError> {
        let topics = Topics::of(&anchor.instance);
        topics.ensure(broker.as_ref()).await?;
        let contracts = Contracts::new(Arc::clone(&broker), &anchor.instance);
        let views = Views::new(View::new(anchor.clone()), settings.age_max);
        let records_high = broker.watermarks(&topics.records).await?.high;
        let (notes, notes_high) = tail_notes(broker.as_ref(), &topics.checkpoints).await?;
        let follow = Follow {
            records: broker.tail(&topics.records, StartAt::Earliest).await?,
            next_entry: 0,
            catching_up_to: (records_high > 0).then_some(records_high),
            notes,
            notes_high,
            started: clock.now(),
            last_entry: clock.now(),
            broker,
            topics,
            observer: Observer::new(anchor),
            unpublished: 0,
            old: false,
            warned: false,
            views: Arc::clone(&views),
            metrics,
            clock,
            age_alarm: settings.age_alarm,
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(follow.run());
        tasks.spawn(follow_contracts(Arc::clone(&contracts)));
        Ok(Following { views, contracts, _tasks: tasks })
    }
}

/// A tail of the checkpoints that begins with the last few, and where those that were there before end.
async fn tail_notes(
    broker: &dyn Broker,
    target: &TopicPartition,
) -> Result<(Box<dyn Tail>, u64), BrokerError> {
    let Watermarks { low, high } = broker.watermarks(target).await?;
    let start = StartAt::Offset(high.saturating_sub(NOTES_BEFORE).max(low));
    match broker.tail(target, start).await {
        // Retention has taken what was there a moment ago.
        Err(BrokerError::OffsetOutOfRange) => Ok((broker.tail(target, StartAt::Earliest).await?, high)),
        tail => Ok((tail?, high)),
    }
}

async fn follow_contracts(contracts: Arc<Contracts>) {
    while let Err(error) = contracts.follow().await {
        if matches!(error, BrokerError::Closed) {
            return;
        }
        tracing::error!(error = &error as &dyn Error, "the contract topic cannot be read; trying again");
        tokio::time::sleep(READ_AGAIN).await;
    }
}

struct Follow {
    broker: Arc<dyn Broker>,
    topics: Topics,
    records: Box<dyn Tail>,
    /// The offset behind the last entry read.
    next_entry: u64,
    /// Where the log ended when following began. Until it is reached, checkpoints cannot be judged.
    catching_up_to: Option<u64>,
    notes: Box<dyn Tail>,
    /// Where the checkpoints ended when following began. Those before may be under keys that have been withdrawn since.
    notes_high: u64,
    started: UnixMillis,
    last_entry: UnixMillis,
    observer: Observer,
    /// How many entries were applied since the view was last replaced.
    unpublished: usize,
    /// Whether the view is older than the alarm allows, so that each time is told once.
    old: bool,
    /// Whether a faulty record has been told of since the last tick: metrics count them all, the log is not for a
    /// broker to fill.
    warned: bool,
    views: Arc<Views>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    age_alarm: Duration,
}

impl Follow {
    /// Follows for ever. Faults that do not pass by themselves are told, and reading begins anew where it stopped; until
    /// then the view grows old, and at last stops deciding.
    async fn run(mut self) {
        loop {
            let Err(error) = self.follow().await;
            tracing::error!(error = &error as &dyn Error, "the registry cannot be followed; trying again");
            loop {
                tokio::time::sleep(READ_AGAIN).await;
                match self.resume().await {
                    Ok(()) => break,
                    Err(BrokerError::Closed) => return,
                    Err(error) => {
                        tracing::warn!(error = &error as &dyn Error, "the registry cannot be followed yet");
                    }
                }
            }
        }
    }

    async fn resume(&mut self) -> Result<(), BrokerError> {
        let start = if self.next_entry == 0 { StartAt::Earliest } else { StartAt::Offset(self.next_entry) };
        self.records = self.broker.tail(&self.topics.records, start).await?;
        (self.notes, self.notes_high) = tail_notes(self.broker.as_ref(), &self.topics.checkpoints).await?;
        Ok(())
    }

    async fn follow(&mut self) -> Result<Infallible, BrokerError> {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                entry = self.records.next() => self.take_entries(entry?).await?,
                note = self.notes.next(), if self.catching_up_to.is_none() => self.take_note(note).await?,
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    /// Applies an entry and those that come right after it, and replaces the view once.
    async fn take_entries(&mut self, first: StoredRecord) -> Result<(), BrokerError> {
        let until = Instant::now() + GATHERING;
        self.last_entry = self.clock.now();
        self.take_entry(&first);
        for _ in 1..BATCH_MAX {
            match tokio::time::timeout_at(until, self.records.next()).await {
                Ok(Ok(next)) => self.take_entry(&next),
                // What was applied counts before anything else happens: checkpoints are held against it.
                Ok(Err(error)) => {
                    self.publish();
                    return Err(error);
                }
                Err(_) => break,
            }
        }
        if self.catching_up_to.is_none() || self.unpublished >= BATCH_MAX {
            self.publish();
        }
        Ok(())
    }

    fn take_entry(&mut self, stored: &StoredRecord) {
        let offset = stored.position.offset;
        self.next_entry = offset + 1;
        match self.observer.handle_entry(&stored.record.value) {
            Ok(_) => self.unpublished += 1,
            Err(error) => {
                self.metrics.alarm(Alarm::RegistryRecord);
                if !std::mem::replace(&mut self.warned, true) {
                    let error = &error as &dyn Error;
                    tracing::warn!(offset, error, "an entry of the registry topic is no part of the log");
                }
            }
        }
        self.catching_up_to = self.catching_up_to.filter(|end| offset + 1 < *end);
    }

    fn publish(&mut self) {
        if std::mem::take(&mut self.unpublished) > 0 {
            self.views.publish(self.observer.view().clone());
        }
        for finding in self.observer.handle_growth(self.clock.now()) {
            self.act_on(finding);
        }
    }

    async fn take_note(&mut self, note: Result<StoredRecord, BrokerError>) -> Result<(), BrokerError> {
        let StoredRecord { position, record, append_time: _ } = match note {
            Err(BrokerError::OffsetOutOfRange) => {
                let tail = tail_notes(self.broker.as_ref(), &self.topics.checkpoints).await?;
                (self.notes, self.notes_high) = tail;
                return Ok(());
            }
            note => note?,
        };
        let before = position.offset < self.notes_high;
        match self.observer.handle_note(record.value, self.clock.now()) {
            Some(Finding::Forged) if before => {}
            Some(finding) => self.act_on(finding),
            None => {}
        }
        Ok(())
    }

    fn tick(&mut self) {
        let now = self.clock.now();
        self.warned = false;
        self.give_up_catching_up(now);
        for finding in self.observer.handle_time(now) {
            self.act_on(finding);
        }
        let age = self.views.age(now).min(now.since(self.started));
        self.metrics.set_registry(self.observer.view().stamp().size, age);
        let was_old = std::mem::replace(&mut self.old, age > self.age_alarm);
        if self.old && !was_old {
            self.metrics.alarm(Alarm::RegistryStale);
            tracing::warn!(age_ms = age.as_millis(), "no checkpoint confirms the view of the registry");
        }
    }

    /// When the log ends before the broker said that it would, what there is has to do; checkpoints will show what is
    /// missing.
    fn give_up_catching_up(&mut self, now: UnixMillis) {
        if now.since(self.last_entry) > PATIENCE && self.catching_up_to.take().is_some() {
            self.publish();
        }
    }

    fn act_on(&mut self, finding: Finding) {
        match finding {
            Finding::Confirmed(at) => self.views.confirm(at),
            Finding::Contradicted { size } => {
                self.views.fail_closed();
                self.metrics.alarm(Alarm::RegistryFork);
                tracing::error!(
                    size,
                    "a checkpoint contradicts the view of the registry: nothing is decided"
                );
            }
            Finding::RolledBack { size } => {
                self.metrics.alarm(Alarm::RegistryFork);
                tracing::error!(size, "a checkpoint is of a smaller log than one before it");
            }
            Finding::Withheld { size } => {
                self.metrics.alarm(Alarm::RegistryStale);
                tracing::warn!(size, "the broker does not deliver entries that a checkpoint speaks of");
            }
            Finding::Forged => {
                self.metrics.alarm(Alarm::RegistryRecord);
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!("a checkpoint is signed by nobody who may");
                }
            }
            Finding::Early { by } => {
                let by_ms = by.as_millis();
                tracing::warn!(by_ms, "a checkpoint is of the future: synchronize the clocks");
            }
        }
    }
}
