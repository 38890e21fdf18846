//! Transactions and batches (R4 3.1.0.11).

use super::super::operations;
use super::super::reply::{Reply, etag, failure, failures, fhir, refused, status};
use super::super::routes::{Call, Request};
use super::super::subscription::prepare;
use super::page::{Entry, Page, raw};
use super::prefer::{Prefer, told};
use super::{acceptable, base, beside, history, json_body, needs, parse, read, search, write};
use crate::app::App;
use crate::clock::{http_date, instant, parse_http_date};
use crate::commit::{Author, Done, Transaction};
use crate::consent::decide::decide;
use crate::error::{IngestError, Issue};
use crate::fhir::bundle::{self, Bundle, Get, Operation, What};
use crate::fhir::outcome;
use crate::fhir::write::{Act, By, Write};
use crate::ids::Name;
use crate::ingest::commit;
use crate::limits::{MAX_ANSWERS_BYTES, MAX_BATCH_AT_ONCE, MAX_READS_AT_ONCE};
use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// The place of reading entries in the order of a batch: the last.
const READS: u8 = u8::MAX;

/// `POST /fhir`: a transaction or a batch.
pub async fn bundle(call: Call<'_>) -> Result<Reply, Reply> {
    json_body(call.request)?;
    let bundle = checked(call.body.clone()).await?;
    let prefer = Prefer::of(&call.request.headers);
    let (kind, entry) = match bundle {
        Bundle::Transaction(entries) => ("transaction-response", transaction(&call, entries, prefer).await?),
        Bundle::Batch(entries) => ("batch-response", batch(&call, entries, prefer).await),
    };
    Ok(Page { resource_type: "Bundle", kind, total: None, link: Vec::new(), entry }.reply())
}

/// Reads and checks all entries; a large Bundle beside the network threads.
async fn checked(body: Bytes) -> Result<Bundle, Reply> {
    let body_length = body.len();
    let read = move || {
        let json = parse(&body)?;
        bundle::read(json).map_err(|issues| failures(StatusCode::UNPROCESSABLE_ENTITY, &issues))
    };
    beside(body_length, read).await
}

/// Everything or nothing: what may fail without the committer fails first, and reading comes last.
async fn transaction(call: &Call<'_>, entries: Vec<bundle::Entry>, prefer: Prefer) -> Result<Vec<Entry>, Reply> {
    for (n, entry) in entries.iter().enumerate() {
        allowed(call, entry).map_err(|issue| failure(StatusCode::FORBIDDEN, bundle::at_entry(issue, n)))?;
    }
    there(call, &entries).await?;
    let mut writes = Vec::new();
    let mut order = Vec::with_capacity(entries.len());
    for entry in entries {
        order.push(match entry {
            bundle::Entry::Write(write) => {
                writes.push(write);
                None
            }
            bundle::Entry::Get(get) => Some(get),
            // Reading the Bundle has refused it.
            bundle::Entry::Operation(..) => continue,
        });
    }
    let done = if writes.is_empty() { Vec::new() } else { committed(call, writes).await.map_err(|e| refused(&e))? };
    let mut done = done.iter();
    let (mut answers, mut bytes) = (Vec::with_capacity(order.len()), 0);
    for get in order {
        answers.push(match get {
            Some(get) if bytes <= MAX_ANSWERS_BYTES => answered(call, &get).await,
            Some(_) => too_much(),
            None => done.next().map_or_else(Entry::default, |one| written(call.app, one, prefer)),
        });
        bytes += answers.last().map_or(0, Entry::weight);
    }
    Ok(answers)
}

async fn committed(call: &Call<'_>, mut writes: Vec<Write>) -> Result<Vec<Done>, IngestError> {
    let _prepared = prepare(call.app, &call.caller, &mut writes).await?;
    let by = Author::Client(Box::new(call.caller.clone()));
    Ok(commit(call.app, Transaction { by, writes, message: None }).await?.done)
}

/// Whether the token allows an entry.
fn allowed(call: &Call<'_>, entry: &bundle::Entry) -> Result<(), Issue> {
    let needed = match entry {
        bundle::Entry::Write(write) => write::needed(&write.act),
        bundle::Entry::Get(get) => vec![needs(&get.what)],
        // Asked where the operation is carried out.
        bundle::Entry::Operation(..) => Vec::new(),
    };
    let one = |(interaction, kind)| decide(&call.caller, interaction, kind).map(|_| ());
    needed.into_iter().try_for_each(one).map_err(|denied| Issue::new("forbidden", denied.to_string()))
}

/// A transaction that reads what cannot be read fails before it begins.
async fn there(call: &Call<'_>, entries: &[bundle::Entry]) -> Result<(), Reply> {
    for (n, entry) in entries.iter().enumerate() {
        let bundle::Entry::Get(get) = entry else { continue };
        let fate = match &get.what {
            What::Read(name) => entries.iter().find_map(|entry| fate(entry, name)),
            _ => None,
        };
        let reply = match fate {
            Some(true) => continue,
            Some(false) => failure(StatusCode::GONE, Issue::new("deleted", "the transaction itself deletes it")),
            None => answer(call, get).await,
        };
        if reply.status().is_client_error() || reply.status().is_server_error() {
            return Err(at_entry(reply, n));
        }
    }
    Ok(())
}

/// The same refusal, told at the entry.
fn at_entry(reply: Reply, n: usize) -> Reply {
    let Ok(mut outcome) = serde_json::from_slice::<Value>(reply.body()) else { return reply };
    for issue in outcome["issue"].as_array_mut().into_iter().flatten() {
        issue["expression"] = json!([format!("Bundle.entry[{n}]")]);
    }
    fhir(reply.status(), outcome.to_string())
}

/// Whether an entry makes sure that a resource is there, or that it is not.
fn fate(entry: &bundle::Entry, name: &Name) -> Option<bool> {
    let bundle::Entry::Write(write) = entry else { return None };
    let (target, stays) = match &write.act {
        Act::Update { target, .. } => (target, true),
        Act::Delete { target } => (target, false),
        _ => return None,
    };
    let same = target.kind == name.kind && matches!(&target.by, By::Id(id) if *id == name.id);
    same.then_some(stays)
}

/// Each entry for itself, in the standard's order. Those of one kind wait for the disk together.
async fn batch(call: &Call<'_>, entries: Vec<Result<bundle::Entry, Vec<Issue>>>, prefer: Prefer) -> Vec<Entry> {
    let mut ranked: Vec<_> = entries.into_iter().enumerate().collect();
    ranked.sort_by_key(|(_, entry)| rank(entry));
    let (mut answers, mut bytes) = (Vec::with_capacity(ranked.len()), 0);
    while !ranked.is_empty() {
        let first = rank(&ranked[0].1);
        let at_once = if first == READS { MAX_READS_AT_ONCE } else { MAX_BATCH_AT_ONCE };
        let same = ranked.iter().take(at_once).take_while(|(_, entry)| rank(entry) == first).count();
        let group = ranked.drain(..same);
        if first == READS && bytes > MAX_ANSWERS_BYTES {
            answers.extend(group.map(|(n, _)| (n, too_much())));
            continue;
        }
        let done = join_all(group.map(|(n, entry)| async move { (n, alone(call, n, entry, prefer).await) })).await;
        bytes += done.iter().map(|(_, answer)| answer.weight()).sum::<usize>();
        answers.extend(done);
    }
    answers.sort_by_key(|(n, _)| *n);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

fn rank(entry: &Result<bundle::Entry, Vec<Issue>>) -> u8 {
    match entry {
        Ok(bundle::Entry::Write(write)) => write.act.rank(),
        Ok(bundle::Entry::Get(_) | bundle::Entry::Operation(..)) | Err(_) => READS,
    }
}

/// An entry that would make the answer too long.
fn too_much() -> Entry {
    let text = "the answers to the entries before are too long together: ask in smaller Bundles";
    failed(StatusCode::PAYLOAD_TOO_LARGE, &[Issue::new("too-costly", text)])
}

async fn alone(call: &Call<'_>, n: usize, entry: Result<bundle::Entry, Vec<Issue>>, prefer: Prefer) -> Entry {
    let entry = match entry {
        Ok(entry) => entry,
        Err(issues) => return failed(StatusCode::UNPROCESSABLE_ENTITY, &issues),
    };
    if let Err(issue) = allowed(call, &entry) {
        return failed(StatusCode::FORBIDDEN, &[bundle::at_entry(issue, n)]);
    }
    let write = match entry {
        bundle::Entry::Write(write) => write,
        bundle::Entry::Get(get) => return answered(call, &get).await,
        bundle::Entry::Operation(operation, body) => return operated(call, operation, body).await,
    };
    match committed(call, vec![write]).await {
        Ok(done) => done.first().map_or_else(Entry::default, |one| written(call.app, one, prefer)),
        Err(error) => {
            if error.is_news() {
                tracing::error!(%error, "an entry of a batch failed");
            }
            failed(status(&error), &error.issues())
        }
    }
}

fn written(app: &App, done: &Done, prefer: Prefer) -> Entry {
    let time = |updated| instant(jiff::Timestamp::from_millisecond(updated).unwrap_or_default());
    let mut response = match done {
        Done::Written(one) => json!({
            "status": if one.created { "201 Created" } else { "200 OK" },
            "location": format!("{}/{}/_history/{}", base(app), one.name, one.version),
            "etag": etag(one.version),
            "lastModified": time(one.updated),
        }),
        Done::Deleted(one) => {
            json!({"status": "204 No Content", "etag": etag(one.version), "lastModified": time(one.updated)})
        }
        Done::Nothing => json!({"status": "204 No Content"}),
    };
    if prefer == Prefer::Outcome {
        response["outcome"] = told(done);
    }
    let resource = done.written().filter(|_| prefer == Prefer::Representation).map(|one| raw(&one.resource));
    Entry { resource, response: Some(response), ..Entry::default() }
}

fn failed(status: StatusCode, issues: &[Issue]) -> Entry {
    let response = json!({"status": status.to_string(), "outcome": outcome::errors(issues)});
    Entry { response: Some(response), ..Entry::default() }
}

/// An entry that reads, answered as the request of its own would be.
async fn answered(call: &Call<'_>, get: &Get) -> Entry {
    told_of(&answer(call, get).await, get.head)
}

/// An entry that invokes an operation: by its own route, with the caller's token.
async fn operated(call: &Call<'_>, operation: Operation, body: Bytes) -> Entry {
    let mut headers = HeaderMap::new();
    for name in [header::ACCEPT, header::CONTENT_TYPE] {
        headers.insert(name, HeaderValue::from_static("application/fhir+json"));
    }
    headers.extend(call.request.headers.get(header::AUTHORIZATION).map(|token| (header::AUTHORIZATION, token.clone())));
    let method = if operation.posted { Method::POST } else { Method::GET };
    let request = Request {
        method,
        path: operation.path,
        query: operation.query,
        headers,
        body: Ok(body),
        seen: call.request.seen.clone(),
    };
    let reply = operations::entry(call.app, &request).await;
    told_of(&reply.unwrap_or_else(|refused| refused), operation.head)
}

/// An answer as an entry.
fn told_of(reply: &Reply, head: bool) -> Entry {
    let mut response = json!({"status": reply.status().to_string()});
    let header = |name| reply.headers().get(name).and_then(|value| value.to_str().ok());
    if let Some(etag) = header(header::ETAG) {
        response["etag"] = json!(etag);
    }
    if let Some(time) = header(header::LAST_MODIFIED).and_then(parse_http_date) {
        response["lastModified"] = json!(instant(time));
    }
    if !reply.status().is_success() {
        if let Ok(outcome) = serde_json::from_slice::<Value>(reply.body()) {
            response["outcome"] = outcome;
        }
        return Entry { response: Some(response), ..Entry::default() };
    }
    let resource = (!head && !reply.body().is_empty()).then(|| raw(reply.body()));
    Entry { resource, response: Some(response), ..Entry::default() }
}

async fn answer(call: &Call<'_>, get: &Get) -> Reply {
    let mut headers = HeaderMap::new();
    // A Bundle holds resources: of a Binary too.
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/fhir+json"));
    let since = get.if_modified_since.map(http_date);
    for (name, value) in [(header::IF_NONE_MATCH, &get.if_none_match), (header::IF_MODIFIED_SINCE, &since)] {
        if let Some(value) = value.as_deref().and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(name, value);
        }
    }
    let request = Request {
        method: Method::GET,
        path: String::new(),
        query: get.query.clone(),
        headers,
        body: Ok(Bytes::new()),
        seen: call.request.seen.clone(),
    };
    let inner = Call { app: call.app, caller: call.caller.clone(), request: &request, body: call.body };
    if let Err(refused) = acceptable(&request, &[]) {
        return refused;
    }
    let reply = match &get.what {
        What::Read(name) => read::read(&inner, name.clone()).await,
        What::Version(name, version) => read::version(&inner, name.clone(), *version).await,
        What::History(of) => history::history(&inner, of.clone()).await,
        What::Search(kind) => search::search(&inner, *kind, &get.query).await,
    };
    reply.unwrap_or_else(|refused| refused)
}
