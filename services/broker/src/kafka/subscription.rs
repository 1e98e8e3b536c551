//! Membership in a Kafka consumer group.
//!
//! Rebalancing is cooperative. librdkafka waits for its user to take up or give up partitions; that is done when the
//! port's caller learns of it (taking up) and when it comes back for more (giving up), so no other member is given a
//! partition that this one has not been told to leave.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};

use async_trait::async_trait;
use futures::StreamExt;
use kopuro_core::topic::TopicName;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, MessageStream, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use tokio::task::JoinHandle;

use super::context::Context;
use super::tail::partition_list;
use super::{message, off_runtime};
use crate::port::{BrokerError, GroupEvent, StoredRecord, Subscription, TopicPartition};

/// What librdkafka waits for its user to do.
enum Change {
    TakeUp(TopicPartitionList),
    GiveUp(TopicPartitionList),
}

/// A member of a group.
pub(super) struct KafkaMember {
    /// Taken only when the member is dropped.
    consumer: Option<Arc<StreamConsumer<GroupContext>>>,
    topics: Vec<TopicName>,
    /// What has been revoked and handed out, to be given up at the next call.
    giving_up: Option<TopicPartitionList>,
    /// A change under way on a thread that may block, and what to tell once it is done.
    work: Option<(Option<GroupEvent>, JoinHandle<KafkaResult<()>>)>,
}

impl KafkaMember {
    /// Joins the group. Blocks shortly, for librdkafka's own threads; needs a tokio runtime around it.
    pub(super) fn join(config: &ClientConfig, topics: &[TopicName]) -> Result<Self, BrokerError> {
        let context = GroupContext {
            context: Context::new("member"),
            changes: Mutex::default(),
            is_leaving: AtomicBool::new(false),
        };
        let consumer: StreamConsumer<GroupContext> =
            config.create_with_context(context).map_err(|error| message::fault(&error))?;
        let names: Vec<&str> = topics.iter().map(TopicName::as_str).collect();
        consumer.subscribe(&names).map_err(|error| message::fault(&error))?;
        Ok(Self { consumer: Some(Arc::new(consumer)), topics: topics.to_vec(), giving_up: None, work: None })
    }

    fn consumer(&self) -> &Arc<StreamConsumer<GroupContext>> {
        self.consumer.as_ref().expect("only dropping takes the consumer")
    }

    fn begin(&mut self, change: Change) {
        match change {
            Change::TakeUp(list) => {
                // librdkafka also wants an answer when nothing is to be taken up; nobody else need know.
                let event = (list.count() > 0).then(|| GroupEvent::Assigned(self.partitions(&list)));
                let consumer = self.consumer().clone();
                let work = tokio::task::spawn_blocking(move || consumer.incremental_assign(&list));
                self.work = Some((event, work));
            }
            Change::GiveUp(list) => {
                let consumer = self.consumer().clone();
                let work = tokio::task::spawn_blocking(move || consumer.incremental_unassign(&list));
                self.work = Some((None, work));
            }
        }
    }

    /// Waits for the change under way; cancelled, it is waited for again.
    async fn finish(&mut self) -> Option<GroupEvent> {
        let (_, work) = self.work.as_mut()?;
        let outcome = work.await;
        let (event, _) = self.work.take()?;
        if let Ok(Err(error)) = outcome {
            tracing::warn!(%error, "a change of a group's partitions failed");
        }
        event
    }

    /// The next thing that happens: a change of the assignment, or a record.
    async fn happening(&self) -> Result<Happening, KafkaError> {
        let consumer = self.consumer();
        let mut stream = consumer.stream();
        poll_fn(|task| happening(consumer.context(), &mut stream, task)).await
    }

    fn partitions(&self, list: &TopicPartitionList) -> Vec<TopicPartition> {
        let elements = list.elements();
        let of = elements.iter().filter_map(|element| self.target(element.topic(), element.partition()));
        of.collect()
    }

    fn target(&self, topic: &str, partition: i32) -> Option<TopicPartition> {
        let topic = self.topics.iter().find(|name| name.as_str() == topic)?.clone();
        Some(TopicPartition { topic, partition: u32::try_from(partition).ok()? })
    }
}

enum Happening {
    Change(Change),
    Record(String, StoredRecord),
}

fn happening(
    group: &GroupContext,
    stream: &mut MessageStream<'_, GroupContext>,
    task: &mut TaskContext<'_>,
) -> Poll<Result<Happening, KafkaError>> {
    if let Some(change) = group.take() {
        return Poll::Ready(Ok(Happening::Change(change)));
    }
    match stream.poll_next_unpin(task) {
        Poll::Ready(Some(polled)) => {
            let record = polled.map(|message| (message.topic().to_owned(), message::stored_record(&message)));
            Poll::Ready(record.map(|(topic, stored)| Happening::Record(topic, stored)))
        }
        // A stream of a consumer does not end; a rebalance is told while it is polled.
        Poll::Ready(None) | Poll::Pending => match group.take() {
            Some(change) => Poll::Ready(Ok(Happening::Change(change))),
            None => Poll::Pending,
        },
    }
}

#[async_trait]
impl Subscription for KafkaMember {
    async fn next(&mut self) -> Result<GroupEvent, BrokerError> {
        loop {
            tokio::task::coop::consume_budget().await;
            if let Some(event) = self.finish().await {
                return Ok(event);
            }
            if let Some(list) = self.giving_up.take() {
                self.begin(Change::GiveUp(list));
                continue;
            }
            match self.happening().await {
                Ok(Happening::Change(Change::GiveUp(list))) => {
                    let event = GroupEvent::Revoked(self.partitions(&list));
                    self.giving_up = Some(list);
                    return Ok(event);
                }
                Ok(Happening::Change(taken_up)) => self.begin(taken_up),
                Ok(Happening::Record(topic, stored)) => {
                    let partition = i32::try_from(stored.position.partition).unwrap_or(-1);
                    if let Some(target) = self.target(&topic, partition) {
                        return Ok(GroupEvent::Record(target, stored));
                    }
                }
                Err(error) if error.rdkafka_error_code().is_some_and(message::is_denial) => {
                    return Err(message::fault(&error));
                }
                Err(error) => tracing::debug!(%error, "a member of a group met a fault that may pass"),
            }
        }
    }

    fn commit(&self, target: &TopicPartition, next_offset: u64) -> Result<(), BrokerError> {
        let list = partition_list(target, Some(next_offset))?;
        self.consumer().commit(&list, CommitMode::Async).map_err(|error| message::fault(&error))
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        let (consumer, giving_up) = (self.consumer.take(), self.giving_up.take());
        let Some(consumer) = consumer else { return };
        // Leaving talks to the brokers, and answers what librdkafka still waits for.
        off_runtime(move || {
            let group = consumer.context().clone();
            group.is_leaving.store(true, Ordering::Release);
            let pending = std::iter::from_fn(|| group.take());
            for change in giving_up.map(Change::GiveUp).into_iter().chain(pending) {
                let answered = match change {
                    Change::TakeUp(list) => consumer.incremental_assign(&list),
                    Change::GiveUp(list) => consumer.incremental_unassign(&list),
                };
                if let Err(error) = answered {
                    tracing::debug!(%error, "a change of a group's partitions failed while leaving");
                }
            }
            drop(consumer);
        });
    }
}

/// Where librdkafka tells of rebalances.
struct GroupContext {
    context: Context,
    changes: Mutex<VecDeque<Change>>,
    is_leaving: AtomicBool,
}

impl GroupContext {
    fn take(&self) -> Option<Change> {
        self.changes.lock().expect("no holder of the lock panics").pop_front()
    }

    fn put(&self, change: Change) {
        self.changes.lock().expect("no holder of the lock panics").push_back(change);
    }
}

impl ConsumerContext for GroupContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assignment = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        match (is_assignment, self.is_leaving.load(Ordering::Acquire)) {
            (true, false) => self.put(Change::TakeUp(list.clone())),
            (false, false) => self.put(Change::GiveUp(list.clone())),
            (true, true) => {}
            (false, true) => {
                if let Err(error) = consumer.incremental_unassign(list) {
                    tracing::debug!(%error, "partitions could not be given up while leaving a group");
                }
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::warn!(%error, "a commit failed; records may be read again");
        }
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }

    fn stats(&self, _: Statistics) {}
}
