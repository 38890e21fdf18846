//! The side that answers: who is meant, whether he consents, what is shown.

use super::contents::contents;
use super::emergency::{self, Urgent};
use super::error::ExchangeError;
use super::parcel::{Parcel, pack};
use super::peers::Requester;
use super::store::current;
use crate::app::App;
use crate::audit::is_trail;
use crate::clock::instant;
use crate::commit::{Author, Transaction};
use crate::consent::decide::decide;
use crate::consent::outside::{Outside, PARTICIPANT};
use crate::consent::policy::Coding;
use crate::consent::request;
use crate::consent::whose::replacing;
use crate::error::IngestError;
use crate::fhir::matching::{Grade, blocks, score};
use crate::fhir::membership;
use crate::fhir::search::query;
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::http::query::pairs;
use crate::ids::{Name, Owner, ResourceId, TypeName, Version};
use crate::ingest::commit;
use crate::limits::{MAX_PAGE, MAX_PARCEL_BYTES, MAX_PARCEL_ITEMS, MAX_PULL_QUERIES};
use crate::read::{Opened, in_background};
use crate::search::candidates::candidates;
use crate::search::compartment::{Start, Wanted, members};
use crate::search::search;
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use notary::canonical::Json;
use notary::commitment::Digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
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

/// Purposes of v3-ActReason for which a patient may be asked.
const PURPOSES: &[&str] = &[
    "TREAT",
    "ETREAT",
    "BTG",
    "CAREMGT",
    "COVERAGE",
    "HDIRECT",
    "HOPERAT",
    "HPAYMT",
    "HRESCH",
    "PATRQT",
    "PUBHLTH",
    "RECORDMGT",
];

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
    let asks = asked.request_consent.then_some(asked.queries.as_slice());
    let_in(app, &seeking, &patient, &outside, (asks, plea.is_some())).await?;
    let (outside, _) = emergency::declared(app, by, (&patient, plea.as_ref()), (&seeking, outside)).await?;
    let caller = caller(&patient, outside)?.asks(seen);
    let (mut opened, mut more) = select(app, &caller, &patient, &asked.queries).await?;
    let (held, too_much) = contents(&app.core, &caller, &patient, &opened).await?;
    opened.extend(held);
    more |= too_much;
    let mut parcel = pack(&app.core, &patient, opened).await?;
    parcel.more |= more;
    Ok(parcel)
}

/// Refuses where the patient lets this organisation see nothing, and says what consent is missing and how to ask for it. `request`: what
/// the patient is to be asked for, if he is.
pub async fn let_in(
    app: &Arc<App>,
    caller: &Caller,
    patient: &Name,
    outside: &Outside,
    (request, urgent): (Option<&[String]>, bool),
) -> Result<(), ExchangeError> {
    let permit = decide(caller, Interaction::Read, Some(patient.kind));
    let permit = permit.map_err(|denied| ExchangeError::Forbidden(denied.to_string()))?;
    if app.core.is_let_in(&permit, patient, urgent).await? {
        return Ok(());
    }
    if let Some(queries) = request {
        ask_patient(app, patient, outside, queries).await?;
    }
    // Told as refused, to his record.
    let (store, name) = (app.core.store.clone(), patient.clone());
    if let Some(stored) = in_background(move || store.current(&name)).await? {
        caller.seen.withholds((Owner::patient(&patient.id), patient.clone(), stored.version));
    }
    Err(ExchangeError::Consent(missing(app, outside, request.is_some())))
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
         to access the record for {}; the patient gives it at {base}/me/shares when asked, or a system of this house writes down what the patient has said; {how}",
        purpose.code
    )
}

/// Puts down that somebody asks: a Task in the patient's record, one for an organisation and a purpose. What the patient has refused is
/// not asked again; what was granted and has ended since is.
async fn ask_patient(
    app: &Arc<App>,
    patient: &Name,
    outside: &Outside,
    queries: &[String],
) -> Result<(), ExchangeError> {
    let Outside { participant, name, purpose, .. } = outside;
    let Some(kind) = TypeName::parse("Task") else { return Ok(()) };
    // Once for each purpose that there is; whatever else somebody calls his own is one more.
    let code = PURPOSES.iter().find(|code| is_act_reason(purpose, code)).copied().unwrap_or_default();
    let parts = [participant.as_str(), code, patient.id.as_str()];
    let id = derived(request::CODE, &parts);
    let before = current(app, &Name { kind, id: id.clone() }).await?;
    if before.as_ref().is_some_and(|task| task.text("status") != Some("completed")) {
        return Ok(());
    }
    let version = before.as_ref().and_then(|task| Version::parse(task.get("meta")?.text("versionId")?));
    let mut task = json!({
        "resourceType": "Task", "id": id.as_str(), "status": "requested", "intent": "proposal",
        "code": {"coding": [{"system": request::SYSTEM, "code": request::CODE}]},
        "description": format!("{name} asks to see the record"),
        "for": {"reference": patient.to_string()},
        "authoredOn": instant(app.core.clock.now()),
        "requester": {"identifier": {"system": PARTICIPANT, "value": participant}, "display": name},
        "reasonCode": {"coding": [{"system": purpose.system, "code": purpose.code}]},
    });
    let input: Vec<Value> =
        kinds(queries).into_iter().map(|kind| json!({"type": {"text": "type"}, "valueCode": kind})).collect();
    if !input.is_empty() {
        task["input"] = input.into();
    }
    let resource = validate(Json::from(task)).map_err(ExchangeError::Invalid)?;
    let target = Target { kind, by: By::Id(id), if_match: version, only_new: version.is_none() };
    let writes = vec![Write::alone(Act::Update { target, resource })];
    match commit(app, Transaction { by: Author::Service, writes, message: None }).await {
        // Somebody asks at the same moment.
        Ok(_) | Err(IngestError::Precondition(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn is_act_reason(purpose: &Coding, code: &str) -> bool {
    purpose.system == "http://terminology.hl7.org/CodeSystem/v3-ActReason" && purpose.code == code
}

/// The types that queries ask for; none: all.
fn kinds(queries: &[String]) -> BTreeSet<&'static str> {
    let kind = |text: &String| TypeName::parse(text.split('?').next()?).map(|kind| kind.as_str());
    let all: Option<BTreeSet<&'static str>> = queries.iter().map(kind).collect();
    all.unwrap_or_default()
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
    replacing(patient).next().is_none()
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
    check_queries(app, queries)?;
    let (mut basket, mut more) = (Basket::default(), false);
    for text in queries.iter().collect::<BTreeSet<_>>() {
        more |= match text.as_str() {
            "*" => record(app, caller, patient, &mut basket).await?,
            text => found(app, caller, text, &mut basket).await?,
        };
    }
    Ok((basket.all, more))
}

/// Refuses queries that no organisation would answer: what is wrong with them is for who asks to mend, and nobody else is asked.
pub fn check_queries(app: &App, queries: &[String]) -> Result<(), ExchangeError> {
    if queries.is_empty() || queries.len() > MAX_PULL_QUERIES {
        return Err(ExchangeError::Malformed("`queries`: 1 to 20 of them, `*` or `Type?parameters`"));
    }
    queries.iter().filter(|text| *text != "*").try_for_each(|text| read(app, text).map(drop))
}

/// What was found, each resource once, up to what one parcel holds.
#[derive(Default)]
struct Basket {
    all: Vec<Opened>,
    known: HashSet<Name>,
    bytes: usize,
}

impl Basket {
    /// Adds what is of a record, or beside it; whether there is room for more.
    fn add(&mut self, found: impl IntoIterator<Item = Opened>) -> bool {
        for one in found.into_iter().filter(|one| leaves(one.stored.name.kind)) {
            if self.known.insert(one.stored.name.clone()) {
                self.bytes += one.resource.len();
                self.all.push(one);
            }
        }
        self.all.len() <= MAX_PARCEL_ITEMS && self.bytes <= MAX_PARCEL_BYTES
    }
}

/// All of the record; whether there is more.
async fn record(app: &App, caller: &Caller, patient: &Name, basket: &mut Basket) -> Result<bool, ExchangeError> {
    let wanted = Wanted { focus: patient.clone(), types: None, since: None, care: None };
    let mut from: Option<Start> = None;
    loop {
        let found = members(&app.core, caller, app.core.around(), &wanted, from).await?;
        let has_room = basket.add(found.members);
        from = found.next;
        if from.is_none() || !has_room {
            return Ok(from.is_some());
        }
    }
}

/// What a search finds; whether there is more of what was asked for.
async fn found(app: &App, caller: &Caller, text: &str, basket: &mut Basket) -> Result<bool, ExchangeError> {
    let asked = read(app, text)?;
    // A count that was asked for is the number of what is wanted.
    let is_counted = asked.count.is_some_and(|count| count < MAX_PAGE);
    let mut from = None;
    loop {
        let page = search(&app.core, caller, app.core.around(), &asked, from).await?;
        let has_room = basket.add(page.matches.into_iter().chain(page.included.resources));
        from = page.next;
        if from.is_none() || is_counted || !has_room {
            return Ok(from.is_some() && !is_counted);
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

/// Whether resources of a type leave at all, also beside what was asked for: the trail is this organisation's own, and a Binary goes with
/// the document that holds it.
fn leaves(kind: TypeName) -> bool {
    !is_trail(kind) && kind.as_str() != "Binary"
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
    fn a_patient_is_asked_for_the_types_that_are_wanted_or_for_all() {
        let of = |queries: &[&str]| {
            let queries: Vec<String> = queries.iter().map(|query| (*query).to_owned()).collect();
            kinds(&queries).into_iter().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&["Observation?category=laboratory", "Condition", "Observation"]), "Condition Observation");
        assert_eq!((of(&["Condition", "*"]), of(&[])), (String::new(), String::new()));
    }

    #[test]
    fn an_id_follows_from_what_it_is_for() {
        assert_eq!(derived("x", &["a", "b"]), derived("x", &["a", "b"]));
        let others = [derived("x", &["ab", ""]), derived("y", &["a", "b"]), derived("x", &["a", "c"])];
        assert!(others.iter().all(|other| *other != derived("x", &["a", "b"])));
    }
}
