//! How letters and resolutions are written to the dead-letter topic, and read back.

use bytes::Bytes;
use kopuro_broker::{Position, Record, TopicPartition};
use kopuro_core::digest::Digest;
use kopuro_core::error::Reason;
use kopuro_core::id::SubsystemId;
use kopuro_core::time::UnixMillis;
use kopuro_proto::exchange::v1 as wire;
use kopuro_trust::member_secret::MemberSecret;
use prost::Message as _;
use wire::dead_letter_body::Body;

use super::letter::{Action, Cut, Letter, LetterId, Origin, Resolution};

#[cfg(test)]
mod tests;

/// An entry of a dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Letter(Letter),
    Resolution(Resolution),
}

/// Writes a letter that will stand in `target`.
pub(super) fn write_letter(secret: &MemberSecret, target: &TopicPartition, letter: &Letter) -> Bytes {
    write(secret, target, Body::Letter(letter_to_wire(letter)))
}

/// Writes a resolution that will stand in `target`.
pub(super) fn write_resolution(
    secret: &MemberSecret,
    target: &TopicPartition,
    resolution: &Resolution,
) -> Bytes {
    write(secret, target, Body::Resolution(resolution_to_wire(resolution)))
}

/// Reads an entry that stands in `target`; `None` for one that no gateway of the member wrote there.
pub(super) fn read(secret: &MemberSecret, target: &TopicPartition, value: &Bytes) -> Option<Entry> {
    let wire::DeadLetterEntry { mac, body } = wire::DeadLetterEntry::decode(value.clone()).ok()?;
    secret.verify_mac(&target.to_string(), &body, &mac).ok()?;
    match wire::DeadLetterBody::decode(body).ok()?.body? {
        Body::Letter(letter) => letter_from_wire(letter, target.partition).map(Entry::Letter),
        Body::Resolution(resolution) => resolution_from_wire(resolution).map(Entry::Resolution),
    }
}

fn write(secret: &MemberSecret, target: &TopicPartition, body: Body) -> Bytes {
    let body = wire::DeadLetterBody { body: Some(body) }.encode_to_vec();
    let mac = secret.mac(&target.to_string(), &body);
    wire::DeadLetterEntry { mac: mac.to_vec().into(), body: body.into() }.encode_to_vec().into()
}

fn letter_to_wire(letter: &Letter) -> wire::DeadLetter {
    let Letter { origin, reason, put_aside_time, gateway, record, cut } = letter;
    wire::DeadLetter {
        subsystem: origin.subsystem.to_string(),
        topic: origin.topic().to_string(),
        offset: origin.position.offset,
        append_time: Some(origin.append_time.to_proto()),
        reason: reason.name().to_owned(),
        put_aside_time: Some(put_aside_time.to_proto()),
        gateway: gateway.clone(),
        record: Some(record_to_wire(record, cut.as_ref())),
    }
}

/// A letter whose topic is not the one of its subsystem's requests is none: its record could be sent astray.
fn letter_from_wire(letter: wire::DeadLetter, partition: u32) -> Option<Letter> {
    let wire::DeadLetter { subsystem, topic, offset, append_time, reason, put_aside_time, gateway, record } =
        letter;
    let origin = Origin {
        subsystem: SubsystemId::parse(&subsystem).ok()?,
        position: Position { partition, offset },
        append_time: UnixMillis::from_proto(&append_time?)?,
    };
    let (record, cut) = record_from_wire(record?)?;
    let put_aside_time = UnixMillis::from_proto(&put_aside_time?)?;
    let letter = Letter { origin, reason: Reason::parse(&reason)?, put_aside_time, gateway, record, cut };
    (letter.origin.topic().as_str() == topic).then_some(letter)
}

fn record_to_wire(record: &Record, cut: Option<&Cut>) -> wire::DeadRecord {
    let Record { key, value, headers } = record;
    let header =
        |(name, value): &(String, Bytes)| wire::DeadRecordHeader { name: name.clone(), value: value.clone() };
    wire::DeadRecord {
        key: key.clone(),
        value: value.clone(),
        headers: headers.iter().map(header).collect(),
        cut: cut.map(cut_to_wire),
    }
}

fn record_from_wire(record: wire::DeadRecord) -> Option<(Record, Option<Cut>)> {
    let wire::DeadRecord { key, value, headers, cut } = record;
    let cut = match cut {
        Some(cut) => Some(cut_from_wire(&cut)?),
        None => None,
    };
    let header = |wire::DeadRecordHeader { name, value }| (name, value);
    Some((Record { key, value, headers: headers.into_iter().map(header).collect() }, cut))
}

fn cut_to_wire(cut: &Cut) -> wire::DeadRecordCut {
    let Cut { key_size_bytes, value_size_bytes, value_digest, headers_count } = *cut;
    let value_digest = value_digest.as_bytes().to_vec().into();
    wire::DeadRecordCut { key_size_bytes, value_size_bytes, value_digest, headers_count }
}

fn cut_from_wire(cut: &wire::DeadRecordCut) -> Option<Cut> {
    let wire::DeadRecordCut { key_size_bytes, value_size_bytes, value_digest, headers_count } = cut;
    Some(Cut {
        key_size_bytes: *key_size_bytes,
        value_size_bytes: *value_size_bytes,
        value_digest: Digest::from_slice(value_digest)?,
        headers_count: *headers_count,
    })
}

fn resolution_to_wire(resolution: &Resolution) -> wire::DeadLetterResolution {
    let Resolution { letter, action, time, gateway, because } = resolution;
    let (action, replayed_offset) = match action {
        Action::Replayed(offset) => (wire::DeadLetterAction::Replayed, *offset),
        Action::Discarded => (wire::DeadLetterAction::Discarded, 0),
    };
    wire::DeadLetterResolution {
        letter_id: letter.as_bytes().to_vec().into(),
        action: action.into(),
        create_time: Some(time.to_proto()),
        gateway: gateway.clone(),
        because: because.clone(),
        replayed_offset,
    }
}

fn resolution_from_wire(resolution: wire::DeadLetterResolution) -> Option<Resolution> {
    let wire::DeadLetterResolution { letter_id, action, create_time, gateway, because, replayed_offset } =
        resolution;
    let action = match wire::DeadLetterAction::try_from(action).ok()? {
        wire::DeadLetterAction::Unspecified => return None,
        wire::DeadLetterAction::Replayed => Action::Replayed(replayed_offset),
        wire::DeadLetterAction::Discarded => Action::Discarded,
    };
    let time = UnixMillis::from_proto(&create_time?)?;
    Some(Resolution { letter: LetterId::from_slice(&letter_id)?, action, time, gateway, because })
}
