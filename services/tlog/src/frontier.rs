//! The right edge of a Merkle tree: all that is needed to append to it and to know its root.

use kopuro_core::digest::Digest;

use crate::merkle::leaf_hash;

/// A tree of which only the roots of its complete subtrees are kept, largest first: at most 64 hashes, however many
/// entries. Cloning it is cheap, so every state of a log can carry its own.
///
/// **Source:** RFC 6962, section 2.1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    subtrees: Vec<Digest>,
}

impl Frontier {
    /// The number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry, which is itself a digest of what the log holds.
    pub fn push(&mut self, entry: &Digest) {
        let mut node = leaf_hash(entry.as_bytes());
        for _ in 0..self.size.trailing_ones() {
            let left = self.subtrees.pop().expect("a subtree stands for every set bit of the size");
            node = join(&left, &node);
        }
        self.subtrees.push(node);
        self.size += 1;
    }

    /// The root: `SHA256("")` of an empty tree.
    pub fn root(&self) -> Digest {
        let mut subtrees = self.subtrees.iter().rev().copied();
        let smallest = subtrees.next();
        smallest
            .map_or_else(|| Digest::of(b""), |right| subtrees.fold(right, |right, left| join(&left, &right)))
    }
}

fn join(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::MerkleTree;

    #[test]
    fn it_has_the_root_of_the_whole_tree_at_every_size() {
        let (mut frontier, mut tree) = (Frontier::default(), MerkleTree::new());
        assert_eq!(frontier.root(), tree.root());
        for number in 0..70_u8 {
            let entry = Digest::of(&[number]);
            frontier.push(&entry);
            tree.append(entry.as_bytes()).unwrap();
            assert_eq!((frontier.size(), frontier.root()), (tree.size(), tree.root()));
        }
    }
}
