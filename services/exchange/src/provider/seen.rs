//! Statements seen in one partition, so that a record delivered again is noticed.

use std::collections::{BTreeSet, HashMap};

use kopuro_core::digest::Digest;
use kopuro_core::time::UnixMillis;

/// The most statements remembered; beyond it the one that expires first is forgotten.
const SEEN_MAX: usize = 200_000;

/// Statements by digest, until they have expired.
#[derive(Debug, Default)]
pub(super) struct Seen {
    digests: HashMap<Digest, UnixMillis>,
    expiries: BTreeSet<(UnixMillis, Digest)>,
}

impl Seen {
    /// Notes a statement that cannot take effect after `until`. Says whether it is new.
    pub(super) fn note(&mut self, digest: Digest, until: UnixMillis, now: UnixMillis) -> bool {
        self.forget_expired(now);
        if self.digests.contains_key(&digest) {
            return false;
        }
        self.digests.insert(digest, until);
        self.expiries.insert((until, digest));
        if self.digests.len() > SEEN_MAX {
            self.forget_first();
        }
        true
    }

    /// Forgets a statement, as if it had not been seen.
    pub(super) fn forget(&mut self, digest: &Digest) {
        if let Some(until) = self.digests.remove(digest) {
            self.expiries.remove(&(until, *digest));
        }
    }

    fn forget_expired(&mut self, now: UnixMillis) {
        while self.expiries.first().is_some_and(|(until, _)| *until < now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, digest)) = self.expiries.pop_first() {
            self.digests.remove(&digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_new_once() {
        let mut seen = Seen::default();
        let (digest, until) = (Digest::of(b"statement"), UnixMillis::new(100));
        assert!(seen.note(digest, until, UnixMillis::new(1)));
        assert!(!seen.note(digest, until, UnixMillis::new(100)));
        assert!(
            seen.note(digest, until, UnixMillis::new(101)),
            "an expired statement is refused by its expiry"
        );
        assert_eq!(seen.digests.len(), seen.expiries.len());
        seen.forget(&digest);
        assert!(seen.digests.is_empty() && seen.expiries.is_empty());
    }
}
