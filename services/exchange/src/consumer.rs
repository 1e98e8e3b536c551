//! The consumer's side: a call goes out as a signed request and waits for the outcome that answers it.

mod patience;
mod replies;
mod waiting;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kopuro_broker::TopicPartition;
use kopuro_core::content::{Context, MESSAGE_LEN_MAX, Payload};
use kopuro_core::digest::Digest;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::{ExchangeId, MemberId, MethodId, RequestId, SubsystemId};
use kopuro_core::statement::Kind;
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::{RecordKey, SubsystemTopic, TopicName};
use kopuro_registry::view::{Offer, View};
use kopuro_schema::{Direction, Idempotency};
use kopuro_telemetry::metrics::{Ending, Role, Stage};
use kopuro_trust::random;
use tokio::sync::OnceCell;

use crate::failure;
use crate::node::Node;
use crate::outbox::{Address, Draft};
use patience::patience;
use waiting::{Board, Outcome};

/// A call that a system makes. Who the consumer is has been authenticated; nothing else has been checked. It has no
/// `Debug` form, since it holds the message in the clear.
#[derive(Clone)]
pub struct Call {
    /// The exchange, drawn by the edge so that every refusal can name it.
    pub exchange: ExchangeId,
    /// The caller's idempotency key, if it gave one.
    pub request: Option<RequestId>,
    /// The calling subsystem.
    pub consumer: SubsystemId,
    /// The provider that the caller names, if it names one.
    pub provider: Option<SubsystemId>,
    /// The method called.
    pub method: MethodId,
    /// Who asks, and why.
    pub context: Context,
    /// The message, in the caller's bytes.
    pub message: Bytes,
    /// How long the caller waits, if it says so.
    pub timeout: Option<Duration>,
}

/// The outcome of a call, with what names its evidence.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The subsystem that answered.
    pub provider: SubsystemId,
    /// The idempotency key under which the effect is known.
    pub request: RequestId,
    /// The statement digest of this request.
    pub request_digest: Digest,
    /// The statement digest of the request that had the effect.
    pub effect_request_digest: Digest,
    /// The statement digest of the outcome.
    pub response_digest: Digest,
    /// What the provider said.
    pub payload: Payload,
}

/// The part of the engine that makes calls.
pub(crate) struct Consumer {
    node: Arc<Node>,
    board: Arc<Board>,
    replies: Mutex<HashMap<MemberId, Arc<OnceCell<()>>>>,
}

/// A call that has passed every check and is ready to be sent.
struct Checked {
    view: Arc<View>,
    offer: Offer,
    request: RequestId,
    now: UnixMillis,
    expire_time: UnixMillis,
}

impl Consumer {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        let board = Arc::new(Board::new(node.parts.settings.calls_max));
        Self { node, board, replies: Mutex::default() }
    }

    /// Makes a call and waits for its outcome.
    pub(crate) async fn call(&self, call: Call) -> Result<Answer, Refusal> {
        let started = Instant::now();
        let metrics = &self.node.parts.metrics;
        let _in_flight = metrics.in_flight(Role::Consumer);
        let answered = self.exchange(call).await;
        metrics.stage(Stage::Total, started.elapsed());
        let ending =
            answered.as_ref().map_or(Ending::RefusedAtConsumer, |answer| failure::ending(&answer.payload));
        metrics.exchange_ended(Role::Consumer, ending);
        answered
    }

    /// Takes no new calls.
    pub(crate) fn drain(&self) {
        self.board.drain();
    }

    /// How many calls wait.
    pub(crate) fn in_flight(&self) -> usize {
        self.board.in_flight()
    }

    async fn exchange(&self, call: Call) -> Result<Answer, Refusal> {
        let started = Instant::now();
        let settings = &self.node.parts.settings;
        let life = call.timeout.unwrap_or(settings.deadline_default).min(settings.request_life_max);
        let prepared = async {
            self.follow_replies(&call.consumer.member()).await?;
            self.check(&call, started, life).await
        };
        // What is not appended by then has no effect.
        let patience = patience(life);
        let prepared = tokio::time::timeout(patience, prepared).await;
        let checked = prepared.map_err(|_| Refusal::new(Reason::Expired))??;
        let address = self.address(&call, &checked)?;
        let Call { exchange, consumer, method, context, message, .. } = call;
        let Checked { view, offer, request, now, expire_time } = checked;
        let draft = Draft {
            kind: Kind::Request { reply_token: Some(self.node.parts.replica.token) },
            exchange,
            request,
            sender: consumer,
            recipient: offer.provider.clone(),
            method,
            contract: offer.contract.digest,
            create_time: now,
            expire_time,
            view: view.stamp(),
        };
        let recipient_key = view.sealing_key(&offer.provider, now)?;
        let (target, key) = address;
        let address = Address { target, key, recipient_key };
        let mut waiting = None;
        let sent = self.node.outbox.send(
            draft.clone(),
            (&context, &Payload::Message(message)),
            address,
            |digest| {
                waiting = Some(self.board.begin(&draft, digest)?);
                Ok(())
            },
        )?;
        let waiting = waiting.ok_or(Reason::Internal)?;
        let request_digest = sent.digest;
        let outcome = waiting.outcome(sent, patience.saturating_sub(started.elapsed()), &request).await?;
        let Outcome { effect_request_digest, response_digest, payload } = outcome;
        let provider = offer.provider;
        Ok(Answer { provider, request, request_digest, effect_request_digest, response_digest, payload })
    }

    async fn check(&self, call: &Call, started: Instant, life: Duration) -> Result<Checked, Refusal> {
        let parts = &self.node.parts;
        let view = parts.views.deciding(parts.clock.now())?;
        let offer = view.offer(call.method.service(), call.provider.as_ref(), parts.clock.now())?;
        let contract = parts.contracts.get(&offer.contract.digest).await?;
        let now = parts.clock.now();
        let method = contract.method(&call.method).ok_or(Reason::MethodUnknown)?;
        if method.is_streaming() {
            return Err(Reason::MethodStreaming.into());
        }
        view.allows(&call.consumer, &offer.provider, &call.method, offer.contract.version, now)?;
        let request = request_id(call.request, method.idempotency())?;
        if call.message.len() > MESSAGE_LEN_MAX {
            return Err(Reason::PayloadTooLarge.into());
        }
        if !call.context.fits() {
            return Err(Refusal::with(Reason::MetadataInvalid, "a context entry is too long"));
        }
        let validated = Instant::now();
        method.validate(Direction::Request, &call.message, now).map_err(failure::invalid_request)?;
        parts.metrics.stage(Stage::Validate, validated.elapsed());
        let left = life.saturating_sub(started.elapsed());
        if left < Duration::from_millis(1) {
            return Err(Reason::Expired.into());
        }
        Ok(Checked { view, offer, request, now, expire_time: now.plus(left) })
    }

    fn address(&self, call: &Call, checked: &Checked) -> Result<(TopicPartition, RecordKey), Refusal> {
        let provider = &checked.offer.provider;
        let topic = TopicName::of_subsystem(SubsystemTopic::Call, provider);
        let key = RecordKey::of_request(&call.consumer, &[], &checked.request);
        let partitions = checked.view.partitions(&provider.member()).ok_or(Reason::ProviderUnknown)?;
        Ok((TopicPartition { topic, partition: key.partition(partitions) }, key))
    }

    /// Sees to it that the outcomes for `member`'s subsystems are read before its first call goes out.
    pub(crate) async fn follow_replies(&self, member: &MemberId) -> Result<(), Refusal> {
        let followed = {
            let mut replies = self.replies.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(replies.entry(member.clone()).or_default())
        };
        let follow = || replies::follow(Arc::clone(&self.node), Arc::clone(&self.board), member.clone());
        followed.get_or_try_init(follow).await?;
        Ok(())
    }
}

fn request_id(given: Option<RequestId>, idempotency: Idempotency) -> Result<RequestId, Refusal> {
    match (given, idempotency) {
        (Some(request), _) => Ok(request),
        (None, Idempotency::NoSideEffects | Idempotency::Idempotent) => Ok(RequestId::new(random::bytes())),
        (None, Idempotency::NonIdempotent) => Err(Reason::RequestIdRequired.into()),
    }
}
