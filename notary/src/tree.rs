//! The append-only Merkle tree of RFC 6962 (RFC 9162 section 2.1): roots, inclusion and consistency.
//! The tree itself is kept by whoever runs the log, as the C2SP tlog's numbered hashes; this module
//! computes and checks. The arithmetic is `tlog_tiles`'; here stand the types and the refusals.

use crate::commitment::ENTRY_BYTES;
use std::collections::HashMap;
use std::fmt;
pub use tlog_tiles::tlog::{Hash as StoredHash, HashReader, stored_hash_count, stored_hash_index};
pub use tlog_tiles::{Error as TlogError, Tile};

/// The height of tiles that the C2SP tlog-tiles format fixes.
pub const TILE_HEIGHT: u8 = 8;
/// The longest proof: one hash a level of a tree of 2^63 leaves, and one more for consistency.
pub const MAX_PROOF: usize = 64;

/// The root of a tree of some size.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Root(pub [u8; 32]);

/// The hash of one entry as a leaf.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeafHash(pub [u8; 32]);

/// The hashes of an inclusion or consistency proof.
pub type Proof = Vec<[u8; 32]>;

/// Why a proof does not hold, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("the entry is not in the tree of this root at this place")]
    NotIncluded,
    #[error("the two trees do not share one history")]
    NotConsistent,
    #[error("the tree's stored hashes cannot be read: {0}")]
    Storage(String),
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Root({self})")
    }
}

impl fmt::Debug for LeafHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeafHash({})", hex::encode(self.0))
    }
}

impl LeafHash {
    /// The leaf of an entry: SHA-256(0x00 || entry).
    pub fn of(entry: &[u8; ENTRY_BYTES]) -> Self {
        Self::of_bytes(entry)
    }

    /// The leaf of any record.
    pub fn of_bytes(record: &[u8]) -> Self {
        Self(tlog_tiles::tlog::record_hash(record).0)
    }
}

/// The hashes to store when a leaf is appended to a tree of `size` leaves, numbered from
/// `stored_hash_count(size)` on.
pub fn append(size: u64, leaf: LeafHash, reader: &impl HashReader) -> Result<Vec<[u8; 32]>, TreeError> {
    let hashes = tlog_tiles::tlog::stored_hashes_for_record_hash(size, StoredHash(leaf.0), reader);
    Ok(hashes.map_err(storage)?.into_iter().map(|h| h.0).collect())
}

/// The root of the first `size` leaves.
pub fn root(size: u64, reader: &impl HashReader) -> Result<Root, TreeError> {
    tlog_tiles::tlog::tree_hash(size, reader).map(|h| Root(h.0)).map_err(storage)
}

/// Proves that leaf `index` is in the tree of `size` leaves.
pub fn prove_inclusion(size: u64, index: u64, reader: &impl HashReader) -> Result<Proof, TreeError> {
    if index >= size {
        return Err(TreeError::NotIncluded);
    }
    let proof = tlog_tiles::tlog::prove_record(size, index, reader).map_err(storage)?;
    Ok(proof.into_iter().map(|h| h.0).collect())
}

/// Proves that the tree of `old` leaves is a prefix of the tree of `new`; empty from nothing.
pub fn prove_consistency(old: u64, new: u64, reader: &impl HashReader) -> Result<Proof, TreeError> {
    match old {
        0 => return Ok(Vec::new()),
        _ if old > new => return Err(TreeError::NotConsistent),
        _ => {}
    }
    let proof = tlog_tiles::tlog::prove_tree(new, old, reader).map_err(storage)?;
    Ok(proof.into_iter().map(|h| h.0).collect())
}

/// Checks an inclusion proof (RFC 9162 section 2.1.3.2).
pub fn check_inclusion(proof: &[[u8; 32]], size: u64, root: Root, index: u64, leaf: LeafHash) -> Result<(), TreeError> {
    if index >= size || proof.len() > MAX_PROOF || size > i64::MAX as u64 {
        return Err(TreeError::NotIncluded);
    }
    let proof = stored(proof);
    tlog_tiles::tlog::check_record(&proof, size, StoredHash(root.0), index, StoredHash(leaf.0))
        .map_err(|_| TreeError::NotIncluded)
}

/// Checks a consistency proof (RFC 9162 section 2.1.4.2). Everything extends the empty tree.
pub fn check_consistency(proof: &[[u8; 32]], old: (u64, Root), new: (u64, Root)) -> Result<(), TreeError> {
    if old.0 == 0 {
        return if proof.is_empty() { Ok(()) } else { Err(TreeError::NotConsistent) };
    }
    if old.0 > new.0 || proof.len() > MAX_PROOF || new.0 > i64::MAX as u64 {
        return Err(TreeError::NotConsistent);
    }
    let proof = stored(proof);
    tlog_tiles::tlog::check_tree(&proof, new.0, StoredHash(new.1.0), old.0, StoredHash(old.1.0))
        .map_err(|_| TreeError::NotConsistent)
}

/// The tiles to publish when the tree grows, as (path, tile).
pub fn new_tiles(old: u64, new: u64) -> Vec<Tile> {
    Tile::new_tiles(TILE_HEIGHT, old, new)
}

fn stored(proof: &[[u8; 32]]) -> Vec<StoredHash> {
    proof.iter().copied().map(StoredHash).collect()
}

fn storage(error: TlogError) -> TreeError {
    TreeError::Storage(error.to_string())
}

/// A tree in memory: the whole list of stored hashes. For verifiers, tests and small logs.
#[derive(Debug, Default, Clone)]
pub struct MemoryTree {
    size: u64,
    hashes: Vec<[u8; 32]>,
}

impl MemoryTree {
    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf.
    pub fn push(&mut self, leaf: LeafHash) -> Result<(), TreeError> {
        let new = append(self.size, leaf, self)?;
        self.hashes.extend(new);
        self.size += 1;
        Ok(())
    }
}

impl HashReader for MemoryTree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<StoredHash>, TlogError> {
        let one = |&i: &u64| usize::try_from(i).ok().and_then(|i| self.hashes.get(i)).copied().map(StoredHash);
        indexes.iter().map(one).collect::<Option<_>>().ok_or(TlogError::IndexesNotInTree)
    }
}

/// A tree of which only the right edge is kept: what appending needs, and the root. For whoever walks through a long log.
#[derive(Debug, Default, Clone)]
pub struct EdgeTree {
    size: u64,
    edge: HashMap<u64, StoredHash>,
}

impl EdgeTree {
    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf; gives the hashes that are stored for it.
    pub fn push(&mut self, leaf: LeafHash) -> Result<Vec<[u8; 32]>, TreeError> {
        let new = append(self.size, leaf, self)?;
        self.size += 1;
        // The subtrees that this leaf completes swallow their left halves: what is left is one for each bit of the size.
        for (level, hash) in new.iter().enumerate() {
            let (level, number) = (level as u8, self.size >> level);
            self.edge.insert(stored_hash_index(level, number - 1), StoredHash(*hash));
            if level > 0 {
                let (left, right) = (number * 2 - 2, number * 2 - 1);
                self.edge.remove(&stored_hash_index(level - 1, left));
                self.edge.remove(&stored_hash_index(level - 1, right));
            }
        }
        Ok(new)
    }

    /// The root.
    pub fn root(&self) -> Result<Root, TreeError> {
        root(self.size, self)
    }
}

impl HashReader for EdgeTree {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<StoredHash>, TlogError> {
        indexes.iter().map(|i| self.edge.get(i).copied()).collect::<Option<_>>().ok_or(TlogError::IndexesNotInTree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tree(size: u64) -> (MemoryTree, Vec<LeafHash>) {
        let mut tree = MemoryTree::default();
        let leaves: Vec<_> = (0..size).map(|i| LeafHash::of_bytes(format!("medseal-vector-{i}").as_bytes())).collect();
        leaves.iter().for_each(|leaf| tree.push(*leaf).unwrap());
        (tree, leaves)
    }

    fn hash(text: &serde_json::Value) -> [u8; 32] {
        let mut out = [0; 32];
        hex::decode_to_slice(text.as_str().unwrap().trim_start_matches("0x"), &mut out).unwrap();
        out
    }

    fn hashes(list: &serde_json::Value) -> Proof {
        list.as_array().unwrap().iter().map(hash).collect()
    }

    #[test]
    fn the_vectors_hold() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../vectors/tree.json")).unwrap();
        let number = |case: &serde_json::Value, name: &str| case[name].as_u64().unwrap();
        for case in file["trees"].as_array().unwrap() {
            let size = number(case, "size");
            assert_eq!(root(size, &tree(size).0).unwrap().0, hash(&case["root"]));
        }
        for case in file["inclusion"].as_array().unwrap() {
            let (size, index, proof) = (number(case, "size"), number(case, "index"), hashes(&case["proof"]));
            let (tree, leaves) = tree(size);
            assert_eq!(prove_inclusion(size, index, &tree).unwrap(), proof);
            check_inclusion(&proof, size, Root(hash(&case["root"])), index, leaves[index as usize]).unwrap();
        }
        for case in file["consistency"].as_array().unwrap() {
            let (old, new, proof) = (number(case, "first"), number(case, "second"), hashes(&case["proof"]));
            let roots = (Root(hash(&case["firstRoot"])), Root(hash(&case["secondRoot"])));
            assert_eq!(prove_consistency(old, new, &tree(new).0).unwrap(), proof);
            check_consistency(&proof, (old, roots.0), (new, roots.1)).unwrap();
        }
    }

    #[test]
    fn the_edge_is_enough_for_hashes_and_roots() {
        let (mut whole, mut edge) = (MemoryTree::default(), EdgeTree::default());
        for leaf in tree(300).1 {
            let before = whole.hashes.len();
            whole.push(leaf).unwrap();
            assert_eq!(edge.push(leaf).unwrap(), whole.hashes[before..]);
            assert_eq!((edge.root().unwrap(), edge.size()), (root(whole.size(), &whole).unwrap(), whole.size()));
            assert!(edge.edge.len() <= 9);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_leaf_proves_and_none_proves_elsewhere(size in 1u64..90, index in 0u64..90, other in 0u64..90) {
            let (tree, leaves) = tree(size);
            let (index, other) = (index % size, other % size);
            let root = root(size, &tree).unwrap();
            let proof = prove_inclusion(size, index, &tree).unwrap();
            prop_assert!(check_inclusion(&proof, size, root, index, leaves[index as usize]).is_ok());
            let elsewhere = check_inclusion(&proof, size, root, other, leaves[index as usize]);
            prop_assert_eq!(elsewhere.is_ok(), index == other);
            let swapped = check_inclusion(&proof, size, root, index, leaves[other as usize]);
            prop_assert_eq!(swapped.is_ok(), index == other);
            for at in 0..proof.len() {
                let mut forged = proof.clone();
                forged[at][at % 32] ^= 1;
                prop_assert!(check_inclusion(&forged, size, root, index, leaves[index as usize]).is_err());
            }
        }

        #[test]
        fn ct_merkle_agrees(old in 1usize..60, more in 0usize..30) {
            use ct_merkle::mem_backed_tree::MemoryBackedTree;
            let new = old + more;
            let mut oracle = MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
            (0..new).for_each(|i| oracle.push(format!("medseal-vector-{i}").into_bytes()));
            let (ours, _) = tree(new as u64);
            let theirs = oracle.root().as_bytes().to_vec();
            prop_assert_eq!(theirs, root(new as u64, &ours).unwrap().0.to_vec());
            let theirs = oracle.prove_inclusion(old - 1).as_bytes().to_vec();
            let proof = prove_inclusion(new as u64, old as u64 - 1, &ours).unwrap();
            prop_assert_eq!(theirs, proof.concat());
            let theirs = oracle.prove_consistency(more).as_bytes().to_vec();
            let proof = prove_consistency(old as u64, new as u64, &ours).unwrap();
            prop_assert_eq!(theirs, proof.concat());
        }

        #[test]
        fn a_rewritten_history_is_not_consistent(old in 1u64..40, more in 0u64..20, at in 0u64..40) {
            let (honest, leaves) = tree(old + more);
            let mut forged = MemoryTree::default();
            for (i, leaf) in leaves.iter().enumerate() {
                let changed = i as u64 == at % old;
                forged.push(if changed { LeafHash([9; 32]) } else { *leaf }).unwrap();
            }
            let first = (old, root(old, &honest).unwrap());
            let second = (old + more, root(old + more, &forged).unwrap());
            let proof = prove_consistency(old, old + more, &forged).unwrap();
            prop_assert!(check_consistency(&proof, first, second).is_err());
        }
    }
}
