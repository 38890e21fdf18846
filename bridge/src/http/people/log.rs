//! The access log: the whole trail, for an auditor, who may read it and nothing else.

use super::deeds::Deed;
use super::frame::Frame;
use super::refusal::Refusal;
use super::trail::{asked, events, table};
use super::visit::Visit;
use super::{page, parameter};
use crate::app::App;
use crate::audit::emergency::STARTED;
use crate::audit::event::DICOM;
use crate::http::query::encode;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::Name;
use crate::people::Role;
use jiff::Timestamp;
use maud::{Markup, html};
use std::sync::Arc;
use warp::http::StatusCode;

/// Without a day of its own a search goes back so many days: the whole trail is too long to be put in order.
const DAYS: i64 = 7;
const OUTCOMES: &[(&str, &str)] = &[("", "all"), ("0", "allowed"), ("4", "refused"), ("8", "failed")];

/// What is asked for; nothing said is empty.
struct Filter {
    patient: String,
    who: String,
    outcome: String,
    /// `emergencies`, or empty.
    only: String,
    from: String,
    to: String,
}

/// `GET /me/log?patient=&who=&outcome=&only=&from=&to=`.
pub(super) async fn answer(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Auditor).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let filter = Filter::of(&visit);
    let (deeds, after) = events(&visit, &asked(filter.pairs())).await?;
    Ok(page(StatusCode::OK, &shown(&visit, &filter, &deeds, after.as_deref())))
}

impl Filter {
    fn of(visit: &Visit<'_>) -> Self {
        let given = |name| parameter(visit.request, name).unwrap_or_default().trim().to_owned();
        let (from, to) = (given("from"), given("to"));
        let back = visit.app.core.clock.now().as_second() - DAYS * 86_400;
        let since = || Timestamp::from_second(back).unwrap_or_default().strftime("%Y-%m-%d").to_string();
        let from = if from.is_empty() && to.is_empty() { since() } else { from };
        Self { patient: given("patient"), who: given("who"), outcome: given("outcome"), only: given("only"), from, to }
    }

    /// As search parameters of AuditEvent.
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let patient = self.patient.trim_start_matches("Patient/");
        let person = if Name::parse(&self.who).is_some() { "agent" } else { "agent:identifier" };
        let all = [
            ("patient", &self.patient, format!("Patient/{patient}")),
            (person, &self.who, self.who.clone()),
            ("outcome", &self.outcome, self.outcome.clone()),
            ("subtype", &self.only, format!("{DICOM}|{STARTED}")),
            ("date", &self.from, format!("ge{}", self.from)),
            ("date", &self.to, format!("le{}", self.to)),
        ];
        all.into_iter().filter(|(_, given, _)| !given.is_empty()).map(|(name, _, value)| (name, value)).collect()
    }

    /// The same filter, further on.
    fn link(&self, after: &str) -> String {
        let all = [
            ("patient", &self.patient),
            ("who", &self.who),
            ("outcome", &self.outcome),
            ("only", &self.only),
            ("from", &self.from),
            ("to", &self.to),
        ];
        let given = all.iter().filter(|(_, value)| !value.is_empty());
        let pairs: String = given.map(|(name, value)| format!("{name}={}&", encode(value))).collect();
        format!("/me/log?{pairs}after={after}")
    }
}

fn shown(visit: &Visit<'_>, filter: &Filter, deeds: &[Deed], after: Option<&str>) -> Markup {
    let who = |deed: &Deed| match &deed.person {
        Some(person) => format!("{person}, by {}", deed.program),
        None => deed.program.clone(),
    };
    let content = html! {
        p.lead { "Who read or changed what, and what was refused. Each line is sealed in the log like a record: the "
            a href=(visit.site.path("/ledger")) { "ledger" } " shows the log and its anchors, and with a receipt "
            a href=(visit.site.path("/verify")) { "anybody can check" } " a line." }
        (form(visit, filter))
        section.panel {
            @if deeds.is_empty() { p role="status" { "Nothing fits this." } } @else { (table(visit, deeds, &who, true)) }
            @if let Some(after) = after { p.ways { a href=(visit.site.path(&filter.link(after))) { "Older entries" } } }
        }
    };
    let (title, here) = ("Access log", "/me/log");
    Frame { site: &visit.site, title, here, script: false, role: Some(Role::Auditor) }.around(&content)
}

fn form(visit: &Visit<'_>, filter: &Filter) -> Markup {
    let field = |name: &str, label: &str, value: &str, hint: &str| {
        html! {
            div {
                label for=(name) { (label) }
                input id=(name) type="text" name=(name) value=(value) placeholder=(hint) autocomplete="off";
            }
        }
    };
    html! {
        form.filters.many method="get" action=(visit.site.path("/me/log")) {
            (field("patient", "Patient", &filter.patient, "Patient/id"))
            (field("who", "Person or program", &filter.who, "Practitioner/id"))
            div {
                label for="outcome" { "How it ended" }
                select #outcome name="outcome" {
                    @for (value, word) in OUTCOMES { option value=(value) selected[filter.outcome == *value] { (word) } }
                }
            }
            div {
                label for="only" { "What" }
                select #only name="only" {
                    option value="" selected[filter.only.is_empty()] { "all" }
                    option value="emergencies" selected[!filter.only.is_empty()] { "emergencies" }
                }
            }
            (field("from", "From", &filter.from, "2026-11-01"))
            (field("to", "To", &filter.to, "2026-11-30"))
            button type="submit" { "Show" }
        }
    }
}
