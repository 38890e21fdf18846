//! Builds HTTP answers. Errors become OperationOutcomes here, with the status that their fault asks for.

use crate::clock::http_date;
use crate::error::{Fault, IngestError, Issue, VaultError};
use crate::fhir::outcome;
use crate::ids::Version;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;
use warp::http::{HeaderValue, Response, StatusCode, header};

/// The body type of every answer.
pub type Reply = Response<bytes::Bytes>;

/// A body that is sent while it is made. It travels beside the reply; `server` puts it in.
#[derive(Clone)]
pub struct Streamed(Arc<Mutex<Option<mpsc::Receiver<Part>>>>);

/// Some bytes of such a body, or an error that breaks the answer off.
pub type Part = Result<bytes::Bytes, std::io::Error>;

impl Streamed {
    /// What is to be sent; only once.
    pub fn take(&self) -> Option<mpsc::Receiver<Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// An answer whose body is still being made.
pub fn streamed(media_type: &'static str, parts: mpsc::Receiver<Part>) -> Reply {
    let mut reply = body(StatusCode::OK, media_type, bytes::Bytes::new());
    reply.extensions_mut().insert(Streamed(Arc::new(Mutex::new(Some(parts)))));
    reply
}

/// FHIR's media type for many resources, one a line.
pub const NDJSON: &str = "application/fhir+ndjson";

/// FHIR's media type.
pub const FHIR_JSON: &str = "application/fhir+json; charset=utf-8";

/// An answer with a body.
pub fn body(status: StatusCode, media_type: &'static str, body: impl Into<bytes::Bytes>) -> Reply {
    let mut reply = Response::new(body.into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    reply.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Patient data belongs in no cache between here and the client.
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A FHIR answer.
pub fn fhir(status: StatusCode, resource: impl Into<bytes::Bytes>) -> Reply {
    body(status, FHIR_JSON, resource)
}

/// A header whose value this server made.
pub fn with_header(mut reply: Reply, name: header::HeaderName, value: &str) -> Reply {
    if let Ok(value) = HeaderValue::from_str(value) {
        reply.headers_mut().insert(name, value);
    }
    reply
}

/// `W/"3"`.
pub fn etag(version: Version) -> String {
    format!("W/\"{version}\"")
}

/// ETag and Last-Modified.
pub fn versioned(reply: Reply, version: Version, updated: i64) -> Reply {
    let time = jiff::Timestamp::from_millisecond(updated).unwrap_or_default();
    let reply = with_header(reply, header::ETAG, &etag(version));
    with_header(reply, header::LAST_MODIFIED, &http_date(time))
}

/// An OperationOutcome.
pub fn failure(status: StatusCode, issue: Issue) -> Reply {
    failures(status, &[issue])
}

/// An OperationOutcome of several issues. A 503 says when to come back.
pub fn failures(status: StatusCode, issues: &[Issue]) -> Reply {
    let reply = fhir(status, outcome::errors(issues).to_string());
    match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => with_header(reply, header::RETRY_AFTER, "5"),
        StatusCode::UNAUTHORIZED => with_header(reply, header::WWW_AUTHENTICATE, "Bearer"),
        _ => reply,
    }
}

/// The status of a failed write.
pub fn status(error: &IngestError) -> StatusCode {
    match error {
        IngestError::Unparsable(_) | IngestError::Contradiction(_) => StatusCode::BAD_REQUEST,
        IngestError::NotFound(_) => StatusCode::NOT_FOUND,
        IngestError::Gone(_) | IngestError::Vault(VaultError::Erased) => StatusCode::GONE,
        IngestError::Unsupported(_) | IngestError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        IngestError::Precondition(_) => StatusCode::PRECONDITION_FAILED,
        IngestError::Conflict(_) => StatusCode::CONFLICT,
        IngestError::Forbidden(_) => StatusCode::FORBIDDEN,
        other => fault_status(other.fault()),
    }
}

fn fault_status(fault: Fault) -> StatusCode {
    match fault {
        Fault::Sender => StatusCode::UNPROCESSABLE_ENTITY,
        Fault::Us => StatusCode::INTERNAL_SERVER_ERROR,
        Fault::RetryLater => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// A failed write: the sender hears what concerns the sender, the log hears the cause.
pub fn refused(error: &IngestError) -> Reply {
    if error.is_news() {
        tracing::error!(%error, "a write failed");
    }
    failures(status(error), &error.issues())
}

/// A failed read.
pub fn unreadable(error: &VaultError) -> Reply {
    if let VaultError::Erased = error {
        return failure(StatusCode::GONE, error.issue());
    }
    tracing::error!(%error, "a read failed");
    failure(fault_status(error.fault()), error.issue())
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = body(status, FHIR_JSON, bytes::Bytes::new());
    reply.headers_mut().remove(header::CONTENT_TYPE);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_decides_the_status_and_503_says_when_to_come_back() {
        let issue = || Issue::new("value", "x");
        for (error, expected) in [
            (IngestError::Unparsable(issue()), 400),
            (IngestError::Invalid(vec![issue()]), 422),
            (IngestError::Unsupported(issue()), 422),
            (IngestError::Precondition(issue()), 412),
            (IngestError::Conflict(issue()), 409),
            (IngestError::Forbidden(issue()), 403),
            (IngestError::NotFound(issue()), 404),
            (IngestError::Gone(issue()), 410),
            (IngestError::Contradiction(issue()), 400),
            (IngestError::Busy, 503),
            (IngestError::Vault(VaultError::Tampered { pack: "p".into(), offset: 0, what: "x" }), 500),
        ] {
            let reply = refused(&error);
            assert_eq!(reply.status(), expected, "{error}");
            assert_eq!(reply.headers().contains_key(header::RETRY_AFTER), expected == 503);
            assert_eq!(reply.headers()[header::CACHE_CONTROL], "no-store");
        }
    }
}
