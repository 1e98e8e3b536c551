//! Killing the process that writes the embedded log, at any moment.
//!
//! The test starts its own binary again as a child, which appends and says on standard output what was acknowledged,
//! and kills it (SIGKILL) after a random number of lines.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use kopuro_broker::{Broker, StartAt, TopicPartition};
use kopuro_core::id::SubsystemId;
use kopuro_core::topic::{SubsystemTopic, TopicName};

use super::fixture::{append, at, embedded_at, settings, soon};

/// Names the folder to the child.
const CHILD_FOLDER: &str = "KOPURO_TEST_CHILD_FOLDER";
const ROUNDS: u32 = 12;
const WRITERS: u32 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_loses_nothing_it_acknowledged() {
    if let Some(folder) = std::env::var_os(CHILD_FOLDER) {
        return write_for_ever(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..ROUNDS {
        let lines_max = rand::random_range(1..1_500);
        let path = folder.path().to_owned();
        let lines = tokio::task::spawn_blocking(move || run_and_kill(&path, lines_max)).await.unwrap();
        assert!(lines.len() >= lines_max, "round {round}: the child ended early");
        acknowledged.extend(lines);
        check(folder.path(), &acknowledged).await;
    }
}

/// What a child acknowledged: partition and offset, and the value there.
type Acknowledged = BTreeMap<(u32, u64), String>;

fn run_and_kill(folder: &PathBuf, lines_max: usize) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["contract::crash::a_killed_writer_loses_nothing_it_acknowledged", "--exact", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut acknowledged: Acknowledged =
        lines.by_ref().filter_map(|line| parse(&line)).take(lines_max).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    // What was said before the kill counts too; the last line may be cut.
    acknowledged.extend(lines.filter_map(|line| parse(&line)));
    acknowledged
}

fn parse(line: &str) -> Option<((u32, u64), String)> {
    let rest = line.strip_prefix("ack ")?.strip_suffix(" end")?;
    let mut words = rest.splitn(3, ' ');
    let place = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((place, words.next()?.to_owned()))
}

async fn check(folder: &Path, acknowledged: &Acknowledged) {
    let broker = embedded_at(folder);
    for partition in 0..WRITERS / 2 {
        let target = at(&topic(), partition);
        let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();
        let expected = acknowledged.range((partition, 0)..=(partition, u64::MAX));
        let mut next = 0;
        for ((_, offset), value) in expected {
            while next <= *offset {
                let stored = soon(tail.next()).await.unwrap();
                assert_eq!(stored.position.offset, next, "there is no hole");
                if next == *offset {
                    assert_eq!(stored.record.value, value.as_bytes());
                }
                next += 1;
            }
        }
    }
    tokio::task::spawn_blocking(|| drop(broker)).await.unwrap();
}

fn topic() -> TopicName {
    TopicName::of_subsystem(SubsystemTopic::Call, &SubsystemId::parse("KG/GOV/70000005/crash").unwrap())
}

async fn write_for_ever(folder: &Path) {
    let broker = embedded_at(folder);
    broker.ensure_topic(&topic(), &settings(WRITERS / 2)).await.unwrap();
    let run: u64 = rand::random();
    let writers = (0..WRITERS)
        .map(|n| tokio::spawn(write(broker.clone(), at(&topic(), n / 2), format!("{run:x}-{n}"))));
    futures::future::join_all(writers).await;
}

async fn write(broker: Arc<dyn Broker>, target: TopicPartition, name: String) {
    for n in 0_u64.. {
        let value = format!("{name}-{n}-{}", "x".repeat(usize::try_from(n * 37 % 900).unwrap()));
        let position = append(&broker, &target, value.clone()).await;
        let line = format!("ack {} {} {value} end\n", position.partition, position.offset);
        std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
    }
}
