//! Operations: a record whole, who it could be, the patient summary and report, labels. All people are invented.

use super::emergency;
use super::world::{World, mint};
use bytes::Bytes;
use notary::canonical::Json;
use notary::receipt::Receipt;
use notary::tree::LeafHash;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use warp::http::Response;

async fn put(world: &World, resource: Value) {
    let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    let (status, reply) = world.call("PUT", &path, &resource.to_string()).await;
    assert!(matches!(status, 200 | 201), "{path}: {reply}");
}

async fn get_as(world: &World, scope: &str, path: &str) -> Response<Bytes> {
    let token = format!("Bearer {}", mint(&world.running, scope));
    world.request("GET", path, &[("authorization", token.as_str())], b"").await
}

fn person(id: &str, family: &str, given: &str, born: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family, "given": [given]}], "birthDate": born})
}

fn to(name: &str) -> Value {
    json!({ "reference": name })
}

fn observation(id: &str, patient: &str, day: &str, value: &str) -> Value {
    let number: Value = serde_json::from_str(value).unwrap();
    json!({
        "resourceType": "Observation", "id": id, "status": "final", "subject": to(patient), "encounter": to("Encounter/e1"),
        "code": {"coding": [{"system": "urn:codes", "code": "glucose"}], "text": "Glucose"}, "effectiveDateTime": day,
        "valueQuantity": {"value": number, "unit": "mmol/L"}, "performer": [to("Practitioner/doc")],
    })
}

fn active(name: &str) -> Value {
    json!({"coding": [{"system": format!("http://terminology.hl7.org/CodeSystem/{name}"), "code": "active"}]})
}

/// Ada with a visit and results, Bea beside her, and people who treat them.
async fn ward() -> World {
    let world = World::new().await;
    put(&world, json!({"resourceType": "Organization", "id": "quay", "name": "North Quay"})).await;
    put(&world, json!({"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Okafor"}]})).await;
    put(&world, json!({"resourceType": "PractitionerRole", "id": "role", "practitioner": to("Practitioner/doc"), "organization": to("Organization/quay")})).await;
    put(&world, person("ada", "Novak", "Ada", "1980-02-29")).await;
    put(&world, person("bea", "Novak", "Bea", "1990-01-01")).await;
    put(&world, json!({
        "resourceType": "Encounter", "id": "e1", "status": "finished", "class": {"code": "AMB"}, "subject": to("Patient/ada"),
        "participant": [{"individual": to("PractitionerRole/role")}], "period": {"start": "2024-01-02", "end": "2024-01-03"},
    })).await;
    for (n, value) in ["5.10", "6.2", "7"].iter().enumerate() {
        put(&world, observation(&format!("o{n}"), "Patient/ada", &format!("2024-0{}-02", n + 1), value)).await;
    }
    put(&world, json!({
        "resourceType": "Condition", "id": "c1", "subject": to("Patient/ada"), "code": {"text": "Asthma <script>alert(1)</script>"},
        "clinicalStatus": active("condition-clinical"),
    })).await;
    // Bea's, but in Ada's compartment too: she told it.
    put(&world, json!({
        "resourceType": "AllergyIntolerance", "id": "nuts", "patient": to("Patient/bea"), "recorder": to("Patient/ada"),
        "code": {"text": "Peanuts"}, "clinicalStatus": active("allergyintolerance-clinical"),
    })).await;
    put(&world, observation("other", "Patient/bea", "2024-01-01", "4")).await;
    world
}

/// Type and id of the entries of a mode.
fn entries(bundle: &Value, mode: &str) -> Vec<String> {
    let list = bundle["entry"].as_array().map_or(&[][..], Vec::as_slice);
    let of_mode = list.iter().filter(|e| e["search"]["mode"] == mode);
    of_mode
        .map(|e| {
            format!(
                "{}/{}",
                e["resource"]["resourceType"].as_str().unwrap(),
                e["resource"]["id"].as_str().unwrap_or("")
            )
        })
        .collect()
}

fn next(bundle: &Value) -> Option<String> {
    let link = bundle["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next")?;
    Some(format!("/fhir{}", link["url"].as_str().unwrap().split_once("/fhir").unwrap().1))
}

const ADAS: [&str; 7] = [
    "Patient/ada",
    "AllergyIntolerance/nuts",
    "Condition/c1",
    "Encounter/e1",
    "Observation/o0",
    "Observation/o1",
    "Observation/o2",
];

#[tokio::test]
async fn everything_is_the_whole_record_and_nobody_elses() {
    let world = ward().await;
    let (status, bundle) = world.get("/fhir/Patient/ada/$everything").await;
    assert_eq!((status, &bundle["total"]), (200, &json!(7)));
    assert_eq!(entries(&bundle, "match"), ADAS);
    let referred: BTreeSet<String> = entries(&bundle, "include").into_iter().collect();
    assert_eq!(referred, ["Organization/quay", "Practitioner/doc", "PractitionerRole/role"].map(str::to_owned).into());
    let (_, visit) = world.get("/fhir/Encounter/e1/$everything").await;
    assert_eq!(
        entries(&visit, "match"),
        ["Encounter/e1", "Observation/o0", "Observation/o1", "Observation/o2", "Observation/other"]
    );
    assert!(entries(&visit, "include").contains(&"Patient/ada".to_owned()));
    assert!(!entries(&visit, "include").contains(&"Patient/bea".to_owned()), "whom the visit is not of");
    let posted = json!({"resourceType": "Parameters", "parameter": [{"name": "_type", "valueString": "Condition,Practitioner"}]});
    let (_, few) = world.call("POST", "/fhir/Patient/ada/$everything", &posted.to_string()).await;
    assert_eq!(entries(&few, "match"), ["Condition/c1"]);
    let (_, spring) = world.get("/fhir/Patient/ada/$everything?start=2024-02-01&end=2024-02-28").await;
    assert_eq!(entries(&spring, "match"), ["Patient/ada", "AllergyIntolerance/nuts", "Condition/c1", "Observation/o1"]);
}

#[tokio::test]
async fn pages_show_each_resource_once_and_nothing_later() {
    let world = ward().await;
    for count in [1, 2, 3, 6] {
        let (mut seen, mut path) = (Vec::new(), format!("/fhir/Patient/ada/$everything?_count={count}"));
        loop {
            let (status, page) = world.get(&path).await;
            assert_eq!(status, 200, "{page}");
            assert!(entries(&page, "match").len() <= count);
            seen.extend(entries(&page, "match"));
            let Some(following) = next(&page) else { break };
            assert!(!following.contains("_count"), "all is in the cursor: {following}");
            path = following;
            if count == 2 {
                put(&world, observation("late", "Patient/ada", "2024-05-05", "9")).await;
            }
        }
        let late = usize::from(count > 2);
        assert_eq!(seen.len(), ADAS.len() + late, "{count}: {seen:?}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), seen.len());
    }
    let (_, first) = world.get("/fhir/Patient/ada/$everything?_count=2").await;
    let cursor = next(&first).unwrap();
    assert_eq!(world.get(&cursor.replace("Patient/ada", "Patient/bea")).await.0, 400, "another's cursor");
    assert_eq!(world.get(&cursor.replace("/ada/$everything", "")).await.0, 400, "no cursor of a search");
}

#[tokio::test]
async fn everything_since_a_moment_is_what_changed() {
    let world = ward().await;
    let (_, c1) = world.get("/fhir/Condition/c1").await;
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    put(&world, observation("o1", "Patient/ada", "2024-02-02", "6.25")).await;
    let (_, o1) = world.get("/fhir/Observation/o1").await;
    assert_ne!(c1["meta"]["lastUpdated"], o1["meta"]["lastUpdated"]);
    let since = o1["meta"]["lastUpdated"].as_str().unwrap();
    let (_, bundle) = world.get(&format!("/fhir/Patient/ada/$everything?_since={since}")).await;
    assert_eq!(entries(&bundle, "match"), ["Observation/o1"]);
}

#[tokio::test]
async fn who_may_not_read_gets_nothing_and_is_told() {
    let world = ward().await;
    for (path, expected) in [
        ("/fhir/Patient/nobody/$everything", 404),
        ("/fhir/Observation/o1/$everything", 404),
        ("/fhir/Patient/ada/$everything?_elements=id", 400),
        ("/fhir/Patient/ada/$everything?_type=Nothing", 400),
        ("/fhir/Patient/ada/$everything?start=soon", 400),
        ("/fhir/Patient/ada/$everything?_cursor=x", 400),
        ("/fhir/Patient/nobody/$summary", 404),
        ("/fhir/Patient/ada/$summary?profile=urn:other", 400),
        ("/fhir/Patient/nobody/$report", 404),
        ("/fhir/Patient/ada/$report?style=pink", 400),
    ] {
        assert_eq!(world.get(path).await.0, expected, "{path}");
    }
    for operation in ["$everything", "$summary", "$report"] {
        let path = format!("/fhir/Patient/ada/{operation}");
        assert_eq!(get_as(&world, "system/Observation.rs", &path).await.status(), 403, "{path}");
    }
    let few = get_as(&world, "system/Patient.rs system/Observation.rs", "/fhir/Patient/ada/$everything").await;
    let few: Value = serde_json::from_slice(few.body()).unwrap();
    assert_eq!(entries(&few, "match"), ["Patient/ada", "Observation/o0", "Observation/o1", "Observation/o2"]);
    assert_eq!(entries(&few, "include"), [""; 0], "no practitioner");
    assert!(few.to_string().contains("left out, because the token's scopes do not allow"), "{few}");
    let page = get_as(&world, "system/Patient.rs system/Observation.rs", "/fhir/Patient/ada/$report").await;
    let page = String::from_utf8(page.body().to_vec()).unwrap();
    assert!(page.contains("may not see it: AllergyIntolerance, CarePlan, Condition") && !page.contains("Asthma"));
    assert_eq!(world.call("DELETE", "/fhir/Patient/ada", "").await.0, 204);
    for operation in ["$everything", "$summary", "$report"] {
        assert_eq!(world.get(&format!("/fhir/Patient/ada/{operation}")).await.0, 410);
    }
}

async fn ask(world: &World, patient: &Value, more: &[Value]) -> (u16, Value) {
    let mut parameter = vec![json!({"name": "resource", "resource": patient})];
    parameter.extend_from_slice(more);
    let body = json!({"resourceType": "Parameters", "parameter": parameter});
    world.call("POST", "/fhir/Patient/$match", &body.to_string()).await
}

/// Id, grade and score of each match.
fn matches(bundle: &Value) -> Vec<(String, String, String)> {
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let list =
        bundle["entry"].as_array().map_or(&[][..], Vec::as_slice).iter().filter(|e| e["search"]["mode"] == "match");
    list.map(|e| {
        assert_eq!(e["search"]["extension"][0]["url"], "http://hl7.org/fhir/StructureDefinition/match-grade");
        (text(&e["resource"]["id"]), text(&e["search"]["extension"][0]["valueCode"]), e["search"]["score"].to_string())
    })
    .collect()
}

fn expected(list: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    list.iter().map(|(id, grade, score)| ((*id).into(), (*grade).into(), (*score).into())).collect()
}

#[tokio::test]
async fn match_grades_whom_it_finds_and_changes_nothing() {
    let world = World::new().await;
    let numbered = |mut patient: Value, value: &str| {
        patient["identifier"] = json!([{"system": "urn:mrn", "value": value}]);
        patient
    };
    put(&world, numbered(person("ada", "Nováková", "Ada", "1980-02-09"), "1")).await;
    put(&world, person("slip", "Novakova", "Ada", "1980-09-02")).await;
    put(&world, numbered(person("rival", "Novakova", "Ada", "1980-02-09"), "9")).await;
    put(&world, person("other", "Smith", "Jan", "1980-02-09")).await;
    let by_name = person("x", "NOVAKOVA", "ada", "1980-02-09");
    let (status, found) = ask(&world, &by_name, &[]).await;
    assert_eq!((status, &found["total"]), (200, &json!(3)), "{found}");
    assert_eq!(
        matches(&found),
        expected(&[("ada", "probable", "0.80"), ("rival", "probable", "0.80"), ("slip", "possible", "0.65")])
    );
    let (_, alone) = world.call("POST", "/fhir/Patient/$match?count=2", &by_name.to_string()).await;
    assert_eq!(matches(&alone), matches(&found)[..2], "without Parameters around it");
    let by_number = numbered(by_name.clone(), "1");
    let found = matches(&ask(&world, &by_number, &[]).await.1);
    assert_eq!(
        found,
        expected(&[("ada", "certain", "1.00"), ("slip", "possible", "0.65"), ("rival", "possible", "0.50")])
    );
    let certain = json!({"name": "onlyCertainMatches", "valueBoolean": true});
    assert_eq!(matches(&ask(&world, &by_number, std::slice::from_ref(&certain)).await.1).len(), 1);
    assert_eq!(matches(&ask(&world, &by_name, std::slice::from_ref(&certain)).await.1).len(), 0);
    assert_eq!(matches(&ask(&world, &by_name, &[json!({"name": "count", "valueInteger": 1})]).await.1).len(), 1);
    put(&world, numbered(person("twice", "Novak", "Ada", "1980-02-09"), "1")).await;
    let (_, several) = ask(&world, &by_number, &[certain]).await;
    assert_eq!(several["total"], 0, "which of the two is not certain");
    assert!(several.to_string().contains("several patients match for certain"));
    let (_, history) = world.get("/fhir/Patient/_history").await;
    assert_eq!(history["entry"].as_array().unwrap().len(), 5, "nothing was written");
}

#[tokio::test]
async fn match_takes_a_patient_and_nothing_else() {
    let world = World::new().await;
    let ada = person("x", "Novak", "Ada", "1980");
    assert_eq!(world.call("POST", "/fhir/Patient/$match", &ada.to_string()).await.0, 200, "or alone");
    let group = json!({"resourceType": "Group", "type": "person", "actual": true});
    let (status, outcome) = world.call("POST", "/fhir/Patient/$match", &group.to_string()).await;
    assert_eq!(status, 400);
    assert!(outcome.to_string().contains("parameter `resource`"), "{outcome}");
    for (parameter, expected) in [
        (json!([]), 400),
        (json!([{"name": "resource", "resource": group}]), 400),
        (json!([{"name": "resource", "resource": {"resourceType": "Patient", "shoeSize": 38}}]), 422),
        (json!([{"name": "resource", "resource": ada}, {"name": "count", "valueString": "many"}]), 400),
        (json!([{"name": "resource", "resource": ada}, {"name": "merge", "valueBoolean": true}]), 400),
    ] {
        let body = json!({"resourceType": "Parameters", "parameter": parameter});
        assert_eq!(world.call("POST", "/fhir/Patient/$match", &body.to_string()).await.0, expected, "{body}");
    }
    assert_eq!(world.get("/fhir/Patient/$match").await.0, 405);
    assert_eq!(world.get("/fhir/Group/$match").await.0, 404);
}

#[tokio::test]
async fn each_operation_of_the_capability_statement_answers() {
    let world = ward().await;
    let (_, statement) = world.get("/fhir/metadata").await;
    let types = statement["rest"][0]["resource"].as_array().unwrap();
    let patient = types.iter().find(|t| t["type"] == "Patient").unwrap();
    for operation in patient["operation"].as_array().unwrap() {
        let name = operation["name"].as_str().unwrap();
        let status = match name {
            "match" => ask(&world, &person("x", "Novak", "Ada", "1980-02-29"), &[]).await.0,
            // Of all patients, and only where it is asked to take its time: it is there.
            "export" => world.call("DELETE", "/fhir/Patient/$export", "").await.0,
            // Declared before it is ended: so they are listed.
            "emergency-access" => emergency::declare(&world, "Practitioner/x", "ada").await.0 - 1,
            "end-emergency-access" => emergency::end(&world, "Practitioner/x", "ada").await,
            "meta-add" | "meta-delete" => world.call("POST", &format!("/fhir/Patient/ada/${name}"), LABEL).await.0,
            "receipt" => {
                world.anchored_receipt("/fhir/Patient/ada/$receipt").await;
                200
            }
            name => {
                let asked = if name == "explain-access" { "?actor=Practitioner/x" } else { "" };
                let posted = world.call("POST", &format!("/fhir/Patient/ada/${name}{asked}"), "").await.0;
                assert_eq!(posted, 200, "{name}: each operation is invoked by POST, too");
                world.get(&format!("/fhir/Patient/ada/${name}{asked}")).await.0
            }
        };
        assert!(status == 200 || (name == "export" && status == 405), "{name}: {status}");
    }
    let names: Vec<&str> =
        patient["operation"].as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"report") && names.contains(&"receipt"), "{names:?}");
    assert_eq!(world.get("/fhir/metadata").await.1["date"], statement["date"], "of the start, and not of the request");
}

#[tokio::test]
async fn docref_gives_the_documents_of_a_patient() {
    let world = World::new().await;
    let document = |id: &str, status: &str, code: &str, date: &str, more: &str| {
        format!(
            r#"{{"resourceType":"DocumentReference","id":"{id}","status":"{status}","subject":{{"reference":"Patient/ada"}},"date":"{date}",
            "type":{{"coding":[{{"system":"http://loinc.org","code":"{code}"}}]}},"content":[{{"attachment":{{"contentType":"text/plain"}}}}]{more}}}"#
        )
    };
    let winter = r#","context":{"period":{"start":"2025-12-01","end":"2026-01-10"}}"#;
    for (id, status, code, date, more) in [
        ("old", "current", "34133-9", "2024-05-01T10:00:00Z", ""),
        ("new", "current", "34133-9", "2026-02-01T10:00:00Z", winter),
        ("note", "current", "11506-3", "2026-03-01T10:00:00Z", r#","meta":{"profile":["http://p"]}"#),
        ("wrong", "entered-in-error", "34133-9", "2026-04-01T10:00:00Z", ""),
    ] {
        world.call("PUT", &format!("/fhir/DocumentReference/{id}"), &document(id, status, code, date, more)).await;
    }
    let ids = |bundle: &Value| -> Vec<String> {
        let found = bundle["entry"].as_array().into_iter().flatten().filter(|e| e["search"]["mode"] == "match");
        found.map(|e| e["resource"]["id"].as_str().unwrap().to_owned()).collect()
    };
    for (query, expected) in [
        ("patient=ada", vec!["note"]),
        ("patient=Patient/ada&type=http://loinc.org%7C34133-9", vec!["new"]),
        ("patient=ada&start=2020", vec!["note", "new", "old"]),
        ("patient=ada&start=2025-12-31&end=2026-01", vec!["new"]),
        ("patient=ada&end=2025", vec!["new", "old"]),
        ("patient=ada&profile=http://p", vec!["note"]),
        ("patient=ada&start=2020&on-demand=true", vec![]),
        ("patient=bea", vec![]),
    ] {
        let (status, found) = world.get(&format!("/fhir/DocumentReference/$docref?{query}")).await;
        assert_eq!((status, ids(&found)), (200, expected.iter().map(|s| (*s).to_owned()).collect()), "{query}");
    }
    let posted = json!({"resourceType": "Parameters", "parameter": [{"name": "patient", "valueId": "ada"},
        {"name": "type", "valueCodeableConcept": {"coding": [{"system": "http://loinc.org", "code": "34133-9"}]}}]});
    let (status, found) = world.call("POST", "/fhir/DocumentReference/$docref", &posted.to_string()).await;
    assert_eq!((status, ids(&found)), (200, vec!["new".to_owned()]));
    for query in ["", "patient=", "patient=ada&start=soon", "patient=ada&colour=red"] {
        assert_eq!(world.get(&format!("/fhir/DocumentReference/$docref?{query}")).await.0, 400, "{query}");
    }
}

const LABEL: &str = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"code":"x"}]}}]}"#;

#[tokio::test]
async fn what_is_no_operation_here_is_told_by_name() {
    let world = World::new().await;
    for (path, part) in [
        ("/fhir/Patient/$everything", "Patient/[id]/$everything"),
        ("/fhir/Patient/ada/$lastn", "$lastn: not an operation"),
        ("/fhir/ValueSet/$expand", "$expand: not an operation"),
        ("/fhir/$nothing", "$nothing: not an operation"),
    ] {
        for method in ["GET", "POST"] {
            let (status, outcome) = world.call(method, path, "").await;
            let text = outcome["issue"][0]["details"]["text"].as_str().unwrap();
            assert!(status == 404 && text.contains(part), "{path}: {text}");
        }
    }
}

// meets smart 30 372 374 377 380
#[tokio::test]
async fn the_smart_configuration_is_public_and_names_what_there_is() {
    let world = World::new().await;
    for path in ["/.well-known/smart-configuration", "/fhir/.well-known/smart-configuration"] {
        let reply = world.request("GET", path, &[("accept", "text/html")], b"").await;
        assert_eq!(reply.headers()["content-type"], "application/json", "whatever is asked for");
        let told: Value = serde_json::from_slice(reply.body()).unwrap();
        assert!(reply.status() == 200 && told["capabilities"].as_array().unwrap().contains(&json!("permission-v2")));
        let endpoints = ["token_endpoint", "introspection_endpoint", "revocation_endpoint"];
        let named: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
        let pages = ["authorization_endpoint", "management_endpoint"];
        let known = |key: &&&str| endpoints.contains(*key) || pages.contains(*key);
        assert!(named.iter().filter(|key| key.ends_with("_endpoint")).all(|key| known(&key)), "{told}");
        for name in endpoints {
            let path = told[name].as_str().unwrap().strip_prefix(world.running.app.core.base.trim_end_matches("/fhir"));
            assert_eq!(world.request("POST", path.unwrap(), &[], b"").await.status(), 400, "{name}: no form");
        }
    }
}

// meets smart 228 285 286 287 288 289 348 350 373 378 381 382 383 384 385 393 394
#[tokio::test]
async fn the_smart_configuration_says_what_smart_asks_for() {
    let world = World::new().await;
    let reply = world.request("GET", "/fhir/.well-known/smart-configuration", &[], b"").await;
    let told: Value = serde_json::from_slice(reply.body()).unwrap();
    let issuer = world.running.app.core.base.trim_end_matches("/fhir");
    for (name, value) in [
        ("issuer", issuer.to_owned()),
        ("jwks_uri", format!("{issuer}/auth/jwks")),
        ("authorization_endpoint", format!("{issuer}/auth/authorize")),
        ("token_endpoint", format!("{issuer}/auth/token")),
    ] {
        assert_eq!(told[name], value);
    }
    let uris =
        told.as_object().unwrap().iter().filter(|(name, _)| name.ends_with("_endpoint") || name.ends_with("_uri"));
    assert!(uris.clone().count() == 6 && uris.into_iter().all(|(_, uri)| uri.as_str().unwrap().starts_with("http://")));
    assert_eq!(told["grant_types_supported"], json!(["authorization_code", "refresh_token", "client_credentials"]));
    assert_eq!(told["token_endpoint_auth_methods_supported"], json!(["private_key_jwt", "none"]), "no shared secrets");
    assert_eq!(told["token_endpoint_auth_signing_alg_values_supported"], json!(["RS384", "ES384"]));
    assert_eq!(told["code_challenge_methods_supported"], json!(["S256"]), "and not plain");
    assert!(told["scopes_supported"].as_array().unwrap().contains(&json!("system/*.cruds")));
    // Apps of patients and of clinicians, standalone and opened from a record: the sets of section 8.1.1.
    let all = told["capabilities"].as_array().unwrap();
    for capability in [
        "launch-standalone",
        "launch-ehr",
        "context-ehr-patient",
        "context-ehr-encounter",
        "client-public",
        "client-confidential-asymmetric",
        "context-standalone-patient",
        "permission-patient",
        "permission-user",
    ] {
        assert!(all.contains(&json!(capability)), "{capability}");
    }
}

/// Every literal reference.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(members) => members.iter().for_each(|(name, value)| match value.as_str() {
            Some(text) if name == "reference" => found.push(text.to_owned()),
            _ => references(value, found),
        }),
        _ => {}
    }
}

#[tokio::test]
async fn a_summary_is_a_closed_document_of_the_patients_own() {
    let world = ward().await;
    let (status, document) = world.get("/fhir/Patient/ada/$summary").await;
    assert_eq!((status, &document["type"]), (200, &json!("document")));
    let list = document["entry"].as_array().unwrap();
    let urls: Vec<&str> = list.iter().map(|e| e["fullUrl"].as_str().unwrap()).collect();
    let mut found = Vec::new();
    references(&document, &mut found);
    for reference in &found {
        assert!(urls.iter().any(|url| url == reference || url.ends_with(&format!("/fhir/{reference}"))), "{reference}");
    }
    let titles: Vec<&str> =
        list[0]["resource"]["section"].as_array().unwrap().iter().map(|s| s["title"].as_str().unwrap()).collect();
    assert_eq!(titles, ["Problems", "Allergies and intolerances", "Medications", "Results"]);
    let text = document.to_string();
    assert!(text.contains("no-allergy-info") && !text.contains("Peanuts"), "Bea's allergy is not Ada's");
    assert!(text.contains("Asthma &lt;script&gt;") && text.contains("5.10"));
    let kept = list.iter().find(|e| e["resource"]["id"] == "o0").unwrap();
    assert_eq!(
        kept["resource"],
        world.get("/fhir/Observation/o0").await.1,
        "as it is stored, so that its receipt holds"
    );
    assert_eq!(document["meta"]["profile"][0], "http://hl7.org/fhir/uv/ips/StructureDefinition/Bundle-uv-ips");
    let checked = bridge::fhir::validate::validate(Json::parse(document.to_string().as_bytes()).unwrap());
    assert_eq!(checked.err(), None);
}

#[tokio::test]
async fn a_report_is_one_inert_page_that_can_be_verified() {
    let world = ward().await;
    world.anchored_receipt("/fhir/Observation/other/$receipt").await;
    let reply = get_as(&world, "system/*.rs", "/fhir/Patient/ada/$report?_pretty=true").await;
    let page = String::from_utf8(reply.body().to_vec()).unwrap();
    let policy = reply.headers()["content-security-policy"].to_str().unwrap();
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = base64(&notary::commitment::Digest::of(style.as_bytes()).0);
    assert!(
        policy.contains(&format!("style-src 'sha256-{hash}'")) && policy.starts_with("default-src 'none'"),
        "{policy}"
    );
    assert!(!page.contains("<script") && page.contains("Asthma &lt;script&gt;"));
    assert!(page.contains("<svg") && page.contains("Glucose, mmol/L") && page.contains(">5.10 mmol/L<"));
    let lines = page.split_once("<pre>").unwrap().1.split_once("</pre>").unwrap().0;
    assert_eq!(lines.lines().count(), 5, "{lines}");
    for line in lines.lines() {
        let (version, leaf) = line.split_once(' ').unwrap();
        let receipt = world.bytes(&format!("/fhir/{version}/$receipt")).await;
        let receipt = Receipt::parse(&receipt).unwrap();
        let entry = hex::decode(&receipt.entry).unwrap();
        assert_eq!(hex::encode(LeafHash::of_bytes(&entry).0), leaf, "{version}");
    }
    assert!(page.contains(&notary::commitment::Digest::of(lines.as_bytes()).to_string()));
}

#[tokio::test]
async fn a_report_for_programs_is_the_document_behind_the_page() {
    let world = ward().await;
    let token = format!("Bearer {}", world.token);
    let get = async |accept: &str| {
        let headers = [("authorization", token.as_str()), ("accept", accept)];
        world.request("GET", "/fhir/Patient/ada/$report", &headers, b"").await
    };
    for accept in ["application/fhir+json", "application/fhir+json, */*; q=0.1"] {
        let reply = get(accept).await;
        let document: Value = serde_json::from_slice(reply.body()).unwrap();
        assert_eq!((reply.status().as_u16(), &document["type"]), (200, &json!("document")), "{accept}");
        assert_eq!(document["entry"][0]["resource"]["resourceType"], "Composition");
    }
    for accept in ["text/html", "*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"] {
        let reply = get(accept).await;
        assert!(reply.headers()["content-type"].to_str().unwrap().starts_with("text/html"), "{accept}");
    }
    let refused = get("application/pdf").await;
    let text = String::from_utf8(refused.body().to_vec()).unwrap();
    assert!(refused.status() == 406 && text.contains("text/html") && text.contains("application/fhir+json"), "{text}");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

async fn label(world: &World, operation: &str, meta: Value) -> (u16, Value) {
    let body = json!({"resourceType": "Parameters", "parameter": [{"name": "meta", "valueMeta": meta}]});
    world.call("POST", &format!("/fhir/Patient/ada/{operation}"), &body.to_string()).await
}

#[tokio::test]
async fn labels_are_put_on_and_taken_off_by_versions() {
    let world = World::new().await;
    put(&world, person("ada", "Novak", "Ada", "1980")).await;
    let tag = json!({"tag": [{"system": "urn:ward", "code": "7"}]});
    for (operation, version, tags) in
        [("$meta-add", "2", 1), ("$meta-add", "2", 1), ("$meta-delete", "3", 0), ("$meta-delete", "3", 0)]
    {
        let (status, reply) = label(&world, operation, tag.clone()).await;
        let meta = &reply["parameter"][0]["valueMeta"];
        assert_eq!((status, meta["versionId"].as_str()), (200, Some(version)), "{reply}");
        assert_eq!(meta["tag"].as_array().map_or(0, Vec::len), tags);
        assert_eq!(world.get("/fhir/Patient/ada/$meta").await.1, reply);
    }
    let (_, ada) = world.get("/fhir/Patient/ada").await;
    assert_eq!(ada["name"][0]["family"], "Novak");
    assert_eq!(world.get("/fhir/Patient/ada/_history/2").await.1["meta"]["tag"][0]["code"], "7", "and so it stays");
    for (meta, expected) in [(json!({"versionId": "9"}), 400), (json!({}), 400), (json!({"tag": ["x"]}), 422)] {
        assert_eq!(label(&world, "$meta-add", meta.clone()).await.0, expected, "{meta}");
    }
    let calls =
        (0..8).map(|n| label(&world, "$meta-add", json!({"tag": [{"system": "urn:n", "code": n.to_string()}]})));
    let calls: Vec<_> = calls.collect();
    let done = futures_util::future::join_all(calls).await;
    assert!(done.iter().all(|(status, _)| *status == 200), "{done:?}");
    let (_, meta) = world.get("/fhir/Patient/ada/$meta").await;
    assert_eq!(meta["parameter"][0]["valueMeta"]["tag"].as_array().unwrap().len(), 8, "none is lost");
    assert_eq!(get_as(&world, "system/Observation.rs", "/fhir/Patient/ada/$meta").await.status(), 403);
    assert_eq!(world.get("/fhir/Patient/nobody/$meta").await.0, 404);
}
