//! The Merkle tree of RFC 6962, section 2.1: append-only, with proofs of inclusion and of consistency.
//!
//! `tlog_tiles` computes proofs from hashes in the order of Crosby and Wallach, in which a complete subtree is written
//! once and never changes; kept in memory here, two hashes an entry, and fit for tiles on disk. Its verification takes
//! any input without overflow or unbounded recursion (read in version 0.2.0), once the length of the proof is bounded.

use kopuro_core::digest::Digest;
use thiserror::Error;
use tlog_tiles::tlog::{self, Hash, HashReader};

#[cfg(test)]
mod tests;

/// The longest proof: a tree of 2⁶³ leaves has 63 levels above them, and a consistency proof one hash more.
pub const PROOF_LEN_MAX: usize = 64;
/// The most entries of a tree, so that no index of a stored hash overflows.
pub const SIZE_MAX: u64 = 1 << 48;

/// Why a tree has no such root or proof, or why a proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MerkleError {
    /// The index or size lies beyond the tree.
    #[error("the index or size lies beyond the tree")]
    OutOfRange,
    /// The proof does not lead to the given root, or is not of the length that the sizes demand.
    #[error("the proof does not hold")]
    Proof,
}

/// A Merkle tree in memory. **Units:** 64 bytes an entry.
#[derive(Clone, Debug, Default)]
pub struct MerkleTree {
    hashes: StoredHashes,
    size: u64,
}

impl MerkleTree {
    /// Makes an empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends an entry and returns its index.
    ///
    /// # Errors
    /// [`MerkleError::OutOfRange`] when the tree is full, at 2⁴⁸ entries.
    pub fn append(&mut self, entry: &[u8]) -> Result<u64, MerkleError> {
        self.append_leaf(leaf_hash(entry))
    }

    /// Appends the hash of an entry (see [`leaf_hash`]) and returns the entry's index.
    ///
    /// # Errors
    /// [`MerkleError::OutOfRange`] when the tree is full, at 2⁴⁸ entries.
    pub fn append_leaf(&mut self, leaf: Digest) -> Result<u64, MerkleError> {
        let index = self.size;
        if index >= SIZE_MAX {
            return Err(MerkleError::OutOfRange);
        }
        let completed = tlog::stored_hashes_for_record_hash(index, Hash(*leaf.as_bytes()), &self.hashes);
        self.hashes.0.extend(completed.map_err(|_| MerkleError::OutOfRange)?.into_iter().map(to_digest));
        self.size += 1;
        Ok(index)
    }

    /// The root of the whole tree; of an empty one SHA-256 of nothing.
    pub fn root(&self) -> Digest {
        self.root_at(self.size).expect("a tree has a root at its own size")
    }

    /// The root that the tree had when it had `size` entries.
    ///
    /// # Errors
    /// [`MerkleError::OutOfRange`] when it has not had that many.
    pub fn root_at(&self, size: u64) -> Result<Digest, MerkleError> {
        self.refuse_beyond(size)?;
        tlog::tree_hash(size, &self.hashes).map(to_digest).map_err(|_| MerkleError::OutOfRange)
    }

    /// The hash of an entry.
    ///
    /// # Errors
    /// [`MerkleError::OutOfRange`] when there is no such entry.
    pub fn leaf(&self, index: u64) -> Result<Digest, MerkleError> {
        let leaf = (index < self.size).then(|| self.hashes.get(tlog::stored_hash_index(0, index))).flatten();
        leaf.ok_or(MerkleError::OutOfRange)
    }

    /// Proves that the tree of `size` entries contains the entry at `index`. The leaf's sibling comes first.
    ///
    /// # Errors
    /// [`MerkleError::OutOfRange`] unless `index < size ≤` the tree's size.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Digest>, MerkleError> {
        self.refuse_beyond(size)?;
        if index >= size {
            return Err(MerkleError::OutOfRange);
        }
        let proof = tlog::prove_record(size, index, &self.hashes).map_err(|_| MerkleError::OutOfRange)?;
        Ok(proof.into_iter().map(to_digest).collect())
    }

    /// Proves that the first `old_size` entries of the tree of `new_size` entries are those of the tree of
    /// `old_size`. Every tree continues the empty one, and itself, without proof.
    ///
    /// # Errors
    /// [`MerkleError::OutOfRange`] unless `old_size ≤ new_size ≤` the tree's size.
    pub fn consistency_proof(&self, old_size: u64, new_size: u64) -> Result<Vec<Digest>, MerkleError> {
        self.refuse_beyond(new_size)?;
        if old_size > new_size {
            return Err(MerkleError::OutOfRange);
        }
        if old_size == 0 {
            return Ok(Vec::new());
        }
        let proof =
            tlog::prove_tree(new_size, old_size, &self.hashes).map_err(|_| MerkleError::OutOfRange)?;
        Ok(proof.into_iter().map(to_digest).collect())
    }

    fn refuse_beyond(&self, size: u64) -> Result<(), MerkleError> {
        if size > self.size { Err(MerkleError::OutOfRange) } else { Ok(()) }
    }
}

/// The hash of an entry as a leaf: `SHA-256(00 ‖ entry)`.
pub fn leaf_hash(entry: &[u8]) -> Digest {
    to_digest(tlog::record_hash(entry))
}

/// Verifies that a tree of `size` entries and that `root` contains the entry with the hash `leaf` at `index`.
///
/// # Errors
/// [`MerkleError::OutOfRange`] unless `index < size`; [`MerkleError::Proof`] when the proof does not hold.
pub fn verify_inclusion(
    leaf: &Digest,
    index: u64,
    size: u64,
    root: &Digest,
    proof: &[Digest],
) -> Result<(), MerkleError> {
    if index >= size || size > SIZE_MAX {
        return Err(MerkleError::OutOfRange);
    }
    let proof = to_hashes(proof)?;
    tlog::check_record(&proof, size, to_hash(root), index, to_hash(leaf)).map_err(|_| MerkleError::Proof)
}

/// Verifies that the tree of `new_size` entries and `new_root` continues the tree of `old_size` entries and
/// `old_root`.
///
/// # Errors
/// [`MerkleError::OutOfRange`] unless `old_size ≤ new_size`; [`MerkleError::Proof`] when the proof does not hold, the
/// root of an empty tree is not that of one, or equal sizes have different roots: a fork.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Digest,
    new_size: u64,
    new_root: &Digest,
    proof: &[Digest],
) -> Result<(), MerkleError> {
    if old_size > new_size || new_size > SIZE_MAX {
        return Err(MerkleError::OutOfRange);
    }
    let proof = to_hashes(proof)?;
    if old_size == 0 {
        let empty = Digest::of(&[]);
        let holds = proof.is_empty() && *old_root == empty && (new_size > 0 || *new_root == empty);
        return if holds { Ok(()) } else { Err(MerkleError::Proof) };
    }
    let checked = tlog::check_tree(&proof, new_size, to_hash(new_root), old_size, to_hash(old_root));
    checked.map_err(|_| MerkleError::Proof)
}

/// The hashes of all complete subtrees.
#[derive(Clone, Debug, Default)]
struct StoredHashes(Vec<Digest>);

impl StoredHashes {
    fn get(&self, index: u64) -> Option<Digest> {
        usize::try_from(index).ok().and_then(|index| self.0.get(index)).copied()
    }
}

impl HashReader for StoredHashes {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, tlog::Error> {
        let hash = |index: &u64| self.get(*index).as_ref().map(to_hash).ok_or(tlog::Error::IndexesNotInTree);
        indexes.iter().map(hash).collect()
    }
}

fn to_hashes(proof: &[Digest]) -> Result<Vec<Hash>, MerkleError> {
    if proof.len() > PROOF_LEN_MAX {
        return Err(MerkleError::Proof);
    }
    Ok(proof.iter().map(to_hash).collect())
}

fn to_hash(digest: &Digest) -> Hash {
    Hash(*digest.as_bytes())
}

fn to_digest(hash: Hash) -> Digest {
    Digest::from_bytes(hash.0)
}
