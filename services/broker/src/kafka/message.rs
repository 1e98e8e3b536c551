//! Records between the port and librdkafka.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use kopuro_core::time::UnixMillis;
use kopuro_core::topic::TopicName;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers, OwnedHeaders};

use crate::port::{BrokerError, Position, Record, StoredRecord};

/// Copies a message out of librdkafka's memory.
pub(super) fn stored_record(message: &BorrowedMessage<'_>) -> StoredRecord {
    let append_time = message.timestamp().to_millis().and_then(|unix_ms| u64::try_from(unix_ms).ok());
    StoredRecord {
        position: position(message),
        append_time: UnixMillis::new(append_time.unwrap_or(0)),
        record: Record {
            key: bytes(message.key()),
            value: bytes(message.payload()),
            headers: headers(message),
        },
    }
}

/// Where a message stands.
pub(super) fn position(message: &BorrowedMessage<'_>) -> Position {
    let partition = u32::try_from(message.partition()).expect("a stored message has a partition");
    let offset = u64::try_from(message.offset()).expect("a stored message has an offset");
    Position { partition, offset }
}

/// Writes headers for librdkafka; `None` when there are none.
pub(super) fn owned_headers(headers: &[(String, Bytes)]) -> Option<OwnedHeaders> {
    let empty = OwnedHeaders::new_with_capacity(headers.len());
    let add = |all: OwnedHeaders, (key, value): &(String, Bytes)| {
        all.insert(Header { key, value: Some(value.as_ref()) })
    };
    (!headers.is_empty()).then(|| headers.iter().fold(empty, add))
}

/// What a fault of librdkafka means beyond this crate.
pub(super) fn fault(error: &KafkaError) -> BrokerError {
    match (error, error.rdkafka_error_code()) {
        (_, Some(code)) if is_denial(code) => BrokerError::Denied(code.to_string()),
        // A file of the TLS settings cannot be read, or does not fit the others.
        (KafkaError::ClientCreation(reason), _) if reason.starts_with("ssl.") => {
            BrokerError::Untrusted(reason.clone())
        }
        (_, Some(_) | None) => BrokerError::Unavailable(error.to_string()),
    }
}

/// What a fault with a topic means beyond this crate.
pub(super) fn topic_fault(error: &KafkaError, topic: &TopicName) -> BrokerError {
    let code = error.rdkafka_error_code();
    code.and_then(|code| topic_verdict(code, topic)).unwrap_or_else(|| fault(error))
}

/// What a fault says of a topic for certain: that it does not exist, or that this client may not have it.
pub(super) fn topic_verdict(code: RDKafkaErrorCode, topic: &TopicName) -> Option<BrokerError> {
    if is_unknown_topic(code) {
        return Some(BrokerError::Topic(topic.clone()));
    }
    is_denial(code).then(|| BrokerError::Denied(format!("{topic}: {code}")))
}

/// Whether a fault says that the client lacks a right.
pub(super) fn is_denial(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed};
    [ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed].contains(&code)
}

/// Whether a fault says that a topic or partition does not exist.
pub(super) fn is_unknown_topic(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{InvalidTopic, UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    [InvalidTopic, UnknownPartition, UnknownTopic, UnknownTopicOrPartition].contains(&code)
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Bytes)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    (0..headers.count()).filter_map(|at| header(headers, at)).collect()
}

/// The header at an index. One whose name is not UTF-8 is left out: rdkafka meets it with a panic (tried), and who can
/// write to a topic must not end its readers.
fn header(headers: &BorrowedHeaders, at: usize) -> Option<(String, Bytes)> {
    let read = catch_unwind(AssertUnwindSafe(|| headers.try_get(at))).ok()??;
    Some((read.key.to_owned(), bytes(read.value)))
}

fn bytes(part: Option<&[u8]>) -> Bytes {
    part.map_or_else(Bytes::new, Bytes::copy_from_slice)
}
