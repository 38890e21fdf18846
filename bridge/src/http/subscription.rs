//! Subscriptions over HTTP: what is checked before one is stored, and the backport's `$status` and `$events`.

use super::fhir::{bad_request, may};
use super::query::pairs;
use super::reply::{Reply, fhir, unreadable};
use super::routes::{Call, not_found};
use super::search::surroundings;
use crate::app::App;
use crate::consent::decide::decide;
use crate::error::{IngestError, Issue};
use crate::fhir::bundle::at_entry;
use crate::fhir::subscription::{Content, Status, Wanted, with_maker, with_status};
use crate::fhir::validate::{Validated, validate};
use crate::fhir::write::{Act, Write};
use crate::ids::{ResourceId, TypeName};
use crate::limits::{DEFAULT_PAGE, MAX_SUBSCRIPTIONS};
use crate::notify::message::{Damaged, Why, bundle, events};
use crate::notify::{Live, live, seal_maker};
use crate::read::in_background;
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use warp::http::StatusCode;

/// Checks each Subscription among writes and puts its maker in: who wants to be told must be allowed to ask, and the endpoint
/// must be one that this server sends to. Whoever commits writes of a client calls this before.
pub async fn prepare(app: &App, caller: &Caller, writes: &mut [Write]) -> Result<(), IngestError> {
    for write in writes {
        let prepared = match &mut write.act {
            Act::Create { resource, .. } | Act::Update { resource, .. } if is_subscription(resource.kind()) => {
                prepared(app, caller, resource).await.map(|prepared| *resource = prepared)
            }
            // What comes out of a patch is known to the committer alone, which knows no caller.
            Act::Patch { target, .. } if is_subscription(target.kind) => Err(IngestError::Invalid(vec![Issue::new(
                "not-supported",
                "a Subscription is not patched: send it whole",
            )])),
            // A message brings no Subscription: no map makes one.
            Act::Create { .. }
            | Act::Update { .. }
            | Act::Patch { .. }
            | Act::Delete { .. }
            | Act::Recognise { .. } => Ok(()),
        };
        prepared.map_err(|error| match write.entry {
            Some(n) => error.located(|issue| at_entry(issue, n)),
            None => error,
        })?;
    }
    Ok(())
}

fn is_subscription(kind: TypeName) -> bool {
    kind.as_str() == "Subscription"
}

async fn prepared(app: &App, caller: &Caller, resource: &Validated) -> Result<Validated, IngestError> {
    let invalid = |issue| IngestError::Invalid(vec![issue]);
    let wanted = Wanted::read(resource.json(), &surroundings(app)).map_err(invalid)?;
    for interaction in [Interaction::Read, Interaction::Search] {
        decide(caller, interaction, Some(wanted.kind)).map_err(|denied| {
            IngestError::Forbidden(Issue::at("forbidden", "Subscription.criteria", denied.to_string()))
        })?;
    }
    let mut status = wanted.status;
    if status != Status::Off {
        let allowed = app.outgoing.allows(&wanted.endpoint).await;
        let place = "Subscription.channel.endpoint";
        allowed.map_err(|why| invalid(Issue::at("value", place, why.to_string())))?;
        room(app).await?;
        // The other states are this server's to say.
        status = Status::Requested;
    }
    let maker = seal_maker(&app.core, caller)?;
    let json = with_maker(with_status(resource.json().clone(), status, None), &maker);
    validate(json).map_err(IngestError::Invalid)
}

async fn room(app: &App) -> Result<(), IngestError> {
    let store = app.core.store.clone();
    if in_background(move || Ok(store.subscriptions()?.len())).await? < MAX_SUBSCRIPTIONS {
        return Ok(());
    }
    let text = format!("there are {MAX_SUBSCRIPTIONS} subscriptions already");
    Err(IngestError::Invalid(vec![Issue::new("too-costly", text)]))
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
    let (store, id) = (call.app.core.store.clone(), found.kept.id.clone());
    let (from, to) = (asked.from, asked.to);
    let notices =
        in_background(move || store.notices(&id, from, to, DEFAULT_PAGE)).await.map_err(|e| unreadable(&e))?;
    let events = events(&call.app.core, notices, Damaged::LeftOut).await.map_err(|e| unreadable(&e))?;
    let content = asked.content.unwrap_or(found.wanted.content);
    let body = bundle(&call.app.core, &found, Why::Query, &events, content).map_err(|e| unreadable(&e))?;
    Ok(fhir(StatusCode::OK, body))
}

async fn found(call: &Call<'_>, id: &str) -> Result<Live, Reply> {
    let kind = TypeName::parse("Subscription").ok_or_else(not_found)?;
    may(&call.caller, Interaction::Read, Some(kind))?;
    let id = ResourceId::parse(id).ok_or_else(not_found)?;
    let (core, store) = (&call.app.core, call.app.core.store.clone());
    let kept =
        in_background(move || store.subscription(&id)).await.map_err(|e| unreadable(&e))?.ok_or_else(not_found)?;
    live(core, kept).await.map_err(|e| unreadable(&e))?.ok_or_else(not_found)
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
