//! A record appended past every client library, as who has the broker may: with a header whose name is no text.
//!
//! **Source:** the Kafka protocol guide, Produce version 3 and record batch version 2; CRC-32C by RFC 3720, B.4.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

/// A header of a record: its name and its value.
pub(crate) type RawHeader<'a> = (&'a [u8], &'a [u8]);

/// Appends a record of one value to a partition, and waits until the broker has it.
pub(crate) fn produce(address: &str, topic: &str, partition: i32, value: &[u8], headers: &[RawHeader<'_>]) {
    let batch = batch(&record(value, headers));
    let mut request = Vec::new();
    request.extend([0, 0, 0, 3, 0, 0, 0, 1]);
    string(&mut request, "raw");
    request.extend((-1_i16).to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(10_000_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    string(&mut request, topic);
    request.extend(1_i32.to_be_bytes());
    request.extend(partition.to_be_bytes());
    sized(&mut request, &batch);
    let mut message = Vec::new();
    sized(&mut message, &request);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&message).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).unwrap();
    // Correlation id, count of topics, name, count of partitions, partition; then the error.
    let error_at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[error_at..error_at + 2], [0, 0], "the broker refused the record: {answer:?}");
}

fn record(value: &[u8], headers: &[RawHeader<'_>]) -> Vec<u8> {
    // Attributes, time and offset relative to the batch, and no key.
    let mut body = vec![0, 0, 0];
    varint(&mut body, -1);
    bytes(&mut body, value);
    varint(&mut body, headers.len() as i64);
    for (name, value) in headers {
        bytes(&mut body, name);
        bytes(&mut body, value);
    }
    let mut record = Vec::new();
    bytes(&mut record, &body);
    record
}

fn batch(record: &[u8]) -> Vec<u8> {
    // Attributes and last offset, first and last time, no producer, one record.
    let mut checked = vec![0; 2 + 4];
    checked.extend([0; 16]);
    checked.extend([0xff; 8 + 2 + 4]);
    checked.extend(1_i32.to_be_bytes());
    checked.extend(record);
    let mut batch = vec![0; 8];
    batch.extend((4 + 1 + 4 + checked.len() as i32).to_be_bytes());
    batch.extend((-1_i32).to_be_bytes());
    batch.push(2);
    batch.extend(crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn crc32c(bytes: &[u8]) -> u32 {
    let shifted = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shifted(crc)))
}

fn varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn bytes(out: &mut Vec<u8>, part: &[u8]) {
    varint(out, part.len() as i64);
    out.extend(part);
}

fn sized(out: &mut Vec<u8>, part: &[u8]) {
    out.extend((part.len() as i32).to_be_bytes());
    out.extend(part);
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as i16).to_be_bytes());
    out.extend(text.as_bytes());
}
