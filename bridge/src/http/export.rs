//! Bulk export over HTTP: kick-off, status, files (HL7 Bulk Data Access 2.0, section 3).

use super::fhir::{bad_request, may, read_json, text};
use super::query::pairs;
use super::reply::{NDJSON, Reply, body, empty, failure, streamed, unreadable, with_header};
use super::routes::{Call, not_found};
use crate::app::App;
use crate::clock::{http_date, instant};
use crate::consent::decide::decide;
use crate::error::Issue;
use crate::export::request::{Level, Refusal, Request, Unheld, posted};
use crate::export::{self, Export};
use crate::fhir::search::criterion::normal;
use crate::ids::{Name, ResourceId, TypeName};
use crate::index::jobs::{Part, State};
use crate::read::{in_background, read};
use crate::smart::scopes::Interaction;
use jiff::Timestamp;
use serde_json::{Value, json};
use warp::http::{Method, StatusCode, header};

/// How soon to ask again: preparing reads the index alone.
const ASK_AGAIN: &str = "2";

/// `GET|POST /fhir/$export`, `/fhir/Patient/$export`.
pub async fn begin(call: Call<'_>, level: Level) -> Result<Reply, Reply> {
    let prefer = text(&call.request.headers, header::HeaderName::from_static("prefer")).unwrap_or("");
    if !prefer.split([',', ';']).any(|wish| wish.trim() == "respond-async") {
        return Err(bad_request(Issue::new("required", "an export takes the header `Prefer: respond-async`")));
    }
    let unheld = if prefer.contains("handling=lenient") { Unheld::Ignored } else { Unheld::Refused };
    let mut given = pairs(&call.request.query).map_err(|text| bad_request(Issue::new("value", text)))?;
    if given.iter().any(|(name, _)| name == "patient") {
        let text = "patient: name patients in the Parameters of a POST; addresses end up in logs";
        return Err(bad_request(Issue::new("not-supported", text)));
    }
    // Some clients (Medplum's) post without a body and put the parameters into the address.
    if call.request.method == Method::POST && !call.body.is_empty() {
        let posted = posted(&read_json(&call).await?).map_err(bad_request)?;
        let local = |(name, value): (String, String)| match name.as_str() {
            "patient" => (name, normal(&value, &call.app.core.base).to_owned()),
            _ => (name, value),
        };
        given.extend(posted.into_iter().map(local));
    }
    let mut request = Request::read(url(&call), level, &given, unheld, &call.caller).map_err(refused)?;
    if let Some(since) = request.since {
        let store = call.app.core.store.clone();
        request.after = in_background(move || store.row_before(since)).await.map_err(|e| unreadable(&e))?;
    }
    match export::begin(&call.app.core, &call.caller, &request).await {
        Ok(Some(id)) => Ok(with_header(empty(StatusCode::ACCEPTED), header::CONTENT_LOCATION, &place(call.app, &id))),
        Ok(None) => Err(too_many("this client has too many exports: delete those that it no longer needs")),
        Err(error) => Err(unreadable(&error)),
    }
}

/// `GET|POST /fhir/Group/{id}/$export`.
pub async fn of_group(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let group = TypeName::parse("Group").zip(ResourceId::parse(id)).ok_or_else(not_found)?;
    let permit = may(&call.caller, Interaction::Read, Some(group.0))?;
    let name = Name { kind: group.0, id: group.1 };
    match read(&call.app.core, &permit, &name, None).await {
        Ok(Some(found)) if !found.stored.deleted => begin(call, Level::Group(id.to_owned())).await,
        Ok(_) => Err(not_found()),
        Err(error) => Err(unreadable(&error)),
    }
}

/// As the client wrote it; what was posted stays out.
fn url(call: &Call<'_>) -> String {
    let path = call.request.path.strip_prefix("/fhir").unwrap_or(&call.request.path);
    let mark = if call.request.query.is_empty() { "" } else { "?" };
    format!("{}{path}{mark}{}", call.app.core.base, call.request.query)
}

fn place(app: &App, id: &str) -> String {
    format!("{}/$export/{id}", app.core.base)
}

fn refused(refusal: Refusal) -> Reply {
    match refusal {
        Refusal::Bad(issue) => bad_request(issue),
        Refusal::Denied(denied) => failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string())),
    }
}

fn too_many(text: &str) -> Reply {
    failure(StatusCode::TOO_MANY_REQUESTS, Issue::new("throttled", text))
}

/// `GET /fhir/$export/{job}` and `DELETE`.
pub async fn status(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    if call.request.method == Method::DELETE {
        let gone = export::cancel(&call.app.core, &call.caller, id).await.map_err(|e| unreadable(&e))?;
        return if gone { Ok(empty(StatusCode::ACCEPTED)) } else { Err(not_found()) };
    }
    let export = look(&call, id).await?;
    match export.state {
        State::Waiting => {
            let progress = header::HeaderName::from_static("x-progress");
            let reply = with_header(empty(StatusCode::ACCEPTED), progress, "the files are being prepared");
            Ok(with_header(reply, header::RETRY_AFTER, ASK_AGAIN))
        }
        State::Failed => {
            let text = "the export could not be prepared: begin it again";
            Err(failure(StatusCode::INTERNAL_SERVER_ERROR, Issue::new("exception", text)))
        }
        State::Done => {
            let reply = body(StatusCode::OK, "application/json", manifest(call.app, id, &export).to_string());
            Ok(with_header(reply, header::EXPIRES, &http_date(time(export.expires))))
        }
    }
}

async fn look(call: &Call<'_>, id: &str) -> Result<Export, Reply> {
    let found = export::look(&call.app.core, &call.caller, id).await.map_err(|e| unreadable(&e))?;
    found.ok_or_else(not_found)
}

fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or_default()
}

fn manifest(app: &App, id: &str, export: &Export) -> Value {
    let files = |deleted: bool| -> Vec<Value> {
        let own = export.parts.iter().enumerate().filter(|(_, part)| part.deleted == deleted);
        own.map(|(n, part)| file(&format!("{}/{n}", place(app, id)), part)).collect()
    };
    json!({
        "transactionTime": instant(time(export.time)),
        "request": export.request.url,
        "requiresAccessToken": true,
        "output": files(false),
        "deleted": files(true),
        "error": [],
    })
}

/// Deletions come as Bundles.
fn file(url: &str, part: &Part) -> Value {
    let kind = if part.deleted { "Bundle" } else { part.kind.as_str() };
    let mut file = json!({"type": kind, "url": url});
    if let Some(count) = part.count {
        file["count"] = json!(count);
    }
    file
}

/// `GET /fhir/$export/{job}/{file}`: the scopes are asked again, as the token may be another one.
pub async fn file_of(call: Call<'_>, id: &str, number: &str) -> Result<Reply, Reply> {
    let export = look(&call, id).await?;
    let number: usize = number.parse().map_err(|_| not_found())?;
    let part = export.parts.get(number).ok_or_else(not_found)?;
    for interaction in [Interaction::Read, Interaction::Search] {
        decide(&call.caller, interaction, Some(part.kind)).map_err(|denied| refused(Refusal::Denied(denied)))?;
    }
    match export::send(&call.app.core, &call.caller, id, part).await {
        Ok(Some(pages)) => Ok(streamed(NDJSON, pages)),
        Ok(None) => Err(too_many("too many files are being sent: try again")),
        Err(error) => Err(unreadable(&error)),
    }
}
