//! Verifies a receipt offline and says what the verdict rests on. Each refusal has a name; there is no bare
//! "valid".

mod anchored;
mod cache;
mod policy;
mod refusal;
mod verdict;
mod witnessed;

#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use policy::{NodeAnswers, Policy, Said, TrustedContract};
pub use refusal::Refusal;
pub use verdict::{Grade, Verdict};

use crate::canonical::Json;
use crate::checkpoint::{Checkpoint, CheckpointError, LogKey};
use crate::commitment::{Digest, Entry, Kind, Subject};
use crate::receipt::{Opening, Receipt};
use crate::tree::{LeafHash, check_inclusion};
use anchored::anchored;
use witnessed::witnessed;

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
