//! What is told of an emergency: that it began, that it was ended before its time, and the notice for the patient. Pure.

use super::event::{DICOM, Did, ENTITY_ROLE, ENTITY_TYPE, SOURCE_TYPE, Who, agents};
use crate::clock::instant;
use crate::consent::policy::PURPOSE_OF_USE;
use crate::ids::Name;
use jiff::Timestamp;
use notary::canonical::Json;
use serde_json::{Value, json};

/// DICOM's codes of an emergency's beginning and end (PS3.16, CID 400 and 401).
pub const STARTED: &str = "110127";
pub const STOPPED: &str = "110138";
const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/communication-category";

/// An emergency that somebody declares.
pub struct Declaration<'d> {
    pub who: &'d Who,
    pub patient: &'d Name,
    /// As what he acts, and why: his own words.
    pub role: &'d str,
    pub reason: &'d str,
    /// A code of v3-ActReason.
    pub purpose: &'d str,
    pub begun: Timestamp,
    pub expires: Timestamp,
}

/// Whose server this is, and the address of its FHIR API.
#[derive(Clone, Copy)]
pub struct Here<'h> {
    pub custodian: &'h str,
    pub base: &'h str,
}

/// The AuditEvent of its beginning.
pub fn started(declared: &Declaration<'_>, here: Here<'_>) -> Value {
    let Declaration { who, patient, role, reason, purpose, begun, expires } = declared;
    let mut event = alert((STARTED, "Emergency Override Started"), who, patient, *begun, here);
    event["period"] = json!({"start": instant(*begun), "end": instant(*expires)});
    event["purposeOfEvent"] = json!([{"coding": [coding(purpose)], "text": reason}]);
    if let Some(person) = event["agent"].as_array_mut().and_then(|agents| agents.last_mut()) {
        person["role"] = json!([{"text": role}]);
    }
    event
}

/// The AuditEvent of its end before its time. `event`: the one of its beginning.
pub fn stopped(who: &Who, (patient, event): (&Name, &Name), purpose: &str, at: Timestamp, here: Here<'_>) -> Value {
    let mut stopped = alert((STOPPED, "Emergency Override Stopped"), who, patient, at, here);
    stopped["purposeOfEvent"] = json!([{"coding": [coding(purpose)]}]);
    if let Some(entities) = stopped["entity"].as_array_mut() {
        entities.push(entity("2", "4", event));
    }
    stopped
}

/// The Communication that tells the patient. `about`: how the AuditEvent is called.
pub fn notice(declared: &Declaration<'_>, about: &str) -> Value {
    let Declaration { who, patient, role, reason, purpose, begun, expires } = declared;
    let person = who.user.as_ref().map(ToString::to_string).or(who.behalf.as_ref().and_then(|b| b.user.clone()));
    let person = person.unwrap_or_else(|| who.client.clone());
    let text = format!(
        "An emergency was declared to see your record, until {}, by {person} as: {role}. The reason given: {reason}",
        instant(*expires)
    );
    json!({
        "resourceType": "Communication",
        "status": "completed",
        "category": [{"coding": [{"system": CATEGORY, "code": "notification"}]}],
        "priority": "urgent",
        "subject": {"reference": patient.to_string()},
        "about": [{"reference": about}],
        "sent": instant(*begun),
        "recipient": [{"reference": patient.to_string()}],
        "reasonCode": [{"coding": [coding(purpose)]}],
        "payload": [{"contentString": text}],
    })
}

/// Whether it tells a patient of an emergency: it says who, as what, and why, as the audit trail does.
pub fn is_notice(resource: &Json) -> bool {
    let first = |name: &str| resource.get(name).and_then(|all| all.items().first());
    let about = first("about").and_then(|about| about.text("reference"));
    resource.text("resourceType") == Some("Communication")
        && about.is_some_and(|about| about.starts_with("AuditEvent/"))
}

fn coding(purpose: &str) -> Value {
    let display = if purpose == "BTG" { "break the glass" } else { "Emergency Treatment" };
    json!({"system": PURPOSE_OF_USE, "code": purpose, "display": display})
}

/// A security alert (DICOM PS3.15, A.5.3.11).
fn alert((code, display): (&str, &str), who: &Who, patient: &Name, at: Timestamp, here: Here<'_>) -> Value {
    json!({
        "resourceType": "AuditEvent",
        "type": {"system": DICOM, "code": "110113", "display": "Security Alert"},
        "subtype": [{"system": DICOM, "code": code, "display": display}],
        "action": "E",
        "recorded": instant(at),
        "outcome": "0",
        "agent": agents(Some(who), Did("operation"), here.custodian, here.base),
        "source": {"observer": {"display": here.custodian}, "type": [{"system": SOURCE_TYPE, "code": "4"}]},
        "entity": [entity("1", "1", patient)],
    })
}

fn entity(kind: &str, role: &str, what: &Name) -> Value {
    json!({
        "what": {"reference": what.to_string()},
        "type": {"system": ENTITY_TYPE, "code": kind},
        "role": {"system": ENTITY_ROLE, "code": role},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::event::Behalf;
    use crate::audit::tells_of_emergency;
    use crate::fhir::validate::validate;

    const HERE: Here<'_> = Here { custodian: "Hospital", base: "http://h/fhir" };

    #[test]
    fn what_is_told_of_an_emergency_is_valid_and_known_for_one() {
        let name = |text: &str| Name::parse(text).unwrap();
        let here = Who { client: "portal/a".into(), user: Some(name("Practitioner/d")), purpose: None, behalf: None };
        let user = Some("https://b/fhir/Practitioner/9".to_owned());
        let behalf = Some(Behalf { user, system: PURPOSE_OF_USE.into(), purpose: "ETREAT".into() });
        let there = Who { client: "0x15".into(), user: None, purpose: None, behalf };
        for (who, purpose) in [(here, "BTG"), (there, "ETREAT")] {
            let (begun, expires) = (Timestamp::UNIX_EPOCH, Timestamp::from_second(60).unwrap());
            let (patient, event) = (name("Patient/p"), name("AuditEvent/e"));
            let (role, reason) = ("on call", "unconscious <&>");
            let declared = Declaration { who: &who, patient: &patient, role, reason, purpose, begun, expires };
            let told = [
                started(&declared, HERE),
                stopped(&who, (&patient, &event), purpose, begun, HERE),
                notice(&declared, "AuditEvent/e"),
            ];
            let [began, ended, notice] = told.map(|json| Json::parse(json.to_string().as_bytes()).unwrap());
            assert!(tells_of_emergency(&began) && tells_of_emergency(&ended) && !tells_of_emergency(&notice));
            let person = began.get("agent").unwrap().items().last().unwrap();
            assert_eq!(
                person.get("role").unwrap().items()[0].text("text"),
                Some(role),
                "of the person, not the program"
            );
            for json in [began, ended, notice] {
                assert!(validate(json).is_ok());
            }
        }
    }
}
