//! The keys of map entries, by which an entry that occurs twice is known.

use super::Frame;
use super::plan::{MessagePlan, Value};
use super::wire::{Reader, WireType};

/// The field of a map entry that holds its key.
const KEY: u32 = 1;

/// A key of a map, named by the message that holds the map and the map's field number.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Key<'b> {
    pub(super) message_start: usize,
    pub(super) number: u32,
    pub(super) value: KeyValue<'b>,
}

#[derive(PartialEq, Eq, Hash)]
pub(super) enum KeyValue<'b> {
    /// Of integers and `bool`; the range check leaves one varint a value.
    Varint(u64),
    /// Of strings and fixed-width integers; an absent string key is the empty one.
    Bytes(&'b [u8]),
}

impl<'b> KeyValue<'b> {
    /// The key of the entry in `frame`, which has been read without a violation.
    pub(super) fn of(payload: &'b [u8], frame: &Frame<'_>) -> Self {
        let Frame { plan, start, end, .. } = *frame;
        let readable = "the entry has been read once";
        let mut reader = Reader::new(payload, start);
        while reader.at < end {
            let tag = reader.tag(end).expect(readable);
            if tag.number != KEY {
                reader.skip(tag.wire, end).expect(readable);
                continue;
            }
            return match tag.wire {
                WireType::Varint => Self::Varint(reader.varint(end).expect(readable)),
                WireType::Len => {
                    let key_end = reader.len_end(end).expect(readable);
                    Self::Bytes(reader.take(key_end))
                }
                WireType::Fixed64 => Self::Bytes(reader.take(reader.at + 8)),
                WireType::Fixed32 => Self::Bytes(reader.take(reader.at + 4)),
            };
        }
        absent_key(plan)
    }
}

/// What the key of an entry is that does not carry one.
fn absent_key(entry: &MessagePlan) -> KeyValue<'static> {
    match entry.field(KEY).map(|key| key.value) {
        Some(Value::Fixed32) => KeyValue::Bytes(&[0; 4]),
        Some(Value::Fixed64) => KeyValue::Bytes(&[0; 8]),
        Some(Value::Varint(_)) => KeyValue::Varint(0),
        Some(Value::String | Value::Bytes | Value::Message(_)) | None => KeyValue::Bytes(&[]),
    }
}
