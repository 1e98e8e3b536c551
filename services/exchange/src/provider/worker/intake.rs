//! What a worker does with a record before it is served: it is believed or put aside, taken once, and taken in time.

use std::sync::Arc;
use std::time::Instant;

use kopuro_broker::StoredRecord;
use kopuro_core::bounds::OUTCOME_LIFE;
use kopuro_core::effect::EffectKey;
use kopuro_core::error::Reason;
use kopuro_core::statement::{Kind, Mode, Statement};
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::RecordKey;
use kopuro_telemetry::metrics::{Direction, Stage};
use tracing::Instrument as _;

use super::Worker;
use crate::inbox::{Received, Verified};
use crate::provider::tasks;
use crate::watch;

/// How many records may wait for a newer view at once. More of them at once come from somebody who makes them up.
const AWAITING_VIEW_MAX: usize = 64;

/// Why nothing of a record is believed.
struct NotBelieved {
    reason: Reason,
    /// The size of the view that its statement names, when this node's is smaller.
    newer_view: Option<u64>,
}

impl From<Reason> for NotBelieved {
    fn from(reason: Reason) -> Self {
        Self { reason, newer_view: None }
    }
}

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

impl Worker {
    pub(super) fn take_record(&mut self, stored: StoredRecord) {
        let parts = &self.provider.node.parts;
        let offset = stored.position.offset;
        self.offsets.begin(offset);
        parts.metrics.broker_record(Direction::Fetched, stored.record.value.len());
        parts.metrics.stage(Stage::Fetch, self.now().since(stored.append_time));
        self.examine(stored);
    }

    /// Believes a record or puts it aside. One whose signer this node does not know, and whose statement names a newer view
    /// of the registry, is looked at once more when that view is here, or has had its time to come.
    fn examine(&mut self, stored: StoredRecord) {
        match self.verify(&stored) {
            Ok(verified) => self.take_verified(stored.position.offset, verified, stored),
            Err(NotBelieved { reason: Reason::SignerUnknown, newer_view: Some(size) })
                if self.awaiting_view < AWAITING_VIEW_MAX =>
            {
                self.awaiting_view += 1;
                let (provider, reports) = (Arc::clone(&self.provider), self.reports.clone());
                tokio::spawn(tasks::await_view(provider, reports, stored, size));
            }
            Err(NotBelieved { reason, .. }) => self.put_aside(stored, reason),
        }
    }

    /// Looks once more at a record for whose view there was time.
    pub(super) fn examine_again(&mut self, stored: StoredRecord) {
        self.awaiting_view -= 1;
        match self.verify(&stored) {
            Ok(verified) => self.take_verified(stored.position.offset, verified, stored),
            Err(NotBelieved { reason, .. }) => self.put_aside(stored, reason),
        }
    }

    fn put_aside(&self, stored: StoredRecord, reason: Reason) {
        let (provider, reports) = (Arc::clone(&self.provider), self.reports.clone());
        tokio::spawn(async move { tasks::put_aside(&provider, &reports, &stored, reason).await });
    }

    /// What can be said of a record before its content is opened. An error means that nothing of it is believed.
    fn verify(&mut self, stored: &StoredRecord) -> Result<Verified, NotBelieved> {
        let parts = &self.provider.node.parts;
        let started = Instant::now();
        let received = Received::decode(&stored.record.value)?;
        let (view, named) = (parts.views.current(), received.statement.view.size);
        let newer_view = (named > view.stamp().size).then_some(named);
        let verified =
            received.verify(&view, parts.clock.now()).map_err(|reason| NotBelieved { reason, newer_view })?;
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
}
