//! Putting a record aside.

use std::time::Duration;

use bytes::Bytes;
use kopuro_broker::{AppendError, Position, Record, StoredRecord, TopicPartition};
use kopuro_core::error::Reason;
use kopuro_core::id::SubsystemId;
use kopuro_core::topic::{MemberTopic, TopicName};
use kopuro_telemetry::audit::AuditEvent;
use kopuro_telemetry::metrics::Alarm;
use kopuro_trust::member_secret::MemberSecret;

use super::entry;
use super::letter::{ENTRY_LEN_MAX, Letter};
use crate::node::Node;

/// The header that names the reason, for those who look at the topic with the broker's own tools.
const REASON: &str = "kopuro-reason";
/// How long to wait before a letter that did not become durable is appended again.
const APPEND_AGAIN: Duration = Duration::from_millis(200);
/// How often a letter is appended before its record counts as not put aside. Others of the partition go on meanwhile.
const APPEND_TRIES: u32 = 100;

/// Appends a record, as it was found, to the member's dead-letter topic, with its reason and where it stood. Says whether
/// it is durable there: if not, the record is not done with.
pub(crate) async fn put_aside(
    node: &Node,
    subsystem: &SubsystemId,
    stored: &StoredRecord,
    reason: Reason,
) -> bool {
    let parts = &node.parts;
    let Some(secret) = parts.replica.secret(&subsystem.member()) else { return false };
    let topic = TopicName::of_member(MemberTopic::DeadLetter, &subsystem.member());
    let target = TopicPartition { topic, partition: stored.position.partition };
    let letter = Letter::about(stored, subsystem.clone(), reason, &parts.replica.gateway, parts.clock.now());
    let (origin, position) = (letter.origin.topic(), stored.position);
    let Some(kept) = keep(node, secret, &target, letter).await else {
        parts.metrics.alarm(Alarm::DeadLetterUnkept);
        tracing::error!(%target, %position, "a record could not be put aside; it is read again");
        return false;
    };
    parts.metrics.dead_letter(reason);
    parts.audit.record(AuditEvent {
        detail: format!("record {position} of {origin} was put aside as {kept}"),
        provider: Some(subsystem.clone()),
        ..AuditEvent::new(parts.clock.now(), reason)
    });
    true
}

/// Appends a letter until it is durable. One that the topic does not take whole is cut: it must not stand in the way of its
/// partition, and what is larger than any record may be cannot be served anyway. An append whose fate is unknown is
/// repeated, since two letters about one record are one.
async fn keep(
    node: &Node,
    secret: &MemberSecret,
    target: &TopicPartition,
    mut letter: Letter,
) -> Option<Position> {
    let _turn = node.letters.acquire().await.ok()?;
    let mut value = entry::write_letter(secret, target, &letter);
    if value.len() > ENTRY_LEN_MAX {
        letter = letter.shortened();
        value = entry::write_letter(secret, target, &letter);
    }
    for _ in 0..APPEND_TRIES {
        match node.parts.broker.append(target, record(letter.reason, value.clone())).await {
            Ok(position) => return Some(position),
            Err(AppendError::TooLarge) if letter.cut.is_none() => {
                letter = letter.shortened();
                value = entry::write_letter(secret, target, &letter);
            }
            Err(AppendError::TooLarge) => return None,
            Err(error @ (AppendError::NotAppended(_) | AppendError::QueueFull | AppendError::Unknown(_))) => {
                tracing::warn!(%target, %error, "a record could not be put aside yet");
                tokio::time::sleep(APPEND_AGAIN).await;
            }
        }
    }
    None
}

fn record(reason: Reason, value: Bytes) -> Record {
    let headers = vec![(REASON.to_owned(), Bytes::from_static(reason.name().as_bytes()))];
    Record { key: Bytes::new(), value, headers }
}
