//! How far witnesses lift the grade: they say that the log only grew, and only those count that the policy names.

use super::{Policy, Refusal};
use crate::witness::WitnessKey;
use std::collections::BTreeSet;

/// The policy's witnesses that have cosigned a note, each with the time in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigners {
    pub signed: Vec<(String, u64)>,
    /// So many the policy asks for; 0 where it names none.
    pub wanted: usize,
}

impl Cosigners {
    /// Whether they are as many as the policy asks for.
    pub fn are_enough(&self) -> bool {
        self.signed.len() >= self.wanted
    }

    /// In sentences for people.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.signed.iter().map(|(name, time)| {
            let time = date(*time);
            format!("the witness {name}, which cosigned the checkpoint on {time} as the newest of a log that only grew")
        })
    }
}

impl Policy {
    /// Who of the witnesses that it names has cosigned the note. A key that cannot be read has signed nothing.
    pub fn cosigners(&self, note: &str) -> Cosigners {
        let named: BTreeSet<&String> = self.witnesses.iter().collect();
        let wanted = if named.is_empty() { 0 } else { self.witnesses_needed.unwrap_or(1).max(1) };
        let keys = named.into_iter().filter_map(|text| WitnessKey::parse(text).ok());
        let signed = keys.filter_map(|key| key.cosigned(note).map(|time| (key.name().to_owned(), time))).collect();
        Cosigners { signed, wanted }
    }
}

/// Whether as many of the policy's witnesses as it asks for have cosigned the note.
pub(super) fn witnessed(note: &str, policy: &Policy, rests_on: &mut Vec<String>) -> Result<bool, Refusal> {
    let cosigners = policy.cosigners(note);
    if !cosigners.are_enough() {
        return Err(Refusal::NotWitnessed { found: cosigners.signed.len(), wanted: cosigners.wanted });
    }
    rests_on.extend(cosigners.sentences());
    Ok(cosigners.wanted > 0)
}

/// RFC 3339, UTC; a time that no calendar has, as the number that it is.
fn date(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(|| format!("second {seconds} of 1970"), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_dates() {
        assert_eq!(date(1_679_315_147), "2023-03-20T12:25:47Z");
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(u64::MAX), "second 18446744073709551615 of 1970");
    }
}
