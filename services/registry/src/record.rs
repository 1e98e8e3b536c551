//! Registry records, read from the wire into types that cannot be half right.

mod read;
mod resource;
mod write;

use kopuro_core::digest::Digest;
use kopuro_core::envelope::{Envelope, EnvelopeError, PayloadType};
use kopuro_core::id::Instance;
use kopuro_core::time::UnixMillis;

pub use resource::{
    AccessRight, Contract, Gateway, Grantee, Group, GroupId, Key, KeyPurpose, KeyState, Member,
    PackageOwnership, Resource, ResourceState, Subsystem,
};

pub use write::to_wire;

/// The largest envelope of a registry record. **Units:** bytes.
pub const RECORD_LEN_MAX: usize = 64 * 1024;

const LABEL_LEN_MAX: usize = 63;

/// Why bytes are no registry record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The envelope is malformed.
    #[error("the envelope is malformed")]
    Envelope(#[from] EnvelopeError),
    /// The envelope is larger than a record may be.
    #[error("the record is larger than 64 KiB")]
    Size,
    /// The payload is not a record, or not in its canonical encoding.
    #[error("the record is not in its canonical encoding")]
    NotCanonical,
    /// A field is missing, malformed, or does not go with the others.
    #[error("field {0} of the record is missing, malformed or out of place")]
    Field(&'static str),
}

/// What an entry of the log says. Its signatures are not yet verified.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// A resource is set.
    Change(Change),
    /// A contract was vetted.
    Attestation {
        /// The instance it is for.
        instance: Instance,
        /// The descriptor set's digest.
        digest: Digest,
        /// When it was vetted.
        create_time: UnixMillis,
    },
}

/// A resource is set.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The instance it is for.
    pub instance: Instance,
    /// The revision of the same resource that it replaces.
    pub replaces: Option<u64>,
    /// When the signer made it.
    pub create_time: UnixMillis,
    /// What it sets.
    pub resource: Resource,
}

impl Entry {
    /// Reads a log entry, accepting its canonical encoding only.
    ///
    /// # Errors
    /// [`RecordError`]; whoever signed or changed the record is at fault.
    pub fn decode(bytes: &[u8]) -> Result<(Envelope, Self), RecordError> {
        if bytes.len() > RECORD_LEN_MAX {
            return Err(RecordError::Size);
        }
        let envelope = Envelope::decode(bytes)?;
        let entry = match envelope.payload_type {
            PayloadType::RegistryRecord => Self::Change(read::change(decode_canonical(&envelope.payload)?)?),
            PayloadType::Attestation => read::attestation(&decode_canonical(&envelope.payload)?)?,
            PayloadType::Statement => return Err(RecordError::Field("payload_type")),
        };
        Ok((envelope, entry))
    }
}

/// Whether a text may name a gateway or a group: `[a-z0-9-]`, 1 to 63 bytes.
pub fn is_label(text: &str) -> bool {
    let valid = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    valid && (1..=LABEL_LEN_MAX).contains(&text.len())
}

/// The digest of a log entry: the Merkle tree's entry is SHA-256 of the canonical envelope.
pub fn entry_digest(envelope: &[u8]) -> Digest {
    Digest::of(envelope)
}

fn decode_canonical<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, RecordError> {
    let message = M::decode(bytes).map_err(|_| RecordError::NotCanonical)?;
    if message.encode_to_vec() == bytes { Ok(message) } else { Err(RecordError::NotCanonical) }
}
