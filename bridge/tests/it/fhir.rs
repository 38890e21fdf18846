//! FHIR REST: writes, conditions, versions, search, refusals.

use super::world::{World, mint};
use serde_json::{Value, json};

const PATIENT: &str =
    r#"{"resourceType":"Patient","identifier":[{"system":"urn:a","value":"1"}],"name":[{"family":"Ada"}]}"#;

fn id(resource: &Value) -> &str {
    resource["id"].as_str().unwrap()
}

#[tokio::test]
async fn create_read_update_history() {
    let world = World::new().await;
    let (status, created) = world.call("POST", "/fhir/Patient", PATIENT).await;
    assert_eq!((status, created["meta"]["versionId"].as_str()), (201, Some("1")));
    let path = format!("/fhir/Patient/{}", id(&created));
    let mut update = created.clone();
    update["active"] = json!(true);
    let (status, updated) = world.call("PUT", &path, &update.to_string()).await;
    assert_eq!((status, updated["meta"]["versionId"].as_str()), (200, Some("2")));
    assert_eq!(world.get(&path).await.1, updated);
    assert_eq!(world.get(&format!("{path}/_history/1")).await.1, created);
    let (_, history) = world.get(&format!("{path}/_history")).await;
    assert_eq!(
        (history["total"].as_u64(), history["entry"][0]["resource"]["meta"]["versionId"].as_str()),
        (Some(2), Some("2"))
    );
    let (_, page) = world.get(&format!("{path}/_history?_count=1")).await;
    let next = page["link"][1]["url"].as_str().unwrap().split("/fhir/").nth(1).unwrap().to_owned();
    let (_, page) = world.get(&format!("/fhir/{next}")).await;
    assert_eq!(page["entry"][0]["resource"]["meta"]["versionId"], "1");
    let (status, own) =
        world.call("PUT", "/fhir/Patient/my-own.id", r#"{"resourceType":"Patient","id":"my-own.id"}"#).await;
    assert_eq!((status, id(&own)), (201, "my-own.id"), "update as create");
}

#[tokio::test]
async fn numbers_keep_their_digits_and_times_their_precision() {
    let world = World::new().await;
    let observation = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"effectiveDateTime":"2026-03-02T08:15:00.10+00:00",
        "valueQuantity":{"value":1.00},"referenceRange":[{"low":{"value":1769.859285},"high":{"value":9007199254740993}}],
        "component":[{"code":{"text":"y"},"valueQuantity":{"value":1.5e3}}]}"#;
    let (_, created) = world.call("POST", "/fhir/Observation", observation).await;
    let text = String::from_utf8(world.bytes(&format!("/fhir/Observation/{}", id(&created))).await.to_vec()).unwrap();
    for digits in ["\"value\":1.00", "1769.859285", "9007199254740993", "1.5e3", "08:15:00.10+00:00"] {
        assert!(text.contains(digits), "{digits} in {text}");
    }
    for digits in ["1E245", "-1.000000000000000000e-30", "12345678901234567890123456789.0"] {
        let patient =
            format!(r#"{{"resourceType":"Patient","extension":[{{"url":"urn:x","valueDecimal":{digits}}}]}}"#);
        let (status, created) = world.call("POST", "/fhir/Patient", &patient).await;
        assert_eq!(status, 201, "{digits}: R4 bounds no decimal");
        let text = world.bytes(&format!("/fhir/Patient/{}", id(&created))).await;
        assert!(String::from_utf8_lossy(&text).contains(digits), "{digits}");
    }
    for path in ["/fhir/Observation", &format!("/fhir/Observation/{}/_history", id(&created))] {
        let text = String::from_utf8(world.bytes(path).await.to_vec()).unwrap();
        assert!(text.contains("1.5e3") && text.contains("\"value\":1.00"), "a Bundle holds them as they are: {text}");
    }
}

#[tokio::test]
async fn conditions_of_requests_are_kept() {
    let world = World::new().await;
    let token = format!("Bearer {}", world.token);
    let with = |extra: (&'static str, &'static str)| {
        [
            ("authorization", token.clone()),
            ("content-type", "application/fhir+json".into()),
            (extra.0, extra.1.to_owned()),
        ]
    };
    let send = async |method: &str, path: &str, extra: (&'static str, &'static str), body: &str| {
        let owned = with(extra);
        let headers: Vec<(&str, &str)> = owned.iter().map(|(n, v)| (*n, v.as_str())).collect();
        world.request(method, path, &headers, body.as_bytes()).await
    };
    let none = ("if-none-exist", "identifier=urn:a|1");
    assert_eq!(send("POST", "/fhir/Patient", none, PATIENT).await.status(), 201);
    assert_eq!(send("POST", "/fhir/Patient", none, PATIENT).await.status(), 200);
    let patient = world.only("/fhir/Patient?identifier=urn:a%7C1").await;
    let path = format!("/fhir/Patient/{}", id(&patient));
    let body = patient.to_string();
    assert_eq!(send("PUT", &path, ("if-match", "W/\"7\""), &body).await.status(), 412);
    assert_eq!(send("PUT", &path, ("if-match", "W/\"1\""), &body).await.status(), 200);
    assert_eq!(send("PUT", &path, ("if-match", "nonsense"), &body).await.status(), 400);
    assert_eq!(send("GET", &path, ("if-none-match", "W/\"2\""), "").await.status(), 304);
    assert_eq!(send("GET", &path, ("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT"), "").await.status(), 304);
    let (status, _) = world.call("PUT", "/fhir/Patient?identifier=urn:a%7C1", PATIENT).await;
    assert_eq!(status, 200);
    let taken = PATIENT
        .replace("\"identifier\"", &format!("\"id\":\"{}\",\"identifier\"", id(&patient)))
        .replace("\"1\"", "\"other\"");
    assert_eq!(
        world.call("PUT", "/fhir/Patient?identifier=urn:a%7Cother", &taken).await.0,
        409,
        "nothing else is overwritten"
    );
    world.call("POST", "/fhir/Patient", PATIENT).await;
    let (status, outcome) = world.call("PUT", "/fhir/Patient?identifier=urn:a%7C1", PATIENT).await;
    assert_eq!((status, outcome["issue"][0]["code"].as_str()), (412, Some("multiple-matches")));
}

#[tokio::test]
async fn conditional_creates_at_once_make_one() {
    let world = World::new().await;
    for round in 0..10 {
        let patient = PATIENT.replace("\"1\"", &format!("\"r{round}\""));
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [{
            "resource": serde_json::from_str::<Value>(&patient).unwrap(),
            "request": {"method": "POST", "url": "Patient", "ifNoneExist": format!("identifier=urn:a|r{round}")}
        }]})
        .to_string();
        let calls = (0..16).map(|_| world.call("POST", "/fhir", &bundle));
        for (status, _) in futures_util::future::join_all(calls).await {
            assert_eq!(status, 200);
        }
        world.only(&format!("/fhir/Patient?identifier=urn:a%7Cr{round}")).await;
    }
}

#[tokio::test]
async fn a_transaction_is_all_or_nothing_and_resolves_references() {
    let world = World::new().await;
    let entry = |resource: Value, url: &str| json!({"fullUrl": url, "resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}});
    let patient = "urn:uuid:5d3a6f2e-0f1c-4a53-9d0b-3f4b8e1c7a01";
    let observation = |subject: &str| json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": subject}});
    let bundle =
        |entries: Vec<Value>| json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string();
    let good = bundle(vec![
        entry(observation(patient), "urn:uuid:5d3a6f2e-0f1c-4a53-9d0b-3f4b8e1c7a02"),
        entry(serde_json::from_str(PATIENT).unwrap(), patient),
    ]);
    let (status, answer) = world.call("POST", "/fhir", &good).await;
    assert_eq!((status, answer["type"].as_str()), (200, Some("transaction-response")));
    let stored = world.only("/fhir/Patient?identifier=urn:a%7C1").await;
    let found = world.only(&format!("/fhir/Observation?patient={}", id(&stored))).await;
    assert_eq!(found["subject"]["reference"], format!("Patient/{}", id(&stored)));
    let by_search =
        bundle(vec![entry(observation("Patient?identifier=urn:a|1"), "urn:uuid:5d3a6f2e-0f1c-4a53-9d0b-3f4b8e1c7a03")]);
    assert_eq!(world.call("POST", "/fhir", &by_search).await.0, 200);
    assert_eq!(world.get(&format!("/fhir/Observation?patient={}", id(&stored))).await.1["total"], 2);
    for (broken, expected) in [
        (
            entry(
                json!({"resourceType": "Observation", "status": "final"}),
                "urn:uuid:5d3a6f2e-0f1c-4a53-9d0b-3f4b8e1c7a04",
            ),
            422,
        ),
        (entry(observation("Patient?identifier=urn:a|none"), "urn:uuid:5d3a6f2e-0f1c-4a53-9d0b-3f4b8e1c7a05"), 412),
    ] {
        for at in 0..3 {
            let mut entries: Vec<Value> = (0..2)
                .map(|n| {
                    entry(
                        json!({"resourceType": "Group", "type": "person", "actual": true}),
                        &format!("urn:uuid:5d3a6f2e-0f1c-4a53-9d0b-3f4b8e1c7b0{n}"),
                    )
                })
                .collect();
            entries.insert(at, broken.clone());
            assert_eq!(world.call("POST", "/fhir", &bundle(entries)).await.0, expected);
        }
    }
    assert_eq!(world.get("/fhir/Group").await.1["total"], 0, "no trace of a failed transaction");
    let twice = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"resource": {"resourceType": "Patient", "id": "z"}, "request": {"method": "PUT", "url": "Patient/z"}},
        {"resource": {"resourceType": "Patient", "id": "z"}, "request": {"method": "PUT", "url": "Patient/z"}}]});
    assert_eq!(world.call("POST", "/fhir", &twice.to_string()).await.0, 409);
}

#[tokio::test]
async fn a_batch_answers_each_entry() {
    let world = World::new().await;
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}},
        {"resource": {"resourceType": "Patient", "x": 1}, "request": {"method": "POST", "url": "Patient"}},
        {"request": {"method": "DELETE", "url": "Patient/1"}}]});
    let (status, answer) = world.call("POST", "/fhir", &batch.to_string()).await;
    assert_eq!(status, 200);
    let statuses: Vec<&str> =
        answer["entry"].as_array().unwrap().iter().map(|e| &e["response"]["status"].as_str().unwrap()[..3]).collect();
    assert_eq!(statuses, ["201", "422", "204"]);
}

#[tokio::test]
async fn a_create_with_a_search_in_its_address_is_conditional() {
    let world = World::new().await;
    let address = "/fhir/Patient?identifier=urn:a%7C1&_format=json";
    let (first, created) = world.call("POST", address, PATIENT).await;
    let (second, found) = world.call("POST", address, PATIENT).await;
    assert_eq!((first, second, id(&created)), (201, 200, id(&found)));
    assert_eq!(world.call("POST", "/fhir/Patient?_format=json", PATIENT).await.0, 201);
    assert_eq!(world.call("POST", "/fhir/Patient?favourite=blue", PATIENT).await.0, 400);
}

#[tokio::test]
async fn searches_find_page_and_refuse() {
    let world = World::new().await;
    for n in 0..7 {
        let patient = PATIENT.replace("\"1\"", &format!("\"{n}\""));
        world.call("POST", "/fhir/Patient", &patient).await;
    }
    let total = async |query: &str| world.get(&format!("/fhir/Patient{query}")).await.1["total"].as_u64();
    assert_eq!(total("").await, Some(7));
    assert_eq!(total("?identifier=urn:a%7C3").await, Some(1));
    assert_eq!(total("?identifier=3,4").await, Some(2));
    assert_eq!(total("?identifier=urn:b%7C3").await, Some(0));
    assert_eq!(total("?_lastUpdated=gt2100").await, Some(0));
    assert_eq!(total("?_lastUpdated=ge2020-01-01&_lastUpdated=lt2100").await, Some(7));
    let mut url = "/fhir/Patient?_count=3".to_owned();
    let mut seen = Vec::new();
    loop {
        let (_, page) = world.get(&url).await;
        seen.extend(page["entry"].as_array().into_iter().flatten().map(|e| id(&e["resource"]).to_owned()));
        let next = page["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next");
        let Some(next) = next else { break };
        url = format!("/fhir/{}", next["url"].as_str().unwrap().split("/fhir/").nth(1).unwrap());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 7);
    assert_eq!(world.get("/fhir/Patient?favourite=blue").await.0, 400);
    let token = format!("Bearer {}", world.token);
    let headers = [("authorization", token.as_str()), ("prefer", "handling=lenient")];
    let reply = world.request("GET", "/fhir/Patient?favourite=blue", &headers, b"").await;
    let lenient: Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(lenient["entry"].as_array().unwrap().last().unwrap()["search"]["mode"], "outcome");
    let headers = [("authorization", token.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let reply = world.request("POST", "/fhir/Patient/_search", &headers, b"identifier=urn%3Aa%7C3").await;
    let posted: Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(posted["total"], 1);
}

// meets smart 95 123 247 266
#[tokio::test]
async fn tokens_open_what_their_scopes_say() {
    let world = World::new().await;
    let (_, patient) = world.call("POST", "/fhir/Patient", PATIENT).await;
    let path = format!("/fhir/Patient/{}", id(&patient));
    let as_scope = async |scope: &str, method: &str, path: &str, body: &str| {
        let bearer = format!("Bearer {}", mint(&world.running, scope));
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
        world.request(method, path, &headers, body.as_bytes()).await.status().as_u16()
    };
    assert_eq!(as_scope("system/Patient.r", "GET", &path, "").await, 200);
    assert_eq!(as_scope("system/Patient.r", "GET", "/fhir/Patient", "").await, 403);
    assert_eq!(as_scope("system/Observation.rs", "GET", &path, "").await, 403);
    assert_eq!(as_scope("system/Observation.rs", "GET", &format!("{path}/$receipt"), "").await, 403);
    assert_eq!(as_scope("system/Patient.rs", "POST", "/fhir/Patient", PATIENT).await, 403);
    assert_eq!(as_scope("system/Patient.c", "POST", "/fhir/Patient", PATIENT).await, 201);
    let named = r#"{"resourceType":"Patient","id":"named"}"#;
    assert_eq!(as_scope("system/Patient.c", "PUT", "/fhir/Patient/named", named).await, 403);
    assert_eq!(as_scope("system/Patient.u", "PUT", "/fhir/Patient/named", named).await, 201, "an update may create");
    assert_eq!(as_scope("system/Patient.u", "PUT", "/fhir/Patient/named", named).await, 200);
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{PATIENT},"request":{{"method":"POST","url":"Patient"}}}}]}}"#
    );
    let bearer = format!("Bearer {}", mint(&world.running, "system/Patient.c"));
    let condition = ("if-none-exist", "identifier=urn:a|1");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json"), condition];
    let reply = world.request("POST", "/fhir/Patient", &headers, PATIENT.as_bytes()).await;
    assert_eq!(reply.status(), 403, "a condition is a way to read");
    assert_eq!(as_scope("system/Observation.cruds", "POST", "/fhir", &bundle).await, 403);
    for path in ["/fhir/metadata", "/healthz", "/readyz", "/openapi.yaml", "/"] {
        assert_eq!(world.request("GET", path, &[], b"").await.status(), 200, "{path} is public");
        let request = warp::http::Request::builder().method("HEAD").uri(path).body(Default::default()).unwrap();
        let head = bridge::commands::client::send(world.running.http, request).await.unwrap();
        assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    }
    assert_eq!(world.request("GET", &path, &[], b"").await.status(), 401);
}
