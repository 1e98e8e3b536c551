//! `kopuro call` and `--check-config`, as a person uses them.

use std::process::Output;

use kopuro::examples::PERSON;
use kopuro::examples::server;
use serde_json::{Value, json};

use crate::command::run;
use crate::node::Node;

const METHOD: &str = "kg.socialfund.v1.PensionService/GetPensionInfo";

async fn call(node: &Node, system: &str, request: &Value, more: &[&str]) -> Output {
    let identity = node.development.system(system);
    let (connect, request) = (format!("https://{}", node.gateway("gw-portal")), request.to_string());
    let files = [identity.chain, identity.key, node.authority()].map(|path| path.display().to_string());
    let [chain, key, authority] = &files;
    let own = ["call", METHOD, &request, "--connect", &connect, "--certificate", chain, "--key", key];
    run([&own[..], &["--authority", authority], more].concat()).await
}

fn printed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?} is no json"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_json_and_gives_json() {
    let node = Node::start([("pensions", server::pensions())]).await;
    let good = json!({
        "pin": PERSON.pin,
        "requesting_organisation": "Citizen portal",
        "requesting_person_pin": PERSON.pin,
    });
    let output = call(&node, "portal", &good, &["-H", "kopuro-purpose: my page"]).await;
    assert!(output.status.success(), "{output:?}");
    let answer = printed(&output);
    assert_eq!(answer["result_code"], "RESULT_CODE_OK");
    assert_eq!(answer["pin_infos"][0]["full_name"], PERSON.full_name());

    let verbose = call(&node, "portal", &good, &["--verbose"]).await;
    let text = String::from_utf8(verbose.stdout).unwrap();
    for name in ["kopuro-exchange-id: ", "kopuro-request-digest: ", "kopuro-response-digest: "] {
        assert!(text.contains(name), "{name} in {text}");
    }

    let hurried = call(&node, "portal", &good, &["--timeout", "1m"]).await;
    assert!(hurried.status.success(), "{hurried:?}");
    let wordy = call(&node, "portal", &good, &["--timeout", "soon"]).await;
    assert_eq!(wordy.status.code(), Some(2), "{wordy:?}");

    let mut malformed = good.clone();
    malformed["pin"] = "123".into();
    let output = call(&node, "portal", &malformed, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let told = printed(&output);
    assert_eq!(
        (&told["reason"], &told["violations"][0]["field"]),
        (&json!("PAYLOAD_INVALID"), &json!("pin"))
    );
    assert_eq!(told["metadata"]["side"], "consumer");

    let output = call(&node, "portal", &json!({ "pin": PERSON.pin, "pim": "1" }), &[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("pim"), "{output:?}");

    let output = call(&node, "statistics", &good, &[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("shows no method"), "{output:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_a_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kopuro.toml");
    std::fs::write(&path, BROKEN).unwrap();
    let config = path.display().to_string();
    let output = run(["up", "--config", &config, "--check-config"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    let lines = told.lines().filter_map(|line| line.strip_prefix("  - "));
    let mut places: Vec<_> = lines.map(|fault| fault.split_once(": ").unwrap().0).collect();
    places.sort_unstable();
    assert_eq!(places, BROKEN_PLACES, "{told}");
    assert!(told.contains("12 fault(s)"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_start_makes_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("up");
    let data = data.display().to_string();
    let output = run(["up", "--data", &data, "--check-config"]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("the first start makes one"), "{output:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "a check makes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_file_of_a_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kopuro.toml");
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/pilot.toml");
    std::fs::copy(sample, &path).unwrap();
    let config = path.display().to_string();
    let output = run(["up", "--config", &config, "--check-config"]).await;
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let told = String::from_utf8(output.stderr).unwrap();
    for fault in
        ["anchor", "registry.certificate", "registry.checkpoint_key", "signing_key", "secret", "sealing"]
    {
        assert!(told.contains(fault), "{fault} in {told}");
    }
}

/// Where the faults of [`BROKEN`] are: unknown keys, types, values and files.
const BROKEN_PLACES: [&str; 12] = [
    "anchor",
    "gateway[0].calls_max",
    "gateway[0].certificate",
    "gateway[0].key",
    "gateway[0].lisen",
    "gateway[0].member[0].id",
    "gateway[0].member[0].sealing_keys",
    "gateway[0].member[0].secret",
    "gateway[0].operations",
    "gateway[0].signing_key",
    "gateway[0].system[0].endpoint",
    "telemetry.log_level",
];

/// A configuration with faults of every kind.
const BROKEN: &str = r#"
anchor = "anchor.toml"

[broker.embedded]
folder = "log"

[telemetry]
log_level = "debug"

[[gateway]]
id = "gw"
listen = "127.0.0.1:0"
lisen = "127.0.0.1:0"
operations = 9443
calls_max = 0
certificate = "gw.crt.pem"
key = "gw.key.pem"
signing_key = "gw-signing.key.pem"

[[gateway.member]]
id = "KG/GOV"
secret = "secret"
sealing_keys = []

[[gateway.system]]
subsystem = "KG/GOV/70000005/portal"
endpoint = "ftp://127.0.0.1"
"#;
