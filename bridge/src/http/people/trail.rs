//! Who looked: the trail of one patient, for the patient; and all of it, for an auditor.

use super::deeds::{Deed, Outcome, deed};
use super::frame::Frame;
use super::hospitals::purpose;
use super::record::Chart;
use super::refusal::Refusal;
use super::visit::Visit;
use crate::config::ParticipantId;
use crate::fhir::display::person;
use crate::http::fhir::may;
use crate::ids::{Name, TypeName};
use crate::people::Role;
use crate::read::{self, Opened};
use crate::smart::scopes::Interaction;
use maud::{Markup, html};
use notary::commitment::Kind;
use std::collections::{BTreeSet, HashMap};

/// Events of a page.
const EVENTS: &str = "50";

/// What is asked of the trail: newest first.
pub(super) fn asked(filters: Vec<(&'static str, String)>) -> Vec<(&'static str, String)> {
    [("_count", EVENTS.to_owned()), ("_sort", "-date".to_owned())].into_iter().chain(filters).collect()
}

/// The events of a page, and where the next begins.
pub(super) async fn events(
    visit: &Visit<'_>,
    asked: &[(&'static str, String)],
) -> Result<(Vec<Deed>, Option<String>), Refusal> {
    let kind = TypeName::parse("AuditEvent").ok_or(Refusal::Nothing)?;
    let found = visit.search(kind, asked, visit.position(kind)?).await?;
    let after = visit.after(kind, found.next)?;
    Ok((found.matches.iter().filter(|event| is_ours(event)).map(|event| deed(&event.json())).collect(), after))
}

/// What this service tells has log entries of a kind of its own. What other systems have stored is theirs to answer for.
pub(super) fn is_ours(event: &Opened) -> bool {
    matches!(event.kind, Kind::Access | Kind::Emergency)
}

/// `/me/records/access`.
pub(super) async fn of_record(chart: &Chart<'_>) -> Result<Markup, Refusal> {
    let visit = chart.visit;
    let (deeds, after) = events(visit, &asked(vec![("patient", chart.name().to_string())])).await?;
    let names = names(visit, &deeds).await?;
    let who = |deed: &Deed| names.who(deed, Some(chart.name()));
    let content = html! {
        p.lead { "Each time that somebody, or a program, reads or changes your record, it is written down here and sealed in the log. "
            "A line that was changed or taken out would show there. New lines come after a second or two." }
        @if deeds.is_empty() { p { "Nobody has looked yet." } } @else { (table(visit, &deeds, &who, false)) }
        @if let Some(after) = after {
            p.ways { a href=(visit.site.path(&format!("{}/access?after={after}", chart.home))) { "Older entries" } }
        }
    };
    let (title, here) = ("Who looked", "/me/records/access");
    Ok(Frame { site: &visit.site, title, here, script: false, role: Some(Role::Patient) }.around(&content))
}

/// What people and organisations of a page are called.
#[derive(Default)]
pub(super) struct Names {
    people: HashMap<Name, String>,
    /// By their ids.
    organisations: HashMap<String, String>,
}

impl Names {
    /// Who did it; `own`: the visitor himself.
    pub(super) fn who(&self, deed: &Deed, own: Option<&Name>) -> String {
        match (&deed.person, &deed.outside) {
            (Some(person), _) if Some(person) == own => "You".to_owned(),
            (Some(person), _) => self.people.get(person).cloned().unwrap_or_else(|| person.to_string()),
            (None, Some(outside)) => {
                let called = self.organisation(&deed.program);
                let user = outside.user.as_ref().map_or_else(String::new, |user| format!(", {user}"));
                format!("Another hospital: {called}{user}, for {}", purpose(&outside.purpose))
            }
            (None, None) if deed.program.starts_with("portal/") => {
                format!("An auditor or administrator: {}", deed.program)
            }
            (None, None) => format!("A program: {}", deed.program),
        }
    }

    /// An organisation, by its id.
    pub(super) fn organisation(&self, id: &str) -> String {
        self.organisations.get(id).map_or_else(|| id.to_owned(), |called| format!("{called} ({id})"))
    }
}

/// What people and organisations of a page are called, as far as the visitor may know.
pub(super) async fn names(visit: &Visit<'_>, deeds: &[Deed]) -> Result<Names, Refusal> {
    Ok(Names { people: people(visit, deeds).await?, organisations: organisations(visit, deeds).await })
}

/// The same without people.
pub(super) async fn names_of_organisations(visit: &Visit<'_>, deeds: &[Deed]) -> Names {
    Names { organisations: organisations(visit, deeds).await, ..Names::default() }
}

async fn organisations(visit: &Visit<'_>, deeds: &[Deed]) -> HashMap<String, String> {
    let mut names = HashMap::new();
    let Some(exchange) = &visit.app.exchange else { return names };
    let asked_here = deeds.iter().filter(|deed| deed.outside.is_some()).map(|deed| deed.program.as_str());
    let answered = deeds.iter().flat_map(|deed| &deed.answers).map(|(from, _)| from.as_str());
    let ids: BTreeSet<&str> = asked_here.chain(answered).collect();
    for id in ids {
        if let Some(parsed) = ParticipantId::parse(id)
            && let Some(called) = exchange.directory.called(&parsed).await
        {
            names.insert(id.to_owned(), called);
        }
    }
    names
}

async fn people(visit: &Visit<'_>, deeds: &[Deed]) -> Result<HashMap<Name, String>, Refusal> {
    let mut names: HashMap<Name, String> = HashMap::new();
    for name in deeds.iter().filter_map(|deed| deed.person.as_ref()) {
        if !names.contains_key(name) {
            let permit = may(&visit.caller, Interaction::Read, Some(name.kind))?;
            let opened = read::read(&visit.app.core, &permit, name, None).await?;
            let called =
                opened.as_ref().map(Opened::json).map(|json| person(&json)).filter(|called| !called.is_empty());
            names.insert(name.clone(), called.map_or_else(|| name.to_string(), |called| format!("{called} ({name})")));
        }
    }
    Ok(names)
}

/// A table of events.
pub(super) fn table(visit: &Visit<'_>, deeds: &[Deed], who: &dyn Fn(&Deed) -> String, of_whom: bool) -> Markup {
    html! {
        h2.unseen #events-title { "Entries" }
        div.table tabindex="0" role="region" aria-labelledby="events-title" {
            table {
                thead { tr {
                    th scope="col" { "When (UTC)" } th scope="col" { "Who" }
                    @if of_whom { th scope="col" { "Whose record" } }
                    th scope="col" { "What" }
                    @if !of_whom { th scope="col" { "Proof" } }
                } }
                tbody { @for deed in deeds {
                    tr {
                        td.time { (deed.when) }
                        td { (who(deed)) }
                        @if of_whom { td.mono { @if let Some(patient) = &deed.patient { (patient) } @else { "none" } } }
                        td {
                            @if deed.emergency { strong { "Emergency." } " " }
                            @if let Some(ended) = ended(deed.outcome) { strong { (ended) } " " }
                            (deed.did) @if !deed.what.is_empty() { ": " (deed.what) }
                        }
                        @if !of_whom { td { @if let Some(name) = &deed.name { (receipt(visit, name, &deed.when)) } } }
                    }
                } }
            }
        }
    }
}

/// The line itself is sealed, too.
fn receipt(visit: &Visit<'_>, name: &Name, when: &str) -> Markup {
    html! {
        a href=(visit.site.path(&format!("/me/records/{name}/receipt"))) { "Receipt" span.unseen { " of " (when) } }
    }
}

/// What did not go well is said first.
fn ended(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Done => None,
        Outcome::Refused => Some("Refused."),
        Outcome::Failed => Some("Failed."),
    }
}
