//! Emergencies over exchange. All people are invented.

use super::network::{Hospital, Network, names, told};
use super::with;
use crate::stores;
use crate::world::issue;
use bridge::audit::worker::flush;
use notary::receipt::Receipt;
use serde_json::{Value, json};

const STARTED: &str = "subtype=http://dicom.nema.org/resources/ontology/DCM%7C110127";
const REASON: &str = "found unconscious on the quay";

/// A request of this hospital's doctor.
async fn ask(hospital: &Hospital, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let token = issue(&hospital.world.running, "user/*.rs", None, Some("Practitioner/doc"));
    let token = format!("Bearer {token}");
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let reply = hospital.world.request(method, path, &headers, text.as_bytes()).await;
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
}

async fn events(hospital: &Hospital, query: &str) -> Vec<Value> {
    flush(&hospital.world.running.app).await.unwrap();
    let (status, bundle) = hospital.world.get(&format!("/fhir/AuditEvent?{query}")).await;
    assert_eq!(status, 200, "{bundle}");
    bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
}

async fn acquainted(count: usize, more: &str) -> Option<Network> {
    let network = Network::beside(count, more).await?;
    for (hospital, id) in network.hospitals.iter().zip(["ada", "lovelace"]) {
        hospital.knows_ada(id).await;
    }
    Some(network)
}

fn pull(from: &Hospital) -> Value {
    json!({"from": [from.id], "patient": "Patient/ada", "queries": ["Observation"],
        "emergency": {"role": "physician on call", "reason": REASON}})
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_role_and_reason_sees_what_nobody_consented_to_and_it_is_in_the_log_there_first() {
    let Some(network) = acquainted(2, "").await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let urgent = pull(b);
    for (what, body, status) in [
        ("no emergency", with(&with(&urgent, "emergency", Value::Null), "purpose", json!("TREAT")), 403),
        ("no role and no reason", with(&with(&urgent, "emergency", Value::Null), "purpose", json!("BTG")), 400),
        ("an empty reason", with(&urgent, "emergency", json!({"role": "r", "reason": " "})), 400),
        ("a purpose that is none of emergencies", with(&urgent, "purpose", json!("HRESCH")), 400),
        ("a kind that nobody declares", with(&urgent, "purpose", json!("ERTREAT")), 400),
    ] {
        let (got, refused) = ask(a, "POST", "/exchange/pull", &body).await;
        assert_eq!(got, status, "{what}: {refused}");
    }
    assert_eq!(a.ask("POST", "/exchange/pull", &urgent).await.0, 403, "a program without a person");
    assert_eq!(events(b, STARTED).await, [] as [Value; 0]);

    let (status, pulled) = ask(a, "POST", "/exchange/pull", &urgent).await;
    assert_eq!((status, names(&pulled)), (200, vec!["Observation/o-lovelace".to_owned()]), "{pulled}");
    let begun = events(b, STARTED).await;
    assert_eq!(begun.len(), 1);
    let person = begun[0]["agent"].as_array().unwrap().last().unwrap();
    let doctor = format!("{}/Practitioner/doc", a.world.running.app.core.base);
    assert_eq!(
        (&person["who"]["reference"], &person["role"][0]["text"]),
        (&json!(doctor), &json!("physician on call"))
    );
    assert_eq!(begun[0]["agent"][0]["who"]["identifier"]["value"], a.id.to_string());
    assert_eq!(begun[0]["purposeOfEvent"][0]["text"], REASON);
    assert_eq!(begun[0]["entity"][0]["what"]["reference"], "Patient/lovelace");
    let id = begun[0]["id"].as_str().unwrap();
    let receipt = b.world.anchored_receipt(&format!("/fhir/AuditEvent/{id}/$receipt")).await;
    assert!(Receipt::parse(&receipt).unwrap().entry.starts_with("0105"));
    let done = events(b, "subtype=operation&outcome=0&patient=Patient/lovelace").await;
    let theirs = |event: &&Value| event["agent"][0]["who"]["identifier"]["value"] == a.id.to_string();
    let read = done.iter().find(theirs).expect("what was shown is told");
    assert_eq!(read["purposeOfEvent"][0]["coding"][0]["code"], "BTG", "{read}");
    let because = read["entity"][0]["detail"][0]["valueString"].as_str().unwrap_or_default();
    assert!(because.contains(&format!("the emergency AuditEvent/{id}")), "{read}");
    // She is told.
    let notice = b.world.only("/fhir/Communication?recipient=Patient/lovelace").await.to_string();
    assert!(notice.contains(REASON) && notice.contains(&doctor), "{notice}");
    let store = &b.world.running.app.core.store;
    let patient = bridge::ids::Name::parse("Patient/lovelace").unwrap();
    assert_eq!(store.unseen_emergencies(&patient, 9).unwrap().len(), 1);
    // It was for that request: the next one says nothing, and sees nothing.
    let usual = with(&with(&urgent, "emergency", Value::Null), "purpose", json!("TREAT"));
    assert_eq!(ask(a, "POST", "/exchange/pull", &usual).await.0, 403);

    // What the patient refuses for emergencies stays with her, and nothing begins.
    let purpose = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "ETREAT"}]);
    b.consent("lovelace", &a.id, "active", json!({"type": "deny", "purpose": purpose})).await;
    let (status, refused) = ask(a, "POST", "/exchange/pull", &urgent).await;
    assert_eq!(status, 403, "{}", told(&refused));
    assert_eq!(events(b, STARTED).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_in_an_emergency_ends_with_it() {
    let Some(network) = acquainted(2, "").await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let opening = json!({"from": b.id, "patient": "Patient/ada", "purpose": "ETREAT",
        "emergency": {"role": "physician on call", "reason": REASON}});
    let bare = with(&opening, "emergency", Value::Null);
    assert_eq!(ask(a, "POST", "/exchange/view", &bare).await.0, 400);
    let (status, view) = ask(a, "POST", "/exchange/view", &opening).await;
    assert_eq!(status, 201, "{view}");
    assert_eq!(events(b, STARTED).await.len(), 1);
    let at = format!("/exchange/view/{}/Observation", view["id"].as_str().unwrap());
    let (status, seen) = ask(a, "GET", &at, &Value::Null).await;
    assert_eq!((status, names(&seen)), (200, vec!["Observation/o-lovelace".to_owned()]), "{seen}");
    let ended = b.world.call("POST", "/fhir/Patient/lovelace/$end-emergency-access", "").await;
    assert_eq!(ended.0, 200, "{}", ended.1);
    assert_eq!(ask(a, "GET", &at, &Value::Null).await.0, 410);
    assert_eq!(events(b, "subtype=110138").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_there_is_not_shown() {
    let Some(network) = acquainted(2, "").await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    if stores::needs_sqlite() {
        return;
    }
    let data = b.world.directory.path().join("data");
    stores::takes_no_events(&data, true);
    assert_eq!(b.world.get("/fhir/Observation/o-lovelace").await.0, 200, "what is there can be read");
    let (status, refused) = ask(a, "POST", "/exchange/pull", &pull(b)).await;
    stores::takes_no_events(&data, false);
    assert!(status >= 500 && names(&refused).is_empty(), "{status}: {refused}");
    assert_eq!(events(b, STARTED).await, [] as [Value; 0]);
    assert_eq!(ask(a, "POST", "/exchange/pull", &pull(b)).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_house_without_emergency_access_gives_none_to_others() {
    let Some(network) = acquainted(2, "[consent]\nemergency = 'off'\n").await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let (status, refused) = ask(a, "POST", "/exchange/pull", &pull(b)).await;
    assert_eq!(status, 403, "{}", told(&refused));
    // Not even where a Consent permits the purpose: nobody would be told.
    b.consent("lovelace", &a.id, "active", json!({})).await;
    assert_eq!(ask(a, "POST", "/exchange/pull", &pull(b)).await.0, 403);
    let usual = with(&with(&pull(b), "emergency", Value::Null), "purpose", json!("TREAT"));
    assert_eq!(ask(a, "POST", "/exchange/pull", &usual).await.0, 200);
}
