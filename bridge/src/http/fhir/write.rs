//! Create, update, deletion and their conditional forms: the request becomes a `Write`, the write path does the rest.

use super::super::reply::{Reply, done, failures, refused};
use super::super::routes::{Call, not_found};
use super::{bad_request, base, may, read_json, text};
use crate::commit::Transaction;
use crate::error::Issue;
use crate::fhir::validate::{Validated, validate};
use crate::fhir::write::{Act, By, Target, Write, criteria, if_match, same_id};
use crate::ids::{Name, TypeName, Version};
use crate::ingest::commit;
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use warp::http::{HeaderMap, StatusCode, header};

pub(super) async fn create(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    let condition = text(&call.request.headers, header::HeaderName::from_static("if-none-exist"));
    let if_none_exist = condition.map(|text| criteria(kind, text)).transpose().map_err(bad_request)?;
    write(call, Act::Create { resource: resource(call, kind)?, if_none_exist }).await
}

pub(super) async fn update(call: &Call<'_>, name: Name) -> Result<Reply, Reply> {
    let resource = resource(call, name.kind)?;
    same_id(&resource, &name.id).map_err(bad_request)?;
    write(call, Act::Update { target: named(call, name)?, resource }).await
}

pub(super) async fn conditional_update(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    let target = found(call, kind)?;
    write(call, Act::Update { target, resource: resource(call, kind)? }).await
}

pub(super) async fn delete(call: &Call<'_>, name: Name) -> Result<Reply, Reply> {
    write(call, Act::Delete { target: named(call, name)? }).await
}

pub(super) async fn conditional_delete(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    write(call, Act::Delete { target: found(call, kind)? }).await
}

fn named(call: &Call<'_>, name: Name) -> Result<Target, Reply> {
    Ok(Target { kind: name.kind, by: By::Id(name.id), if_match: match_header(&call.request.headers)? })
}

fn found(call: &Call<'_>, kind: TypeName) -> Result<Target, Reply> {
    let criteria = criteria(kind, &call.request.query).map_err(bad_request)?;
    Ok(Target { kind, by: By::Search(criteria), if_match: match_header(&call.request.headers)? })
}

fn match_header(headers: &HeaderMap) -> Result<Option<Version>, Reply> {
    let Some(value) = text(headers, header::IF_MATCH) else { return Ok(None) };
    let bad = || bad_request(Issue::new("value", "If-Match: not an ETag of this server"));
    if_match(value).map(Some).ok_or_else(bad)
}

fn resource(call: &Call<'_>, kind: TypeName) -> Result<Validated, Reply> {
    let json = read_json(call.request, call.body)?;
    let resource = validate(json).map_err(|issues| failures(StatusCode::UNPROCESSABLE_ENTITY, &issues))?;
    if resource.kind() != kind {
        return Err(bad_request(Issue::at("value", "resourceType", "is not the type in the URL")));
    }
    Ok(resource)
}

async fn write(call: &Call<'_>, act: Act) -> Result<Reply, Reply> {
    may_write(&call.caller, &act)?;
    let transaction = Transaction { writes: vec![Write::alone(act)], message: None };
    let committed = commit(call.app, transaction).await.map_err(|error| refused(&error))?;
    committed.done.first().map(|one| done(base(call.app), one)).ok_or_else(not_found)
}

/// What an act needs. An update may create. A condition tells whether something exists, and a conditional create answers with
/// what it found: that is reading.
pub(super) fn may_write(caller: &Caller, act: &Act) -> Result<(), Reply> {
    let needed: &[Interaction] = match act {
        Act::Create { .. } => &[Interaction::Create],
        Act::Update { .. } | Act::Recognise { .. } => &[Interaction::Create, Interaction::Update],
        Act::Delete { .. } => &[Interaction::Delete],
    };
    let reads = act.criteria().map(|_| Interaction::Read);
    needed.iter().copied().chain(reads).try_for_each(|one| may(caller, one, Some(act.kind())).map(|_| ()))
}
