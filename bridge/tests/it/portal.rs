//! The portal: who is shown what, who is refused, and that each view is told in the trail.

use super::consents::{OTHER, consent, put, to};
use super::door::{Browser, invitation};
use super::world::World;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bridge::index::clients::{Client, Keys};
use bridge::index::drills::Drill;
use bridge::people::Role;
use notary::receipt::Receipt;
use notary::verify::{Policy, verify};
use serde_json::{Value, json};
use std::time::Duration;

const EVIL: &str = "<script>alert(1)</script>";

/// Two patients, a doctor, and what was written of the two.
pub async fn ward() -> World {
    filled(World::new().await).await
}

pub async fn filled(world: World) -> World {
    let of = |id: &str| json!({"reference": format!("Patient/{id}")});
    let result = |id: &str, of_whom: &str, value: f64, day: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final", "subject": of(of_whom), "effectiveDateTime": day,
            "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0"}], "text": "Glucose"},
            "valueQuantity": {"value": value, "unit": "mmol/L"}})
    };
    for resource in [
        json!({"resourceType": "Patient", "id": "ada", "birthDate": "1980-02-29", "identifier": [{"system": "http://h/mrn", "value": "4711"}],
            "name": [{"family": format!("Novak {EVIL}"), "given": ["Ada"]}]}),
        json!({"resourceType": "Patient", "id": "bob", "birthDate": "1971-01-01", "name": [{"family": "Okafor"}]}),
        json!({"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Weiss"}]}),
        json!({"resourceType": "Organization", "id": "clinic", "name": "Quay Clinic"}),
        result("g1", "ada", 5.1, "2026-01-02"),
        result("g2", "ada", 6.3, "2026-02-02"),
        result("g3", "bob", 7.7, "2026-02-03"),
        json!({"resourceType": "AllergyIntolerance", "id": "nuts", "patient": of("ada"), "code": {"text": format!("Nuts {EVIL}")},
            "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">Swells &lt;script&gt;</div>"}}),
        json!({"resourceType": "Appointment", "id": "soon", "status": "booked", "start": "2026-12-01T09:00:00Z", "description": "Check-up",
            "participant": [{"actor": of("ada"), "status": "accepted"}]}),
    ] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let (status, told) = world.call("PUT", &path, &resource.to_string()).await;
        assert_eq!(status, 201, "{told}");
    }
    world
}

pub async fn person<'w>(world: &'w World, role: Role) -> Browser<'w> {
    let mut browser = Browser::new(world);
    let (resource, organisation) = match role {
        Role::Patient => (Some("Patient/ada"), None),
        Role::Clinician => (Some("Practitioner/doc"), Some("Organization/clinic")),
        Role::Administrator | Role::Auditor => (None, None),
    };
    browser.join(&invitation(world, role, resource, organisation)).await;
    browser
}

/// The events that a search finds, once there are some.
async fn told(world: &World, query: &str) -> Vec<Value> {
    for _ in 0..2_000 {
        let (status, bundle) = world.get(&format!("/fhir/AuditEvent?{query}")).await;
        assert_eq!(status, 200, "{bundle}");
        let found: Vec<Value> =
            bundle["entry"].as_array().into_iter().flatten().map(|e| e["resource"].clone()).collect();
        if !found.is_empty() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{query} is not told");
}

/// The page once it shows something: what was read is told within a moment.
async fn page_with(browser: &mut Browser<'_>, path: &str, word: &str) -> String {
    for _ in 0..2_000 {
        let page = browser.page(path).await;
        if page.contains(word) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{path} does not show {word}");
}

pub fn is_text(page: &str) {
    assert!(!page.contains("<script") && !page.contains(" style=") && !page.contains(" onclick="), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_sees_the_own_record_in_plain_words_and_each_view_is_told() {
    let world = ward().await;
    let mut ada = person(&world, Role::Patient).await;
    let page = ada.page("/me/records").await;
    for word in [
        "Novak &lt;script&gt;",
        "1980-02-29",
        "Glucose",
        "6.3 mmol/L",
        "Nuts &lt;script&gt;",
        "Check-up",
        "<svg",
        "2026-12-01 09:00",
    ] {
        assert!(page.contains(word), "{word}: {page}");
    }
    assert!(!page.contains("7.7"), "another's");
    is_text(&page);
    let event = &told(&world, "patient=Patient/ada&subtype=search-type&agent=Patient/ada").await[0];
    assert_eq!(event["outcome"], "0");

    let list = ada.page("/me/records/Observation").await;
    assert!(
        list.contains("5.1 mmol/L") && list.find("6.3 mmol/L") < list.find("5.1 mmol/L") && !list.contains("7.7"),
        "{list}"
    );
    let entry = ada.page("/me/records/AllergyIntolerance/nuts").await;
    assert!(entry.contains("Swells &lt;script&gt;") && entry.contains("Is it unchanged?"), "{entry}");
    is_text(&entry);
    told(&world, "patient=Patient/ada&subtype=read&agent=Patient/ada").await;
    assert!(ada.page("/me/records/Patient/ada").await.contains("4711"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_takes_the_receipt_the_summary_and_everything_along() {
    let world = ward().await;
    let mut ada = person(&world, Role::Patient).await;
    page_with(&mut ada, "/me/records/Observation/g1", "Download the receipt").await;
    let reply = ada.get("/me/records/Observation/g1/receipt").await;
    assert_eq!(
        (reply.status().as_u16(), &reply.headers()["content-disposition"]),
        (200, &"attachment; filename=\"receipt.json\"".parse().unwrap())
    );
    let receipt = Receipt::parse(reply.body()).unwrap();
    let resource = world.bytes("/fhir/Observation/g1").await;
    verify(&receipt, Some(&resource), None, &Policy::default()).unwrap();

    let reply = ada.get("/me/records/download").await;
    let bundle: Value = serde_json::from_slice(reply.body()).unwrap();
    let names: Vec<&str> =
        bundle["entry"].as_array().unwrap().iter().filter_map(|e| e["resource"]["id"].as_str()).collect();
    assert!(
        ["ada", "g1", "g2", "nuts", "soon"].iter().all(|id| names.contains(id)) && !names.contains(&"g3"),
        "{names:?}"
    );
    let summary = ada.page("/me/records/summary").await;
    assert!(summary.contains("Glucose") && !summary.contains("7.7"));
    is_text(&summary);
    let events = told(&world, "patient=Patient/ada&subtype=operation&agent=Patient/ada").await;
    assert!(!events.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_sees_who_looked() {
    let world = ward().await;
    let mut ada = person(&world, Role::Patient).await;
    let token = super::world::mint(&world.running, "system/Observation.r");
    let bearer = format!("Bearer {token}");
    let _ = world.request("GET", "/fhir/Observation/g1", &[("authorization", bearer.as_str())], b"").await;
    ada.page("/me/records/Observation/g1").await;
    let page = page_with(&mut ada, "/me/records/access", "You").await;
    assert!(page.contains("Looked at an entry: Results and measurements") && !page.contains("Refused."), "{page}");
    assert!(page.contains("A program: "), "{page}");
    assert!(!page.contains("bob"), "{page}");
    is_text(&page);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sees_what_is_not_for_him() {
    let world = ward().await;
    const PAGES: &[&str] = &[
        "/me/records",
        "/me/records/access",
        "/me/records/summary",
        "/me/records/download",
        "/me/records/Observation/g1",
    ];
    let mut nobody = Browser::new(&world);
    for path in PAGES {
        let reply = nobody.get(path).await;
        assert_eq!(reply.status(), 303, "{path}");
        assert!(reply.headers()["location"].to_str().unwrap().starts_with("/auth/login?next=%2Fme%2F"), "{path}");
    }
    let mut ada = person(&world, Role::Patient).await;
    for path in
        ["Observation/g3", "Observation/g3/receipt", "Patient/bob", "Observation/none", "Nonsense", "Observation/g1/x"]
    {
        let reply = ada.get(&format!("/me/records/{path}")).await;
        assert_eq!(reply.status(), 404, "{path}");
        assert!(!String::from_utf8_lossy(reply.body()).contains("7.7"));
    }
    assert_eq!(ada.get("/me/records/Observation?after=forged").await.status(), 400);
    for role in [Role::Clinician, Role::Administrator, Role::Auditor] {
        let mut other = person(&world, role).await;
        for path in PAGES {
            let reply = other.get(path).await;
            assert_eq!(reply.status(), 403, "{role:?} {path}");
            assert!(!String::from_utf8_lossy(reply.body()).contains("Glucose"));
        }
    }
    assert!(!told(&world, "outcome=4&agent=Practitioner/doc").await.is_empty(), "a refusal is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clinician_sees_each_record_under_its_own_patient() {
    let world = ward().await;
    let mut doc = person(&world, Role::Clinician).await;
    let token = doc.token().await;
    let form = |rest: &str| format!("token={token}&{rest}");
    for question in ["identifier=4711", "name=novak&birthdate=1980-02-29"] {
        let reply = doc.form("/me/patients", &form(question)).await;
        let page = String::from_utf8(reply.body().to_vec()).unwrap();
        assert!(reply.status() == 200 && page.contains("/me/patients/ada") && !page.contains("Okafor"), "{page}");
        is_text(&page);
    }
    for (question, status) in [("name=novak", 400), ("", 400), ("identifier=9999", 200)] {
        let reply = doc.form("/me/patients", &form(question)).await;
        assert_eq!(reply.status().as_u16(), status, "{question}");
        assert!(!String::from_utf8_lossy(reply.body()).contains("/me/patients/ada"));
    }
    assert_eq!(doc.form("/me/patients", "identifier=4711").await.status(), 403, "without the session's token");
    assert!(!doc.page("/me/patients").await.contains("/me/patients/"), "nobody is his patient yet");
    let soon = (world.running.app.core.clock.now() + jiff::SignedDuration::from_hours(1)).to_string();
    let to_doc = json!({"actor": {"reference": "Practitioner/doc"}, "status": "accepted"});
    let of = |id: &str| json!({"reference": format!("Patient/{id}")});
    for (resource, listed) in [
        (
            json!({"resourceType": "Encounter", "id": "long-ago", "status": "finished", "class": {"code": "AMB"}, "subject": of("ada"),
            "participant": [{"individual": {"reference": "Practitioner/doc"}}], "period": {"start": "2019-01-01", "end": "2019-01-02"}}),
            false,
        ),
        (
            json!({"resourceType": "Appointment", "id": "next", "status": "booked", "start": soon, "end": soon,
            "participant": [{"actor": of("ada"), "status": "accepted"}, to_doc]}),
            true,
        ),
    ] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        let (status, told) = world.call("PUT", &path, &resource.to_string()).await;
        assert_eq!(status, 201, "{told}");
        let page = doc.page("/me/patients").await;
        assert_eq!(page.contains("/me/patients/ada"), listed, "{path}: {page}");
        assert!(!page.contains("/me/patients/bob"), "{page}");
        is_text(&page);
    }

    let page = doc.page("/me/patients/ada").await;
    assert!(
        page.contains("6.3 mmol/L") && page.contains("/me/patients/ada/Observation/g2") && !page.contains("7.7"),
        "{page}"
    );
    is_text(&page);
    assert!(doc.page("/me/patients/ada/Observation/g2").await.contains("Glucose"));
    for path in ["ada/Observation/g3", "ada/Observation/g3/receipt", "ada/Patient/bob", "ada/access", "nobody"] {
        let reply = doc.get(&format!("/me/patients/{path}")).await;
        assert_eq!(reply.status(), 404, "{path}");
    }
    for what in ["read", "search-type"] {
        let event = &told(&world, &format!("patient=Patient/ada&subtype={what}&agent=Practitioner/doc")).await[0];
        assert!(!event.to_string().contains(&token), "no token in the trail");
    }
    let mut ada = person(&world, Role::Patient).await;
    page_with(&mut ada, "/me/records/access", "Weiss (Practitioner/doc)").await;
    for path in ["/me/patients", "/me/patients/bob", "/me/patients/ada"] {
        assert_eq!(ada.get(path).await.status(), 403, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_sees_the_trail_and_no_record() {
    let world = ward().await;
    let mut ada = person(&world, Role::Patient).await;
    ada.page("/me/records/Observation/g1").await;
    assert_eq!(ada.get("/me/log").await.status(), 403);
    told(&world, "patient=Patient/ada&subtype=read&agent=Patient/ada").await;
    let mut auditor = person(&world, Role::Auditor).await;
    let page = page_with(&mut auditor, "/me/log", "Patient/ada, by portal/").await;
    assert!(
        page.contains("href=\"/ledger\"") && page.contains("href=\"/verify\"") && !page.contains("Glucose"),
        "{page}"
    );
    for (query, finds) in [
        ("patient=Patient%2Fada&who=Patient%2Fada&outcome=0", true),
        ("patient=ada&who=Patient%2Fada", true),
        ("patient=bob&who=Patient%2Fada", false),
        ("who=Patient%2Fada&to=2001-01-01", false),
        ("patient=none", false),
    ] {
        let page = auditor.page(&format!("/me/log?{query}")).await;
        assert_eq!(page.contains("Patient/ada, by portal/"), finds, "{query}");
    }
    assert!(page_with(&mut auditor, "/me/log?outcome=4", "Refused.").await.contains("Patient/ada, by portal/"));
    assert_eq!(auditor.get("/me/log?from=nonsense").await.status(), 400);
    assert_eq!(auditor.get("/me/patients/ada").await.status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_and_the_patient_are_told_why_somebody_sees_an_entry_and_nobody_else_is() {
    let world = ward().await;
    let research = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HRESCH"}]);
    let except = json!([{"type": "deny", "actor": to(OTHER), "purpose": research}]);
    put(&world, consent("active", json!({"type": "permit", "provision": except}))).await;
    let (mut auditor, mut ada) = (person(&world, Role::Auditor).await, person(&world, Role::Patient).await);
    assert!(auditor.page("/me/log").await.contains("href=\"/me/explain\""));
    assert!(ada.page("/me/records/Observation/g1").await.contains("href=\"/me/explain?record=Observation/g1\""));
    let asked = |query: &str| format!("/me/explain?record=Observation/g1&actor={query}");
    for (query, word, because) in [
        ("Practitioner/doc", "Allowed", "Consent/k provision<"),
        ("Practitioner/other", "Allowed", "Consent/k provision<"),
        ("Practitioner/other&purpose=HRESCH", "Refused", "Consent/k provision.provision[0]<"),
        ("Device/app,%20Practitioner/other&purpose=HRESCH", "Refused", "Consent/k provision.provision[0]<"),
        ("Patient/ada", "Allowed", "No Consent is asked"),
    ] {
        for browser in [&mut auditor, &mut ada] {
            let page = browser.page(&asked(query)).await;
            let other = if word == "Allowed" { "Refused" } else { "Allowed" };
            assert!(page.contains(word) && page.contains(because) && !page.contains(other), "{query}: {page}");
            assert!(!page.contains("Glucose") && !page.contains("5.1") && !page.contains("Novak"), "{query}: {page}");
            is_text(&page);
        }
    }
    let of_bob = "/me/explain?record=Observation/g3&actor=Practitioner/doc";
    assert!(auditor.page(of_bob).await.contains("no Consent says anything"));
    assert_eq!(ada.get(of_bob).await.status(), 404, "another's");
    for (query, status) in [
        ("record=Observation/none&actor=Practitioner/doc", 404),
        ("record=g1&actor=Practitioner/doc", 400),
        ("record=Observation/g1&actor=doc", 400),
        ("record=Observation/g1&actor=,", 400),
        ("record=Observation/g1&actor=Practitioner/doc&purpose=nosuch", 400),
        ("record=Observation/g1", 200),
    ] {
        assert_eq!(auditor.get(&format!("/me/explain?{query}")).await.status(), status, "{query}");
    }
    for role in [Role::Clinician, Role::Administrator] {
        let mut other = person(&world, role).await;
        for path in [asked("Practitioner/other"), of_bob.to_owned(), "/me/explain".to_owned()] {
            let reply = other.get(&path).await;
            assert_eq!(reply.status(), 403, "{role:?} {path}");
            assert!(!String::from_utf8_lossy(reply.body()).contains("Consent/k"), "{role:?} {path}");
        }
    }
    // She sees that an auditor asked.
    page_with(&mut ada, "/me/records/access", "An auditor or administrator: portal/").await;
    assert!(
        page_with(&mut ada, "/me/records/access", "Asked who may see it").await.contains("Results and measurements")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_takes_a_program_out_and_it_is_told() {
    let world = ward().await;
    let mut chief = person(&world, Role::Administrator).await;
    let store = &world.running.app.core.store;
    let client = Client {
        id: "lab".into(),
        name: "Lab <of> Northquay".into(),
        scope: "system/*.rs".into(),
        keys: Keys::At("https://lab.example/keys".into()),
        redirects: Vec::new(),
        launch: None,
        purpose: None,
        by_itself: false,
        made: 1_780_000_000_000,
    };
    assert!(store.add_client(&client, 9).unwrap());
    let page = chief.page("/me/clients").await;
    assert!(page.contains("Lab &lt;of&gt; Northquay") && page.contains("never"), "{page}");
    store.used_client("lab", 1_790_000_000_000).unwrap();
    assert!(chief.page("/me/clients").await.contains("2026-09-21 14:13 UTC"));
    let path = "/me/clients/lab/remove";
    assert!(chief.page(path).await.contains("Remove it"));
    assert_eq!(chief.get("/me/clients/none/remove").await.status(), 404);
    for (body, status) in [("", 403), ("token=x", 403)] {
        assert_eq!(chief.form(path, body).await.status(), status, "{body:?}");
    }
    let mut auditor = person(&world, Role::Auditor).await;
    let theirs = format!("token={}", auditor.token().await);
    assert_eq!(auditor.form(path, &theirs).await.status(), 403);
    assert!(store.client("lab").unwrap().is_some(), "nothing was done until now");
    let token = format!("token={}", chief.token().await);
    assert_eq!(chief.form(path, &token).await.status(), 303);
    assert!(store.client("lab").unwrap().is_none() && store.clients_used().unwrap().is_empty());
    assert_eq!(chief.form(path, &token).await.status(), 404, "it is done once");
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    let asked = STANDARD.encode("me/clients/lab/remove");
    let events = told(&world, "subtype=operation&outcome=0").await;
    assert!(events.iter().any(|event| event.to_string().contains(&asked)), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_sees_people_and_programs_and_no_record() {
    let world = ward().await;
    let mut chief = person(&world, Role::Administrator).await;
    let mut auditor = person(&world, Role::Auditor).await;
    let page = chief.page("/me/people").await;
    assert!(page.contains("auditor") && page.contains("Passkey") && !page.contains("Novak"), "{page}");
    assert!(chief.page("/me/clients").await.contains("None is registered"));
    let (keys, backups) = (chief.page("/me/keys").await, chief.page("/me/backups").await);
    let root = world.running.app.core.keys.newest_id().unwrap().to_string();
    let signing = world.running.app.token_key.public()["keys"][0]["kid"].as_str().unwrap().to_owned();
    assert!(
        keys.contains(&root) && keys.contains(&signing) && keys.contains("none under way") && !keys.contains("Novak"),
        "{keys}"
    );
    assert!(backups.contains("There was none") && !backups.contains("Novak"), "{backups}");
    world
        .running
        .app
        .core
        .store
        .note_drill(&Drill { at: 1_790_000_000_000, proved: true, backup: None, log: 41 })
        .unwrap();
    let backups = chief.page("/me/backups").await;
    assert!(backups.contains("2026-09-21 14:13 UTC") && backups.contains("41 log entries"), "{backups}");
    for path in ["/me/keys", "/me/backups", "/me/clients", "/me/clients/x/remove"] {
        assert_eq!(auditor.get(path).await.status(), 403, "{path}");
    }
    for path in ["/me/records", "/me/patients", "/me/patients/ada", "/me/patients/ada/Observation/g1", "/me/log"] {
        assert_eq!(chief.get(path).await.status(), 403, "{path}");
    }
    let token = chief.token().await;
    let invite = |who: &str| format!("token={token}&{who}");
    let reply = chief.form("/me/people/invite", &invite("role=patient&for=Patient%2Fbob")).await;
    let page = String::from_utf8(reply.body().to_vec()).unwrap();
    let code = page.split_once("/auth/join?code=").unwrap().1.split('<').next().unwrap();
    let mut bob = Browser::new(&world);
    bob.join(code).await;
    assert!(bob.page("/me/records").await.contains("7.7 mmol/L"));
    for (who, status) in [("role=root", 400), ("role=patient", 400), ("role=patient&for=Patient%2Fnone", 403)] {
        assert_eq!(chief.form("/me/people/invite", &invite(who)).await.status().as_u16(), status, "{who}");
    }

    let accounts = world.running.app.core.store.accounts().unwrap();
    let id = |role| accounts.iter().find(|account| account.person.role == role).unwrap().id.to_string();
    let close = |role| format!("token={token}&account={}&close=yes", id(role));
    assert_eq!(chief.form("/me/people/close", &close(Role::Administrator)).await.status(), 409, "not one's own");
    assert_eq!(chief.form("/me/people/close", &close(Role::Auditor)).await.status(), 303);
    assert!(!auditor.is_signed_in().await);
    let of_bob = bob.token().await;
    let body = format!("token={of_bob}&account={}&close=yes", id(Role::Administrator));
    assert_eq!(bob.form("/me/people/close", &body).await.status(), 403);
    assert!(chief.is_signed_in().await);
}
