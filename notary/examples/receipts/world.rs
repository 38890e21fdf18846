//! A log with resources, deletions and an erasure in it, anchored at some sizes on an embedded ledger.

use crate::qbft::Validators;
use crate::random::Random;
use alloy_primitives::Bytes;
use notary::anchor::{Anchored, ChainKind};
use notary::chain::Ledger;
use notary::checkpoint::LogSigner;
use notary::commitment::{Commitment, Digest, Entry, Kind, Salt, Subject};
use notary::erasure::{Erased, ErasedEntries, ErasureProof};
use notary::receipt::{FORMAT, FORMAT_ERASED, Opening, Receipt, TlogProof};
use notary::tree::{self, LeafHash, MemoryTree, Root};

const CUSTODIANS: [&str; 3] = ["St. Ursula", "Klinik Köln 🏥", "c"];
const TIME: &str = "2026-03-02T08:15:00.000Z";

/// A record in the log.
pub struct Record {
    index: u64,
    kind: Kind,
    custodian: &'static str,
    reference: String,
    version: String,
    salt: Salt,
    pub resource: Vec<u8>,
    pub raw: Option<Vec<u8>>,
}

/// A receipt and what may be given beside it.
pub struct Case {
    pub receipt: Receipt,
    pub resource: Option<Vec<u8>>,
    pub raw: Option<Vec<u8>>,
    /// What its anchor proves.
    pub anchored: Option<Anchored>,
}

pub struct World {
    pub records: Vec<Record>,
    log: MemoryTree,
    pub signer: LogSigner,
    ledger: Ledger,
    /// Who seals the blocks, if this is a chain of QBFT.
    pub validators: Option<Validators>,
    /// The newest block's header as they sealed it.
    sealed: Option<Bytes>,
    /// The sizes that are anchored, and one that is not.
    sizes: Vec<u64>,
    closed: ErasedEntries,
    erasure_salt: Salt,
    _directory: tempfile::TempDir,
}

impl Record {
    fn new(index: u64, random: &mut Random) -> Self {
        let kind = *random.of(&[Kind::Resource, Kind::Resource, Kind::Tombstone, Kind::Access, Kind::Emergency]);
        let kind = if random.one_in(4) { Kind::Resource } else { kind };
        let is_access = matches!(kind, Kind::Access | Kind::Emergency) && !random.one_in(4);
        let names: &[_] = if is_access { &["AuditEvent"] } else { &["Patient", "Observation", "AuditEvent"] };
        let (name, version) = (*random.of(names), (1 + random.below(9)).to_string());
        let reference = format!("{name}/p-{index}");
        let value = random.of(&["1.00", "1E+5", "-0", "\"Zoë\"", "[true,null,{}]", "9007199254740993"]);
        let resource =
            format!(r#"{{"id":"p-{index}","meta":{{"versionId":"{version}"}},"resourceType":"{name}","x":{value}}}"#);
        let raw =
            random.one_in(2).then(|| format!("MSH|^~\\&|A|B|||||ADT^A01|{index}|P|2.5.1\rPID|||{index}").into_bytes());
        let resource = if kind == Kind::Tombstone { Vec::new() } else { resource.into_bytes() };
        let custodian = random.of(&CUSTODIANS);
        Self { index, kind, custodian, reference, version, salt: Salt(random.bytes()), resource, raw }
    }

    fn entry(&self) -> Entry {
        let (canonical, raw) = (Digest::of(&self.resource), self.raw.as_deref().map(Digest::of));
        let (custodian, reference, version) = (self.custodian, self.reference.as_str(), self.version.as_str());
        let subject = Subject { custodian, reference, version, canonical, raw };
        Entry { kind: self.kind, commitment: Commitment::new(&self.salt, &subject) }
    }

    fn opening(&self) -> Opening {
        let raw = self.raw.as_deref().map(|raw| Digest::of(raw).to_string());
        Opening { salt: hex::encode(self.salt.0), canonical: Digest::of(&self.resource).to_string(), raw }
    }
}

impl World {
    pub fn new(random: &mut Random) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(&directory.path().join("journal"), 1_780_000_000).unwrap();
        let most = *random.of(&[3, 40, 700]);
        let size = 1 + random.below(most) as u64;
        let mut records: Vec<_> = (0..size.min(60)).map(|n| Record::new(n * size / size.min(60), random)).collect();
        let closed: Vec<_> =
            records.iter().filter(|r| r.index.is_multiple_of(5)).map(|r| r.entry().to_bytes().to_vec()).collect();
        let closed = ErasedEntries::new(closed).unwrap();
        let erasure_salt = Salt(random.bytes());
        let mut log = MemoryTree::default();
        for n in 0..size {
            let leaf = records.iter().find(|r| r.index == n).map(|r| LeafHash::of(&r.entry().to_bytes()));
            log.push(leaf.unwrap_or(LeafHash(random.bytes()))).unwrap();
        }
        // The tombstone of the erasure is the last entry.
        log.push(LeafHash::of(&erased(&closed).entry(&erasure_salt).to_bytes())).unwrap();
        let sizes =
            [size / 2, size, size + 1].into_iter().filter(|s| *s > 0).collect::<std::collections::BTreeSet<_>>();
        let sizes: Vec<u64> = sizes.into_iter().collect();
        let mut before = 0;
        for (n, &at) in sizes.iter().enumerate() {
            let proof = tree::prove_consistency(before, at, &log).unwrap();
            ledger.anchor(at, tree::root(at, &log).unwrap(), &proof, 1_780_000_060 + n as u64).unwrap();
            before = at;
        }
        records.retain(|record| record.index < size);
        let signer = LogSigner::from_seed("example.org/log", &random.bytes()).unwrap();
        let count = 1 + random.below(7);
        let validators = random.one_in(2).then(|| Validators::new(count as u8));
        let by = random.below(3).min(count - 1);
        let header = ledger.bundle(size + 1).unwrap().header;
        let sealed = validators.as_ref().map(|chain| chain.seal_rlp(&header, count - by).0);
        Self { records, log, signer, ledger, validators, sealed, sizes, closed, erasure_salt, _directory: directory }
    }

    /// A signed checkpoint at a size.
    pub fn checkpoint(&self, size: u64) -> String {
        self.signer.sign(size, self.root(size)).unwrap()
    }

    /// The sizes of all checkpoints that receipts may have.
    pub fn all_sizes(&self) -> impl Iterator<Item = u64> {
        std::iter::once(1).chain(self.sizes.iter().copied().filter(|size| *size > 1))
    }

    pub fn root(&self, size: u64) -> Root {
        tree::root(size, &self.log).unwrap()
    }

    /// That the log of one size begins with the one of a smaller size.
    pub fn consistency(&self, from: u64, to: u64) -> Vec<[u8; 32]> {
        if from == 0 { Vec::new() } else { tree::prove_consistency(from, to, &self.log).unwrap() }
    }

    /// The proof of an entry in the smallest tree that holds it, or in a larger one.
    pub fn proof(&self, index: u64, random: &mut Random) -> (u64, TlogProof) {
        let sizes: Vec<_> = self.sizes.iter().copied().filter(|size| *size > index).collect();
        let size = *random.of(&sizes);
        let hashes = tree::prove_inclusion(size, index, &self.log).unwrap();
        (size, TlogProof { index, hashes, checkpoint: self.checkpoint(size) })
    }

    /// A receipt that holds, or is of another kind.
    pub fn case(&self, random: &mut Random) -> Case {
        let record = random.of(&self.records);
        let entry = record.entry();
        let (size, proof) = self.proof(record.index, random);
        let erasure = (record.index.is_multiple_of(5) && random.one_in(2)).then(|| self.erasure(&entry, random));
        let opening = (erasure.is_none() && !random.one_in(5)).then(|| record.opening());
        let mut anchor = if random.one_in(4) { None } else { self.ledger.bundle(size) };
        if let (Some(bundle), Some(header)) = (&mut anchor, &self.sealed) {
            bundle.header = header.clone();
        }
        let anchored = anchor.as_ref().map(|a| a.check(tree::root(size, &self.log).unwrap()).unwrap());
        if let Some(bundle) = &mut anchor {
            bundle.kind = *random.of(&[ChainKind::Embedded, ChainKind::Consortium, ChainKind::Public]);
            bundle.chain_id = *random.of(&[bundle.chain_id, 1, 0, 1_337]);
        }
        let receipt = Receipt {
            format: if erasure.is_some() { FORMAT_ERASED.into() } else { FORMAT.into() },
            custodian: record.custodian.into(),
            reference: record.reference.clone(),
            version_id: record.version.clone(),
            entry: hex::encode(entry.to_bytes()),
            proof: proof.to_text(),
            log_key: self.signer.key().to_string(),
            opening: opening.clone(),
            anchor,
            erasure,
        };
        let of_a_resource = opening.is_some() && record.kind != Kind::Tombstone;
        let resource = (of_a_resource && !random.one_in(4)).then(|| record.resource.clone());
        let raw = record.raw.clone().filter(|_| opening.is_some() && random.one_in(2));
        Case { receipt, resource, raw, anchored }
    }

    fn erasure(&self, entry: &Entry, random: &mut Random) -> ErasureProof {
        let said = erased(&self.closed);
        let (index, hashes) = self.closed.prove(&entry.to_bytes()).unwrap().unwrap();
        let (_, proof) = self.proof(self.log.size() - 1, random);
        ErasureProof {
            owner: said.owner.into(),
            time: said.time.into(),
            reason: said.reason.to_string(),
            salt: hex::encode(self.erasure_salt.0),
            size: said.size,
            root: hex::encode(said.root.0),
            index,
            hashes: hashes.iter().map(hex::encode).collect(),
            entry: hex::encode(said.entry(&self.erasure_salt).to_bytes()),
            proof: proof.to_text(),
        }
    }
}

/// Custodians differ by record; the erasure is of the first one's.
fn erased(closed: &ErasedEntries) -> Erased<'static> {
    let (custodian, owner, reason) = (CUSTODIANS[0], "Patient/p-0", Digest([6; 32]));
    Erased { custodian, owner, time: TIME, reason, size: closed.size(), root: closed.root().unwrap() }
}
