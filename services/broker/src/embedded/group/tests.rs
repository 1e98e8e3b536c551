use std::collections::{BTreeMap, BTreeSet};

use kopuro_core::id::SubsystemId;
use kopuro_core::topic::SubsystemTopic;
use proptest::prelude::*;

use super::*;

fn topic(name: &str) -> TopicName {
    let subsystem = SubsystemId::parse(&format!("KG/GOV/70000005/{name}")).unwrap();
    TopicName::of_subsystem(SubsystemTopic::Call, &subsystem)
}

fn partitions(of: &[u32]) -> Vec<TopicPartition> {
    of.iter().map(|partition| TopicPartition { topic: topic("a"), partition: *partition }).collect()
}

#[test]
fn a_lone_member_gets_everything() {
    let mut group = Group::default();
    group.join(1, &[(topic("a"), 3)]);
    assert_eq!(group.next_change(1), Some(Change::Assigned(partitions(&[0, 1, 2]))));
    assert_eq!(group.next_change(1), None);
}

#[test]
fn a_partition_moves_only_once_it_is_released() {
    let mut group = Group::default();
    group.join(1, &[(topic("a"), 3)]);
    group.next_change(1);
    group.join(2, &[(topic("a"), 3)]);
    assert_eq!(group.next_change(2), None);
    group.released(1);
    assert_eq!(group.next_change(2), None, "the revocation has not been learned of");
    assert_eq!(group.next_change(1), Some(Change::Revoked(partitions(&[2]))));
    group.released(1);
    assert_eq!(group.next_change(2), Some(Change::Assigned(partitions(&[2]))));
}

#[test]
fn who_leaves_is_succeeded() {
    let mut group = Group::default();
    group.join(1, &[(topic("a"), 2)]);
    group.next_change(1);
    group.join(2, &[(topic("a"), 2)]);
    group.leave(1);
    assert_eq!(group.next_change(2), Some(Change::Assigned(partitions(&[0, 1]))));
    group.leave(2);
    assert!(group.is_empty());
}

#[test]
fn an_assignment_not_learned_of_is_withdrawn_silently() {
    let mut group = Group::default();
    group.join(1, &[(topic("a"), 2)]);
    group.join(2, &[(topic("a"), 2)]);
    assert_eq!(group.next_change(1), Some(Change::Assigned(partitions(&[0]))));
    assert_eq!(group.next_change(2), Some(Change::Assigned(partitions(&[1]))));
    assert_eq!(group.next_change(1), None);
}

#[test]
fn nothing_left_of_an_assignment_is_not_told() {
    let mut group = Group::default();
    group.join(1, &[(topic("a"), 1)]);
    group.join(2, &[(topic("a"), 1)]);
    group.leave(1);
    assert_eq!(group.next_change(2), Some(Change::Assigned(partitions(&[0]))));
    let mut group = Group::default();
    group.join(1, &[(topic("a"), 2), (topic("b"), 2)]);
    group.join(2, &[(topic("a"), 2)]);
    group.join(3, &[(topic("a"), 2)]);
    for member in 1..=3 {
        while let Some(change) = group.next_change(member) {
            assert_ne!(change, Change::Assigned(Vec::new()));
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Join(MemberId),
    Leave(MemberId),
    Learn(MemberId),
    Release(MemberId),
}

fn act() -> impl Strategy<Value = Act> {
    (0..4_u8, 0..4_u64).prop_map(|(kind, member)| match kind {
        0 => Act::Join(member),
        1 => Act::Leave(member),
        2 => Act::Learn(member),
        _ => Act::Release(member),
    })
}

/// What the members believe they own, kept as they would keep it.
#[derive(Default)]
struct Belief {
    owned: BTreeMap<MemberId, BTreeSet<TopicPartition>>,
    letting_go: BTreeMap<MemberId, BTreeSet<TopicPartition>>,
}

impl Belief {
    fn forget(&mut self, member: MemberId) {
        self.owned.remove(&member);
        self.letting_go.remove(&member);
    }

    fn learn(&mut self, member: MemberId, change: Change) {
        match change {
            Change::Assigned(partitions) => {
                for partition in partitions {
                    for owned in self.owned.values().chain(self.letting_go.values()) {
                        assert!(!owned.contains(&partition), "{partition} has two owners");
                    }
                    self.owned.entry(member).or_default().insert(partition);
                }
            }
            Change::Revoked(partitions) => {
                for partition in partitions {
                    assert!(
                        self.owned.entry(member).or_default().remove(&partition),
                        "{partition} was not owned"
                    );
                    self.letting_go.entry(member).or_default().insert(partition);
                }
            }
        }
    }
}

fn release(group: &mut Group, belief: &mut Belief, member: MemberId) {
    belief.letting_go.remove(&member);
    group.released(member);
}

proptest! {
    #[test]
    fn no_partition_ever_has_two_owners(acts in proptest::collection::vec(act(), 0..60)) {
        let (mut group, mut belief, mut members) = (Group::default(), Belief::default(), BTreeSet::new());
        for act in acts {
            match act {
                Act::Join(member) if members.insert(member) => group.join(member, &[(topic("a"), 5)]),
                Act::Leave(member) if members.remove(&member) => {
                    belief.forget(member);
                    group.leave(member);
                }
                Act::Learn(member) => {
                    if let Some(change) = group.next_change(member) {
                        belief.learn(member, change);
                    }
                }
                Act::Release(member) if members.contains(&member) => release(&mut group, &mut belief, member),
                Act::Join(_) | Act::Leave(_) | Act::Release(_) => {}
            }
        }
        // Once everyone has listened, the shares are equal and complete.
        for _ in 0..10 {
            for &member in &members {
                while let Some(change) = group.next_change(member) {
                    belief.learn(member, change);
                }
                release(&mut group, &mut belief, member);
            }
        }
        let counts: Vec<_> = members.iter().map(|member| belief.owned.get(member).map_or(0, BTreeSet::len)).collect();
        if let (Some(most), Some(least)) = (counts.iter().max(), counts.iter().min()) {
            prop_assert!(most - least <= 1, "{counts:?}");
            prop_assert_eq!(counts.iter().sum::<usize>(), 5);
        }
    }
}
