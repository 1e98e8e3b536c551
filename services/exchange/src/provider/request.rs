//! One request, from its verified statement to its answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kopuro_broker::TopicPartition;
use kopuro_core::bounds::OUTCOME_LIFE;
use kopuro_core::content::{self, Context, Payload};
use kopuro_core::digest::Digest;
use kopuro_core::effect::{EffectKey, EffectRequest};
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::statement::{Kind, Statement};
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::{MemberTopic, RecordKey, TopicName};
use kopuro_registry::view::View;
use kopuro_schema::{Direction, Idempotency, Method};
use kopuro_telemetry::audit::AuditEvent;
use kopuro_telemetry::metrics::{Role, Stage};

use super::Provider;
use crate::dispatch::{Dispatch, Dispatched};
use crate::failure;
use crate::inbox::Verified;
use crate::outbox::{Address, Draft};

/// How long to wait before an outcome that was not appended is appended again.
const ANSWER_AGAIN: Duration = Duration::from_millis(100);

/// A request that may be dispatched.
pub(super) struct Request {
    pub(super) statement: Statement,
    pub(super) digest: Digest,
    pub(super) context: Context,
    pub(super) message: Bytes,
    pub(super) method: Method,
}

/// What is to be done with a request that passed every check.
pub(super) enum Admitted {
    /// It may run again at any time: it is dispatched at once.
    Repeatable(Request),
    /// It may have its effect once: the worker arbitrates.
    Once(Request, EffectRequest),
}

impl Provider {
    /// Checks what needs the registry's view, the contract and the content. This gateway's own view decides, and it is
    /// no older than the one that the sender decided by.
    pub(super) async fn admit(&self, verified: Verified) -> Result<Admitted, (Statement, Digest, Refusal)> {
        let (digest, statement) = (verified.digest, verified.statement.clone());
        match self.check(&verified).await {
            Ok((context, message, method)) => Ok(self.admitted(verified, context, message, method)),
            Err(refusal) => Err((statement, digest, refusal)),
        }
    }

    async fn check(&self, verified: &Verified) -> Result<(Context, Bytes, Method), Refusal> {
        let parts = &self.node.parts;
        let statement = &verified.statement;
        if parts.views.current().stamp().size < statement.view.size
            && !parts.views.reaches(statement.view.size, parts.settings.view_wait).await
        {
            return Err(Refusal::with(
                Reason::NotDispatched,
                "the provider's view of the registry is behind",
            ));
        }
        let now = parts.clock.now();
        let not_dispatched =
            |_| Refusal::with(Reason::DispatchDeferred, "the provider's view of the registry is too old");
        let view = parts.views.deciding(now).map_err(not_dispatched)?;
        // The signature may have verified by a view that had not heard yet of the end of the key.
        view.signing_key(&verified.signer, statement, now)?;
        let Statement { sender, recipient, method: called, contract: digest, .. } = statement;
        let contract =
            view.contract_under(recipient, called.service(), digest, now).ok_or(Reason::ServiceUnknown)?;
        view.allows(sender, recipient, called, contract.version, now)?;
        let opening = Instant::now();
        let (context, payload) = verified.open(&parts.replica.opener)?;
        parts.metrics.stage(Stage::Open, opening.elapsed());
        let Payload::Message(message) = payload else {
            return Err(Reason::StatementInvalid.into());
        };
        let unavailable = |_| Refusal::with(Reason::DispatchDeferred, "the contract could not be loaded");
        let contract = parts.contracts.get(digest).await.map_err(unavailable)?;
        let method =
            contract.method(called).filter(|method| !method.is_streaming()).ok_or(Reason::MethodUnknown)?;
        let validating = Instant::now();
        method
            .validate(Direction::Request, &message, statement.create_time)
            .map_err(failure::invalid_request)?;
        parts.metrics.stage(Stage::Validate, validating.elapsed());
        Ok((context, message, method.clone()))
    }

    fn admitted(&self, verified: Verified, context: Context, message: Bytes, method: Method) -> Admitted {
        let Verified { statement, digest, .. } = verified;
        let request = Request { statement, digest, context, message, method };
        match request.method.idempotency() {
            Idempotency::NoSideEffects | Idempotency::Idempotent => Admitted::Repeatable(request),
            Idempotency::NonIdempotent => {
                let effect = self.effect_of(&request);
                Admitted::Once(request, effect)
            }
        }
    }

    fn effect_of(&self, request: &Request) -> EffectRequest {
        let Statement { sender, recipient, ordering_key, request: id, method, expire_time, .. } =
            &request.statement;
        let payload = Payload::Message(request.message.clone());
        let [context, payload] = content::unsalted(&request.context, &payload)
            .expect("content that was opened keeps to the limits");
        let secret = self.node.parts.replica.secret(&recipient.member());
        let secret = secret.expect("a subsystem is served only with its member's secret");
        EffectRequest {
            key: EffectKey::of(sender, recipient, ordering_key.as_ref(), id),
            fingerprint: secret.fingerprint(&[method.path().as_bytes(), &context, &payload]),
            request_digest: request.digest,
            exchange: request.statement.exchange,
            expire_time: *expire_time,
        }
    }

    /// Calls the provider's system, unless it is later than `not_after`, and checks what it says.
    pub(super) async fn dispatch(&self, request: &Request, not_after: UnixMillis) -> Payload {
        let parts = &self.node.parts;
        let exchange = &request.statement.exchange;
        if parts.clock.now() > not_after {
            return failure::payload_of(&Reason::NotDispatched.into(), exchange);
        }
        let started = Instant::now();
        let dispatched = self.dispatcher.dispatch(dispatch_of(request, not_after)).await;
        parts.metrics.stage(Stage::Dispatch, started.elapsed());
        let refusal = match dispatched {
            Dispatched::Message(message) => return self.checked_response(request, message),
            Dispatched::Status(status) => return failure::providers_own(&status),
            Dispatched::Unreachable => Reason::ProviderUnreachable.into(),
            Dispatched::TooLarge => Refusal::with(Reason::ResponseInvalid, "it is larger than 4 MiB"),
            Dispatched::TimedOut => Reason::ProviderTimeout.into(),
            Dispatched::Broken => Reason::ProviderFailed.into(),
        };
        self.note_refusal(&request.statement, &refusal);
        failure::payload_of(&refusal, exchange)
    }

    fn checked_response(&self, request: &Request, message: Bytes) -> Payload {
        let parts = &self.node.parts;
        let started = Instant::now();
        let checked = match message.len() {
            0..=content::MESSAGE_LEN_MAX => request
                .method
                .validate(Direction::Response, &message, parts.clock.now())
                .map_err(failure::invalid_response),
            _ => Err(Refusal::with(Reason::ResponseInvalid, "it is larger than 4 MiB")),
        };
        parts.metrics.stage(Stage::Validate, started.elapsed());
        match checked {
            Ok(()) => Payload::Message(message),
            Err(refusal) => {
                self.note_refusal(&request.statement, &refusal);
                failure::payload_of(&refusal, &request.statement.exchange)
            }
        }
    }

    /// Refuses a request whose statement is genuine: the refusal is audited, signed and sent back.
    pub(super) async fn refuse(&self, statement: &Statement, digest: Digest, refusal: &Refusal) {
        self.note_refusal(statement, refusal);
        let payload = failure::payload_of(refusal, &statement.exchange);
        self.answer(statement, digest, digest, payload).await;
    }

    /// Sends an outcome to the waiting replica, again and again until it is durable or nobody can be waiting.
    pub(super) async fn answer(
        &self,
        statement: &Statement,
        digest: Digest,
        effect: Digest,
        payload: Payload,
    ) {
        let parts = &self.node.parts;
        parts.metrics.exchange_ended(Role::Provider, failure::ending(&payload));
        loop {
            let now = parts.clock.now();
            let view = parts.views.current();
            let Some(reply) = self.reply(statement, &view) else {
                return tracing::warn!(exchange = %statement.exchange, "the outcome cannot be addressed");
            };
            let (draft, address) = match self.draft(statement, [digest, effect], &view, now, reply) {
                Ok(prepared) => prepared,
                Err(reason) => {
                    return tracing::warn!(exchange = %statement.exchange, %reason, "the outcome cannot be sealed");
                }
            };
            let sent = self.node.outbox.send(draft, (&Context::default(), &payload), address, |_| Ok(()));
            let Ok(sent) = sent else {
                return tracing::warn!(exchange = %statement.exchange, "the outcome cannot be sealed");
            };
            match sent.durable().await {
                Ok(_) => return,
                Err(_) if parts.clock.now() > statement.expire_time => {
                    return tracing::warn!(exchange = %statement.exchange, "the outcome could not be appended in time");
                }
                Err(_) => tokio::time::sleep(ANSWER_AGAIN).await,
            }
        }
    }

    fn reply(&self, statement: &Statement, view: &View) -> Option<(TopicPartition, RecordKey)> {
        let Kind::Request { reply_token: Some(token) } = statement.kind else { return None };
        let member = statement.sender.member();
        let key = RecordKey::of_reply(token, &statement.exchange);
        let partition = key.partition(view.partitions(&member)?);
        let topic = TopicName::of_member(MemberTopic::Reply, &member);
        Some((TopicPartition { topic, partition }, key))
    }

    fn draft<'a>(
        &self,
        statement: &Statement,
        [request_digest, effect_request_digest]: [Digest; 2],
        view: &'a View,
        now: UnixMillis,
        (target, key): (TopicPartition, RecordKey),
    ) -> Result<(Draft, Address<'a>), Reason> {
        let draft = Draft {
            kind: Kind::Response { request_digest, effect_request_digest },
            exchange: statement.exchange,
            request: statement.request,
            sender: statement.recipient.clone(),
            recipient: statement.sender.clone(),
            method: statement.method.clone(),
            contract: statement.contract,
            create_time: now,
            expire_time: statement.expire_time.max(now).plus(OUTCOME_LIFE),
            view: view.stamp(),
        };
        Ok((draft, Address { target, key, recipient_key: view.sealing_key(&statement.sender, now)? }))
    }

    /// Counts and audits a refusal.
    pub(super) fn note_refusal(&self, statement: &Statement, refusal: &Refusal) {
        let parts = &self.node.parts;
        parts.metrics.refused(Role::Provider, refusal.reason);
        parts.audit.record(AuditEvent {
            detail: refusal.detail.clone(),
            exchange: Some(statement.exchange),
            consumer: Some(statement.sender.clone()),
            provider: Some(statement.recipient.clone()),
            method: Some(statement.method.clone()),
            ..AuditEvent::new(parts.clock.now(), refusal.reason)
        });
    }

    /// The secret of the member that is served.
    pub(super) fn secret(&self) -> Option<Arc<kopuro_trust::member_secret::MemberSecret>> {
        self.node.parts.replica.secret(&self.subsystem.member()).cloned()
    }
}

fn dispatch_of(request: &Request, not_after: UnixMillis) -> Dispatch {
    let Request { statement, digest, context, message, method: _ } = request;
    Dispatch {
        exchange: statement.exchange,
        request: statement.request,
        consumer: statement.sender.clone(),
        provider: statement.recipient.clone(),
        method: statement.method.clone(),
        context: context.clone(),
        message: message.clone(),
        request_digest: *digest,
        not_after,
        expire_time: statement.expire_time,
    }
}
