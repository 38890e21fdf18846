//! `$meta`, `$meta-add`, `$meta-delete` of a resource. R4 leaves it open whether labels make a version; here they do, because
//! what was notarised never changes under its version.

use super::everything::there;
use super::fhir::{may, parse_name};
use super::parameters::{named, refused as bad_request, resource};
use super::reply::{Reply, fhir, refused};
use super::routes::{Call, not_found};
use super::subscription::prepare;
use crate::commit::{Author, Done, Transaction};
use crate::error::Issue;
use crate::fhir::labels::Change;
use crate::fhir::patch::Patch;
use crate::fhir::write::{Act, By, Target, Write};
use crate::ids::Name;
use crate::ingest::commit;
use crate::smart::scopes::Interaction;
use notary::canonical::Json;
use warp::http::StatusCode;

/// `GET /fhir/{type}/{id}/$meta`.
pub async fn read(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    Ok(answer(&there(&call, &name).await?.json()))
}

/// `POST /fhir/{type}/{id}/$meta-add` or `$meta-delete`.
pub async fn change(call: Call<'_>, kind: &str, id: &str, add: bool) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    may(&call.caller, Interaction::Update, Some(name.kind))?;
    let patch = Patch::Labels(asked(&resource(&call).await?, add)?);
    let before = there(&call, &name).await?.json();
    // What changes nothing makes no version. Who comes between makes one at worst.
    if patch.apply(&before).is_ok_and(|after| after == before) {
        return Ok(answer(&before));
    }
    write(&call, name, patch).await
}

fn asked(parameters: &Json, add: bool) -> Result<Change, Reply> {
    let meta = named(parameters, "meta").and_then(|parameter| parameter.get("valueMeta"));
    let missing = || bad_request(Issue::at("required", "Parameters.parameter", "the parameter `meta` has a valueMeta"));
    Change::new(add, meta.ok_or_else(missing)?.clone()).map_err(bad_request)
}

async fn write(call: &Call<'_>, name: Name, patch: Patch) -> Result<Reply, Reply> {
    let target = Target { kind: name.kind, by: By::Id(name.id), if_match: None, only_new: false };
    let mut writes = vec![Write::alone(Act::Patch { target, patch })];
    let _prepared = prepare(call.app, &call.caller, &mut writes).await.map_err(|error| refused(&error))?;
    let transaction = Transaction { by: Author::Client(Box::new(call.caller.clone())), writes, message: None };
    let committed = commit(call.app, transaction).await.map_err(|error| refused(&error))?;
    let written = committed.done.first().and_then(Done::written).ok_or_else(not_found)?;
    Ok(answer(&Json::parse(&written.resource).unwrap_or(Json::Null)))
}

fn answer(resource: &Json) -> Reply {
    let meta = resource.get("meta").cloned().unwrap_or(Json::Object(Vec::new()));
    let text = |text: &str| Json::String(text.to_owned());
    let parameter = Json::Object(vec![("name".into(), text("return")), ("valueMeta".into(), meta)]);
    let parameters =
        vec![("resourceType".into(), text("Parameters")), ("parameter".into(), Json::Array(vec![parameter]))];
    fhir(StatusCode::OK, Json::Object(parameters).compact())
}
