//! The registry from the command line, against running gateways: what it says acts on them at once.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use kopuro_core::error::Reason;
use kopuro_rpc::refusals::EXCHANGE_ID;
use prost::Message as _;
use tonic::Code;

use crate::command::run;
use crate::edge::PENSION;
use crate::node::Node;
use crate::probe::{GOOD_PIN, Probe, pension_request};
use crate::wire::{Seen, Wire, framed};

/// How soon a grant acts on running gateways.
const GRANT_LIMIT: Duration = Duration::from_secs(1);
/// How soon a revocation acts, on new and open connections.
const REVOCATION_LIMIT: Duration = Duration::from_secs(5);

const RIGHT: [&str; 7] = [
    "right",
    "--provider",
    "KG/GOV/70000011/pensions",
    "--consumer",
    "KG/GOV/70000001/statistics",
    "--service",
    "kg.socialfund.v1.PensionService",
];

/// `kopuro registry set` with a member's administration key.
pub(crate) async fn set(node: &Node, signed_by: &str, resource: &[&str]) -> Output {
    let key = node.development.administration_key(signed_by);
    let signing = [("--anchor", node.development.anchor()), ("--sign", key)];
    registry(node, "set", &signing, resource).await
}

/// `kopuro registry`, connected with the portal's certificate.
async fn registry(node: &Node, command: &str, files: &[(&str, PathBuf)], resource: &[&str]) -> Output {
    let system = node.development.system("portal");
    let own = [("--certificate", system.chain), ("--key", system.key), ("--authority", node.authority())];
    let connect = format!("https://{}", node.registry());
    let mut all: Vec<String> = ["registry", command, "--connect", &connect].map(Into::into).into();
    for (name, path) in own.iter().chain(files) {
        all.extend([(*name).into(), path.display().to_string()]);
    }
    all.extend(resource.iter().map(ToString::to_string));
    run(all).await
}

async fn ask(wire: &Wire) -> Seen {
    wire.post(PENSION, &[], framed(0, &pension_request(GOOD_PIN).encode_to_vec())).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_acts_within_a_second_of_its_record() {
    let probe = Probe::default();
    let node = Node::start([("pensions", probe.router())]).await;
    let statistics = node.wire("statistics", "gw-portal").await;
    assert_eq!(ask(&statistics).await.reason(), Some(Reason::AccessDenied));

    let wrong = set(&node, "70000001", &RIGHT).await;
    let told = String::from_utf8_lossy(&wrong.stdout);
    assert!(wrong.status.code() == Some(1) && told.contains("REGISTRY_NOT_AUTHORIZED"), "{wrong:?}");
    assert_eq!(ask(&statistics).await.reason(), Some(Reason::AccessDenied));
    assert_eq!(probe.calls(), 0);

    let granting = set(&node, "70000011", &RIGHT).await;
    let granted = Instant::now();
    assert!(granting.status.success(), "{granting:?}");
    let mut seen = ask(&statistics).await;
    while seen.status.code() != Code::Ok {
        assert_eq!(seen.reason(), Some(Reason::AccessDenied), "{:?}", seen.status);
        assert!(granted.elapsed() < GRANT_LIMIT, "not granted in {GRANT_LIMIT:?}");
        seen = ask(&statistics).await;
    }
    assert!(granted.elapsed() < GRANT_LIMIT, "granted only after {:?}", granted.elapsed());
    assert_eq!(probe.calls(), 1);

    let list = registry(&node, "list", &[], &[]).await;
    let listed = String::from_utf8(list.stdout).unwrap();
    let last = listed.lines().last().unwrap();
    let said = String::from_utf8(granting.stdout).unwrap();
    let (name, revision) = said.trim().split_once(" is revision ").unwrap();
    assert_eq!(last.split_whitespace().collect::<Vec<_>>(), [revision, name]);
    let numbered = listed.lines().enumerate();
    assert!(numbered.clone().count() > 20, "{listed}");
    for (number, line) in numbered {
        assert!(line.trim_start().starts_with(&format!("{number}  ")), "{line}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_loses_its_open_connection_and_every_call() {
    let probe = Probe::default();
    let node = Node::start([("pensions", probe.router())]).await;
    let open = node.wire("portal", "gw-portal").await;
    assert_eq!(ask(&open).await.status.code(), Code::Ok);
    let bystander = node.wire("statistics", "gw-portal").await;

    let certificate = node.development.system("portal").chain.display().to_string();
    let key = ["key", &certificate, "--purpose", "transport", "--state", "revoked"];
    let owner = ["--member", "KG/GOV/70000001", "--subsystem", "KG/GOV/70000001/portal"];
    let revoking = set(&node, "70000001", &[&key[..], &owner].concat()).await;
    let revoked = Instant::now();
    assert!(revoking.status.success(), "{revoking:?}");

    let Wire { ended, .. } = open;
    let closed = tokio::time::timeout(REVOCATION_LIMIT, ended).await;
    assert!(closed.is_ok(), "the open connection is still open after {REVOCATION_LIMIT:?}");
    let seen = ask(&node.wire("portal", "gw-portal").await).await;
    assert_eq!(
        (seen.reason(), seen.status.code()),
        (Some(Reason::CertificateRevoked), Code::Unauthenticated)
    );
    assert!(seen.headers.contains_key(EXCHANGE_ID));
    assert!(revoked.elapsed() < REVOCATION_LIMIT, "refused only after {:?}", revoked.elapsed());
    assert_eq!(probe.calls(), 1);
    assert_eq!(ask(&bystander).await.reason(), Some(Reason::AccessDenied), "others keep their connections");
    node.stop().await;
}
