//! Create, update, patch, deletion and their conditional forms: the request becomes a `Write`, the write path does the rest.

use super::super::reply::{Reply, empty, failure, failures, fhir, refused, versioned, with_header};
use super::super::routes::{Call, not_found};
use super::super::subscription::prepare;
use super::binary::{brought, is_binary};
use super::prefer::{Prefer, told};
use super::{bad_request, base, beside, may, media_type, parsed, read_json, text};
use crate::commit::{Author, Done, Transaction, Written};
use crate::error::Issue;
use crate::fhir::patch::{JSON_PATCH, Patch};
use crate::fhir::references;
use crate::fhir::validate::{Validated, validate};
use crate::fhir::write::{Act, By, Target, Write, criteria, if_match, only_new, same_id};
use crate::ids::{Name, ResourceId, TypeName, Version};
use crate::ingest::commit;
use crate::smart::scopes::Interaction;
use warp::http::{HeaderMap, StatusCode, header};

pub(super) async fn create(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    let condition = text(&call.request.headers, header::HeaderName::from_static("if-none-exist"));
    let if_none_exist = condition.or_else(|| asked_in_address(kind, &call.request.query));
    let if_none_exist = if_none_exist.map(|text| criteria(kind, text)).transpose().map_err(bad_request)?;
    write(call, Act::Create { resource: resource(call, kind, None).await?, if_none_exist }).await
}

/// Some clients (fhirpy) put the condition of a create into its address. To ignore it would make doubles.
/// `_filename` is what Medplum's client says of a file: no search has it, and no element of a Binary holds it.
fn asked_in_address(kind: TypeName, query: &str) -> Option<&str> {
    let names: &[&str] =
        if is_binary(kind) { &["_format=", "_pretty=", "_filename="] } else { &["_format=", "_pretty="] };
    let form = |pair: &str| pair.is_empty() || names.iter().any(|name| pair.starts_with(name));
    (!query.split('&').all(form)).then_some(query)
}

pub(super) async fn update(call: &Call<'_>, name: Name) -> Result<Reply, Reply> {
    let resource = resource(call, name.kind, Some(&name.id)).await?;
    same_id(&resource, &name.id).map_err(bad_request)?;
    write(call, Act::Update { target: named(call, name)?, resource }).await
}

pub(super) async fn conditional_update(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    let target = found(call, kind)?;
    write(call, Act::Update { target, resource: resource(call, kind, None).await? }).await
}

pub(super) async fn patch(call: &Call<'_>, name: Name) -> Result<Reply, Reply> {
    write(call, Act::Patch { target: named(call, name)?, patch: read_patch(call).await? }).await
}

pub(super) async fn conditional_patch(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    write(call, Act::Patch { target: found(call, kind)?, patch: read_patch(call).await? }).await
}

async fn read_patch(call: &Call<'_>) -> Result<Patch, Reply> {
    let patch = if media_type(&call.request.headers) == JSON_PATCH {
        Patch::json(&parsed(call.body.clone()).await?)
    } else {
        Patch::parameters(&read_json(call).await?)
    };
    patch.map_err(|issue| failure(StatusCode::UNPROCESSABLE_ENTITY, issue))
}

pub(super) async fn delete(call: &Call<'_>, name: Name) -> Result<Reply, Reply> {
    write(call, Act::Delete { target: named(call, name)? }).await
}

pub(super) async fn conditional_delete(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    write(call, Act::Delete { target: found(call, kind)? }).await
}

fn named(call: &Call<'_>, name: Name) -> Result<Target, Reply> {
    target(call, name.kind, By::Id(name.id))
}

fn found(call: &Call<'_>, kind: TypeName) -> Result<Target, Reply> {
    let criteria = criteria(kind, &call.request.query).map_err(bad_request)?;
    target(call, kind, By::Search(criteria))
}

/// With the conditions of the headers.
fn target(call: &Call<'_>, kind: TypeName, by: By) -> Result<Target, Reply> {
    let headers = &call.request.headers;
    let only_new = text(headers, header::IF_NONE_MATCH).map_or(Ok(false), only_new).map_err(bad_request)?;
    Ok(Target { kind, by, if_match: match_header(headers)?, only_new })
}

fn match_header(headers: &HeaderMap) -> Result<Option<Version>, Reply> {
    let Some(value) = text(headers, header::IF_MATCH) else { return Ok(None) };
    let bad = || bad_request(Issue::new("value", "If-Match: not an ETag of this server"));
    if_match(value).map(Some).ok_or_else(bad)
}

/// What is to be stored; content that becomes a Binary takes the id of its address.
async fn resource(call: &Call<'_>, kind: TypeName, id: Option<&ResourceId>) -> Result<Validated, Reply> {
    let json = if is_binary(kind) { brought(call, id).await? } else { read_json(call).await? };
    let checked = |json| validate(json).map_err(|issues| failures(StatusCode::UNPROCESSABLE_ENTITY, &issues));
    let resource = beside(call.body.len(), move || checked(json)).await?;
    if resource.kind() != kind {
        return Err(bad_request(Issue::at("value", "resourceType", "is not the type in the URL")));
    }
    Ok(resource)
}

async fn write(call: &Call<'_>, act: Act) -> Result<Reply, Reply> {
    for (interaction, kind) in needed(&act) {
        may(&call.caller, interaction, kind)?;
    }
    let mut writes = vec![Write::alone(act)];
    let _prepared = prepare(call.app, &call.caller, &mut writes).await.map_err(|error| refused(&error))?;
    let transaction = Transaction { by: Author::Client(Box::new(call.caller.clone())), writes, message: None };
    let committed = commit(call.app, transaction).await.map_err(|error| refused(&error))?;
    let prefer = Prefer::of(&call.request.headers);
    committed.done.first().map(|done| answer(base(call.app), done, prefer)).ok_or_else(not_found)
}

fn answer(base: &str, done: &Done, prefer: Prefer) -> Reply {
    let outcome = || fhir(StatusCode::OK, told(done).to_string());
    match (done, prefer) {
        (Done::Written(one), _) => written(base, one, done, prefer),
        (Done::Nothing, Prefer::Outcome) => outcome(),
        (Done::Nothing, _) => empty(StatusCode::NO_CONTENT),
        (Done::Deleted(one), prefer) => {
            let reply = if prefer == Prefer::Outcome { outcome() } else { empty(StatusCode::NO_CONTENT) };
            versioned(reply, one.version, one.updated)
        }
    }
}

fn written(base: &str, one: &Written, done: &Done, prefer: Prefer) -> Reply {
    let status = if one.created { StatusCode::CREATED } else { StatusCode::OK };
    let reply = match prefer {
        Prefer::Minimal => empty(status),
        Prefer::Outcome => fhir(status, told(done).to_string()),
        Prefer::Representation | Prefer::Unsaid => fhir(status, one.resource.as_ref().clone()),
    };
    let location = format!("{base}/{}/_history/{}", one.name, one.version);
    versioned(with_header(reply, header::LOCATION, &location), one.version, one.updated)
}

/// What an act needs. An update may create, and needs no more for it (SMART App Launch 2.2, section 3.0.2). A condition is a search that tells whether something exists, and a conditional
/// create answers with what it found: that is reading, too. So is a conditional reference, of another type.
pub(super) fn needed(act: &Act) -> Vec<(Interaction, Option<TypeName>)> {
    let own: &[Interaction] = match act {
        Act::Create { .. } => &[Interaction::Create],
        Act::Update { .. } => &[Interaction::Update],
        Act::Recognise { .. } => &[Interaction::Create, Interaction::Update],
        // Its tests and paths tell what the resource says, and so does the answer.
        Act::Patch { .. } => &[Interaction::Update, Interaction::Read],
        Act::Delete { .. } => &[Interaction::Delete],
    };
    let asks: &[Interaction] = if act.criteria().is_some() { &[Interaction::Read, Interaction::Search] } else { &[] };
    let own = own.iter().chain(asks).map(|interaction| (*interaction, Some(act.kind())));
    let found = act.resource().map_or(Vec::new(), |resource| references::conditional_types(resource.json()));
    own.chain(found.into_iter().map(|kind| (Interaction::Search, Some(kind)))).collect()
}
