//! Appends: order, durability, what is refused.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::future::join_all;
use kopuro_broker::{AppendError, Position, Record, StartAt, TopicSettings};

use super::fixture::{Fixture, append, at, fresh_topic, record, settings, soon, take, text, topic_with};

pub(crate) async fn appends_of_one_caller_keep_their_order(fixture: &Fixture) {
    let broker = fixture.open().await;
    let target = at(&topic_with(&broker, 3).await, 1);
    let pending: Vec<_> = (0..500).map(|n| broker.append(&target, record(n.to_string()))).collect();
    let positions: Vec<Position> = join_all(pending).await.into_iter().map(Result::unwrap).collect();
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]), "positions rise strictly");
    assert!(positions.iter().all(|position| position.partition == 1));
    let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();
    for (n, stored) in take(&mut tail, 500).await.into_iter().enumerate() {
        assert_eq!((text(&stored), stored.position), (n.to_string(), positions[n]));
    }
}

pub(crate) async fn concurrent_appends_keep_each_callers_order(fixture: &Fixture) {
    let broker = fixture.open().await;
    let target = at(&topic_with(&broker, 1).await, 0);
    let writers = (0..8).map(|writer| {
        let (broker, target) = (broker.clone(), target.clone());
        tokio::spawn(async move {
            let mut last = None;
            for n in 0..50 {
                let position = append(&broker, &target, format!("{writer} {n}")).await;
                assert!(last.replace(position) < Some(position), "positions rise strictly");
            }
        })
    });
    let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();
    let (written, read) = tokio::join!(join_all(writers), take(&mut tail, 400));
    written.into_iter().for_each(|writer| writer.unwrap());
    let mut seen: HashMap<String, usize> = HashMap::new();
    for stored in read {
        let text = text(&stored);
        let (writer, n) = text.split_once(' ').unwrap();
        let next = seen.entry(writer.to_owned()).or_default();
        assert_eq!(n, next.to_string(), "writer {writer}");
        *next += 1;
    }
}

pub(crate) async fn a_record_comes_back_whole(fixture: &Fixture) {
    let broker = fixture.open().await;
    let target = at(&topic_with(&broker, 1).await, 0);
    let header = |name: &str, value: &'static [u8]| (name.to_owned(), Bytes::from_static(value));
    let every_byte = Bytes::from((0..=255).collect::<Vec<u8>>());
    let records = [
        Record { key: every_byte.clone(), value: every_byte, headers: vec![] },
        Record { key: Bytes::new(), value: Bytes::new(), headers: vec![] },
        Record {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"v"),
            headers: vec![header("traceparent", b"00-1"), header("ce_id", b"\0\xff"), header("ce_id", b"")],
        },
    ];
    let now_ms = || u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let mut tail = broker.tail(&target, StartAt::Latest).await.unwrap();
    let mut last = now_ms() - 1_000;
    for record in records {
        let position = soon(broker.append(&target, record.clone())).await.unwrap();
        let stored = soon(tail.next()).await.unwrap();
        assert_eq!((stored.record, stored.position), (record, position));
        let append_time = stored.append_time.as_u64();
        assert!((last..=now_ms() + 1_000).contains(&append_time), "append times rise with the clock");
        last = append_time;
    }
}

pub(crate) async fn a_record_that_is_too_large_is_refused(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = fresh_topic();
    let settings = TopicSettings { record_bytes_max: 2_000_000, ..settings(1) };
    broker.ensure_topic(&topic, &settings).await.unwrap();
    let target = at(&topic, 0);
    let fill = |len| vec![b'x'; len - b"key".len()];
    append(&broker, &target, fill(2_000_000)).await;
    let refused = soon(broker.append(&target, record(fill(2_000_001)))).await;
    assert!(matches!(refused, Err(AppendError::TooLarge)), "{refused:?}");
    let headers = vec![("traceparent".to_owned(), Bytes::from(vec![b'x'; 17 << 10]))];
    let refused = soon(broker.append(&target, Record { headers, ..record("x") })).await;
    assert!(matches!(refused, Err(AppendError::TooLarge)), "{refused:?}");
    // A broker that did not make the topic refuses it as well.
    let broker = fixture.reopen(broker).await;
    let refused = soon(broker.append(&target, record(fill(2_200_000)))).await;
    assert!(matches!(refused, Err(AppendError::TooLarge)), "{refused:?}");
    let mut tail = broker.tail(&target, StartAt::Earliest).await.unwrap();
    append(&broker, &target, "small").await;
    let read = take(&mut tail, 2).await;
    assert_eq!((read[0].record.value.len() + 3, text(&read[1])), (2_000_000, "small".to_owned()));
}

pub(crate) async fn an_acknowledged_record_survives_reopening(fixture: &Fixture) {
    let mut broker = fixture.open().await;
    let target = at(&topic_with(&broker, 2).await, 1);
    let mut positions = Vec::new();
    for round in 0..3 {
        for n in 0..20 {
            positions.push(append(&broker, &target, format!("{round} {n}")).await);
        }
        broker = fixture.reopen(broker).await;
    }
    assert!(positions.windows(2).all(|pair| pair[0] < pair[1]), "positions rise across reopening");
    let mut tail = soon(broker.tail(&target, StartAt::Earliest)).await.unwrap();
    let read = take(&mut tail, 60).await;
    assert_eq!(read.iter().map(|stored| stored.position).collect::<Vec<_>>(), positions);
    assert_eq!(text(&read[59]), "2 19");
    assert!(read.windows(2).all(|pair| pair[0].append_time <= pair[1].append_time));
    broker.probe(Duration::from_secs(10)).await.unwrap();
}
