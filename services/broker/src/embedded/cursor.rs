//! A place in a partition that moves forward.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::partition::Partition;
use super::shared::Shared;
use crate::port::{BrokerError, StoredRecord, Tail};

/// How much one visit to the disk brings. **Units:** bytes.
const READ_BYTES_MAX: usize = 256 << 10;

/// Where a reader stands in one partition.
pub(super) struct Cursor {
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    high: watch::Receiver<u64>,
    next: u64,
    buffer: VecDeque<StoredRecord>,
}

/// What a cursor has at hand.
pub(super) enum Step {
    /// The next record.
    Record(StoredRecord),
    /// Nothing at hand, but there is more on disk.
    Behind,
    /// Nothing; every durable record has been read.
    CaughtUp,
}

impl Cursor {
    pub(super) fn new(shared: Arc<Shared>, partition: Arc<Partition>, next: u64) -> Self {
        let high = partition.watch();
        Self { shared, partition, high, next, buffer: VecDeque::new() }
    }

    /// Takes the next record if it is at hand.
    pub(super) fn step(&mut self) -> Result<Step, BrokerError> {
        self.shared.check_open()?;
        let at_hand = self.buffer.pop_front();
        let low = self.partition.bounds().low;
        let high = *self.high.borrow_and_update();
        if at_hand.is_none() && self.next < low {
            return Err(BrokerError::OffsetOutOfRange);
        }
        if at_hand.is_none() && self.next >= high {
            return Ok(Step::CaughtUp);
        }
        let Some(record) = at_hand.or_else(|| self.partition.recent(self.next)) else {
            return Ok(Step::Behind);
        };
        self.next = record.position.offset + 1;
        Ok(Step::Record(record))
    }

    /// Fetches what is on disk; cancelled, it leaves the cursor as it was.
    pub(super) async fn fill(&mut self) -> Result<(), BrokerError> {
        let (shared, id, next) = (self.shared.clone(), self.partition.id, self.next);
        let high = self.partition.bounds().high;
        let read = move || shared.store.read(id, next, high, READ_BYTES_MAX);
        let records = tokio::task::spawn_blocking(read).await.map_err(|_| BrokerError::Closed)??;
        // A hole means that retention overtook the read.
        let whole = records.first().is_some_and(|first| first.position.offset == next);
        if !whole {
            return Err(self.hole());
        }
        self.buffer = records.into();
        Ok(())
    }

    /// Waits until more is durable, or the broker closes.
    pub(super) async fn grown(&mut self) {
        // The sender lives in the partition that this cursor holds.
        let _changed = self.high.changed().await;
    }

    /// Goes on at the oldest record kept.
    pub(super) fn skip_deleted(&mut self) {
        self.next = self.next.max(self.partition.bounds().low);
    }

    fn hole(&self) -> BrokerError {
        if self.next < self.partition.bounds().low {
            BrokerError::OffsetOutOfRange
        } else {
            BrokerError::Damaged("a partition has a hole".into())
        }
    }
}

#[async_trait]
impl Tail for Cursor {
    async fn next(&mut self) -> Result<StoredRecord, BrokerError> {
        loop {
            tokio::task::coop::consume_budget().await;
            match self.step()? {
                Step::Record(record) => return Ok(record),
                Step::Behind => self.fill().await?,
                Step::CaughtUp => self.grown().await,
            }
        }
    }
}
