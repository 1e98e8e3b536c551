//! The signer's chain: every statement names the one before it in its topic-partition, so that the recipient and the
//! ledger notice what a broker drops, repeats or reorders.

use std::collections::HashMap;

use crate::digest::{Digest, KeyId};

/// The most signers whose chains one watch follows; beyond it the chain that was quiet longest is forgotten.
const SIGNERS_MAX: usize = 4096;

/// A statement's place in its signer's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// 16 random bytes, drawn when the signing replica started.
    pub epoch: [u8; 16],
    /// The statement's number within epoch and topic-partition, from 1.
    pub sequence: u64,
    /// The statement digest of the one before; absent on the first.
    pub previous: Option<Digest>,
}

impl Link {
    /// Reads a link; `None` unless the first of a chain, and only the first, has no predecessor.
    pub fn read(epoch: &[u8], sequence: u64, previous: Option<Digest>) -> Option<Self> {
        let epoch = epoch.try_into().ok()?;
        let goes_together = sequence > 0 && (sequence == 1) == previous.is_none();
        goes_together.then_some(Self { epoch, sequence, previous })
    }
}

/// The end of the chain that a replica signs for one topic-partition.
#[derive(Clone, Copy, Debug)]
pub struct ChainHead {
    epoch: [u8; 16],
    last: Option<(u64, Digest)>,
}

impl ChainHead {
    /// Starts a chain under a fresh epoch.
    pub fn new(epoch: [u8; 16]) -> Self {
        Self { epoch, last: None }
    }

    /// The link that the next statement carries.
    pub fn next(&self) -> Link {
        let (sequence, previous) = match self.last {
            Some((sequence, digest)) => (sequence + 1, Some(digest)),
            None => (1, None),
        };
        Link { epoch: self.epoch, sequence, previous }
    }

    /// Takes note that the statement with the next link has been given to the broker.
    pub fn advance(&mut self, digest: Digest) {
        self.last = Some((self.next().sequence, digest));
    }
}

/// What a statement's link says about the broker's delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The statement follows the one before it.
    InOrder,
    /// The first statement seen of this chain; nothing can be said of what came before.
    Joined,
    /// Statements are missing.
    Gap {
        /// The first sequence number missing.
        first: u64,
        /// The last sequence number missing.
        last: u64,
    },
    /// The statement comes after a later one of its chain, or again.
    Late,
    /// The statement names another predecessor than the one seen.
    Forked,
}

impl Continuity {
    /// Whether the delivery is as the signer made it.
    pub fn is_sound(self) -> bool {
        match self {
            Self::InOrder | Self::Joined => true,
            Self::Gap { .. } | Self::Late | Self::Forked => false,
        }
    }
}

/// Follows the chains of all signers in one topic-partition.
#[derive(Debug, Default)]
pub struct ChainWatch {
    seen: HashMap<(KeyId, [u8; 16]), Seen>,
    tick: u64,
}

#[derive(Debug)]
struct Seen {
    sequence: u64,
    digest: Digest,
    tick: u64,
}

impl ChainWatch {
    /// Takes note of a verified statement, in the order in which the broker delivers it.
    pub fn observe(&mut self, signer: KeyId, link: &Link, digest: Digest) -> Continuity {
        self.tick += 1;
        let continuity = self.continuity(&signer, link);
        if continuity != Continuity::Late {
            self.make_room();
            self.seen.insert((signer, link.epoch), Seen { sequence: link.sequence, digest, tick: self.tick });
        }
        continuity
    }

    fn continuity(&self, signer: &KeyId, link: &Link) -> Continuity {
        let Some(seen) = self.seen.get(&(*signer, link.epoch)) else {
            return Continuity::Joined;
        };
        if link.sequence <= seen.sequence {
            Continuity::Late
        } else if link.sequence > seen.sequence + 1 {
            Continuity::Gap { first: seen.sequence + 1, last: link.sequence - 1 }
        } else if link.previous == Some(seen.digest) {
            Continuity::InOrder
        } else {
            Continuity::Forked
        }
    }

    fn make_room(&mut self) {
        if self.seen.len() < SIGNERS_MAX {
            return;
        }
        let quietest = self.seen.iter().min_by_key(|(_, seen)| seen.tick).map(|(key, _)| *key);
        if let Some(key) = quietest {
            self.seen.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(count: u8) -> Vec<(Link, Digest)> {
        let mut head = ChainHead::new([5; 16]);
        let sign = |number: u8| {
            let (link, digest) = (head.next(), Digest::of(&[number]));
            head.advance(digest);
            (link, digest)
        };
        (0..count).map(sign).collect()
    }

    fn observed(watch: &mut ChainWatch, (link, digest): &(Link, Digest)) -> Continuity {
        watch.observe(KeyId::of_spki(b"signer"), link, *digest)
    }

    #[test]
    fn a_chain_in_order_is_sound() {
        let mut watch = ChainWatch::default();
        let seen: Vec<_> = signed(3).iter().map(|statement| observed(&mut watch, statement)).collect();
        assert_eq!(seen, [Continuity::Joined, Continuity::InOrder, Continuity::InOrder]);
    }

    #[test]
    fn a_dropped_statement_is_a_gap_with_its_range() {
        let (mut watch, chain) = (ChainWatch::default(), signed(5));
        observed(&mut watch, &chain[0]);
        assert_eq!(observed(&mut watch, &chain[4]), Continuity::Gap { first: 2, last: 4 });
    }

    #[test]
    fn a_repeated_or_reordered_statement_is_late() {
        let (mut watch, chain) = (ChainWatch::default(), signed(3));
        observed(&mut watch, &chain[0]);
        observed(&mut watch, &chain[2]);
        assert_eq!(observed(&mut watch, &chain[1]), Continuity::Late);
        assert_eq!(observed(&mut watch, &chain[2]), Continuity::Late);
    }

    #[test]
    fn another_predecessor_is_a_fork() {
        let (mut watch, chain) = (ChainWatch::default(), signed(2));
        observed(&mut watch, &(chain[0].0, Digest::of(b"other")));
        assert_eq!(observed(&mut watch, &chain[1]), Continuity::Forked);
    }

    #[test]
    fn the_watch_is_bounded() {
        let mut watch = ChainWatch::default();
        let (link, digest) = signed(1)[0];
        for number in 0..SIGNERS_MAX + 10 {
            watch.observe(KeyId::of_spki(&number.to_be_bytes()), &link, digest);
        }
        assert_eq!(watch.seen.len(), SIGNERS_MAX);
    }
}
