//! PostgreSQL for tests: a server of this process's own, on a socket in a temporary directory, synced like a real one. It ends
//! with the process.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/postgres/serve.sh");

/// A running server.
pub struct Server {
    binaries: PathBuf,
    directory: PathBuf,
    pipe: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
    _child: Child,
}

/// Where this machine has PostgreSQL, the newest one; none: it is not installed, and the test says that it skips.
fn binaries() -> Option<PathBuf> {
    let found = newest();
    if found.is_none() {
        println!("skipped on PostgreSQL: it is not installed (/usr/lib/postgresql/*/bin/initdb)");
    }
    found
}

fn newest() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let there = versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    there.max_by_key(|bin| bin.parent().and_then(|v| v.file_name()?.to_str()?.parse::<u32>().ok()))
}

/// The server that the tests of this process share.
pub fn shared() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    binaries()?;
    SERVER.get_or_init(Server::start).as_ref()
}

impl Server {
    /// Starts a server, where PostgreSQL is installed.
    pub fn start() -> Option<Self> {
        let binaries = binaries()?;
        let directory = tempfile::Builder::new().prefix("medseal-pg-").tempdir_in("/tmp").unwrap().keep();
        let mut command = Command::new("sh");
        command.arg(SCRIPT).arg(&binaries).arg(&directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pipe = Mutex::new((child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap())));
        let server = Self { binaries, directory, pipe, _child: child };
        server.hear("ready");
        Some(server)
    }

    fn hear(&self, word: &str) {
        let mut line = String::new();
        self.pipe.lock().unwrap().1.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), word, "PostgreSQL for the tests");
    }

    /// `stop`, `kill` (as a crash would), `start`.
    pub fn tell(&self, word: &str) {
        writeln!(self.pipe.lock().unwrap().0, "{word}").unwrap();
        self.hear(if word == "start" { "ready" } else { "stopped" });
    }

    /// A program of PostgreSQL's, told where the server is.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.join(name));
        command.arg("-h").arg(&self.directory).args(["-U", "medseal"]);
        command
    }

    /// The connection text of a database, which is made if it is not there.
    pub fn database(&self, name: &str) -> String {
        let made = self.program("createdb").arg(name).output().unwrap();
        let told = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success() || told.contains("already exists"), "{told}");
        self.text(name)
    }

    /// The socket, for a proxy.
    pub fn socket(&self) -> PathBuf {
        self.directory.join(".s.PGSQL.5432")
    }

    /// The connection text of a database.
    pub fn text(&self, name: &str) -> String {
        let place = Path::new(&self.directory).display();
        format!("host={place} user=medseal dbname={name}")
    }
}
