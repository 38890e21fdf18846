//! `$validate`: what is found is told with its place, and nothing is stored.

use super::world::{World, config, mint};
use serde_json::{Value, json};

/// `severity expression` of each issue.
fn issues(outcome: &Value) -> Vec<String> {
    assert_eq!(outcome["resourceType"], "OperationOutcome", "{outcome}");
    let one = |issue: &Value| {
        let place = issue["expression"][0].as_str().unwrap_or("");
        format!("{} {place}", issue["severity"].as_str().unwrap()).trim_end().to_owned()
    };
    outcome["issue"].as_array().unwrap().iter().map(one).collect()
}

const ENCOUNTER: &str = r#"{"resourceType":"Encounter","status":"finished","class":{"code":"AMB"},
    "text":{"status":"generated","div":"<div>x</div>"},"period":{"start":"2026-03-02","end":"2026-03-01"}}"#;

#[tokio::test]
async fn what_is_found_is_told_and_nothing_is_stored() {
    let world = World::new().await;
    let good = ENCOUNTER.replace("2026-03-01", "2026-03-03");
    for (path, body, expected) in [
        ("/fhir/Encounter/$validate", good.as_str(), vec!["information"]),
        ("/fhir/Encounter/$validate", ENCOUNTER, vec!["error Encounter.period"]),
        ("/fhir/Patient/$validate", good.as_str(), vec!["error resourceType"]),
        ("/fhir/Encounter/$validate?mode=update", good.as_str(), vec!["error Encounter.id"]),
        ("/fhir/Encounter/$validate?profile=urn:x", good.as_str(), vec!["error Encounter"]),
        (
            "/fhir/Patient/$validate",
            r#"{"resourceType":"Patient","Gender":"male","name":{"family":""},"contact":[{"gender":"x"}]}"#,
            vec![
                "error Patient.Gender",
                "error Patient.name",
                "error Patient.contact[0].gender",
                "error Patient.contact[0]",
                "warning Patient",
            ],
        ),
        ("/fhir/Patient/$validate", r#"{"resourceType":"Klingon"}"#, vec!["error resourceType"]),
        ("/fhir/Patient/$validate", "{}", vec!["error"]),
    ] {
        let (status, outcome) = world.call("POST", path, body).await;
        assert_eq!((status, issues(&outcome)), (200, expected.iter().map(|e| (*e).to_owned()).collect()), "{outcome}");
    }
    assert_eq!(world.get("/fhir/Encounter").await.1["total"], 0);
}

#[tokio::test]
async fn parameters_and_stored_resources_are_taken() {
    let world = World::new().await;
    let (_, patient) = world.call("POST", "/fhir/Patient", r#"{"resourceType":"Patient","active":true}"#).await;
    let path = format!("/fhir/Patient/{}/$validate", patient["id"].as_str().unwrap());
    for (method, body) in [("GET", String::new()), ("POST", String::new()), ("POST", patient.to_string())] {
        let (status, outcome) = world.call(method, &path, &body).await;
        assert_eq!((status, issues(&outcome)), (200, vec!["warning Patient".to_owned()]), "no narrative: {outcome}");
    }
    let (status, outcome) = world.call("POST", &format!("{path}?mode=delete"), "").await;
    assert_eq!((status, issues(&outcome)), (200, vec!["information".to_owned()]));
    let other = patient.to_string().replace(patient["id"].as_str().unwrap(), "other");
    assert!(issues(&world.call("POST", &path, &other).await.1).contains(&"error Patient.id".to_owned()));
    let question = json!({"resourceType": "Parameters", "parameter": [
        {"name": "resource", "resource": {"resourceType": "Patient", "gender": "x"}},
        {"name": "mode", "valueCode": "create"},
        {"name": "profile", "valueUri": "urn:x"},
    ]});
    let (_, outcome) = world.call("POST", "/fhir/Patient/$validate", &question.to_string()).await;
    assert_eq!(issues(&outcome), ["error Patient.gender", "error Patient", "warning Patient"]);
    let parameters = r#"{"resourceType":"Parameters","parameter":[{"name":"x"}]}"#;
    let (_, outcome) = world.call("POST", "/fhir/Parameters/$validate", parameters).await;
    assert_eq!(issues(&outcome), ["error Parameters.parameter[0]"], "Parameters can be validated themselves");
}

#[tokio::test]
async fn references_to_what_is_not_here_are_warned_of() {
    let world = World::new().await;
    let (_, patient) = world.call("POST", "/fhir/Patient", r#"{"resourceType":"Patient","active":true}"#).await;
    let observation = |subject: &str| {
        json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": {"reference": subject},
            "text": {"status": "generated", "div": "<div>x</div>"}})
        .to_string()
    };
    let here = observation(&format!("Patient/{}", patient["id"].as_str().unwrap()));
    let (_, outcome) = world.call("POST", "/fhir/Observation/$validate", &here).await;
    assert_eq!(issues(&outcome), ["information"]);
    let (_, outcome) = world.call("POST", "/fhir/Observation/$validate", &observation("Patient/none")).await;
    assert_eq!(issues(&outcome), ["warning Observation.subject.reference"]);
    // Who may not read patients learns nothing of them.
    let token = format!("Bearer {}", mint(&world.running, "system/Observation.r"));
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let body = observation("Patient/none");
    let reply = world.request("POST", "/fhir/Observation/$validate", &headers, body.as_bytes()).await;
    assert_eq!(issues(&serde_json::from_slice(reply.body()).unwrap()), ["information"]);
    let reply = world.request("POST", "/fhir/Patient/$validate", &headers, b"{}").await;
    assert_eq!(reply.status(), 403);
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_refused() {
    let world = World::new().await;
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (method, path, body, expected) in [
        ("POST", "/fhir/Patient/$validate", "{", 400),
        ("POST", "/fhir/Patient/$validate", deep.as_str(), 400),
        ("POST", "/fhir/Patient/$validate", r#"{"resourceType":"Patient","id":"1","id":"2"}"#, 400),
        ("POST", "/fhir/Patient/$validate", "", 400),
        ("POST", "/fhir/Patient/$validate?mode=x", "{}", 400),
        ("GET", "/fhir/Patient/$validate", "", 405),
        ("GET", "/fhir/Patient/none/$validate", "", 404),
        ("POST", "/fhir/Klingon/$validate", "{}", 404),
    ] {
        let (status, outcome) = world.call(method, path, body).await;
        assert_eq!((status, &outcome["resourceType"]), (expected, &json!("OperationOutcome")), "{method} {path}");
    }
}

#[tokio::test]
async fn configured_profiles_are_checked() {
    let directory = tempfile::tempdir().unwrap();
    let profiles = directory.path().join("profiles");
    std::fs::create_dir(&profiles).unwrap();
    let profile = json!({"resourceType": "StructureDefinition", "url": "urn:named", "type": "Patient", "snapshot": {"element": [
        {"id": "Patient", "path": "Patient", "min": 0, "max": "*"},
        {"id": "Patient.name", "path": "Patient.name", "min": 1, "max": "*", "base": {"path": "Patient.name", "min": 0, "max": "*"}},
    ]}});
    std::fs::write(profiles.join("named.json"), profile.to_string()).unwrap();
    let mut config = config(&directory.path().join("data"));
    config.validation.profiles = Some(profiles);
    let world = World::with(directory, config).await;
    let patient = r#"{"resourceType":"Patient","meta":{"profile":["urn:named","urn:other"]}}"#;
    let (_, outcome) = world.call("POST", "/fhir/Patient/$validate", patient).await;
    assert_eq!(issues(&outcome), ["error Patient.name", "warning Patient", "information Patient.meta.profile[1]"]);
    let (status, _) = world.call("POST", "/fhir/Patient", patient).await;
    assert_eq!(status, 201, "a write is not held to profiles");
    let (_, outcome) = world
        .call("POST", "/fhir/Patient/$validate?profile=urn:named", r#"{"resourceType":"Patient","active":true}"#)
        .await;
    assert_eq!(issues(&outcome)[0], "error Patient.name");
}

/// Errors that are not ours to mend: the expression's end and the words of the issue, with the reason.
const KNOWN: &[(&str, &str)] = &[
    // Senders say so: what they sent is kept, and who asks is told.
    ("eriod", "start SHALL have a lower value than end"),
];

/// The HL7 v2 files of a folder and of those inside it.
fn messages(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_message = |path: &std::path::PathBuf| path.extension().is_some_and(|e| e == "hl7" || e == "txt");
    let mut found: Vec<_> = entries.flat_map(|p| if p.is_dir() { messages(&p) } else { vec![p] }).collect();
    found.retain(is_message);
    found.sort();
    found
}

/// The errors of `$validate` in what comes out of a message, without the numbers of places; none where it is refused.
fn errors(set: &mappings::maps::MapSet, text: &str, zone: Option<&jiff::tz::TimeZone>) -> Vec<String> {
    use bridge::fhir::validate::{Severity, examine};
    let now = "2026-03-01T12:00:00.000Z";
    let context = mappings::engine::Context { charset: mappings::charset::Charset::Utf8, zone, now };
    let Ok(message) = mappings::parse::Message::parse(text) else { return Vec::new() };
    let Ok(mapped) = mappings::engine::map(set, &message, &context) else { return Vec::new() };
    let resources = mapped.drafts.iter().map(|draft| mapped.json(draft));
    let json = resources.map(|text| notary::canonical::Json::parse(text.as_bytes()).unwrap());
    let findings = json.flat_map(|json| examine(&json).into_sorted());
    let told = findings.filter(|(severity, _)| *severity == Severity::Error).map(|(_, issue)| {
        format!("{} {}", issue.expression.unwrap_or_default(), issue.text).replace(|c: char| c.is_ascii_digit(), "")
    });
    told.filter(|told| !KNOWN.iter().any(|(place, words)| told.contains(place) && told.contains(words))).collect()
}

#[test]
fn what_the_maps_make_is_valid_by_the_standards_invariants() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.ancestors().map(|folder| folder.join("shared/corpora/hl7v2")).find(|folder| folder.is_dir());
    let corpora = found.as_deref().map(messages).unwrap_or_default();
    let set = mappings::maps::MapSet::embedded().unwrap();
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
    let mut found = std::collections::BTreeMap::<String, (usize, String)>::new();
    for path in messages(&here.join("../mappings/cases")).into_iter().chain(corpora) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for message in mappings::batch::messages(&text) {
            for zone in [Some(&zone), None] {
                for error in errors(&set, message, zone) {
                    found.entry(error).or_insert_with(|| (0, path.display().to_string())).0 += 1;
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
