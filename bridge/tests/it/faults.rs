//! What goes wrong on a machine: each a clear error that names what and where, and nothing lost.

use super::stores::{self, needs_sqlite};
use super::world::{World, admission, config, msa};
use bridge::commands::serve;
use bridge::ids::Owner;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

async fn start_error(data: &Path) -> String {
    match serve::start(config(data)).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

/// A stopped service with one patient in it.
async fn stopped() -> (tempfile::TempDir, PathBuf) {
    let world = World::new().await;
    assert_eq!(msa(&world.send(&admission("C1", "77", "Lovelace")).await).0, "AA");
    let World { running, directory, .. } = world;
    running.stop().await;
    let data = directory.path().join("data");
    (directory, data)
}

fn only_pack(data: &Path) -> Option<PathBuf> {
    let folder = stores::folder(data)?.join("packs");
    let packs: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()).collect();
    assert_eq!(packs.len(), 1);
    Some(packs[0].clone())
}

#[tokio::test]
async fn a_second_process_and_an_occupied_port_are_named() {
    let world = World::new().await;
    let data = world.directory.path().join("data");
    let error = start_error(&data).await;
    assert!(error.contains("in use by another medseal") && error.contains(data.to_str().unwrap()), "{error}");
    let mut other = config(&world.directory.path().join("other"));
    other.http = world.running.http;
    let error = serve::start(other).await.err().unwrap().to_string();
    assert!(error.contains("http address") && error.contains("in use"), "{error}");
}

#[tokio::test]
async fn a_lost_exposed_or_wrong_key_is_named() {
    let (_keep, data) = stopped().await;
    let key = data.join("root.key");
    let bytes = std::fs::read(&key).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(start_error(&data).await.contains("chmod 600"));
    std::fs::remove_file(&key).unwrap();
    let error = start_error(&data).await;
    assert!(error.contains("root.key is missing") && error.contains("backup"), "{error}");
    let other = "00".repeat(32);
    std::fs::write(&key, &other).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(start_error(&data).await.contains("does not open with this root key"));
    std::fs::write(&key, bytes).unwrap();
    serve::start(config(&data)).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_lost_index_and_a_changed_name_are_refused_before_anything_is_written() {
    if needs_sqlite() {
        return;
    }
    let (_keep, data) = stopped().await;
    let Some(folder) = stores::folder(&data) else { return };
    let listing = || {
        let mut files = Vec::new();
        collect(&folder, &mut files);
        files.sort();
        files.into_iter().map(|f| (std::fs::read(&f).unwrap(), f)).collect::<Vec<_>>()
    };
    let before = listing();
    // The write-ahead log belongs to the index: who is still closing may leave it behind.
    const INDEX: [&str; 3] = ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"];
    let aside = tempfile::tempdir().unwrap();
    for file in INDEX.iter().filter(|file| data.join(file).exists()) {
        std::fs::rename(data.join(file), aside.path().join(file)).unwrap();
    }
    let error = start_error(&data).await;
    assert!(error.contains("index.sqlite") && error.contains("backup"), "{error}");
    assert_eq!(listing(), before, "the server's keys are as they were");
    for file in INDEX {
        let _ = std::fs::remove_file(data.join(file));
        let kept = aside.path().join(file);
        if kept.exists() {
            std::fs::rename(kept, data.join(file)).unwrap();
        }
    }
    let mut other = config(&data);
    other.custodian = "somebody else".into();
    let error = serve::start(other).await.err().unwrap().to_string();
    assert!(error.contains("custodian was `urn:medseal:custodian:local`"), "{error}");
    serve::start(config(&data)).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_patient_cannot_be_called_like_a_key_of_the_server() {
    let world = World::new().await;
    let (status, _) = world.call("PUT", "/fhir/Patient/.log", r#"{"resourceType":"Patient","id":".log"}"#).await;
    assert_eq!(status, 201);
    let there = |owner: &str| world.running.app.core.store.key(&Owner::from_stored(owner)).unwrap();
    let owners = [there(".log"), there("Patient/.log")].iter().flatten().count();
    assert_eq!(owners, 2, "two keys, not one");
}

#[tokio::test]
async fn a_corrupt_pack_is_refused_by_name_and_the_rest_goes_on() {
    let (directory, data) = stopped().await;
    let Some(pack) = only_pack(&data) else { return };
    let mut bytes = std::fs::read(&pack).unwrap();
    let half = bytes.len() / 2;
    bytes[half] ^= 1;
    std::fs::write(&pack, &bytes).unwrap();
    let world = World::on(directory).await;
    let mut damaged = 0;
    for kind in
        ["Patient", "Encounter", "MessageHeader", "Provenance", "Organization", "Practitioner", "Location", "Device"]
    {
        let (status, outcome) = world.get(&format!("/fhir/{kind}")).await;
        if status == 500 {
            damaged += 1;
            assert_eq!(outcome["issue"][0]["code"], "exception");
        }
    }
    assert_eq!(damaged, 1, "one record is damaged, and no more than that is refused");
    // Of another hospital: what this one's messages share may be what is damaged.
    let other =
        admission("C2", "99", "Other").replace("NORTHQUAY", "ELY").replace("1.2.3.", "1.2.9.").replace("NQ", "EL");
    assert_eq!(msa(&world.send(&other.replace("|ADT|", "|HIS|")).await).0, "AA", "new records are taken");
    let World { running, directory: _keep, .. } = world;
    running.stop().await;
    std::fs::write(&pack, &bytes[..half]).unwrap();
    // A bucket may hold a million packs: those are looked through by `storage check`, not at each start.
    if stores::s3(&data).is_some() {
        return;
    }
    let error = start_error(&data).await;
    assert!(error.contains("packs/") && error.contains("too short"), "{error}");
}

#[tokio::test]
async fn a_record_moved_to_another_place_is_refused() {
    if needs_sqlite() {
        return;
    }
    let world = World::new().await;
    world.send(&admission("C1", "77", "A")).await;
    world.send(&admission("C2", "78", "B")).await;
    let World { running, directory, .. } = world;
    running.stop().await;
    let index = rusqlite::Connection::open(directory.path().join("data/index.sqlite")).unwrap();
    let swap = "UPDATE record SET (pack, offset, length) = (SELECT pack, offset, length FROM record o WHERE o.type = 'Patient' AND o.row <> record.row) WHERE type = 'Patient' AND row = (SELECT min(row) FROM record WHERE type = 'Patient')";
    assert_eq!(index.execute(swap, []).unwrap(), 1);
    drop(index);
    let world = World::on(directory).await;
    assert_eq!(
        world.get("/fhir/Patient?identifier=77").await.0,
        500,
        "one patient's record does not pass for another's"
    );
    assert_eq!(world.get("/fhir/Patient?identifier=78").await.0, 200);
}

#[tokio::test]
async fn a_corrupt_ledger_and_a_rolled_back_index_are_named() {
    if needs_sqlite() {
        return;
    }
    let (_keep, data) = stopped().await;
    let journal = data.join("ledger.journal");
    let good = std::fs::read(&journal).unwrap();
    let mut bad = good.clone();
    let at = bad.len() - 10;
    bad[at] ^= 1;
    std::fs::write(&journal, bad).unwrap();
    let error = start_error(&data).await;
    assert!(error.contains("ledger.journal is corrupt at line"), "{error}");
    std::fs::write(&journal, good).unwrap();
    let index = rusqlite::Connection::open(data.join("index.sqlite")).unwrap();
    index.execute("DELETE FROM log WHERE position = (SELECT max(position) FROM log)", []).unwrap();
    let error = start_error(&data).await;
    assert!(error.contains("older backup"), "{error}");
    index.execute("UPDATE log_hash SET hash = zeroblob(32)", []).unwrap();
    index
        .execute("INSERT INTO log SELECT position + 1, entry, -1 FROM log ORDER BY position DESC LIMIT 1", [])
        .unwrap();
    drop(index);
    let error = start_error(&data).await;
    assert!(error.contains("not the ones that the ledger anchored"), "{error}");
}

#[tokio::test]
async fn a_lost_ledger_is_not_begun_anew() {
    if needs_sqlite() {
        return;
    }
    let (_keep, data) = stopped().await;
    std::fs::remove_file(data.join("ledger.journal")).unwrap();
    let error = start_error(&data).await;
    assert!(error.contains("ledger.journal was lost"), "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_recovers() {
    // Root may write anywhere, so a read-only directory is no full disk: a file in the way of the packs is.
    let world = World::new().await;
    world.send(&admission("C1", "77", "A")).await;
    let Some(objects) = stores::folder(&world.directory.path().join("data")) else { return };
    let packs = objects.join("packs");
    let aside = world.directory.path().join("aside");
    std::fs::rename(&packs, &aside).unwrap();
    std::fs::write(&packs, b"no directory").unwrap();
    let message = admission("C2", "78", "B");
    let ack = world.send(&message).await;
    assert_eq!(msa(&ack).0, "AE", "retry later, never silence: {ack}");
    assert!(ack.contains("try again"), "{ack}");
    let (status, _) = world.call("POST", "/fhir/Patient", r#"{"resourceType":"Patient"}"#).await;
    assert_eq!(status, 503);
    std::fs::remove_file(&packs).unwrap();
    std::fs::rename(&aside, &packs).unwrap();
    assert_eq!(msa(&world.send(&message).await).0, "AA", "it recovers by itself");
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 2);
}

#[tokio::test]
async fn nothing_that_was_stored_is_in_the_clear_on_disk() {
    let world = World::new().await;
    let marked = "MSH|^~\\&|ADT|NORTHQUAY|MED|SEAL|20260302081500||ADT^A01^ADT_A01|CTRLMARK7|P|2.5.1\nEVN|A01|20260302\n\
         PID|1||MRNMARK7^^^NQ&1.2.3.4&ISO^MR||FAMMARK7^GIVMARK7||19430217|F|||STRMARK7^^CITMARK7||555-0177\n\
         PV1|1|I\nDG1|1||E11.9MARK7^DIAGMARK7^I10\n";
    assert_eq!(msa(&world.send(marked).await).0, "AA");
    let patient = world.only("/fhir/Patient?identifier=MRNMARK7").await;
    world.anchored_receipt(&format!("/fhir/Patient/{}/$receipt", patient["id"].as_str().unwrap())).await;
    let World { running, directory, .. } = world;
    running.stop().await;
    let mut files = Vec::new();
    collect(directory.path(), &mut files);
    if let Some(objects) = stores::folder(&directory.path().join("data")) {
        collect(&objects, &mut files);
    }
    assert!(files.len() > 5);
    for file in files {
        let bytes = match std::fs::read(&file) {
            // Who closes the index last takes its write-ahead log away.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.unwrap(),
        };
        for mark in ["MARK7", "1943-02-17", "19430217", "555-0177"] {
            let found = bytes.windows(mark.len()).any(|w| w == mark.as_bytes());
            assert!(!found, "{mark} in {}", file.display());
        }
    }
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
        if path.is_dir() { collect(&path, files) } else { files.push(path) }
    }
}

#[tokio::test]
async fn what_was_taken_is_answered_before_the_service_stops() {
    let world = World::new().await;
    let mut tasks = tokio::task::JoinSet::new();
    let address = world.running.mllp.to_string();
    for n in 0..20 {
        let mut connection = bridge::commands::send::Connection::open(&address).await.unwrap();
        tasks.spawn(async move {
            let mut acknowledged = 0;
            for m in 0..1_000 {
                let message = admission(&format!("S{n}-{m}"), &format!("{n}-{m}"), "Stop").replace('\n', "\r");
                match connection.exchange(message.as_bytes()).await {
                    Ok(ack) if msa(&ack).0 == "AA" => acknowledged += 1,
                    _ => break,
                }
            }
            acknowledged
        });
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let World { running, directory, .. } = world;
    running.stop().await;
    let mut acknowledged = 0;
    while let Some(count) = tasks.join_next().await {
        acknowledged += count.unwrap();
    }
    assert!(acknowledged > 0);
    let world = World::on(directory).await;
    let (_, found) = world.get("/fhir/Patient").await;
    assert!(found["total"].as_u64().unwrap() >= acknowledged, "an acknowledged message is never lost");
    let (_, ready) = world.get("/readyz").await;
    assert_eq!(ready["log"]["size"], ready["log"]["anchored"], "what was committed was anchored before the end");
}

/// What is said of readiness, once a part of it says a word.
async fn until(world: &World, part: &str, word: &str) -> (u16, serde_json::Value) {
    for _ in 0..1_500 {
        let (status, said) = world.get("/readyz").await;
        if said["write"][part] == word {
            return (status, said);
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it never says of {part} that it is `{word}`: {}", world.get("/readyz").await.1);
}

#[tokio::test]
async fn a_full_disk_is_not_ready_and_says_so() {
    let world = World::new().await;
    let data = world.directory.path().join("data");
    if stores::s3(&data).is_some() {
        return;
    }
    let (status, said) = world.get("/readyz").await;
    assert_eq!((status, &said["write"]), (200, &serde_json::json!({"objects": "ok", "index": "ok", "keys": "ok"})));
    // What is written there finds no room: the kernel says so, as of a disk.
    let probe = data.join("objects/probe").join(format!("{}.new", world.running.app.core.lease.holder()));
    std::os::unix::fs::symlink("/dev/full", &probe).unwrap();
    let (status, said) = until(&world, "objects", "no room").await;
    assert_eq!((status, &said["ready"], &said["write"]["index"]), (503, &false.into(), &"ok".into()), "{said}");
    assert_eq!(world.get("/healthz").await.0, 200, "the process is worth keeping");
    let (status, _) = until(&world, "objects", "ok").await;
    assert_eq!(status, 200, "it is seen that there is room again");
}

#[tokio::test]
async fn an_index_that_nobody_can_write_to_is_not_ready_and_reads_go_on() {
    if needs_sqlite() {
        return;
    }
    let world = World::new().await;
    assert_eq!(msa(&world.send(&admission("C1", "77", "A")).await).0, "AA");
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    let index = rusqlite::Connection::open(world.directory.path().join("data/index.sqlite")).unwrap();
    index.busy_timeout(std::time::Duration::from_secs(20)).unwrap();
    index.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (status, _) = until(&world, "index", "no answer").await;
    assert_eq!(status, 503);
    // However many ask: nobody waits for longer than a moment.
    let begun = std::time::Instant::now();
    let all = futures_util::future::join_all((0..20).map(|_| world.get("/readyz"))).await;
    assert!(all.iter().all(|(status, _)| *status == 503) && begun.elapsed() < std::time::Duration::from_secs(15));
    assert_eq!(world.get("/healthz").await.0, 200);
    index.execute_batch("ROLLBACK").unwrap();
    let (status, _) = until(&world, "index", "ok").await;
    assert_eq!(status, 200);
}

fn modes(folder: &Path, found: &mut Vec<(PathBuf, u32)>) {
    for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
        // Who closes the index takes its write-ahead log away meanwhile.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        if metadata.is_dir() {
            modes(&path, found);
        }
        // A socket lies in a folder that is closed.
        if metadata.is_dir() || metadata.is_file() {
            found.push((path, metadata.permissions().mode() & 0o777));
        }
    }
}

#[tokio::test]
async fn what_lies_in_the_data_directory_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    if needs_sqlite() || stores::s3(&data).is_some() {
        return;
    }
    // Whatever mask the process was started with.
    let mut command = std::process::Command::new("sh");
    let line = format!("umask 000; exec {} serve \"$@\"", super::commands::MEDSEAL);
    command.args(["-c", &line, "sh"]).args(stores::arguments(&data));
    let served = tokio::task::spawn_blocking(move || super::commands::Served::spawn(command)).await.unwrap();
    let mut connection = bridge::commands::send::Connection::open(&served.mllp).await.unwrap();
    let message = admission("C1", "77", "A").replace('\n', "\r");
    assert_eq!(msa(&connection.exchange(message.as_bytes()).await.unwrap()).0, "AA");
    let mut found = Vec::new();
    modes(&data, &mut found);
    assert_eq!(tokio::task::spawn_blocking(move || served.terminate()).await.unwrap(), 0);
    modes(&data, &mut found);
    found.push((data.clone(), std::fs::metadata(&data).unwrap().permissions().mode() & 0o777));
    assert!(found.len() > 10, "{found:?}");
    let open: Vec<_> = found.iter().filter(|(_, mode)| mode & 0o077 != 0).collect();
    assert!(open.is_empty(), "{open:?}");
    // What an older version left open.
    let open = |path: &str, mode| {
        let path = data.join(path);
        path.exists().then(|| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap());
    };
    let older = [
        ("lock", 0o644),
        ("index.sqlite", 0o644),
        ("ledger.journal", 0o664),
        ("objects", 0o755),
        ("objects/packs", 0o755),
    ];
    older.iter().for_each(|(path, mode)| open(path, *mode));
    serve::start(config(&data)).await.unwrap().stop().await;
    let mut found = Vec::new();
    modes(&data, &mut found);
    let open: Vec<_> = found.iter().filter(|(_, mode)| mode & 0o007 != 0).collect();
    assert!(open.is_empty(), "{open:?}");
}
