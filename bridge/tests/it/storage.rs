//! The check of what is stored: an intact store is told to be one, and each kind of damage is named.

use super::erasure::{medseal, out};
use super::recovery::{anchored, filled, stopped};
use super::stores;
use super::world::{World, admit_on};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What the check finds, beside a service or without one.
pub async fn checked(data: &Path) -> (bool, Value, String) {
    let done = medseal(data, &["storage", "check", "--json"]).await;
    let found = serde_json::from_slice(&done.stdout).unwrap_or_else(|_| panic!("{}", out(&done)));
    (done.status.success(), found, out(&done))
}

/// Nothing differs.
pub async fn is_intact(data: &Path) -> Value {
    let (intact, found, told) = checked(data).await;
    assert!(intact && found["differences"]["lines"].as_array().unwrap().is_empty(), "{told}");
    found
}

#[tokio::test]
async fn an_intact_store_is_told_to_be_one() {
    let (world, _) = filled().await;
    let data = world.directory.path().join("data");
    is_intact(&data).await;
    // What was looked at is told now, and not while things are counted.
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    anchored(&world).await;
    let found = is_intact(&data).await;
    let size = world.running.app.core.store.log_size().unwrap();
    for count in ["log", "published", "anchored"] {
        assert_eq!(found[count], size, "{count}: {found}");
    }
    assert_eq!((&found["notes"]["lines"], &found["copies"]["records"]), (&Value::Array(vec![]), &0.into()));
    assert!(found["erased"]["records"].as_u64() > Some(2), "{found}");
    let told = out(&medseal(&data, &["storage", "check"]).await);
    assert!(told.contains(&format!("{size} log entries, {size} published, {size} anchored")), "{told}");
    let (_keep, data) = stopped(world).await;
    assert_eq!(is_intact(&data).await["records"], found["records"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_in_meanwhile_is_no_difference() {
    let world = std::sync::Arc::new(World::new().await);
    let data = world.directory.path().join("data");
    let feed = tokio::spawn(admit_on(world.clone()));
    for _ in 0..5 {
        is_intact(&data).await;
    }
    feed.abort();
}

/// A stopped store in a directory, to be damaged.
struct Stored {
    directory: tempfile::TempDir,
    data: PathBuf,
    count: u32,
}

impl Stored {
    /// None where the damage cannot be done by hand.
    async fn new() -> Option<Self> {
        if stores::needs_sqlite() {
            return None;
        }
        let (world, _) = filled().await;
        anchored(&world).await;
        let (directory, data) = stopped(world).await;
        let in_directory = stores::s3(&data).is_none();
        in_directory.then_some(Self { directory, data, count: 0 })
    }

    /// Damages a copy, and expects to be told so: each of the lines, with what they say.
    async fn names(&mut self, damage: impl FnOnce(&Path), expected: &[&str]) {
        self.count += 1;
        let copy = self.directory.path().join(format!("copy{}", self.count));
        copy_all(&self.data, &copy);
        damage(&copy);
        let (intact, found, told) = checked(&copy).await;
        assert!(!intact && found["differences"]["further"] == 0, "{expected:?}: {told}");
        for part in expected {
            assert!(found["differences"].to_string().contains(part), "{part}: {told}");
        }
    }

    /// The same, by a statement.
    async fn names_after(&mut self, sql: &str, expected: &[&str]) {
        let damage = |data: &Path| {
            let index = rusqlite::Connection::open(data.join("index.sqlite")).unwrap();
            assert!(index.execute(sql, []).unwrap() > 0, "{sql}");
        };
        self.names(damage, expected).await;
    }
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_all(&entry.path(), &target)
        } else if entry.path().is_file() {
            _ = std::fs::copy(entry.path(), target).unwrap()
        }
    }
}

/// The first files of a folder of objects, by name.
fn files(data: &Path, folder: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> =
        std::fs::read_dir(data.join("objects").join(folder)).unwrap().flatten().map(|e| e.path()).collect();
    found.sort();
    found
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
    // What is new may be half written.
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_modified(file.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(3_600)).unwrap();
}

#[tokio::test]
async fn damaged_packs_and_rows_are_named() {
    let Some(mut stored) = Stored::new().await else { return };
    let first = files(&stored.data, "packs")[1].file_name().unwrap().to_str().unwrap().to_owned();
    let pack = |data: &Path| data.join("objects/packs").join(&first);
    let flip_body = |data: &Path| change(&pack(data), |bytes| *bytes.iter_mut().rev().nth(60).unwrap() ^= 1);
    stored.names(flip_body, &[&first, "the sum at its end is another", "does not open"]).await;
    let flip_header = |data: &Path| change(&pack(data), |bytes| bytes[23] ^= 1);
    stored.names(flip_header, &[&first, "no record can be read here", "no record of it lies at byte 15"]).await;
    // What is under no seal, changed by somebody who knows how a pack is summed up.
    let forged = |from: &'static str, to: &'static str| {
        let pack = &pack;
        move |data: &Path| {
            change(&pack(data), |bytes| {
                let at = bytes.windows(from.len()).position(|some| some == from.as_bytes()).unwrap() + from.len();
                bytes[at - 1] = *to.as_bytes().last().unwrap();
                let end = bytes.len() - 32;
                let sum = notary::commitment::Digest::of(&bytes[..end]).0;
                bytes[end..].copy_from_slice(&sum);
            })
        }
    };
    stored.names(forged("\"time\":1", "\"time\":2"), &[&first, "the index has another time for it"]).await;
    stored.names(forged("{\"kind\":", "{\"kind\" "), &[&first, "no record can be read here"]).await;
    let miscounted = |data: &Path| {
        change(&pack(data), |bytes| {
            let end = bytes.len() - 32;
            bytes[end - 1] ^= 4;
            let sum = notary::commitment::Digest::of(&bytes[..end]).0;
            bytes[end..].copy_from_slice(&sum);
        })
    };
    stored.names(miscounted, &[&first, "another number of records"]).await;
    let cut = |data: &Path| change(&pack(data), |bytes| bytes.truncate(bytes.len() / 2));
    stored.names(cut, &[&first, "the sum at its end", "row "]).await;
    stored
        .names(|data| std::fs::remove_file(pack(data)).unwrap(), &["it is not there, and", "no record of it lies"])
        .await;
    let last = "(SELECT max(row) FROM record WHERE type = 'Encounter' AND deleted = 0)";
    let elsewhere = format!("UPDATE record SET \"offset\" = \"offset\" + 1 WHERE row = {last}");
    stored.names_after(&elsewhere, &["Encounter/", "no record of it lies at byte"]).await;
    let gone = format!("DELETE FROM record WHERE row = {last}");
    stored.names_after(&gone, &["the index has no row for it", "which it speaks of, is not in the index"]).await;
    let deleted = format!("UPDATE record SET deleted = 1 WHERE row = {last}");
    stored.names_after(&deleted, &["do not agree whether it is a deletion"]).await;
    let erased = format!("UPDATE record SET deleted = 2 WHERE row = {last}");
    stored.names_after(&erased, &["what the erasures say"]).await;
}

#[tokio::test]
async fn a_damaged_log_is_named_wherever_it_is() {
    let Some(mut stored) = Stored::new().await else { return };
    let other = "zeroblob(35)";
    let entry = format!("UPDATE log SET entry = {other} WHERE position = 2");
    let all =
        ["log hash", "signed over other entries", "log/checkpoint", "the ledger's newest root", "another entry for it"];
    stored.names_after(&entry, &all).await;
    stored.names_after("DELETE FROM log WHERE position = 3", &["log position 3", "there is no entry"]).await;
    stored.names_after("UPDATE log_hash SET hash = zeroblob(32) WHERE number = 4", &["log hash 4"]).await;
    let note = "UPDATE checkpoint SET note = replace(note, 'medseal.local', 'medseal.other')";
    stored.names_after(note, &["checkpoint of", "bear a valid signature"]).await;
    let swapped = "UPDATE checkpoint SET note = (SELECT note FROM checkpoint ORDER BY size LIMIT 1) \
         WHERE size = (SELECT max(size) FROM checkpoint)";
    stored.names_after(swapped, &["signed over other entries"]).await;
    let part = |data: &Path| files(data, "log").remove(0);
    stored
        .names(|data| change(&part(data), |bytes| bytes[40] ^= 1), &["other entries than the log", "log/0000000000"])
        .await;
    stored.names(|data| std::fs::remove_file(part(data)).unwrap(), &["log/0000000000"]).await;
    let gone = |data: &Path| std::fs::remove_file(data.join("objects/log/checkpoint")).unwrap();
    stored.names(gone, &["0 log entries were published, and the index remembers"]).await;
    let journal = |data: &Path| data.join("ledger.journal");
    stored.names(|data| std::fs::remove_file(journal(data)).unwrap(), &["the ledger", "the index remembers"]).await;
    let behind = |data: &Path| {
        change(&journal(data), |bytes| {
            let last = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap();
            bytes.truncate(last + 1);
        });
    };
    stored.names(behind, &["the ledger", "it has anchored"]).await;
    stored.names(|data| change(&journal(data), |bytes| bytes[100] ^= 1), &["the ledger", "corrupt at line"]).await;
}

#[tokio::test]
async fn missing_and_undead_keys_are_named() {
    let Some(mut stored) = Stored::new().await else { return };
    let owner = "(SELECT min(owner) FROM data_key WHERE owner LIKE 'Patient/%')";
    let key = format!("DELETE FROM data_key WHERE owner = {owner}");
    stored.names_after(&key, &["the index has no key of Patient/"]).await;
    let gone = |data: &Path| std::fs::remove_file(&files(data, "keys")[0]).unwrap();
    stored.names(gone, &["its key lies in no object under keys/"]).await;
    let odd = |data: &Path| change(&files(data, "keys")[0], |bytes| bytes[0] = b'x');
    stored.names(odd, &["cannot be read as wrapped keys", "its key lies in no object"]).await;
    let undead = "INSERT INTO data_key (owner, wrapped) SELECT owner, zeroblob(69) FROM erasure";
    stored.names_after(undead, &["it was erased, and the index has its key"]).await;
    let erased = stores::rows(&stored.data, "SELECT owner FROM erasure").concat().remove(0);
    let in_object = |data: &Path| {
        let text = serde_json::json!({erased: "00"}).to_string();
        std::fs::write(data.join("objects/keys/undead"), text).unwrap();
    };
    stored.names(in_object, &["keys/undead", "who was erased"]).await;
}

#[tokio::test]
async fn what_a_crash_left_is_a_note() {
    let (world, _) = filled().await;
    let data = world.directory.path().join("data");
    let keep = world.running.app.core.keep();
    let mut old = bridge::vault::pack::PackWriter::default();
    let place = stores::rows(&data, "SELECT pack FROM record WHERE type = 'Message' ORDER BY row").concat().remove(0);
    let records = bridge::vault::pack::read_pack(&keep.objects.read_all(&place).await.unwrap()).unwrap();
    let (_, mut lost) = records.into_iter().next().unwrap();
    lost.sealed.label.id = bridge::ids::ResourceId::parse("lost").unwrap();
    lost.time -= 3_600_000;
    old.add(&lost);
    let name = format!("packs/{:013x}-0000000000000000", lost.time);
    keep.objects.put_pack(&name, old.finish(), Vec::new()).await.unwrap();
    let found = is_intact(&data).await;
    assert_eq!(found["unreferenced"]["records"], 1);
    assert!(found["notes"].to_string().contains("never committed") && found["notes"].to_string().contains(&name));
}
