//! Bulk export: whose resources come out, in which text, to whom, and what survives.

use super::world::{World, mint};
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use warp::http::Response;

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
    let base = world.running.app.core.base.strip_suffix("/fhir").unwrap();
    let place = place.strip_prefix(base).unwrap_or_default().to_owned();
    (reply.status().as_u16(), place, reply.into_body().to_vec())
}

fn status_and_media(reply: &Response<Bytes>) -> (u16, &str) {
    let media = reply.headers()["content-type"].to_str().unwrap();
    (reply.status().as_u16(), media.split(';').next().unwrap())
}

/// The manifest of an export, once it is there.
async fn finished(world: &World, place: &str) -> Value {
    for _ in 0..3_000 {
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
        let bearer = format!("Bearer {}", world.token);
        let path = url.strip_prefix(world.running.app.core.base.strip_suffix("/fhir").unwrap()).unwrap();
        let reply = world.request("GET", path, &[("authorization", bearer.as_str())], b"").await;
        assert_eq!(status_and_media(&reply), (200, "application/fhir+ndjson"));
        let text = String::from_utf8(reply.into_body().to_vec()).unwrap();
        assert!(text.ends_with('\n'), "{file}: {text}");
        let kind = |line: &str| serde_json::from_str::<Value>(line).unwrap()["resourceType"].clone();
        assert!(text.lines().all(|line| kind(line) == file["type"]), "one type a file");
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

// meets bulk 13 14 20 24 25 28 29 49 62 63 103 117 148 204 206 207 208 209 223 224 225
// meets bulk 227 229 249 250 272 273 297 298 299 300 301
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

// meets bulk 85 158
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

// meets bulk 21 22 132 144 145 147 150 151 155 156 157 159 160 161 162 164 165 166 168
// meets bulk 169 175 178 180 191 192 310
#[tokio::test]
async fn what_waits_says_so_and_what_is_done_is_listed() {
    let world = filled().await;
    let path = "/fhir/$export?_type=Patient&_outputFormat=ndjson";
    let mut places = Vec::new();
    // They are prepared one after the other: the last one waits for all of them.
    for _ in 0..12 {
        places.push(ask(&world, &world.token, "GET", "/fhir/$export", "").await.1);
    }
    let (_, place, _) = ask(&world, &world.token, "GET", path, "").await;
    let bearer = format!("Bearer {}", world.token);
    let look = async || world.request("GET", &place, &[("authorization", bearer.as_str())], b"").await;
    let waiting = look().await;
    assert_eq!((waiting.status().as_u16(), waiting.headers().contains_key("x-progress")), (202, true));
    finished(&world, &place).await;
    let done = look().await;
    assert_eq!(status_and_media(&done), (200, "application/json"));
    let manifest: Value = serde_json::from_slice(done.body()).unwrap();
    let base = &world.running.app.core.base;
    assert_eq!(manifest["request"], format!("{}{path}", base.strip_suffix("/fhir").unwrap()));
    assert_eq!((&manifest["requiresAccessToken"], &manifest["error"]), (&json!(true), &json!([])));
    assert_eq!((&manifest["deleted"], manifest["output"].as_array().unwrap().len()), (&json!([]), 1));
    let file = &manifest["output"][0];
    assert_eq!((&file["type"], &file["count"]), (&json!("Patient"), &json!(2)));
    let time: jiff::Timestamp = manifest["transactionTime"].as_str().unwrap().parse().unwrap();
    let (_, newest) = world.get("/fhir/Practitioner/dr").await;
    assert!(newest["meta"]["lastUpdated"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap() <= time);
}

// meets bulk 111 112
#[tokio::test]
async fn provenances_are_part_of_an_export_of_everything() {
    let world = filled().await;
    let agent = json!([{"who": {"reference": "Practitioner/dr"}}]);
    for (id, target) in [("of-ada", "Patient/ada"), ("of-result", "Observation/o-ada")] {
        let provenance = json!({"resourceType": "Provenance", "id": id, "target": [{"reference": target}],
            "recorded": "2026-03-02T08:15:00Z", "agent": agent});
        assert_eq!(world.call("PUT", &format!("/fhir/Provenance/{id}"), &provenance.to_string()).await.0, 201);
    }
    let all = ids(&world, "/fhir/$export").await;
    assert!(all.contains(&"of-ada".to_owned()) && all.contains(&"of-result".to_owned()), "{all:?}");
    assert_eq!(ids(&world, "/fhir/$export?_type=Provenance").await, ["of-ada", "of-result"]);
    assert!(!ids(&world, "/fhir/$export?_type=Patient").await.contains(&"of-ada".to_owned()));
    assert!(ids(&world, "/fhir/Patient/$export").await.contains(&"of-ada".to_owned()));
}

// meets bulk 53 59 181 186 187 188 189 190 202 234 254
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
            let bundles = bundles.inspect(|b| assert_eq!(b["type"], "transaction"));
            let entries = bundles.flat_map(|b| b["entry"].as_array().unwrap().clone());
            let entries = entries.inspect(|e| assert_eq!(e["request"]["method"], "DELETE"));
            entries.map(|e| e["request"]["url"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    let path = |level: &str| format!("/fhir{level}/$export?_since={since}&_type=Patient,Observation");
    let everyone = export(&world, &path("")).await;
    let changed = lines(&world, &everyone, "output").await;
    assert!(changed.len() == 1 && changed[0].contains("\"bob\"") && changed[0].contains("active"), "as it is now");
    assert_eq!(deleted(everyone).await, ["Observation/o-ada", "Observation/o-bob"]);
    assert_eq!(deleted(export(&world, &path("/Group/g")).await).await, ["Observation/o-bob"], "bob's alone");
    assert!(deleted(export(&world, "/fhir/$export").await).await.is_empty(), "of nobody who has nothing");
}

// meets bulk 5 122 136 210 305 306 308 309
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
    for path in [&place, &file] {
        assert_eq!(world.request("GET", path, &[], b"").await.status(), 401, "a stranger");
    }
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
    for (method, path) in [("GET", &place), ("GET", &file), ("DELETE", &place)] {
        let (status, _, body) = ask(&world, &world.token, method, path, "").await;
        let outcome: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &outcome["resourceType"]), (404, &json!("OperationOutcome")), "{path}: it was cancelled");
    }
}

// meets bulk 137 303 304
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
    let unknown = world.request("GET", "/fhir/$export/unknown", &lenient, b"").await;
    assert_eq!(status_and_media(&unknown), (404, "application/fhir+json"));
}

// meets bulk 170
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
