//! The pages of other hospitals. `maud` escapes whatever is put into them.

use super::super::frame::Frame;
use super::super::record_pages::parts;
use super::super::visit::Visit;
use super::super::words::{GROUPS, line, narrative, title, told};
use super::ask::{Answers, Question};
use super::asked::{self, Lately};
use super::look::Looked;
use super::shown::{Item, More, SHOWN, grouped, held_back, intact, section};
use super::{HOME, Network, PURPOSES, purpose};
use crate::clock::instant;
use crate::exchange::document::Document;
use crate::exchange::error::ExchangeError;
use crate::exchange::participants::Participant;
use crate::exchange::pull::{Answered, Got};
use crate::fhir::display::person;
use crate::http::people::record::GLIMPSE;
use crate::http::people::{parameter, words};
use crate::people::Role;
use crate::read::Opened;
use jiff::Timestamp;
use maud::{Markup, html};
use notary::chain::participants::Status;
use std::sync::Arc;
use warp::http::StatusCode;

fn frame(visit: &Visit<'_>, title: &str, content: &Markup) -> Markup {
    Frame { site: &visit.site, title, here: HOME, script: false, role: Some(Role::Clinician) }.around(content)
}

/// `/me/hospitals`.
pub(super) fn form(visit: &Visit<'_>, network: &Network, patient: Option<&Opened>, lately: Option<&Lately>) -> Markup {
    let content = html! {
        p.lead { "Ask other hospitals for what they have of a patient of yours. What comes is checked before you see it, and nothing of it "
            "is stored here unless you say so. The patient decides, there: each request is written down at both places with your name." }
        @match network {
            Network::Alone => { p.notice role="status" { "This service exchanges nothing with others. The administrator can set that up." } }
            Network::Away => { p.notice role="alert" { "The network cannot be asked at this moment. Try again in a moment." } }
            Network::Of(found) => {
                (search(visit, patient))
                (ask(visit, found, patient))
            }
        }
        @if let Some(lately) = lately { (asked::section(visit, lately)) }
    };
    frame(visit, "Other hospitals", &content)
}

fn search(visit: &Visit<'_>, patient: Option<&Opened>) -> Markup {
    let given = |name: &str| parameter(visit.request, name).unwrap_or_default();
    let field = |name: &str, label: &str| {
        html! {
            div {
                label for=(name) { (label) }
                input id=(name) type="text" name=(name) value=(given(name)) autocomplete="off";
            }
        }
    };
    html! {
        form.filters.many method="get" action=(visit.site.path(HOME)) {
            @if let Some(patient) = patient { input type="hidden" name="patient" value=(patient.stored.name.id); }
            (field("name", "Hospital")) (field("place", "Place")) (field("service", "Service"))
            button.quiet type="submit" { "Search" }
        }
    }
}

fn ask(visit: &Visit<'_>, found: &[(Participant, Option<Arc<Document>>)], patient: Option<&Opened>) -> Markup {
    html! {
        form method="post" action=(visit.site.path(&format!("{HOME}/ask"))) {
            input type="hidden" name="token" value=(visit.session.token());
            // Enter asks: without this it would press the first button, which only looks.
            button.unseen type="submit" tabindex="-1" aria-hidden="true" { "Ask" }
            section.panel aria-labelledby="whom-title" {
                h2 #whom-title { "Whom to ask" }
                @if found.is_empty() { p role="status" { "No hospital fits this." } } @else { (hospitals(found)) }
            }
            section.panel aria-labelledby="what-title" {
                h2 #what-title { "What for" }
                (whose(patient))
                label for="purpose" { "Purpose" }
                select #purpose name="purpose" { @for (code, words) in PURPOSES { option value=(code) { (words) } } }
                fieldset {
                    legend { "Which entries" }
                    p.hint { "Nothing ticked: all of the record." }
                    @for group in GROUPS {
                        label.check { input type="checkbox" name=(format!("kind-{}", group.kind)); " " (group.title) }
                    }
                }
                label.check { input type="checkbox" name="keep"; " Keep what comes: it becomes part of the record here, with its proof" }
            }
            p.actions { button type="submit" { "Ask" } }
        }
    }
}

fn whose(patient: Option<&Opened>) -> Markup {
    match patient {
        Some(opened) => {
            let name = person(&opened.json());
            html! {
                p { "Patient: " strong { (if name.is_empty() { "no name stored" } else { name.as_str() }) } }
                input type="hidden" name="patient" value=(opened.stored.name.id);
            }
        }
        None => html! {
            label for="identifier" { "The patient’s number here" }
            input #identifier type="text" name="identifier" autocomplete="off" required;
        },
    }
}

fn hospitals(found: &[(Participant, Option<Arc<Document>>)]) -> Markup {
    html! {
        div.table tabindex="0" role="region" aria-labelledby="whom-title" {
            table {
                thead { tr {
                    th scope="col" { "Ask" } th scope="col" { "Hospital" } th scope="col" { "Place" }
                    th scope="col" { "Services" } th scope="col" { "Only look" }
                } }
                tbody { @for (one, document) in found { (hospital(one, document.as_deref())) } }
            }
        }
        p.hint { "To look opens the record there for some minutes, to read. Nothing of it is stored here." }
    }
}

fn hospital(one: &Participant, document: Option<&Document>) -> Markup {
    let takes_part = one.status == Status::Active;
    html! {
        tr {
            td { @if takes_part {
                input type="checkbox" name=(format!("from-{}", one.id)) aria-label=(format!("Ask {}", one.name));
            } @else { "suspended" } }
            td.id { (one.name) br; span.hint { (one.id) } }
            td { @if let Some(document) = document { (document.said.place) } @else { "not reached" } }
            td { @if let Some(document) = document { (document.said.services.join(", ")) } }
            td { @if takes_part {
                button.quiet type="submit" name="look" value=(one.id) { "Look" span.unseen { " at " (one.name) } }
            } }
        }
    }
}

/// `/me/hospitals/ask`.
pub(super) fn answered(visit: &Visit<'_>, question: &Question, answers: &Answers) -> Markup {
    let name = person(&question.patient.json());
    let chart = visit.site.path(&format!("/me/patients/{}", question.patient.stored.name.id));
    let content = html! {
        p { a href=(visit.site.path(&format!("{HOME}?patient={}", question.patient.stored.name.id))) { "Ask something else" } }
        p.lead { "What other hospitals have of " a href=(chart) { (if name.is_empty() { "this patient" } else { name.as_str() }) }
            ", for " (purpose(question.purpose)) ". "
            @if question.keep { "What is intact was stored here, with its proof." } @else { "Nothing of it is stored here." } }
        section.panel aria-labelledby="said-title" {
            h2 #said-title { "What each has answered" }
            @for one in &answers.all { (said(visit, question, answers, one)) }
        }
        @for (kind, items) in grouped(&answers.all) {
            (section(&kind, &items, SHOWN, &More::Here, &rest(items.len())))
        }
    };
    frame(visit, "What others have", &content)
}

fn rest(all: usize) -> Markup {
    html! { p { "There are " (all) ", and " (SHOWN) " are shown: ask for this kind alone, or look." } }
}

fn said(visit: &Visit<'_>, question: &Question, answers: &Answers, one: &Answered) -> Markup {
    let called = answers.called.get(&one.from).map_or(one.from.as_str(), String::as_str);
    html! {
        article.grant {
            h3 { (called) " " span.hint { (one.from) } }
            @match &one.outcome {
                Ok(got) => (gave(got)),
                Err(error) => (failed(visit, question, one, called, error)),
            }
        }
    }
}

fn gave(got: &Got) -> Markup {
    let held = got.checked.iter().filter(|one| one.verdict.is_err()).count();
    html! {
        p { "Intact entries: " (got.checked.len() - held) "." }
        @if held > 0 { p.notice { "Held back: " (held) ". They are not proved to be what was sealed, and are red below." } }
        @if !got.waiting.is_empty() { p.notice { "Not in its log yet, so new are they: " (got.waiting.len()) ". Ask again in a moment." } }
        @if got.more { p.notice { "It has more than one answer holds: ask for fewer kinds at a time." } }
        @if let Some(kept) = &got.kept {
            p role="status" { @if kept.before { "All of it was stored here before." } @else { "Now part of the record here: " (kept.names.len()) "." } }
        }
    }
}

fn failed(visit: &Visit<'_>, question: &Question, one: &Answered, called: &str, error: &ExchangeError) -> Markup {
    let refused = error.is_refusal();
    let text = error.issues().into_iter().map(|issue| issue.text).collect::<Vec<_>>().join("; ");
    html! {
        @if refused && question.request {
            p.notice role="status" { strong { "The patient is asked." } " The request stands in the patient’s pages at " (called)
                ", unless it was refused there before. When the patient has allowed it, ask again." }
        } @else if refused {
            p.notice role="alert" { strong { "Refused." } " The patient has not allowed you to see the record at " (called) " for "
                (purpose(question.purpose)) "." }
            (ask_patient(visit, question, one, called))
        } @else {
            p.notice role="alert" { strong { "Nothing came." } " " (plain(error)) }
        }
        details { summary { "In its own words" } p { (text) } }
    }
}

/// Why nothing came, for a person.
fn plain(error: &ExchangeError) -> &'static str {
    match error.status() {
        StatusCode::NOT_FOUND => "Nobody there is this patient.",
        StatusCode::CONFLICT => "It is not certain who is meant there: add a number that both hospitals know.",
        StatusCode::FORBIDDEN => "It takes no part in the network now.",
        StatusCode::PAYLOAD_TOO_LARGE => "That is more than one answer holds: ask for fewer kinds.",
        _ => "It did not answer as it should: try again later.",
    }
}

/// The same question again, and with it the request to the patient.
fn ask_patient(visit: &Visit<'_>, question: &Question, one: &Answered, called: &str) -> Markup {
    html! {
        form method="post" action=(visit.site.path(&format!("{HOME}/ask"))) {
            input type="hidden" name="token" value=(visit.session.token());
            input type="hidden" name="patient" value=(question.patient.stored.name.id);
            input type="hidden" name="purpose" value=(question.purpose);
            input type="hidden" name=(format!("from-{}", one.from)) value="on";
            input type="hidden" name="request" value="yes";
            @for kind in &question.kinds { input type="hidden" name=(format!("kind-{kind}")) value="on"; }
            p.actions { button type="submit" { "Ask the patient" span.unseen { " at " (called) } } }
        }
    }
}

/// A page of a look.
pub(super) fn look(looked: &Looked<'_>, rest: &[&str]) -> Markup {
    let content = html! {
        // The same stands as text below it: what lies over all of the page is drawn from the attribute.
        p.watermark aria-hidden="true" data-mark=(looked.mark) {}
        p.lead { "The record at " strong { (looked.called) } ", seen by " (looked.mark) ". It can be read until "
            (until(looked.view.expires)) " (UTC), or until you sign out. Nothing of it is stored here." }
        (end(looked))
        @if !rest.is_empty() { p { a href=(at(looked, "")) { "Back to the whole record" } } }
        @match &looked.answered.outcome {
            Ok(got) => (seen(looked, got, rest)),
            Err(error) => { p.notice role="alert" { strong { "Not shown." } " " (gone(error)) } }
        }
    };
    frame(looked.visit, "A look at another hospital", &content)
}

fn gone(error: &ExchangeError) -> &'static str {
    match error.status() {
        StatusCode::FORBIDDEN => "The patient does not allow it, or does no longer.",
        StatusCode::GONE => "This look has ended there: open it again.",
        _ => plain(error),
    }
}

fn until(seconds: u64) -> String {
    let at = Timestamp::from_second(i64::try_from(seconds).unwrap_or_default()).unwrap_or_default();
    words::moment(&instant(at))
}

fn at(looked: &Looked<'_>, rest: &str) -> String {
    looked.visit.site.path(&format!("{}{rest}", looked.home))
}

fn end(looked: &Looked<'_>) -> Markup {
    html! {
        form method="post" action=(at(looked, "/end")) {
            input type="hidden" name="token" value=(looked.visit.session.token());
            button.quiet type="submit" { "End the look" }
        }
    }
}

fn seen(looked: &Looked<'_>, got: &Got, rest: &[&str]) -> Markup {
    let groups = grouped(std::slice::from_ref(looked.answered));
    let to = |item: &Item<'_>| Some(at(looked, &format!("/{}", item.checked.name)));
    html! {
        @if got.more { p.notice { "There is more than one page holds: open one kind." } }
        @if let [_, _] = rest {
            @for item in groups.iter().flat_map(|(_, items)| items) { (entry(item)) }
        } @else {
            @for (kind, items) in &groups {
                @let most = if rest.is_empty() { GLIMPSE } else { items.len() };
                @let all = html! { p { a href=(at(looked, &format!("/{kind}"))) { "All: " (title(kind)) } } };
                (section(kind, items, most, &More::At(&to), &all))
            }
        }
        @if groups.is_empty() { p role="status" { "Nothing is there that you may see." } }
    }
}

/// One entry, as a record's page tells it.
fn entry(item: &Item<'_>) -> Markup {
    let json = &item.checked.json;
    let words = narrative(json);
    html! {
        section.panel aria-labelledby="entry-title" {
            @match &item.checked.verdict {
                Ok(grade) => {
                    h2 #entry-title { (line(json).what) }
                    p { (intact(*grade)) }
                    @if !words.is_empty() { p { (words) } }
                    (parts(&told(json)))
                }
                Err(why) => { h2 #entry-title { "An entry that is not shown" } p { (held_back(why)) } }
            }
        }
    }
}
