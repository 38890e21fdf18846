//! An app is opened from a record (SMART App Launch 2.2, EHR launch): a page of the apps that can be, and the button. The app is told where this
//! server is, and bears a launch that it asks with at `/auth/authorize`.

use super::authorize::origin;
use super::record::{self, Chart};
use super::refusal::Refusal;
use super::visit::Visit;
use super::{at_desk, guard, news, page_going_to, see_other};
use crate::app::App;
use crate::http::fhir::parse_name;
use crate::http::query::encode;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::Name;
use crate::index::clients::Client;
use crate::people::{Refused, Role};
use crate::secret::system_random;
use crate::smart::grant::allowed;
use crate::smart::launch::Launch;
use crate::smart::scopes;
use maud::{Markup, html};
use std::collections::BTreeSet;
use std::sync::Arc;
use warp::http::StatusCode;

/// Apps that the page shows: its policy names each one's origin, in a header.
const MOST: usize = 50;

/// Whether there is an app for who looks.
pub(super) async fn are_there(chart: &Chart<'_>) -> Result<bool, Refusal> {
    Ok(chart.visit.ward.is_none() && !apps(chart.visit).await?.is_empty())
}

/// `GET .../apps?encounter=`.
pub(super) async fn page(chart: &Chart<'_>) -> Result<Reply, Refusal> {
    let encounter = encounter(chart, super::parameter(chart.visit.request, "encounter").as_deref()).await?;
    let apps = apps(chart.visit).await?;
    let origins: BTreeSet<String> = apps.iter().filter_map(|app| app.launch.as_deref()).map(origin).collect();
    let origins = origins.into_iter().collect::<Vec<_>>().join(" ");
    Ok(page_going_to(StatusCode::OK, &shown(chart, &apps, encounter.as_ref()), &origins))
}

/// `POST /me/records/apps`: of one's own record.
pub(super) async fn from_own(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = visit(app, request, Role::Patient).await?;
    let patient = visit.resource()?.clone();
    open(&record::chart(&visit, patient, visit.records()).await?).await
}

/// `POST /me/patients/{id}/apps`.
pub(super) async fn from_one(app: &Arc<App>, request: &Request, id: &str) -> Result<Reply, Refusal> {
    let visit = visit(app, request, Role::Clinician).await?;
    let patient = parse_name("Patient", id).ok_or(Refusal::Nothing)?;
    open(&record::chart(&visit, patient, String::new()).await?).await
}

async fn visit<'v>(app: &'v Arc<App>, request: &'v Request, role: Role) -> Result<Visit<'v>, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    Visit::of(app, request, role).await?.map_err(|_| Refusal::Login)
}

/// Sends the person to the app, with a launch.
async fn open(chart: &Chart<'_>) -> Result<Reply, Refusal> {
    let visit = chart.visit;
    let form = guard::form(visit.app, visit.request)?;
    let encounter = encounter(chart, form.get("encounter").map(String::as_str)).await?;
    let wanted = form.get("app").ok_or(Refusal::Form)?;
    let found = apps(visit).await?.into_iter().find(|app| app.id == *wanted);
    let (id, address) = found.and_then(|app| Some((app.id, app.launch?))).ok_or(Refusal::Nothing)?;
    let core = &visit.app.core;
    let (now, account) = (core.clock.now().as_second().max(0) as u64, &visit.session.account.id);
    let launch = Launch::new((account, &id), (chart.name(), encounter), now, &system_random);
    let launch = launch.ok().and_then(|launch| launch.seal(&core.secrets, &system_random)).ok_or(Refused::Secret)?;
    news(account, "an app was opened from a record");
    let mark = if address.contains('?') { '&' } else { '?' };
    Ok(see_other(&format!("{address}{mark}iss={}&launch={launch}", encode(&core.base))))
}

/// Those that the person could let in: who is registered for nothing that he has is opened for nothing.
async fn apps(visit: &Visit<'_>) -> Result<Vec<Client>, Refusal> {
    let mut all = at_desk(visit.app, |desk| Ok(desk.store.launchable(MOST)?)).await?;
    all.retain(|app| {
        let registered = scopes::parse_known(&app.scope);
        allowed(&registered, &registered, &visit.session.account, None).iter().any(opens)
    });
    Ok(all)
}

fn opens(scope: &scopes::Scope) -> bool {
    matches!(scope, scopes::Scope::Access(_))
}

/// A visit of this very record, which the person sees.
async fn encounter(chart: &Chart<'_>, id: Option<&str>) -> Result<Option<Name>, Refusal> {
    let Some(id) = id.filter(|id| !id.is_empty()) else { return Ok(None) };
    let name = parse_name("Encounter", id).ok_or(Refusal::Nothing)?;
    chart.opened(&name).await.map(|_| Some(name))
}

fn shown(chart: &Chart<'_>, apps: &[Client], encounter: Option<&Name>) -> Markup {
    let own = chart.role() == Role::Patient;
    let content = html! {
        (chart.back())
        p.lead {
            "An app is told "
            @if own { "that it is opened from your record" } @else { "whose record it is opened from" }
            @if encounter.is_some() { ", and for which visit" }
            ". What it may see you are asked next."
        }
        @if apps.is_empty() { p role="status" { "There is no app to open." } }
        @for app in apps {
            form method="post" action=(chart.at("/apps")) {
                input type="hidden" name="token" value=(chart.visit.session.token());
                input type="hidden" name="app" value=(app.id);
                @if let Some(encounter) = encounter { input type="hidden" name="encounter" value=(encounter.id); }
                p { button type="submit" { "Open " (app.name) } " "
                    span.hint { "at " (app.launch.as_deref().map(origin).unwrap_or_default()) } }
            }
        }
        p.hint { "Apps are not part of this service: what one has read, it has." }
    };
    chart.frame("Open an app", chart.tab(), &content)
}
