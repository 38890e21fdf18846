//! The FHIR REST API (R4 3.1.0): decisions, then the write or read path, then the answer.

mod binary;
mod bundle;
pub mod history;
pub(super) mod page;
mod prefer;
mod provenance;
mod read;
mod search;
pub mod validate;
mod write;

pub(super) use binary::{to_save, unpacked};
pub use bundle::bundle;
pub use read::{of_version, receipt};
pub use search::{of_patient, posted_search};

use super::accept::{Wanted, our_version};
use super::pretty::pretty;
use super::query;
use super::reply::{Reply, failure, fhir};
use super::report;
use super::routes::{Call, Request};
use crate::app::App;
use crate::clock::instant;
use crate::consent::decide::{Denied, Permit, decide, decide_whole};
use crate::error::Issue;
use crate::fhir::bundle::What;
use crate::fhir::capability;
use crate::fhir::view::View;
use crate::ids::{Name, ResourceId, TypeName};
use crate::index::history::Of;
use crate::limits::LARGE_BODY_BYTES;
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use bytes::Bytes;
use notary::canonical::Json;
use warp::http::{HeaderMap, Method, StatusCode, header};

/// A 406 for who insists on what is not there at an address.
pub fn acceptable(request: &Request, rest: &[&str]) -> Result<(), Reply> {
    if binary::is_read(request, rest) || report::is_asked(rest) { Ok(()) } else { Wanted::of(request).fhir_json() }
}

/// The answer as `_pretty` wants it.
pub fn laid_out(request: &Request, mut reply: Reply) -> Reply {
    let pairs = query::pairs(&request.query).unwrap_or_default();
    let wanted = pairs.iter().any(|(name, value)| name == "_pretty" && value == "true");
    let json = text(reply.headers(), header::CONTENT_TYPE).is_some_and(|media| media.contains("json"));
    if wanted && json && !reply.body().is_empty() {
        *reply.body_mut() = pretty(reply.body()).into();
    }
    reply
}

/// `GET /fhir/metadata`.
pub fn metadata(app: &App, request: &Request) -> Result<Reply, Reply> {
    let view = one_view(request)?;
    let statement = capability::statement(base(app), &instant(app.started), !app.config.cors.is_empty()).to_string();
    Ok(fhir(StatusCode::OK, view.show(statement.as_bytes()).into_owned()))
}

/// What of a single resource is to be shown.
fn one_view(request: &Request) -> Result<View, Reply> {
    let view = query::pairs(&request.query).and_then(|pairs| View::read(&pairs)).map_err(bad_query)?;
    if view == View::Count {
        return Err(bad_query("_summary=count: one resource is not counted".into()));
    }
    Ok(view)
}

/// A type: search, create, conditional update, patch and deletion.
pub async fn of_type(call: Call<'_>, kind: &str) -> Result<Reply, Reply> {
    let kind = TypeName::parse(kind).ok_or_else(unknown_type)?;
    match call.request.method {
        Method::GET => search::search(&call, kind, &call.request.query).await,
        Method::POST => write::create(&call, kind).await,
        Method::PUT => write::conditional_update(&call, kind).await,
        Method::PATCH => write::conditional_patch(&call, kind).await,
        _ => write::conditional_delete(&call, kind).await,
    }
}

/// A resource: read, update, patch, deletion.
pub async fn of_resource(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(unknown_type)?;
    match call.request.method {
        Method::GET => read::read(&call, name).await,
        Method::PUT => write::update(&call, name).await,
        Method::PATCH => write::patch(&call, name).await,
        _ => write::delete(&call, name).await,
    }
}

fn bad_query(text: String) -> Reply {
    failure(StatusCode::BAD_REQUEST, Issue::new("value", text))
}

pub(in crate::http) fn bad_request(issue: Issue) -> Reply {
    failure(StatusCode::BAD_REQUEST, issue)
}

/// Does work on a body of so many bytes: a large one's beside the network threads.
pub(super) async fn beside<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, Reply> + Send + 'static,
) -> Result<T, Reply> {
    if bytes < LARGE_BODY_BYTES {
        return work();
    }
    let broken = |_| failure(StatusCode::INTERNAL_SERVER_ERROR, Issue::new("exception", "the work was cut short"));
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

/// The body as JSON.
pub(in crate::http) async fn read_json(call: &Call<'_>) -> Result<Json, Reply> {
    json_body(call.request)?;
    parsed(call.body.clone()).await
}

/// JSON of any media type.
async fn parsed(body: Bytes) -> Result<Json, Reply> {
    beside(body.len(), move || parse(&body)).await
}

/// A body that says it is something else than FHIR 4.0 in JSON is refused.
fn json_body(request: &Request) -> Result<(), Reply> {
    let unsupported = |text| Err(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, Issue::new("not-supported", text)));
    if !is_fhir_json(&media_type(&request.headers)) {
        return unsupported("send application/fhir+json");
    }
    if !our_version(text(&request.headers, header::CONTENT_TYPE).unwrap_or("")) {
        return unsupported("this server takes FHIR 4.0: application/fhir+json; fhirVersion=4.0");
    }
    Ok(())
}

fn is_fhir_json(media_type: &str) -> bool {
    let plain = media_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    matches!(plain.as_str(), "application/fhir+json" | "application/json" | "application/json+fhir")
}

fn parse(bytes: &[u8]) -> Result<Json, Reply> {
    Json::parse(bytes).map_err(|error| {
        failure(StatusCode::BAD_REQUEST, Issue::new("structure", format!("not JSON that can be taken: {error}")))
    })
}

fn media_type(headers: &HeaderMap) -> String {
    text(headers, header::CONTENT_TYPE).unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

pub(in crate::http) fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// The decision, or a 403 that says what is missing.
pub(in crate::http) fn may(caller: &Caller, interaction: Interaction, kind: Option<TypeName>) -> Result<Permit, Reply> {
    decide(caller, interaction, kind).map_err(denied)
}

/// The same where resources cannot be told apart: a 403 for who may see a part.
pub(in crate::http) fn may_all(
    caller: &Caller,
    interaction: Interaction,
    kind: Option<TypeName>,
) -> Result<Permit, Reply> {
    decide_whole(caller, interaction, kind).map_err(denied)
}

fn denied(denied: Denied) -> Reply {
    failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string()))
}

/// The scope that a reading needs. The history of one resource is reading, that of many is searching (SMART App Launch 2.2,
/// section 3.0.2.2).
fn needs(what: &What) -> (Interaction, Option<TypeName>) {
    match what {
        What::Read(name) | What::Version(name, _) | What::History(Of::Resource(name)) => {
            (Interaction::Read, Some(name.kind))
        }
        What::Search(kind) | What::History(Of::Type(kind)) => (Interaction::Search, Some(*kind)),
        What::History(Of::Everything) => (Interaction::Search, None),
    }
}

pub(super) fn parse_name(kind: &str, id: &str) -> Option<Name> {
    Some(Name { kind: TypeName::parse(kind)?, id: ResourceId::parse(id)? })
}

fn unknown_type() -> Reply {
    failure(StatusCode::NOT_FOUND, Issue::new("not-found", "not a resource type of FHIR R4, or not a valid id"))
}

fn base(app: &App) -> &str {
    &app.core.base
}
