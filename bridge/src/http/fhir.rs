//! The FHIR REST API (R4 3.1.0): decisions, then the write or read path, then the answer.

use super::query;
use super::reply::{Reply, body, etag, failure, failures, fhir, refused, unreadable, versioned, written};
use super::routes::{Call, Request, not_found};
use super::search::{Handling, Way, answer};
use crate::anchor;
use crate::app::App;
use crate::clock::{instant, parse_http_date};
use crate::commit::{Committed, Transaction, Written};
use crate::consent::decide::{Permit, decide};
use crate::error::Issue;
use crate::fhir::bundle::{self, How, Write, criteria, if_match, same_id};
use crate::fhir::validate::{Validated, validate};
use crate::fhir::{capability, outcome};
use crate::ids::{Name, ResourceId, TypeName, Version};
use crate::ingest::commit;
use crate::read::{self, Opened};
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use bytes::Bytes;
use notary::canonical::Json;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;
use warp::http::{HeaderMap, Method, StatusCode, header};

/// A 406 for who insists on XML, which this server does not speak.
pub fn acceptable(request: &Request) -> Result<(), Reply> {
    let pairs = query::pairs(&request.query).unwrap_or_default();
    let format = pairs.into_iter().find(|(n, _)| n == "_format").map(|(_, v)| v);
    let accept = text(&request.headers, header::ACCEPT).unwrap_or("").to_owned();
    let asked = format.unwrap_or(accept).to_ascii_lowercase();
    let spoken = ["json", "*/*", "application/*", "text/plain", "html"];
    if asked.is_empty() || spoken.iter().any(|ok| asked.contains(ok)) {
        return Ok(());
    }
    let text = "this server speaks FHIR in JSON: application/fhir+json";
    Err(failure(StatusCode::NOT_ACCEPTABLE, Issue::new("not-supported", text)))
}

/// `GET /fhir/metadata`.
pub fn metadata(app: &App) -> Reply {
    let statement = capability::statement(&base(app), &instant(app.core.clock.now()));
    fhir(StatusCode::OK, statement.to_string())
}

/// `POST /fhir`: a transaction or a batch.
pub async fn bundle(call: Call<'_>) -> Reply {
    let Call { app, ref caller, request, body: bytes } = call;
    let json = match read_json(request, bytes) {
        Ok(json) => json,
        Err(reply) => return reply,
    };
    match bundle::read(json) {
        Err(issues) => failures(StatusCode::UNPROCESSABLE_ENTITY, &issues),
        Ok(bundle::Request::Transaction(writes)) => transaction(app, caller, writes).await,
        Ok(bundle::Request::Batch(entries)) => batch(app, caller, entries).await,
    }
}

async fn transaction(app: &Arc<App>, caller: &Caller, writes: Vec<Write>) -> Reply {
    if let Some(denied) = writes.iter().find_map(|write| may_write(caller, write).err()) {
        return denied;
    }
    match commit(app, Transaction { writes, message: None }).await {
        Err(error) => refused(&error),
        Ok(Committed { written, .. }) => {
            let entries = written.iter().map(|w| response_entry(app, w)).collect();
            fhir(StatusCode::OK, response_bundle("transaction-response", entries).to_string())
        }
    }
}

async fn batch(app: &Arc<App>, caller: &Caller, entries: Vec<Result<Write, Vec<Issue>>>) -> Reply {
    let mut answers = Vec::with_capacity(entries.len());
    for entry in entries {
        answers.push(match entry {
            Err(issues) => failed_entry(StatusCode::UNPROCESSABLE_ENTITY, &issues),
            Ok(write) => match may_write(caller, &write) {
                Err(_) => failed_entry(
                    StatusCode::FORBIDDEN,
                    &[Issue::new("forbidden", "the token's scopes do not allow this entry")],
                ),
                Ok(()) => match commit(app, Transaction { writes: vec![write], message: None }).await {
                    Ok(committed) => committed.written.first().map_or(Value::Null, |w| response_entry(app, w)),
                    Err(error) => {
                        if error.is_news() {
                            tracing::error!(%error, "an entry of a batch failed");
                        }
                        failed_entry(super::reply::status(&error), &error.issues())
                    }
                },
            },
        });
    }
    fhir(StatusCode::OK, response_bundle("batch-response", answers).to_string())
}

fn response_bundle(kind: &str, entries: Vec<Value>) -> Value {
    let mut bundle = json!({"resourceType": "Bundle", "type": kind});
    if !entries.is_empty() {
        bundle["entry"] = Value::Array(entries);
    }
    bundle
}

fn response_entry(app: &App, written: &Written) -> Value {
    let status = if written.created { "201 Created" } else { "200 OK" };
    json!({"response": {
        "status": status,
        "location": format!("{}/{}/_history/{}", base(app), written.name, written.version),
        "etag": etag(written.version),
        "lastModified": instant(jiff::Timestamp::from_millisecond(written.updated).unwrap_or_default()),
    }})
}

fn failed_entry(status: StatusCode, issues: &[Issue]) -> Value {
    json!({"response": {"status": status.to_string(), "outcome": outcome::errors(issues)}})
}

/// `GET`, `POST` and `PUT` on a type: search, create, conditional update.
pub async fn of_type(call: Call<'_>, kind: &str) -> Result<Reply, Reply> {
    let kind = TypeName::parse(kind).ok_or_else(unknown_type)?;
    match call.request.method {
        Method::GET => search(&call, kind, &call.request.query).await,
        Method::POST => create(&call, kind).await,
        _ => conditional_update(&call, kind).await,
    }
}

/// `POST /fhir/{type}/_search`.
pub async fn posted_search(call: Call<'_>, kind: &str) -> Result<Reply, Reply> {
    let kind = TypeName::parse(kind).ok_or_else(unknown_type)?;
    if !call.body.is_empty() && media_type(&call.request.headers) != "application/x-www-form-urlencoded" {
        let text = "a search is posted as a form: application/x-www-form-urlencoded";
        return Err(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, Issue::new("not-supported", text)));
    }
    let form = String::from_utf8_lossy(call.body);
    search(&call, kind, &format!("{}&{form}", call.request.query)).await
}

/// `GET` and `PUT` on a resource: read, update.
pub async fn of_resource(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(unknown_type)?;
    if call.request.method != Method::GET {
        return update(&call, name).await;
    }
    let permit = may_read(&call.caller, name.kind)?;
    Ok(answer_read(read::read(&call.app.core, &permit, &name, None).await, &call.request.headers))
}

/// `GET /fhir/{type}/{id}/_history/{version}`.
pub async fn version(call: Call<'_>, kind: &str, id: &str, version: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    let version = Version::parse(version).ok_or_else(not_found)?;
    let permit = may_read(&call.caller, name.kind)?;
    Ok(answer_read(read::read(&call.app.core, &permit, &name, Some(version)).await, &call.request.headers))
}

/// `GET /fhir/{type}/{id}/_history`.
pub async fn history(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(unknown_type)?;
    let permit = may_read(&call.caller, name.kind)?;
    let pairs = query::pairs(&call.request.query).map_err(bad_query)?;
    let given = |name: &str| pairs.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    let count = given("_count").map_or(Ok(crate::limits::DEFAULT_PAGE), query::page_size).map_err(bad_query)?;
    let cursor = given("_cursor").map_or(Ok(0), query::cursor).map_err(bad_query)?;
    let newest = u32::try_from(cursor).unwrap_or(u32::MAX);
    let before = if newest > 0 { Version(newest) } else { Version(u32::MAX) };
    let (total, versions) =
        read::history(&call.app.core, &permit, &name, before, count).await.map_err(|e| unreadable(&e))?;
    if total == 0 {
        return Err(not_found());
    }
    Ok(history_bundle(call.app, &name, total, &versions, count))
}

fn bad_query(text: String) -> Reply {
    failure(StatusCode::BAD_REQUEST, Issue::new("value", text))
}

fn history_bundle(app: &App, name: &Name, total: u64, versions: &[Opened], count: usize) -> Reply {
    let url = format!("{}/{name}/_history", base(app));
    let mut links = vec![json!({"relation": "self", "url": &url})];
    if let Some(last) = versions.last().filter(|last| versions.len() == count && last.stored.version > Version(1)) {
        links.push(json!({"relation": "next", "url": format!("{url}?_count={count}&_cursor={}", last.stored.version)}));
    }
    let entry = versions.iter().map(|opened| history_entry(app, name, opened)).collect();
    Page { resource_type: "Bundle", kind: "history", total: Some(total), link: links, entry }.reply()
}

fn history_entry(app: &App, name: &Name, opened: &Opened) -> Entry {
    let version = opened.stored.version;
    let first = version == Version(1);
    let (method, target) = if first { ("POST", name.kind.to_string()) } else { ("PUT", name.to_string()) };
    let time = jiff::Timestamp::from_millisecond(opened.stored.updated).unwrap_or_default();
    Entry {
        full_url: Some(format!("{}/{name}", base(app))),
        resource: Some(raw(&opened.resource)),
        search: None,
        request: Some(json!({"method": method, "url": target})),
        response: Some(json!({
            "status": if first { "201 Created" } else { "200 OK" },
            "etag": etag(version),
            "lastModified": instant(time),
        })),
    }
}

/// `GET .../$receipt`.
pub async fn receipt(call: Call<'_>, kind: &str, id: &str, version: Option<&str>) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    let version = version.map(|v| Version::parse(v).ok_or_else(not_found)).transpose()?;
    let permit = may_read(&call.caller, name.kind)?;
    let opened = read::read(&call.app.core, &permit, &name, version).await.map_err(|e| unreadable(&e))?;
    let opened = opened.ok_or_else(not_found)?;
    let core = call.app.core.clone();
    let made = tokio::task::spawn_blocking(move || anchor::receipt(&core, &opened)).await;
    match made.unwrap_or(Err(anchor::AnchorError::CutShort)) {
        Ok(Some(receipt)) => Ok(body(StatusCode::OK, "application/json", receipt.to_json())),
        Ok(None) => {
            let text = "this version is not in a signed checkpoint yet: ask again in a moment";
            Err(failure(StatusCode::SERVICE_UNAVAILABLE, Issue::new("transient", text)))
        }
        Err(error) => {
            tracing::error!(%error, "a receipt could not be made");
            Err(failure(StatusCode::INTERNAL_SERVER_ERROR, Issue::new("exception", "the receipt cannot be made")))
        }
    }
}

async fn create(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    let condition = text(&call.request.headers, header::HeaderName::from_static("if-none-exist"));
    let if_none_exist = condition.map(criteria).transpose().map_err(bad_request)?;
    write(call, kind, |_| Ok(How::Create { if_none_exist })).await
}

async fn update(call: &Call<'_>, name: Name) -> Result<Reply, Reply> {
    let if_match = match_header(&call.request.headers)?;
    let Name { kind, id } = name;
    write(call, kind, |write| {
        same_id(write, &id)?;
        Ok(How::Update { id, if_match })
    })
    .await
}

async fn conditional_update(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    let if_match = match_header(&call.request.headers)?;
    let criteria = criteria(&call.request.query).map_err(bad_request)?;
    write(call, kind, |_| Ok(How::ConditionalUpdate { criteria, if_match })).await
}

fn bad_request(issue: Issue) -> Reply {
    failure(StatusCode::BAD_REQUEST, issue)
}

fn match_header(headers: &HeaderMap) -> Result<Option<Version>, Reply> {
    let Some(value) = text(headers, header::IF_MATCH) else { return Ok(None) };
    let bad = || bad_request(Issue::new("value", "If-Match: not an ETag of this server"));
    if_match(value).map(Some).ok_or_else(bad)
}

async fn write(
    call: &Call<'_>,
    kind: TypeName,
    how: impl FnOnce(&Validated) -> Result<How, Issue>,
) -> Result<Reply, Reply> {
    let json = read_json(call.request, call.body)?;
    let resource = validate(json).map_err(|issues| failures(StatusCode::UNPROCESSABLE_ENTITY, &issues))?;
    if resource.kind() != kind {
        return Err(bad_request(Issue::at("value", "resourceType", "is not the type in the URL")));
    }
    let how = how(&resource).map_err(bad_request)?;
    let write = Write { full_url: None, resource, how };
    may_write(&call.caller, &write)?;
    let committed =
        commit(call.app, Transaction { writes: vec![write], message: None }).await.map_err(|e| refused(&e))?;
    committed.written.first().map(|w| written(&base(call.app), w)).ok_or_else(not_found)
}

async fn search(call: &Call<'_>, kind: TypeName, text_query: &str) -> Result<Reply, Reply> {
    let prefer = text(&call.request.headers, header::HeaderName::from_static("prefer"));
    let way = if call.request.method == Method::GET { Way::Get } else { Way::Post };
    answer(call.app, &call.caller, kind, text_query, Handling::of(prefer), way).await.map(Page::reply)
}

/// An entry that holds a stored resource in its very text: a number's spelling is part of what was sealed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) full_url: Option<String>,
    pub(super) resource: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) search: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) response: Option<Value>,
}

/// A Bundle of stored resources.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    pub(super) resource_type: &'static str,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) total: Option<u64>,
    pub(super) link: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) entry: Vec<Entry>,
}

impl Page {
    fn reply(self) -> Reply {
        // Strings, numbers and JSON that was parsed before it was stored: serialisation cannot fail.
        fhir(StatusCode::OK, serde_json::to_string(&self).unwrap_or_default())
    }
}

pub(super) fn raw(resource: &[u8]) -> Box<RawValue> {
    let text = String::from_utf8_lossy(resource).into_owned();
    RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

fn answer_read(read: Result<Option<Opened>, crate::error::VaultError>, headers: &HeaderMap) -> Reply {
    let opened = match read {
        Ok(Some(opened)) => opened,
        Ok(None) => return not_found(),
        Err(error) => return unreadable(&error),
    };
    let (version, updated) = (opened.stored.version, opened.stored.updated);
    if not_modified(headers, version, updated) {
        return versioned(body(StatusCode::NOT_MODIFIED, super::reply::FHIR_JSON, Bytes::new()), version, updated);
    }
    versioned(fhir(StatusCode::OK, opened.resource), version, updated)
}

/// If-None-Match goes before If-Modified-Since (RFC 9110 section 13.2.2).
fn not_modified(headers: &HeaderMap, version: Version, updated: i64) -> bool {
    if let Some(tags) = text(headers, header::IF_NONE_MATCH) {
        return tags.split(',').any(|tag| tag.trim() == "*" || if_match(tag) == Some(version));
    }
    let since = text(headers, header::IF_MODIFIED_SINCE).and_then(parse_http_date);
    since.is_some_and(|since| updated.div_euclid(1_000) <= since.as_second())
}

fn read_json(request: &Request, bytes: &[u8]) -> Result<Json, Reply> {
    let media = media_type(&request.headers);
    if !matches!(media.as_str(), "application/fhir+json" | "application/json" | "application/json+fhir") {
        return Err(failure(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Issue::new("not-supported", "send application/fhir+json"),
        ));
    }
    Json::parse(bytes).map_err(|error| {
        failure(StatusCode::BAD_REQUEST, Issue::new("structure", format!("not JSON that can be taken: {error}")))
    })
}

fn media_type(headers: &HeaderMap) -> String {
    text(headers, header::CONTENT_TYPE).unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn may_read(caller: &Caller, kind: TypeName) -> Result<Permit, Reply> {
    decide(caller, Interaction::Read, Some(kind))
        .map_err(|denied| failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string())))
}

/// A create needs `c`, an update `u`; an update that may create needs both. A condition tells whether something exists, and a
/// conditional create answers with what it found: that is reading.
fn may_write(caller: &Caller, write: &Write) -> Result<(), Reply> {
    let needed: &[Interaction] = match write.how {
        How::Create { if_none_exist: None } => &[Interaction::Create],
        How::Create { .. } => &[Interaction::Create, Interaction::Read],
        How::ConditionalUpdate { .. } => &[Interaction::Create, Interaction::Update, Interaction::Read],
        _ => &[Interaction::Create, Interaction::Update],
    };
    for interaction in needed {
        decide(caller, *interaction, Some(write.resource.kind()))
            .map_err(|denied| failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string())))?;
    }
    Ok(())
}

fn parse_name(kind: &str, id: &str) -> Option<Name> {
    Some(Name { kind: TypeName::parse(kind)?, id: ResourceId::parse(id)? })
}

fn unknown_type() -> Reply {
    failure(StatusCode::NOT_FOUND, Issue::new("not-found", "not a resource type of FHIR R4, or not a valid id"))
}

fn base(app: &App) -> String {
    let configured = app.config.base_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    configured.unwrap_or_else(|| format!("http://{}/fhir", app.config.http))
}
