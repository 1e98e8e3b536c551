//! Records whose signer this node may be about to learn of: their statements name a newer view of the registry than it has.

use std::collections::VecDeque;
use std::time::Duration;

use kopuro_broker::StoredRecord;
use kopuro_core::digest::KeyId;
use kopuro_registry::views::Views;
use tokio::time::Instant;

/// The most records held at once, and the most bytes of them. Nothing of them is believed yet: more of them come from
/// somebody who makes them up.
const RECORDS_MAX: usize = 256;
const BYTES_MAX: usize = 64 << 20;

/// Records that wait for the view that they name, or for a limit, in the order in which they stand in the log. Whoever
/// holds one also holds the later ones of the same signer, so that none overtakes another.
pub(crate) struct Held {
    records: VecDeque<Waiting>,
    bytes: usize,
    limit: Duration,
}

struct Waiting {
    stored: StoredRecord,
    signer: KeyId,
    view_size: u64,
    until: Instant,
}

impl Held {
    /// Holds nothing yet, and later nothing for longer than `limit`.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { records: VecDeque::new(), bytes: 0, limit }
    }

    /// Whether a record of this signer is held.
    pub(crate) fn holds(&self, signer: &KeyId) -> bool {
        self.records.iter().any(|waiting| waiting.signer == *signer)
    }

    /// Holds a record; gives it back when no more can be held.
    pub(crate) fn hold(
        &mut self,
        stored: StoredRecord,
        signer: KeyId,
        view_size: u64,
        now: Instant,
    ) -> Result<(), StoredRecord> {
        let bytes = stored.record.value.len();
        if self.records.len() >= RECORDS_MAX || self.bytes + bytes > BYTES_MAX {
            return Err(stored);
        }
        self.bytes += bytes;
        let until = now + self.limit;
        self.records.push_back(Waiting { stored, signer, view_size, until });
        Ok(())
    }

    /// Waits until some of them are due; for ever while none is held.
    pub(crate) async fn due(&self, views: &Views) {
        let nearest = self.records.iter().map(|waiting| waiting.view_size).min();
        let Some((size, first)) = nearest.zip(self.records.front()) else {
            return std::future::pending().await;
        };
        views.reaches(size, first.until.saturating_duration_since(Instant::now())).await;
    }

    /// Takes out those whose view is no larger than `view_size`, and those that were held long enough.
    pub(crate) fn take_due(&mut self, view_size: u64, now: Instant) -> Vec<StoredRecord> {
        let mut due = Vec::new();
        for waiting in std::mem::take(&mut self.records) {
            if waiting.view_size <= view_size || waiting.until <= now {
                self.bytes -= waiting.stored.record.value.len();
                due.push(waiting.stored);
            } else {
                self.records.push_back(waiting);
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use kopuro_broker::{Position, Record};
    use kopuro_core::time::UnixMillis;

    use super::*;

    fn record(offset: u64, bytes: usize) -> StoredRecord {
        let record = Record { value: Bytes::from(vec![0; bytes]), ..Record::default() };
        let position = Position { partition: 0, offset };
        StoredRecord { position, append_time: UnixMillis::default(), record }
    }

    fn offsets(due: Vec<StoredRecord>) -> Vec<u64> {
        due.into_iter().map(|stored| stored.position.offset).collect()
    }

    fn signer(name: &str) -> KeyId {
        KeyId::of_spki(name.as_bytes())
    }

    #[test]
    fn records_come_out_in_order_when_their_view_is_here_or_their_time_is_over() {
        let (mut held, start) = (Held::new(Duration::from_secs(2)), Instant::now());
        for (offset, size) in [(1, 7), (2, u64::MAX), (3, 8), (4, 7)] {
            held.hold(record(offset, 1), signer("a"), size, start).unwrap();
        }
        assert!(held.holds(&signer("a")) && !held.holds(&signer("b")));
        assert!(held.take_due(6, start).is_empty());
        assert_eq!(offsets(held.take_due(7, start)), [1, 4]);
        assert_eq!(offsets(held.take_due(8, start)), [3]);
        assert!(held.take_due(8, start + Duration::from_millis(1999)).is_empty());
        assert_eq!(offsets(held.take_due(8, start + Duration::from_secs(2))), [2]);
        assert!(!held.holds(&signer("a")));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (mut held, now) = (Held::new(Duration::from_secs(2)), Instant::now());
        let mut hold = |bytes| held.hold(record(0, bytes), signer("a"), 9, now).is_ok();
        assert_eq!((0..1000).take_while(|_| hold(1)).count(), RECORDS_MAX);
        assert_eq!(held.take_due(9, now).len(), RECORDS_MAX);
        let mut hold = |bytes| held.hold(record(0, bytes), signer("a"), 9, now).is_ok();
        assert!(hold(BYTES_MAX) && !hold(1));
        held.take_due(9, now);
        assert!(held.hold(record(0, 1), signer("a"), 9, now).is_ok(), "room is given back");
    }
}
