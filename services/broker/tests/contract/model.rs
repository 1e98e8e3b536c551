//! The log against its model: one vector of values per partition.

use kopuro_broker::{Position, StartAt};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::fixture::{Fixture, at, record, soon, take, topic_with};

const PARTITIONS: u32 = 3;

#[derive(Clone, Debug)]
enum Act {
    Append(u32, Vec<u8>),
    ReadFrom(u32, usize),
    Bounds(u32),
    Reopen,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..PARTITIONS, prop::collection::vec(any::<u8>(), 0..2_000)).prop_map(|(p, value)| Act::Append(p, value)),
        2 => (0..PARTITIONS, any::<prop::sample::Index>()).prop_map(|(p, at)| Act::ReadFrom(p, at.index(40))),
        2 => (0..PARTITIONS).prop_map(Act::Bounds),
        1 => Just(Act::Reopen),
    ]
}

pub(crate) async fn the_log_is_a_vector_per_partition(fixture: &Fixture) {
    let rounds = match fixture {
        Fixture::Embedded(_) => 24,
        Fixture::Kafka(_) => 4,
    };
    let mut runner = TestRunner::default();
    for _ in 0..rounds {
        let acts = prop::collection::vec(act(), 1..60).new_tree(&mut runner).unwrap().current();
        Box::pin(run(fixture, &acts)).await;
    }
}

async fn run(fixture: &Fixture, acts: &[Act]) {
    let mut broker = fixture.open().await;
    let topic = topic_with(&broker, PARTITIONS).await;
    let mut model: Vec<Vec<(Position, Vec<u8>)>> = vec![Vec::new(); PARTITIONS as usize];
    for act in acts {
        match act {
            Act::Append(partition, value) => {
                let position =
                    soon(broker.append(&at(&topic, *partition), record(value.clone()))).await.unwrap();
                let log = &mut model[*partition as usize];
                assert!(log.last().is_none_or(|(last, _)| *last < position), "{acts:?}");
                log.push((position, value.clone()));
            }
            Act::ReadFrom(partition, index) => {
                let log = &model[*partition as usize];
                let expected = log.get(*index..).unwrap_or_default();
                let Some((first, _)) = expected.first() else { continue };
                let start = StartAt::Offset(first.offset);
                let mut tail = broker.tail(&at(&topic, *partition), start).await.unwrap();
                let read = take(&mut tail, expected.len()).await;
                let read: Vec<_> =
                    read.iter().map(|stored| (stored.position, stored.record.value.to_vec())).collect();
                assert_eq!(read, expected, "{acts:?}");
            }
            Act::Bounds(partition) => {
                let bounds = broker.watermarks(&at(&topic, *partition)).await.unwrap();
                let last = model[*partition as usize].last().map(|(position, _)| position.offset);
                assert!(bounds.low == 0 && last.is_none_or(|last| last < bounds.high), "{acts:?}");
            }
            Act::Reopen => broker = fixture.reopen(broker).await,
        }
    }
}
