//! Verifying and opening what the broker delivers. Nothing of a record is believed before its signature has verified,
//! and nothing of its content before the seal has opened on what was stated.

mod held;

use bytes::Bytes;
use kopuro_core::content::{self, Context, Payload};
use kopuro_core::digest::{Digest, KeyId};
use kopuro_core::envelope::{Envelope, PayloadType};
use kopuro_core::error::Reason;
use kopuro_core::record::Record;
use kopuro_core::statement::Statement;
use kopuro_core::time::UnixMillis;
use kopuro_proto::exchange::v1 as wire;
use kopuro_registry::view::View;
use kopuro_trust::sealing::{self, EpochOpener, Wrap};

pub(crate) use held::Held;

/// A record whose statement is genuine: canonical, and signed by a key that may speak for its sender.
pub(crate) struct Verified {
    pub(crate) statement: Statement,
    pub(crate) digest: Digest,
    pub(crate) signer: KeyId,
    ciphertext: Bytes,
    wraps: Vec<wire::Wrap>,
}

/// A record decoded, with its statement, before any cryptography.
pub(crate) struct Received {
    record: Record,
    envelope: Envelope,
    pub(crate) statement: Statement,
}

impl Received {
    /// Decodes a record's value.
    pub(crate) fn decode(value: &Bytes) -> Result<Self, Reason> {
        let record = Record::decode(value).map_err(|_| Reason::RecordMalformed)?;
        let envelope = Envelope::decode(&record.envelope).map_err(|_| Reason::RecordMalformed)?;
        if envelope.payload_type != PayloadType::Statement || envelope.signatures.len() != 1 {
            return Err(Reason::RecordMalformed);
        }
        let statement = Statement::decode(&envelope.payload).map_err(|_| Reason::StatementInvalid)?;
        Ok(Self { record, envelope, statement })
    }

    /// The statement digest.
    pub(crate) fn digest(&self) -> Digest {
        self.envelope.payload_digest()
    }

    /// The key that is said to have signed.
    pub(crate) fn signer(&self) -> KeyId {
        self.envelope.signatures[0].key_id
    }

    /// Verifies the signature under the registry's key, and that the ciphertext is the one stated.
    pub(crate) fn verify(self, view: &View, now: UnixMillis) -> Result<Verified, Reason> {
        let (digest, signer) = (self.digest(), self.signer());
        let Self { record, envelope, statement } = self;
        let key = view.signing_key(&signer, &statement, now)?;
        let signature = &envelope.signatures[0].bytes;
        key.verify(&envelope.signed_bytes(), signature).map_err(|_| Reason::SignatureInvalid)?;
        let Record { envelope: _, ciphertext, wraps } = record;
        if Digest::of(&ciphertext) != statement.sealed_digest {
            return Err(Reason::SealBroken);
        }
        Ok(Verified { statement, digest, signer, ciphertext, wraps })
    }
}

impl Verified {
    /// Opens the content.
    pub(crate) fn open(&self, opener: &EpochOpener) -> Result<(Context, Payload), Reason> {
        let wrap = self.wraps.iter().filter_map(from_wire).find(|wrap| opener.holds(&wrap.recipient_key_id));
        let wrap = wrap.ok_or(Reason::SealBroken)?;
        let key = opener.unwrap(&wrap, &self.digest).map_err(|_| Reason::SealBroken)?;
        let bytes = sealing::open_content(&key, &self.ciphertext).map_err(|_| Reason::SealBroken)?;
        content::decode(bytes.into(), &self.statement.content_digest).map_err(|_| Reason::SealBroken)
    }
}

fn from_wire(wrap: &wire::Wrap) -> Option<Wrap> {
    let wire::Wrap { suite, recipient_key_id, enc, sealed_epoch_key, wrapped_content_key } = wrap;
    Wrap::from_wire(*suite, recipient_key_id, enc, sealed_epoch_key, wrapped_content_key).ok()
}
