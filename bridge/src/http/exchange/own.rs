//! What our own clients ask of other organisations.

use super::super::fhir::page::{Entry, Page};
use super::super::reply::{Reply, body, failures, unreadable};
use super::super::routes::Call;
use super::{parameters, read, refused};
use crate::app::App;
use crate::config::ParticipantId;
use crate::consent::decide::{decide, decide_whole};
use crate::consent::emergency::holder;
use crate::consent::policy::Coding;
use crate::error::Issue;
use crate::exchange::document::{Document, reference};
use crate::exchange::emergency::{Urgent, plea};
use crate::exchange::error::ExchangeError;
use crate::exchange::of;
use crate::exchange::participants::Participant;
use crate::exchange::peers::{Intent, now};
use crate::exchange::pull::{self, Answered, Got, Wanted};
use crate::exchange::respond::check_queries;
use crate::exchange::signed::purpose;
use crate::fhir::{matching, outcome};
use crate::http::fhir::page::raw;
use crate::ids::{Name, TypeName};
use crate::limits::{MAX_ISSUES, MAX_PULL_PARTNERS};
use crate::read as reading;
use crate::smart::scopes::Interaction;
use futures_util::future::join_all;
use notary::chain::participants::Status;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use warp::http::StatusCode;

/// What an emergency is for, unless it is said.
const BREAK_THE_GLASS: &str = "BTG";
const PURPOSES: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";

/// `POST /exchange/pull`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pull {
    from: Vec<ParticipantId>,
    patient: Box<RawValue>,
    queries: Vec<String>,
    purpose: Option<String>,
    #[serde(default)]
    store: bool,
    #[serde(default)]
    request_consent: bool,
    emergency: Option<Urgent>,
}

/// `GET /exchange/participants`.
pub(super) async fn participants(call: Call<'_>) -> Result<Reply, Reply> {
    let exchange = of(call.app).map_err(|error| refused(&error))?;
    let permit = decide(&call.caller, Interaction::Search, TypeName::parse("Organization"));
    permit.map_err(|denied| refused(&ExchangeError::Forbidden(denied.to_string())))?;
    let found = listed(call.app, &parameters(call.request)?).await.map_err(|error| refused(&error))?;
    let list: Vec<Value> = found.iter().map(|(one, document)| told_of(one, document.as_deref())).collect();
    let source = if exchange.directory.is_listed() { "configuration" } else { "chain" };
    let answer = json!({"source": source, "participants": list});
    Ok(body(StatusCode::OK, "application/json", answer.to_string()))
}

/// The organisations that all parameters find, with their documents as far as these can be had.
pub(in crate::http) async fn listed(
    app: &App,
    asked: &HashMap<String, String>,
) -> Result<Vec<(Participant, Option<Arc<Document>>)>, ExchangeError> {
    let all = of(app)?.directory.all(now(app)).await?;
    let documents = join_all(all.iter().map(|one| document_of(app, one))).await;
    let fits = |(one, document): &(Participant, Option<Arc<Document>>)| {
        asked.iter().all(|(name, value)| one.is_found_by(document.as_deref(), name, value))
    };
    Ok(all.into_iter().zip(documents).filter(fits).collect())
}

/// Anybody may apply, and name any address: only who was admitted is asked for his document.
async fn document_of(app: &App, one: &Participant) -> Option<Arc<Document>> {
    if !matches!(one.status, Status::Active | Status::Suspended) {
        return None;
    }
    of(app).ok()?.directory.document(one, &app.partners).await.ok()
}

fn told_of(one: &Participant, document: Option<&Document>) -> Value {
    let mut told = json!({
        "id": one.id, "status": one.status.name(), "name": one.name, "endpoint": one.endpoint,
        "document": one.digest.to_string(), "reachable": document.is_some(),
    });
    if let Some(Document { said, .. }) = document {
        told["identifiers"] = json!(said.identifiers);
        told["place"] = said.place.clone().into();
        told["services"] = json!(said.services);
        told["log"] = said.log.clone().into();
    }
    told
}

/// `POST /exchange/pull`.
pub(super) async fn pull(call: Call<'_>) -> Result<Reply, Reply> {
    let wanted = wanted(&call).await?;
    let answered = pull::pull(call.app, &call.caller, &wanted).await;
    Ok(pulled(call.app, &answered))
}

async fn wanted(call: &Call<'_>) -> Result<Wanted, Reply> {
    of(call.app).map_err(|error| refused(&error))?;
    let mut asked: Pull = read(call.body).map_err(|error| refused(&error))?;
    asked.from.sort_unstable();
    asked.from.dedup();
    if asked.from.is_empty() || asked.from.len() > MAX_PULL_PARTNERS {
        return Err(refused(&ExchangeError::Malformed("`from`: 1 to 50 participants")));
    }
    // Whoever sees a part of the records here sees nothing of others.
    whole(call, Interaction::Search)?;
    if asked.store {
        whole(call, Interaction::Create)?;
        whole(call, Interaction::Update)?;
    }
    let intent = urgent(call, asked.purpose.as_deref(), asked.emergency.as_ref()).await?;
    let (described, here) = patient(call, asked.patient).await?;
    if asked.store && here.is_none() {
        return Err(refused(&ExchangeError::Malformed("`store` needs a `patient` of this server: Patient/id")));
    }
    let wanted = Wanted {
        from: asked.from,
        described,
        here,
        queries: asked.queries,
        request_consent: asked.request_consent,
        store: asked.store,
        intent,
        emergency: asked.emergency,
    };
    check_queries(call.app, &wanted.queries()).map_err(|error| refused(&error))?;
    Ok(wanted)
}

/// Whether the caller may do this with every resource.
pub(in crate::http) fn whole(call: &Call<'_>, interaction: Interaction) -> Result<(), Reply> {
    let denied = |denied: crate::consent::decide::Denied| refused(&ExchangeError::Forbidden(denied.to_string()));
    decide_whole(&call.caller, interaction, None).map(|_| ()).map_err(denied)
}

/// On whose behalf, and what for: what is configured, unless it is said.
pub(in crate::http) fn intent(call: &Call<'_>, said: Option<&str>) -> Result<Intent, Reply> {
    let whole = |text: &str| if text.contains('#') { text.to_owned() } else { format!("{PURPOSES}#{text}") };
    let bad = || refused(&ExchangeError::Malformed("`purpose`: a code of v3-ActReason, or `system#code`"));
    let purpose = match said {
        None => match &call.caller.purpose {
            Some(code) => Coding::new(PURPOSES, code),
            None => call.app.core.gate.purpose.clone(),
        },
        Some(text) => purpose(&whole(text)).ok_or_else(bad)?,
    };
    let user = call.caller.user.as_ref().map(|user| format!("{}/{user}", call.app.core.base));
    Ok(Intent { user, purpose })
}

/// The same, where somebody may ask in an emergency: a clinician, who says his role and his reason.
pub(super) async fn urgent(call: &Call<'_>, said: Option<&str>, urgent: Option<&Urgent>) -> Result<Intent, Reply> {
    let usual = urgent.map(|_| BREAK_THE_GLASS);
    let intent = intent(call, said.or(usual))?;
    if plea(&intent.purpose, urgent).map_err(|error| refused(&error))?.is_some() {
        holder(&call.app.core, &call.caller).await.map_err(|error| refused(&error.into()))?;
    }
    Ok(intent)
}

/// The patient as the others are told of him, and who he is here.
pub(super) async fn patient(call: &Call<'_>, who: Box<RawValue>) -> Result<(Box<RawValue>, Option<Name>), Reply> {
    // `Patient/id` here, or a Patient resource that describes him.
    let Ok(text) = serde_json::from_str::<String>(who.get()) else { return Ok((who, None)) };
    let name = Name::parse(&text).filter(|name| name.kind.as_str() == "Patient");
    let bad = || refused(&ExchangeError::Malformed("`patient` is Patient/id, or a Patient resource"));
    let name = name.ok_or_else(bad)?;
    let permit = decide(&call.caller, Interaction::Read, TypeName::parse("Patient"));
    let permit = permit.map_err(|denied| refused(&ExchangeError::Forbidden(denied.to_string())))?;
    let opened = reading::read(&call.app.core, &permit, &name, None).await.map_err(|error| unreadable(&error))?;
    let opened = opened.filter(|opened| !opened.stored.deleted).ok_or_else(|| refused(&ExchangeError::NoPatient))?;
    Ok((raw(&matching::described(&opened.json()).compact()), Some(name)))
}

/// The results merged, each with where it came from and how it was proved; what failed beside them.
pub(super) fn pulled(app: &App, answered: &[Answered]) -> Reply {
    let issues: Vec<Issue> = answered.iter().flat_map(told_issues).take(MAX_ISSUES).collect();
    let failed: Vec<&ExchangeError> = answered.iter().filter_map(|one| one.outcome.as_ref().err()).collect();
    if let (Some(first), true) = (failed.first(), failed.len() == answered.len()) {
        return failures(first.status(), &issues);
    }
    let mut entry: Vec<Entry> = answered.iter().filter_map(|one| one.outcome.as_ref().ok()).flat_map(entries).collect();
    let total = entry.len() as u64;
    if !issues.is_empty() {
        let outcome = outcome::warnings(&issues).to_string();
        let search = Some(json!({"mode": "outcome"}));
        entry.push(Entry { resource: Some(raw(outcome.as_bytes())), search, ..Entry::default() });
    }
    let own = app.core.base.strip_suffix("/fhir").unwrap_or(&app.core.base);
    let link = vec![json!({"relation": "self", "url": format!("{own}{}", "/exchange/pull")})];
    Page { resource_type: "Bundle", kind: "searchset", total: Some(total), link, entry }.reply()
}

fn entries(got: &Got) -> Vec<Entry> {
    let said = &got.partner.document.said;
    let origin = reference(&got.partner.id, &said.name);
    let one =
        |checked: &crate::exchange::parcel::Checked| {
            let grade = checked.verdict.as_ref().ok()?;
            let mut told = vec![
                json!({"url": "urn:medseal:origin", "valueReference": origin}),
                json!({"url": "urn:medseal:verification", "valueCode": grade.to_string()}),
            ];
            let kept = got.kept.iter().flat_map(|kept| &kept.names).find(|(place, _)| *place == checked.place());
            told.extend(kept.map(
                |(_, name)| json!({"url": "urn:medseal:stored", "valueReference": {"reference": name.to_string()}}),
            ));
            Some(Entry {
                full_url: Some(format!("{}/{}", said.endpoint, checked.name)),
                resource: Some(checked.text.clone()),
                search: Some(json!({"extension": told, "mode": "match"})),
                ..Entry::default()
            })
        };
    got.checked.iter().filter_map(one).collect()
}

fn told_issues(answered: &Answered) -> Vec<Issue> {
    let from = &answered.from;
    let of = |code, text: String| Issue::new(code, format!("{from}: {text}"));
    let got = match &answered.outcome {
        Err(error) => return error.issues().into_iter().map(|issue| of(issue.code, issue.text)).collect(),
        Ok(got) => got,
    };
    let refused = got.checked.iter().filter_map(|one| {
        let why = one.verdict.as_ref().err()?;
        Some(of("security", format!("{} is held back: {why}", one.place())))
    });
    let waiting = got.waiting.iter().map(|place| of("incomplete", format!("{place} is not in its log yet: ask again")));
    let more = got.more.then(|| of("incomplete", "there is more than one answer holds: ask for less at a time".into()));
    refused.chain(waiting).chain(more).collect()
}
