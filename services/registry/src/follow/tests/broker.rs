//! Following through a broker: one that is honest, and others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{Broker, Record, StoredRecord, TopicPartition};
use kopuro_core::digest::Digest;
use kopuro_core::error::Reason;
use kopuro_core::time::Clock as _;
use kopuro_telemetry::metrics::{Alarm, Metrics};

use crate::compose;
use crate::follow::{FollowSettings, Follower, Following};
use crate::publish::Publisher;
use crate::testing::{FixedClock, NOW, ScriptedBroker, World, broker, ed25519, notes_of, soon, until};
use crate::topics::Topics;

struct Stage {
    world: World,
    clock: FixedClock,
    broker: Arc<dyn Broker>,
    _folder: tempfile::TempDir,
}

struct Watched {
    following: Following,
    metrics: Arc<Metrics>,
}

impl Stage {
    fn new() -> Self {
        let (folder, broker) = broker();
        Self { world: World::new(), clock: FixedClock::new(), broker, _folder: folder }
    }

    fn topics(&self) -> Topics {
        Topics::of(&self.world.anchor().instance)
    }

    /// A publisher that has taken the world's log.
    async fn publisher(&self) -> Arc<Publisher> {
        let publisher = self.open().await;
        for entry in &self.world.log {
            publisher.submit(entry.clone(), Bytes::new()).await.unwrap();
        }
        publisher
    }

    async fn open(&self) -> Arc<Publisher> {
        let (anchor, keys) = (self.world.anchor(), self.world.publisher_keys());
        let (broker, clock) = (Arc::clone(&self.broker), Arc::new(self.clock.clone()));
        Publisher::open(broker, anchor, keys, clock, Metrics::new()).await.unwrap()
    }

    async fn follow(&self, broker: &Arc<dyn Broker>) -> Watched {
        let (metrics, clock) = (Metrics::new(), Arc::new(self.clock.clone()));
        let (broker, anchor) = (Arc::clone(broker), self.world.anchor());
        let settings = FollowSettings::default();
        let following = Follower::start(broker, anchor, Arc::clone(&metrics), clock, settings);
        Watched { following: following.await.unwrap(), metrics }
    }

    async fn append(&self, target: &TopicPartition, value: Bytes) {
        let record = Record { key: Bytes::new(), value, headers: Vec::new() };
        self.broker.append(target, record).await.unwrap();
    }

    fn size(&self) -> u64 {
        self.world.log.len() as u64
    }

    /// A change that has not been made yet.
    fn change(&self, title: &str) -> Bytes {
        self.world.sign(compose::member(&self.world.fund.member, title, 3), &[&self.world.authority])
    }
}

impl Watched {
    async fn reaches(&self, size: u64) {
        assert!(self.following.views.reaches(size, crate::testing::LIMIT).await);
    }

    fn decides(&self, stage: &Stage) -> Result<u64, Reason> {
        self.following.views.deciding(stage.clock.now()).map(|view| view.stamp().size)
    }

    /// Waits until the view decides at this size.
    async fn decided(&self, stage: &Stage, size: u64) {
        until(|| self.decides(stage) == Ok(size)).await;
    }

    async fn alarmed(&self, alarm: Alarm, times: u64) {
        until(|| self.metrics.alarms(alarm) >= times).await;
    }

    fn alarms(&self) -> [u64; 3] {
        [Alarm::RegistryRecord, Alarm::RegistryFork, Alarm::RegistryStale]
            .map(|alarm| self.metrics.alarms(alarm))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_reaches_a_follower_within_a_second() {
    let stage = Stage::new();
    let publisher = stage.publisher().await;
    let watched = stage.follow(&stage.broker).await;
    watched.decided(&stage, stage.size()).await;
    let revision = publisher.submit(stage.change("another title"), Bytes::new()).await.unwrap();
    assert_eq!(revision, stage.size());
    assert!(watched.following.views.reaches(revision + 1, Duration::from_secs(1)).await);
    watched.decided(&stage, revision + 1).await;
    assert_eq!(watched.alarms(), [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_that_breaks_is_taken_up_where_it_broke() {
    let stage = Stage::new();
    let publisher = stage.publisher().await;
    let (records, intact) = (stage.topics().records, AtomicBool::new(true));
    let middle = stage.size() / 2;
    let broken = ScriptedBroker::breaking(&stage.broker, move |target, stored| {
        let here = *target == records && stored.position.offset == middle;
        here && intact.swap(false, Ordering::AcqRel)
    });
    let watched = stage.follow(&broken).await;
    watched.decided(&stage, stage.size()).await;
    publisher.submit(stage.change("another title"), Bytes::new()).await.unwrap();
    watched.decided(&stage, stage.size() + 1).await;
    assert_eq!(watched.alarms()[..2], [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_before_a_tail_broke_counts() {
    let stage = Stage::new();
    let _publisher = stage.publisher().await;
    let (records, last) = (stage.topics().records, stage.size() - 1);
    let broken = ScriptedBroker::breaking(&stage.broker, move |target, stored| {
        *target == records && stored.position.offset == last
    });
    let watched = stage.follow(&broken).await;
    until(|| watched.following.views.current().stamp().size == last).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_is_unconfirmed_until_the_log_names_the_checkpoint_key() {
    let stage = Stage::new();
    let publisher = stage.open().await;
    let watched = stage.follow(&stage.broker).await;
    assert_eq!(watched.decides(&stage), Err(Reason::RegistryUnavailable));
    for (size, entry) in (1..).zip(&stage.world.log) {
        publisher.submit(entry.clone(), Bytes::new()).await.unwrap();
        watched.decided(&stage, size).await;
    }
    assert_eq!(watched.alarms(), [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_apply_is_passed_over_and_alarmed() {
    let stage = Stage::new();
    let publisher = stage.publisher().await;
    let topic = stage.topics().records;
    let unsigned = stage
        .world
        .sign(compose::member(&stage.world.fund.member, "", 3), &[&stage.world.police.administration]);
    for foreign in [unsigned, stage.world.log[3].clone(), Bytes::from_static(b"nonsense")] {
        stage.append(&topic, foreign).await;
    }
    let watched = stage.follow(&stage.broker).await;
    watched.alarmed(Alarm::RegistryRecord, 3).await;
    // The publisher passes them over as well, and goes on.
    publisher.submit(stage.change("another title"), Bytes::new()).await.unwrap();
    watched.decided(&stage, stage.size() + 1).await;
    assert_eq!(watched.alarms(), [3, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_told_twice_counts_once() {
    let stage = Stage::new();
    let publisher = stage.publisher().await;
    let twice = ScriptedBroker::reading(&stage.broker, |_, stored| vec![stored.clone(), stored]);
    let watched = stage.follow(&twice).await;
    watched.decided(&stage, stage.size()).await;
    publisher.submit(stage.change("another title"), Bytes::new()).await.unwrap();
    watched.decided(&stage, stage.size() + 1).await;
    watched.alarmed(Alarm::RegistryRecord, stage.size() + 1).await;
    assert_eq!(watched.metrics.alarms(Alarm::RegistryFork), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_withheld_leaves_the_view_unconfirmed() {
    let stage = Stage::new();
    let publisher = stage.publisher().await;
    let records = stage.topics().records;
    let last = stage.size();
    let without_last = ScriptedBroker::reading(&stage.broker, move |topic, stored| {
        if *topic == records && stored.position.offset >= last { Vec::new() } else { vec![stored] }
    });
    let watched = stage.follow(&without_last).await;
    watched.decided(&stage, stage.size()).await;
    let confirmed = stage.clock.now();
    publisher.submit(stage.change("another title"), Bytes::new()).await.unwrap();
    // Once for the entry that does not come, once for the age. The clock runs on, for the checkpoint may not have been
    // read yet.
    until(|| {
        stage.clock.advance(Duration::from_secs(1));
        watched.metrics.alarms(Alarm::RegistryStale) >= 2
    })
    .await;
    assert_eq!(watched.following.views.age(stage.clock.now()), stage.clock.now().since(confirmed));
    stage.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(watched.decides(&stage), Err(Reason::RegistryUnavailable));
    assert_eq!(watched.metrics.alarms(Alarm::RegistryFork), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_left_out_is_a_fork_once_others_follow() {
    let stage = Stage::new();
    let publisher = stage.publisher().await;
    let records = stage.topics().records;
    let left_out = stage.size();
    let without_one = ScriptedBroker::reading(&stage.broker, move |topic, stored| {
        if *topic == records && stored.position.offset == left_out { Vec::new() } else { vec![stored] }
    });
    let watched = stage.follow(&without_one).await;
    watched.decided(&stage, stage.size()).await;
    publisher.submit(stage.change("another title"), Bytes::new()).await.unwrap();
    let other = compose::member(&stage.world.police.member, "another title", 3);
    let other = stage.world.sign(other, &[&stage.world.authority]);
    publisher.submit(other, Bytes::new()).await.unwrap();
    watched.alarmed(Alarm::RegistryFork, 1).await;
    assert_eq!(watched.decides(&stage), Err(Reason::RegistryUnavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_was_old_recovers_unaided() {
    let stage = Stage::new();
    let _publisher = stage.publisher().await;
    let checkpoints = stage.topics().checkpoints;
    let cut = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&cut);
    let withholding = ScriptedBroker::reading(&stage.broker, move |topic, stored| {
        let withheld = *topic == checkpoints && told.load(Ordering::SeqCst);
        if withheld { Vec::new() } else { vec![stored] }
    });
    let watched = stage.follow(&withholding).await;
    watched.decided(&stage, stage.size()).await;
    cut.store(true, Ordering::SeqCst);
    // A checkpoint that is already on its way may still bring the moved clock.
    until(|| {
        stage.clock.advance(Duration::from_secs(16 * 60));
        watched.decides(&stage).is_err()
    })
    .await;
    watched.alarmed(Alarm::RegistryStale, 1).await;
    cut.store(false, Ordering::SeqCst);
    watched.decided(&stage, stage.size()).await;
    assert_eq!(watched.metrics.alarms(Alarm::RegistryFork), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_checkpoint_confirms_nothing() {
    let stage = Stage::new();
    let publisher = stage.publisher().await;
    let records_root = stage.world.view.stamp().root;
    let watched = stage.follow(&stage.broker).await;
    watched.decided(&stage, stage.size()).await;
    let instance = stage.world.anchor().instance;
    let future = NOW.plus(Duration::from_secs(4));
    let forged = notes_of(&instance, &ed25519(), stage.size(), records_root, future);
    stage.append(&stage.topics().checkpoints, forged).await;
    watched.alarmed(Alarm::RegistryRecord, 1).await;
    assert!(watched.following.views.age(future) >= Duration::from_secs(4));
    assert_eq!(watched.decides(&stage), Ok(stage.size()));
    drop(publisher);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolled_back_checkpoint_is_alarmed() {
    let stage = Stage::new();
    let _publisher = stage.publisher().await;
    let watched = stage.follow(&stage.broker).await;
    watched.decided(&stage, stage.size()).await;
    let mut view = crate::view::View::new(stage.world.anchor());
    for entry in &stage.world.log[..4] {
        view.apply(entry).unwrap();
    }
    let smaller = stage.world.note(4, view.stamp().root, stage.clock.now());
    stage.append(&stage.topics().checkpoints, smaller).await;
    watched.alarmed(Alarm::RegistryFork, 1).await;
    assert_eq!(watched.decides(&stage), Ok(stage.size()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forked_root_stops_every_decision() {
    let stage = Stage::new();
    let _publisher = stage.publisher().await;
    let watched = stage.follow(&stage.broker).await;
    watched.decided(&stage, stage.size()).await;
    let forked = stage.world.note(stage.size(), Digest::of(b"another log"), stage.clock.now());
    stage.append(&stage.topics().checkpoints, forked).await;
    watched.alarmed(Alarm::RegistryFork, 1).await;
    assert_eq!(watched.decides(&stage), Err(Reason::RegistryUnavailable));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_exchanged_on_the_way_is_no_record() {
    let stage = Stage::new();
    let publisher = stage.publisher().await;
    let records = stage.topics().records;
    let last = stage.size();
    let exchanging = ScriptedBroker::reading(&stage.broker, move |topic, mut stored: StoredRecord| {
        if *topic == records && stored.position.offset == last {
            let mut bytes = stored.record.value.to_vec();
            bytes[10] ^= 1;
            stored.record.value = bytes.into();
        }
        vec![stored]
    });
    let watched = stage.follow(&exchanging).await;
    watched.decided(&stage, stage.size()).await;
    publisher.submit(stage.change("another title"), Bytes::new()).await.unwrap();
    watched.alarmed(Alarm::RegistryRecord, 1).await;
    assert_eq!(watched.following.views.current().stamp().size, stage.size());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_dropped_lets_go_of_the_broker() {
    let stage = Stage::new();
    let watched = stage.follow(&stage.broker).await;
    watched.reaches(0).await;
    drop(watched);
    let (broker, alone) = (&stage.broker, 1);
    soon(async { until(|| Arc::strong_count(broker) == alone).await }).await;
}
