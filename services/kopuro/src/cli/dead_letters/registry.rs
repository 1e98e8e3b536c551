//! The registry's view as the broker has it, for one look at a letter.

use std::time::Duration;

use kopuro_broker::{Broker, BrokerError, StartAt, TopicPartition, Watermarks};
use kopuro_core::topic::{InstanceTopic, TopicName};
use kopuro_registry::anchor::Anchor;
use kopuro_registry::view::View;

/// How long the broker may take for one record.
const READ_LIMIT: Duration = Duration::from_secs(30);

/// Builds a view of every record of the registry's log, each verified from the anchor on. What is no part of the log is
/// passed over, as gateways do; no checkpoint confirms it, so that what the broker withholds is missing.
pub(super) async fn view(broker: &dyn Broker, anchor: &Anchor) -> Result<View, BrokerError> {
    let topic = TopicName::of_instance(InstanceTopic::Registry, &anchor.instance);
    let target = TopicPartition { topic, partition: 0 };
    let mut view = View::new(anchor.clone());
    let Watermarks { low, high } = broker.watermarks(&target).await?;
    let mut tail = broker.tail(&target, StartAt::Earliest).await?;
    let mut next = low;
    while next < high {
        let late = |_| BrokerError::Unavailable("it does not deliver the registry's log".into());
        let stored = tokio::time::timeout(READ_LIMIT, tail.next()).await.map_err(late)??;
        next = stored.position.offset + 1;
        // An entry that does not apply is no part of the log, whoever wrote it.
        let _no_part = view.apply(&stored.record.value);
    }
    Ok(view)
}
