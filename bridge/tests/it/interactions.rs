//! FHIR REST beyond writing and reading: deletion, histories.

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
        world.request(method, path, &[("authorization", bearer.as_str())], b"").await.status().as_u16()
    };
    assert_eq!(as_scope("system/Patient.crus", "DELETE", "/fhir/Patient/ada").await, 403);
    assert_eq!(as_scope("system/Patient.d", "DELETE", "/fhir/Patient?_id=ada").await, 403, "a condition reads");
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
