//! Delivers what was pushed: again and again, later and later, until the receiver has signed for it or has refused it. What the patient
//! consents to is asked anew each time.

use super::contents::{self, is_content};
use super::error::ExchangeError;
use super::order::{Order, Sent};
use super::parcel::{Parcel, pack};
use super::participants::Partner;
use super::peers::{Intent, ask, granted, outside_of};
use super::respond::{caller, derived};
use super::signed::{Delivery, check_delivery};
use super::store::{participant, signature};
use super::{hl7v2, of, peers, plain, rules};
use crate::app::App;
use crate::audit::event::{Access, Detail, Did, Outcome};
use crate::audit::worker::add;
use crate::clock::instant;
use crate::commit::{Author, Transaction};
use crate::consent::decide::decide;
use crate::error::{IngestError, VaultError};
use crate::exchange::document::reference;
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::ids::{Name, TypeName, Version};
use crate::index::pushes::{Push, State};
use crate::ingest::commit;
use crate::limits::{FIRST_RETRY, GIVE_UP, LAST_RETRY};
use crate::read::{self, Opened, in_background};
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use futures_util::stream::{FuturesUnordered, StreamExt};
use notary::canonical::Json;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Where other bridges take what is pushed.
pub const PATH: &str = "/exchange/peer/push";
/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Receivers that are written to at the same time; each holds a parcel in memory.
const AT_ONCE: usize = 16;
/// Pushes to one receiver that are held in memory: those after them are looked for again.
const LOOKED_AT: usize = 64;

/// What is sent.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The sender's name of it: the same is stored once.
    pub delivery: String,
    pub parcel: Box<RawValue>,
}

/// What comes back.
#[derive(Serialize, Deserialize)]
pub struct Signed {
    /// The delivery receipt, a JWS.
    pub receipt: String,
}

crate::redacted_debug!(Given, Signed);

/// How a try ended.
pub(super) enum Done {
    Delivered {
        receipt: Option<String>,
        withheld: usize,
    },
    /// What is sent is not anchored yet, or there is more than one turn sends.
    NotYet,
}

/// Delivers for ever, a queue for each receiver: a slow or dead one takes no time of others.
pub async fn run(app: Arc<App>) {
    if app.exchange.is_none() {
        return;
    }
    let (mut queues, mut busy) = (FuturesUnordered::new(), BTreeSet::new());
    loop {
        tokio::select! {
            Some(receiver) = queues.next() => {
                busy.remove(&receiver);
            }
            due = look(&app) => for receiver in due {
                if busy.len() < AT_ONCE && busy.insert(receiver.clone()) {
                    queues.push(queue(&app, receiver));
                }
            },
        }
    }
}

/// The receivers of what is due, after a while.
async fn look(app: &App) -> Vec<String> {
    tokio::time::sleep(LOOK).await;
    app.core.lease.wait().await;
    let (store, now) = (app.core.store.clone(), now(app));
    let due = in_background(move || {
        store.forget_pushes(now - 4 * GIVE_UP.as_millis() as i64)?;
        store.due_receivers(now)
    });
    due.await.unwrap_or_else(|error| {
        tracing::error!(%error, "the queue of pushes does not go on; it will be tried again");
        Vec::new()
    })
}

async fn queue(app: &Arc<App>, receiver: String) -> String {
    if let Err(error) = in_turn(app, &receiver).await {
        tracing::error!(%error, "a queue of pushes does not go on; it will be tried again");
    }
    receiver
}

/// The pushes to one receiver. Once one could not be handed over, the others wait as long as that one.
async fn in_turn(app: &Arc<App>, receiver: &str) -> Result<(), ExchangeError> {
    let (store, now, receiver) = (app.core.store.clone(), now(app), receiver.to_owned());
    let mut away = None;
    for push in in_background(move || store.due_pushes(&receiver, now, LOOKED_AT)).await? {
        let Some(order) = Order::open(&app.core, &push) else {
            tracing::error!(push = %push.id, "a push cannot be read and is given up");
            settle(app, &push, Push { state: State::GivenUp, ..push.clone() }).await?;
            continue;
        };
        match away {
            Some(due) => settle(app, &push, Push { due, ..push.clone() }).await?,
            None => away = turn(app, &push, order).await?,
        }
    }
    Ok(())
}

/// One try of one push; when the next one is due, where the receiver could not be reached. A crash before it is settled leaves it
/// waiting: it is sent again, and the receiver knows it.
async fn turn(app: &Arc<App>, push: &Push, mut order: Order) -> Result<Option<i64>, ExchangeError> {
    let mut away = None;
    let after = match deliver(app, push, &mut order).await {
        Ok(Done::NotYet) => not_yet(app, push),
        Ok(Done::Delivered { receipt, withheld }) => {
            (order.receipt, order.withheld, order.why) = (receipt, withheld, None);
            Push { state: State::Delivered, ..push.clone() }
        }
        Err(error) => {
            tracing::warn!(push = %push.id, why = error.inside(), "a push was not delivered");
            order.why = error.issues().first().map(|issue| issue.text.clone());
            let after = missed(app, push, error.may_pass());
            away = Some(after.due).filter(|_| error.may_pass());
            after
        }
    };
    let sealed = order.seal(&app.core).map_err(VaultError::from)?;
    settle(app, push, Push { sealed, ..after }).await?;
    Ok(away)
}

/// What waits for an anchor is looked at again when it is an eighth older.
fn not_yet(app: &App, push: &Push) -> Push {
    let (now, given_up) = (now(app), GIVE_UP.as_millis() as i64);
    let age = now - push.made;
    let state = if age > given_up { State::GivenUp } else { State::Waits };
    let pause = (age / 8).clamp(LOOK.as_millis() as i64, LAST_RETRY.as_millis() as i64);
    Push { state, due: now + pause, ..push.clone() }
}

fn missed(app: &App, push: &Push, may_pass: bool) -> Push {
    let (failures, now) = (push.failures.saturating_add(1), now(app));
    let state = match may_pass {
        false => State::Refused,
        true if now - push.made > GIVE_UP.as_millis() as i64 => State::GivenUp,
        true => State::Waits,
    };
    Push { state, failures, due: now + pause(failures).as_millis() as i64, ..push.clone() }
}

/// Twice as long after each failure, up to a bound.
fn pause(failures: u32) -> Duration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(LAST_RETRY)
}

fn now(app: &App) -> i64 {
    app.core.clock.now().as_millisecond()
}

async fn settle(app: &App, before: &Push, after: Push) -> Result<(), ExchangeError> {
    let (store, before, after) = (app.core.store.clone(), before.clone(), Push { changed: now(app), ..after });
    Ok(in_background(move || store.settle_push(&before, &after)).await.map(|_| ())?)
}

async fn deliver(app: &Arc<App>, push: &Push, order: &mut Order) -> Result<Done, ExchangeError> {
    let exchange = of(app)?;
    let patient = Name::parse(&order.patient).ok_or(ExchangeError::NoPatient)?;
    rules::in_time(app, push, order).await?;
    if let Some(server) = exchange.settings.fhir.iter().find(|server| server.id == order.to) {
        let going = consented(app, order, &patient, server.id.as_str()).await?;
        tell(app, &going.caller).await?;
        plain::send(app, server, &going.opened).await?;
        return Ok(Done::Delivered { receipt: None, withheld: order.places.len() - going.places.len() });
    }
    if let Some(receiver) = exchange.settings.hl7v2.iter().find(|receiver| receiver.id == order.to) {
        let going = consented(app, order, &patient, receiver.id.as_str()).await?;
        return hl7v2::send(app, receiver, push, order, going).await;
    }
    let partner = exchange.directory.partner(&order.to, &app.partners, peers::now(app)).await?;
    let Going { opened, caller, places } = consented(app, order, &patient, &partner.document.said.name).await?;
    let parcel = pack(&app.core, &patient, opened).await?;
    if parcel.more {
        return Err(ExchangeError::TooMuch);
    }
    if !parcel.is_anchored() {
        return Ok(Done::NotYet);
    }
    // Told and written down before anything leaves: an answer that gets lost must not make it undone.
    if order.sends(Sent { content: parcel.content().to_string(), places }) {
        let sealed = order.seal(&app.core).map_err(VaultError::from)?;
        settle(app, push, Push { sealed, ..push.clone() }).await?;
    }
    tell(app, &caller).await?;
    let (receipt, taken) = hand_over(app, &partner, &push.id, &parcel, order).await?;
    let provenance = note(app, &partner, &push.id, (order, &taken), &receipt).await?;
    Ok(Done::Delivered { receipt: Some(provenance.to_string()), withheld: order.places.len() - taken.places.len() })
}

/// What is about to be sent.
pub(super) struct Going {
    pub opened: Vec<Opened>,
    pub caller: Caller,
    /// Which of the order's places.
    pub places: Vec<usize>,
}

/// What of an order the patient consents to give to this organisation now. Without himself nobody could tell whose it is.
async fn consented(app: &App, order: &Order, patient: &Name, name: &str) -> Result<Going, ExchangeError> {
    let Intent { user, purpose } = order.intent();
    let outside = outside_of(app, &order.to, name, user, purpose).await?;
    let purpose = outside.purpose.code.clone();
    let caller = caller(patient, outside)?;
    let (mut opened, mut places) = (Vec::with_capacity(order.places.len()), Vec::new());
    for (place, (name, version)) in order.places.iter().enumerate() {
        let Some(name) = Name::parse(name) else { continue };
        let permit = decide(&caller, Interaction::Read, Some(name.kind));
        let permit = permit.map_err(|denied| ExchangeError::Forbidden(denied.to_string()))?;
        let one = match is_content(&name) {
            true => contents::again(&app.core, &caller, patient, &opened, (&name, Version(*version))).await?,
            false => read::read(&app.core, &permit, &name, Some(Version(*version))).await?,
        };
        if let Some(one) = one {
            opened.push(one);
            places.push(place);
        }
    }
    let lacks = order.whole && places.len() < order.places.len();
    if lacks || opened.first().is_none_or(|first| first.stored.name != *patient) {
        let text = format!("the patient has not consented that {name} gets this for {purpose}, or not with who he is");
        return Err(ExchangeError::Consent(text));
    }
    Ok(Going { opened, caller, places })
}

/// Sends it, and gives the receiver's receipt, which was checked, and what it is for: what this try sent, or one before whose answer got
/// lost.
async fn hand_over(
    app: &App,
    partner: &Partner,
    id: &str,
    parcel: &Parcel,
    order: &Order,
) -> Result<(String, Sent), ExchangeError> {
    const BAD: ExchangeError = ExchangeError::Malformed("the parcel cannot be written");
    let text = serde_json::value::to_raw_value(parcel).map_err(|_| BAD)?;
    let given = serde_json::to_vec(&Given { delivery: id.to_owned(), parcel: text }).map_err(|_| BAD)?;
    let answer = granted(ask(app, partner, PATH, given, &order.intent()).await?)?;
    let Signed { receipt } = serde_json::from_slice(&answer).map_err(|_| ExchangeError::Answer)?;
    let Delivery { iss, aud, delivery, content, .. } =
        check_delivery(&receipt, &partner.document).map_err(|_| ExchangeError::Answer)?;
    let is_ours = iss == partner.id.as_str() && aud == of(app)?.settings.id.as_str();
    let taken = order.sent.iter().rev().find(|sent| sent.content == content).filter(|_| is_ours && delivery == id);
    taken.map(|taken| (receipt, taken.clone())).ok_or(ExchangeError::Answer)
}

/// The delivery receipt as part of the record: it has a log entry, and so a receipt of its own.
async fn note(
    app: &Arc<App>,
    to: &Partner,
    id: &str,
    (order, taken): (&Order, &Sent),
    text: &str,
) -> Result<Name, ExchangeError> {
    let kind = TypeName::parse("Provenance").ok_or(ExchangeError::NotFound)?;
    let name = Name { kind, id: derived("sent", &[id]) };
    let (now, who) = (instant(app.core.clock.now()), reference(&to.id, &to.document.said.name));
    let places = taken.places.iter().filter_map(|place| order.places.get(*place));
    let versions = places.map(|(name, version)| json!({"reference": format!("{name}/_history/{version}")}));
    let targets = [json!({"reference": order.patient})].into_iter().chain(versions);
    let told = json!({
        "resourceType": "Provenance", "id": name.id.as_str(), "recorded": now,
        "target": targets.collect::<Vec<_>>(),
        "activity": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle", "code": "transmit"}]},
        "agent": [{"type": participant("custodian"), "who": {"display": app.core.custodian}}],
        "signature": [signature(text, &now, &who)],
    });
    let resource = validate(Json::from(told)).map_err(ExchangeError::Invalid)?;
    let target = Target { kind, by: By::Id(name.id.clone()), if_match: None, only_new: true };
    let writes = vec![Write::alone(Act::Update { target, resource })];
    match commit(app, Transaction { by: Author::Service, writes, message: None }).await {
        Ok(_) | Err(IngestError::Precondition(_)) => Ok(name),
        Err(error) => Err(error.into()),
    }
}

/// Tells in the trail what leaves. What cannot be told does not leave.
pub(super) async fn tell(app: &App, caller: &Caller) -> Result<(), ExchangeError> {
    let accesses = caller.seen.take().shown.into_iter().map(|(patient, resources)| {
        let access = Access { who: Some(caller.who()), did: Did("operation"), outcome: Outcome::Done, patient };
        (access, Detail { resources, ..Detail::at(app.core.clock.now()) })
    });
    add(&app.core.trail, accesses.collect()).await.map_err(|_| {
        tracing::error!("the audit trail is full: a push waits");
        ExchangeError::Ingest(IngestError::Busy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_up_to_a_bound() {
        assert_eq!(pause(1), FIRST_RETRY);
        assert_eq!(pause(3), FIRST_RETRY * 4);
        assert_eq!(pause(u32::MAX), LAST_RETRY);
    }
}
