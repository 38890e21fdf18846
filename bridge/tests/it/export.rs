//! Bulk export: whose resources come out, in which text, to whom, and what survives.

use super::world::{World, mint};
use serde_json::{Value, json};
use std::time::Duration;

/// Two patients with an observation each, a group with one of them, a practitioner.
async fn filled() -> World {
    let world = World::new().await;
    for (id, value) in [("ada", "1.00"), ("bob", "2.50")] {
        let patient = format!(r#"{{"resourceType":"Patient","id":"{id}"}}"#);
        assert_eq!(world.call("PUT", &format!("/fhir/Patient/{id}"), &patient).await.0, 201);
        let observation = format!(
            r#"{{"resourceType":"Observation","id":"o-{id}","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{id}"}},
            "valueQuantity":{{"value":{value}}}}}"#
        );
        assert_eq!(world.call("PUT", &format!("/fhir/Observation/o-{id}"), &observation).await.0, 201);
    }
    let group = json!({"resourceType": "Group", "id": "g", "type": "person", "actual": true, "member": [
        {"entity": {"reference": "Patient/bob"}}, {"entity": {"reference": "Patient/ada"}, "inactive": true}]});
    assert_eq!(world.call("PUT", "/fhir/Group/g", &group.to_string()).await.0, 201);
    let practitioner = r#"{"resourceType":"Practitioner","id":"dr"}"#;
    assert_eq!(world.call("PUT", "/fhir/Practitioner/dr", practitioner).await.0, 201);
    world
}

async fn ask(world: &World, token: &str, method: &str, path: &str, body: &str) -> (u16, String, Vec<u8>) {
    let bearer = format!("Bearer {token}");
    let headers =
        [("authorization", bearer.as_str()), ("prefer", "respond-async"), ("content-type", "application/fhir+json")];
    let reply = world.request(method, path, &headers, body.as_bytes()).await;
    let place = reply.headers().get("content-location").map_or("", |v| v.to_str().unwrap());
    let place = place.find("/fhir/").map_or("", |at| &place[at..]).to_owned();
    (reply.status().as_u16(), place, reply.into_body().to_vec())
}

/// The manifest of an export, once it is there.
async fn finished(world: &World, place: &str) -> Value {
    for _ in 0..500 {
        let (status, _, body) = ask(world, &world.token, "GET", place, "").await;
        if status == 200 {
            return serde_json::from_slice(&body).unwrap();
        }
        assert_eq!(status, 202);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{place}: the export is not done");
}

async fn export(world: &World, path: &str) -> Value {
    let (status, place, body) = ask(world, &world.token, "GET", path, "").await;
    assert_eq!(status, 202, "{path}: {}", String::from_utf8_lossy(&body));
    finished(world, &place).await
}

/// The lines of all files under a name of the manifest.
async fn lines(world: &World, manifest: &Value, under: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for file in manifest[under].as_array().unwrap() {
        let url = file["url"].as_str().unwrap();
        let text = String::from_utf8(world.bytes(&url[url.find("/fhir/").unwrap()..]).await.to_vec()).unwrap();
        assert!(text.ends_with('\n'), "{file}: {text}");
        let own: Vec<String> = text.lines().map(str::to_owned).collect();
        assert!(file["count"].is_null() || file["count"] == own.len(), "{file}: {}", own.len());
        lines.extend(own);
    }
    lines
}

async fn ids(world: &World, path: &str) -> Vec<String> {
    let manifest = export(world, path).await;
    let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = lines(world, &manifest, "output").await.iter().map(id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn each_level_exports_whose_resources_it_says() {
    let world = filled().await;
    assert_eq!(ids(&world, "/fhir/$export").await, ["ada", "bob", "dr", "g", "o-ada", "o-bob"]);
    assert_eq!(ids(&world, "/fhir/Patient/$export").await, ["ada", "bob", "g", "o-ada", "o-bob"]);
    assert_eq!(ids(&world, "/fhir/Group/g/$export").await, ["bob", "o-bob"]);
    assert_eq!(ids(&world, "/fhir/Group/g/$export?_type=Observation,Practitioner").await, ["dr", "o-bob"]);
    assert_eq!(ids(&world, "/fhir/$export?_type=Patient").await, ["ada", "bob"]);
    let filter = "_typeFilter=Observation%3Fpatient%3DPatient%2Fada&_type=Observation,Practitioner";
    assert_eq!(ids(&world, &format!("/fhir/$export?{filter}")).await, ["dr", "o-ada"]);
    let either = "_type=Observation&_typeFilter=Observation%3Fpatient%3Dada&_typeFilter=Observation%3Fpatient%3Dbob";
    assert_eq!(ids(&world, &format!("/fhir/$export?{either}")).await, ["o-ada", "o-bob"]);
    assert!(ids(&world, "/fhir/$export?_type=Account").await.is_empty());
    assert_eq!(ask(&world, &world.token, "GET", "/fhir/Group/none/$export", "").await.0, 404);
}

#[tokio::test]
async fn patients_that_are_named_in_a_post_come_and_no_others() {
    let world = filled().await;
    let named = |ids: &[&str]| {
        let one = |id: &&str| json!({"name": "patient", "valueReference": {"reference": format!("Patient/{id}")}});
        json!({"resourceType": "Parameters", "parameter": ids.iter().map(one).collect::<Vec<_>>()}).to_string()
    };
    for (path, patients, expected) in [
        ("/fhir/Patient/$export", vec!["ada", "nobody", "ada"], vec!["ada", "o-ada"]),
        ("/fhir/Patient/$export", vec!["ada", "bob"], vec!["ada", "bob", "o-ada", "o-bob"]),
        ("/fhir/Group/g/$export", vec!["ada", "bob"], vec!["bob", "o-bob"]),
        ("/fhir/Group/g/$export", vec!["ada"], vec![]),
    ] {
        let (status, place, body) = ask(&world, &world.token, "POST", path, &named(&patients)).await;
        assert_eq!(status, 202, "{path}: {}", String::from_utf8_lossy(&body));
        let manifest = finished(&world, &place).await;
        let found = lines(&world, &manifest, "output").await;
        let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        let mut found: Vec<String> = found.iter().map(id).collect();
        found.sort();
        assert_eq!(found, expected, "{path} {patients:?}");
        assert!(!manifest.to_string().contains("Patient/ada"), "no patient in what stands in logs");
    }
    assert_eq!(ask(&world, &world.token, "POST", "/fhir/$export", &named(&["ada"])).await.0, 400);
    assert_eq!(ask(&world, &world.token, "GET", "/fhir/Patient/$export?patient=Patient/ada", "").await.0, 400);
}

#[tokio::test]
async fn an_export_is_a_snapshot_in_the_very_text_and_outlives_a_restart() {
    let world = filled().await;
    let stored = world.bytes("/fhir/Observation/o-ada").await;
    assert!(String::from_utf8_lossy(&stored).contains("1.00"));
    let body = json!({"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Observation"}]});
    let (status, place, _) = ask(&world, &world.token, "POST", "/fhir/$export", &body.to_string()).await;
    assert_eq!(status, 202);
    world.call("DELETE", "/fhir/Observation/o-ada", "").await;
    let world = world.restarted().await;
    let manifest = finished(&world, &place).await;
    assert_eq!(
        (manifest["output"][0]["count"].as_u64(), manifest["requiresAccessToken"].as_bool()),
        (Some(2), Some(true))
    );
    assert!(manifest["request"].as_str().unwrap().ends_with("/fhir/$export"));
    let lines = lines(&world, &manifest, "output").await;
    assert_eq!(lines[0].as_bytes(), stored, "as it was when it was asked for");
}

#[tokio::test]
async fn what_changed_since_comes_with_what_was_deleted() {
    let world = filled().await;
    let first = export(&world, "/fhir/$export?_type=Patient").await;
    let since = first["transactionTime"].as_str().unwrap().to_owned();
    tokio::time::sleep(Duration::from_millis(5)).await;
    world.call("DELETE", "/fhir/Observation/o-ada", "").await;
    world.call("DELETE", "/fhir/Observation/o-bob", "").await;
    world.call("PUT", "/fhir/Patient/bob", r#"{"resourceType":"Patient","id":"bob","active":true}"#).await;
    let deleted = |manifest: Value| {
        let world = &world;
        async move {
            let bundles = lines(world, &manifest, "deleted").await;
            let bundles = bundles.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let entries = bundles.flat_map(|b| b["entry"].as_array().unwrap().clone());
            entries.map(|e| e["request"]["url"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    let path = |level: &str| format!("/fhir{level}/$export?_since={since}&_type=Patient,Observation");
    let everyone = export(&world, &path("")).await;
    assert!(lines(&world, &everyone, "output").await.iter().all(|line| line.contains("\"bob\"")));
    assert_eq!(deleted(everyone).await, ["Observation/o-ada", "Observation/o-bob"]);
    assert_eq!(deleted(export(&world, &path("/Group/g")).await).await, ["Observation/o-bob"], "bob's alone");
    assert!(deleted(export(&world, "/fhir/$export").await).await.is_empty(), "of nobody who has nothing");
}

#[tokio::test]
async fn only_who_began_it_sees_it_and_only_with_the_scopes() {
    let world = filled().await;
    let (_, place, _) = ask(&world, &world.token, "GET", "/fhir/$export?_type=Patient", "").await;
    finished(&world, &place).await;
    let now = world.running.app.core.clock.now().as_second() as u64;
    let key = &world.running.app.token_key;
    let other = key.mint("another", "system/*.cruds", now, Duration::from_secs(60)).unwrap();
    for method in ["GET", "DELETE"] {
        assert_eq!(ask(&world, &other, method, &place, "").await.0, 404);
    }
    let file = format!("{place}/0");
    assert_eq!(ask(&world, &other, "GET", &file, "").await.0, 404);
    let narrow = mint(&world.running, "system/Observation.rs");
    for (method, path) in [("GET", &file), ("GET", &place), ("DELETE", &place)] {
        assert_eq!(ask(&world, &narrow, method, path, "").await.0, 404, "{method}: the same name, with other scopes");
    }
    let again = mint(&world.running, "system/*.cruds system/*.cruds");
    assert_eq!(ask(&world, &again, "GET", &place, "").await.0, 200, "a new token of the same client");
    assert_eq!(ask(&world, &narrow, "GET", "/fhir/$export?_type=Patient", "").await.0, 403);
    assert_eq!(ask(&world, &world.token, "GET", &format!("{place}/7"), "").await.0, 404);
    assert_eq!(ask(&world, &world.token, "DELETE", &place, "").await.0, 202);
    for path in [&place, &file] {
        assert_eq!(ask(&world, &world.token, "GET", path, "").await.0, 404, "{path}: it was cancelled");
    }
}

#[tokio::test]
async fn an_export_that_cannot_be_is_refused_at_once() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.token);
    let reply = world.request("GET", "/fhir/$export", &[("authorization", &bearer)], b"").await;
    assert_eq!(reply.status(), 400, "it takes a while: Prefer: respond-async");
    for query in ["_elements=id", "_outputFormat=csv", "_type=Cat", "_since=soon", "_typeFilter=Patient%3Fx%3D1"] {
        let (status, _, body) = ask(&world, &world.token, "GET", &format!("/fhir/$export?{query}"), "").await;
        let outcome: Value = serde_json::from_slice(&body).unwrap();
        let name = query.split('=').next().unwrap();
        assert_eq!(status, 400, "{query}");
        assert!(outcome["issue"][0]["details"]["text"].as_str().unwrap().starts_with(name), "{outcome}");
    }
    let lenient = [("authorization", bearer.as_str()), ("prefer", "respond-async, handling=lenient")];
    assert_eq!(world.request("GET", "/fhir/$export?_elements=id", &lenient, b"").await.status(), 202);
    assert_eq!(ask(&world, &world.token, "GET", "/fhir/$export/unknown", "").await.0, 404);
}

#[tokio::test]
async fn files_are_cut_by_rows_and_hold_each_resource_once() {
    let world = World::new().await;
    let count = 207;
    world.running.app.core.exports.file_rows.store(100, std::sync::atomic::Ordering::Relaxed);
    let entry = |n: usize| {
        json!({"resource": {"resourceType": "Basic", "id": format!("n{n}"), "code": {"text": "x"}},
            "request": {"method": "PUT", "url": format!("Basic/n{n}")}})
    };
    let entries: Vec<Value> = (0..count).map(entry).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    assert_eq!(world.call("POST", "/fhir", &bundle.to_string()).await.0, 200);
    let manifest = export(&world, "/fhir/$export").await;
    assert_eq!(manifest["output"].as_array().unwrap().len(), 3);
    let mut all = lines(&world, &manifest, "output").await;
    all.sort();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[tokio::test]
async fn a_group_of_many_loses_nobody() {
    let world = World::new().await;
    let put = |kind: &str, id: String, mut resource: Value| {
        (resource["resourceType"], resource["id"]) = (json!(kind), json!(id));
        json!({"resource": resource, "request": {"method": "PUT", "url": format!("{kind}/{id}")}})
    };
    let numbers = 0..90;
    let patients = numbers.clone().map(|n| put("Patient", format!("p{n}"), json!({})));
    let conditions = numbers.clone().map(|n| {
        put(
            "Condition",
            format!("c{n}"),
            json!({"subject": {"reference": format!("Patient/p{n}")},
            "asserter": {"reference": format!("Patient/p{}", (n + 1) % 90)}}),
        )
    });
    let member: Vec<Value> =
        numbers.clone().map(|n| json!({"entity": {"reference": format!("Patient/p{n}")}})).collect();
    let group = put("Group", "g".into(), json!({"type": "person", "actual": true, "member": member}));
    let entries: Vec<Value> = patients.chain(conditions).chain([group]).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    let (status, answer) = world.call("POST", "/fhir", &bundle.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(ids(&world, "/fhir/Group/g/$export").await.len(), 180);
}
