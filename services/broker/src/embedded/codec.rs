//! How the embedded log writes its keys and values.
//!
//! All integers are big-endian, so keys sort by topic, partition and offset.

use bytes::Bytes;
use kopuro_core::time::UnixMillis;

use crate::port::{Position, Record, StoredRecord, TopicSettings};

/// The version byte that begins every stored value.
const FORMAT: u8 = 1;

/// One partition as the log numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PartitionId {
    pub(super) topic: u32,
    pub(super) partition: u32,
}

impl PartitionId {
    pub(super) fn to_key(self) -> [u8; 8] {
        (u64::from(self.topic) << 32 | u64::from(self.partition)).to_be_bytes()
    }

    pub(super) fn from_key(key: &[u8]) -> Option<Self> {
        let word = u64::from_be_bytes(key.try_into().ok()?);
        let partition = u32::try_from(word & u64::from(u32::MAX)).ok()?;
        Some(Self { topic: u32::try_from(word >> 32).ok()?, partition })
    }

    pub(super) fn record_key(self, offset: u64) -> [u8; 16] {
        (u128::from(u64::from_be_bytes(self.to_key())) << 64 | u128::from(offset)).to_be_bytes()
    }
}

/// The offset that a record's key ends in.
pub(super) fn offset_of(record_key: &[u8]) -> Option<u64> {
    record_key.get(8..16).and_then(|tail| Some(u64::from_be_bytes(tail.try_into().ok()?)))
}

/// The key of a group's committed offset.
pub(super) fn commit_key(group: &str, id: PartitionId) -> Vec<u8> {
    [id.to_key().as_slice(), group.as_bytes()].concat()
}

/// Reads a committed offset's key.
pub(super) fn read_commit_key(key: &[u8]) -> Option<(String, PartitionId)> {
    let (id, group) = key.split_at_checked(8)?;
    Some((String::from_utf8(group.to_vec()).ok()?, PartitionId::from_key(id)?))
}

/// What the log knows of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicEntry {
    pub(super) id: u32,
    pub(super) settings: TopicSettings,
}

/// Writes a topic's entry; a retention of zero milliseconds stands for "for ever".
pub(super) fn write_topic(entry: &TopicEntry) -> Vec<u8> {
    let TopicSettings { partitions, retention, record_bytes_max } = entry.settings;
    let retention_ms = retention.map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1));
    let mut out = vec![FORMAT];
    out.extend(entry.id.to_be_bytes());
    out.extend(partitions.to_be_bytes());
    out.extend(record_bytes_max.to_be_bytes());
    out.extend(retention_ms.to_be_bytes());
    out
}

/// Reads a topic's entry; `None` when it is malformed.
pub(super) fn read_topic(bytes: &[u8]) -> Option<TopicEntry> {
    let mut reader = Reader(bytes);
    reader.format()?;
    let (id, partitions, record_bytes_max) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let retention_ms = reader.u64()?;
    let retention = (retention_ms > 0).then(|| std::time::Duration::from_millis(retention_ms));
    reader.end()?;
    Some(TopicEntry { id, settings: TopicSettings { partitions, retention, record_bytes_max } })
}

/// Writes a record's value.
pub(super) fn write_record(record: &Record, append_time: UnixMillis) -> Vec<u8> {
    let Record { key, value, headers } = record;
    let headers_len: usize = headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum();
    let mut out = Vec::with_capacity(21 + key.len() + headers_len + value.len());
    out.push(FORMAT);
    out.extend(append_time.as_u64().to_be_bytes());
    write_part(&mut out, key);
    out.extend(len_u32(headers.len()).to_be_bytes());
    for (name, value) in headers {
        write_part(&mut out, name.as_bytes());
        write_part(&mut out, value);
    }
    out.extend_from_slice(value);
    out
}

/// Reads a record's value; `None` when it is malformed.
pub(super) fn read_record(bytes: &Bytes, position: Position) -> Option<StoredRecord> {
    let mut reader = Reader(bytes);
    reader.format()?;
    let append_time = UnixMillis::new(reader.u64()?);
    let key = bytes.slice_ref(reader.part()?);
    let count = reader.u32()?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = std::str::from_utf8(reader.part()?).ok()?.to_owned();
        headers.push((name, bytes.slice_ref(reader.part()?)));
    }
    let value = bytes.slice_ref(reader.0);
    Some(StoredRecord { position, append_time, record: Record { key, value, headers } })
}

/// Reads only the append time of a record's value.
pub(super) fn read_append_time(bytes: &[u8]) -> Option<UnixMillis> {
    let mut reader = Reader(bytes);
    reader.format()?;
    reader.u64().map(UnixMillis::new)
}

fn write_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend(len_u32(part.len()).to_be_bytes());
    out.extend_from_slice(part);
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).expect("the append queue bounds a record far below 4 GiB")
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn format(&mut self) -> Option<()> {
        (self.array::<1>()? == [FORMAT]).then_some(())
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        let (part, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        let headers =
            vec![("traceparent".to_owned(), Bytes::from_static(b"00-1")), (String::new(), Bytes::new())];
        Record { key: Bytes::from_static(b"key"), value: Bytes::from_static(b"value"), headers }
    }

    #[test]
    fn a_record_survives_the_disk() {
        let position = Position { partition: 2, offset: 7 };
        for record in [record(), Record::default()] {
            let bytes = Bytes::from(write_record(&record, UnixMillis::new(5)));
            let read = read_record(&bytes, position).unwrap();
            assert_eq!(read, StoredRecord { position, append_time: UnixMillis::new(5), record });
            assert_eq!(read_append_time(&bytes), Some(UnixMillis::new(5)));
        }
    }

    #[test]
    fn a_cut_head_is_refused() {
        let position = Position { partition: 0, offset: 0 };
        let bytes = Bytes::from(write_record(&record(), UnixMillis::new(5)));
        for len in 0..bytes.len() - record().value.len() {
            assert_eq!(read_record(&bytes.slice(..len), position), None, "{len}");
        }
        assert_eq!(read_record(&Bytes::from_static(&[2; 64]), position), None);
    }

    #[test]
    fn a_topic_survives_the_disk() {
        for retention in [None, Some(std::time::Duration::from_secs(60))] {
            let settings = TopicSettings { partitions: 3, retention, record_bytes_max: 1 << 20 };
            let entry = TopicEntry { id: 9, settings };
            let bytes = write_topic(&entry);
            assert_eq!(read_topic(&bytes), Some(entry));
            assert_eq!(read_topic(&bytes[..bytes.len() - 1]), None);
            assert_eq!(read_topic(&[bytes.as_slice(), &[0]].concat()), None);
        }
    }

    #[test]
    fn keys_sort_by_topic_partition_and_offset() {
        let id = |topic, partition| PartitionId { topic, partition };
        let keys = [id(1, 0).record_key(u64::MAX), id(1, 1).record_key(0), id(2, 0).record_key(0)];
        assert!(keys.is_sorted());
        assert_eq!(offset_of(&keys[0]), Some(u64::MAX));
        assert_eq!(PartitionId::from_key(&id(7, 8).to_key()), Some(id(7, 8)));
        assert_eq!(read_commit_key(&commit_key("g", id(1, 2))), Some(("g".to_owned(), id(1, 2))));
    }
}
