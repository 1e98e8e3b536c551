//! The machine beside a reference model: the model keeps the whole history of each call and derives from it what may
//! be said; the machine keeps the least it needs.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::time::UnixMillis;

#[derive(Clone, Debug)]
enum Step {
    Begin(u8),
    Appended(u8, AppendResult),
    Arrived(u8, bool),
    GiveUp(u8),
    Drain,
}

fn step() -> impl Strategy<Value = Step> {
    let call = 0..6_u8;
    let result = prop_oneof![
        Just(AppendResult::Appended),
        Just(AppendResult::NotAppended),
        Just(AppendResult::Unknown)
    ];
    prop_oneof![
        4 => call.clone().prop_map(Step::Begin),
        4 => (call.clone(), result).prop_map(|(call, result)| Step::Appended(call, result)),
        3 => (call.clone(), any::<bool>()).prop_map(|(call, right)| Step::Arrived(call, right)),
        2 => call.prop_map(Step::GiveUp),
        1 => Just(Step::Drain),
    ]
}

fn exchange(call: u8) -> ExchangeId {
    ExchangeId::new(UnixMillis::new(u64::from(call)), [call; 10])
}

fn digest(call: u8, right: bool) -> Digest {
    Digest::of(&[call, u8::from(right)])
}

/// Each call's history since it last began.
#[derive(Default)]
struct Model {
    histories: BTreeMap<u8, Vec<Event>>,
    draining: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Event {
    Begun,
    Append(AppendResult),
    Over,
}

impl Model {
    fn open(&self, call: u8) -> bool {
        self.histories.get(&call).is_some_and(|events| !events.contains(&Event::Over))
    }

    fn in_flight(&self) -> usize {
        self.histories.keys().filter(|call| self.open(**call)).count()
    }

    fn record(&mut self, call: u8, event: Event) {
        self.histories.entry(call).or_default().push(event);
    }

    fn accepted(&self, call: u8) -> Accepted {
        let durable = self.histories[&call].contains(&Event::Append(AppendResult::Appended));
        if durable { Accepted::Yes } else { Accepted::Unknown }
    }
}

const LIMIT: usize = 4;

fn run(machine: &mut Calls<u8>, model: &mut Model, step: &Step) -> Result<(), TestCaseError> {
    match *step {
        Step::Begin(call) if model.open(call) => {}
        Step::Begin(call) => {
            let expected = match (model.draining, model.in_flight()) {
                (true, _) => Err(CannotBegin::Draining),
                (false, LIMIT..) => Err(CannotBegin::Full),
                (false, _) => Ok(()),
            };
            prop_assert_eq!(machine.begin(exchange(call), digest(call, true), call), expected);
            if expected.is_ok() {
                model.histories.insert(call, vec![Event::Begun]);
            }
        }
        Step::Appended(call, result) => {
            let over = model.open(call) && result == AppendResult::NotAppended;
            prop_assert_eq!(machine.appended(&exchange(call), result), over.then_some(call));
            if model.open(call) {
                model.record(call, Event::Append(result));
            }
            if over {
                model.record(call, Event::Over);
            }
        }
        Step::Arrived(call, right) => {
            let expected = match (model.open(call), right) {
                (false, _) => Arrival::NobodyWaits,
                (true, false) => Arrival::Mismatch,
                (true, true) => Arrival::Answers(call),
            };
            if expected == Arrival::Answers(call) {
                model.record(call, Event::Over);
            }
            prop_assert_eq!(machine.arrived(&exchange(call), &digest(call, right)), expected);
        }
        Step::GiveUp(call) => {
            let expected = model.open(call).then(|| model.accepted(call));
            prop_assert_eq!(machine.give_up(&exchange(call)), expected);
            if expected.is_some() {
                model.record(call, Event::Over);
            }
        }
        Step::Drain => {
            machine.drain();
            model.draining = true;
        }
    }
    prop_assert_eq!(machine.in_flight(), model.in_flight());
    Ok(())
}

proptest! {
    #[test]
    fn the_machine_agrees_with_the_model(steps in proptest::collection::vec(step(), 1..60)) {
        let (mut machine, mut model) = (Calls::new(LIMIT), Model::default());
        for step in &steps {
            run(&mut machine, &mut model, step)?;
        }
    }
}
