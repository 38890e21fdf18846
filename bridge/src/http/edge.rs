//! What every answer bears, whatever it is: the name of its request, and what a browser needs to let another origin's page read
//! it (CORS, the Fetch standard, section 3.3). Tokens come in a header that a page must set itself; the cookie of
//! people who are signed in is for our own pages, so that nothing is allowed with credentials. What there is may be found out from
//! everywhere (SMART App Launch 2.2, section 2.0.4).

use super::portal::STYLE;
use super::reply::{Reply, empty, with_header};
use super::routes::Request;
use crate::ids::ResourceId;
use crate::secret::{bytes, system_random};
use warp::http::header::{self, HeaderMap, HeaderName};
use warp::http::{Method, StatusCode};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that a client may give its request.
const MAX_REQUEST_ID: usize = 64;
/// The longest list of headers that a page may announce.
const MAX_HEADERS: usize = 1_024;
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// What a page may read beside what browsers show anyway.
const EXPOSED: &str =
    "Location, ETag, Last-Modified, Content-Location, X-Progress, Retry-After, X-Request-Id, X-Security-Context";
/// Seconds for which a browser need not ask again: a changed configuration holds soon.
const REMEMBERED: &str = "600";

/// The answer to a browser that asks before it sends (a preflight), for an origin that is allowed.
pub(super) fn preflight(request: &Request, origins: &[String]) -> Option<Reply> {
    let asked = text(&request.headers, header::ACCESS_CONTROL_REQUEST_METHOD);
    let allowed = allowed(request, origins).is_some();
    if request.method != Method::OPTIONS || asked.is_none() || !allowed {
        return None;
    }
    let reply = with_header(empty(StatusCode::NO_CONTENT), header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    let reply = with_header(reply, header::ACCESS_CONTROL_MAX_AGE, REMEMBERED);
    // Clients announce headers of their own: they do nothing here, and a browser that may not send them sends nothing.
    let headers = text(&request.headers, header::ACCESS_CONTROL_REQUEST_HEADERS).filter(|list| is_list(list));
    Some(match headers {
        Some(list) => with_header(reply, header::ACCESS_CONTROL_ALLOW_HEADERS, list),
        None => reply,
    })
}

/// The answer with what every answer bears.
pub(super) fn marked(mut reply: Reply, request: &Request, origins: &[String]) -> Reply {
    if let Some(id) = request_id(&request.headers) {
        reply = with_header(reply, REQUEST_ID, &id);
    }
    if !origins.is_empty() {
        reply = with_header(reply, header::VARY, "Origin");
    }
    match allowed(request, origins) {
        Some(origin) => {
            let reply = with_header(reply, header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            with_header(reply, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED)
        }
        None => reply,
    }
}

/// The origin to name: the request's own, where it is among the configured ones.
fn allowed<'r>(request: &'r Request, origins: &'r [String]) -> Option<&'r str> {
    let own = text(&request.headers, header::ORIGIN)?;
    if is_discovery(&request.path) {
        return Some("*");
    }
    let one = origins.iter().find(|origin| *origin == "*" || *origin == own)?;
    Some(if one == "*" { "*" } else { own })
}

fn is_discovery(path: &str) -> bool {
    path == STYLE
        || path == "/fhir/metadata"
        || path.starts_with("/.well-known/")
        || path.starts_with("/fhir/.well-known/")
}

/// The request's own name, where it is harmless; else a new one.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let harmless = |c: u8| c.is_ascii_alphanumeric() || b"-._~".contains(&c);
    let own = text(headers, REQUEST_ID);
    let own = own.filter(|id| !id.is_empty() && id.len() <= MAX_REQUEST_ID && id.bytes().all(harmless));
    own.map(str::to_owned)
        .or_else(|| bytes(&system_random).ok().map(|random| ResourceId::from_bytes(random).to_string()))
}

fn is_list(text: &str) -> bool {
    text.len() <= MAX_HEADERS && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_, ".contains(&c))
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}
