//! The index is lost, or an old one: from packs, wrapped keys, the published log and the root key everything comes back.

use super::commands::Served;
use super::erasure::{medseal, out};
use super::stores;
use super::world::{World, admission, config, corpora, msa};
use bridge::commands::serve;
use bridge::ids::Name;
use bridge::upkeep::erase;
use notary::receipt::Receipt;
use notary::verify::{Grade, Policy, verify};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Every version: its bytes, the entry and place that its receipt proves.
pub type Everything = BTreeMap<String, (Vec<u8>, String, u64)>;

pub async fn everything(world: &World) -> Everything {
    anchored(world).await;
    let sql = "SELECT type, id, version, deleted FROM record WHERE type NOT IN ('Message', 'Erasure', 'AuditEvent')";
    let mut found = Everything::new();
    for row in stores::rows(&world.directory.path().join("data"), sql) {
        let [kind, id, version, deleted] = &row[..] else { panic!("{row:?}") };
        let path = format!("/fhir/{kind}/{id}/_history/{version}");
        let deleted: i64 = deleted.parse().unwrap();
        let bytes = if deleted == 0 { world.bytes(&path).await.to_vec() } else { Vec::new() };
        let receipt = Receipt::parse(&world.bytes(&format!("{path}/$receipt")).await).unwrap();
        let verdict = verify(&receipt, (deleted == 0).then_some(&bytes), None, &Policy::default()).unwrap();
        assert_eq!((verdict.grade, verdict.erased.is_some()), (Grade::AnchoredLocal, deleted == 2), "{path}");
        found.insert(path, (bytes, receipt.entry, verdict.index));
    }
    // Looking is told, too: not some time later.
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    anchored(world).await;
    found
}

/// Waits until everything is signed and anchored.
pub async fn anchored(world: &World) {
    for _ in 0..3_000 {
        // In this order: what leaves the outbox meanwhile is in the log that is asked for then.
        let nothing_waits = world.running.app.core.store.waiting().unwrap() == 0;
        let log = world.get("/readyz").await.1["log"].take();
        // A log that is published anew has shown no checkpoint yet, however long ago it was anchored.
        if nothing_waits && log["size"] == log["anchored"] && log["size"] == log["checkpoint"] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    panic!("it is not anchored");
}

/// Messages, versions, a conditional create, a deletion, an erasure.
pub async fn filled() -> (World, String) {
    let world = World::new().await;
    for (control, number) in [("C1", "77"), ("C2", "78"), ("C3", "79")] {
        assert_eq!(msa(&world.send(&admission(control, number, "Lovelace")).await).0, "AA");
    }
    let gone = world.only("/fhir/Patient?identifier=79").await["id"].as_str().unwrap().to_owned();
    for value in [1, 2, 3] {
        let text = format!(r#"{{"resourceType":"Basic","id":"b","code":{{"text":"x{value}"}}}}"#);
        assert!(world.call("PUT", "/fhir/Basic/b", &text).await.0 < 300);
    }
    assert_eq!(conditional(&world).await, 201);
    assert_eq!(world.call("DELETE", "/fhir/Basic/b", "").await.0, 204);
    let name = Name::parse(&format!("Patient/{gone}")).unwrap();
    erase::erase(&world.running.app.core.keep(), &name, "by letter", &|_| ()).await.unwrap().unwrap();
    (world, gone)
}

async fn conditional(world: &World) -> u16 {
    let token = format!("Bearer {}", world.token);
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/fhir+json"),
        ("if-none-exist", "name=Recoverham"),
    ];
    let body = br#"{"resourceType":"Organization","name":"Recoverham Infirmary"}"#;
    world.request("POST", "/fhir/Organization", &headers, body).await.status().as_u16()
}

pub async fn stopped(world: World) -> (tempfile::TempDir, PathBuf) {
    let World { running, directory, .. } = world;
    running.stop().await;
    let data = directory.path().join("data");
    (directory, data)
}

/// What was there is there, and what was recognised still is.
pub async fn is_whole(world: &World, before: &Everything, gone: &str) {
    assert_eq!(&everything(world).await, before);
    assert_eq!(world.get(&format!("/fhir/Patient/{gone}")).await.0, 410);
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 2);
    assert_eq!(world.get("/fhir/Patient?identifier=78&family=lovel").await.1["total"], 1);
    assert_eq!(conditional(world).await, 200, "its condition is still claimed");
    let size = records(world);
    assert_eq!(msa(&world.send(&admission("C2", "78", "Lovelace")).await).0, "AA");
    assert_eq!(records(world), size, "a message sent again is recognised");
}

/// How many there are, but for who looked at them.
fn records(world: &World) -> usize {
    let sql = "SELECT type FROM record WHERE type <> 'AuditEvent'";
    stores::rows(&world.directory.path().join("data"), sql).len()
}

#[tokio::test]
async fn everything_comes_back_without_the_database() {
    let (world, gone) = filled().await;
    let before = everything(&world).await;
    let (directory, data) = stopped(world).await;
    stores::lose_index(&data);
    let refused = serve::start(config(&data)).await.err().unwrap().to_string();
    assert!(refused.contains("medseal recover"), "{refused}");
    stores::lose_index(&data);
    let recovered = medseal(&data, &["recover"]).await;
    let told = out(&recovered);
    // The embedded ledger of replicas lies in their PostgreSQL, and is lost with it.
    let ledger = if stores::on_postgres() { "no ledger is here" } else { "the ledger holds" };
    assert!(recovered.status.success() && told.contains("proved: the") && told.contains(ledger), "{told}");
    assert!(told.contains("0 entries were committed after"), "{told}");
    let world = World::with(directory, config(&data)).await;
    is_whole(&world, &before, &gone).await;
}

#[tokio::test]
async fn a_recovery_that_is_killed_goes_on_where_it_was() {
    let (world, gone) = filled().await;
    let before = everything(&world).await;
    let (directory, data) = stopped(world).await;
    stores::lose_index(&data);
    let mut kills = 0;
    // Later each time: it comes a little further, and in the end through.
    for wait in std::iter::successors(Some(20), |wait| Some(wait * 3 / 2)) {
        let mut command = Command::new(super::commands::MEDSEAL);
        command.arg("recover").args(stores::arguments(&data)).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        if child.try_wait().unwrap().is_some_and(|status| status.success()) {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    let world = World::with(directory, config(&data)).await;
    is_whole(&world, &before, &gone).await;
}

#[tokio::test]
async fn an_older_backup_is_brought_up_to_date_and_does_not_bring_the_erased_back() {
    if stores::needs_sqlite() {
        return;
    }
    let world = World::new().await;
    assert_eq!(msa(&world.send(&admission("C1", "77", "Lovelace")).await).0, "AA");
    assert_eq!(msa(&world.send(&admission("C2", "78", "Hopper")).await).0, "AA");
    anchored(&world).await;
    let gone = world.only("/fhir/Patient?identifier=77").await["id"].as_str().unwrap().to_owned();
    let data = world.directory.path().join("data");
    let copy = world.directory.path().join("copy.sqlite");
    let made = medseal(&data, &["backup", copy.to_str().unwrap()]).await;
    assert!(made.status.success(), "{}", out(&made));
    let again = medseal(&data, &["backup", copy.to_str().unwrap()]).await;
    assert!(!again.status.success() && out(&again).contains("there already"), "{}", out(&again));
    assert_eq!(msa(&world.send(&admission("C3", "79", "Noether")).await).0, "AA");
    let erased = medseal(&data, &["erase", &format!("Patient/{gone}"), "--reason", "by letter"]).await;
    assert!(erased.status.success(), "{}", out(&erased));
    let before = everything(&world).await;
    let (directory, data) = stopped(world).await;
    stores::lose_index(&data);
    std::fs::copy(&copy, data.join("index.sqlite")).unwrap();
    let refused = serve::start(config(&data)).await.err().unwrap().to_string();
    assert!(refused.contains("older backup"), "{refused}");
    let listed = medseal(&data, &["quarantine", "list"]).await;
    assert!(!listed.status.success() && out(&listed).contains("older backup"), "{}", out(&listed));
    assert!(!data.join("objects/aside").exists(), "nor does a command take away what it does not know");
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
    let world = World::with(directory, config(&data)).await;
    assert_eq!(world.get(&format!("/fhir/Patient/{gone}")).await.0, 410, "it stays erased");
    assert_eq!(everything(&world).await, before);
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 2);
}

#[tokio::test]
async fn what_is_missing_is_named_and_the_rest_comes_back() {
    let (world, _) = filled().await;
    anchored(&world).await;
    let (directory, data) = stopped(world).await;
    let Some(objects) = stores::folder(&data) else { return };
    stores::lose_index(&data);
    let _ = std::fs::remove_file(data.join("ledger.journal"));
    let mut packs: Vec<_> = std::fs::read_dir(objects.join("packs")).unwrap().flatten().map(|e| e.path()).collect();
    packs.sort();
    std::fs::rename(&packs[0], directory.path().join("aside")).unwrap();
    let mut bytes = std::fs::read(&packs[1]).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&packs[1], bytes).unwrap();
    let recovered = medseal(&data, &["recover"]).await;
    let told = out(&recovered);
    assert!(!recovered.status.success(), "{told}");
    let name = format!("packs/{}", packs[1].file_name().unwrap().to_str().unwrap());
    assert!(told.contains("log entry 0 has no record") && told.contains(&name), "{told}");
    assert!(told.contains("no ledger is here"), "{told}");
    let world = World::with(directory, config(&data)).await;
    assert_eq!(world.get("/fhir/Basic/b").await.0, 410, "what is there is read");
    let (_keep, data) = stopped(world).await;
    std::fs::remove_dir_all(objects.join("keys")).unwrap();
    stores::lose_index(&data);
    let keyless = medseal(&data, &["recover"]).await;
    assert!(!keyless.status.success() && out(&keyless).contains("wrapped keys"), "{}", out(&keyless));
}

/// A service with one message, and a copy of its index from then.
struct Begun {
    data: PathBuf,
    copy: PathBuf,
    served: Served,
}

/// Nothing where index and packs are elsewhere.
async fn begun(directory: &tempfile::TempDir) -> Option<Begun> {
    if stores::needs_sqlite() || stores::s3(std::path::Path::new("")).is_some() {
        return None;
    }
    let (data, copy) = (directory.path().join("data"), directory.path().join("copy.sqlite"));
    let served = unsequenced(&data);
    assert_eq!(msa(&sent(&served, &admission("C1", "77", "Lovelace")).await).0, "AA");
    let made = medseal(&data, &["backup", copy.to_str().unwrap()]).await;
    assert!(made.status.success(), "{}", out(&made));
    Some(Begun { data, copy, served })
}

/// SQLite is synced later than the packs that it follows: what a power cut took from it is put in again at the start.
#[tokio::test]
async fn an_index_that_has_not_followed_the_newest_packs_does_so_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let Some(Begun { data, copy, served }) = begun(&directory).await else { return };
    for (control, number, family) in [("C2", "78", "Hopper"), ("C3", "79", "Noether"), ("C4", "78", "Murray")] {
        assert_eq!(msa(&sent(&served, &admission(control, number, family)).await).0, "AA");
    }
    killed(served);
    stores::lose_index(&data);
    std::fs::copy(&copy, data.join("index.sqlite")).unwrap();
    let packs = || {
        let all = std::fs::read_dir(data.join("objects/packs")).unwrap().flatten().map(|entry| entry.path());
        // The others are names for packs to come.
        all.filter(|path| std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0))
    };
    let newest = packs().max().unwrap();
    let torn = newest.with_file_name("fffffffffffff-00000000000000ff");
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&torn, &bytes[..bytes.len() / 2]).unwrap();
    let count = packs().count();
    // Compaction has joined the keys meanwhile.
    let keys = std::fs::read_dir(data.join("objects/keys")).unwrap().flatten().map(|entry| entry.path());
    let newest = keys.filter(|path| std::fs::metadata(path).unwrap().len() > 0).max().unwrap();
    std::fs::rename(&newest, newest.with_file_name("0000000000001-00000000000000aa")).unwrap();
    let world = World::with(directory, config(&data)).await;
    assert_eq!(packs().count(), count - 1, "what was cut short is set aside");
    assert!(data.join("objects/aside").join(torn.file_name().unwrap()).exists());
    for (number, version) in [("77", "1"), ("78", "2"), ("79", "1")] {
        let patient = world.only(&format!("/fhir/Patient?identifier={number}")).await;
        assert_eq!(patient["meta"]["versionId"], version, "{number}");
    }
    anchored(&world).await;
    let sql = "SELECT row FROM record WHERE type NOT IN ('Message', 'AuditEvent')";
    let rows = stores::rows(&data, sql);
    let logged = stores::rows(&data, &format!("SELECT row FROM log WHERE row IN ({sql})"));
    assert_eq!(rows.len(), logged.len(), "each is in the log once");
    let again = world.send(&admission("C3", "79", "Noether")).await;
    assert_eq!((msa(&again).0.as_str(), stores::rows(&data, sql)), ("AA", rows), "recognised");
    let everything = everything(&world).await;
    let world = world.restarted().await;
    assert_eq!(self::everything(&world).await, everything);
}

/// A service that puts nothing into the log: nothing else makes SQLite sync, either.
fn unsequenced(data: &std::path::Path) -> Served {
    let config = data.with_extension("toml");
    std::fs::write(&config, "[log]\ncheckpoint_ms = 3600000\nanchor_ms = 3600000\n").unwrap();
    let mut command = Command::new(super::commands::MEDSEAL);
    command.arg("serve").arg("--data").arg(data).arg("--config").arg(config);
    Served::spawn(command)
}

async fn sent(served: &Served, message: &str) -> String {
    let mut connection = bridge::commands::send::Connection::open(&served.mllp).await.unwrap();
    connection.exchange(message.replace('\n', "\r").as_bytes()).await.unwrap()
}

fn killed(mut served: Served) {
    served.child.kill().unwrap();
    served.child.wait().unwrap();
}

/// Bundles of Synthea, where they are.
#[tokio::test(flavor = "multi_thread")]
async fn the_synthea_corpus_comes_back() {
    let Some(corpora) = corpora() else { return };
    let mut paths = super::corpora::walk(&corpora.join("fhir/synthea-r4"));
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort_by_key(|path| std::fs::metadata(path).map_or(0, |m| m.len()));
    let most = std::env::var("MEDSEAL_RECOVER_BUNDLES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let world = World::new().await;
    let mut posted = 0;
    for path in paths.iter().take(most) {
        let text = std::fs::read_to_string(path).unwrap();
        posted += usize::from(world.call("POST", "/fhir", &text).await.0 == 200);
    }
    if posted == 0 {
        println!("skipped: no Synthea bundle is here that is taken by itself");
        return;
    }
    let before = everything(&world).await;
    let (directory, data) = stopped(world).await;
    stores::lose_index(&data);
    let begun = std::time::Instant::now();
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
    println!("{} versions of {posted} bundles recovered in {:?}", before.len(), begun.elapsed());
    let world = World::with(directory, config(&data)).await;
    assert_eq!(everything(&world).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_only_looks_makes_no_keys_where_the_index_is_lost() {
    if stores::needs_sqlite() {
        return;
    }
    let (world, _) = filled().await;
    let objects = world.running.app.core.objects.clone();
    let (_directory, data) = stopped(world).await;
    stores::lose_index(&data);
    let keys = async || {
        let mut all = BTreeMap::new();
        for found in objects.list("keys/", "", 9_999).await.unwrap() {
            all.insert(found.name.clone(), objects.read_all(&found.name).await.unwrap());
        }
        all
    };
    let before = keys().await;
    assert!(!before.is_empty());
    // A start refuses, and leaves an index with nothing in it.
    assert!(serve::start(config(&data)).await.is_err());
    for arguments in [&["storage", "check"][..], &["erase", "--list"]] {
        let looked = medseal(&data, arguments).await;
        assert!(!looked.status.success(), "{arguments:?}: {}", out(&looked));
    }
    assert!(keys().await == before, "no key was made, and none written over");
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
}

/// The published log is lost. What else is there decides what is said.
#[tokio::test]
async fn a_lost_log_is_published_anew_from_the_index_or_named() {
    if stores::needs_sqlite() {
        return;
    }
    let (world, gone) = filled().await;
    let before = everything(&world).await;
    let (directory, data) = stopped(world).await;
    let Some(objects) = stores::folder(&data) else { return };
    let lose = || std::fs::remove_dir_all(objects.join("log")).unwrap();
    lose();
    // The index is there: nothing is to be recovered.
    let refused = medseal(&data, &["recover"]).await;
    let told = out(&refused);
    assert!(!refused.status.success() && told.contains("no published log") && told.contains("medseal serve"), "{told}");
    let world = World::with(directory, config(&data)).await;
    is_whole(&world, &before, &gone).await;
    anchored(&world).await;
    super::storage::is_intact(&data).await;
    let before = everything(&world).await;
    let (directory, data) = stopped(world).await;
    // All of it is there again: recovery needs nothing else.
    stores::lose_index(&data);
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success() && out(&recovered).contains("proved: the"), "{}", out(&recovered));
    let world = World::with(directory, config(&data)).await;
    assert_eq!(everything(&world).await, before);
    let (_directory, data) = stopped(world).await;
    // Both are lost, and the ledger speaks of a log.
    stores::lose_index(&data);
    let aside = data.with_extension("log");
    std::fs::rename(objects.join("log"), &aside).unwrap();
    let refused = medseal(&data, &["recover"]).await;
    let told = out(&refused);
    assert!(!refused.status.success() && told.contains("ledger.journal has anchored"), "{told}");
    assert!(told.contains("put log/ back from your backup") && !told.contains("older backup"), "{told}");
    std::fs::rename(&aside, objects.join("log")).unwrap();
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
}

fn copied(from: &std::path::Path, to: &std::path::Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

/// Everything is put back from before an erasure but the note of it.
#[tokio::test]
async fn who_was_erased_does_not_come_back_with_a_backup_of_everything_else() {
    if stores::needs_sqlite() || stores::s3(std::path::Path::new("")).is_some() {
        return;
    }
    let world = World::new().await;
    for (control, number, family) in [("C1", "77", "Lovelace"), ("C2", "78", "Hopper")] {
        assert_eq!(msa(&world.send(&admission(control, number, family)).await).0, "AA");
    }
    let gone = world.only("/fhir/Patient?identifier=77").await["id"].as_str().unwrap().to_owned();
    anchored(&world).await;
    let (directory, data) = stopped(world).await;
    let backup = directory.path().join("backup");
    copied(&data, &backup);
    let erased = medseal(&data, &["erase", &format!("Patient/{gone}"), "--reason", "by letter"]).await;
    assert!(erased.status.success(), "{}", out(&erased));
    stores::lose_index(&data);
    for part in ["objects/log", "objects/keys"] {
        std::fs::remove_dir_all(data.join(part)).unwrap();
    }
    for part in ["index.sqlite", "ledger.journal", "objects/log", "objects/keys"] {
        copied(&backup.join(part), &data.join(part));
    }
    // Without the pack of the tombstone nothing else speaks of it.
    let packs = |data: &std::path::Path| {
        let names = std::fs::read_dir(data.join("objects/packs")).unwrap().flatten().map(|entry| entry.file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let new: Vec<_> = packs(&data).difference(&packs(&backup)).cloned().collect();
    assert!(!new.is_empty());
    let aside = directory.path().join("aside");
    std::fs::create_dir(&aside).unwrap();
    new.iter().for_each(|name| std::fs::rename(data.join("objects/packs").join(name), aside.join(name)).unwrap());
    let refused = serve::start(config(&data)).await.err().unwrap().to_string();
    assert!(refused.contains("was erased") && refused.contains("medseal recover"), "{refused}");
    let (intact, _, told) = super::storage::checked(&data).await;
    assert!(!intact && told.contains("was erased, and the index does not know it"), "{told}");
    new.iter().for_each(|name| std::fs::rename(aside.join(name), data.join("objects/packs").join(name)).unwrap());
    let recovered = medseal(&data, &["recover"]).await;
    assert!(recovered.status.success(), "{}", out(&recovered));
    let world = World::with(directory, config(&data)).await;
    assert_eq!(world.get(&format!("/fhir/Patient/{gone}")).await.0, 410);
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 1);
}

/// A check beside an index that a power cut has left behind its packs.
#[tokio::test]
async fn a_check_changes_nothing_and_names_what_the_index_has_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let Some(Begun { data, copy, served }) = begun(&directory).await else { return };
    assert_eq!(msa(&sent(&served, &admission("C2", "78", "Hopper")).await).0, "AA");
    killed(served);
    stores::lose_index(&data);
    std::fs::copy(&copy, data.join("index.sqlite")).unwrap();
    let stranger = data.join("objects/packs/readme");
    std::fs::write(&stranger, "not ours").unwrap();
    std::fs::write(data.join("objects/packs/0000000000001-aa.new"), "half").unwrap();
    std::fs::create_dir(data.join("objects/another")).unwrap();
    let contents = || {
        let mut found = BTreeMap::new();
        let mut open = vec![data.clone()];
        while let Some(path) = open.pop() {
            for path in std::fs::read_dir(path).unwrap().flatten().map(|entry| entry.path()) {
                // What SQLite keeps to read by is no content, nor is a lock.
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    open.push(path);
                } else if path.is_file() && !["index.sqlite-shm", "index.sqlite-wal", "index.upkeep"].contains(&&*name)
                {
                    found.insert(path.clone(), std::fs::read(path).unwrap());
                }
            }
        }
        found
    };
    let before = contents();
    let (intact, found, told) = super::storage::checked(&data).await;
    assert!(contents() == before, "nothing was changed");
    assert!(!intact || found["differences"]["lines"].as_array().unwrap().is_empty(), "{told}");
    let notes = found["notes"].to_string();
    for part in ["packs/readme", "packs/0000000000001-aa.new", "\"another\"", "it is no object of this service"] {
        assert!(notes.contains(part), "{part}: {told}");
    }
    std::fs::remove_file(stranger).unwrap();
    let world = World::with(directory, config(&data)).await;
    assert_eq!(world.get("/fhir/Patient").await.1["total"], 2, "what was not followed is put in at the start");
}
