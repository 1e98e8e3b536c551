//! The engine between two gateways, over an embedded broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use kopuro_core::content::Payload;
use kopuro_core::error::Reason;
use kopuro_exchange::dispatch::{Dispatch, Dispatched, Dispatcher};
use kopuro_exchange::{Answer, Exchange};
use kopuro_proto::examples::kg::traffic::v1::RegisterPaymentRequest;
use prost::Message as _;
use tonic_types::{ErrorInfo, StatusExt as _};

use crate::bus::{
    Bus, CountingDispatcher, PENSIONS, PORTAL, VIOLATIONS, again, payment_call, pension_call, subsystem,
};

async fn served(bus: &Bus, provider: &str, dispatcher: Arc<dyn Dispatcher>) -> (Exchange, Exchange) {
    let portal = bus.engine(PORTAL, Arc::new(CountingDispatcher::default()));
    let serving = bus.engine(provider, dispatcher);
    serving.serve(&subsystem(provider)).await.unwrap();
    (portal, serving)
}

fn reason_of(answer: &Answer) -> String {
    match &answer.payload {
        Payload::Message(_) => "OK".to_owned(),
        Payload::Failure { status, .. } => error_info(status).reason,
    }
}

fn error_info(status: &Bytes) -> ErrorInfo {
    let decoded = tonic_types::pb::Status::decode(status.clone()).unwrap();
    let code = tonic::Code::from_i32(decoded.code);
    let status = tonic::Status::with_details(code, decoded.message, status.clone());
    status.get_details_error_info().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_under_the_same_request_id_gets_the_one_outcome() {
    let bus = Bus::start(|broker| broker).await;
    let dispatcher = Arc::new(CountingDispatcher::default());
    let (portal, _serving) = served(&bus, VIOLATIONS, Arc::clone(&dispatcher) as Arc<_>).await;
    let call = payment_call(&bus);
    let first = portal.call(call.clone()).await.unwrap();
    let second = portal.call(again(&bus, &call)).await.unwrap();
    assert_eq!(first.payload, second.payload);
    assert_eq!(first.request_digest, second.effect_request_digest);
    assert_ne!(second.request_digest, second.effect_request_digest);
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_request_under_the_same_request_id_is_refused() {
    let bus = Bus::start(|broker| broker).await;
    let dispatcher = Arc::new(CountingDispatcher::default());
    let (portal, _serving) = served(&bus, VIOLATIONS, Arc::clone(&dispatcher) as Arc<_>).await;
    let call = payment_call(&bus);
    portal.call(call.clone()).await.unwrap();
    let mut message = RegisterPaymentRequest::decode(call.message.clone()).unwrap();
    message.amount_tyiyn += 1;
    let mut other = again(&bus, &call);
    other.message = message.encode_to_vec().into();
    assert_eq!(reason_of(&portal.call(other).await.unwrap()), "REQUEST_ID_REUSED");
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_outlives_the_provider_that_recorded_it() {
    let bus = Bus::start(|broker| broker).await;
    let dispatcher = Arc::new(CountingDispatcher::default());
    let (portal, serving) = served(&bus, VIOLATIONS, Arc::clone(&dispatcher) as Arc<_>).await;
    let call = payment_call(&bus);
    let first = portal.call(call.clone()).await.unwrap();
    serving.drain(Duration::from_secs(20)).await;
    let successor = bus.engine(VIOLATIONS, Arc::clone(&dispatcher) as Arc<_>);
    successor.serve(&subsystem(VIOLATIONS)).await.unwrap();
    let second = portal.call(again(&bus, &call)).await.unwrap();
    assert_eq!(first.payload, second.payload);
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 1);
}

/// A system that never answers.
struct Hanging;

#[async_trait]
impl Dispatcher for Hanging {
    async fn dispatch(&self, _request: Dispatch) -> Dispatched {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatch_cut_short_is_recorded_as_interrupted_and_never_repeated() {
    let bus = Bus::start(|broker| broker).await;
    let (portal, hanging) = served(&bus, VIOLATIONS, Arc::new(Hanging)).await;
    let mut call = payment_call(&bus);
    call.timeout = Some(Duration::from_millis(500));
    let refusal = portal.call(call.clone()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::NotAnsweredInTime);
    drop(hanging);
    let dispatcher = Arc::new(CountingDispatcher::default());
    let successor = bus.engine(VIOLATIONS, Arc::clone(&dispatcher) as Arc<_>);
    bus.clock.pass(Duration::from_secs(30));
    bus.views.confirm(kopuro_core::time::Clock::now(&*bus.clock));
    successor.serve(&subsystem(VIOLATIONS)).await.unwrap();
    let mut retry = again(&bus, &call);
    retry.timeout = None;
    let Payload::Failure { status, .. } = portal.call(retry).await.unwrap().payload else { panic!() };
    let info = error_info(&status);
    assert_eq!(info.reason, "DISPATCH_INTERRUPTED");
    // It is the first attempt that a person must look into.
    assert_eq!(info.metadata["exchange_id"], call.exchange.to_string());
    let audited = bus.audit.of(Reason::DispatchInterrupted);
    assert_eq!(audited.iter().map(|event| event.exchange).collect::<Vec<_>>(), [Some(call.exchange)]);
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 0);
    // The first attempt's record is read again, long expired. That it had no effect is not known, and not said.
    assert!(!bus.audit.reasons().contains(&"EXPIRED"), "{:?}", bus.audit.reasons());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_request_is_not_dispatched() {
    let bus = Bus::start(|broker| broker).await;
    let portal = bus.engine(PORTAL, Arc::new(CountingDispatcher::default()));
    let mut call = pension_call(&bus);
    call.timeout = Some(Duration::from_secs(60));
    tokio::select! {
        answered = portal.call(call) => panic!("nobody serves: {answered:?}"),
        // The caller hangs up.
        _ = bus.request_to(PENSIONS) => {}
    }
    bus.clock.pass(Duration::from_secs(61));
    let dispatcher = Arc::new(CountingDispatcher::default());
    let serving = bus.engine(PENSIONS, Arc::clone(&dispatcher) as Arc<_>);
    serving.serve(&subsystem(PENSIONS)).await.unwrap();
    portal.call(pension_call(&bus)).await.unwrap();
    serving.drain(Duration::from_secs(20)).await;
    assert_eq!(dispatcher.calls.load(Ordering::Acquire), 1);
    assert!(bus.audit.reasons().contains(&"EXPIRED"), "{:?}", bus.audit.reasons());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_breaks_the_contract_is_refused_before_anything_is_appended() {
    let bus = Bus::start(|broker| broker).await;
    let portal = bus.engine(PORTAL, Arc::new(CountingDispatcher::default()));
    let mut call = pension_call(&bus);
    call.message = vec![0x0a, 0x03, b'1', b'2', b'3'].into();
    let refusal = portal.call(call.clone()).await.unwrap_err();
    assert_eq!(refusal.reason, Reason::PayloadInvalid);
    assert_eq!(refusal.violations[0].field, "pin");
    call.message = vec![0xfa, 0x7f, 0x00].into();
    assert_eq!(portal.call(call).await.unwrap_err().reason, Reason::PayloadMalformed);
}
