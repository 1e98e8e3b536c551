//! Sealing, stating, signing and appending, in the order that the signer's chain demands.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use kopuro_broker::{AppendError, Appending, Broker, BrokerError, Position, TopicPartition};
use kopuro_core::chain::ChainHead;
use kopuro_core::content::{self, Context, Payload};
use kopuro_core::digest::Digest;
use kopuro_core::envelope::{Envelope, PayloadType, Signature};
use kopuro_core::error::{Reason, Refusal};
use kopuro_core::id::{ExchangeId, MethodId, RequestId, SubsystemId};
use kopuro_core::record::Record;
use kopuro_core::statement::{Kind, Mode, Statement, ViewStamp};
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::RecordKey;
use kopuro_proto::exchange::v1 as wire;
use kopuro_telemetry::metrics::{Direction, Metrics, Stage};
use kopuro_telemetry::trace;
use kopuro_trust::random;
use kopuro_trust::sealing::{self, SealingPublicKey, Wrap};
use tokio::runtime::Handle;

use crate::node::Parts;
use crate::replica::Replica;

/// A statement before its content is sealed and its place in the chain is known.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) kind: Kind,
    pub(crate) exchange: ExchangeId,
    pub(crate) request: RequestId,
    pub(crate) sender: SubsystemId,
    pub(crate) recipient: SubsystemId,
    pub(crate) method: MethodId,
    pub(crate) contract: Digest,
    pub(crate) create_time: UnixMillis,
    pub(crate) expire_time: UnixMillis,
    pub(crate) view: ViewStamp,
}

/// Where a message goes, and for whose eyes.
pub(crate) struct Address<'a> {
    pub(crate) target: TopicPartition,
    pub(crate) key: RecordKey,
    pub(crate) recipient_key: &'a SealingPublicKey,
}

/// Appends this replica's statements. Chains are kept for each topic-partition.
pub(crate) struct Outbox {
    broker: Arc<dyn Broker>,
    replica: Arc<Replica>,
    metrics: Arc<Metrics>,
    heads: Mutex<HashMap<TopicPartition, Arc<Mutex<ChainHead>>>>,
}

impl Outbox {
    pub(crate) fn new(parts: &Parts) -> Self {
        Self {
            broker: Arc::clone(&parts.broker),
            replica: Arc::clone(&parts.replica),
            metrics: Arc::clone(&parts.metrics),
            heads: Mutex::default(),
        }
    }

    /// Seals and signs a message and gives it to the broker. `before_append` learns the statement digest first and may
    /// still stop it. The record is queued when this returns.
    pub(crate) fn send(
        &self,
        draft: Draft,
        content: (&Context, &Payload),
        address: Address<'_>,
        before_append: impl FnOnce(Digest) -> Result<(), Refusal>,
    ) -> Result<Sent, Refusal> {
        let started = Instant::now();
        let salts = [random::bytes(), random::bytes()];
        let encoded = content::encode(content.0, content.1, salts).map_err(|_| Reason::PayloadTooLarge)?;
        let (content_key, ciphertext) = sealing::seal_content(&encoded.bytes);
        let sealed_digest = Digest::of(&ciphertext);
        let Address { target, key, recipient_key } = address;
        let now = draft.create_time;
        let head = self.head(&target);
        let mut chain = head.lock().unwrap_or_else(PoisonError::into_inner);
        let payload = state(draft, encoded.digest, sealed_digest, &chain).encode();
        let digest = Digest::of(&payload);
        before_append(digest)?;
        let wrap = self.replica.sealer.wrap(now, recipient_key, &content_key, &digest);
        let wrap = wrap.map_err(|_| Refusal::new(Reason::RecipientKeyMissing))?;
        let record = Record {
            envelope: self.sign(payload).encode().into(),
            ciphertext: ciphertext.into(),
            wraps: vec![to_wire(&wrap)],
        };
        self.metrics.stage(Stage::Seal, started.elapsed());
        let value = Bytes::from(record.encode());
        self.metrics.broker_record(Direction::Appended, value.len());
        let context = trace::traceparent().map(|context| (trace::TRACEPARENT.to_owned(), context.into()));
        let headers = context.into_iter().collect();
        let record = kopuro_broker::Record { key: key.as_bytes().to_vec().into(), value, headers };
        let appending = self.broker.append(&target, record);
        chain.advance(digest);
        drop(chain);
        let appending = Some(appending);
        Ok(Sent { digest, appending, head, metrics: Arc::clone(&self.metrics), started: Instant::now() })
    }

    fn head(&self, target: &TopicPartition) -> Arc<Mutex<ChainHead>> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        match heads.get(target) {
            Some(head) => Arc::clone(head),
            None => {
                let head = Arc::new(Mutex::new(ChainHead::new(random::bytes())));
                heads.insert(target.clone(), Arc::clone(&head));
                head
            }
        }
    }

    fn sign(&self, payload: Vec<u8>) -> Envelope {
        let signer = &self.replica.signer;
        let mut envelope = Envelope { payload_type: PayloadType::Statement, payload, signatures: Vec::new() };
        let signature = signer.sign(&envelope.signed_bytes());
        envelope.signatures.push(Signature { key_id: signer.key_id(), bytes: signature });
        envelope
    }
}

/// A message that the broker has been given.
pub(crate) struct Sent {
    /// The statement digest.
    pub(crate) digest: Digest,
    /// Until its fate is known.
    appending: Option<Appending>,
    head: Arc<Mutex<ChainHead>>,
    metrics: Arc<Metrics>,
    started: Instant,
}

impl Sent {
    /// Waits until the record is durable or its fate is decided. After a failure the chain starts anew, since nobody
    /// can say which of the statements after it are in the log.
    pub(crate) async fn durable(mut self) -> Result<Position, AppendError> {
        let appended = match &mut self.appending {
            Some(appending) => appending.await,
            None => Err(AppendError::Unknown(BrokerError::Closed)),
        };
        self.appending = None;
        match &appended {
            Ok(_) => self.metrics.stage(Stage::Append, self.started.elapsed()),
            Err(_) => begin_anew(&self.head),
        }
        appended
    }
}

impl Drop for Sent {
    /// Nobody waits any more, and yet the chain must not go on from a statement that is not in the log.
    fn drop(&mut self) {
        let Some(appending) = self.appending.take() else { return };
        let head = Arc::clone(&self.head);
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(async move {
                if appending.await.is_err() {
                    begin_anew(&head);
                }
            });
        }
    }
}

fn begin_anew(head: &Mutex<ChainHead>) {
    *head.lock().unwrap_or_else(PoisonError::into_inner) = ChainHead::new(random::bytes());
}

fn state(draft: Draft, content_digest: Digest, sealed_digest: Digest, chain: &ChainHead) -> Statement {
    let Draft {
        kind,
        exchange,
        request,
        sender,
        recipient,
        method,
        contract,
        create_time,
        expire_time,
        view,
    } = draft;
    Statement {
        kind,
        mode: Mode::Call,
        exchange,
        request,
        ordering_key: None,
        sender,
        recipient,
        method,
        contract,
        create_time,
        expire_time,
        content_digest,
        sealed_digest,
        view,
        link: chain.next(),
    }
}

fn to_wire(wrap: &Wrap) -> wire::Wrap {
    let Wrap { suite, recipient_key_id, enc, sealed_epoch_key, wrapped_content_key } = wrap;
    wire::Wrap {
        suite: suite.to_wire(),
        recipient_key_id: recipient_key_id.as_bytes().to_vec().into(),
        enc: enc.to_vec().into(),
        sealed_epoch_key: sealed_epoch_key.to_vec().into(),
        wrapped_content_key: wrapped_content_key.to_vec().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was stated after it could otherwise go on from a statement that is not in the log.
    #[tokio::test]
    async fn a_chain_begins_anew_after_an_append_that_failed_and_that_nobody_waits_for() {
        for (waits, fails) in [(true, true), (true, false), (false, true), (false, false)] {
            let head = Arc::new(Mutex::new(ChainHead::new([1; 16])));
            let appended = if fails {
                Err(AppendError::Unknown(BrokerError::Closed))
            } else {
                Ok(Position { partition: 0, offset: 0 })
            };
            let sent = Sent {
                digest: Digest::of(b"statement"),
                appending: Some(Appending::new(std::future::ready(appended))),
                head: Arc::clone(&head),
                metrics: Metrics::new(),
                started: Instant::now(),
            };
            if waits {
                assert_eq!(sent.durable().await.is_err(), fails);
            } else {
                drop(sent);
                // The runtime has one thread, so that what the drop spawned runs now.
                tokio::task::yield_now().await;
            }
            let anew = head.lock().unwrap().next().epoch != [1; 16];
            assert_eq!(anew, fails, "somebody waits: {waits}");
        }
    }
}
