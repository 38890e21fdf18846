//! Why an exchange did not come about, and whose affair that is. No text names a patient or quotes what was sent.

use super::participants::DirectoryError;
use super::signed::SignedError;
use crate::audit::event::Answer;
use crate::error::{Fault, IngestError, Issue, VaultError};
use crate::outgoing::SendError;
use crate::search::SearchError;
use mappings::to_v2::ToV2Error;
use warp::http::StatusCode;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    #[error("this server exchanges nothing with others: its configuration has no [exchange]")]
    Off,
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("the request is not one that a participant signed: {0}")]
    Signed(#[from] SignedError),
    #[error("this signed request was taken before")]
    Replayed,
    #[error("{0}")]
    Malformed(&'static str),
    /// What role or reason is missing, in words.
    #[error("{0}")]
    Plea(String),
    #[error("what was given is not valid")]
    Invalid(Vec<Issue>),
    #[error("the token does not allow this")]
    Forbidden(String),
    #[error("no patient here is the one who is described")]
    NoPatient,
    #[error("it is not certain which patient here is meant: {0}")]
    Uncertain(&'static str),
    /// What to ask the patient for, in words.
    #[error("the patient has not consented to this")]
    Consent(String),
    #[error("a newer version of it has been delivered: this one came too late")]
    Late,
    #[error("what is asked for is more than one parcel holds")]
    TooMuch,
    #[error("a resource is not proved: nothing was stored ({0})")]
    Unproved(String),
    #[error("there is no such push, or no such view")]
    NotFound,
    #[error("the view has ended")]
    Ended,
    #[error("the other organisation's answer is not signed by it for this request")]
    Answer,
    #[error("the other organisation refused ({status})")]
    Refused { status: StatusCode, text: String },
    #[error("the other organisation cannot be reached: {0}")]
    Send(#[from] SendError),
    /// Types of resources.
    #[error("no HL7 v2 message carries what was pushed ({0})")]
    Unmapped(String),
    #[error("the HL7 v2 message cannot be made: {0}")]
    NotMade(#[from] ToV2Error),
    /// Which messages, and the codes of their acknowledgements. `again`: a fault of the receiver's own, which may be over later.
    #[error("the receiver did not take {said}")]
    Nacked { said: String, again: bool },
    #[error("what the receiver answered does not acknowledge the message that was sent")]
    Unacked,
    #[error(transparent)]
    Search(#[from] SearchError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

impl ExchangeError {
    /// For the operator's log: without the name of a receiver that nobody knows, which is whatever a client has sent.
    pub fn inside(&self) -> String {
        match self {
            Self::Directory(DirectoryError::Unknown(_)) => "the receiver is no participant of this network".to_owned(),
            known => known.to_string(),
        }
    }

    /// Whether the other organisation refused: its patient does not allow what was asked.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::FORBIDDEN)
    }

    /// What the trail says of it; `asks`: a refusal was to become a request to the patient.
    pub fn answer(&self, asks: bool) -> Answer {
        match self.is_refusal() {
            true if asks => Answer::Asks,
            true => Answer::Refused,
            false => Answer::Nothing,
        }
    }

    /// The status of an answer that says it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Off | Self::NoPatient | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Directory(error) => directory_status(error),
            Self::Signed(_) | Self::Replayed => StatusCode::UNAUTHORIZED,
            Self::Malformed(_) | Self::Plea(_) => StatusCode::BAD_REQUEST,
            Self::Invalid(_) | Self::Unproved(_) | Self::Unmapped(_) | Self::NotMade(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::Forbidden(_) | Self::Consent(_) => StatusCode::FORBIDDEN,
            Self::Uncertain(_) | Self::Late => StatusCode::CONFLICT,
            Self::TooMuch => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Ended => StatusCode::GONE,
            // What the other says of patient and consent is what our client is told.
            Self::Refused { status, .. } if matches!(status.as_u16(), 403 | 404 | 409 | 410 | 413) => *status,
            Self::Answer | Self::Unacked | Self::Nacked { .. } | Self::Refused { .. } | Self::Send(_) => {
                StatusCode::BAD_GATEWAY
            }
            Self::Search(SearchError::Vault(error)) | Self::Vault(error) => of_fault(error.fault()),
            Self::Search(_) => StatusCode::FORBIDDEN,
            Self::Ingest(error) => of_fault(error.fault()),
        }
    }

    /// What the answer says.
    pub fn issues(&self) -> Vec<Issue> {
        let one = |code| vec![Issue::new(code, self.to_string())];
        match self {
            Self::Off | Self::NoPatient | Self::NotFound | Self::Ended => one("not-found"),
            Self::Directory(DirectoryError::NotActive { .. } | DirectoryError::Unknown(_)) => one("security"),
            Self::Directory(_) | Self::Send(_) | Self::Answer | Self::Unacked => one("transient"),
            Self::Unmapped(_) | Self::NotMade(_) => one("not-supported"),
            Self::Nacked { .. } | Self::Late => one("processing"),
            Self::Signed(_) | Self::Replayed => one("login"),
            Self::Malformed(_) | Self::Plea(_) | Self::Unproved(_) => one("value"),
            Self::Invalid(issues) => issues.clone(),
            Self::Forbidden(text) => vec![Issue::new("forbidden", text.clone())],
            Self::Consent(text) => vec![Issue::new("suppressed", text.clone())],
            Self::Uncertain(_) => one("multiple-matches"),
            Self::TooMuch => one("too-costly"),
            Self::Refused { status, text } => {
                let code = match status.as_u16() {
                    403 => "suppressed",
                    404 | 410 => "not-found",
                    409 => "multiple-matches",
                    _ => "processing",
                };
                vec![Issue::new(code, format!("{self}: {text}"))]
            }
            Self::Search(SearchError::Vault(error)) | Self::Vault(error) => vec![error.issue()],
            Self::Search(_) => one("forbidden"),
            Self::Ingest(error) => error.issues(),
        }
    }

    /// Whether the same may well succeed later. A suspension may be lifted, but not by waiting.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Directory(DirectoryError::NotActive { .. } | DirectoryError::Unknown(_)) => false,
            Self::Directory(_) | Self::Send(_) | Self::Answer | Self::Unacked => true,
            Self::Nacked { again, .. } => *again,
            Self::Refused { status, .. } => {
                status.is_server_error() || matches!(status.as_u16(), 401 | 408 | 425 | 429)
            }
            Self::Search(SearchError::Vault(error)) | Self::Vault(error) => error.fault() == Fault::RetryLater,
            Self::Ingest(error) => error.fault() == Fault::RetryLater,
            _ => false,
        }
    }
}

fn directory_status(error: &DirectoryError) -> StatusCode {
    match error {
        DirectoryError::Unknown(_) | DirectoryError::NotActive { .. } => StatusCode::FORBIDDEN,
        DirectoryError::Chain(_) | DirectoryError::Strangers => StatusCode::SERVICE_UNAVAILABLE,
        DirectoryError::Document { .. } | DirectoryError::Fetch { .. } => StatusCode::BAD_GATEWAY,
    }
}

fn of_fault(fault: Fault) -> StatusCode {
    match fault {
        Fault::Sender => StatusCode::UNPROCESSABLE_ENTITY,
        Fault::Us => StatusCode::INTERNAL_SERVER_ERROR,
        Fault::RetryLater => StatusCode::SERVICE_UNAVAILABLE,
    }
}
