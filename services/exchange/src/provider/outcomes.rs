//! Recorded outcomes: written until they are durable, read back from where they stand.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kopuro_broker::{AppendError, Record, StartAt, TopicPartition};
use kopuro_core::content::Payload;
use kopuro_core::effect::{MarkerFacts, OutcomeFacts};
use kopuro_trust::member_secret::MemberSecret;

use super::effects;
use crate::node::Node;

/// Outcomes kept at hand after they were read.
const RECENT_MAX: usize = 256;
/// The largest outcome kept at hand. **Units:** bytes.
const RECENT_BYTES_MAX: usize = 64 * 1024;
/// How long to wait before an outcome that did not become durable is appended again.
const APPEND_AGAIN: Duration = Duration::from_millis(200);
/// How often an outcome is appended before it is given up; a successor then records an interruption.
const APPEND_TRIES: u32 = 100;

/// Outcomes read lately, since the one just recorded is the one about to be answered.
#[derive(Default)]
pub(super) struct Recent(VecDeque<(u64, Payload)>);

impl Recent {
    pub(super) fn keep(&mut self, offset: u64, payload: Payload) {
        let bytes = match &payload {
            Payload::Message(message) => message.len(),
            Payload::Failure { status, .. } => status.len(),
        };
        if bytes <= RECENT_BYTES_MAX {
            self.0.push_back((offset, payload));
        }
        if self.0.len() > RECENT_MAX {
            self.0.pop_front();
        }
    }

    /// The outcome that stands at `offset`, if it was read lately.
    pub(super) fn find(&self, offset: u64) -> Option<Payload> {
        self.0.iter().find(|(known, _)| *known == offset).map(|(_, payload)| payload.clone())
    }
}

/// Records an outcome, again and again until it is durable: an append whose fate is unknown is repeated, since the
/// first one read back is the outcome. Says whether it is.
pub(super) async fn record(
    node: &Node,
    secret: &MemberSecret,
    target: &TopicPartition,
    marker: &MarkerFacts,
    payload: &Payload,
) -> bool {
    let Some(value) = effects::write_outcome(secret, marker, payload) else {
        tracing::error!(%target, "an outcome is too large to be recorded");
        return false;
    };
    let key = marker.key.as_bytes().to_vec();
    let record = Record { key: key.into(), value: value.into(), headers: Vec::new() };
    for _ in 0..APPEND_TRIES {
        match node.parts.broker.append(target, record.clone()).await {
            Ok(_) => return true,
            Err(AppendError::TooLarge) => break,
            Err(AppendError::NotAppended(_) | AppendError::QueueFull | AppendError::Unknown(_)) => {
                tokio::time::sleep(APPEND_AGAIN).await;
            }
        }
    }
    tracing::error!(%target, "an outcome could not be recorded; its effect will be shown as interrupted");
    false
}

/// Reads the outcome that stands at an offset; `None` when retention removed it or the broker does not give it.
pub(super) async fn fetch(
    node: &Arc<Node>,
    secret: &MemberSecret,
    target: &TopicPartition,
    outcome: &OutcomeFacts,
) -> Option<Payload> {
    let mut tail = node.parts.broker.tail(target, StartAt::Offset(outcome.offset)).await.ok()?;
    let stored = tail.next().await.ok()?;
    let (facts, payload) = effects::read_outcome(secret, stored.record.value, stored.position.offset)?;
    (facts == *outcome).then_some(payload)
}
