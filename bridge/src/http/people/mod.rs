//! The door: `/auth/login`, `/auth/join`, `/auth/logout`, `/me`, and what their scripts ask; behind it the portal, `/me/...`; and `/withdraw`, for whoever has a code. Every POST
//! must come from a page of this very origin; those of somebody who is signed in bear the session's token, too.

mod access;
mod apps;
mod authorize;
mod deeds;
mod door;
mod emergency;
mod explain;
mod feeds;
mod files;
mod frame;
mod front;
mod guard;
mod guardians;
mod held;
mod hospitals;
mod launch;
mod letting;
mod log;
mod mine;
mod network;
mod openid;
mod pages;
mod paths;
mod patients;
mod programs;
mod recipients;
mod record;
mod record_pages;
mod refusal;
pub mod session;
mod shares;
mod signing;
mod staff;
mod trail;
mod upkeep;
mod visit;
pub(super) mod words;

use super::query;
use super::reply::{Reply, body, empty, with_header};
use super::routes::Request;
use crate::app::App;
use crate::people::enrol::Desk;
use crate::people::session::Session;
use crate::people::site::{Site, own_path};
use crate::people::{AccountId, Refused};
pub(super) use front::front;
use maud::Markup;
pub(super) use paths::answer;
use refusal::Refusal;
use serde_json::Value;
use warp::http::{StatusCode, header};

/// Where somebody goes who has signed in and asked for nothing else.
const HOME: &str = "/me";
/// The chain that a wallet's message names where anchors go to the embedded ledger, which no wallet knows: Ethereum's
/// own.
const MAINNET: u64 = 1;

fn site(app: &App) -> Site {
    Site::of(&app.core.base)
}

/// The names of the outside providers.
fn offers(app: &App) -> Vec<&str> {
    app.config.login.openid.iter().map(|provider| provider.name.as_str()).collect()
}

fn desk(app: &App) -> Desk {
    let core = &app.core;
    let chain = app.config.chain.as_ref().map_or(MAINNET, |chain| chain.chain_id);
    Desk { store: core.store.clone(), secrets: core.secrets.clone(), site: site(app), chain, now: core.clock.now() }
}

/// Work at the desk, beside the network threads.
async fn at_desk<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Desk) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Refusal> {
    let desk = desk(app);
    let joined = tokio::task::spawn_blocking(move || work(&desk)).await;
    Ok(joined.unwrap_or(Err(Refused::Secret))?)
}

/// A page with what keeps it ours: nothing inline, nothing from elsewhere, in nobody's frame. Its own pages must be
/// able to prove where a form comes from, so that the referrer is not left out altogether.
fn page(status: StatusCode, content: &Markup) -> Reply {
    page_going_to(status, content, "")
}

/// The same, whose form's answer goes on to an origin.
fn page_going_to(status: StatusCode, content: &Markup, origin: &str) -> Reply {
    const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                          base-uri 'none'; frame-ancestors 'none'; form-action 'self'";
    let reply = body(status, "text/html; charset=utf-8", content.0.clone());
    let policy = if origin.is_empty() { POLICY.to_owned() } else { format!("{POLICY} {origin}") };
    let reply = with_header(reply, header::CONTENT_SECURITY_POLICY, &policy);
    with_header(reply, header::REFERRER_POLICY, "same-origin")
}

fn refused(app: &App, refusal: &Refusal) -> Reply {
    page(refusal.status(), &pages::refused(&site(app), refusal))
}

fn see_other(to: &str) -> Reply {
    with_header(empty(StatusCode::SEE_OTHER), header::LOCATION, to)
}

fn json(value: &Value) -> Reply {
    body(StatusCode::OK, "application/json", value.to_string())
}

/// A parameter of the address.
fn parameter(request: &Request, name: &str) -> Option<String> {
    let pairs = query::pairs(&request.query).ok()?;
    pairs.into_iter().find(|(called, _)| called == name).map(|(_, value)| value)
}

/// Where to go on to; only ever a path of this server.
fn next(given: Option<&str>) -> &str {
    given.and_then(own_path).unwrap_or(HOME)
}

/// What changes the ways to sign in needs one who has just signed in.
fn fresh(app: &App, session: &Session) -> Result<(), Refusal> {
    if session.is_fresh(app.core.clock.now().as_millisecond()) { Ok(()) } else { Err(Refusal::Stale) }
}

/// For the operator's log: a random id and no more.
fn news(account: &AccountId, what: &str) {
    tracing::info!(%account, "{what}");
}
