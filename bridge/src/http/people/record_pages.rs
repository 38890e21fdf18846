//! The pages of a record. `maud` escapes whatever is put into them; charts escape what they say themselves.

use super::files;
use super::frame::Frame;
use super::record::{Chart, GLIMPSE, Standing};
use super::words::{Group, Line, Told, line, narrative, title, told};
use crate::fhir::display::person;
use crate::fhir::report::chart::charts;
use crate::ids::Name;
use crate::people::Role;
use maud::{Markup, PreEscaped, html};
use notary::canonical::Json;

impl Chart<'_> {
    pub(super) fn role(&self) -> Role {
        self.visit.session.account.person.role
    }

    /// Whether it is the visitor's own record.
    fn is_own(&self) -> bool {
        self.role() == Role::Patient && self.visit.ward.is_none()
    }

    pub(super) fn at(&self, rest: &str) -> String {
        self.visit.site.path(&format!("{}{rest}", self.home))
    }

    pub(super) fn frame(&self, title: &str, here: &str, content: &Markup) -> Markup {
        Frame { site: &self.visit.site, title, here, script: false, role: Some(self.role()) }.around(content)
    }

    /// The bar's page that this belongs to.
    pub(super) fn tab(&self) -> &'static str {
        match self.role() {
            Role::Patient if self.is_own() => "/me/records",
            Role::Patient => "/me",
            _ => "/me/patients",
        }
    }

    /// The way back.
    pub(super) fn back(&self) -> Markup {
        let name = if self.is_own() { "My record".to_owned() } else { person(&self.patient.json()) };
        html! { p { a href=(self.at("")) { "Back to: " (if name.is_empty() { "the record" } else { name.as_str() }) } } }
    }
}

/// `/me/records`.
pub(super) fn overview(chart: &Chart<'_>, found: &[(&Group, Vec<Json>)], (apps, notices): (bool, &Markup)) -> Markup {
    let patient = chart.patient.json();
    let (own, clinician) = (chart.is_own(), chart.role() == Role::Clinician);
    let content = html! {
        (notices)
        (facts(&patient))
        p.ways {
            a href=(chart.at("/summary")) { "Summary to print" } " "
            a href=(chart.at("/download")) { "Download everything" } " "
            a href=(chart.at(&format!("/{}", chart.name()))) { @if own { "About me" } @else { "About this person" } }
            @if apps { " " a href=(chart.at("/apps")) { "Open an app" } }
            @if clinician && chart.visit.app.exchange.is_some() { " " a href=(chart.visit.site.path(&format!("/me/hospitals?patient={}", chart.name().id))) { "Ask other hospitals" } }
            @if clinician { " " a href=(chart.visit.site.path(&format!("/me/emergency?patient={}", chart.name().id))) { "Emergency" } }
        }
        @for (group, entries) in found.iter().filter(|(_, entries)| !entries.is_empty()) {
            section.panel aria-labelledby=(format!("{}-title", group.kind)) {
                h2 id=(format!("{}-title", group.kind)) { (group.title) }
                @if group.kind == "Observation" { (trends(entries)) }
                (table(chart, group, &entries[..entries.len().min(GLIMPSE)]))
                @if entries.len() > GLIMPSE {
                    p { a href=(chart.at(&format!("/{}", group.kind))) { "All: " (group.title) } }
                }
            }
        }
        @let empty: Vec<&str> = found.iter().filter(|(_, e)| e.is_empty()).map(|(group, _)| group.title).collect();
        @if !empty.is_empty() { p.hint { "Nothing is stored under: " (empty.join(", ")) "." } }
    };
    chart.frame(if own { "My record" } else { "Record" }, chart.tab(), &content)
}

fn facts(patient: &Json) -> Markup {
    let name = person(patient);
    html! {
        dl.facts.plain {
            dt { "Name" } dd { (if name.is_empty() { "not stored" } else { name.as_str() }) }
            @if let Some(born) = patient.text("birthDate") { dt { "Born" } dd { (born) } }
            @if let Some(sex) = patient.text("gender") { dt { "Sex" } dd { (sex) } }
        }
    }
}

/// Where numbers follow each other; the table beside it has them as text.
pub(super) fn trends(entries: &[Json]) -> Markup {
    let drawn = charts(entries);
    html! { @if !drawn.is_empty() { div.charts { (PreEscaped(drawn)) } } }
}

fn table(chart: &Chart<'_>, group: &Group, entries: &[Json]) -> Markup {
    let label = format!("{}-title", group.kind);
    html! {
        div.table tabindex="0" role="region" aria-labelledby=(label) {
            table {
                thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "More" } } }
                tbody { @for entry in entries { (row(chart, entry)) } }
            }
        }
    }
}

fn row(chart: &Chart<'_>, entry: &Json) -> Markup {
    let Line { what, more, when } = line(entry);
    let (kind, id) = (entry.text("resourceType").unwrap_or(""), entry.text("id").unwrap_or(""));
    html! {
        tr {
            td.time { (if when.is_empty() { "no date" } else { when.as_str() }) }
            td { a href=(chart.at(&format!("/{kind}/{id}"))) { (what) } }
            td { (more) }
        }
    }
}

/// `/me/records/{type}`.
pub(super) fn list(chart: &Chart<'_>, group: &Group, entries: &[Json], after: Option<&str>) -> Markup {
    let content = html! {
        (chart.back())
        h2.unseen id=(format!("{}-title", group.kind)) { "Entries" }
        @if entries.is_empty() { p { "Nothing is stored here." } }
        @if group.kind == "Observation" { (trends(entries)) }
        @if !entries.is_empty() { (table(chart, group, entries)) }
        @if let Some(after) = after {
            p.ways { a href=(chart.at(&format!("/{}?after={after}", group.kind))) { "Older entries" } }
        }
    };
    chart.frame(group.title, chart.tab(), &content)
}

/// `/me/records/{type}/{id}`.
pub(super) fn entry(chart: &Chart<'_>, (name, resource): (&Name, &Json), stands: &Standing, apps: bool) -> Markup {
    let Line { what, when, .. } = line(resource);
    let narrative = narrative(resource);
    let content = html! {
        (chart.back())
        p.lead { (title(name.kind.as_str())) @if !when.is_empty() { ", " (when) } }
        @if !narrative.is_empty() { p { (narrative) } }
        @if apps {
            p.ways { a href=(chart.at(&format!("/apps?encounter={}", name.id))) { "Open an app for this visit" } }
        }
        (parts(&told(resource)))
        (files::section(chart, name, resource))
        section.panel aria-labelledby="proof-title" {
            h2 #proof-title { "Is it unchanged?" }
            p { strong { (word(stands)) } " " (explained(stands)) }
            @if !matches!(stands, Standing::Waiting) {
                p.ways {
                    a href=(chart.at(&format!("/{name}/receipt"))) { "Download the receipt" } " "
                    a href=(chart.visit.site.path("/verify")) { "Check a receipt" }
                }
                p.hint { "Keep the receipt: with it anybody can check this entry later, without us." }
            }
            p.hint { "Entry " code { (name) } ", version " (resource.get("meta").and_then(|m| m.text("versionId")).unwrap_or("1")) }
            @if chart.role() == Role::Patient {
                p.ways { a href=(chart.visit.site.path(&chart.visit.explain(Some(name)))) { "Who may see it, and why?" } }
            }
        }
    };
    chart.frame(&what, chart.tab(), &content)
}

fn word(stands: &Standing) -> &'static str {
    match stands {
        Standing::Waiting => "Waiting.",
        Standing::Logged => "Sealed in the log.",
        Standing::Local => "Sealed in the log.",
        Standing::Anchored => "Sealed in the log and anchored.",
    }
}

fn explained(stands: &Standing) -> &'static str {
    match stands {
        Standing::Waiting => "It is stored, and will be in the signed log within moments.",
        Standing::Logged => {
            "It opened and fits its seal. The hospital has signed a log that holds its fingerprint; the log's next anchor on the \
             chain will fix the time."
        }
        Standing::Local => {
            "It opened and fits its seal. The log that holds its fingerprint is on a ledger that the hospital keeps itself: keep the \
             receipt, which shows any later change."
        }
        Standing::Anchored => {
            "It opened and fits its seal, and the log that holds its fingerprint is fixed on the chain: nobody can change it unseen."
        }
    }
}

pub(super) fn parts(parts: &[(String, Told)]) -> Markup {
    html! {
        dl.facts.plain {
            @for (name, told) in parts {
                dt { (name) }
                dd { @match told { Told::Text(text) => { (text) } Told::Parts(inner) => { (self::parts(inner)) } } }
            }
        }
    }
}
