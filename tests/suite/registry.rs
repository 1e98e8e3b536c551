//! The registry from the command line, against running gateways: what it says acts on them at once.

use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use kopuro_core::error::Reason;
use kopuro_rpc::refusals::EXCHANGE_ID;
use prost::Message as _;
use serde_json::{Value, json};
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

const RIGHT_NAME: &str =
    "right/KG/GOV/70000011/pensions/kg.socialfund.v1.PensionService/*/KG/GOV/70000001/statistics";

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

fn complained(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap().trim_end()
}

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
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert!(said(&wrong).contains("REGISTRY_NOT_AUTHORIZED"), "{wrong:?}");
    assert_eq!(ask(&statistics).await.reason(), Some(Reason::AccessDenied));
    assert_eq!(probe.calls(), 0);

    let granting = set(&node, "70000011", &RIGHT).await;
    let granted = Instant::now();
    assert!(granting.status.success(), "{granting:?}");
    assert!(said(&granting).starts_with(&format!("{RIGHT_NAME} is revision ")), "{granting:?}");
    let mut seen = ask(&statistics).await;
    while seen.status.code() != Code::Ok {
        assert_eq!(seen.reason(), Some(Reason::AccessDenied), "{:?}", seen.status);
        assert!(granted.elapsed() < GRANT_LIMIT, "not granted in {GRANT_LIMIT:?}");
        seen = ask(&statistics).await;
    }
    assert!(granted.elapsed() < GRANT_LIMIT, "granted only after {:?}", granted.elapsed());
    assert_eq!(probe.calls(), 1);

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

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_says_what_it_replaces() {
    let node = Node::start([]).await;
    let certificate = node.development.system("statistics").chain.display().to_string();
    let owner = ["--member", "KG/GOV/70000001", "--subsystem", "KG/GOV/70000001/statistics"];
    let key = [&["key", &certificate, "--purpose", "transport"][..], &owner].concat();

    let same = set(&node, "70000001", &key).await;
    assert_eq!((same.status.code(), said(&same)), (Some(1), ""), "{same:?}");
    assert!(complained(&same).contains("says the same already"), "{same:?}");
    let (_, listed) = listing(&node, &["--json"]).await;
    let known = listed.iter().find(|record| complained(&same).contains(record["name"].as_str().unwrap()));
    let (name, first) = known.map(|record| (record["name"].as_str().unwrap(), &record["revision"])).unwrap();

    let retire = [&key[..], &["--state", "retired"]].concat();
    for (other, told) in
        [("none", format!("is at revision {first}")), ("0", format!("is at revision {first}"))]
    {
        let refused = set(&node, "70000001", &[&retire[..], &["--replaces", other]].concat()).await;
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        assert!(complained(&refused).contains(&told), "{refused:?}");
    }
    let replaces = first.to_string();
    let retired = set(&node, "70000001", &[&retire[..], &["--replaces", &replaces]].concat()).await;
    let second = listed.len();
    let told = format!("key/{name} is revision {second}, replacing revision {first}: state active → retired");
    assert_eq!(said(&retired), told, "{retired:?}");

    let shorter = set(&node, "70000001", &[&retire[..], &["--days", "30"]].concat()).await;
    assert!(said(&shorter).contains(&format!("replacing revision {second}: from ")), "{shorter:?}");
    assert!(said(&shorter).contains("; until "), "{shorter:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_stand_before_and_after_the_resource() {
    let node = Node::start([]).await;
    let identity = node.development.system("portal");
    let key = node.development.administration_key("70000011");
    let paths = [identity.chain, identity.key, node.authority(), node.development.anchor(), key];
    let [chain, own_key, authority, anchor, key] = paths.map(|path| path.display().to_string());
    let connect = format!("https://{}", node.registry());
    let connection =
        ["--connect", &connect, "--certificate", &chain, "--key", &own_key, "--authority", &authority];
    let signing = ["--anchor", &anchor, "--sign", &key, "--replaces", "none"];
    let resource = [&RIGHT[..], &["--method", "GetPensionInfo"]].concat();
    let after = run([&["registry", "set"][..], &resource, &connection, &signing].concat()).await;
    assert!(after.status.success(), "{after:?}");
    let resource = [&RIGHT[..], &["--method", "GetPensionInfoWithSum"]].concat();
    let around = run([&["registry", "set"][..], &signing, &resource, &connection].concat()).await;
    assert!(around.status.success(), "{around:?}");

    let lacking = run([&["registry", "set"][..], &RIGHT, &signing[..2], &connection[..2]].concat()).await;
    assert_eq!(lacking.status.code(), Some(2), "{lacking:?}");
    assert!(complained(&lacking).contains("--sign, --certificate, --key, --authority"), "{lacking:?}");
    node.stop().await;
}

/// `kopuro registry list`, as lines and, if it is JSON, as records.
async fn listing(node: &Node, options: &[&str]) -> (Vec<String>, Vec<Value>) {
    let output = registry(node, "list", &[], options).await;
    assert!(output.status.success(), "{output:?}");
    let lines = said(&output).lines().map(str::to_owned).collect();
    (lines, serde_json::from_str(said(&output)).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_shows_what_matters_of_each_record() {
    let node = Node::start([]).await;
    let (_, records) = listing(&node, &["--json", "--history"]).await;
    assert!(records.len() > 20, "{records:?}");
    for (number, record) in records.iter().enumerate() {
        assert_eq!((&record["revision"], &record["replaced_by"]), (&json!(number), &Value::Null));
    }
    let rename = ["member", "KG/GOV/70000001", "--title", "Another name"];
    let key = node.development.authority_key();
    let signing = [("--anchor", node.development.anchor()), ("--sign", key)];
    let renamed = registry(&node, "set", &signing, &rename).await;
    assert!(said(&renamed).ends_with("title Ministry of Digital Development → Another name"), "{renamed:?}");

    let (lines, _) = listing(&node, &[]).await;
    let (_, latest) = listing(&node, &["--json"]).await;
    let (history, _) = listing(&node, &["--history"]).await;
    assert_eq!(
        (lines.len(), latest.len(), history.len()),
        (records.len() + 1, records.len(), records.len() + 2)
    );
    let headings = ["REVISION", "KIND", "STATE", "NAME", "FACTS"];
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), headings);
    for (line, record) in lines[1..].iter().zip(&latest) {
        let cells = ["revision", "kind", "state", "name"].map(|column| match &record[column] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        });
        assert_eq!(line.split_whitespace().take(4).collect::<Vec<_>>(), cells);
        for (heading, cell) in headings[1..4].iter().zip(&cells[1..]) {
            let at = lines[0].find(heading).unwrap();
            assert!(line[at..].starts_with(cell.as_str()) && line[..at].ends_with("  "), "{line}");
        }
    }
    let signing = lines.iter().find(|line| line.contains("purpose=signing")).unwrap();
    for fact in ["member=KG/GOV/", "subsystems=KG/GOV/", "gateway=gw-", "from=20", "until=20"] {
        assert!(signing.contains(fact), "{fact}: {signing}");
    }
    let replaced = history.iter().filter(|line| line.contains("replaced_by=")).collect::<Vec<_>>();
    assert!(replaced.len() == 1 && replaced[0].contains("member"), "{replaced:?}");
    node.stop().await;
}
