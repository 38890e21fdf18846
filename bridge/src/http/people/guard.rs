//! What must hold before a POST is looked at.

use super::refusal::Refusal;
use super::{session, site};
use crate::app::App;
use crate::http::query;
use crate::http::routes::Request;
use crate::limits::{MAX_AUTH_BYTES, MAX_QUERY_BYTES};
use crate::people::secrets::Bearer;
use crate::people::session::{Session, borne as read, only};
use crate::people::site::Site;
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::{HeaderMap, HeaderName, header};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The cookie of a request.
pub(super) fn borne(headers: &HeaderMap) -> Option<Bearer> {
    read(headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()))
}

/// The value of a cookie.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    only(headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()), name)
}

/// Whether a browser sent this from a page of ours. Each browser names the origin of a POST; one that says more (Fetch
/// Metadata) must say the same.
pub(super) fn from_here(site: &Site, headers: &HeaderMap) -> Result<(), Refusal> {
    let own = text(headers, header::ORIGIN) == Some(site.origin.as_str());
    let same = text(headers, FETCH_SITE).is_none_or(|said| said == "same-origin");
    if own && same { Ok(()) } else { Err(Refusal::Foreign) }
}

fn is_of(request: &Request, media: &str) -> bool {
    let said = text(&request.headers, header::CONTENT_TYPE).unwrap_or_default();
    said.split(';').next().is_some_and(|said| said.trim().eq_ignore_ascii_case(media))
}

/// A form of a page of ours.
pub(super) fn form(app: &App, request: &Request) -> Result<HashMap<String, String>, Refusal> {
    from_here(&site(app), &request.headers)?;
    Ok(pairs(request)?.into_iter().collect())
}

/// A form of a page of ours that brings a whole text.
pub(super) fn long_form(app: &App, request: &Request) -> Result<HashMap<String, String>, Refusal> {
    from_here(&site(app), &request.headers)?;
    Ok(pairs_of(request, MAX_AUTH_BYTES)?.into_iter().collect())
}

/// A form, of whatever page.
pub(super) fn pairs(request: &Request) -> Result<Vec<(String, String)>, Refusal> {
    pairs_of(request, MAX_QUERY_BYTES)
}

fn pairs_of(request: &Request, most: usize) -> Result<Vec<(String, String)>, Refusal> {
    let body = request.body.as_ref().ok().filter(|_| is_of(request, "application/x-www-form-urlencoded"));
    let text = body.and_then(|body| std::str::from_utf8(body).ok()).ok_or(Refusal::Form)?;
    query::pairs_of(text, most).map_err(|_| Refusal::Form)
}

/// What a script sends.
pub(super) fn json<T: DeserializeOwned>(request: &Request) -> Result<T, Refusal> {
    let body = request.body.as_ref().ok().filter(|_| is_of(request, "application/json")).ok_or(Refusal::Form)?;
    serde_json::from_slice(body).map_err(|_| Refusal::Form)
}

/// Who is signed in, where a form bears the session's token.
pub(super) async fn signed_in(app: &Arc<App>, request: &Request, token: Option<&str>) -> Result<Session, Refusal> {
    let session = session::of(app, &request.headers).await.ok_or(Refusal::Login)?;
    if token.is_some_and(|token| session.is_token(token)) { Ok(session) } else { Err(Refusal::Foreign) }
}
