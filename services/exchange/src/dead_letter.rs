//! Records that cannot be processed are put aside with their reason, so that none blocks its partition and none is lost.

use kopuro_broker::{Record, StoredRecord, TopicPartition};
use kopuro_core::error::Reason;
use kopuro_core::id::SubsystemId;
use kopuro_core::topic::{MemberTopic, TopicName};
use kopuro_telemetry::audit::AuditEvent;

use crate::node::Node;

/// Appends a record, as it was found, to the member's dead-letter topic. Headers tell the reason and where it stood. Says
/// whether it is durable there: if not, the record is not done with.
pub(crate) async fn put_aside(
    node: &Node,
    subsystem: &SubsystemId,
    stored: &StoredRecord,
    reason: Reason,
) -> bool {
    let parts = &node.parts;
    parts.metrics.dead_letter(reason);
    let position = stored.position;
    parts.audit.record(AuditEvent {
        detail: format!("record {}/{} was put aside", position.partition, position.offset),
        provider: Some(subsystem.clone()),
        ..AuditEvent::new(parts.clock.now(), reason)
    });
    let topic = TopicName::of_member(MemberTopic::DeadLetter, &subsystem.member());
    let target = TopicPartition { topic, partition: position.partition };
    let header = |name: &str, value: String| (name.to_owned(), value.into_bytes().into());
    let headers = vec![
        header("kopuro-reason", reason.name().to_owned()),
        header("kopuro-subsystem", subsystem.to_string()),
        header("kopuro-offset", position.offset.to_string()),
    ];
    let record = Record { headers, ..stored.record.clone() };
    match parts.broker.append(&target, record).await {
        Ok(_) => true,
        Err(error) => {
            tracing::error!(%target, %error, offset = position.offset, "a record could not be put aside");
            false
        }
    }
}
