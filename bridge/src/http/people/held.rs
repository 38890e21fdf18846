//! The administrator's pages of the quarantine: what waits, one message beside what is wrong with it, and replaying it. Whoever opens
//! one has seen patient data: it is told in the trail.

use super::frame::Frame;
use super::pages::time;
use super::refusal::Refusal;
use super::visit::Visit;
use super::{at_desk, fresh, guard, news, page, parameter, see_other};
use crate::app::App;
use crate::error::IngestError;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::{Owner, ResourceId};
use crate::index::held::Waiting;
use crate::ingest::Prepared;
use crate::message::{Held, Said, open_at};
use crate::people::Role;
use crate::quarantine::{self, ReplayError, Shown, Wish};
use mappings::report::Line;
use maud::{Markup, html};
use std::sync::Arc;
use warp::http::StatusCode;

const QUARANTINE: &str = "/me/quarantine";
/// Messages of a page.
const PAGE: usize = 50;
/// The longest text that a form brings, in bytes: encoded it is up to three times as long.
const MAX_EDITED: usize = 20_000;

/// `GET /me/quarantine?all=yes&before=`.
pub(super) async fn list(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let all = parameter(request, "all").is_some();
    let before = parameter(request, "before").map_or(Some(i64::MAX), |text| text.parse().ok()).ok_or(Refusal::Form)?;
    let found = at_desk(app, move |desk| Ok(desk.store.held(all, before, PAGE)?)).await?;
    let mut rows = Vec::new();
    for waiting in found {
        let kept =
            if waiting.erased { None } else { Some(open_at(&app.core.keep(), &waiting.place, &waiting.id).await?.1) };
        rows.push((waiting, kept.and_then(|kept| kept.head.held)));
    }
    Ok(page(StatusCode::OK, &listed(&visit, all, &rows)))
}

fn listed(visit: &Visit<'_>, all: bool, rows: &[(Waiting, Option<Held>)]) -> Markup {
    let path = |path: &str| visit.site.path(path);
    let older = rows
        .last()
        .filter(|_| rows.len() == PAGE)
        .map(|(last, _)| format!("{QUARANTINE}?{}before={}", if all { "all=yes&" } else { "" }, last.row));
    let content = html! {
        p.lead { "Messages that were acknowledged and of which nothing could be made. Nothing of them is lost: mend the map or the text, and "
            "replay them. Opening one shows patient data, and is told in the access log." }
        p.ways {
            @if all { a href=(path(QUARANTINE)) { "Only what waits" } } @else { a href=(path("/me/quarantine?all=yes")) { "Also what was replayed" } }
        }
        h2.unseen #held-title { "Messages" }
        @if rows.is_empty() { p role="status" { "Nothing waits." } } @else {
            div.table tabindex="0" role="region" aria-labelledby="held-title" {
                table {
                    thead { tr { th scope="col" { "Since" } th scope="col" { "Feed" } th scope="col" { "What is wrong" } th scope="col" { "State" } } }
                    tbody { @for (waiting, held) in rows { (row(visit, waiting, held.as_ref())) } }
                }
            }
        }
        @if let Some(older) = older { p.ways { a href=(path(&older)) { "Older messages" } } }
    };
    let title = "Quarantine";
    Frame { site: &visit.site, title, here: QUARANTINE, script: false, role: Some(Role::Administrator) }
        .around(&content)
}

fn row(visit: &Visit<'_>, waiting: &Waiting, held: Option<&Held>) -> Markup {
    let first = held.and_then(|held| held.issues.first());
    html! {
        tr {
            td.time { (time(waiting.updated)) }
            td { @if let Some(held) = held { (held.feed) } }
            td.why { @if let Some(first) = first { (issue(first)) } }
            td {
                @if waiting.erased { "erased" } @else {
                    a href=(visit.site.path(&format!("{QUARANTINE}/{}", waiting.id))) {
                        (if waiting.closed { "replayed" } else { "waits" }) span.unseen { ", message " (waiting.id) }
                    }
                }
            }
        }
    }
}

fn issue(said: &Said) -> Markup {
    html! { @if let Some(place) = &said.place { code { (place) } ": " } (said.text) }
}

/// What a replay that was refused is shown with.
#[derive(Default)]
struct Attempt {
    text: Option<String>,
    refused: Option<String>,
    /// By what came after the message.
    newer: bool,
}

/// `GET /me/quarantine/{id}`.
pub(super) async fn one(app: &Arc<App>, request: &Request, id: &str) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let shown = find(&visit, id).await?;
    let markup = opened(&visit, &shown, Attempt::default()).await;
    Ok(page(StatusCode::OK, &markup))
}

async fn find(visit: &Visit<'_>, id: &str) -> Result<Shown, Refusal> {
    let id = ResourceId::parse(id).ok_or(Refusal::Nothing)?;
    let shown = quarantine::find(&visit.app.core.keep(), &id).await?.ok_or(Refusal::Nothing)?;
    visit.request.seen.shows_of(&Owner::patient(&id));
    Ok(shown)
}

/// `POST /me/quarantine/{id}/replay`, by an administrator who signed in lately.
pub(super) async fn replay(app: &Arc<App>, request: &Request, id: &str) -> Result<Reply, Refusal> {
    let form = guard::long_form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Administrator).await?.map_err(|_| Refusal::Login)?;
    fresh(app, &visit.session)?;
    let shown = find(&visit, id).await?;
    let text = form.get("text").cloned();
    let by = format!("account {}", visit.session.account.id);
    let wish = Wish { text: text.clone(), over_newer: form.contains_key("over_newer"), by };
    match quarantine::replay(app, &shown.waiting.id, wish).await {
        Ok(_) => {
            news(&visit.session.account.id, "a message of the quarantine was replayed");
            Ok(see_other(&visit.site.path(&format!("{QUARANTINE}/{}", shown.waiting.id))))
        }
        Err(ReplayError::Missing) => Err(Refusal::Nothing),
        Err(error) => {
            let newer = matches!(error, ReplayError::Newer(_));
            let attempt = Attempt { text, refused: Some(error.told()), newer };
            let markup = opened(&visit, &shown, attempt).await;
            Ok(page(StatusCode::UNPROCESSABLE_ENTITY, &markup))
        }
    }
}

async fn opened(visit: &Visit<'_>, shown: &Shown, attempt: Attempt) -> Markup {
    let text = quarantine::text(visit.app, &shown.kept).replace('\r', "\n");
    let trial = match shown.replayed {
        Some(_) => None,
        None => Some(quarantine::trial(visit.app, &shown.kept, attempt.text.clone()).await),
    };
    let content = html! {
        p.ways { a href=(visit.site.path(QUARANTINE)) { "All messages" } }
        @if let Some(refused) = &attempt.refused { p.notice role="alert" { "Not replayed: " (refused) } }
        (state(shown))
        div.beside {
            section.panel aria-labelledby="raw-title" {
                h2 #raw-title { "The message as it came" }
                pre tabindex="0" role="region" aria-labelledby="raw-title" { (text) }
            }
            section.panel aria-labelledby="report-title" {
                @match &trial {
                    None => { h2 #report-title { "The mapping report when it came" } (report(&shown.kept.head.report)) }
                    Some(trial) => { h2 #report-title { "What the maps of today make of it" } (tried(trial)) }
                }
            }
        }
        @if shown.replayed.is_none() { (again(visit, shown, attempt.text.as_deref().unwrap_or(&text), attempt.newer)) }
    };
    let title = "A message in quarantine";
    Frame { site: &visit.site, title, here: QUARANTINE, script: false, role: Some(Role::Administrator) }
        .around(&content)
}

/// Why it is here, and what became of it.
fn state(shown: &Shown) -> Markup {
    let head = &shown.kept.head;
    html! {
        dl.facts {
            dt { "Received" } dd { (head.received) }
            dt { "Control id" } dd { (head.control_id) }
            @if let Some(held) = &head.held {
                dt { "Feed" } dd { (held.feed) }
                dt { "Why it is here" } dd { @for said in &held.issues { (issue(said)) br; } }
            }
            @if let Some(replayed) = &shown.replayed {
                dt { "Replayed" } dd { "as message " (replayed.message) " by " (replayed.by) @if replayed.edited { ", with an edited text" } @if replayed.over_newer { ", over what came later" } }
            }
        }
    }
}

fn tried(trial: &Result<Prepared, IngestError>) -> Markup {
    let error = match trial {
        Ok(prepared) => prepared.transaction.as_ref().err(),
        Err(error) => Some(error),
    };
    let issues: Vec<Said> = error.map(|error| error.issues().iter().map(Said::from).collect()).unwrap_or_default();
    html! {
        @if error.is_none() { p role="status" { "They can read it now: replay it." } } @else {
            ul.rests { @for said in &issues { li { (issue(said)) } } }
        }
        @if let Ok(prepared) = trial { (report(&prepared.report)) }
    }
}

fn report(lines: &[Line]) -> Markup {
    html! {
        @if lines.is_empty() { p.hint { "The report has no line." } } @else {
            div.table tabindex="0" role="region" aria-label="Mapping report" {
                table {
                    thead { tr { th scope="col" { "Field" } th scope="col" { "Finding" } } }
                    tbody { @for line in lines { tr { td.mono { (line.path) } td { (line.finding) } } } }
                }
            }
        }
    }
}

fn again(visit: &Visit<'_>, shown: &Shown, text: &str, newer: bool) -> Markup {
    let action = visit.site.path(&format!("{QUARANTINE}/{}/replay", shown.waiting.id));
    html! {
        section.panel aria-labelledby="again-title" {
            h2 #again-title { "Replay it" }
            p { "It goes the way of every message, once. With another text both are kept: this one as it came, and what was stored of the other. "
                "Where something of the same patient came after it, it is not replayed before you have seen what that is." }
            form method="post" action=(action) {
                input type="hidden" name="token" value=(visit.session.token());
                @if text.len() <= MAX_EDITED {
                    label for="text" { "Text, a segment a line" }
                    textarea #text name="text" rows="14" spellcheck="false" autocomplete="off" { (text) }
                } @else {
                    p.hint { "It is too long to be edited here: at the machine, " code { "medseal quarantine replay ID --text FILE" } " takes another text." }
                }
                @if newer {
                    p { label.check { input type="checkbox" name="over_newer" value="yes"; " Write it over the versions named above, which came after it" } }
                }
                p.actions { button type="submit" { "Replay" } }
            }
        }
    }
}
