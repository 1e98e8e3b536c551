//! The embedded log on disk: a fjall database with the keyspaces `topics`, `records`, `bounds` and `commits`.

use std::collections::HashMap;
use std::panic::catch_unwind;
use std::path::Path;
use std::sync::RwLock;

use bytes::Bytes;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use kopuro_core::time::UnixMillis;

use super::codec::{self, PartitionId, TopicEntry};
use super::marks::{MarkFile, Marks};
use crate::port::{BrokerError, Position, StoredRecord, Watermarks};

/// How much of the log is held in memory before it is sorted to disk. **Units:** bytes.
const MEMTABLE_BYTES_MAX: u64 = 16 << 20;
/// How much the journals may take. **Units:** bytes.
const JOURNAL_BYTES_MAX: u64 = 256 << 20;
/// Blocks of sorted tables kept in memory. **Units:** bytes.
const CACHE_BYTES: u64 = 8 << 20;

/// The log on disk. Closing it ends every reader's access and frees the folder.
pub(super) struct Store {
    engine: RwLock<Option<Engine>>,
    marks: MarkFile,
}

struct Engine {
    database: Database,
    topics: Keyspace,
    records: Keyspace,
    bounds: Keyspace,
    commits: Keyspace,
}

/// A commit to keep: which group goes on where.
pub(super) type Commits = HashMap<(String, PartitionId), u64>;

/// What a partition looked like when the log was opened.
pub(super) struct Recovered {
    pub(super) bounds: Watermarks,
    pub(super) last_append: UnixMillis,
}

impl Store {
    /// Opens the log in `folder`, making it if it is missing.
    ///
    /// # Errors
    /// [`BrokerError::Unavailable`] when another holder has it open or the folder cannot be used;
    /// [`BrokerError::Damaged`] when the log does not parse.
    pub(super) fn open(folder: &Path) -> Result<Self, BrokerError> {
        std::fs::create_dir_all(folder).map_err(|error| unavailable(&error))?;
        // fjall meets some damage with a panic (a length in a journal that is not what it was, tried).
        let opened = catch_unwind(|| Engine::open(folder));
        let opened = opened.map_err(|_| damaged("the storage engine cannot read its journal"))?;
        let engine = opened.map_err(|error| on_open(&error))?;
        Ok(Self { engine: RwLock::new(Some(engine)), marks: MarkFile::in_folder(folder) })
    }

    /// Every topic, by name.
    ///
    /// # Errors
    /// [`BrokerError::Damaged`] when an entry is malformed.
    pub(super) fn topics(&self) -> Result<Vec<(String, TopicEntry)>, BrokerError> {
        self.with(|engine| {
            let read = |guard: fjall::Guard| {
                let (name, entry) = guard.into_inner().map_err(|error| failed(&error))?;
                let name = String::from_utf8(name.to_vec()).ok();
                name.zip(codec::read_topic(&entry)).ok_or_else(|| damaged("a topic's entry is malformed"))
            };
            engine.topics.iter().map(read).collect()
        })
    }

    /// Keeps a new topic durably.
    pub(super) fn add_topic(&self, name: &str, entry: &TopicEntry) -> Result<(), BrokerError> {
        self.with(|engine| {
            let mut batch = engine.batch(PersistMode::SyncAll);
            batch.insert(&engine.topics, name, codec::write_topic(entry));
            batch.commit().map_err(|error| failed(&error))
        })
    }

    /// Every committed offset.
    pub(super) fn commits(&self) -> Result<Commits, BrokerError> {
        self.with(|engine| {
            let read = |guard: fjall::Guard| {
                let (key, value) = guard.into_inner().map_err(|error| failed(&error))?;
                let offset = value.as_ref().try_into().ok().map(u64::from_be_bytes);
                codec::read_commit_key(&key).zip(offset).ok_or_else(|| damaged("a commit is malformed"))
            };
            engine.commits.iter().map(read).collect()
        })
    }

    /// Finds a partition's bounds.
    ///
    /// # Errors
    /// [`BrokerError::Damaged`] when its newest record is malformed.
    pub(super) fn recover(&self, id: PartitionId) -> Result<Recovered, BrokerError> {
        self.with(|engine| {
            let trimmed = engine.bounds.get(id.to_key()).map_err(|error| failed(&error))?;
            let low = trimmed.as_deref().and_then(|low| low.try_into().ok()).map_or(0, u64::from_be_bytes);
            let Some(last) = engine.records.prefix(id.to_key()).next_back() else {
                let bounds = Watermarks { low, high: low };
                return Ok(Recovered { bounds, last_append: UnixMillis::default() });
            };
            let (key, value) = last.into_inner().map_err(|error| failed(&error))?;
            let read = codec::offset_of(&key).zip(codec::read_append_time(&value));
            let (last, last_append) = read.ok_or_else(|| damaged("a record is malformed"))?;
            Ok(Recovered { bounds: Watermarks { low, high: (last + 1).max(low) }, last_append })
        })
    }

    /// Appends records and commits in one atomic, durable step.
    pub(super) fn append(
        &self,
        records: &[(PartitionId, StoredRecord)],
        commits: &Commits,
    ) -> Result<(), BrokerError> {
        self.with(|engine| {
            let mut batch = engine.batch(PersistMode::SyncData);
            for (id, StoredRecord { position, append_time, record }) in records {
                let key = id.record_key(position.offset);
                batch.insert(&engine.records, key, codec::write_record(record, *append_time));
            }
            engine.add_commits(&mut batch, commits);
            batch.commit().map_err(|error| failed(&error))
        })
    }

    /// Keeps commits that no append has carried.
    pub(super) fn keep_commits(&self, commits: &Commits) -> Result<(), BrokerError> {
        self.append(&[], commits)
    }

    /// Reads records from `from` on and below `high`, up to `bytes_max` of them, at least one if there is one.
    ///
    /// # Errors
    /// [`BrokerError::Damaged`] when a record is malformed.
    pub(super) fn read(
        &self,
        id: PartitionId,
        from: u64,
        high: u64,
        bytes_max: usize,
    ) -> Result<Vec<StoredRecord>, BrokerError> {
        self.with(|engine| {
            let (mut records, mut bytes) = (Vec::new(), 0);
            for guard in engine.records.range(id.record_key(from)..id.record_key(high)) {
                let (key, value) = guard.into_inner().map_err(|error| failed(&error))?;
                bytes += value.len();
                let offset = codec::offset_of(&key).ok_or_else(|| damaged("a record's key is malformed"))?;
                let position = Position { partition: id.partition, offset };
                let value = Bytes::copy_from_slice(&value);
                let record = codec::read_record(&value, position);
                records.push(record.ok_or_else(|| damaged("a record is malformed"))?);
                if bytes >= bytes_max {
                    break;
                }
            }
            Ok(records)
        })
    }

    /// Where retention may cut: the first offset, of at most `count_max` looked at, whose record is not older than
    /// `horizon`; `None` when nothing is to be cut.
    pub(super) fn expired_below(
        &self,
        id: PartitionId,
        bounds: Watermarks,
        horizon: UnixMillis,
        count_max: usize,
    ) -> Result<Option<u64>, BrokerError> {
        self.with(|engine| {
            let mut cut = None;
            let range = id.record_key(bounds.low)..id.record_key(bounds.high);
            for guard in engine.records.range(range).take(count_max) {
                let (key, value) = guard.into_inner().map_err(|error| failed(&error))?;
                let read = codec::offset_of(&key).zip(codec::read_append_time(&value));
                let (offset, append_time) = read.ok_or_else(|| damaged("a record is malformed"))?;
                if append_time >= horizon {
                    break;
                }
                cut = Some(offset + 1);
            }
            Ok(cut)
        })
    }

    /// Deletes a partition's records below `cut`. It needs no sync of its own: a deletion that a crash undoes is
    /// done again.
    pub(super) fn delete(&self, id: PartitionId, low: u64, cut: u64) -> Result<(), BrokerError> {
        self.with(|engine| {
            let mut batch = engine.batch(PersistMode::Buffer);
            for offset in low..cut {
                batch.remove(&engine.records, id.record_key(offset));
            }
            batch.insert(&engine.bounds, id.to_key(), cut.to_be_bytes());
            batch.commit().map_err(|error| failed(&error))
        })
    }

    /// The marks of the last run; `None` when none were written.
    ///
    /// # Errors
    /// [`BrokerError::Damaged`] when the file is malformed.
    pub(super) fn read_marks(&self) -> Result<Option<Marks>, BrokerError> {
        self.marks.read().map_err(|error| match error.kind() {
            std::io::ErrorKind::InvalidData => damaged("the high-water marks are malformed"),
            _ => unavailable(&error),
        })
    }

    /// Writes the marks of a log that is durable up to them.
    pub(super) fn write_marks(&self, marks: &Marks) -> Result<(), BrokerError> {
        self.marks.write(marks).map_err(|error| unavailable(&error))
    }

    /// Whether the log can still be used.
    pub(super) fn check(&self) -> Result<(), BrokerError> {
        self.with(|engine| engine.database.persist(PersistMode::Buffer).map_err(|error| failed(&error)))
    }

    /// Syncs and closes the log; from then on everything answers [`BrokerError::Closed`].
    pub(super) fn close(&self) {
        let engine = self.engine.write().expect("no holder of the lock panics").take();
        if let Some(engine) = engine
            && let Err(error) = engine.database.persist(PersistMode::SyncAll)
        {
            tracing::error!(%error, "the embedded log could not be synced while closing");
        }
    }

    fn with<T>(&self, work: impl FnOnce(&Engine) -> Result<T, BrokerError>) -> Result<T, BrokerError> {
        let engine = self.engine.read().expect("no holder of the lock panics");
        engine.as_ref().ok_or(BrokerError::Closed).and_then(work)
    }
}

impl Engine {
    fn open(folder: &Path) -> fjall::Result<Self> {
        let database = Database::builder(folder.join("log"))
            .cache_size(CACHE_BYTES)
            .journal_compression(CompressionType::None)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .manual_journal_persist(true)
            .worker_threads(2)
            .open()?;
        let keyspace = |name: &str| database.keyspace(name, options);
        Ok(Self {
            topics: keyspace("topics")?,
            records: keyspace("records")?,
            bounds: keyspace("bounds")?,
            commits: keyspace("commits")?,
            database,
        })
    }

    fn batch(&self, durability: PersistMode) -> OwnedWriteBatch {
        self.database.batch().durability(Some(durability))
    }

    fn add_commits(&self, batch: &mut OwnedWriteBatch, commits: &Commits) {
        for ((group, id), offset) in commits {
            batch.insert(&self.commits, codec::commit_key(group, *id), offset.to_be_bytes());
        }
    }
}

/// What is stored is mostly ciphertext: compressing it costs time and saves nothing.
fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES_MAX)
        .data_block_compression_policy(CompressionPolicy::disabled())
}

fn on_open(error: &fjall::Error) -> BrokerError {
    match error {
        fjall::Error::Locked => BrokerError::Unavailable("the embedded log is open elsewhere".into()),
        fjall::Error::Io(error) => unavailable(error),
        // fjall's error type is open-ended; whatever else it finds while opening is a fault of the stored files.
        _ => BrokerError::Damaged(error.to_string()),
    }
}

fn failed(error: &fjall::Error) -> BrokerError {
    match error {
        fjall::Error::Storage(_) | fjall::Error::Decompress(_) => BrokerError::Damaged(error.to_string()),
        // As above; during work the rest are faults of the disk or of a log poisoned by one.
        _ => BrokerError::Unavailable(error.to_string()),
    }
}

fn damaged(what: &str) -> BrokerError {
    BrokerError::Damaged(what.to_owned())
}

fn unavailable(error: &std::io::Error) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}
