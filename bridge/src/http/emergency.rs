//! `Patient/[id]/$emergency-access` and `Patient/[id]/$end-emergency-access`: a clinician sees a record that is withheld from him, in an
//! emergency that he declares.

use super::fhir::parse_name;
use super::parameters::{Given, refused};
use super::reply::{self, Reply, failure, fhir, unreadable};
use super::routes::{Call, not_found};
use crate::clock::instant;
use crate::consent::decide::decide_whole;
use crate::consent::emergency::{self, EmergencyError, Plea, declare, end, holder, live, surviving};
use crate::error::Issue;
use crate::index::emergencies::Emergency;
use crate::smart::scopes::Interaction;
use jiff::Timestamp;
use serde_json::json;
use warp::http::StatusCode;

/// `POST /fhir/Patient/{id}/$emergency-access`, with a Parameters resource: `role`, `reason`, and if wanted `purpose` and `minutes`.
pub async fn begin(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let patient = parse_name("Patient", id).ok_or_else(not_found)?;
    of_body(&call)?;
    let given = Given::read(&call, &["role", "reason", "purpose", "minutes"]).await?;
    let minutes = given.count("minutes")?.map(|minutes| minutes as u64);
    let text = |name| given.get(name).unwrap_or_default();
    let plea = Plea::new(text("role"), text("reason"), given.get("purpose"), minutes).map_err(|e| told(&e))?;
    let begun = async {
        let holder = holder(&call.app.core, &call.caller).await?;
        declare(call.app, &call.caller, &holder, (&patient, &plea)).await
    };
    let begun = begun.await.map_err(|error| told(&error))?;
    let event = emergency::of(&begun).ok_or_else(not_found)?;
    let answer = json!({"resourceType": "Parameters", "parameter": [
        {"name": "emergency", "valueReference": {"reference": event.to_string()}},
        {"name": "expires", "valueInstant": instant(Timestamp::from_millisecond(begun.expires).unwrap_or_default())},
    ]});
    Ok(fhir(StatusCode::CREATED, answer.to_string().into_bytes()))
}

/// `POST /fhir/Patient/{id}/$end-emergency-access`: one's own; all of this patient's for the administrator at the machine.
pub async fn finish(call: Call<'_>, id: &str) -> Result<Reply, Reply> {
    let patient = parse_name("Patient", id).ok_or_else(not_found)?;
    of_body(&call)?;
    let whose = whose(&call)?;
    let all = live(&call.app.core).await.map_err(|e| unreadable(&e))?;
    // It is told of the record that his number stands for now.
    let patient = surviving(&call.app.core, &patient).await.map_err(|e| unreadable(&e))?;
    let his = |one: &&Emergency| whose.as_ref().is_none_or(|whose| *whose == one.holder);
    let mut ended = 0;
    for one in all.iter().filter(|one| one.patient == patient).filter(his) {
        let who = call.caller.who();
        ended += u32::from(end(call.app, &who, one).await.map_err(|error| told(&error))?);
    }
    if ended == 0 {
        let text = "no emergency of yours counts for this patient";
        return Err(failure(StatusCode::NOT_FOUND, Issue::new("not-found", text)));
    }
    let answer = json!({"resourceType": "Parameters", "parameter": [{"name": "ended", "valueUnsignedInt": ended}]});
    Ok(fhir(StatusCode::OK, answer.to_string().into_bytes()))
}

/// Whose emergencies a caller ends; none: everybody's, for who has the machine.
fn whose(call: &Call<'_>) -> Result<Option<String>, Reply> {
    let role = || told(&EmergencyError::Role);
    match &call.caller.user {
        Some(user) if user.kind.as_str() == "Patient" => Err(role()),
        Some(user) => Ok(Some(user.to_string())),
        None if call.caller.client.is_some() || call.caller.patient.is_some() => Err(role()),
        None => match decide_whole(&call.caller, Interaction::Delete, None) {
            Ok(_) => Ok(None),
            Err(denied) => Err(told(&denied.into())),
        },
    }
}

/// What somebody gives for a reason belongs in no address: proxies write those down.
fn of_body(call: &Call<'_>) -> Result<(), Reply> {
    if call.request.query.is_empty() {
        return Ok(());
    }
    Err(refused(Issue::new(
        "value",
        "this operation takes its parameters in the body alone: addresses are written down on the way",
    )))
}

/// How a refusal is told.
pub(super) fn told(error: &EmergencyError) -> Reply {
    let (status, code) = match error {
        EmergencyError::Off
        | EmergencyError::Role
        | EmergencyError::App
        | EmergencyError::Scope
        | EmergencyError::Denied(_) => (StatusCode::FORBIDDEN, "forbidden"),
        EmergencyError::Plea(_) => (StatusCode::BAD_REQUEST, "required"),
        EmergencyError::Nobody => (StatusCode::NOT_FOUND, "not-found"),
        EmergencyError::TooMany => (StatusCode::CONFLICT, "business-rule"),
        EmergencyError::Ingest(error) => return reply::refused(error),
        EmergencyError::Vault(error) => return unreadable(error),
    };
    failure(status, Issue::new(code, error.to_string()))
}
