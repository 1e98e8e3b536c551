//! High-water marks kept outside the log, so that a log cut short is noticed.
//!
//! A storage engine that finds a journal batch it cannot parse may cut the journal there and go on. A mark kept in that
//! journal would vanish with it; these stand in a file of their own, written after the log is durable, so a mark is
//! never ahead of a healthy log.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::codec::PartitionId;
use crate::durable;

const MAGIC: &[u8; 8] = b"KOPMARK1";
const ENTRY_LEN: usize = 16;

/// The next offset of each partition, as it was when the marks were last written.
pub(super) type Marks = BTreeMap<PartitionId, u64>;

/// The file of marks beside the log.
pub(super) struct MarkFile(PathBuf);

impl MarkFile {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self(folder.join("kopuro-marks"))
    }

    /// Reads the marks; `None` when there is no file yet.
    ///
    /// # Errors
    /// An [`io::Error`], of kind `InvalidData` when the file is malformed.
    pub(super) fn read(&self) -> io::Result<Option<Marks>> {
        match fs::read(&self.0) {
            Ok(bytes) => parse(&bytes).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the marks atomically and durably.
    ///
    /// # Errors
    /// An [`io::Error`]; the earlier marks then still stand.
    pub(super) fn write(&self, marks: &Marks) -> io::Result<()> {
        durable::replace(&self.0, &render(marks))
    }
}

fn render(marks: &Marks) -> Vec<u8> {
    let entries = marks.iter().flat_map(|(id, next)| [id.to_key(), next.to_be_bytes()]);
    let mut out = MAGIC.to_vec();
    out.extend((marks.len() as u64).to_be_bytes());
    out.extend(entries.flatten());
    out
}

fn parse(bytes: &[u8]) -> Option<Marks> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (count, entries) = rest.split_first_chunk::<8>()?;
    let (entries, []) = entries.as_chunks::<ENTRY_LEN>() else { return None };
    let marks: Option<Marks> = entries
        .iter()
        .map(|entry| {
            let (id, next) = entry.split_at(8);
            Some((PartitionId::from_key(id)?, u64::from_be_bytes(next.try_into().ok()?)))
        })
        .collect();
    marks.filter(|marks| marks.len() as u64 == u64::from_be_bytes(*count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let file = MarkFile::in_folder(folder.path());
        assert!(file.read().unwrap().is_none());
        for next in [1, 2] {
            let marks = Marks::from([(PartitionId { topic: 1, partition: 0 }, next)]);
            file.write(&marks).unwrap();
            assert_eq!(file.read().unwrap(), Some(marks));
        }
    }

    #[test]
    fn malformed_marks_are_refused() {
        let good = render(&Marks::from([(PartitionId { topic: 1, partition: 0 }, 1)]));
        assert!(parse(&good).is_some());
        for len in 0..good.len() {
            assert!(parse(&good[..len]).is_none(), "{len}");
        }
    }
}
