//! What stands in a dead-letter topic, with what became of it.

use std::collections::{HashMap, HashSet};

use kopuro_broker::{Position, StoredRecord, TopicPartition};
use kopuro_core::error::Reason;
use kopuro_core::statement::Statement;
use kopuro_core::time::UnixMillis;
use kopuro_trust::member_secret::MemberSecret;

use super::entry::{self, Entry};
use super::letter::{Action, Cut, Letter, LetterId, Origin, Resolution};
use crate::inbox::Received;

/// What stands in a member's dead-letter topic.
#[derive(Debug, Default)]
pub struct Listing {
    /// The letters, in the order of their positions, one for each record that was put aside.
    pub letters: Vec<Listed>,
    /// How many older entries there are that were not read.
    pub older: u64,
}

/// A letter as it is listed; of its record there are no bytes.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Where it stands in the dead-letter topic.
    pub position: Position,
    /// When the broker appended it there.
    pub append_time: UnixMillis,
    /// Its name.
    pub id: LetterId,
    /// What it says; `None` when no gateway of the member wrote it there, and nothing of it is believed.
    pub summary: Option<Summary>,
    /// What became of it.
    pub resolution: Option<Resolution>,
}

/// What a letter says.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Where its record stood.
    pub origin: Origin,
    /// Why it could not be processed.
    pub reason: Reason,
    /// When it was put aside.
    pub put_aside_time: UnixMillis,
    /// The gateway that put it aside.
    pub gateway: String,
    /// What there was of a record that was not kept whole.
    pub cut: Option<Cut>,
    /// The statement, where the record has one. It is what the record claims: nothing of it is verified here.
    pub statement: Option<Box<Statement>>,
}

/// How a letter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It waits for a person.
    Open,
    /// It waits, and its request says of itself that it has expired: replayed, it would be refused and have no effect.
    Expired,
    /// It is not the gateway's own.
    Foreign,
    /// Its record was appended again.
    Replayed,
    /// It was looked at and left.
    Discarded,
}

impl State {
    /// The state's name for people and machines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Expired => "expired",
            Self::Foreign => "foreign",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }
}

impl Listed {
    /// How the letter stands at `now`.
    pub fn state(&self, now: UnixMillis) -> State {
        match (&self.resolution, &self.summary) {
            (Some(Resolution { action: Action::Replayed(_), .. }), _) => State::Replayed,
            (Some(Resolution { action: Action::Discarded, .. }), _) => State::Discarded,
            (None, None) => State::Foreign,
            (None, Some(summary)) if summary.expired(now) => State::Expired,
            (None, Some(_)) => State::Open,
        }
    }
}

impl Summary {
    fn of(letter: Letter) -> Self {
        let Letter { origin, reason, put_aside_time, gateway, record, cut } = letter;
        let received = cut.is_none().then(|| Received::decode(&record.value).ok()).flatten();
        let statement = received.map(|received| Box::new(received.statement));
        Self { origin, reason, put_aside_time, gateway, cut, statement }
    }

    /// Whether the request has expired by what it says itself.
    pub(super) fn expired(&self, now: UnixMillis) -> bool {
        self.statement.as_ref().is_some_and(|statement| statement.expire_time < now)
    }
}

/// Gathers the entries of a topic, in the order of each partition.
pub(super) struct Gathering<'a> {
    secret: &'a MemberSecret,
    letters: Vec<Listed>,
    known: HashSet<LetterId>,
    resolutions: HashMap<LetterId, Resolution>,
}

impl<'a> Gathering<'a> {
    pub(super) fn new(secret: &'a MemberSecret) -> Self {
        Self { secret, letters: Vec::new(), known: HashSet::new(), resolutions: HashMap::new() }
    }

    /// Takes an entry of `target`. Of letters about one record the first is listed, and of its resolutions the first counts:
    /// a record is put aside again when it is read again, and a broker may repeat entries.
    pub(super) fn take(&mut self, target: &TopicPartition, stored: &StoredRecord) {
        let StoredRecord { position, append_time, record } = stored;
        let (id, summary) = match entry::read(self.secret, target, &record.value) {
            Some(Entry::Resolution(resolution)) => {
                self.resolutions.entry(resolution.letter).or_insert(resolution);
                return;
            }
            Some(Entry::Letter(letter)) => (letter.id(), Some(Summary::of(letter))),
            None => (LetterId::of_foreign(*position, &record.value), None),
        };
        if self.known.insert(id) {
            let (position, append_time) = (*position, *append_time);
            self.letters.push(Listed { position, append_time, id, summary, resolution: None });
        }
    }

    /// What was gathered.
    pub(super) fn finish(mut self, older: u64) -> Listing {
        for letter in &mut self.letters {
            letter.resolution = self.resolutions.remove(&letter.id);
        }
        Listing { letters: self.letters, older }
    }
}
