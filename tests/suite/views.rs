//! Gateways whose views of the registry are not of the same age.

use std::sync::Arc;
use std::time::Duration;

use kopuro_core::error::Refusal;
use kopuro_exchange::{Answer, Exchange, Parts};
use kopuro_registry::view::View;
use kopuro_registry::views::Views;
use kopuro_telemetry::metrics::{Alarm, Metrics};
use kopuro_trust::signing::Signer;

use crate::bus::{Bus, CountingDispatcher, PENSIONS, PORTAL, pension_call, subsystem};

const LIMIT: Duration = Duration::from_secs(30);

/// Whoever signs with a key that was registered a moment ago, and whoever has not heard of it yet.
struct Pair {
    bus: Bus,
    /// The view that has the key.
    newer: View,
    /// What the one with the older view has.
    behind: Arc<Views>,
    metrics: Arc<Metrics>,
    portal: Exchange,
    provider: Exchange,
}

impl Pair {
    /// `signs` signs with the new key; the other one is behind, and waits `view_wait` for the newer view.
    async fn start(signs: &str, view_wait: Duration) -> Self {
        let bus = Bus::start(|broker| broker).await;
        let (signer, newer) = bus.with_new_signing_key(signs);
        let behind = views(&bus, (*bus.views.current()).clone());
        let (metrics, mut signer) = (Metrics::new(), Some(signer));
        let [portal, provider] = [PORTAL, PENSIONS].map(|name| {
            let mut parts = bus.parts(name);
            match signer.take_if(|_| name == signs) {
                Some(signer) => ahead(&bus, &mut parts, signer, newer.clone()),
                None => {
                    parts.views = Arc::clone(&behind);
                    parts.metrics = Arc::clone(&metrics);
                    parts.settings.view_wait = view_wait;
                }
            }
            Exchange::new(parts, Arc::new(CountingDispatcher::default()))
        });
        provider.serve(&subsystem(PENSIONS)).await.unwrap();
        Self { bus, newer, behind, metrics, portal, provider }
    }

    /// How much the one with the older view has read.
    fn fetched(&self) -> String {
        let metrics = self.metrics.encode();
        let tells = |line: &&str| !line.starts_with('#') && line.to_lowercase().contains("fetched");
        metrics.lines().filter(tells).collect()
    }

    /// The call is answered once the newer view has come, and the record was there before.
    async fn until_answered_with_the_view(self) {
        let before = self.fetched();
        let calling = self.portal.call(pension_call(&self.bus));
        let informing = async {
            while self.fetched() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            self.behind.publish(self.newer.clone());
        };
        let both = async { tokio::join!(calling, informing) };
        let (answer, ()) = tokio::time::timeout(LIMIT, both).await.expect("the call is not answered");
        answer.unwrap();
        self.provider.drain(LIMIT).await;
    }
}

fn views(bus: &Bus, view: View) -> Arc<Views> {
    let views = Views::new(view, Duration::from_secs(3600));
    views.confirm(kopuro_core::time::Clock::now(&*bus.clock));
    views
}

fn ahead(bus: &Bus, parts: &mut Parts, signer: Signer, newer: View) {
    Arc::get_mut(&mut parts.replica).unwrap().signer = signer;
    parts.views = views(bus, newer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_signed_with_a_key_registered_just_now_is_served() {
    Pair::start(PORTAL, LIMIT).await.until_answered_with_the_view().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_signed_with_a_key_registered_just_now_answers() {
    Pair::start(PENSIONS, LIMIT).await.until_answered_with_the_view().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_that_stays_unknown_is_not_waited_for_longer_than_the_limit() {
    let pair = Pair::start(PORTAL, Duration::from_millis(20)).await;
    let mut call = pension_call(&pair.bus);
    call.timeout = Some(Duration::from_secs(1));
    let refusal = pair.portal.call(call).await.unwrap_err();
    assert_eq!(refusal.reason.name(), "NOT_ANSWERED_IN_TIME");
    assert!(pair.metrics.encode().contains("SIGNER_UNKNOWN"), "{}", pair.metrics.encode());
    pair.provider.drain(LIMIT).await;
}

/// Many calls at once, and how they ended.
async fn calls(portal: &Exchange, bus: &Bus, count: usize) -> Vec<Result<Answer, Refusal>> {
    futures::future::join_all((0..count).map(|_| portal.call(pension_call(bus)))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_is_behind_holds_up_nobody_whose_signer_is_known() {
    let bus = Bus::start(|broker| broker).await;
    let (_, newer) = bus.with_new_signing_key(PENSIONS);
    let mut parts = bus.parts(PENSIONS);
    parts.views = views(&bus, newer);
    let provider = Exchange::new(parts, Arc::new(CountingDispatcher::default()));
    provider.serve(&subsystem(PENSIONS)).await.unwrap();
    let mut parts = bus.parts(PORTAL);
    parts.settings.view_wait = Duration::from_secs(3600);
    let portal = Exchange::new(parts, Arc::new(CountingDispatcher::default()));
    let answers = tokio::time::timeout(LIMIT, calls(&portal, &bus, 24)).await.expect("outcomes are held up");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    provider.drain(LIMIT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_signer_raises_no_alarm() {
    for signs in [PORTAL, PENSIONS] {
        let pair = Pair::start(signs, LIMIT).await;
        let before = pair.fetched();
        let informing = async {
            while pair.fetched() == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            pair.behind.publish(pair.newer.clone());
        };
        let both = async { tokio::join!(calls(&pair.portal, &pair.bus, 60), informing) };
        let (answers, ()) = tokio::time::timeout(LIMIT, both).await.expect("the calls are not answered");
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        for alarm in [Alarm::ChainGap, Alarm::ChainLate, Alarm::ChainForked] {
            assert_eq!((pair.metrics.alarms(alarm), signs), (0, signs), "{alarm:?}");
        }
        pair.provider.drain(LIMIT).await;
    }
}
