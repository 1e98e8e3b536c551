//! Records that nothing can be done with, among others that wait behind them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{Record, StartAt, TopicPartition, TopicSettings};
use kopuro_core::content::Payload;
use kopuro_core::record::RECORD_LEN_MAX;
use kopuro_exchange::dead_letter::NotDone;
use kopuro_exchange::{Call, Exchange};
use kopuro_telemetry::metrics::Alarm;

use super::{LIMIT, because, bus_on, call_topic, dead_letter_topic, desk, letters};
use crate::bus::{Bus, CountingDispatcher, PENSIONS, PORTAL, again, pension_call, subsystem};
use crate::hostile::Hostile;
use crate::kafka::Kafka;

/// How long a call may wait on a machine that has much to do: megabytes are written before it.
const PATIENCE: Duration = Duration::from_secs(120);
/// As many calls as it takes for each partition to have some.
const CALLS: usize = 24;

fn target(partition: u32) -> TopicPartition {
    TopicPartition { topic: call_topic(PENSIONS), partition }
}

fn poison(value_len: usize, headers: Vec<(String, Bytes)>) -> Record {
    Record { key: Bytes::from_static(b"poison"), value: vec![0xff; value_len].into(), headers }
}

/// One for each partition: the largest record that is taken, with as many headers as are; and larger ones, as who writes
/// past a gateway may make.
fn poisons() -> [Record; 3] {
    let full = vec![("h".repeat(4 << 10), Bytes::from(vec![0; 12 << 10]))];
    let many = vec![(String::new(), Bytes::new()); 40_000];
    let largest = RECORD_LEN_MAX - b"poison".len();
    [poison(largest, full), poison(largest, many), poison(5 << 20, Vec::new())]
}

async fn all_answered(bus: &Bus, portal: &Exchange) {
    let call = Call { timeout: Some(PATIENCE), ..pension_call(bus) };
    for _ in 0..CALLS {
        let answer = portal.call(again(bus, &call)).await.unwrap();
        assert!(matches!(answer.payload, Payload::Message(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_of_any_size_delays_nobody_and_is_kept() {
    kept_and_passed(Bus::start(|broker| broker).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_of_any_size_delays_nobody_and_is_kept_on_kafka() {
    let Some(kafka) = Kafka::start("poison on Kafka").await else { return };
    kept_and_passed(bus_on(&kafka).await).await;
}

async fn kept_and_passed(bus: Bus) {
    let wide = TopicSettings { partitions: 3, retention: None, record_bytes_max: 8 << 20 };
    bus.broker.ensure_topic(&call_topic(PENSIONS), &wide).await.unwrap();
    let portal = bus.engine(PORTAL, Arc::new(CountingDispatcher::default()));
    let provider = bus.engine(PENSIONS, Arc::new(CountingDispatcher::default()));
    for (partition, record) in (0..).zip(poisons()) {
        bus.broker.append(&target(partition), record).await.unwrap();
    }
    provider.serve(&subsystem(PENSIONS)).await.unwrap();
    all_answered(&bus, &portal).await;
    let desk = desk(&bus, PENSIONS);
    let aside = letters(&desk, 3).await;
    let cut = aside.iter().map(|listed| listed.summary.as_ref().unwrap().cut.map(|cut| cut.value_size_bytes));
    let sizes = poisons().map(|record| record.value.len() as u64);
    assert_eq!(cut.collect::<Vec<_>>(), [None, Some(sizes[1]), Some(sizes[2])]);
    provider.drain(LIMIT).await;
    let group = format!("provide.{}", call_topic(PENSIONS));
    for partition in 0..3 {
        let high = bus.broker.watermarks(&target(partition)).await.unwrap().high;
        let committed = bus.broker.committed(&group, &target(partition)).await.unwrap();
        assert_eq!(committed, Some(high), "partition {partition} is not done with");
    }

    // The one that could be kept whole comes back as it was.
    let position = desk.replay(&aside[0], &because("")).await.unwrap();
    let start = StartAt::Offset(position.offset);
    let mut tail = bus.broker.tail(&target(position.partition), start).await.unwrap();
    assert!(tail.next().await.unwrap().record == poisons()[0], "the record is another");
    assert!(matches!(desk.replay(&aside[1], &because("")).await, Err(NotDone::Cut)));
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_kept_once_the_broker_takes_it_and_delays_nobody_until_then() {
    let mut hostile = None;
    let bus = Bus::start(|inner| {
        let wrapped = Hostile::wrap(inner);
        hostile = Some(Arc::clone(&wrapped));
        wrapped
    })
    .await;
    let hostile = hostile.unwrap();
    let portal = bus.engine(PORTAL, Arc::new(CountingDispatcher::default()));
    let provider = bus.engine(PENSIONS, Arc::new(CountingDispatcher::default()));
    provider.serve(&subsystem(PENSIONS)).await.unwrap();
    hostile.refuse(Some(dead_letter_topic(PENSIONS)));
    for partition in [0, 1] {
        bus.broker.append(&target(partition), poison(5, Vec::new())).await.unwrap();
    }
    all_answered(&bus, &portal).await;
    let desk = desk(&bus, PENSIONS);
    assert_eq!(letters(&desk, 0).await.len(), 0);
    let group = format!("provide.{}", call_topic(PENSIONS));
    let committed = async |partition| bus.broker.committed(&group, &target(partition)).await.unwrap();
    // All partitions are committed in one go, and this one has no poison.
    while committed(2).await.is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!([committed(0).await, committed(1).await], [None, None], "a record was skipped");
    hostile.refuse(None);
    letters(&desk, 2).await;
    assert_eq!(bus.metrics.alarms(Alarm::DeadLetterUnkept), 0);
    provider.drain(LIMIT).await;
}
