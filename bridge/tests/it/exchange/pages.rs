//! Exchange in the portal: a clinician asks and looks, a patient is asked, allows, refuses and sees, an administrator sees the network.

use super::network::{Hospital, Network};
use crate::consents;
use crate::door::{Browser, Passkey, invitation};
use crate::frames::is_ours_alone;
use crate::grants::{click, give};
use crate::world::World;
use bridge::people::Role;
use bridge::people::site::Site;
use bytes::Bytes;
use serde_json::json;
use std::time::Duration;
use warp::http::Response;

const ASK: &str = "/me/hospitals/ask";

async fn text(browser: &mut Browser<'_>, path: &str, form: &str) -> (u16, String) {
    let token = browser.token().await;
    let reply = browser.form(path, &format!("token={token}&{form}")).await;
    let page = String::from_utf8(reply.body().to_vec()).unwrap();
    assert!(!page.contains("<script>") && !page.contains(" style="), "{page}");
    (reply.status().as_u16(), page)
}

/// One before the address that the hospital goes by.
fn browser(world: &World) -> Browser<'_> {
    Browser { origin: Site::of(&world.running.app.core.base).origin, ..Browser::new(world) }
}

pub async fn person<'w>(world: &'w World, role: Role, of: Option<&str>) -> (Browser<'w>, Passkey) {
    let organisation = (role == Role::Clinician).then_some("Organization/clinic");
    let mut browser = browser(world);
    let passkey = browser.join(&invitation(world, role, of, organisation)).await;
    (browser, passkey)
}

/// A doctor of a hospital.
async fn doctor(at: &Hospital) -> (Browser<'_>, Passkey) {
    at.put(&json!({"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Weiss"}]})).await;
    at.put(&json!({"resourceType": "Organization", "id": "clinic", "name": "Quay Clinic"})).await;
    person(&at.world, Role::Clinician, Some("Practitioner/doc")).await
}

/// Two hospitals that know Ada, by different ids.
async fn two() -> Option<Network> {
    let network = Network::that_grants(2).await?;
    network.hospitals[0].knows_ada("ada").await;
    network.hospitals[1].knows_ada("lovelace").await;
    Some(network)
}

/// The answer once the chain and the log have it: a 503 says to come again.
async fn settled(browser: &mut Browser<'_>, path: &str) -> Response<Bytes> {
    for _ in 0..600 {
        let reply = browser.get(path).await;
        if reply.status() != 503 {
            return reply;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{path} stays away");
}

/// The page once it shows something.
async fn until(browser: &mut Browser<'_>, path: &str, word: &str) -> String {
    let mut page = String::new();
    for _ in 0..600 {
        let reply = settled(browser, path).await;
        assert_eq!(reply.status(), 200, "{path}");
        page = String::from_utf8(reply.body().to_vec()).unwrap();
        if page.contains(word) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{path} does not show {word}: {page}");
}

/// The answer once it holds something: a grant counts when its block stays, what was written when it is anchored.
async fn until_answered(doc: &mut Browser<'_>, form: &str, word: &str) -> String {
    let mut page = String::new();
    for _ in 0..600 {
        page = text(doc, ASK, form).await.1;
        if page.contains(word) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{form} does not show {word}: {page}");
}

/// A look, once it is open: its address.
async fn begun(doc: &mut Browser<'_>, form: &str) -> String {
    for _ in 0..600 {
        let token = doc.token().await;
        let reply = doc.form(ASK, &format!("token={token}&{form}")).await;
        if reply.status() == 303 {
            return reply.headers()["location"].to_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the look does not open");
}

/// What the only request of a page is called.
fn request(page: &str) -> &str {
    page.split_once("/me/access/new?request=").expect("a request").1.split('"').next().unwrap()
}

async fn results(world: &World) -> u64 {
    world.get("/fhir/Observation?patient=Patient/ada").await.1["total"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinician_asks_the_patient_allows_and_takes_it_back() {
    let Some(network) = two().await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let (mut doc, _) = doctor(a).await;
    let (mut ada, passkey) = person(&b.world, Role::Patient, Some("Patient/lovelace")).await;
    let page = until(&mut doc, "/me/hospitals?place=south&service=cardio", "Hospital Southfield").await;
    assert!(
        page.contains("Hospital Southfield") && page.contains(b.id.as_str()) && !page.contains("Northquay"),
        "{page}"
    );
    until(&mut doc, "/me/hospitals?place=nowhere", "No hospital fits this.").await;
    assert!(doc.page("/me/patients/ada").await.contains("/me/hospitals?patient=ada"));
    until(&mut doc, "/me/hospitals?patient=ada", "Ada Lovelace").await;

    let form = format!("identifier=4711&purpose=TREAT&from-{}=on&kind-Observation=on", b.id);
    let page = until_answered(&mut doc, &form, "Refused.").await;
    assert!(page.contains("Ask the patient"), "{page}");
    assert!(ada.page("/me/shares").await.contains("Nobody asks."));
    until_answered(&mut doc, &format!("{form}&request=yes"), "The patient is asked.").await;
    // Whom he has asked and what came of it stands on his own page.
    let page = until(&mut doc, "/me/hospitals", "refused, and the patient was asked").await;
    for words in ["Asked other hospitals", "/me/hospitals?patient=ada", "Patient/ada", &format!("({}): refused", b.id)]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    a.put(&json!({"resourceType": "Practitioner", "id": "other", "name": [{"family": "Okoye"}]})).await;
    let (mut other, _) = person(&a.world, Role::Clinician, Some("Practitioner/other")).await;
    let page = until(&mut other, "/me/hospitals", "You have asked nothing.").await;
    assert!(!page.contains("the patient was asked") && !page.contains("Patient/ada"), "{page}");

    // The organisation, the purpose and the scope are those that were asked for.
    let page = until(&mut ada, "/me/shares", "Hospital Northquay").await;
    for words in ["Hospital Northquay", a.id.as_str(), "Results and measurements", "treatment"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let recipient = format!("urn:medseal:participant|{}", a.id);
    let page = until(&mut ada, &format!("/me/access/new?request={}", request(&page)), &recipient).await;
    for words in
        [&format!("value=\"{recipient}\""), "name=\"kind-Observation\" checked", "<option selected>my treatment"]
    {
        assert!(page.contains(words), "{words}: {page}");
    }
    let terms = format!(
        "who=urn%3Amedseal%3Aparticipant%7C{}&purpose=my+treatment&what=some&kind-Observation=on&until=2030-12-31",
        a.id
    );
    let code = give(&mut ada, &passkey, &terms, true).await;
    let page = ada.page("/me/shares").await;
    assert!(page.contains("Nobody asks."), "{page}");
    assert!(ada.page("/me/access").await.contains(&recipient));

    let page = until_answered(&mut doc, &form, "Intact").await;
    assert!(
        page.contains("1.5 mmol/l") && page.contains("Hospital Southfield") && !page.contains("Refused."),
        "{page}"
    );
    assert!(
        page.contains("a chain of several organisations holds it") && page.contains("Nothing of it is stored here."),
        "{page}"
    );
    assert_eq!(results(&a.world).await, 1, "nothing is kept");
    // Who looked is told, by whom, and for what.
    let page = until(&mut ada, "/me/shares", "Another hospital: Hospital Northquay").await;
    assert!(
        page.contains("Asked for a copy, from another hospital") && page.contains("Practitioner/doc, for treatment"),
        "{page}"
    );
    until(&mut ada, "/me/records/access", "Another hospital: Hospital Northquay").await;

    let page = until_answered(&mut doc, &format!("{form}&keep=on"), "Now part of the record here: 1.").await;
    assert!(page.contains("kept here"), "{page}");
    assert_eq!(results(&a.world).await, 2, "kept as asked");
    let (mut here, _) = person(&a.world, Role::Patient, Some("Patient/ada")).await;
    let page = here.page("/me/shares").await;
    assert!(page.contains("Came from others") && page.contains("Hospital Southfield"), "{page}");

    assert_eq!(click(&mut ada, code.key).await, 303);
    let page = until_answered(&mut doc, &form, "Refused.").await;
    assert!(!page.contains("1.5 "), "{page}");
    // What has ended is asked for again.
    until_answered(&mut doc, &format!("{form}&request=yes"), "The patient is asked.").await;
    until(&mut ada, "/me/shares", "/me/access/new?request=").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_is_of_who_opened_it_while_he_is_signed_in_and_leaves_nothing() {
    let Some(network) = two().await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let (mut doc, mut passkey) = doctor(a).await;
    let form = format!("patient=ada&purpose=TREAT&look={}", b.id);
    let page = until_answered(&mut doc, &form, "Refused.").await;
    assert!(page.contains("Ask the patient"), "{page}");
    b.consent("lovelace", &a.id, "active", json!({})).await;
    let at = begun(&mut doc, &form).await;
    let reply = settled(&mut doc, &at).await;
    is_ours_alone(&reply, &at);
    let mark = reply.headers()["medseal-watermark"].to_str().unwrap().to_owned();
    assert_eq!((reply.status().as_u16(), reply.headers()["cache-control"].to_str().unwrap()), (200, "no-store"));
    let page = String::from_utf8(reply.body().to_vec()).unwrap();
    assert!(mark.starts_with("Practitioner/doc 20") && page.contains(&mark), "{mark}: {page}");
    for words in ["Hospital Southfield", "1.5 mmol/l", "Intact", "Nothing of it is stored here.", "Lovelace"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let entry = until(&mut doc, &format!("{at}/Observation/o-lovelace"), "1.5 mmol/l").await;
    assert!(entry.contains("Practitioner/doc 20"), "{entry}");
    until(&mut doc, &format!("{at}/Observation"), "/Observation/o-lovelace").await;
    for path in ["Nonsense", "AuditEvent", "Observation/-%20"] {
        assert_eq!(doc.get(&format!("{at}/{path}")).await.status(), 404, "{path}");
    }
    assert_eq!(results(&a.world).await, 1, "nothing is kept");

    let (mut other, _) = person(&a.world, Role::Clinician, Some("Practitioner/doc")).await;
    assert_eq!(other.get(&at).await.status(), 404, "it is of who opened it");
    b.consent("lovelace", &a.id, "inactive", json!({})).await;
    let reply = settled(&mut doc, &at).await;
    assert_eq!(reply.status(), 403);
    let page = String::from_utf8(reply.body().to_vec()).unwrap();
    assert!(page.contains("Not shown.") && !page.contains("1.5 "), "{page}");
    b.consent("lovelace", &a.id, "active", json!({})).await;
    assert_eq!(settled(&mut doc, &at).await.status(), 200);
    // Signed out and in again it is another session.
    let kept = doc.cookie.clone();
    let mut again = Browser::new(&a.world);
    assert_eq!(again.sign_in(&mut passkey).await.0, 200);
    assert_eq!(again.get(&at).await.status(), 404, "another session of the same person");
    doc.cookie = kept;
    assert_eq!(doc.form(&format!("{at}/end"), "token=x").await.status(), 403);
    assert_eq!(text(&mut doc, &format!("{at}/end"), "").await.0, 303);
    assert_eq!(doc.get(&at).await.status(), 410, "ended");
    // Each view is told, and the ticket is in no trail.
    bridge::audit::worker::flush(&a.world.running.app).await.unwrap();
    let events = a.world.get("/fhir/AuditEvent?patient=Patient/ada&subtype=operation").await.1;
    assert!(events["total"].as_u64().unwrap() > 0, "{events}");
    let asked = events.to_string();
    assert!(!asked.contains(at.rsplit('/').next().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_refuses_is_not_asked_again() {
    let Some(network) = two().await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let (mut doc, _) = doctor(a).await;
    let (mut ada, _) = person(&b.world, Role::Patient, Some("Patient/lovelace")).await;
    let form = format!("patient=ada&purpose=HRESCH&from-{}=on&request=yes", b.id);
    until_answered(&mut doc, &form, "The patient is asked.").await;
    let page = until(&mut ada, "/me/shares", "/me/access/new?request=").await;
    assert!(page.contains("everything in your record") && page.contains("research"), "{page}");
    let id = request(&page).to_owned();
    // Of nobody else, and nothing but such a request.
    b.put(&json!({"resourceType": "Patient", "id": "bob", "name": [{"family": "Okafor"}]})).await;
    let (mut bob, _) = person(&b.world, Role::Patient, Some("Patient/bob")).await;
    b.put(&json!({"resourceType": "Task", "id": "other", "status": "requested", "intent": "order", "for": {"reference": "Patient/lovelace"}}))
        .await;
    assert_eq!(text(&mut bob, "/me/shares/refuse", &format!("request={id}")).await.0, 404);
    for id in ["other", ""] {
        assert_eq!(text(&mut ada, "/me/shares/refuse", &format!("request={id}")).await.0, 404, "{id}");
    }
    assert_eq!(bob.get(&format!("/me/access/new?request={id}")).await.status(), 404);
    assert_eq!(ada.form("/me/shares/refuse", &format!("request={id}")).await.status(), 403, "without a token");
    assert_eq!(text(&mut ada, "/me/shares/refuse", &format!("request={id}")).await.0, 303);
    let task = b.world.get(&format!("/fhir/Task/{id}")).await.1;
    assert_eq!(task["status"], "rejected", "{task}");
    assert_eq!(text(&mut ada, "/me/shares/refuse", &format!("request={id}")).await.0, 404, "once");
    until_answered(&mut doc, &form, "The patient is asked.").await;
    assert!(ada.page("/me/shares").await.contains("Nobody asks."));
    assert_eq!(b.world.get(&format!("/fhir/Task/{id}")).await.1["meta"]["versionId"], task["meta"]["versionId"]);

    // Here she has said something, too: what is told of her record is for her and for auditors. What he has asked he still sees.
    let own = json!({"type": "permit", "actor": consents::to("Practitioner/doc")});
    a.put(&consents::consent("active", own)).await;
    bridge::audit::worker::flush(&a.world.running.app).await.unwrap();
    let trail = consents::get_as(&a.world, "Practitioner/doc", "/fhir/AuditEvent?agent=Practitioner/doc").await;
    assert!(trail.0 == 200 && !trail.1.to_string().contains("Patient/ada"), "{}", trail.1);
    until(&mut doc, "/me/hospitals", "refused, and the patient was asked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_the_network_and_sends_again_what_was_refused() {
    let Some(network) = two().await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let push = json!({"to": b.id, "patient": "Patient/ada", "queries": ["Observation"]});
    let (_, queued) = a.ask("POST", "/exchange/push", &push).await;
    let id = queued["id"].as_str().unwrap();
    assert_eq!(a.ended(id).await["state"], "refused");
    let (mut chief, _) = person(&a.world, Role::Administrator, None).await;
    let page = until(&mut chief, "/me/network", "Hospital Southfield").await;
    let document = &a.world.running.app.exchange.as_ref().unwrap().directory;
    let document = document.find(&b.id, b.now()).await.unwrap().digest.to_string();
    for words in ["Hospital Southfield", "active", "this one", &document, "refused", id, "Try now"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("Lovelace") && !page.contains("Patient/ada"), "{page}");
    for (form, status) in [("delivery=none", 404), ("", 400)] {
        assert_eq!(text(&mut chief, "/me/network/retry", form).await.0, status, "{form}");
    }
    assert_eq!(chief.form("/me/network/retry", &format!("delivery={id}")).await.status(), 403, "without a token");
    a.consent("ada", &b.id, "active", json!({})).await;
    assert_eq!(text(&mut chief, "/me/network/retry", &format!("delivery={id}")).await.0, 303);
    let state = a.ended(id).await;
    assert_eq!(state["state"], "delivered", "{state}");
    let page = chief.page("/me/network").await;
    assert!(page.contains("Everything has arrived."), "{page}");
    assert_eq!(text(&mut chief, "/me/network/retry", &format!("delivery={id}")).await.0, 404, "it has arrived");
    // Its patient sees what went where, with the receipt of that.
    let (mut ada, _) = person(&a.world, Role::Patient, Some("Patient/ada")).await;
    let page = until(&mut ada, "/me/shares", "Hospital Southfield").await;
    let receipt = page.split_once("/me/records/Provenance/").expect("a receipt").1.split('"').next().unwrap();
    a.world.anchored_receipt(&format!("/fhir/Provenance/{}/$receipt", receipt.trim_end_matches("/receipt"))).await;
    assert_eq!(settled(&mut ada, &format!("/me/records/Provenance/{receipt}")).await.status(), 200);
    let page = until(&mut ada, "/me/shares", "Was sent entries").await;
    let event = page.split_once("/me/records/AuditEvent/").expect("a receipt").1.split('"').next().unwrap();
    assert_eq!(settled(&mut ada, &format!("/me/records/AuditEvent/{event}")).await.status(), 200);
    assert!(page.contains("Sent to others") && page.contains("Results and measurements"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_refuses_what_is_not_its_own() {
    let Some(network) = two().await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    let (mut doc, _) = doctor(a).await;
    let (mut ada, _) = person(&a.world, Role::Patient, Some("Patient/ada")).await;
    let (mut chief, _) = person(&a.world, Role::Administrator, None).await;
    let good = format!("identifier=4711&purpose=TREAT&from-{}=on", b.id);
    for (form, status) in [
        (good.replace("4711", "9999"), 400),
        (good.replace("identifier=4711", "patient=none"), 404),
        (good.replace("identifier=4711&", ""), 400),
        (good.replace("TREAT", "nonsense"), 400),
        (good.replace(&b.id.to_string(), "a%2Fb"), 400),
        ("identifier=4711&purpose=TREAT".to_owned(), 400),
        // Who is unknown to the directory is told beside the others.
        (good.replace(&b.id.to_string(), "0x0000000000000000000000000000000000000001"), 200),
    ] {
        let (told, page) = text(&mut doc, ASK, &form).await;
        assert_eq!(told, status, "{form}: {page}");
        assert!(!page.contains("1.5 "), "{form}");
    }
    a.put(&json!({"resourceType": "Patient", "id": "twin", "identifier": [{"system": "urn:id", "value": "4711"}]}))
        .await;
    assert_eq!(text(&mut doc, ASK, &good).await.0, 400, "two have the number");
    assert_eq!(doc.form(ASK, &good).await.status(), 403, "without the session's token");
    let token = doc.token().await;
    let foreign = [("origin", "http://evil.example"), ("content-type", "application/x-www-form-urlencoded")];
    for path in [ASK, "/me/shares/refuse", "/me/network/retry", "/me/hospitals/look/x/end"] {
        assert_eq!(doc.send("POST", path, &foreign, &format!("token={token}&{good}")).await.status(), 403, "{path}");
        assert_eq!(doc.get(path).await.status(), 405, "{path}");
        assert_eq!(Browser::new(&a.world).form(path, &good).await.status(), 401, "{path}");
    }
    // Each page is of one role.
    for (who, own) in [(&mut doc, "/me/hospitals"), (&mut ada, "/me/shares"), (&mut chief, "/me/network")] {
        for path in ["/me/hospitals", "/me/shares", "/me/network"] {
            let status = if path == own { 200 } else { 403 };
            assert_eq!(settled(who, path).await.status(), status, "{path} for who has {own}");
        }
    }
    let all = format!("{good}&request=x&delivery=x");
    assert_eq!(text(&mut ada, ASK, &all).await.0, 403);
    assert_eq!(text(&mut chief, ASK, &all).await.0, 403);
    for path in ["/me/shares/refuse", "/me/network/retry"] {
        assert_eq!(text(&mut doc, path, &all).await.0, 403, "{path}");
    }
    assert_eq!(Browser::new(&a.world).get("/me/hospitals").await.status(), 303);
    assert_eq!(doc.get("/me/hospitals/look/vforged").await.status(), 404);
    // A service that has no part in a network says so.
    let alone = World::new().await;
    alone.call("PUT", "/fhir/Practitioner/doc", r#"{"resourceType":"Practitioner","id":"doc"}"#).await;
    alone.call("PUT", "/fhir/Organization/clinic", r#"{"resourceType":"Organization","id":"clinic","name":"x"}"#).await;
    let (mut doc, _) = person(&alone, Role::Clinician, Some("Practitioner/doc")).await;
    assert!(doc.page("/me/hospitals").await.contains("exchanges nothing with others"));
    assert_eq!(text(&mut doc, ASK, &good).await.0, 400);
    let (mut chief, _) = person(&alone, Role::Administrator, None).await;
    assert!(chief.page("/me/network").await.contains("exchanges nothing with others"));
    assert_eq!(text(&mut chief, "/me/network/retry", "delivery=x").await.0, 400);
}
