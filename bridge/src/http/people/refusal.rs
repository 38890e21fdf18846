//! What the door refuses, and how it says so.

use crate::consent::emergency::EmergencyError;
use crate::error::VaultError;
use crate::http::reply::{Reply, body, unreadable, with_header};
use crate::http::search;
use crate::index::store::StoreError;
use crate::people::Refused;
use crate::people::age::NotAWard;
use crate::people::openid::OpenIdError;
use crate::search::SearchError;
use serde_json::json;
use warp::http::{StatusCode, header};

/// Why a request of a person is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    Person(#[from] Refused),
    #[error("this did not come from a page of this site: open the page again")]
    Foreign,
    #[error("this cannot be read: open the page again")]
    Form,
    #[error("you are not signed in, or not any more")]
    Login,
    #[error("for this, sign out and in again first: it must have been within the last 15 minutes")]
    Stale,
    #[error("{0}")]
    App(&'static str),
    #[error("too many are signing in at this moment: try again")]
    Busy,
    #[error("this page is not for your role")]
    Role,
    #[error("there is nothing here that you may see")]
    Nothing,
    #[error("this cannot be shown at this moment: try again")]
    Later,
    #[error("there are too many entries to put them in order: ask for fewer")]
    TooMany,
    #[error("the record is too large for one file: an app can fetch it page by page")]
    TooLarge,
    #[error("this file is stored in a form that cannot be read")]
    Broken,
    #[error("say more, or something else: a number, or a name and a birth date; a role, with who it is")]
    Question,
    #[error("{0}")]
    Ward(NotAWard),
    #[error("this look at another hospital has ended: open it again")]
    Ended,
    #[error("nobody fits this, or more than one: give the number")]
    NotOne,
    #[error(transparent)]
    Emergency(#[from] EmergencyError),
    #[error("you cannot close your own account: another administrator can")]
    Own,
}

impl Refusal {
    /// HTTP's word for it.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Foreign | Self::Stale | Self::Role | Self::Ward(_) | Self::TooMany | Self::TooLarge => {
                StatusCode::FORBIDDEN
            }
            Self::Form | Self::Question | Self::App(_) => StatusCode::BAD_REQUEST,
            Self::Login => StatusCode::UNAUTHORIZED,
            Self::Nothing => StatusCode::NOT_FOUND,
            Self::Own | Self::NotOne => StatusCode::CONFLICT,
            Self::Emergency(error) => of_emergency(error),
            Self::Ended => StatusCode::GONE,
            Self::Broken => StatusCode::NOT_ACCEPTABLE,
            Self::Busy | Self::Later => StatusCode::SERVICE_UNAVAILABLE,
            Self::Person(refused) => of_person(refused),
        }
    }

    /// For a script. What is ours to mend is told to the operator.
    pub(super) fn told(self) -> Reply {
        let status = self.status();
        let text = self.text();
        let reply = body(status, "application/json", json!({"error": text}).to_string());
        match status {
            StatusCode::SERVICE_UNAVAILABLE => with_header(reply, header::RETRY_AFTER, "1"),
            StatusCode::UNAUTHORIZED => with_header(reply, header::WWW_AUTHENTICATE, "Session"),
            _ => reply,
        }
    }

    /// What the person reads: a sentence.
    pub(super) fn text(&self) -> String {
        let text = self.words();
        let mut letters = text.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
        format!("{first}{}.", letters.as_str())
    }

    fn words(&self) -> String {
        match self {
            Self::Person(Refused::Store(error)) => {
                tracing::error!(%error, "somebody could not come in");
                "the service cannot look it up at this moment: try again".to_owned()
            }
            Self::Emergency(error @ (EmergencyError::Ingest(_) | EmergencyError::Vault(_))) => {
                tracing::error!(%error, "an emergency could not be written down");
                "it cannot be written down at this moment, and so it does not begin: try again".to_owned()
            }
            other => other.to_string(),
        }
    }
}

/// What a handler of the FHIR API refuses, for a person. What is ours to mend it has told the operator.
impl From<Reply> for Refusal {
    fn from(reply: Reply) -> Self {
        match reply.status() {
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => Self::Role,
            StatusCode::NOT_FOUND | StatusCode::GONE => Self::Nothing,
            StatusCode::BAD_REQUEST => Self::Form,
            _ => Self::Later,
        }
    }
}

impl From<SearchError> for Refusal {
    fn from(error: SearchError) -> Self {
        if let SearchError::TooCostly(_) = error { Self::TooMany } else { search::refused(error).into() }
    }
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        unreadable(&error).into()
    }
}

fn of_emergency(error: &EmergencyError) -> StatusCode {
    match error {
        EmergencyError::Plea(_) => StatusCode::BAD_REQUEST,
        EmergencyError::Nobody => StatusCode::NOT_FOUND,
        EmergencyError::TooMany => StatusCode::CONFLICT,
        EmergencyError::Ingest(_) | EmergencyError::Vault(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::FORBIDDEN,
    }
}

fn of_person(refused: &Refused) -> StatusCode {
    match refused {
        Refused::Store(StoreError::Query(_) | StoreError::Nonsense(_)) | Refused::Secret => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        Refused::Store(_) | Refused::Invitations => StatusCode::SERVICE_UNAVAILABLE,
        Refused::OpenId(OpenIdError::Away) => StatusCode::SERVICE_UNAVAILABLE,
        Refused::Challenge | Refused::OpenId(OpenIdError::State) => StatusCode::BAD_REQUEST,
        Refused::Invitation => StatusCode::GONE,
        Refused::Taken | Refused::TooMany | Refused::Last => StatusCode::CONFLICT,
        Refused::Missing(_)
        | Refused::OpenId(_)
        | Refused::Unknown
        | Refused::Disabled
        | Refused::Counter
        | Refused::Passkey(_)
        | Refused::Signature => StatusCode::FORBIDDEN,
    }
}
