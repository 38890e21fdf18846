//! Transactions and batches.

use super::super::reply::{Reply, etag, failures, fhir, refused, status};
use super::super::routes::Call;
use super::write::may_write;
use super::{base, read_json};
use crate::app::App;
use crate::clock::instant;
use crate::commit::{Committed, Done, Transaction};
use crate::error::Issue;
use crate::fhir::bundle;
use crate::fhir::outcome;
use crate::fhir::write::Write;
use crate::ingest::commit;
use crate::smart::token::Caller;
use serde_json::{Value, json};
use std::sync::Arc;
use warp::http::StatusCode;

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
    if let Some(denied) = writes.iter().find_map(|write| may_write(caller, &write.act).err()) {
        return denied;
    }
    match commit(app, Transaction { writes, message: None }).await {
        Err(error) => refused(&error),
        Ok(Committed { done, .. }) => {
            let entries = done.iter().map(|one| response_entry(app, one)).collect();
            fhir(StatusCode::OK, response_bundle("transaction-response", entries).to_string())
        }
    }
}

async fn batch(app: &Arc<App>, caller: &Caller, entries: Vec<Result<Write, Vec<Issue>>>) -> Reply {
    let mut answers = Vec::with_capacity(entries.len());
    for entry in entries {
        answers.push(match entry {
            Err(issues) => failed_entry(StatusCode::UNPROCESSABLE_ENTITY, &issues),
            Ok(write) => match may_write(caller, &write.act) {
                Err(_) => failed_entry(
                    StatusCode::FORBIDDEN,
                    &[Issue::new("forbidden", "the token's scopes do not allow this entry")],
                ),
                Ok(()) => match commit(app, Transaction { writes: vec![write], message: None }).await {
                    Ok(committed) => committed.done.first().map_or(Value::Null, |one| response_entry(app, one)),
                    Err(error) => {
                        if error.is_news() {
                            tracing::error!(%error, "an entry of a batch failed");
                        }
                        failed_entry(status(&error), &error.issues())
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

fn response_entry(app: &App, done: &Done) -> Value {
    let time = |updated| instant(jiff::Timestamp::from_millisecond(updated).unwrap_or_default());
    let response = match done {
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
    json!({"response": response})
}

fn failed_entry(status: StatusCode, issues: &[Issue]) -> Value {
    json!({"response": {"status": status.to_string(), "outcome": outcome::errors(issues)}})
}
