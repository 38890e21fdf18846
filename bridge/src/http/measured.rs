//! Each request as a span and a count. Both name the route, never the address: that holds ids, and what is searched for.

use super::reply::Reply;
use super::routes::Request;
use crate::ids::TypeName;
use crate::telemetry::{Metrics, trace};
use std::time::Instant;
use tracing::{Instrument, Span, field};
use warp::http::Method;

/// Answers, and tells that it did.
pub(super) async fn answered(metrics: &Metrics, request: &Request, answer: impl Future<Output = Reply>) -> Reply {
    let (began, method, route) = (Instant::now(), method(&request.method), route(&request.path));
    let span = span(request, method, route);
    let reply = answer.instrument(span.clone()).await;
    let status = reply.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
    metrics.requests.took(began.elapsed(), &[method, route, class(status.as_u16())]);
    reply
}

fn span(request: &Request, method: &'static str, route: &'static str) -> Span {
    let span = tracing::info_span!(
        "request",
        otel.name = route,
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        otel.status_code = field::Empty,
    );
    trace::continues(&span, &request.headers);
    span
}

/// A client may make up methods.
fn method(method: &Method) -> &'static str {
    let known = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

fn class(status: u16) -> &'static str {
    match status {
        401 | 403 => "refused",
        429 => "429",
        503 => "503",
        ..400 => "ok",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// The route of an address, without anything that a client chose.
fn route(path: &str) -> &'static str {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match segments.as_slice() {
        ["fhir", rest @ ..] => fhir_route(rest),
        ["hl7v2"] => "/hl7v2",
        ["hl7v2", "messages", _] => "/hl7v2/messages/{id}",
        ["log", "tile", ..] => "/log/tile",
        ["log", ..] => "/log",
        ["auth", ..] => "/auth",
        ["me", ..] => "/me",
        ["witness", ..] => "/witness",
        ["healthz" | "readyz" | "metrics"] => "health",
        _ => "other",
    }
}

fn fhir_route(rest: &[&str]) -> &'static str {
    let is_type = |kind: &str| TypeName::parse(kind).is_some();
    match rest {
        [] | [""] => "/fhir",
        ["metadata"] => "/fhir/metadata",
        [.., last] if last.starts_with('$') => operation(last),
        [.., "$export-status" | "$export-file", _] | [.., "$export-file", _, _] => "/fhir/$export",
        ["_history"] => "/fhir/_history",
        [kind, ..] if !is_type(kind) => "/fhir/other",
        [_] => "/fhir/{type}",
        [_, "_search"] => "/fhir/{type}/_search",
        [_, "_history"] => "/fhir/{type}/_history",
        [_, _] => "/fhir/{type}/{id}",
        [_, _, "_history"] | [_, _, "_history", _] => "/fhir/{type}/{id}/_history",
        ["Patient", ..] => "/fhir/Patient/{id}/{type}",
        _ => "/fhir/other",
    }
}

/// Those that are dear, each on its own.
fn operation(name: &str) -> &'static str {
    match name {
        "$everything" => "/fhir/$everything",
        "$export" => "/fhir/$export",
        "$match" => "/fhir/$match",
        "$receipt" => "/fhir/$receipt",
        "$summary" => "/fhir/$summary",
        "$validate" => "/fhir/$validate",
        _ => "/fhir/$operation",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_has_nothing_of_the_address_in_it() {
        for (path, expected) in [
            ("/fhir/Patient", "/fhir/{type}"),
            ("/fhir/Patient/MRN-4711", "/fhir/{type}/{id}"),
            ("/fhir/Patient/MRN-4711/_history/3", "/fhir/{type}/{id}/_history"),
            ("/fhir/Patient/MRN-4711/Observation", "/fhir/Patient/{id}/{type}"),
            ("/fhir/Patient/MRN-4711/$everything", "/fhir/$everything"),
            ("/fhir/Patient/MRN-4711/$lovelace", "/fhir/$operation"),
            ("/fhir/Lovelace", "/fhir/other"),
            ("/lovelace", "other"),
            ("/hl7v2/messages/abc", "/hl7v2/messages/{id}"),
        ] {
            assert_eq!(route(path), expected, "{path}");
        }
        assert_eq!(method(&Method::from_bytes(b"LOVELACE").unwrap()), "other");
    }
}
