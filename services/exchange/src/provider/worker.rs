//! One owner of one partition of a call topic. It takes records in order, and drives the arbiter with what it reads from
//! the marker and outcome topics.

mod actions;
mod intake;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kopuro_broker::{BrokerError, Record, StartAt, StoredRecord, Tail, TopicPartition, Watermarks};
use kopuro_core::chain::ChainWatch;
use kopuro_core::digest::Digest;
use kopuro_core::effect::{Action, Arbiter, ClaimId, EffectRequest, MarkerFacts, Ticket};
use kopuro_core::error::Reason;
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::{MemberTopic, TopicName};
use kopuro_trust::member_secret::MemberSecret;
use kopuro_trust::random;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::Provider;
use super::effects::{self, MarkerEntry};
use super::offsets::Offsets;
use super::outcomes::Recent;
use super::request::Request;
use super::seen::Seen;
use super::tasks::Report;
use crate::inbox::{Held, Verified};

/// How long to wait before a partition that could not be claimed is claimed again.
const CLAIM_AGAIN: Duration = Duration::from_millis(500);
/// Reports of finished work and not yet taken. The senders wait, and the worker always takes them.
const REPORTS_LEN: usize = 1024;

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
    held: Held,
    /// What else came with the statements whose seals are being opened.
    opening: HashMap<Digest, Vec<(Verified, StoredRecord)>>,
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
            held: Held::new(provider.node.parts.settings.view_wait),
            opening: HashMap::new(),
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
            broker.append(&self.markers, marker_record(entry.clone(), self.claim.as_bytes())).await
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
        let views = Arc::clone(&self.provider.node.parts.views);
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
                () = self.held.due(&views) => self.examine_held(),
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

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Finished(offset) => self.finish(offset),
            Report::Opened(digest) => self.opened(&digest),
            Report::NotOpened(digest) => self.not_opened(&digest),
            Report::Lost => self.lost = true,
            Report::Completed(key) => self.arbiter.completed(&key),
            Report::MarkerFailed(key) => self.arbiter.marker_failed(&key),
            Report::Once { offset, request, effect, span } => {
                self.next_ticket += 1;
                let EffectRequest { key, fingerprint, request_digest, exchange, expire_time } = effect;
                let marker = MarkerFacts {
                    key,
                    fingerprint,
                    request_digest,
                    exchange,
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
}

fn marker_record(value: Vec<u8>, key: &[u8]) -> Record {
    Record { key: key.to_vec().into(), value: value.into(), headers: Vec::new() }
}
