//! DSSE envelopes with one valid encoding.
//!
//! **Source:** DSSE protocol and envelope v1 (`PAE`, `io.intoto.Envelope`). DSSE leaves envelopes malleable; here the
//! bytes received must be the canonical encoding, so equal envelopes have equal digests.

use kopuro_proto::exchange::v1 as wire;
use prost::Message as _;

use crate::digest::{Digest, KeyId};

/// The most signatures an envelope may carry.
const SIGNATURES_MAX: usize = 8;
/// The longest signature: ECDSA P-256 in DER. **Units:** bytes.
const SIGNATURE_LEN_MAX: usize = 72;

/// What signed bytes are. One key signs for one purpose, and no type stands in for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadType {
    /// A statement about one message.
    Statement,
    /// A change of the registry.
    RegistryRecord,
    /// The registry's word that a contract was vetted.
    Attestation,
}

impl PayloadType {
    /// The media type that is signed with the payload.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Statement => "application/vnd.kopuro.statement.v1+protobuf",
            Self::RegistryRecord => "application/vnd.kopuro.registry-record.v1+protobuf",
            Self::Attestation => "application/vnd.kopuro.attestation.v1+protobuf",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Statement, Self::RegistryRecord, Self::Attestation]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}

/// One signature, and the name of the key said to have made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The verifying key.
    pub key_id: KeyId,
    /// The signature's bytes; their form follows from the key's algorithm, which the registry knows.
    pub bytes: Vec<u8>,
}

/// Why bytes are no envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The bytes are not a protobuf envelope.
    #[error("the envelope cannot be decoded")]
    Undecodable,
    /// The bytes are a second encoding of an envelope.
    #[error("the envelope is not in its canonical encoding")]
    NotCanonical,
    /// The payload type is none of ours.
    #[error("the payload type is unknown")]
    PayloadType,
    /// There is no signature, too many, or one that cannot be one.
    #[error("the signatures are malformed")]
    Signatures,
}

/// Signed bytes with their signatures. Holding one says nothing about whether a signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: PayloadType,
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// The signatures; from one to eight, of distinct keys.
    pub signatures: Vec<Signature>,
}

impl Envelope {
    /// Reads an envelope, accepting its canonical encoding only.
    ///
    /// # Errors
    /// [`EnvelopeError`]; whoever wrote the bytes is at fault, or whoever changed them.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let envelope = wire::Envelope::decode(bytes).map_err(|_| EnvelopeError::Undecodable)?;
        if envelope.encode_to_vec() != bytes {
            return Err(EnvelopeError::NotCanonical);
        }
        let wire::Envelope { payload, payload_type, signatures } = envelope;
        let payload_type = PayloadType::parse(&payload_type).ok_or(EnvelopeError::PayloadType)?;
        let signatures = signatures.into_iter().map(read_signature).collect::<Option<Vec<_>>>();
        let signatures = signatures.filter(|list| well_formed(list)).ok_or(EnvelopeError::Signatures)?;
        Ok(Self { payload_type, payload: payload.into(), signatures })
    }

    /// Writes the canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let Self { payload_type, payload, signatures } = self;
        let signatures = signatures
            .iter()
            .map(|signature| wire::Signature {
                sig: signature.bytes.clone().into(),
                keyid: signature.key_id.to_string(),
            })
            .collect();
        wire::Envelope {
            payload: payload.clone().into(),
            payload_type: payload_type.as_str().into(),
            signatures,
        }
        .encode_to_vec()
    }

    /// The bytes that each signature covers.
    pub fn signed_bytes(&self) -> Vec<u8> {
        pre_authentication_encoding(self.payload_type, &self.payload)
    }

    /// The digest of the payload: for a statement, the statement digest.
    pub fn payload_digest(&self) -> Digest {
        Digest::of(&self.payload)
    }
}

/// DSSE's pre-authentication encoding: `"DSSEv1" SP LEN(type) SP type SP LEN(body) SP body`, lengths in ASCII decimal.
pub fn pre_authentication_encoding(payload_type: PayloadType, body: &[u8]) -> Vec<u8> {
    let name = payload_type.as_str();
    let mut encoded = format!("DSSEv1 {} {name} {} ", name.len(), body.len()).into_bytes();
    encoded.extend_from_slice(body);
    encoded
}

fn read_signature(signature: wire::Signature) -> Option<Signature> {
    let wire::Signature { sig, keyid } = signature;
    let plausible = !sig.is_empty() && sig.len() <= SIGNATURE_LEN_MAX;
    plausible
        .then(|| KeyId::parse_hex(&keyid))
        .flatten()
        .map(|key_id| Signature { key_id, bytes: sig.into() })
}

fn well_formed(signatures: &[Signature]) -> bool {
    let distinct = signatures.windows(2).all(|pair| pair[0].key_id < pair[1].key_id);
    distinct && (1..=SIGNATURES_MAX).contains(&signatures.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope() -> Envelope {
        let signature = Signature { key_id: KeyId::of_spki(b"key"), bytes: vec![1; 70] };
        Envelope {
            payload_type: PayloadType::Statement,
            payload: b"hello".to_vec(),
            signatures: vec![signature],
        }
    }

    #[test]
    fn the_pae_follows_dsse() {
        let expected = b"DSSEv1 44 application/vnd.kopuro.statement.v1+protobuf 11 hello world";
        assert_eq!(pre_authentication_encoding(PayloadType::Statement, b"hello world"), expected);
    }

    #[test]
    fn an_envelope_survives_the_wire() {
        assert_eq!(Envelope::decode(&envelope().encode()), Ok(envelope()));
    }

    #[test]
    fn a_second_encoding_is_refused() {
        let bytes = envelope().encode();
        let unknown_field = [bytes.as_slice(), &[0x78, 0x01]].concat();
        assert_eq!(Envelope::decode(&unknown_field), Err(EnvelopeError::NotCanonical));
        let long_varint = [&[0x0a, 0x85, 0x00], &bytes[2..]].concat();
        assert_eq!(Envelope::decode(&long_varint), Err(EnvelopeError::NotCanonical));
        let merged = [bytes.as_slice(), &[0x0a, 0x05], b"hello"].concat();
        assert_eq!(Envelope::decode(&merged), Err(EnvelopeError::NotCanonical));
    }

    #[test]
    fn signatures_are_bounded_ordered_and_distinct() {
        let mut twice = envelope();
        twice.signatures.push(twice.signatures[0].clone());
        assert_eq!(Envelope::decode(&twice.encode()), Err(EnvelopeError::Signatures));
        let mut none = envelope();
        none.signatures.clear();
        assert_eq!(Envelope::decode(&none.encode()), Err(EnvelopeError::Signatures));
        let mut long = envelope();
        long.signatures[0].bytes = vec![1; 73];
        assert_eq!(Envelope::decode(&long.encode()), Err(EnvelopeError::Signatures));
    }

    proptest! {
        #[test]
        fn what_decodes_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(envelope) = Envelope::decode(&bytes) {
                prop_assert_eq!(envelope.encode(), bytes);
            }
        }
    }
}
