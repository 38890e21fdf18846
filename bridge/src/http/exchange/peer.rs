//! What other bridges ask of us. Each answer to who is known is signed, a refusal too.

use super::super::reply::{FHIR_JSON, Reply, body};
use super::super::routes::Request;
use super::{read, refused};
use crate::app::App;
use crate::error::IngestError;
use crate::exchange::deliver::Signed;
use crate::exchange::error::ExchangeError;
use crate::exchange::peers::{Requester, admit, answer as sign};
use crate::exchange::signed::HEADER;
use crate::exchange::{receive, respond, view};
use crate::fhir::outcome;
use crate::smart::token::Caller;
use std::sync::Arc;
use warp::http::{HeaderName, StatusCode};

/// Answers a signed request.
pub(super) async fn answer(app: &Arc<App>, request: &Request, what: &str) -> Reply {
    let Ok(bytes) = &request.body else {
        return refused(&ExchangeError::TooMuch);
    };
    let requester = match admit(app, &request.path, &request.headers, bytes).await {
        Ok(requester) => requester,
        // Who does not know us, or is not known, gets no signature.
        Err(error) => return refused(&error),
    };
    if app.paces.turn(requester.partner.id.as_str(), tokio::time::Instant::now()).is_err() {
        return signed(app, &requester, Err(ExchangeError::Ingest(IngestError::Busy)));
    }
    tell(app, request, &requester).await;
    let done = respond_to(app, request, &requester, what, bytes).await;
    signed(app, &requester, done)
}

/// Whoever is refused is told of, too.
async fn tell(app: &Arc<App>, request: &Request, requester: &Requester) {
    if let Ok(outside) = requester.outside(app).await {
        let caller =
            Caller { outside: Some(Arc::new(outside)), ..Caller::new(requester.partner.id.as_str(), Vec::new()) };
        let _ = caller.asks(&request.seen);
    }
}

async fn respond_to(
    app: &Arc<App>,
    request: &Request,
    by: &Requester,
    what: &str,
    bytes: &[u8],
) -> Result<Vec<u8>, ExchangeError> {
    let written = |_| ExchangeError::Malformed("the answer cannot be written");
    match what {
        "pull" => serde_json::to_vec(&respond::pull(app, by, &read(bytes)?, &request.seen).await?).map_err(written),
        "push" => {
            let receipt = receive::receive(app, by, &read(bytes)?, &request.seen).await?;
            serde_json::to_vec(&Signed { receipt }).map_err(written)
        }
        "view" => serde_json::to_vec(&view::admit(app, by, &read(bytes)?, &request.seen).await?).map_err(written),
        "look" => serde_json::to_vec(&view::show(app, by, &read(bytes)?, &request.seen).await?).map_err(written),
        "close" => {
            let view::Look { ticket, .. } = read(bytes)?;
            view::dismiss(app, by, &ticket).await.map(|()| b"{}".to_vec())
        }
        _ => Err(ExchangeError::NotFound),
    }
}

fn signed(app: &App, to: &Requester, done: Result<Vec<u8>, ExchangeError>) -> Reply {
    let mut reply = match done {
        Ok(bytes) => body(StatusCode::OK, "application/json", bytes),
        Err(error) => {
            tracing::info!(participant = %to.partner.id, %error, "another organisation was refused");
            body(error.status(), FHIR_JSON, outcome::errors(&error.issues()).to_string())
        }
    };
    match sign(app, to, reply.status(), reply.body()) {
        Ok(signature) => _ = reply.headers_mut().insert(HeaderName::from_static(HEADER), signature),
        Err(error) => tracing::error!(%error, "an answer could not be signed"),
    }
    reply
}
