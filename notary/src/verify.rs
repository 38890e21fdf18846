//! Verifies a receipt offline and says what the verdict rests on. Each refusal has a name; there is no bare
//! "valid".

use crate::anchor::{AnchorError, Anchored, ChainKind};
use crate::canonical::{CanonError, Json};
use crate::checkpoint::{Checkpoint, CheckpointError, LogKey};
use crate::commitment::{Digest, Entry, Kind, Subject};
use crate::erasure::ErasureFault;
use crate::receipt::{Opening, Receipt, ReceiptError};
use crate::tree::{LeafHash, check_inclusion};
use alloy_primitives::{Address, B256};
use serde::Deserialize;
use std::fmt;

/// What the verifier trusts. An empty policy trusts the receipt's own log key, and says so.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Log keys that count.
    pub log_keys: Vec<String>,
    /// Contracts that count, as (chain id, address).
    pub contracts: Vec<TrustedContract>,
    /// Block hashes that the verifier knows to be final.
    pub blocks: Vec<B256>,
}

/// A contract that counts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedContract {
    pub chain_id: u64,
    pub address: Address,
    /// The code that it must have.
    #[serde(default)]
    pub code_hash: Option<B256>,
    /// What kind of chain the verifier knows it to be on; a receipt's own word for it counts for nothing.
    pub kind: ChainKind,
}

/// How far a receipt's proof reaches, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// The log's operator signed it.
    Logged,
    /// The embedded ledger of the same operator holds it: no independent trust.
    AnchoredLocal,
    /// A consortium chain holds it.
    AnchoredConsortium,
    /// A public chain holds it.
    AnchoredPublic,
}

/// What was proved, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub grade: Grade,
    pub checkpoint: Checkpoint,
    pub index: u64,
    pub anchored: Option<Anchored>,
    /// The version is a deletion: from it on the custodian says that the resource is no more.
    pub deletion: bool,
    /// The content was erased, and the log says so: when.
    pub erased: Option<String>,
    /// The resource was given and is the one that was sealed.
    pub resource_checked: bool,
    /// The raw message was given and is the one that was received.
    pub raw_checked: bool,
    /// Sentences on what the verdict rests on.
    pub rests_on: Vec<String>,
}

/// Why a receipt is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("MALFORMED: {0}")]
    Receipt(#[from] ReceiptError),
    #[error("MALFORMED: the resource is not JSON: {0}")]
    Resource(#[from] CanonError),
    #[error("RESOURCE-CHANGED: the resource is not the one that was sealed")]
    ResourceChanged,
    #[error("RESOURCE-SWAPPED: the resource is {found}, the receipt is of {receipt}")]
    ResourceSwapped { found: String, receipt: String },
    #[error("DELETED: the receipt is of a deletion, and a deletion has no resource")]
    Deleted,
    #[error("TOMBSTONE-FILLED: the log entry says that it is a deletion, and it was sealed over some content")]
    TombstoneFilled,
    #[error("MESSAGE-CHANGED: the raw message is not the one that was received")]
    RawChanged,
    #[error("NO-OPENING: the receipt has no opening, so it cannot speak for a resource")]
    NoOpening,
    #[error("OPENING-FORGED: the opening does not open the log entry's commitment")]
    Opening,
    #[error("PROOF-FORGED: the entry is not in the log at this place")]
    NotIncluded,
    #[error("CHECKPOINT-FORGED: {0}")]
    Checkpoint(CheckpointError),
    #[error("UNTRUSTED-LOG: the policy does not name the log key {0}")]
    UntrustedLog(String),
    #[error("UNTRUSTED-CHAIN: the policy does not name the anchor's chain and contract, its code or its block")]
    UntrustedChain,
    #[error("NOT-ANCHORED: the policy asks for an anchor and the receipt has none")]
    NotAnchored,
    #[error("OTHER-KIND: the log entry speaks of a {0}, not of a resource")]
    OtherKind(&'static str),
    #[error("LOG-REWRITTEN: the chain holds another root for this log size")]
    LogRewritten,
    #[error("ANCHOR-FORGED: {0}")]
    Anchor(AnchorError),
    #[error(
        "ERASED: the receipt is of a version whose content was erased, so it cannot speak for a resource or message"
    )]
    Erased,
    #[error("ERASURE-FORGED: {0}")]
    Erasure(#[from] ErasureFault),
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logged => "LOGGED",
            Self::AnchoredLocal => "ANCHORED-LOCAL",
            Self::AnchoredConsortium => "ANCHORED-CONSORTIUM",
            Self::AnchoredPublic => "ANCHORED-PUBLIC",
        })
    }
}

/// Verifies a receipt, and the resource and raw message if they are given.
pub fn verify(
    receipt: &Receipt,
    resource: Option<&[u8]>,
    raw: Option<&[u8]>,
    policy: &Policy,
) -> Result<Verdict, Refusal> {
    let entry = receipt.log_entry()?;
    let deletion = match entry.kind {
        Kind::Resource => false,
        Kind::Tombstone => true,
        other => return Err(Refusal::OtherKind(other.name())),
    };
    let mut rests_on = Vec::new();
    if deletion {
        check_tombstone(receipt, resource)?;
        rests_on.push("a deletion: from this version on the custodian says that the resource is no more".into());
    }
    if receipt.erasure.is_some() && (receipt.opening.is_some() || resource.is_some() || raw.is_some()) {
        return Err(Refusal::Erased);
    }
    if receipt.opening.is_none() {
        rests_on.push("no opening: custodian, resource name and version are the receipt's own words, unproved".into());
    }
    open_commitment(receipt, resource, raw)?;
    let proof = receipt.tlog_proof()?;
    let key = trusted_key(receipt, policy, &mut rests_on)?;
    let checkpoint = key.open(&proof.checkpoint).map_err(Refusal::Checkpoint)?;
    let leaf = LeafHash::of(&entry.to_bytes());
    check_inclusion(&proof.hashes, checkpoint.size, checkpoint.root, proof.index, leaf)
        .map_err(|_| Refusal::NotIncluded)?;
    rests_on.push(format!("entry {} of {} in the log {}", proof.index, checkpoint.size, checkpoint.origin));
    let erased = erased(receipt, &entry, &key, &mut rests_on)?;
    let (grade, anchored) = anchored(receipt, &checkpoint, policy, &mut rests_on)?;
    Ok(Verdict {
        grade,
        checkpoint,
        index: proof.index,
        anchored,
        deletion,
        erased,
        resource_checked: resource.is_some(),
        raw_checked: raw.is_some(),
        rests_on,
    })
}

/// When the content was erased, if the receipt says so and the log's tombstone bears it out.
fn erased(
    receipt: &Receipt,
    entry: &Entry,
    key: &LogKey,
    rests_on: &mut Vec<String>,
) -> Result<Option<String>, Refusal> {
    let Some(erasure) = &receipt.erasure else { return Ok(None) };
    let tombstone = erasure.check(&receipt.custodian, entry, key)?;
    rests_on.push(format!(
        "erased on {}: a tombstone in the log, under {} of {} entries, names this entry among {} of {} whose key was destroyed",
        erasure.time, tombstone.origin, tombstone.size, erasure.size, erasure.owner
    ));
    Ok(Some(erasure.time.clone()))
}

fn open_commitment(receipt: &Receipt, resource: Option<&[u8]>, raw: Option<&[u8]>) -> Result<(), Refusal> {
    let Some(opening) = &receipt.opening else {
        return if resource.is_some() || raw.is_some() { Err(Refusal::NoOpening) } else { Ok(()) };
    };
    let (salt, canonical, raw_digest) = opening.read()?;
    let subject = Subject {
        custodian: &receipt.custodian,
        reference: &receipt.reference,
        version: &receipt.version_id,
        canonical,
        raw: raw_digest,
    };
    if !receipt.log_entry()?.commitment.opens(&salt, &subject) {
        return Err(Refusal::Opening);
    }
    resource.map_or(Ok(()), |bytes| check_resource(receipt, opening, bytes))?;
    match raw {
        Some(bytes) if Some(Digest::of(bytes)) != raw_digest => Err(Refusal::RawChanged),
        _ => Ok(()),
    }
}

/// A deletion is sealed over no bytes at all, and no resource can be its content.
fn check_tombstone(receipt: &Receipt, resource: Option<&[u8]>) -> Result<(), Refusal> {
    let filled = receipt.opening.as_ref().is_some_and(|opening| opening.canonical != Digest::of(b"").to_string());
    match resource {
        _ if filled => Err(Refusal::TombstoneFilled),
        Some(_) => Err(Refusal::Deleted),
        None => Ok(()),
    }
}

/// The name first: a swapped resource is told apart from a changed one.
fn check_resource(receipt: &Receipt, opening: &Opening, bytes: &[u8]) -> Result<(), Refusal> {
    let resource = Json::parse(bytes)?;
    let text = |name| resource.text(name).unwrap_or("?");
    let version = resource.get("meta").and_then(|m| m.text("versionId")).unwrap_or("?");
    let found = format!("{}/{} version {version}", text("resourceType"), text("id"));
    let expected = format!("{} version {}", receipt.reference, receipt.version_id);
    if found != expected {
        return Err(Refusal::ResourceSwapped { found: found.chars().take(200).collect(), receipt: expected });
    }
    if Digest::of(&resource.canonical()).to_string() != opening.canonical {
        return Err(Refusal::ResourceChanged);
    }
    Ok(())
}

fn trusted_key(receipt: &Receipt, policy: &Policy, rests_on: &mut Vec<String>) -> Result<LogKey, Refusal> {
    let key = LogKey::parse(&receipt.log_key).map_err(Refusal::Checkpoint)?;
    if policy.log_keys.is_empty() {
        rests_on.push(format!("the log key that the receipt itself names ({key}); no policy pins it"));
    } else if policy.log_keys.contains(&receipt.log_key) {
        rests_on.push(format!("the log key {key}, which the policy pins"));
    } else {
        return Err(Refusal::UntrustedLog(receipt.log_key.clone()));
    }
    Ok(key)
}

fn anchored(
    receipt: &Receipt,
    checkpoint: &Checkpoint,
    policy: &Policy,
    rests_on: &mut Vec<String>,
) -> Result<(Grade, Option<Anchored>), Refusal> {
    let asked = !policy.contracts.is_empty() || !policy.blocks.is_empty();
    let Some(bundle) = &receipt.anchor else {
        if asked {
            return Err(Refusal::NotAnchored);
        }
        rests_on.push("the operator's signature alone: not anchored yet".into());
        return Ok((Grade::Logged, None));
    };
    if bundle.size != checkpoint.size {
        return Err(Refusal::LogRewritten);
    }
    let anchored = bundle.check(checkpoint.root).map_err(|error| match error {
        AnchorError::Storage => Refusal::LogRewritten,
        other => Refusal::Anchor(other),
    })?;
    let listed = policy.contracts.iter().find(|c| {
        c.chain_id == bundle.chain_id
            && c.address == bundle.contract
            && c.code_hash.is_none_or(|hash| hash == anchored.code_hash)
    });
    if !policy.contracts.is_empty() && listed.is_none() {
        return Err(Refusal::UntrustedChain);
    }
    if !policy.blocks.is_empty() && !policy.blocks.contains(&anchored.block_hash) {
        return Err(Refusal::UntrustedChain);
    }
    let pinned = policy.blocks.contains(&anchored.block_hash);
    rests_on.push(format!(
        "block {} ({}) of chain {}, contract {}{}",
        anchored.block_number,
        anchored.block_hash,
        bundle.chain_id,
        bundle.contract,
        if pinned {
            ", a block that the policy pins"
        } else {
            "; whether that block is the chain's is not checked offline"
        }
    ));
    // Nothing in a bundle proves that a block belongs to a chain, or what kind of chain that is: only a pinned block and a
    // listed contract lift the grade.
    let grade = match (listed.map(|c| c.kind), bundle.kind) {
        (Some(ChainKind::Public), _) if pinned => Grade::AnchoredPublic,
        (Some(ChainKind::Consortium), _) if pinned => Grade::AnchoredConsortium,
        (Some(ChainKind::Embedded), _) | (None, ChainKind::Embedded) => Grade::AnchoredLocal,
        _ => Grade::Logged,
    };
    if bundle.kind == ChainKind::Embedded {
        rests_on.push("ANCHORED-LOCAL: the ledger is the operator's own, no independent trust".into());
    }
    Ok((grade, Some(anchored)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::LogSigner;
    use crate::commitment::{Commitment, Salt};
    use crate::erasure::{Erased, ErasedEntries, ErasureProof};
    use crate::receipt::{FORMAT, FORMAT_ERASED, TlogProof};
    use crate::tree::{MemoryTree, prove_inclusion, root};

    const RESOURCE: &[u8] = br#"{"id":"a","meta":{"versionId":"1"},"resourceType":"Patient"}"#;

    fn receipt(kind: Kind) -> Receipt {
        receipt_over(kind, RESOURCE)
    }

    fn receipt_over(kind: Kind, content: &[u8]) -> Receipt {
        let (salt, canonical) = (Salt([3; 32]), Digest::of(content));
        let subject = Subject { custodian: "c", reference: "Patient/a", version: "1", canonical, raw: None };
        let entry = Entry { kind, commitment: Commitment::new(&salt, &subject) };
        let mut log = MemoryTree::default();
        log.push(LeafHash([1; 32])).unwrap();
        log.push(LeafHash::of(&entry.to_bytes())).unwrap();
        let signer = LogSigner::from_seed("test/log", &[7; 32]).unwrap();
        let checkpoint = signer.sign(2, root(2, &log).unwrap()).unwrap();
        Receipt {
            format: FORMAT.into(),
            custodian: "c".into(),
            reference: "Patient/a".into(),
            version_id: "1".into(),
            entry: hex::encode(entry.to_bytes()),
            proof: TlogProof { index: 1, hashes: prove_inclusion(2, 1, &log).unwrap(), checkpoint }.to_text(),
            log_key: signer.key().to_string(),
            opening: Some(Opening { salt: hex::encode(salt.0), canonical: canonical.to_string(), raw: None }),
            anchor: None,
            erasure: None,
        }
    }

    /// The receipt of an erased version, without its opening, in a log that has the tombstone behind it.
    fn erased_receipt() -> Receipt {
        let whole = receipt(Kind::Resource);
        let entry = whole.log_entry().unwrap().to_bytes();
        let others = (0..3).map(|n| Entry { kind: Kind::Resource, commitment: Commitment([n; 32]) }.to_bytes());
        let closed = ErasedEntries::new(others.chain([entry]).map(|e| e.to_vec()).collect()).unwrap();
        let (salt, reason, root_of) = (Salt([5; 32]), Digest([6; 32]), closed.root().unwrap());
        let (owner, time) = ("Patient/a", "2026-03-02T08:15:00.000Z");
        let said = Erased { custodian: "c", owner, time, reason, size: closed.size(), root: root_of };
        let mut log = MemoryTree::default();
        log.push(LeafHash::of(&entry)).unwrap();
        log.push(LeafHash::of(&said.entry(&salt).to_bytes())).unwrap();
        let signer = LogSigner::from_seed("test/log", &[7; 32]).unwrap();
        let checkpoint = signer.sign(2, root(2, &log).unwrap()).unwrap();
        let proof = TlogProof { index: 1, hashes: prove_inclusion(2, 1, &log).unwrap(), checkpoint }.to_text();
        let (index, hashes) = closed.prove(&entry).unwrap().unwrap();
        let erasure = ErasureProof {
            owner: owner.into(),
            time: time.into(),
            reason: reason.to_string(),
            salt: hex::encode(salt.0),
            size: closed.size(),
            root: hex::encode(root_of.0),
            index,
            hashes: hashes.iter().map(hex::encode).collect(),
            entry: hex::encode(said.entry(&salt).to_bytes()),
            proof,
        };
        Receipt { format: FORMAT_ERASED.into(), opening: None, erasure: Some(erasure), ..whole }
    }

    #[test]
    fn an_erased_version_verifies_as_erased_and_for_no_other_entry() {
        let good = erased_receipt();
        assert_eq!(Receipt::parse(good.to_json().as_bytes()).unwrap(), good);
        let of = |receipt: &Receipt, resource| verify(receipt, resource, None, &Policy::default());
        let verdict = of(&good, None).unwrap();
        assert_eq!(verdict.erased.as_deref(), Some("2026-03-02T08:15:00.000Z"));
        assert!(verdict.rests_on.iter().any(|line| line.starts_with("erased on 2026-03-02")), "{:?}", verdict.rests_on);
        assert_eq!(of(&good, Some(RESOURCE)), Err(Refusal::Erased));
        let changed = |change: &dyn Fn(&mut ErasureProof)| {
            let mut receipt = good.clone();
            change(receipt.erasure.as_mut().unwrap());
            of(&receipt, None)
        };
        assert_eq!(changed(&|e| e.time = "2025-03-02T08:15:00.000Z".into()), Err(ErasureFault::Opening.into()));
        assert_eq!(changed(&|e| e.owner = "Patient/b".into()), Err(ErasureFault::Opening.into()));
        assert_eq!(changed(&|e| e.index ^= 1), Err(ErasureFault::OtherEntry.into()));
        assert_eq!(changed(&|e| e.proof = e.proof.replace("index 1", "index 0")), Err(ErasureFault::NotLogged.into()));
        assert_eq!(changed(&|e| e.salt = "zz".into()), Err(ErasureFault::Malformed.into()));
        let other = receipt_over(Kind::Resource, b"other");
        let moved = Receipt { opening: None, erasure: good.erasure.clone(), ..other };
        assert_eq!(of(&moved, None), Err(ErasureFault::OtherEntry.into()), "another entry's erasure is not its own");
        let opened = Receipt { opening: receipt(Kind::Resource).opening, ..good };
        assert_eq!(of(&opened, None), Err(Refusal::Erased));
    }

    #[test]
    fn a_logged_receipt_says_what_it_rests_on() {
        let verdict = verify(&receipt(Kind::Resource), Some(RESOURCE), None, &Policy::default()).unwrap();
        assert_eq!((verdict.grade, verdict.index, verdict.resource_checked), (Grade::Logged, 1, true));
        assert!(verdict.rests_on.iter().any(|line| line.contains("no policy pins it")));
        let shared = Receipt { opening: None, ..receipt(Kind::Resource) };
        let verdict = verify(&shared, None, None, &Policy::default()).unwrap();
        assert!(verdict.rests_on[0].contains("unproved"), "{:?}", verdict.rests_on);
        assert_eq!(verify(&shared, Some(RESOURCE), None, &Policy::default()), Err(Refusal::NoOpening));
    }

    #[test]
    fn an_entry_of_another_kind_is_no_resource() {
        let refused = verify(&receipt(Kind::Access), Some(RESOURCE), None, &Policy::default());
        assert_eq!(refused, Err(Refusal::OtherKind("access")));
    }

    #[test]
    fn a_deletion_is_proved_as_what_it_is() {
        let of = |receipt: &Receipt, resource| verify(receipt, resource, None, &Policy::default());
        let deletion = receipt_over(Kind::Tombstone, b"");
        let verdict = of(&deletion, None).unwrap();
        assert!(verdict.deletion && verdict.rests_on[0].starts_with("a deletion"), "{:?}", verdict.rests_on);
        assert_eq!(of(&deletion, Some(RESOURCE)), Err(Refusal::Deleted));
        assert_eq!(of(&receipt(Kind::Tombstone), None), Err(Refusal::TombstoneFilled));
        assert!(!of(&receipt(Kind::Resource), None).unwrap().deletion);
    }

    #[test]
    fn a_policy_is_read_from_toml() {
        let policy: Policy = toml::from_str(
            "log_keys = [\"k\"]\n[[contracts]]\nchain_id = 1\nkind = \"public\"\naddress = \"0x68014d11cb02ebfa3db06ffd06a3328154df3672\"",
        )
        .unwrap();
        assert_eq!(policy.contracts[0].kind, ChainKind::Public);
        assert!(toml::from_str::<Policy>("log_key = []").is_err(), "a mistyped member is refused");
    }
}
