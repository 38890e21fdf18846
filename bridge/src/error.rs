//! Whose fault a failure is. Each family of errors has its enum where it arises; here stands what they share, and the
//! write path's own.

use crate::index::store::StoreError;
use crate::secret::NoRandomness;
use crate::vault::keys::KeyError;
use crate::vault::objects::ObjectError;
use crate::vault::pack::PackError;
use crate::vault::seal::SealError;
use mappings::path::Place;
use std::sync::Arc;

/// Who must do something about a failure: it decides the acknowledgement code and the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sender: sending the same again will fail again.
    Sender,
    /// This server.
    Us,
    /// Nobody: the same may well succeed later.
    RetryLater,
}

/// One thing that is wrong with what was sent, and where. The text never quotes patient data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// FHIR's issue type (<http://hl7.org/fhir/R4/valueset-issue-type.html>).
    pub code: &'static str,
    pub text: String,
    /// A FHIRPath expression, `Patient.name[0].family`.
    pub expression: Option<String>,
    /// In a message: segment name, its occurrence, and the place.
    pub source: Option<(String, usize, Place)>,
}

impl Issue {
    /// An issue of the whole.
    pub fn new(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), expression: None, source: None }
    }

    /// An issue at an element.
    pub fn at(code: &'static str, expression: &str, text: impl Into<String>) -> Self {
        Self { expression: Some(expression.to_owned()), ..Self::new(code, text) }
    }
}

/// Why something was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the message cannot be read")]
    Unparsable(Issue),
    #[error("this kind of message or request is not supported")]
    Unsupported(Issue),
    #[error("what was sent is not valid")]
    Invalid(Vec<Issue>),
    #[error("the request contradicts itself")]
    Contradiction(Issue),
    #[error("there is no such resource")]
    NotFound(Issue),
    #[error("the resource was deleted")]
    Gone(Issue),
    #[error("a condition of the request does not hold")]
    Precondition(Issue),
    #[error("two entries of one transaction are the same resource")]
    Conflict(Issue),
    #[error("the token does not allow this")]
    Forbidden(Issue),
    #[error("too many wait already")]
    Busy,
    #[error("the service is stopping")]
    Stopping,
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// The whole group failed: one cause, logged once, many senders.
    #[error("nothing was stored: {0}")]
    NotStored(Arc<VaultError>),
}

/// Why stored content could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(transparent)]
    Index(#[from] StoreError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("pack {pack}, record at byte {offset}: {source}")]
    Pack { pack: String, offset: u64, source: PackError },
    #[error("pack {pack}, record at byte {offset}: {source}")]
    Seal { pack: String, offset: u64, source: SealError },
    /// Its key was destroyed.
    #[error("what was asked for was erased")]
    Erased,
    #[error("pack {pack}, record at byte {offset}: {what}")]
    Tampered { pack: String, offset: u64, what: &'static str },
    #[error(
        "another piece of upkeep is at work: an erasure, a rotation of keys, a compaction; wait until it has ended"
    )]
    Upkeep,
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl VaultError {
    /// Whether a key was destroyed on purpose.
    pub fn is_erased(&self) -> bool {
        matches!(self, Self::Erased | Self::Index(StoreError::Erased { .. }))
    }
}

impl IngestError {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Unparsable(_)
            | Self::Unsupported(_)
            | Self::Invalid(_)
            | Self::Contradiction(_)
            | Self::NotFound(_)
            | Self::Gone(_)
            | Self::Precondition(_)
            | Self::Conflict(_)
            | Self::Forbidden(_) => Fault::Sender,
            Self::Busy | Self::Stopping => Fault::RetryLater,
            Self::Vault(error) => error.fault(),
            // Whatever the cause, nothing of it was acknowledged and the same may be sent again.
            Self::NotStored(_) => Fault::RetryLater,
        }
    }

    /// The same, with its issues at another place: an entry of a Bundle, say.
    pub fn located(self, place: impl Fn(Issue) -> Issue) -> Self {
        match self {
            Self::Invalid(issues) => Self::Invalid(issues.into_iter().map(place).collect()),
            Self::Contradiction(issue) => Self::Contradiction(place(issue)),
            Self::NotFound(issue) => Self::NotFound(place(issue)),
            Self::Gone(issue) => Self::Gone(place(issue)),
            Self::Precondition(issue) => Self::Precondition(place(issue)),
            Self::Conflict(issue) => Self::Conflict(place(issue)),
            Self::Forbidden(issue) => Self::Forbidden(place(issue)),
            other => other,
        }
    }

    /// Whether whoever answers should log the cause: it is not the sender's, and was not logged before.
    pub fn is_news(&self) -> bool {
        // Who comes faster than he may is told so, and counted.
        self.fault() != Fault::Sender && !matches!(self, Self::NotStored(_) | Self::Busy)
    }

    /// What the sender is told.
    pub fn issues(&self) -> Vec<Issue> {
        match self {
            Self::Invalid(issues) => issues.clone(),
            Self::Unparsable(issue)
            | Self::Unsupported(issue)
            | Self::Contradiction(issue)
            | Self::NotFound(issue)
            | Self::Gone(issue)
            | Self::Precondition(issue)
            | Self::Conflict(issue)
            | Self::Forbidden(issue) => vec![issue.clone()],
            Self::Busy | Self::Stopping => vec![Issue::new("transient", format!("{self}: try again"))],
            Self::Vault(error) => vec![error.issue()],
            Self::NotStored(_) => vec![VaultError::retry()],
        }
    }
}

impl VaultError {
    /// Who must act.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Object(
                ObjectError::Missing { .. }
                | ObjectError::Short { .. }
                | ObjectError::Damaged { .. }
                | ObjectError::Taken { .. }
                | ObjectError::Refused { .. }
                | ObjectError::Credentials,
            )
            | Self::Pack { .. }
            | Self::Seal { .. }
            | Self::Tampered { .. } => Fault::Us,
            Self::Erased => Fault::Sender,
            Self::Key(KeyError::Away { .. } | KeyError::Randomness(_)) => Fault::RetryLater,
            Self::Key(_) => Fault::Us,
            Self::Index(_) | Self::Object(_) | Self::Upkeep | Self::Randomness(_) => Fault::RetryLater,
        }
    }

    /// Try again.
    fn retry() -> Issue {
        Issue::new("transient", "the store does not answer: nothing was stored, try again")
    }

    /// What the caller is told: that it failed and whether to retry. The cause is for the log.
    pub fn issue(&self) -> Issue {
        match self.fault() {
            Fault::Sender => Issue::new("deleted", "this was erased: its patient's key was destroyed"),
            Fault::RetryLater if matches!(self, Self::Key(_)) => {
                Issue::new("transient", "the key service does not answer: nothing was stored, try again")
            }
            Fault::RetryLater => Self::retry(),
            _ => Issue::new(
                "exception",
                "stored content is damaged or cannot be reached or opened: the operator's log names it",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_erased_is_told_as_gone() {
        let error = VaultError::Erased;
        assert_eq!((error.fault(), error.issue().code), (Fault::Sender, "deleted"));
        assert!(!IngestError::Vault(error).is_news());
    }

    #[test]
    fn each_failure_has_one_fault_and_says_nothing_of_its_inside() {
        let missing = VaultError::Object(ObjectError::Missing { name: "packs/secret".into() });
        assert_eq!(missing.fault(), Fault::Us);
        assert!(!missing.issue().text.contains("secret"));
        let busy = VaultError::Object(ObjectError::S3 { name: "packs/x".into(), what: "503 SlowDown".into() });
        assert_eq!((busy.fault(), IngestError::Busy.fault()), (Fault::RetryLater, Fault::RetryLater));
        assert!(!busy.issue().text.contains("SlowDown"));
        let away = VaultError::Key(KeyError::Away { key: "alias/x".into(), what: "time-out".into() });
        assert_eq!(away.fault(), Fault::RetryLater);
        assert!(away.issue().text.contains("key service") && !away.issue().text.contains("alias/x"));
        let refused = VaultError::Object(ObjectError::Refused { name: "packs/x".into(), what: "AccessDenied".into() });
        assert_eq!(refused.fault(), Fault::Us);
        assert_eq!(IngestError::Invalid(vec![Issue::new("value", "x")]).fault(), Fault::Sender);
    }
}
