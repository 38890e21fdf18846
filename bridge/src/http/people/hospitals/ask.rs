//! One or several hospitals are asked for what they have of a patient of ours. What comes is shown; it is stored where that is asked.

use super::super::refusal::Refusal;
use super::super::visit::Visit;
use super::super::words::GROUPS;
use super::super::{guard, page};
use super::{ALONE, PURPOSES, look, pages, patient};
use crate::app::App;
use crate::config::ParticipantId;
use crate::exchange::peers::Intent;
use crate::exchange::pull::{Answered, Wanted, pull};
use crate::fhir::matching;
use crate::http::exchange::own::{intent, whole};
use crate::http::fhir::page::raw;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::TypeName;
use crate::limits::MAX_PULL_PARTNERS;
use crate::people::Role;
use crate::read::Opened;
use crate::smart::scopes::Interaction;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use warp::http::StatusCode;

/// What a form asks for.
pub(in crate::http::people) struct Question {
    pub(super) patient: Opened,
    /// Of `PURPOSES`.
    pub(super) purpose: &'static str,
    /// Types of `GROUPS`; none: all.
    pub(super) kinds: Vec<&'static str>,
    pub(super) from: Vec<ParticipantId>,
    pub(super) keep: bool,
    /// Where a consent is missing the patient is asked for it.
    pub(super) request: bool,
}

/// The hospitals' answers, and what they are called.
pub(super) struct Answers {
    pub(super) all: Vec<Answered>,
    pub(super) called: BTreeMap<ParticipantId, String>,
}

/// `POST /me/hospitals/ask`.
pub(in crate::http::people) async fn ask(app: &Arc<App>, request: &Request) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Clinician).await?.map_err(|_| Refusal::Login)?;
    if app.exchange.is_none() {
        return Err(ALONE);
    }
    // Who sees a part of the records here sees nothing of others.
    whole(&visit.call(), Interaction::Search)?;
    let question = question(&visit, &form).await?;
    if let Some(from) = form.get("look").and_then(|id| ParticipantId::parse(id)) {
        return look::begin(&visit, question, from).await;
    }
    if question.from.is_empty() || question.from.len() > MAX_PULL_PARTNERS {
        return Err(Refusal::App("choose at least one hospital, and at most 50"));
    }
    let all = pull(app, &visit.caller, &wanted(&visit, &question)?).await;
    answered(&visit, &question, all).await
}

/// The page of what came, and of what did not.
pub(super) async fn answered(visit: &Visit<'_>, question: &Question, all: Vec<Answered>) -> Result<Reply, Refusal> {
    let mut called = BTreeMap::new();
    for one in &all {
        called.insert(one.from.clone(), called_of(visit, one).await);
    }
    Ok(page(StatusCode::OK, &pages::answered(visit, question, &Answers { all, called })))
}

async fn called_of(visit: &Visit<'_>, answered: &Answered) -> String {
    let said = answered.outcome.as_ref().ok().map(|got| got.partner.document.said.name.clone());
    let known = match (said, &visit.app.exchange) {
        (Some(said), _) => Some(said),
        (None, Some(exchange)) => exchange.directory.called(&answered.from).await,
        (None, None) => None,
    };
    known.unwrap_or_else(|| answered.from.to_string())
}

async fn question(visit: &Visit<'_>, form: &HashMap<String, String>) -> Result<Question, Refusal> {
    let given = |name: &str| form.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    let purpose = PURPOSES.iter().find(|(code, _)| given("purpose") == Some(code)).ok_or(Refusal::Form)?.0;
    let patient = match given("patient") {
        Some(id) => patient(visit, id).await?,
        None => numbered(visit, given("identifier").ok_or(Refusal::Question)?).await?,
    };
    let from = form.keys().filter_map(|name| name.strip_prefix("from-"));
    let mut from: Vec<ParticipantId> =
        from.map(|id| ParticipantId::parse(id).ok_or(Refusal::Form)).collect::<Result<_, _>>()?;
    from.sort();
    let ticked = |kind: &&str| form.contains_key(&format!("kind-{kind}"));
    Ok(Question {
        patient,
        purpose,
        kinds: GROUPS.iter().map(|group| group.kind).filter(ticked).collect(),
        from,
        keep: given("keep").is_some(),
        request: given("request").is_some(),
    })
}

/// The one patient here who has a number.
async fn numbered(visit: &Visit<'_>, number: &str) -> Result<Opened, Refusal> {
    let kind = TypeName::parse("Patient").ok_or(Refusal::Nothing)?;
    let asked = [("identifier", number.to_owned()), ("_count", "2".to_owned())];
    let mut found = visit.search(kind, &asked, None).await?.matches;
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(Refusal::App("several patients here have this number: open one, and go on from there")),
        (None, _) => Err(Refusal::App("no patient here has this number")),
    }
}

/// On behalf of the visitor, for what was chosen.
pub(super) fn intent_of(visit: &Visit<'_>, question: &Question) -> Result<Intent, Refusal> {
    Ok(intent(&visit.call(), Some(question.purpose))?)
}

fn wanted(visit: &Visit<'_>, question: &Question) -> Result<Wanted, Refusal> {
    let queries: Vec<String> = match question.kinds.as_slice() {
        [] => vec!["*".to_owned()],
        kinds => ["Patient"].iter().chain(kinds).map(|kind| (*kind).to_owned()).collect(),
    };
    Ok(Wanted {
        from: question.from.clone(),
        described: raw(&matching::described(&question.patient.json()).compact()),
        here: Some(question.patient.stored.name.clone()),
        queries,
        request_consent: question.request,
        store: question.keep,
        intent: intent_of(visit, question)?,
        emergency: None,
    })
}
