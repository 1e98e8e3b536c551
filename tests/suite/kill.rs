//! `kopuro up` killed at any moment and started again: no accepted request is lost, and no effect happens twice.
//!
//! At each kill one payment is held between its marker and its outcome, in turn before and after it has happened; what
//! the others are at is left to chance.

mod payments;
mod till;

use std::sync::Arc;
use std::time::Duration;

use kopuro::client::Client;
use kopuro_core::error::Reason;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::command::Up;
use crate::node::client;
use payments::{Ledger, Outcome, attempt, pay_on, settle};
use till::{Held, Moment, Till};

/// How often the process is killed.
const KILLS: usize = 6;
/// How many payments are under way at once.
const PAYERS: usize = 8;
/// The moments of the kills come from this.
const SEED: u64 = 417;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_and_repeats_nothing() {
    let (till, ledger) = (Till::new(), Ledger::default());
    let mut up = Up::create([("violations", till.router())], None).await;
    let mut random = StdRng::seed_from_u64(SEED);
    // Held to the end: what was not booked before a kill is never booked.
    let mut held = Vec::new();
    for moment in [Moment::BeforeBooking, Moment::BeforeAnswer].into_iter().cycle().take(KILLS) {
        up.start().await;
        let mut payers = JoinSet::new();
        let client = bank(&up);
        for _ in 0..PAYERS {
            payers.spawn(pay_on(Arc::clone(&client), ledger.clone()));
        }
        ledger.until_told(random.random_range(1..60)).await;
        held.push(till.hold(moment).await);
        tokio::time::sleep(Duration::from_micros(random.random_range(0..20_000))).await;
        up.kill().await;
        payers.join_all().await;
    }
    let told_before = ledger.payments();
    up.start().await;
    // Twice: what is asked again is answered as before, or the ledger complains.
    for _ in 0..2 {
        let client = bank(&up);
        let settling =
            told_before.keys().map(|request| settle(Arc::clone(&client), ledger.clone(), request.clone()));
        settling.collect::<JoinSet<_>>().join_all().await;
    }
    check(&till, &ledger);
    check_held(&held, &till, &ledger);
    up.kill().await;
}

/// Every outcome against the till's journal.
fn check(till: &Till, ledger: &Ledger) {
    let journal = till.journal();
    let payments = ledger.payments();
    for (request, outcome) in &payments {
        let receipts = journal.get(request).map_or(&[][..], Vec::as_slice);
        assert!(receipts.len() <= 1, "{request} was booked {} times: {receipts:?}", receipts.len());
        match outcome.as_ref().expect("every payment is settled") {
            Outcome::Receipt(receipt) => assert_eq!(receipts, std::slice::from_ref(receipt), "{request}"),
            Outcome::Failed(Reason::DispatchInterrupted) => {}
            Outcome::Failed(Reason::NotDispatched) => assert_eq!(receipts.len(), 0, "{request}"),
            Outcome::Failed(other) => panic!("{request} failed with {other}"),
        }
    }
    assert!(journal.keys().all(|request| payments.contains_key(request)), "something else was booked");
}

/// Payments cut off between marker and outcome: the bus cannot know whether they happened, and says so.
fn check_held(held: &[Held], till: &Till, ledger: &Ledger) {
    let (journal, payments) = (till.journal(), ledger.payments());
    for Held { moment, request, .. } in held {
        let booked = journal.get(request).map_or(0, Vec::len);
        let expected = match moment {
            Moment::BeforeBooking => 0,
            Moment::BeforeAnswer => 1,
        };
        assert_eq!(booked, expected, "{request} was held {moment:?}");
        let interrupted = Some(Outcome::Failed(Reason::DispatchInterrupted));
        assert_eq!(payments[request], interrupted, "{request} was held {moment:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_told_to_end_answers_what_is_in_flight() {
    let till = Till::new();
    let mut up = Up::create([("violations", till.router())], None).await;
    up.start().await;
    let (client, late) = (bank(&up), bank(&up));
    let request = "0190f5f2-6f3a-7c1e-9a55-2f8d7a4c1b10";
    let held = till.hold(Moment::BeforeAnswer);
    let paying = tokio::spawn(async move { attempt(&client, request).await });
    let held = held.await;
    up.terminate().await;
    up.until_not_ready("gw-portal").await;
    let refused = attempt(&late, "0190f5f2-6f3a-7c1e-9a55-2f8d7a4c1b11").await;
    assert!(matches!(refused, Ok(None) | Err(_)), "a new call is answered with {refused:?}");
    assert!(up.is_running(), "it ended with a call in flight");
    drop(held);
    let answered = paying.await.unwrap().unwrap();
    assert_eq!(answered, Some(Outcome::Receipt("R-00000001".to_owned())));
    drop(late);
    let ended = up.ended().await;
    assert_eq!(ended.code(), Some(0), "{}", up.logged());
    assert_eq!(till.journal().len(), 1);
}

fn bank(up: &Up) -> Arc<Client> {
    Arc::new(client(&up.development, "portal", up.gateway("gw-portal")))
}
