//! How far witnesses lift the grade: they say that the log only grew, and only those count that the policy names.

use super::{Policy, Refusal};
use crate::witness::WitnessKey;
use std::collections::BTreeSet;

/// Whether as many of the policy's witnesses as it asks for have cosigned the note.
pub(super) fn witnessed(note: &str, policy: &Policy, rests_on: &mut Vec<String>) -> Result<bool, Refusal> {
    let named: BTreeSet<&String> = policy.witnesses.iter().collect();
    if named.is_empty() {
        return Ok(false);
    }
    let wanted = policy.witnesses_needed.unwrap_or(1).max(1);
    // A key that cannot be read has signed nothing.
    let keys = named.into_iter().filter_map(|text| WitnessKey::parse(text).ok());
    let signed: Vec<_> = keys.filter_map(|key| key.cosigned(note).map(|time| (key.name().to_owned(), time))).collect();
    if signed.len() < wanted {
        return Err(Refusal::NotWitnessed { found: signed.len(), wanted });
    }
    rests_on.extend(signed.into_iter().map(|(name, time)| {
        format!("the witness {name}, which cosigned the checkpoint {time} seconds after 1970 as the newest of a log that only grew")
    }));
    Ok(true)
}
