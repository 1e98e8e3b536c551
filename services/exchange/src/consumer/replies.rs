//! Reading a member's reply topic. Every replica tails it and drops what is not its own before any cryptography.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kopuro_broker::{BrokerError, StartAt, StoredRecord, Tail, TopicPartition};
use kopuro_core::chain::ChainWatch;
use kopuro_core::digest::KeyId;
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::{ExchangeId, MemberId};
use kopuro_core::statement::{Kind, Statement};
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::{MemberTopic, RecordKey, ReplicaToken, TopicName};
use kopuro_registry::view::View;
use kopuro_telemetry::audit::AuditEvent;
use kopuro_telemetry::metrics::{Direction, Stage};
use tokio::time;

use super::waiting::{Board, Expected, Outcome};
use crate::inbox::{Held, Received, Verified};
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
            held: Held::new(node.parts.settings.view_wait),
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
    held: Held,
}

impl Reader {
    /// Reads for ever. A place that retention has removed is given up for the latest one: the outcomes between are of
    /// calls that nobody waits for any more.
    async fn run(mut self, mut tail: Box<dyn Tail>) {
        let views = Arc::clone(&self.node.parts.views);
        let mut next = StartAt::Latest;
        loop {
            let next_record = tokio::select! {
                stored = tail.next() => stored,
                () = self.held.due(&views) => {
                    self.read_held();
                    continue;
                }
            };
            match next_record {
                Ok(stored) => {
                    next = StartAt::Offset(stored.position.offset + 1);
                    self.read(stored);
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
            time::sleep(READ_AGAIN).await;
            match broker.tail(&self.target, start).await {
                Ok(tail) => return Some(tail),
                Err(BrokerError::Closed) => return None,
                Err(BrokerError::OffsetOutOfRange) => start = StartAt::Latest,
                Err(error) => tracing::warn!(target = %self.target, %error, "outcomes cannot be read yet"),
            }
        }
    }

    fn read(&mut self, stored: StoredRecord) {
        let metrics = &self.node.parts.metrics;
        metrics.broker_record(Direction::Fetched, stored.record.value.len());
        if ReplicaToken::of_reply_key(&stored.record.key) != Some(self.node.parts.replica.token) {
            return;
        }
        metrics.stage(Stage::Fetch, self.node.parts.clock.now().since(stored.append_time));
        match Received::decode(&stored.record.value) {
            Ok(received) if self.held.holds(&received.signer()) => {
                self.hold(stored, received.signer(), received.statement.view.size);
            }
            Ok(received) => self.believe(stored, received, true),
            Err(reason) => self.refuse(reason),
        }
    }

    /// Looks once more at the outcomes whose view is here, or did not come in time.
    fn read_held(&mut self) {
        let size = self.node.parts.views.current().stamp().size;
        for stored in self.held.take_due(size, time::Instant::now()) {
            match Received::decode(&stored.record.value) {
                Ok(received) => self.believe(stored, received, false),
                Err(reason) => self.refuse(reason),
            }
        }
    }

    /// Takes an outcome; or holds it, when its signer may be about to be known.
    fn believe(&mut self, stored: StoredRecord, received: Received, may_wait: bool) {
        let view = self.node.parts.views.current();
        let (signer, named) = (received.signer(), received.statement.view.size);
        match self.take(&stored, received, &view) {
            Ok(()) => {}
            Err(Reason::SignerUnknown) if may_wait && named > view.stamp().size => {
                self.hold(stored, signer, named);
            }
            Err(reason) => self.refuse(reason),
        }
    }

    fn hold(&mut self, stored: StoredRecord, signer: KeyId, view_size: u64) {
        if self.held.hold(stored, signer, view_size, time::Instant::now()).is_err() {
            self.refuse(Reason::SignerUnknown);
        }
    }

    fn take(&mut self, stored: &StoredRecord, received: Received, view: &View) -> Result<(), Reason> {
        let parts = &self.node.parts;
        let (started, now) = (Instant::now(), parts.clock.now());
        let exchange = received.statement.exchange;
        if !self.board.awaits(&exchange) {
            return self.unawaited(received, view, now);
        }
        let verified = received.verify(view, now)?;
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
    fn unawaited(&mut self, received: Received, view: &View, now: UnixMillis) -> Result<(), Reason> {
        let parts = &self.node.parts;
        let Verified { statement, digest, signer, .. } = received.verify(view, now)?;
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
