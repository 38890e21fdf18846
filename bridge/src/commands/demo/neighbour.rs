//! The house next door: a second medseal in this process, with data of its own. The two list each other by the digests of their documents,
//! which takes no chain but their own ledgers; and what went to and fro between them.

use super::super::Failed;
use super::super::serve::{self, Running};
use super::call::{anchored, ask, json, send, until};
use super::people::{CHILD, Houses, PATIENT, days, doctor, everything};
use crate::app;
use crate::clock::SystemClock;
use crate::config::{Accept, Config, Exchange as Settings, OnError, Otherwise, ParticipantId, Peer};
use crate::consent::grant::Recipient;
use crate::exchange::Exchange;
use notary::commitment::Digest;
use notary::consent::GrantKey;
use serde_json::json as value;
use std::net::TcpListener;
use std::sync::Arc;
use warp::http::StatusCode;

/// A transaction, as that of the own house.
const RECORD: &str = include_str!("../demo-next-door.json");
/// What the two are called.
const OWN: [&str; 4] = ["northquay", "Northquay Hospital", "Northquay", "Family medicine"];
const THEIRS: [&str; 4] = ["eastmoor", "Eastmoor Hospital", "Eastmoor", "Cardiology"];
const THEIR_PATIENT: &str = "Patient/east-runa";

/// It, before it is open.
pub struct Neighbour {
    config: Config,
    listed: Peer,
    /// Keeps its port for it.
    port: TcpListener,
}

impl Neighbour {
    /// Gives it a port and keys: by them it is listed before it is open.
    pub async fn introduced(mut config: Config) -> Result<Self, Failed> {
        config.custodian = "urn:oid:2.16.840.1.113883.19.5.98".into();
        config.log.origin = "eastmoor.local/log".into();
        config.http.set_port(0);
        config.mllp.set_port(0);
        let port = TcpListener::bind(config.http).map_err(Failed::from_error)?;
        config.http = port.local_addr().map_err(Failed::from_error)?;
        config.exchange = Some(exchanging(THEIRS, Vec::new())?);
        let opened = app::open(&config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
        let exchange = Exchange::open(&config, &opened.core, &opened.token_key).map_err(Failed::from_error)?;
        let listed = peer(exchange.as_ref(), &opened.core.base)?;
        Ok(Self { config, listed, port })
    }

    /// The configuration of the house beside it, whose senders' faulty messages are kept.
    pub fn beside(&self, mut own: Config) -> Result<Config, Failed> {
        own.exchange = Some(exchanging(OWN, vec![self.listed.clone()])?);
        own.feed.on_error = Some(OnError::Quarantine);
        Ok(own)
    }

    /// Opens it for the house beside it.
    pub async fn open(mut self, own: &Running) -> Result<Running, Failed> {
        let beside = peer(own.app.exchange.as_ref(), &own.app.core.base)?;
        self.config.exchange = Some(exchanging(THEIRS, vec![beside])?);
        drop(self.port);
        serve::start(self.config).await
    }
}

fn exchanging([id, name, place, service]: [&str; 4], peer: Vec<Peer>) -> Result<Settings, Failed> {
    Ok(Settings {
        id: ParticipantId::parse(id).ok_or_else(|| Failed(format!("{id} is no participant")))?,
        name: name.to_owned(),
        identifiers: Vec::new(),
        place: place.to_owned(),
        services: vec![service.to_owned()],
        directory: None,
        peer,
        fhir: Vec::new(),
        hl7v2: Vec::new(),
        rules: Vec::new(),
        accept: Accept::default(),
        consent: Otherwise::default(),
    })
}

/// A house as another one lists it.
fn peer(exchange: Option<&Exchange>, base: &str) -> Result<Peer, Failed> {
    let exchange = exchange.ok_or_else(|| Failed("the house has no part in a network".into()))?;
    let (id, document) = (exchange.settings.id.clone(), Digest::of(&exchange.document).to_string());
    Ok(Peer { id, endpoint: base.to_owned(), document, suspended: false })
}

/// The house next door, as a Consent names it.
pub(super) fn recipient() -> Recipient {
    Recipient::outside(THEIRS[0], THEIRS[1])
}

/// They ask and read here, something is sent there, and something is fetched from there and kept. `grant` lets them see the patient's
/// record for her treatment.
pub(super) async fn exchange(houses: &Houses<'_>, grant: &GrantKey) -> Result<(), Failed> {
    let core = &houses.own.app.core;
    let there = everything(houses.next_door)?;
    let record = days(RECORD, core.clock.now())?;
    send(houses.next_door, &there, ("POST", "/fhir"), record).await?;
    until("the grant", async || Ok::<_, Failed>(core.grants.stands(*grant, core.clock.now()).ok())).await?;
    anchored(houses.own, houses.token, "Immunization/demo-flu").await?;
    let sent = push(houses, PATIENT, &["AllergyIntolerance", "Immunization"]).await?;
    // Nobody has consented for the child: it stays where it is.
    let withheld = push(houses, CHILD, &["Immunization"]).await?;
    they_ask(houses, &there).await?;
    anchored(houses.next_door, &there, "Observation/east-echo").await?;
    fetch(houses).await?;
    ended(houses, &sent, "delivered").await?;
    ended(houses, &withheld, "refused").await
}

/// They read what they may, and ask for what she has said nothing of: she finds the request.
async fn they_ask(houses: &Houses<'_>, there: &str) -> Result<(), Failed> {
    let pull = ("POST", "/exchange/pull");
    let read = value!({"from": [OWN[0]], "patient": THEIR_PATIENT, "queries": ["AllergyIntolerance"]});
    send(houses.next_door, there, pull, read.to_string()).await?;
    let research = value!({
        "from": [OWN[0]], "patient": THEIR_PATIENT, "queries": ["Observation"], "purpose": "HRESCH", "requestConsent": true,
    });
    match ask(houses.next_door, there, pull, research.to_string()).await?.status() {
        StatusCode::FORBIDDEN => Ok(()),
        status => Err(Failed(format!("what nobody has allowed was answered with {status}"))),
    }
}

/// The clinician asks for what they have measured, and keeps it.
async fn fetch(houses: &Houses<'_>) -> Result<(), Failed> {
    let app = &houses.own.app;
    let doctor = doctor(app, "user/*.cruds", app.core.clock.now())?;
    let wanted = value!({"from": [THEIRS[0]], "patient": PATIENT, "queries": ["Observation"], "store": true});
    send(houses.own, &doctor, ("POST", "/exchange/pull"), wanted.to_string()).await?;
    Ok(())
}

/// Orders that something is sent there. Its id.
async fn push(houses: &Houses<'_>, patient: &str, queries: &[&str]) -> Result<String, Failed> {
    let order = value!({"to": THEIRS[0], "patient": patient, "queries": queries}).to_string();
    let queued = json(&send(houses.own, houses.token, ("POST", "/exchange/push"), order).await?)?;
    queued["id"].as_str().map(str::to_owned).ok_or_else(|| Failed("the push has no id".into()))
}

/// Waits until a push has come to its end.
async fn ended(houses: &Houses<'_>, id: &str, expected: &str) -> Result<(), Failed> {
    let path = format!("/exchange/push/{id}");
    let state = until("the end of a push", async || -> Result<_, Failed> {
        let told = json(&send(houses.own, houses.token, ("GET", &path), String::new()).await?)?;
        let state = told["state"].as_str().unwrap_or_default().to_owned();
        Ok(Some(state).filter(|state| state != "waiting"))
    })
    .await?;
    if state == expected { Ok(()) } else { Err(Failed(format!("a push was {state} and not {expected}"))) }
}
