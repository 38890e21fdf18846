//! Pushes to systems that take HL7 v2 over MLLP: another medseal's listener, or one that answers as it is told. All people are invented.

use super::cutter::{Cutter, Fault};
use super::network::Hospital;
use crate::feeds::Authority;
use crate::world::{World, config};
use bridge::config::{Config, ParticipantId};
use bridge::intake::frame::{Decoder, Event, encode};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A hospital that nobody else is connected with but a receiver at some address.
pub async fn hospital(endpoint: &str, more: &str) -> Hospital {
    let parsed = Config::parse(&format!(
        "[exchange]\nid = 'north'\nname = 'Hospital North'\n\
         [[exchange.hl7v2]]\nid = 'oldlab'\nendpoint = '{endpoint}'\nsender = 'MEDSEAL|NORTH'\nreceiver = 'LAB|WEST'\n{more}"
    ))
    .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    config.exchange = parsed.exchange;
    let world = World::with(directory, config).await;
    let config = world.running.app.config.clone();
    Hospital { world, id: id("north"), config, cutter: None }
}

pub fn id(text: &str) -> ParticipantId {
    ParticipantId::parse(text).unwrap()
}

/// Pushes, and waits for the end.
async fn pushed(from: &Hospital, more: Value) -> Value {
    let mut push = json!({"to": "oldlab", "patient": "Patient/ada"});
    push.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    from.pushed(&push).await
}

/// What the trail tells that the receiver was given.
pub async fn told_of(hospital: &Hospital) -> String {
    bridge::audit::worker::flush(&hospital.world.running.app).await.unwrap();
    let events = hospital.world.get("/fhir/AuditEvent?patient=Patient/ada&subtype=operation").await.1;
    let all = events["entry"].as_array().into_iter().flatten().map(|entry| &entry["resource"]);
    let given =
        all.filter(|event| event["agent"][0]["who"]["identifier"]["value"] == "oldlab" && event["outcome"] == "0");
    given.map(|event| event["entity"].to_string()).collect()
}

/// An acknowledgement's code and more segments; nothing: it breaks off.
pub type Answer = Option<(&'static str, &'static str)>;

/// What a receiver was sent, and what it answers. When nothing is left it accepts.
#[derive(Clone, Default)]
pub struct Said {
    pub got: Arc<Mutex<Vec<String>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Said {
    pub fn next(&self, answers: &[Answer]) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// The events and control ids of what came since it was last asked.
    fn came(&self) -> Vec<(String, String)> {
        let all = std::mem::take(&mut *self.got.lock().unwrap());
        all.iter().map(|text| (field(text, 8), field(text, 9))).collect()
    }
}

/// A field of the header, counted as it is written.
pub fn field(text: &str, n: usize) -> String {
    text.split('\r').next().unwrap().split('|').nth(n).unwrap_or_default().to_owned()
}

async fn bound() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("mllp://{}", listener.local_addr().unwrap());
    (listener, endpoint)
}

/// A receiver that answers as it is told.
pub async fn listener() -> (String, Said) {
    let (listener, endpoint) = bound().await;
    let said = Said::default();
    let own = said.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, own.clone()));
        }
    });
    (endpoint, said)
}

async fn serve(mut stream: TcpStream, said: Said) {
    let (mut decoder, mut events, mut buffer) = (Decoder::new(1 << 20), Vec::new(), vec![0; 4096]);
    loop {
        let Ok(read @ 1..) = stream.read(&mut buffer).await else { return };
        decoder.push(&buffer[..read], &mut events);
        for event in events.drain(..) {
            let Event::Frame(bytes) = event else { return };
            let text = String::from_utf8(bytes).unwrap();
            let answer = said.answers.lock().unwrap().pop_front().unwrap_or(Some(("AA", "")));
            let id = field(&text, 9);
            said.got.lock().unwrap().push(text);
            let Some((code, more)) = answer else { return };
            let ack = format!("MSH|^~\\&|LAB|WEST|MEDSEAL|NORTH|2026||ACK|x|P|2.5.1\rMSA|{code}|{id}|Lovelace\r{more}");
            if stream.write_all(&encode(ack.as_bytes())).await.is_err() {
                return;
            }
        }
    }
}

/// Ada, with something for each message there is, and something that none carries.
async fn ada(hospital: &Hospital) {
    hospital.knows_ada("ada").await;
    let (subject, reference) = (json!({"reference": "Patient/ada"}), |kind: &str| json!({"reference": kind}));
    for resource in [
        json!({"resourceType": "Encounter", "id": "e", "status": "in-progress", "subject": subject,
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "IMP"},
            "identifier": [{"system": "urn:oid:1.2.3.5", "value": "V1"}], "period": {"start": "2026-03-02T08:00:00+01:00"}}),
        json!({"resourceType": "Condition", "id": "d", "subject": subject, "encounter": reference("Encounter/e"),
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "N18.5", "display": "Chronic kidney disease"}]}}),
        json!({"resourceType": "Appointment", "id": "a", "status": "booked", "start": "2026-05-02T08:00:00+01:00",
            "end": "2026-05-02T08:30:00+01:00", "identifier": [{"system": "urn:oid:1.2.3.6", "value": "A1"}],
            "participant": [{"status": "accepted", "actor": subject}]}),
        json!({"resourceType": "Immunization", "id": "i", "status": "completed", "patient": subject, "occurrenceDateTime": "2026-01-02",
            "vaccineCode": {"coding": [{"system": "http://hl7.org/fhir/sid/cvx", "code": "140"}]}}),
    ] {
        hospital.put(&resource).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_system_gets_messages_once_and_as_far_as_the_patient_consents() {
    let receiver = World::new().await;
    let cutter = Cutter::start().await;
    cutter.lead_to(receiver.running.mllp);
    let a = hospital(&format!("mllp://127.0.0.1:{}", cutter.port), "").await;
    ada(&a).await;
    let state = pushed(&a, json!({"queries": ["Observation"]})).await;
    assert_eq!(state["state"], "refused", "nobody consented: {state}");
    assert!(state["why"].as_str().unwrap().contains("not consented"), "{state}");
    assert_eq!(receiver.get("/fhir/Patient").await.1["total"], 0);

    let label = json!([{"system": "http://hl7.org/fhir/resource-types", "code": "Immunization"}]);
    let but = json!({"provision": [{"type": "deny", "class": label}]});
    a.consent("ada", &id("oldlab"), "active", but).await;
    // The first answer gets lost: the message is there, and is sent again.
    cutter.next(&[Fault::Answering(0)]);
    let state = pushed(&a, json!({"queries": ["*"]})).await;
    assert_eq!(state["state"], "delivered", "{state}");
    assert!(state["failures"].as_u64().unwrap() >= 1 && state["withheld"] == 1, "{state}");
    let left: Vec<&str> = state["notCarried"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
    assert!(left.contains(&"Consent") && !left.contains(&"Observation"), "{left:?}");
    assert!(!state.to_string().contains("Lovelace"), "{state}");

    let patient = receiver.only("/fhir/Patient").await;
    assert_eq!(patient["name"][0]["family"], "Lovelace");
    assert_eq!(patient["identifier"][0]["value"], "4711");
    let of = |kind: &str| format!("/fhir/{kind}?patient=Patient/{}", patient["id"].as_str().unwrap());
    let observation = receiver.only(&of("Observation")).await;
    assert_eq!(observation["valueQuantity"]["value"].to_string(), "1.5");
    assert_eq!(observation["meta"]["versionId"], "1", "it came once");
    let visit = receiver.only(&format!("{}&class=IMP", of("Encounter"))).await;
    assert_eq!(visit["identifier"][0]["value"], "V1");
    assert_eq!(receiver.only(&of("Appointment")).await["status"], "booked");
    let conditions = receiver.get(&of("Condition")).await.1;
    assert_eq!(conditions["total"], 2, "{conditions}");
    assert_eq!(receiver.get("/fhir/Immunization").await.1["total"], 0, "she keeps it back");

    // What left is told, and nothing else.
    let told = told_of(&a).await;
    assert!(["Observation/o-ada", "Encounter/e", "Appointment/a"].iter().all(|name| told.contains(name)), "{told}");
    assert!(!told.contains("Immunization/i") && !told.contains("Consent/k-ada"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_legacy_system_refuses_is_told_without_its_words_and_what_it_took_is_not_sent_again() {
    let (endpoint, said) = listener().await;
    let a = hospital(&endpoint, "").await;
    ada(&a).await;
    a.consent("ada", &id("oldlab"), "active", json!({})).await;
    let error = "ERR||PID^1^5|102^Lovelace|E||||Lovelace\r";
    said.next(&[Some(("AA", "")), Some(("AE", error)), Some(("AA", ""))]);
    let some = json!({"id": "one", "resources": ["Encounter/e", "Observation/o-ada", "Appointment/a"]});
    let state = pushed(&a, some).await;
    assert_eq!((&state["state"], &state["failures"]), (&json!("refused"), &json!(1)), "{state}");
    let why = state["why"].as_str().unwrap();
    assert!(why.contains("ORU_R01 (AE PID^1^5 102)") && !why.contains("Lovelace"), "{why}");
    let first = said.came();
    let events: Vec<&str> = first.iter().map(|(event, _)| event.as_str()).collect();
    assert_eq!(events, ["ADT^A01^ADT_A01", "ORU^R01^ORU_R01", "SIU^S12^SIU_S12"], "a refusal keeps no other back");
    // The administrator lets it be tried again: only what was refused is sent, and it is the same message. That the receiver breaks off, or
    // has an error of its own, passes.
    said.next(&[None, Some(("AR", "ERR|||207|E\r"))]);
    let app = &a.world.running.app;
    let push = state["id"].as_str().unwrap();
    assert!(app.core.store.retry_push(push, app.core.clock.now().as_millisecond()).unwrap());
    let state = a.ended(push).await;
    assert_eq!((&state["state"], &state["failures"]), (&json!("delivered"), &json!(3)), "{state}");
    let texts = said.got.lock().unwrap().clone();
    assert!(texts.iter().all(|text| *text == texts[0]), "byte for byte");
    assert_eq!(said.came(), vec![first[1].clone(); 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_message_carries_is_refused_and_nothing_is_sent() {
    let (endpoint, said) = listener().await;
    let a = hospital(&endpoint, "").await;
    a.knows_ada("ada").await;
    a.consent("ada", &id("oldlab"), "active", json!({})).await;
    let state = pushed(&a, json!({"resources": ["Consent/k-ada"]})).await;
    assert_eq!(state["state"], "refused", "{state}");
    assert!(state["why"].as_str().unwrap().contains("(Consent)"), "{state}");
    assert_eq!(said.came(), []);
    assert_eq!(told_of(&a).await, "", "nothing left");
    let state = pushed(&a, json!({})).await;
    assert_eq!(state["state"], "delivered", "who she is alone is a message: {state}");
    assert_eq!(said.came().first().map(|(event, _)| event.as_str()), Some("ADT^A08^ADT_A01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_says_nothing_holds_up_no_other() {
    let ((silent, nowhere), (endpoint, said)) = (bound().await, listener().await);
    let other = format!(
        "[[exchange.hl7v2]]\nid = 'silent'\nendpoint = '{nowhere}'\nsender = 'MEDSEAL|NORTH'\nreceiver = 'NOBODY|X'\n"
    );
    let a = hospital(&endpoint, &other).await;
    a.knows_ada("ada").await;
    let mut queued = Vec::new();
    a.consent("ada", &id("silent"), "active", json!({})).await;
    for name in ["one", "two"] {
        let push = json!({"id": name, "to": "silent", "patient": "Patient/ada"});
        queued.push(a.ask("POST", "/exchange/push", &push).await.1["id"].as_str().unwrap().to_owned());
    }
    let mut held = silent.accept().await.unwrap().0;
    assert!(held.read(&mut [0; 64]).await.unwrap() > 0, "it was written to, and waits for an answer");
    a.consent("ada", &id("oldlab"), "active", json!({})).await;
    for name in ["three", "four"] {
        assert_eq!(pushed(&a, json!({"id": name})).await["state"], "delivered");
    }
    assert_eq!(said.came().len(), 2);
    for push in &queued {
        let state = a.world.get(&format!("/exchange/push/{push}")).await.1;
        assert_eq!((&state["state"], &state["failures"]), (&json!("waiting"), &json!(0)), "{state}");
    }
    // It breaks off: that is a failure.
    drop((silent, held));
    let mut state = Value::Null;
    for _ in 0..1_500 {
        state = a.world.get(&format!("/exchange/push/{}", queued[0])).await.1;
        if state["failures"] != 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(state["state"], "waiting", "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_system_is_spoken_to_over_tls_and_must_be_who_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (theirs, others) = (Authority::new(folder.path(), "theirs"), Authority::new(folder.path(), "others"));
    let directory = tempfile::tempdir().unwrap();
    let mut settings = config(&directory.path().join("data"));
    settings.tls = Some(theirs.tls());
    let receiver = World::with(directory, settings).await;
    let own = theirs.sender("north.example");
    let shown = format!("certificate = '{}'\nkey = '{}'\n", own.certificate.display(), own.key.display());
    let endpoint = format!("mllps://{}", receiver.running.mllp);
    let trusting = |authority: &Authority| format!("authorities = '{}'\n{shown}", authority.pem().display());
    let wrong = hospital(&endpoint, &trusting(&others)).await;
    wrong.knows_ada("ada").await;
    wrong.consent("ada", &id("oldlab"), "active", json!({})).await;
    let (_, queued) = wrong.ask("POST", "/exchange/push", &json!({"to": "oldlab", "patient": "Patient/ada"})).await;
    let path = format!("/exchange/push/{}", queued["id"].as_str().unwrap());
    let mut state = Value::Null;
    for _ in 0..1_500 {
        state = wrong.world.get(&path).await.1;
        if state["failures"].as_u64().unwrap() > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(state["state"], "waiting", "{state}");
    assert!(state["why"].as_str().unwrap().contains("certificate"), "{state}");
    assert_eq!(receiver.get("/fhir/Patient").await.1["total"], 0);
    let right = hospital(&endpoint, &trusting(&theirs)).await;
    right.knows_ada("ada").await;
    right.consent("ada", &id("oldlab"), "active", json!({})).await;
    let state = pushed(&right, json!({"resources": ["Observation/o-ada"]})).await;
    assert_eq!(state["state"], "delivered", "{state}");
    assert_eq!(receiver.get("/fhir/Observation").await.1["total"], 1);
}

/// Whom the configuration names for one use may lie in a private network, without TLS, for that use and for no other.
#[tokio::test(flavor = "multi_thread")]
async fn each_sender_reaches_what_it_is_for_and_nothing_else() {
    let parsed = Config::parse(&format!(
        "[exchange]\nid = 'north'\nname = 'North'\n\
         [[exchange.peer]]\nid = 'south'\nendpoint = 'http://127.0.0.1:11/fhir'\ndocument = '{}'\n\
         [[exchange.fhir]]\nid = 'registry'\nendpoint = 'http://127.0.0.1:12/fhir'\n\
         [[exchange.hl7v2]]\nid = 'lab'\nendpoint = 'mllp://127.0.0.1:13'\nsender = 'A|B'\nreceiver = 'C|D'\n\
         [[login.openid]]\nname = 'Identity'\nissuer = 'http://127.0.0.1:14'\nclient_id = 'medseal'\n",
        "ab".repeat(32)
    ));
    let parsed = parsed.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    (config.exchange, config.login, config.outgoing) = (parsed.exchange, parsed.login, parsed.outgoing);
    let world = World::with(directory, config).await;
    let app = &world.running.app;
    for (what, sender, own) in [
        ("organisations", &app.partners, &[11][..]),
        ("receivers", &app.receivers, &[12, 13]),
        ("providers", &app.issuers, &[14]),
        ("what clients name", &app.outgoing, &[]),
    ] {
        for port in 11..=14 {
            let allowed = sender.allows(&format!("http://127.0.0.1:{port}/")).await.is_ok();
            assert_eq!(allowed, own.contains(&port), "{what}: {port}");
        }
    }
}
