//! Subscriptions over HTTP: what is checked before one is stored, and the backport's `$status` and `$events`.

use super::fhir::{bad_request, may};
use super::query::pairs;
use super::reply::{Reply, failure, fhir, unreadable};
use super::routes::{Call, not_found};
use super::search::surroundings;
use crate::app::App;
use crate::consent::decide::decide;
use crate::error::Issue;
use crate::fhir::subscription::{Content, Status, Wanted, with_maker, with_status};
use crate::fhir::validate::{Validated, validate};
use crate::fhir::write::{Act, Write};
use crate::ids::{ResourceId, TypeName};
use crate::limits::{DEFAULT_PAGE, MAX_SUBSCRIPTIONS};
use crate::notify::message::{Why, bundle, events};
use crate::notify::{Live, live, seal_maker};
use crate::read::in_background;
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use warp::http::StatusCode;

/// Why a Subscription is not stored.
pub struct Refused {
    pub status: StatusCode,
    pub issue: Issue,
}

impl Refused {
    /// As an answer of its own.
    pub fn reply(self) -> Reply {
        failure(self.status, self.issue)
    }
}

/// Checks each Subscription among writes and puts its maker in: who wants to be told must be allowed to ask, and the endpoint
/// must be one that this server sends to. Whoever commits writes of a client calls this before.
pub async fn prepare(app: &App, caller: &Caller, writes: &mut [Write]) -> Result<(), Refused> {
    for write in writes {
        match &mut write.act {
            Act::Create { resource, .. } | Act::Update { resource, .. }
                if resource.kind().as_str() == "Subscription" =>
            {
                *resource = prepared(app, caller, resource).await?;
            }
            // A message brings no Subscription: no map makes one.
            Act::Create { .. } | Act::Update { .. } | Act::Delete { .. } | Act::Recognise { .. } => {}
        }
    }
    Ok(())
}

async fn prepared(app: &App, caller: &Caller, resource: &Validated) -> Result<Validated, Refused> {
    let refuse = |status, issue| Refused { status, issue };
    let invalid = |issue| refuse(StatusCode::UNPROCESSABLE_ENTITY, issue);
    let wanted = Wanted::read(resource.json(), &surroundings(app)).map_err(invalid)?;
    for interaction in [Interaction::Read, Interaction::Search] {
        decide(caller, interaction, Some(wanted.kind)).map_err(|denied| {
            let issue = Issue::at("forbidden", "Subscription.criteria", denied.to_string());
            refuse(StatusCode::FORBIDDEN, issue)
        })?;
    }
    let mut status = wanted.status;
    if status != Status::Off {
        let endpoint =
            |why: crate::outgoing::Refusal| Issue::at("value", "Subscription.channel.endpoint", why.to_string());
        app.outgoing.allows(&wanted.endpoint).await.map_err(|why| invalid(endpoint(why)))?;
        room(app).await?;
        // The other states are this server's to say.
        status = Status::Requested;
    }
    let broken = |_| refuse(StatusCode::SERVICE_UNAVAILABLE, Issue::new("transient", "try again"));
    let maker = seal_maker(&app.core, caller).map_err(broken)?;
    let json = with_maker(with_status(resource.json().clone(), status, None), &maker);
    validate(json).map_err(|issues| {
        let issue = issues.into_iter().next().unwrap_or_else(|| Issue::new("invalid", "the Subscription is not valid"));
        invalid(issue)
    })
}

async fn room(app: &App) -> Result<(), Refused> {
    let store = app.core.store.clone();
    let count = in_background(move || Ok(store.subscriptions()?.len())).await;
    match count {
        Ok(count) if count < MAX_SUBSCRIPTIONS => Ok(()),
        Ok(_) => {
            let issue = Issue::new("too-costly", format!("there are {MAX_SUBSCRIPTIONS} subscriptions already"));
            Err(Refused { status: StatusCode::TOO_MANY_REQUESTS, issue })
        }
        Err(error) => Err(Refused { status: StatusCode::SERVICE_UNAVAILABLE, issue: error.issue() }),
    }
}

/// `GET /fhir/Subscription/{id}/$status`.
pub async fn status(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let found = found(&call, id).await?;
    let body = bundle(&call.app.core, &found, Why::Status, &[], Content::Empty).map_err(|e| unreadable(&e))?;
    Ok(fhir(StatusCode::OK, body))
}

/// `GET /fhir/Subscription/{id}/$events`: what a receiver that missed something asks for.
pub async fn events_of(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let found = found(&call, id).await?;
    may(&call.caller, Interaction::Read, Some(found.wanted.kind))?;
    let asked = asked(&call.request.query).map_err(bad_request)?;
    let (store, id) = (call.app.core.store.clone(), found.id.clone());
    let (from, to) = (asked.from, asked.to);
    let notices =
        in_background(move || store.notices(&id, from, to, DEFAULT_PAGE)).await.map_err(|e| unreadable(&e))?;
    let events = events(&call.app.core, notices).await.map_err(|e| unreadable(&e))?;
    let content = asked.content.unwrap_or(found.wanted.content);
    let body = bundle(&call.app.core, &found, Why::Query, &events, content).map_err(|e| unreadable(&e))?;
    Ok(fhir(StatusCode::OK, body))
}

async fn found(call: &Call<'_>, id: &str) -> Result<Live, Reply> {
    let kind = TypeName::parse("Subscription").ok_or_else(not_found)?;
    may(&call.caller, Interaction::Read, Some(kind))?;
    let id = ResourceId::parse(id).ok_or_else(not_found)?;
    live(&call.app.core, &id).await.map_err(|e| unreadable(&e))?.ok_or_else(not_found)
}

struct Asked {
    from: u64,
    to: u64,
    content: Option<Content>,
}

fn asked(query: &str) -> Result<Asked, Issue> {
    let bad = |text: &str| Issue::new("value", text);
    let mut asked = Asked { from: 0, to: u64::MAX, content: None };
    for (name, value) in pairs(query).map_err(|text| Issue::new("value", text))? {
        let number = || value.parse::<u64>().map_err(|_| bad("eventsSinceNumber, eventsUntilNumber: whole numbers"));
        match (name.as_str(), value.as_str()) {
            ("eventsSinceNumber", _) => asked.from = number()?,
            ("eventsUntilNumber", _) => asked.to = number()?,
            ("content", "empty") => asked.content = Some(Content::Empty),
            ("content", "id-only") => asked.content = Some(Content::Ids),
            ("content", "full-resource") => asked.content = Some(Content::Resources),
            ("content", _) => return Err(bad("content: empty, id-only or full-resource")),
            ("_format" | "_pretty", _) => {}
            (other, _) => {
                let text = format!("{}: $events does not hold this parameter", super::query::shown(other));
                return Err(Issue::new("not-supported", text));
            }
        }
    }
    Ok(asked)
}
