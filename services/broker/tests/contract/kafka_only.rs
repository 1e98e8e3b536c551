//! What only the Kafka broker has to withstand: losing the cluster, and a topic made anew.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kopuro_broker::{AppendError, Broker, BrokerError, GroupEvent, KafkaBroker, KafkaSettings, StartAt};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;

use super::fixture::{Fixture, at, event, fresh_topic, record, settings, soon, text};
use super::raw_produce::produce;

/// How long appends may take to recover once the cluster is back.
const RECOVERY: Duration = Duration::from_secs(30);

/// A Kafka of its own, which may be stopped and started.
struct OwnKafka(tempfile::TempDir);

impl OwnKafka {
    fn run(&self, verb: &str) -> String {
        let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kafka/kafka");
        let output = Command::new(script)
            .arg(verb)
            .env("KOPURO_KAFKA_DATA", self.0.path())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "kafka {verb}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for OwnKafka {
    fn drop(&mut self) {
        self.run("stop");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_was_refused_while_the_cluster_was_lost_is_in_no_log() {
    if Fixture::kafka("what_was_refused_while_the_cluster_was_lost_is_in_no_log").is_none() {
        return;
    }
    let kafka = OwnKafka(tempfile::tempdir().unwrap());
    let reach =
        KafkaSettings { append_timeout_ms: 1_500, ..KafkaSettings::single_broker(kafka.run("start")) };
    let broker = KafkaBroker::connect(reach).await.unwrap();
    let topic = fresh_topic();
    broker.ensure_topic(&topic, &settings(1)).await.unwrap();
    let target = at(&topic, 0);
    let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();

    let (mut acknowledged, mut refused, mut numbers) = (Vec::new(), Vec::new(), 0..);
    let mut append = || {
        let number = numbers.next().unwrap().to_string();
        (broker.append(&target, record(number.clone())), number)
    };
    for _ in 0..20 {
        let (appending, number) = append();
        soon(appending).await.unwrap();
        acknowledged.push(number);
    }
    kafka.run("stop");
    let mut unknown = 0;
    while refused.len() < 20 {
        let (appending, number) = append();
        match soon(appending).await {
            Err(AppendError::NotAppended(BrokerError::Unavailable(_))) => refused.push(number),
            Err(AppendError::Unknown(_)) => unknown += 1,
            other => panic!("{other:?}"),
        }
        assert!(unknown < 5, "once the cluster is known to be lost, appends are refused with certainty");
    }
    kafka.run("start");
    let started = Instant::now();
    while acknowledged.len() < 40 {
        let (appending, number) = append();
        match soon(appending).await {
            Ok(_) => acknowledged.push(number),
            Err(AppendError::NotAppended(BrokerError::Unavailable(cause))) => {
                assert!(started.elapsed() < RECOVERY, "appends do not recover by themselves: {cause}");
                refused.push(number);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            other => panic!("{other:?}"),
        }
    }

    let last = acknowledged.last().unwrap().clone();
    let mut read = Vec::new();
    while read.last() != Some(&last) {
        read.push(text(&soon(tail.next()).await.unwrap()));
    }
    assert!(refused.iter().all(|number| !read.contains(number)), "a refused record is in no log");
    let numbers: Vec<u64> = read.iter().map(|number| number.parse().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order, none twice: {numbers:?}");
    assert!(
        acknowledged.iter().all(|number| read.contains(number)),
        "every acknowledged record is in the log"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_stops_its_appends() {
    let Some(Fixture::Kafka(address)) = Fixture::kafka("a_topic_made_anew_stops_its_appends") else { return };
    let broker = KafkaBroker::connect(KafkaSettings::single_broker(address.clone())).await.unwrap();
    let topic = fresh_topic();
    broker.ensure_topic(&topic, &settings(1)).await.unwrap();
    let target = at(&topic, 0);
    for _ in 0..3 {
        soon(broker.append(&target, record("before"))).await.unwrap();
    }
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", &address).create().unwrap();
    let deleted = soon(admin.delete_topics(&[topic.as_str()], &AdminOptions::new())).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    // Kafka deletes in its own time; until then the old topic is seen.
    let made_anew = async {
        loop {
            let other = KafkaBroker::connect(KafkaSettings::single_broker(address.clone())).await.unwrap();
            let made = other.ensure_topic(&topic, &settings(1)).await;
            if made.is_ok() && other.watermarks(&target).await.is_ok_and(|bounds| bounds.high == 0) {
                return;
            }
        }
    };
    soon(made_anew).await;
    let unknown = soon(broker.append(&target, record("after"))).await;
    assert!(matches!(unknown, Err(AppendError::Unknown(_))), "{unknown:?}");
    let refused = soon(broker.append(&target, record("after"))).await;
    assert!(matches!(refused, Err(AppendError::NotAppended(BrokerError::Damaged(_)))), "{refused:?}");
}

/// The client library panics on it, and its reader would read no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_whose_name_is_no_text_ends_no_reader() {
    let Some(Fixture::Kafka(address)) = Fixture::kafka("a_header_whose_name_is_no_text_ends_no_reader")
    else {
        return;
    };
    let broker = KafkaBroker::connect(KafkaSettings::single_broker(address.clone())).await.unwrap();
    let topic = fresh_topic();
    broker.ensure_topic(&topic, &settings(1)).await.unwrap();
    let (target, name) = (at(&topic, 0), topic.as_str().to_owned());
    let headers: [(&[u8], &[u8]); 3] = [(b"before", b"1"), (b"\xff\xfe", b"2"), (b"behind", b"3")];
    let raw = move || produce(&address, &name, 0, b"poison", &headers);
    tokio::task::spawn_blocking(raw).await.unwrap();
    soon(broker.append(&target, record("next"))).await.unwrap();

    let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();
    let poison = soon(tail.next()).await.unwrap();
    assert_eq!(text(&poison), "poison");
    let names: Vec<_> = poison.record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(names, [("before", b"1".as_slice()), ("behind", b"3")]);
    assert_eq!(text(&soon(tail.next()).await.unwrap()), "next");

    let mut member = broker.subscribe("raw", std::slice::from_ref(&topic)).await.unwrap();
    let mut read = Vec::new();
    while read.len() < 2 {
        if let GroupEvent::Record(_, stored) = event(&mut member).await {
            read.push(text(&stored));
        }
    }
    assert_eq!(read, ["poison", "next"]);
}
