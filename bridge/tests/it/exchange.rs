//! Exchange between hospitals, each a service of its own, on one chain. All people are invented.

mod attacks;
mod contents;
mod cutter;
mod legacy;
mod network;
mod pages;
mod rules;
mod urgent;

use super::world::{World, issue};
use bridge::commands::participants::Act;
use bridge::config::{Accept, ParticipantId};
use bridge::exchange::document::beside;
use bridge::exchange::parcel::Parcel;
use bridge::exchange::signed::Draft;
use bridge::limits::{MAX_PARCEL_ANCHORS, MAX_PARCEL_ITEMS, STRANGERS_PER_SECOND};
use bridge::smart::token::TokenKey;
use cutter::Fault;
use network::{Network, names, told};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn what_two_hospitals_have_comes_proved_and_as_far_as_the_patient_consents() {
    let Some(network) = Network::of(3).await else { return };
    let [a, b, c] = network.hospitals.as_slice() else { panic!() };
    for (hospital, id) in [(a, "ada"), (b, "lovelace"), (c, "byron")] {
        hospital.knows_ada(id).await;
    }
    let everything = json!({"from": [b.id, c.id], "patient": "Patient/ada", "queries": ["*"]});
    let (status, refused) = a.ask("POST", "/exchange/pull", &everything).await;
    assert_eq!(status, 403, "nobody consented: {refused}");
    let missing = told(&refused);
    assert!(missing.contains(&format!("urn:medseal:participant|{}", a.id)) && missing.contains("/me"), "{missing}");
    assert_eq!(b.world.get("/fhir/Task?code=consent-request").await.1["total"], 0);
    for nonsense in [json!([]), json!(["Observation?nonsense=x"]), json!(["AuditEvent"]), json!(vec!["Condition"; 21])]
    {
        let (status, refused) = a.ask("POST", "/exchange/pull", &with(&everything, "queries", nonsense)).await;
        assert_eq!(status, 400, "nobody else is asked: {refused}");
    }
    let (_, _) = a.ask("POST", "/exchange/pull", &with(&everything, "requestConsent", json!(true))).await;
    let (_, _) = a.ask("POST", "/exchange/pull", &with(&everything, "requestConsent", json!(true))).await;
    assert_eq!(b.world.get("/fhir/Task?code=consent-request").await.1["total"], 1, "she is told once");

    b.consent("lovelace", &a.id, "active", json!({})).await;
    let (status, one) = a.ask("POST", "/exchange/pull", &everything).await;
    assert_eq!(status, 200, "{one}");
    assert_eq!(
        names(&one),
        ["Condition/c-lovelace", "Consent/k-lovelace", "Observation/o-lovelace", "Patient/lovelace"]
    );
    assert!(told(&one).contains(&c.id.to_string()) && told(&one).contains("no consent"), "{}", told(&one));
    assert!(names(&one).iter().all(|name| !name.ends_with("byron")));

    c.consent("byron", &a.id, "active", json!({})).await;
    let results = with(&everything, "queries", json!(["Observation?status=final"]));
    let (_, both) = a.ask("POST", "/exchange/pull", &results).await;
    assert_eq!(names(&both), ["Observation/o-byron", "Observation/o-lovelace"]);
    for entry in both["entry"].as_array().unwrap() {
        assert_eq!(entry["search"]["extension"][1]["valueCode"], "ANCHORED-CONSORTIUM", "{entry}");
        assert_eq!(entry["resource"]["valueQuantity"]["value"].to_string(), "1.5");
    }

    let class = json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]);
    b.consent("lovelace", &a.id, "active", json!({"class": class})).await;
    let (_, narrowed) = a.ask("POST", "/exchange/pull", &results).await;
    assert_eq!(names(&narrowed), ["Observation/o-byron"], "results are no diagnoses");
    b.consent("lovelace", &a.id, "inactive", json!({})).await;
    let alone = with(&everything, "from", json!([b.id]));
    let (status, revoked) = a.ask("POST", "/exchange/pull", &alone).await;
    assert_eq!(status, 403, "{revoked}");
    let past = json!({"period": {"start": "2001-01-01", "end": "2002-01-01"}});
    b.consent("lovelace", &a.id, "active", past).await;
    assert_eq!(a.ask("POST", "/exchange/pull", &alone).await.0, 403, "expired");

    // One of two is dead: the other one's is there, and it is told.
    b.cutter.as_ref().unwrap().dies();
    let (status, half) = a.ask("POST", "/exchange/pull", &results).await;
    assert_eq!((status, names(&half)), (200, vec!["Observation/o-byron".to_owned()]));
    assert!(told(&half).contains(&b.id.to_string()), "{}", told(&half));
}

fn with(body: &Value, name: &str, value: Value) -> Value {
    let mut body = body.clone();
    body[name] = value;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pulled_to_be_kept_becomes_part_of_the_record_and_is_kept_once() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    b.knows_ada("lovelace").await;
    b.consent("lovelace", &a.id, "active", json!({})).await;
    let pull =
        json!({"from": [b.id], "patient": "Patient/ada", "queries": ["Observation", "Condition"], "store": true});
    let (status, pulled) = a.ask("POST", "/exchange/pull", &pull).await;
    assert_eq!(status, 200, "{pulled}");
    let (status, again) = a.ask("POST", "/exchange/pull", &pull).await;
    assert_eq!((status, names(&again)), (200, names(&pulled)));
    let found = a.world.get("/fhir/Observation?patient=Patient/ada&_sort=_lastUpdated").await.1;
    assert_eq!(found["total"], 2, "her own, and the one that came: {found}");
    let stored = &found["entry"][1]["resource"];
    assert_eq!(stored["meta"]["versionId"], "1", "kept once");
    assert_eq!(stored["subject"]["reference"], "Patient/ada");
    let source = format!("{}/Observation/o-lovelace/_history/1", b.world.running.app.core.base);
    assert_eq!(stored["meta"]["source"], source);
    let target = format!("/fhir/Provenance?target=Observation/{}", stored["id"].as_str().unwrap());
    let provenance = a.world.only(&target).await;
    assert_eq!(provenance["agent"][0]["who"]["identifier"]["value"], b.id.to_string());
    // Who is not known there, or not for certain, gets nothing.
    for (described, expected) in [
        (json!({"resourceType": "Patient", "identifier": [{"system": "urn:id", "value": "1"}]}), 404),
        (
            json!({"resourceType": "Patient", "birthDate": "1980-02-29", "name": [{"family": "Lovelace", "given": ["Ada"]}]}),
            409,
        ),
    ] {
        let asked = json!({"from": [b.id], "patient": described, "queries": ["*"]});
        let (status, refused) = a.ask("POST", "/exchange/pull", &asked).await;
        assert_eq!(status, expected, "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_arrives_once_whatever_happens_on_the_way_and_is_signed_for() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    let push = json!({"id": "letter-1", "to": b.id, "patient": "Patient/ada", "queries": ["Observation"], "resources": ["Consent/k-ada"]});
    let early = json!({"to": b.id, "patient": "Patient/ada", "queries": ["Observation"]});
    let refused = a.pushed(&early).await;
    assert_eq!(refused["state"], "refused", "nobody consented: {refused}");
    a.consent("ada", &b.id, "active", json!({})).await;
    let cutter = b.cutter.as_ref().unwrap();
    cutter.next(&[Fault::Asking(900), Fault::Answering(0), Fault::Answering(150)]);
    let (status, queued) = a.ask("POST", "/exchange/push", &push).await;
    assert_eq!(status, 202, "{queued}");
    assert_eq!(a.ask("POST", "/exchange/push", &push).await.1, queued, "the same is the same");
    let state = a.ended(queued["id"].as_str().unwrap()).await;
    assert_eq!(state["state"], "delivered", "{state}");
    assert!(state["failures"].as_u64().unwrap() >= 2, "{state}");
    let patient = b.world.only("/fhir/Patient?identifier=urn:id|4711").await;
    let path = format!("/fhir/Observation?patient=Patient/{}", patient["id"].as_str().unwrap());
    let observation = b.world.only(&path).await;
    assert_eq!(observation["meta"]["versionId"], "1");
    let provenance =
        b.world.only(&format!("/fhir/Provenance?target=Observation/{}", observation["id"].as_str().unwrap())).await;
    assert_eq!(provenance["agent"][0]["who"]["identifier"]["value"], a.id.to_string());
    assert_eq!(b.world.get("/fhir/Consent").await.1["total"], 0, "what is consented to here, nobody elsewhere decides");
    // Both sides have the delivery receipt, and a receipt of that.
    let sent = state["receipt"].as_str().unwrap();
    let kept = a.world.get(&format!("/fhir/{sent}")).await.1;
    assert_eq!(kept["signature"][0]["data"], provenance["signature"][0]["data"]);
    a.world.anchored_receipt(&format!("/fhir/{sent}/$receipt")).await;
    b.world.anchored_receipt(&format!("/fhir/Provenance/{}/$receipt", provenance["id"].as_str().unwrap())).await;
    // The next letter finds the record that the first one began.
    assert_eq!(a.pushed(&with(&push, "id", json!("letter-2"))).await["state"], "delivered");
    assert_eq!(b.world.only(&path).await["meta"]["versionId"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_the_connection_is_cut_a_push_arrives_whole_and_once() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    a.consent("ada", &b.id, "active", json!({})).await;
    let cutter = b.cutter.as_ref().unwrap();
    // A request is some 10,000 bytes long, an answer some 1,000.
    let cuts = (0..8).flat_map(|n| [Fault::Asking(1 << (2 * n - n / 2)), Fault::Answering(1 << (n + 3))]);
    let cuts: Vec<Fault> = cuts.chain([Fault::Asking(0), Fault::Answering(0)]).collect();
    cutter.next(&cuts);
    let push = json!({"id": "letter", "to": b.id, "patient": "Patient/ada", "queries": ["*"]});
    let (_, queued) = a.ask("POST", "/exchange/push", &push).await;
    let (id, app) = (queued["id"].as_str().unwrap(), &a.world.running.app);
    let state = loop {
        // Nobody waits for the pauses between the tries.
        app.core.store.retry_push(id, app.core.clock.now().as_millisecond()).unwrap();
        let state = a.world.get(&format!("/exchange/push/{id}")).await.1;
        if state["state"] == "delivered" {
            break state;
        }
        assert!(state["failures"].as_u64().unwrap() <= cuts.len() as u64, "{state}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(state["failures"].as_u64().unwrap() >= 8, "{state}");
    for kind in ["Patient", "Observation", "Condition"] {
        let one = b.world.only(&format!("/fhir/{kind}")).await;
        assert_eq!(one["meta"]["versionId"], "1", "{kind} came once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_another_key_since_signs_anew_for_what_was_kept() {
    let Some(mut network) = Network::of(2).await else { return };
    let b = network.hospitals.pop().unwrap();
    let a = &network.hospitals[0];
    a.knows_ada("ada").await;
    a.consent("ada", &b.id, "active", json!({})).await;
    // It arrives, and no answer gets through.
    b.cutter.as_ref().unwrap().next(&[Fault::Answering(0); 200]);
    let push = json!({"to": b.id, "patient": "Patient/ada", "queries": ["Observation"]});
    let id = a.ask("POST", "/exchange/push", &push).await.1["id"].as_str().unwrap().to_owned();
    for _ in 0..1_500 {
        if b.world.get("/fhir/Observation").await.1["total"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let before = b.world.get("/fhir/Provenance").await.1["entry"][0]["resource"].clone();
    let b = b.with_another_key().await;
    b.cutter.as_ref().unwrap().heals();
    let core = &a.world.running.app.core;
    core.store.retry_push(&id, core.clock.now().as_millisecond()).unwrap();
    let state = a.ended(&id).await;
    assert_eq!(state["state"], "delivered", "{state}");
    let sent = a.world.get(&format!("/fhir/{}", state["receipt"].as_str().unwrap())).await.1;
    assert_ne!(sent["signature"][0]["data"], before["signature"][0]["data"], "signed with the key of now");
    assert_eq!(b.world.only("/fhir/Observation").await["meta"]["versionId"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_anothers_there_by_now_or_was_deleted_is_refused() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    a.put(&json!({"resourceType": "Patient", "id": "bob", "identifier": [{"system": "urn:id", "value": "815"}]})).await;
    for patient in ["ada", "bob"] {
        a.consent(patient, &b.id, "active", json!({})).await;
    }
    let pushed = async |name: &str, patient: &str| {
        let push = json!({"id": name, "to": b.id, "patient": format!("Patient/{patient}"), "queries": ["Observation"]});
        a.pushed(&push).await
    };
    assert_eq!(pushed("one", "ada").await["state"], "delivered");
    // It was filed under the wrong name.
    a.put(&json!({"resourceType": "Observation", "id": "o-ada", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/bob"}}))
        .await;
    let state = pushed("two", "bob").await;
    assert_eq!(state["state"], "refused", "{state}");
    assert!(state["why"].as_str().unwrap().contains("another patient's before"), "{state}");
    let observation = b.world.only("/fhir/Observation").await;
    assert_eq!(observation["meta"]["versionId"], "1");
    for path in [
        format!("Observation/{}", observation["id"].as_str().unwrap()),
        observation["subject"]["reference"].as_str().unwrap().into(),
    ] {
        assert_eq!(b.world.call("DELETE", &format!("/fhir/{path}"), "").await.0, 204);
    }
    let state = pushed("three", "ada").await;
    assert_eq!(state["state"], "refused", "{state}");
    assert!(state["why"].as_str().unwrap().contains("deleted"), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_merged_there_is_kept_up() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    a.consent("ada", &b.id, "active", json!({})).await;
    let label = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]);
    for (name, status) in [("one", "final"), ("two", "amended")] {
        a.put(&json!({"resourceType": "Observation", "id": "o-ada", "status": status, "code": {"text": "x"},
            "subject": {"reference": "Patient/ada"}}))
            .await;
        let push = json!({"id": name, "to": b.id, "patient": "Patient/ada", "queries": ["Observation"]});
        let state = a.pushed(&push).await;
        assert_eq!(state["state"], "delivered", "{state}");
        if name == "one" {
            let mut began = b.world.only("/fhir/Patient").await;
            let own = began["id"].as_str().unwrap().to_owned();
            let link =
                |kind: &str, other: &str| json!([{"type": kind, "other": {"reference": format!("Patient/{other}")}}]);
            b.put(&json!({"resourceType": "Patient", "id": "survivor", "link": link("replaces", &own)})).await;
            began["link"] = link("replaced-by", "survivor");
            b.put(&began).await;
            let mut labelled = b.world.only("/fhir/Observation").await;
            labelled["meta"]["security"] = label.clone();
            b.put(&labelled).await;
        }
    }
    let observation = b.world.only("/fhir/Observation").await;
    assert_eq!(
        (&observation["status"], &observation["subject"]["reference"]),
        (&json!("amended"), &json!("Patient/survivor"))
    );
    assert_eq!(observation["meta"]["security"], label, "what this house has labelled stays so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_fhir_server_gets_a_transaction() {
    let plain = World::new().await;
    let (http, token) = (plain.running.http, &plain.token);
    let server = format!("[[exchange.fhir]]\nid = 'registry'\nendpoint = 'http://{http}/fhir'\ntoken = '{token}'\n");
    let Some(network) = Network::beside(1, &server).await else { return };
    let [a] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    a.consent("ada", &ParticipantId::parse("registry").unwrap(), "active", json!({})).await;
    let label = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"}]);
    let subject = json!({"reference": "Patient/ada"});
    a.put(&json!({"resourceType": "Observation", "id": "o-ada", "meta": {"security": label}, "status": "final",
        "code": {"text": "x"}, "subject": subject}))
        .await;
    let push = json!({"to": "registry", "patient": "Patient/ada", "queries": ["Observation"]});
    for _ in 0..2 {
        let state = a.pushed(&push).await;
        assert_eq!(state["state"], "delivered", "{state}");
        let patient = plain.only("/fhir/Patient?identifier=urn:id|4711").await;
        let path = format!("/fhir/Observation?patient=Patient/{}", patient["id"].as_str().unwrap());
        assert_eq!(
            plain.only(&path).await["meta"]["security"],
            label,
            "who receives it must know how confidential it is"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_at_an_address_within_the_network_is_not_connected_to() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = <[_; 2]>::try_from(network.hospitals).ok().unwrap();
    a.knows_ada("ada").await;
    a.consent("ada", &b.id, "active", json!({})).await;
    let connections = || b.cutter.as_ref().unwrap().connections();
    let pull = json!({"from": [b.id], "patient": "Patient/ada", "queries": ["*"]});
    let look = json!({"from": b.id, "patient": "Patient/ada"});
    a.ask("POST", "/exchange/pull", &pull).await;
    let before = connections();
    assert!(before > 0, "it was asked");
    let a = a.guarded().await;
    for (path, body) in [("/exchange/pull", &pull), ("/exchange/view", &look)] {
        let (status, refused) = a.ask("POST", path, body).await;
        assert!(status >= 500 && !refused.to_string().contains("127.0.0.1"), "{status} {refused}");
    }
    let push = json!({"to": b.id, "patient": "Patient/ada", "queries": ["Observation"]});
    let (_, queued) = a.ask("POST", "/exchange/push", &push).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (_, state) = a.world.get(&format!("/exchange/push/{}", queued["id"].as_str().unwrap())).await;
    assert_eq!((state["state"].as_str(), connections()), (Some("waiting"), before), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_lasts_as_long_as_the_patient_lets_it_and_leaves_nothing() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    b.knows_ada("lovelace").await;
    b.consent("lovelace", &a.id, "active", json!({})).await;
    let open = json!({"from": b.id, "patient": "Patient/ada"});
    let (status, view) = a.ask("POST", "/exchange/view", &open).await;
    assert_eq!(status, 201, "{view}");
    let path = format!("/exchange/view/{}", view["id"].as_str().unwrap());
    let (status, found) = a.world.get(&format!("{path}/Observation?status=final")).await;
    assert_eq!((status, names(&found)), (200, vec!["Observation/o-lovelace".to_owned()]));
    for nonsense in ["AuditEvent", "Nothing", "Observation?nonsense=x"] {
        let (status, told) = a.world.get(&format!("{path}/{nonsense}")).await;
        assert_eq!(status, 400, "nobody else is asked: {nonsense} {told}");
    }
    let token = format!("Bearer {}", a.world.token);
    let page = a.world.request("GET", &path, &[("authorization", &token), ("accept", "text/html")], b"").await;
    assert_eq!((page.status().as_u16(), page.headers()["cache-control"].to_str().unwrap()), (200, "no-store"));
    let mark = page.headers()["medseal-watermark"].to_str().unwrap().to_owned();
    let html = String::from_utf8(page.body().to_vec()).unwrap();
    assert!(mark.starts_with("test ") && html.contains(&mark) && html.contains("ANCHORED-CONSORTIUM"), "{mark}");
    assert_eq!(a.world.get("/fhir/Observation?patient=Patient/ada").await.1["total"], 1, "nothing is kept");
    let other = format!("Bearer {}", issue(&a.world.running, "user/*.rs", None, Some("Practitioner/other")));
    let reply = a.world.request("GET", &path, &[("authorization", &other)], b"").await;
    assert_eq!(reply.status(), 404, "it is of who opened it");
    b.consent("lovelace", &a.id, "inactive", json!({})).await;
    assert_eq!(a.world.get(&path).await.0, 403, "revoked");
    b.consent("lovelace", &a.id, "active", json!({})).await;
    assert_eq!(a.world.get(&path).await.0, 200);
    assert_eq!(a.world.call("DELETE", &path, "").await.0, 204);
    assert_eq!(a.world.get(&path).await.0, 410, "ended");
    // Both sides tell of it.
    for (hospital, patient) in [(a, "ada"), (b, "lovelace")] {
        bridge::audit::worker::flush(&hospital.world.running.app).await.unwrap();
        let events =
            hospital.world.get(&format!("/fhir/AuditEvent?patient=Patient/{patient}&subtype=operation")).await.1;
        assert!(events["total"].as_u64().unwrap() > 0, "{events}");
        let text = events.to_string();
        assert!(!text.contains(view["id"].as_str().unwrap()), "a ticket is in no trail");
    }
    let events = b.world.get("/fhir/AuditEvent?patient=Patient/lovelace&subtype=operation").await.1.to_string();
    assert!(events.contains(&a.id.to_string()) && events.contains("purposeOfUse"), "{events}");
}

/// Of another format, with anchors of nothing, with more than one holds, with what nobody knows.
fn no_such_parcel_is_read(good: &Value) {
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut parcel = good.clone();
        change(&mut parcel);
        Parcel::read(parcel.to_string().as_bytes())
    };
    let repeat = |list: &mut Value, n: usize| {
        let first = list[0].clone();
        *list = Value::Array(vec![first; n]);
    };
    assert!(changed(&|_| ()).is_some());
    assert!(changed(&|parcel| parcel["format"] = json!("medseal-parcel/2")).is_none());
    assert!(changed(&|parcel| parcel["extra"] = json!(1)).is_none());
    assert!(changed(&|parcel| repeat(&mut parcel["anchors"], MAX_PARCEL_ANCHORS + 1)).is_none());
    let waiting = |n: usize, text: &str| changed(&|parcel| parcel["waiting"] = json!(vec![text; n]));
    let room = MAX_PARCEL_ITEMS - good["items"].as_array().unwrap().len();
    assert!(waiting(room, "Patient/a/_history/1").is_some());
    assert!(waiting(room + 1, "Patient/a/_history/1").is_none());
    assert!(waiting(1, &"x".repeat(1_000)).is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_proved_once_and_strangers_are_not_proved_as_often_as_they_knock() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let (path, body) = ("/exchange/peer/close", br#"{"ticket":"none"}"#);
    let directory = &b.world.running.app.exchange.as_ref().unwrap().directory;
    for n in 0..3 {
        let before = directory.asked();
        let token = a.signed(b, path, body, a.now(), &format!("k{n}"));
        let status = b.knocked(path, &token, body).await.0;
        assert!(!matches!(status, 401 | 403 | 503), "{status}");
        assert_eq!(directory.asked(), before + 1, "before its body is read, and not again after it");
        assert_eq!(b.knocked(path, &token, body).await.0, 401, "a proof does not make a request count twice");
    }
    // Another's key under a's name; and one whose signature is good and was meant for another place.
    let (before, begun) = (directory.asked(), std::time::Instant::now());
    let theirs = TokenKey::from_der(&TokenKey::generate().unwrap(), std::path::Path::new("a test")).unwrap();
    let mut busy = 0;
    for n in 0..60 {
        let nonce = format!("s{n}");
        let to = beside(&b.world.running.app.core.base, path);
        let draft = Draft { by: &a.id, to: &to, body, nonce: nonce.clone(), now: a.now(), re: None, b2b: None };
        let status = b.knocked(path, &draft.sign(&theirs).unwrap(), body).await.0;
        assert!(matches!(status, 401 | 503), "{status}");
        busy += u64::from(status == 503);
        let elsewhere = a.signed(b, "/exchange/peer/look", body, a.now(), &nonce);
        assert_eq!(b.knocked(path, &elsewhere, body).await.0, 401);
    }
    // Each knock of a stranger would cost two proofs: before the body, and after it.
    let turns = (begun.elapsed().as_secs() + 2) * u64::from(STRANGERS_PER_SECOND);
    let asked = directory.asked() - before;
    assert!(asked <= turns && asked + busy >= 60, "{asked} of {turns}, {busy} refused");
    let token = a.signed(b, path, body, a.now(), "good");
    let status = b.knocked(path, &token, body).await.0;
    assert!(!matches!(status, 401 | 403 | 503), "who is known is not held up by them: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_suspended_changed_late_or_repeated_is_refused() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    b.knows_ada("lovelace").await;
    b.consent("lovelace", &a.id, "active", json!({})).await;
    let path = "/exchange/peer/pull";
    let body = json!({
        "patient": {"resourceType": "Patient", "identifier": [{"system": "urn:id", "value": "4711"}]}, "queries": ["*"],
    })
    .to_string();
    let now = a.now();
    let good = a.signed(b, path, body.as_bytes(), now, "n1");
    let (status, parcel) = b.knocked(path, &good, body.as_bytes()).await;
    assert_eq!(status, 200, "{parcel}");
    assert_eq!(b.knocked(path, &good, body.as_bytes()).await.0, 401, "a request counts once");
    for (what, token, sent) in [
        ("another body", a.signed(b, path, body.as_bytes(), now, "n2"), body.replace('*', "Condition")),
        ("another address", a.signed(b, "/exchange/peer/push", body.as_bytes(), now, "n3"), body.clone()),
        ("an hour ago", a.signed(b, path, body.as_bytes(), now - 3_600, "n4"), body.clone()),
        ("in an hour", a.signed(b, path, body.as_bytes(), now + 3_600, "n5"), body.clone()),
        ("no signature", "x".to_owned(), body.clone()),
        ("a purpose that is no code", a.signed_for(b, path, body.as_bytes(), now, "n8", "urn:x#a  b"), body.clone()),
    ] {
        assert_eq!(b.knocked(path, &token, sent.as_bytes()).await.0, 401, "{what}");
    }
    // What was changed on the way is not what was signed.
    let pull = json!({"from": [b.id], "patient": "Patient/ada", "queries": ["Observation"]});
    assert_eq!(a.ask("POST", "/exchange/pull", &pull).await.0, 200);
    b.cutter.as_ref().unwrap().next(&[Fault::Changed("mmol/l", "mmol/1")]);
    let (status, changed) = a.ask("POST", "/exchange/pull", &pull).await;
    assert_eq!(status, 502, "{changed}");
    assert!(told(&changed).contains("not signed by it"), "{changed}");
    // What its sender changed himself, and signs for, is not what his log has.
    let lie = parcel.to_string().replace("mmol/l", "mmol/1");
    assert_ne!(lie, parcel.to_string());
    let read = Parcel::read(lie.as_bytes()).unwrap();
    no_such_parcel_is_read(&parcel);
    let exchange = a.world.running.app.exchange.as_ref().unwrap();
    let partner = exchange.directory.partner(&b.id, &a.world.running.app.partners, now).await.unwrap();
    let checked = read.check(&a.world.running.app.core, &partner.document, Accept::Anchored).await.unwrap();
    let refused: Vec<&str> = checked.iter().filter(|one| one.verdict.is_err()).map(|one| one.name.as_str()).collect();
    assert_eq!(refused, ["Observation/o-lovelace"]);
    let given = format!("{{\"delivery\":\"d\",\"parcel\":{lie}}}");
    let token = b.signed(a, "/exchange/peer/push", given.as_bytes(), b.now(), "n6");
    let (status, refused) = a.knocked("/exchange/peer/push", &token, given.as_bytes()).await;
    assert_eq!(status, 422, "{refused}");
    assert_eq!(a.world.get("/fhir/Observation").await.1["total"], 1, "nothing of it is stored");

    network.say(a, Act::Suspend).await;
    let late = a.signed(b, path, body.as_bytes(), a.now(), "n7");
    assert_eq!(b.knocked(path, &late, body.as_bytes()).await.0, 403, "suspended");
    let (status, list) = b.world.get("/exchange/participants?name=northquay").await;
    assert_eq!((status, &list["participants"][0]["status"]), (200, &json!("suspended")));
    network.say(a, Act::Readmit).await;
    network.say(b, Act::Suspend).await;
    assert_eq!(a.ask("POST", "/exchange/pull", &pull).await.0, 403, "nobody asks who is suspended");
    let (_, found) =
        a.world.get("/exchange/participants?service=cardio&place=southfield&identifier=urn:oid:1.2.3|Southfield").await;
    assert_eq!(found["participants"].as_array().unwrap().len(), 1, "{found}");
}
