//! Retired keys: what was signed before still verifies, and nothing made after.
//!
//! Two bounds hold. A statement names the view that its signer decided by; one that had heard of the retirement was
//! made after it. But whoever holds the key could name an older view, so what verifies also ends at a time: that of
//! the record that retired the key, signed by those who may end it, with the longest that an honest signer may not have
//! heard of it and that a statement of its may be on its way. Both come from the log, and so every reader of the log
//! has the same answer.

use kopuro_core::bounds::{CLOCK_SKEW_MAX, OUTCOME_LIFE, REQUEST_LIFE_MAX, VIEW_AGE_MAX};
use kopuro_core::statement::Statement;
use kopuro_core::time::UnixMillis;

use super::KnownKey;
use crate::record::{Key, KeyState};

/// When a key was retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retirement {
    /// The revision of the record that did: a view of this size or less holds the key for active.
    pub revision: u64,
    /// When that record was signed.
    pub create_time: UnixMillis,
}

impl Retirement {
    /// The retirement under which `key` stands once the record `record` has set it. A record that retires a retired key
    /// again does not give it more time.
    pub(super) fn after(record: Self, key: &Key, before: Option<&KnownKey>) -> Option<Self> {
        match key.state {
            KeyState::Retired => Some(before.and_then(|known| known.retirement).unwrap_or(record)),
            KeyState::Active | KeyState::Revoked => None,
        }
    }

    /// Whether the key still verifies a statement at `now`.
    pub(super) fn spares(&self, statement: &Statement, now: UnixMillis) -> bool {
        let heard = self.create_time.plus(VIEW_AGE_MAX).plus(CLOCK_SKEW_MAX);
        let arrived = heard.plus(REQUEST_LIFE_MAX).plus(OUTCOME_LIFE);
        statement.view.size <= self.revision && statement.create_time <= heard && now <= arrived
    }
}
