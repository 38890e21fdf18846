//! Requests of the demo to the services that it runs, as any program makes them.

use super::super::{Failed, client, serve::Running};
use bytes::Bytes;
use http_body_util::Full;
use notary::receipt::Receipt;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;
use warp::http::{Request, Response};

/// How long what follows by itself, an anchor or a delivery, may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

/// Makes a request, and gives whatever is answered.
pub(super) async fn ask(
    running: &Running,
    token: &str,
    (method, path): (&str, &str),
    body: String,
) -> Result<Response<Bytes>, Failed> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/fhir+json")
        .body(Full::new(Bytes::from(body)))
        .map_err(Failed::from_error)?;
    client::send(running.http, request).await
}

/// The same, which must succeed.
pub(super) async fn send(
    running: &Running,
    token: &str,
    (method, path): (&str, &str),
    body: String,
) -> Result<Bytes, Failed> {
    let reply = ask(running, token, (method, path), body).await?;
    match reply.status().is_success() {
        true => Ok(reply.into_body()),
        false => Err(Failed(format!("{method} {path}: {} {}", reply.status(), String::from_utf8_lossy(reply.body())))),
    }
}

pub(super) fn json(bytes: &[u8]) -> Result<Value, Failed> {
    serde_json::from_slice(bytes).map_err(Failed::from_error)
}

/// Asks again and again, until there is an answer. `what` did not come otherwise.
pub(super) async fn until<T>(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>, Failed>,
) -> Result<T, Failed> {
    let begun = Instant::now();
    loop {
        match look().await? {
            Some(found) => return Ok(found),
            None if begun.elapsed() > PATIENCE => return Err(Failed(format!("{what} did not come"))),
            None => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The receipt of a resource, once its anchor is in it.
pub(super) async fn anchored(running: &Running, token: &str, name: &str) -> Result<Receipt, Failed> {
    let path = format!("/fhir/{name}/$receipt");
    until("the anchor", async || -> Result<_, Failed> {
        let reply = ask(running, token, ("GET", &path), String::new()).await?;
        Ok(Receipt::parse(reply.body()).ok().filter(|receipt| receipt.anchor.is_some()))
    })
    .await
}
