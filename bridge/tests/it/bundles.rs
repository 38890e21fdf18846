//! Transactions and batches: order, references, atomicity; and creates on one condition at once.

use super::world::{World, mint};
use base64::Engine;
use serde_json::{Value, json};

/// Rounds of the race for one condition; more by `RACE_ROUNDS=1000`.
const RACE_ROUNDS: usize = 12;

fn bundle(kind: &str, entries: &[Value]) -> String {
    json!({"resourceType": "Bundle", "type": kind, "entry": entries}).to_string()
}

fn patient(value: &str) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": "urn:a", "value": value}]})
}

fn observation(subject: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": subject}})
}

fn post(resource: &Value) -> Value {
    json!({"resource": resource, "request": {"method": "POST", "url": resource["resourceType"]}})
}

fn put(resource: &Value) -> Value {
    let url = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    json!({"resource": resource, "request": {"method": "PUT", "url": url}})
}

fn bare(method: &str, url: &str) -> Value {
    json!({"request": {"method": method, "url": url}})
}

fn named(mut entry: Value, url: &str) -> Value {
    entry["fullUrl"] = json!(url);
    entry
}

fn json_patch(url: &str, operations: &Value) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(operations.to_string());
    let binary = json!({"resourceType": "Binary", "contentType": "application/json-patch+json", "data": data});
    json!({"resource": binary, "request": {"method": "PATCH", "url": url}})
}

fn statuses(answer: &Value) -> Vec<u16> {
    let status = |entry: &Value| entry["response"]["status"].as_str().unwrap()[..3].parse().unwrap();
    answer["entry"].as_array().unwrap().iter().map(status).collect()
}

#[tokio::test]
async fn a_batch_invokes_operations_and_a_transaction_refuses_them_by_name() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/ada", r#"{"resourceType":"Patient","id":"ada"}"#).await;
    let get = |url: &str| json!({"request": {"method": "GET", "url": url}});
    let post = |url: &str, resource: Value| json!({"resource": resource, "request": {"method": "POST", "url": url}});
    let tag =
        json!({"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": {"tag": [{"code": "x"}]}}]});
    let cases = [
        (get("Patient/ada/$everything?_count=5"), "200", "Bundle"),
        (get("Patient/ada/%24summary"), "200", "Bundle"),
        (get("/Patient/ada/$meta"), "200", "Parameters"),
        (get("metadata"), "200", "CapabilityStatement"),
        (post("Patient/$validate", json!({"resourceType": "Patient", "birthDate": "soon"})), "200", "OperationOutcome"),
        (post("Patient/ada/$meta-add", tag), "200", "Parameters"),
        (get("Patient/nobody/$everything"), "404", ""),
        (get("Patient/ada/$receipt"), "422", ""),
        (get("$export"), "422", ""),
        (json!({"request": {"method": "DELETE", "url": "Patient/ada/$meta"}}), "422", ""),
    ];
    let entries: Vec<&Value> = cases.iter().map(|(entry, ..)| entry).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": entries});
    let (status, answer) = world.call("POST", "/fhir", &bundle.to_string()).await;
    assert_eq!(status, 200);
    for ((entry, expected, kind), told) in cases.iter().zip(answer["entry"].as_array().unwrap()) {
        assert_eq!(&told["response"]["status"].as_str().unwrap()[..3], *expected, "{entry}: {told}");
        assert_eq!(told["resource"]["resourceType"].as_str().unwrap_or(""), *kind, "{entry}");
    }
    assert_eq!(world.get("/fhir/Patient/ada").await.1["meta"]["tag"][0]["code"], "x");

    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [cases[0].0]});
    let (status, outcome) = world.call("POST", "/fhir", &bundle.to_string()).await;
    let issue = &outcome["issue"][0];
    assert_eq!((status, issue["expression"][0].as_str()), (422, Some("Bundle.entry[0].request.url")));
    assert!(issue["details"]["text"].as_str().unwrap().starts_with("$everything:"), "{issue}");

    let token = format!("Bearer {}", mint(&world.running, "system/Patient.s"));
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let bundle = json!({"resourceType": "Bundle", "type": "batch", "entry": [get("Patient/ada/$meta")]}).to_string();
    let reply = world.request("POST", "/fhir", &headers, bundle.as_bytes()).await;
    let answer: Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(answer["entry"][0]["response"]["status"], "403 Forbidden", "with the scopes of the caller");
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_made_together_begin_alike_and_no_others_do() {
    let world = World::new().await;
    let mut beginnings = Vec::new();
    for _ in 0..2 {
        let entries =
            [post(&patient("1")), post(&patient("2")), post(&json!({"resourceType": "Basic", "code": {"text": "x"}}))];
        let (status, answer) = world.call("POST", "/fhir", &bundle("transaction", &entries)).await;
        assert_eq!(status, 200, "{answer}");
        let entries = answer["entry"].as_array().unwrap();
        let places = entries.iter().map(|entry| entry["response"]["location"].as_str().unwrap());
        let ids: Vec<_> = places.map(|p| p.rsplit('/').nth(2).unwrap().split_once('-').unwrap()).collect();
        assert!(ids.iter().all(|(beginning, _)| *beginning == ids[0].0), "{ids:?}");
        assert!(ids[0].1 != ids[1].1 && ids[1].1 != ids[2].1, "{ids:?}");
        beginnings.push(ids[0].0.to_owned());
    }
    assert_ne!(beginnings[0], beginnings[1]);
}

#[tokio::test]
async fn a_transaction_does_everything_in_the_standards_order() {
    let world = World::new().await;
    for (kind, id) in [("Patient", "old"), ("Patient", "kept")] {
        world.call("PUT", &format!("/fhir/{kind}/{id}"), &json!({"resourceType": kind, "id": id}).to_string()).await;
    }
    let entries = [
        bare("GET", "Patient/kept"),
        bare("GET", "Patient?identifier=urn:a%7Cnew"),
        json_patch("Patient/kept", &json!([{"op": "add", "path": "/active", "value": true}])),
        put(&json!({"resourceType": "Group", "id": "g", "type": "person", "actual": true,
            "member": [{"entity": {"reference": "urn:uuid:11111111-1111-4111-8111-111111111111"}}]})),
        named(post(&patient("new")), "urn:uuid:11111111-1111-4111-8111-111111111111"),
        bare("DELETE", "Patient/old"),
        bare("HEAD", "Patient/kept/_history/1"),
        bare("GET", "Patient/kept/_history"),
        // Found among what the transaction itself writes.
        post(&observation("Patient?identifier=urn:a|new")),
    ];
    let (status, answer) = world.call("POST", "/fhir", &bundle("transaction", &entries)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(statuses(&answer), [200, 200, 200, 201, 201, 204, 200, 200, 201]);
    assert_eq!(answer["entry"][0]["resource"]["active"], true, "reading comes last");
    assert_eq!(answer["entry"][1]["resource"]["total"], 1);
    assert_eq!(answer["entry"][6].get("resource"), None);
    assert_eq!(answer["entry"][7]["resource"]["type"], "history");
    let new = world.only("/fhir/Patient?identifier=urn:a%7Cnew").await["id"].as_str().unwrap().to_owned();
    assert_eq!(world.get("/fhir/Group/g").await.1["member"][0]["entity"]["reference"], format!("Patient/{new}"));
    world.only(&format!("/fhir/Observation?patient={new}")).await;
    assert_eq!(world.get("/fhir/Patient/old").await.0, 410);
}

#[tokio::test]
async fn an_entry_that_fails_leaves_no_trace_and_is_named() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/here", r#"{"resourceType":"Patient","id":"here"}"#).await;
    for value in ["two", "two"] {
        world.call("POST", "/fhir/Patient", &patient(value).to_string()).await;
    }
    let good = |n: usize| post(&json!({"resourceType": "Group", "type": "person", "actual": true, "quantity": n}));
    let mut conditional = post(&patient("two"));
    conditional["request"]["ifNoneExist"] = json!("identifier=urn:a|two");
    let mut stale = put(&json!({"resourceType": "Patient", "id": "here"}));
    stale["request"]["ifMatch"] = json!("W/\"9\"");
    let failures = [
        (post(&json!({"resourceType": "Observation", "status": "final"})), 422),
        (post(&observation("Patient?identifier=urn:a|none")), 412),
        (post(&observation("urn:uuid:99999999-9999-4999-8999-999999999999")), 422),
        (conditional, 412),
        (stale, 412),
        (json_patch("Patient/none", &json!([])), 404),
        (json_patch("Patient/here", &json!([{"op": "remove", "path": "/name"}])), 422),
        (json_patch("Patient/here", &json!([{"op": "add", "path": "/shoeSize", "value": 7}])), 422),
        (bare("DELETE", "Patient?identifier=urn:a%7Ctwo"), 412),
        (bare("GET", "Patient/none"), 404),
        (bare("GET", "Patient?_count=many"), 400),
        (bare("POST", "Patient/here"), 422),
    ];
    for (failing, expected) in &failures {
        for k in 0..3 {
            let mut entries: Vec<Value> = (0..2).map(good).collect();
            entries.insert(k, failing.clone());
            let (status, outcome) = world.call("POST", "/fhir", &bundle("transaction", &entries)).await;
            assert_eq!((status, outcome["resourceType"].as_str()), (*expected, Some("OperationOutcome")), "{failing}");
            let place = outcome["issue"][0]["expression"][0].as_str().unwrap_or("");
            assert!(place.starts_with(&format!("Bundle.entry[{k}]")), "{failing}: {outcome}");
        }
    }
    assert_eq!(world.get("/fhir/Group/_history").await.1.get("entry"), None, "no trace");
    assert_eq!(world.get("/fhir/Patient/here").await.1["meta"]["versionId"], "1");
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 3);
}

#[tokio::test]
async fn entries_that_meet_on_one_resource_are_refused() {
    let world = World::new().await;
    world
        .call(
            "PUT",
            "/fhir/Patient/a",
            &json!({"resourceType": "Patient", "id": "a", "identifier": [{"system": "urn:a", "value": "1"}]})
                .to_string(),
        )
        .await;
    let a = put(&json!({"resourceType": "Patient", "id": "a"}));
    let by_condition =
        json!({"resource": patient("1"), "request": {"method": "PUT", "url": "Patient?identifier=urn:a%7C1"}});
    let patched = json_patch("Patient/a", &json!([]));
    let create = |value: &str| {
        let mut entry = post(&patient(value));
        entry["request"]["ifNoneExist"] = json!(format!("identifier=urn:a|{value}"));
        entry
    };
    let put_new =
        json!({"resource": patient("new"), "request": {"method": "PUT", "url": "Patient?identifier=urn:a%7Cnew"}});
    for pair in [
        [a.clone(), a.clone()],
        [a.clone(), by_condition],
        [a.clone(), bare("DELETE", "Patient/a")],
        [patched, a.clone()],
        [create("1"), a.clone()],
        // Neither is there yet, and both would make it.
        [create("new"), create("new")],
        [put_new, create("new")],
        [named(a.clone(), "urn:uuid:1"), named(post(&patient("x")), "urn:uuid:1")],
    ] {
        let (status, outcome) = world.call("POST", "/fhir", &bundle("transaction", &pair)).await;
        assert_eq!((status, outcome["issue"][0]["code"].as_str()), (409, Some("duplicate")), "{pair:?}: {outcome}");
    }
    let (status, answer) = world.call("POST", "/fhir", &bundle("transaction", &[create("1"), create("1")])).await;
    assert_eq!((status, statuses(&answer)), (200, vec![200, 200]), "both found the same");
    assert_eq!(world.get("/fhir/Patient/_history").await.1["entry"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_batch_carries_out_what_it_can() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/a", r#"{"resourceType":"Patient","id":"a"}"#).await;
    let entries = [
        bare("GET", "Patient/a"),
        bare("GET", "Patient/none"),
        json_patch("Patient/a", &json!([{"op": "add", "path": "/active", "value": true}])),
        post(&json!({"resourceType": "Patient", "x": 1})),
        bare("DELETE", "Patient/none"),
        bare("GET", "Patient?_count=1"),
        bare("GET", "Klingon/1"),
        post(&patient("1")),
    ];
    let body = bundle("batch", &entries);
    let (_, answer) = world.call("POST", "/fhir", &body).await;
    assert_eq!(answer["type"], "batch-response");
    assert_eq!(statuses(&answer), [200, 404, 200, 422, 204, 200, 422, 201]);
    assert_eq!(answer["entry"][3]["response"]["outcome"]["issue"][0]["expression"][0], "Bundle.entry[3].resource.x");
    let bearer = format!("Bearer {}", mint(&world.running, "system/Patient.cu"));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let reply = world.request("POST", "/fhir", &headers, body.as_bytes()).await;
    let answer: Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!(statuses(&answer), [403, 403, 403, 422, 403, 403, 422, 201], "each entry needs its own scope");
    let reply = world.request("POST", "/fhir", &headers, bundle("transaction", &entries[..1]).as_bytes()).await;
    assert_eq!(reply.status(), 403);
    for kind in ["Transaction", "collection", "history"] {
        assert_eq!(world.call("POST", "/fhir", &bundle(kind, &entries[7..])).await.0, 422, "{kind} is neither");
    }
}

#[tokio::test]
async fn many_creates_on_one_condition_make_one_resource() {
    let rounds = std::env::var("RACE_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(RACE_ROUNDS);
    let world = World::new().await;
    let token = format!("Bearer {}", world.token);
    for round in 0..rounds {
        let condition = format!("identifier=urn:a|r{round}");
        let headers = [
            ("authorization", token.as_str()),
            ("content-type", "application/fhir+json"),
            ("if-none-exist", condition.as_str()),
        ];
        let body = patient(&format!("r{round}")).to_string();
        let calls = (0..16).map(|_| world.request("POST", "/fhir/Patient", &headers, body.as_bytes()));
        let replies = futures_util::future::join_all(calls).await;
        let created = replies.iter().filter(|reply| reply.status() == 201).count();
        assert_eq!((created, replies.iter().filter(|reply| reply.status() == 200).count()), (1, 15), "round {round}");
        world.only(&format!("/fhir/Patient?identifier=urn:a%7Cr{round}")).await;
    }
    println!("{rounds} rounds of 16 clients");
}

#[tokio::test]
async fn a_client_gets_back_what_it_prefers() {
    let world = World::new().await;
    let token = format!("Bearer {}", world.token);
    let write = async |method: &str, path: &str, prefer: &str, body: &Value| {
        let headers =
            [("authorization", token.as_str()), ("content-type", "application/fhir+json"), ("prefer", prefer)];
        let reply = world.request(method, path, &headers, body.to_string().as_bytes()).await;
        let json = serde_json::from_slice(reply.body()).unwrap_or(Value::Null);
        (reply.status().as_u16(), json)
    };
    let ada = json!({"resourceType": "Patient", "id": "ada"});
    for (method, path, prefer, status, expected) in [
        ("POST", "/fhir/Patient", "return=minimal", 201, Value::Null),
        ("PUT", "/fhir/Patient/ada", "return=representation", 201, json!("Patient")),
        ("PUT", "/fhir/Patient/ada", "return=OperationOutcome", 200, json!("OperationOutcome")),
        ("DELETE", "/fhir/Patient/ada", "return=OperationOutcome", 200, json!("OperationOutcome")),
        ("DELETE", "/fhir/Patient/ada", "return=minimal", 204, Value::Null),
    ] {
        let (found, body) = write(method, path, prefer, &ada).await;
        assert_eq!((found, &body["resourceType"]), (status, &expected), "{method} {prefer}");
    }
    let body: Value = serde_json::from_str(&bundle("transaction", &[put(&ada)])).unwrap();
    for (prefer, place) in [("return=representation", "/resource"), ("return=OperationOutcome", "/response/outcome")] {
        let (_, answer) = write("POST", "/fhir", prefer, &body).await;
        assert!(answer["entry"][0].pointer(place).is_some(), "{prefer}: {answer}");
    }
    assert_eq!(write("POST", "/fhir", "return=minimal", &body).await.1["entry"][0].get("resource"), None);
}
