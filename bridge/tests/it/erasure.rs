//! Erasing a patient: nothing of him is read, found or brought back, and the log says so.

use super::commands::MEDSEAL;
use super::stores;
use super::world::{World, admission, config, msa};
use bridge::error::VaultError;
use bridge::ids::{Name, Owner};
use bridge::upkeep::{WATCH, erase};
use notary::receipt::Receipt;
use notary::verify::{Policy, verify};
use std::path::Path;
use std::process::{Command, Output};

const REASON: &str = "asked for by letter of 2 March";

/// The program on the data of a world, beside its service.
pub async fn medseal(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(MEDSEAL);
    command.args(arguments).args(stores::arguments(data));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

pub fn out(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn patient(world: &World, number: &str) -> String {
    let found = world.only(&format!("/fhir/Patient?identifier={number}")).await;
    format!("Patient/{}", found["id"].as_str().unwrap())
}

/// Two admissions, and an observation of the first patient in two versions.
async fn two_patients() -> (World, String, String) {
    let world = World::new().await;
    for (control, number) in [("C1", "77"), ("C2", "78")] {
        assert_eq!(msa(&world.send(&admission(control, number, "Lovelace")).await).0, "AA");
    }
    let (one, other) = (patient(&world, "77").await, patient(&world, "78").await);
    for value in [1, 2] {
        let text = format!(
            r#"{{"resourceType":"Observation","id":"o","status":"final","code":{{"text":"x"}},"subject":{{"reference":"{one}"}},"valueInteger":{value}}}"#
        );
        assert!(world.call("PUT", "/fhir/Observation/o", &text).await.0 < 300);
    }
    (world, one, other)
}

#[tokio::test]
async fn what_is_erased_is_gone_everywhere_and_the_rest_stays() {
    let (world, gone, stays) = two_patients().await;
    let before = world.anchored_receipt(&format!("/fhir/{gone}/$receipt")).await;
    let data = world.directory.path().join("data");
    let wrapped = {
        let key = world.running.app.core.store.key(&Owner::from_stored(&gone)).unwrap().unwrap();
        hex::encode(key.0)
    };
    let erased = medseal(&data, &["erase", &gone, "--reason", REASON]).await;
    assert!(erased.status.success(), "{}", out(&erased));
    assert!(out(&erased).contains("erased on") && out(&erased).contains("5 seconds"), "{}", out(&erased));
    for path in [
        format!("/fhir/{gone}"),
        format!("/fhir/{gone}/_history"),
        format!("/fhir/{gone}/_history/1"),
        format!("/fhir/{gone}/$everything"),
        "/fhir/Observation/o".into(),
        "/fhir/Observation/o/_history/1".into(),
        "/fhir/Observation/o/_history".into(),
    ] {
        let (status, outcome) = world.get(&path).await;
        assert_eq!((status, &outcome["issue"][0]["code"]), (410, &"deleted".into()), "{path}: {outcome}");
    }
    for (path, total) in [("Patient", 1), ("Patient?identifier=77", 0), ("Observation", 0), ("Encounter", 1)] {
        assert_eq!(world.get(&format!("/fhir/{path}")).await.1["total"], total, "{path}");
    }
    for path in ["Patient/_history", "_history"] {
        let (status, bundle) = world.get(&format!("/fhir/{path}")).await;
        let entries = bundle["entry"].as_array().unwrap();
        // What belongs to nobody may go on naming the id, which says nothing any more.
        let told = |entry: &serde_json::Value| entry["fullUrl"].as_str().unwrap().ends_with(&gone);
        assert_eq!((status, entries.is_empty(), entries.iter().any(told)), (200, false, false), "{path}");
    }
    assert_eq!(world.get(&format!("/fhir/{stays}")).await.0, 200);
    let observed = format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"{gone}"}}}}"#
    );
    tokio::time::sleep(WATCH + std::time::Duration::from_millis(500)).await;
    assert_eq!(world.call("POST", "/fhir/Observation", &observed).await.0, 410, "nothing new is sealed for him");
    assert!(world.running.app.core.keys.is_destroyed(&Owner::from_stored(&gone)), "the service wiped the key");
    assert!(no_file_holds(&data, &wrapped), "the wrapped key is in no file");
    verifies_as_erased(&world, &gone, &before).await;
    assert_eq!(msa(&world.send(&admission("C3", "77", "Lovelace")).await).0, "AA");
    assert_ne!(patient(&world, "77").await, gone, "who comes again is a new patient");
    let world = world.restarted().await;
    assert_eq!(world.get(&format!("/fhir/{gone}")).await.0, 410);
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 2);
    let again = erase::erase(&world.running.app.core.keep(), &Name::parse(&gone).unwrap(), "again", &|_| ()).await;
    assert!(again.unwrap().unwrap().before, "it is done once");
}

/// Many enough that pages of the index are split, and what was moved stays behind where it lay.
#[tokio::test]
async fn keys_of_the_erased_are_in_no_page_and_in_no_copy() {
    if stores::needs_sqlite() {
        return;
    }
    let world = World::new().await;
    let entry = |n| {
        let resource = serde_json::json!({"resourceType": "Patient", "id": format!("p{n}")});
        serde_json::json!({"resource": resource, "request": {"method": "PUT", "url": format!("Patient/p{n}")}})
    };
    for part in 0..10 {
        let entries: Vec<_> = (0..20).map(|n| entry(part * 20 + n)).collect();
        let bundle = serde_json::json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
        assert_eq!(world.call("POST", "/fhir", &bundle.to_string()).await.0, 200);
    }
    let (data, keep) = (world.directory.path().join("data"), world.running.app.core.keep());
    let mut keys = Vec::new();
    for n in (0..200).step_by(10) {
        let owner = Owner::from_stored(&format!("Patient/p{n}"));
        keys.push(hex::encode(keep.store.key(&owner).unwrap().unwrap().0));
        let name = Name::parse(owner.as_str()).unwrap();
        erase::erase(&keep, &name, REASON, &|_| ()).await.unwrap().unwrap();
    }
    let copy = data.join("copy.sqlite");
    let done = medseal(&data, &["backup", copy.to_str().unwrap()]).await;
    assert!(done.status.success() && copy.exists(), "{}", out(&done));
    assert!(keys.iter().all(|wrapped| no_file_holds(&data, wrapped)));
}

/// The service does not know it yet: what it writes for him is refused by the index, and what others write beside it is not.
#[tokio::test]
async fn who_writes_beside_what_was_erased_elsewhere_is_not_refused() {
    let (world, gone, stays) = two_patients().await;
    let erased = medseal(&world.directory.path().join("data"), &["erase", &gone, "--reason", REASON]).await;
    assert!(erased.status.success(), "{}", out(&erased));
    let written = (0..16).map(async |n| {
        let subject = if n == 8 { &gone } else { &stays };
        let text = format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"{subject}"}}}}"#
        );
        world.call("POST", "/fhir/Observation", &text).await.0
    });
    let statuses = futures_util::future::join_all(written).await;
    let expected: Vec<_> = (0..16).map(|n| if n == 8 { 410 } else { 201 }).collect();
    assert_eq!(statuses, expected);
}

async fn verifies_as_erased(world: &World, gone: &str, before: &[u8]) {
    let reply = world.anchored_receipt(&format!("/fhir/{gone}/_history/1/$receipt")).await;
    let receipt = Receipt::parse(&reply).unwrap();
    let verdict = verify(&receipt, None, None, &Policy::default()).unwrap();
    assert!(verdict.erased.is_some(), "{verdict:?}");
    assert_eq!((receipt.format.as_str(), receipt.opening.is_none()), ("medseal-receipt/2", true));
    assert!(!String::from_utf8_lossy(&reply).contains(REASON));
    let old = Receipt::parse(before).unwrap();
    assert_eq!(old.entry, receipt.entry, "the same entry, which nothing opens any more");
    assert!(verify(&old, None, None, &Policy::default()).unwrap().erased.is_none(), "what was given away still opens");
}

/// Neither as the index has it nor as the objects do.
fn no_file_holds(data: &Path, wrapped: &str) -> bool {
    let bytes = hex::decode(wrapped).unwrap();
    let mut open = vec![data.to_owned()];
    open.extend(stores::folder(data));
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().flatten().map(|e| e.path()));
        } else if let Ok(file) = std::fs::read(&path) {
            let holds = |needle: &[u8]| file.windows(needle.len()).any(|w| w == needle);
            if holds(&bytes) || holds(wrapped.as_bytes()) {
                println!("{} holds the key", path.display());
                return false;
            }
        }
    }
    true
}

#[tokio::test]
async fn a_message_and_an_export_have_nothing_of_who_was_erased() {
    let (world, gone, stays) = two_patients().await;
    let messages = "SELECT id FROM record WHERE type = 'Message' ORDER BY row";
    let messages = stores::rows(&world.directory.path().join("data"), messages).concat();
    let keep = world.running.app.core.keep();
    let name = Name::parse(&gone).unwrap();
    let alone = keep.alone().await.unwrap();
    let meanwhile = erase::erase(&keep, &name, REASON, &|_| ()).await;
    assert!(matches!(meanwhile, Err(VaultError::Upkeep)), "one at a time: {meanwhile:?}");
    drop(alone);
    erase::erase(&keep, &name, REASON, &|_| ()).await.unwrap().unwrap();
    let status = async |id: &str| world.get(&format!("/hl7v2/messages/{id}")).await.0;
    assert_eq!((status(&messages[0]).await, status(&messages[1]).await), (410, 200));
    let token = format!("Bearer {}", world.token);
    let headers = [("authorization", token.as_str()), ("prefer", "respond-async")];
    let begun = world.request("GET", "/fhir/$export", &headers, b"").await;
    let at = begun.headers()["content-location"].to_str().unwrap().split_once("/fhir").unwrap().1.to_owned();
    let mut manifest = serde_json::Value::Null;
    for _ in 0..2_000 {
        let (status, found) = world.get(&format!("/fhir{at}")).await;
        if status == 200 {
            manifest = found;
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let mut all = String::new();
    for file in manifest["output"].as_array().unwrap() {
        let path = file["url"].as_str().unwrap().split_once("/fhir").unwrap().1.to_owned();
        let reply = world.request("GET", &format!("/fhir{path}"), &[("authorization", token.as_str())], b"").await;
        all.push_str(&String::from_utf8_lossy(reply.body()));
    }
    let has = |name: &str| all.contains(&format!(r#""id":"{}""#, &name[8..]));
    assert!(has(&stays) && !has(&gone), "what belongs to nobody may name the id; the patient is not there");
}

#[tokio::test]
async fn a_crash_in_the_middle_is_finished_at_the_next_start_and_old_keys_do_not_come_back() {
    if stores::needs_sqlite() {
        return;
    }
    let (world, gone, _) = two_patients().await;
    let data = world.directory.path().join("data");
    let owner = Owner::from_stored(&gone);
    let core = world.running.app.core.clone();
    let keep = core.keep();
    let wrapped = core.store.key(&owner).unwrap().unwrap();
    erase::erase(&keep, &Name::parse(&gone).unwrap(), REASON, &|_| ()).await.unwrap().unwrap();
    drop((core, keep));
    let World { running, directory, .. } = world;
    running.stop().await;
    // As if the crash had come before anything was destroyed; the tombstone is in the log.
    let index = rusqlite::Connection::open(data.join("index.sqlite")).unwrap();
    index.execute("UPDATE erasure SET done = 0", []).unwrap();
    index.execute("UPDATE record SET deleted = 0 WHERE deleted = 2", []).unwrap();
    index.execute("INSERT INTO data_key (owner, wrapped) VALUES (?1, ?2)", (&gone, &wrapped.0)).unwrap();
    let log: i64 = index.query_row("SELECT count(*) FROM log", [], |r| r.get(0)).unwrap();
    let world = World::with(directory, config(&data)).await;
    for _ in 0..2_000 {
        if world.running.app.core.store.erasures().unwrap()[0].done {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(world.get(&format!("/fhir/{gone}")).await.0, 410);
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 1);
    assert!(world.running.app.core.store.key(&owner).unwrap().is_none());
    assert_eq!(world.running.app.core.store.log_size().unwrap() as i64, log, "one tombstone");
}

#[tokio::test]
async fn mistakes_are_named_and_erase_nothing() {
    let (world, one, _) = two_patients().await;
    let data = world.directory.path().join("data");
    for (arguments, part) in [
        (vec!["erase", "Observation/o", "--reason", "x"], "Patient/id"),
        (vec!["erase", "Patient/none", "--reason", "x"], "not stored here"),
        (vec!["erase", &one, "--reason", " "], "--reason"),
    ] {
        let done = medseal(&data, &arguments).await;
        assert!(!done.status.success() && out(&done).contains(part), "{arguments:?}: {}", out(&done));
    }
    assert_eq!(world.get(&format!("/fhir/{one}")).await.0, 200);
    medseal(&data, &["erase", &one, "--reason", REASON]).await;
    let listed = medseal(&data, &["erase", "--list"]).await;
    assert!(out(&listed).contains(&one) && out(&listed).contains(REASON), "{}", out(&listed));
}
