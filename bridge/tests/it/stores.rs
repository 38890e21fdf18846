//! Where a test's objects and index lie: in the data directory, or, with MEDSEAL_TEST_OBJECTS=s3, the objects in a bucket: of an
//! S3 API in this process, or of the server at MEDSEAL_TEST_S3_ENDPOINT; with MEDSEAL_TEST_INDEX=postgres, the index in a
//! PostgreSQL of this process. Each data directory has a prefix and a database of its own.
//!
//! ```text
//! MEDSEAL_TEST_INDEX=postgres MEDSEAL_TEST_OBJECTS=s3 AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret cargo test -p bridge --test it
//! ```

use super::bucket::Bucket;
use super::postgres::{Server, shared};
use bridge::vault::objects::s3::S3Settings;
use notary::commitment::Digest;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The API in this process: its address, and the folder that its bucket is.
static SERVER: OnceLock<(String, PathBuf)> = OnceLock::new();

/// The bucket of a data directory, if its objects lie in one.
pub fn s3(data: &Path) -> Option<S3Settings> {
    let wanted = std::env::var("MEDSEAL_TEST_OBJECTS").is_ok_and(|objects| objects == "s3");
    wanted.then(|| S3Settings {
        bucket: "records".into(),
        prefix: prefix(data),
        endpoint: Some(other().unwrap_or_else(|| in_process().0.clone())),
        path_style: true,
        ..S3Settings::default()
    })
}

/// The folder that the objects of a data directory lie in, unless that is another server's.
pub fn folder(data: &Path) -> Option<PathBuf> {
    match s3(data) {
        None => Some(data.join("objects")),
        Some(_) if other().is_some() => {
            println!("skipped: the objects are in a server that is not ours to look into");
            None
        }
        Some(settings) => Some(in_process().1.join(settings.prefix)),
    }
}

/// What the program is told of a data directory.
pub fn arguments(data: &Path) -> Vec<String> {
    let mut text = String::new();
    if let Some(s3) = s3(data) {
        let endpoint = s3.endpoint.unwrap_or_default();
        text += &format!(
            "[s3]\nbucket = \"{}\"\nprefix = \"{}\"\nendpoint = \"{endpoint}\"\npath_style = true\n",
            s3.bucket, s3.prefix
        );
    }
    if on_postgres() {
        text += &format!("[index]\npostgres = \"{}\"\n", database(data));
    }
    let path = data.with_extension("toml");
    std::fs::write(&path, text).unwrap();
    ["--data", &data.display().to_string(), "--config", &path.display().to_string()].map(str::to_owned).to_vec()
}

/// Whether the services of the tests have their index in PostgreSQL.
pub fn on_postgres() -> bool {
    std::env::var("MEDSEAL_TEST_INDEX").is_ok_and(|index| index == "postgres")
}

/// For a test that looks into SQLite's file, or the ledger's journal beside it.
pub fn needs_sqlite() -> bool {
    if on_postgres() {
        println!("skipped: it is about SQLite's file");
    }
    on_postgres()
}

/// The connection text of a data directory's own database: a service that starts again finds what it had.
pub fn database(data: &Path) -> String {
    server().database(&database_name(data))
}

/// What a thief of a data directory's database has.
pub fn dumped(data: &Path) -> Vec<u8> {
    let dump = server().program("pg_dump").arg(database_name(data)).output().unwrap();
    assert!(dump.status.success());
    dump.stdout
}

/// What a statement finds in a data directory's index, as text.
pub fn rows(data: &Path, sql: &str) -> Vec<Vec<String>> {
    if on_postgres() {
        let found = psql(data, sql);
        return found.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect();
    }
    let index = rusqlite::Connection::open(data.join("index.sqlite")).unwrap();
    let mut statement = index.prepare(sql).unwrap();
    let columns = statement.column_count();
    let text = |value: rusqlite::types::Value| match value {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => panic!("no text: {other:?}"),
    };
    let row = |r: &rusqlite::Row<'_>| (0..columns).map(|n| r.get(n).map(text)).collect();
    statement.query_map([], row).unwrap().map(Result::unwrap).collect()
}

/// Loses the index of a service that is stopped.
pub fn lose_index(data: &Path) {
    if on_postgres() {
        psql(data, "DROP SCHEMA public CASCADE; CREATE SCHEMA public");
    }
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(data.join(file));
    }
}

fn psql(data: &Path, sql: &str) -> String {
    let mut psql = server().program("psql");
    let done = psql.args(["-d", &database_name(data), "-AtqF", "\t", "-c", sql]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn server() -> &'static Server {
    shared().expect("PostgreSQL is installed where a test asks for it")
}

fn database_name(data: &Path) -> String {
    format!("w{}", prefix(data))
}

fn other() -> Option<String> {
    std::env::var("MEDSEAL_TEST_S3_ENDPOINT").ok()
}

fn prefix(data: &Path) -> String {
    Digest::of(data.as_os_str().as_encoded_bytes()).to_string()[..16].to_owned()
}

fn in_process() -> &'static (String, PathBuf) {
    SERVER.get_or_init(|| {
        let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("buckets");
        let root = all.join(std::process::id().to_string());
        // What processes that have ended left behind.
        for old in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            let lives = Path::new("/proc").join(old.file_name()).exists();
            if !lives || old.path() == root {
                let _ = std::fs::remove_dir_all(old.path());
            }
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let served = root.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                sender.send(Bucket::serve(&served).await.endpoint).unwrap();
                std::future::pending::<()>().await;
            });
        });
        (receiver.recv().unwrap(), root.join("records"))
    })
}

/// Lets an index in SQLite take no more of the trail, or take it again: what is there can be read all the while.
pub fn takes_no_events(data: &Path, refuses: bool) {
    let index = rusqlite::Connection::open(data.join("index.sqlite")).unwrap();
    index.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
    let sql = match refuses {
        true => {
            "CREATE TRIGGER no_events BEFORE INSERT ON record WHEN NEW.type = 'AuditEvent' \
             BEGIN SELECT RAISE(ABORT, 'no'); END"
        }
        false => "DROP TRIGGER no_events",
    };
    index.execute_batch(sql).unwrap();
}
