//! Who calls: the bearer token of a request (RFC 6750), its signature, its time, and whether it still stands.

use super::reply::{Reply, failure};
use super::routes::Request;
use crate::app::App;
use crate::error::Issue;
use crate::places::network;
use crate::smart::standing::Stands;
use crate::smart::token::{Bearer, Caller};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use warp::http::{HeaderMap, StatusCode, header};

/// Asked by orchestrators and Prometheus, often from the address of all others.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// From where a request comes: the other end of its connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Remote(pub(super) IpAddr);

/// Why nobody is known to call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stranger {
    Login,
    /// The index does not say whether the token was revoked.
    Later,
}

/// Asks what must be asked before a request is looked at: whether its token was revoked. Once a request, and not once each.
pub(super) async fn prepare(app: &App, headers: &HeaderMap) {
    if let Some(bearer) = borne(app, headers) {
        app.standing.ask(&app.core.store, &bearer, app.core.clock.now().as_millisecond()).await;
    }
}

/// Whose token a request bears, if it is a valid one.
pub(super) fn subject(app: &App, headers: &HeaderMap) -> Option<String> {
    authenticate(app, headers).ok().map(|bearer| bearer.caller.subject.clone())
}

/// The client's turn to be answered, or how long until it comes. Who is not known has one of his address. Who watches whether the service
/// is well waits for nobody.
pub(super) fn turn(app: &App, request: &Request, from: Option<Remote>) -> Result<(), Duration> {
    if PROBES.contains(&request.path.as_str()) {
        return Ok(());
    }
    match (authenticate(app, &request.headers), from) {
        (Ok(bearer), _) => app.paces.turn(&bearer.caller.subject, Instant::now()),
        (Err(_), Some(Remote(address))) => app.strangers.turn(&network(address).to_string(), Instant::now()),
        (Err(_), None) => Ok(()),
    }
}

/// The caller, or a 401, or a 503.
pub(super) fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, Reply> {
    authenticate(app, headers).map(|bearer| bearer.caller.clone()).map_err(|stranger| match stranger {
        Stranger::Login => {
            let text = "a valid bearer token is needed: of `medseal token`, or of the token endpoint";
            failure(StatusCode::UNAUTHORIZED, Issue::new("login", text))
        }
        Stranger::Later => {
            let text = "it cannot be told now whether this token was revoked: try again";
            failure(StatusCode::SERVICE_UNAVAILABLE, Issue::new("transient", text))
        }
    })
}

fn authenticate(app: &App, headers: &HeaderMap) -> Result<Arc<Bearer>, Stranger> {
    let bearer = borne(app, headers).ok_or(Stranger::Login)?;
    match app.standing.of(&bearer, app.core.clock.now().as_millisecond()) {
        Stands::Yes => Ok(bearer),
        Stands::No => Err(Stranger::Login),
        Stands::Unknown => Err(Stranger::Later),
    }
}

/// The token of a request, where its signature and its time hold.
fn borne(app: &App, headers: &HeaderMap) -> Option<Arc<Bearer>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let now = app.core.clock.now().as_second().max(0) as u64;
    scheme.eq_ignore_ascii_case("bearer").then(|| app.token_key.check(token.trim(), now).ok())?
}
