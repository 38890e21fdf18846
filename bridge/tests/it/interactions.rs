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
    let is_trail = |entry: &&Value| entry["fullUrl"].as_str().is_some_and(|url| url.contains("/AuditEvent/"));
    history["entry"].as_array().into_iter().flatten().filter(|entry| !is_trail(entry)).map(one).collect()
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
    assert_eq!(entries(&history), pairs(&[("DELETE", "2"), ("PUT", "1")]));
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
async fn if_none_match_creates_and_never_overwrites() {
    let world = World::new().await;
    let none = [("if-none-match", "*")];
    let path = "/fhir/Patient/ada";
    let puts = (0..8).map(|_| with(&world, "PUT", path, &none, ADA));
    let mut statuses: Vec<u16> =
        futures_util::future::join_all(puts).await.into_iter().map(|(status, _)| status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 412, 412, 412, 412, 412, 412, 412], "one of those that come at once");
    assert_eq!(with(&world, "PUT", "/fhir/Patient?identifier=urn:a%7C1", &none, ADA).await.0, 412);
    assert_eq!(with(&world, "PUT", path, &[("if-none-match", "W/\"9\"")], ADA).await.0, 400, "not left out");
    let entry = |kind: &str| {
        let put = json!({"method": "PUT", "url": "Patient/ada", "ifNoneMatch": "*"});
        let resource: Value = serde_json::from_str(ADA).unwrap();
        json!({"resourceType": "Bundle", "type": kind, "entry": [{"resource": resource, "request": put}]}).to_string()
    };
    let (refused, outcome) = world.call("POST", "/fhir", &entry("transaction")).await;
    assert_eq!((refused, outcome["issue"][0]["expression"][0].as_str()), (412, Some("Bundle.entry[0]")));
    let (_, batch) = world.call("POST", "/fhir", &entry("batch")).await;
    assert_eq!(batch["entry"][0]["response"]["status"], "412 Precondition Failed");
    assert_eq!(world.get(path).await.1["meta"]["versionId"], "1");
    assert_eq!(status(&world, "DELETE", path, "").await, 204);
    assert_eq!(with(&world, "PUT", path, &none, ADA).await.0, 201, "what is deleted is not there");
}

#[tokio::test]
async fn a_binary_is_content_in_and_content_out() {
    let world = World::new().await;
    let token = format!("Bearer {}", world.token);
    let send = async |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]| {
        let headers: Vec<(&str, &str)> =
            std::iter::once(("authorization", token.as_str())).chain(headers.iter().copied()).collect();
        world.request(method, path, &headers, body).await
    };
    let page = b"<script>alert(1)</script>\xff";
    let html = [("content-type", "text/html; charset=latin1"), ("x-security-context", "Patient/ada")];
    let created = send("POST", "/fhir/Binary?_filename=page.html", &html, page).await;
    assert_eq!(created.status(), 201);
    let resource: Value = serde_json::from_slice(created.body()).unwrap();
    assert_eq!(
        (&resource["contentType"], &resource["securityContext"]["reference"]),
        (&json!(html[0].1), &json!("Patient/ada"))
    );
    let path = format!("/fhir/Binary/{}", resource["id"].as_str().unwrap());
    for accept in ["*/*", "text/html", "image/png", "text/html,application/xml;q=0.9,*/*;q=0.8"] {
        let reply = send("GET", &path, &[("accept", accept)], b"").await;
        assert_eq!((reply.status().as_u16(), reply.body().as_ref()), (200, page.as_slice()), "{accept}");
        let header = |name: &str| reply.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(
            (header("content-type").as_str(), header("x-security-context").as_str()),
            (html[0].1, "Patient/ada")
        );
        assert_eq!(
            (header("x-content-type-options").as_str(), header("content-disposition").as_str()),
            ("nosniff", "attachment")
        );
        assert!(header("content-security-policy").contains("sandbox") && header("etag") == "W/\"1\"");
    }
    assert_eq!(send("GET", &path, &[], b"").await.body().as_ref(), page, "nothing asked: the content (R4 2.35)");
    assert_eq!(send("GET", &format!("{path}/_history/1"), &[], b"").await.body().as_ref(), page);
    assert_eq!(world.get(&path).await.1, resource, "FHIR by name");
    assert_eq!(send("GET", &path, &[("accept", "application/fhir+xml")], b"").await.status(), 406);
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": path.replace("/fhir/", "")}}]});
    assert_eq!(world.call("POST", "/fhir", &batch.to_string()).await.1["entry"][0]["resource"], resource);

    let json_content = [("content-type", "application/json")];
    let put = send("PUT", "/fhir/Binary/own", &json_content, b"{\"a\": [1.0]}").await;
    assert_eq!(put.status(), 201, "JSON that is no Binary is content");
    assert_eq!(send("GET", "/fhir/Binary/own", &[("accept", "*/*")], b"").await.body().as_ref(), b"{\"a\": [1.0]}");
    let fhir = r#"{"resourceType":"Binary","id":"own","contentType":"text/plain","data":"aGkg\naG8="}"#;
    assert_eq!(status(&world, "PUT", "/fhir/Binary/own", fhir).await, 200);
    assert_eq!(send("GET", "/fhir/Binary/own", &[], b"").await.body().as_ref(), b"hi ho");
    for (content_type, expected) in [("", 415), ("application/fhir+xml", 415), ("application/fhir+json", 400)] {
        assert_eq!(
            send("POST", "/fhir/Binary", &[("content-type", content_type)], b"x").await.status(),
            expected,
            "{content_type}"
        );
    }
    assert_eq!(send("POST", "/fhir/Patient", &[("content-type", "text/plain")], b"x").await.status(), 415);
}

// meets smart 17
#[tokio::test]
async fn pages_of_named_origins_may_call_and_no_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = super::world::config(&directory.path().join("data"));
    config.cors = vec!["https://app.example".into(), "http://localhost:3000".into()];
    let world = World::with(directory, config).await;
    let ask = async |method: &str, path: &str, origin: &str| {
        let announced = ("access-control-request-headers", "authorization, content-type, x-medplum");
        let headers = [("origin", origin), ("access-control-request-method", "PUT"), announced];
        world.request(method, path, &headers, b"").await
    };
    let header = |reply: &warp::http::Response<bytes::Bytes>, name: &str| {
        reply.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    let preflight = ask("OPTIONS", "/fhir/Patient/ada", "https://app.example").await;
    assert_eq!((preflight.status().as_u16(), preflight.body().len()), (204, 0), "without a token: browsers send none");
    assert_eq!(header(&preflight, "access-control-allow-origin"), "https://app.example");
    assert!(header(&preflight, "access-control-allow-methods").contains("PUT"));
    assert!(header(&preflight, "access-control-allow-headers").contains("x-medplum"));
    assert_eq!(header(&preflight, "access-control-allow-credentials"), "");
    assert_eq!(header(&preflight, "vary"), "Origin");
    let read = ask("GET", "/healthz", "http://localhost:3000").await;
    assert_eq!(header(&read, "access-control-allow-origin"), "http://localhost:3000");
    for name in ["Location", "ETag", "Last-Modified", "Content-Location", "X-Progress", "Retry-After", "X-Request-Id"] {
        assert!(header(&read, "access-control-expose-headers").contains(name), "{name}");
    }
    let refused = ask("GET", "/fhir/Patient/ada", "https://app.example").await;
    assert_eq!(
        (refused.status(), header(&refused, "access-control-allow-origin").as_str()),
        (401.try_into().unwrap(), "https://app.example")
    );
    let token = ask("OPTIONS", "/auth/token", "https://app.example").await;
    assert_eq!(header(&token, "access-control-allow-origin"), "https://app.example");
    for stranger in ["https://evil.example", "https://app.example.evil", "null"] {
        for path in ["/fhir/Patient/ada", "/healthz"] {
            let reply = ask("GET", path, stranger).await;
            assert_eq!(header(&reply, "access-control-allow-origin"), "", "{stranger}");
        }
        assert_eq!(ask("OPTIONS", "/fhir/Patient/ada", stranger).await.status(), 405);
    }
    let (_, statement) = world.get("/fhir/metadata").await;
    assert_eq!(statement["rest"][0]["security"]["cors"], true);
}

// meets smart 16
#[tokio::test]
async fn what_there_is_may_be_found_out_from_any_origin() {
    let world = World::new().await;
    for path in ["/fhir/metadata", "/fhir/.well-known/smart-configuration", "/.well-known/openid-configuration"] {
        let asked = [("origin", "https://any.example"), ("access-control-request-method", "GET")];
        for (method, status) in [("GET", 200), ("OPTIONS", 204)] {
            let reply = world.request(method, path, &asked, b"").await;
            assert!(reply.status() == status && reply.headers()["access-control-allow-origin"] == "*", "{path}");
        }
    }
}

#[tokio::test]
async fn without_configured_origins_no_page_may_call_and_requests_have_names() {
    let world = World::new().await;
    let ask = async |id: &str| {
        let reply =
            world.request("GET", "/healthz", &[("origin", "https://app.example"), ("x-request-id", id)], b"").await;
        assert!(!reply.headers().contains_key("access-control-allow-origin"));
        reply.headers()["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(ask("my-request.1").await, "my-request.1");
    for odd in ["", "a b", "<script>", &"x".repeat(65)] {
        let made = ask(odd).await;
        assert!(made != odd && made.len() == 36, "{made}");
    }
}

#[tokio::test]
async fn another_version_of_fhir_is_refused() {
    let world = World::new().await;
    assert_eq!(with(&world, "PUT", "/fhir/Patient/ada", &[], ADA).await.0, 201);
    let get = async |accept: &str| {
        let token = format!("Bearer {}", world.token);
        world
            .request("GET", "/fhir/Patient/ada", &[("authorization", &token), ("accept", accept)], b"")
            .await
            .status()
            .as_u16()
    };
    assert_eq!(get("application/fhir+json; fhirVersion=4.0").await, 200);
    assert_eq!(get("application/fhir+json; fhirVersion=5.0").await, 406);
    let token = format!("Bearer {}", world.token);
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json; fhirVersion=5.0")];
    assert_eq!(world.request("POST", "/fhir/Patient", &headers, ADA.as_bytes()).await.status(), 415);
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
    assert_eq!(entries(&patients), pairs(&[("POST", "1"), ("DELETE", "3"), ("PUT", "2"), ("PUT", "1")]));
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
    assert_eq!(seen.len(), entries(&world.get("/fhir/_history").await.1).len() - 1);
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
async fn a_history_tells_what_made_each_version_and_the_server_gives_the_id_of_a_create() {
    let world = World::new().await;
    let (_, created) = world.call("POST", "/fhir/Patient", ADA).await;
    let path = format!("/fhir/Patient/{}", created["id"].as_str().unwrap());
    let token = format!("Bearer {}", world.token);
    let patch = br#"[{"op":"add","path":"/active","value":true}]"#;
    world.request("PATCH", &path, &[("authorization", token.as_str()), JSON_PATCH], patch).await;
    world.call("PUT", &path, &created.to_string()).await;
    world.call("DELETE", &path, "").await;
    world.call("PUT", &path, &created.to_string()).await;
    let (_, history) = world.get(&format!("{path}/_history")).await;
    let told: Vec<String> = history["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |value: &Value| value.as_str().unwrap().replace(created["id"].as_str().unwrap(), "x");
            format!(
                "{} {} {}",
                text(&entry["request"]["method"]),
                text(&entry["request"]["url"]),
                text(&entry["response"]["status"])
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "PUT Patient/x 201 Created",
            "DELETE Patient/x 204 No Content",
            "PUT Patient/x 200 OK",
            "PATCH Patient/x 200 OK",
            "POST Patient 201 Created"
        ]
    );
    let (status, other) = with(&world, "POST", "/fhir/Patient", &[("if-none-exist", "_id=abc")], ADA).await;
    assert!(status == 201 && other["id"] != "abc", "{other}");
    assert_eq!(world.get("/fhir/Patient/abc").await.0, 404);
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
