//! Records: an envelope, the ciphertext it speaks of, and the wrapped content keys.

use bytes::Bytes;
use kopuro_proto::exchange::v1 as wire;
use prost::Message as _;

/// The largest envelope. **Units:** bytes.
const ENVELOPE_LEN_MAX: usize = 4 * 1024;
/// The largest ciphertext: a payload of 4 MiB, its context, and their framing. **Units:** bytes.
const CIPHERTEXT_LEN_MAX: usize = 4 * 1024 * 1024 + 64 * 1024;
/// The most recipients of one record.
const WRAPS_MAX: usize = 16;

/// The largest record that is appended to a topic. **Units:** bytes.
pub const RECORD_LEN_MAX: usize = CIPHERTEXT_LEN_MAX + ENVELOPE_LEN_MAX + 16 * 1024;

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are not a protobuf record, or are a second encoding of one.
    #[error("the record is malformed")]
    Malformed,
    /// A part is missing or larger than it may be.
    #[error("a part of the record is missing or too large")]
    Size,
}

/// What is appended to a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The encoded envelope.
    pub envelope: Bytes,
    /// The sealed content.
    pub ciphertext: Bytes,
    /// The content key, once for each recipient key.
    pub wraps: Vec<wire::Wrap>,
}

impl Record {
    /// Reads a record, accepting one encoding only, without copying its parts.
    ///
    /// # Errors
    /// [`RecordError`]; whoever wrote or changed the bytes is at fault.
    pub fn decode(bytes: &Bytes) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_LEN_MAX {
            return Err(RecordError::Size);
        }
        let record = wire::Record::decode(bytes.clone()).map_err(|_| RecordError::Malformed)?;
        if record.encode_to_vec() != *bytes {
            return Err(RecordError::Malformed);
        }
        let wire::Record { envelope, ciphertext, wraps } = record;
        let fits = (1..=ENVELOPE_LEN_MAX).contains(&envelope.len())
            && (1..=CIPHERTEXT_LEN_MAX).contains(&ciphertext.len())
            && (1..=WRAPS_MAX).contains(&wraps.len());
        if fits { Ok(Self { envelope, ciphertext, wraps }) } else { Err(RecordError::Size) }
    }

    /// Writes the one encoding.
    pub fn encode(self) -> Vec<u8> {
        let Self { envelope, ciphertext, wraps } = self;
        wire::Record { envelope, ciphertext, wraps }.encode_to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let wrap = wire::Wrap { suite: 1, enc: vec![4; 65].into(), ..Default::default() };
        Record { envelope: vec![1; 10].into(), ciphertext: vec![2; 20].into(), wraps: vec![wrap] }
    }

    #[test]
    fn a_record_survives_the_wire() {
        assert_eq!(Record::decode(&record().encode().into()), Ok(record()));
    }

    #[test]
    fn a_second_encoding_is_refused() {
        let mut bytes = record().encode();
        bytes.extend_from_slice(&[0x78, 0x01]);
        assert_eq!(Record::decode(&bytes.into()), Err(RecordError::Malformed));
    }

    #[test]
    fn a_record_without_a_part_is_refused() {
        for strip in [
            |record: &mut Record| record.envelope = Bytes::new(),
            |record: &mut Record| record.ciphertext = Bytes::new(),
            |record: &mut Record| record.wraps.clear(),
        ] {
            let mut stripped = record();
            strip(&mut stripped);
            assert_eq!(Record::decode(&stripped.encode().into()), Err(RecordError::Size));
        }
    }
}
