//! `$meta`, `$meta-add`, `$meta-delete` of a resource. R4 leaves it open whether labels make a version; here they do, because
//! what was notarised never changes under its version.

use super::everything::there;
use super::fhir::{may, parse_name};
use super::parameters::{named, refused as bad_request, resource};
use super::reply::{Reply, failures, fhir, refused};
use super::routes::{Call, not_found};
use crate::commit::{Done, Transaction};
use crate::error::{IngestError, Issue};
use crate::fhir::labels::Change;
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::ids::Name;
use crate::ingest::commit;
use crate::read::Opened;
use crate::smart::scopes::Interaction;
use notary::canonical::Json;
use warp::http::StatusCode;

/// How often somebody else may come between the reading and the writing.
const ATTEMPTS: usize = 5;

/// `GET /fhir/{type}/{id}/$meta`.
pub async fn read(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    Ok(answer(&there(&call, &name).await?.json()))
}

/// `POST /fhir/{type}/{id}/$meta-add` or `$meta-delete`.
pub async fn change(call: Call<'_>, kind: &str, id: &str, add: bool) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    may(&call.caller, Interaction::Update, Some(name.kind))?;
    let change = asked(&resource(&call)?, add)?;
    let mut last = IngestError::Busy;
    for _ in 0..ATTEMPTS {
        let before = there(&call, &name).await?;
        let mut after = before.json();
        change.apply(&mut after);
        // A label that is there already makes no version.
        if after == before.json() {
            return Ok(answer(&after));
        }
        match write(&call, &name, &before, after).await? {
            Ok(stored) => return Ok(answer(&stored)),
            Err(error @ IngestError::Precondition(_)) => last = error,
            Err(error) => return Err(refused(&error)),
        }
    }
    Err(refused(&last))
}

fn asked(parameters: &Json, add: bool) -> Result<Change, Reply> {
    let meta = named(parameters, "meta").and_then(|parameter| parameter.get("valueMeta"));
    let missing = || bad_request(Issue::at("required", "Parameters.parameter", "the parameter `meta` has a valueMeta"));
    Change::new(add, meta.ok_or_else(missing)?.clone()).map_err(bad_request)
}

/// Writes over the very version that was read, or not at all.
async fn write(call: &Call<'_>, name: &Name, before: &Opened, after: Json) -> Result<Result<Json, IngestError>, Reply> {
    let resource = validate(after).map_err(|issues| failures(StatusCode::UNPROCESSABLE_ENTITY, &issues))?;
    let target = Target { kind: name.kind, by: By::Id(name.id.clone()), if_match: Some(before.stored.version) };
    let transaction = Transaction { writes: vec![Write::alone(Act::Update { target, resource })], message: None };
    let committed = commit(call.app, transaction).await;
    Ok(committed.map(|committed| {
        let written = committed.done.first().and_then(Done::written);
        written.and_then(|written| Json::parse(&written.resource).ok()).unwrap_or(Json::Null)
    }))
}

fn answer(resource: &Json) -> Reply {
    let meta = resource.get("meta").cloned().unwrap_or(Json::Object(Vec::new()));
    let text = |text: &str| Json::String(text.to_owned());
    let parameter = Json::Object(vec![("name".into(), text("return")), ("valueMeta".into(), meta)]);
    let parameters =
        vec![("resourceType".into(), text("Parameters")), ("parameter".into(), Json::Array(vec![parameter]))];
    fhir(StatusCode::OK, Json::Object(parameters).compact())
}
