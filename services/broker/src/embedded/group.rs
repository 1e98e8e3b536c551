//! How the members of a consumer group share partitions: pure bookkeeping.
//!
//! A partition that moves is first revoked and is given to the next owner only once the one before has let it go.

use std::collections::{BTreeMap, VecDeque};

use kopuro_core::topic::TopicName;

use crate::port::TopicPartition;

/// Names a member for the life of the process.
pub(super) type MemberId = u64;

/// What a member has to learn, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

/// One consumer group.
#[derive(Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, VecDeque<Change>>,
    topics: BTreeMap<TopicName, Sharing>,
}

/// Who has which partition of one topic.
struct Sharing {
    members: Vec<MemberId>,
    partitions: Vec<Holder>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Nobody,
    Owner(MemberId),
    Leaving(MemberId),
}

impl Group {
    /// Adds a member that wants a share of `topics`, given with their partition counts.
    pub(super) fn join(&mut self, member: MemberId, topics: &[(TopicName, u32)]) {
        self.members.insert(member, VecDeque::new());
        for (topic, partitions) in topics {
            let fresh =
                || Sharing { members: Vec::new(), partitions: vec![Holder::Nobody; *partitions as usize] };
            self.topics.entry(topic.clone()).or_insert_with(fresh).members.push(member);
        }
        self.rebalance();
    }

    /// Removes a member; what it had goes to the others.
    pub(super) fn leave(&mut self, member: MemberId) {
        self.members.remove(&member);
        for sharing in self.topics.values_mut() {
            sharing.members.retain(|other| *other != member);
            sharing.free(|holder| matches!(holder, Holder::Owner(m) | Holder::Leaving(m) if m == member));
        }
        self.topics.retain(|_, sharing| !sharing.members.is_empty());
        self.rebalance();
    }

    /// A member has let go of what was revoked from it.
    pub(super) fn released(&mut self, member: MemberId) {
        let waiting: Vec<_> =
            self.members.get(&member).into_iter().flatten().flat_map(Change::revoked).cloned().collect();
        for (topic, sharing) in &mut self.topics {
            for (partition, holder) in (0..).zip(&mut sharing.partitions) {
                let target = TopicPartition { topic: topic.clone(), partition };
                if *holder == Holder::Leaving(member) && !waiting.contains(&target) {
                    *holder = Holder::Nobody;
                }
            }
        }
        self.rebalance();
    }

    /// The next thing the member has to learn.
    pub(super) fn next_change(&mut self, member: MemberId) -> Option<Change> {
        let changes = self.members.get_mut(&member)?;
        // What remains of an assignment that was withdrawn may be nothing.
        std::iter::from_fn(|| changes.pop_front()).find(|change| *change != Change::Assigned(Vec::new()))
    }

    /// The members that have something to learn.
    pub(super) fn waiting(&self) -> impl Iterator<Item = MemberId> {
        self.members.iter().filter(|(_, changes)| !changes.is_empty()).map(|(member, _)| *member)
    }

    /// Whether the group has no members left.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    fn rebalance(&mut self) {
        let (mut revoked, mut assigned) = (BTreeMap::new(), BTreeMap::new());
        for (topic, sharing) in &mut self.topics {
            let target = |partition| TopicPartition { topic: topic.clone(), partition };
            for (member, partition) in sharing.surplus() {
                let withdrawn = withdraw(&mut self.members, member, &target(partition));
                let holder = if withdrawn { Holder::Nobody } else { Holder::Leaving(member) };
                sharing.partitions[partition as usize] = holder;
                if !withdrawn {
                    revoked.entry(member).or_insert_with(Vec::new).push(target(partition));
                }
            }
            for (member, partition) in sharing.vacancies() {
                sharing.partitions[partition as usize] = Holder::Owner(member);
                assigned.entry(member).or_insert_with(Vec::new).push(target(partition));
            }
        }
        for (member, changes) in &mut self.members {
            changes.extend(revoked.remove(member).map(Change::Revoked));
            changes.extend(assigned.remove(member).map(Change::Assigned));
        }
    }
}

impl Change {
    fn revoked(&self) -> &[TopicPartition] {
        match self {
            Self::Assigned(_) => &[],
            Self::Revoked(partitions) => partitions,
        }
    }
}

impl Sharing {
    fn free(&mut self, gone: impl Fn(Holder) -> bool) {
        for holder in &mut self.partitions {
            if gone(*holder) {
                *holder = Holder::Nobody;
            }
        }
    }

    /// Which partitions their owners have beyond their share.
    fn surplus(&self) -> Vec<(MemberId, u32)> {
        let share =
            |(member, share): (MemberId, usize)| self.owned(member).skip(share).map(move |p| (member, p));
        self.shares().into_iter().flat_map(share).collect()
    }

    /// Who gets the partitions that nobody has.
    fn vacancies(&self) -> Vec<(MemberId, u32)> {
        let places = self.shares().into_iter().flat_map(|(member, share)| {
            std::iter::repeat_n(member, share.saturating_sub(self.owned(member).count()))
        });
        let free = (0..).zip(&self.partitions).filter(|(_, holder)| **holder == Holder::Nobody);
        places.zip(free.map(|(partition, _)| partition)).collect()
    }

    /// How many partitions each member should own: equal shares, the odd ones with those who own most already.
    fn shares(&self) -> Vec<(MemberId, usize)> {
        if self.members.is_empty() {
            return Vec::new();
        }
        let (share, odd) =
            (self.partitions.len() / self.members.len(), self.partitions.len() % self.members.len());
        let mut members = self.members.clone();
        members.sort_by_key(|member| std::cmp::Reverse(self.owned(*member).count()));
        members
            .into_iter()
            .enumerate()
            .map(|(rank, member)| (member, share + usize::from(rank < odd)))
            .collect()
    }

    fn owned(&self, member: MemberId) -> impl Iterator<Item = u32> {
        let held = (0..).zip(&self.partitions);
        held.filter(move |(_, holder)| **holder == Holder::Owner(member)).map(|(partition, _)| partition)
    }
}

/// Takes back an assignment that its member has not learned of.
fn withdraw(
    members: &mut BTreeMap<MemberId, VecDeque<Change>>,
    member: MemberId,
    target: &TopicPartition,
) -> bool {
    let changes = members.get_mut(&member).into_iter().flatten();
    let mut assignments = changes.filter_map(|change| match change {
        Change::Assigned(partitions) => Some(partitions),
        Change::Revoked(_) => None,
    });
    let found = assignments.find_map(|partitions| {
        let index = partitions.iter().position(|partition| partition == target)?;
        Some(partitions.remove(index))
    });
    found.is_some()
}

#[cfg(test)]
mod tests;
