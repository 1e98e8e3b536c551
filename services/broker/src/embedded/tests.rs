use bytes::Bytes;
use kopuro_core::id::SubsystemId;
use kopuro_core::topic::SubsystemTopic;

use super::*;
use crate::port::AppendError;

struct Fixture {
    folder: tempfile::TempDir,
    broker: Arc<EmbeddedBroker>,
    target: TopicPartition,
}

impl Fixture {
    async fn new(retention: Option<Duration>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = EmbeddedBroker::open(folder.path()).unwrap();
        let subsystem = SubsystemId::parse("KG/GOV/70000005/civil-registry").unwrap();
        let topic = TopicName::of_subsystem(SubsystemTopic::Call, &subsystem);
        let settings = TopicSettings { partitions: 1, retention, record_bytes_max: 16 << 20 };
        broker.ensure_topic(&topic, &settings).await.unwrap();
        Self { folder, broker, target: TopicPartition { topic, partition: 0 } }
    }

    async fn fill(&self, count: usize) {
        let pending: Vec<_> =
            (0..count).map(|_| self.broker.append(&self.target, Record::default())).collect();
        for appended in pending {
            appended.await.unwrap();
        }
    }

    async fn bounds(&self) -> (u64, u64) {
        let Watermarks { low, high } = self.broker.watermarks(&self.target).await.unwrap();
        (low, high)
    }
}

#[tokio::test]
async fn retention_deletes_what_is_old_and_nothing_else() {
    let hour = Duration::from_secs(3_600);
    let fixture = Fixture::new(Some(hour)).await;
    fixture.fill(3_000).await;
    let mut behind = fixture.broker.tail(&fixture.target, StartAt::Offset(10)).await.unwrap();
    upkeep::sweep(&fixture.broker.shared, now()).unwrap();
    assert_eq!(fixture.bounds().await, (0, 3_000));

    upkeep::sweep(&fixture.broker.shared, now().plus(hour + Duration::from_secs(1))).unwrap();
    assert_eq!(fixture.bounds().await, (3_000, 3_000));
    assert!(matches!(behind.next().await, Err(BrokerError::OffsetOutOfRange)));
    let refused = fixture.broker.tail(&fixture.target, StartAt::Offset(10)).await.map(|_| ());
    assert!(matches!(refused, Err(BrokerError::OffsetOutOfRange)));

    let mut earliest = fixture.broker.tail(&fixture.target, StartAt::Earliest).await.unwrap();
    fixture.fill(1).await;
    assert_eq!(earliest.next().await.unwrap().position.offset, 3_000);
}

#[tokio::test]
async fn an_emptied_partition_keeps_its_place_across_reopening() {
    let hour = Duration::from_secs(3_600);
    let Fixture { folder, broker, target } = Fixture::new(Some(hour)).await;
    let fixture = Fixture { folder, broker, target };
    fixture.fill(5).await;
    upkeep::sweep(&fixture.broker.shared, now().plus(hour + hour)).unwrap();
    fixture.broker.close().await;
    let Fixture { folder, target, .. } = fixture;
    let broker = EmbeddedBroker::open(folder.path()).unwrap();
    let fixture = Fixture { folder, broker, target };
    assert_eq!(fixture.bounds().await, (5, 5));
    let position = fixture.broker.append(&fixture.target, Record::default()).await.unwrap();
    assert_eq!(position.offset, 5);
}

#[tokio::test]
async fn records_without_retention_stay() {
    let fixture = Fixture::new(None).await;
    fixture.fill(3).await;
    upkeep::sweep(&fixture.broker.shared, UnixMillis::new(u64::MAX)).unwrap();
    assert_eq!(fixture.bounds().await, (0, 3));
}

#[tokio::test]
async fn a_full_queue_refuses_with_certainty() {
    let fixture = Fixture::new(None).await;
    let large = Record { value: Bytes::from(vec![0; 15 << 20]), ..Record::default() };
    let pending: Vec<_> = (0..20).map(|_| fixture.broker.append(&fixture.target, large.clone())).collect();
    let (mut kept, mut refused) = (0, 0);
    for appended in pending {
        match appended.await {
            Ok(_) => kept += 1,
            Err(AppendError::QueueFull) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(kept >= 4 && refused > 0, "kept {kept}, refused {refused}");
    assert_eq!(fixture.bounds().await, (0, kept));
}

#[tokio::test]
async fn commits_reach_the_disk_without_an_append() {
    let fixture = Fixture::new(None).await;
    fixture.broker.shared.commit("group", &fixture.target, 7).unwrap();
    upkeep::keep_commits(&fixture.broker.shared).unwrap();
    let kept = fixture.broker.shared.store.commits().unwrap();
    assert_eq!(kept.values().copied().collect::<Vec<_>>(), [7]);
}

#[tokio::test]
async fn a_log_that_writes_no_more_refuses_with_certainty_and_says_so() {
    let fixture = Fixture::new(None).await;
    fixture.broker.probe(Duration::from_secs(60)).await.unwrap();
    fixture.broker.shared.store.close();
    let failed = fixture.broker.append(&fixture.target, Record::default()).await;
    assert!(matches!(failed, Err(AppendError::Unknown(BrokerError::Closed))), "{failed:?}");
    let later = fixture.broker.append(&fixture.target, Record::default()).await;
    assert!(matches!(later, Err(AppendError::NotAppended(BrokerError::Closed))), "{later:?}");
    assert!(fixture.broker.shared.failure.get().is_some());
    assert!(fixture.broker.probe(Duration::from_secs(60)).await.is_err());
}
