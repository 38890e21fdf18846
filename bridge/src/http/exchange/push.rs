//! Pushes: asked for here, delivered in the background, and asked about.

use super::super::reply::{Reply, body, with_header};
use super::super::routes::{Call, not_found};
use super::own::{intent, whole};
use super::{read, refused};
use crate::clock::instant;
use crate::config::ParticipantId;
use crate::exchange::error::ExchangeError;
use crate::exchange::of;
use crate::exchange::order::{Order, Wanted, by, order};
use crate::ids::Name;
use crate::index::pushes::Push;
use crate::read::in_background;
use crate::smart::scopes::Interaction;
use serde::Deserialize;
use serde_json::{Value, json};
use warp::http::{StatusCode, header};

/// `POST /exchange/push`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    id: Option<String>,
    to: ParticipantId,
    patient: String,
    #[serde(default)]
    queries: Vec<String>,
    #[serde(default)]
    resources: Vec<String>,
    purpose: Option<String>,
}

/// Queues one: 202, and where to ask how it went.
pub(super) async fn begin(call: Call<'_>) -> Result<Reply, Reply> {
    let exchange = of(call.app).map_err(|error| refused(&error))?;
    let asked: Asked = read(call.body).map_err(|error| refused(&error))?;
    whole(&call, Interaction::Search)?;
    whole(&call, Interaction::Read)?;
    let malformed = |what| refused(&ExchangeError::Malformed(what));
    let patient = Name::parse(&asked.patient).filter(|name| name.kind.as_str() == "Patient");
    let patient = patient.ok_or_else(|| malformed("`patient` is Patient/id"))?;
    if asked.to == exchange.settings.id {
        return Err(malformed("`to` is another organisation"));
    }
    let Asked { id, to, queries, resources, purpose, .. } = asked;
    let intent = intent(&call, purpose.as_deref())?;
    let wanted = Wanted { id, to, patient, queries, resources, intent };
    let id = order(call.app, &call.caller, wanted).await.map_err(|error| refused(&error))?;
    let own = call.app.core.base.strip_suffix("/fhir").unwrap_or(&call.app.core.base);
    let reply = body(StatusCode::ACCEPTED, "application/json", json!({"id": id}).to_string());
    Ok(with_header(reply, header::LOCATION, &format!("{own}/exchange/push/{id}")))
}

/// `GET /exchange/push/{id}`: of who asked for it.
pub(super) async fn state(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    of(call.app).map_err(|error| refused(&error))?;
    let (store, key) = (call.app.core.store.clone(), id.to_owned());
    let found = in_background(move || store.push(&key)).await.map_err(|error| refused(&error.into()))?;
    let found = found.and_then(|push| Order::open(&call.app.core, &push).map(|order| (push, order)));
    let (push, order) = found.filter(|(_, order)| order.by == by(&call.caller)).ok_or_else(not_found)?;
    Ok(body(StatusCode::OK, "application/json", told(&push, &order).to_string()))
}

fn told(push: &Push, order: &Order) -> Value {
    let time = |milliseconds| instant(jiff::Timestamp::from_millisecond(milliseconds).unwrap_or_default());
    let mut told = json!({
        "id": push.id, "state": push.state.name(), "to": order.to, "failures": push.failures,
        "resources": order.places.len(), "withheld": order.withheld,
        "made": time(push.made), "changed": time(push.changed),
    });
    for (name, value) in [("why", &order.why), ("receipt", &order.receipt)] {
        value.iter().for_each(|value| told[name] = value.as_str().into());
    }
    if !order.uncarried.is_empty() {
        told["notCarried"] = order.uncarried.clone().into();
    }
    told
}
