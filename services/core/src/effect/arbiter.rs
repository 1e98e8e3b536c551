//! The machine.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::types::{
    ArbiterSettings, ClaimId, EffectKey, EffectRequest, MarkerFacts, NoDispatch, OutcomeFacts, Ticket,
};
use crate::time::UnixMillis;

/// What the arbiter wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The claim was read back: requests may be given from here on.
    Ready,
    /// A later owner has claimed the partition: this one stops. Requests without an answer are the later owner's.
    Fenced,
    /// Append this marker under the arbiter's claim.
    AppendMarker(MarkerFacts),
    /// Dispatch the request, unless `not_after` has passed when the call is about to begin; report with
    /// [`Arbiter::completed`] either way.
    Dispatch {
        /// The request.
        ticket: Ticket,
        /// The last instant at which the call may begin.
        not_after: UnixMillis,
    },
    /// Record an outcome for an effect that this owner has not dispatched.
    AppendNoDispatch {
        /// The marker left without an outcome.
        marker: MarkerFacts,
        /// Why.
        cause: NoDispatch,
    },
    /// Answer the request with the outcome that stands at this offset of the outcome topic.
    Answer(Ticket, OutcomeFacts),
    /// Refuse the request: its id was used for another request.
    RefuseReused(Ticket),
    /// Refuse the request: too much is remembered or waiting.
    RefuseOverloaded(Ticket),
    /// Refuse the request: its marker did not become durable in time, and it has not been dispatched.
    RefuseNotDispatched(Ticket),
}

/// Arbitrates the effects of one partition of one call topic, for one ownership of it.
#[derive(Debug)]
pub struct Arbiter {
    settings: ArbiterSettings,
    claim: ClaimId,
    ownership: Ownership,
    latest_claim: Option<ClaimId>,
    effects: HashMap<EffectKey, Effect>,
    agenda: BTreeSet<(UnixMillis, EffectKey)>,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ownership {
    Claiming,
    Owning,
    Fenced,
}

#[derive(Debug)]
struct Effect {
    marker: MarkerFacts,
    stage: Stage,
    waiting: Vec<Ticket>,
}

#[derive(Debug)]
enum Stage {
    /// This owner has asked for the marker and not read it back.
    Reserving,
    /// The marker counts and this owner has dispatched.
    Dispatching,
    /// The marker counts and another ownership wrote it.
    Orphaned,
    /// An outcome has been asked for and not read back.
    Recording,
    /// The first outcome was read back.
    Done(OutcomeFacts),
}

impl Arbiter {
    /// A machine for the ownership named by `claim`, which the caller appends to the marker topic. It is then fed the
    /// marker and outcome topics from their beginnings.
    pub fn new(claim: ClaimId, settings: ArbiterSettings) -> Self {
        Self {
            settings,
            claim,
            ownership: Ownership::Claiming,
            latest_claim: None,
            effects: HashMap::new(),
            agenda: BTreeSet::new(),
            actions: VecDeque::new(),
        }
    }

    /// Takes a claim read from the marker topic.
    pub fn read_claim(&mut self, claim: ClaimId) {
        self.latest_claim = Some(claim);
        match self.ownership {
            Ownership::Claiming if claim == self.claim => {
                self.ownership = Ownership::Owning;
                self.actions.push_back(Action::Ready);
            }
            Ownership::Owning if claim != self.claim => {
                self.ownership = Ownership::Fenced;
                self.actions.push_back(Action::Fenced);
            }
            Ownership::Claiming | Ownership::Owning | Ownership::Fenced => {}
        }
    }

    /// Takes a marker read from the marker topic.
    pub fn read_marker(&mut self, claim: ClaimId, marker: MarkerFacts, now: UnixMillis) {
        if self.latest_claim != Some(claim) || marker.keep_until < now {
            return;
        }
        match self.effects.get_mut(&marker.key) {
            None => self.remember(marker, Stage::Orphaned),
            Some(effect)
                if matches!(effect.stage, Stage::Reserving)
                    && effect.marker == marker
                    && claim == self.claim =>
            {
                self.reserved(marker.key, now);
            }
            Some(effect) if matches!(effect.stage, Stage::Reserving) => self.adopt(marker),
            // The first marker for the key counts; this one came later.
            Some(_) => {}
        }
    }

    /// Takes an outcome read from the outcome topic.
    pub fn read_outcome(&mut self, outcome: OutcomeFacts, now: UnixMillis) {
        if outcome.keep_until < now {
            return;
        }
        let OutcomeFacts { key, fingerprint, request_digest, exchange, keep_until, offset: _ } = outcome;
        let marker = MarkerFacts { key, fingerprint, request_digest, exchange, not_after: now, keep_until };
        let effect = self.effects.entry(key).or_insert(Effect {
            marker,
            stage: Stage::Recording,
            waiting: Vec::new(),
        });
        if matches!(effect.stage, Stage::Done(_)) {
            return;
        }
        effect.stage = Stage::Done(outcome);
        let waiting = std::mem::take(&mut effect.waiting);
        self.agenda.insert((keep_until, key));
        self.actions.extend(waiting.into_iter().map(|ticket| Action::Answer(ticket, outcome)));
    }

    /// Takes a request. It is answered by an action: at once, or when its effect has an outcome.
    pub fn request(&mut self, ticket: Ticket, request: EffectRequest, now: UnixMillis) {
        if self.ownership != Ownership::Owning {
            return;
        }
        let Some(effect) = self.effects.get_mut(&request.key) else {
            return self.reserve(ticket, request, now);
        };
        if effect.marker.fingerprint != request.fingerprint {
            return self.actions.push_back(Action::RefuseReused(ticket));
        }
        match effect.stage {
            Stage::Done(outcome) => self.actions.push_back(Action::Answer(ticket, outcome)),
            Stage::Reserving | Stage::Dispatching | Stage::Orphaned | Stage::Recording => {
                if effect.waiting.len() < self.settings.waiting_max {
                    effect.waiting.push(ticket);
                } else {
                    self.actions.push_back(Action::RefuseOverloaded(ticket));
                }
            }
        }
    }

    /// Takes note that a marker certainly did not become durable.
    pub fn marker_failed(&mut self, key: &EffectKey) {
        if self.effects.get(key).is_some_and(|effect| matches!(effect.stage, Stage::Reserving)) {
            self.release(key);
        }
    }

    /// Takes note that the dispatch of an effect has ended and its outcome has been given to the outcome topic.
    pub fn completed(&mut self, key: &EffectKey) {
        if let Some(effect) =
            self.effects.get_mut(key).filter(|effect| matches!(effect.stage, Stage::Dispatching))
        {
            effect.stage = Stage::Recording;
        }
    }

    /// Whether an effect is known: reserved, dispatched, or with an outcome.
    pub fn knows(&self, key: &EffectKey) -> bool {
        self.effects.contains_key(key)
    }

    /// The next instant at which [`Self::tick`] has something to do.
    pub fn next_tick(&self) -> Option<UnixMillis> {
        self.agenda.first().map(|(at, _)| *at)
    }

    /// Acts on the time: interrupted dispatches are recorded, and what need not be kept is forgotten.
    pub fn tick(&mut self, now: UnixMillis) {
        while let Some((at, key)) = self.agenda.first().copied() {
            if at >= now {
                return;
            }
            self.agenda.pop_first();
            self.due(key, now);
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn reserve(&mut self, ticket: Ticket, request: EffectRequest, now: UnixMillis) {
        if self.effects.len() >= self.settings.effects_max {
            return self.actions.push_back(Action::RefuseOverloaded(ticket));
        }
        let EffectRequest { key, fingerprint, request_digest, exchange, expire_time } = request;
        let not_after = expire_time.min(now.plus(self.settings.dispatch_window));
        let keep_until = now.plus(self.settings.outcome_window).max(expire_time.plus(self.settings.skew));
        let marker = MarkerFacts { key, fingerprint, request_digest, exchange, not_after, keep_until };
        self.agenda.insert((not_after.plus(self.settings.skew), key));
        self.effects.insert(key, Effect { marker, stage: Stage::Reserving, waiting: vec![ticket] });
        self.actions.push_back(Action::AppendMarker(marker));
    }

    fn reserved(&mut self, key: EffectKey, now: UnixMillis) {
        let Some(effect) = self.effects.get_mut(&key) else { return };
        match effect.waiting.first() {
            Some(ticket) if now <= effect.marker.not_after => {
                let dispatch = Action::Dispatch { ticket: *ticket, not_after: effect.marker.not_after };
                effect.stage = Stage::Dispatching;
                self.actions.push_back(dispatch);
            }
            Some(_) | None => {
                effect.stage = Stage::Recording;
                let marker = effect.marker;
                self.actions.push_back(Action::AppendNoDispatch { marker, cause: NoDispatch::TooLate });
            }
        }
    }

    /// A marker that was given up is read back after all, before the one asked for since: it is the first, and counts.
    /// Nothing dispatches for it; what waits for the same request gets the outcome that will be recorded.
    fn adopt(&mut self, marker: MarkerFacts) {
        let waiting =
            self.effects.remove(&marker.key).map(|effect| (effect.marker.fingerprint, effect.waiting));
        self.remember(marker, Stage::Orphaned);
        let Some((fingerprint, waiting)) = waiting else { return };
        match self.effects.get_mut(&marker.key) {
            Some(effect) if fingerprint == marker.fingerprint => effect.waiting = waiting,
            Some(_) | None => self.actions.extend(waiting.into_iter().map(Action::RefuseReused)),
        }
    }

    fn remember(&mut self, marker: MarkerFacts, stage: Stage) {
        self.agenda.insert((marker.not_after.plus(self.settings.skew), marker.key));
        self.effects.insert(marker.key, Effect { marker, stage, waiting: Vec::new() });
    }

    fn due(&mut self, key: EffectKey, now: UnixMillis) {
        let Some(effect) = self.effects.get_mut(&key) else { return };
        if effect.marker.keep_until < now {
            self.effects.remove(&key);
            return;
        }
        match (&effect.stage, self.ownership) {
            (Stage::Orphaned, Ownership::Owning) => {
                effect.stage = Stage::Recording;
                let marker = effect.marker;
                self.agenda.insert((marker.keep_until, key));
                self.actions.push_back(Action::AppendNoDispatch { marker, cause: NoDispatch::Interrupted });
            }
            (Stage::Orphaned, Ownership::Claiming) => {
                self.agenda.insert((now.plus(self.settings.skew), key));
            }
            // Should the marker still be read back, it is an orphan: nothing dispatches for it any more.
            (Stage::Reserving, _) => self.release(&key),
            (Stage::Orphaned, Ownership::Fenced)
            | (Stage::Dispatching | Stage::Recording | Stage::Done(_), _) => {}
        }
    }

    fn release(&mut self, key: &EffectKey) {
        if let Some(effect) = self.effects.remove(key) {
            self.actions.extend(effect.waiting.into_iter().map(Action::RefuseNotDispatched));
        }
    }
}
