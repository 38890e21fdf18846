//! Tells what a request was shown, or that it was refused. What it wrote is told by the committer.

use super::reply::{Reply, failure, with_header};
use super::routes::Request;
use crate::app::App;
use crate::audit::event::{Access, Detail, Did, Outcome};
use crate::audit::worker::add;
use crate::error::Issue;
use crate::http::query;
use crate::ids::Name;
use jiff::Timestamp;
use warp::http::{Method, StatusCode, header};

/// The answer, once it is told of; or a 503 where nothing more can be told: what is not told is not shown.
pub(super) async fn told(app: &App, request: &Request, reply: Reply) -> Reply {
    let accesses = accesses(request, reply.status(), app.core.clock.now());
    if accesses.is_empty() || add(&app.core.trail, accesses).await.is_ok() {
        return reply;
    }
    tracing::error!("the audit trail is full: an answer was withheld");
    let text = "the audit trail cannot take more now: ask again in a moment";
    with_header(failure(StatusCode::SERVICE_UNAVAILABLE, Issue::new("transient", text)), header::RETRY_AFTER, "5")
}

fn accesses(request: &Request, status: StatusCode, now: Timestamp) -> Vec<(Access, Detail)> {
    let Some(did) = did(request) else { return Vec::new() };
    let (who, shown) = request.seen.take();
    let outcome = match status.as_u16() {
        401 | 403 => Outcome::Refused,
        500.. => Outcome::Failed,
        _ => Outcome::Done,
    };
    let access = |patient| Access { who: who.clone(), did, outcome, patient };
    let asked = asked(request, did);
    let mut told: Vec<(Access, Detail)> = shown
        .into_iter()
        .map(|(patient, resources)| {
            (access(patient), Detail { resources, queries: asked.iter().cloned().collect(), ..Detail::at(now) })
        })
        .collect();
    let searched = asked.is_some() && status.is_success();
    if told.is_empty() && (outcome != Outcome::Done || searched) {
        let queries = Some(asked.unwrap_or_else(|| address(request))).into_iter().collect();
        told.push((access(patient_named(request)), Detail { queries, ..Detail::at(now) }));
    }
    told
}

/// The interaction, of R4's `restful-interaction`; none: nothing of a record is at this address.
fn did(request: &Request) -> Option<Did> {
    let segments: Vec<&str> = request.path.trim_matches('/').split('/').collect();
    let of_method = |get| match request.method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => get,
    };
    let code = match segments.as_slice() {
        ["fhir", "metadata" | ".well-known", ..] => return None,
        ["fhir", rest @ ..] if rest.iter().any(|segment| segment.starts_with('$')) => "operation",
        ["fhir"] => "batch",
        ["fhir", .., "_search"] => "search-type",
        ["fhir", "_history"] => "history-system",
        ["fhir", _, "_history"] => "history-type",
        ["fhir", _] => of_method("search-type"),
        ["fhir", _, _] => of_method("read"),
        ["fhir", _, _, "_history"] => "history-instance",
        ["fhir", _, _, "_history", _] => "vread",
        ["fhir", ..] => "search-type",
        ["me", "records", rest @ ..] | ["me", "patients", _, rest @ ..] => of_page(rest),
        ["me", "patients" | "log"] => "search-type",
        ["hl7v2"] => "create",
        ["hl7v2", "messages", _] => "read",
        _ => return None,
    };
    Some(Did(code))
}

/// What a page of the portal shows of a record.
fn of_page(rest: &[&str]) -> &'static str {
    match rest {
        ["summary" | "download"] | [_, _, _, ..] => "operation",
        [_, _] => "read",
        _ => "search-type",
    }
}

/// What was asked, where more than a name was.
fn asked(request: &Request, did: Did) -> Option<String> {
    let is_question = did.0.starts_with("search") || did.0.starts_with("history") || did.0 == "operation";
    is_question.then(|| address(request))
}

/// Address and parameters, those of a posted search too.
fn address(request: &Request) -> String {
    let path = request.path.trim_start_matches('/');
    let form = request.path.ends_with("/_search") || request.path == "/me/patients";
    let posted = request.body.as_deref().ok().filter(|_| form).map(String::from_utf8_lossy);
    // A form's token is the session's own affair.
    let posted: Vec<&str> =
        posted.iter().flat_map(|text| text.split('&')).filter(|pair| !pair.starts_with("token=")).collect();
    let parts: Vec<&str> = [request.query.as_str()].into_iter().chain(posted).filter(|part| !part.is_empty()).collect();
    let whole = if parts.is_empty() { path.to_owned() } else { format!("{path}?{}", parts.join("&")) };
    whole.chars().take(crate::limits::MAX_QUERY_BYTES).collect()
}

/// The patient of whom something was asked.
fn patient_named(request: &Request) -> Option<Name> {
    let in_path = request.path.split('/').skip_while(|segment| !matches!(*segment, "Patient" | "patients")).nth(1);
    let pairs = query::pairs(&request.query).unwrap_or_default();
    let in_query =
        pairs.iter().find(|(name, _)| name == "patient" || name == "subject").map(|(_, value)| value.as_str());
    let id = in_path.or(in_query.map(|value| value.trim_start_matches("Patient/")))?;
    Name::parse(&format!("Patient/{id}"))
}
