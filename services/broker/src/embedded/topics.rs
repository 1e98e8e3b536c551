//! The topics of the embedded log, and their recovery when it is opened.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use kopuro_core::time::UnixMillis;

use super::codec::{PartitionId, TopicEntry};
use super::marks::Marks;
use super::partition::Partition;
use super::store::Store;
use crate::port::{BrokerError, TopicSettings, Watermarks};

/// A topic and the state of its partitions.
pub(super) struct Topic {
    pub(super) id: u32,
    pub(super) settings: TopicSettings,
    pub(super) partitions: Vec<Arc<Partition>>,
}

/// Topics by name.
pub(super) type Topics = HashMap<String, Arc<Topic>>;

/// Reads every topic and checks each partition against its mark.
///
/// # Errors
/// [`BrokerError::Damaged`] when a partition is shorter than its mark, or lost with its topic.
pub(super) fn recover(store: &Store) -> Result<Topics, BrokerError> {
    let mut marks = store.read_marks()?.unwrap_or_default();
    let mut topics = Topics::new();
    for (name, TopicEntry { id, settings }) in store.topics()? {
        let ids = (0..settings.partitions).map(|partition| PartitionId { topic: id, partition });
        let partitions = ids.map(|id| recover_partition(store, id, &mut marks)).collect::<Result<_, _>>()?;
        topics.insert(name, Arc::new(Topic { id, settings, partitions }));
    }
    if marks.is_empty() {
        Ok(topics)
    } else {
        Err(BrokerError::Damaged("a topic that had marks is missing".into()))
    }
}

/// Makes a topic durably. The caller has seen that there is none of that name.
pub(super) fn make(
    store: &Store,
    topics: &RwLock<Topics>,
    name: &str,
    settings: &TopicSettings,
) -> Result<Topic, BrokerError> {
    let topics = topics.read().expect("no holder of the lock panics").clone();
    let id = topics.values().map(|topic| topic.id + 1).max().unwrap_or(0);
    let entry = TopicEntry { id, settings: settings.clone() };
    store.add_topic(name, &entry)?;
    let empty = Watermarks { low: 0, high: 0 };
    let ids = (0..settings.partitions).map(|partition| PartitionId { topic: id, partition });
    let partitions = ids.map(|id| Arc::new(Partition::new(id, empty, UnixMillis::default()))).collect();
    Ok(Topic { id, settings: entry.settings, partitions })
}

fn recover_partition(
    store: &Store,
    id: PartitionId,
    marks: &mut Marks,
) -> Result<Arc<Partition>, BrokerError> {
    let recovered = store.recover(id)?;
    let mark = marks.remove(&id).unwrap_or(0);
    if recovered.bounds.high < mark {
        let PartitionId { topic, partition } = id;
        let high = recovered.bounds.high;
        let what = format!("topic {topic} partition {partition} ends at {high}, its mark says {mark}");
        return Err(BrokerError::Damaged(what));
    }
    Ok(Arc::new(Partition::new(id, recovered.bounds, recovered.last_append)))
}
