//! An erasure: the key of a patient was destroyed, and with it everything that was sealed under it. The log has a tombstone for
//! it, whose commitment binds whose key it was, when, and which log entries lost their content. Pure.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::commitment::{Commitment, Digest, Entry, Kind, Salt, keyed, length};
use crate::receipt::{ReceiptError, TlogProof};
use crate::tree::{LeafHash, MAX_PROOF, MemoryTree, Proof, Root, TreeError, check_inclusion, prove_inclusion, root};
use serde::{Deserialize, Serialize};

/// The domain of erasures; a new suite takes a new text.
const DOMAIN: &[u8] = b"medseal/v1/erasure\0";

/// What the commitment of an erasure binds.
#[derive(Clone, Copy, Debug)]
pub struct Erased<'e> {
    pub custodian: &'e str,
    /// Whose key was destroyed, `Patient/id`.
    pub owner: &'e str,
    /// When, as a FHIR instant.
    pub time: &'e str,
    /// A salted hash of the reason.
    pub reason: Digest,
    /// The entries whose content is gone: how many, and the root of the tree over them.
    pub size: u64,
    pub root: Root,
}

/// The entries that an erasure closes, as a tree of their own: in the order of their bytes, each once, so that whoever has them
/// comes to the same root.
#[derive(Debug)]
pub struct ErasedEntries {
    entries: Vec<Vec<u8>>,
    tree: MemoryTree,
}

/// The part of a receipt that speaks of an erasure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ErasureProof {
    /// Whose key was destroyed, `Patient/id`.
    pub owner: String,
    /// When, as a FHIR instant.
    pub time: String,
    /// A salted hash of the reason, hexadecimal.
    pub reason: String,
    /// The salt of the tombstone's commitment, hexadecimal.
    pub salt: String,
    /// How many entries the erasure closed, and the root over them.
    pub size: u64,
    pub root: String,
    /// That the receipt's entry is one of them.
    pub index: u64,
    pub hashes: Vec<String>,
    /// The tombstone: the log entry, and its C2SP tlog-proof.
    pub entry: String,
    pub proof: String,
}

/// Why an erasure is not proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErasureFault {
    #[error("it cannot be read")]
    Malformed,
    #[error("the receipt's entry is not among those that were erased")]
    OtherEntry,
    #[error("what it says does not open the tombstone's commitment")]
    Opening,
    #[error("the tombstone is not in the log")]
    NotLogged,
}

impl Erased<'_> {
    /// The tombstone's log entry.
    pub fn entry(&self, salt: &Salt) -> Entry {
        Entry { kind: Kind::Tombstone, commitment: self.commitment(salt) }
    }

    fn commitment(&self, salt: &Salt) -> Commitment {
        let mut message = DOMAIN.to_vec();
        for part in [self.custodian, self.owner, self.time] {
            message.extend(length(part));
            message.extend(part.as_bytes());
        }
        message.extend(self.reason.0);
        message.extend(self.size.to_be_bytes());
        message.extend(self.root.0);
        keyed(salt, &message)
    }
}

impl ErasedEntries {
    /// The tree over entries.
    pub fn new(mut entries: Vec<Vec<u8>>) -> Result<Self, TreeError> {
        entries.sort_unstable();
        entries.dedup();
        let mut tree = MemoryTree::default();
        for entry in &entries {
            tree.push(LeafHash::of_bytes(entry))?;
        }
        Ok(Self { entries, tree })
    }

    /// How many there are.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The root over them.
    pub fn root(&self) -> Result<Root, TreeError> {
        root(self.size(), &self.tree)
    }

    /// Where an entry stands among them, and the proof of it.
    pub fn prove(&self, entry: &[u8]) -> Result<Option<(u64, Proof)>, TreeError> {
        let Ok(at) = self.entries.binary_search_by(|e| e.as_slice().cmp(entry)) else { return Ok(None) };
        Ok(Some((at as u64, prove_inclusion(self.size(), at as u64, &self.tree)?)))
    }
}

impl ErasureProof {
    /// Checks that the entry was erased, as the log's tombstone says. Gives the checkpoint that the tombstone stands under,
    /// which `open` checks the signature of.
    pub fn check(
        &self,
        custodian: &str,
        entry: &Entry,
        open: impl FnOnce(&str) -> Result<Checkpoint, CheckpointError>,
    ) -> Result<Checkpoint, ErasureFault> {
        let (erased, salt) = self.read(custodian)?;
        let hashes = self.hashes.iter().map(|h| digest(h).map(|d| d.0)).collect::<Result<Vec<_>, _>>()?;
        let leaf = LeafHash::of(&entry.to_bytes());
        check_inclusion(&hashes, erased.size, erased.root, self.index, leaf).map_err(|_| ErasureFault::OtherEntry)?;
        let tombstone = hex::decode(&self.entry).ok().and_then(|bytes| Entry::from_bytes(&bytes).ok());
        let tombstone = tombstone.ok_or(ErasureFault::Malformed)?;
        if tombstone != erased.entry(&salt) {
            return Err(ErasureFault::Opening);
        }
        self.logged(&tombstone, open)
    }

    fn read<'p>(&'p self, custodian: &'p str) -> Result<(Erased<'p>, Salt), ErasureFault> {
        if self.hashes.len() > MAX_PROOF {
            return Err(ErasureFault::Malformed);
        }
        let (reason, root) = (digest(&self.reason)?, Root(digest(&self.root)?.0));
        let erased = Erased { custodian, owner: &self.owner, time: &self.time, reason, size: self.size, root };
        Ok((erased, Salt(digest(&self.salt)?.0)))
    }

    fn logged(
        &self,
        tombstone: &Entry,
        open: impl FnOnce(&str) -> Result<Checkpoint, CheckpointError>,
    ) -> Result<Checkpoint, ErasureFault> {
        let proof = TlogProof::parse(&self.proof).map_err(|_: ReceiptError| ErasureFault::Malformed)?;
        let checkpoint = open(&proof.checkpoint).map_err(|_| ErasureFault::NotLogged)?;
        let leaf = LeafHash::of(&tombstone.to_bytes());
        let included = check_inclusion(&proof.hashes, checkpoint.size, checkpoint.root, proof.index, leaf);
        included.map_err(|_| ErasureFault::NotLogged).map(|()| checkpoint)
    }
}

fn digest(text: &str) -> Result<Digest, ErasureFault> {
    Digest::from_hex(text).ok_or(ErasureFault::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(count: u8) -> Vec<Vec<u8>> {
        (0..count)
            .map(|n| Entry { kind: Kind::Resource, commitment: Commitment([n; 32]) }.to_bytes().to_vec())
            .collect()
    }

    #[test]
    fn the_order_in_which_entries_come_makes_no_difference() {
        let (forwards, mut turned) = (entries(5), entries(5));
        turned.reverse();
        turned.push(turned[0].clone());
        let (one, other) = (ErasedEntries::new(forwards).unwrap(), ErasedEntries::new(turned).unwrap());
        assert_eq!((one.size(), one.root().unwrap()), (other.size(), other.root().unwrap()));
        for entry in entries(5) {
            let (index, proof) = one.prove(&entry).unwrap().unwrap();
            check_inclusion(&proof, 5, one.root().unwrap(), index, LeafHash::of_bytes(&entry)).unwrap();
        }
        assert!(one.prove(&[9; 35]).unwrap().is_none());
        assert_eq!(ErasedEntries::new(Vec::new()).unwrap().size(), 0, "a patient without a single entry");
    }

    #[test]
    fn the_commitment_binds_everything_that_is_said() {
        let reason = Digest([1; 32]);
        let said = Erased { custodian: "c", owner: "Patient/p", time: "t", reason, size: 2, root: Root([2; 32]) };
        let salt = Salt([3; 32]);
        let others = [
            Erased { custodian: "d", ..said },
            Erased { owner: "Patient/q", ..said },
            Erased { time: "u", ..said },
            Erased { reason: Digest([9; 32]), ..said },
            Erased { size: 3, ..said },
            Erased { root: Root([9; 32]), ..said },
        ];
        for other in others {
            assert_ne!(other.entry(&salt), said.entry(&salt), "{other:?}");
        }
        assert_ne!(said.entry(&Salt([4; 32])), said.entry(&salt));
        assert_eq!(said.entry(&salt).kind, Kind::Tombstone);
    }
}
