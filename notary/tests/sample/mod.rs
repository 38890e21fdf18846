//! A log of resources, and their receipts.

#[allow(dead_code, reason = "not every test has such a chain")]
pub mod qbft;

use notary::anchor::AnchorBundle;
use notary::checkpoint::LogSigner;
use notary::commitment::{Commitment, Digest, Entry, Kind, Salt, Subject};
use notary::receipt::{FORMAT, Opening, Receipt, TlogProof};
use notary::tree::{self, LeafHash, MemoryTree, Root};

pub struct Sample {
    pub signer: LogSigner,
    pub tree: MemoryTree,
}

/// The resource of entry `n`.
pub fn resource(n: u64) -> Vec<u8> {
    format!(r#"{{"id":"p{n}","meta":{{"versionId":"1"}},"resourceType":"Patient"}}"#).into_bytes()
}

/// Entry `n` of the log.
pub fn entry(n: u64) -> Entry {
    let (reference, canonical) = (format!("Patient/p{n}"), Digest::of(&resource(n)));
    let subject = Subject { custodian: "c", reference: &reference, version: "1", canonical, raw: None };
    Entry { kind: Kind::Resource, commitment: Commitment::new(&salt(n), &subject) }
}

fn salt(n: u64) -> Salt {
    Salt(Digest::of(&n.to_be_bytes()).0)
}

impl Sample {
    pub fn new(size: u64) -> Self {
        Self::of((0..size).map(entry))
    }

    pub fn of(entries: impl Iterator<Item = Entry>) -> Self {
        let mut tree = MemoryTree::default();
        entries.for_each(|entry| tree.push(LeafHash::of(&entry.to_bytes())).unwrap());
        Self { signer: LogSigner::from_seed("test.example/log", &[7; 32]).unwrap(), tree }
    }

    pub fn root(&self) -> Root {
        tree::root(self.tree.size(), &self.tree).unwrap()
    }

    pub fn checkpoint(&self) -> String {
        self.signer.sign(self.tree.size(), self.root()).unwrap()
    }

    /// The receipt of entry `n`.
    pub fn receipt(&self, n: u64, anchor: Option<AnchorBundle>) -> Receipt {
        let hashes = tree::prove_inclusion(self.tree.size(), n, &self.tree).unwrap();
        let canonical = Digest::of(&resource(n)).to_string();
        Receipt {
            format: FORMAT.into(),
            custodian: "c".into(),
            reference: format!("Patient/p{n}"),
            version_id: "1".into(),
            entry: hex::encode(entry(n).to_bytes()),
            proof: TlogProof { index: n, hashes, checkpoint: self.checkpoint() }.to_text(),
            log_key: self.signer.key().to_string(),
            opening: Some(Opening { salt: hex::encode(salt(n).0), canonical, raw: None }),
            anchor,
            erasure: None,
        }
    }
}
