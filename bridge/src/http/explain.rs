//! `[type]/[id]/$explain-access`: why somebody would be shown a resource by its patients' Consents, or would not.

use super::everything::there;
use super::fhir::{may, parse_name};
use super::parameters::{Given, refused};
use super::reply::{Reply, fhir, unreadable};
use super::routes::{Call, not_found};
use crate::config::PURPOSES;
use crate::consent::decide::Permit;
use crate::consent::policy::{Action, Ask, Coding, Decision, Effect};
use crate::error::Issue;
use crate::ids::{Name, TypeName};
use crate::limits::MAX_ACTORS;
use crate::read;
use crate::smart::scopes::Interaction;
use crate::smart::token::Caller;
use serde_json::{Value, json};
use warp::http::StatusCode;

/// Whose Consents were asked, and what they say; of nobody: whose it is nobody can tell.
pub(super) type Said = Vec<(Option<Name>, Decision)>;

/// `GET /fhir/{type}/{id}/$explain-access?actor=Practitioner/x&purpose=TREAT`, for who may see the resource and Consents: his
/// own record's patient, above all.
pub async fn answer(call: Call<'_>, kind: &str, id: &str) -> Result<Reply, Reply> {
    let name = parse_name(kind, id).ok_or_else(not_found)?;
    let consents = may(&call.caller, Interaction::Read, TypeName::parse("Consent"))?;
    let given = Given::read(&call, &["actor", "purpose", "action"]).await?;
    let ask = asked(&given, &call.app.core.gate.purpose)?;
    let opened = there(&call, &name).await?;
    let known = |person: &Name| knows_emergencies_of(&call.caller, person);
    let all = call.app.core.explained(&ask, &opened, known).await.map_err(|e| unreadable(&e))?;
    let said = own(&call, all).await?;
    let permitted = said.iter().all(|(_, decision)| decision.effect == Effect::Permit);
    let mut parameters = vec![json!({"name": "permitted", "valueBoolean": permitted})];
    for (patient, decision) in &said {
        parameters.push(told(&call, &consents, patient.as_ref(), decision).await?);
    }
    let answer = json!({"resourceType": "Parameters", "parameter": parameters});
    Ok(fhir(StatusCode::OK, answer.to_string().into_bytes()))
}

/// A clinician knows what he has declared himself; the patient, the auditor and a system that may read the record know all of it.
fn knows_emergencies_of(caller: &Caller, person: &Name) -> bool {
    let is_clinician = |user: &Name| matches!(user.kind.as_str(), "Practitioner" | "PractitionerRole");
    caller.user.as_ref().is_none_or(|user| user == person || !is_clinician(user))
}

/// What one patient's Consents say. Which of them, only to who may see it.
async fn told(call: &Call<'_>, consents: &Permit, patient: Option<&Name>, decision: &Decision) -> Result<Value, Reply> {
    let whose = |patient: &Name| json!({"name": "patient", "valueReference": {"reference": patient.to_string()}});
    let mut parts: Vec<Value> = patient.map(whose).into_iter().collect();
    parts.push(json!({"name": "permitted", "valueBoolean": decision.effect == Effect::Permit}));
    match decision.because.consent() {
        Some(consent) if !is_shown(call, consents, consent).await? => {
            parts.push(json!({"name": "because", "valueString": "a Consent that is not for you"}));
        }
        Some(consent) => {
            parts.push(json!({"name": "because", "valueString": decision.because.to_string()}));
            parts.push(json!({"name": "consent", "valueReference": {"reference": consent}}));
        }
        None => {
            if let Some((event, _)) = decision.because.emergency() {
                parts.push(json!({"name": "emergency", "valueReference": {"reference": event}}));
            }
            parts.push(json!({"name": "because", "valueString": decision.because.to_string()}));
        }
    }
    let obligation = |Coding { system, code }: &Coding| json!({"name": "obligation", "valueCoding": {"system": system, "code": code}});
    parts.extend(decision.obligations.iter().map(obligation));
    Ok(json!({"name": "decision", "part": parts}))
}

/// What of it is for the caller: what another patient has decided is his affair.
pub(super) async fn own(call: &Call<'_>, said: Said) -> Result<Said, Reply> {
    let mut own = Vec::new();
    for (patient, decision) in said {
        let is_own = match &patient {
            Some(patient) => is_readable(call, patient).await?,
            None => true,
        };
        if is_own {
            own.push((patient, decision));
        }
    }
    Ok(own)
}

/// Whether the caller may see a patient's own record.
async fn is_readable(call: &Call<'_>, patient: &Name) -> Result<bool, Reply> {
    let Ok(permit) = may(&call.caller, Interaction::Read, Some(patient.kind)) else { return Ok(false) };
    let found = read::read(&call.app.core, &permit, patient, None).await.map_err(|e| unreadable(&e))?;
    Ok(found.is_some())
}

async fn is_shown(call: &Call<'_>, consents: &Permit, consent: &str) -> Result<bool, Reply> {
    let Some(name) = Name::parse(consent) else { return Ok(false) };
    let found = read::read(&call.app.core, consents, &name, None).await.map_err(|e| unreadable(&e))?;
    Ok(found.is_some())
}

/// Who would ask, what for, and to do what.
pub(super) fn asked(given: &Given, purpose: &Coding) -> Result<Ask, Reply> {
    let bad = |text: &str| refused(Issue::new("value", text));
    let actors: Vec<String> = given.list("actor").into_iter().map(str::to_owned).collect();
    if actors.is_empty() || actors.len() > MAX_ACTORS {
        return Err(bad("actor: who would ask, such as Practitioner/x; everything that he is at once, ten at most"));
    }
    let action = given.get("action").map_or(Some(Action::Access), Action::parse);
    let action = action.ok_or_else(|| bad("action: collect, access, use, disclose or correct"))?;
    let purpose = given.get("purpose").map_or_else(|| purpose.clone(), coding);
    Ok(Ask { actors, identifiers: Vec::new(), purpose, action, now: 0 })
}

/// `system|code`, or a code of v3-ActReason.
fn coding(text: &str) -> Coding {
    let (system, code) = text.split_once('|').unwrap_or((PURPOSES, text));
    Coding::new(system, code)
}
