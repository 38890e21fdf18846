//! What a receipt proves: a grade and what it rests on, never a bare "valid".

use crate::anchor::Anchored;
use crate::checkpoint::Checkpoint;
use std::fmt;

/// How far a receipt's proof reaches, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// The log's operator signed it.
    Logged,
    /// The embedded ledger of the same operator holds it: no independent trust.
    AnchoredLocal,
    /// Others whom the policy names have cosigned the log's head.
    Witnessed,
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

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logged => "LOGGED",
            Self::AnchoredLocal => "ANCHORED-LOCAL",
            Self::Witnessed => "WITNESSED",
            Self::AnchoredConsortium => "ANCHORED-CONSORTIUM",
            Self::AnchoredPublic => "ANCHORED-PUBLIC",
        })
    }
}
