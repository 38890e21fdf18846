//! The administrator's pages of keys and backups: which keys there are, by their fingerprints, and when the index was last copied and
//! the copy tried. No key and nothing of a record is on them.

use super::at_desk;
use super::frame::Frame;
use super::page;
use super::pages::time;
use super::refusal::Refusal;
use super::visit::Visit;
use crate::app::App;
use crate::app::roots::{Wrapping, wrapping};
use crate::http::reply::{Reply, unreadable};
use crate::http::routes::Request;
use crate::index::drills::Drill;
use crate::people::Role;
use maud::{Markup, html};
use notary::commitment::Digest;
use std::sync::Arc;
use warp::http::StatusCode;

/// `GET /me/keys`.
pub(super) async fn keys(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let wrapping = wrapping(app).await.map_err(|error| unreadable(&error))?;
    Ok(page(StatusCode::OK, &shown(&visit, &wrapping)))
}

/// `GET /me/backups`.
pub(super) async fn backups(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let (copied, drilled) = at_desk(app, |desk| Ok((desk.store.backed_up()?, desk.store.drilled()?))).await?;
    Ok(page(StatusCode::OK, &copies(&visit, copied, drilled.as_ref())))
}

fn shown(visit: &Visit<'_>, wrapping: &Wrapping) -> Markup {
    let Wrapping { root, service, since, rotating, keys } = wrapping;
    let core = &visit.app.core;
    let signing = visit.app.token_key.public();
    let content = html! {
        p.lead { "What everything is sealed and signed with. Here are fingerprints alone; " code { "medseal keys rotate" } " makes a new root." }
        section.panel aria-labelledby="root-title" {
            h2 #root-title { "The root key" }
            dl {
                dt { "Fingerprint" } dd.mono { @if let Some(root) = root { (root) } @else { "none" } }
                dt { "Kept" } dd { @if *service { "by the key service, wrapped beside the packs" } @else { "in the file root.key" } }
                dt { "Since" } dd.time { @if let Some(since) = since { (time(*since)) } @else { "not known" } }
                dt { "Wraps" } dd { (keys) " data keys: one a patient, one a message in quarantine, and the service's own" }
                dt { "Rotation" }
                dd { @if let Some(to) = rotating { "under way, to " span.mono { (to) } ": if it was cut short, run it again" } @else { "none under way" } }
            }
        }
        section.panel aria-labelledby="signing-title" {
            h2 #signing-title { "What signs" }
            dl {
                dt { "The log (SHA-256 of its public key)" } dd.mono { (Digest::of(core.signer.key().to_string().as_bytes())) }
                dt { "Tokens (key id)" } dd.mono { (signing["keys"][0]["kid"].as_str().unwrap_or_default()) }
            }
        }
    };
    around(visit, "Keys", "/me/keys", &content)
}

fn copies(visit: &Visit<'_>, copied: Option<i64>, drilled: Option<&Drill>) -> Markup {
    let shared = visit.app.core.store.is_shared();
    let content = html! {
        p.lead { "Records, log and erasures lie in the objects; accounts, programs and revoked tokens in the index alone. What a copy of the index "
            "is worth shows the drill, which restores it somewhere else and proves the result." }
        section.panel aria-labelledby="backup-title" {
            h2 #backup-title { "The last backup of the index" }
            @if let Some(at) = copied { p.time { (time(at)) } }
            @else if shared { p { "PostgreSQL is copied by its own means: what they did is not known here." } }
            @else { p { "None was made: " code { "medseal backup FILE" } "." } }
        }
        section.panel aria-labelledby="drill-title" {
            h2 #drill-title { "The last drill" }
            @if let Some(Drill { at, proved, backup, log }) = drilled {
                p { span.time { (time(*at)) } ": "
                    @if *proved { "everything was proved, " (log) " log entries" }
                    @else { strong { "not everything could be brought back" } ". Run it by hand: it names what is missing" }
                    @match backup { Some(made) => { ", from the backup of " span.time { (time(*made)) } } None => { ", from the packs alone" } } "." }
            } @else { p { "There was none: " code { "medseal drill" } "." } }
        }
    };
    around(visit, "Backups", "/me/backups", &content)
}

fn around(visit: &Visit<'_>, title: &str, here: &str, content: &Markup) -> Markup {
    Frame { site: &visit.site, title, here, script: false, role: Some(Role::Administrator) }.around(content)
}
