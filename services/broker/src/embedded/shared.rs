//! What the embedded broker, its readers and its threads share.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use kopuro_core::topic::TopicName;
use tokio::sync::{Notify, oneshot};

use super::codec::PartitionId;
use super::cursor::Cursor;
use super::group::{Group, MemberId};
use super::partition::Partition;
use super::store::{Commits, Store};
use super::subscription::Member;
use super::topics::{self, Topic, Topics};
use super::writer::{DirtyCommits, Pending, Queue};
use crate::port::{
    AppendError, BrokerError, HEADERS_BYTES_MAX, Position, Record, TopicPartition, TopicSettings,
};

/// Resolves once the writer has answered.
pub(super) type Answer = oneshot::Receiver<Result<Position, AppendError>>;

/// What the broker, its readers and its threads share.
pub(super) struct Shared {
    pub(super) store: Store,
    queue: Queue,
    pub(super) topics: RwLock<Topics>,
    /// Held while a topic is made, so that two callers do not make it twice.
    making_topic: Mutex<()>,
    commits: Mutex<Commits>,
    pub(super) dirty: DirtyCommits,
    /// Why the writer writes no more.
    pub(super) failure: OnceLock<BrokerError>,
    groups: Mutex<HashMap<String, Room>>,
    next_member: AtomicU64,
    closed: AtomicBool,
}

/// A group and the bells of its members.
#[derive(Default)]
struct Room {
    group: Group,
    bells: HashMap<MemberId, Arc<Notify>>,
}

impl Shared {
    pub(super) fn new(store: Store, queue: Queue, topics: Topics, commits: Commits) -> Self {
        Self {
            store,
            queue,
            topics: RwLock::new(topics),
            making_topic: Mutex::new(()),
            commits: Mutex::new(commits),
            dirty: Mutex::default(),
            failure: OnceLock::new(),
            groups: Mutex::default(),
            next_member: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Takes no more appends; those queued are still written.
    pub(super) fn close_queue(&self) {
        self.queue.close();
    }

    /// Closes the log and tells everyone who waits.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.store.close();
        self.wake_everyone();
    }

    pub(super) fn check_open(&self) -> Result<(), BrokerError> {
        if self.closed.load(Ordering::Acquire) { Err(BrokerError::Closed) } else { Ok(()) }
    }

    pub(super) fn topic(&self, name: &TopicName) -> Result<Arc<Topic>, BrokerError> {
        let topics = self.topics.read().expect("no holder of the lock panics");
        topics.get(name.as_str()).cloned().ok_or_else(|| BrokerError::Topic(name.clone()))
    }

    pub(super) fn partition(&self, target: &TopicPartition) -> Result<Arc<Partition>, BrokerError> {
        let topic = self.topic(&target.topic)?;
        let partition = topic.partitions.get(target.partition as usize).cloned();
        partition.ok_or_else(|| BrokerError::Topic(target.topic.clone()))
    }

    pub(super) fn ensure_topic(&self, name: &TopicName, settings: &TopicSettings) -> Result<(), BrokerError> {
        let _making = self.making_topic.lock().expect("no holder of the lock panics");
        match self.topic(name) {
            Ok(topic) if topic.settings.partitions == settings.partitions => Ok(()),
            Ok(_) => Err(BrokerError::Topic(name.clone())),
            Err(_) if settings.partitions == 0 => Err(BrokerError::Topic(name.clone())),
            Err(_) => {
                let topic = topics::make(&self.store, &self.topics, name.as_str(), settings)?;
                let mut topics = self.topics.write().expect("no holder of the lock panics");
                topics.insert(name.as_str().to_owned(), Arc::new(topic));
                Ok(())
            }
        }
    }

    pub(super) fn commit(
        &self,
        group: &str,
        target: &TopicPartition,
        next_offset: u64,
    ) -> Result<(), BrokerError> {
        let key = (group.to_owned(), self.partition(target)?.id);
        self.commits.lock().expect("no holder of the lock panics").insert(key.clone(), next_offset);
        self.dirty.lock().expect("no holder of the lock panics").insert(key, next_offset);
        Ok(())
    }

    pub(super) fn committed(&self, group: &str, id: PartitionId) -> Option<u64> {
        let commits = self.commits.lock().expect("no holder of the lock panics");
        commits.get(&(group.to_owned(), id)).copied()
    }

    pub(super) fn cursor_of_group(
        self: &Arc<Self>,
        group: &str,
        target: &TopicPartition,
    ) -> Result<Cursor, BrokerError> {
        let partition = self.partition(target)?;
        let next = self.committed(group, partition.id).unwrap_or(0).max(partition.bounds().low);
        Ok(Cursor::new(self.clone(), partition, next))
    }

    pub(super) fn join(self: &Arc<Self>, group: &str, topics: &[TopicName]) -> Result<Member, BrokerError> {
        self.check_open()?;
        let sized = topics.iter().map(|name| Ok((name.clone(), self.topic(name)?.settings.partitions)));
        let sized = sized.collect::<Result<Vec<_>, BrokerError>>()?;
        let id = self.next_member.fetch_add(1, Ordering::Relaxed);
        let bell = Arc::new(Notify::new());
        let mut groups = self.groups.lock().expect("no holder of the lock panics");
        let room = groups.entry(group.to_owned()).or_default();
        room.bells.insert(id, bell.clone());
        room.group.join(id, &sized);
        room.ring();
        drop(groups);
        let cursors = VecDeque::new();
        Ok(Member { shared: self.clone(), group: group.to_owned(), id, bell, letting_go: false, cursors })
    }

    pub(super) fn leave(&self, group: &str, member: MemberId) {
        let mut groups = self.groups.lock().expect("no holder of the lock panics");
        if let Some(room) = groups.get_mut(group) {
            room.group.leave(member);
            room.bells.remove(&member);
            room.ring();
            if room.group.is_empty() {
                groups.remove(group);
            }
        }
    }

    pub(super) fn with_group<T>(&self, group: &str, work: impl FnOnce(&mut Group) -> T) -> T {
        let mut groups = self.groups.lock().expect("no holder of the lock panics");
        let room = groups.get_mut(group).expect("a group exists while it has a member");
        let outcome = work(&mut room.group);
        room.ring();
        outcome
    }

    fn wake_everyone(&self) {
        for topic in self.topics.read().expect("no holder of the lock panics").values() {
            topic.partitions.iter().for_each(|partition| partition.wake());
        }
        for room in self.groups.lock().expect("no holder of the lock panics").values() {
            room.bells.values().for_each(|bell| bell.notify_one());
        }
    }

    pub(super) fn push(&self, target: &TopicPartition, record: Record) -> Result<Answer, AppendError> {
        let topic = self.topic(&target.topic).map_err(AppendError::NotAppended)?;
        let partition = self.partition(target).map_err(AppendError::NotAppended)?;
        let bytes = record.key.len() + record.value.len();
        if bytes > topic.settings.record_bytes_max as usize {
            return Err(AppendError::TooLarge);
        }
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if headers > HEADERS_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        let (answer, answered) = oneshot::channel();
        self.queue.push(Pending { partition, record, bytes: bytes + headers, answer })?;
        Ok(answered)
    }
}

impl Room {
    fn ring(&self) {
        self.group.waiting().filter_map(|member| self.bells.get(&member)).for_each(|bell| bell.notify_one());
    }
}
