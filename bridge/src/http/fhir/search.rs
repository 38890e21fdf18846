//! Search over one type.

use super::super::query::{self, Search};
use super::super::reply::{Reply, failure, unreadable};
use super::super::routes::Call;
use super::page::{Entry, Page, raw};
use super::{bad_query, bad_request, base, media_type, text, unknown_type};
use crate::app::App;
use crate::consent::decide::{Denied, Permit, decide};
use crate::error::Issue;
use crate::fhir::outcome;
use crate::ids::TypeName;
use crate::index::store::Query;
use crate::index::tokens::Term;
use crate::read::{self, Opened};
use crate::smart::scopes::Interaction;
use notary::canonical::Json;
use serde_json::{Value, json};
use warp::http::{StatusCode, header};

/// `POST /fhir/{type}/_search`.
pub async fn posted_search(call: Call<'_>, kind: &str) -> Result<Reply, Reply> {
    let kind = TypeName::parse(kind).ok_or_else(unknown_type)?;
    if !call.body.is_empty() && media_type(&call.request.headers) != "application/x-www-form-urlencoded" {
        let text = "a search is posted as a form: application/x-www-form-urlencoded";
        return Err(failure(StatusCode::UNSUPPORTED_MEDIA_TYPE, Issue::new("not-supported", text)));
    }
    let form = String::from_utf8_lossy(call.body);
    search(&call, kind, &format!("{}&{form}", call.request.query)).await
}

pub(super) async fn search(call: &Call<'_>, kind: TypeName, text_query: &str) -> Result<Reply, Reply> {
    let denied = |denied: Denied| failure(StatusCode::FORBIDDEN, Issue::new("forbidden", denied.to_string()));
    let permit = decide(&call.caller, Interaction::Search, Some(kind)).map_err(denied)?;
    let pairs = query::pairs(text_query).map_err(bad_query)?;
    let search = query::search(&pairs).map_err(bad_query)?;
    let prefer = text(&call.request.headers, header::HeaderName::from_static("prefer")).unwrap_or("");
    if prefer.contains("handling=strict") && !search.unknown.is_empty() {
        let text = "the search has a parameter that this server does not know";
        return Err(bad_request(Issue::new("not-supported", text)));
    }
    run_search(call.app, &permit, kind, &pairs, &search).await
}

async fn run_search(
    app: &App,
    permit: &Permit,
    kind: TypeName,
    pairs: &[(String, String)],
    search: &Search,
) -> Result<Reply, Reply> {
    let token = |term: &Term| app.core.tokens.term(kind, term);
    let query = Query {
        kind,
        terms: search.terms.iter().map(|alternatives| alternatives.iter().map(token).collect()).collect(),
        ids: search.ids.clone(),
        updated: search.updated.clone(),
        after: search.cursor,
        limit: search.count,
    };
    let (total, found) = read::search(&app.core, permit, query).await.map_err(|e| unreadable(&e))?;
    let exact = |opened: &&Opened| {
        let json = Json::parse(&opened.resource).unwrap_or(Json::Null);
        search.terms.iter().all(|alternatives| alternatives.iter().any(|term| term.matches(&json)))
    };
    let mut entry: Vec<Entry> = found.iter().filter(exact).map(|opened| match_entry(app, opened)).collect();
    if !search.unknown.is_empty() {
        let text = "a search parameter is not known and was ignored; the self link shows what was understood";
        let warning = outcome::warnings(&[Issue::new("not-supported", text)]).to_string();
        let mode = Some(json!({"mode": "outcome"}));
        entry.push(Entry {
            full_url: None,
            resource: raw(warning.as_bytes()),
            search: mode,
            request: None,
            response: None,
        });
    }
    let next = found.last().filter(|_| found.len() == search.count).map(|last| last.stored.row);
    let link = search_links(app, kind, pairs, next);
    Ok(Page { resource_type: "Bundle", kind: "searchset", total, link, entry }.reply())
}

fn search_links(app: &App, kind: TypeName, pairs: &[(String, String)], next: Option<i64>) -> Vec<Value> {
    let url = |extra: &str| {
        let query = query::understood(pairs);
        let joined: Vec<&str> = [query.as_str(), extra].into_iter().filter(|p| !p.is_empty()).collect();
        let mark = if joined.is_empty() { "" } else { "?" };
        format!("{}/{kind}{mark}{}", base(app), joined.join("&"))
    };
    let mut links = vec![json!({"relation": "self", "url": url("")})];
    links.extend(next.map(|row| json!({"relation": "next", "url": url(&format!("_cursor={row}"))})));
    links
}

fn match_entry(app: &App, opened: &Opened) -> Entry {
    Entry {
        full_url: Some(format!("{}/{}", base(app), opened.stored.name)),
        resource: raw(&opened.resource),
        search: Some(json!({"mode": "match"})),
        request: None,
        response: None,
    }
}
