//! What documents hold goes with them, and nothing that is somebody else's. All people are invented.

use super::legacy::{hospital, id};
use super::network::{Hospital, Network, names};
use super::with;
use crate::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::Duration;

async fn binary(at: &Hospital, id: &str, context: Option<&str>, label: Option<&str>) {
    let mut binary = json!({
        "resourceType": "Binary", "id": id, "contentType": "text/plain", "data": STANDARD.encode(format!("what {id} says")),
    });
    if let Some(context) = context {
        binary["securityContext"] = json!({"reference": context});
    }
    if let Some(code) = label {
        let system = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
        binary["meta"] = json!({"security": [{"system": system, "code": code}]});
    }
    at.put(&binary).await;
    at.world.anchored_receipt(&format!("/fhir/Binary/{id}/$receipt")).await;
}

async fn document(at: &Hospital, id: &str, patient: &str, urls: &[String]) {
    let content: Vec<Value> = urls.iter().map(|url| json!({"attachment": {"url": url}})).collect();
    at.put(&json!({
        "resourceType": "DocumentReference", "id": id, "status": "current", "subject": {"reference": patient}, "content": content,
    }))
    .await;
    at.world.anchored_receipt(&format!("/fhir/DocumentReference/{id}/$receipt")).await;
}

/// Ada's document `d`, of two Binaries that may go with it, one that is labelled, and three that are Bob's or may be.
async fn documents(at: &Hospital) {
    at.knows_ada("ada").await;
    at.put(&json!({"resourceType": "Patient", "id": "bob", "identifier": [{"system": "urn:id", "value": "815"}]}))
        .await;
    binary(at, "scan", Some("Patient/ada"), None).await;
    binary(at, "letter", Some("Patient/ada"), None).await;
    binary(at, "unsaid", None, None).await;
    binary(at, "secret", Some("Patient/ada"), Some("V")).await;
    binary(at, "bobs", Some("Patient/bob"), None).await;
    document(at, "of-bob", "Patient/bob", &["Binary/shared".into()]).await;
    binary(at, "shared", None, None).await;
    binary(at, "behind", Some("DocumentReference/of-bob"), None).await;
    let base = &at.world.running.app.core.base;
    let urls = ["Binary/scan".into(), format!("{base}/Binary/letter"), "Binary/secret".into(), "Binary/bobs".into()];
    let more = [
        format!("{base}/Binary/shared"),
        "Binary/behind".into(),
        "Binary/unsaid".into(),
        "Binary/scan/_history/1".into(),
        "https://elsewhere.example/scan.pdf".into(),
    ];
    document(at, "d", "Patient/ada", &[urls.as_slice(), &more].concat()).await;
}

/// Very restricted things stay here.
fn but_secrets() -> Value {
    let label = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "V"}]);
    json!({"provision": [{"type": "deny", "securityLabel": label}]})
}

fn urls(document: &Value) -> Vec<String> {
    let contents = document["content"].as_array().unwrap().iter();
    contents.map(|content| content["attachment"]["url"].as_str().unwrap().to_owned()).collect()
}

/// What stands behind a url of a document, and whose it is.
async fn behind(at: &World, url: &str) -> (String, String) {
    let (status, binary) = at.get(&format!("/fhir/{url}")).await;
    assert_eq!(status, 200, "{url}: {binary}");
    let data = STANDARD.decode(binary["data"].as_str().unwrap()).unwrap();
    let whose = binary["securityContext"]["reference"].as_str().unwrap_or_default().to_owned();
    (String::from_utf8(data).unwrap(), whose)
}

/// The document as it stands elsewhere: with what may go with it, and the addresses of the rest.
async fn came(at: &World, from: &Hospital, whose: &str) {
    let document = at.only(&format!("/fhir/DocumentReference?patient={whose}")).await;
    let urls = urls(&document);
    assert_eq!(behind(at, &urls[0]).await, ("what scan says".into(), whose.to_owned()));
    assert_eq!(behind(at, &urls[1]).await, ("what letter says".into(), whose.to_owned()));
    let base = &from.world.running.app.core.base;
    let left = ["secret", "bobs", "shared", "behind", "unsaid", "scan/_history/1"];
    assert_eq!(urls[2..8], left.map(|id| format!("{base}/Binary/{id}")));
    assert_eq!(urls[8], "https://elsewhere.example/scan.pdf");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_pushed_with_what_it_holds_and_nothing_of_others() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    documents(a).await;
    a.consent("ada", &b.id, "active", but_secrets()).await;
    let push = json!({"to": b.id, "patient": "Patient/ada", "resources": ["DocumentReference/d"]});
    let state = a.pushed(&push).await;
    // Whoever asks is not kept from the labelled one; the receiver is.
    assert_eq!(
        (&state["state"], &state["resources"], &state["withheld"]),
        (&json!("delivered"), &json!(5), &json!(1)),
        "{state}"
    );
    assert_eq!(state["notCarried"], json!(["DocumentReference.content.attachment.url"]), "{state}");
    let patient = b.world.only("/fhir/Patient?identifier=urn:id|4711").await;
    let whose = format!("Patient/{}", patient["id"].as_str().unwrap());
    came(&b.world, a, &whose).await;
    // It is part of her record there, and known by where it is from: the same again stores nothing.
    assert_eq!(a.pushed(&push).await["state"], "delivered");
    let document = b.world.only(&format!("/fhir/DocumentReference?patient={whose}")).await;
    let (_, kept) = b.world.get(&format!("/fhir/{}", urls(&document)[0])).await;
    assert_eq!((&kept["meta"]["versionId"], &document["meta"]["versionId"]), (&json!("1"), &json!("1")));
    let source = format!("{}/Binary/scan/_history/1", a.world.running.app.core.base);
    assert_eq!(kept["meta"]["source"], source);
    bridge::audit::worker::flush(&a.world.running.app).await.unwrap();
    let told = a.world.get("/fhir/AuditEvent?patient=Patient/ada&subtype=operation").await.1.to_string();
    assert!(told.contains("Binary/scan") && !told.contains("Binary/bobs"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_anothers_before_it_was_delivered_stays_here() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    documents(a).await;
    a.consent("ada", &b.id, "active", but_secrets()).await;
    b.cutter.as_ref().unwrap().dies();
    let push = json!({"to": b.id, "patient": "Patient/ada", "resources": ["DocumentReference/d"]});
    let (_, queued) = a.ask("POST", "/exchange/push", &push).await;
    let path = format!("/exchange/push/{}", queued["id"].as_str().unwrap());
    for _ in 0..6_000 {
        if a.world.get(&path).await.1["failures"].as_u64().unwrap() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Both were filed under the wrong name.
    binary(a, "scan", Some("Patient/bob"), None).await;
    binary(a, "letter", Some("Patient/bob"), None).await;
    b.cutter.as_ref().unwrap().lead_to(b.world.running.http);
    let app = &a.world.running.app;
    app.core.store.retry_push(queued["id"].as_str().unwrap(), app.core.clock.now().as_millisecond()).unwrap();
    let state = a.ended(queued["id"].as_str().unwrap()).await;
    assert_eq!((&state["state"], &state["withheld"]), (&json!("delivered"), &json!(3)), "{state}");
    let document = b.world.only("/fhir/DocumentReference").await;
    let base = &a.world.running.app.core.base;
    let left = [format!("{base}/Binary/scan"), format!("{base}/Binary/letter")];
    assert_eq!(urls(&document)[..2], left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_from_elsewhere_lures_nothing_out() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    binary(b, "orphan", None, None).await;
    let theirs = format!("{}/Binary/orphan", b.world.running.app.core.base);
    document(a, "lure", "Patient/ada", &[theirs.clone(), "Binary/orphan".into()]).await;
    a.consent("ada", &b.id, "active", json!({})).await;
    let push = json!({"to": b.id, "patient": "Patient/ada", "resources": ["DocumentReference/lure"]});
    assert_eq!(a.pushed(&push).await["state"], "delivered");
    let patient = b.world.only("/fhir/Patient?identifier=urn:id|4711").await;
    let lure = b.world.only("/fhir/DocumentReference").await;
    assert_eq!(urls(&lure), [theirs, format!("{}/Binary/orphan", a.world.running.app.core.base)]);
    let whose = patient["id"].as_str().unwrap();
    b.consent(whose, &a.id, "active", json!({})).await;
    let name = format!("DocumentReference/{}", lure["id"].as_str().unwrap());
    b.world.anchored_receipt(&format!("/fhir/{name}/$receipt")).await;
    let back = json!({"to": a.id, "patient": format!("Patient/{whose}"), "resources": [name]});
    let state = b.pushed(&back).await;
    assert_eq!(
        (&state["state"], &state["resources"]),
        (&json!("delivered"), &json!(2)),
        "she and the document: {state}"
    );
    // Nor of a document that was written there, as long as it does not say whose it is.
    let patient = format!("Patient/{whose}");
    document(b, "own", &patient, &["Binary/orphan".into()]).await;
    for (context, count) in [(None, 2), (Some(patient.as_str()), 3)] {
        binary(b, "orphan", context, None).await;
        let own = json!({"to": a.id, "patient": patient, "resources": ["DocumentReference/own"]});
        assert_eq!(b.pushed(&own).await["resources"], count, "{context:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_pulled_with_what_it_holds_as_far_as_the_patient_consents() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    documents(a).await;
    b.knows_ada("lovelace").await;
    let pull = json!({"from": [a.id], "patient": "Patient/lovelace", "queries": ["DocumentReference"], "store": true});
    let (status, refused) = b.ask("POST", "/exchange/pull", &pull).await;
    assert_eq!(status, 403, "{refused}");
    assert!(!refused.to_string().contains("Binary"), "{refused}");
    // Who gives results gives no documents, and nothing that they hold.
    let class = |kinds: &[&str]| {
        let coded = |kind: &&str| json!({"system": "http://hl7.org/fhir/resource-types", "code": kind});
        json!({"class": kinds.iter().map(coded).collect::<Vec<_>>()})
    };
    a.consent("ada", &b.id, "active", class(&["Patient", "Observation", "Binary"])).await;
    let (status, none) = b.ask("POST", "/exchange/pull", &pull).await;
    assert_eq!((status, names(&none)), (200, vec!["Patient/ada".to_owned()]), "{none}");
    // Who gives documents gives what they hold.
    let mut documents = class(&["Patient", "DocumentReference"]);
    documents.as_object_mut().unwrap().extend(but_secrets().as_object().unwrap().clone());
    a.consent("ada", &b.id, "active", documents).await;
    let (status, pulled) = b.ask("POST", "/exchange/pull", &pull).await;
    assert_eq!(status, 200, "{pulled}");
    assert_eq!(names(&pulled), ["Binary/letter", "Binary/scan", "DocumentReference/d", "Patient/ada"]);
    came(&b.world, a, "Patient/lovelace").await;
    // What is forbidden by itself does not go with what holds it.
    let scan = json!([{"meaning": "instance", "reference": {"reference": "Binary/scan"}}]);
    let looked = with(&pull, "store", json!(false));
    for (deny, left) in [(class(&["Binary"]), vec![]), (json!({"data": scan}), vec!["Binary/letter"])] {
        let mut but = but_secrets();
        let deny = with(&deny, "type", json!("deny"));
        but["provision"].as_array_mut().unwrap().push(deny);
        a.consent("ada", &b.id, "active", but).await;
        let (_, pulled) = b.ask("POST", "/exchange/pull", &looked).await;
        assert_eq!(names(&pulled), [left, vec!["DocumentReference/d"]].concat(), "{pulled}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_sends_documents_with_what_they_hold_to_a_plain_server() {
    let plain = World::new().await;
    let (http, token) = (plain.running.http, &plain.token);
    let more = format!(
        "[[exchange.fhir]]\nid = 'registry'\nendpoint = 'http://{http}/fhir'\ntoken = '{token}'\n\
         [[exchange.rules]]\nname = 'letters'\ncriteria = 'DocumentReference?status=current'\nto = 'registry'\n"
    );
    let a = hospital("mllp://127.0.0.1:1", &more).await;
    let store = &a.world.running.app.core.store;
    a.put(&json!({"resourceType": "Patient", "id": "ada", "identifier": [{"system": "urn:id", "value": "4711"}]}))
        .await;
    a.consent("ada", &id("registry"), "active", but_secrets()).await;
    for _ in 0..6_000 {
        if store.ruled("letters").unwrap().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    documents(&a).await;
    let mut found = Value::Null;
    for _ in 0..6_000 {
        found = plain.get("/fhir/DocumentReference").await.1;
        if found["total"] == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let document = &found["entry"][0]["resource"];
    let patient = plain.only("/fhir/Patient?identifier=urn:id|4711").await;
    let whose = format!("Patient/{}", patient["id"].as_str().unwrap());
    assert_eq!(document["subject"]["reference"], whose, "{found}");
    let urls = urls(document);
    assert_eq!(behind(&plain, &urls[0]).await, ("what scan says".into(), whose));
    assert_eq!(behind(&plain, &urls[1]).await.0, "what letter says");
    let base = &a.world.running.app.core.base;
    assert_eq!(urls[2..4], [format!("{base}/Binary/secret"), format!("{base}/Binary/bobs")]);
}
