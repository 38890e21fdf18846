//! A look at a record of another hospital: for some minutes, to read, while the visitor is signed in. Nothing of it is kept.

use super::super::refusal::Refusal;
use super::super::visit::Visit;
use super::super::words::GROUPS;
use super::super::{guard, see_other};
use super::ask::{Question, answered, intent_of};
use super::{HOME, marked, pages};
use crate::app::App;
use crate::clock::instant;
use crate::config::ParticipantId;
use crate::exchange::error::ExchangeError;
use crate::exchange::pull::Answered;
use crate::exchange::view::{self, Opening, View};
use crate::fhir::matching;
use crate::http::fhir::page::raw;
use crate::http::fhir::parse_name;
use crate::http::reply::Reply;
use crate::http::routes::Request;
use crate::ids::{Name, Owner};
use crate::people::Role;
use crate::smart::token::Caller;
use std::sync::Arc;
use warp::http::StatusCode;

/// How much of the session's digest binds a look to it.
const TAG: usize = 32;

/// A page of a look.
pub(super) struct Looked<'l> {
    pub(super) visit: &'l Visit<'l>,
    pub(super) view: &'l View,
    pub(super) answered: &'l Answered,
    pub(super) called: String,
    /// Where its pages are.
    pub(super) home: String,
    pub(super) mark: String,
}

/// The visitor, for as long as he is signed in: who signs in again opens another look.
fn bound(visit: &Visit<'_>) -> Caller {
    let session: String = visit.session.bearer().digest().to_string().chars().take(TAG).collect();
    Caller { subject: format!("{}/{session}", visit.caller.subject), ..visit.caller.clone() }
}

/// Opens one.
pub(super) async fn begin(visit: &Visit<'_>, question: Question, from: ParticipantId) -> Result<Reply, Refusal> {
    let patient = raw(&matching::described(&question.patient.json()).compact());
    let opening = Opening { patient, request_consent: question.request, emergency: None };
    let (here, intent) = (&question.patient.stored.name, intent_of(visit, &question)?);
    match view::begin(visit.app, &bound(visit), &from, &opening, Some(here), &intent).await {
        Ok((text, _)) => Ok(see_other(&visit.site.path(&format!("{HOME}/look/{text}")))),
        Err(error) => {
            let question = Question { from: vec![from.clone()], ..question };
            answered(visit, &question, vec![Answered { from, outcome: Err(error) }]).await
        }
    }
}

/// `GET /me/hospitals/look/{id}`, `.../{type}`, `.../{type}/{id}`.
pub(in crate::http::people) async fn show(
    app: &Arc<App>,
    request: &Request,
    id: &str,
    rest: &[&str],
) -> Result<Reply, Refusal> {
    let visit = match Visit::of(app, request, Role::Clinician).await? {
        Ok(visit) => visit,
        Err(door) => return Ok(door),
    };
    let query = query(rest).ok_or(Refusal::Nothing)?;
    let view = opened(&visit, id).await?;
    let answered = view.look(app, vec![query]).await;
    // Told as a look at the record of whom it is here, too.
    if let Some(here) = view.here.as_deref().and_then(Name::parse) {
        visit.request.seen.shows_of(&Owner::patient(&here.id));
    }
    let said = answered.outcome.as_ref().ok().map(|got| got.partner.document.said.name.clone());
    let looked = Looked {
        called: said.unwrap_or_else(|| view.from.to_string()),
        home: format!("{HOME}/look/{id}"),
        mark: mark(&visit),
        answered: &answered,
        visit: &visit,
        view: &view,
    };
    let status = answered.outcome.as_ref().map_or_else(ExchangeError::status, |_| StatusCode::OK);
    Ok(marked(status, &pages::look(&looked, rest), &looked.mark))
}

/// What a page asks for.
fn query(rest: &[&str]) -> Option<String> {
    let listed = |kind: &str| kind == "Patient" || GROUPS.iter().any(|group| group.kind == kind);
    match rest {
        [] => Some("*".to_owned()),
        [kind] if listed(kind) => Some((*kind).to_owned()),
        [kind, id] => parse_name(kind, id).map(|name| format!("{}?_id={}", name.kind.as_str(), name.id)),
        _ => None,
    }
}

async fn opened(visit: &Visit<'_>, id: &str) -> Result<View, Refusal> {
    match view::of_caller(visit.app, &bound(visit), id).await {
        Ok(view) => Ok(view),
        Err(ExchangeError::Ended) => Err(Refusal::Ended),
        Err(ExchangeError::NotFound) => Err(Refusal::Nothing),
        Err(error) => {
            tracing::warn!(%error, "a look could not be shown");
            Err(Refusal::Later)
        }
    }
}

/// Who looks, and when.
fn mark(visit: &Visit<'_>) -> String {
    let who = visit.caller.user.as_ref().map_or_else(|| visit.caller.subject.clone(), ToString::to_string);
    format!("{who} {}", instant(visit.app.core.clock.now()))
}

/// `POST /me/hospitals/look/{id}/end`: here at once, and there if it can be reached; else it ends by itself.
pub(in crate::http::people) async fn end(app: &Arc<App>, request: &Request, id: &str) -> Result<Reply, Refusal> {
    let form = guard::form(app, request)?;
    guard::signed_in(app, request, form.get("token").map(String::as_str)).await?;
    let visit = Visit::of(app, request, Role::Clinician).await?.map_err(|_| Refusal::Login)?;
    if let Err(error) = opened(&visit, id).await?.close(app).await {
        tracing::warn!(%error, "a look could not be ended at the other hospital: it ends by itself");
    }
    Ok(see_other(&visit.site.path(HOME)))
}
