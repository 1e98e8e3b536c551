//! The tree against the definition of RFC 6962, section 2.1, written out recursively, and against known values.

use proptest::prelude::*;

use super::*;

/// The entries of the reference tree of Certificate Transparency, and its roots at sizes 0 to 8.
/// **Source:** github.com/transparency-dev/merkle, testonly/constants.go; RFC 6962's own reference code has the same.
const ENTRIES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn reference_tree() -> MerkleTree {
    let mut tree = MerkleTree::new();
    for (index, entry) in ENTRIES.iter().enumerate() {
        assert_eq!(tree.append(&bytes(entry)), Ok(index as u64));
    }
    tree
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn roots_are_those_of_the_reference_tree() {
    let tree = reference_tree();
    for (size, root) in ROOTS.iter().enumerate() {
        assert_eq!(tree.root_at(size as u64).unwrap().to_string(), *root);
    }
    assert_eq!(tree.root().to_string(), ROOTS[8]);
    assert_eq!(MerkleTree::new().root().to_string(), ROOTS[0]);
}

/// **Source:** the same; a proof of inclusion and one of consistency.
#[test]
fn proofs_are_those_of_the_reference_tree() {
    let tree = reference_tree();
    let inclusion = tree.inclusion_proof(5, 8).unwrap();
    assert_eq!(
        inclusion.iter().map(Digest::to_string).collect::<Vec<_>>(),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
    let consistency = tree.consistency_proof(6, 8).unwrap();
    assert_eq!(
        consistency.iter().map(Digest::to_string).collect::<Vec<_>>(),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ]
    );
}

#[test]
fn what_lies_beyond_the_tree_is_refused() {
    let tree = reference_tree();
    let beyond = Err(MerkleError::OutOfRange);
    assert_eq!(tree.root_at(9), beyond);
    assert_eq!(tree.leaf(8), beyond);
    for (index, size) in [(8, 8), (5, 5), (0, 9), (0, 0), (u64::MAX, u64::MAX)] {
        assert_eq!(tree.inclusion_proof(index, size), Err(MerkleError::OutOfRange));
    }
    for (old, new) in [(3, 2), (0, 9), (9, 9), (u64::MAX, u64::MAX)] {
        assert_eq!(tree.consistency_proof(old, new), Err(MerkleError::OutOfRange));
    }
    let root = tree.root();
    for (index, size) in [(0, 0), (8, 8), (u64::MAX, u64::MAX), (0, u64::MAX), (SIZE_MAX, SIZE_MAX + 1)] {
        assert_eq!(verify_inclusion(&root, index, size, &root, &[]), beyond.map(drop));
    }
    for (old, new) in [(2, 1), (0, u64::MAX), (u64::MAX, u64::MAX)] {
        assert_eq!(verify_consistency(old, &root, new, &root, &[]), beyond.map(drop));
    }
}

#[test]
fn strange_proofs_are_refused() {
    let root = reference_tree().root();
    for len in [0, 1, 63, 64, 65, 10_000] {
        let proof = vec![root; len];
        assert_eq!(verify_inclusion(&root, 1, SIZE_MAX, &root, &proof), Err(MerkleError::Proof));
        assert_eq!(verify_consistency(1, &root, SIZE_MAX, &root, &proof), Err(MerkleError::Proof));
    }
}

#[test]
fn a_tree_of_one_entry_needs_no_proof() {
    let leaf = leaf_hash(b"entry");
    assert_eq!(verify_inclusion(&leaf, 0, 1, &leaf, &[]), Ok(()));
    assert_eq!(verify_inclusion(&leaf, 0, 1, &leaf, &[leaf]), Err(MerkleError::Proof));
    assert_eq!(verify_inclusion(&leaf, 0, 1, &Digest::of(b"other"), &[]), Err(MerkleError::Proof));
}

#[test]
fn every_tree_continues_the_empty_one_and_itself() {
    let (empty, root, other) = (Digest::of(&[]), reference_tree().root(), Digest::of(b"other"));
    assert_eq!(verify_consistency(0, &empty, 8, &root, &[]), Ok(()));
    assert_eq!(verify_consistency(0, &empty, 0, &empty, &[]), Ok(()));
    assert_eq!(verify_consistency(8, &root, 8, &root, &[]), Ok(()));
    for (old, old_root, new, new_root, proof) in [
        (0, other, 8, root, &[][..]),
        (0, empty, 0, other, &[]),
        (0, empty, 8, root, &[root]),
        (8, root, 8, other, &[]),
        (8, root, 8, root, &[root]),
    ] {
        assert_eq!(verify_consistency(old, &old_root, new, &new_root, proof), Err(MerkleError::Proof));
    }
}

/// MTH of RFC 6962, section 2.1.
fn naive_root(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Digest::of(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            Digest::of_parts(&[&[1], naive_root(left).as_bytes(), naive_root(right).as_bytes()])
        }
    }
}

/// PATH of RFC 6962, section 2.1.1.
fn naive_path(index: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut path, sibling) = if index < left.len() {
        (naive_path(index, left), naive_root(right))
    } else {
        (naive_path(index - left.len(), right), naive_root(left))
    };
    path.push(sibling);
    path
}

/// SUBPROOF of RFC 6962, section 2.1.2.
fn naive_subproof(old: usize, leaves: &[Digest], complete: bool) -> Vec<Digest> {
    if old == leaves.len() {
        return if complete { Vec::new() } else { vec![naive_root(leaves)] };
    }
    let (left, right) = leaves.split_at(split(leaves.len()));
    let (mut proof, sibling) = if old <= left.len() {
        (naive_subproof(old, left, complete), naive_root(right))
    } else {
        (naive_subproof(old - left.len(), right, false), naive_root(left))
    };
    proof.push(sibling);
    proof
}

/// The largest power of two below `len`.
fn split(len: usize) -> usize {
    1 << (len - 1).ilog2()
}

fn grown(size: usize) -> (MerkleTree, Vec<Digest>) {
    let mut tree = MerkleTree::new();
    let leaves: Vec<_> = (0..size).map(|entry| leaf_hash(&entry.to_be_bytes())).collect();
    for leaf in &leaves {
        tree.append_leaf(*leaf).unwrap();
    }
    (tree, leaves)
}

fn flipped(digest: &Digest, bit: usize) -> Digest {
    let mut bytes = *digest.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Digest::from_bytes(bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn roots_and_proofs_are_those_of_the_definition(size in 1..300_usize, old in 0..300_usize, index in 0..300_usize) {
        let (tree, leaves) = grown(300);
        let (old, index) = (old % (size + 1), index % size);
        let root = naive_root(&leaves[..size]);
        prop_assert_eq!(tree.root_at(size as u64), Ok(root));
        prop_assert_eq!(tree.leaf(index as u64), Ok(leaves[index]));

        let path = tree.inclusion_proof(index as u64, size as u64).unwrap();
        prop_assert_eq!(&path, &naive_path(index, &leaves[..size]));
        prop_assert_eq!(verify_inclusion(&leaves[index], index as u64, size as u64, &root, &path), Ok(()));

        let old_root = naive_root(&leaves[..old]);
        let proof = tree.consistency_proof(old as u64, size as u64).unwrap();
        if old > 0 {
            prop_assert_eq!(&proof, &naive_subproof(old, &leaves[..size], true));
        }
        prop_assert_eq!(verify_consistency(old as u64, &old_root, size as u64, &root, &proof), Ok(()));
    }

    #[test]
    fn a_changed_proof_does_not_hold(size in 2..300_usize, old in 1..300_usize, index in 0..300_usize, bit in 0..256_usize) {
        let (tree, leaves) = grown(size);
        let (old, index) = (1 + old % (size - 1), index % size);
        let (root, old_root) = (tree.root(), tree.root_at(old as u64).unwrap());
        let path = tree.inclusion_proof(index as u64, size as u64).unwrap();
        let includes = |leaf: &Digest, root: &Digest, path: &[Digest]| {
            verify_inclusion(leaf, index as u64, size as u64, root, path).is_ok()
        };
        prop_assert!(!includes(&flipped(&leaves[index], bit), &root, &path));
        prop_assert!(!includes(&leaves[index], &flipped(&root, bit), &path));
        for changed in changes(&path, bit) {
            prop_assert!(!includes(&leaves[index], &root, &changed));
        }
        let other = (index + 1) % size;
        prop_assert!(verify_inclusion(&leaves[index], other as u64, size as u64, &root, &path).is_err());

        let proof = tree.consistency_proof(old as u64, size as u64).unwrap();
        let continues = |old_root: &Digest, root: &Digest, proof: &[Digest]| {
            verify_consistency(old as u64, old_root, size as u64, root, proof).is_ok()
        };
        prop_assert!(!continues(&flipped(&old_root, bit), &root, &proof));
        prop_assert!(!continues(&old_root, &flipped(&root, bit), &proof));
        for changed in changes(&proof, bit) {
            prop_assert!(!continues(&old_root, &root, &changed));
        }
    }
}

/// A proof with each hash flipped in one bit, one hash short, and one hash long.
fn changes(proof: &[Digest], bit: usize) -> Vec<Vec<Digest>> {
    let mut all: Vec<_> = (0..proof.len())
        .map(|at| {
            let mut changed = proof.to_vec();
            changed[at] = flipped(&changed[at], bit);
            changed
        })
        .collect();
    all.extend((!proof.is_empty()).then(|| proof[1..].to_vec()));
    all.push([proof, &[Digest::of(b"extra")]].concat());
    all
}
