//! FHIR REST beyond writing and reading: deletion, histories, patch, parts, forms.

use super::world::{World, mint};
use notary::commitment::Kind;
use notary::receipt::Receipt;
use notary::verify::{Policy, verify};
use serde_json::{Value, json};

const ADA: &str = r#"{"resourceType":"Patient","id":"ada","identifier":[{"system":"urn:a","value":"1"}]}"#;

async fn with(world: &World, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let token = format!("Bearer {}", world.token);
    let standing = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let headers: Vec<(&str, &str)> = standing.iter().chain(headers).copied().collect();
    let reply = world.request(method, path, &headers, body.as_bytes()).await;
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
}

async fn status(world: &World, method: &str, path: &str, body: &str) -> u16 {
    world.call(method, path, body).await.0
}

/// Method and version of each entry.
fn entries(history: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let one = |entry: &Value| (text(&entry["request"]["method"]), text(&entry["response"]["etag"]));
    history["entry"].as_array().into_iter().flatten().map(one).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(method, version)| ((*method).to_owned(), format!("W/\"{version}\""))).collect()
}

#[tokio::test]
async fn what_is_deleted_is_gone_until_it_is_written_again() {
    let world = World::new().await;
    let path = "/fhir/Patient/ada";
    assert_eq!(status(&world, "DELETE", path, "").await, 204, "what never was");
    assert_eq!(status(&world, "GET", path, "").await, 404, "and it leaves nothing behind");
    assert_eq!(status(&world, "PUT", path, ADA).await, 201);
    assert_eq!(with(&world, "DELETE", path, &[("if-match", "W/\"9\"")], "").await.0, 412);
    assert_eq!(with(&world, "DELETE", path, &[("if-match", "W/\"1\"")], "").await.0, 204);
    assert_eq!(status(&world, "DELETE", path, "").await, 204, "twice is once");
    let (gone, outcome) = world.get(path).await;
    assert_eq!((gone, outcome["issue"][0]["code"].as_str()), (410, Some("deleted")));
    assert_eq!(status(&world, "GET", &format!("{path}/_history/2"), "").await, 410);
    assert_eq!(status(&world, "GET", &format!("{path}/_history/1"), "").await, 200);
    assert_eq!(status(&world, "GET", &format!("{path}/_history/3"), "").await, 404);
    for search in ["/fhir/Patient", "/fhir/Patient?identifier=urn:a%7C1", "/fhir/Patient?_id=ada"] {
        assert_eq!(world.get(search).await.1["total"], 0, "{search}");
    }
    let (_, history) = world.get(&format!("{path}/_history")).await;
    assert_eq!(entries(&history), pairs(&[("DELETE", "2"), ("POST", "1")]));
    assert_eq!(history["entry"][0].get("resource"), None);
    let none = [("if-none-exist", "identifier=urn:a|1")];
    let (created, other) = with(&world, "POST", "/fhir/Patient", &none, ADA).await;
    assert_eq!(created, 201, "the deleted one is no match");
    assert_eq!(status(&world, "DELETE", &format!("/fhir/Patient/{}", other["id"].as_str().unwrap()), "").await, 204);
    let (again, ada) = world.call("PUT", path, ADA).await;
    assert_eq!((again, ada["meta"]["versionId"].as_str()), (201, Some("3")));
    assert_eq!(world.only("/fhir/Patient?identifier=urn:a%7C1").await["id"], "ada");
    let world = world.restarted().await;
    assert_eq!(entries(&world.get(&format!("{path}/_history")).await.1).len(), 3, "and so it stays");
}

#[tokio::test]
async fn a_conditional_deletion_takes_one_resource_or_none() {
    let world = World::new().await;
    let by_number = "/fhir/Patient?identifier=urn:a%7C1";
    assert_eq!(status(&world, "DELETE", by_number, "").await, 204);
    assert_eq!(status(&world, "DELETE", "/fhir/Patient", "").await, 400, "never all of them");
    world.call("PUT", "/fhir/Patient/ada", ADA).await;
    world.call("POST", "/fhir/Patient", ADA).await;
    let (status_of_two, outcome) = world.call("DELETE", by_number, "").await;
    assert_eq!((status_of_two, outcome["issue"][0]["code"].as_str()), (412, Some("multiple-matches")));
    assert_eq!(status(&world, "DELETE", "/fhir/Patient?_id=ada", "").await, 204);
    assert_eq!(status(&world, "DELETE", by_number, "").await, 204);
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 0);
}

#[tokio::test]
async fn the_receipt_of_a_deletion_proves_the_deletion() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/ada", ADA).await;
    world.call("DELETE", "/fhir/Patient/ada", "").await;
    let bytes = world.anchored_receipt("/fhir/Patient/ada/_history/2/$receipt").await;
    let receipt = Receipt::parse(&bytes).unwrap();
    assert_eq!(receipt.log_entry().unwrap().kind, Kind::Tombstone);
    assert!(verify(&receipt, None, None, &Policy::default()).unwrap().deletion);
    let current = Receipt::parse(&world.anchored_receipt("/fhir/Patient/ada/$receipt").await).unwrap();
    assert_eq!(current.version_id, "2");
}

#[tokio::test]
async fn deleting_needs_its_own_scope() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/ada", ADA).await;
    let as_scope = async |scope: &str, method: &str, path: &str| {
        let bearer = format!("Bearer {}", mint(&world.running, scope));
        world.request(method, path, &[("authorization", bearer.as_str()), JSON_PATCH], b"[]").await.status().as_u16()
    };
    assert_eq!(as_scope("system/Patient.crus", "DELETE", "/fhir/Patient/ada").await, 403);
    assert_eq!(as_scope("system/Patient.d", "DELETE", "/fhir/Patient?_id=ada").await, 403, "a condition reads");
    assert_eq!(as_scope("system/Patient.crds", "PATCH", "/fhir/Patient/ada").await, 403);
    assert_eq!(as_scope("system/Patient.u", "PATCH", "/fhir/Patient/ada").await, 403, "a patch tells what is there");
    assert_eq!(as_scope("system/Patient.r", "GET", "/fhir/Patient/_history").await, 403);
    assert_eq!(as_scope("system/Patient.s", "GET", "/fhir/Patient/_history").await, 200);
    assert_eq!(as_scope("system/Patient.s", "GET", "/fhir/_history").await, 403);
    assert_eq!(as_scope("system/Patient.d", "DELETE", "/fhir/Patient/ada").await, 204);
}

#[tokio::test]
async fn histories_of_types_and_of_everything() {
    let world = World::new().await;
    for _ in 0..2 {
        world.call("PUT", "/fhir/Patient/ada", ADA).await;
    }
    world.call("PUT", "/fhir/Group/g", r#"{"resourceType":"Group","id":"g","type":"person","actual":true}"#).await;
    world.call("DELETE", "/fhir/Patient/ada", "").await;
    world.send(&super::world::admission("M1", "78", "Lovelace")).await;
    let (_, patients) = world.get("/fhir/Patient/_history").await;
    assert_eq!(entries(&patients), pairs(&[("POST", "1"), ("DELETE", "3"), ("PUT", "2"), ("POST", "1")]));
    // Newer versions do not move the pages behind.
    let (_, page) = world.get("/fhir/_history?_count=3").await;
    world.call("PUT", "/fhir/Patient/ada", ADA).await;
    let mut seen = entries(&page);
    let mut next = page["link"][1]["url"].as_str().map(str::to_owned);
    while let Some(url) = next {
        let (_, page) = world.get(&format!("/fhir/{}", url.split("/fhir/").nth(1).unwrap())).await;
        seen.extend(entries(&page));
        next = page["link"][1]["url"].as_str().map(str::to_owned);
    }
    assert_eq!(seen.len(), world.get("/fhir/_history").await.1["entry"].as_array().unwrap().len() - 1);
    let before = world.get("/fhir/Patient/ada/_history/2").await.1["meta"]["lastUpdated"].as_str().unwrap().to_owned();
    let (_, since) = world.get(&format!("/fhir/Patient/ada/_history?_since={before}")).await;
    assert!(since["total"].as_u64().unwrap() >= 3, "{since}");
    let (_, at) = world.get("/fhir/Patient/_history?_at=2020").await;
    assert_eq!(at.get("entry"), None, "before the first");
    let (_, at) = world.get(&format!("/fhir/Patient/ada/_history?_at={before}")).await;
    assert_eq!(at["entry"][0]["response"]["etag"], "W/\"2\"");
    for (path, parameter) in [("/fhir/_history?_list=7", "_list"), ("/fhir/Patient/_history?_sort=_id", "_sort")] {
        let (status, outcome) = world.get(path).await;
        assert_eq!(status, 400, "{path}");
        assert!(outcome["issue"][0]["details"]["text"].as_str().unwrap().contains(parameter));
    }
}

#[tokio::test]
async fn a_transaction_deletes_first_whatever_stands_first() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/ada", ADA).await;
    let create = json!({"resource": {"resourceType": "Patient", "identifier": [{"system": "urn:a", "value": "1"}]},
        "request": {"method": "POST", "url": "Patient", "ifNoneExist": "identifier=urn:a|1"}});
    let delete = json!({"request": {"method": "DELETE", "url": "Patient/ada"}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [create, delete]});
    let (status, answer) = world.call("POST", "/fhir", &bundle.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let statuses: Vec<&str> =
        answer["entry"].as_array().unwrap().iter().map(|e| e["response"]["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["201 Created", "204 No Content"], "in the request's order");
    assert_ne!(world.only("/fhir/Patient?identifier=urn:a%7C1").await["id"], "ada");
}

const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");

/// A patch by either language.
async fn patch(world: &World, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
    let token = format!("Bearer {}", world.token);
    let bearer = [("authorization", token.as_str())];
    let headers: Vec<(&str, &str)> = bearer.iter().chain(headers).copied().collect();
    let reply = world.request("PATCH", path, &headers, body.as_bytes()).await;
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
}

fn fhirpath(operation: &[(&str, Value)]) -> String {
    let part = |(name, value): &(&str, Value)| {
        let mut part = value.clone();
        part["name"] = json!(name);
        part
    };
    let parts: Vec<Value> = operation.iter().map(part).collect();
    json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": parts}]}).to_string()
}

#[tokio::test]
async fn both_patches_change_what_they_name_and_keep_the_digits() {
    let world = World::new().await;
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.00}}"#;
    world.call("PUT", "/fhir/Observation/o", observation).await;
    let path = "/fhir/Observation/o";
    let add = r#"[{"op":"add","path":"/valueQuantity/unit","value":"kg"}]"#;
    let (status, patched) = patch(&world, path, &[JSON_PATCH, ("if-match", "W/\"1\"")], add).await;
    assert_eq!((status, patched["meta"]["versionId"].as_str()), (200, Some("2")));
    let amended = fhirpath(&[
        ("type", json!({"valueCode": "replace"})),
        ("path", json!({"valueString": "Observation.status"})),
        ("value", json!({"valueCode": "amended"})),
    ]);
    let (status, _) = patch(&world, path, &[("content-type", "application/fhir+json")], &amended).await;
    assert_eq!(status, 200);
    let text = String::from_utf8(world.bytes(path).await.to_vec()).unwrap();
    assert!(text.contains(r#""status":"amended""#) && text.contains(r#"{"unit":"kg","value":1.00}"#), "{text}");
    assert_eq!(patch(&world, "/fhir/Observation?_id=o", &[JSON_PATCH], "[]").await.0, 200, "by condition");
}

#[tokio::test]
async fn a_patch_that_cannot_be_says_where() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/ada", ADA).await;
    let path = "/fhir/Patient/ada";
    for (path, header, body, status, place) in [
        (path, JSON_PATCH, r#"[{"op":"remove","path":"/name/0"}]"#, 422, Some("Patient.name[0]")),
        (path, JSON_PATCH, r#"[{"op":"add","path":"/birthDate","value":"soon"}]"#, 422, Some("Patient.birthDate")),
        (path, JSON_PATCH, r#"[{"op":"add","path":"/shoeSize","value":1}]"#, 422, Some("Patient.shoeSize")),
        (path, JSON_PATCH, "{}", 422, None),
        (path, JSON_PATCH, "[", 400, None),
        (path, ("content-type", "application/fhir+json"), ADA, 422, Some("resourceType")),
        (path, ("content-type", "application/xml-patch+xml"), "<diff/>", 415, None),
        (path, ("content-type", "application/merge-patch+json"), "{}", 415, None),
        ("/fhir/Patient/none", JSON_PATCH, "[]", 404, None),
        ("/fhir/Patient?identifier=none", JSON_PATCH, "[]", 404, None),
        ("/fhir/Patient", JSON_PATCH, "[]", 400, None),
    ] {
        let (found, outcome) = patch(&world, path, &[header], body).await;
        assert_eq!((found, outcome["issue"][0]["expression"][0].as_str()), (status, place), "{path} {body}: {outcome}");
    }
    assert_eq!(patch(&world, path, &[JSON_PATCH, ("if-match", "W/\"2\"")], "[]").await.0, 412);
    assert_eq!(world.get(path).await.1["meta"]["versionId"], "1", "nothing of it was kept");
    world.call("DELETE", path, "").await;
    assert_eq!(patch(&world, path, &[JSON_PATCH], "[]").await.0, 410);
}

#[tokio::test]
async fn patches_at_once_lose_nothing() {
    let world = World::new().await;
    world.call("PUT", "/fhir/Patient/ada", ADA).await;
    let patches = (0..16).map(|n| {
        let body = format!(r#"[{{"op":"add","path":"/identifier/-","value":{{"value":"p{n}"}}}}]"#);
        let world = &world;
        async move { patch(world, "/fhir/Patient/ada", &[JSON_PATCH], &body).await.0 }
    });
    assert_eq!(futures_util::future::join_all(patches).await, [200; 16]);
    let (_, ada) = world.get("/fhir/Patient/ada").await;
    assert_eq!((ada["identifier"].as_array().unwrap().len(), ada["meta"]["versionId"].as_str()), (17, Some("17")));
}

#[tokio::test]
async fn parts_of_resources_are_shown_and_marked() {
    let world = World::new().await;
    let ada = r#"{"resourceType":"Patient","id":"ada","active":true,"photo":[{"title":"t"}],"contact":[{"gender":"male"}],
        "text":{"status":"generated","div":"<div>Ada</div>"},"name":[{"family":"Quay"}]}"#;
    world.call("PUT", "/fhir/Patient/ada", ada).await;
    let members = |resource: &Value| {
        let names =
            resource.as_object().unwrap().keys().filter(|n| !["resourceType", "id", "meta"].contains(&n.as_str()));
        names.cloned().collect::<Vec<_>>().join(" ")
    };
    for (query, expected) in [
        ("_summary=true", "active name"),
        ("_summary=text", "text"),
        ("_summary=data", "active contact name photo"),
        ("_elements=name", "active name"),
    ] {
        for (path, pointer) in [
            (format!("/fhir/Patient/ada?{query}"), ""),
            (format!("/fhir/Patient/ada/_history/1?{query}"), ""),
            (format!("/fhir/Patient?{query}"), "/entry/0/resource"),
            (format!("/fhir/Patient/_history?{query}"), "/entry/0/resource"),
        ] {
            let (_, answer) = world.get(&path).await;
            let resource = answer.pointer(pointer).unwrap();
            assert_eq!(members(resource), expected, "{path}");
            assert_eq!(resource["meta"]["tag"][0]["code"], "SUBSETTED");
        }
    }
    assert_eq!(world.get("/fhir/Patient/ada?_summary=false").await.1["meta"].get("tag"), None);
    for path in ["/fhir/Patient?_summary=count", "/fhir/Patient/ada/_history?_summary=count"] {
        let (_, answer) = world.get(path).await;
        assert_eq!((answer["total"].as_u64(), answer.get("entry")), (Some(1), None), "{path}");
    }
    let (_, statement) = world.get("/fhir/metadata?_summary=true").await;
    assert!(statement["fhirVersion"] == "4.0.1" && statement["meta"]["tag"][0]["code"] == "SUBSETTED");
}

#[tokio::test]
async fn answers_come_in_the_form_that_was_asked_for() {
    use std::io::Read;
    let world = World::new().await;
    let token = format!("Bearer {}", world.token);
    let observation = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.00}}"#;
    let mut packed = flate2::read::GzEncoder::new(observation.as_bytes(), flate2::Compression::fast());
    let mut body = Vec::new();
    packed.read_to_end(&mut body).unwrap();
    let headers =
        [("authorization", token.as_str()), ("content-type", "application/fhir+json"), ("content-encoding", "gzip")];
    assert_eq!(world.request("PUT", "/fhir/Observation/o", &headers, &body).await.status(), 201);
    let pretty = String::from_utf8(world.bytes("/fhir/Observation/o?_pretty=true").await.to_vec()).unwrap();
    assert!(pretty.contains("\n  \"valueQuantity\": {\n    \"value\": 1.00\n  }\n}\n"), "{pretty}");
    let get = async |method: &str, path: &str, accept: &str| {
        let request = warp::http::Request::builder().method(method).uri(path).header("accept-encoding", accept);
        let request = request.header("authorization", token.as_str()).body(Default::default()).unwrap();
        bridge::commands::client::send(world.running.http, request).await.unwrap()
    };
    let reply = get("GET", "/fhir/metadata", "br, gzip").await;
    assert_eq!(reply.headers()["content-encoding"], "gzip");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&reply.body()[..]).read_to_string(&mut text).unwrap();
    let statement: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(statement["resourceType"], "CapabilityStatement");
    assert!(get("GET", "/fhir/metadata", "gzip;q=0").await.headers().get("content-encoding").is_none());
    assert!(get("GET", "/fhir/Observation/o", "gzip").await.headers().get("content-encoding").is_none(), "too short");
    let head = get("HEAD", "/fhir/Observation/o", "gzip").await;
    assert_eq!(
        (head.status().as_u16(), head.body().len(), &head.headers()["etag"]),
        (200, 0, &"W/\"1\"".parse().unwrap())
    );
    assert_eq!(get("HEAD", "/fhir/Observation/none", "").await.status(), 404);
}

/// A transaction of so many resources that have nothing to tell them apart.
fn many(kind: &str, count: usize, resource: &Value) -> String {
    let entry = |n: usize| {
        let mut resource = resource.clone();
        (resource["resourceType"], resource["id"]) = (json!(kind), json!(format!("n{n}")));
        json!({"resource": resource, "request": {"method": "PUT", "url": format!("{kind}/n{n}")}})
    };
    let entries: Vec<Value> = (0..count).map(entry).collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string()
}

#[tokio::test]
async fn a_condition_that_the_index_hardly_narrows_is_refused_and_never_guessed() {
    let world = World::new().await;
    let people = many("Patient", 1_005, &json!({"name": [{"family": "Other"}]}));
    assert_eq!(world.call("POST", "/fhir", &people).await.0, 200);
    let late = r#"{"resourceType":"Patient","name":[{"family":"Maxqu"}]}"#;
    assert_eq!(world.call("POST", "/fhir/Patient", late).await.0, 201);
    for (condition, expected) in [("family:contains=xq", 412), ("family:contains=axq", 200), ("family=maxqu", 200)] {
        let bearer = format!("Bearer {}", world.token);
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/fhir+json"),
            ("if-none-exist", condition),
        ];
        let reply = world.request("POST", "/fhir/Patient", &headers, late.as_bytes()).await;
        assert_eq!(reply.status(), expected, "{condition}");
    }
    let (_, found) = world.get("/fhir/Patient?family=maxqu").await;
    assert_eq!(found["total"], 1);
}

#[tokio::test]
async fn a_conditional_reference_needs_the_scope_to_search_there() {
    let world = World::new().await;
    assert_eq!(
        world.call("PUT", "/fhir/Patient/p", r#"{"resourceType":"Patient","id":"p","gender":"male"}"#).await.0,
        201
    );
    let basic = r#"{"resourceType":"Basic","code":{"text":"x"},"subject":{"reference":"Patient?gender=male"}}"#;
    let bundle = format!(
        r#"{{"resourceType":"Bundle","type":"transaction","entry":[{{"resource":{basic},"request":{{"method":"POST","url":"Basic"}}}}]}}"#
    );
    for (scope, expected) in
        [("system/Basic.c", 403), ("system/Basic.c system/Patient.r", 403), ("system/Basic.c system/Patient.s", 0)]
    {
        let bearer = format!("Bearer {}", mint(&world.running, scope));
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
        for (path, body, good) in [("/fhir/Basic", basic, 201), ("/fhir", bundle.as_str(), 200)] {
            let reply = world.request("POST", path, &headers, body.as_bytes()).await;
            assert_eq!(reply.status(), if expected == 0 { good } else { expected }, "{scope} {path}");
        }
    }
    let patch = br#"[{"op":"add","path":"/subject","value":{"reference":"Patient?gender=male"}}]"#;
    assert_eq!(
        world.call("PUT", "/fhir/Basic/b", r#"{"resourceType":"Basic","id":"b","code":{"text":"x"}}"#).await.0,
        201
    );
    let bearer = format!("Bearer {}", mint(&world.running, "system/Basic.ru"));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json-patch+json")];
    assert_eq!(world.request("PATCH", "/fhir/Basic/b", &headers, patch).await.status(), 422, "nor does a patch ask");
}
