//! `Subscription/$status`: how several subscriptions are, or all (R5 backport, Subscription/$status at the level of the type).

use super::fhir::may;
use super::fhir::page::{Entry, Page, raw};
use super::parameters::Given;
use super::reply::{Reply, unreadable};
use super::routes::{Call, not_found};
use super::search::surroundings;
use crate::fhir::subscription::Content;
use crate::ids::{ResourceId, TypeName};
use crate::notify::message::{Why, status};
use crate::notify::{Live, live};
use crate::read::in_background;
use crate::smart::scopes::Interaction;
use serde_json::json;

/// `GET` or `POST /fhir/Subscription/$status`. An id that is none's is left out, as of a search.
pub(super) async fn answer(call: Call<'_>) -> Result<Reply, Reply> {
    let kind = TypeName::parse("Subscription").ok_or_else(not_found)?;
    for interaction in [Interaction::Read, Interaction::Search] {
        may(&call.caller, interaction, Some(kind))?;
    }
    let given = Given::read(&call, &["id", "status"])?;
    let mut entry = Vec::new();
    for id in ids(&call, &given).await? {
        let found = live(&call.app.core, &id).await.map_err(|e| unreadable(&e))?;
        let wanted = |live: &Live| given.has_one_of("status", live.wanted.status.code());
        entry.extend(found.filter(wanted).map(|live| one(&call, &live)));
    }
    let address = format!("{}/Subscription/$status", surroundings(call.app).base);
    let link = vec![json!({"relation": "self", "url": address})];
    Ok(Page { resource_type: "Bundle", kind: "searchset", total: Some(entry.len() as u64), link, entry }.reply())
}

/// Those that are named, or all that are on.
async fn ids(call: &Call<'_>, given: &Given) -> Result<Vec<ResourceId>, Reply> {
    let named = given.list("id");
    if !named.is_empty() {
        return Ok(named.into_iter().filter_map(ResourceId::parse).collect());
    }
    let store = call.app.core.store.clone();
    let all = in_background(move || store.subscriptions()).await.map_err(|e| unreadable(&e))?;
    Ok(all.into_iter().map(|one| one.id).collect())
}

fn one(call: &Call<'_>, live: &Live) -> Entry {
    let core = &call.app.core;
    let status = status(core, live, Why::Status, &[], Content::Empty).to_string();
    Entry {
        full_url: Some(format!("{}/Subscription/{}/$status", core.base, live.id)),
        resource: Some(raw(status.as_bytes())),
        search: Some(json!({"mode": "match"})),
        ..Entry::default()
    }
}
