//! Where a log first breaks.

use crate::checkpoint::CheckpointError;
use crate::tree::Root;

/// What is wrong with a log. Each has a name, and the place where it was seen first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("CHECKPOINT-FORGED: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("NOT-WITNESSED: {found} of the {wanted} witnesses that the policy asks for have cosigned the checkpoint")]
    NotWitnessed { found: usize, wanted: usize },
    #[error(
        "LOG-TRUNCATED: the checkpoint speaks of {size} entries, and {path} is missing or of another length: it speaks of entries {first} to {last}"
    )]
    Truncated { path: String, size: u64, first: u64, last: u64 },
    #[error("ENTRY-MALFORMED: entry {entry} in {path} is of no form that this release knows")]
    Entry { entry: u64, path: String },
    #[error("TILE-FORGED: {path} has another hash than the entries {first} to {last} give")]
    Tile { path: String, first: u64, last: u64 },
    #[error(
        "ROOT-FORGED: the checkpoint signs the root {signed} for {size} entries, and they give {found}; the last anchor that they agree with is of {agreed}"
    )]
    Root { size: u64, signed: Root, found: Root, agreed: u64 },
    #[error(
        "LOG-REWRITTEN: the contract holds the root {anchored} at size {size}, and the first {size} entries give {found}; the last anchor that they agree with is of {agreed}"
    )]
    Anchor { size: u64, anchored: Root, found: Root, agreed: u64 },
    #[error("LOG-BEHIND: {anchored} entries are anchored, and the log's checkpoint speaks of {size}")]
    Behind { anchored: u64, size: u64 },
    #[error("LOGS-WITHHELD: {size} entries are anchored, and the node at {node} shows no event of it")]
    Withheld { size: u64, node: String },
    #[error(
        "EVENT-FORGED: the node at {node} shows an event of {size} entries that the contract's storage does not bear out"
    )]
    Event { size: u64, node: String },
    #[error("UNTRUSTED-CHAIN: the node at {node} has {found} where {wanted} was asked for")]
    Chain { node: String, found: String, wanted: String },
    #[error("FOREIGN-BLOCK: the nodes at {one} and {other} have different blocks {number}")]
    Block { one: String, other: String, number: u64 },
}

/// The same for machines.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// The first and the last entry that it may be about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entries: Option<(u64, u64)>,
    /// The tile or bundle, as it is named under the log's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile: Option<String>,
    /// The size of the anchor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<u64>,
}

impl Broken {
    /// Where it was seen.
    pub fn place(&self) -> Place {
        let tile = |path: &String| Some(path.clone());
        match self {
            Self::Truncated { path, first, last, .. } | Self::Tile { path, first, last } => {
                Place { entries: Some((*first, *last)), tile: tile(path), anchor: None }
            }
            Self::Entry { entry, path } => Place { entries: Some((*entry, *entry)), tile: tile(path), anchor: None },
            Self::Root { size, agreed, .. } => Place { entries: between(*agreed, *size), ..Place::default() },
            Self::Anchor { size, agreed, .. } => {
                Place { entries: between(*agreed, *size), anchor: Some(*size), ..Place::default() }
            }
            Self::Behind { anchored, size } => {
                Place { entries: between(*size, *anchored), anchor: Some(*anchored), ..Place::default() }
            }
            Self::Withheld { size, .. } | Self::Event { size, .. } => Place { anchor: Some(*size), ..Place::default() },
            Self::Checkpoint(_) | Self::NotWitnessed { .. } | Self::Chain { .. } | Self::Block { .. } => {
                Place::default()
            }
        }
    }
}

/// The change is in one of the entries behind the last anchor that agrees.
fn between(agreed: u64, size: u64) -> Option<(u64, u64)> {
    Some((agreed, size.checked_sub(1)?))
}
