//! Measures appends: a lone one, many at once, and how soon a tail has them.
//!
//!     cargo run --release -p kopuro-broker --example append_rate                        # embedded, in a fresh folder
//!     cargo run --release -p kopuro-broker --example append_rate -- 127.0.0.1:9092      # a Kafka on loopback
//!
//! A folder in `TMPDIR` that is no real disk flatters the embedded broker.

#![allow(clippy::print_stdout, reason = "its purpose is to print a table")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use kopuro_broker::{
    Broker, EmbeddedBroker, KafkaBroker, KafkaSettings, Record, StartAt, Tail, TopicPartition, TopicSettings,
};
use kopuro_core::id::SubsystemId;
use kopuro_core::topic::{SubsystemTopic, TopicName};

const VALUE_BYTES: usize = 1_024;
const LONE_APPENDS: usize = 2_000;
const SPAN: Duration = Duration::from_secs(3);
const PARTITIONS: u32 = 3;
const TAILS: u32 = 10;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let opened = Instant::now();
    let broker: Arc<dyn Broker> = match std::env::args().nth(1) {
        Some(address) => KafkaBroker::connect(KafkaSettings::single_broker(address)).await?,
        None => EmbeddedBroker::open(folder.path())?,
    };
    report("open", opened.elapsed());
    let topic = make_topic(&broker).await?;
    let first = Instant::now();
    broker.append(&at(&topic, 0), record()).await?;
    report("first append", first.elapsed());
    lone(&broker, &topic).await?;
    for writers in [8, 64, 256] {
        many(&broker, &topic, writers).await?;
    }
    tails(&broker, &topic).await
}

async fn make_topic(broker: &Arc<dyn Broker>) -> anyhow::Result<TopicName> {
    let code = format!("KG/GOV/70000005/append-rate-{:016x}", rand::random::<u64>());
    let topic = TopicName::of_subsystem(SubsystemTopic::Call, &SubsystemId::parse(&code)?);
    let settings = TopicSettings { partitions: PARTITIONS, retention: None, record_bytes_max: 1 << 20 };
    broker.ensure_topic(&topic, &settings).await?;
    Ok(topic)
}

/// One append at a time, and the moment a tail has it.
async fn lone(broker: &Arc<dyn Broker>, topic: &TopicName) -> anyhow::Result<()> {
    let target = at(topic, 0);
    let mut tail = broker.tail(&target, StartAt::Latest).await?;
    let (mut appended, mut tailed) = (Vec::new(), Vec::new());
    for _ in 0..LONE_APPENDS {
        let begun = Instant::now();
        let (append, read) =
            tokio::join!(timed(begun, broker.append(&target, record())), timed(begun, tail.next()));
        append.0?;
        read.0?;
        appended.push(append.1);
        tailed.push(read.1);
    }
    spread("lone append", &mut appended);
    spread("lone append to tail", &mut tailed);
    Ok(())
}

async fn timed<T>(begun: Instant, work: impl Future<Output = T>) -> (T, Duration) {
    let outcome = work.await;
    (outcome, begun.elapsed())
}

/// `writers` callers, each with one append in flight.
async fn many(broker: &Arc<dyn Broker>, topic: &TopicName, writers: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    let work = (0..writers).map(|writer| {
        let (broker, target) = (broker.clone(), at(topic, writer % PARTITIONS));
        tokio::spawn(async move {
            let mut waits = Vec::new();
            while begun.elapsed() < SPAN {
                let sent = Instant::now();
                broker.append(&target, record()).await?;
                waits.push(sent.elapsed());
            }
            anyhow::Ok(waits)
        })
    });
    let mut waits = Vec::new();
    for work in work.collect::<Vec<_>>() {
        waits.extend(work.await??);
    }
    let rate = waits.len() as f64 / begun.elapsed().as_secs_f64();
    spread(&format!("{writers} writers: {rate:.0}/s"), &mut waits);
    Ok(())
}

/// What idle tails cost.
async fn tails(broker: &Arc<dyn Broker>, topic: &TopicName) -> anyhow::Result<()> {
    println!("{:32} {} KiB, {} threads", "resident", status("VmRSS:")?, status("Threads:")?);
    let mut all: Vec<Box<dyn Tail>> = Vec::new();
    for tail in 0..TAILS {
        all.push(broker.tail(&at(topic, tail % PARTITIONS), StartAt::Latest).await?);
    }
    tokio::time::sleep(SPAN).await;
    println!(
        "{:32} {} KiB, {} threads",
        "resident with ten idle tails",
        status("VmRSS:")?,
        status("Threads:")?
    );
    Ok(())
}

fn status(field: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn at(topic: &TopicName, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.clone(), partition }
}

fn record() -> Record {
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    Record { key: Bytes::from_static(&[7; 16]), value, headers: Vec::new() }
}

fn spread(what: &str, waits: &mut [Duration]) {
    waits.sort();
    let at = |percent: usize| waits[(waits.len() - 1) * percent / 100];
    println!("{what:32} p50 {:>10.1?}  p99 {:>10.1?}  max {:>10.1?}", at(50), at(99), at(100));
}

fn report(what: &str, took: Duration) {
    println!("{what:32} {took:.1?}");
}
