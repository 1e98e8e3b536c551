//! One replica's engine.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kopuro_core::error::Refusal;
use kopuro_core::id::{MemberId, SubsystemId};

use crate::consumer::{Answer, Call, Consumer};
use crate::dispatch::Dispatcher;
use crate::node::{EnsureError, Node, Parts};
use crate::provider::Serving;

/// How often a draining engine looks whether its calls are over.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What an engine is doing, for readiness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Calls that wait for their outcome.
    pub calls_in_flight: usize,
    /// Subsystems served whose partitions are assigned and restored.
    pub serving: usize,
    /// Subsystems that should be served and are not yet.
    pub not_yet_serving: usize,
}

/// The engine of one gateway replica.
pub struct Exchange {
    node: Arc<Node>,
    consumer: Consumer,
    dispatcher: Arc<dyn Dispatcher>,
    serving: Mutex<HashMap<SubsystemId, Serving>>,
}

impl Exchange {
    /// An engine that makes calls and, once told which subsystems, serves them through `dispatcher`.
    pub fn new(parts: Parts, dispatcher: Arc<dyn Dispatcher>) -> Self {
        let node = Node::new(parts);
        Self { consumer: Consumer::new(Arc::clone(&node)), node, dispatcher, serving: Mutex::default() }
    }

    /// Makes a call and waits for its outcome.
    ///
    /// # Errors
    /// A [`Refusal`] of the bus, always with a reason of the catalogue. A failure that the provider's side stated is an
    /// [`Answer`], since it is evidence.
    pub async fn call(&self, call: Call) -> Result<Answer, Refusal> {
        self.consumer.call(call).await
    }

    /// Begins to read the outcomes for `member`'s subsystems, unless it does so already. Without it the member's first
    /// call begins it, and waits for it.
    ///
    /// # Errors
    /// A [`Refusal`] when the member's reply topic cannot be had.
    pub async fn attend(&self, member: &MemberId) -> Result<(), Refusal> {
        self.consumer.follow_replies(member).await
    }

    /// Begins to serve `subsystem`, unless it is served already.
    ///
    /// # Errors
    /// [`EnsureError`] when its topics cannot be had.
    pub async fn serve(&self, subsystem: &SubsystemId) -> Result<(), EnsureError> {
        if self.lock().contains_key(subsystem) {
            return Ok(());
        }
        let serving =
            Serving::start(Arc::clone(&self.node), Arc::clone(&self.dispatcher), subsystem.clone()).await?;
        self.lock().insert(subsystem.clone(), serving);
        Ok(())
    }

    /// What the engine is doing.
    pub fn state(&self) -> State {
        let serving = self.lock();
        let ready = serving.values().filter(|serving| serving.is_ready()).count();
        State {
            calls_in_flight: self.consumer.in_flight(),
            serving: ready,
            not_yet_serving: serving.len() - ready,
        }
    }

    /// Takes no new calls and requests, and waits until those in work are over, at most for `limit`.
    pub async fn drain(&self, limit: Duration) {
        self.consumer.drain();
        let serving: Vec<Serving> = self.lock().drain().map(|(_, serving)| serving).collect();
        let calls_over = async {
            while self.consumer.in_flight() > 0 {
                tokio::time::sleep(DRAIN_LOOK).await;
            }
        };
        let served = futures::future::join_all(serving.into_iter().map(Serving::drain));
        if tokio::time::timeout(limit, futures::future::join(calls_over, served)).await.is_err() {
            tracing::warn!("calls were still in flight when the drain ended");
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SubsystemId, Serving>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
