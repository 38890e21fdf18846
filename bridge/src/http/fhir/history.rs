//! History: of a resource, of a type, of everything (R4 3.1.0.14).

use super::super::query::{self, encode};
use super::super::reply::{Reply, etag, unreadable};
use super::super::routes::{Call, not_found};
use super::page::{Entry, Page, raw};
use super::{bad_query, base, may, needs, parse_name, unknown_type};
use crate::app::App;
use crate::clock::instant;
use crate::fhir::bundle::What;
use crate::fhir::view::View;
use crate::ids::{TypeName, Version};
use crate::index::history::{self, Of};
use crate::limits::DEFAULT_PAGE;
use crate::read::{self, Made, Opened, Verb};
use serde_json::{Value, json};

/// `GET /fhir/{type}/{id}/_history`.
pub async fn of_resource(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    history(&call, Of::Resource(parse_name(kind, id).ok_or_else(unknown_type)?)).await
}

/// `GET /fhir/{type}/_history`.
pub async fn of_type(call: Call<'_>, kind: &str) -> Result<Reply, Reply> {
    history(&call, Of::Type(TypeName::parse(kind).ok_or_else(unknown_type)?)).await
}

/// `GET /fhir/_history`.
pub async fn of_everything(call: Call<'_>) -> Result<Reply, Reply> {
    history(&call, Of::Everything).await
}

pub(super) async fn history(call: &Call<'_>, of: Of) -> Result<Reply, Reply> {
    let (interaction, kind) = needs(&What::History(of.clone()));
    let permit = may(&call.caller, interaction, kind)?;
    let asked = query::pairs(&call.request.query).and_then(|pairs| asked(of, &pairs)).map_err(bad_query)?;
    let page = read::history(&call.app.core, &permit, asked.page.clone()).await.map_err(|error| unreadable(&error))?;
    let read::Versions { total, versions, more } = page;
    if let (Some(0) | None, Of::Resource(name)) = (total, &asked.page.of) {
        // What was erased has no history, and is not unknown: a read tells. So it does of what is not for who sees a part.
        let found = read::read(&call.app.core, &permit, name, None).await.map_err(|error| unreadable(&error))?;
        if total.is_none() && found.is_none() {
            return Err(not_found());
        }
    }
    if total == Some(0) && asked.page.since.is_none() && asked.page.at.is_none() {
        return Err(not_found());
    }
    let entry = versions.iter().map(|opened| entry(call.app, opened, &asked.view)).collect();
    let link = links(call.app, &asked, more);
    Ok(Page { resource_type: "Bundle", kind: "history", total, link, entry }.reply())
}

/// A page as it was asked, and its query without the cursor.
struct Asked {
    page: history::Page,
    view: View,
    query: String,
}

/// Reads the query. A parameter that is not known is refused by name: a history that ignored one would say too much.
fn asked(of: Of, pairs: &[(String, String)]) -> Result<Asked, String> {
    let mut page = history::Page { of, before: i64::MAX, since: None, at: None, limit: DEFAULT_PAGE };
    let mut kept = Vec::new();
    for (name, value) in pairs {
        // A plus that was not encoded came in as a space.
        let value = &value.replace(' ', "+");
        let time = || query::span(value).ok_or_else(|| format!("{name}: a date or an instant"));
        match name.as_str() {
            "_count" => page.limit = query::page_size(value)?,
            "_since" => page.since = Some(time()?.0),
            "_at" => page.at = Some(time()?),
            "_cursor" => page.before = query::cursor(value)?,
            "_format" | "_pretty" | "_summary" | "_elements" => {}
            other => return Err(format!("{}: a history does not take this parameter", query::shown(other))),
        }
        if name != "_cursor" {
            kept.push(format!("{name}={}", encode(value)));
        }
    }
    let view = View::read(pairs)?;
    if view == View::Count {
        page.limit = 0;
    }
    Ok(Asked { page, view, query: kept.join("&") })
}

fn links(app: &App, asked: &Asked, next: Option<i64>) -> Vec<Value> {
    let base = base(app);
    let of = match &asked.page.of {
        Of::Resource(name) => format!("{base}/{name}"),
        Of::Type(kind) => format!("{base}/{kind}"),
        Of::Everything => base.to_owned(),
    };
    let url = |cursor: Option<String>| {
        let parts: Vec<String> =
            [asked.query.clone()].into_iter().chain(cursor).filter(|part| !part.is_empty()).collect();
        let mark = if parts.is_empty() { "" } else { "?" };
        format!("{of}/_history{mark}{}", parts.join("&"))
    };
    let mut links = vec![json!({"relation": "self", "url": url(None)})];
    links.extend(next.map(|row| json!({"relation": "next", "url": url(Some(format!("_cursor={row}")))})));
    links
}

fn entry(app: &App, opened: &Opened, view: &View) -> Entry {
    let stored = &opened.stored;
    let (method, target, status) = told(opened);
    let time = jiff::Timestamp::from_millisecond(stored.updated).unwrap_or_default();
    Entry {
        full_url: Some(format!("{}/{}", base(app), stored.name)),
        resource: (!stored.deleted).then(|| raw(&view.show(&opened.resource))),
        search: None,
        request: Some(json!({"method": method, "url": target})),
        response: Some(json!({"status": status, "etag": etag(stored.version), "lastModified": instant(time)})),
    }
}

/// The interaction that made a version. Records from before that was kept are told by their number.
fn told(opened: &Opened) -> (&'static str, String, &'static str) {
    let stored = &opened.stored;
    if stored.deleted {
        return ("DELETE", stored.name.to_string(), "204 No Content");
    }
    let first = stored.version == Version(1);
    let made = opened.made.unwrap_or(Made { by: if first { Verb::Post } else { Verb::Put }, created: first });
    let status = if made.created { "201 Created" } else { "200 OK" };
    match made.by {
        Verb::Post => ("POST", stored.name.kind.to_string(), status),
        Verb::Put => ("PUT", stored.name.to_string(), status),
        Verb::Patch => ("PATCH", stored.name.to_string(), status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_history_does_not_take_is_refused_by_name() {
        let asked = |text: &str| asked(Of::Everything, &query::pairs(text).unwrap());
        let page = asked("_count=3&_since=2026-01-01T00:00:00+00:00&_at=2026-01-02&_cursor=7").unwrap();
        assert_eq!((page.page.limit, page.page.before), (3, 7));
        assert_eq!(page.page.since, Some(1_767_225_600_000));
        assert_eq!(page.page.at, Some((1_767_312_000_000, 1_767_398_400_000)));
        assert_eq!(page.query, "_count=3&_since=2026-01-01T00%3A00%3A00%2B00%3A00&_at=2026-01-02");
        for (bad, name) in [("_list=1", "_list"), ("_since=soon", "_since"), ("a%20b=1", "(unprintable)")] {
            assert!(asked(bad).err().unwrap().starts_with(name), "{bad}");
        }
    }
}
