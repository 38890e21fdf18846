//! What is told of accesses: who did what to whose record, in AuditEvents that stand in the log.

use super::stores;
use super::world::{World, issue, mint};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge::audit::worker::flush;
use notary::receipt::Receipt;
use notary::verify::{Policy, verify};
use serde_json::{Value, json};
use std::time::Duration;

const ADA: &str = r#"{"resourceType":"Patient","id":"ada","name":[{"family":"Novak"}]}"#;
const RESULT: &str = r#"{"resourceType":"Observation","id":"o1","status":"final","code":{"text":"Glucose"},
    "subject":{"reference":"Patient/ada"}}"#;

async fn ward() -> World {
    let world = World::new().await;
    for (path, resource) in [("/fhir/Patient/ada", ADA), ("/fhir/Observation/o1", RESULT)] {
        assert_eq!(world.call("PUT", path, resource).await.0, 201);
    }
    world
}

/// The events that a search finds.
async fn events(world: &World, query: &str) -> Vec<Value> {
    let (status, bundle) = world.get(&format!("/fhir/AuditEvent?{query}")).await;
    assert_eq!(status, 200, "{bundle}");
    bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
}

/// The same, once there is one: what was read is told within a moment.
async fn told(world: &World, query: &str) -> Vec<Value> {
    for _ in 0..300 {
        let found = events(world, query).await;
        if !found.is_empty() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{query} is not told");
}

#[tokio::test]
async fn who_asks_for_everything_to_be_told_waits_for_what_is_under_way() {
    let world = ward().await;
    let app = &world.running.app;
    let data = world.directory.path().join("data");
    let told = || stores::rows(&data, "SELECT id FROM record WHERE type = 'AuditEvent'").len();
    for _ in 0..20 {
        let before = told();
        assert_eq!(world.get("/fhir/Patient/ada").await.0, 200);
        let first = tokio::spawn({
            let app = app.clone();
            async move { flush(&app).await }
        });
        tokio::task::yield_now().await;
        flush(app).await.unwrap();
        assert!(told() > before, "the second one came back before the first had told");
        first.await.unwrap().unwrap();
    }
}

fn entities(event: &Value) -> Vec<&str> {
    let all = event["entity"].as_array().into_iter().flatten();
    all.filter_map(|entity| entity["what"]["reference"].as_str()).collect()
}

fn questions(event: &Value) -> Vec<String> {
    let all = event["entity"].as_array().into_iter().flatten();
    let queries = all.filter_map(|entity| entity["query"].as_str());
    queries.map(|query| String::from_utf8(STANDARD.decode(query).unwrap()).unwrap()).collect()
}

async fn status_as(world: &World, scope: &str, method: &str, path: &str, body: &str) -> u16 {
    let token = format!("Bearer {}", mint(&world.running, scope));
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    world.request(method, path, &headers, body.as_bytes()).await.status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_told_with_the_write() {
    let world = ward().await;
    let created = events(&world, "patient=Patient/ada&action=C").await;
    let updated = events(&world, "patient=Patient/ada&subtype=update").await;
    // Both were put: an update by R4's words, though nothing was there.
    assert_eq!((created.len(), updated.len()), (0, 2));
    let of: Vec<_> = updated.iter().flat_map(entities).collect();
    assert!(of.contains(&"Patient/ada/_history/1") && of.contains(&"Observation/o1/_history/1"), "{of:?}");
    let person = r#"{"resourceType":"Patient","name":[{"family":"Okafor"}]}"#;
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:0d5ef7ab-9e9f-4bd0-9a8c-3e8d5c2c1a11", "resource": serde_json::from_str::<Value>(person).unwrap(),
            "request": {"method": "POST", "url": "Patient"}},
        {"resource": {"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "subject": {"reference": "urn:uuid:0d5ef7ab-9e9f-4bd0-9a8c-3e8d5c2c1a11"}},
            "request": {"method": "POST", "url": "Observation"}},
    ]});
    assert_eq!(world.call("POST", "/fhir", &bundle.to_string()).await.0, 200);
    let created = events(&world, "action=C").await;
    assert_eq!(created.len(), 1, "one event for one patient: {created:?}");
    assert_eq!(entities(&created[0]).len(), 3, "the patient, and two resources");
    // Refused as a whole, it leaves nothing.
    let refused = bundle.to_string().replace("\"final\"", "\"nonsense\"");
    assert!(world.call("POST", "/fhir", &refused).await.0 >= 400);
    assert_eq!(events(&world, "action=C").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_told_once_for_a_moment_and_outlives_a_stop() {
    let world = ward().await;
    for _ in 0..5 {
        assert_eq!(world.get("/fhir/Patient/ada").await.0, 200);
    }
    assert_eq!(world.get("/fhir/Observation?patient=Patient/ada&_include=Observation:subject").await.0, 200);
    assert_eq!(world.get("/fhir/Observation?code=nothing").await.0, 200);
    let world = world.restarted().await;
    let read = events(&world, "patient=Patient/ada&subtype=read").await;
    assert!(read.len() <= 2, "five readings within a moment: {read:?}");
    assert_eq!(entities(&read[0]), ["Patient/ada", "Patient/ada/_history/1"]);
    assert_eq!((read[0]["action"].as_str(), read[0]["outcome"].as_str()), (Some("R"), Some("0")));
    let searched = events(&world, "patient=Patient/ada&subtype=search-type").await;
    let shown = entities(&searched[0]);
    assert!(shown.contains(&"Observation/o1/_history/1") && shown.contains(&"Patient/ada/_history/1"), "{shown:?}");
    assert_eq!(questions(&searched[0]), ["fhir/Observation?patient=Patient/ada&_include=Observation:subject"]);
    let all = events(&world, "subtype=search-type").await;
    assert!(all.iter().any(|event| questions(event) == ["fhir/Observation?code=*"]), "what found nothing, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_told_and_strangers_too() {
    let world = ward().await;
    assert_eq!(status_as(&world, "system/Observation.r", "GET", "/fhir/Patient/ada", "").await, 403);
    let refused = told(&world, "patient=Patient/ada&outcome=4").await;
    assert_eq!(refused[0]["agent"][0]["who"]["identifier"]["value"], "test");
    for path in ["/fhir/Patient/ada", "/fhir/Patient/invented", "/fhir/Patient?name=secret"] {
        assert_eq!(world.request("GET", path, &[("authorization", "Bearer x")], b"").await.status(), 401);
    }
    let strangers = until(&world, "outcome=4", |event| event["agent"][0]["who"]["display"] == "unknown").await;
    assert_eq!(strangers.get("entity"), None, "what a stranger says is counted and not kept: {strangers}");
}

/// The first event of a search that is looked for.
async fn until(world: &World, query: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..300 {
        if let Some(event) = events(world, query).await.into_iter().find(&wanted) {
            return event;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{query} is not told");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_what_is_not_for_him_is_told_and_gets_a_404() {
    let world = ward().await;
    assert_eq!(world.call("PUT", "/fhir/Patient/bea", r#"{"resourceType":"Patient","id":"bea"}"#).await.0, 201);
    let token = format!("Bearer {}", issue(&world.running, "patient/*.rs", Some("Patient/bea"), None));
    let reply = world.request("GET", "/fhir/Observation/o1", &[("authorization", token.as_str())], b"").await;
    assert_eq!(reply.status(), 404);
    let told = until(&world, "patient=Patient/ada&outcome=4", |_| true).await;
    assert_eq!(entities(&told), ["Patient/ada", "Observation/o1/_history/1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_were_searched_for_are_not_kept() {
    let world = ward().await;
    assert_eq!(world.get("/fhir/Patient?family=Novak&_count=7").await.0, 200);
    let told = until(&world, "patient=Patient/ada&subtype=search-type", |_| true).await;
    assert!(questions(&told).contains(&"fhir/Patient?family=*&_count=7".to_owned()), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_told_of_an_erased_patient_holds_up_nobody() {
    let world = ward().await;
    let name = bridge::ids::Name::parse("Patient/ada").unwrap();
    let keep = world.running.app.core.keep();
    bridge::upkeep::erase::erase(&keep, &name, "by letter", &|_| ()).await.unwrap().unwrap();
    assert_eq!(status_as(&world, "system/Observation.r", "GET", "/fhir/Patient/ada", "").await, 403);
    world.anchored_receipt("/fhir/Patient/ada/_history/1/$receipt").await;
    assert_eq!(world.call("PUT", "/fhir/Patient/bea", r#"{"resourceType":"Patient","id":"bea"}"#).await.0, 201);
    assert_eq!(world.get("/fhir/Patient/bea").await.0, 200);
    assert_eq!(entities(&until(&world, "patient=Patient/bea&subtype=read", |_| true).await)[0], "Patient/bea");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trail_only_grows_and_nobody_else_writes_what_looks_like_it() {
    let world = ward().await;
    let own = told(&world, "patient=Patient/ada").await.remove(0);
    let path = format!("/fhir/AuditEvent/{}", own["id"].as_str().unwrap());
    assert_eq!(world.call("PUT", &path, &own.to_string()).await.0, 403);
    assert_eq!(world.call("DELETE", &path, "").await.0, 403);
    let mut forged = own.clone();
    forged.as_object_mut().unwrap().remove("id");
    let (status, forged) = world.call("POST", "/fhir/AuditEvent", &forged.to_string()).await;
    assert_eq!(status, 201, "a client may keep events of its own here");
    let mut kinds = Vec::new();
    for event in [&own, &forged] {
        let path = format!("/fhir/AuditEvent/{}", event["id"].as_str().unwrap());
        let receipt = Receipt::parse(&world.anchored_receipt(&format!("{path}/$receipt")).await).unwrap();
        let verdict = verify(&receipt, Some(&world.bytes(&path).await), None, &Policy::default()).unwrap();
        kinds.push((receipt.entry[2..4].to_owned(), verdict.rests_on[0].contains("a record of an access")));
    }
    assert_eq!(kinds, [("04".to_owned(), true), ("01".to_owned(), false)]);
}
