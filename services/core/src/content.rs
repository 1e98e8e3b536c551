//! Content: what a statement describes, in two parts that are digested apart.

use bytes::Bytes;
use kopuro_proto::exchange::v1 as wire;
use prost::Message as _;

use crate::digest::Digest;
use crate::error::Side;

/// The length of a salt. **Units:** bytes.
pub const SALT_LEN: usize = 32;
/// The largest message carried. **Units:** bytes.
pub const MESSAGE_LEN_MAX: usize = 4 * 1024 * 1024;
/// The largest encoded status of a failure. **Units:** bytes.
pub const STATUS_LEN_MAX: usize = 16 * 1024;

const USER_ID_LEN_MAX: usize = 128;
const CONTEXT_TEXT_LEN_MAX: usize = 256;
const METADATA_ENTRIES_MAX: usize = 16;
const METADATA_NAME_LEN_MAX: usize = 64;
const METADATA_VALUE_LEN_MAX: usize = 1024;

/// Who asks and why. It travels sealed; its `Debug` form shows nothing of it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The person at whose wish the call is made; at most 128 bytes.
    pub user_id: String,
    /// The case that the call belongs to; at most 256 bytes.
    pub issue: String,
    /// The purpose of processing; at most 256 bytes.
    pub purpose: String,
    /// On whose behalf the consumer acts; at most 256 bytes.
    pub represented_party: String,
    /// Declared metadata: at most 16 names (64 bytes) with values (1 KiB).
    pub metadata: Vec<(String, String)>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Context(sealed)")
    }
}

impl Context {
    /// Whether every text keeps to its limit.
    pub fn fits(&self) -> bool {
        let Self { user_id, issue, purpose, represented_party, metadata } = self;
        user_id.len() <= USER_ID_LEN_MAX
            && [issue, purpose, represented_party].iter().all(|text| text.len() <= CONTEXT_TEXT_LEN_MAX)
            && metadata.len() <= METADATA_ENTRIES_MAX
            && metadata.iter().all(|(name, value)| {
                name.len() <= METADATA_NAME_LEN_MAX && value.len() <= METADATA_VALUE_LEN_MAX
            })
    }
}

/// What is said: a message, or on a response a failure.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// The protobuf message, in the very bytes that its sender wrote.
    Message(Bytes),
    /// A failure.
    Failure {
        /// An encoded `google.rpc.Status`.
        status: Bytes,
        /// Where the failure arose.
        side: Side,
    },
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Message(bytes) => write!(formatter, "Message({} bytes)", bytes.len()),
            Self::Failure { status, side } => write!(formatter, "Failure({} bytes, {side:?})", status.len()),
        }
    }
}

/// Why content cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The parts do not have the digest that the statement names.
    #[error("the content does not have the stated digest")]
    Digest,
    /// The content, or a part of it, is not what it should be.
    #[error("the content is malformed")]
    Malformed,
    /// A text or message is larger than it may be.
    #[error("a part of the content is too large")]
    Size,
}

/// Content ready to be sealed.
pub struct EncodedContent {
    /// The encoded content.
    pub bytes: Vec<u8>,
    /// Its digest, for the statement.
    pub digest: Digest,
}

/// Encodes content under two fresh salts of 32 random bytes.
///
/// # Errors
/// [`ContentError::Size`] when a limit of [`Context`] or of the message is broken; the sender is at fault.
pub fn encode(
    context: &Context,
    payload: &Payload,
    salts: [[u8; SALT_LEN]; 2],
) -> Result<EncodedContent, ContentError> {
    let [context_salt, payload_salt] = salts;
    if !context.fits() {
        return Err(ContentError::Size);
    }
    let context = write_context(context, context_salt).encode_to_vec();
    let payload = encode_payload(payload, &payload_salt)?;
    let digest = digest_of(&context, &payload);
    let content = wire::Content { context: context.into(), payload: payload.into() };
    Ok(EncodedContent { bytes: content.encode_to_vec(), digest })
}

/// Reads content whose digest must be `expected`, without copying the message.
///
/// # Errors
/// [`ContentError`]; the sender is at fault, since the seal has already been opened.
pub fn decode(bytes: Bytes, expected: &Digest) -> Result<(Context, Payload), ContentError> {
    let wire::Content { context, payload } =
        wire::Content::decode(bytes).map_err(|_| ContentError::Malformed)?;
    if digest_of(&context, &payload) != *expected {
        return Err(ContentError::Digest);
    }
    Ok((read_context(context)?, decode_payload(payload)?))
}

/// Context and payload without their salts, in a fixed encoding: what two attempts at one effect have in common.
///
/// # Errors
/// [`ContentError::Size`] when a part is too large.
pub fn unsalted(context: &Context, payload: &Payload) -> Result<[Vec<u8>; 2], ContentError> {
    let context = wire::ContextPart { salt: Bytes::new(), ..write_context(context, [0; SALT_LEN]) };
    Ok([context.encode_to_vec(), encode_payload(payload, &[])?])
}

/// Encodes the payload part alone. An outcome that is recorded for later attempts uses an empty salt.
///
/// # Errors
/// [`ContentError::Size`] when the message or the status is too large.
pub fn encode_payload(payload: &Payload, salt: &[u8]) -> Result<Vec<u8>, ContentError> {
    let body = match payload {
        Payload::Message(message) if message.len() <= MESSAGE_LEN_MAX => {
            wire::payload_part::Body::Message(message.clone())
        }
        Payload::Failure { status, side } if status.len() <= STATUS_LEN_MAX => {
            wire::payload_part::Body::Failure(wire::Failure {
                status: status.clone(),
                side: side.to_wire() as i32,
            })
        }
        Payload::Message(_) | Payload::Failure { .. } => return Err(ContentError::Size),
    };
    Ok(wire::PayloadPart { salt: Bytes::copy_from_slice(salt), body: Some(body) }.encode_to_vec())
}

/// Reads a payload part.
///
/// # Errors
/// [`ContentError`] when it is malformed or too large.
pub fn decode_payload(bytes: Bytes) -> Result<Payload, ContentError> {
    let part = wire::PayloadPart::decode(bytes).map_err(|_| ContentError::Malformed)?;
    let wire::PayloadPart { salt, body } = part;
    if salt.len() != SALT_LEN && !salt.is_empty() {
        return Err(ContentError::Malformed);
    }
    match body.ok_or(ContentError::Malformed)? {
        wire::payload_part::Body::Message(message) if message.len() <= MESSAGE_LEN_MAX => {
            Ok(Payload::Message(message))
        }
        wire::payload_part::Body::Message(_) => Err(ContentError::Size),
        wire::payload_part::Body::Failure(failure) => read_failure(failure),
    }
}

fn read_failure(failure: wire::Failure) -> Result<Payload, ContentError> {
    let wire::Failure { status, side } = failure;
    if status.len() > STATUS_LEN_MAX {
        return Err(ContentError::Size);
    }
    let side = Side::from_wire(side).ok_or(ContentError::Malformed)?;
    Ok(Payload::Failure { status, side })
}

fn digest_of(context: &[u8], payload: &[u8]) -> Digest {
    let parts = [Digest::of(context), Digest::of(payload)];
    Digest::of_parts(&[parts[0].as_bytes(), parts[1].as_bytes()])
}

fn write_context(context: &Context, salt: [u8; SALT_LEN]) -> wire::ContextPart {
    let Context { user_id, issue, purpose, represented_party, metadata } = context.clone();
    let metadata = metadata.into_iter().map(|(name, value)| wire::MetadataEntry { name, value }).collect();
    let salt = Bytes::copy_from_slice(&salt);
    wire::ContextPart { salt, user_id, issue, purpose, represented_party, metadata }
}

fn read_context(bytes: Bytes) -> Result<Context, ContentError> {
    let part = wire::ContextPart::decode(bytes).map_err(|_| ContentError::Malformed)?;
    let wire::ContextPart { salt, user_id, issue, purpose, represented_party, metadata } = part;
    if salt.len() != SALT_LEN {
        return Err(ContentError::Malformed);
    }
    let metadata = metadata.into_iter().map(|wire::MetadataEntry { name, value }| (name, value)).collect();
    let context = Context { user_id, issue, purpose, represented_party, metadata };
    if context.fits() { Ok(context) } else { Err(ContentError::Size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        Context { user_id: "12".into(), metadata: vec![("a".into(), "b".into())], ..Context::default() }
    }

    fn encoded(payload: &Payload) -> EncodedContent {
        encode(&context(), payload, [[1; 32], [2; 32]]).unwrap()
    }

    #[test]
    fn content_survives_the_wire() {
        let failure = Payload::Failure { status: Bytes::from_static(b"s"), side: Side::Provider };
        for payload in [Payload::Message(Bytes::from_static(b"m")), Payload::Message(Bytes::new()), failure] {
            let EncodedContent { bytes, digest } = encoded(&payload);
            assert_eq!(decode(bytes.into(), &digest), Ok((context(), payload)));
        }
    }

    #[test]
    fn the_digest_covers_both_parts_and_their_salts() {
        let payload = Payload::Message(Bytes::from_static(b"m"));
        let digest = encoded(&payload).digest;
        for salts in [[[3; 32], [2; 32]], [[1; 32], [3; 32]]] {
            let other = encode(&context(), &payload, salts).unwrap();
            assert_ne!(other.digest, digest);
            assert_eq!(decode(other.bytes.into(), &digest), Err(ContentError::Digest));
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let long = Context { user_id: "x".repeat(129), ..Context::default() };
        let message = Payload::Message(Bytes::new());
        assert_eq!(encode(&long, &message, [[0; 32]; 2]).err(), Some(ContentError::Size));
        let huge = Payload::Message(vec![0; MESSAGE_LEN_MAX + 1].into());
        assert_eq!(encode(&context(), &huge, [[0; 32]; 2]).err(), Some(ContentError::Size));
    }

    #[test]
    fn debug_forms_show_nothing() {
        assert_eq!(format!("{:?}", context()), "Context(sealed)");
        assert_eq!(format!("{:?}", Payload::Message(Bytes::from_static(b"pin"))), "Message(3 bytes)");
    }
}
