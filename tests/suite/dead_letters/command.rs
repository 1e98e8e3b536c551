//! `kopuro dead-letters` against what a running bus has put aside.

use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use kopuro::config::Config;
use kopuro::process::open_broker;
use kopuro_broker::{Broker, Record, StartAt, TopicPartition, Watermarks};
use kopuro_core::topic::{InstanceTopic, TopicName};
use prost::Message as _;
use serde_json::Value;

use super::{LIMIT, dead_letter_topic};
use crate::bus::PENSIONS;
use crate::command::{Up, run};
use crate::edge::PENSION;
use crate::kafka::Kafka;
use crate::node::{client, http_get};
use crate::probe::{GOOD_PIN, Probe, pension_request};

const MEMBER: &str = "KG/GOV/70000011";

/// How long the request lives: through all that is done with its altered copy.
const LIFE: Duration = Duration::from_secs(500);

/// A bus that has served one request, and its broker's operator.
struct Scene {
    up: Up,
    probe: Probe,
}

impl Scene {
    async fn set(kafka: Option<String>) -> Self {
        let probe = Probe::default();
        let mut up = Up::create([("pensions", probe.router())], kafka).await;
        up.start().await;
        let portal = client(&up.development, "portal", up.gateway("gw-portal"));
        portal
            .call(PENSION, &[], pension_request(GOOD_PIN).encode_to_vec().into(), LIFE)
            .await
            .unwrap()
            .result
            .unwrap();
        Self { up, probe }
    }

    /// Does something with the broker, which nobody else may have open if it is embedded.
    async fn with_broker<T>(&self, act: impl AsyncFnOnce(Arc<dyn Broker>) -> T) -> T {
        let config = Config::load(&self.up.development.config()).unwrap();
        let broker = open_broker(&config.broker).await.unwrap();
        let done = act(broker.port()).await;
        broker.close().await;
        done
    }

    async fn dead_letters(&self, arguments: &[&str]) -> Output {
        let config = self.up.development.config().display().to_string();
        run([&["dead-letters", "--config", &config], arguments].concat()).await
    }

    async fn of_member(&self, arguments: &[&str]) -> Output {
        self.dead_letters(&[arguments, &["--member", MEMBER]].concat()).await
    }

    /// `list --json` of the member.
    async fn listed(&self, options: &[&str]) -> Vec<Value> {
        let listed = self.of_member(&[&["list", "--json"], options].concat()).await;
        assert!(listed.status.success(), "{listed:?}");
        serde_json::from_slice(&listed.stdout).unwrap()
    }

    async fn stop(&mut self) {
        self.up.terminate().await;
        assert_eq!(self.up.ended().await.code(), Some(0), "{}", self.up.logged());
    }

    /// Waits until as many records were put aside as were altered.
    async fn until_put_aside(&self, count: usize) {
        let tells = async {
            loop {
                let metrics = http_get(self.up.operations("gw-social-fund"), "/metrics").await.unwrap();
                let counts =
                    metrics.lines().filter(|line| line.starts_with("kopuro_exchange_dead_letters_total{"));
                let sum: usize =
                    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum();
                if sum >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(LIMIT, tells).await.expect("the records are put aside");
    }
}

/// Appends noise, the stored request with another ciphertext, and a letter that no gateway wrote.
async fn meddle(broker: Arc<dyn Broker>) {
    let call = super::call_topic(PENSIONS);
    let mut stored = None;
    for partition in 0..3 {
        let target = TopicPartition { topic: call.clone(), partition };
        let Watermarks { low, high } = broker.watermarks(&target).await.unwrap();
        if high > low {
            let mut tail = broker.tail(&target, StartAt::Offset(low)).await.unwrap();
            stored = Some((target, tail.next().await.unwrap().record));
        }
    }
    let (target, record) = stored.unwrap();
    let mut altered = kopuro_core::record::Record::decode(&record.value).unwrap();
    altered.ciphertext = altered.ciphertext.iter().map(|byte| !byte).collect();
    let noise = Record { value: vec![0xff].into(), ..Record::default() };
    for record in [noise, Record { value: altered.encode().into(), ..record }] {
        broker.append(&target, record).await.unwrap();
    }
    let target = TopicPartition { topic: dead_letter_topic(PENSIONS), ..target };
    broker.append(&target, Record { value: vec![0x0a; 40].into(), ..Record::default() }).await.unwrap();
}

async fn audited(broker: Arc<dyn Broker>) -> Vec<String> {
    let instance = kopuro_core::id::Instance::parse("KG").unwrap();
    let topic = TopicName::of_instance(InstanceTopic::Audit, &instance);
    let target = TopicPartition { topic, partition: 0 };
    let Watermarks { low, high } = broker.watermarks(&target).await.unwrap();
    let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();
    let mut lines = Vec::new();
    for _ in low..high {
        lines.push(String::from_utf8(tail.next().await.unwrap().record.value.to_vec()).unwrap());
    }
    lines
}

fn said(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap().trim_end()
}

fn complained(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap().trim_end()
}

fn position(letters: &[Value], reason: &str) -> String {
    let found = letters.iter().find(|letter| letter["reason"].as_str().unwrap_or("FOREIGN") == reason);
    found.unwrap_or_else(|| panic!("{reason}: {letters:?}"))["position"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_shown_and_resolved_beside_a_stopped_embedded_log() {
    let mut scene = Scene::set(None).await;
    let running = scene.dead_letters(&["list"]).await;
    assert_eq!(running.status.code(), Some(1), "{running:?}");
    assert!(complained(&running).contains("stop the one that runs on it first"), "{running:?}");
    scene.stop().await;
    let none = scene.dead_letters(&["list"]).await;
    assert_eq!(said(&none), "POSITION  STATE  REASON  PUT ASIDE  FOR  FACTS", "{none:?}");
    scene.with_broker(meddle).await;
    scene.up.start().await;
    scene.until_put_aside(2).await;
    scene.stop().await;
    listed_and_shown(&scene).await;
    resolved(&scene).await;
    let audited = scene.with_broker(audited).await;
    let by_person = |what: &str| audited.iter().filter(|line| line.contains(what)).count();
    assert_eq!((by_person("was replayed"), by_person("was discarded")), (1, 2), "{audited:?}");
    assert!(audited.iter().any(|line| line.contains("noise of a test")), "{audited:?}");

    // What was replayed is refused as it was before, and put aside as another.
    scene.up.start().await;
    scene.until_put_aside(1).await;
    scene.stop().await;
    let open = scene.listed(&[]).await;
    let reasons: Vec<_> = open.iter().map(|letter| letter["reason"].as_str()).collect();
    assert_eq!(reasons, [Some("SEAL_BROKEN")]);
    assert_eq!(scene.probe.calls(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_listed_shown_and_resolved_beside_gateways_on_kafka() {
    let Some(kafka) = Kafka::start("kopuro dead-letters on Kafka").await else { return };
    let mut scene = Scene::set(Some(kafka.address.clone())).await;
    scene.with_broker(meddle).await;
    scene.until_put_aside(2).await;
    listed_and_shown(&scene).await;
    resolved(&scene).await;
    scene.until_put_aside(3).await;
    let open = scene.listed(&[]).await;
    assert_eq!((open.len(), &open[0]["reason"]), (1, &"SEAL_BROKEN".into()));
    assert_eq!(scene.probe.calls(), 1);
    scene.stop().await;
}

async fn listed_and_shown(scene: &Scene) {
    let letters = scene.listed(&[]).await;
    assert_eq!(letters.len(), 3, "{letters:?}");
    assert!(letters.iter().all(|letter| letter["resolution"].is_null() && letter["member"] == MEMBER));
    let [noise, altered, foreign] =
        ["RECORD_MALFORMED", "SEAL_BROKEN", "FOREIGN"].map(|reason| position(&letters, reason));

    let table = scene.of_member(&["list"]).await;
    assert_eq!(said(&table).lines().count(), 4, "{table:?}");
    let row = said(&table).lines().find(|line| line.contains("SEAL_BROKEN")).unwrap();
    for cell in [altered.as_str(), "open", PENSIONS, "exchange=", "expires="] {
        assert!(row.contains(cell), "{cell}: {row}");
    }
    let show = async |at: &str| said(&scene.of_member(&["show", at]).await).to_owned();
    let shown = show(&altered).await;
    for told in [
        "the content cannot be opened or is not what was stated",
        "refreshes the recipient's sealing key",
        "NOT VERIFIED (SEAL_BROKEN)",
        "KG/GOV/70000001/portal",
        "GetPensionInfo",
        "gw-social-fund",
    ] {
        assert!(shown.contains(told), "{told}: {shown}");
    }
    assert!(show(&noise).await.contains("none that can be read"));
    assert!(show(&foreign).await.contains("nobody who has the member's secret"));
    let absent = scene.of_member(&["show", "0/9999"]).await;
    assert_eq!((absent.status.code(), said(&absent)), (Some(1), ""), "{absent:?}");
}

async fn resolved(scene: &Scene) {
    let letters = scene.listed(&[]).await;
    let [noise, foreign] = ["RECORD_MALFORMED", "FOREIGN"].map(|reason| position(&letters, reason));
    let unexplained = scene.of_member(&["discard", &noise]).await;
    assert_eq!(unexplained.status.code(), Some(2), "{unexplained:?}");
    let several = scene.dead_letters(&["discard", &noise, "--because", "it is noise"]).await;
    assert_eq!(several.status.code(), Some(2), "{several:?}");
    assert!(complained(&several).contains(MEMBER), "{several:?}");

    let strayed = scene.of_member(&["replay", &foreign]).await;
    assert_eq!(strayed.status.code(), Some(1), "{strayed:?}");
    assert!(complained(&strayed).contains("not the gateway's own"), "{strayed:?}");
    let replayed = scene.of_member(&["replay", "--reason", "SEAL_BROKEN"]).await;
    assert!(said(&replayed).contains(" replayed: its record stands at "), "{replayed:?}");
    let none = scene.of_member(&["replay", "--reason", "EXPIRED"]).await;
    assert_eq!(said(&none), "no letter is open for that reason", "{none:?}");
    let left =
        scene.of_member(&["discard", &noise, &foreign, "0/9999", "--because", "noise of a test"]).await;
    assert_eq!((left.status.code(), said(&left).lines().count()), (Some(1), 2), "{left:?}");
    assert!(complained(&left).contains("0/9999: the letter is not there"), "{left:?}");
    let again = scene.of_member(&["replay", &noise]).await;
    assert!(complained(&again).contains("it was discarded already"), "{again:?}");

    let all = scene.listed(&["--all"]).await;
    let mut states: Vec<_> = all.iter().take(3).map(|letter| letter["state"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["discarded", "discarded", "replayed"], "{all:?}");
}
