//! Who acts for a patient who is not of age: the administrator links an account to a patient, and ends it; by itself it ends when the record
//! says that the patient is of age, or has died.

use super::frame::Frame;
use super::guard;
use super::pages::time;
use super::refusal::Refusal;
use super::visit::Visit;
use super::{at_desk, fresh, news, page, see_other, site};
use crate::app::App;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::{Name, Owner, ResourceId};
use crate::index::guardians::Guardian;
use crate::people::age::is_ward;
use crate::people::session::Session;
use crate::people::site::Site;
use crate::people::{AccountId, Role};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::StatusCode;

const PAGE: &str = "/me/guardians";
/// What the page shows: the newest.
const SHOWN: usize = 500;

/// Whether the visitor acts for this patient now, and the last day of that. It is asked with each request: what was ended a moment ago
/// has ended.
pub(super) async fn check(visit: &Visit<'_>, ward: &Name) -> Result<Date, Refusal> {
    let (account, patient) = (visit.session.account.id.clone(), ward.clone());
    match at_desk(visit.app, move |desk| Ok(desk.store.is_guardian(&account, &patient)?)).await? {
        true => may_be(visit.app, ward).await,
        false => Err(Refusal::Nothing),
    }
}

/// Whether anybody may act for this patient now, and the last day of that, as the record says under all its numbers.
async fn may_be(app: &Arc<App>, ward: &Name) -> Result<Date, Refusal> {
    let merged = app.core.merged(ward).await?;
    if merged.patients.is_empty() {
        return Err(Refusal::Nothing);
    }
    let today = app.core.clock.now().to_zoned(TimeZone::UTC).date();
    is_ward(&merged.patients, app.config.login.majority, today).map_err(Refusal::Ward)
}

/// Who acts for a patient now: the patient is to know.
pub(super) async fn of(app: &Arc<App>, patient: &Name) -> Result<Vec<Name>, Refusal> {
    let asked = patient.clone();
    let all = at_desk(app, move |desk| Ok(desk.store.guardians_of(&asked)?)).await?;
    if all.is_empty() {
        return Ok(all);
    }
    match may_be(app, patient).await {
        Ok(_) => Ok(all),
        Err(Refusal::Ward(_)) => Ok(Vec::new()),
        Err(refusal) => Err(refusal),
    }
}

/// `GET /me/guardians`.
pub(super) async fn list(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let all = at_desk(app, |desk| Ok(desk.store.guardians(SHOWN)?)).await?;
    Ok(page(StatusCode::OK, &shown(&visit, &all)))
}

/// `POST /me/guardians/{link,unlink}`, by an administrator who signed in lately.
pub(super) async fn act(app: &Arc<App>, request: &Request, step: &str) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Administrator).await?.map_err(|_| Refusal::Login)?;
    fresh(app, &visit.session)?;
    let patient = whom(&form, "patient")?;
    if step == "link" {
        link(app, whom(&form, "guardian")?, patient.clone()).await?;
    } else {
        let account = form.get("account").and_then(|id| ResourceId::parse(id)).map(AccountId).ok_or(Refusal::Form)?;
        let ward = patient.clone();
        if !at_desk(app, move |desk| Ok(desk.store.unlink_guardian(&account, &ward)?)).await? {
            return Err(Refusal::Nothing);
        }
    }
    news(&visit.session.account.id, "who acts for a patient was changed");
    // The patient is to see who let somebody in.
    request.seen.shows_of(&Owner::patient(&patient.id));
    Ok(see_other(&site(app).path(PAGE)))
}

fn whom(form: &HashMap<String, String>, field: &str) -> Result<Name, Refusal> {
    const WHO: Refusal = Refusal::App("say who acts for whom: each as Patient/id");
    let name = form.get(field).and_then(|text| Name::parse(text.trim()));
    name.filter(|name| name.kind.as_str() == "Patient").ok_or(WHO)
}

async fn link(app: &Arc<App>, guardian: Name, patient: Name) -> Result<(), Refusal> {
    const NOBODY: Refusal = Refusal::App(
        "there is no open account of this guardian, or too many act for this patient, or the guardian acts for too many",
    );
    if guardian == patient {
        return Err(Refusal::App("nobody is his or her own guardian"));
    }
    may_be(app, &patient).await?;
    match at_desk(app, move |desk| {
        let now = desk.now.as_millisecond();
        Ok(desk.store.link_guardian(&guardian, &patient, now)?)
    })
    .await?
    {
        true => Ok(()),
        false => Err(NOBODY),
    }
}

/// What of `/me` is about those whom somebody acts for.
pub(super) async fn section(app: &Arc<App>, session: &Session) -> Result<Markup, Refusal> {
    let account = session.account.id.clone();
    let wards = at_desk(app, move |desk| Ok(desk.store.wards(&account)?)).await?;
    Ok(whom_for(&site(app), &wards))
}

fn whom_for(site: &Site, wards: &[Guardian]) -> Markup {
    html! { @if !wards.is_empty() {
        section.panel aria-labelledby="wards-title" {
            h2 #wards-title { "Whom I act for" }
            p { "Until they are of age, or the administrator ends it. What you look at is written down with your name, and they see it." }
            @for Guardian { patient, .. } in wards {
                @let at = format!("/me/wards/{}", patient.id);
                p.ways { code { (patient) } " "
                    a href=(site.path(&at)) { "The record" span.unseen { " of " (patient) } } " "
                    a href=(site.path(&format!("{at}/grants"))) { "Who has access" span.unseen { " to " (patient) } } }
            }
        }
    } }
}

fn shown(visit: &Visit<'_>, all: &[Guardian]) -> Markup {
    let majority = visit.app.config.login.majority;
    let content = html! {
        p.lead { "Who sees a patient's record and gives access to it for the patient, until the patient is " (majority)
            " years old by the birth date in the record, or has died. Ending it here counts at once." }
        section.panel aria-labelledby="guardians-title" {
            h2 #guardians-title { "Who acts for whom" }
            @if all.is_empty() { p { "Nobody." } } @else {
                div.table tabindex="0" role="region" aria-labelledby="guardians-title" {
                    table {
                        thead { tr { th scope="col" { "Guardian" } th scope="col" { "Patient" } th scope="col" { "Since" }
                            th scope="col" { "End" } } }
                        tbody { @for one in all { (row(visit, one)) } }
                    }
                }
            }
        }
        (form(visit))
    };
    let title = "Guardians";
    Frame { site: &visit.site, title, here: PAGE, script: false, role: Some(Role::Administrator) }.around(&content)
}

fn row(visit: &Visit<'_>, Guardian { account, person, patient, made }: &Guardian) -> Markup {
    html! { tr {
        td.mono { (person) } td.mono { (patient) } td.time { (time(*made)) }
        td { form method="post" action=(visit.site.path("/me/guardians/unlink")) {
            input type="hidden" name="token" value=(visit.session.token());
            input type="hidden" name="account" value=(account);
            input type="hidden" name="patient" value=(patient);
            button.quiet type="submit" { "End" span.unseen { " that " (person) " acts for " (patient) } }
        } }
    } }
}

fn form(visit: &Visit<'_>) -> Markup {
    let field = |name: &str, words: &str| {
        html! { div {
            label for=(name) { (words) }
            input id=(name) type="text" name=(name) placeholder="Patient/id" autocomplete="off";
        } }
    };
    html! {
        section.panel aria-labelledby="link-title" {
            h2 #link-title { "Somebody acts for a patient" }
            p { "The guardian signs in as a patient here. Make sure of who it is, and of the right: nothing here can." }
            form.filters.many method="post" action=(visit.site.path("/me/guardians/link")) {
                input type="hidden" name="token" value=(visit.session.token());
                (field("guardian", "Guardian")) (field("patient", "Patient"))
                button type="submit" { "Link" }
            }
        }
    }
}
