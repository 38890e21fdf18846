//! Verifies a receipt offline and says what the verdict rests on. Each refusal has a name; there is no bare
//! "valid".

mod anchored;
mod cache;
mod policy;
mod refusal;
mod sealed;
mod verdict;
mod witnessed;

pub use cache::Cache;
pub use policy::{NodeAnswers, Policy, Said, TrustedContract, Validators};
pub use refusal::Refusal;
pub use verdict::{Grade, Verdict};
pub use witnessed::Cosigners;

use crate::canonical::Json;
use crate::checkpoint::{Checkpoint, CheckpointError, LogKey};
use crate::commitment::{Digest, Entry, Kind, Subject};
use crate::receipt::{Opening, Receipt};
use crate::tree::{LeafHash, check_inclusion};
use anchored::anchored;
use witnessed::witnessed;

/// Only resources of this type have entries of the kinds access and emergency.
const AUDIT: &str = "AuditEvent/";

/// Verifies a receipt, and the resource and raw message if they are given.
pub fn verify(
    receipt: &Receipt,
    resource: Option<&[u8]>,
    raw: Option<&[u8]>,
    policy: &Policy,
) -> Result<Verdict, Refusal> {
    verify_with(&mut Cache::default(), receipt, resource, raw, policy)
}

/// The same for one of many receipts: what others have proved already is not proved again.
pub fn verify_with(
    cache: &mut Cache,
    receipt: &Receipt,
    resource: Option<&[u8]>,
    raw: Option<&[u8]>,
    policy: &Policy,
) -> Result<Verdict, Refusal> {
    let entry = receipt.log_entry()?;
    let mut rests_on = Vec::new();
    let deletion = match entry.kind {
        Kind::Resource => false,
        Kind::Tombstone => true,
        Kind::Access | Kind::Emergency if receipt.reference.starts_with(AUDIT) => {
            rests_on.push("a record of an access, which the custodian's own service wrote".into());
            false
        }
        other => return Err(Refusal::OtherKind(other.name())),
    };
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
    open_commitment(receipt, &entry, resource, raw)?;
    let proof = receipt.tlog_proof()?;
    let key = trusted_key(receipt, policy, cache, &mut rests_on)?;
    let checkpoint = cache.open(&key, &proof.checkpoint).map_err(Refusal::Checkpoint)?;
    let leaf = LeafHash::of(&entry.to_bytes());
    check_inclusion(&proof.hashes, checkpoint.size, checkpoint.root, proof.index, leaf)
        .map_err(|_| Refusal::NotIncluded)?;
    rests_on.push(format!("entry {} of {} in the log {}", proof.index, checkpoint.size, checkpoint.origin));
    let erased = erased(receipt, &entry, |note| cache.open(&key, note), &mut rests_on)?;
    let witnessed = witnessed(&proof.checkpoint, policy, &mut rests_on)?;
    let (grade, anchored) = anchored(receipt, &checkpoint, policy, cache, &mut rests_on)?;
    Ok(Verdict {
        grade: if witnessed { grade.max(Grade::Witnessed) } else { grade },
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
    open: impl FnOnce(&str) -> Result<Checkpoint, CheckpointError>,
    rests_on: &mut Vec<String>,
) -> Result<Option<String>, Refusal> {
    let Some(erasure) = &receipt.erasure else { return Ok(None) };
    let tombstone = erasure.check(&receipt.custodian, entry, open)?;
    rests_on.push(format!(
        "erased on {}: a tombstone in the log, under {} of {} entries, names this entry among {} of {} whose key was destroyed",
        erasure.time, tombstone.origin, tombstone.size, erasure.size, erasure.owner
    ));
    Ok(Some(erasure.time.clone()))
}

fn open_commitment(
    receipt: &Receipt,
    entry: &Entry,
    resource: Option<&[u8]>,
    raw: Option<&[u8]>,
) -> Result<(), Refusal> {
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
    if !entry.commitment.opens(&salt, &subject) {
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

fn trusted_key(
    receipt: &Receipt,
    policy: &Policy,
    cache: &mut Cache,
    rests_on: &mut Vec<String>,
) -> Result<LogKey, Refusal> {
    let key = cache.key(&receipt.log_key).map_err(Refusal::Checkpoint)?;
    if policy.log_keys.is_empty() {
        rests_on.push(format!("the log key that the receipt itself names ({key}); no policy pins it"));
    } else if policy.log_keys.contains(&receipt.log_key) {
        rests_on.push(format!("the log key {key}, which the policy pins"));
    } else {
        return Err(Refusal::UntrustedLog(receipt.log_key.clone()));
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchor::ChainKind;
    use crate::checkpoint::LogSigner;
    use crate::commitment::{Commitment, Salt};
    use crate::erasure::{Erased, ErasedEntries, ErasureFault, ErasureProof};
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
        for kind in [Kind::Access, Kind::Emergency, Kind::Consent] {
            let refused = verify(&receipt(kind), Some(RESOURCE), None, &Policy::default());
            assert_eq!(refused, Err(Refusal::OtherKind(kind.name())));
        }
        let event = |kind| Receipt { reference: "AuditEvent/a".into(), opening: None, ..receipt(kind) };
        let verdict = verify(&event(Kind::Access), None, None, &Policy::default()).unwrap();
        assert!(verdict.rests_on[0].contains("access") && !verdict.deletion, "{:?}", verdict.rests_on);
        assert!(verify(&event(Kind::Emergency), None, None, &Policy::default()).is_ok());
        let refused = verify(&event(Kind::Consent), None, None, &Policy::default());
        assert_eq!(refused, Err(Refusal::OtherKind("consent")));
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
        let sealed = "[[validators]]\nchain_id = 1337\naddresses = [\"0x68014d11cb02ebfa3db06ffd06a3328154df3672\"]\n";
        assert_eq!(toml::from_str::<Policy>(sealed).unwrap().validators[0].addresses.len(), 1);
        assert!(toml::from_str::<Policy>(&sealed.replace("chain_id", "chain")).is_err());
    }
}
