//! Metrics as others read them: Prometheus's own strict parser of OpenMetrics, on what a gateway tells after some calls.

use std::process::Stdio;

use kopuro_tests::prerequisite::{PYTHON, prerequisite};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::edge::PENSION;
use crate::node::Node;
use crate::probe::{ABSENT_PIN, GOOD_PIN, Probe, pension_request};
use crate::wire::{LIMIT, framed};

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_parser_reads_the_metrics_of_every_gateway() {
    let Some(python) = prerequisite(PYTHON, "the Python reader of metrics") else { return };
    let node = Node::start([("pensions", Probe::default().router())]).await;
    let wire = node.wire("portal", "gw-portal").await;
    for pin in [GOOD_PIN, GOOD_PIN, ABSENT_PIN, "123"] {
        wire.post(PENSION, &[], framed(0, &pension_request(pin).encode_to_vec())).await.unwrap();
    }
    let answer = node.metrics().await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    let families = parsed(&python, body).await;

    let portal = |ending| json!({"gateway": "gw-portal", "role": "consumer", "ending": ending});
    let fund = |ending| json!({"gateway": "gw-social-fund", "role": "provider", "ending": ending});
    let mut expected = vec![
        (portal("message"), 2),
        (portal("provider_status"), 1),
        (portal("refused_at_consumer"), 1),
        (fund("message"), 2),
        (fund("provider_status"), 1),
    ];
    let ended = &families["kopuro_exchanges"];
    assert_eq!(ended["type"], "counter");
    for sample in ended["samples"].as_array().unwrap() {
        let known = expected.iter().position(|(labels, count)| *sample == json!([labels, count]));
        expected.remove(known.unwrap_or_else(|| panic!("{sample} is not one of {expected:?}")));
    }
    assert!(expected.is_empty(), "{expected:?} are missing in {ended}");
    assert_eq!(families["kopuro_exchange_stage_seconds"]["type"], "histogram");
    node.stop().await;
}

async fn parsed(python: &str, text: &str) -> Value {
    let mut reader = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/python/metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // Dropping it ends the input. The reader takes all of it before it writes.
    reader.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(LIMIT, reader.wait_with_output()).await;
    let output = ended.expect("the reader ends in time").unwrap();
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}
