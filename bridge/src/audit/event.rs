//! An AuditEvent. Pure.

use crate::clock::instant;
use crate::consent::policy::PURPOSE_OF_USE;
use crate::ids::{Name, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The code system of DICOM.
pub const DICOM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const EVENT_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-event-type";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
pub(super) const ENTITY_TYPE: &str = "http://terminology.hl7.org/CodeSystem/audit-entity-type";
pub(super) const ENTITY_ROLE: &str = "http://terminology.hl7.org/CodeSystem/object-role";
const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const PURPOSES: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
pub(super) const SOURCE_TYPE: &str = "http://terminology.hl7.org/CodeSystem/security-source-type";
/// The type of the details that say what others answered.
pub const ANSWER: &str = "answer";

/// Who asked: what his token says of him.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Who {
    /// The client, or the name that a token was minted for.
    pub client: String,
    /// The person who uses it, where there is one.
    pub user: Option<Name>,
    /// What the token says that it is for: a code of v3-ActReason.
    pub purpose: Option<String>,
    /// Another organisation's user and what it is for, where one asks.
    pub behalf: Option<Behalf>,
}

/// On whose behalf another organisation asks, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Behalf {
    /// The user's address there.
    pub user: Option<String>,
    /// The purpose of use: code system and code.
    pub system: String,
    pub purpose: String,
}

/// What was done: a code of R4's value set `restful-interaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Did(pub &'static str);

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    Done,
    /// Nothing was shown or changed.
    Refused,
    /// This server could not.
    Failed,
}

/// What another organisation answered who asked it about a patient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    Gave,
    Refused,
    /// It refused, and asks the patient.
    Asks,
    /// It let in for a look.
    Opened,
    /// Nothing came, for another reason.
    Nothing,
}

impl Answer {
    const WORDS: [(Self, &'static str); 5] = [
        (Self::Gave, "gave"),
        (Self::Refused, "refused"),
        (Self::Asks, "asks"),
        (Self::Opened, "opened"),
        (Self::Nothing, "nothing"),
    ];

    /// As an event says it.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(answer, _)| *answer == self).map_or("", |(_, word)| word)
    }

    /// Reads what an event says: who answered, and what.
    pub fn read(text: &str) -> Option<(&str, Self)> {
        let (from, said) = text.split_once(' ')?;
        let (answer, _) = Self::WORDS.iter().find(|(_, word)| *word == said)?;
        Some((from, *answer))
    }
}

/// What is told together: the same caller did the same to the same record, within a moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Access {
    /// None: nobody whom this server knows.
    pub who: Option<Who>,
    pub did: Did,
    pub outcome: Outcome,
    /// Whose record; none: what belongs to no patient, or nothing was shown.
    pub patient: Option<Name>,
}

/// What it was done to, and when.
#[derive(Clone, PartialEq, Eq)]
pub struct Detail {
    pub first: Timestamp,
    pub last: Timestamp,
    pub resources: BTreeSet<(Name, Version)>,
    /// Addresses that were asked, with their parameters; see `http::audit` for what of these.
    pub queries: BTreeSet<String>,
    /// What of the patient's Consents decided.
    pub because: BTreeSet<String>,
    /// The purposes of the emergencies that did.
    pub emergencies: BTreeSet<String>,
    /// What other organisations answered, by their ids.
    pub answers: BTreeSet<(String, Answer)>,
    /// How many requests it was.
    pub times: u32,
}

crate::redacted_debug!(Detail);

impl Did {
    /// The letter of R4's `audit-event-action`: a search executes, as BALP has it.
    fn action(self) -> &'static str {
        match self.0 {
            "create" => "C",
            "read" | "vread" | "history-instance" | "history-type" | "history-system" => "R",
            "update" | "patch" => "U",
            "delete" => "D",
            _ => "E",
        }
    }

    /// Whether it changes something.
    pub fn writes(self) -> bool {
        matches!(self.action(), "C" | "U" | "D")
    }
}

/// How an event names what it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// By references: the event is sealed under the patient's key.
    Reference,
    /// In words: it belongs to no patient. For those whose key was destroyed.
    Words,
}

/// The AuditEvent. `custodian` is whose server this is, `base` the address of its FHIR API.
pub fn audit_event(access: &Access, detail: &Detail, naming: Naming, custodian: &str, base: &str) -> Value {
    let Access { who, did, outcome, patient } = access;
    let mut event = json!({
        "resourceType": "AuditEvent",
        "type": {"system": EVENT_TYPE, "code": "rest", "display": "Restful Operation"},
        "subtype": [{"system": INTERACTION, "code": did.0}],
        "action": did.action(),
        "period": {"start": instant(detail.first), "end": instant(detail.last)},
        "recorded": instant(detail.last),
        "outcome": match outcome { Outcome::Done => "0", Outcome::Refused => "4", Outcome::Failed => "8" },
        "agent": agents(who.as_ref(), *did, custodian, base),
        "source": {"observer": {"display": custodian}, "type": [{"system": SOURCE_TYPE, "code": "4"}]},
    });
    if !detail.emergencies.is_empty() {
        let purposes =
            detail.emergencies.iter().map(|code| json!({"coding": [{"system": PURPOSE_OF_USE, "code": code}]}));
        event["purposeOfEvent"] = purposes.collect();
    }
    if detail.times > 1 {
        event["outcomeDesc"] = format!("{} requests", detail.times).into();
    }
    let entities = entities(patient.as_ref(), detail, naming);
    if !entities.is_empty() {
        event["entity"] = entities.into();
    }
    event
}

/// The client, this server, and the person: data flow from the source to the destination.
pub(super) fn agents(who: Option<&Who>, did: Did, custodian: &str, base: &str) -> Vec<Value> {
    let (client, server) = if did.writes() { ("110153", "110152") } else { ("110152", "110153") };
    let role = |code: &str| {
        let display = if code == "110153" { "Source Role ID" } else { "Destination Role ID" };
        json!({"coding": [{"system": DICOM, "code": code, "display": display}]})
    };
    let name = who.map_or(json!({"display": "unknown"}), |who| json!({"identifier": {"value": who.client}}));
    let user = who.and_then(|who| who.user.as_ref());
    let mut client = json!({"type": role(client), "who": name, "requestor": user.is_none()});
    let server = json!({
        "type": role(server), "who": {"display": custodian}, "requestor": false,
        "network": {"address": base, "type": "5"},
    });
    let mut person = user.map(|user| {
        let kind = json!({"coding": [{"system": PARTICIPATION, "code": if did.writes() { "AUT" } else { "IRCP" }}]});
        json!({"type": kind, "who": {"reference": user.to_string()}, "requestor": true})
    });
    if let Some(purpose) = who.and_then(|who| who.purpose.as_ref()) {
        let asker = person.as_mut().unwrap_or(&mut client);
        asker["purposeOfUse"] = json!([{"coding": [{"system": PURPOSES, "code": purpose}]}]);
    }
    let behalf = who.and_then(|who| who.behalf.as_ref()).map(|behalf| {
        let purpose = json!([{"coding": [{"system": behalf.system, "code": behalf.purpose}]}]);
        let who = behalf.user.as_ref().map_or(json!({"display": "unknown"}), |user| json!({"reference": user}));
        let kind = json!({"coding": [{"system": PARTICIPATION, "code": "IRCP"}]});
        json!({"type": kind, "who": who, "requestor": false, "purposeOfUse": purpose})
    });
    [client, server].into_iter().chain(person).chain(behalf).collect()
}

fn entities(patient: Option<&Name>, detail: &Detail, naming: Naming) -> Vec<Value> {
    let what = |name: String| match naming {
        Naming::Reference => json!({"reference": name}),
        Naming::Words => json!({"display": name}),
    };
    let entity = |kind: &str, role: &str| json!({"type": {"system": ENTITY_TYPE, "code": kind}, "role": {"system": ENTITY_ROLE, "code": role}});
    let with = |mut entity: Value, member: &str, value: Value| {
        entity[member] = value;
        entity
    };
    let patient = patient.map(|patient| with(entity("1", "1"), "what", what(patient.to_string())));
    let patient = patient.map(|patient| match details(detail) {
        details if details.is_empty() => patient,
        details => with(patient, "detail", details.into()),
    });
    let resources = detail
        .resources
        .iter()
        .map(|(name, version)| with(entity("2", "4"), "what", what(format!("{name}/_history/{version}"))));
    let queries = detail.queries.iter().map(|asked| with(entity("2", "24"), "query", STANDARD.encode(asked).into()));
    patient.into_iter().chain(resources).chain(queries).collect()
}

/// Which provisions of the patient's Consents decided, and what others answered about him.
fn details(detail: &Detail) -> Vec<Value> {
    let consents = detail.because.iter().map(|reason| json!({"type": "consent", "valueString": reason}));
    let answer = |(from, answer): &(String, Answer)| format!("{from} {}", answer.word());
    let answers = detail.answers.iter().map(|said| json!({"type": ANSWER, "valueString": answer(said)}));
    consents.chain(answers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::validate::validate;
    use notary::canonical::Json;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn every_event_is_valid_and_says_who_did_what_to_whose_record() {
        let purpose = Some("TREAT".to_owned());
        let who = Who { client: "app".into(), user: Some(name("Practitioner/d")), purpose, behalf: None };
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let resources = [(name("Observation/o"), Version(2)), (name("Patient/p"), Version(1))].into();
        let (queries, because) =
            (["Observation?code=1".into()].into(), ["permitted: Consent/k provision".into()].into());
        let answers = [("0xb".to_owned(), Answer::Asks)].into();
        let full = Detail { resources, queries, because, answers, times: 7, ..Detail::at(at) };
        let bare = Detail { times: 7, ..Detail::at(at) };
        for did in ["read", "search-type", "create", "update", "patch", "delete", "operation", "transaction"].map(Did) {
            for outcome in [Outcome::Done, Outcome::Refused, Outcome::Failed] {
                for (who, detail) in [(Some(who.clone()), &full), (None, &bare)] {
                    let access = Access { who, did, outcome, patient: Some(name("Patient/p")) };
                    for naming in [Naming::Reference, Naming::Words] {
                        let event = audit_event(&access, detail, naming, "Hospital", "http://h/fhir").to_string();
                        let json = Json::parse(event.as_bytes()).unwrap();
                        assert!(validate(json).is_ok(), "{event}");
                    }
                }
            }
        }
    }

    #[test]
    fn data_flow_from_the_server_to_who_reads_and_from_who_writes() {
        let at = Timestamp::UNIX_EPOCH;
        let detail = Detail::at(at);
        let event = |did| {
            let who = Some(Who { client: "app".into(), user: None, purpose: Some("HRESCH".into()), behalf: None });
            let access = Access { who, did: Did(did), outcome: Outcome::Done, patient: Some(name("Patient/p")) };
            audit_event(&access, &detail, Naming::Reference, "Hospital", "http://h/fhir")
        };
        for (did, action, client) in [
            ("read", "R", "110152"),
            ("search-type", "E", "110152"),
            ("create", "C", "110153"),
            ("delete", "D", "110153"),
        ] {
            let event = event(did);
            let coding = &event["agent"][0]["type"]["coding"][0];
            assert_eq!((event["action"].as_str(), coding["code"].as_str()), (Some(action), Some(client)), "{did}");
            assert_eq!(event["entity"][0]["what"]["reference"], "Patient/p");
            assert_eq!(event["agent"][0]["requestor"], true, "nobody else is there");
            assert_eq!(event["agent"][0]["purposeOfUse"][0]["coding"][0]["code"], "HRESCH");
        }
    }
}
