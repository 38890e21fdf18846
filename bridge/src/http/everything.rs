//! `Patient/[id]/$everything` and `Encounter/[id]/$everything`: a record, page by page.

use super::cursor::Cursor;
use super::fhir::page::{Entry, Page, raw};
use super::fhir::{may, parse_name};
use super::parameters::{Given, refused};
use super::query::{encode, pairs};
use super::reply::{Reply, failure, unreadable};
use super::routes::{Call, not_found};
use super::search::{self, one, surroundings};
use crate::app::App;
use crate::error::Issue;
use crate::fhir::outcome;
use crate::fhir::search::span::Span;
use crate::fhir::view::View;
use crate::ids::{Name, TypeName};
use crate::limits::MAX_PAGE;
use crate::read;
use crate::search::Position;
use crate::search::compartment::{Found, Start, Wanted, everything};
use crate::secret::system_random;
use crate::smart::scopes::Interaction;
use serde_json::json;
use warp::http::StatusCode;

const KNOWN: &[&str] = &["_since", "_type", "_count", "start", "end", "_cursor"];
/// In a cursor: whose record it leads through, and the type that the page begins with.
const OF: &str = "$everything";
const AT: &str = "$at";

/// `GET` or `POST /fhir/{Patient,Encounter}/{id}/$everything`.
pub async fn answer(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).filter(|name| matches!(name.kind.as_str(), "Patient" | "Encounter"));
    let name = name.ok_or_else(not_found)?;
    there(&call, &name).await?;
    let given = Given::read(&call, KNOWN).await?;
    let (given, start) = match given.get("_cursor") {
        Some(text) => resumed(call.app, &name, text)?,
        None => (given, None),
    };
    let wanted = wanted(&name, &given)?;
    let count = given.count("_count")?.unwrap_or(MAX_PAGE).min(MAX_PAGE);
    let around = surroundings(call.app);
    let found = everything(&call.app.core, &call.caller, around, &wanted, start, count).await;
    bundle(call.app, &name, &given, start, &found.map_err(search::refused)?).map(Page::reply)
}

/// A 404 or a 410 for a record that is not there, a 403 for one that may not be read.
pub(super) async fn there(call: &Call<'_>, name: &Name) -> Result<read::Opened, Reply> {
    let permit = may(&call.caller, Interaction::Read, Some(name.kind))?;
    let opened = read::read(&call.app.core, &permit, name, None).await.map_err(|e| unreadable(&e))?;
    let opened = opened.ok_or_else(not_found)?;
    if opened.stored.deleted {
        return Err(failure(StatusCode::GONE, Issue::new("deleted", "the resource was deleted")));
    }
    Ok(opened)
}

fn wanted(focus: &Name, given: &Given) -> Result<Wanted, Reply> {
    let known = |text: &str| {
        TypeName::parse(text).ok_or_else(|| refused(Issue::new("value", "_type: names of resource types of R4")))
    };
    let types = given.list("_type").into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
    let (start, end) = (given.span("start")?, given.span("end")?);
    let care = Span { from: start.map_or(i64::MIN, |s| s.from), to: end.map_or(i64::MAX, |s| s.to) };
    Ok(Wanted {
        focus: focus.clone(),
        types: (!types.is_empty()).then_some(types),
        since: given.span("_since")?,
        care: (start.is_some() || end.is_some()).then_some(care),
    })
}

/// A cursor stands for the whole request that it was made in, and for one record only.
fn resumed(app: &App, name: &Name, text: &str) -> Result<(Given, Option<Start>), Reply> {
    let stale = || refused(Issue::new("value", "_cursor: use the links of the page before"));
    let cursor = Cursor::open(text, &app.core.cursor_key, name.kind).ok_or_else(stale)?;
    let given = Given::from_pairs(pairs(&cursor.query).map_err(|_| stale())?);
    if given.get(OF) != Some(name.id.as_str()) {
        return Err(stale());
    }
    let kind = given.get(AT).and_then(TypeName::parse).ok_or_else(stale)?;
    let start = Start { upto: cursor.position.upto, kind: Some(kind), after: cursor.position.after };
    Ok((given, Some(start)))
}

fn bundle(app: &App, name: &Name, given: &Given, start: Option<Start>, found: &Found) -> Result<Page, Reply> {
    let mut entry: Vec<Entry> = found.members.iter().map(|o| one(app, o, "match", &View::Whole)).collect();
    entry.extend(found.referred.iter().map(|o| one(app, o, "include", &View::Whole)));
    entry.extend(withheld(found));
    let total = (start.is_none() && found.next.is_none()).then_some(found.members.len() as u64);
    let own = match start {
        Some(start) => link(app, name, given, start)?,
        None => format!("{}/{name}/$everything?{}", app.core.base, query(given)).trim_end_matches('?').to_owned(),
    };
    let mut link_list = vec![json!({"relation": "self", "url": own})];
    if let Some(next) = found.next {
        link_list.push(json!({"relation": "next", "url": link(app, name, given, next)?}));
    }
    Ok(Page { resource_type: "Bundle", kind: "searchset", total, link: link_list, entry })
}

/// The parameters again, without those of a cursor.
fn query(given: &Given) -> String {
    let known = KNOWN.iter().filter(|name| **name != "_cursor");
    let one = |name: &&str| {
        let values = given.list(name).join(",");
        (!values.is_empty()).then(|| format!("{name}={}", encode(&values)))
    };
    known.filter_map(one).collect::<Vec<_>>().join("&")
}

fn link(app: &App, name: &Name, given: &Given, start: Start) -> Result<String, Reply> {
    let at = start.kind.map_or("", TypeName::as_str);
    let query = format!("{OF}={}&{AT}={at}&{}", name.id, query(given));
    let position = Position { upto: start.upto, after: start.after, total: None };
    let cursor = Cursor::new(name.kind, query, position).seal(&app.core.cursor_key, &system_random);
    let cursor = cursor.map_err(|error| unreadable(&error.into()))?;
    Ok(format!("{}/{name}/$everything?_cursor={cursor}", app.core.base))
}

/// Silence would look like an empty record.
fn withheld(found: &Found) -> Option<Entry> {
    let names: Vec<&str> = found.withheld.iter().map(|kind| kind.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let text = format!("left out, because the token's scopes do not allow to search them: {}", names.join(", "));
    let warning = outcome::warnings(&[Issue::new("suppressed", text)]).to_string();
    let mode = Some(json!({"mode": "outcome"}));
    Some(Entry { full_url: None, resource: Some(raw(warning.as_bytes())), search: mode, request: None, response: None })
}
