//! What is known of the partitions that this client appends to.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::port::{AppendError, BrokerError, Position, TopicPartition};

/// The last acknowledged offset of each partition, and whether the client may append to it.
///
/// A topic that was deleted and made again begins at zero, and librdkafka may then report records as delivered that
/// are in no log. Its topic id is out of reach here; what can be seen is an offset that does not rise. Such a partition takes
/// no more appends until a person has looked and the process is started again.
#[derive(Default)]
pub(super) struct Acknowledged(Mutex<HashMap<TopicPartition, Last>>);

#[derive(Clone, Copy)]
enum Last {
    Offset(u64),
    /// The client may not append any more; it might after the offset.
    Denied(Option<u64>),
    Broken,
}

impl Acknowledged {
    /// Whether the partition takes appends, and has taken the last one of this client.
    pub(super) fn check(&self, target: &TopicPartition) -> Result<bool, BrokerError> {
        match self.0.lock().expect("no holder of the lock panics").get(target) {
            Some(Last::Broken) => Err(not_rising(target)),
            Some(Last::Offset(_)) => Ok(true),
            Some(Last::Denied(_)) | None => Ok(false),
        }
    }

    /// Takes note that the client may not append, and tells it once.
    pub(super) fn deny(&self, target: TopicPartition) {
        let mut all = self.0.lock().expect("no holder of the lock panics");
        let after = match all.get(&target) {
            Some(Last::Denied(_) | Last::Broken) => return,
            Some(Last::Offset(last)) => Some(*last),
            None => None,
        };
        tracing::error!(%target, "Kafka denies this client the right to append");
        all.insert(target, Last::Denied(after));
    }

    pub(super) fn rise(&self, target: TopicPartition, offset: i64) -> Result<Position, AppendError> {
        let mut all = self.0.lock().expect("no holder of the lock panics");
        let rises = match (all.get(&target), u64::try_from(offset)) {
            (None | Some(Last::Denied(None)), Ok(offset)) => Some(offset),
            (Some(Last::Offset(last) | Last::Denied(Some(last))), Ok(offset)) if *last < offset => {
                Some(offset)
            }
            (Some(Last::Offset(_) | Last::Denied(Some(_)) | Last::Broken), Ok(_)) | (_, Err(_)) => None,
        };
        if let Some(offset) = rises {
            let partition = target.partition;
            all.insert(target, Last::Offset(offset));
            return Ok(Position { partition, offset });
        }
        if !matches!(all.insert(target.clone(), Last::Broken), Some(Last::Broken)) {
            tracing::error!(%target, offset, "acknowledged offsets do not rise: was the topic made anew?");
        }
        Err(AppendError::Unknown(not_rising(&target)))
    }
}

fn not_rising(target: &TopicPartition) -> BrokerError {
    BrokerError::Damaged(format!("acknowledged offsets of {target} do not rise"))
}

#[cfg(test)]
mod tests {
    use kopuro_core::id::SubsystemId;
    use kopuro_core::topic::{SubsystemTopic, TopicName};

    use super::*;

    fn target() -> TopicPartition {
        let subsystem = SubsystemId::parse("KG/GOV/70000005/civil-registry").unwrap();
        TopicPartition { topic: TopicName::of_subsystem(SubsystemTopic::Call, &subsystem), partition: 1 }
    }

    #[test]
    fn an_offset_that_does_not_rise_stops_the_partition() {
        for offset in [7, 3, -1] {
            let acknowledged = Acknowledged::default();
            assert_eq!(acknowledged.rise(target(), 7).unwrap(), Position { partition: 1, offset: 7 });
            assert!(acknowledged.check(&target()).unwrap());
            let unknown = acknowledged.rise(target(), offset);
            assert!(matches!(unknown, Err(AppendError::Unknown(BrokerError::Damaged(_)))), "{unknown:?}");
            assert!(acknowledged.check(&target()).is_err());
            assert!(acknowledged.rise(target(), 8).is_err(), "it stays stopped");
        }
    }

    #[test]
    fn a_right_that_was_taken_away_is_known_until_it_is_back() {
        let acknowledged = Acknowledged::default();
        assert!(!acknowledged.check(&target()).unwrap(), "nothing is known of it yet");
        acknowledged.deny(target());
        assert!(!acknowledged.check(&target()).unwrap());
        acknowledged.rise(target(), 7).unwrap();
        assert!(acknowledged.check(&target()).unwrap());
        acknowledged.deny(target());
        assert!(!acknowledged.check(&target()).unwrap());
        assert!(acknowledged.rise(target(), 7).is_err(), "offsets rise all the same");
    }
}
