//! History.

use super::super::query;
use super::super::reply::{Reply, etag, unreadable};
use super::super::routes::{Call, not_found};
use super::page::{Entry, Page, raw};
use super::{bad_query, base, may_read, parse_name, unknown_type};
use crate::app::App;
use crate::clock::instant;
use crate::ids::{Name, Version};
use crate::read::{self, Opened};
use serde_json::json;

/// `GET /fhir/{type}/{id}/_history`.
pub async fn history(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(unknown_type)?;
    let permit = may_read(&call.caller, name.kind)?;
    let search = query::pairs(&call.request.query).and_then(|pairs| query::search(&pairs)).map_err(bad_query)?;
    let newest = u32::try_from(search.cursor).unwrap_or(u32::MAX);
    let before = if newest > 0 { Version(newest) } else { Version(u32::MAX) };
    let (total, versions) =
        read::history(&call.app.core, &permit, &name, before, search.count).await.map_err(|e| unreadable(&e))?;
    if total == 0 {
        return Err(not_found());
    }
    Ok(history_bundle(call.app, &name, total, &versions, search.count))
}

fn history_bundle(app: &App, name: &Name, total: u64, versions: &[Opened], count: usize) -> Reply {
    let url = format!("{}/{name}/_history", base(app));
    let mut links = vec![json!({"relation": "self", "url": &url})];
    if let Some(last) = versions.last().filter(|last| versions.len() == count && last.stored.version > Version(1)) {
        links.push(json!({"relation": "next", "url": format!("{url}?_count={count}&_cursor={}", last.stored.version)}));
    }
    let entry = versions.iter().map(|opened| history_entry(app, name, opened)).collect();
    Page { resource_type: "Bundle", kind: "history", total, link: links, entry }.reply()
}

fn history_entry(app: &App, name: &Name, opened: &Opened) -> Entry {
    let version = opened.stored.version;
    let first = version == Version(1);
    let (method, target) = if first { ("POST", name.kind.to_string()) } else { ("PUT", name.to_string()) };
    let time = jiff::Timestamp::from_millisecond(opened.stored.updated).unwrap_or_default();
    Entry {
        full_url: Some(format!("{}/{name}", base(app))),
        resource: raw(&opened.resource),
        search: None,
        request: Some(json!({"method": method, "url": target})),
        response: Some(json!({
            "status": if first { "201 Created" } else { "200 OK" },
            "etag": etag(version),
            "lastModified": instant(time),
        })),
    }
}
