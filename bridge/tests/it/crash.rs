//! The crash test: senders stream numbered messages while the service is killed with SIGKILL at random points. At the end every
//! acknowledged message is readable exactly once, every leaf is in the log exactly once, and every checkpoint is consistent
//! with the next and with the chain. `MEDSEAL_KILLS=50 cargo test --release crash` runs it longer.

use super::commands::Served;
use super::world::{World, admission, config, msa};
use bridge::commands::send::Connection;
use bridge::index::history::{Of, Page};
use bridge::secret::{bytes, system_random};
use notary::tree::{self, HashReader, LeafHash};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SENDERS: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_point_nothing_acknowledged_is_lost_or_doubled() {
    let kills: usize = std::env::var("MEDSEAL_KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(5);
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let acknowledged = Arc::new(Mutex::new(HashSet::new()));
    let sent = Arc::new(AtomicUsize::new(0));
    let address = Arc::new(Mutex::new(String::new()));
    let done = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..SENDERS)
        .map(|n| tokio::spawn(sender(n, address.clone(), acknowledged.clone(), sent.clone(), done.clone())))
        .collect();
    for n in 0..kills {
        let served = start(&data).await;
        let before = acknowledged.lock().unwrap().len();
        address.lock().unwrap().clone_from(&served.mllp);
        // Every other kill hits a service that is at work, however slow the machine is; the others hit where they may.
        while n % 2 == 0 && acknowledged.lock().unwrap().len() == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let wait = u64::from(u16::from_be_bytes(bytes(&system_random).unwrap())) % 700;
        tokio::time::sleep(Duration::from_millis(20 + wait)).await;
        kill(served);
    }
    done.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }
    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    let (log, checkpoints) = examine(directory, &acknowledged).await;
    println!(
        "{kills} kills, {} messages sent, {} acknowledged, {log} leaves, {checkpoints} checkpoints",
        sent.load(Ordering::SeqCst),
        acknowledged.len()
    );
    assert!(acknowledged.len() >= kills / 2, "the service was at work between the kills");
}

async fn start(data: &Path) -> Served {
    let data = data.to_owned();
    tokio::task::spawn_blocking(move || Served::start(&data)).await.unwrap()
}

/// `Child::kill` is SIGKILL.
fn kill(mut served: Served) {
    served.child.kill().unwrap();
    served.child.wait().unwrap();
}

/// Sends numbered admissions, each until it is acknowledged, whatever happens to the connection.
async fn sender(
    n: usize,
    address: Arc<Mutex<String>>,
    acknowledged: Arc<Mutex<HashSet<String>>>,
    sent: Arc<AtomicUsize>,
    done: Arc<AtomicBool>,
) {
    let mut connection: Option<Connection> = None;
    for message in 0.. {
        let number = format!("K{n}-{message}");
        let text = admission(&number, &number, "Crash").replace('\n', "\r");
        loop {
            if done.load(Ordering::SeqCst) {
                return;
            }
            if connection.is_none() {
                let now = address.lock().unwrap().clone();
                connection = Connection::open(&now).await.ok();
            }
            let Some(open) = &mut connection else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            sent.fetch_add(1, Ordering::SeqCst);
            match open.exchange(text.as_bytes()).await {
                Ok(ack) if msa(&ack).0 == "AA" => {
                    acknowledged.lock().unwrap().insert(number);
                    break;
                }
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(_) => connection = None,
            }
        }
    }
}

async fn examine(directory: tempfile::TempDir, acknowledged: &HashSet<String>) -> (u64, usize) {
    let world = World::with(tempfile::tempdir().unwrap(), config(&directory.path().join("data"))).await;
    for number in acknowledged {
        let patient = world.only(&format!("/fhir/Patient?identifier={number}")).await;
        assert_eq!(patient["meta"]["versionId"], "1", "{number} is stored exactly once");
        assert_eq!(patient["identifier"][0]["value"], number.as_str());
    }
    let core = world.running.app.core.clone();
    // The lease of the one that was killed has to end first.
    core.lease.wait().await;
    world.running.stop().await;
    let size = core.store.log_size().unwrap();
    assert_eq!(core.store.waiting().unwrap(), 0, "every leaf is in the log");
    let entries = core.store.entries(0, u64::MAX >> 1).unwrap();
    assert_eq!(entries.len() as u64, size);
    let mut counts: HashMap<Vec<u8>, usize> = HashMap::new();
    entries.iter().for_each(|e| *counts.entry(e.clone()).or_default() += 1);
    assert!(counts.values().all(|c| *c == 1), "every leaf is in the log exactly once");
    let all = Page { of: Of::Everything, before: i64::MAX, since: None, at: None, limit: 1 };
    assert_eq!(core.store.versions(&all).unwrap(), size, "one leaf a version, no more and no less");
    let checkpoints = core.store.checkpoints().unwrap();
    core.store.read_log(|reader| check_history(&core, reader, &entries, &checkpoints)).unwrap();
    (size, checkpoints.len())
}

/// The stored tree is the tree of the entries; each checkpoint is signed, of that tree, and what the chain holds agrees.
fn check_history(
    core: &bridge::app::Core,
    reader: &impl HashReader,
    entries: &[Vec<u8>],
    checkpoints: &[(u64, String)],
) {
    let mut again = tree::MemoryTree::default();
    entries.iter().for_each(|e| again.push(LeafHash::of_bytes(e)).unwrap());
    let mut old = None;
    for (size, note) in checkpoints {
        let checkpoint = core.signer.key().open(note).unwrap();
        assert_eq!(checkpoint.size, *size);
        assert_eq!(checkpoint.root, tree::root(*size, &again).unwrap());
        if let Some(old) = old {
            let (first, _): (u64, tree::Root) = old;
            let proof = tree::prove_consistency(first, *size, reader).unwrap();
            tree::check_consistency(&proof, old, (*size, checkpoint.root)).unwrap();
        }
        if let Some(root) = core.chain.embedded().unwrap().root_at(*size).unwrap() {
            assert_eq!(root, checkpoint.root, "the chain holds this very history");
        }
        old = Some((*size, checkpoint.root));
    }
    let head = core.chain.embedded().unwrap().head().unwrap();
    assert_eq!(head.size, checkpoints.last().map_or(0, |(size, _)| *size), "everything is anchored");
}
