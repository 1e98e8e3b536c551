//! Consumer groups.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use kopuro_broker::{Broker, GroupEvent, Subscription, TopicPartition};
use kopuro_core::topic::TopicName;

use super::fixture::{Fixture, append, at, event, soon, text, topic_with};

/// How long a member stays busy: longer than Kafka takes to move a partition that has been given up.
const BUSY: Duration = Duration::from_secs(2);

/// A member that checks what it is told: no record outside its ownership, no order broken.
struct Member {
    subscription: Box<dyn Subscription>,
    owned: BTreeSet<TopicPartition>,
    next: HashMap<TopicPartition, u64>,
}

impl Member {
    async fn join(broker: &Arc<dyn Broker>, group: &str, topic: &TopicName) -> Self {
        let subscription = soon(broker.subscribe(group, std::slice::from_ref(topic))).await.unwrap();
        Self { subscription, owned: BTreeSet::new(), next: HashMap::new() }
    }

    /// Takes one event; a record is given back as its partition, offset and text.
    async fn step(&mut self) -> Option<(TopicPartition, u64, String)> {
        match event(&mut self.subscription).await {
            GroupEvent::Assigned(partitions) => {
                for partition in partitions {
                    self.next.remove(&partition);
                    assert!(self.owned.insert(partition.clone()), "{partition} was assigned twice");
                }
                None
            }
            GroupEvent::Revoked(partitions) => {
                for partition in partitions {
                    assert!(self.owned.remove(&partition), "{partition} was not owned");
                }
                None
            }
            GroupEvent::Record(target, stored) => {
                assert!(self.owned.contains(&target), "a record of {target}, which is not owned");
                let offset = stored.position.offset;
                let before = self.next.insert(target.clone(), offset + 1);
                assert!(before.is_none_or(|next| next <= offset), "offsets rise");
                Some((target, offset, text(&stored)))
            }
        }
    }

    async fn record(&mut self) -> (TopicPartition, u64, String) {
        loop {
            if let Some(record) = self.step().await {
                return record;
            }
        }
    }

    async fn until_owning(&mut self, count: usize) {
        while self.owned.len() != count {
            self.step().await;
        }
    }
}

fn group() -> String {
    format!("group-{:032x}", rand::random::<u128>())
}

pub(crate) async fn a_lone_member_reads_everything(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 3).await;
    for n in 0..30 {
        append(&broker, &at(&topic, n % 3), n.to_string()).await;
    }
    let mut member = Member::join(&broker, &group(), &topic).await;
    let mut read = BTreeSet::new();
    for _ in 0..30 {
        read.insert(member.record().await.2.parse::<u32>().unwrap());
    }
    assert_eq!(read, (0..30).collect());
    append(&broker, &at(&topic, 2), "later").await;
    assert_eq!(member.record().await.2, "later");
}

/// Two members, listened to until each owns two of the four partitions; no partition ever has two owners.
async fn settle(first: &mut Member, second: &mut Member) {
    while (first.owned.len(), second.owned.len()) != (2, 2) {
        tokio::select! {
            _ = first.step() => {}
            _ = second.step() => {}
        }
        assert!(first.owned.is_disjoint(&second.owned), "revoked before assigned elsewhere");
    }
}

pub(crate) async fn two_members_share_the_partitions(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 4).await;
    let group = group();
    let mut first = Member::join(&broker, &group, &topic).await;
    first.until_owning(4).await;
    let mut second = Member::join(&broker, &group, &topic).await;
    settle(&mut first, &mut second).await;
    for partition in 0..4 {
        append(&broker, &at(&topic, partition), partition.to_string()).await;
    }
    for member in [&mut first, &mut second] {
        for _ in 0..2 {
            let (target, _, text) = member.record().await;
            assert_eq!(target.partition.to_string(), text);
        }
    }
}

pub(crate) async fn a_partition_moves_only_once_its_owner_comes_back(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 2).await;
    let group = group();
    let mut first = Member::join(&broker, &group, &topic).await;
    first.until_owning(2).await;
    let mut second = Member::join(&broker, &group, &topic).await;
    while first.owned.len() == 2 {
        tokio::select! {
            _ = first.step() => {}
            _ = second.step() => {}
        }
    }
    // The first member has learned of the revocation and is still busy with what it had.
    let busy = tokio::time::sleep(BUSY);
    tokio::pin!(busy);
    loop {
        tokio::select! {
            () = &mut busy => break,
            _ = second.step() => assert!(second.owned.is_empty(), "the partition has moved too early"),
        }
    }
    while second.owned.is_empty() {
        tokio::select! {
            _ = first.step() => {}
            _ = second.step() => {}
        }
    }
}

pub(crate) async fn who_leaves_is_succeeded_at_the_committed_offset(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 4).await;
    let group = group();
    let mut first = Member::join(&broker, &group, &topic).await;
    first.until_owning(4).await;
    let mut second = Member::join(&broker, &group, &topic).await;
    settle(&mut first, &mut second).await;
    let lost: Vec<_> = first.owned.iter().cloned().collect();
    for target in &lost {
        for n in 0..4 {
            append(&broker, target, n.to_string()).await;
        }
    }
    for _ in 0..8 {
        let (target, offset, text) = first.record().await;
        if text == "1" {
            first.subscription.commit(&target, offset + 1).unwrap();
        }
    }
    tokio::task::spawn_blocking(|| drop(first)).await.unwrap();
    let mut read: HashMap<TopicPartition, Vec<String>> = HashMap::new();
    for _ in 0..4 {
        let (target, _, text) = second.record().await;
        read.entry(target).or_default().push(text);
    }
    assert_eq!(second.owned.len(), 4);
    for target in lost {
        assert_eq!(read[&target], ["2", "3"], "{target} goes on where it was committed");
    }
}

pub(crate) async fn a_group_goes_on_after_reopening(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 1).await;
    let (group, target) = (group(), at(&topic, 0));
    assert_eq!(soon(broker.committed(&group, &target)).await.unwrap(), None);
    for n in 0..5 {
        append(&broker, &target, n.to_string()).await;
    }
    let mut member = Member::join(&broker, &group, &topic).await;
    for _ in 0..3 {
        let (target, offset, _) = member.record().await;
        member.subscription.commit(&target, offset + 1).unwrap();
    }
    tokio::task::spawn_blocking(|| drop(member)).await.unwrap();
    let broker = fixture.reopen(broker).await;
    assert_eq!(soon(broker.committed(&group, &target)).await.unwrap(), Some(3));
    let mut member = Member::join(&broker, &group, &topic).await;
    assert_eq!(member.record().await.2, "3");
}

pub(crate) async fn groups_are_independent(fixture: &Fixture) {
    let broker = fixture.open().await;
    let topic = topic_with(&broker, 2).await;
    append(&broker, &at(&topic, 1), "x").await;
    for _ in 0..2 {
        let mut member = Member::join(&broker, &group(), &topic).await;
        let (target, offset, text) = member.record().await;
        assert_eq!(text, "x");
        member.subscription.commit(&target, offset + 1).unwrap();
    }
}
