//! What is pushed by rules: to systems that take HL7 v2, and to other bridges. All people are invented.

use super::cutter::Cutter;
use super::legacy::{Said, hospital, id, listener, told_of};
use super::network::{Hospital, Network};
use super::pages::person;
use crate::world::{World, config};
use bridge::commands::serve;
use bridge::config::Config;
use bridge::exchange::rules::Rules;
use bridge::ids::{Name, Version};
use bridge::index::pushes::{Push, State};
use bridge::people::Role;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;

const RULE: &str = "[[exchange.rules]]\nname = 'results'\ncriteria = 'Observation?status=final'\nto = 'oldlab'\n";

/// Waits until something holds.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come to that: {what}");
}

async fn result(hospital: &Hospital, id: &str, status: &str, value: i32, source: Option<&str>) {
    let mut observation = json!({
        "resourceType": "Observation", "id": id, "status": status, "code": {"text": id}, "subject": {"reference": "Patient/ada"},
        "valueQuantity": {"value": value, "unit": "mmol/l"},
    });
    if let Some(source) = source {
        observation["meta"] = json!({"source": source});
    }
    hospital.put(&observation).await;
}

/// The messages, once there are so many: name and value of the result of each.
async fn came(said: &Said, many: usize) -> Vec<String> {
    until(&format!("{many} messages"), || said.got.lock().unwrap().len() >= many).await;
    said.got.lock().unwrap().iter().map(|text| result_of(text)).collect()
}

fn result_of(text: &str) -> String {
    let obx = text.split('\r').find(|line| line.starts_with("OBX|")).unwrap();
    let field = |n: usize| obx.split('|').nth(n).unwrap_or_default();
    format!("{} {}", field(3).trim_start_matches('^'), field(5))
}

/// Where a version stands in the index.
fn row(hospital: &Hospital, name: &str, version: u32) -> i64 {
    let store = &hospital.world.running.app.core.store;
    store.version(&Name::parse(name).unwrap(), Version(version)).unwrap().unwrap().row
}

fn followed(hospital: &Hospital) -> Option<i64> {
    hospital.world.running.app.core.store.ruled("results").unwrap()
}

/// Waits until the rule has looked at a version.
async fn passed(hospital: &Hospital, name: &str, version: u32) {
    let row = row(hospital, name, version);
    until(name, || followed(hospital).is_some_and(|at| at >= row)).await;
}

fn waiting(hospital: &Hospital) -> usize {
    hospital.world.running.app.core.store.waiting_pushes("rule-").unwrap()
}

/// What has not arrived.
fn open(hospital: &Hospital) -> Vec<Push> {
    hospital.world.running.app.core.store.open_pushes(100).unwrap()
}

fn rules(hospital: &Hospital) -> &Rules {
    &hospital.world.running.app.exchange.as_ref().unwrap().rules
}

/// A hospital that has Ada, whose rule has begun, and whose receiver is behind a cutter that leads nowhere.
async fn before_nobody(cutter: &Cutter) -> Hospital {
    let a = hospital(&format!("mllp://127.0.0.1:{}", cutter.port), RULE).await;
    until("the rule begins", || followed(&a).is_some()).await;
    a.knows_ada("ada").await;
    passed(&a, "Observation/o-ada", 1).await;
    a.consent("ada", &id("oldlab"), "active", json!({})).await;
    a
}

/// Lets what waits be tried now.
fn hurry(hospital: &Hospital) {
    let app = &hospital.world.running.app;
    for push in open(hospital).into_iter().filter(|push| push.state == State::Waits) {
        app.core.store.retry_push(&push.id, app.core.clock.now().as_millisecond()).unwrap();
    }
}

fn lead(cutter: &Cutter, endpoint: &str) {
    cutter.lead_to(endpoint.strip_prefix("mllp://").unwrap().parse().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_pushes_each_new_version_once_as_long_as_the_patient_consents() {
    let (endpoint, said) = listener().await;
    let a = hospital(&endpoint, RULE).await;
    until("the rule begins", || followed(&a).is_some()).await;
    a.knows_ada("ada").await;
    passed(&a, "Observation/o-ada", 1).await;
    assert_eq!((waiting(&a), open(&a).len()), (0, 0), "nobody consented: nothing is queued");
    a.consent("ada", &id("oldlab"), "active", json!({})).await;
    // The receiver breaks off once: it is sent again.
    said.next(&[None]);
    result(&a, "early", "preliminary", 1, None).await;
    result(&a, "theirs", "final", 2, Some("https://elsewhere.example/fhir/Observation/x/_history/1")).await;
    result(&a, "first", "final", 3, None).await;
    assert_eq!(came(&said, 2).await, ["first 3", "first 3"]);
    result(&a, "first", "final", 4, None).await;
    assert_eq!(came(&said, 3).await[2..], ["first 4"]);
    a.consent("ada", &id("oldlab"), "inactive", json!({})).await;
    result(&a, "kept", "final", 5, None).await;
    passed(&a, "Observation/kept", 1).await;
    until("all has ended", || waiting(&a) == 0).await;
    assert_eq!(open(&a), [], "what is withheld is not queued, and not tried again");

    let Hospital { world, id: own, config, .. } = a;
    let a = Hospital { world: world.restarted().await, id: own, config, cutter: None };
    a.consent("ada", &id("oldlab"), "active", json!({})).await;
    // As after a crash before it was written down: the rows are followed again, and are the same pushes.
    let again = row(&a, "Observation/first", 1) - 1;
    a.world.running.app.core.store.set_setting("exchange.rule.results", &again.to_string()).unwrap();
    let Hospital { world, id: own, config, .. } = a;
    let a = Hospital { world: world.restarted().await, id: own, config, cutter: None };
    result(&a, "last", "final", 6, None).await;
    passed(&a, "Observation/last", 1).await;
    until("all has ended", || waiting(&a) == 0).await;
    let all = came(&said, 5).await;
    assert_eq!(all[..3], ["first 3", "first 3", "first 4"]);
    let mut news = all[3..].to_vec();
    news.sort();
    // What was withheld when it was new is looked at again here, and she consents by now.
    assert_eq!(news, ["kept 5", "last 6"], "no double");
    let told = told_of(&a).await;
    assert!(["first", "kept", "last"].iter().all(|name| told.contains(&format!("Observation/{name}"))), "{told}");
    assert!(["o-ada", "theirs", "early"].iter().all(|name| !told.contains(&format!("Observation/{name}"))), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_stands_still_while_nobody_takes_what_it_pushes_and_loses_nothing() {
    let (cutter, (endpoint, said)) = (Cutter::start().await, listener().await);
    let a = before_nobody(&cutter).await;
    rules(&a).most.store(2, Ordering::Relaxed);
    for n in 1..=5 {
        result(&a, &format!("r{n}"), "final", n, None).await;
    }
    until("the rule stands still", || rules(&a).paused() == 1).await;
    assert_eq!(waiting(&a), 2);
    let (at, between) = (followed(&a).unwrap(), row(&a, "Observation/r2", 1)..row(&a, "Observation/r3", 1));
    assert!(between.contains(&at), "{at}: {between:?}");
    let (mut chief, _) = person(&a.world, Role::Administrator, None).await;
    let page = chief.page("/me/network").await;
    for words in ["What is pushed by rules", "Observation?status=final", "stands still: 2 of at most 2 wait"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // What a person or a program pushes has room all the same.
    let (status, queued) = a.ask("POST", "/exchange/push", &json!({"to": "oldlab", "patient": "Patient/ada"})).await;
    assert_eq!(status, 202, "{queued}");
    lead(&cutter, &endpoint);
    hurry(&a);
    until("all has come", || said.got.lock().unwrap().len() == 6 && waiting(&a) == 0).await;
    let mut all: Vec<String> =
        said.got.lock().unwrap().iter().filter(|m| m.contains("OBX|")).map(|m| result_of(m)).collect();
    all.sort();
    assert_eq!(all, ["r1 1", "r2 2", "r3 3", "r4 4", "r5 5"]);
    until("the rule goes on", || rules(&a).paused() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_patient_withdraws_before_it_is_delivered_is_not_sent() {
    let (cutter, (endpoint, said)) = (Cutter::start().await, listener().await);
    let a = before_nobody(&cutter).await;
    result(&a, "r1", "final", 1, None).await;
    until("it was tried", || open(&a).iter().any(|push| push.failures > 0)).await;
    a.consent("ada", &id("oldlab"), "inactive", json!({})).await;
    until("it is refused", || open(&a).iter().all(|push| push.state == State::Refused)).await;
    lead(&cutter, &endpoint);
    result(&a, "r2", "final", 2, None).await;
    passed(&a, "Observation/r2", 1).await;
    a.consent("ada", &id("oldlab"), "active", json!({})).await;
    result(&a, "r3", "final", 3, None).await;
    assert_eq!(came(&said, 1).await, ["r3 3"]);
    until("it has ended", || waiting(&a) == 0).await;
    assert_eq!(open(&a).len(), 1, "what was refused stays so");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_late_does_not_follow_a_newer_one() {
    let (cutter, (endpoint, said)) = (Cutter::start().await, listener().await);
    let a = before_nobody(&cutter).await;
    result(&a, "r", "final", 1, None).await;
    result(&a, "r", "final", 2, None).await;
    until("both wait", || waiting(&a) == 2).await;
    // The older one is put off: the queue promises no order.
    let store = &a.world.running.app.core.store;
    let both = open(&a);
    let older = both.iter().min_by_key(|push| push.made).unwrap();
    until("it is put off", || {
        let now = store.push(&older.id).unwrap().unwrap();
        store.settle_push(&now, &Push { failures: 1_000, due: now.due + 3_600_000, ..now.clone() }).unwrap()
    })
    .await;
    // Once the newer one was tried first, no try of the older one is under way.
    until("the newer one is tried", || open(&a).iter().any(|push| push.id != older.id && push.failures > 0)).await;
    lead(&cutter, &endpoint);
    assert_eq!(came(&said, 1).await, ["r 2"]);
    until("the newer one has arrived", || waiting(&a) == 1).await;
    assert!(store.retry_push(&older.id, a.world.running.app.core.clock.now().as_millisecond()).unwrap());
    until("the older one has ended", || waiting(&a) == 0).await;
    assert_eq!(store.push(&older.id).unwrap().unwrap().state, State::Refused);
    assert_eq!(came(&said, 1).await, ["r 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_two_bridges_against_each_other_come_to_rest() {
    let rule = "[[exchange.rules]]\nname = 'results'\ncriteria = 'Observation'\nto = 'THE-NEXT'\npurpose = 'TREAT'\n";
    let Some(network) = Network::beside(2, rule).await else { return };
    let [a, b] = network.hospitals.as_slice() else { panic!() };
    a.knows_ada("ada").await;
    passed(a, "Observation/o-ada", 1).await;
    a.consent("ada", &b.id, "active", json!({})).await;
    result(a, "one", "final", 1, None).await;
    until("it has arrived", || followed(a).is_some_and(|at| at >= row(a, "Observation/one", 1)) && waiting(a) == 0)
        .await;
    assert_eq!(open(a), []);
    let patient = b.world.only("/fhir/Patient?identifier=urn:id|4711").await;
    let id = patient["id"].as_str().unwrap();
    let found = format!("/fhir/Observation?patient=Patient/{id}");
    let observation = b.world.only(&found).await;
    assert_eq!(observation["valueQuantity"]["value"], 1);
    assert_eq!(b.world.get(&format!("/fhir/Provenance?target=Patient/{id}")).await.1["total"], 1, "its receipt");
    let sent = a.world.get("/fhir/Provenance?patient=Patient/ada&agent-type=custodian").await.1;
    assert!(sent.to_string().contains("\"transmit\"") && sent.to_string().contains("Observation/one"), "{sent}");
    // She lets b give all of it to a: what came from there does not go back.
    b.consent(id, &a.id, "active", json!({})).await;
    result(a, "two", "final", 2, None).await;
    until("it has arrived", || followed(a).is_some_and(|at| at >= row(a, "Observation/two", 1)) && waiting(a) == 0)
        .await;
    let all = b.world.get(&found).await.1;
    assert_eq!(all["total"], 2, "{all}");
    for entry in all["entry"].as_array().unwrap() {
        passed(b, &format!("Observation/{}", entry["resource"]["id"].as_str().unwrap()), 1).await;
    }
    assert_eq!((waiting(b), open(b).len()), (0, 0));
    assert_eq!(a.world.get("/fhir/Observation?patient=Patient/ada").await.1["total"], 3, "her first one, and two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_cannot_be_meant_is_refused_at_the_start() {
    let receiver = "[[exchange.hl7v2]]\nid = 'oldlab'\nendpoint = 'mllps://lab.example:2575'\n";
    for (criteria, to, part) in [
        ("Observation", "nobody", "`nobody` is no receiver"),
        ("Observation", "north", "`north` is no receiver"),
        ("Observation?nonsense=1", "oldlab", "nonsense"),
        ("Observation?subject:Patient.name=Ada", "oldlab", "chained"),
        ("Nothing", "oldlab", "criteria"),
        ("AuditEvent", "oldlab", "patient's record"),
        ("Organization", "oldlab", "patient's record"),
    ] {
        let rule = format!("[[exchange.rules]]\nname = 'r'\ncriteria = '{criteria}'\nto = '{to}'\n");
        let error = match Config::parse(&format!("[exchange]\nid = 'north'\nname = 'North'\n{receiver}{rule}")) {
            Err(error) => error.to_string(),
            Ok(parsed) => {
                let directory = tempfile::tempdir().unwrap();
                let config = Config { exchange: parsed.exchange, ..config(&directory.path().join("data")) };
                serve::start(config).await.err().unwrap().to_string()
            }
        };
        assert!(error.contains("exchange.rules, r") && error.contains(part), "{criteria}: {error}");
    }
    // The same configuration without it is good: it is the rule that was refused.
    let parsed = Config::parse(&format!("[exchange]\nid = 'north'\nname = 'North'\n{receiver}")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let good = Config { exchange: parsed.exchange, ..config(&directory.path().join("data")) };
    World::with(directory, good).await;
}
