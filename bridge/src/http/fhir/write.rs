//! Create, update and their conditional forms: the request becomes a `Write`, the write path does the rest.

use super::super::reply::{Reply, failure, failures, refused, written};
use super::super::routes::{Call, not_found};
use super::{bad_request, base, read_json, text};
use crate::commit::Transaction;
use crate::consent::decide::decide;
use crate::error::Issue;
use crate::fhir::bundle::{How, Write, criteria, if_match, same_id};
use crate::fhir::validate::{Validated, validate};
use crate::ids::{Name, TypeName, Version};
use crate::ingest::commit;
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use warp::http::{HeaderMap, StatusCode, header};

pub(super) async fn create(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    let condition = text(&call.request.headers, header::HeaderName::from_static("if-none-exist"));
    let if_none_exist = condition.map(criteria).transpose().map_err(bad_request)?;
    write(call, kind, |_| Ok(How::Create { if_none_exist })).await
}

pub(super) async fn update(call: &Call<'_>, name: Name) -> Result<Reply, Reply> {
    let if_match = match_header(&call.request.headers)?;
    let Name { kind, id } = name;
    write(call, kind, |write| {
        same_id(write, &id)?;
        Ok(How::Update { id, if_match })
    })
    .await
}

pub(super) async fn conditional_update(call: &Call<'_>, kind: TypeName) -> Result<Reply, Reply> {
    let if_match = match_header(&call.request.headers)?;
    let criteria = criteria(&call.request.query).map_err(bad_request)?;
    write(call, kind, |_| Ok(How::ConditionalUpdate { criteria, if_match })).await
}

fn match_header(headers: &HeaderMap) -> Result<Option<Version>, Reply> {
    let Some(value) = text(headers, header::IF_MATCH) else { return Ok(None) };
    let bad = || bad_request(Issue::new("value", "If-Match: not an ETag of this server"));
    if_match(value).map(Some).ok_or_else(bad)
}

pub(super) async fn write(
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

/// A create needs `c`, an update `u`; an update that may create needs both. A condition tells whether something exists, and a
/// conditional create answers with what it found: that is reading.
pub(super) fn may_write(caller: &Caller, write: &Write) -> Result<(), Reply> {
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
