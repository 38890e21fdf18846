//! What a patient does not consent to is reached by no detour either. All people are invented.

use super::consents::{DOCTOR, OTHER, consent, found, get_as, put, to, ward};
use super::world::{World, admission, issue, msa};
use bridge::audit::worker::flush;
use bridge::ids::Name;
use bridge::upkeep::erase;
use serde_json::{Value, json};

/// A ward where Ada lets the other one see nothing.
async fn refusing() -> World {
    let world = World::new().await;
    ward(&world).await;
    put(&world, consent("active", json!({"type": "permit", "provision": [{"type": "deny", "actor": to(OTHER)}]})))
        .await;
    world
}

pub async fn as_user(
    world: &World,
    user: &str,
    method: &str,
    path: &str,
    more: &[(&str, &str)],
    body: &str,
) -> (u16, Value, String) {
    let token = format!("Bearer {}", issue(&world.running, "user/*.cruds", None, Some(user)));
    let own = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    // A header of the caller's own comes before ours.
    let headers: Vec<_> =
        more.iter().chain(own.iter().filter(|(n, _)| more.iter().all(|(m, _)| m != n))).copied().collect();
    let reply = world.request(method, path, &headers, body.as_bytes()).await;
    let location = reply.headers().get("location").map_or("", |l| l.to_str().unwrap()).to_owned();
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null), location)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_only_indirectly_whose_it_is_is_asked_about_too() {
    let world = refusing().await;
    let ada = json!({"reference": "Patient/ada"});
    let (code, result) = (json!({"text": "x"}), json!({"reference": "Observation/o-ada"}));
    let text = |kind: &str, id: &str, more: Value| {
        let mut resource = json!({"resourceType": kind, "id": id});
        more.as_object().unwrap().iter().for_each(|(name, value)| resource[name] = value.clone());
        resource
    };
    let class = json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"});
    let direct = json!({"contentType": "text/plain", "securityContext": {"reference": "Patient/ada"}, "data": "eA=="});
    let behind =
        json!({"contentType": "text/plain", "securityContext": {"reference": "DocumentReference/d"}, "data": "eA=="});
    let held = json!({"resourceType": "Observation", "id": "h", "status": "final", "code": code, "subject": ada});
    let resources = [
        text("Task", "t", json!({"status": "draft", "intent": "plan", "for": ada})),
        text("Device", "v", json!({"patient": ada})),
        text("Encounter", "e", json!({"status": "planned", "class": class, "subject": ada})),
        text("Observation", "oe", json!({"status": "final", "code": code, "encounter": {"reference": "Encounter/e"}})),
        text(
            "DocumentReference",
            "d",
            json!({"status": "current", "subject": ada, "content": [{"attachment": {"title": "x"}}]}),
        ),
        text("Binary", "b", direct),
        text("Binary", "bd", behind),
        text("Bundle", "bu", json!({"type": "collection", "entry": [{"resource": held}]})),
        text(
            "Provenance",
            "p",
            json!({"target": [result], "recorded": "2026-03-01T12:00:00Z", "agent": [{"who": {"display": "x"}}]}),
        ),
        text(
            "MessageHeader",
            "m",
            json!({"eventCoding": class, "source": {"endpoint": "http://x"}, "focus": [result]}),
        ),
        text("Linkage", "l", json!({"item": [{"type": "source", "resource": result}]})),
    ];
    for resource in &resources {
        put(&world, resource.clone()).await;
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        for (user, expected) in [(OTHER, 404), (DOCTOR, 200)] {
            assert_eq!(get_as(&world, user, &path).await.0, expected, "{user} {path}");
            assert_eq!(
                get_as(&world, user, &format!("{path}/$receipt")).await.0 == 404,
                expected == 404,
                "{user} {path}"
            );
        }
    }
    assert_eq!(found(&world, OTHER, "/fhir/Task").await, Vec::<String>::new());
    put(&world, json!({"resourceType": "Organization", "id": "org", "name": "x"})).await;
    assert_eq!(get_as(&world, OTHER, "/fhir/Organization/org").await.0, 200, "nobody's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_or_a_condition_tells_nothing_of_what_is_withheld() {
    let world = refusing().await;
    let patch = [("content-type", "application/json-patch+json")];
    let guess = r#"[{"op":"test","path":"/status","value":"final"},{"op":"remove","path":"/nope"}]"#;
    let path = "/fhir/Observation/o-ada";
    for (user, expected) in [(OTHER, 404), (DOCTOR, 422)] {
        let (status, reply, _) = as_user(&world, user, "PATCH", path, &patch, guess).await;
        assert_eq!((status, reply["resourceType"].as_str()), (expected, Some("OperationOutcome")), "{user}: {reply}");
        flush(&world.running.app).await.unwrap();
        let trail = format!("/fhir/AuditEvent?patient=Patient/ada&agent={user}&outcome=4");
        assert_eq!(world.only(&trail).await["subtype"][0]["code"], "patch", "{user}: who tries is told of");
    }
    let body = r#"{"resourceType":"Observation","status":"final","code":{"text":"y"}}"#;
    let condition = [("if-none-exist", "patient=Patient/ada"), ("prefer", "return=representation")];
    let (status, reply, location) = as_user(&world, OTHER, "POST", "/fhir/Observation", &condition, body).await;
    assert_eq!(status, 201, "what he is not shown he does not find: {reply}");
    assert!(!location.contains("o-ada") && !reply.to_string().contains("o-ada"), "{reply}");
    let (status, reply, _) =
        as_user(&world, OTHER, "PUT", "/fhir/Observation?patient=Patient/ada", &[("if-match", "W/\"9\"")], body).await;
    assert_eq!(status, 412, "{reply}");
    assert!(!reply.to_string().contains("o-ada"), "{reply}");
    // Who may see it is given it, and that is a read.
    let (status, reply, _) = as_user(&world, DOCTOR, "POST", "/fhir/Observation", &condition, body).await;
    assert_eq!((status, &reply["id"]), (200, &"o-ada".into()));
    flush(&world.running.app).await.unwrap();
    let read = world.only(&format!("/fhir/AuditEvent?patient=Patient/ada&agent={DOCTOR}&outcome=0")).await;
    assert_eq!(read["subtype"][0]["code"], "read", "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_message_is_shown_where_all_that_came_out_of_it_is() {
    let world = World::new().await;
    assert_eq!(msa(&world.send(&admission("M1", "77", "Lovelace")).await).0, "AA");
    let patient = world.only("/fhir/Patient?identifier=77").await["id"].as_str().unwrap().to_owned();
    let message =
        super::stores::rows(&world.directory.path().join("data"), "SELECT id FROM record WHERE type = 'Message'");
    let path = format!("/hl7v2/messages/{}", message.concat()[0]);
    let mut provision = json!({"type": "permit", "provision": [{"type": "deny", "actor": to(OTHER), "class": [
        {"system": "http://hl7.org/fhir/resource-types", "code": "Encounter"}]}]});
    for (class, expected) in [("Encounter", 404), ("Immunization", 200)] {
        provision["provision"][0]["class"][0]["code"] = class.into();
        let mut consent = consent("active", provision.clone());
        consent["patient"]["reference"] = format!("Patient/{patient}").into();
        put(&world, consent).await;
        assert_eq!(get_as(&world, OTHER, &path).await.0, expected, "{class}");
        assert_eq!(get_as(&world, DOCTOR, &path).await.0, 200, "{class}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_patients_countless_consents_close_that_record_alone() {
    let world = World::new().await;
    ward(&world).await;
    for part in 0..6 {
        let entries: Vec<Value> = (0..200)
            .map(|n| {
                let mut one = consent("active", json!({"type": "permit"}));
                let id = format!("c{part}-{n}");
                one["id"] = id.clone().into();
                json!({"resource": one, "request": {"method": "PUT", "url": format!("Consent/{id}")}})
            })
            .collect();
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
        assert_eq!(world.call("POST", "/fhir", &bundle.to_string()).await.0, 200);
    }
    assert_eq!(found(&world, DOCTOR, "/fhir/Observation").await, ["Observation/o-bea"]);
    assert_eq!(get_as(&world, "Patient/ada", "/fhir/Observation/o-ada").await.0, 200, "it is her own");
}

#[tokio::test(flavor = "multi_thread")]
async fn consents_hold_over_merges_and_erasures() {
    let world = refusing().await;
    put(&world, json!({"resourceType": "Patient", "id": "new"})).await;
    put(&world, json!({"resourceType": "Observation", "id": "late", "status": "final", "code": {"text": "x"}, "subject": {"reference": "Patient/new"}})).await;
    assert_eq!(get_as(&world, OTHER, "/fhir/Observation/late").await.0, 200);
    let link = |kind: &str, other: &str| json!([{"type": kind, "other": {"reference": other}}]);
    put(&world, json!({"resourceType": "Patient", "id": "new", "link": link("replaces", "Patient/ada")})).await;
    put(&world, json!({"resourceType": "Patient", "id": "ada", "link": link("replaced-by", "Patient/new")})).await;
    tokio::time::sleep(bridge::limits::MERGES_FRESH).await;
    assert_eq!(get_as(&world, OTHER, "/fhir/Observation/late").await.0, 404, "she has said no under her old number");
    let actors = ["Patient/bea", "Patient/ada"].map(|p| json!({"actor": {"reference": p}, "status": "accepted"}));
    put(&world, json!({"resourceType": "Appointment", "id": "both", "status": "booked", "participant": actors})).await;
    assert_eq!(get_as(&world, OTHER, "/fhir/Appointment/both").await.0, 404);
    let ada = Name::parse("Patient/ada").unwrap();
    erase::erase(&world.running.app.core.keep(), &ada, "by letter", &|_| ()).await.unwrap().unwrap();
    put(&world, json!({"resourceType": "Patient", "id": "bea", "gender": "female"})).await;
    assert_eq!(get_as(&world, OTHER, "/fhir/Appointment/both").await.0, 404, "erased, she has not changed her mind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_the_audit_trail_tell_no_more_than_the_resource_did() {
    let world = refusing().await;
    assert_eq!(world.call("DELETE", "/fhir/Observation/o-ada", "").await.0, 204);
    assert_eq!(get_as(&world, OTHER, "/fhir/Observation/o-ada").await.0, 404);
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Observation/o-ada").await.0, 410);
    let history = get_as(&world, OTHER, "/fhir/Observation/_history").await.1.to_string();
    assert!(!history.contains("o-ada"), "{history}");
    flush(&world.running.app).await.unwrap();
    let events =
        async |user: &str| get_as(&world, user, "/fhir/AuditEvent?patient=Patient/ada").await.1["total"].clone();
    assert_eq!(events(OTHER).await, 0, "what was done to a record tells what is in it");
    assert_ne!(events("Patient/ada").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn people_write_no_audit_events_and_see_no_subscription_of_others() {
    let world = World::new().await;
    ward(&world).await;
    let forged = json!({"resourceType": "AuditEvent", "recorded": "2026-03-01T12:00:00Z", "source": {"observer": {"display": "x"}},
        "type": {"system": "http://terminology.hl7.org/CodeSystem/audit-event-type", "code": "rest"},
        "agent": [{"requestor": true}], "entity": [{"what": {"reference": "Patient/ada"}}]});
    let (status, reply, _) = as_user(&world, DOCTOR, "POST", "/fhir/AuditEvent", &[], &forged.to_string()).await;
    assert_eq!(status, 403, "{reply}");
    assert_eq!(world.call("POST", "/fhir/AuditEvent", &forged.to_string()).await.0, 201, "a system does");
    let subscription = json!({"resourceType": "Subscription", "status": "off", "reason": "x", "criteria": "Observation?status=final",
        "channel": {"type": "rest-hook", "endpoint": "http://127.0.0.1:9/x", "header": ["Authorization: Bearer secret"]}});
    let (status, made, _) = as_user(&world, DOCTOR, "POST", "/fhir/Subscription", &[], &subscription.to_string()).await;
    assert_eq!(status, 201, "{made}");
    let path = format!("/fhir/Subscription/{}", made["id"].as_str().unwrap());
    for (user, expected) in [(DOCTOR, 200), (OTHER, 404)] {
        assert_eq!(get_as(&world, user, &path).await.0, expected, "{user}");
    }
    assert_eq!(found(&world, OTHER, "/fhir/Subscription").await, Vec::<String>::new());
    for (method, body, status) in [("PUT", made.to_string(), 403), ("DELETE", String::new(), 204)] {
        assert_eq!(as_user(&world, OTHER, method, &path, &[], &body).await.0, status, "{method} by another");
    }
    assert_eq!(get_as(&world, DOCTOR, &path).await.0, 200, "it is still there");
    assert_eq!(as_user(&world, DOCTOR, "DELETE", &path, &[], "").await.0, 204);
    assert_eq!(world.get(&path).await.0, 410);
}
