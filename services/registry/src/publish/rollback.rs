//! Whether the log still is the one that was signed.

use kopuro_broker::{Broker, StartAt, TopicPartition};
use kopuro_tlog::checkpoint::{Checkpoint, LogKey};

use super::PublishError;
use super::log::{Log, bounded};

/// How many of the last checkpoints are looked at. The last one says most; those before it are there in case others
/// have written to the topic.
const NOTES_BEFORE: u64 = 16;

/// Refuses a log that is shorter than one of which `key` has signed a checkpoint, or another one.
pub(super) async fn refuse(
    broker: &dyn Broker,
    checkpoints: &TopicPartition,
    log: &Log,
    key: &LogKey,
) -> Result<(), PublishError> {
    let bounds = broker.watermarks(checkpoints).await?;
    let mut next = bounds.high.saturating_sub(NOTES_BEFORE).max(bounds.low);
    if next == bounds.high {
        return Ok(());
    }
    let mut notes = broker.tail(checkpoints, StartAt::Offset(next)).await?;
    while next < bounds.high {
        let stored = bounded(notes.next()).await?;
        next = stored.position.offset + 1;
        let Ok(said) = Checkpoint::verify(&stored.record.value, key) else { continue };
        let contradicts = log.root_at(said.size).is_some_and(|root| root != said.root);
        if contradicts || said.size > log.stamp().size {
            return Err(PublishError::RolledBack { size: said.size });
        }
    }
    Ok(())
}
