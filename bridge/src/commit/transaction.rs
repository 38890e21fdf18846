//! What the committer is given, and what it gives back.

use crate::app::Core;
use crate::fhir::write::Write;
use crate::ids::{Name, ResourceId, Version};
use crate::index::tokens::Token;
use crate::message::Held;
use crate::smart::token::Caller;
use notary::commitment::Digest;
use std::sync::Arc;

/// What is to be committed together: writes, and the message they came from.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub by: Author,
    pub writes: Vec<Write>,
    pub message: Option<RawMessage>,
}

/// Who writes.
#[derive(Debug, Clone)]
pub enum Author {
    /// This service: what it maps out of messages, and what it notes itself.
    Service,
    /// A client: each resource is held against what it may do, as it was and as it will be.
    Client(Box<Caller>),
    /// Exchange, for who asked or for another organisation: what is proved, and who gave it.
    Exchange(Box<Caller>),
    /// A client where grants are given: the patient has signed what is written, or told somebody to write it down.
    Desk(Box<Caller>),
}

impl Author {
    /// Whose deed it is, if not this service's own.
    pub fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Service => None,
            Self::Client(caller) | Self::Exchange(caller) | Self::Desk(caller) => Some(caller),
        }
    }
}

/// A received message, to be kept as it was.
#[derive(Clone)]
pub struct RawMessage {
    /// The received bytes.
    pub bytes: Vec<u8>,
    /// What makes two messages the same: sender, MSH-10 and the hash of the content.
    pub sender: String,
    pub control_id: String,
    /// The message map, the hash of the map set, and the mapping report: kept beside the bytes.
    pub map: String,
    pub map_set: String,
    pub report: Vec<mappings::report::Line>,
    pub kept_as: KeptAs,
}

/// What a received message is kept as.
#[derive(Clone)]
pub enum KeptAs {
    /// What its resources were made of.
    Message,
    /// One of which nothing was made, and why.
    Held(Held),
    /// One that was in quarantine: what became of it closes it there, with the same commit. What was changed after `since`, in
    /// milliseconds since 1970, knows better than it: then nothing is written.
    Replay { of: ResourceId, told: Held, since: Option<i64> },
}

/// What became of a transaction. It exists only once everything is durable.
#[derive(Debug, Clone)]
pub struct Committed {
    /// One for each write, in its order.
    pub done: Vec<Done>,
    /// Where the message is kept.
    pub message: Option<ResourceId>,
    /// The message had been taken before: nothing was stored again.
    pub duplicate: bool,
}

/// What became of one write.
#[derive(Debug, Clone)]
pub enum Done {
    /// The resource is there, as this version.
    Written(Written),
    /// It is deleted, now or since before.
    Deleted(Deleted),
    /// There was nothing to delete.
    Nothing,
}

/// One resource after its write.
#[derive(Clone)]
pub struct Written {
    pub name: Name,
    pub version: Version,
    /// It was not there before: new, or deleted.
    pub created: bool,
    /// Milliseconds since 1970.
    pub updated: i64,
    /// The canonical resource as stored.
    pub resource: Arc<Vec<u8>>,
}

/// One resource after its deletion.
#[derive(Debug, Clone)]
pub struct Deleted {
    pub name: Name,
    /// The version that is the deletion.
    pub version: Version,
    /// Milliseconds since 1970.
    pub updated: i64,
}

crate::redacted_debug!(RawMessage, KeptAs, Written);

impl RawMessage {
    /// The time after which nothing may have changed of what it writes.
    pub(super) fn since(&self) -> Option<i64> {
        match &self.kept_as {
            KeptAs::Replay { since, .. } => *since,
            _ => None,
        }
    }

    /// What it is recognised by. One in quarantine is replayed once, whatever text it then has.
    pub(super) fn token(&self, core: &Core, raw: Digest) -> Token {
        match &self.kept_as {
            KeptAs::Replay { of, .. } => core.identity_token(&["replay", of.as_str()]),
            _ => core.identity_token(&["message", &self.sender, &self.control_id, &raw.to_string()]),
        }
    }
}

impl Done {
    /// The resource, where it is there.
    pub fn written(&self) -> Option<&Written> {
        match self {
            Self::Written(written) => Some(written),
            Self::Deleted(_) | Self::Nothing => None,
        }
    }
}
