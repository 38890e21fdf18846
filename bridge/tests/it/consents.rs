//! What patients consent to holds wherever something of theirs would be shown. All people are invented.

use super::recovery::stopped;
use super::world::{World, config, issue};
use bridge::config::Config;
use serde_json::{Value, json};

pub const DOCTOR: &str = "Practitioner/doc";
pub const OTHER: &str = "Practitioner/other";

pub async fn put(world: &World, resource: Value) {
    let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    let (status, reply) = world.call("PUT", &path, &resource.to_string()).await;
    assert!(matches!(status, 200 | 201), "{path}: {reply}");
}

/// Ada with a result and a diagnosis of the soul, Bea with a result.
pub async fn ward(world: &World) {
    for id in ["ada", "bea"] {
        put(world, json!({"resourceType": "Patient", "id": id})).await;
        put(
            world,
            json!({"resourceType": "Observation", "id": format!("o-{id}"), "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient/{id}")}}),
        )
        .await;
    }
    put(
        world,
        json!({"resourceType": "Condition", "id": "c-ada", "subject": {"reference": "Patient/ada"},
        "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": "F32.1"}]}}),
    )
    .await;
}

pub fn consent(status: &str, provision: Value) -> Value {
    let coding = |system: &str, code: &str| json!([{"coding": [{"system": system, "code": code}]}]);
    json!({
        "resourceType": "Consent", "id": "k", "status": status, "patient": {"reference": "Patient/ada"},
        "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope", "code": "patient-privacy"}]},
        "category": coding("http://loinc.org", "59284-0"),
        "policyRule": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "OPTIN"}]},
        "provision": provision,
    })
}

pub fn to(who: &str) -> Value {
    let role =
        json!({"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ParticipationType", "code": "IRCP"}]});
    json!([{"role": role, "reference": {"reference": who}}])
}

pub async fn get_as(world: &World, user: &str, path: &str) -> (u16, Value) {
    let scope = if user.starts_with("Patient/") { "patient/*.rs user/*.rs" } else { "user/*.rs" };
    let patient = user.starts_with("Patient/").then_some(user);
    let token = format!("Bearer {}", issue(&world.running, scope, patient, Some(user)));
    let reply = world.request("GET", path, &[("authorization", token.as_str())], b"").await;
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
}

/// What is in an answer, sorted.
pub async fn found(world: &World, user: &str, path: &str) -> Vec<String> {
    let (status, bundle) = get_as(world, user, path).await;
    assert_eq!(status, 200, "{path}: {bundle}");
    let entries = bundle["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]);
    let name = |r: &Value| format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
    let mut found: Vec<String> = entries.filter(|r| r["resourceType"] != "AuditEvent").map(name).collect();
    found.sort();
    found
}

// meets smart 119
#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_sees_nothing_by_any_way_and_others_do() {
    let world = World::new().await;
    ward(&world).await;
    assert_eq!(found(&world, DOCTOR, "/fhir/Observation").await, ["Observation/o-ada", "Observation/o-bea"]);
    put(&world, consent("active", json!({"type": "deny", "actor": to(DOCTOR)}))).await;
    for path in ["Patient/ada", "Observation/o-ada", "Observation/o-ada/_history/1", "Condition/c-ada", "Consent/k"] {
        assert_eq!(get_as(&world, DOCTOR, &format!("/fhir/{path}")).await.0, 404, "{path}");
        assert_eq!(get_as(&world, OTHER, &format!("/fhir/{path}")).await.0, 200, "{path}");
        assert_eq!(get_as(&world, "Patient/ada", &format!("/fhir/{path}")).await.0, 200, "{path}: it is her own");
        assert_eq!(world.get(&format!("/fhir/{path}")).await.0, 200, "{path}: the administrator at the machine");
    }
    for (path, expected) in [
        ("/fhir/Observation", &["Observation/o-bea"][..]),
        ("/fhir/Observation?patient=Patient/ada", &[]),
        ("/fhir/Patient?_has:Observation:patient:status=final", &["Patient/bea"]),
        ("/fhir/Observation?subject:Patient._id=ada", &[]),
        ("/fhir/Patient?_id=ada,bea&_revinclude=Observation:subject", &["Observation/o-bea", "Patient/bea"]),
        ("/fhir/Observation/_history", &["Observation/o-bea"]),
        ("/fhir/Patient/ada/Observation", &[]),
    ] {
        assert_eq!(found(&world, DOCTOR, path).await, expected, "{path}");
    }
    let (_, counted) = get_as(&world, DOCTOR, "/fhir/Observation?_summary=count").await;
    assert_eq!(counted["total"], 1, "totals are filtered, too");
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Patient/ada/$everything").await.0, 404);
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Patient/ada/$summary").await.0, 404);
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada/$receipt").await.0, 404);
    // Taken back, it holds no more.
    put(&world, consent("inactive", json!({"type": "deny", "actor": to(DOCTOR)}))).await;
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sensitive_is_held_back_by_its_codes_alone() {
    let world = World::new().await;
    ward(&world).await;
    let label = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}]);
    let mut provision = json!({"type": "permit", "provision": [{"type": "deny", "securityLabel": label}]});
    put(&world, consent("active", provision.clone())).await;
    assert_eq!(
        get_as(&world, DOCTOR, "/fhir/Condition/c-ada").await.0,
        404,
        "nobody labelled it: its code says what it is"
    );
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada").await.0, 200);
    let everything = found(&world, DOCTOR, "/fhir/Patient/ada/$everything").await;
    assert!(everything.contains(&"Observation/o-ada".to_owned()), "{everything:?}");
    assert!(!everything.contains(&"Condition/c-ada".to_owned()), "{everything:?}");
    // A Consent that is not understood forbids.
    provision["modifierExtension"] = json!([{"url": "http://nobody.knows/this", "valueBoolean": true}]);
    put(&world, consent("active", provision)).await;
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada").await.0, 404);
}

/// Whether the doctor sees what has a code of the house's own: of who has consented, and of who has not by a token for less.
async fn own_code(world: &World) -> (u16, u16) {
    let narrowed = issue(&world.running, "user/Condition.rs?_security:not=V", None, Some(DOCTOR));
    let narrowed = format!("Bearer {narrowed}");
    let by_scope = world.request("GET", "/fhir/Condition/own-bea", &[("authorization", narrowed.as_str())], b"").await;
    (get_as(world, DOCTOR, "/fhir/Condition/own-ada").await.0, by_scope.status().as_u16())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_house_calls_sensitive_is_held_back_like_what_comes_with_medseal() {
    let world = World::new().await;
    ward(&world).await;
    for id in ["ada", "bea"] {
        let code = json!({"coding": [{"system": "urn:oid:1.2.3.4.99", "code": "STAFF-7"}]});
        let subject = json!({"reference": format!("Patient/{id}")});
        put(&world, json!({"resourceType": "Condition", "id": format!("own-{id}"), "subject": subject, "code": code}))
            .await;
    }
    let label = |code| json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": code});
    let labels = json!([label("EMP"), label("PSY")]);
    let provision = json!({"type": "permit", "provision": [{"type": "deny", "securityLabel": labels}]});
    put(&world, consent("active", provision)).await;
    assert_eq!(own_code(&world).await, (200, 200), "nobody has said what it is");
    // Said by the next start, it holds for what was stored before.
    let (directory, data) = stopped(world).await;
    let file = directory.path().join("own.tsv");
    std::fs::write(&file, "S\tours\turn:oid:1.2.3.4.99\nL\tEMP\tours\tSTAFF-*\tour own people\nD\tEMP\tV\n").unwrap();
    let mut config = config(&data);
    config.consent.labels = Some(file.clone());
    let world = World::with(directory, config.clone()).await;
    assert_eq!(own_code(&world).await, (404, 404));
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Condition/c-ada").await.0, 404, "what comes with medseal counts still");
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada").await.0, 200);
    // With a line that makes no sense nothing starts: less would be held back than somebody thinks.
    let (_directory, _) = stopped(world).await;
    std::fs::write(&file, "S\tours\turn:oid:1.2.3.4.99\nL\tNOSUCH\tours\tSTAFF-*\tour own people\n").unwrap();
    let Err(refused) = bridge::commands::serve::start(config).await else { panic!("it starts") };
    let told = refused.to_string();
    assert!(told.contains("own.tsv") && told.contains("line 2"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_consent_must_be_given_first_nothing_is_shown_before() {
    let directory = tempfile::tempdir().unwrap();
    let consent_first = Config::parse("[consent]\ndefault = \"deny\"\n").unwrap().consent;
    let config = Config { consent: consent_first, ..config(&directory.path().join("data")) };
    let world = World::with(directory, config).await;
    ward(&world).await;
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada").await.0, 404);
    put(&world, consent("active", json!({"type": "permit", "actor": to(DOCTOR)}))).await;
    assert_eq!(found(&world, DOCTOR, "/fhir/Observation").await, ["Observation/o-ada"]);
    assert_eq!(found(&world, OTHER, "/fhir/Observation").await, Vec::<String>::new());
    assert_eq!(found(&world, "Patient/bea", "/fhir/Observation").await, ["Observation/o-bea"], "her own");
    // Whose it is nobody can tell.
    put(&world, json!({"resourceType": "Binary", "id": "lost", "contentType": "text/plain", "data": "eA=="})).await;
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Binary/lost").await.0, 404);
    let (status, told) = world.get(&format!("/fhir/Binary/lost/$explain-access?actor={DOCTOR}")).await;
    let (permitted, because) = explained(&told);
    assert!(status == 200 && !permitted && because.unwrap().starts_with("no Consent says anything"), "{told}");
}

/// The outcome, and what decided.
fn explained(reply: &Value) -> (bool, Option<&str>) {
    let decision = reply["parameter"].as_array().unwrap().iter().find(|p| p["name"] == "decision");
    let because = decision.and_then(|d| d["part"].as_array().unwrap().iter().find(|p| p["name"] == "because"));
    (reply["parameter"][0]["valueBoolean"].as_bool().unwrap(), because.and_then(|b| b["valueString"].as_str()))
}

#[tokio::test]
async fn a_patient_is_told_why_somebody_sees_what_is_hers_or_does_not() {
    let world = World::new().await;
    ward(&world).await;
    let except = json!({"type": "permit", "provision": [{"type": "deny", "actor": to(OTHER), "purpose": [{
        "system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HRESCH"}]}]});
    put(&world, consent("active", except)).await;
    let ask = async |user: &'static str, query: &str| {
        get_as(&world, user, &format!("/fhir/Observation/o-ada/$explain-access?{query}")).await
    };
    let exception = "Consent/k provision.provision[0]";
    for (query, expected) in [
        ("actor=Practitioner/doc", (true, Some("Consent/k provision"))),
        ("actor=Practitioner/other", (true, Some("Consent/k provision"))),
        ("actor=Practitioner/other&purpose=HRESCH", (false, Some(exception))),
        ("actor=Device/app&actor=Practitioner/other&purpose=HRESCH", (false, Some(exception))),
        ("actor=Patient/ada", (true, None)),
    ] {
        let (status, reply) = ask("Patient/ada", query).await;
        assert_eq!(status, 200, "{reply}");
        assert_eq!(explained(&reply), expected, "{query}: {reply}");
    }
    for query in
        ["", "actor=Practitioner/doc&action=burn", "actor=Practitioner/doc&why=so", &["actor=A/1"; 11].join("&")]
    {
        assert_eq!(ask("Patient/ada", query).await.0, 400, "{query}");
    }
    assert_eq!(ask("Patient/bea", "actor=Practitioner/doc").await.0, 404, "another's record");
    let token = format!("Bearer {}", issue(&world.running, "user/Observation.r", None, Some(DOCTOR)));
    let path = "/fhir/Observation/o-ada/$explain-access?actor=Practitioner/other";
    let reply = world.request("GET", path, &[("authorization", token.as_str())], b"").await;
    assert_eq!(reply.status(), 403, "whose token is not for Consents");
}

#[tokio::test]
async fn the_audit_trail_quotes_the_provision_that_decided() {
    let world = World::new().await;
    ward(&world).await;
    put(&world, consent("active", json!({"type": "permit", "provision": [{"type": "deny", "actor": to(OTHER)}]})))
        .await;
    for (user, status, outcome, quoted) in [
        (DOCTOR, 200, "0", "permitted: Consent/k provision"),
        (OTHER, 404, "4", "refused: Consent/k provision.provision[0]"),
    ] {
        assert_eq!(get_as(&world, user, "/fhir/Observation/o-ada").await.0, status);
        bridge::audit::worker::flush(&world.running.app).await.unwrap();
        let path = format!("/fhir/AuditEvent?patient=Patient/ada&agent={user}&outcome={outcome}");
        let event = world.only(&path).await;
        assert_eq!(event["entity"][0]["detail"], json!([{"type": "consent", "valueString": quoted}]), "{event}");
    }
}

/// The status of a write by somebody's own token.
pub async fn write_as(world: &World, user: &str, method: &str, path: &str, body: &Value) -> u16 {
    let scope = if user.starts_with("Patient/") { "patient/*.cruds" } else { "user/*.cruds" };
    let patient = user.starts_with("Patient/").then_some(user);
    let token = format!("Bearer {}", issue(&world.running, scope, patient, Some(user)));
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.request(method, path, &headers, body.as_bytes()).await.status().as_u16()
}

#[tokio::test]
async fn who_is_refused_writes_neither_over_it_nor_himself_a_permission() {
    let world = World::new().await;
    ward(&world).await;
    put(&world, consent("active", json!({"type": "deny", "actor": to(DOCTOR)}))).await;
    let permit = consent("active", json!({"type": "permit"}));
    let observation = |patient: &str| {
        json!({"resourceType": "Observation", "id": "o-ada", "status": "final", "code": {"text": "y"},
            "subject": {"reference": format!("Patient/{patient}")}})
    };
    let patient = json!({"resourceType": "Patient", "id": "ada", "active": false});
    for (what, method, path, body, status) in [
        ("over his refusal", "PUT", "/fhir/Consent/k", &permit, 403),
        ("away with it", "DELETE", "/fhir/Consent/k", &Value::Null, 204),
        ("another beside it", "POST", "/fhir/Consent", &permit, 403),
        ("over a result", "PUT", "/fhir/Observation/o-ada", &observation("ada"), 403),
        ("a result to another", "PUT", "/fhir/Observation/o-ada", &observation("bea"), 403),
        ("away with a result", "DELETE", "/fhir/Observation/o-ada", &Value::Null, 204),
        ("over the patient", "PUT", "/fhir/Patient/ada", &patient, 403),
        ("away with the patient", "DELETE", "/fhir/Patient/ada", &Value::Null, 204),
        ("away with nothing", "DELETE", "/fhir/Patient/nobody", &Value::Null, 204),
    ] {
        assert_eq!(write_as(&world, DOCTOR, method, path, body).await, status, "{what}");
    }
    for path in ["/fhir/Consent/k", "/fhir/Observation/o-ada", "/fhir/Patient/ada"] {
        let (status, kept) = world.get(path).await;
        assert_eq!(
            (status, &kept["meta"]["versionId"]),
            (200, &json!("1")),
            "what is withheld is not there for him: {path}"
        );
    }
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada").await.0, 404, "as before");
    assert_eq!(write_as(&world, "Patient/bea", "POST", "/fhir/Consent", &permit).await, 403, "for another patient");
    let own = json!({"reference": "Patient/bea"});
    let mut hers = permit.clone();
    hers["patient"] = own.clone();
    assert_eq!(write_as(&world, "Patient/bea", "POST", "/fhir/Consent", &hers).await, 403, "an app that she let in");
    hers["scope"]["coding"][0]["code"] = "treatment".into();
    assert_eq!(
        write_as(&world, "Patient/bea", "POST", "/fhir/Consent", &hers).await,
        201,
        "to be treated, not to be seen"
    );
    // Who is let in writes on.
    assert_eq!(write_as(&world, OTHER, "PUT", "/fhir/Observation/o-ada", &observation("ada")).await, 200);
    assert_eq!(write_as(&world, OTHER, "DELETE", "/fhir/Observation/o-ada", &Value::Null).await, 204);
}

#[tokio::test]
async fn what_rests_on_a_grant_is_not_made_by_writing_it() {
    let world = World::new().await;
    ward(&world).await;
    let key = format!("0x{}", "ab".repeat(32));
    let mut named = consent("active", json!({"type": "permit"}));
    named["identifier"] = json!([{"system": "urn:medseal:consent-grant", "value": key}]);
    let mut opened = consent("active", json!({"type": "permit"}));
    opened["sourceAttachment"] = json!({"contentType": "application/vnd.medseal.grant+json", "data": "e30="});
    for forged in [named, opened] {
        assert_eq!(world.call("PUT", "/fhir/Consent/k", &forged.to_string()).await.0, 403, "{forged}");
    }
    assert_eq!(world.get("/fhir/Consent/k").await.0, 404);
}

#[tokio::test]
async fn whose_a_record_is_comes_from_systems() {
    let world = World::new().await;
    ward(&world).await;
    let linked = json!({"resourceType": "Patient", "id": "ada", "birthDate": "2011-01-01",
        "link": [{"type": "replaces", "other": {"reference": "Patient/ada0"}}]});
    put(&world, json!({"resourceType": "Patient", "id": "ada0"})).await;
    put(&world, linked.clone()).await;
    let with = |part: &str, value: Value| {
        let mut patient = linked.clone();
        patient[part] = value;
        patient
    };
    let phone = json!([{"system": "phone", "value": "1"}]);
    let decoy = json!([{"type": "replaced-by", "other": {"reference": "Patient/bea"}}]);
    for (what, user, method, body, status) in [
        ("no link", DOCTOR, "PUT", with("link", Value::Null), 422),
        ("another link", DOCTOR, "PUT", with("link", decoy), 403),
        ("away with the linked one", DOCTOR, "DELETE", Value::Null, 403),
        ("a telephone", DOCTOR, "PUT", with("telecom", phone.clone()), 200),
        ("a number", DOCTOR, "PUT", with("identifier", json!([{"system": "urn:x", "value": "7"}])), 200),
    ] {
        assert_eq!(write_as(&world, user, method, "/fhir/Patient/ada", &body).await, status, "{what} by {user}");
    }
    let mut bare = linked.clone();
    bare.as_object_mut().unwrap().remove("link");
    assert_eq!(
        write_as(&world, DOCTOR, "PUT", "/fhir/Patient/ada", &bare).await,
        403,
        "a client that does not know links"
    );
    let number = json!([{"value": "5", "system": "urn:x"}]);
    put(&world, json!({"resourceType": "Patient", "id": "bea", "identifier": number})).await;
    let bea = |part: &str, value: Value| {
        let mut bea = json!({"resourceType": "Patient", "id": "bea", "identifier": number});
        bea[part] = value;
        bea
    };
    for (body, status) in [
        (bea("identifier", json!([{"system": "urn:x", "value": "881"}])), 403),
        (bea("birthDate", json!("1990-01-01")), 403),
        (bea("deceasedBoolean", json!(true)), 403),
        (bea("telecom", phone), 200),
    ] {
        assert_eq!(write_as(&world, "Patient/bea", "PUT", "/fhir/Patient/bea", &body).await, status, "{body}");
    }
    let token = format!("Bearer {}", issue(&world.running, "user/*.cruds", None, Some(DOCTOR)));
    let headers = [("authorization", token.as_str()), ("content-type", "application/hl7-v2")];
    let message = super::world::admission("P1", "881", "Lovelace").replace('\n', "\r");
    let reply = world.request("POST", "/hl7v2", &headers, message.as_bytes()).await;
    assert_eq!(reply.status(), 403, "messages come from systems");
    let forged =
        json!({"resourceType": "Communication", "status": "completed", "about": [{"reference": "AuditEvent/none"}]});
    assert_eq!(write_as(&world, DOCTOR, "POST", "/fhir/Communication", &forged).await, 403);
    assert_eq!(
        world.call("POST", "/fhir/Communication", &forged.to_string()).await.0,
        403,
        "nor does a system tell of emergencies"
    );
}

#[tokio::test]
async fn nobody_asks_a_patient_for_consent_in_the_name_of_another() {
    let world = World::new().await;
    ward(&world).await;
    let mut task = json!({"resourceType": "Task", "id": "t", "status": "requested", "intent": "proposal",
        "for": {"reference": "Patient/ada"}, "requester": {"identifier": {"system": "urn:medseal:participant", "value": "x"}},
        "code": {"coding": [{"system": "urn:medseal:task", "code": "consent-request"}]}});
    assert_eq!(world.call("PUT", "/fhir/Task/t", &task.to_string()).await.0, 403, "a system");
    assert_eq!(write_as(&world, OTHER, "POST", "/fhir/Task", &task).await, 403, "a clinician");
    assert_eq!(world.get("/fhir/Task/t").await.0, 404);
    task["code"]["coding"][0]["code"] = "fulfill".into();
    assert_eq!(world.call("PUT", "/fhir/Task/t", &task.to_string()).await.0, 201, "another Task");
}

#[tokio::test]
async fn more_merged_records_than_are_followed_are_refused() {
    let world = World::new().await;
    let linked = |count: usize| {
        let links = (0..count).map(|n| json!({"type": "replaces", "other": {"reference": format!("Patient/x{n}")}}));
        json!({"resourceType": "Patient", "id": "ada", "link": links.collect::<Vec<_>>()})
    };
    assert_eq!(world.call("PUT", "/fhir/Patient/ada", &linked(21).to_string()).await.0, 403);
    assert_eq!(world.call("PUT", "/fhir/Patient/ada", &linked(20).to_string()).await.0, 201);
}

#[tokio::test]
async fn a_label_is_not_lost_by_who_does_not_send_it() {
    let world = World::new().await;
    ward(&world).await;
    let code = json!({"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"});
    let mut observation = json!({"resourceType": "Observation", "id": "o-ada", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/ada"}, "meta": {"security": [code]}});
    put(&world, observation.clone()).await;
    observation.as_object_mut().unwrap().remove("meta");
    assert_eq!(write_as(&world, OTHER, "PUT", "/fhir/Observation/o-ada", &observation).await, 200);
    assert_eq!(world.get("/fhir/Observation/o-ada").await.1["meta"]["security"], json!([code]));
    assert_eq!(write_as(&world, OTHER, "DELETE", "/fhir/Observation/o-ada", &json!(null)).await, 204);
    assert_eq!(write_as(&world, OTHER, "PUT", "/fhir/Observation/o-ada", &observation).await, 201);
    assert_eq!(
        world.get("/fhir/Observation/o-ada").await.1["meta"]["security"],
        json!([code]),
        "nor by deleting it first"
    );
    put(&world, observation).await;
    assert!(world.get("/fhir/Observation/o-ada").await.1["meta"].get("security").is_none(), "a system takes it away");
}

/// The same where nothing of it is in the index yet: all three wait for the committer together.
#[tokio::test]
async fn a_label_is_not_lost_by_who_is_quick() {
    let world = World::new().await;
    ward(&world).await;
    let code = json!({"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"});
    for n in 0..20 {
        let (path, id) = (format!("/fhir/Observation/o-{n}"), format!("o-{n}"));
        let plain = json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "x"},
            "subject": {"reference": "Patient/ada"}});
        let mut labelled = plain.clone();
        labelled["meta"] = json!({"security": [code]});
        put(&world, labelled).await;
        let nothing = json!(null);
        let writes = [("PUT", &plain), ("DELETE", &nothing), ("PUT", &plain)];
        let all = writes.map(|(method, body)| write_as(&world, OTHER, method, &path, body));
        futures_util::future::join_all(all).await;
        write_as(&world, OTHER, "PUT", &path, &plain).await;
        assert_eq!(world.get(&path).await.1["meta"]["security"], json!([code]), "round {n}");
    }
}
