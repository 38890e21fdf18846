//! The side that answers: who is meant, whether he consents, what is shown.

use super::emergency::{self, Urgent};
use super::error::ExchangeError;
use super::parcel::{Parcel, pack};
use super::peers::Requester;
use crate::app::App;
use crate::audit::is_trail;
use crate::clock::instant;
use crate::commit::{Author, Transaction};
use crate::consent::decide::decide;
use crate::consent::outside::{Outside, PARTICIPANT};
use crate::error::IngestError;
use crate::fhir::matching::{Grade, blocks, score};
use crate::fhir::membership;
use crate::fhir::search::query;
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::http::query::pairs;
use crate::ids::{Name, Owner, ResourceId, TypeName};
use crate::ingest::commit;
use crate::limits::{MAX_PAGE, MAX_PARCEL_ITEMS, MAX_PULL_QUERIES};
use crate::read::{Opened, in_background};
use crate::search::candidates::candidates;
use crate::search::compartment::{Start, Wanted, members};
use crate::search::search;
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use notary::canonical::Json;
use notary::commitment::Digest;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::sync::Arc;

/// What another organisation asks for.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// A Patient resource, as `$match` takes it.
    pub patient: Box<RawValue>,
    /// `*` for all of the record, or searches: `Observation?category=laboratory`.
    pub queries: Vec<String>,
    /// Where the patient has not consented: put a Task into his record that asks for it.
    #[serde(default)]
    pub request_consent: bool,
    /// In an emergency: the purpose of the request says so, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<Urgent>,
}

crate::redacted_debug!(Asked);

/// Answers a pull. `caller` holds what is told of the request.
pub async fn pull(
    app: &Arc<App>,
    by: &Requester,
    asked: &Asked,
    seen: &crate::audit::seen::Seen,
) -> Result<Parcel, ExchangeError> {
    let plea = emergency::plea(&by.purpose, asked.emergency.as_ref())?;
    let patient = whom(app, &asked.patient).await?;
    let outside = by.outside(app).await?;
    let seeking = caller(&patient, outside.clone())?.asks(seen);
    let_in(app, &seeking, &patient, &outside, (asked.request_consent, plea.is_some())).await?;
    let (outside, _) = emergency::declared(app, by, (&patient, plea.as_ref()), (&seeking, outside)).await?;
    let caller = caller(&patient, outside)?.asks(seen);
    let (opened, more) = select(app, &caller, &patient, &asked.queries).await?;
    let mut parcel = pack(&app.core, &patient, opened).await?;
    parcel.more |= more;
    Ok(parcel)
}

/// Refuses where the patient lets this organisation see nothing, and says what consent is missing and how to ask for it.
pub async fn let_in(
    app: &Arc<App>,
    caller: &Caller,
    patient: &Name,
    outside: &Outside,
    (request, urgent): (bool, bool),
) -> Result<(), ExchangeError> {
    let permit = decide(caller, Interaction::Read, Some(patient.kind));
    let permit = permit.map_err(|denied| ExchangeError::Forbidden(denied.to_string()))?;
    if app.core.is_let_in(&permit, patient, urgent).await? {
        return Ok(());
    }
    if request {
        ask_patient(app, patient, outside).await?;
    }
    // Told as refused, to his record.
    let (store, name) = (app.core.store.clone(), patient.clone());
    if let Some(stored) = in_background(move || store.current(&name)).await? {
        caller.seen.withholds((Owner::patient(&patient.id), patient.clone(), stored.version));
    }
    Err(ExchangeError::Consent(missing(app, outside, request)))
}

/// Which consent is missing, and how to ask for it.
fn missing(app: &App, outside: &Outside, requested: bool) -> String {
    let Outside { participant, name, purpose, .. } = outside;
    let base = app.core.base.strip_suffix("/fhir").unwrap_or(&app.core.base);
    let how = match requested {
        true => "a Task that asks for it stands in the patient's record",
        false => "ask with `requestConsent`, and a Task that asks for it is put into the record",
    };
    format!(
        "the patient has given no consent to {name}: needed is an active Consent that permits the actor {PARTICIPANT}|{participant} \
         to access the record for {}; it is given at {base}/me/access where an Organization there bears that identifier, or by PUT of a \
         Consent; {how}",
        purpose.code
    )
}

/// Puts down that somebody asks: a Task in the patient's record, once for an organisation and a purpose.
async fn ask_patient(app: &Arc<App>, patient: &Name, outside: &Outside) -> Result<(), ExchangeError> {
    let Outside { participant, name, purpose, .. } = outside;
    let Some(kind) = TypeName::parse("Task") else { return Ok(()) };
    let parts = [participant.as_str(), purpose.system.as_str(), purpose.code.as_str(), patient.id.as_str()];
    let id = derived("consent-request", &parts);
    let task = json!({
        "resourceType": "Task", "id": id.as_str(), "status": "requested", "intent": "proposal",
        "code": {"coding": [{"system": "urn:medseal:task", "code": "consent-request"}]},
        "description": format!("{name} asks to see the record"),
        "for": {"reference": patient.to_string()},
        "authoredOn": instant(app.core.clock.now()),
        "requester": {"identifier": {"system": PARTICIPANT, "value": participant}, "display": name},
        "reasonCode": {"coding": [{"system": purpose.system, "code": purpose.code}]},
    });
    let resource = validate(Json::from(task)).map_err(ExchangeError::Invalid)?;
    let target = Target { kind, by: By::Id(id), if_match: None, only_new: true };
    let writes = vec![Write::alone(Act::Update { target, resource })];
    match commit(app, Transaction { by: Author::Service, writes, message: None }).await {
        // It was asked before.
        Ok(_) | Err(IngestError::Precondition(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// An id that follows from what it is for.
pub fn derived(what: &str, parts: &[&str]) -> ResourceId {
    let mut bytes = format!("medseal/v1/exchange/{what}\0").into_bytes();
    for part in parts {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    let mut first = [0; 16];
    first.copy_from_slice(&Digest::of(&bytes).0[..16]);
    ResourceId::from_bytes(first)
}

/// The one patient here who is described, by the rules of `$match`: one who is certain, and nobody else who is.
pub async fn whom(app: &App, described: &RawValue) -> Result<Name, ExchangeError> {
    let json = Json::parse(described.get().as_bytes());
    let json = json.map_err(|_| ExchangeError::Malformed("`patient` is a Patient resource"))?;
    let checked = validate(json).map_err(ExchangeError::Invalid)?;
    if checked.kind().as_str() != "Patient" {
        return Err(ExchangeError::Malformed("`patient` is a Patient resource"));
    }
    let asked = checked.into_json();
    let scopes = scopes::parse("system/Patient.rs").map_err(ExchangeError::Forbidden)?;
    // The service itself looks: that is not gated, and told to nobody.
    let own = Caller::new("exchange", scopes);
    let kind = TypeName::parse("Patient").ok_or(ExchangeError::NoPatient)?;
    let found = candidates(&app.core, &own, app.core.around(), kind, &blocks(&asked)).await?;
    let graded: Vec<(Grade, Name)> = found
        .found
        .iter()
        .filter(|opened| is_current(&opened.json()))
        .map(|opened| (score(&asked, &opened.json()).grade, opened.stored.name.clone()))
        .collect();
    the_one(graded)
}

/// A record that was merged into another one is nobody's any more.
fn is_current(patient: &Json) -> bool {
    let links = patient.get("link").map_or(&[][..], Json::items);
    !links.iter().any(|link| link.text("type") == Some("replaced-by"))
}

fn the_one(graded: Vec<(Grade, Name)>) -> Result<Name, ExchangeError> {
    let near = graded.iter().any(|(grade, _)| matches!(grade, Grade::Probable | Grade::Possible));
    let mut certain = graded.into_iter().filter(|(grade, _)| *grade == Grade::Certain).map(|(_, name)| name);
    match (certain.next(), certain.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(ExchangeError::Uncertain("several match for certain")),
        _ if near => Err(ExchangeError::Uncertain("somebody is like that, and nobody for certain: give an identifier")),
        _ => Err(ExchangeError::NoPatient),
    }
}

/// Another organisation, as a caller who sees one record.
pub fn caller(patient: &Name, outside: Outside) -> Result<Caller, ExchangeError> {
    let scopes = scopes::parse("patient/*.rs").map_err(ExchangeError::Forbidden)?;
    let participant = outside.participant.clone();
    Ok(Caller { patient: Some(patient.clone()), outside: Some(Arc::new(outside)), ..Caller::new(&participant, scopes) })
}

/// What the queries find of a record, each resource once, and whether there is more than one parcel holds.
pub async fn select(
    app: &App,
    caller: &Caller,
    patient: &Name,
    queries: &[String],
) -> Result<(Vec<Opened>, bool), ExchangeError> {
    if queries.is_empty() || queries.len() > MAX_PULL_QUERIES {
        return Err(ExchangeError::Malformed("`queries`: 1 to 20 of them, `*` or `Type?parameters`"));
    }
    let (mut all, mut known, mut more) = (Vec::new(), HashSet::new(), false);
    for text in queries {
        let (found, cut) =
            if text == "*" { record(app, caller, patient).await? } else { found(app, caller, text).await? };
        all.extend(found.into_iter().filter(|one| known.insert(one.stored.name.clone())));
        more |= cut;
    }
    Ok((all, more))
}

async fn record(app: &App, caller: &Caller, patient: &Name) -> Result<(Vec<Opened>, bool), ExchangeError> {
    let wanted = Wanted { focus: patient.clone(), types: None, since: None, care: None };
    let (mut all, mut from): (Vec<Opened>, Option<Start>) = (Vec::new(), None);
    loop {
        let found = members(&app.core, caller, app.core.around(), &wanted, from).await?;
        all.extend(found.members);
        from = found.next;
        if from.is_none() || all.len() > MAX_PARCEL_ITEMS {
            return Ok((all, from.is_some()));
        }
    }
}

async fn found(app: &App, caller: &Caller, text: &str) -> Result<(Vec<Opened>, bool), ExchangeError> {
    let asked = read(app, text)?;
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let page = search(&app.core, caller, app.core.around(), &asked, from).await?;
        all.extend(page.matches);
        all.extend(page.included.resources);
        from = page.next;
        // A count that was asked for is the number of what is wanted.
        if from.is_none() || asked.count.is_some_and(|count| count < MAX_PAGE) || all.len() > MAX_PARCEL_ITEMS {
            return Ok((all, from.is_some()));
        }
    }
}

fn read(app: &App, text: &str) -> Result<query::Search, ExchangeError> {
    const BAD: ExchangeError =
        ExchangeError::Malformed("a query is `*` or `Type?parameters` of a type that is part of a patient's record");
    let (kind, rest) = text.split_once('?').unwrap_or((text, ""));
    let kind = TypeName::parse(kind).filter(|kind| is_of_record(*kind)).ok_or(BAD)?;
    let mut given = pairs(rest).map_err(|_| BAD)?;
    if !given.iter().any(|(name, _)| name == "_count") {
        given.push(("_count".to_owned(), MAX_PAGE.to_string()));
    }
    let asked = query::read(kind, &given, &app.core.around()).map_err(|_| BAD)?;
    if asked.unknown.is_empty() { Ok(asked) } else { Err(BAD) }
}

/// Whether resources of a type are part of a patient's record, and not of who looked at it.
pub fn is_of_record(kind: TypeName) -> bool {
    !is_trail(kind) && (kind.as_str() == "Patient" || !membership::by(kind, "Patient").is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn only_one_who_is_certain_is_meant() {
        use Grade::{Certain, Possible, Probable};
        let (a, b) = (name("Patient/a"), name("Patient/b"));
        let of = |graded: &[(Grade, &Name)]| the_one(graded.iter().map(|(g, n)| (*g, (*n).clone())).collect());
        assert_eq!(of(&[(Certain, &a)]).unwrap(), a);
        assert_eq!(of(&[(Probable, &b), (Certain, &a)]).unwrap(), a, "others are not he");
        assert!(matches!(of(&[(Certain, &a), (Certain, &b)]), Err(ExchangeError::Uncertain(_))));
        for near in [Probable, Possible] {
            assert!(matches!(of(&[(near, &a)]), Err(ExchangeError::Uncertain(_))));
        }
        assert!(matches!(of(&[]), Err(ExchangeError::NoPatient)));
        let merged = Json::parse(br#"{"link":[{"type":"replaced-by"}]}"#).unwrap();
        assert!(!is_current(&merged) && is_current(&Json::parse(b"{}").unwrap()));
    }

    #[test]
    fn the_trail_and_what_is_of_no_patient_is_not_asked_for() {
        let of = |text: &str| is_of_record(TypeName::parse(text).unwrap());
        assert!(of("Patient") && of("Observation") && of("Consent"));
        assert!(!of("AuditEvent") && !of("Practitioner") && !of("Subscription"));
    }

    #[test]
    fn an_id_follows_from_what_it_is_for() {
        assert_eq!(derived("x", &["a", "b"]), derived("x", &["a", "b"]));
        let others = [derived("x", &["ab", ""]), derived("y", &["a", "b"]), derived("x", &["a", "c"])];
        assert!(others.iter().all(|other| *other != derived("x", &["a", "b"])));
    }
}
