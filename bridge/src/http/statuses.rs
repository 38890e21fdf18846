//! `Subscription/$status`: how several subscriptions of who asks are, or all of them (R5 backport, Subscription/$status at the level of
//! the type).

use super::fhir::may_all;
use super::fhir::page::{Entry, Page, raw};
use super::parameters::Given;
use super::reply::{Reply, failure, unreadable};
use super::routes::{Call, not_found};
use super::search::surroundings;
use super::subscription::is_own;
use crate::error::Issue;
use crate::fhir::subscription::Content;
use crate::ids::{ResourceId, TypeName};
use crate::index::notices::Subscribed;
use crate::limits::MAX_QUERY_VALUES;
use crate::notify::message::{Told, Why, status};
use crate::notify::{Live, live};
use crate::read::in_background;
use crate::smart::scopes::Interaction;
use serde_json::json;
use std::collections::HashSet;
use warp::http::StatusCode;

/// `GET` or `POST /fhir/Subscription/$status`. An id that is none's is left out, as of a search; so is another's: its counter tells what
/// happens.
pub(super) async fn answer(call: Call<'_>) -> Result<Reply, Reply> {
    let kind = TypeName::parse("Subscription").ok_or_else(not_found)?;
    may_all(&call.caller, Interaction::Search, Some(kind))?;
    let permit = may_all(&call.caller, Interaction::Read, Some(kind))?;
    let given = Given::read(&call, &["id", "status"]).await?;
    let mut entry = Vec::new();
    for kept in subscribed(&call, &given).await? {
        let found = live(&call.app.core, kept).await.map_err(|e| unreadable(&e))?;
        let wanted = |live: &Live| is_own(&permit, live) && given.has_one_of("status", live.wanted.status.code());
        entry.extend(found.filter(wanted).map(|live| one(&call, &live)));
    }
    let address = format!("{}/Subscription/$status", surroundings(call.app).base);
    let link = vec![json!({"relation": "self", "url": address})];
    Ok(Page { resource_type: "Bundle", kind: "searchset", total: Some(entry.len() as u64), link, entry }.reply())
}

/// Those that are named, or all that are on.
async fn subscribed(call: &Call<'_>, given: &Given) -> Result<Vec<Subscribed>, Reply> {
    let named: HashSet<ResourceId> = given.list("id").into_iter().filter_map(ResourceId::parse).collect();
    if named.len() > MAX_QUERY_VALUES {
        let text = format!("at most {MAX_QUERY_VALUES} ids at once");
        return Err(failure(StatusCode::BAD_REQUEST, Issue::new("too-costly", text)));
    }
    let (store, all) = (call.app.core.store.clone(), given.list("id").is_empty());
    let found = in_background(move || match all {
        true => store.subscriptions(),
        false => named.iter().filter_map(|id| store.subscription(id).transpose()).collect(),
    });
    found.await.map_err(|e| unreadable(&e))
}

fn one(call: &Call<'_>, live: &Live) -> Entry {
    let core = &call.app.core;
    let status =
        status(core, live, &Told { why: Why::Status, events: &[], content: Content::Empty, next: None }).to_string();
    Entry {
        full_url: Some(format!("{}/Subscription/{}/$status", core.base, live.kept.id)),
        resource: Some(raw(status.as_bytes())),
        search: Some(json!({"mode": "match"})),
        ..Entry::default()
    }
}
