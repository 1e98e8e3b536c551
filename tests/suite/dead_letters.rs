//! Dead letters: what cannot be processed delays nobody, is kept as it was found, and has its effect once when it is
//! replayed after the cause is gone.

mod command;
mod poison;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kopuro_broker::{Broker, KafkaBroker, KafkaSettings, Record, StartAt, TopicPartition};
use kopuro_core::content::Payload;
use kopuro_core::error::Reason;
use kopuro_core::time::Clock;
use kopuro_core::topic::{MemberTopic, SubsystemTopic, TopicName};
use kopuro_exchange::dead_letter::{Because, DeadLetters, Listed, NotDone, State};
use kopuro_exchange::{Answer, Exchange};
use kopuro_registry::view::View;
use kopuro_registry::views::Views;
use kopuro_telemetry::audit::AuditSink;
use tokio::task::JoinHandle;

use crate::bus::{Bus, CountingDispatcher, PENSIONS, PORTAL, VIOLATIONS, payment_call, subsystem};
use crate::kafka::Kafka;

const LIMIT: Duration = Duration::from_secs(30);

/// The dead letters of the member that `name` belongs to.
fn desk(bus: &Bus, name: &str) -> DeadLetters {
    let member = subsystem(name).member();
    DeadLetters {
        broker: Arc::clone(&bus.broker),
        secret: Arc::clone(bus.parts(name).replica.secret(&member).unwrap()),
        member,
        gateway: bus.gateway_of(name).id.clone(),
        audit: Arc::clone(&bus.audit) as Arc<dyn AuditSink>,
        clock: Arc::clone(&bus.clock) as Arc<dyn Clock>,
    }
}

/// The letters, once there are as many.
async fn letters(desk: &DeadLetters, count: usize) -> Vec<Listed> {
    let listing = async {
        loop {
            let letters = desk.list().await.unwrap().letters;
            if letters.len() >= count {
                return letters;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let letters = tokio::time::timeout(LIMIT, listing).await.expect("fewer records are put aside");
    assert_eq!(letters.len(), count, "{letters:?}");
    letters
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn because(text: &str) -> Because {
    Because::parse(text).unwrap()
}

fn states(bus: &Bus, letters: &[Listed]) -> Vec<State> {
    letters.iter().map(|listed| listed.state(bus.clock.now())).collect()
}

fn call_topic(provider: &str) -> TopicName {
    TopicName::of_subsystem(SubsystemTopic::Call, &subsystem(provider))
}

fn dead_letter_topic(provider: &str) -> TopicName {
    TopicName::of_member(MemberTopic::DeadLetter, &subsystem(provider).member())
}

/// A payment that waits, signed with a key of which its provider has not heard.
struct Unheard {
    bus: Bus,
    newer: View,
    behind: Arc<Views>,
    desk: DeadLetters,
    dispatcher: Arc<CountingDispatcher>,
    provider: Exchange,
    paying: JoinHandle<Answer>,
}

impl Unheard {
    async fn start(bus: Bus) -> Self {
        let (signer, newer) = bus.with_new_signing_key(PORTAL);
        let behind = views(&bus, View::clone(&bus.views.current()));
        let mut parts = bus.parts(PORTAL);
        Arc::get_mut(&mut parts.replica).unwrap().signer = signer;
        parts.views = views(&bus, newer.clone());
        let portal = Exchange::new(parts, Arc::new(CountingDispatcher::default()));
        let mut parts = bus.parts(VIOLATIONS);
        parts.views = Arc::clone(&behind);
        parts.settings.view_wait = Duration::from_millis(20);
        let dispatcher = Arc::new(CountingDispatcher::default());
        let provider = Exchange::new(parts, Arc::clone(&dispatcher) as Arc<_>);
        provider.serve(&subsystem(VIOLATIONS)).await.unwrap();
        let mut call = payment_call(&bus);
        call.timeout = Some(Duration::from_secs(60));
        let paying = tokio::spawn(async move { portal.call(call).await.unwrap() });
        let desk = desk(&bus, VIOLATIONS);
        Self { bus, newer, behind, desk, dispatcher, provider, paying }
    }
}

fn views(bus: &Bus, view: View) -> Arc<Views> {
    let views = Views::new(view, Duration::from_secs(3600));
    views.confirm(bus.clock.now());
    views
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_has_its_effect_once() {
    replayed_to_the_effect(Bus::start(|broker| broker).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_request_has_its_effect_once_on_kafka() {
    let Some(kafka) = Kafka::start("dead letters on Kafka").await else { return };
    replayed_to_the_effect(bus_on(&kafka).await).await;
}

async fn bus_on(kafka: &Kafka) -> Bus {
    let broker = KafkaBroker::connect(KafkaSettings::single_broker(&kafka.address)).await.unwrap();
    Bus::start(|_| broker as Arc<dyn Broker>).await
}

async fn replayed_to_the_effect(bus: Bus) {
    let Unheard { bus, newer, behind, desk, dispatcher, provider, paying } = Unheard::start(bus).await;
    let aside = letters(&desk, 1).await;
    let summary = aside[0].summary.as_ref().unwrap();
    assert_eq!((summary.reason, &*summary.gateway), (Reason::SignerUnknown, "gw-traffic-police"));
    let looked_at = desk.examine(&aside[0], &behind.current()).await.unwrap().unwrap();
    assert_eq!(looked_at.verified, Err(Reason::SignerUnknown));
    assert_eq!(looked_at.statement.sender, subsystem(PORTAL));
    assert_eq!(desk.examine(&aside[0], &newer).await.unwrap().unwrap().verified, Ok(()));

    // The cause is still there: it is refused as before, and put aside as another.
    desk.replay(&aside[0], &because("")).await.unwrap();
    let aside = letters(&desk, 2).await;
    assert_eq!(states(&bus, &aside), [State::Replayed, State::Open]);
    assert!(matches!(desk.replay(&aside[0], &because("")).await, Err(NotDone::Resolved(_))));
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 0);

    behind.publish(newer);
    // Twice, as if the first attempt had been cut short before it was noted.
    for _ in 0..2 {
        desk.replay(&aside[1], &because("the key was registered late")).await.unwrap();
    }
    let answer = tokio::time::timeout(LIMIT, paying).await.expect("the call is answered").unwrap();
    assert!(matches!(answer.payload, Payload::Message(_)), "{:?}", answer.payload);
    until("the second copy is refused", || bus.audit.of(Reason::DuplicateRecord).len() == 1).await;
    provider.drain(LIMIT).await;
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 1);
    assert_eq!(states(&bus, &letters(&desk, 2).await), [State::Replayed, State::Replayed]);
    let audited = bus.audit.of(Reason::SignerUnknown);
    let replays = audited.iter().filter(|event| event.detail.contains("replayed")).count();
    assert_eq!((audited.len(), replays), (5, 3), "{audited:?}");
    assert!(audited.last().unwrap().detail.ends_with(": the key was registered late"), "{audited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_request_is_shown_as_expired_and_not_replayed() {
    let Unheard { bus, desk, paying, provider: _serving, .. } =
        Unheard::start(Bus::start(|broker| broker).await).await;
    let aside = letters(&desk, 1).await;
    assert_eq!(states(&bus, &aside), [State::Open]);
    paying.abort();
    bus.clock.pass(Duration::from_secs(61));
    assert_eq!(states(&bus, &aside), [State::Expired]);
    assert!(matches!(desk.replay(&aside[0], &because("")).await, Err(NotDone::Expired)));
    desk.discard(&aside[0], &because("the payer was told")).await.unwrap();
    let aside = letters(&desk, 1).await;
    assert_eq!(states(&bus, &aside), [State::Discarded]);
    assert_eq!(aside[0].resolution.as_ref().unwrap().because, "the payer was told");
    assert!(matches!(desk.discard(&aside[0], &because("")).await, Err(NotDone::Resolved(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_write_is_no_letter_of_the_gateway() {
    let bus = Bus::start(|broker| broker).await;
    let provider = bus.engine(PENSIONS, Arc::new(CountingDispatcher::default()));
    provider.serve(&subsystem(PENSIONS)).await.unwrap();
    let at = |topic: &TopicName, partition| TopicPartition { topic: topic.clone(), partition };
    let (call, dead) = (call_topic(PENSIONS), dead_letter_topic(PENSIONS));
    for partition in [0, 1] {
        let record = Record { value: vec![0xff; 9].into(), ..Record::default() };
        bus.broker.append(&at(&call, partition), record).await.unwrap();
    }
    let desk = desk(&bus, PENSIONS);
    let own = letters(&desk, 2).await;
    desk.discard(&own[1], &because("noise")).await.unwrap();
    provider.drain(LIMIT).await;

    let stored = async |partition, offset| {
        let mut tail = bus.broker.tail(&at(&dead, partition), StartAt::Offset(offset)).await.unwrap();
        tail.next().await.unwrap().record
    };
    let (letter, resolution) = (stored(0, 0).await, stored(1, 1).await);
    let mut altered = letter.value.to_vec();
    *altered.last_mut().unwrap() ^= 1;
    let altered = Record { value: altered.into(), ..letter.clone() };
    let nothing = Record::default();
    // A repeated letter is the same one; whatever was moved, altered or made up is the gateway's no more.
    for (partition, record) in [
        (0, letter.clone()),
        (1, letter),
        (0, altered),
        (0, resolution.clone()),
        (1, resolution),
        (2, nothing),
    ] {
        bus.broker.append(&at(&dead, partition), record).await.unwrap();
    }
    let listed = letters(&desk, 6).await;
    use State::{Discarded, Foreign, Open};
    assert_eq!(states(&bus, &listed), [Open, Foreign, Foreign, Discarded, Foreign, Foreign]);
    for foreign in listed.iter().filter(|listed| listed.summary.is_none()) {
        assert!(matches!(desk.replay(foreign, &because("")).await, Err(NotDone::Foreign)));
        assert!(desk.examine(foreign, &bus.views.current()).await.unwrap().is_none());
        desk.discard(foreign, &because("who wrote it was found")).await.unwrap();
    }
    for (partition, requests) in [(0, 1), (1, 1), (2, 0)] {
        assert_eq!(bus.broker.watermarks(&at(&call, partition)).await.unwrap().high, requests);
    }
    let listed = letters(&desk, 6).await;
    assert_eq!(states(&bus, &listed), [Open, Discarded, Discarded, Discarded, Discarded, Discarded]);
}
