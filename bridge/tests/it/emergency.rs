//! Emergency access: what a patient withholds is shown to a clinician who says that he must see it now; it is in the log before, and the
//! patient is told. All people are invented.

use super::consents::{DOCTOR, OTHER, consent, found, get_as, put, ward};
use super::door::{Browser, invitation};
use super::world::{World, config, issue};
use super::{replicas, stores};
use bridge::audit::worker::flush;
use bridge::config::{Config, Stance};
use bridge::ids::{Name, ResourceId};
use bridge::index::emergencies::{Emergency, Most};
use bridge::people::Role;
use bridge::upkeep::erase;
use notary::receipt::Receipt;
use notary::verify::{Policy, verify};
use serde_json::{Value, json};

const REASON: &str = "unconscious, allergies unknown";
const STARTED: &str = "subtype=http://dicom.nema.org/resources/ontology/DCM%7C110127";

/// A body of `$emergency-access`.
fn plea(parts: &[(&str, Value)]) -> String {
    let part = |(name, value): &(&str, Value)| match value {
        Value::Number(number) => json!({"name": name, "valuePositiveInt": number}),
        text => json!({"name": name, "valueString": text}),
    };
    json!({"resourceType": "Parameters", "parameter": parts.iter().map(part).collect::<Vec<_>>()}).to_string()
}

fn usual() -> String {
    plea(&[("role", json!("physician on call")), ("reason", json!(REASON))])
}

async fn post(world: &World, token: &str, path: &str, body: &str) -> (u16, Value) {
    let token = format!("Bearer {token}");
    let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
    let reply = world.request("POST", path, &headers, body.as_bytes()).await;
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap_or(Value::Null))
}

pub async fn declare(world: &World, user: &str, patient: &str) -> (u16, Value) {
    let token = issue(&world.running, "user/*.rs", None, Some(user));
    post(world, &token, &format!("/fhir/Patient/{patient}/$emergency-access"), &usual()).await
}

pub async fn end(world: &World, user: &str, patient: &str) -> u16 {
    let token = issue(&world.running, "user/*.rs", None, Some(user));
    post(world, &token, &format!("/fhir/Patient/{patient}/$end-emergency-access"), "").await.0
}

async fn events(world: &World, query: &str) -> Vec<Value> {
    flush(&world.running.app).await.unwrap();
    let (status, bundle) = world.get(&format!("/fhir/AuditEvent?{query}")).await;
    assert_eq!(status, 200, "{bundle}");
    bundle["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()).collect()
}

/// Ada and Bea, who let nobody see anything.
async fn closed(world: &World) {
    ward(world).await;
    for id in ["ada", "bea"] {
        let mut consent = consent("active", json!({"type": "deny"}));
        consent["id"] = format!("k-{id}").into();
        consent["patient"]["reference"] = format!("Patient/{id}").into();
        put(world, consent).await;
    }
    assert_eq!(sees(world, DOCTOR, "ada").await, 404);
}

async fn sees(world: &World, user: &str, patient: &str) -> u16 {
    get_as(world, user, &format!("/fhir/Observation/o-{patient}")).await.0
}

fn coded(event: &Value, place: &str) -> String {
    event.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_withheld_is_shown_to_who_declares_it_for_that_patient_alone_until_he_ends_it() {
    let world = World::new().await;
    closed(&world).await;
    let (status, begun) = declare(&world, DOCTOR, "ada").await;
    assert_eq!(status, 201, "{begun}");
    assert_eq!(sees(&world, DOCTOR, "ada").await, 200);
    assert_eq!(
        found(&world, DOCTOR, "/fhir/Observation").await,
        ["Observation/o-ada"],
        "another patient's is not there"
    );
    assert_eq!(sees(&world, OTHER, "ada").await, 404, "another doctor");
    let trail =
        get_as(&world, DOCTOR, &format!("/fhir/{}", coded(&begun, "/parameter/0/valueReference/reference"))).await;
    assert_eq!(trail.0, 404, "the trail is the patient's and the auditors'");
    let asked = format!("/fhir/Observation/o-ada/$explain-access?actor={DOCTOR}");
    let explained = world.get(&asked).await.1.to_string();
    assert!(
        explained.contains("\"permitted\",\"valueBoolean\":true") && explained.contains("goes before"),
        "{explained}"
    );
    assert_eq!(end(&world, OTHER, "ada").await, 404, "nobody else's to end");
    assert_eq!(end(&world, DOCTOR, "ada").await, 200);
    assert_eq!((sees(&world, DOCTOR, "ada").await, end(&world, DOCTOR, "ada").await), (404, 404));
    let stopped = events(&world, "subtype=110138&patient=Patient/ada").await;
    assert_eq!(stopped.len(), 1);
    // The administrator at the machine ends what anybody declared.
    assert_eq!(declare(&world, DOCTOR, "ada").await.0, 201);
    let ended = post(&world, &world.token, "/fhir/Patient/ada/$end-emergency-access", "").await;
    assert_eq!((ended.0, sees(&world, DOCTOR, "ada").await), (200, 404));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_in_the_log_with_its_reason_and_each_read_under_it_quotes_it() {
    let world = World::new().await;
    closed(&world).await;
    let (_, begun) = declare(&world, DOCTOR, "ada").await;
    let name = coded(&begun, "/parameter/0/valueReference/reference");
    let told = events(&world, STARTED).await;
    assert_eq!(told.len(), 1, "auditors find it by its code");
    let event = &told[0];
    assert_eq!(format!("AuditEvent/{}", event["id"].as_str().unwrap()), name);
    assert_eq!(coded(event, "/purposeOfEvent/0/coding/0/code"), "BTG");
    assert_eq!(coded(event, "/purposeOfEvent/0/text"), REASON);
    assert_eq!(coded(event, "/agent/2/who/reference"), DOCTOR);
    assert_eq!(coded(event, "/agent/2/role/0/text"), "physician on call");
    assert_eq!(coded(event, "/entity/0/what/reference"), "Patient/ada");
    let receipt = Receipt::parse(&world.anchored_receipt(&format!("/fhir/{name}/$receipt")).await).unwrap();
    let bytes = world.bytes(&format!("/fhir/{name}")).await;
    verify(&receipt, Some(&bytes), None, &Policy::default()).unwrap();
    assert!(receipt.entry.starts_with("0105"), "an entry of the kind of emergencies: {}", receipt.entry);

    assert_eq!(sees(&world, DOCTOR, "ada").await, 200);
    let read = events(&world, &format!("subtype=read&outcome=0&agent={DOCTOR}")).await;
    assert_eq!(coded(&read[0], "/purposeOfEvent/0/coding/0/code"), "BTG");
    let because = coded(&read[0], "/entity/0/detail/0/valueString");
    assert!(because.contains(&name) && because.starts_with("permitted: the emergency"), "{because}");
    assert!(because.contains("Consent/k-ada provision"), "what it goes before is told, too: {because}");
    // What nobody withholds is read as before.
    put(&world, json!({"resourceType": "Practitioner", "id": "doc"})).await;
    assert_eq!(get_as(&world, DOCTOR, "/fhir/Practitioner/doc").await.0, 200);
    let of_himself = |event: &Value| event.to_string().contains("Practitioner/doc/_history/1");
    let read = events(&world, &format!("subtype=read&outcome=0&agent={DOCTOR}")).await;
    let plain: Vec<_> = read.iter().filter(|event| of_himself(event)).collect();
    assert!(plain.len() == 1 && plain[0]["purposeOfEvent"].is_null(), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_patient_is_told_in_the_record() {
    let world = World::new().await;
    closed(&world).await;
    let (_, begun) = declare(&world, DOCTOR, "ada").await;
    let (status, bundle) = get_as(&world, "Patient/ada", "/fhir/Communication?recipient=Patient/ada").await;
    assert_eq!((status, &bundle["total"]), (200, &json!(1)), "{bundle}");
    let notice = &bundle["entry"][0]["resource"];
    assert_eq!(notice["about"][0]["reference"], begun["parameter"][0]["valueReference"]["reference"]);
    let text = coded(notice, "/payload/0/contentString");
    assert!(text.contains(DOCTOR) && text.contains(REASON) && text.contains("physician on call"), "{text}");
    assert_eq!(get_as(&world, "Patient/ada", &format!("/fhir/AuditEvent?{STARTED}")).await.1["total"], 1);
    let at = format!("/fhir/Communication/{}", coded(notice, "/id"));
    let (doctor, other) = (issue(&world.running, "user/*.cruds", None, Some(DOCTOR)), format!("{notice}"));
    for (method, body, hidden) in [("DELETE", "", 204), ("PUT", other.replace("unconscious", "asleep").as_str(), 403)] {
        let token = format!("Bearer {doctor}");
        let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
        let reply = world.request(method, &at, &headers, body.as_bytes()).await;
        assert_eq!(reply.status(), hidden, "{method} by {DOCTOR}, to whom it is not shown");
        assert_eq!(world.call(method, &at, body).await.0, 403, "{method}, by a system");
    }
    assert_eq!(world.get(&at).await.1["meta"]["versionId"], "1", "it is as it was");
    // What somebody gave for a reason is sealed: no row and no file has it.
    if !stores::on_postgres() {
        let data = world.directory.path().join("data");
        for row in stores::rows(&data, "SELECT id, holder, account, patient, purpose FROM emergency") {
            assert!(!row.concat().contains("unconscious"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_no_clinician_or_says_nothing_gets_nothing_and_nothing_begins() {
    let world = World::new().await;
    closed(&world).await;
    let minted = |scope: &str, patient, user| issue(&world.running, scope, patient, user);
    let at = "/fhir/Patient/ada/$emergency-access";
    for (what, token, expected) in [
        ("the patient", minted("patient/*.rs user/*.rs", Some("Patient/ada"), Some("Patient/ada")), 403),
        ("a patient's app", minted("patient/*.rs", Some("Patient/ada"), None), 403),
        ("a system", world.token.clone(), 403),
        ("a relative", minted("user/*.rs", None, Some("RelatedPerson/r")), 403),
        ("a token for another record", minted("patient/*.rs", Some("Patient/bea"), Some(DOCTOR)), 403),
        ("a token that reads no patients", minted("user/Observation.rs", None, Some(DOCTOR)), 403),
    ] {
        assert_eq!(post(&world, &token, at, &usual()).await.0, expected, "{what}");
    }
    let doctor = minted("user/*.rs", None, Some(DOCTOR));
    let (role, reason) = (("role", json!("on call")), ("reason", json!("bleeding")));
    let pad = |n: usize| json!("x".repeat(n));
    for (what, body) in [
        ("no reason", plea(std::slice::from_ref(&role))),
        ("an empty reason", plea(&[role.clone(), ("reason", json!("  "))])),
        ("a book", plea(&[role.clone(), ("reason", pad(2_001))])),
        ("no role", plea(std::slice::from_ref(&reason))),
        ("a long role", plea(&[("role", pad(201)), reason.clone()])),
        ("another purpose", plea(&[role.clone(), reason.clone(), ("purpose", json!("HRESCH"))])),
        ("no time", plea(&[role.clone(), reason.clone(), ("minutes", json!(0))])),
        ("something unknown", plea(&[role.clone(), reason.clone(), ("patient", json!("bea"))])),
        ("nothing", String::new()),
    ] {
        assert_eq!(post(&world, &doctor, at, &body).await.0, 400, "{what}");
    }
    let in_address = format!("{at}?reason=bleeding");
    assert_eq!(post(&world, &doctor, &in_address, &usual()).await.0, 400, "a reason stands in no address");
    assert_eq!(post(&world, &doctor, "/fhir/Patient/nobody/$emergency-access", &usual()).await.0, 404);
    let entry = json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"request": {"method": "POST", "url": "Patient/ada/$emergency-access"}, "resource": serde_json::from_str::<Value>(&usual()).unwrap()}]});
    let (_, batch) = post(&world, &doctor, "/fhir", &entry.to_string()).await;
    assert_eq!(batch["entry"][0]["response"]["status"].as_str().map(|status| &status[..1]), Some("4"), "{batch}");
    assert_eq!(sees(&world, DOCTOR, "ada").await, 404);
    assert_eq!(events(&world, STARTED).await, [] as [Value; 0]);
    let refused = events(&world, "outcome=4&subtype=operation&patient=Patient/ada").await;
    assert!(!refused.is_empty(), "who was refused is told");
}

/// A configuration with this stance.
async fn house(stance: Stance) -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config: Config = config(&directory.path().join("data"));
    config.consent.emergency = stance;
    World::with(directory, config).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patient_may_refuse_it_unless_the_house_says_otherwise_and_a_house_may_have_none() {
    let btg = json!([{"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "BTG"}]);
    let refusal = consent("active", json!({"type": "deny", "provision": [{"type": "deny", "purpose": btg}]}));
    let mut dark = consent("active", json!({"type": "deny"}));
    dark["modifierExtension"] = json!([{"url": "http://unknown", "valueBoolean": true}]);
    for (stance, declared, seen) in
        [(Stance::UnlessRefused, 201, [404, 404]), (Stance::Always, 201, [200, 200]), (Stance::Off, 403, [404, 404])]
    {
        let world = house(stance).await;
        ward(&world).await;
        put(&world, refusal.clone()).await;
        assert_eq!(declare(&world, DOCTOR, "ada").await.0, declared, "{stance:?}");
        assert_eq!(sees(&world, DOCTOR, "ada").await, seen[0], "{stance:?}: refused in so many words");
        put(&world, dark.clone()).await;
        assert_eq!(sees(&world, DOCTOR, "ada").await, seen[1], "{stance:?}: not understood");
    }
}

const MOST: Most = Most { live: 10, begun: 10, since: 0 };

fn row(id: &str, begun: i64, expires: i64) -> Emergency {
    Emergency {
        id: ResourceId::parse(id).unwrap(),
        holder: DOCTOR.into(),
        account: String::new(),
        patient: Name::parse("Patient/ada").unwrap(),
        purpose: "BTG".into(),
        begun,
        expires,
        ended: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_with_its_time_and_there_are_not_many_at_a_time() {
    let world = World::new().await;
    closed(&world).await;
    let (store, now) = (&world.running.app.core.store, world.running.app.core.clock.now().as_millisecond());
    assert!(store.begin_emergency(&row("over", now - 2_000, now - 1_000), MOST).unwrap());
    assert_eq!(sees(&world, DOCTOR, "ada").await, 404, "its time is over");
    assert!(store.begin_emergency(&row("live", now - 2_000, now + 600_000), MOST).unwrap());
    assert_eq!(sees(&world, DOCTOR, "ada").await, 200, "the same, but for the time");
    assert_eq!(end(&world, DOCTOR, "ada").await, 200);
    let token = issue(&world.running, "user/*.rs", None, Some(DOCTOR));
    let short = plea(&[("role", json!("r")), ("reason", json!("r")), ("minutes", json!(1))]);
    let long = plea(&[("role", json!("r")), ("reason", json!("r")), ("minutes", json!(100_000))]);
    for (body, most) in [(short, 60_000), (long, 4 * 3_600_000)] {
        assert_eq!(post(&world, &token, "/fhir/Patient/ada/$emergency-access", &body).await.0, 201);
        let newest =
            store.emergencies_of(DOCTOR, world.running.app.core.clock.now().as_millisecond()).unwrap().remove(0);
        assert_eq!(newest.expires - newest.begun, most, "never longer than the house lets it");
    }
    for n in 0..8 {
        assert_eq!(declare(&world, DOCTOR, "bea").await.0, 201, "{n}");
    }
    assert_eq!(declare(&world, DOCTOR, "bea").await.0, 409, "who needs so many walks through the register");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_erased_stays_so() {
    let world = World::new().await;
    closed(&world).await;
    assert_eq!(declare(&world, DOCTOR, "ada").await.0, 201);
    let core = &world.running.app.core;
    erase::erase(&core.keep(), &Name::parse("Patient/ada").unwrap(), "asked for", &|_| ()).await.unwrap().unwrap();
    assert_ne!(sees(&world, DOCTOR, "ada").await, 200);
    assert_ne!(declare(&world, DOCTOR, "ada").await.0, 201);
    assert_eq!(core.store.emergencies_of(DOCTOR, core.clock.now().as_millisecond()).unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_does_not_begin() {
    let world = World::new().await;
    closed(&world).await;
    if stores::needs_sqlite() {
        return;
    }
    let data = world.directory.path().join("data");
    stores::takes_no_events(&data, true);
    assert_eq!(world.get("/fhir/Patient/ada").await.0, 200, "what is there can be read");
    let (status, told) = declare(&world, DOCTOR, "ada").await;
    assert!(matches!(status, 500 | 503), "{status}: {told}");
    assert_eq!(sees(&world, DOCTOR, "ada").await, 404);
    stores::takes_no_events(&data, false);
    assert_eq!(events(&world, STARTED).await, [] as [Value; 0]);
    assert_eq!(world.get("/fhir/Communication").await.1["total"], 0, "nor is half of it there");
    let core = &world.running.app.core;
    assert_eq!(core.store.live_emergencies(core.clock.now().as_millisecond()).unwrap(), []);
    assert_eq!((declare(&world, DOCTOR, "ada").await.0, sees(&world, DOCTOR, "ada").await), (201, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ended_on_one_replica_has_ended_on_the_other() {
    let Some((one, other)) = replicas::pair().await else { return };
    closed(&one).await;
    assert_eq!(declare(&one, DOCTOR, "ada").await.0, 201);
    assert_eq!(sees(&other, DOCTOR, "ada").await, 200, "it counts on both");
    assert_eq!(end(&other, DOCTOR, "ada").await, 200);
    assert_eq!((sees(&one, DOCTOR, "ada").await, sees(&other, DOCTOR, "ada").await), (404, 404));
}

async fn person<'w>(world: &'w World, role: Role) -> Browser<'w> {
    let mut browser = Browser::new(world);
    let (resource, organisation) = match role {
        Role::Patient => (Some("Patient/ada"), None),
        Role::Clinician => (Some(DOCTOR), Some("Organization/clinic")),
        Role::Administrator | Role::Auditor => (None, None),
    };
    browser.join(&invitation(world, role, resource, organisation)).await;
    browser
}

/// What a form's hidden field holds.
fn hidden<'p>(page: &'p str, name: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("name=\"{name}\" value=\"")).unwrap_or_else(|| panic!("{name}: {page}"));
    rest.split('"').next().unwrap()
}

async fn posted(browser: &mut Browser<'_>, path: &str, fields: &str) -> u16 {
    let token = browser.token().await;
    browser.form(path, &format!("token={token}&{fields}")).await.status().as_u16()
}

const NUMBERED: &str = "identifier=4711&role=on+call&reason=unconscious";

/// Ada, who has a number and withholds everything, and her doctor's resource.
async fn numbered(world: &World) {
    closed(world).await;
    put(
        world,
        json!({"resourceType": "Patient", "id": "ada", "identifier": [{"system": "http://h/mrn", "value": "4711"}]}),
    )
    .await;
    put(world, json!({"resourceType": "Practitioner", "id": "doc", "name": [{"family": "Weiss"}]})).await;
    put(world, json!({"resourceType": "Organization", "id": "clinic", "name": "Quay Clinic"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_the_portal_a_clinician_declares_the_patient_is_told_and_an_auditor_finds_it() {
    let world = World::new().await;
    numbered(&world).await;
    let (mut doc, mut ada) = (person(&world, Role::Clinician).await, person(&world, Role::Patient).await);
    assert!(!ada.page("/me/records").await.contains("declared an emergency"));
    assert_eq!(doc.get("/me/patients/ada").await.status(), 404);
    let foreign = doc.form("/me/emergency", NUMBERED).await.status().as_u16();
    assert_eq!(foreign, 403, "a form without the session's token");
    for (fields, expected) in [
        ("identifier=9999&role=on+call&reason=x", 409),
        ("identifier=4711&role=on+call&reason=+", 400),
        ("identifier=4711&role=&reason=x", 400),
        ("role=on+call&reason=x", 400),
        ("patient=nobody&role=on+call&reason=x", 404),
    ] {
        assert_eq!(posted(&mut doc, "/me/emergency", fields).await, expected, "{fields}");
    }
    assert_eq!(posted(&mut ada, "/me/emergency", NUMBERED).await, 403, "a patient is no clinician");
    assert_eq!(posted(&mut doc, "/me/emergency", NUMBERED).await, 303);
    assert_eq!(doc.get("/me/patients/ada").await.status(), 200);
    assert_eq!(doc.get("/me/patients/bea").await.status(), 404);

    let first = ada.page("/me/records").await;
    for word in ["declared an emergency", "Weiss", "on call", "unconscious"] {
        assert!(first.contains(word), "{word}: {first}");
    }
    flush(&world.running.app).await.unwrap();
    let trail = ada.page("/me/records/access").await;
    assert!(
        trail.contains("Emergency.") && trail.contains("Declared an emergency") && trail.contains("unconscious"),
        "{trail}"
    );
    assert_eq!(trail.matches("Emergency.").count(), 2, "and the look at the record under it: {trail}");
    let mut auditor = person(&world, Role::Auditor).await;
    let log = auditor.page("/me/log?only=emergencies").await;
    assert!(log.contains("Declared an emergency") && !log.contains("Looked"), "{log}");

    let id = hidden(&first, "emergency").to_owned();
    assert_eq!(posted(&mut doc, "/me/emergency/seen", &format!("emergency={id}")).await, 403, "not for him to say");
    assert_eq!(posted(&mut ada, "/me/emergency/seen", "emergency=another").await, 404);
    assert_eq!(posted(&mut ada, "/me/emergency/seen", &format!("emergency={id}")).await, 303);
    assert!(!ada.page("/me/records").await.contains("declared an emergency"), "she has taken note");
    assert_eq!(doc.get("/me/patients/ada").await.status(), 200, "which ends nothing");
    assert_eq!(posted(&mut ada, "/me/emergency/end", &format!("emergency={id}")).await, 403);
    assert_eq!(posted(&mut doc, "/me/emergency/end", &format!("emergency={id}")).await, 303);
    assert_eq!(doc.get("/me/patients/ada").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_ends_it_and_so_does_the_end_of_the_account() {
    let world = World::new().await;
    numbered(&world).await;
    let (mut doc, mut admin) = (person(&world, Role::Clinician).await, person(&world, Role::Administrator).await);
    assert_eq!(doc.get("/me/emergencies").await.status(), 403);
    assert_eq!(posted(&mut doc, "/me/emergency", NUMBERED).await, 303);
    let page = admin.page("/me/emergencies").await;
    assert!(page.contains(DOCTOR) && page.contains("Patient/ada") && !page.contains("unconscious"), "{page}");
    let id = hidden(&page, "emergency").to_owned();
    assert_eq!(posted(&mut admin, "/me/emergency/end", &format!("emergency={id}")).await, 303);
    assert_eq!(doc.get("/me/patients/ada").await.status(), 404);

    assert_eq!(posted(&mut doc, "/me/emergency", NUMBERED).await, 303);
    // And one that he declared as an app's user.
    assert_eq!(declare(&world, DOCTOR, "ada").await.0, 201);
    assert_eq!(sees(&world, DOCTOR, "ada").await, 200);
    let core = &world.running.app.core;
    let accounts = core.store.accounts().unwrap();
    let account = accounts.into_iter().find(|account| account.person.role == Role::Clinician).unwrap().id;
    assert!(core.store.close_account(&account, true).unwrap());
    assert_eq!(sees(&world, DOCTOR, "ada").await, 404);
    assert!(core.store.close_account(&account, false).unwrap());
    assert_eq!(sees(&world, DOCTOR, "ada").await, 404, "opened again it does not go on");
}

#[tokio::test]
async fn it_opens_nothing_to_research_and_follows_merges() {
    let world = World::new().await;
    put(&world, json!({"resourceType": "Patient", "id": "ada0"})).await;
    put(
        &world,
        json!({"resourceType": "Observation", "id": "o-ada0", "status": "final", "code": {"text": "x"},
        "subject": {"reference": "Patient/ada0"}}),
    )
    .await;
    closed(&world).await;
    let link = |kind: &str, to: &str| json!([{"type": kind, "other": {"reference": to}}]);
    put(&world, json!({"resourceType": "Patient", "id": "ada0", "link": link("replaced-by", "Patient/ada")})).await;
    put(&world, json!({"resourceType": "Patient", "id": "ada", "link": link("replaces", "Patient/ada0")})).await;
    assert_eq!(sees(&world, DOCTOR, "ada0").await, 404);
    let (status, begun) = declare(&world, DOCTOR, "ada0").await;
    assert_eq!(status, 201, "{begun}");
    assert_eq!((sees(&world, DOCTOR, "ada").await, sees(&world, DOCTOR, "ada0").await), (200, 200));
    assert_eq!(
        get_as(&world, "Patient/ada", "/fhir/Patient/ada").await.0,
        200,
        "her own, whatever she denies to others"
    );
    let told = get_as(&world, "Patient/ada", "/fhir/Communication?recipient=Patient/ada").await.1;
    assert_eq!(told["total"], 1, "she is told under the number that is hers: {told}");
    assert_eq!(get_as(&world, OTHER, "/fhir/Communication").await.1["total"], 0, "and nobody else why");
    let asked = format!("/fhir/Observation/o-ada/$explain-access?actor={DOCTOR}");
    for (who, told) in [(OTHER, false), (DOCTOR, true), ("Patient/ada", true)] {
        let (status, explained) = get_as(&world, who, &asked).await;
        assert_eq!(status == 200 && explained.to_string().contains("emergency"), told, "{who}: {status} {explained}");
    }
    let app = &world.running.app;
    let asks = bridge::smart::token::Caller {
        user: Name::parse(DOCTOR),
        purpose: Some("HRESCH".to_owned()),
        ..bridge::smart::token::Caller::new("study", bridge::smart::scopes::parse("user/*.rs").unwrap())
    };
    let now = app.core.clock.now().as_second() as u64;
    let token = app.token_key.issue(&asks, now, std::time::Duration::from_secs(60)).unwrap();
    let token = format!("Bearer {token}");
    let reply = world.request("GET", "/fhir/Observation/o-ada", &[("authorization", token.as_str())], b"").await;
    assert_eq!(reply.status(), 404, "what is for research is not for treatment");
    let bell = plea(&[("role", json!("physician")), ("reason", json!("a\u{7}b"))]);
    let doctor = issue(&world.running, "user/*.rs", None, Some(DOCTOR));
    assert_eq!(post(&world, &doctor, "/fhir/Patient/bea/$emergency-access", &bell).await.0, 400);
    assert_eq!(end(&world, DOCTOR, "ada0").await, 200, "by the number that it was declared for");
    assert_eq!(sees(&world, DOCTOR, "ada").await, 404);
}
