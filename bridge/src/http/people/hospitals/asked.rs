//! What a clinician has asked of other hospitals lately, and what came of it: as it was told of his own deeds.

use super::super::deeds::{ASKED, Deed, LOOKED, Outcome, deed};
use super::super::refusal::Refusal;
use super::super::trail::{Names, is_ours, names_of_organisations};
use super::super::visit::Visit;
use super::HOME;
use crate::audit::TYPE;
use crate::audit::event::Answer;
use crate::audit::seen::Seen;
use crate::ids::{Name, TypeName};
use crate::read::Opened;
use crate::smart::scopes::{self, Scope};
use crate::smart::token::Caller;
use jiff::Timestamp;
use maud::{Markup, html};

/// How far back: what is put in order is opened for it, and the page is to be quick.
const DAYS: i64 = 7;
/// Operations that are looked at, whatever they were, and requests that are listed.
const OPERATIONS: &str = "100";
const MOST: usize = 20;

/// The newest requests, and what those are called who were asked.
pub(super) struct Lately {
    deeds: Vec<Deed>,
    names: Names,
}

/// The visitor's own requests.
pub(super) async fn lately(visit: &Visit<'_>) -> Result<Lately, Refusal> {
    let own = visit.resource()?;
    let kind = TypeName::parse(TYPE).ok_or(Refusal::Nothing)?;
    let since = Timestamp::from_second(visit.app.core.clock.now().as_second() - DAYS * 86_400).unwrap_or_default();
    let asked = [
        ("agent", own.to_string()),
        ("subtype", "operation".to_owned()),
        ("date", format!("ge{}", since.strftime("%Y-%m-%d"))),
        ("_sort", "-date".to_owned()),
        ("_count", OPERATIONS.to_owned()),
    ];
    let found = visit.search_as(&reader(visit, own), kind, &asked, None).await?;
    let told = found.matches.iter().filter(|event| is_ours(event)).map(|event| (event, deed(&event.json())));
    let listed: Vec<(&Opened, Deed)> = told.filter(|(_, deed)| is_request(deed, own)).take(MOST).collect();
    // What else was opened to find these is not shown.
    visit.caller.seen.shows(listed.iter().map(|(event, _)| event.as_shown()));
    let deeds: Vec<Deed> = listed.into_iter().map(|(_, deed)| deed).collect();
    let names = names_of_organisations(visit, &deeds).await;
    Ok(Lately { deeds, names })
}

/// Patients who have said anything keep the trail to themselves and to auditors. Who did it knows what he did: these rights open the
/// events in which he is the agent, and nothing else.
fn reader(visit: &Visit<'_>, own: &Name) -> Caller {
    Caller { scopes: only_of(own), seen: Seen::default(), ..visit.caller.clone() }
}

fn only_of(own: &Name) -> Vec<Scope> {
    scopes::parse_known(&format!("system/{TYPE}.rs?agent={own}"))
}

/// Another organisation may name a user of its own as it likes: he is no person of ours.
fn is_request(deed: &Deed, own: &Name) -> bool {
    deed.person.as_ref() == Some(own) && (deed.did == ASKED || deed.did == LOOKED)
}

/// The section of the page.
pub(super) fn section(visit: &Visit<'_>, lately: &Lately) -> Markup {
    html! {
        section.panel aria-labelledby="lately-title" {
            h2 #lately-title { "What you have asked lately" }
            p.hint { "Of the last 7 days, newest first. New lines come after a second or two." }
            @if lately.deeds.is_empty() { p role="status" { "You have asked nothing." } } @else {
                div.table tabindex="0" role="region" aria-labelledby="lately-title" {
                    table {
                        thead { tr {
                            th scope="col" { "When (UTC)" } th scope="col" { "Patient" }
                            th scope="col" { "What" } th scope="col" { "What came of it" }
                        } }
                        tbody { @for deed in &lately.deeds { (row(visit, deed, &lately.names)) } }
                    }
                }
            }
        }
    }
}

fn row(visit: &Visit<'_>, deed: &Deed, names: &Names) -> Markup {
    html! {
        tr {
            td.time { (deed.when) }
            td.mono {
                @if let Some(patient) = &deed.patient {
                    (patient) " "
                    a href=(visit.site.path(&format!("{HOME}?patient={}", patient.id))) { "Ask again" span.unseen { " for " (patient) } }
                } @else { "none" }
            }
            td { (deed.did) }
            td { @for said in came(deed, names) { (said) br; } }
        }
    }
}

/// What came of it: of each hospital that was asked.
fn came(deed: &Deed, names: &Names) -> Vec<String> {
    match deed.outcome {
        Outcome::Refused => vec!["Refused here".to_owned()],
        Outcome::Failed => vec!["Failed here".to_owned()],
        Outcome::Done if deed.answers.is_empty() && deed.did == LOOKED => vec!["Shown".to_owned()],
        Outcome::Done => {
            let said = |(from, answer): &(String, Answer)| format!("{}: {}", names.organisation(from), word(*answer));
            deed.answers.iter().map(said).collect()
        }
    }
}

fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Gave => "answered",
        Answer::Refused => "refused",
        Answer::Asks => "refused, and the patient was asked",
        Answer::Opened => "opened for a look",
        Answer::Nothing => "nothing came",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consent::decide::decide;
    use crate::fhir::search::criterion::Surroundings;
    use crate::smart::scopes::Interaction;
    use notary::canonical::Json;

    #[test]
    fn nobody_reads_of_the_deeds_of_another() {
        let around = Surroundings { base: "http://here/fhir", now: 0, labels: None };
        let event = |who: &str| {
            let text =
                format!(r#"{{"resourceType":"AuditEvent","id":"e","agent":[{{"who":{{"reference":"{who}"}}}}]}}"#);
            Json::parse(text.as_bytes()).unwrap()
        };
        let name = Name::parse("AuditEvent/e").unwrap();
        for (own, other) in [("Practitioner/d", "Practitioner/e"), ("PractitionerRole/d", "Practitioner/d")] {
            let user = Name::parse(own).unwrap();
            let caller = Caller { user: Some(user.clone()), ..Caller::new("portal/a", only_of(&user)) };
            let permit = decide(&caller, Interaction::Search, Some(name.kind)).unwrap();
            let covers = |who| permit.covers(&name, &event(who), &around);
            assert!(covers(own) && !covers(other) && !covers("http://there/fhir/Practitioner/d"));
            for kind in ["Patient", "Observation", "Consent"] {
                assert!(decide(&caller, Interaction::Read, TypeName::parse(kind)).is_err(), "{kind}");
            }
        }
    }
}
