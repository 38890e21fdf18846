//! Why somebody would be shown an entry, or would not: for the patient whose it is, or who acts for him, and for an auditor, who sees what
//! decides and nothing of the entry.

use super::frame::Frame;
use super::hospitals::PURPOSES;
use super::refusal::Refusal;
use super::visit::Visit;
use super::{page, parameter};
use crate::app::App;
use crate::consent::policy::{Ask, Effect, is_purpose};
use crate::http::explain::{Said, asked, own};
use crate::http::fhir::may;
use crate::http::parameters::Given;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::{Name, Owner};
use crate::people::Role;
use crate::read::{self, Opened};
use crate::smart::scopes::{Interaction, parse_known};
use crate::smart::token::Caller;
use maud::{Markup, html};
use std::sync::Arc;
use warp::http::StatusCode;

const HOME: &str = "/me/explain";
const UNCLEAR: Refusal = Refusal::App(
    "an entry is named as Observation/id, who would ask as Practitioner/id; all that he is at once is parted by commas, ten at most",
);

/// What is asked; nothing said is empty.
struct Question {
    record: String,
    actor: String,
    purpose: String,
}

/// `GET /me/explain?record=&actor=&purpose=`; `ward=`: of whom one acts for.
pub(super) async fn answer(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let ward = parameter(request, "ward");
    let visit = match Visit::of(app, request, Role::Auditor).await {
        Err(Refusal::Role) => Visit::of_patient(app, request, ward.as_deref()).await?,
        visit => visit?,
    };
    let visit = match visit {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let question = Question::of(request);
    let said = if question.is_whole() { Some(decided(&visit, &question).await?) } else { None };
    Ok(page(StatusCode::OK, &shown(&visit, &question, said.as_ref())))
}

impl Question {
    fn of(request: &Request) -> Self {
        let given = |name| parameter(request, name).unwrap_or_default().trim().to_owned();
        Self { record: given("record"), actor: given("actor"), purpose: given("purpose") }
    }

    fn is_whole(&self) -> bool {
        !self.record.is_empty() && !self.actor.is_empty()
    }

    /// The same as a program asks it. Who is no resource would be refused by every Consent, and that would be no answer.
    fn ask(&self, visit: &Visit<'_>) -> Result<Ask, Refusal> {
        let actors: Vec<&str> = self.actor.split(',').map(str::trim).collect();
        if actors.iter().any(|actor| Name::parse(actor).is_none()) {
            return Err(UNCLEAR);
        }
        let purpose = Some(("purpose", self.purpose.as_str())).filter(|(_, code)| !code.is_empty());
        if purpose.is_some_and(|(_, code)| !is_purpose(code)) {
            return Err(UNCLEAR);
        }
        let pairs = actors.into_iter().map(|actor| ("actor", actor)).chain(purpose);
        let given = Given::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect());
        asked(&given, &visit.app.core.gate.purpose).map_err(|_| UNCLEAR)
    }
}

fn is_auditor(visit: &Visit<'_>) -> bool {
    visit.session.account.person.role == Role::Auditor
}

async fn decided(visit: &Visit<'_>, question: &Question) -> Result<Said, Refusal> {
    let ask = question.ask(visit)?;
    let opened = entry(visit, &Name::parse(&question.record).ok_or(UNCLEAR)?).await?;
    let said = visit.app.core.explained(&ask, &opened, |_| true).await?;
    if !is_auditor(visit) {
        return Ok(own(&visit.call(), said).await?);
    }
    // Nobody's Consent is asked whether he may ask: each whose decision he sees is told.
    for (patient, _) in &said {
        patient.iter().for_each(|patient| visit.caller.seen.shows_of(&Owner::patient(&patient.id)));
    }
    Ok(said)
}

/// The entry, to be decided about: a patient's own. For an auditor the service itself opens it and shows nothing of it, and the trail tells
/// that he asked.
async fn entry(visit: &Visit<'_>, name: &Name) -> Result<Opened, Refusal> {
    let caller = match is_auditor(visit) {
        true => Caller { scopes: parse_known("system/*.r"), user: None, ..visit.caller.clone() },
        false => visit.caller.clone(),
    };
    let permit = may(&caller, Interaction::Read, Some(name.kind))?;
    let opened = read::read(&visit.app.core, &permit, name, None).await?;
    opened.filter(|opened| !opened.stored.deleted).ok_or(Refusal::Nothing)
}

fn shown(visit: &Visit<'_>, question: &Question, said: Option<&Said>) -> Markup {
    let content = html! {
        p.lead { "What its patient's Consents say, as they are now, to somebody of this hospital who would be shown an entry, and which provision "
            "decides. What the entry says is not on this page. That you ask is written down, and the patient sees it." }
        p.hint { "Whether he is there, and may see records here at all, is not asked. More may be held back: by what a program was let in for, by the rules for other hospitals, and of notices of emergencies, of the "
            "access log and of files in documents." }
        @if let Some(ward) = &visit.ward { p.notice { "You act for " code { (ward) } "." } }
        (form(visit, question))
        @if let Some(said) = said { (told(said)) }
    };
    let here = match &visit.ward {
        Some(_) => "/me",
        None if is_auditor(visit) => HOME,
        None => "/me/access",
    };
    let role = Some(visit.session.account.person.role);
    Frame { site: &visit.site, title: "Why somebody sees it", here, script: false, role }.around(&content)
}

fn form(visit: &Visit<'_>, question: &Question) -> Markup {
    html! {
        form.filters.many method="get" action=(visit.site.path(HOME)) {
            @if let Some(ward) = &visit.ward { input type="hidden" name="ward" value=(ward.id); }
            div {
                label for="record" { "Entry" }
                input #record type="text" name="record" value=(question.record) placeholder="Observation/id" autocomplete="off";
            }
            div {
                label for="actor" { "Who would ask" }
                input #actor type="text" name="actor" value=(question.actor) placeholder="Practitioner/id, Organization/id" autocomplete="off";
            }
            div {
                label for="purpose" { "What for" }
                select #purpose name="purpose" {
                    option value="" selected[question.purpose.is_empty()] { "what is usual here" }
                    @for (code, words) in PURPOSES { option value=(code) selected[question.purpose == *code] { (words) } }
                }
            }
            button type="submit" { "Explain" }
        }
    }
}

fn told(said: &Said) -> Markup {
    let permitted = said.iter().all(|(_, decision)| decision.effect == Effect::Permit);
    html! {
        section.panel aria-labelledby="said-title" {
            h2 #said-title { (word(permitted)) }
            @if said.is_empty() { p role="status" { "No Consent is asked: it is of no patient, or of whoever asks himself." } }
            @else {
                div.table tabindex="0" role="region" aria-labelledby="said-title" {
                    table {
                        thead { tr { th scope="col" { "Whose" } th scope="col" { "Outcome" } th scope="col" { "Because of" } } }
                        tbody { @for (patient, decision) in said {
                            tr {
                                td.mono { @if let Some(patient) = patient { (patient) } @else { "nobody can tell" } }
                                td { strong { (word(decision.effect == Effect::Permit)) } }
                                td { (decision.because) }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn word(permitted: bool) -> &'static str {
    if permitted { "Allowed" } else { "Refused" }
}
