//! The power goes. A service is at work and acknowledges; what it does to its files is recorded; then the disk is made anew as a
//! power cut at some moment would have left it, without what was not synced, and a service starts on that. Whatever was
//! acknowledged before that moment must be there.
//!
//! ```text
//! MEDSEAL_POWER_CUTS=200 cargo test -p bridge --test it power
//! ```

mod disk;
mod trace;

use super::commands::{MEDSEAL, Served};
use super::world::{World, admission, config, msa};
use bridge::clock::{Clock, SystemClock};
use bridge::commands::client;
use bridge::commands::send::Connection;
use bytes::Bytes;
use disk::{Disk, Lost};
use http_body_util::Full;
use notary::checkpoint::LogKey;
use notary::tree;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use trace::{Call, calls, traced};
use warp::http::Request;

/// Who sends at the same time, and how many messages each.
const SENDERS: usize = 3;
const MESSAGES: usize = 8;

/// Something that a client was told.
#[derive(Debug, Clone)]
enum Told {
    /// The admission of a patient of that number.
    Admitted(String),
    /// A value that replaced those before it.
    Counted(u32),
    Checkpoint(String),
    Erased(String),
}

/// When, in seconds since 1970.
type Answers = Vec<(f64, Told)>;

fn now() -> f64 {
    SystemClock.now().as_duration().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_before_the_power_went_is_there() {
    if super::stores::on_postgres() || super::stores::s3(Path::new("")).is_some() {
        return println!("skipped: it is about files of this machine");
    }
    if !trace::is_possible() {
        return println!("skipped: strace is not here, or may not trace");
    }
    let cuts = std::env::var("MEDSEAL_POWER_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(16);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (calls, answers) = recorded(directory.path(), &data).await;
    let syncs = calls.iter().filter(|call| call.name.ends_with("sync")).count();
    println!("{} calls, {syncs} of them syncs; {} answers", calls.len(), answers.len());
    let mut disk = Disk::new(directory.path());
    let (mut applied, mut kept) = (0, 0);
    for n in 0..cuts {
        let until = (n + 1) * calls.len() / cuts;
        calls[applied..until].iter().for_each(|call| disk.apply(call));
        applied = until;
        let lost = if n % 2 == 0 { Lost::Everything } else { Lost::Some(n as u64) };
        let moment = calls[until - 1].ended;
        let before: Vec<_> = answers.iter().filter(|(at, _)| *at < moment).map(|(_, told)| told.clone()).collect();
        let keeps = std::env::var_os("MEDSEAL_POWER_KEEP").is_some();
        let left = tempfile::Builder::new().disable_cleanup(keeps).tempdir().unwrap();
        disk.cut(lost, left.path());
        kept += before.len();
        is_there(left, &before, &format!("cut {n} after call {until} of {}, {lost:?}", calls.len())).await;
    }
    assert_eq!(applied, calls.len());
    println!("{cuts} power cuts, {kept} answers looked for");
}

/// An acknowledgement waits for one sync; for a new patient, at the same time, for another. Nothing else is synced while a sender
/// waits: what the files are called was written down before.
#[tokio::test]
async fn a_sender_waits_for_its_pack_alone() {
    if super::stores::on_postgres() || super::stores::s3(Path::new("")).is_some() || !trace::is_possible() {
        return println!("skipped: it needs SQLite, a directory, and strace");
    }
    let directory = tempfile::tempdir().unwrap();
    let (data, traces) = (directory.path().join("data"), directory.path().join("trace"));
    let config = directory.path().join("medseal.toml");
    // No sequencer meanwhile.
    std::fs::write(&config, "[log]\ncheckpoint_ms = 3600000\nanchor_ms = 3600000\n").unwrap();
    let mut command = traced(MEDSEAL, &traces);
    command.arg("serve").arg("--data").arg(&data).arg("--config").arg(config);
    let served = tokio::task::spawn_blocking(move || Served::spawn(command)).await.unwrap();
    let mut connection = Connection::open(&served.mllp).await.unwrap();
    let mut moments = Vec::new();
    // The first is left out: the folders are made for it.
    for (control, family) in ["A", "B", "C", "D", "E", "F"].into_iter().enumerate() {
        let number = if control < 3 { control } else { 2 };
        let text = admission(&format!("S{control}"), &format!("N{number}"), family).replace('\n', "\r");
        assert_eq!(msa(&connection.exchange(text.as_bytes()).await.unwrap()).0, "AA");
        moments.push(now());
    }
    end(served).await;
    let syncs = |from: usize, to: usize| {
        let of = |call: &&Call| call.name.ends_with("sync") && call.ended > moments[from] && call.ended < moments[to];
        calls(std::slice::from_ref(&traces)).iter().filter(of).count()
    };
    assert_eq!(syncs(0, 2), 2 * 2, "two new patients");
    assert_eq!(syncs(2, 5), 3, "a known one");
}

/// A service is started on nothing, works, stops, is started again, works, erases a patient.
async fn recorded(folder: &Path, data: &Path) -> (Vec<Call>, Answers) {
    let traces = tempfile::tempdir().unwrap();
    let prefix = |name: &str| traces.path().join(name);
    let mut answers = Answers::new();
    let first = serve(&prefix("first"), data).await;
    work(&first, data, 0, &mut answers).await;
    end(first).await;
    let second = serve(&prefix("second"), data).await;
    work(&second, data, 1, &mut answers).await;
    erase(&second, &prefix("erase"), data, &mut answers).await;
    work(&second, data, 2, &mut answers).await;
    end(second).await;
    std::fs::remove_dir_all(folder.join("data")).unwrap();
    let prefixes: Vec<PathBuf> = ["first", "second", "erase"].map(prefix).into();
    (calls(&prefixes), answers)
}

async fn serve(prefix: &Path, data: &Path) -> Served {
    let mut command = traced(MEDSEAL, prefix);
    command.arg("serve").arg("--data").arg(data);
    tokio::task::spawn_blocking(move || Served::spawn(command)).await.unwrap()
}

/// strace passes no signal on: its child is told to end, and it ends with it.
async fn end(mut served: Served) {
    let strace = served.child.id().to_string();
    let done = std::process::Command::new("pkill").args(["-TERM", "-P", &strace]).status().unwrap();
    assert!(done.success());
    tokio::task::spawn_blocking(move || served.child.wait().unwrap()).await.unwrap();
}

async fn work(served: &Served, data: &Path, round: usize, answers: &mut Answers) {
    let token = super::commands::token(data);
    let senders = (0..SENDERS).map(|n| tokio::spawn(admit(served.mllp.clone(), round * SENDERS + n)));
    let counting = tokio::spawn(count(served.http.clone(), token, round));
    for sender in senders.collect::<Vec<_>>() {
        answers.extend(sender.await.unwrap());
    }
    answers.extend(counting.await.unwrap());
}

async fn admit(mllp: String, sender: usize) -> Answers {
    let mut connection = Connection::open(&mllp).await.unwrap();
    let mut answers = Answers::new();
    for n in 0..MESSAGES {
        let number = format!("P{sender}-{n}");
        let text = admission(&number, &number, "Cut").replace('\n', "\r");
        let answer = connection.exchange(text.as_bytes()).await.unwrap();
        assert_eq!(msa(&answer).0, "AA");
        answers.push((now(), Told::Admitted(number)));
    }
    answers
}

async fn count(http: String, token: String, round: usize) -> Answers {
    let mut answers = Answers::new();
    for n in 0..MESSAGES {
        let value = (round * MESSAGES + n) as u32 + 1;
        let body = format!(r#"{{"resourceType":"Basic","id":"counter","code":{{"text":"x{value}"}}}}"#);
        let (status, _) = call(&http, &token, "PUT", "/fhir/Basic/counter", body).await;
        assert!(status < 300, "{status}");
        answers.push((now(), Told::Counted(value)));
        let (status, note) = call(&http, &token, "GET", "/log/checkpoint", String::new()).await;
        if status == 200 {
            answers.push((now(), Told::Checkpoint(note)));
        }
    }
    answers
}

async fn call(http: &str, token: &str, method: &str, path: &str, body: String) -> (u16, String) {
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/fhir+json").body(Full::new(Bytes::from(body))).unwrap();
    let reply = client::send(http.parse().unwrap(), request).await.unwrap();
    (reply.status().as_u16(), String::from_utf8_lossy(reply.body()).into_owned())
}

async fn erase(served: &Served, prefix: &Path, data: &Path, answers: &mut Answers) {
    let token = super::commands::token(data);
    let (_, found) = call(&served.http, &token, "GET", "/fhir/Patient?identifier=P0-0", String::new()).await;
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    let name = format!("Patient/{}", found["entry"][0]["resource"]["id"].as_str().unwrap());
    let mut command = traced(MEDSEAL, prefix);
    command.args(["erase", &name, "--reason", "by letter", "--data"]).arg(data);
    let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    answers.push((now(), Told::Erased(name)));
}

/// What clients were told before the cut holds after it.
async fn is_there(left: tempfile::TempDir, before: &[Told], when: &str) {
    let data = left.path().join("data");
    println!("{when}: {} answers", before.len());
    let world = World::with(left, config(&data)).await;
    let admitted = admitted(&world).await;
    let erased = before.iter().any(|told| matches!(told, Told::Erased(_)));
    for told in before {
        match told {
            // The one that is erased is not there, and may be half gone where the erasure was not answered yet.
            Told::Admitted(number) if number == "P0-0" => {}
            Told::Admitted(number) => assert_eq!(admitted.get(number), Some(&1), "{when}: {number}"),
            Told::Counted(value) => assert!(counter(&world).await >= *value, "{when}: {value}"),
            Told::Checkpoint(note) => continues(&world, note, when),
            Told::Erased(name) => assert_eq!(world.get(&format!("/fhir/{name}")).await.0, 410, "{when}: {name}"),
        }
    }
    assert!(!erased || !admitted.contains_key("P0-0"), "{when}");
    assert_eq!(msa(&world.send(&admission("again", "again", "Cut")).await).0, "AA", "{when}: it goes on");
    let running = world.running;
    let core = running.app.core.clone();
    running.stop().await;
    assert_eq!(core.store.waiting().unwrap(), 0, "{when}: all is in the log");
}

/// How often each number was admitted.
async fn admitted(world: &World) -> HashMap<String, usize> {
    let (status, found) = world.get("/fhir/Patient?_count=1000").await;
    assert_eq!(status, 200);
    let mut numbers = HashMap::new();
    for entry in found["entry"].as_array().into_iter().flatten() {
        let number = entry["resource"]["identifier"][0]["value"].as_str().unwrap();
        *numbers.entry(number.to_owned()).or_default() += 1;
    }
    numbers
}

async fn counter(world: &World) -> u32 {
    let (_, found) = world.get("/fhir/Basic/counter").await;
    found["code"]["text"].as_str().and_then(|text| text[1..].parse().ok()).unwrap_or(0)
}

/// The log that is there has the one that was signed as its beginning.
fn continues(world: &World, note: &str, when: &str) {
    let core: Arc<_> = world.running.app.core.clone();
    let key: &LogKey = core.signer.key();
    let checkpoint = key.open(note).unwrap();
    let root = core.store.read_log(|reader| tree::root(checkpoint.size, reader)).unwrap();
    assert_eq!(root.unwrap(), checkpoint.root, "{when}: a checkpoint of {} entries", checkpoint.size);
}
