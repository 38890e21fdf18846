//! Refusals of the authorization server (RFC 6749, section 5.2).

use crate::error::{Fault, VaultError};
use crate::http::reply::{Reply, body, with_header};
use crate::limits::MAX_QUERY_BYTES;
use crate::smart::assertion::AssertionError;
use serde_json::json;
use warp::http::{StatusCode, header};

/// Why a request is refused.
pub(super) enum Refusal {
    Request(String),
    TooLong,
    Client(AssertionError),
    UnsupportedGrantType,
    /// A code or refresh token that does not count.
    Grant,
    /// It cannot be revoked (RFC 7009, section 2.2.1).
    UnsupportedTokenType,
    Scope(&'static str),
    /// The token is another's.
    Unauthorized,
    /// Nobody is known to call: the answer to that.
    Login(Reply),
    Later,
    Server,
}

impl From<AssertionError> for Refusal {
    fn from(error: AssertionError) -> Self {
        Self::Client(error)
    }
}

impl Refusal {
    /// What a fault on this side becomes.
    pub(super) fn later(error: &VaultError) -> Self {
        tracing::error!(%error, "a request to the authorization server failed");
        if error.fault() == Fault::RetryLater { Self::Later } else { Self::Server }
    }

    /// The answer.
    pub(super) fn reply(self) -> Reply {
        let bad = StatusCode::BAD_REQUEST;
        let (status, code, text) = match self {
            Self::Login(reply) => return reply,
            Self::Request(text) => (bad, "invalid_request", text),
            Self::TooLong => {
                let text = format!("the form is at most {MAX_QUERY_BYTES} bytes long, and arrives in time");
                (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", text)
            }
            Self::Client(error) => (StatusCode::UNAUTHORIZED, "invalid_client", error.to_string()),
            Self::UnsupportedGrantType => {
                (bad, "unsupported_grant_type", "authorization_code, refresh_token or client_credentials".into())
            }
            Self::Grant => {
                let text = "the code or refresh token is not known, has ended, was used before, or is not yours";
                (bad, "invalid_grant", text.into())
            }
            Self::UnsupportedTokenType => {
                (bad, "unsupported_token_type", "this token has no id to revoke it by: it ends with its time".into())
            }
            Self::Scope(text) => (bad, "invalid_scope", text.into()),
            Self::Unauthorized => (StatusCode::FORBIDDEN, "unauthorized_client", "the token is not yours".into()),
            Self::Later => (
                StatusCode::SERVICE_UNAVAILABLE,
                "temporarily_unavailable",
                "the store does not answer: try again".into(),
            ),
            Self::Server => {
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "the operator's log says what went wrong".into())
            }
        };
        let reply = body(status, "application/json", json!({"error": code, "error_description": text}).to_string());
        let reply = with_header(reply, header::PRAGMA, "no-cache");
        match status {
            StatusCode::SERVICE_UNAVAILABLE => with_header(reply, header::RETRY_AFTER, "5"),
            _ => reply,
        }
    }
}
