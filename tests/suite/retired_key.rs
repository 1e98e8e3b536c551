//! A gateway's signing key is retired: what is on its way arrives, and nothing made after does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kopuro_core::content::Payload;
use kopuro_core::id::SubsystemId;
use kopuro_core::time::Clock as _;
use kopuro_core::topic::{MemberTopic, TopicName};
use kopuro_exchange::{Call, Exchange};
use kopuro_registry::compose;
use kopuro_registry::record::{KeyPurpose, KeyState};
use kopuro_registry::view::View;
use kopuro_registry::views::Views;
use kopuro_trust::signing::Signer;

use crate::bus::{Bus, CountingDispatcher, PENSIONS, PORTAL, pension_call, subsystem};

/// The view once the portal's member has retired its gateway's signing key.
fn retired(bus: &Bus) -> View {
    let member = subsystem(PORTAL).member();
    let administration = bus.administration(PORTAL);
    let gateway = bus.gateway_of(PORTAL);
    let signer = Signer::from_pem_file(&gateway.signing_key).unwrap();
    let mut view = View::clone(&bus.views.current());
    let instance = view.anchor().instance.clone();
    let validity = bus.clock.now()..=bus.clock.now().plus(Duration::from_secs(24 * 3600));
    let key = compose::key(signer.public_spki_der(), KeyPurpose::Signing, validity);
    let subsystems: Vec<SubsystemId> = view.subsystems_of_gateway(&gateway.id).cloned().collect();
    let key = key.of_member(&member).for_subsystems(&subsystems).held_by(&gateway.id);
    let key = key.in_state(KeyState::Retired).build();
    let replaces = view.revision(&format!("key/{}", signer.key_id()));
    let envelope = compose::sign_record(&instance, replaces, bus.clock.now(), key, &[&administration]);
    view.apply(&envelope).unwrap();
    view
}

fn portal(bus: &Bus) -> Exchange {
    bus.engine(PORTAL, Arc::new(CountingDispatcher::default()))
}

fn patient_call(bus: &Bus) -> Call {
    Call { timeout: Some(Duration::from_secs(60)), ..pension_call(bus) }
}

/// The reason for which the first record that anybody sends to the pensions' provider is put aside.
async fn put_aside(bus: &Bus) -> String {
    let topic = TopicName::of_member(MemberTopic::DeadLetter, &subsystem(PENSIONS).member());
    let stored = bus.first_of(&topic).await;
    let reason = stored.record.headers.iter().find(|(name, _)| name == "kopuro-reason").unwrap();
    String::from_utf8(reason.1.to_vec()).unwrap()
}

/// Waits until the provider's engine has verified a request, and looks at what needs the registry's view.
async fn verified_one(bus: &Bus) {
    let serves = |line: &str| {
        line.starts_with("kopuro_exchange_in_flight{") && line.ends_with(r#"role="provider"} 1"#)
    };
    while !bus.metrics.encode().lines().any(serves) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_on_its_way_is_served_and_nothing_made_after() {
    let bus = Bus::start(|broker| broker).await;
    let dispatcher = Arc::new(CountingDispatcher::default());
    let (portal, serving) = (portal(&bus), bus.engine(PENSIONS, Arc::clone(&dispatcher) as Arc<_>));
    let on_its_way = portal.call(patient_call(&bus));
    // Nobody serves yet: the request is on the broker when the key is retired.
    let retiring = async {
        bus.request_to(PENSIONS).await;
        bus.views.publish(retired(&bus));
        serving.serve(&subsystem(PENSIONS)).await.unwrap();
    };
    let (answered, ()) = tokio::join!(on_its_way, retiring);
    assert!(matches!(answered.unwrap().payload, Payload::Message(_)));
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 1);

    tokio::select! {
        answered = portal.call(patient_call(&bus)) => panic!("a retired key made a request: {answered:?}"),
        reason = put_aside(&bus) => assert_eq!(reason, "SIGNER_UNKNOWN"),
    }
    serving.drain(Duration::from_secs(20)).await;
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_has_not_heard_yet_does_not_believe_a_signer_that_has() {
    let bus = Bus::start(|broker| broker).await;
    let dispatcher = Arc::new(CountingDispatcher::default());
    let behind = Views::new(View::clone(&bus.views.current()), Duration::from_secs(3600));
    behind.confirm(bus.clock.now());
    let mut parts = bus.parts(PENSIONS);
    parts.views = Arc::clone(&behind);
    parts.settings.view_wait = Duration::from_secs(60);
    let serving = Exchange::new(parts, Arc::clone(&dispatcher) as Arc<_>);
    serving.serve(&subsystem(PENSIONS)).await.unwrap();
    bus.views.publish(retired(&bus));
    let portal = portal(&bus);
    let calling = async {
        let (call, heard) = (portal.call(patient_call(&bus)), async {
            verified_one(&bus).await;
            behind.publish(View::clone(&bus.views.current()));
        });
        tokio::join!(call, heard).0
    };
    tokio::select! {
        answered = calling => panic!("a retired key made a request: {answered:?}"),
        reason = put_aside(&bus) => assert_eq!(reason, "SIGNER_UNKNOWN"),
    }
    serving.drain(Duration::from_secs(20)).await;
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 0);
}
