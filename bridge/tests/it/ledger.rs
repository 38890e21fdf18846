//! The pages of auditors, and what they read: intact, tampered, erased.

use super::stores;
use super::world::{World, admission};
use serde_json::Value;

/// Records, but for what is told of who looked at them.
async fn records(world: &World, query: &str) -> (Vec<Value>, Value) {
    let (status, page) = world.get(&format!("/log/records.json{query}")).await;
    assert_eq!(status, 200, "{page}");
    let is_trail = |record: &&Value| record["reference"].as_str().unwrap().starts_with("AuditEvent/");
    let records = page["records"].as_array().unwrap().iter().filter(|record| !is_trail(record));
    (records.cloned().collect(), page["next"].clone())
}

fn states(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["state"].as_str().unwrap()).collect()
}

/// A world with two patients whose entries are anchored; the first one's name.
async fn two_patients() -> (World, String) {
    let world = World::new().await;
    let mut first = None;
    for (number, family) in [("8101", "Lovelace"), ("8102", "Hopper")] {
        world.send(&admission(number, number, family)).await;
        let patient = world.only(&format!("/fhir/Patient?identifier={number}")).await;
        let name = format!("Patient/{}", patient["id"].as_str().unwrap());
        world.anchored_receipt(&format!("/fhir/{name}/$receipt")).await;
        first.get_or_insert(name);
    }
    (world, first.unwrap())
}

#[tokio::test]
async fn a_flipped_byte_turns_its_record_red_and_no_other() {
    if stores::s3(std::path::Path::new("x")).is_some() {
        return;
    }
    let (world, name) = two_patients().await;
    let (before, next) = records(&world, "").await;
    assert!(before.len() >= 4 && next == Value::Null, "{before:?}");
    assert!(states(&before).iter().all(|state| *state == "intact"), "{before:?}");
    let found = |records: &[Value]| records.iter().position(|record| record["reference"] == name.as_str()).unwrap();
    let at = found(&before);

    let core = &world.running.app.core;
    let stored = core.store.current(&bridge::ids::Name::parse(&name).unwrap()).unwrap().unwrap();
    let pack = world.directory.path().join("data/objects").join(&stored.place.pack);
    let mut bytes = std::fs::read(&pack).unwrap();
    bytes[(stored.place.extent.offset + stored.place.extent.length as u64 / 2) as usize] ^= 1;
    std::fs::write(&pack, bytes).unwrap();

    let world = world.restarted().await;
    let (after, _) = records(&world, "").await;
    let red: Vec<usize> = (0..after.len()).filter(|n| after[*n]["state"] != "intact").collect();
    assert_eq!(red, [at], "{after:?}");
    assert_eq!(after[at]["state"], "tampered");
    let why = after[at]["why"].as_str().unwrap();
    assert!(why.contains("changed") || why.contains("damaged"), "{why}");
    let (one, _) = records(&world, &format!("?find={name}")).await;
    assert_eq!(states(&one), ["tampered"]);
}

#[tokio::test]
async fn a_leaf_that_was_exchanged_in_the_index_is_red() {
    if stores::needs_sqlite() {
        return;
    }
    let (world, name) = two_patients().await;
    let (one, _) = records(&world, &format!("?find={name}")).await;
    let index = one[0]["index"].as_u64().unwrap();
    let (leaf, next) = records(&world, &format!("?find={index}")).await;
    assert_eq!(
        (leaf[0]["reference"].as_str(), states(&leaf), next),
        (Some(name.as_str()), vec!["intact"], Value::Null)
    );
    let store = &world.running.app.core.store;
    let other = store.entries(index + 1, 1).unwrap().pop().unwrap();
    let data = world.directory.path().join("data");
    let database = rusqlite::Connection::open(data.join("index.sqlite")).unwrap();
    database.execute("UPDATE log SET entry = ?1 WHERE position = ?2", (other, index as i64)).unwrap();
    let (leaf, _) = records(&world, &format!("?find={index}")).await;
    assert_eq!(states(&leaf), ["tampered"], "{leaf:?}");
}

#[tokio::test]
async fn pages_of_records_go_on_and_are_not_for_everybody() {
    let (world, _) = two_patients().await;
    let (all, _) = records(&world, "").await;
    let (mut seen, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let (page, next) = records(&world, &query).await;
        seen.extend(page);
        match next.as_u64() {
            Some(next) => query = format!("?limit=2&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    assert_eq!(world.request("GET", "/log/records.json", &[], b"").await.status(), 401);
    assert_eq!(world.get("/log/records.json?find=nonsense").await.0, 400);
    let narrow = super::world::mint(&world.running, "system/Patient.r");
    let bearer = format!("Bearer {narrow}");
    assert_eq!(world.request("GET", "/log/records.json", &[("authorization", &bearer)], b"").await.status(), 403);
    // All of system/, of somebody: Consents may speak of him, and no line here can be held back.
    let person = super::world::issue(&world.running, "system/*.rs", None, Some("Practitioner/p"));
    let bearer = format!("Bearer {person}");
    assert_eq!(world.request("GET", "/log/records.json", &[("authorization", &bearer)], b"").await.status(), 403);
}

#[tokio::test]
async fn the_state_of_log_and_chain_is_for_everybody_and_names_nobody() {
    let (world, _) = two_patients().await;
    let reply = world.request("GET", "/log/status.json", &[], b"").await;
    assert_eq!(reply.status(), 200);
    let state: Value = serde_json::from_slice(reply.body()).unwrap();
    assert_eq!((state["kind"].as_str(), state["origin"].as_str()), (Some("embedded"), Some("medseal.local/log")));
    let newest = &state["anchors"][0];
    assert!(newest["gas"].as_u64().unwrap() > 50_000 && newest["root"].as_str().unwrap().len() == 64, "{newest}");
    assert_eq!(state["size"].as_u64().unwrap() - newest["size"].as_u64().unwrap(), state["lag"].as_u64().unwrap());
    let reply = world.request("GET", "/log/key", &[], b"").await;
    let key = notary::checkpoint::LogKey::parse(std::str::from_utf8(reply.body()).unwrap().trim_end()).unwrap();
    let checkpoint = world.request("GET", "/log/checkpoint", &[], b"").await;
    assert!(key.open(std::str::from_utf8(checkpoint.body()).unwrap()).is_ok(), "it is what signs the checkpoint");
    for page in ["/verify", "/ledger", "/portal/notary/verify.js", "/portal/page.css"] {
        let reply = world.request("GET", page, &[], b"").await;
        assert_eq!(reply.status(), 200, "{page}");
        let policy = reply.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    }
    assert_eq!(world.request("GET", "/portal/notary/other.js", &[], b"").await.status(), 404);
}
