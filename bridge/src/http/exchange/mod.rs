//! Exchange with other organisations: what our own clients ask for (`own`), and what other bridges ask of us (`peer`).

pub(super) mod own;
mod peer;
mod push;
mod view;

use super::reply::{Reply, body, failures};
use super::routes::{Request, guard, not_found, only};
use crate::app::App;
use crate::error::Issue;
use crate::exchange::error::ExchangeError;
use crate::exchange::{of, peers};
use crate::http::query;
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::{Method, StatusCode};

/// Where other bridges knock.
const PEERS: &str = "/exchange/peer/";

/// `/.well-known/medseal-participant.json`: who we are, for whoever looks us up.
pub(super) fn document(app: &App) -> Result<Reply, Reply> {
    let exchange = of(app).map_err(|error| refused(&error))?;
    Ok(body(StatusCode::OK, "application/json", exchange.document.clone()))
}

/// Everything under `/exchange`.
pub(super) async fn answer(app: &Arc<App>, request: &Request, rest: &[&str]) -> Result<Reply, Reply> {
    let (get, post) = (&[Method::GET], &[Method::POST]);
    match rest {
        ["participants"] => own::participants(guard(app, request, get)?).await,
        ["pull"] => own::pull(guard(app, request, post)?).await,
        ["push"] => push::begin(guard(app, request, post)?).await,
        ["push", id] => push::state(guard(app, request, get)?, id).await,
        ["view"] => view::begin(guard(app, request, post)?).await,
        ["view", id] if request.method == Method::DELETE => {
            view::end(guard(app, request, &[Method::DELETE])?, id).await
        }
        ["view", id] => view::look(guard(app, request, &[Method::GET, Method::DELETE])?, id, None).await,
        ["view", id, kind] => view::look(guard(app, request, get)?, id, Some(kind)).await,
        ["peer", what @ ("pull" | "push" | "view" | "look" | "close")] => {
            only(request, post)?;
            Ok(peer::answer(app, request, what).await)
        }
        _ => Err(not_found()),
    }
}

/// How much another bridge may send: as much as a client, once it is known who it is. Nobody else is read.
pub(super) async fn may_send(app: &App, request: &Request) -> bool {
    request.path.starts_with(PEERS) && peers::knocks(app, &request.path, &request.headers).await
}

fn refused(error: &ExchangeError) -> Reply {
    if error.status().is_server_error() {
        tracing::warn!(%error, "an exchange did not come about");
    }
    failures(error.status(), &error.issues())
}

/// The parameters of an address.
fn parameters(request: &Request) -> Result<HashMap<String, String>, Reply> {
    let bad = |text| failures(StatusCode::BAD_REQUEST, &[Issue::new("value", text)]);
    query::pairs(&request.query).map(|pairs| pairs.into_iter().collect()).map_err(bad)
}

/// A body of JSON, read.
fn read<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> Result<T, ExchangeError> {
    serde_json::from_slice(body).map_err(|error| {
        let text = format!("the body is not what this address takes: line {}, column {}", error.line(), error.column());
        ExchangeError::Invalid(vec![Issue::new("structure", text)])
    })
}
