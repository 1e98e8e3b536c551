//! The provider's side: requests are read from a subsystem's call topic, verified, served and answered.
//!
//! One [`Serving`] joins the consumer group of one subsystem's call topic. Each partition that it is assigned gets a
//! worker, which claims the partition, restores what is known of its effects, and then takes requests in order.

mod effects;
mod lag;
mod offsets;
mod outcomes;
mod request;
mod seen;
mod tasks;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use kopuro_broker::{BrokerError, GroupEvent, Subscription, TopicPartition};
use kopuro_core::id::SubsystemId;
use kopuro_core::topic::{MemberTopic, SubsystemTopic, TopicName};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::dispatch::Dispatcher;
use crate::node::{EnsureError, Node};
use lag::{Followed, LagTeller};
use worker::{WorkEnded, Worker};

/// Records handed to a worker and not yet taken.
const QUEUE_LEN: usize = 64;
/// How often offsets are committed.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// How long to wait before the group is joined anew.
const JOIN_AGAIN: Duration = Duration::from_millis(500);
/// How long requests in work may take when the node drains.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);

/// Serves one subsystem until it is stopped.
pub(crate) struct Serving {
    stop: CancellationToken,
    progress: watch::Receiver<Restored>,
    done: JoinHandle<()>,
}

/// What workers of one subsystem share.
pub(super) struct Provider {
    pub(super) node: Arc<Node>,
    pub(super) dispatcher: Arc<dyn Dispatcher>,
    pub(super) subsystem: SubsystemId,
}

/// How far a membership of the group has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Restored {
    /// How many partitions are this member's; none known before the group has said so.
    assigned: Option<usize>,
    /// Of how many the effects are restored.
    restored: usize,
}

struct Assigned {
    restored: Arc<AtomicBool>,
    records: mpsc::Sender<kopuro_broker::StoredRecord>,
    finished: Arc<AtomicU64>,
    committed: u64,
    stop: CancellationToken,
    done: JoinHandle<()>,
}

impl Serving {
    /// Begins to serve `subsystem`.
    ///
    /// # Errors
    /// [`EnsureError`] when its topics cannot be had or the group cannot be joined.
    pub(crate) async fn start(
        node: Arc<Node>,
        dispatcher: Arc<dyn Dispatcher>,
        subsystem: SubsystemId,
    ) -> Result<Self, EnsureError> {
        let member = subsystem.member();
        let topic = TopicName::of_subsystem(SubsystemTopic::Call, &subsystem);
        node.ensure_topic(&topic, &member).await?;
        for kind in [MemberTopic::Marker, MemberTopic::Outcome] {
            node.ensure_topic(&TopicName::of_member(kind, &member), &member).await?;
        }
        node.ensure_dead_letters(&member).await?;
        let group = Group { name: format!("provide.{topic}"), topic };
        let subscription = group.join(&node).await?;
        let (stop, (announce, progress)) = (CancellationToken::new(), watch::channel(Restored::default()));
        let provider = Arc::new(Provider { node, dispatcher, subsystem });
        let done = tokio::spawn(run(provider, group, subscription, Arc::new(announce), stop.clone()));
        Ok(Self { stop, progress, done })
    }

    /// Whether the group has said which partitions are this member's, and the effects of all of them are restored.
    pub(crate) fn is_ready(&self) -> bool {
        let Restored { assigned, restored } = *self.progress.borrow();
        assigned == Some(restored)
    }

    /// Takes no more requests, finishes those in work, and leaves the group.
    pub(crate) async fn drain(mut self) {
        self.stop.cancel();
        if (&mut self.done).await.is_err() {
            tracing::error!("a provider task ended by a panic");
        }
    }
}

impl Drop for Serving {
    /// Without a drain the group is left at once, and requests in work are the next owner's.
    fn drop(&mut self) {
        self.done.abort();
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The consumer group of one call topic.
struct Group {
    name: String,
    topic: TopicName,
}

impl Group {
    async fn join(&self, node: &Node) -> Result<Box<dyn Subscription>, BrokerError> {
        node.parts.broker.subscribe(&self.name, std::slice::from_ref(&self.topic)).await
    }
}

/// Why a membership of the group ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The node drains, or the broker was shut down.
    Stopped,
    /// A partition could not be served on, or a later owner claimed it while the group still says that it is ours: the
    /// group is joined anew, and what was not finished is read again.
    Lost,
}

/// Serves until it is stopped, joining the group anew whenever a membership is lost.
async fn run(
    provider: Arc<Provider>,
    group: Group,
    mut subscription: Box<dyn Subscription>,
    announce: Arc<watch::Sender<Restored>>,
    stop: CancellationToken,
) {
    let mut lag = None;
    loop {
        let ended = membership(&provider, &group, subscription, &announce, &mut lag, &stop).await;
        announce.send_replace(Restored::default());
        if ended == Ended::Stopped {
            return;
        }
        subscription = loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(JOIN_AGAIN) => {}
            }
            match group.join(&provider.node).await {
                Ok(subscription) => break subscription,
                Err(BrokerError::Closed) => return,
                Err(error) => tracing::warn!(group = group.name, %error, "the group cannot be joined yet"),
            }
        };
    }
}

async fn membership(
    provider: &Arc<Provider>,
    group: &Group,
    mut subscription: Box<dyn Subscription>,
    announce: &Arc<watch::Sender<Restored>>,
    lag: &mut Option<LagTeller>,
    stop: &CancellationToken,
) -> Ended {
    let mut workers: HashMap<TopicPartition, Assigned> = HashMap::new();
    let lost = CancellationToken::new();
    let mut commits = tokio::time::interval(COMMIT_EVERY);
    commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            () = lost.cancelled() => return Ended::Lost,
            _ = commits.tick() => commit(&*subscription, &mut workers),
            event = subscription.next() => match event {
                Ok(GroupEvent::Assigned(partitions)) => {
                    for target in partitions {
                        let worker = assign(provider, target.clone(), announce, &lost);
                        workers.insert(target, worker);
                    }
                    tell_assigned(announce, &workers);
                    *lag = Some(follow_lag(provider, group, &workers));
                }
                Ok(GroupEvent::Revoked(partitions)) => {
                    commit(&*subscription, &mut workers);
                    for target in partitions {
                        workers.remove(&target);
                    }
                    tell_assigned(announce, &workers);
                    *lag = Some(follow_lag(provider, group, &workers));
                }
                Ok(GroupEvent::Record(target, record)) => {
                    if let Some(worker) = workers.get(&target) {
                        tokio::select! {
                            // A worker that has stopped has said that the membership is lost.
                            _ = worker.records.send(record) => {}
                            () = stop.cancelled() => break,
                            () = lost.cancelled() => return Ended::Lost,
                        }
                    }
                }
                Err(BrokerError::Closed) => break,
                Err(error) => {
                    tracing::error!(subsystem = %provider.subsystem, %error, "requests cannot be read");
                    return Ended::Lost;
                }
            }
        }
    }
    announce.send_replace(Restored::default());
    drain(subscription, workers).await;
    Ended::Stopped
}

fn assign(
    provider: &Arc<Provider>,
    target: TopicPartition,
    announce: &Arc<watch::Sender<Restored>>,
    lost: &CancellationToken,
) -> Assigned {
    let (records, queue) = mpsc::channel(QUEUE_LEN);
    let (finished, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
    let worker = Worker::new(Arc::clone(provider), target, Arc::clone(&finished), stop.clone());
    let restored = Arc::new(AtomicBool::new(false));
    let (told, announce) = (Arc::clone(&restored), Arc::clone(announce));
    // A worker that panics has lost its partition too.
    let guard = lost.clone().drop_guard();
    let revoked = stop.clone();
    let done = tokio::spawn(async move {
        let tell = || {
            // Under the lock of the channel, so that nobody counts between the two.
            announce.send_modify(|progress| {
                // What was revoked meanwhile has been counted out.
                if !revoked.is_cancelled() {
                    told.store(true, Ordering::Release);
                    progress.restored += 1;
                }
            });
        };
        if worker.run(queue, tell).await == WorkEnded::Finished {
            guard.disarm();
        }
    });
    Assigned { restored, records, finished, committed: 0, stop, done }
}

fn tell_assigned(announce: &watch::Sender<Restored>, workers: &HashMap<TopicPartition, Assigned>) {
    announce.send_modify(|progress| {
        let restored = workers.values().filter(|worker| worker.restored.load(Ordering::Acquire)).count();
        *progress = Restored { assigned: Some(workers.len()), restored };
    });
}

fn commit(subscription: &dyn Subscription, workers: &mut HashMap<TopicPartition, Assigned>) {
    for (target, worker) in workers {
        let finished = worker.finished.load(Ordering::Acquire);
        if finished > worker.committed {
            match subscription.commit(target, finished) {
                Ok(()) => worker.committed = finished,
                Err(error) => tracing::warn!(%target, %error, "an offset could not be committed"),
            }
        }
    }
}

fn follow_lag(
    provider: &Arc<Provider>,
    group: &Group,
    workers: &HashMap<TopicPartition, Assigned>,
) -> LagTeller {
    let follow = |(target, worker): (&TopicPartition, &Assigned)| Followed {
        target: target.clone(),
        finished: Arc::clone(&worker.finished),
    };
    LagTeller::start(Arc::clone(provider), group.name.clone(), workers.iter().map(follow).collect())
}

async fn drain(subscription: Box<dyn Subscription>, mut workers: HashMap<TopicPartition, Assigned>) {
    let limit = tokio::time::Instant::now() + DRAIN_LIMIT;
    for worker in workers.values_mut() {
        let (closed, _) = mpsc::channel(1);
        worker.records = closed;
        if tokio::time::timeout_at(limit, &mut worker.done).await.is_err() {
            tracing::warn!("requests were still in work when the drain ended");
        }
    }
    commit(&*subscription, &mut workers);
}
