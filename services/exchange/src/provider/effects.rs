//! How claims, markers and outcomes are written to the marker and outcome topics, and read back.
//!
//! Markers carry a MAC under the member's secret, over the topic-partition too; outcomes are sealed under it. The broker
//! can neither make one nor move one.

use bytes::Bytes;
use kopuro_broker::TopicPartition;
use kopuro_core::content::{self, Payload};
use kopuro_core::digest::Digest;
use kopuro_core::effect::{ClaimId, EffectKey, MarkerFacts, OutcomeFacts};
use kopuro_core::id::ExchangeId;
use kopuro_core::time::UnixMillis;
use kopuro_proto::exchange::v1 as wire;
use kopuro_trust::member_secret::MemberSecret;
use prost::Message as _;

/// An entry of a marker topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MarkerEntry {
    Claim(ClaimId),
    Marker(ClaimId, MarkerFacts),
}

/// Writes an entry about the call topic `owned`.
pub(super) fn write_marker(secret: &MemberSecret, owned: &TopicPartition, entry: &MarkerEntry) -> Vec<u8> {
    let (claim_id, marker) = match entry {
        MarkerEntry::Claim(claim) => (claim, None),
        MarkerEntry::Marker(claim, marker) => (claim, Some(marker)),
    };
    let body = wire::MarkerBody {
        topic: owned.topic.as_str().to_owned(),
        claim_id: claim_id.as_bytes().to_vec().into(),
        marker: marker.map(to_wire),
    };
    let body = body.encode_to_vec();
    let mac = secret.mac(&owned.to_string(), &body);
    wire::MarkerEntry { mac: mac.to_vec().into(), body: body.into() }.encode_to_vec()
}

/// Reads an entry about the call topic `owned`; `None` for one about another topic, or one that is not genuine.
pub(super) fn read_marker(
    secret: &MemberSecret,
    owned: &TopicPartition,
    value: &[u8],
) -> Option<MarkerEntry> {
    let wire::MarkerEntry { mac, body } = wire::MarkerEntry::decode(value).ok()?;
    secret.verify_mac(&owned.to_string(), &body, &mac).ok()?;
    let wire::MarkerBody { topic, claim_id, marker } = wire::MarkerBody::decode(body).ok()?;
    let claim = ClaimId::from_slice(&claim_id).filter(|_| topic == owned.topic.as_str())?;
    match marker {
        None => Some(MarkerEntry::Claim(claim)),
        Some(marker) => from_wire(&marker).map(|marker| MarkerEntry::Marker(claim, marker)),
    }
}

/// Writes an outcome, sealed to the member.
pub(super) fn write_outcome(
    secret: &MemberSecret,
    marker: &MarkerFacts,
    payload: &Payload,
) -> Option<Vec<u8>> {
    let MarkerFacts { key, fingerprint, request_digest, exchange, keep_until, not_after: _ } = marker;
    let body = wire::OutcomeBody {
        fingerprint: fingerprint.as_bytes().to_vec().into(),
        request_digest: request_digest.as_bytes().to_vec().into(),
        payload: content::encode_payload(payload, &[]).ok()?.into(),
        keep_until: Some(keep_until.to_proto()),
        exchange_id: exchange.as_bytes().to_vec().into(),
    };
    let sealed_body = secret.seal_at_rest(key.as_bytes(), &body.encode_to_vec());
    let entry =
        wire::OutcomeEntry { effect_key: key.as_bytes().to_vec().into(), sealed_body: sealed_body.into() };
    Some(entry.encode_to_vec())
}

/// Reads an outcome that stands at `offset`; `None` for one that is not genuine.
pub(super) fn read_outcome(
    secret: &MemberSecret,
    value: Bytes,
    offset: u64,
) -> Option<(OutcomeFacts, Payload)> {
    let wire::OutcomeEntry { effect_key, sealed_body } = wire::OutcomeEntry::decode(value).ok()?;
    let key = EffectKey::from_slice(&effect_key)?;
    let body = secret.open_at_rest(&effect_key, &sealed_body).ok()?;
    let body = wire::OutcomeBody::decode(Bytes::from(body)).ok()?;
    let wire::OutcomeBody { fingerprint, request_digest, payload, keep_until, exchange_id } = body;
    let facts = OutcomeFacts {
        key,
        fingerprint: Digest::from_slice(&fingerprint)?,
        request_digest: Digest::from_slice(&request_digest)?,
        exchange: ExchangeId::from_slice(&exchange_id).ok()?,
        keep_until: UnixMillis::from_proto(&keep_until?)?,
        offset,
    };
    Some((facts, content::decode_payload(payload).ok()?))
}

fn to_wire(marker: &MarkerFacts) -> wire::Marker {
    let MarkerFacts { key, fingerprint, request_digest, exchange, not_after, keep_until } = marker;
    wire::Marker {
        effect_key: key.as_bytes().to_vec().into(),
        fingerprint: fingerprint.as_bytes().to_vec().into(),
        request_digest: request_digest.as_bytes().to_vec().into(),
        not_after: Some(not_after.to_proto()),
        keep_until: Some(keep_until.to_proto()),
        exchange_id: exchange.as_bytes().to_vec().into(),
    }
}

fn from_wire(marker: &wire::Marker) -> Option<MarkerFacts> {
    let wire::Marker { effect_key, fingerprint, request_digest, not_after, keep_until, exchange_id } = marker;
    Some(MarkerFacts {
        key: EffectKey::from_slice(effect_key)?,
        fingerprint: Digest::from_slice(fingerprint)?,
        request_digest: Digest::from_slice(request_digest)?,
        exchange: ExchangeId::from_slice(exchange_id).ok()?,
        not_after: UnixMillis::from_proto(not_after.as_ref()?)?,
        keep_until: UnixMillis::from_proto(keep_until.as_ref()?)?,
    })
}

#[cfg(test)]
mod tests {
    use kopuro_core::id::{RequestId, SubsystemId};
    use kopuro_core::topic::{SubsystemTopic, TopicName};

    use super::*;

    fn subsystem() -> SubsystemId {
        SubsystemId::parse("KG/GOV/2/fines").unwrap()
    }

    fn owned(partition: u32) -> TopicPartition {
        TopicPartition { topic: TopicName::of_subsystem(SubsystemTopic::Call, &subsystem()), partition }
    }

    fn marker() -> MarkerFacts {
        let consumer = SubsystemId::parse("KG/GOV/1/portal").unwrap();
        MarkerFacts {
            key: EffectKey::of(&consumer, &subsystem(), None, &RequestId::new([1; 16])),
            fingerprint: Digest::of(b"f"),
            request_digest: Digest::of(b"r"),
            exchange: ExchangeId::new(UnixMillis::new(5), [3; 10]),
            not_after: UnixMillis::new(10),
            keep_until: UnixMillis::new(20),
        }
    }

    #[test]
    fn a_marker_counts_only_where_it_was_written() {
        let secret = MemberSecret::new(&[7; 32]);
        let entry = MarkerEntry::Marker(ClaimId::new([1; 16]), marker());
        let bytes = write_marker(&secret, &owned(1), &entry);
        assert_eq!(read_marker(&secret, &owned(1), &bytes), Some(entry));
        assert_eq!(read_marker(&secret, &owned(2), &bytes), None);
        assert_eq!(read_marker(&MemberSecret::new(&[8; 32]), &owned(1), &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let read = read_marker(&secret, &owned(1), &flipped);
            assert!(read.is_none() || read == Some(entry), "bit {bit} changes what the marker says");
        }
    }

    #[test]
    fn an_outcome_opens_for_its_member_and_effect_only() {
        let secret = MemberSecret::new(&[7; 32]);
        let payload = Payload::Message(Bytes::from_static(b"paid"));
        let bytes = write_outcome(&secret, &marker(), &payload).unwrap();
        assert!(!bytes.windows(4).any(|window| window == b"paid"));
        let (facts, read) = read_outcome(&secret, bytes.clone().into(), 5).unwrap();
        assert_eq!((facts.key, facts.offset, read), (marker().key, 5, payload));
        assert!(read_outcome(&MemberSecret::new(&[8; 32]), bytes.clone().into(), 5).is_none());
        let mut moved = bytes;
        moved[2] ^= 1;
        assert!(read_outcome(&secret, moved.into(), 5).is_none());
    }
}
