//! Emergencies: a clinician declares one, he or an administrator ends it, the patient is told and takes note.

use super::deeds::deed;
use super::frame::Frame;
use super::pages::time;
use super::record::Chart;
use super::refusal::Refusal;
use super::visit::Visit;
use super::{guard, page, parameter, see_other, site, trail};
use crate::app::App;
use crate::consent::emergency::{self, Holder, Plea, declare, end, live, live_of, see, unseen};
use crate::consent::policy::Overrides;
use crate::fhir::search::query::{Faulty, read_as};
use crate::http::fhir::{may, parse_name};
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::{Name, ResourceId, TypeName};
use crate::index::emergencies::Emergency;
use crate::limits::{MAX_EMERGENCY_REASON, MAX_EMERGENCY_ROLE};
use crate::people::Role;
use crate::read;
use crate::search::search;
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use maud::{Markup, html};
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::StatusCode;

const DECLARED: &str = "/me/emergency";
const ALL: &str = "/me/emergencies";

/// `GET /me/emergency`: the clinician's form, and what of his counts.
pub(super) async fn form(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Clinician).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let own = live_of(&app.core, &visit.resource()?.to_string()).await?;
    let patient = parameter(request, "patient").and_then(|id| parse_name("Patient", &id));
    let content = html! {
        @if app.core.gate.terms.overrides == Overrides::Nothing {
            p.notice { "There is no emergency access here." }
        } @else {
            p.lead { "In an emergency you can see a record that the patient withholds. It counts for you and this patient alone, for a "
                "time, and it is written down and sealed before you see anything. The patient is told who it was, as what, and why." }
            (declaration(&visit, patient.as_ref()))
        }
        (counting(&visit, &own))
    };
    let (title, here) = ("Emergency", DECLARED);
    let frame = Frame { site: &visit.site, title, here, script: false, role: Some(Role::Clinician) };
    Ok(page(StatusCode::OK, &frame.around(&content)))
}

/// `POST /me/emergency`.
pub(super) async fn begin(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let (visit, form) = posted(app, request, Some(Role::Clinician)).await?;
    let given = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let plea = Plea::new(given("role"), given("reason"), None, None)?;
    let patient = meant(app, &form).await?;
    let holder = Holder { name: visit.resource()?.clone(), account: Some(visit.session.account.id.clone()) };
    declare(app, &visit.caller, &holder, (&patient, &plea)).await?;
    Ok(see_other(&site(app).path(&format!("/me/patients/{}", patient.id))))
}

/// `POST /me/emergency/end`: one's own, or anybody's by an administrator.
pub(super) async fn finish(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let (visit, form) = posted(app, request, None).await?;
    let id = form.get("emergency").and_then(|id| ResourceId::parse(id)).ok_or(Refusal::Form)?;
    let (candidates, back) = match visit.session.account.person.role {
        Role::Clinician => (live_of(&app.core, &visit.resource()?.to_string()).await?, DECLARED),
        Role::Administrator => (live(&app.core).await?, ALL),
        _ => return Err(Refusal::Role),
    };
    let one = candidates.into_iter().find(|one| one.id == id).ok_or(Refusal::Nothing)?;
    end(app, &visit.caller.who(), &one).await?;
    Ok(see_other(&site(app).path(back)))
}

/// `POST /me/emergency/seen`: the patient takes note.
pub(super) async fn seen(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let (visit, form) = posted(app, request, Some(Role::Patient)).await?;
    let id = form.get("emergency").and_then(|id| ResourceId::parse(id)).ok_or(Refusal::Form)?;
    if see(&app.core, visit.resource()?, &id).await? {
        Ok(see_other(&site(app).path("/me/records")))
    } else {
        Err(Refusal::Nothing)
    }
}

/// `GET /me/emergencies`: all that count, for an administrator.
pub(super) async fn all(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Administrator).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let content = counting(&visit, &live(&app.core).await?);
    let (title, here) = ("Emergencies", ALL);
    let frame = Frame { site: &visit.site, title, here, script: false, role: Some(Role::Administrator) };
    Ok(page(StatusCode::OK, &frame.around(&content)))
}

/// What somebody posts from a page of ours: who it is, in this role where it must be one, and what it says.
async fn posted<'v>(
    app: &'v Arc<App>,
    request: &'v Request,
    role: Option<Role>,
) -> Result<(Visit<'v>, HashMap<String, String>), Refusal> {
    let form = guard::form(app, request)?;
    let session = guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let role = role.unwrap_or(session.account.person.role);
    let visit = Visit::of(app, request, role).await?.map_err(|_| Refusal::Login)?;
    Ok((visit, form))
}

/// The one patient who is meant, whatever he has consented to: the service itself looks.
async fn meant(app: &Arc<App>, form: &HashMap<String, String>) -> Result<Name, Refusal> {
    let given = |name: &str| form.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    if let Some(id) = given("patient") {
        return parse_name("Patient", &id).ok_or(Refusal::Form);
    }
    let pairs = match (given("identifier"), given("name"), given("birthdate")) {
        (Some(number), _, _) => vec![("identifier", number)],
        (None, Some(name), Some(born)) => vec![("name", name), ("birthdate", born)],
        _ => return Err(Refusal::Question),
    };
    let pairs: Vec<(String, String)> = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let core = &app.core;
    let kind = TypeName::parse("Patient").ok_or(Refusal::Nothing)?;
    let asked = read_as(kind, &pairs, &core.around(), Faulty::Refused).map_err(|_| Refusal::Form)?;
    let own = Caller::new("emergency", scopes::parse_known("system/Patient.rs"));
    let mut found = search(core, &own, core.around(), &asked, None).await?.matches.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.stored.name),
        _ => Err(Refusal::NotOne),
    }
}

fn declaration(visit: &Visit<'_>, patient: Option<&Name>) -> Markup {
    html! {
        section.panel aria-labelledby="declare-title" {
            h2 #declare-title { "Declare an emergency" }
            form.filters.many method="post" action=(visit.site.path(DECLARED)) {
                input type="hidden" name="token" value=(visit.session.token());
                @if let Some(patient) = patient {
                    input type="hidden" name="patient" value=(patient.id);
                    p { "For the record " code { (patient) } "." }
                } @else {
                    (field("identifier", "Number", ""))
                    (field("name", "Name", ""))
                    (field("birthdate", "Birth date", "1980-02-29"))
                }
                div {
                    label for="role" { "As what you act" }
                    input #role type="text" name="role" required maxlength=(MAX_EMERGENCY_ROLE) autocomplete="off";
                }
                div {
                    label for="reason" { "Why you must see the record now" }
                    textarea #reason name="reason" required maxlength=(MAX_EMERGENCY_REASON) rows="3" {}
                }
                button type="submit" { "Declare, and see the record" }
            }
        }
    }
}

fn field(name: &str, label: &str, hint: &str) -> Markup {
    html! {
        div {
            label for=(name) { (label) }
            input id=(name) type="text" name=(name) placeholder=(hint) autocomplete="off";
        }
    }
}

/// What counts now, each with the button that ends it.
fn counting(visit: &Visit<'_>, all: &[Emergency]) -> Markup {
    let own = visit.session.account.person.role == Role::Clinician;
    html! {
        section.panel aria-labelledby="counting-title" {
            h2 #counting-title { "What counts now" }
            @if all.is_empty() { p { "No emergency is declared." } } @else {
                div.table tabindex="0" role="region" aria-labelledby="counting-title" {
                    table {
                        thead { tr {
                            th scope="col" { "Since" } th scope="col" { "Until" } th scope="col" { "Whose record" }
                            @if !own { th scope="col" { "Who" } }
                            th scope="col" { "End" }
                        } }
                        tbody { @for one in all { (row(visit, one, own)) } }
                    }
                }
            }
        }
    }
}

fn row(visit: &Visit<'_>, one: &Emergency, own: bool) -> Markup {
    html! {
        tr {
            td.time { (time(one.begun)) }
            td.time { (time(one.expires)) }
            td.mono {
                @if own { a href=(visit.site.path(&format!("/me/patients/{}", one.patient.id))) { (one.patient) } }
                @else { (one.patient) }
            }
            @if !own { td.mono { (one.holder) } }
            td {
                form method="post" action=(visit.site.path("/me/emergency/end")) {
                    input type="hidden" name="token" value=(visit.session.token());
                    input type="hidden" name="emergency" value=(one.id);
                    button.quiet type="submit" { "End" span.unseen { " the emergency for " (one.patient) } }
                }
            }
        }
    }
}

/// What a patient sees first: emergencies that he has not taken note of.
pub(super) async fn notices(chart: &Chart<'_>) -> Result<Markup, Refusal> {
    let (visit, patient) = (chart.visit, chart.name());
    if visit.session.account.person.role != Role::Patient {
        return Ok(html! {});
    }
    let mut shown = Vec::new();
    for one in unseen(&visit.app.core, patient).await? {
        let said = match emergency::of(&one) {
            Some(event) => said(visit, &event).await?,
            None => String::new(),
        };
        shown.push((one, said));
    }
    Ok(html! { @for (one, said) in &shown { (notice(chart, one, said)) } })
}

/// Who it was, as what and why, as the event tells it.
async fn said(visit: &Visit<'_>, event: &Name) -> Result<String, Refusal> {
    let permit = may(&visit.caller, Interaction::Read, Some(event.kind))?;
    let Some(opened) = read::read(&visit.app.core, &permit, event, None).await? else { return Ok(String::new()) };
    let told = deed(&opened.json());
    let names = trail::names(visit, std::slice::from_ref(&told)).await?;
    Ok(format!("{}, {}", names.who(&told, None), told.what))
}

/// Who acts for a patient sees it; the patient himself takes note.
fn notice(chart: &Chart<'_>, one: &Emergency, said: &str) -> Markup {
    let visit = chart.visit;
    html! {
        section.notice role="alert" {
            p { strong { "Somebody declared an emergency to see your record." } " From " (time(one.begun)) " (UTC), until "
                (time(one.expires)) " at the latest. " (said) }
            p { a href=(visit.site.path(&format!("{}/access", chart.home))) { "See what was looked at" } }
            @if visit.ward.is_none() {
                form method="post" action=(visit.site.path("/me/emergency/seen")) {
                    input type="hidden" name="token" value=(visit.session.token());
                    input type="hidden" name="emergency" value=(one.id);
                    button.quiet type="submit" { "I have taken note" }
                }
            }
        }
    }
}
