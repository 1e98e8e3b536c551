//! The edge over real mutual TLS, through two gateways: what is wrong gets its documented reason and changes nothing.

mod cases;
mod nested;

use std::time::Duration;

use kopuro::examples::server;
use kopuro_core::error::Reason;
use kopuro_proto::examples::kg::civilregistry::v1 as civil;
use kopuro_proto::examples::kg::socialfund::v1 as fund;
use kopuro_rpc::refusals::EXCHANGE_ID;
use kopuro_telemetry::metrics::{Ending, Role};
use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::node::Node;
use crate::probe::{ABSENT_PIN, BROKEN_PIN, GOOD_PIN, Probe, pension_request};
use crate::wire::{Seen, Wire, framed};
use cases::{Case, Peers, cases};

pub(crate) const PENSION: &str = "/kg.socialfund.v1.PensionService/GetPensionInfo";
pub(crate) const PAYMENT: &str = "/kg.traffic.v1.ViolationService/RegisterPayment";

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_its_reason_and_changes_nothing() {
    let probe = Probe::default();
    let node = Node::start([("pensions", probe.router())]).await;
    let peers = Peers::new(&node);
    let mut faults = Vec::new();
    for case in cases() {
        let (before, reached) =
            (node.refusals("gw-portal", Role::Consumer, case.reason).await, probe.calls());
        let seen = case.send(&node, &peers).await;
        let counted = node.refusals("gw-portal", Role::Consumer, case.reason).await - before;
        let told = fault_of(&case, &seen);
        let told = told.or_else(|| (counted != 1).then(|| format!("it was counted {counted} times")));
        let told = told.or_else(|| (probe.calls() != reached).then(|| "it reached the provider".to_owned()));
        faults.extend(told.map(|fault| format!("{}: {fault}", case.name)));
        is_alive(&node, case.name).await;
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    node.stop().await;
}

/// What is wrong with the answer to a bad call.
fn fault_of(case: &Case, seen: &Seen) -> Option<String> {
    let Case { reason, code, .. } = case;
    if (seen.reason(), seen.status.code()) != (Some(*reason), *code) {
        return Some(format!("{reason} was expected, not {:?}", seen.status));
    }
    let told = seen.status.get_details_error_info()?.metadata;
    let named =
        seen.exchange().len() == 36 && told.get("exchange_id").is_some_and(|id| id == seen.exchange());
    if !named {
        return Some(format!("its exchange is {:?} in the header, and {told:?}", seen.exchange()));
    }
    (seen.side() != reason.entry().side.name()).then(|| format!("the side at fault is {:?}", seen.side()))
}

async fn is_alive(node: &Node, after: &str) {
    let seen = ask(&node.wire("portal", "gw-portal").await, GOOD_PIN, &[]).await;
    assert_eq!(seen.status.code(), Code::Ok, "after {after}: {:?}", seen.status);
}

async fn ask(wire: &Wire, pin: &str, headers: &[(&str, &str)]) -> Seen {
    wire.post(PENSION, headers, framed(0, &pension_request(pin).encode_to_vec())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_status_passes_through_as_the_providers() {
    let node = Node::start([("pensions", Probe::default().router())]).await;
    let seen = ask(&node.wire("portal", "gw-portal").await, ABSENT_PIN, &[]).await;
    assert_eq!(seen.status.code(), Code::NotFound);
    assert_eq!(seen.status.message(), "the register knows no such person");
    assert_eq!((seen.side(), seen.reason()), ("provider", None));
    assert_eq!(seen.exchange().len(), 36);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_that_breaks_its_contract_is_the_providers_fault() {
    let node = Node::start([("pensions", Probe::default().router())]).await;
    let seen = ask(&node.wire("portal", "gw-portal").await, BROKEN_PIN, &[]).await;
    assert_eq!((seen.reason(), seen.status.code()), (Some(Reason::ResponseInvalid), Code::Internal));
    assert_eq!(seen.side(), "provider");
    let violations = seen.status.get_details_bad_request().unwrap().field_violations;
    assert!(violations.iter().any(|violation| violation.field == "pin_infos[0].pin"), "{violations:?}");
    assert_eq!(node.refusals("gw-social-fund", Role::Provider, Reason::ResponseInvalid).await, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_named_as_unreachable() {
    let served = [("pensions", Probe::default().router()), ("civil-registry", server::civil_registry())];
    let mut node = Node::start(served).await;
    node.take_down("civil-registry");
    let wire = node.wire("portal", "gw-portal").await;
    let request = civil::GetPersonRequest { pin: GOOD_PIN.into(), ..civil::GetPersonRequest::default() };
    let body = framed(0, &request.encode_to_vec());
    let path = "/kg.civilregistry.v1.CivilRegistryService/GetPerson";
    let seen = wire.post(path, &[], body).await.unwrap();
    assert_eq!((seen.reason(), seen.status.code()), (Some(Reason::ProviderUnreachable), Code::Aborted));
    assert_eq!(seen.side(), "provider");
    assert_eq!(node.refusals("gw-civil-registry", Role::Provider, Reason::ProviderUnreachable).await, 1);
    assert_eq!(ask(&wire, GOOD_PIN, &[]).await.status.code(), Code::Ok, "the other provider is not affected");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_the_provider_and_a_refusal_of_the_bus_are_counted_apart() {
    let node = Node::start([("pensions", Probe::default().router())]).await;
    let wire = node.wire("portal", "gw-portal").await;
    for pin in [GOOD_PIN, ABSENT_PIN, BROKEN_PIN, "123"] {
        ask(&wire, pin, &[]).await;
    }
    for ending in [Ending::Message, Ending::ProviderStatus, Ending::RefusedAtProvider] {
        assert_eq!(node.ended("gw-portal", Role::Consumer, ending).await, 1, "{ending:?}");
        assert_eq!(node.ended("gw-social-fund", Role::Provider, ending).await, 1, "{ending:?}");
    }
    assert_eq!(node.ended("gw-portal", Role::Consumer, Ending::RefusedAtConsumer).await, 1);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_is_told_what_was_verified_and_nothing_else() {
    let probe = Probe::default();
    let node = Node::start([("pensions", probe.router())]).await;
    let wire = node.wire("portal", "gw-portal").await;
    let request_id = "0190f5f2-6f3a-7c1e-9a55-2f8d7a4c1b10";
    let headers = [
        ("kopuro-client", "KG/GOV/70000001/portal"),
        ("kopuro-provider", "KG/GOV/70000011/pensions"),
        ("kopuro-request-id", request_id),
        ("kopuro-user-id", GOOD_PIN),
        ("kopuro-issue", "case-417"),
        ("kopuro-purpose-bin", "0L/QtdC90YHQuNGP"),
        ("grpc-timeout", "7S"),
        ("x-forwarded-for", "10.0.0.1"),
        ("authorization", "Bearer of the portal's own"),
    ];
    let seen = ask(&wire, GOOD_PIN, &headers).await;
    assert_eq!(seen.status.code(), Code::Ok, "{:?}", seen.status);
    let answer: fund::GetPensionInfoResponse = seen.decode();
    assert_eq!(answer.result_code(), fund::ResultCode::PinNotFound);

    let told = probe.last().into_headers();
    let expected = [
        ("kopuro-client", "KG/GOV/70000001/portal"),
        ("kopuro-provider", "KG/GOV/70000011/pensions"),
        ("kopuro-request-id", request_id),
        (EXCHANGE_ID, seen.exchange()),
        ("kopuro-request-digest", seen.header("kopuro-request-digest")),
        ("kopuro-user-id", GOOD_PIN),
        ("kopuro-issue", "case-417"),
        ("kopuro-purpose-bin", "0L/QtdC90YHQuNGP"),
    ];
    for (name, value) in expected {
        assert_eq!(told.get(name).map(|value| value.to_str().unwrap()), Some(value), "{name}");
    }
    let ours = told.keys().filter(|name| name.as_str().starts_with("kopuro-")).count();
    assert_eq!(ours, expected.len(), "{told:?}");
    assert!(!told.contains_key("x-forwarded-for") && !told.contains_key("authorization"), "{told:?}");
    let left = kopuro_rpc::deadline::read(&told).unwrap().unwrap();
    assert!(left <= Duration::from_secs(7) && left > Duration::from_secs(1), "{left:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_own_metadata_cannot_be_forged() {
    let probe = Probe::default();
    let node = Node::start([("pensions", probe.router())]).await;
    let wire = node.wire("portal", "gw-portal").await;
    for forged in
        [EXCHANGE_ID, "kopuro-request-digest", "kopuro-response-digest", "kopuro-effect-request-digest"]
    {
        let seen = ask(&wire, GOOD_PIN, &[(forged, "0190f5f2-6f3a-7c1e-9a55-2f8d7a4c1b10")]).await;
        assert_eq!(seen.reason(), Some(Reason::MetadataInvalid), "{forged}");
    }
    assert_eq!(probe.calls(), 0);
    node.stop().await;
}
