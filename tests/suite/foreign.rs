//! Clients that know nothing of the bus: Python's grpcio, and the standard health and reflection services.

use std::process::Stdio;

use kopuro::client::Client;
use kopuro::examples::{PERSON, server};
use kopuro_tests::prerequisite::{PYTHON, prerequisite};
use serde_json::Value;
use tokio::process::Command;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1 as reflection;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::node::Node;
use crate::probe::{GOOD_PIN, Probe, SILENT_PIN};
use crate::wire::LIMIT;

const PENSIONS: &str = "kg.socialfund.v1.PensionService";
const REQUEST_ID: &str = "0190f5f2-6f3a-7c1e-9a55-2f8d7a4c1b10";

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_calls_through_two_gateways() {
    let Some(python) = prerequisite(PYTHON, "the Python client") else { return };
    let node = Node::start([("pensions", server::pensions())]).await;
    let [answered] = calls(&node, &python, [(PERSON.pin, 20.0)]).await;
    assert_eq!(answered["code"], "OK", "{answered}");
    assert_eq!(answered["response"]["result_code"], "RESULT_CODE_OK");
    assert_eq!(answered["response"]["pin_infos"][0]["full_name"], PERSON.full_name());
    assert_eq!(answered["response"]["dossiers"][0]["pensioner_pin"], PERSON.pin);
    let metadata = &answered["metadata"];
    assert_eq!(metadata["kopuro-request-id"], REQUEST_ID);
    assert_eq!(metadata["kopuro-provider"], "KG/GOV/70000011/pensions");
    assert_eq!(metadata["kopuro-exchange-id"].as_str().unwrap().len(), 36);
    for digest in ["kopuro-request-digest", "kopuro-effect-request-digest", "kopuro-response-digest"] {
        let text = metadata[digest].as_str().unwrap();
        assert!(text.len() >= 64 && text.ends_with(|end: char| end.is_ascii_hexdigit()), "{digest}: {text}");
    }

    let [refused] = calls(&node, &python, [("123", 20.0)]).await;
    assert_eq!(refused["code"], "INVALID_ARGUMENT", "{refused}");
    let error = &refused["error"];
    assert_eq!(
        (error["reason"].as_str(), error["domain"].as_str()),
        (Some("PAYLOAD_INVALID"), Some("kopuro"))
    );
    assert_eq!(error["metadata"]["exchange_id"], refused["metadata"]["kopuro-exchange-id"]);
    assert_eq!(error["metadata"]["side"], "consumer");
    assert_eq!(error["violations"].as_array().unwrap().len(), 1);
    assert_eq!(error["violations"][0]["field"], "pin");
    node.stop().await;
}

/// The provider never answers. The second call is told to the gateway with the timeout of the first, as gRPC's C core does
/// with one that is slightly longer; its own timer ends earlier by more than 100 ms.
#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_is_told_by_the_bus_that_nobody_answered_in_time() {
    let Some(python) = prerequisite(PYTHON, "the Python client") else { return };
    let node = Node::start([("pensions", Probe::default().router())]).await;
    let asked = [(GOOD_PIN, 4.1), (SILENT_PIN, 4.0), (SILENT_PIN, 2.0)];
    let [answered, unanswered @ ..] = calls(&node, &python, asked).await;
    assert_eq!(answered["code"], "OK", "{answered}");
    for told in unanswered {
        assert_eq!(told["code"], "DEADLINE_EXCEEDED", "{told}");
        let error = &told["error"];
        assert_eq!(
            (error["reason"].as_str(), error["domain"].as_str()),
            (Some("NOT_ANSWERED_IN_TIME"), Some("kopuro")),
            "{told}"
        );
        let facts = &error["metadata"];
        assert_eq!(
            (facts["accepted"].as_str(), facts["request_id"].as_str()),
            (Some("yes"), Some(REQUEST_ID))
        );
        assert_eq!(facts["exchange_id"].as_str().unwrap().len(), 36);
        assert_eq!(facts["exchange_id"], told["metadata"]["kopuro-exchange-id"]);
    }
    node.stop().await;
}

/// Calls for these PINs within these deadlines, in seconds, one after the other over one channel.
async fn calls<const N: usize>(node: &Node, python: &str, asked: [(&str, f64); N]) -> [Value; N] {
    let identity = node.development.system("portal");
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/client.py"))
        .args(["--gateway", &node.gateway("gw-portal").to_string(), "--request-id", REQUEST_ID])
        .arg("--pin")
        .args(asked.map(|(pin, _)| pin))
        .arg("--deadline-s")
        .args(asked.map(|(_, deadline_s)| deadline_s.to_string()))
        .args(["--metadata", "kopuro-client=KG/GOV/70000001/portal"])
        .arg("--authority")
        .arg(node.authority())
        .arg("--certificate")
        .arg(identity.chain)
        .arg("--key")
        .arg(identity.key)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(3 * LIMIT, output).await.expect("the client ends in time").unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = serde_json::Deserializer::from_slice(&output.stdout).into_iter().map(Result::unwrap);
    lines.collect::<Vec<Value>>().try_into().expect("a line for each call")
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_of_the_node_and_of_each_service() {
    let node = Node::start([("pensions", server::pensions())]).await;
    let client = node.client("portal", "gw-portal");
    for service in ["", PENSIONS, "kg.traffic.v1.ViolationService"] {
        assert_eq!(health(&client, service).await, Ok(ServingStatus::Serving), "{service:?}");
    }
    assert_eq!(health(&client, "kg.tax.v1.TaxService").await, Err(Code::NotFound));
    drop(client);
    node.stop().await;
}

async fn health(client: &Client, service: &str) -> Result<ServingStatus, Code> {
    let request = HealthCheckRequest { service: service.to_owned() };
    let path = "/grpc.health.v1.Health/Check";
    let answered = client.unary::<_, HealthCheckResponse>(path, &[], &request, LIMIT).await.unwrap();
    answered.map(|response| response.status()).map_err(|status| Code::from_i32(status.code))
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_shows_a_caller_what_it_may_call() {
    let node = Node::start([("pensions", server::pensions())]).await;
    let portal = node.client("portal", "gw-portal");
    let shown = services(&portal).await;
    for service in [PENSIONS, "kg.traffic.v1.ViolationService", "kg.civilregistry.v1.CivilRegistryService"] {
        assert!(shown.iter().any(|name| name == service), "{service} in {shown:?}");
    }
    let pool = kopuro::client::describe(&portal, PENSIONS, LIMIT).await.unwrap();
    assert!(pool.get_service_by_name(PENSIONS).is_some());

    let statistics = node.client("statistics", "gw-portal");
    let shown = services(&statistics).await;
    assert!(!shown.is_empty() && shown.iter().all(|name| name.starts_with("grpc.")), "{shown:?}");
    for asked in [
        MessageRequest::FileContainingSymbol(PENSIONS.into()),
        MessageRequest::FileContainingSymbol("kg.socialfund.v1.GetPensionInfoRequest".into()),
        MessageRequest::FileByFilename("kg/socialfund/v1/pension.proto".into()),
    ] {
        match reflect(&statistics, asked.clone()).await {
            MessageResponse::ErrorResponse(error) => assert_eq!(error.error_code, Code::NotFound as i32),
            other => panic!("{asked:?} is answered with {other:?}"),
        }
    }
    drop((portal, statistics));
    node.stop().await;
}

async fn services(client: &Client) -> Vec<String> {
    match reflect(client, MessageRequest::ListServices(String::new())).await {
        MessageResponse::ListServicesResponse(list) => {
            list.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

async fn reflect(client: &Client, asked: MessageRequest) -> MessageResponse {
    let request = reflection::ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let answered = client.unary::<_, reflection::ServerReflectionResponse>(path, &[], &request, LIMIT).await;
    answered.unwrap().unwrap().message_response.unwrap()
}
