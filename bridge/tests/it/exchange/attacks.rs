//! What a participant that means harm, or a careless one, tries: nobody's Consent is evaded, nobody becomes somebody else.

use super::network::{Network, names};
use crate::backend::register;
use crate::consents::{consent, put, to};
use crate::world::issue;
use bridge::index::clients::Keys;
use bridge::smart::scopes;
use bridge::smart::token::Caller;
use serde_json::{Value, json};
use std::time::Duration;

const PULL: &str = "/exchange/peer/pull";

fn ada() -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": "urn:id", "value": "4711"}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_gets_the_record_and_nothing_that_was_only_beside_it() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    b.knows_ada("lovelace").await;
    for (n, purpose) in ["urn:x#a", "urn:x#b", "urn:x#c", super::network::TREAT].into_iter().enumerate() {
        let body = json!({"patient": ada(), "queries": ["*"], "request_consent": true}).to_string();
        let token = a.signed_for(b, PULL, body.as_bytes(), a.now(), &format!("t{n}"), purpose);
        assert_eq!(b.knocked(PULL, &token, body.as_bytes()).await.0, 403);
    }
    assert_eq!(b.world.get("/fhir/Task").await.1["total"], 2, "one for treatment, one for what nobody knows");
    b.consent("lovelace", &a.id, "active", json!({})).await;
    bridge::audit::worker::flush(&b.world.running.app).await.unwrap();
    b.put(&json!({
        "resourceType": "Binary", "id": "raw", "contentType": "text/plain", "data": "eA==",
        "securityContext": {"reference": "Patient/lovelace"},
    }))
    .await;
    b.put(&json!({
        "resourceType": "Provenance", "id": "p", "recorded": "2026-01-01T00:00:00Z",
        "target": [{"reference": "Patient/lovelace"}], "agent": [{"who": {"display": "x"}}],
        "entity": [{"role": "source", "what": {"reference": "Binary/raw"}}],
    }))
    .await;
    for (n, query) in
        ["Patient?_revinclude=AuditEvent:patient", "Provenance?_include=Provenance:entity"].iter().enumerate()
    {
        let body = json!({"patient": ada(), "queries": [query]}).to_string();
        let token = a.signed(b, PULL, body.as_bytes(), a.now(), &format!("q{n}"));
        let (status, parcel) = b.knocked(PULL, &token, body.as_bytes()).await;
        assert_eq!(status, 200, "{query}: {parcel}");
        let text = parcel.to_string();
        assert!(
            !text.contains(r#""resourceType":"AuditEvent""#) && !text.contains(r#""resourceType":"Binary""#),
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_as_evidence_shows_nobody_what_a_consent_withholds() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    b.knows_ada("lovelace").await;
    b.consent("lovelace", &a.id, "active", json!({})).await;
    let pull =
        json!({"from": [b.id, b.id], "patient": "Patient/ada", "queries": ["Observation", "Condition"], "store": true});
    let (status, pulled) = a.ask("POST", "/exchange/pull", &pull).await;
    assert_eq!(status, 200, "{pulled}");
    assert_eq!(names(&pulled).len(), 3, "each organisation is asked once: {:?}", names(&pulled));
    let doctor = format!("Bearer {}", issue(&a.world.running, "user/*.rs", None, Some("Practitioner/d")));
    let provenance = a.world.get("/fhir/Provenance?patient=Patient/ada").await.1["entry"][0]["resource"].clone();
    let entity = provenance["entity"].as_array().unwrap().last().unwrap();
    let parcel = format!("/fhir/{}", entity["what"]["reference"].as_str().unwrap());
    let seen =
        async |path: &str| a.world.request("GET", path, &[("authorization", doctor.as_str())], b"").await.status();
    assert_eq!(seen(&parcel).await, 200, "nobody has said anything");
    let class = json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Condition"}]);
    let deny = json!({"type": "deny", "class": class, "actor": to("Practitioner/d")});
    put(&a.world, consent("active", deny)).await;
    assert_eq!(seen("/fhir/Condition/c-ada").await, 404);
    assert_eq!(seen("/fhir/Observation/o-ada").await, 200);
    assert_eq!(seen(&parcel).await, 404, "a diagnosis is in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_began_elsewhere_stays_who_it_is_and_follows_merges_and_deletions_here() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    a.consent("ada", &b.id, "active", json!({})).await;
    let push = async |id: &str| {
        let order = json!({"id": id, "to": b.id, "patient": "Patient/ada", "queries": ["Observation"]});
        a.pushed(&order).await
    };
    assert_eq!(push("1").await["state"], "delivered");
    let began = b.world.only("/fhir/Patient?identifier=urn:id|4711").await;
    let began = format!("Patient/{}", began["id"].as_str().unwrap());
    // Somebody else's number does not make her somebody else.
    b.put(&json!({"resourceType": "Patient", "id": "other", "birthDate": "1990-01-01",
        "identifier": [{"system": "urn:id", "value": "99"}], "name": [{"family": "Byron", "given": ["Allegra"]}]}))
        .await;
    let become_ = async |number: &str, name: &str| {
        a.put(&json!({"resourceType": "Patient", "id": "ada", "birthDate": if number == "99" { "1990-01-01" } else { "1980-02-29" },
            "identifier": [{"system": "urn:id", "value": number}], "name": [{"family": name, "given": ["Ada"]}]}))
            .await;
        a.world.anchored_receipt("/fhir/Patient/ada/$receipt").await;
    };
    become_("99", "Byron").await;
    let refused = push("2").await;
    assert_eq!(refused["state"], "refused", "{refused}");
    assert_eq!(b.world.get(&format!("/fhir/{began}")).await.1["meta"]["versionId"], "1");
    become_("4711", "Lovelace").await;
    // What was deleted here stays so, and holds up nothing.
    let observation = b.world.only(&format!("/fhir/Observation?patient={began}")).await;
    let observation = format!("/fhir/Observation/{}", observation["id"].as_str().unwrap());
    assert_eq!(b.world.call("DELETE", &observation, "").await.0, 204);
    let delivered = push("3").await;
    assert_eq!(delivered["state"], "delivered", "{delivered}");
    assert_eq!(b.world.get(&observation).await.0, 410);
    // Where her record was merged into another one, that one goes on.
    b.put(&json!({"resourceType": "Patient", "id": "hers", "name": [{"family": "Lovelace"}]})).await;
    let mut merged = b.world.get(&format!("/fhir/{began}")).await.1;
    merged["link"] = json!([{"type": "replaced-by", "other": {"reference": "Patient/hers"}}]);
    b.put(&merged).await;
    a.put(&json!({"resourceType": "Observation", "id": "new", "status": "final", "code": {"text": "new"},
        "subject": {"reference": "Patient/ada"}}))
        .await;
    a.world.anchored_receipt("/fhir/Observation/new/$receipt").await;
    let delivered = push("4").await;
    assert_eq!(delivered["state"], "delivered", "{delivered}");
    b.world.only("/fhir/Observation?patient=Patient/hers").await;
}

fn of_client(at: &super::network::Hospital, id: &str) -> String {
    register(&at.world, id, Keys::None, "system/*.cruds");
    let app = &at.world.running.app;
    let scopes = scopes::parse("system/*.cruds").unwrap();
    let caller = Caller { client: Some(id.to_owned()), ..Caller::new(id, scopes) };
    format!("Bearer {}", app.token_key.issue(&caller, at.now(), Duration::from_secs(600)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_a_consent_denies_pushes_nothing() {
    let Some(network) = Network::of(2).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    put(&a.world, consent("active", json!({"type": "deny", "actor": to("Device/backend")}))).await;
    let token = of_client(a, "backend");
    let order = json!({"to": b.id, "patient": "Patient/ada", "queries": ["*"]}).to_string();
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    let reply = a.world.request("POST", "/exchange/push", &headers, order.as_bytes()).await;
    assert_eq!(reply.status(), 400, "she is not there for it: {:?}", reply.body());
    let other = of_client(a, "other");
    let headers = [("authorization", other.as_str()), ("content-type", "application/json")];
    let reply = a.world.request("POST", "/exchange/push", &headers, order.as_bytes()).await;
    assert_eq!(reply.status(), 202);
    let narrow = format!("Bearer {}", issue(&a.world.running, "system/Basic.r", None, None));
    let reply = a.world.request("GET", "/exchange/participants", &[("authorization", narrow.as_str())], b"").await;
    assert_eq!(reply.status(), 403, "the directory is for who may search organisations");
}
