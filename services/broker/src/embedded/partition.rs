//! One partition in memory: its bounds, and its newest records for those who are reading along.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use kopuro_core::time::UnixMillis;
use tokio::sync::watch;

use super::codec::PartitionId;
use crate::port::{StoredRecord, Watermarks};

/// How much of a partition that has readers is kept in memory. **Units:** bytes.
const RECENT_BYTES_MAX: usize = 256 << 10;

/// What a record costs in memory beside its bytes. **Units:** bytes.
const RECORD_OVERHEAD: usize = 128;

/// The state of one partition.
pub(super) struct Partition {
    pub(super) id: PartitionId,
    /// The next offset; everything below it is durable. Only the writer moves it.
    high: watch::Sender<u64>,
    low: AtomicU64,
    last_append: AtomicU64,
    recent: Mutex<Recent>,
}

impl Partition {
    pub(super) fn new(id: PartitionId, bounds: Watermarks, last_append: UnixMillis) -> Self {
        Self {
            id,
            high: watch::Sender::new(bounds.high),
            low: AtomicU64::new(bounds.low),
            last_append: AtomicU64::new(last_append.as_u64()),
            recent: Mutex::default(),
        }
    }

    pub(super) fn bounds(&self) -> Watermarks {
        let low = self.low.load(Ordering::Acquire);
        Watermarks { low, high: *self.high.borrow() }
    }

    /// Wakes its holder whenever records become durable.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.high.subscribe()
    }

    /// The append time of the next record: never earlier than that of the one before it.
    pub(super) fn append_time(&self, now: UnixMillis) -> UnixMillis {
        let before = self.last_append.fetch_max(now.as_u64(), Ordering::Relaxed);
        UnixMillis::new(before.max(now.as_u64()))
    }

    /// Makes records visible that have become durable; they follow the last visible one without a gap.
    pub(super) fn publish(&self, records: Vec<StoredRecord>) {
        let Some(last) = records.last() else { return };
        let high = last.position.offset + 1;
        let has_readers = self.high.receiver_count() > 0;
        let mut recent = self.recent.lock().expect("no holder of the lock panics");
        if has_readers {
            records.into_iter().for_each(|record| recent.push(record));
        } else {
            recent.clear();
        }
        drop(recent);
        self.high.send_replace(high);
    }

    /// Wakes those who wait for growth although there is none, so that they see the broker closed.
    pub(super) fn wake(&self) {
        self.high.send_modify(|_| {});
    }

    /// A durable record, if it is still in memory.
    pub(super) fn recent(&self, offset: u64) -> Option<StoredRecord> {
        self.recent.lock().expect("no holder of the lock panics").at(offset)
    }

    /// Hides the records below `low`, which retention is about to delete.
    pub(super) fn trim(&self, low: u64) {
        self.low.fetch_max(low, Ordering::AcqRel);
        self.recent.lock().expect("no holder of the lock panics").trim(low);
    }
}

#[derive(Default)]
struct Recent {
    records: VecDeque<StoredRecord>,
    bytes: usize,
}

impl Recent {
    fn push(&mut self, record: StoredRecord) {
        self.bytes += cost(&record);
        self.records.push_back(record);
        while self.bytes > RECENT_BYTES_MAX {
            self.pop();
        }
    }

    fn at(&self, offset: u64) -> Option<StoredRecord> {
        let first = self.records.front()?.position.offset;
        let index = usize::try_from(offset.checked_sub(first)?).ok()?;
        self.records.get(index).cloned()
    }

    fn trim(&mut self, low: u64) {
        while self.records.front().is_some_and(|record| record.position.offset < low) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.bytes -= cost(&record);
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn cost(stored: &StoredRecord) -> usize {
    let headers: usize = stored.record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    RECORD_OVERHEAD + stored.record.key.len() + stored.record.value.len() + headers
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::port::{Position, Record};

    fn stored(offset: u64, len: usize) -> StoredRecord {
        let record = Record { value: Bytes::from(vec![0; len]), ..Record::default() };
        StoredRecord { position: Position { partition: 0, offset }, append_time: UnixMillis::new(0), record }
    }

    fn partition() -> Partition {
        let bounds = Watermarks { low: 0, high: 0 };
        Partition::new(PartitionId { topic: 0, partition: 0 }, bounds, UnixMillis::new(0))
    }

    #[test]
    fn memory_is_kept_only_for_readers_and_only_so_much() {
        let partition = partition();
        partition.publish(vec![stored(0, 10)]);
        assert!(partition.recent(0).is_none());
        let _reader = partition.watch();
        partition.publish((1..100).map(|offset| stored(offset, 10_000)).collect());
        assert!(partition.recent(1).is_none());
        assert_eq!(partition.recent(99), Some(stored(99, 10_000)));
        assert!(partition.recent.lock().unwrap().bytes <= RECENT_BYTES_MAX);
        partition.trim(100);
        assert!(partition.recent(99).is_none());
        assert_eq!(partition.bounds(), Watermarks { low: 100, high: 100 });
    }

    #[test]
    fn append_times_never_go_back() {
        let partition = partition();
        let times = [5, 3, 8].map(|now| partition.append_time(UnixMillis::new(now)).as_u64());
        assert_eq!(times, [5, 5, 8]);
    }
}
