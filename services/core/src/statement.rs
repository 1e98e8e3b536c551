//! Statements: what one party states about one message to another.
//!
//! A [`Statement`] is complete and well-formed by construction; whether its signer may make it, and whether it is
//! fresh, is for those to decide who know the registry and the time.

use kopuro_proto::exchange::v1 as wire;
use prost::Message as _;

use crate::chain::Link;
use crate::digest::Digest;
use crate::id::{ExchangeId, MethodId, RequestId, ServiceName, SubsystemId};
use crate::time::UnixMillis;
use crate::topic::ReplicaToken;

/// Whether somebody waits for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Synchronous; the outcome goes to the waiting replica.
    Call,
    /// Asynchronous; the outcome goes to the mailbox.
    Task,
}

/// What is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A request.
    Request {
        /// The replica that waits; present in call mode only.
        reply_token: Option<ReplicaToken>,
    },
    /// The outcome of a request.
    Response {
        /// The statement digest of the request that is answered.
        request_digest: Digest,
        /// The statement digest of the request that had the effect.
        effect_request_digest: Digest,
    },
}

/// The registry view by which a statement's signer decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewStamp {
    /// The number of records in the view.
    pub size: u64,
    /// The Merkle root over them.
    pub root: Digest,
}

/// A description of one message, as it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// What is stated.
    pub kind: Kind,
    /// Whether somebody waits.
    pub mode: Mode,
    /// The exchange.
    pub exchange: ExchangeId,
    /// The caller's idempotency key.
    pub request: RequestId,
    /// An HMAC of the sender's ordering key; absent when order does not matter.
    pub ordering_key: Option<Digest>,
    /// Who states.
    pub sender: SubsystemId,
    /// To whom.
    pub recipient: SubsystemId,
    /// The method called.
    pub method: MethodId,
    /// The contract's descriptor set.
    pub contract: Digest,
    /// When the statement was made.
    pub create_time: UnixMillis,
    /// After this the message must not take effect.
    pub expire_time: UnixMillis,
    /// The digest of the content's two parts.
    pub content_digest: Digest,
    /// SHA-256 of the ciphertext.
    pub sealed_digest: Digest,
    /// The registry view that decided.
    pub view: ViewStamp,
    /// The statement's place in its signer's chain.
    pub link: Link,
}

/// Why bytes are no statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// The bytes are not a protobuf statement.
    #[error("the statement cannot be decoded")]
    Undecodable,
    /// The bytes hold unknown fields or are a second encoding.
    #[error("the statement is not in its canonical encoding")]
    NotCanonical,
    /// A field is missing, malformed, or does not go with the others.
    #[error("field {0} of the statement is missing, malformed or out of place")]
    Field(&'static str),
}

impl Statement {
    /// Writes the canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    /// Reads a statement, accepting its canonical encoding only.
    ///
    /// # Errors
    /// [`StatementError`]; the sender's gateway is at fault.
    pub fn decode(bytes: &[u8]) -> Result<Self, StatementError> {
        let statement = wire::Statement::decode(bytes).map_err(|_| StatementError::Undecodable)?;
        if statement.encode_to_vec() != bytes {
            return Err(StatementError::NotCanonical);
        }
        Self::from_wire(statement)
    }

    fn to_wire(&self) -> wire::Statement {
        let Self { kind, mode, exchange, request, ordering_key, sender, recipient, method, contract, .. } =
            self;
        let Self { create_time, expire_time, content_digest, sealed_digest, view, link, .. } = self;
        let (kind, reply_token, answered) = match kind {
            Kind::Request { reply_token } => (wire::Kind::Request, *reply_token, None),
            Kind::Response { request_digest, effect_request_digest } => {
                (wire::Kind::Response, None, Some((request_digest, effect_request_digest)))
            }
        };
        wire::Statement {
            kind: kind as i32,
            mode: match mode {
                Mode::Call => wire::Mode::Call,
                Mode::Task => wire::Mode::Task,
            } as i32,
            exchange_id: exchange.as_bytes().to_vec().into(),
            request_id: request.as_bytes().to_vec().into(),
            ordering_key: optional(ordering_key.as_ref()),
            sender: sender.to_string(),
            recipient: recipient.to_string(),
            service: method.service().to_string(),
            method: method.method().to_owned(),
            contract_digest: digest_bytes(contract),
            create_time: Some(create_time.to_proto()),
            expire_time: Some(expire_time.to_proto()),
            content_digest: digest_bytes(content_digest),
            sealed_digest: digest_bytes(sealed_digest),
            sealed_digest_format: wire::DigestFormat::Flat as i32,
            request_digest: optional(answered.map(|(request, _)| request)),
            effect_request_digest: optional(answered.map(|(_, effect)| effect)),
            registry_size: view.size,
            registry_root: digest_bytes(&view.root),
            signer_epoch: link.epoch.to_vec().into(),
            sequence: link.sequence,
            previous: optional(link.previous.as_ref()),
            reply_token: reply_token.map(|token| token.as_bytes().to_vec().into()).unwrap_or_default(),
        }
    }

    fn from_wire(statement: wire::Statement) -> Result<Self, StatementError> {
        let wire::Statement {
            kind,
            mode,
            exchange_id,
            request_id,
            ordering_key,
            sender,
            recipient,
            service,
            method,
            contract_digest,
            create_time,
            expire_time,
            content_digest,
            sealed_digest,
            sealed_digest_format,
            request_digest,
            effect_request_digest,
            registry_size,
            registry_root,
            signer_epoch,
            sequence,
            previous,
            reply_token,
        } = statement;
        require(sealed_digest_format == wire::DigestFormat::Flat as i32, "sealed_digest_format")?;
        let mode = read_mode(mode)?;
        let method = ServiceName::parse(&service)
            .and_then(|service| MethodId::new(service, &method))
            .map_err(|_| StatementError::Field("method"))?;
        let link = Link::read(&signer_epoch, sequence, optional_digest(&previous, "previous")?)
            .ok_or(StatementError::Field("sequence"))?;
        let create_time = read_time(create_time.as_ref(), "create_time")?;
        let expire_time = read_time(expire_time.as_ref(), "expire_time")?;
        require(expire_time > create_time, "expire_time")?;
        Ok(Self {
            kind: read_kind(kind, mode, &reply_token, [&request_digest, &effect_request_digest])?,
            mode,
            exchange: ExchangeId::from_slice(&exchange_id)
                .map_err(|_| StatementError::Field("exchange_id"))?,
            request: RequestId::from_slice(&request_id).map_err(|_| StatementError::Field("request_id"))?,
            ordering_key: optional_digest(&ordering_key, "ordering_key")?,
            sender: SubsystemId::parse(&sender).map_err(|_| StatementError::Field("sender"))?,
            recipient: SubsystemId::parse(&recipient).map_err(|_| StatementError::Field("recipient"))?,
            method,
            contract: read_digest(&contract_digest, "contract_digest")?,
            create_time,
            expire_time,
            content_digest: read_digest(&content_digest, "content_digest")?,
            sealed_digest: read_digest(&sealed_digest, "sealed_digest")?,
            view: ViewStamp { size: registry_size, root: read_digest(&registry_root, "registry_root")? },
            link,
        })
    }
}

fn read_kind(
    kind: i32,
    mode: Mode,
    reply_token: &[u8],
    answered: [&[u8]; 2],
) -> Result<Kind, StatementError> {
    let [request_digest, effect_request_digest] = answered;
    match wire::Kind::try_from(kind) {
        Ok(wire::Kind::Request) => {
            require(request_digest.is_empty(), "request_digest")?;
            require(effect_request_digest.is_empty(), "effect_request_digest")?;
            Ok(Kind::Request { reply_token: read_token(reply_token, mode)? })
        }
        Ok(wire::Kind::Response) => {
            require(reply_token.is_empty(), "reply_token")?;
            Ok(Kind::Response {
                request_digest: read_digest(request_digest, "request_digest")?,
                effect_request_digest: read_digest(effect_request_digest, "effect_request_digest")?,
            })
        }
        Ok(wire::Kind::Unspecified | wire::Kind::Event) | Err(_) => Err(StatementError::Field("kind")),
    }
}

fn read_token(reply_token: &[u8], mode: Mode) -> Result<Option<ReplicaToken>, StatementError> {
    match mode {
        Mode::Call => {
            let token = reply_token.try_into().map_err(|_| StatementError::Field("reply_token"))?;
            Ok(Some(ReplicaToken::new(token)))
        }
        Mode::Task => require(reply_token.is_empty(), "reply_token").map(|()| None),
    }
}

fn read_mode(mode: i32) -> Result<Mode, StatementError> {
    match wire::Mode::try_from(mode) {
        Ok(wire::Mode::Call) => Ok(Mode::Call),
        Ok(wire::Mode::Task) => Ok(Mode::Task),
        Ok(wire::Mode::Unspecified) | Err(_) => Err(StatementError::Field("mode")),
    }
}

fn read_time(
    timestamp: Option<&prost_types::Timestamp>,
    field: &'static str,
) -> Result<UnixMillis, StatementError> {
    timestamp.and_then(UnixMillis::from_proto).ok_or(StatementError::Field(field))
}

fn read_digest(bytes: &[u8], field: &'static str) -> Result<Digest, StatementError> {
    Digest::from_slice(bytes).ok_or(StatementError::Field(field))
}

fn optional_digest(bytes: &[u8], field: &'static str) -> Result<Option<Digest>, StatementError> {
    if bytes.is_empty() { Ok(None) } else { read_digest(bytes, field).map(Some) }
}

fn require(holds: bool, field: &'static str) -> Result<(), StatementError> {
    if holds { Ok(()) } else { Err(StatementError::Field(field)) }
}

fn digest_bytes(digest: &Digest) -> bytes::Bytes {
    digest.as_bytes().to_vec().into()
}

fn optional(digest: Option<&Digest>) -> bytes::Bytes {
    digest.map(digest_bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests;
