//! A clinician finds a patient and sees the record. What is asked for is posted: names belong in no address.

use super::frame::Frame;
use super::guard;
use super::refusal::Refusal;
use super::visit::Visit;
use super::words::{Line, line};
use super::{mine, page, record};
use crate::app::App;
use crate::http::fhir::parse_name;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::TypeName;
use crate::people::Role;
use crate::read::Opened;
use maud::{Markup, html};
use notary::canonical::Json;
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::StatusCode;

/// Patients that a search shows: more is a reason to say more.
const FOUND: usize = 20;

/// `GET /me/patients`.
pub(super) async fn form(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    Ok(match Visit::of(app, request, Role::Clinician).await? {
        Ok(visit) => {
            let (patients, more) = mine::patients(&visit).await?;
            page(StatusCode::OK, &shown(&visit, &own(&visit, &patients, more)))
        }
        Err(door) => door,
    })
}

/// `GET /me/patients/{id}/...`.
pub(super) async fn of_one(app: &Arc<App>, request: &Request, id: &str, rest: &[&str]) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Clinician).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let patient = parse_name("Patient", id).ok_or(Refusal::Nothing)?;
    let home = format!("/me/patients/{}", patient.id);
    record::chart(&visit, patient, home).await?.answer(rest).await
}

/// `POST /me/patients`: by a number, or by a name and a birth date.
pub(super) async fn find(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Clinician).await?.map_err(|_| Refusal::Login)?;
    let asked = asked(&form).ok_or(Refusal::Question)?;
    let kind = TypeName::parse("Patient").ok_or(Refusal::Nothing)?;
    let found = visit.search(kind, &asked, None).await?;
    let patients: Vec<Json> = found.matches.iter().map(Opened::json).collect();
    Ok(page(StatusCode::OK, &shown(&visit, &results(&visit, &patients, found.next.is_some()))))
}

/// A number alone, or a name with a birth date: to browse is not the purpose.
fn asked(form: &HashMap<String, String>) -> Option<Vec<(&'static str, String)>> {
    let given = |name: &str| form.get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let asked = match (given("identifier"), given("name"), given("birthdate")) {
        (Some(number), _, _) => vec![("identifier", number)],
        (None, Some(name), Some(born)) => vec![("name", name), ("birthdate", born)],
        _ => return None,
    };
    Some(asked.into_iter().chain([("_count", FOUND.to_string())]).collect())
}

fn shown(visit: &Visit<'_>, found: &Markup) -> Markup {
    let content = html! {
        p.lead { "Find a patient by a number, or by name and birth date. "
            "Each search, each view and whom this page lists is written down with your name, and the patient sees it." }
        (question(visit))
        (found)
    };
    let (title, here) = ("Patients", "/me/patients");
    Frame { site: &visit.site, title, here, script: false, role: Some(Role::Clinician) }.around(&content)
}

fn question(visit: &Visit<'_>) -> Markup {
    html! {
        form.filters.many method="post" action=(visit.site.path("/me/patients")) {
            input type="hidden" name="token" value=(visit.session.token());
            div {
                label for="identifier" { "Number" }
                input #identifier type="text" name="identifier" autocomplete="off";
            }
            div {
                label for="name" { "Name" }
                input #name type="text" name="name" autocomplete="off";
            }
            div {
                label for="birthdate" { "Birth date" }
                input #birthdate type="text" name="birthdate" placeholder="1980-02-29" autocomplete="off";
            }
            button type="submit" { "Find" }
        }
    }
}

fn own(visit: &Visit<'_>, patients: &[Json], more: bool) -> Markup {
    html! {
        section.panel aria-labelledby="own-title" {
            h2 #own-title { "Your patients" }
            p.hint { "Whose general practitioner you are, whom you have seen in the last 30 days, and who comes to you within two weeks." }
            @if patients.is_empty() { p { "Nobody, as far as records here say so." } }
            @if more { p.notice { "There are more: find them above." } }
            (table(visit, patients, "own-title"))
        }
    }
}

fn results(visit: &Visit<'_>, patients: &[Json], more: bool) -> Markup {
    html! {
        section.panel aria-labelledby="found-title" {
            h2 #found-title { "Found" }
            @if patients.is_empty() { p role="status" { "Nobody fits this." } }
            @if more { p.notice { "There are more: say more." } }
            (table(visit, patients, "found-title"))
        }
    }
}

fn table(visit: &Visit<'_>, patients: &[Json], title: &str) -> Markup {
    html! {
        @if !patients.is_empty() {
            div.table tabindex="0" role="region" aria-labelledby=(title) {
                table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Born" } th scope="col" { "Sex" } } }
                    tbody { @for patient in patients {
                        @let Line { what, .. } = line(patient);
                        @let at = format!("/me/patients/{}", patient.text("id").unwrap_or(""));
                        tr {
                            td { a href=(visit.site.path(&at)) { (what) } }
                            td.time { (patient.text("birthDate").unwrap_or("")) }
                            td { (patient.text("gender").unwrap_or("")) }
                        }
                    } }
                }
            }
        }
    }
}
