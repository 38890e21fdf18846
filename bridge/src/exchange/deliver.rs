//! Delivers what was pushed: again and again, later and later, until the receiver has signed for it or has refused it. What the patient
//! consents to is asked anew each time.

use super::error::ExchangeError;
use super::order::Order;
use super::parcel::{Parcel, pack};
use super::participants::Partner;
use super::peers::{Intent, ask, granted, outside_of};
use super::respond::{caller, derived};
use super::signed::{Delivery, check_delivery};
use super::store::{participant, signature};
use super::{of, peers, plain};
use crate::app::App;
use crate::audit::event::{Access, Detail, Did, Outcome};
use crate::audit::worker::add;
use crate::clock::instant;
use crate::commit::{Author, Transaction};
use crate::consent::decide::decide;
use crate::error::IngestError;
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
use notary::canonical::Json;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;

/// Where other bridges take what is pushed.
pub const PATH: &str = "/exchange/peer/push";
/// How often it is looked for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Pushes under way at the same time.
const AT_ONCE: usize = 8;

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
enum Done {
    Delivered {
        receipt: Option<String>,
        withheld: usize,
    },
    /// What is sent is not anchored yet.
    NotYet,
}

/// Delivers for ever.
pub async fn run(app: Arc<App>) {
    if app.exchange.is_none() {
        return;
    }
    loop {
        app.core.lease.wait().await;
        if let Err(error) = round(&app).await {
            tracing::error!(%error, "the queue of pushes does not go on; it will be tried again");
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn round(app: &Arc<App>) -> Result<(), ExchangeError> {
    let (store, now) = (app.core.store.clone(), now(app));
    let due = in_background(move || {
        store.forget_pushes(now - 4 * GIVE_UP.as_millis() as i64)?;
        store.due_pushes(now, AT_ONCE)
    });
    let tries = due.await?.into_iter().map(|push| turn(app, push));
    futures_util::future::join_all(tries).await.into_iter().collect()
}

/// One try of one push. A crash before it is settled leaves it waiting: it is sent again, and the receiver knows it.
async fn turn(app: &Arc<App>, push: Push) -> Result<(), ExchangeError> {
    let Some(mut order) = Order::open(&app.core, &push) else {
        tracing::error!(push = %push.id, "a push cannot be read and is given up");
        return settle(app, &push, Push { state: State::GivenUp, ..push.clone() }).await;
    };
    let after = match deliver(app, &push.id, &order).await {
        Ok(Done::NotYet) => Push { due: now(app) + LOOK.as_millis() as i64, ..push.clone() },
        Ok(Done::Delivered { receipt, withheld }) => {
            (order.receipt, order.withheld, order.why) = (receipt, withheld, None);
            Push { state: State::Delivered, ..push.clone() }
        }
        Err(error) => {
            tracing::warn!(push = %push.id, to = %order.to, %error, "a push was not delivered");
            order.why = error.issues().first().map(|issue| issue.text.clone());
            missed(app, &push, error.may_pass())
        }
    };
    let sealed = order.seal(&app.core).map_err(crate::error::VaultError::from)?;
    settle(app, &push, Push { sealed, ..after }).await
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

async fn deliver(app: &Arc<App>, id: &str, order: &Order) -> Result<Done, ExchangeError> {
    let exchange = of(app)?;
    let patient = Name::parse(&order.patient).ok_or(ExchangeError::NoPatient)?;
    if let Some(server) = exchange.settings.fhir.iter().find(|server| server.id == order.to) {
        let (opened, caller, withheld) = consented(app, order, &patient, server.id.as_str()).await?;
        plain::send(app, server, &opened).await?;
        tell(app, &caller).await;
        return Ok(Done::Delivered { receipt: None, withheld });
    }
    let partner = exchange.directory.partner(&order.to, &app.outgoing, peers::now(app)).await?;
    let (opened, caller, withheld) = consented(app, order, &patient, &partner.document.said.name).await?;
    let parcel = pack(&app.core, &patient, opened).await?;
    if parcel.more {
        return Err(ExchangeError::TooMuch);
    }
    if !parcel.is_anchored() {
        return Ok(Done::NotYet);
    }
    let receipt = hand_over(app, &partner, id, &parcel, &order.intent()).await?;
    tell(app, &caller).await;
    let provenance = note(app, &partner, id, order, &receipt).await?;
    Ok(Done::Delivered { receipt: Some(provenance.to_string()), withheld })
}

/// What of an order the patient consents to give to this organisation now. Without himself nobody could tell whose it is.
async fn consented(
    app: &App,
    order: &Order,
    patient: &Name,
    name: &str,
) -> Result<(Vec<Opened>, Caller, usize), ExchangeError> {
    let Intent { user, purpose } = order.intent();
    let outside = outside_of(app, &order.to, name, user, purpose).await?;
    let purpose = outside.purpose.code.clone();
    let caller = caller(patient, outside)?;
    let mut opened = Vec::with_capacity(order.places.len());
    for (name, version) in &order.places {
        let Some(name) = Name::parse(name) else { continue };
        let permit = decide(&caller, Interaction::Read, Some(name.kind));
        let permit = permit.map_err(|denied| ExchangeError::Forbidden(denied.to_string()))?;
        opened.extend(read::read(&app.core, &permit, &name, Some(Version(*version))).await?);
    }
    if opened.first().is_none_or(|first| first.stored.name != *patient) {
        let text = format!("the patient has not consented that {name} gets this for {purpose}, or not with who he is");
        return Err(ExchangeError::Consent(text));
    }
    let withheld = order.places.len() - opened.len();
    Ok((opened, caller, withheld))
}

/// Sends it, and gives the receiver's receipt, which was checked.
async fn hand_over(
    app: &App,
    partner: &Partner,
    id: &str,
    parcel: &Parcel,
    intent: &Intent,
) -> Result<String, ExchangeError> {
    const BAD: ExchangeError = ExchangeError::Malformed("the parcel cannot be written");
    let text = serde_json::value::to_raw_value(parcel).map_err(|_| BAD)?;
    let given = serde_json::to_vec(&Given { delivery: id.to_owned(), parcel: text }).map_err(|_| BAD)?;
    let answer = granted(ask(app, partner, PATH, given, intent).await?)?;
    let Signed { receipt } = serde_json::from_slice(&answer).map_err(|_| ExchangeError::Answer)?;
    let Delivery { iss, aud, delivery, content, .. } =
        check_delivery(&receipt, &partner.document).map_err(|_| ExchangeError::Answer)?;
    let is_ours = iss == partner.id.as_str() && aud == of(app)?.settings.id.as_str();
    let is_this = delivery == id && content == parcel.content().to_string();
    if is_ours && is_this { Ok(receipt) } else { Err(ExchangeError::Answer) }
}

/// The delivery receipt as part of the record: it has a log entry, and so a receipt of its own.
async fn note(app: &Arc<App>, to: &Partner, id: &str, order: &Order, text: &str) -> Result<Name, ExchangeError> {
    let kind = TypeName::parse("Provenance").ok_or(ExchangeError::NotFound)?;
    let name = Name { kind, id: derived("sent", &[id]) };
    let (now, who) = (instant(app.core.clock.now()), reference(&to.id, &to.document.said.name));
    let versions =
        order.places.iter().map(|(name, version)| json!({"reference": format!("{name}/_history/{version}")}));
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

/// Tells in the trail what left.
async fn tell(app: &App, caller: &Caller) {
    let accesses = caller.seen.take().shown.into_iter().map(|(patient, resources)| {
        let access = Access { who: Some(caller.who()), did: Did("operation"), outcome: Outcome::Done, patient };
        (access, Detail { resources, ..Detail::at(app.core.clock.now()) })
    });
    if add(&app.core.trail, accesses.collect()).await.is_err() {
        tracing::error!("the audit trail is full: a push is not told of");
    }
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
