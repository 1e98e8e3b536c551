//! Alarms about the broker's delivery.

use kopuro_broker::TopicPartition;
use kopuro_core::chain::Continuity;
use kopuro_telemetry::metrics::Alarm;

use crate::node::Parts;

/// Raises an alarm when a signer's chain shows that the broker dropped, repeated or reordered statements.
pub(crate) fn continuity(parts: &Parts, target: &TopicPartition, continuity: Continuity) {
    let alarm = match continuity {
        Continuity::InOrder | Continuity::Joined => return,
        Continuity::Gap { .. } => Alarm::ChainGap,
        Continuity::Late => Alarm::ChainLate,
        Continuity::Forked => Alarm::ChainForked,
    };
    parts.metrics.alarm(alarm);
    tracing::warn!(%target, ?continuity, "a signer's chain is broken: the broker dropped, repeated or reordered records");
}
