//! What an acknowledgement costs on each pair of stores: senders over MLLP, each message a new patient, everything durable before
//! the acknowledgement. With it what one sync of the same disk takes, and, with a bucket that answers 50 ms later, whether
//! throughput falls with latency.
//!
//! ```text
//! cargo bench -p bridge --bench stores        # needs PostgreSQL for all but the first line
//! ```
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

#[path = "../tests/it/bucket.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod bucket;
#[path = "../tests/postgres/mod.rs"]
#[expect(dead_code, reason = "the tests need more of it")]
mod postgres;

use bridge::commands::send::Connection;
use bridge::commands::serve::{self, Running};
use bridge::config::{Config, Hidden};
use bucket::Bucket;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long each cell of the table is measured.
const LONG: Duration = Duration::from_secs(4);
const CONNECTIONS: [usize; 3] = [1, 8, 64];
/// How far away a bucket of another town is.
const AWAY: Duration = Duration::from_millis(50);
const SYNCS: usize = 200;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A pair of stores.
#[derive(Clone, Copy)]
struct Layout {
    name: &'static str,
    postgres: bool,
    /// A bucket in this process, and how much later it answers.
    bucket: Option<Duration>,
    replicas: usize,
}

const LAYOUTS: [Layout; 6] = [
    Layout { name: "SQLite, directory", postgres: false, bucket: None, replicas: 1 },
    Layout { name: "PostgreSQL, directory", postgres: true, bucket: None, replicas: 1 },
    Layout { name: "PostgreSQL, S3", postgres: true, bucket: Some(Duration::ZERO), replicas: 1 },
    Layout { name: "PostgreSQL, S3 50 ms away", postgres: true, bucket: Some(AWAY), replicas: 1 },
    Layout { name: "two replicas, S3", postgres: true, bucket: Some(Duration::ZERO), replicas: 2 },
    Layout { name: "two replicas, S3 50 ms away", postgres: true, bucket: Some(AWAY), replicas: 2 },
];

fn main() {
    if std::env::var_os("AWS_ACCESS_KEY_ID").is_none() {
        // The bucket's credentials come from the environment, which a process does not change for itself.
        let again = std::env::current_exe().unwrap();
        let mut command = std::process::Command::new(again);
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
        std::process::exit(command.status().unwrap().code().unwrap_or(1));
    }
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}

async fn run() {
    println!("{:28} {:>4} {:>9} {:>11} {:>9} {:>9}", "stores", "at", "msg/s", "resources/s", "p50 ms", "p99 ms");
    for (n, layout) in LAYOUTS.into_iter().enumerate() {
        if layout.postgres && postgres::shared().is_none() {
            println!("{}: skipped: PostgreSQL is not installed", layout.name);
            continue;
        }
        measure(layout, n).await;
    }
}

async fn measure(layout: Layout, n: usize) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bucket = match layout.bucket {
        Some(_) => Some(Bucket::serve(&directory.path().join("bucket")).await),
        None => None,
    };
    if let (Some(bucket), Some(later)) = (&bucket, layout.bucket) {
        bucket.delay(later);
    }
    let mut replicas = Vec::new();
    for replica in 0..layout.replicas {
        let mut config = config(&directory.path().join(format!("replica{replica}")));
        config.s3 = bucket.as_ref().map(Bucket::settings);
        config.index.postgres =
            layout.postgres.then(|| Hidden(postgres::shared().unwrap().database(&format!("bench{n}"))));
        if replica > 0 {
            // Replicas share the root key.
            std::fs::create_dir_all(&config.data).unwrap();
            std::fs::copy(directory.path().join("replica0/root.key"), config.data.join("root.key")).unwrap();
        }
        replicas.push(serve::start(config).await.unwrap_or_else(|e| panic!("{e}")));
    }
    for connections in CONNECTIONS {
        let sync = sync(directory.path());
        let (messages, resources, mut took) = cell(&replicas, connections).await;
        took.sort_unstable();
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        let seconds = LONG.as_secs_f64();
        let (rate, of) = (messages as f64 / seconds, resources as f64 / seconds);
        let syncs = format!("{:.1} times a sync of {:.2} ms", at(0.5) / sync, sync);
        println!(
            "{:28} {connections:>4} {rate:>9.0} {of:>11.0} {:>9.1} {:>9.1}  {syncs}",
            layout.name,
            at(0.5),
            at(0.99)
        );
    }
    for running in replicas {
        running.stop().await;
    }
}

fn config(data: &Path) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Config { data: data.to_owned(), http: any, mllp: any, ..Config::default() }
}

/// The median of what it takes to append to a file and sync it, in milliseconds.
fn sync(directory: &Path) -> f64 {
    let mut file = File::create(directory.join("sync")).unwrap();
    let mut took = Vec::new();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[7; 8_192]).unwrap();
        file.sync_data().unwrap();
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    took[SYNCS / 2].as_secs_f64() * 1e3
}

/// Messages, resources, and how long each acknowledgement took.
async fn cell(replicas: &[Running], connections: usize) -> (usize, u64, Vec<Duration>) {
    let newest = || replicas[0].app.core.store.newest().unwrap() as u64;
    let before = newest();
    let until = Instant::now() + LONG;
    let senders: Vec<_> = (0..connections)
        .map(|n| tokio::spawn(sender(replicas[n % replicas.len()].mllp.to_string(), n, connections, until)))
        .collect();
    let mut took = Vec::new();
    for sender in senders {
        took.extend(sender.await.unwrap());
    }
    (took.len(), newest() - before - took.len() as u64, took)
}

async fn sender(address: String, n: usize, of: usize, until: Instant) -> Vec<Duration> {
    let mut connection = Connection::open(&address).await.unwrap();
    let mut took = Vec::new();
    for message in 0.. {
        if Instant::now() >= until {
            break;
        }
        let number = format!("{of}-{n}-{message}");
        let text = format!(
            "MSH|^~\\&|ADT|NORTHQUAY|MED|SEAL|20260302081500||ADT^A01^ADT_A01|{number}|P|2.5.1\r\
             EVN|A01|20260302081500\rPID|1||{number}^^^NQ&1.2.3.4&ISO^MR||Bench^Ada||19800229|F\r\
             PV1|1|I|W^1^2^NQ||||||||||||||||V{number}^^^NQ&1.2.3.5&ISO^VN\r"
        );
        let begun = Instant::now();
        let answer = connection.exchange(text.as_bytes()).await.unwrap();
        took.push(begun.elapsed());
        assert!(answer.contains("MSA|AA|"), "{answer}");
    }
    took
}
