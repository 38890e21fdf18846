//! Two replicas at work while one of them is killed, paused past its lease, cut off, or the database is restarted: nothing that
//! was acknowledged is lost or doubled, and there is one log and one chain of checkpoints. All of it is looked at from outside.
//!
//! `MEDSEAL_CHAOS=50 MEDSEAL_SEED=1 cargo test -p bridge --test it chaos` runs it longer, or again as it was.

use super::processes::Pair;
use super::proxy::Way;
use super::world::{admission, msa};
use bridge::commands::send::Connection;
use bridge::secret::{bytes, system_random};
use notary::checkpoint::LogKey;
use notary::receipt::Receipt;
use notary::tree::{self, LeafHash, MemoryTree, Root};
use notary::verify::{Grade, verify};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Senders of each kind.
const SENDERS: usize = 4;
/// How long a sender rests after each thing that was acknowledged: what is stored is looked at one by one in the end.
const REST: Duration = Duration::from_millis(150);
/// How long a sender waits for an acknowledgement before it asks the other replica.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take until both replicas take things in again. A session that was cut off in silence is given up after 30
/// seconds, and so is an upload.
const COMES_BACK: Duration = Duration::from_secs(120);
/// What must be found nowhere outside of the service.
const TELLING: [&str; 7] =
    ["KAOSFAMILY", "kaosfamily", "KAOSNUMBER", "kaosnumber", "1980-02-29", "KAOSCODE", "KAOSDIAGNOSIS"];

/// What happens to one replica, or to both.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Pause,
    NoDatabase(Way),
    NoObjects(Way),
    Database(&'static str),
}

const FAULTS: [Fault; 8] = [
    Fault::Pause,
    Fault::NoDatabase(Way::Silent),
    Fault::Kill,
    Fault::NoObjects(Way::Closed),
    Fault::Database("kill"),
    Fault::NoDatabase(Way::Closed),
    Fault::NoObjects(Way::Silent),
    Fault::Database("stop"),
];

/// What the senders did.
struct Work {
    pair: Pair,
    /// Each number that was acknowledged, with the patient's id where it was told.
    acknowledged: Mutex<HashMap<String, Option<String>>>,
    by: [AtomicUsize; 2],
    /// Every checkpoint that was seen.
    notes: Mutex<HashSet<String>>,
    done: AtomicBool,
}

/// Chance that can be repeated.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let asked = std::env::var("MEDSEAL_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = asked.unwrap_or_else(|| u64::from(u32::from_be_bytes(bytes(&system_random).unwrap())));
        println!("MEDSEAL_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        // splitmix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_to_one_replica_nothing_acknowledged_is_lost_or_doubled() {
    let rounds: u64 = std::env::var("MEDSEAL_CHAOS").ok().and_then(|n| n.parse().ok()).unwrap_or(3);
    let Some(pair) = Pair::start().await else { return };
    let mut dice = Dice::new();
    let first = dice.below(FAULTS.len() as u64);
    let faults = (0..rounds).map(|n| FAULTS[((first + n) % FAULTS.len() as u64) as usize]).collect();
    suffer(pair, &mut dice, faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_restarted_under_load_loses_nothing() {
    let Some(pair) = Pair::start().await else { return };
    suffer(pair, &mut Dice::new(), vec![Fault::Database("stop"), Fault::Database("kill")]).await;
}

async fn suffer(pair: Pair, dice: &mut Dice, faults: Vec<Fault>) {
    let work = Arc::new(Work {
        pair,
        acknowledged: Mutex::default(),
        by: Default::default(),
        notes: Mutex::default(),
        done: AtomicBool::new(false),
    });
    let mut tasks: Vec<_> = (0..2).map(|which| tokio::spawn(observe(work.clone(), which))).collect();
    for n in 0..SENDERS {
        tasks.push(tokio::spawn(create(work.clone(), n)));
        tasks.push(tokio::spawn(send(work.clone(), n)));
    }
    for (round, fault) in faults.iter().enumerate() {
        both_at_work(&work, fault).await;
        tokio::time::sleep(dice.millis(0, 700)).await;
        let which = dice.below(2) as usize;
        let begun = Instant::now();
        inject(&work.pair, *fault, which, dice).await;
        let count = work.acknowledged.lock().unwrap().len();
        println!("{round}: {fault:?} of {which}, {:.1} s, {count} acknowledged", begun.elapsed().as_secs_f32());
    }
    both_at_work(&work, &Fault::Kill).await;
    work.done.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    examine(&work).await;
}

/// Waits until both replicas have acknowledged something anew.
async fn both_at_work(work: &Work, after: &Fault) {
    let count = |which: usize| work.by[which].load(Ordering::SeqCst);
    let (before, begun) = ([count(0), count(1)], Instant::now());
    while (0..2).any(|which| count(which) == before[which]) {
        assert!(begun.elapsed() < COMES_BACK, "not both replicas came back after {after:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn inject(pair: &Pair, fault: Fault, which: usize, dice: &mut Dice) {
    let replica = &pair.replicas[which];
    match fault {
        Fault::Kill => {
            replica.signal("KILL");
            tokio::time::sleep(dice.millis(0, 2_000)).await;
            replica.start().await;
        }
        Fault::Pause => {
            replica.signal("STOP");
            // Past its lease, and sometimes past what PostgreSQL grants an open transaction.
            tokio::time::sleep(dice.millis(11_000, 24_000)).await;
            replica.signal("CONT");
        }
        Fault::NoDatabase(way) => {
            replica.database.set(way);
            tokio::time::sleep(dice.millis(500, 14_000)).await;
            replica.database.set(Way::Open);
        }
        Fault::NoObjects(way) => {
            replica.objects.set(way);
            tokio::time::sleep(dice.millis(500, 14_000)).await;
            replica.objects.set(Way::Open);
        }
        Fault::Database(word) => {
            tokio::task::block_in_place(|| pair.server.tell(word));
            tokio::time::sleep(dice.millis(0, 3_000)).await;
            tokio::task::block_in_place(|| pair.server.tell("start"));
        }
    }
}

/// Creates patients on a condition, each until it is acknowledged, by one replica or the other.
async fn create(work: Arc<Work>, n: usize) {
    for k in 0.. {
        let number = format!("KAOSNUMBER-H{n}-{k}");
        for which in (0..2).cycle().skip(k % 2) {
            if work.done.load(Ordering::SeqCst) {
                return;
            }
            if let Some((200 | 201, id)) = work.pair.create(which, &number).await {
                work.acknowledge(which, number, Some(id));
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(REST).await;
    }
}

/// Sends admissions, each until it is acknowledged.
async fn send(work: Arc<Work>, n: usize) {
    let mut connections: [Option<Connection>; 2] = [None, None];
    for k in 0.. {
        let number = format!("KAOSNUMBER-M{n}-{k}");
        let message = admission(&number, &number, "KAOSFAMILY") + "DG1|1||KAOSCODE^KAOSDIAGNOSIS^I10\n";
        let message = message.replace('\n', "\r");
        for which in (0..2).cycle().skip(k % 2) {
            if work.done.load(Ordering::SeqCst) {
                return;
            }
            if exchange(&work, which, &mut connections[which], &message).await.as_deref() == Some("AA") {
                work.acknowledge(which, number, None);
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(REST).await;
    }
}

/// The code of the acknowledgement; none: there is no connection any more.
async fn exchange(work: &Work, which: usize, open: &mut Option<Connection>, message: &str) -> Option<String> {
    if open.is_none() {
        let address = work.pair.replicas[which].addresses.lock().unwrap().1.clone();
        *open = tokio::time::timeout(PATIENCE, Connection::open(&address)).await.ok()?.ok();
    }
    let connection = open.as_mut()?;
    match tokio::time::timeout(PATIENCE, connection.exchange(message.as_bytes())).await {
        Ok(Ok(ack)) => Some(msa(&ack).0),
        _ => {
            // What comes later on it would be the answer to this one.
            *open = None;
            None
        }
    }
}

/// Takes down every checkpoint that a replica shows.
async fn observe(work: Arc<Work>, which: usize) {
    while !work.done.load(Ordering::SeqCst) {
        if let Some(reply) = work.pair.request(which, "GET", "/log/checkpoint", "", "").await
            && reply.status() == 200
        {
            let note = String::from_utf8(reply.body().to_vec()).unwrap();
            work.notes.lock().unwrap().insert(note);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Work {
    fn acknowledge(&self, which: usize, number: String, id: Option<String>) {
        self.acknowledged.lock().unwrap().insert(number, id);
        self.by[which].fetch_add(1, Ordering::SeqCst);
    }
}

async fn examine(work: &Work) {
    let pair = &work.pair;
    let (patients, versions) = settled_all(work).await;
    // To ask for receipts is told, too, and makes the log grow.
    let receipts = receipts(work, &patients).await;
    let seen = work.notes.lock().unwrap().clone();
    let size = at_rest(pair).await;
    let names: HashSet<&str> = versions.iter().map(|entry| entry["fullUrl"].as_str().unwrap()).collect();
    let admissions = work.acknowledged.lock().unwrap().keys().filter(|number| number.contains("-M")).count();
    let entries = log(pair, size).await;
    assert_eq!(entries.iter().collect::<HashSet<_>>().len(), entries.len(), "every leaf is in the log once");
    assert_eq!(versions.len(), of_records(&entries), "one leaf a version, no more and no less");
    let mut all = MemoryTree::default();
    entries.iter().for_each(|entry| all.push(LeafHash::of_bytes(entry)).unwrap());
    let key = one_history(&receipts, &entries, &all);
    for note in &seen {
        let checkpoint = key.open(note).unwrap();
        assert_eq!(checkpoint.root, tree::root(checkpoint.size, &all).unwrap(), "one log, whoever signs");
    }
    for (place, bytes) in pair.remains() {
        for word in TELLING.iter().flat_map(|word| [(*word).to_owned(), hex::encode(word)]) {
            let shown = bytes.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!shown, "{place} shows {word}");
        }
    }
    println!(
        "{} patients ({admissions} by messages), {} resources, {size} leaves, {} checkpoints seen",
        patients.len(),
        names.len(),
        seen.len()
    );
}

/// The patients and all versions, once nothing comes any more: what was never acknowledged may still be
/// committed by a replica that was paused with it.
async fn settled_all(work: &Work) -> (HashMap<String, String>, Vec<serde_json::Value>) {
    let begun = Instant::now();
    loop {
        let before = at_rest(&work.pair).await;
        let patients = patients(work).await;
        let mut versions = work.pair.entries(1, "/fhir/_history?_count=200").await;
        versions.retain(|entry| !entry["fullUrl"].as_str().unwrap().contains("/AuditEvent/"));
        // What is looked at here is told, too, and makes the log grow.
        let size = at_rest(&work.pair).await;
        let entries = log(&work.pair, size).await;
        let logged = of_records(&entries);
        let is_still = of_records(&entries[..before as usize]) == logged && versions.len() == logged;
        if is_still || begun.elapsed() > COMES_BACK {
            return (patients, versions);
        }
    }
}

/// How many entries are not of accesses.
fn of_records(entries: &[Vec<u8>]) -> usize {
    const ACCESS: u8 = 4;
    entries.iter().filter(|entry| entry[1] != ACCESS).count()
}

/// Waits until everything is signed and anchored, and both replicas say so.
async fn at_rest(pair: &Pair) -> u64 {
    for _ in 0..300 {
        if let (Some([size, checkpoint, anchored]), Some(other)) = (pair.progress(0).await, pair.progress(1).await)
            && [checkpoint, anchored] == [size, size]
            && other == [size; 3]
            && waiting(pair).is_empty()
        {
            return size;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("the log does not come to rest: {:?} {:?}", pair.progress(0).await, pair.progress(1).await);
}

/// Entries that no sequencer took yet: only the database knows of them.
fn waiting(pair: &Pair) -> String {
    let mut psql = pair.server.program("psql");
    psql.args(["-d", super::processes::DATABASE, "-Atqc", "SELECT row FROM outbox LIMIT 1"]);
    String::from_utf8(psql.output().unwrap().stdout).unwrap()
}

/// The patient of each number: all that were acknowledged, each once and in its first version.
async fn patients(work: &Work) -> HashMap<String, String> {
    let mut patients = HashMap::new();
    for entry in work.pair.entries(0, "/fhir/Patient?_count=200").await {
        let (patient, id) = (&entry["resource"], entry["resource"]["id"].as_str().unwrap());
        let number = patient["identifier"][0]["value"].as_str().unwrap().to_owned();
        assert_eq!(patient["meta"]["versionId"], "1", "{number} was stored twice");
        assert_eq!(patients.insert(number.clone(), id.to_owned()), None, "{number} has two patients");
    }
    let acknowledged = work.acknowledged.lock().unwrap();
    for (number, told) in acknowledged.iter() {
        let id = patients.get(number).unwrap_or_else(|| panic!("{number} was acknowledged and is lost"));
        assert!(told.as_ref().is_none_or(|told| told == id), "{number} was told to be another patient");
    }
    let more = patients.len() - acknowledged.len();
    assert!(more <= 2 * SENDERS, "{more} patients more than were sent");
    patients
}

/// The log's entries, as anybody may fetch them.
async fn log(pair: &Pair, size: u64) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    for tile in 0..size.div_ceil(256) {
        let width = (size - tile * 256).min(256);
        let part = if width < 256 { format!(".p/{width}") } else { String::new() };
        let (high, low) = (tile / 1_000, tile % 1_000);
        let index = if high > 0 { format!("x{high:03}/{low:03}") } else { format!("{low:03}") };
        let tile = pair.bytes(0, &format!("/log/tile/entries/{index}{part}")).await;
        let mut rest = &tile[..];
        while let Some((length, more)) = rest.split_first_chunk::<2>() {
            let (entry, more) = more.split_at(usize::from(u16::from_be_bytes(*length)));
            entries.push(entry.to_vec());
            rest = more;
        }
    }
    assert_eq!(entries.len() as u64, size);
    entries
}

/// Receipts of some patients, from both replicas.
async fn receipts(work: &Work, patients: &HashMap<String, String>) -> Vec<Receipt> {
    let mut receipts = Vec::new();
    for (n, id) in patients.values().take(60).enumerate() {
        let bytes = work.pair.bytes(n % 2, &format!("/fhir/Patient/{id}/_history/1/$receipt")).await;
        receipts.push(Receipt::parse(&bytes).unwrap());
    }
    receipts
}

/// They are anchored on one chain, in one log. Tells the log's key.
fn one_history(receipts: &[Receipt], entries: &[Vec<u8>], all: &MemoryTree) -> LogKey {
    let (mut keys, mut chains) = (HashSet::new(), HashSet::new());
    for receipt in receipts {
        let verdict = verify(receipt, None, None, &Default::default()).unwrap();
        assert_eq!(verdict.grade, Grade::AnchoredLocal);
        assert_eq!(hex::encode(&entries[verdict.index as usize]), receipt.entry);
        let root: Root = tree::root(verdict.checkpoint.size, all).unwrap();
        assert_eq!(verdict.checkpoint.root, root);
        let anchor = receipt.anchor.as_ref().unwrap();
        chains.insert(anchor.contract);
        keys.insert(receipt.log_key.clone());
    }
    assert_eq!((keys.len(), chains.len()), (1, 1), "one log and one contract, whichever replica is asked");
    LogKey::parse(&keys.into_iter().next().unwrap()).unwrap()
}

/// Whoever was about to publish when it was paused, and wakes after another took over, publishes nothing. The other one is this
/// test: it takes the lease in a transaction that the sequencer has to wait for, and commits while that one is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sequencer_that_awakes_does_not_publish() {
    let Some(pair) = Pair::start().await else { return };
    pair.replicas[1].signal("STOP");
    assert!(matches!(pair.create(0, "KAOSNUMBER-1").await, Some((201, _))));
    let [size, ..] = settled(&pair, 0).await;
    let mut thief = Thief::take(&pair);
    assert!(matches!(pair.create(0, "KAOSNUMBER-2").await, Some((201, _))));
    // Its sequencer has seen the entry and holds, as it believes, the lease.
    tokio::time::sleep(Duration::from_millis(500)).await;
    pair.replicas[0].signal("STOP");
    thief.commit();
    tokio::time::sleep(Duration::from_millis(500)).await;
    pair.replicas[0].signal("CONT");
    let begun = Instant::now();
    while begun.elapsed() < Thief::LIFE - Duration::from_secs(2) {
        if let Some(now) = pair.progress(0).await {
            assert_eq!(now, [size; 3], "it published what was not its to publish");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!waiting(&pair).is_empty(), "the entry waits for whoever holds the lease");
    let told = std::fs::read_to_string(pair.replicas[0].log()).unwrap();
    assert!(told.contains("another replica has taken over the background work"), "{told}");
    // The thief is gone: what waits is published once.
    pair.replicas[1].signal("CONT");
    let [now, ..] = settled(&pair, size).await;
    assert_eq!(now, size + 2, "the patient, and what is told of who made it");
}

/// Waits until a log that has grown is signed and anchored.
async fn settled(pair: &Pair, beyond: u64) -> [u64; 3] {
    let begun = Instant::now();
    loop {
        if let Some(now @ [size, checkpoint, anchored]) = pair.progress(0).await
            && size > beyond
            && [checkpoint, anchored] == [size, size]
        {
            return now;
        }
        assert!(begun.elapsed() < COMES_BACK, "the log does not go on");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Somebody who takes the lease over.
struct Thief(std::process::Child);

impl Thief {
    const LIFE: Duration = Duration::from_secs(8);

    fn take(pair: &Pair) -> Self {
        let mut psql = pair.server.program("psql");
        psql.args(["-d", super::processes::DATABASE, "-q"]).stdin(std::process::Stdio::piped());
        let mut thief = Self(psql.spawn().unwrap());
        let life = Self::LIFE.as_millis();
        thief.say(&format!(
            "BEGIN; UPDATE lease SET holder = 'thief', epoch = epoch + 1, \
             expires = CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) + {life};"
        ));
        thief
    }

    fn say(&mut self, words: &str) {
        use std::io::Write;
        writeln!(self.0.stdin.as_mut().unwrap(), "{words}").unwrap();
    }

    fn commit(&mut self) {
        self.say("COMMIT;");
        self.0.stdin.take();
        assert!(self.0.wait().unwrap().success());
    }
}
