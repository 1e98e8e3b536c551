//! What is kept of a record that could not be processed, and what became of it.

use std::fmt;

use bytes::Bytes;
use kopuro_broker::{Position, Record, StoredRecord};
use kopuro_core::digest::Digest;
use kopuro_core::error::Reason;
use kopuro_core::id::SubsystemId;
use kopuro_core::record::RECORD_LEN_MAX;
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::{SubsystemTopic, TopicName};

/// The largest entry of a dead-letter topic: a record of the largest size, its headers, and what is said of it.
/// **Units:** bytes.
pub(crate) const ENTRY_LEN_MAX: usize = RECORD_LEN_MAX + 64 * 1024;
/// How much is kept of the key of a record that is cut. **Units:** bytes.
const CUT_KEY_LEN: usize = 1024;
/// How much is kept of the value of a record that is cut. **Units:** bytes.
const CUT_VALUE_LEN: usize = 64 * 1024;

/// Names a dead letter: one record that stood in one place has one, however often it was put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LetterId(Digest);

/// Where a record stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The subsystem among whose requests it stood.
    pub subsystem: SubsystemId,
    /// Its partition, which is that of the letter, and its offset.
    pub position: Position,
    /// When the broker appended it there.
    pub append_time: UnixMillis,
}

/// A record that was put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it stood.
    pub origin: Origin,
    /// Why it could not be processed.
    pub reason: Reason,
    /// When it was put aside.
    pub put_aside_time: UnixMillis,
    /// The gateway that put it aside.
    pub gateway: String,
    /// The record as it was found, or as much of it as was kept.
    pub record: Record,
    /// What there was of it, when it was not kept whole.
    pub cut: Option<Cut>,
}

/// What is known of a record that was too large to be kept whole. No such record is valid, so none need be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The size of its key. **Units:** bytes.
    pub key_size_bytes: u64,
    /// The size of its value. **Units:** bytes.
    pub value_size_bytes: u64,
    /// SHA-256 of its value.
    pub value_digest: Digest,
    /// How many headers it had.
    pub headers_count: u64,
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// Which letter.
    pub letter: LetterId,
    /// What was done.
    pub action: Action,
    /// When.
    pub time: UnixMillis,
    /// By whose configuration: a gateway.
    pub gateway: String,
    /// Why, as a person put it; may be empty.
    pub because: String,
}

/// What was done with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its record was appended again to where it had stood, at this offset.
    Replayed(u64),
    /// It was looked at and left.
    Discarded,
}

impl LetterId {
    /// Takes the 32 bytes of a name.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Digest::from_slice(bytes).map(Self)
    }

    /// The name of an entry that is not the gateway's own, which says nothing that could be believed.
    pub(super) fn of_foreign(position: Position, value: &[u8]) -> Self {
        Self(Digest::of_parts(&[b"foreign", &numbers(position), Digest::of(value).as_bytes()]))
    }

    /// The name's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl Origin {
    /// The topic in which the record stood.
    pub fn topic(&self) -> TopicName {
        TopicName::of_subsystem(SubsystemTopic::Call, &self.subsystem)
    }
}

impl Letter {
    /// A letter about `stored` as it was found among the requests to `subsystem`.
    pub(crate) fn about(
        stored: &StoredRecord,
        subsystem: SubsystemId,
        reason: Reason,
        gateway: &str,
        now: UnixMillis,
    ) -> Self {
        let StoredRecord { position, append_time, record } = stored.clone();
        let origin = Origin { subsystem, position, append_time };
        Self { origin, reason, put_aside_time: now, gateway: gateway.to_owned(), record, cut: None }
    }

    /// The letter with the beginning of its record only.
    pub(crate) fn shortened(self) -> Self {
        let Record { key, value, headers } = self.record;
        let size = |part: &Bytes| u64::try_from(part.len()).unwrap_or(u64::MAX);
        let cut = self.cut.unwrap_or_else(|| Cut {
            key_size_bytes: size(&key),
            value_size_bytes: size(&value),
            value_digest: Digest::of(&value),
            headers_count: u64::try_from(headers.len()).unwrap_or(u64::MAX),
        });
        let record = Record {
            key: key.slice(..key.len().min(CUT_KEY_LEN)),
            value: value.slice(..value.len().min(CUT_VALUE_LEN)),
            headers: Vec::new(),
        };
        Self { record, cut: Some(cut), ..self }
    }

    /// Its name: where its record stood, and what its value was.
    pub fn id(&self) -> LetterId {
        let Origin { subsystem: _, position, append_time } = &self.origin;
        let value = self.cut.map_or_else(|| Digest::of(&self.record.value), |cut| cut.value_digest);
        LetterId(Digest::of_parts(&[
            b"letter",
            &numbers(*position),
            &append_time.as_u64().to_be_bytes(),
            value.as_bytes(),
            self.origin.topic().as_str().as_bytes(),
        ]))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Replayed(_) => "replayed",
            Self::Discarded => "discarded",
        })
    }
}

/// A position in bytes, of one length always.
fn numbers(Position { partition, offset }: Position) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[..4].copy_from_slice(&partition.to_be_bytes());
    bytes[4..].copy_from_slice(&offset.to_be_bytes());
    bytes
}
