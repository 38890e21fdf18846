//! Searches over HTTP: reads the query, runs it, writes the Bundle.

use super::cursor::Cursor;
use super::fhir::page::{Entry, Page, raw};
use super::query::{encode, pairs};
use super::reply::{Reply, failure, unreadable};
use crate::app::App;
use crate::error::Issue;
use crate::fhir::outcome;
use crate::fhir::search::criterion::Surroundings;
use crate::fhir::search::query::{self, Faulty, QueryError, Search, Total};
use crate::fhir::view::View;
use crate::ids::TypeName;
use crate::read::Opened;
use crate::search::{self, Position, SearchError};
use crate::secret::system_random;
use crate::smart::token::Caller;
use serde_json::{Value, json};
use warp::http::StatusCode;

/// What to do with a parameter that is not known (`Prefer: handling=`). The standard leaves it to the server; one that
/// returns everything because it did not understand the question does harm, so strict is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    Strict,
    Lenient,
}

impl Handling {
    /// Reads the Prefer header.
    pub fn of(prefer: Option<&str>) -> Self {
        if prefer.is_some_and(|p| p.contains("handling=lenient")) { Self::Lenient } else { Self::Strict }
    }
}

/// How a search came: a posted one's parameters stay out of every link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Get,
    Post,
}

/// Answers a search over a type with a `searchset` Bundle.
pub(super) async fn answer(
    app: &App,
    caller: &Caller,
    kind: TypeName,
    query_text: &str,
    handling: Handling,
    way: Way,
) -> Result<Page, Reply> {
    let asked = read(app, kind, query_text, handling)?;
    let around = surroundings(app);
    let Asked { search, from, .. } = &asked;
    let page = search::search(&app.core, caller, around, search, *from).await.map_err(refused)?;
    let mut entry: Vec<Entry> = page.matches.iter().map(|o| one(app, o, "match", &asked.view)).collect();
    entry.extend(page.included.resources.iter().map(|o| one(app, o, "include", &asked.view)));
    entry.extend(ignored(search));
    entry.extend(page.included.cut.then(cut));
    let link = links(app, &asked, page.next, way)?;
    Ok(Page { resource_type: "Bundle", kind: "searchset", total: page.total, link, entry })
}

struct Asked {
    search: Search,
    view: View,
    from: Option<Position>,
}

/// What comparisons need to know.
pub fn surroundings(app: &App) -> Surroundings<'_> {
    app.core.around()
}

/// A cursor stands for the whole search that it was made in.
fn read(app: &App, kind: TypeName, query_text: &str, handling: Handling) -> Result<Asked, Reply> {
    let given = pairs(query_text).map_err(|text| bad(Issue::new("value", text)))?;
    let cursor = given.iter().find(|(name, _)| name == "_cursor").map(|(_, value)| value);
    let opened = match cursor {
        Some(text) => Some(Cursor::open(text, &app.core.cursor_key, kind).ok_or_else(stale)?),
        None => None,
    };
    let given = match &opened {
        Some(cursor) => pairs(&cursor.query).map_err(|_| stale())?,
        None => given,
    };
    let faulty = if handling == Handling::Strict { Faulty::Refused } else { Faulty::Passed };
    let mut search = query::read_as(kind, &given, &surroundings(app), faulty).map_err(|e| bad(issue(&e)))?;
    let view = View::read(&given).map_err(|text| bad(Issue::new("value", text)))?;
    if view == View::Count {
        (search.count, search.total) = (Some(0), Total::Accurate);
        search.includes.clear();
    }
    if view == View::Text && !search.includes.is_empty() {
        // R4 3.1.1.5.9.
        return Err(bad(Issue::new("not-supported", "_summary=text is not mixed with _include or _revinclude")));
    }
    if handling == Handling::Strict && !search.unknown.is_empty() {
        let names = search.unknown.join(", ");
        let text = format!("{kind} has no search parameter {names}; `Prefer: handling=lenient` ignores such");
        return Err(bad(Issue::new("not-supported", text)));
    }
    Ok(Asked { search, view, from: opened.map(|c| c.position) })
}

fn bad(issue: Issue) -> Reply {
    failure(StatusCode::BAD_REQUEST, issue)
}

fn stale() -> Reply {
    bad(Issue::new("value", "_cursor: use the links of the page before"))
}

fn issue(error: &QueryError) -> Issue {
    let code = if let QueryError::Bad { .. } = error { "value" } else { "not-supported" };
    Issue::new(code, error.to_string())
}

/// A failed search as an answer.
pub fn refused(error: SearchError) -> Reply {
    match error {
        SearchError::Denied(denied) => failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string())),
        SearchError::TooCostly(why) => failure(StatusCode::FORBIDDEN, Issue::new("too-costly", why)),
        SearchError::Vault(error) => unreadable(&error),
    }
}

/// An entry of a searchset.
pub(super) fn one(app: &App, opened: &Opened, mode: &str, view: &View) -> Entry {
    Entry {
        full_url: Some(format!("{}/{}", app.core.base, opened.stored.name)),
        resource: Some(raw(&view.show(&opened.resource))),
        search: Some(json!({ "mode": mode })),
        request: None,
        response: None,
    }
}

fn ignored(search: &Search) -> Option<Entry> {
    let mut issues: Vec<Issue> =
        search.passed.iter().map(|error| Issue::new("value", format!("ignored: {error}"))).collect();
    if !search.unknown.is_empty() {
        issues.push(Issue::new("not-supported", format!("not known, and ignored: {}", search.unknown.join(", "))));
    }
    (!issues.is_empty()).then(|| warning(&issues))
}

/// A page that leaves out what it was to include says so.
fn cut() -> Entry {
    let text = "not all that is to be included fits into this page: ask for fewer matches at a time with _count";
    warning(&[Issue::new("incomplete", text)])
}

fn warning(issues: &[Issue]) -> Entry {
    let warning = outcome::warnings(issues).to_string();
    let mode = Some(json!({"mode": "outcome"}));
    Entry { resource: Some(raw(warning.as_bytes())), search: mode, ..Entry::default() }
}

/// The self link repeats what a GET said; what a POST said, and every next page, is in a sealed cursor.
fn links(app: &App, asked: &Asked, next: Option<Position>, way: Way) -> Result<Vec<Value>, Reply> {
    let kind = asked.search.kind;
    let address = format!("{}/{kind}", app.core.base);
    let pairs: Vec<String> =
        asked.search.understood.iter().map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect();
    let query = pairs.join("&");
    let sealed = |position| {
        let cursor = Cursor::new(kind, query.clone(), position).seal(&app.core.cursor_key, &system_random);
        let cursor = cursor.map_err(|e| unreadable(&e.into()))?;
        Ok(format!("{address}?_cursor={cursor}"))
    };
    let own = match (way, asked.from) {
        (_, Some(position)) => sealed(position)?,
        (Way::Get, None) if query.is_empty() => address.clone(),
        (Way::Get, None) => format!("{address}?{query}"),
        (Way::Post, None) => format!("{address}/_search"),
    };
    let mut links = vec![json!({"relation": "self", "url": own})];
    if let Some(position) = next {
        links.push(json!({"relation": "next", "url": sealed(position)?}));
    }
    Ok(links)
}
