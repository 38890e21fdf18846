//! The side that takes what is pushed: proves all of it, finds whose it is, stores it once, and signs for it.

use super::deliver::Given;
use super::error::ExchangeError;
use super::of;
use super::parcel::{Checked, Parcel};
use super::peers::{Requester, now};
use super::pull::writer;
use super::respond::{derived, whom};
use super::signed::Delivery;
use super::store::{Evidence, Origin, current, keep, kept, new_patient, signed};
use crate::app::App;
use crate::audit::seen::Seen;
use crate::consent::whose::replaced_by;
use crate::ids::{Name, ResourceId, TypeName};
use crate::limits::MAX_MERGED;
use crate::read::in_background;
use crate::smart::token::Caller;
use notary::canonical::Json;
use std::sync::Arc;

/// Takes a delivery, and gives the receipt for it: the same one however often it comes.
pub async fn receive(app: &Arc<App>, by: &Requester, given: &Given, seen: &Seen) -> Result<String, ExchangeError> {
    if given.delivery.is_empty() || given.delivery.len() > 256 {
        return Err(ExchangeError::Malformed("`delivery`: 1 to 256 bytes"));
    }
    let id = derived("delivery", &[by.partner.id.as_str(), &given.delivery]);
    if let Some(receipt) = taken(app, by, &given.delivery, &id).await? {
        return Ok(receipt);
    }
    let parcel = Parcel::read(given.parcel.get().as_bytes())
        .ok_or(ExchangeError::Malformed("`parcel` is no parcel of this format"))?;
    let (there, content) = (parcel.patient.clone(), parcel.content());
    let checked = parcel.check(&app.core, &by.partner.document, of(app)?.settings.accept).await?;
    all_proved(&checked)?;
    let (here, begins) = whose(app, by, &there, &checked).await?;
    let receipt = receipt(app, by, &given.delivery, content.to_string())?;
    let origin = Origin { partner: &by.partner, there: &there, here: &here, begins };
    let outside = Some(Arc::new(by.outside(app).await?));
    let caller = Caller { outside, ..Caller::new(by.partner.id.as_str(), Vec::new()) }.asks(seen);
    let evidence = Evidence { id: id.clone(), parcel: given.parcel.get().into(), signature: Some(receipt.clone()) };
    let kept = keep(app, &writer(&caller, &here)?, &origin, &checked, evidence).await?;
    match kept.before {
        false => Ok(receipt),
        // Somebody took the same delivery at the same moment: what was signed then counts.
        true => taken(app, by, &given.delivery, &id)
            .await?
            .ok_or(ExchangeError::Malformed("the parcel holds nothing that is stored here")),
    }
}

/// The receipt of a delivery that was taken before. Where our key is another one since, nobody could check it any more: what was kept
/// then is signed for anew.
async fn taken(app: &App, by: &Requester, delivery: &str, id: &ResourceId) -> Result<Option<String>, ExchangeError> {
    let Some(text) = beside(app, "Provenance", id).await?.as_ref().and_then(signed) else { return Ok(None) };
    if app.token_key.is_named_in(&text) {
        return Ok(Some(text));
    }
    match beside(app, "Binary", id).await?.as_ref().and_then(kept) {
        Some(parcel) => receipt(app, by, delivery, parcel.content().to_string()).map(Some),
        None => Ok(Some(text)),
    }
}

async fn beside(app: &App, kind: &str, id: &ResourceId) -> Result<Option<Json>, ExchangeError> {
    let Some(kind) = TypeName::parse(kind) else { return Ok(None) };
    current(app, &Name { kind, id: id.clone() }).await
}

/// One that is not proved spoils the parcel: its sender would not send it.
fn all_proved(checked: &[Checked]) -> Result<(), ExchangeError> {
    match checked.iter().find_map(|one| Some((one, one.verdict.as_ref().err()?))) {
        Some((one, why)) => Err(ExchangeError::Unproved(format!("{}: {why}", one.place()))),
        None => Ok(()),
    }
}

/// Who the patient is here, and whether his record begins with this: nobody is like him, or it began with what came before. Where it
/// was merged into another since, that one is he; and what he is said to be now must not make him somebody else.
async fn whose(app: &App, by: &Requester, there: &str, checked: &[Checked]) -> Result<(Name, bool), ExchangeError> {
    let missing = ExchangeError::Malformed("the parcel holds no Patient: without him nobody can tell whose it is");
    let described = checked.iter().find(|one| one.name == there && there.starts_with("Patient/"));
    let described = described.ok_or(missing)?;
    let new = new_patient(&by.partner, there).ok_or(ExchangeError::NoPatient)?;
    let before = current(app, &new).await?;
    if before.is_none() && is_deleted(app, &new).await? {
        return Err(ExchangeError::Uncertain("the record that began with this patient was deleted here"));
    }
    if let Some(other) = before.as_ref().and_then(|before| replaced_by(before, &app.core.base)) {
        return Ok((surviving(app, other).await?, false));
    }
    match whom(app, &described.text).await {
        Ok(here) if here == new => Ok((new, true)),
        Ok(_) if before.is_some() => {
            Err(ExchangeError::Uncertain("what is said of the patient now is true of another one"))
        }
        Ok(here) => Ok((here, false)),
        Err(ExchangeError::NoPatient) => Ok((new, true)),
        Err(error) => Err(error),
    }
}

async fn is_deleted(app: &App, name: &Name) -> Result<bool, ExchangeError> {
    let (store, name) = (app.core.store.clone(), name.clone());
    Ok(in_background(move || store.current(&name)).await?.is_some_and(|stored| stored.deleted))
}

/// The record that one was merged into at last.
async fn surviving(app: &App, mut name: Name) -> Result<Name, ExchangeError> {
    for _ in 0..MAX_MERGED {
        let Some(patient) = current(app, &name).await? else { return Err(ExchangeError::NoPatient) };
        match replaced_by(&patient, &app.core.base) {
            Some(next) => name = next,
            None => return Ok(name),
        }
    }
    Err(ExchangeError::Uncertain("the record was merged again and again"))
}

fn receipt(app: &App, by: &Requester, delivery: &str, content: String) -> Result<String, ExchangeError> {
    let (iss, aud) = (of(app)?.settings.id.to_string(), by.partner.id.to_string());
    let signed = app.token_key.sign(&Delivery { iss, aud, iat: now(app), delivery: delivery.to_owned(), content });
    signed.map_err(|error| {
        tracing::error!(%error, "a delivery could not be signed for");
        ExchangeError::Malformed("the delivery could not be signed for")
    })
}
