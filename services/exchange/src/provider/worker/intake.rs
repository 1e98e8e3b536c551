//! What a worker does with a record before it is served: it is believed or put aside, taken once, and taken in time.

use std::sync::Arc;
use std::time::Instant;

use kopuro_broker::StoredRecord;
use kopuro_core::bounds::OUTCOME_LIFE;
use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::effect::EffectKey;
use kopuro_core::error::Reason;
use kopuro_core::statement::{Kind, Mode, Statement};
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::RecordKey;
use kopuro_registry::view::View;
use kopuro_telemetry::metrics::{Direction, Stage};
use tokio::time;
use tracing::Instrument as _;

use super::Worker;
use crate::inbox::{Received, Verified};
use crate::provider::tasks;
use crate::watch;

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

    /// Believes a record or puts it aside; or holds it, when its signer may be about to be known.
    fn examine(&mut self, stored: StoredRecord) {
        match Received::decode(&stored.record.value) {
            Ok(received) if self.held.holds(&received.signer()) => {
                self.hold(stored, received.signer(), received.statement.view.size);
            }
            Ok(received) => self.believe(stored, received, true),
            Err(reason) => self.put_aside(stored, reason),
        }
    }

    /// Looks once more at the records whose view is here, or did not come in time.
    pub(super) fn examine_held(&mut self) {
        let size = self.provider.node.parts.views.current().stamp().size;
        for stored in self.held.take_due(size, time::Instant::now()) {
            match Received::decode(&stored.record.value) {
                Ok(received) => self.believe(stored, received, false),
                Err(reason) => self.put_aside(stored, reason),
            }
        }
    }

    fn believe(&mut self, stored: StoredRecord, received: Received, may_wait: bool) {
        let view = self.provider.node.parts.views.current();
        let (signer, named) = (received.signer(), received.statement.view.size);
        match self.verify(&stored, received, &view) {
            Ok(verified) => self.take_verified(verified, stored),
            Err(Reason::SignerUnknown) if may_wait && named > view.stamp().size => {
                self.hold(stored, signer, named);
            }
            Err(reason) => self.put_aside(stored, reason),
        }
    }

    fn hold(&mut self, stored: StoredRecord, signer: KeyId, view_size: u64) {
        if let Err(stored) = self.held.hold(stored, signer, view_size, time::Instant::now()) {
            self.put_aside(stored, Reason::SignerUnknown);
        }
    }

    fn put_aside(&self, stored: StoredRecord, reason: Reason) {
        let (provider, reports) = (Arc::clone(&self.provider), self.reports.clone());
        tokio::spawn(async move { tasks::put_aside(&provider, &reports, &stored, reason).await });
    }

    /// What can be said of a record before its content is opened. An error means that nothing of it is believed.
    fn verify(&mut self, stored: &StoredRecord, received: Received, view: &View) -> Result<Verified, Reason> {
        let parts = &self.provider.node.parts;
        let started = Instant::now();
        let verified = received.verify(view, parts.clock.now())?;
        parts.metrics.stage(Stage::Verify, started.elapsed());
        let Verified { statement, digest, signer, .. } = &verified;
        self.check_place(statement, stored)?;
        watch::continuity(parts, &self.target, self.chains.observe(*signer, &statement.link, *digest));
        Ok(verified)
    }

    /// A statement counts only where it was meant to be: in another partition, a copy of it would be arbitrated anew.
    fn check_place(&self, statement: &Statement, stored: &StoredRecord) -> Result<(), Reason> {
        let Statement { kind, mode, sender, recipient, request, ordering_key, .. } = statement;
        let partitions = self.provider.node.parts.views.current().partitions(&recipient.member());
        let ordering_key = ordering_key.as_ref().map_or([].as_slice(), |digest| digest.as_bytes());
        let key = RecordKey::of_request(sender, ordering_key, request);
        let here = *recipient == self.provider.subsystem
            && *mode == Mode::Call
            && matches!(kind, Kind::Request { .. })
            && key.as_bytes() == &stored.record.key[..]
            && partitions.map(|partitions| key.partition(partitions)) == Some(stored.position.partition);
        if here { Ok(()) } else { Err(Reason::StatementInvalid) }
    }

    fn take_verified(&mut self, verified: Verified, stored: StoredRecord) {
        let (offset, digest, now) = (stored.position.offset, verified.digest, self.now());
        if let Some(twins) = self.opening.get_mut(&digest) {
            return twins.push((verified, stored));
        }
        let settings = &self.provider.node.parts.settings;
        let Statement { create_time, expire_time, .. } = verified.statement;
        let skewed = create_time > now.plus(settings.skew)
            || expire_time.since(create_time) > settings.request_life_max + settings.skew;
        // No genuine statement is of use for longer, whatever it says.
        let until = expire_time.min(now.plus(settings.skew + settings.request_life_max)).plus(settings.skew);
        if !self.seen.note(digest, until, now) {
            return self.take_duplicate(offset, &verified);
        }
        let (provider, reports) = (Arc::clone(&self.provider), self.reports.clone());
        match self.lateness(&verified.statement, now) {
            _ if skewed => {
                tokio::spawn(tasks::refuse(provider, reports, offset, verified, Reason::ClockSkew));
            }
            Lateness::InTime => {
                self.opening.insert(digest, Vec::new());
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

    /// The seal of a statement opened: whatever else has come with the same statement is a repetition.
    pub(super) fn opened(&mut self, digest: &Digest) {
        for (verified, stored) in self.opening.remove(digest).unwrap_or_default() {
            self.take_duplicate(stored.position.offset, &verified);
        }
    }

    /// The seal of a record did not open. Its statement is as if it had never been seen, since who can alter a record can put
    /// an altered one before the genuine one: the next record with the same statement has its turn.
    pub(super) fn not_opened(&mut self, digest: &Digest) {
        self.seen.forget(digest);
        for (verified, stored) in self.opening.remove(digest).unwrap_or_default() {
            self.take_verified(verified, stored);
        }
    }

    /// A record delivered again: its outcome has been answered, or is about to be.
    fn take_duplicate(&mut self, offset: u64, verified: &Verified) {
        self.provider.node.parts.metrics.duplicate();
        self.provider.note_refusal(&verified.statement, &Reason::DuplicateRecord.into());
        self.finish(offset);
    }
}
