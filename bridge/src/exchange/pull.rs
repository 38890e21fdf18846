//! The side that asks: one organisation or several at once. What comes is proved before it is shown or stored; what fails is told
//! beside what did not.

use super::emergency::Urgent;
use super::error::ExchangeError;
use super::parcel::{Checked, Parcel};
use super::participants::Partner;
use super::peers::{Intent, ask, granted};
use super::respond::{Asked, derived};
use super::store::{Evidence, Kept, Origin, keep};
use super::{of, peers};
use crate::app::App;
use crate::audit::event::Answer;
use crate::config::ParticipantId;
use crate::fhir::matching::{Grade, score};
use crate::ids::Name;
use crate::smart::scopes;
use crate::smart::token::Caller;
use futures_util::future::join_all;
use notary::canonical::Json;
use serde_json::value::RawValue;
use std::sync::Arc;

/// Where other bridges are asked.
pub const PATH: &str = "/exchange/peer/pull";

/// What is asked for.
pub struct Wanted {
    pub from: Vec<ParticipantId>,
    /// The Patient as he is described to the others.
    pub described: Box<RawValue>,
    /// Who he is here; needed where something is to be stored.
    pub here: Option<Name>,
    pub queries: Vec<String>,
    pub request_consent: bool,
    pub store: bool,
    pub intent: Intent,
    pub emergency: Option<Urgent>,
}

impl Wanted {
    /// What is asked of the others: where it is to be stored, also who he is there.
    pub fn queries(&self) -> Vec<String> {
        let mut queries = self.queries.clone();
        if self.store && !queries.iter().any(|query| matches!(query.as_str(), "*" | "Patient")) {
            queries.push("Patient".to_owned());
        }
        queries
    }
}

/// What came from one organisation.
pub struct Answered {
    pub from: ParticipantId,
    pub outcome: Result<Got, ExchangeError>,
}

/// What one organisation gave.
pub struct Got {
    pub partner: Partner,
    pub checked: Vec<Checked>,
    /// What it has and could not prove yet.
    pub waiting: Vec<String>,
    /// It has more than one parcel holds.
    pub more: bool,
    pub kept: Option<Kept>,
}

/// Asks all of them at the same time. What each answered about a patient of ours is told with who asked.
pub async fn pull(app: &Arc<App>, caller: &Caller, wanted: &Wanted) -> Vec<Answered> {
    let one = |from: &ParticipantId| {
        let from = from.clone();
        async move { Answered { outcome: pull_one(app, caller, wanted, &from).await, from } }
    };
    let all = join_all(wanted.from.iter().map(one)).await;
    if let Some(here) = &wanted.here {
        all.iter().for_each(|one| caller.seen.answered(here, one.from.as_str(), one.said(wanted.request_consent)));
    }
    all
}

impl Answered {
    fn said(&self, asks: bool) -> Answer {
        self.outcome.as_ref().map_or_else(|error| error.answer(asks), |_| Answer::Gave)
    }
}

async fn pull_one(
    app: &Arc<App>,
    caller: &Caller,
    wanted: &Wanted,
    from: &ParticipantId,
) -> Result<Got, ExchangeError> {
    let exchange = of(app)?;
    let partner = exchange.directory.partner(from, &app.partners, peers::now(app)).await?;
    let asked = Asked {
        patient: wanted.described.clone(),
        queries: wanted.queries(),
        request_consent: wanted.request_consent,
        emergency: wanted.emergency.clone(),
    };
    let body = serde_json::to_vec(&asked).map_err(|_| ExchangeError::Malformed("the request cannot be written"))?;
    let parcel = granted(ask(app, &partner, PATH, body, &wanted.intent).await?)?;
    let read = Parcel::read(&parcel).ok_or(ExchangeError::Answer)?;
    let (there, content, waiting, more) = (read.patient.clone(), read.content(), read.waiting.clone(), read.more);
    let checked = read.check(&app.core, &partner.document, exchange.settings.accept).await?;
    is_who_was_asked_for(wanted, &there, &checked)?;
    let mut got = Got { partner, checked, waiting, more, kept: None };
    if let (true, Some(here)) = (wanted.store, &wanted.here) {
        let origin = Origin { partner: &got.partner, there: &there, here, begins: false };
        let id = derived("pull", &[from.as_str(), here.id.as_str(), &content.to_string()]);
        let proved = |n: usize| got.checked.get(n).is_some_and(|one| one.verdict.is_ok());
        let kept = Parcel::only(&parcel, proved).ok_or(ExchangeError::Answer)?;
        let evidence = Evidence { id, parcel: kept, signature: None };
        got.kept = Some(keep(app, &writer(caller, here)?, &origin, &got.checked, evidence).await?);
    }
    Ok(got)
}

/// Their patient is for certain the one who was asked for, as far as he is shown; what is stored needs that he is.
fn is_who_was_asked_for(wanted: &Wanted, there: &str, checked: &[Checked]) -> Result<(), ExchangeError> {
    let proved = checked.iter().find(|one| one.name == there && one.verdict.is_ok());
    let asked = Json::parse(wanted.described.get().as_bytes()).map_err(|_| ExchangeError::NoPatient)?;
    match proved {
        Some(one) if score(&asked, &one.json).grade == Grade::Certain => Ok(()),
        Some(_) => Err(ExchangeError::Uncertain("theirs is not for certain the one who was asked for")),
        None if wanted.store => {
            Err(ExchangeError::Uncertain("they do not show who theirs is: nothing of it is stored"))
        }
        None => Ok(()),
    }
}

/// The caller, as far as one record: what comes from elsewhere is written into no other.
pub fn writer(caller: &Caller, here: &Name) -> Result<Caller, ExchangeError> {
    let scopes = scopes::parse("patient/*.cruds system/Binary.cu system/Provenance.cu");
    Ok(Caller {
        patient: Some(here.clone()),
        narrowed: true,
        scopes: scopes.map_err(ExchangeError::Forbidden)?,
        ..caller.clone()
    })
}
