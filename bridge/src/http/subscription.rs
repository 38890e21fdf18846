//! Subscriptions over HTTP: what is checked before one is stored, and the backport's `$status` and `$events`.

use super::fhir::{bad_request, may, may_all};
use super::query::pairs;
use super::reply::{Reply, fhir, unreadable};
use super::routes::{Call, not_found};
use super::search::surroundings;
use crate::app::App;
use crate::consent::decide::{Permit, decide};
use crate::error::{IngestError, Issue};
use crate::fhir::bundle::at_entry;
use crate::fhir::patch::Patch;
use crate::fhir::subscription::{Content, Status, Wanted, with_maker, with_status};
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::ids::{ResourceId, TypeName};
use crate::limits::{KEPT_EVENTS, MAX_SUBSCRIPTIONS_AT_ONCE};
use crate::notify::message::{Damaged, Told, Why, bundle, events};
use crate::notify::{Live, live, seal_maker};
use crate::read::in_background;
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use futures_util::future::try_join_all;
use notary::canonical::Json;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedMutexGuard;
use warp::http::StatusCode;

/// Keeps the room that was found until the writes are committed: whoever looks for room next sees them.
#[derive(Debug)]
#[must_use = "hold it until the writes are committed"]
pub struct Prepared {
    _room: Option<OwnedMutexGuard<()>>,
}

/// A Subscription that is to be on, and where it stands.
struct On {
    entry: Option<usize>,
    /// None: it is new, or a search names it.
    id: Option<ResourceId>,
    endpoint: String,
}

/// Checks each Subscription among writes and puts its maker in: who wants to be told must be allowed to ask, and the endpoint
/// must be one that this server sends to. Whoever commits writes of a client calls this before, and holds what it gives until
/// they are committed.
pub async fn prepare(app: &App, caller: &Caller, writes: &mut [Write]) -> Result<Prepared, IngestError> {
    let mut on = Vec::new();
    for write in writes {
        let entry = write.entry;
        let prepared = prepared(app, caller, &mut write.act).map_err(|error| located(error, entry))?;
        on.extend(prepared.map(|(id, endpoint)| On { entry, id, endpoint }));
    }
    if on.is_empty() {
        return Ok(Prepared { _room: None });
    }
    if on.len() > MAX_SUBSCRIPTIONS_AT_ONCE {
        return Err(too_many(format!("at most {MAX_SUBSCRIPTIONS_AT_ONCE} Subscriptions in one transaction")));
    }
    // All at the same time: each may take as long as a name takes that does not resolve.
    try_join_all(on.iter().map(|one| reachable(app, one))).await?;
    Ok(Prepared { _room: Some(room(app, on).await?) })
}

/// What is wrong with an entry of a Bundle is told there.
fn located(error: IngestError, entry: Option<usize>) -> IngestError {
    match entry {
        Some(n) => error.located(|issue| at_entry(issue, n)),
        None => error,
    }
}

fn is_subscription(kind: TypeName) -> bool {
    kind.as_str() == "Subscription"
}

/// The id and the endpoint of a Subscription that is to be on.
fn prepared(app: &App, caller: &Caller, act: &mut Act) -> Result<Option<(Option<ResourceId>, String)>, IngestError> {
    let (id, resource) = match act {
        Act::Create { resource, .. } if is_subscription(resource.kind()) => (None, resource),
        Act::Update { resource, target } if is_subscription(resource.kind()) => (named(target), resource),
        // Labels are nothing that a Subscription asks by.
        Act::Patch { patch: Patch::Labels(_), .. } => return Ok(None),
        // What comes out of a patch is known to the committer alone, which knows no caller.
        Act::Patch { target, .. } if is_subscription(target.kind) => {
            let text = "a Subscription is not patched: send it whole";
            return Err(IngestError::Invalid(vec![Issue::new("not-supported", text)]));
        }
        // A message brings no Subscription: no map makes one.
        Act::Create { .. } | Act::Update { .. } | Act::Patch { .. } | Act::Delete { .. } | Act::Recognise { .. } => {
            return Ok(None);
        }
    };
    let wanted = allowed(app, caller, resource.json())?;
    // The other states are this server's to say.
    let status = if wanted.status == Status::Off { Status::Off } else { Status::Requested };
    let maker = seal_maker(&app.core, caller)?;
    let json = with_maker(with_status(resource.json().clone(), status, None), &maker);
    *resource = validate(json).map_err(IngestError::Invalid)?;
    Ok((status != Status::Off).then_some((id, wanted.endpoint)))
}

fn named(target: &Target) -> Option<ResourceId> {
    if let By::Id(id) = &target.by { Some(id.clone()) } else { None }
}

/// What a Subscription asks for, where its maker may read that.
fn allowed(app: &App, caller: &Caller, resource: &Json) -> Result<Wanted, IngestError> {
    let wanted = Wanted::read(resource, &surroundings(app)).map_err(|issue| IngestError::Invalid(vec![issue]))?;
    for interaction in [Interaction::Read, Interaction::Search] {
        decide(caller, interaction, Some(wanted.kind)).map_err(|denied| {
            IngestError::Forbidden(Issue::at("forbidden", "Subscription.criteria", denied.to_string()))
        })?;
    }
    Ok(wanted)
}

async fn reachable(app: &App, one: &On) -> Result<(), IngestError> {
    app.outgoing.allows(&one.endpoint).await.map_err(|why| {
        let issue = Issue::at("value", "Subscription.channel.endpoint", why.to_string());
        located(IngestError::Invalid(vec![issue]), one.entry)
    })
}

/// Room for those that are not on yet.
async fn room(app: &App, wanted: Vec<On>) -> Result<OwnedMutexGuard<()>, IngestError> {
    let room = app.core.notices.room.clone().lock_owned().await;
    let store = app.core.store.clone();
    let on = in_background(move || store.subscribed_ids()).await?;
    let new = wanted.iter().filter(|one| one.id.as_ref().is_none_or(|id| !on.contains(id))).count();
    let most = app.core.notices.most.load(Ordering::Relaxed);
    if new > 0 && on.len() + new > most {
        return Err(too_many(format!("there are {} subscriptions, and no more than {most} can be on", on.len())));
    }
    Ok(room)
}

fn too_many(text: String) -> IngestError {
    IngestError::Invalid(vec![Issue::new("too-costly", text)])
}

/// `GET /fhir/Subscription/{id}/$status`.
pub async fn status(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let found = found(&call, id).await?;
    let told = Told { why: Why::Status, events: &[], content: Content::Empty, next: None };
    let body = bundle(&call.app.core, &found, &told).map_err(|e| unreadable(&e))?;
    Ok(fhir(StatusCode::OK, body))
}

/// `GET /fhir/Subscription/{id}/$events`: what a receiver that missed something asks for.
pub async fn events_of(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let found = found(&call, id).await?;
    let permit = may(&call.caller, Interaction::Read, Some(found.wanted.kind))?;
    let asked = asked(&call.request.query).map_err(bad_request)?;
    let (store, id) = (call.app.core.store.clone(), found.kept.id.clone());
    let (from, to) = (asked.from, asked.to);
    let limit = KEPT_EVENTS as usize;
    let notices = in_background(move || store.notices(&id, from, to, limit)).await.map_err(|e| unreadable(&e))?;
    let last = notices.last().map_or(0, |notice| notice.number);
    let full = notices.len() == limit;
    let content = asked.content.unwrap_or(found.wanted.content);
    let events = events(&call.app.core, &permit, notices, content, Damaged::LeftOut).await;
    let (events, upto) = events.map_err(|e| unreadable(&e))?;
    let next = (full || upto < last).then(|| rest(&call, &found, &asked, upto + 1));
    let told = Told { why: Why::Query, events: &events, content, next };
    let body = bundle(&call.app.core, &found, &told).map_err(|e| unreadable(&e))?;
    Ok(fhir(StatusCode::OK, body))
}

/// Where the events from a number on are.
fn rest(call: &Call<'_>, live: &Live, asked: &Asked, from: u64) -> String {
    let base = format!("{}/Subscription/{}/$events", call.app.core.base, live.kept.id);
    let until = if asked.to == u64::MAX { String::new() } else { format!("&eventsUntilNumber={}", asked.to) };
    let content = asked.content.map_or(String::new(), |content| format!("&content={}", content.code()));
    format!("{base}?eventsSinceNumber={from}{until}{content}")
}

async fn found(call: &Call<'_>, id: &str) -> Result<Live, Reply> {
    let kind = TypeName::parse("Subscription").ok_or_else(not_found)?;
    let permit = may_all(&call.caller, Interaction::Read, Some(kind))?;
    let id = ResourceId::parse(id).ok_or_else(not_found)?;
    let (core, store) = (&call.app.core, call.app.core.store.clone());
    let kept =
        in_background(move || store.subscription(&id)).await.map_err(|e| unreadable(&e))?.ok_or_else(not_found)?;
    let live = live(core, kept).await.map_err(|e| unreadable(&e))?;
    live.filter(|live| is_own(&permit, live)).ok_or_else(not_found)
}

/// Whether who asks has made it; whom nobody is asked about sees all.
pub(super) fn is_own(permit: &Permit, live: &Live) -> bool {
    permit.asker().is_none_or(|asker| asker.is_caller(&live.maker))
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
            ("content", code) => {
                let content = Content::of(code).ok_or_else(|| bad("content: empty, id-only or full-resource"))?;
                asked.content = Some(content);
            }
            ("_format" | "_pretty", _) => {}
            (other, _) => {
                let text = format!("{}: $events does not hold this parameter", super::query::shown(other));
                return Err(Issue::new("not-supported", text));
            }
        }
    }
    Ok(asked)
}
