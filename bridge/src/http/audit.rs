//! Tells what a request was shown, or that it was refused. What it wrote is told by the committer.

use super::reply::{Reply, failure, with_header};
use super::routes::Request;
use crate::app::App;
use crate::audit::event::{Access, Detail, Did, Outcome};
use crate::audit::seen::{Shown, Taken};
use crate::audit::worker::add;
use crate::error::Issue;
use crate::http::query;
use crate::ids::{Name, ResourceId};
use jiff::Timestamp;
use warp::http::{Method, StatusCode, header};

/// Parameters whose values are told: how an answer is to look, and of which patient, type or kind. Of all others the name alone:
/// a value may be somebody's name or number, and would outlive his erasure in another's event.
const TOLD: &[&str] = &[
    "_id",
    "_count",
    "_sort",
    "_include",
    "_revinclude",
    "_summary",
    "_elements",
    "_total",
    "_since",
    "_lastUpdated",
    "_type",
    "_format",
    "patient",
    "subject",
    "encounter",
    "status",
    "category",
    "class",
    "date",
    "type",
];
/// Those of them whose values refer: told where they do, and not where they say a name or a number in another way.
const REFERRING: &[&str] = &["patient", "subject", "encounter"];

/// The answer, once it is told of; or a 503 where nothing more can be told: what is not told is not shown. A refusal shows nothing,
/// and is given whether there is room for it or not.
#[tracing::instrument(name = "audit", skip_all)]
pub(super) async fn told(app: &App, request: &Request, reply: Reply) -> Reply {
    let (shows, accesses) = accesses(request, reply.status(), app.core.clock.now());
    if !shows {
        for (mut access, detail) in accesses {
            access.patient = access.patient.filter(|patient| is_known(app, patient));
            _ = app.core.trail.add(vec![(access, detail)]);
        }
        return reply;
    }
    if add(&app.core.trail, accesses).await.is_ok() {
        return reply;
    }
    app.core.metrics.audit.add(1, "withheld");
    tracing::error!("the audit trail is full: an answer was withheld");
    let text = "the audit trail cannot take more now: ask again in a moment";
    with_header(failure(StatusCode::SERVICE_UNAVAILABLE, Issue::new("transient", text)), header::RETRY_AFTER, "5")
}

/// Whether there is such a patient: an event about one who was invented would get a key of his own.
fn is_known(app: &App, patient: &Name) -> bool {
    app.core.store.current(patient).is_ok_and(|stored| stored.is_some())
}

/// What is to be told, and whether anything is shown.
fn accesses(request: &Request, status: StatusCode, now: Timestamp) -> (bool, Vec<(Access, Detail)>) {
    let Some(did) = did(request) else { return (false, Vec::new()) };
    let Taken { who, shown, withheld, because, emergencies, answers } = request.seen.take();
    // Who writes and is shown what was there has read that; what he wrote is told with the write.
    let did = if did.writes() && request.path.starts_with("/fhir") && !shown.is_empty() { Did("read") } else { did };
    let is_stranger = who.is_none();
    let access = |outcome, patient| Access { who: who.clone(), did, outcome, patient };
    let asked = asked(request, did);
    let detail = |resources| Detail { resources, queries: asked.iter().cloned().collect(), ..Detail::at(now) };
    // Why something was held back stands beside that alone: beside what was shown it would tell that there is more.
    let reasons = |patient: &Option<Name>, permits: bool| {
        let said = patient.as_ref().and_then(|patient| because.get(patient)).into_iter().flatten();
        said.filter(|(permitted, _)| *permitted == permits).map(|(_, reason)| reason.clone()).collect()
    };
    let told = |all: Shown, outcome| {
        let (emergencies, answers) = (&emergencies, &answers);
        let one = move |(patient, resources): (Option<Name>, _)| {
            let because = reasons(&patient, outcome == Outcome::Done);
            let done = patient.as_ref().filter(|_| outcome == Outcome::Done);
            let emergencies = done.and_then(|patient| emergencies.get(patient)).cloned().unwrap_or_default();
            let answers = done.and_then(|patient| answers.get(patient)).cloned().unwrap_or_default();
            (access(outcome, patient), Detail { because, emergencies, answers, ..detail(resources) })
        };
        all.into_iter().map(one)
    };
    if !shown.is_empty() || !withheld.is_empty() {
        let shows = !shown.is_empty();
        return (shows, told(shown, Outcome::Done).chain(told(withheld, Outcome::Refused)).collect());
    }
    let outcome = match status.as_u16() {
        401 | 403 => Outcome::Refused,
        // Another organisation finds out in this way who is a patient here.
        404 | 409 if request.path.starts_with("/exchange/peer/") => Outcome::Refused,
        500.. => Outcome::Failed,
        // What an emergency is told with is committed before it begins.
        _ if is_emergency(request) => return (false, Vec::new()),
        _ if asked.is_some() && status.is_success() => Outcome::Done,
        _ => return (false, Vec::new()),
    };
    // Whoever has no token chooses what he says, and how often: that is counted, and not kept.
    let (patient, detail) = match is_stranger {
        true => (None, Detail::at(now)),
        false => (patient_named(request), detail(Default::default())),
    };
    (outcome == Outcome::Done, vec![(access(outcome, patient), detail)])
}

/// Whether an emergency is declared or ended.
fn is_emergency(request: &Request) -> bool {
    request.path.ends_with("emergency-access") || request.path.starts_with("/me/emergenc")
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
        ["me", "records", rest @ ..] | ["me", "patients" | "wards", _, rest @ ..] => of_page(rest),
        ["me", "patients" | "log" | "shares" | "hospitals"] => "search-type",
        ["me", "people" | "guardians", _] | ["me", "clients", _, ..] => "operation",
        // An empty form asks about nobody.
        ["me", "explain"] if request.query.is_empty() => return None,
        ["me", "hospitals" | "emergency" | "emergencies" | "explain", ..] => "operation",
        ["exchange", "participants"] => return None,
        ["exchange", ..] => "operation",
        ["me", "quarantine", _, ..] => "read",
        ["hl7v2"] => "create",
        ["hl7v2", "messages", _] => "read",
        ["log", "records.json"] => "operation",
        _ => return None,
    };
    Some(Did(code))
}

/// What a page of the portal shows of a record.
fn of_page(rest: &[&str]) -> &'static str {
    match rest {
        [_, _] | [_, _, "file", _] => "read",
        ["summary" | "download" | "apps"] | [_, _, _, ..] => "operation",
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
    // Who has a ticket of a view could look.
    let path = match request.path.trim_start_matches('/') {
        path if path.starts_with("exchange/view/") => "exchange/view/*",
        path if path.starts_with("me/hospitals/look/") => "me/hospitals/look/*",
        path => path,
    };
    let form = request.path.ends_with("/_search") || request.path == "/me/patients";
    let posted = request.body.as_deref().ok().filter(|_| form).map(String::from_utf8_lossy);
    let parts = [request.query.as_str(), posted.as_deref().unwrap_or_default()];
    let pairs = parts.into_iter().flat_map(|part| query::pairs(part).unwrap_or_default());
    let told: Vec<String> = pairs.map(|(name, value)| parameter(&name, &value)).collect();
    let whole = if told.is_empty() { path.to_owned() } else { format!("{path}?{}", told.join("&")) };
    whole.chars().take(crate::limits::MAX_QUERY_BYTES).collect()
}

fn parameter(name: &str, value: &str) -> String {
    let refers = || Name::parse(value).is_some() || ResourceId::parse(value).is_some();
    let is_told = TOLD.contains(&name) && (!REFERRING.contains(&name) || refers());
    if is_told { format!("{name}={value}") } else { format!("{name}=*") }
}

/// The patient of whom something was asked.
fn patient_named(request: &Request) -> Option<Name> {
    let in_path =
        request.path.split('/').skip_while(|segment| !matches!(*segment, "Patient" | "patients" | "wards")).nth(1);
    let pairs = query::pairs(&request.query).unwrap_or_default();
    let in_query =
        pairs.iter().find(|(name, _)| name == "patient" || name == "subject").map(|(_, value)| value.as_str());
    let id = in_path.or(in_query.map(|value| value.trim_start_matches("Patient/")))?;
    Name::parse(&format!("Patient/{id}"))
}
