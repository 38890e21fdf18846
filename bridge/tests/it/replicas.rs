//! Several replicas on one PostgreSQL and one object store, and what happens when PostgreSQL goes away. Skipped, and said so,
//! where PostgreSQL is not installed.

use super::commands::MEDSEAL;
use super::postgres::{Server, shared};
use super::processes::Pair;
use super::search::{TELLING, people_in};
use super::stores::{database, dumped};
use super::world::{World, admission, config, msa};
use bridge::config::{Config, Hidden};
use bridge::index::postgres::Settings;
use bridge::index::store::Store;
use serde_json::Value;
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use warp::http::Response;

/// A configuration on a database. Replicas are one service to their clients: they have one address.
fn shared_config(data: &Path, text: &str) -> Config {
    let mut config = config(data);
    config.index.postgres = Some(Hidden(text.to_owned()));
    config.base_url = Some("http://replicas.example/fhir".into());
    config
}

/// Another replica of a running service: its own data directory, with the same root key and the same objects.
async fn beside(one: &World) -> World {
    let directory = tempfile::tempdir().unwrap();
    let (first, data) = (one.directory.path().join("data"), directory.path().join("data"));
    bridge::app::private_directory(&data).unwrap();
    std::fs::copy(first.join("root.key"), data.join("root.key")).unwrap();
    std::os::unix::fs::symlink(first.join("objects"), data.join("objects")).unwrap();
    let config = Config { data, ..one.running.app.config.clone() };
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    World::with(directory, Config { http: any, mllp: any, ..config }).await
}

/// Two replicas on a database of their own.
pub async fn pair() -> Option<(World, World)> {
    shared()?;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let one = World::with(directory, shared_config(&data, &database(&data))).await;
    let other = beside(&one).await;
    Some((one, other))
}

async fn create(world: &World, number: &str) -> Response<bytes::Bytes> {
    let token = format!("Bearer {}", world.token);
    let condition = format!("identifier=urn:n|{number}");
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/fhir+json"),
        ("if-none-exist", condition.as_str()),
    ];
    let patient = format!(r#"{{"resourceType":"Patient","identifier":[{{"system":"urn:n","value":"{number}"}}]}}"#);
    world.request("POST", "/fhir/Patient", &headers, patient.as_bytes()).await
}

/// Rounds that clients of two processes race in; MEDSEAL_ROUNDS says how many.
#[tokio::test(flavor = "multi_thread")]
async fn sixteen_clients_of_two_replicas_make_one_patient() {
    let Some(mut pair) = Pair::start().await else { return };
    // Nobody is paused here: an answer is only as late as the machine is slow.
    pair.patience = Duration::from_secs(60);
    let rounds: usize = std::env::var("MEDSEAL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(30);
    for round in 0..rounds {
        let number = format!("round-{round}");
        let all = (0..16).map(|client| pair.create(client % 2, &number));
        let replies: Vec<_> = futures_util::future::join_all(all).await.into_iter().flatten().collect();
        let status = |wanted: u16| replies.iter().filter(|(status, _)| *status == wanted).count();
        assert_eq!((status(201), status(200)), (1, 15), "round {round}: {replies:?}");
        assert_eq!(replies.iter().map(|(_, id)| id).collect::<HashSet<_>>().len(), 1, "round {round}");
    }
    for which in 0..2 {
        assert_eq!(pair.json(which, "/fhir/Patient?_summary=count").await["total"], rounds);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_about_one_patient_to_two_replicas_make_one_patient() {
    let Some((one, other)) = pair().await else { return };
    let messages: Vec<String> = (0..16).map(|n| admission(&format!("C{n}"), "777", "Lovelace")).collect();
    let sent = messages.iter().zip([&one, &other].into_iter().cycle()).map(|(message, world)| world.send(message));
    for ack in futures_util::future::join_all(sent).await {
        assert_eq!(msa(&ack).0, "AA", "{ack}");
    }
    one.only("/fhir/Patient?identifier=777").await;
    other.only("/fhir/Encounter?identifier=V777").await;
    let rows_in_order = one.running.app.core.store.history(&everything()).unwrap();
    assert!(
        rows_in_order.windows(2).all(|w| w[0].row > w[1].row && w[0].updated >= w[1].updated),
        "times grow with rows"
    );
    one.running.stop().await;
    other.running.stop().await;
}

fn everything() -> bridge::index::history::Page {
    use bridge::index::history::{Of, Page};
    Page { of: Of::Everything, before: i64::MAX, since: None, at: None, limit: 10_000 }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_notarises_and_when_it_goes_the_other_goes_on_with_the_same_chain() {
    let Some((one, other)) = pair().await else { return };
    let (one_epoch, other_epoch) = (one.running.app.core.lease.held(), other.running.app.core.lease.held());
    assert!(one_epoch.is_some() && other_epoch.is_none(), "{one_epoch:?} {other_epoch:?}");
    let receipt = |reply: Response<bytes::Bytes>| {
        let id = serde_json::from_slice::<Value>(reply.body()).unwrap()["id"].as_str().unwrap().to_owned();
        format!("/fhir/Patient/{id}/_history/1/$receipt")
    };
    let first = receipt(create(&other, "1").await);
    // What one replica took in, the other one anchors, and the first proves.
    other.anchored_receipt(&first).await;
    one.anchored_receipt(&first).await;
    assert_eq!(one.token.split('.').count(), 3);
    let foreign = World { token: one.token.clone(), ..other };
    assert_eq!(foreign.get("/fhir/Patient").await.0, 200, "a token of one replica is good at the other");
    let other = foreign;
    one.running.stop().await;
    let second = receipt(create(&other, "2").await);
    other.anchored_receipt(&second).await;
    assert!(other.running.app.core.lease.held() > one_epoch, "a takeover has a new epoch");
    let core = other.running.app.core.clone();
    let blocks = core.store.blocks(0).unwrap().len();
    let third = beside(&other).await;
    third.anchored_receipt(&first).await;
    assert!(core.store.blocks(0).unwrap().len() >= blocks && blocks >= 3);
    other.running.stop().await;
    third.running.stop().await;
}

/// A bucket may take in a request long after its sender has lost the lease, and given it up.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_checkpoint_that_arrives_late_does_not_stay() {
    use bridge::anchor::publish::{CHECKPOINT, checkpoint};
    let Some((one, other)) = pair().await else { return };
    let keep = other.running.app.core.keep();
    let published = async || checkpoint(&keep.objects, &keep.log_key).await.unwrap().unwrap();
    let (mut notes, deadline) = (Vec::new(), Instant::now() + Duration::from_secs(60));
    for number in ["1", "2"] {
        assert_eq!(create(&one, number).await.status(), 201);
        let before =
            notes.last().map_or(0, |(_, checkpoint): &(String, notary::checkpoint::Checkpoint)| checkpoint.size);
        while notes.last().is_none_or(|(_, checkpoint)| checkpoint.size <= before) {
            assert!(Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(50)).await;
            notes.extend(checkpoint(&keep.objects, &keep.log_key).await.unwrap());
        }
    }
    let (old, newest) = (notes[0].0.clone(), published().await.1.size);
    keep.objects.replace(CHECKPOINT, old.into_bytes()).await.unwrap();
    assert!(published().await.1.size < newest);
    one.running.stop().await;
    while published().await.1.size < newest {
        assert!(Instant::now() < deadline, "who takes over publishes it again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    other.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_and_comes_again_loses_nothing() {
    let Some(server) = Server::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let world = World::with(directory, shared_config(&data, &server.database("w"))).await;
    assert_eq!(create(&world, "1").await.status(), 201);
    for word in ["stop", "kill"] {
        server.tell(word);
        assert_eq!(world.get("/fhir/Patient").await.0, 503, "{word}");
        assert_eq!(world.get("/readyz").await.0, 503, "{word}");
        let message = admission(&format!("C-{word}"), word, "Lovelace");
        // Resolving asks the index, which is away: retry later, and nothing stored.
        assert_eq!(msa(&world.send(&message).await).0, "AE", "{word}");
        server.tell("start");
        let begun = Instant::now();
        while msa(&world.send(&message).await).0 != "AA" {
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not come back");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(world.only(&format!("/fhir/Patient?identifier={word}")).await["meta"]["versionId"], "1");
    }
    // Whoever ends our sessions in the middle of reads is not noticed by readers.
    let mut end = server.program("psql");
    end.args([
        "-d",
        "w",
        "-qc",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'medseal'",
    ]);
    assert!(end.output().unwrap().status.success());
    assert_eq!(world.get("/fhir/Patient").await.0, 200);
    assert_eq!(create(&world, "2").await.status(), 201);
    let (_, found) = world.get("/fhir/Patient?_summary=count").await;
    assert_eq!(found["total"], 4);
    world.running.stop().await;
}

#[tokio::test]
async fn a_dump_of_the_database_shows_no_name_no_number_no_date() {
    if shared().is_none() {
        return;
    }
    let directory: TempDir = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let world = people_in(World::with(directory, shared_config(&data, &database(&data))).await).await;
    world.running.stop().await;
    let dump = String::from_utf8_lossy(&dumped(&data)).into_owned();
    assert!(dump.contains("COPY public.posting") && dump.len() > 10_000);
    for word in TELLING {
        assert!(!dump.contains(word), "the dump shows {word}");
        let bytes = hex::encode(word);
        assert!(!dump.contains(&bytes), "the dump shows {word} in its bytes");
    }
}

/// A recovery takes the index apart: it begins where nobody works, and who slept through it takes nothing more in.
#[tokio::test(flavor = "multi_thread")]
async fn a_recovery_begins_only_where_nobody_works() {
    let Some(pair) = Pair::start().await else { return };
    let id = pair.create(0, "before").await.unwrap().1;
    let [one, two] = &pair.replicas;
    two.signal("KILL");
    // Its own directory is free, and the other one works on.
    let (done, said) = two.said(&["recover"]).await;
    assert!(!done && said.contains("services are at work on this index") && said.contains("(process "), "{said}");
    assert_eq!(pair.create(0, "meanwhile").await.unwrap().0, 201, "nobody is hindered");
    for tries in 0.. {
        match pair.progress(0).await {
            Some([size, _, anchored]) if size > 0 && size == anchored => break,
            progress => assert!(tries < 600, "it is not anchored: {progress:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    one.signal("STOP");
    let (done, said) = two.said(&["recover"]).await;
    assert!(done && said.contains("proved: the"), "{said}");
    two.start().await;
    one.signal("CONT");
    // It awakes with what it knew of an index that is another now.
    for number in 0.. {
        assert!(number < 300, "it goes on as if nothing had been");
        if pair.create(0, &format!("late-{number}")).await.is_some_and(|(status, _)| status == 503)
            && pair.request(0, "GET", "/healthz", "", "").await.is_some_and(|reply| reply.status() == 503)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let found = pair.json(1, "/fhir/Patient?_summary=count").await;
    assert_eq!(found["total"], 2, "it has committed nothing");
    assert_eq!(pair.json(1, &format!("/fhir/Patient/{id}")).await["id"], id.as_str());
    assert_eq!(pair.create(1, "after").await.unwrap().0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_replica_starts_in_the_middle_of_a_recovery() {
    let Some((one, other)) = pair().await else { return };
    let text = one.running.app.config.index.postgres.clone().unwrap().0;
    let open = || Store::postgres(Settings::parse(&text, 4, None).unwrap()).unwrap();
    let refused = open().begin_recovery("m").unwrap_err().to_string();
    assert!(refused.contains("at work"), "{refused}");
    let third = tempfile::tempdir().unwrap();
    let World { running, directory, .. } = one;
    let (data, config) = (third.path().join("data"), running.app.config.clone());
    bridge::app::private_directory(&data).unwrap();
    std::fs::copy(directory.path().join("data/root.key"), data.join("root.key")).unwrap();
    std::os::unix::fs::symlink(directory.path().join("data/objects"), data.join("objects")).unwrap();
    running.stop().await;
    other.running.stop().await;
    open().begin_recovery("m").unwrap();
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { data, http: any, mllp: any, ..config };
    let refused = bridge::commands::serve::start(config).await.err().unwrap().to_string();
    assert!(refused.contains("a recovery of this index was begun and is not finished"), "{refused}");
}

/// A new root that only one replica has: the other one is named, and waited for.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_waits_for_the_replica_that_has_not_taken_up_the_new_root() {
    let Some(pair) = Pair::start().await else { return };
    assert_eq!(pair.create(0, "1").await.unwrap().0, 201);
    let [one, two] = &pair.replicas;
    let (settled, said) = one.said(&["keys", "status"]).await;
    assert!(settled && said.matches("service ").count() == 2, "{said}");
    let mut rotation = one.command(&["keys", "rotate"]);
    let rotation = tokio::task::spawn_blocking(move || rotation.output().unwrap());
    // One of them has it, and the other has not: it is told which.
    for tries in 0.. {
        let (settled, said) = one.said(&["keys", "status"]).await;
        let services = said.lines().filter(|line| line.starts_with("service "));
        let roots: HashSet<_> = services.filter_map(|line| line.split(": root ").nth(1)).collect();
        if roots.len() == 2 {
            assert!(!settled && said.contains("is not finished"), "{said}");
            break;
        }
        assert!(tries < 200 && !rotation.is_finished(), "{said}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let next = std::fs::read_to_string(one.data().join("root.key.next")).unwrap();
    assert!(one.data().join("root.key").exists(), "the old root is where it was");
    std::fs::copy(one.data().join("root.key.next"), two.data().join("root.key.next")).unwrap();
    let done = rotation.await.unwrap();
    assert!(done.status.success(), "{}", super::erasure::out(&done));
    assert_eq!(std::fs::read_to_string(one.data().join("root.key")).unwrap(), next);
    let (settled, said) = one.said(&["keys", "status"]).await;
    assert!(settled && said.matches("service ").count() == 2, "{said}");
    for which in 0..2 {
        assert_eq!(pair.create(which, &format!("after-{which}")).await.unwrap().0, 201);
    }
}

/// `medseal migrate` by the tables' owner; the service's role may read and write them, and make none.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_needs_no_right_to_make_tables_where_a_job_has_made_them() {
    let Some(server) = shared() else { return };
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let owner = database(&data);
    let name = owner.rsplit_once("dbname=").unwrap().1;
    let rights = "CREATE ROLE served LOGIN; REVOKE CREATE ON SCHEMA public FROM PUBLIC; \
        ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO served";
    let done = server.program("psql").args(["-qd", name, "-c", rights]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let served = shared_config(&data, &owner.replace("user=medseal", "user=served"));
    let refused = bridge::commands::serve::start(served.clone()).await.err().unwrap().to_string();
    assert!(refused.contains("permission denied"), "{refused}");
    for _ in 0..2 {
        migrate(directory.path(), &format!("[index]\npostgres = \"{owner}\"")).unwrap();
    }
    let world = World::with(directory, served).await;
    assert_eq!(msa(&world.send(&admission("M1", "4711", "Lovelace")).await).0, "AA");
    world.only("/fhir/Patient?identifier=4711").await;
    world.restarted().await.running.stop().await;
}

#[test]
fn tables_of_a_file_are_nobodys_job() {
    let directory = tempfile::tempdir().unwrap();
    let refused = migrate(directory.path(), "").unwrap_err();
    assert!(refused.contains("the index is a file"), "{refused}");
}

fn migrate(directory: &Path, config: &str) -> Result<(), String> {
    let path = directory.join("migrate.toml");
    std::fs::write(&path, config).unwrap();
    let mut command = std::process::Command::new(MEDSEAL);
    let done = command.arg("migrate").arg("--config").arg(path).output().unwrap();
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into()) }
}
