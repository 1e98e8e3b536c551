//! One owner of one partition of a call topic. It takes records in order, and drives the arbiter with what it reads from
//! the marker and outcome topics.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kopuro_broker::{
    AppendError, BrokerError, Record, StartAt, StoredRecord, Tail, TopicPartition, Watermarks,
};
use kopuro_core::chain::ChainWatch;
use kopuro_core::effect::{
    Action, Arbiter, ClaimId, EffectKey, EffectRequest, MarkerFacts, NoDispatch, OutcomeFacts, Ticket,
};
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::statement::{Kind, Mode, Statement};
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::{MemberTopic, RecordKey, TopicName};
use kopuro_telemetry::audit::AuditEvent;
use kopuro_telemetry::metrics::{Direction, Role, Stage};
use kopuro_trust::member_secret::MemberSecret;
use kopuro_trust::random;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};

use super::Provider;
use super::effects::{self, MarkerEntry};
use super::offsets::Offsets;
use super::outcomes::{self, Recent};
use super::request::{OUTCOME_LIFE, Request};
use super::seen::Seen;
use super::tasks::{self, Report, report};
use crate::inbox::{Received, Verified};
use crate::watch;

/// How long to wait before a partition that could not be claimed is claimed again.
const CLAIM_AGAIN: Duration = Duration::from_millis(500);
/// Reports of finished work and not yet taken. The senders wait, and the worker always takes them.
const REPORTS_LEN: usize = 1024;

/// How late a request is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lateness {
    /// It may still be served, or its effect is known.
    InTime,
    /// It has expired, and somebody may still wait.
    Expired,
    /// Its effect is known, and nobody can be waiting: a retry asks for the outcome.
    Settled,
    /// It has expired so long ago that nobody can be waiting: nothing is signed for it any more.
    Forgotten,
}

/// A request that waits for its effect.
struct Pending {
    offset: u64,
    request: Arc<Request>,
    marker: MarkerFacts,
    asked: Instant,
    span: Span,
}

/// How a worker's work ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WorkEnded {
    /// Everything given to it is done, or it was told to stop.
    Finished,
    /// The partition is not, or no longer, its own to serve.
    Lost,
}

pub(super) struct Worker {
    provider: Arc<Provider>,
    secret: Option<Arc<MemberSecret>>,
    target: TopicPartition,
    markers: TopicPartition,
    outcomes: TopicPartition,
    claim: ClaimId,
    arbiter: Arbiter,
    chains: ChainWatch,
    seen: Seen,
    offsets: Offsets,
    finished: Arc<AtomicU64>,
    pending: HashMap<Ticket, Pending>,
    next_ticket: Ticket,
    recent: Recent,
    reports: mpsc::Sender<Report>,
    inbox: Option<mpsc::Receiver<Report>>,
    lost: bool,
    stop: CancellationToken,
}

impl Worker {
    pub(super) fn new(
        provider: Arc<Provider>,
        target: TopicPartition,
        finished: Arc<AtomicU64>,
        stop: CancellationToken,
    ) -> Self {
        let member = provider.subsystem.member();
        let beside =
            |kind| TopicPartition { topic: TopicName::of_member(kind, &member), partition: target.partition };
        let claim = ClaimId::new(random::bytes());
        let (reports, inbox) = mpsc::channel(REPORTS_LEN);
        Self {
            secret: provider.secret(),
            markers: beside(MemberTopic::Marker),
            outcomes: beside(MemberTopic::Outcome),
            claim,
            arbiter: Arbiter::new(claim, provider.node.parts.settings.arbiter),
            chains: ChainWatch::default(),
            seen: Seen::default(),
            offsets: Offsets::default(),
            finished,
            pending: HashMap::new(),
            next_ticket: 0,
            recent: Recent::default(),
            reports,
            inbox: Some(inbox),
            lost: false,
            stop,
            provider,
            target,
        }
    }

    /// Claims the partition, restores its effects, says so, and then works until the queue ends or the owner is fenced.
    pub(super) async fn run(
        mut self,
        queue: mpsc::Receiver<StoredRecord>,
        restored: impl FnOnce(),
    ) -> WorkEnded {
        let Some(secret) = self.secret.clone() else {
            tracing::error!(target = %self.target, "the member's secret is missing; its requests are not served");
            return WorkEnded::Finished;
        };
        let stop = self.stop.clone();
        let worked = stop.run_until_cancelled(async {
            let (markers, outcomes) = self.take_ownership(&secret).await?;
            restored();
            self.work(&secret, queue, markers, outcomes).await
        });
        match worked.await {
            Some(Ok(ended)) => ended,
            None | Some(Err(BrokerError::Closed)) => WorkEnded::Finished,
            Some(Err(error)) => {
                tracing::error!(target = %self.target, %error, "the partition is served no longer");
                WorkEnded::Lost
            }
        }
    }

    async fn take_ownership(
        &mut self,
        secret: &MemberSecret,
    ) -> Result<(Box<dyn Tail>, Box<dyn Tail>), BrokerError> {
        let broker = Arc::clone(&self.provider.node.parts.broker);
        let entry = effects::write_marker(secret, &self.target, &MarkerEntry::Claim(self.claim));
        while let Err(error) =
            broker.append(&self.markers, self.marker_record(entry.clone(), self.claim.as_bytes())).await
        {
            tracing::warn!(target = %self.target, %error, "the partition could not be claimed yet");
            tokio::time::sleep(CLAIM_AGAIN).await;
        }
        let mut markers = broker.tail(&self.markers, StartAt::Earliest).await?;
        loop {
            self.read_marker(secret, &markers.next().await?);
            if self.arbiter.poll_action() == Some(Action::Ready) {
                break;
            }
        }
        let Watermarks { low, high } = broker.watermarks(&self.outcomes).await?;
        let mut outcomes = broker.tail(&self.outcomes, StartAt::Earliest).await?;
        let mut next = low;
        while next < high {
            let stored = outcomes.next().await?;
            next = stored.position.offset + 1;
            self.read_outcome(secret, stored);
        }
        Ok((markers, outcomes))
    }

    async fn work(
        &mut self,
        secret: &Arc<MemberSecret>,
        mut queue: mpsc::Receiver<StoredRecord>,
        mut markers: Box<dyn Tail>,
        mut outcomes: Box<dyn Tail>,
    ) -> Result<WorkEnded, BrokerError> {
        let Some(mut inbox) = self.inbox.take() else { return Ok(WorkEnded::Finished) };
        let requests_max = self.provider.node.parts.settings.requests_max;
        let mut open = true;
        while open || self.offsets.len() > 0 {
            let tick = self.until_tick();
            let room = open && self.offsets.len() < requests_max;
            tokio::select! {
                Some(report) = inbox.recv() => self.take_report(report),
                marker = markers.next() => self.read_marker(secret, &marker?),
                outcome = outcomes.next() => self.read_outcome(secret, outcome?),
                record = queue.recv(), if room => match record {
                    Some(record) => self.take_record(record),
                    None => open = false,
                },
                () = tokio::time::sleep(tick) => self.arbiter.tick(self.now()),
            }
            if self.lost || !self.act(secret) {
                return Ok(WorkEnded::Lost);
            }
        }
        Ok(WorkEnded::Finished)
    }

    fn now(&self) -> UnixMillis {
        self.provider.node.parts.clock.now()
    }

    fn until_tick(&self) -> Duration {
        const IDLE: Duration = Duration::from_secs(3600);
        self.arbiter.next_tick().map_or(IDLE, |at| at.since(self.now()) + Duration::from_millis(1))
    }

    fn take_record(&mut self, stored: StoredRecord) {
        let parts = &self.provider.node.parts;
        let offset = stored.position.offset;
        self.offsets.begin(offset);
        parts.metrics.broker_record(Direction::Fetched, stored.record.value.len());
        parts.metrics.stage(Stage::Fetch, self.now().since(stored.append_time));
        match self.verify(&stored) {
            Ok(verified) => self.take_verified(offset, verified, stored),
            Err(reason) => {
                let (provider, reports) = (Arc::clone(&self.provider), self.reports.clone());
                tokio::spawn(async move { tasks::put_aside(&provider, &reports, &stored, reason).await });
            }
        }
    }

    /// What can be said of a record before its content is opened. An error means that nothing of it is believed.
    fn verify(&mut self, stored: &StoredRecord) -> Result<Verified, Reason> {
        let parts = &self.provider.node.parts;
        let started = Instant::now();
        let received = Received::decode(&stored.record.value)?;
        let verified = received.verify(&parts.views.current(), parts.clock.now())?;
        parts.metrics.stage(Stage::Verify, started.elapsed());
        let Verified { statement, digest, signer, .. } = &verified;
        self.check_place(statement, stored)?;
        watch::continuity(parts, &self.target, self.chains.observe(*signer, &statement.link, *digest));
        Ok(verified)
    }

    fn check_place(&self, statement: &Statement, stored: &StoredRecord) -> Result<(), Reason> {
        let Statement { kind, mode, sender, recipient, request, ordering_key, .. } = statement;
        let ordering_key = ordering_key.as_ref().map_or([].as_slice(), |digest| digest.as_bytes());
        let key = RecordKey::of_request(sender, ordering_key, request);
        let here = *recipient == self.provider.subsystem
            && *mode == Mode::Call
            && matches!(kind, Kind::Request { .. })
            && key.as_bytes() == &stored.record.key[..];
        if here { Ok(()) } else { Err(Reason::StatementInvalid) }
    }

    fn take_verified(&mut self, offset: u64, verified: Verified, stored: StoredRecord) {
        let now = self.now();
        let settings = &self.provider.node.parts.settings;
        let Statement { create_time, expire_time, .. } = verified.statement;
        let skewed = create_time > now.plus(settings.skew)
            || expire_time.since(create_time) > settings.request_life_max + settings.skew;
        if !self.seen.note(verified.digest, expire_time.plus(settings.skew), now) {
            return self.take_duplicate(offset, &verified);
        }
        let (provider, reports) = (Arc::clone(&self.provider), self.reports.clone());
        match self.lateness(&verified.statement, now) {
            _ if skewed => {
                tokio::spawn(tasks::refuse(provider, reports, offset, verified, Reason::ClockSkew));
            }
            Lateness::InTime => {
                let span = tasks::span_of(&verified.statement, &stored.record);
                tokio::spawn(tasks::serve(provider, reports, offset, verified, stored).instrument(span));
            }
            Lateness::Expired => {
                tokio::spawn(tasks::refuse(provider, reports, offset, verified, Reason::Expired));
            }
            Lateness::Settled => self.finish(offset),
            Lateness::Forgotten => {
                self.provider.note_refusal(&verified.statement, &Reason::Expired.into());
                self.finish(offset);
            }
        }
    }

    /// Whether a request is in time. One whose effect is known has an outcome, or will have: it is answered with that one,
    /// however late it is read, since "it has had no effect" could be false.
    fn lateness(&self, statement: &Statement, now: UnixMillis) -> Lateness {
        let Statement { sender, recipient, ordering_key, request, expire_time, .. } = statement;
        let key = EffectKey::of(sender, recipient, ordering_key.as_ref(), request);
        let skew = self.provider.node.parts.settings.skew;
        let known = now > *expire_time && self.arbiter.knows(&key);
        if now <= *expire_time || (known && now <= expire_time.plus(OUTCOME_LIFE)) {
            Lateness::InTime
        } else if known {
            Lateness::Settled
        } else if now <= expire_time.plus(skew) {
            Lateness::Expired
        } else {
            Lateness::Forgotten
        }
    }

    /// A record delivered again: its outcome has been answered, or is about to be.
    fn take_duplicate(&mut self, offset: u64, verified: &Verified) {
        self.provider.node.parts.metrics.duplicate();
        self.provider.note_refusal(&verified.statement, &Reason::DuplicateRecord.into());
        self.finish(offset);
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Finished(offset) => self.finish(offset),
            Report::Forget(digest) => self.seen.forget(&digest),
            Report::Lost => self.lost = true,
            Report::Completed(key) => self.arbiter.completed(&key),
            Report::MarkerFailed(key) => self.arbiter.marker_failed(&key),
            Report::Once { offset, request, effect, span } => {
                self.next_ticket += 1;
                let EffectRequest { key, fingerprint, request_digest, expire_time } = effect;
                let marker = MarkerFacts {
                    key,
                    fingerprint,
                    request_digest,
                    not_after: expire_time,
                    keep_until: expire_time,
                };
                let pending =
                    Pending { offset, request: Arc::from(request), marker, asked: Instant::now(), span };
                self.pending.insert(self.next_ticket, pending);
                self.arbiter.request(self.next_ticket, effect, self.now());
            }
        }
    }

    fn finish(&mut self, offset: u64) {
        if let Some(next) = self.offsets.finish(offset) {
            self.finished.store(next, Ordering::Release);
        }
    }

    fn read_marker(&mut self, secret: &MemberSecret, stored: &StoredRecord) {
        match effects::read_marker(secret, &self.target, &stored.record.value) {
            Some(MarkerEntry::Claim(claim)) => self.arbiter.read_claim(claim),
            Some(MarkerEntry::Marker(claim, marker)) => self.arbiter.read_marker(claim, marker, self.now()),
            // Markers of the member's other subsystems stand in the same topic.
            None => {}
        }
    }

    fn read_outcome(&mut self, secret: &MemberSecret, stored: StoredRecord) {
        match effects::read_outcome(secret, stored.record.value, stored.position.offset) {
            Some((facts, payload)) => {
                self.recent.keep(facts.offset, payload);
                self.arbiter.read_outcome(facts, self.now());
            }
            None => {
                self.provider.node.parts.metrics.dead_letter(Reason::RecordMalformed);
                tracing::warn!(target = %self.outcomes, "an outcome is not genuine and was passed over");
            }
        }
    }

    /// Carries out what the arbiter asks for. Says whether the partition is still owned.
    fn act(&mut self, secret: &Arc<MemberSecret>) -> bool {
        while let Some(action) = self.arbiter.poll_action() {
            match action {
                Action::Ready => {}
                Action::Fenced => {
                    tracing::warn!(target = %self.target, "a later owner has claimed the partition");
                    return false;
                }
                Action::AppendMarker(marker) => self.append_marker(secret, marker),
                Action::Dispatch { ticket, not_after } => self.dispatch(secret, ticket, not_after),
                Action::AppendNoDispatch { marker, cause } => self.record_no_dispatch(secret, marker, cause),
                Action::Answer(ticket, outcome) => self.answer(secret, ticket, outcome),
                Action::RefuseReused(ticket) => self.refuse(ticket, Reason::RequestIdReused.into()),
                Action::RefuseNotDispatched(ticket) => self.refuse(ticket, Reason::DispatchDeferred.into()),
                Action::RefuseOverloaded(ticket) => {
                    let overloaded = Refusal::new(Reason::Overloaded);
                    self.refuse(ticket, overloaded.retry_after(Duration::from_secs(1)));
                }
            }
        }
        true
    }

    fn append_marker(&self, secret: &MemberSecret, marker: MarkerFacts) {
        let entry = effects::write_marker(secret, &self.target, &MarkerEntry::Marker(self.claim, marker));
        let broker = &self.provider.node.parts.broker;
        let appending = broker.append(&self.markers, self.marker_record(entry, marker.key.as_bytes()));
        let reports = self.reports.clone();
        tokio::spawn(async move {
            match appending.await {
                Ok(_) | Err(AppendError::Unknown(_)) => {}
                Err(AppendError::NotAppended(_) | AppendError::QueueFull | AppendError::TooLarge) => {
                    report(&reports, Report::MarkerFailed(marker.key)).await;
                }
            }
        });
    }

    fn marker_record(&self, value: Vec<u8>, key: &[u8]) -> Record {
        Record { key: key.to_vec().into(), value: value.into(), headers: Vec::new() }
    }

    fn dispatch(&self, secret: &Arc<MemberSecret>, ticket: Ticket, not_after: UnixMillis) {
        let Some(pending) = self.pending.get(&ticket) else { return };
        let (provider, secret, reports) =
            (Arc::clone(&self.provider), Arc::clone(secret), self.reports.clone());
        let (request, target) = (Arc::clone(&pending.request), self.outcomes.clone());
        let window = provider.node.parts.settings.arbiter.outcome_window;
        let marker = MarkerFacts {
            keep_until: self.now().plus(window).max(pending.marker.keep_until),
            ..pending.marker
        };
        provider.node.parts.metrics.stage(Stage::Marker, pending.asked.elapsed());
        let span = pending.span.clone();
        let dispatching = async move {
            let payload = provider.dispatch(&request, not_after).await;
            let started = Instant::now();
            let recorded = outcomes::record(&provider.node, &secret, &target, &marker, &payload).await;
            provider.node.parts.metrics.stage(Stage::Outcome, started.elapsed());
            report(&reports, if recorded { Report::Completed(marker.key) } else { Report::Lost }).await;
        };
        tokio::spawn(dispatching.instrument(span));
    }

    fn record_no_dispatch(&self, secret: &Arc<MemberSecret>, marker: MarkerFacts, cause: NoDispatch) {
        let reason = match cause {
            NoDispatch::Interrupted => Reason::DispatchInterrupted,
            NoDispatch::TooLate => Reason::NotDispatched,
        };
        let parts = &self.provider.node.parts;
        parts.metrics.refused(Role::Provider, reason);
        parts.audit.record(AuditEvent {
            detail: format!("request {}", marker.request_digest),
            provider: Some(self.provider.subsystem.clone()),
            ..AuditEvent::new(self.now(), reason)
        });
        let (provider, secret, reports) =
            (Arc::clone(&self.provider), Arc::clone(secret), self.reports.clone());
        let target = self.outcomes.clone();
        tokio::spawn(async move {
            let payload = crate::failure::anonymous_payload_of(&reason.into());
            if !outcomes::record(&provider.node, &secret, &target, &marker, &payload).await {
                report(&reports, Report::Lost).await;
            }
        });
    }

    fn answer(&mut self, secret: &Arc<MemberSecret>, ticket: Ticket, outcome: OutcomeFacts) {
        let Some(Pending { offset, request, .. }) = self.pending.remove(&ticket) else { return };
        let (provider, secret, reports) =
            (Arc::clone(&self.provider), Arc::clone(secret), self.reports.clone());
        let (target, recent) = (self.outcomes.clone(), self.recent.find(outcome.offset));
        tokio::spawn(async move {
            let payload = match recent {
                Some(payload) => Some(payload),
                None => outcomes::fetch(&provider.node, &secret, &target, &outcome).await,
            };
            let statement = &request.statement;
            match payload {
                Some(payload) => {
                    provider.answer(statement, request.digest, outcome.request_digest, payload).await;
                }
                None => {
                    let gone =
                        Refusal::with(Reason::DispatchInterrupted, "the recorded outcome cannot be read");
                    provider.refuse(statement, request.digest, &gone).await;
                }
            }
            report(&reports, Report::Finished(offset)).await;
        });
    }

    fn refuse(&mut self, ticket: Ticket, refusal: Refusal) {
        let Some(Pending { offset, request, .. }) = self.pending.remove(&ticket) else { return };
        let (provider, reports) = (Arc::clone(&self.provider), self.reports.clone());
        tokio::spawn(async move {
            provider.refuse(&request.statement, request.digest, &refusal).await;
            report(&reports, Report::Finished(offset)).await;
        });
    }
}
