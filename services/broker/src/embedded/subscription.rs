//! Membership in a consumer group of the embedded broker.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::{pending, select_all};
use tokio::sync::Notify;

use super::cursor::{Cursor, Step};
use super::group::{Change, MemberId};
use super::shared::Shared;
use crate::port::{BrokerError, GroupEvent, StoredRecord, Subscription, TopicPartition};

/// A member of a group.
pub(super) struct Member {
    pub(super) shared: Arc<Shared>,
    pub(super) group: String,
    pub(super) id: MemberId,
    /// Rung when the group has something to tell.
    pub(super) bell: Arc<Notify>,
    /// Whether a revocation has been handed out and is let go of at the next call.
    pub(super) letting_go: bool,
    /// The partitions owned; the next to be asked for a record stands first.
    pub(super) cursors: VecDeque<(TopicPartition, Cursor)>,
}

impl Member {
    fn let_go(&mut self) {
        if self.letting_go {
            self.letting_go = false;
            self.shared.with_group(&self.group, |group| group.released(self.id));
        }
    }

    fn learn(&mut self) -> Result<Option<GroupEvent>, BrokerError> {
        let change = self.shared.with_group(&self.group, |group| group.next_change(self.id));
        match change {
            Some(Change::Assigned(partitions)) => {
                for target in &partitions {
                    let cursor = self.shared.cursor_of_group(&self.group, target)?;
                    self.cursors.push_back((target.clone(), cursor));
                }
                Ok(Some(GroupEvent::Assigned(partitions)))
            }
            Some(Change::Revoked(partitions)) => {
                self.cursors.retain(|(target, _)| !partitions.contains(target));
                self.letting_go = true;
                Ok(Some(GroupEvent::Revoked(partitions)))
            }
            None => Ok(None),
        }
    }

    /// The next record of any partition, each in its turn.
    async fn take_record(&mut self) -> Result<Option<(TopicPartition, StoredRecord)>, BrokerError> {
        for index in 0..self.cursors.len() {
            let (target, cursor) = &mut self.cursors[index];
            match read_on(target, cursor).await? {
                Some(record) => {
                    let taken = (target.clone(), record);
                    self.cursors.rotate_left(index + 1);
                    return Ok(Some(taken));
                }
                None => continue,
            }
        }
        Ok(None)
    }

    async fn stirred(&mut self) {
        let bell = self.bell.clone();
        tokio::select! {
            () = bell.notified() => {}
            () = any_growth(&mut self.cursors) => {}
        }
    }
}

/// The next record of one partition; where retention has overtaken the group it goes on at the oldest record kept.
async fn read_on(target: &TopicPartition, cursor: &mut Cursor) -> Result<Option<StoredRecord>, BrokerError> {
    loop {
        let step = match cursor.step() {
            Ok(Step::Record(record)) => return Ok(Some(record)),
            Ok(Step::CaughtUp) => return Ok(None),
            Ok(Step::Behind) => cursor.fill().await,
            Err(error) => Err(error),
        };
        match step {
            Ok(()) => {}
            Err(BrokerError::OffsetOutOfRange) => {
                tracing::warn!(%target, "retention has deleted records that the group had not read");
                cursor.skip_deleted();
            }
            Err(error) => return Err(error),
        }
    }
}

async fn any_growth(cursors: &mut VecDeque<(TopicPartition, Cursor)>) {
    if cursors.is_empty() {
        pending::<()>().await;
    }
    select_all(cursors.iter_mut().map(|(_, cursor)| Box::pin(cursor.grown()))).await;
}

#[async_trait]
impl Subscription for Member {
    async fn next(&mut self) -> Result<GroupEvent, BrokerError> {
        self.let_go();
        loop {
            tokio::task::coop::consume_budget().await;
            self.shared.check_open()?;
            if let Some(event) = self.learn()? {
                return Ok(event);
            }
            if let Some((target, record)) = self.take_record().await? {
                return Ok(GroupEvent::Record(target, record));
            }
            self.stirred().await;
        }
    }

    fn commit(&self, target: &TopicPartition, next_offset: u64) -> Result<(), BrokerError> {
        self.shared.check_open()?;
        self.shared.commit(&self.group, target, next_offset)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.shared.leave(&self.group, self.id);
    }
}
