//! Received messages as they are kept: the very bytes, and beside them how they were mapped. Sealed like any record.

use crate::app::Core;
use crate::app::keep::Keep;
use crate::consent::decide::Permit;
use crate::error::{Issue, VaultError};
use crate::ids::{Owner, ResourceId};
use crate::index::store::Place;
use crate::read::{in_background, owner_key};
use crate::vault::pack::read_record;
use crate::vault::seal::{RecordKind, open};
use mappings::report::Line;
use serde::{Deserialize, Serialize};

/// The type that the index gives to a message in quarantine: its second version says what became of it.
pub const QUARANTINE: &str = "Quarantine";

/// What is known of a message beside its bytes. No patient data: the report names places and rules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// When it was committed, as a FHIR instant.
    pub received: String,
    pub control_id: String,
    /// The message map, such as `ADT_A01`.
    pub map: String,
    /// SHA-256 of the map set, overlay included.
    pub map_set: String,
    /// The resources that it made or changed, with their versions.
    pub resources: Vec<String>,
    /// What no rule used, what could not be used, what a switch decided.
    pub report: Vec<Line>,
    /// Of one in quarantine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// The id that it had in quarantine, if it was replayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<String>,
}

/// Why a message is in quarantine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// The feed that it came by.
    pub feed: String,
    pub issues: Vec<Said>,
    /// It was part of a batch, and is kept as text in UTF-8, whatever its MSH-18 says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub decoded: bool,
    /// What became of it: of the version that closes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Replayed>,
}

/// An issue, as its sender would have been told it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Said {
    pub code: String,
    pub text: String,
    /// The field that it is about, `PID-7.1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}

/// How a message left quarantine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// The message that was stored.
    pub message: String,
    /// Who replayed it.
    pub by: String,
    /// It was another text than the one that came, which is kept.
    pub edited: bool,
    /// It was confirmed that it is written over what came later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub over_newer: bool,
}

impl From<&Issue> for Said {
    fn from(issue: &Issue) -> Self {
        let text =
            issue.expression.as_ref().map_or_else(|| issue.text.clone(), |path| format!("{path}: {}", issue.text));
        let place = issue.source.as_ref().map(|(segment, nth, place)| {
            let nth = if *nth > 1 { format!("({nth})") } else { String::new() };
            let component = if place.component > 0 { format!(".{}", place.component) } else { String::new() };
            let field = if place.field > 0 { format!("-{}{component}", place.field) } else { String::new() };
            format!("{segment}{nth}{field}")
        });
        Self { code: issue.code.to_owned(), text, place }
    }
}

/// A kept message.
#[derive(Clone, PartialEq)]
pub struct Kept {
    pub head: Head,
    /// The bytes as they came.
    pub bytes: Vec<u8>,
}

crate::redacted_debug!(Kept);

impl Kept {
    /// The length of the head (four bytes, big-endian), the head as JSON, the bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let head = serde_json::to_vec(&self.head)?;
        let mut out = Vec::with_capacity(4 + head.len() + self.bytes.len());
        // A report is bounded by MAX_REPORT_LINES: far below 4 GiB.
        out.extend((head.len() as u32).to_be_bytes());
        out.extend(head);
        out.extend(&self.bytes);
        Ok(out)
    }

    /// Reads what `to_bytes` made.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (head, bytes) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        Some(Self { head: serde_json::from_slice(head).ok()?, bytes: bytes.to_vec() })
    }
}

/// Fetches and opens a message.
pub async fn fetch(core: &Core, permit: &Permit, id: &ResourceId) -> Result<Option<Kept>, VaultError> {
    let (store, wanted) = (core.store.clone(), id.clone());
    match in_background(move || store.message(&wanted)).await? {
        Some(place) => {
            let (owner, kept) = open_at(&core.keep(), &place, id).await?;
            if !core.consented_to_raw(permit, &owner, &kept.head.resources).await? {
                return Ok(None);
            }
            permit.seen().shows_of(&owner);
            Ok(Some(kept))
        }
        None => Ok(None),
    }
}

/// Opens what lies at a place, if it is this message.
pub async fn open_at(core: &Keep, place: &Place, id: &ResourceId) -> Result<(Owner, Kept), VaultError> {
    let (pack, offset) = (place.pack.clone(), place.extent.offset);
    let bytes = core.objects.read(&pack, offset, place.extent.length as usize).await?;
    let record = read_record(&bytes).map_err(|source| VaultError::Pack { pack: pack.clone(), offset, source })?;
    let tampered = |what| VaultError::Tampered { pack: pack.clone(), offset, what };
    let label = &record.sealed.label;
    if label.kind != RecordKind::Message || label.id != *id {
        return Err(tampered("another record lies at its place"));
    }
    let key = owner_key(&core.keys, &core.store, &label.owner).await?;
    let plain = open(&key, &core.custodian, &record.sealed).map_err(|source| VaultError::Seal {
        pack: pack.clone(),
        offset,
        source,
    })?;
    let kept = Kept::from_bytes(&plain).ok_or_else(|| tampered("its content is of no known form"))?;
    Ok((label.owner.clone(), kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back_and_odd_bytes_are_refused() {
        let line = Line { path: "PID-3.4".into(), finding: "no rule uses this value".into(), rule: None, loss: true };
        let head = Head {
            received: "2026-03-01T12:00:00.000Z".into(),
            control_id: "7".into(),
            map: "ADT_A01".into(),
            map_set: "00".into(),
            resources: vec!["Patient/p/_history/1".into()],
            report: vec![line],
            held: None,
            replay_of: None,
        };
        let kept = Kept { head, bytes: vec![0xff, b'M'] };
        assert!(Kept::from_bytes(&kept.to_bytes().unwrap()).as_ref() == Some(&kept));
        for odd in [&b""[..], &[0, 0, 0, 9, b'{'], &[0, 0, 0, 2, b'{', b'}']] {
            assert!(Kept::from_bytes(odd).is_none());
        }
    }
}
