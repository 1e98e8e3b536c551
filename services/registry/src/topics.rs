//! Where the registry lives on the broker.

use std::time::Duration;

use kopuro_broker::{Broker, BrokerError, TopicPartition, TopicSettings};
use kopuro_core::id::Instance;
use kopuro_core::topic::{InstanceTopic, TopicName};
use kopuro_tlog::checkpoint::SIGNED_CHECKPOINT_LEN_MAX;

use crate::record::RECORD_LEN_MAX;

/// The largest descriptor set of a contract. **Units:** bytes.
pub(crate) const DESCRIPTOR_SET_LEN_MAX: usize = 1 << 20;
/// What a topic takes beyond the largest value, for the record's key. **Units:** bytes.
const KEY_LEN_MAX: usize = 1024;
/// Checkpoints say what is the case at one moment; older ones serve nobody but those who ask what was said.
const CHECKPOINT_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// The topics of one instance's registry, of one partition each.
#[derive(Clone, Debug)]
pub(crate) struct Topics {
    /// The log of signed records.
    pub(crate) records: TopicPartition,
    /// Checkpoints of that log.
    pub(crate) checkpoints: TopicPartition,
    /// Descriptor sets.
    pub(crate) contracts: TopicPartition,
}

impl Topics {
    pub(crate) fn of(instance: &Instance) -> Self {
        let of = |kind| TopicPartition { topic: TopicName::of_instance(kind, instance), partition: 0 };
        Self {
            records: of(InstanceTopic::Registry),
            checkpoints: of(InstanceTopic::RegistryCheckpoint),
            contracts: of(InstanceTopic::Contract),
        }
    }

    /// Makes the topics that are missing.
    pub(crate) async fn ensure(&self, broker: &dyn Broker) -> Result<(), BrokerError> {
        let Self { records, checkpoints, contracts } = self;
        broker.ensure_topic(&records.topic, &settings(None, RECORD_LEN_MAX)).await?;
        let retention = Some(CHECKPOINT_RETENTION);
        broker.ensure_topic(&checkpoints.topic, &settings(retention, SIGNED_CHECKPOINT_LEN_MAX)).await?;
        broker.ensure_topic(&contracts.topic, &settings(None, DESCRIPTOR_SET_LEN_MAX)).await
    }
}

fn settings(retention: Option<Duration>, value_len_max: usize) -> TopicSettings {
    let record_bytes_max = u32::try_from(value_len_max + KEY_LEN_MAX).expect("the bounds above are small");
    TopicSettings { partitions: 1, retention, record_bytes_max }
}
