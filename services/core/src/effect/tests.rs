//! Several owners over one shared log, with pauses, crashes and retries in every order that a seed can bring about. The
//! model is the log itself and the list of dispatches made: whatever happened, each effect was dispatched at most once,
//! and all answers for it are the one outcome that was recorded first.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::digest::Digest;
use crate::id::{ExchangeId, RequestId, SubsystemId};
use crate::time::UnixMillis;

fn key(number: u8) -> EffectKey {
    let consumer = SubsystemId::parse("KG/GOV/1/portal").unwrap();
    let provider = SubsystemId::parse("KG/GOV/2/fines").unwrap();
    EffectKey::of(&consumer, &provider, None, &RequestId::new([number; 16]))
}

fn request(number: u8, now: UnixMillis) -> EffectRequest {
    EffectRequest {
        key: key(number),
        fingerprint: Digest::of(&[number]),
        request_digest: Digest::of(&now.as_u64().to_be_bytes()),
        exchange: ExchangeId::new(now, [number; 10]),
        expire_time: now.plus(Duration::from_secs(30)),
    }
}

fn settings() -> ArbiterSettings {
    ArbiterSettings { waiting_max: 4, effects_max: 8, ..ArbiterSettings::default() }
}

#[derive(Clone, Copy, Debug)]
enum Entry {
    Claim(ClaimId),
    Marker(ClaimId, MarkerFacts),
    Outcome(OutcomeFacts),
}

/// One owner: it reads the shared log at its own pace and may be paused between any two steps.
struct Owner {
    claim: ClaimId,
    arbiter: Arbiter,
    read: usize,
    asked: Vec<Action>,
    tickets: HashMap<Ticket, EffectKey>,
}

#[derive(Default)]
struct World {
    now: UnixMillis,
    log: Vec<Entry>,
    owners: Vec<Owner>,
    dispatches: HashMap<EffectKey, usize>,
    /// Effects whose dispatch began after an outcome had been recorded for them.
    late: Vec<EffectKey>,
    answers: HashMap<EffectKey, Vec<OutcomeFacts>>,
    next: u64,
}

#[derive(Clone, Debug)]
enum Step {
    NewOwner,
    Crash(usize),
    Read(usize, usize),
    Act(usize),
    LoseAppend(usize),
    Request(usize, u8),
    Pass(u64),
    Tick(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let owner = 0..3_usize;
    prop_oneof![
        1 => Just(Step::NewOwner),
        1 => owner.clone().prop_map(Step::Crash),
        6 => (owner.clone(), 1..5_usize).prop_map(|(owner, count)| Step::Read(owner, count)),
        8 => owner.clone().prop_map(Step::Act),
        1 => owner.clone().prop_map(Step::LoseAppend),
        4 => (owner.clone(), 0..2_u8).prop_map(|(owner, number)| Step::Request(owner, number)),
        2 => (0..12_000_u64).prop_map(Step::Pass),
        3 => owner.prop_map(Step::Tick),
    ]
}

impl World {
    fn apply(&mut self, step: &Step) {
        match *step {
            Step::NewOwner => self.new_owner(),
            Step::Crash(at) if at < self.owners.len() => drop(self.owners.remove(at)),
            Step::Read(at, count) if at < self.owners.len() => self.read(at, count),
            Step::Act(at) if at < self.owners.len() => self.act(at),
            Step::LoseAppend(at) if at < self.owners.len() => drop(self.owners[at].asked.pop()),
            Step::Request(at, number) if at < self.owners.len() => self.request(at, number),
            Step::Tick(at) if at < self.owners.len() => {
                self.owners[at].arbiter.tick(self.now);
                self.collect(at);
            }
            Step::Pass(span_ms) => self.now = self.now.plus(Duration::from_millis(span_ms)),
            Step::Crash(_)
            | Step::Read(..)
            | Step::Act(_)
            | Step::LoseAppend(_)
            | Step::Request(..)
            | Step::Tick(_) => {}
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn new_owner(&mut self) {
        let mut random = [0; 16];
        random[..8].copy_from_slice(&self.fresh().to_be_bytes());
        let claim = ClaimId::new(random);
        self.log.push(Entry::Claim(claim));
        let arbiter = Arbiter::new(claim, settings());
        self.owners.push(Owner { claim, arbiter, read: 0, asked: Vec::new(), tickets: HashMap::new() });
    }

    fn read(&mut self, at: usize, count: usize) {
        let owner = &mut self.owners[at];
        let until = self.log.len().min(owner.read + count);
        for entry in &self.log[owner.read..until] {
            match *entry {
                Entry::Claim(claim) => owner.arbiter.read_claim(claim),
                Entry::Marker(claim, marker) => owner.arbiter.read_marker(claim, marker, self.now),
                Entry::Outcome(outcome) => owner.arbiter.read_outcome(outcome, self.now),
            }
        }
        owner.read = until;
        self.collect(at);
    }

    fn request(&mut self, at: usize, number: u8) {
        let ticket = self.fresh();
        let owner = &mut self.owners[at];
        owner.tickets.insert(ticket, key(number));
        owner.arbiter.request(ticket, request(number, self.now), self.now);
        self.collect(at);
    }

    fn collect(&mut self, at: usize) {
        let owner = &mut self.owners[at];
        while let Some(action) = owner.arbiter.poll_action() {
            match action {
                Action::Answer(ticket, outcome) => {
                    let key = owner.tickets[&ticket];
                    assert_eq!(outcome.key, key);
                    self.answers.entry(key).or_default().push(outcome);
                }
                Action::Ready | Action::Fenced | Action::RefuseReused(_) => {}
                Action::RefuseOverloaded(_) | Action::RefuseNotDispatched(_) => {}
                Action::AppendMarker(_) | Action::Dispatch { .. } | Action::AppendNoDispatch { .. } => {
                    owner.asked.insert(0, action);
                }
            }
        }
    }

    /// Does the oldest thing asked for; an owner may be paused for any time before it does.
    fn act(&mut self, at: usize) {
        let (offset, now) = (self.log.len() as u64, self.now);
        let owner = &mut self.owners[at];
        match owner.asked.pop() {
            Some(Action::AppendMarker(marker)) => self.log.push(Entry::Marker(owner.claim, marker)),
            Some(Action::Dispatch { ticket, not_after }) => {
                let key = owner.tickets[&ticket];
                if now <= not_after {
                    *self.dispatches.entry(key).or_default() += 1;
                    let recorded =
                        |entry: &Entry| matches!(entry, Entry::Outcome(outcome) if outcome.key == key);
                    self.late.extend(self.log.iter().any(recorded).then_some(key));
                }
                owner.arbiter.completed(&key);
                self.log.push(Entry::Outcome(outcome(key, offset, now)));
            }
            Some(Action::AppendNoDispatch { marker, .. }) => {
                self.log.push(Entry::Outcome(outcome(marker.key, offset, now)));
            }
            Some(_) | None => {}
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.late.is_empty(), "dispatched after an outcome was recorded: {:?}", self.late);
        for (key, count) in &self.dispatches {
            prop_assert!(*count <= 1, "{key:?} was dispatched {count} times");
        }
        for (key, answers) in &self.answers {
            let first = self.log.iter().find_map(|entry| match entry {
                Entry::Outcome(outcome) if outcome.key == *key => Some(*outcome),
                Entry::Claim(_) | Entry::Marker(..) | Entry::Outcome(_) => None,
            });
            prop_assert!(answers.iter().all(|answer| Some(*answer) == first), "{key:?} has two outcomes");
        }
        Ok(())
    }
}

fn outcome(key: EffectKey, offset: u64, now: UnixMillis) -> OutcomeFacts {
    let number = (0..3).find(|number| self::key(*number) == key).unwrap();
    OutcomeFacts {
        key,
        fingerprint: Digest::of(&[number]),
        request_digest: Digest::of(b"request"),
        exchange: ExchangeId::new(now, [number; 10]),
        keep_until: now.plus(Duration::from_secs(3600)),
        offset,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn each_effect_has_one_dispatch_and_one_outcome(steps in proptest::collection::vec(step(), 1..200)) {
        let mut world = World::default();
        for step in &steps {
            world.apply(step);
        }
        world.check()?;
    }
}

fn settled(world: &mut World, at: usize) {
    for _ in 0..8 {
        world.read(at, usize::MAX / 2);
        world.act(at);
    }
}

#[test]
fn a_request_is_dispatched_once_and_a_retry_gets_its_outcome() {
    let mut world = World::default();
    world.new_owner();
    settled(&mut world, 0);
    for _ in 0..3 {
        world.request(0, 1);
        settled(&mut world, 0);
    }
    assert_eq!(world.dispatches[&key(1)], 1);
    assert_eq!(world.answers[&key(1)].len(), 3);
    world.check().unwrap();
}

#[test]
fn a_successor_records_an_interrupted_dispatch_after_not_after_and_skew() {
    let mut world = World::default();
    world.new_owner();
    settled(&mut world, 0);
    world.request(0, 1);
    world.act(0);
    world.owners.clear();
    world.new_owner();
    settled(&mut world, 0);
    world.request(0, 1);
    world.now = world.now.plus(Duration::from_secs(10));
    world.apply(&Step::Tick(0));
    assert!(world.owners[0].asked.is_empty(), "recorded before the first owner could no longer dispatch");
    world.now = world.now.plus(Duration::from_millis(1));
    world.apply(&Step::Tick(0));
    assert!(matches!(
        world.owners[0].asked[..],
        [Action::AppendNoDispatch { cause: NoDispatch::Interrupted, .. }]
    ));
    settled(&mut world, 0);
    assert!(world.dispatches.is_empty());
    assert_eq!(world.answers[&key(1)].len(), 1);
}

#[test]
fn another_request_under_the_same_id_is_refused() {
    let mut arbiter = Arbiter::new(ClaimId::new([1; 16]), settings());
    let now = UnixMillis::new(1);
    arbiter.read_claim(ClaimId::new([1; 16]));
    arbiter.request(1, request(1, now), now);
    arbiter.request(2, EffectRequest { fingerprint: Digest::of(b"other"), ..request(1, now) }, now);
    let actions: Vec<_> = std::iter::from_fn(|| arbiter.poll_action()).collect();
    assert!(matches!(actions[..], [Action::Ready, Action::AppendMarker(_), Action::RefuseReused(2)]));
}

#[test]
fn a_marker_that_is_not_read_back_is_given_up() {
    let mut arbiter = Arbiter::new(ClaimId::new([1; 16]), settings());
    let now = UnixMillis::new(1);
    arbiter.read_claim(ClaimId::new([1; 16]));
    arbiter.request(1, request(1, now), now);
    arbiter.request(2, request(2, now), now);
    arbiter.marker_failed(&key(1));
    arbiter.tick(now.plus(Duration::from_secs(11)));
    let actions: Vec<_> = std::iter::from_fn(|| arbiter.poll_action()).skip(3).collect();
    assert_eq!(actions, [Action::RefuseNotDispatched(1), Action::RefuseNotDispatched(2)]);
}

#[test]
fn a_marker_read_back_after_it_was_given_up_is_the_first() {
    let mut world = World::default();
    world.new_owner();
    settled(&mut world, 0);
    world.request(0, 1);
    world.now = world.now.plus(Duration::from_millis(10_001));
    world.apply(&Step::Tick(0));
    world.request(0, 1);
    world.act(0);
    world.act(0);
    world.new_owner();
    world.read(1, usize::MAX / 2);
    world.apply(&Step::Tick(1));
    world.act(1);
    world.read(0, 2);
    world.act(0);
    world.check().unwrap();
}
