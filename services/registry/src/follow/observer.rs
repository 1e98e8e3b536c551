//! What a follower makes of what it reads. Pure: the time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use kopuro_core::time::UnixMillis;
use kopuro_tlog::checkpoint::{Checkpoint, SIGNED_CHECKPOINT_LEN_MAX};

use super::history::History;
use crate::anchor::Anchor;
use crate::checkpoint;
use crate::record::KeyPurpose;
use crate::view::{ApplyError, View};

/// How long entries may take that a checkpoint speaks of.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How far a checkpoint's time may lie beyond this clock.
const SKEW_MAX: Duration = Duration::from_secs(5);
/// The most checkpoints that wait for entries. The log makes one a second, and they wait for ten.
const WAITING_MAX: usize = 16;

/// What a checkpoint shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It agrees with the view, and was made at this time.
    Confirmed(UnixMillis),
    /// It has another root than the view had at its size.
    Contradicted {
        /// Its size.
        size: u64,
    },
    /// It is of a smaller log than one that was confirmed.
    RolledBack {
        /// Its size.
        size: u64,
    },
    /// The entries that it speaks of did not come in time.
    Withheld {
        /// Its size.
        size: u64,
    },
    /// No checkpoint key has signed it.
    Forged,
    /// It was made later than this clock can believe.
    Early {
        /// How much later.
        by: Duration,
    },
}

/// A checkpoint ahead of the view.
#[derive(Debug)]
struct Waiting {
    since: UnixMillis,
    note: Bytes,
}

/// What becomes of a checkpoint.
enum Judgement {
    Found(Finding),
    Waits,
    /// It cannot be judged: it is older than what is remembered, or the log names no checkpoint key yet.
    Moot,
}

/// The view with what is needed to hold checkpoints against it.
#[derive(Debug)]
pub(super) struct Observer {
    view: View,
    history: History,
    confirmed_size: u64,
    contradicted: bool,
    waiting: VecDeque<Waiting>,
}

impl Observer {
    pub(super) fn new(anchor: Anchor) -> Self {
        Self {
            view: View::new(anchor),
            history: History::new(),
            confirmed_size: 0,
            contradicted: false,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Applies an entry; one that does not apply changes nothing.
    pub(super) fn handle_entry(&mut self, bytes: &[u8]) -> Result<u64, ApplyError> {
        let revision = self.view.apply(bytes)?;
        self.history.push(self.view.stamp());
        Ok(revision)
    }

    /// Judges a checkpoint, or keeps it until the entries have come that it speaks of.
    pub(super) fn handle_note(&mut self, note: Bytes, now: UnixMillis) -> Option<Finding> {
        if note.len() > SIGNED_CHECKPOINT_LEN_MAX {
            return Some(Finding::Forged);
        }
        match self.judge(&note, now) {
            Judgement::Found(finding) => Some(finding),
            Judgement::Moot => None,
            Judgement::Waits => {
                self.waiting.push_back(Waiting { since: now, note });
                let crowded_out = (self.waiting.len() > WAITING_MAX).then(|| self.waiting.pop_front());
                crowded_out.flatten().and_then(|waiting| self.give_up(&waiting))
            }
        }
    }

    /// Judges anew the checkpoints that waited for entries.
    pub(super) fn handle_growth(&mut self, now: UnixMillis) -> Vec<Finding> {
        let mut findings = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            match self.judge(&waiting.note, now) {
                Judgement::Found(finding) => findings.push(finding),
                Judgement::Moot => {}
                Judgement::Waits => self.waiting.push_back(waiting),
            }
        }
        findings
    }

    /// Gives up on checkpoints that have waited too long.
    pub(super) fn handle_time(&mut self, now: UnixMillis) -> Vec<Finding> {
        let late = self.waiting.partition_point(|waiting| now.since(waiting.since) > PATIENCE);
        let late: Vec<_> = self.waiting.drain(..late).collect();
        late.iter().filter_map(|waiting| self.give_up(waiting)).collect()
    }

    fn judge(&mut self, note: &[u8], now: UnixMillis) -> Judgement {
        let own_size = self.view.stamp().size;
        match checkpoint::verify(&self.view, note) {
            // A checkpoint says the truth of entries that have yet to come; so may the key be among them.
            None if checkpoint::claimed_size(note).is_some_and(|size| size > own_size) => Judgement::Waits,
            None if self.knows_no_key() => Judgement::Moot,
            None => Judgement::Found(Finding::Forged),
            Some(Checkpoint { size, .. }) if size > own_size => Judgement::Waits,
            Some(checkpoint) => self.compare(&checkpoint, now),
        }
    }

    fn compare(&mut self, checkpoint: &Checkpoint, now: UnixMillis) -> Judgement {
        let Checkpoint { origin: _, size, root, time, extensions: _ } = checkpoint;
        let (size, time) = (*size, *time);
        let own_root = self.history.root_at(size);
        if self.contradicted {
            Judgement::Moot
        } else if own_root.is_some_and(|own| own != *root) {
            self.contradicted = true;
            Judgement::Found(Finding::Contradicted { size })
        } else if size < self.confirmed_size {
            Judgement::Found(Finding::RolledBack { size })
        } else if own_root.is_none() {
            Judgement::Moot
        } else if time > now.plus(SKEW_MAX) {
            Judgement::Found(Finding::Early { by: time.since(now) })
        } else {
            self.confirmed_size = size;
            Judgement::Found(Finding::Confirmed(time))
        }
    }

    fn give_up(&self, waiting: &Waiting) -> Option<Finding> {
        match checkpoint::verify(&self.view, &waiting.note) {
            Some(Checkpoint { size, .. }) => Some(Finding::Withheld { size }),
            None if self.knows_no_key() => None,
            None => Some(Finding::Forged),
        }
    }

    fn knows_no_key(&self) -> bool {
        self.view.delegate_keys(KeyPurpose::Checkpoint).next().is_none()
    }
}
