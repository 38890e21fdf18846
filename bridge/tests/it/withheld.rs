//! What a patient withholds tells nothing of itself by a detour, and nobody changes who is who to get at it. All people are invented.

use super::backend::client;
use super::consents::{DOCTOR, OTHER, consent, get_as, put, to, ward, write_as};
use super::detours::as_user;
use super::door::{Browser, invitation};
use super::world::World;
use bridge::ids::Name;
use bridge::index::clients::Keys;
use bridge::people::Role;
use bridge::smart::grant::{Grant, Handle};
use bridge::smart::scopes;
use bridge::smart::token::Caller;
use serde_json::{Value, json};
use std::time::Duration;

/// The status of a write, and what came back; a patch is a JSON Patch.
async fn send_as(
    world: &World,
    user: &str,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &str,
) -> (u16, Value) {
    let kind = [("content-type", "application/json-patch+json")];
    let more = if method == "PATCH" { &kind } else { more };
    let (status, reply, _) = as_user(world, user, method, path, more, body).await;
    (status, reply)
}

/// Ada denies the doctor; what she has by a number.
async fn denied(world: &World) {
    ward(world).await;
    let number = json!([{"system": "urn:x", "value": "17"}]);
    put(
        world,
        json!({"resourceType": "Observation", "id": "n", "status": "final", "code": {"text": "x"}, "identifier": number,
            "subject": {"reference": "Patient/ada"}}),
    )
    .await;
    put(world, consent("active", json!({"type": "deny", "actor": to(DOCTOR)}))).await;
}

#[tokio::test]
async fn a_condition_finds_what_its_author_is_shown_and_tells_nothing_of_the_rest() {
    let world = World::new().await;
    denied(&world).await;
    let test = r#"[{"op":"test","path":"/resourceType","value":"x"}]"#;
    for number in ["17", "18"] {
        let path = format!("/fhir/Observation?identifier=urn:x|{number}");
        assert_eq!(send_as(&world, DOCTOR, "PATCH", &path, &[], test).await.0, 404, "{number}");
        let refers = json!({"resourceType": "Basic", "code": {"text": "x"}, "subject": {"reference": format!("Observation?identifier=urn:x|{number}")}});
        let entry = json!([{"resource": refers, "request": {"method": "POST", "url": "Basic"}}]);
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entry}).to_string();
        assert_eq!(send_as(&world, DOCTOR, "POST", "/fhir", &[], &bundle).await.0, 412, "{number}");
        let new = json!({"resourceType": "Observation", "status": "final", "code": {"text": "y"}});
        // Of one number there is one resource: that much is told.
        let expected = if number == "17" { 412 } else { 201 };
        let (status, put) = send_as(&world, DOCTOR, "PUT", &path, &[], &new.to_string()).await;
        assert_eq!(status, expected, "{number}: {put}");
        let path = format!("/fhir/Observation?patient=Patient/ada&identifier=urn:x|{number}");
        let (status, put) = send_as(&world, DOCTOR, "PUT", &path, &[], &new.to_string()).await;
        assert_eq!(status, 201, "{number}: {put}");
    }
    assert_eq!(send_as(&world, OTHER, "PATCH", "/fhir/Observation?identifier=urn:x|17", &[], test).await.0, 422);
    let kept = world.get("/fhir/Observation/n").await.1;
    assert_eq!(kept["meta"]["versionId"], "1");
}

#[tokio::test]
async fn nobody_makes_a_second_one_of_what_is_withheld() {
    let world = World::new().await;
    denied(&world).await;
    let number = json!([{"system": "urn:x", "value": "5"}]);
    put(&world, json!({"resourceType": "Patient", "id": "ada", "identifier": number})).await;
    put(&world, consent("active", json!({"type": "deny"}))).await;
    let new = json!({"resourceType": "Patient", "identifier": number}).to_string();
    let none = [("if-none-exist", "identifier=urn:x|5")];
    assert_eq!(send_as(&world, DOCTOR, "POST", "/fhir/Patient", &none, &new).await.0, 412);
    // A system is asked of Consents, too; it writes about whom it may not see.
    let core = &world.running.app.core;
    assert!(core.store.add_client(&client("feed", Keys::None, "system/*.cruds"), 9).unwrap());
    let caller =
        Caller { client: Some("feed".into()), ..Caller::new("feed", scopes::parse("system/*.cruds").unwrap()) };
    let now = core.clock.now().as_second() as u64;
    let bearer =
        format!("Bearer {}", world.running.app.token_key.issue(&caller, now, Duration::from_secs(300)).unwrap());
    let sent = async |method: &str, path: &str, more: &[(&str, &str)], body: &str| {
        let mut headers = vec![("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
        headers.extend(more);
        world.request(method, path, &headers, body.as_bytes()).await.status().as_u16()
    };
    assert_eq!(sent("GET", "/fhir/Patient/ada", &[], "").await, 404, "she keeps it from programs");
    assert_eq!(sent("POST", "/fhir/Patient", &none, &new).await, 412);
    let result = json!({"resourceType": "Observation", "status": "amended", "code": {"text": "x"}}).to_string();
    for (method, body) in [("PUT", result.as_str()), ("DELETE", "")] {
        assert_eq!(sent(method, "/fhir/Observation?identifier=urn:x|17", &[], body).await, 412, "{method}");
    }
    let about = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient?identifier=urn:x|5"}});
    let entry = json!([{"resource": about, "request": {"method": "POST", "url": "Observation"}}]);
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entry}).to_string();
    assert_eq!(sent("POST", "/fhir", &[], &bundle).await, 200);
    assert_eq!(world.get("/fhir/Patient?identifier=urn:x|5").await.1["total"], 1);
    assert_eq!(world.get("/fhir/Observation?identifier=urn:x|17").await.1["total"], 1);
    assert_eq!(world.get("/fhir/Observation?patient=Patient/ada").await.1["total"], 3);
}

#[tokio::test]
async fn who_is_which_organisation_and_who_has_died_comes_from_systems() {
    let world = World::new().await;
    ward(&world).await;
    let quay = |more: &str| {
        let mut numbers = vec![json!({"system": "urn:npi", "value": "1"})];
        numbers.extend((!more.is_empty()).then(|| json!({"system": "urn:medseal:participant", "value": more})));
        json!({"resourceType": "Organization", "id": "quay", "name": "Quay", "identifier": numbers})
    };
    let path = "/fhir/Organization/quay";
    assert_eq!(write_as(&world, DOCTOR, "PUT", path, &quay("south")).await, 403, "a new one");
    put(&world, quay("north")).await;
    assert_eq!(write_as(&world, DOCTOR, "PUT", path, &quay("south")).await, 403, "another one");
    assert_eq!(write_as(&world, DOCTOR, "PUT", path, &quay("")).await, 403, "none");
    assert_eq!(write_as(&world, DOCTOR, "DELETE", path, &Value::Null).await, 403);
    let mut renamed = quay("north");
    renamed["alias"] = json!(["Q"]);
    assert_eq!(write_as(&world, DOCTOR, "PUT", path, &renamed).await, 403, "patients choose it by its name");
    put(&world, json!({"resourceType": "Organization", "id": "own", "name": "Ward 3"})).await;
    let own = json!({"resourceType": "Organization", "id": "own", "name": "Ward 4"});
    assert_eq!(write_as(&world, DOCTOR, "PUT", "/fhir/Organization/own", &own).await, 200);
    let agent = json!([{"who": {"identifier": {"system": "urn:medseal:participant", "value": "south"}, "display": "Gossip Ltd"}}]);
    let forged = json!({"resourceType": "Provenance", "target": [{"reference": "Patient/ada"}], "agent": agent,
        "recorded": "2026-03-01T12:00:00Z"});
    assert_eq!(write_as(&world, DOCTOR, "POST", "/fhir/Provenance", &forged).await, 403, "what was sent to whom");
    let mut told = forged.clone();
    told["id"] = "told".into();
    put(&world, told.clone()).await;
    for (part, value) in
        [("recorded", json!("2026-03-02T12:00:00Z")), ("agent", json!([{"who": {"display": "your GP"}}]))]
    {
        let mut changed = told.clone();
        changed[part] = value;
        assert_eq!(write_as(&world, DOCTOR, "PUT", "/fhir/Provenance/told", &changed).await, 403, "{part}");
    }
    put(&world, json!({"resourceType": "Patient", "id": "ada", "deceasedBoolean": true})).await;
    for who in [DOCTOR, "Patient/ada"] {
        assert_eq!(write_as(&world, who, "DELETE", "/fhir/Patient/ada", &Value::Null).await, 403, "{who}");
    }
    assert_eq!(world.call("DELETE", "/fhir/Patient/bea", "").await.0, 204, "a system does");
}

#[tokio::test]
async fn what_lies_in_another_resource_is_withheld_with_it() {
    let world = World::new().await;
    ward(&world).await;
    let hiv = json!({"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]});
    let (subject, text) = (json!({"reference": "Patient/ada"}), json!({"text": "x"}));
    let inner = json!({"resourceType": "Condition", "id": "c", "meta": hiv, "subject": subject, "code": text});
    put(
        &world,
        json!({"resourceType": "Observation", "id": "holds", "status": "final", "code": text, "subject": subject,
        "contained": [inner], "hasMember": [{"reference": "#c"}]}),
    )
    .await;
    put(&world, json!({"resourceType": "Bundle", "id": "holds", "type": "collection", "entry": [{"resource": inner}]}))
        .await;
    let attachment = json!([{"attachment": {"contentType": "text/plain", "url": "Binary/b"}}]);
    put(
        &world,
        json!({"resourceType": "DocumentReference", "id": "d", "status": "current", "meta": hiv, "subject": subject,
        "content": attachment}),
    )
    .await;
    put(
        &world,
        json!({"resourceType": "Binary", "id": "b", "contentType": "text/plain", "data": "eA==",
        "securityContext": {"reference": "DocumentReference/d"}}),
    )
    .await;
    put(
        &world,
        json!({"resourceType": "Binary", "id": "lost", "contentType": "text/plain", "data": "eA==",
        "securityContext": {"reference": "DocumentReference/none"}}),
    )
    .await;
    let all = ["Observation/holds", "Bundle/holds", "DocumentReference/d", "Binary/b"];
    let label = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]);
    put(&world, consent("active", json!({"type": "deny", "securityLabel": label}))).await;
    for path in all {
        assert_eq!(get_as(&world, DOCTOR, &format!("/fhir/{path}")).await.0, 404, "{path}");
        assert_eq!(world.get(&format!("/fhir/{path}")).await.0, 200, "{path}");
    }
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada").await.0, 200, "what has no such label");
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Binary/lost").await.0, 404, "as confidential as what nobody finds");
    let class = |kind: &str| json!([{"system": "http://hl7.org/fhir/resource-types", "code": kind}]);
    put(&world, consent("active", json!({"type": "deny", "class": class("DocumentReference")}))).await;
    for (path, expected) in all.into_iter().zip([200, 200, 404, 404]) {
        assert_eq!(get_as(&world, DOCTOR, &format!("/fhir/{path}")).await.0, expected, "{path}");
    }
    put(&world, consent("active", json!({"type": "deny", "class": class("Condition")}))).await;
    for (path, expected) in all.into_iter().zip([404, 404, 200, 200]) {
        assert_eq!(get_as(&world, DOCTOR, &format!("/fhir/{path}")).await.0, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_speaks_of_an_organisation_speaks_of_its_people() {
    let world = World::new().await;
    ward(&world).await;
    for id in ["doc", "other"] {
        put(&world, json!({"resourceType": "Practitioner", "id": id})).await;
    }
    put(&world, json!({"resourceType": "Organization", "id": "clinic", "name": "Clinic"})).await;
    let mut browser = Browser::new(&world);
    browser.join(&invitation(&world, Role::Clinician, Some(DOCTOR), Some("Organization/clinic"))).await;
    let read = async |who: &str| get_as(&world, who, "/fhir/Observation/o-ada").await.0;
    put(&world, consent("active", json!({"type": "deny", "actor": to("Organization/clinic")}))).await;
    assert_eq!((read(DOCTOR).await, read(OTHER).await), (404, 200));
    let why = format!("/fhir/Observation/o-ada/$explain-access?actor={DOCTOR}");
    let (status, told) = world.get(&why).await;
    assert!(status == 200 && told["parameter"][0]["valueBoolean"] == false, "{told}");
    let but = json!([{"type": "permit", "actor": to("Organization/clinic")}]);
    put(&world, consent("active", json!({"type": "deny", "provision": but}))).await;
    assert_eq!((read(DOCTOR).await, read(OTHER).await), (200, 404));
    // Who is in a team nobody has told: what forbids it one forbids it everybody.
    put(&world, consent("active", json!({"type": "deny", "actor": to("CareTeam/t")}))).await;
    assert_eq!((read(DOCTOR).await, read(OTHER).await), (404, 404));
    assert_eq!(read("Patient/ada").await, 200);
}

#[tokio::test]
async fn a_consent_of_nobody_here_is_refused() {
    let world = World::new().await;
    ward(&world).await;
    let mut lost = consent("active", json!({"type": "deny"}));
    for patient in [json!({"reference": "http://elsewhere/fhir/Patient/ada"}), json!({"identifier": {"value": "1"}})] {
        lost["patient"] = patient;
        let (status, told) = world.call("PUT", "/fhir/Consent/k", &lost.to_string()).await;
        assert_eq!((status, &told["issue"][0]["expression"][0]), (422, &json!("Consent.patient")), "{told}");
    }
    lost["status"] = "inactive".into();
    assert_eq!(world.call("PUT", "/fhir/Consent/k", &lost.to_string()).await.0, 201, "it decides nothing and says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_declares_emergencies_where_it_was_let_in_to() {
    let world = World::new().await;
    ward(&world).await;
    put(&world, json!({"resourceType": "Practitioner", "id": "doc"})).await;
    put(&world, json!({"resourceType": "Organization", "id": "clinic"})).await;
    let mut browser = Browser::new(&world);
    browser.join(&invitation(&world, Role::Clinician, Some(DOCTOR), Some("Organization/clinic"))).await;
    put(&world, consent("active", json!({"type": "deny"}))).await;
    let core = &world.running.app.core;
    let now = core.clock.now().as_millisecond();
    assert!(core.store.add_client(&client("c", Keys::None, "user/*.rs __emergency"), 9).unwrap());
    let plea = json!({"resourceType": "Parameters", "parameter": [
        {"name": "role", "valueString": "on call"}, {"name": "reason", "valueString": "unconscious"}]});
    for (scope, expected) in [("user/*.rs", 403), ("user/*.rs __emergency", 201)] {
        let grant = Grant {
            id: scope.into(),
            client: "c".into(),
            account: core.store.accounts().unwrap().remove(0).id,
            session: None,
            scope: scope.into(),
            patient: None,
            encounter: None,
            code: None,
            made: 1,
            expires: now + 3_600_000,
        };
        core.store.allow(&grant, &Handle::new(&bridge::secret::system_random).unwrap(), 1).unwrap();
        let caller = Caller {
            client: Some("c".into()),
            grant: Some(scope.into()),
            user: Name::parse(DOCTOR),
            ..Caller::new("c", scopes::parse(scope).unwrap())
        };
        let token = world.running.app.token_key.issue(&caller, now as u64 / 1_000, Duration::from_secs(300)).unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
        let path = "/fhir/Patient/ada/$emergency-access";
        let reply = world.request("POST", path, &headers, plea.to_string().as_bytes()).await;
        assert_eq!(reply.status(), expected, "{scope}");
    }
}
