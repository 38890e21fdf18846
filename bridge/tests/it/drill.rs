//! The drill: what a backup or the packs alone bring back is proved, what is missing is named, and nothing that is live is touched.

use super::chain::chain;
use super::erasure::{medseal, out};
use super::recovery::{anchored, filled, stopped};
use super::stores;
use super::world::{World, admission, admit_on, msa};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

/// Drills, with a place to work in that must be empty afterwards.
async fn drill(data: &Path, arguments: &[&str]) -> Output {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path().to_str().unwrap();
    let done = medseal(data, &[&["drill", "--scratch", place], arguments].concat()).await;
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing stays behind");
    done
}

fn told(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", out(output)))
}

/// Drills and expects everything to be proved.
async fn proved(data: &Path, arguments: &[&str]) -> Value {
    let done = drill(data, &[arguments, &["--json"]].concat()).await;
    assert!(done.status.success(), "{}", out(&done));
    let found = told(&done);
    assert!(found["faults"].as_array().unwrap().is_empty() && found["checked"]["differences"]["lines"][0].is_null());
    found
}

/// Every file of a directory with its bytes.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for path in std::fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_brought_up_to_date_and_proved_beside_a_service() {
    if stores::needs_sqlite() {
        return;
    }
    let (world, _) = filled().await;
    anchored(&world).await;
    let data = world.directory.path().join("data");
    let copy = world.directory.path().join("copy.sqlite");
    let copy = copy.to_str().unwrap();
    let made = medseal(&data, &["backup", copy]).await;
    assert!(made.status.success(), "{}", out(&made));
    let store = &world.running.app.core.store;
    let backed_up = store.backed_up().unwrap().expect("the index remembers");
    assert_eq!(store.drilled().unwrap(), None);
    let log = store.log_size().unwrap();
    assert_eq!(msa(&world.send(&admission("C9", "99", "Noether")).await).0, "AA");
    // What was read is told now: no entry comes while the drill looks.
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    anchored(&world).await;
    let found = proved(&data, &["--backup", copy]).await;
    assert!(found["backup"]["log"].as_u64() >= Some(log) && found["putIn"].as_u64() > Some(0), "{found}");
    assert!(found["recovered"]["log"].as_u64() > found["backup"]["log"].as_u64(), "{found}");
    assert!(found["recovered"]["newest"].as_str() > found["backup"]["newest"].as_str(), "{found}");
    assert_eq!(found["checked"]["anchored"], found["checked"]["published"], "{found}");
    assert!(found["checked"]["erased"]["records"].as_u64() > Some(0), "{found}");
    let remembered = store.drilled().unwrap().expect("the index remembers");
    assert_eq!((remembered.proved, remembered.backup), (true, Some(backed_up)));
    let words = out(&drill(&data, &["--backup", copy]).await);
    assert!(words.contains("was made at") && words.contains("proved: the embedded ledger holds"), "{words}");
    let refused = drill(&data, &["--backup", data.join("ledger.journal").to_str().unwrap()]).await;
    assert!(!refused.status.success() && out(&refused).contains("ledger.journal"), "{}", out(&refused));
    assert_eq!(store.drilled().unwrap().map(|drill| drill.proved), Some(false), "a drill that failed is remembered");
    // The service went on all the time.
    assert_eq!(msa(&world.send(&admission("C10", "99", "Noether")).await).0, "AA");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_index_everything_is_proved_and_nothing_live_is_touched() {
    let (world, _) = filled().await;
    anchored(&world).await;
    let size = world.running.app.core.store.log_size().unwrap();
    let (_directory, data) = stopped(world).await;
    if !stores::on_postgres() {
        stores::lose_index(&data);
        _ = std::fs::remove_file(data.join("index.upkeep"));
    }
    let folder = stores::folder(&data);
    let live = || (files(&data), folder.as_ref().map(|folder| files(folder)));
    let before = live();
    let found = proved(&data, &[]).await;
    assert!(live() == before, "what is live is as it was");
    assert!(found["backup"].is_null() && found["recovered"]["log"].as_u64() >= Some(size), "{found}");
    assert_eq!(found["checked"]["published"], found["recovered"]["log"], "{found}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_brought_back_is_named() {
    let (world, _) = filled().await;
    anchored(&world).await;
    let (directory, data) = stopped(world).await;
    let Some(objects) = stores::folder(&data) else { return };
    let first = std::fs::read_dir(objects.join("packs")).unwrap().flatten().map(|entry| entry.path()).min().unwrap();
    let aside = directory.path().join("aside");
    std::fs::rename(&first, &aside).unwrap();
    let lost = drill(&data, &[]).await;
    assert!(!lost.status.success() && out(&lost).contains("log entry 0 has no record"), "{}", out(&lost));
    std::fs::rename(&aside, &first).unwrap();
    let end = std::fs::read_dir(objects.join("log")).unwrap().flatten().map(|entry| entry.path());
    let end = end.filter(|path| !path.ends_with("checkpoint")).max().unwrap();
    let bytes = std::fs::read(&end).unwrap();
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    std::fs::write(&end, other).unwrap();
    let forged = drill(&data, &[]).await;
    // A bucket finds it out by its checksum, before the log does by its signature.
    let words = out(&forged);
    let is_named = words.contains("signed over") || words.contains("its checksum is another");
    assert!(!forged.status.success() && is_named, "{words}");
    std::fs::write(&end, bytes).unwrap();
    std::fs::rename(objects.join("keys"), &aside).unwrap();
    let keyless = drill(&data, &[]).await;
    assert!(!keyless.status.success() && out(&keyless).contains("wrapped keys"), "{}", out(&keyless));
    std::fs::rename(&aside, objects.join("keys")).unwrap();
    proved(&data, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_meanwhile_is_no_fault() {
    let world = Arc::new(World::new().await);
    assert_eq!(msa(&world.send(&admission("A", "1", "Hopper")).await).0, "AA");
    anchored(&world).await;
    let data = world.directory.path().join("data");
    let feed = tokio::spawn(admit_on(world.clone()));
    for _ in 0..3 {
        proved(&data, &[]).await;
    }
    feed.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_is_compared_by_its_proof_and_is_missed_when_it_is_away() {
    use bridge::clock::SystemClock;
    use bridge::upkeep::drill::{Outcome, drill};
    let directory = tempfile::tempdir().unwrap();
    let Some((mut anvil, config)) = chain(&directory).await else { return };
    let world = World::with(directory, config.clone()).await;
    assert_eq!(msa(&world.send(&admission("C1", "77", "Lovelace")).await).0, "AA");
    anchored(&world).await;
    let drilled = async |config: &bridge::config::Config| -> Outcome {
        let place = tempfile::tempdir().unwrap();
        drill(config, None, place.path(), Arc::new(SystemClock), &|_, _, _| ()).await.unwrap()
    };
    let outcome = drilled(&config).await;
    assert!(outcome.is_proved() && outcome.chain > Some(0), "{outcome:?}");
    anvil.stop();
    let outcome = drilled(&config).await;
    assert!(!outcome.is_proved() && outcome.faults[0].contains("the chain was not compared"), "{outcome:?}");
}
