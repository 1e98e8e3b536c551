//! Reading a member's reply topic. Every replica tails it and drops what is not its own before any cryptography.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kopuro_broker::{BrokerError, StartAt, StoredRecord, Tail, TopicPartition};
use kopuro_core::chain::ChainWatch;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::{ExchangeId, MemberId};
use kopuro_core::statement::{Kind, Statement};
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::{MemberTopic, RecordKey, ReplicaToken, TopicName};
use kopuro_telemetry::audit::AuditEvent;
use kopuro_telemetry::metrics::{Direction, Stage};

use super::waiting::{Board, Expected, Outcome};
use crate::inbox::{Received, Verified};
use crate::node::Node;
use crate::watch;

/// How long to wait before a partition that could not be read is tried again.
const READ_AGAIN: Duration = Duration::from_millis(500);

/// Begins to read every partition of `member`'s reply topic. When this returns, no outcome of a later request is missed.
pub(super) async fn follow(node: Arc<Node>, board: Arc<Board>, member: MemberId) -> Result<(), Refusal> {
    let topic = TopicName::of_member(MemberTopic::Reply, &member);
    let partitions = node.ensure_topic(&topic, &member).await.map_err(|error| {
        tracing::error!(%topic, error = &error as &dyn std::error::Error, "the reply topic cannot be used");
        Reason::BrokerUnavailable
    })?;
    for partition in 0..partitions {
        let target = TopicPartition { topic: topic.clone(), partition };
        let tail =
            node.parts.broker.tail(&target, StartAt::Latest).await.map_err(|_| Reason::BrokerUnavailable)?;
        let reader = Reader {
            node: Arc::clone(&node),
            board: Arc::clone(&board),
            target,
            chains: ChainWatch::default(),
        };
        tokio::spawn(reader.run(tail));
    }
    Ok(())
}

struct Reader {
    node: Arc<Node>,
    board: Arc<Board>,
    target: TopicPartition,
    chains: ChainWatch,
}

impl Reader {
    /// Reads for ever. A place that retention has removed is given up for the latest one: the outcomes between are of
    /// calls that nobody waits for any more.
    async fn run(mut self, mut tail: Box<dyn Tail>) {
        let mut next = StartAt::Latest;
        loop {
            match tail.next().await {
                Ok(stored) => {
                    next = StartAt::Offset(stored.position.offset + 1);
                    self.read(&stored).await;
                }
                Err(BrokerError::Closed) => return,
                Err(error) => {
                    tracing::warn!(target = %self.target, %error, "outcomes cannot be read; trying again");
                    let Some(again) = self.again(next).await else { return };
                    tail = again;
                }
            }
        }
    }

    /// Another tail from the same place; `None` once the broker is closed.
    async fn again(&self, next: StartAt) -> Option<Box<dyn Tail>> {
        let broker = &self.node.parts.broker;
        let mut start = next;
        loop {
            tokio::time::sleep(READ_AGAIN).await;
            match broker.tail(&self.target, start).await {
                Ok(tail) => return Some(tail),
                Err(BrokerError::Closed) => return None,
                Err(BrokerError::OffsetOutOfRange) => start = StartAt::Latest,
                Err(error) => tracing::warn!(target = %self.target, %error, "outcomes cannot be read yet"),
            }
        }
    }

    async fn read(&mut self, stored: &StoredRecord) {
        let metrics = &self.node.parts.metrics;
        metrics.broker_record(Direction::Fetched, stored.record.value.len());
        if ReplicaToken::of_reply_key(&stored.record.key) != Some(self.node.parts.replica.token) {
            return;
        }
        metrics.stage(Stage::Fetch, self.node.parts.clock.now().since(stored.append_time));
        if let Err(reason) = self.take(stored).await {
            self.refuse(reason);
        }
    }

    async fn take(&mut self, stored: &StoredRecord) -> Result<(), Reason> {
        let parts = &self.node.parts;
        let (started, now) = (Instant::now(), parts.clock.now());
        let received = Received::decode(&stored.record.value)?;
        let exchange = received.statement.exchange;
        if !self.board.awaits(&exchange) {
            return self.unawaited(received, now);
        }
        // The outcome may be signed with a key that this node is about to learn of.
        let named = received.statement.view.size;
        if parts.views.current().stamp().size < named {
            parts.views.reaches(named, parts.settings.view_wait).await;
        }
        let view = parts.views.current();
        let verified = received.verify(&view, now)?;
        parts.metrics.stage(Stage::Verify, started.elapsed());
        let Verified { statement, digest, signer, .. } = &verified;
        watch::continuity(parts, &self.target, self.chains.observe(*signer, &statement.link, *digest));
        self.check_place(statement, stored, &exchange)?;
        let Kind::Response { request_digest, effect_request_digest } = statement.kind else {
            return Err(Reason::StatementInvalid);
        };
        let opening = Instant::now();
        let (_, payload) = verified.open(&parts.replica.opener)?;
        parts.metrics.stage(Stage::Open, opening.elapsed());
        let outcome = Outcome { effect_request_digest, response_digest: *digest, payload };
        self.board.arrived(&exchange, &request_digest, &says(statement), outcome)
    }

    /// An outcome that nobody waits for: its call was answered, timed out, or hung up. Its place in the chain still counts,
    /// once its signature has verified.
    fn unawaited(&mut self, received: Received, now: UnixMillis) -> Result<(), Reason> {
        let parts = &self.node.parts;
        let Verified { statement, digest, signer, .. } = received.verify(&parts.views.current(), now)?;
        watch::continuity(parts, &self.target, self.chains.observe(signer, &statement.link, digest));
        tracing::debug!(exchange = %statement.exchange, "an outcome arrived that nobody waits for");
        Ok(())
    }

    /// A statement counts only where it was meant to be.
    fn check_place(
        &self,
        statement: &Statement,
        stored: &StoredRecord,
        exchange: &ExchangeId,
    ) -> Result<(), Reason> {
        let topic = TopicName::of_member(MemberTopic::Reply, &statement.recipient.member());
        let key = RecordKey::of_reply(self.node.parts.replica.token, exchange);
        let here = topic == self.target.topic && key.as_bytes() == &stored.record.key[..];
        if here { Ok(()) } else { Err(Reason::StatementInvalid) }
    }

    fn refuse(&self, reason: Reason) {
        let parts = &self.node.parts;
        parts.metrics.dead_letter(reason);
        parts.audit.record(AuditEvent {
            detail: format!("an outcome on {} was not taken", self.target),
            ..AuditEvent::new(parts.clock.now(), reason)
        });
    }
}

fn says(statement: &Statement) -> Expected {
    Expected {
        provider: statement.sender.clone(),
        consumer: statement.recipient.clone(),
        method: statement.method.clone(),
        request: statement.request,
        contract: statement.contract,
    }
}
