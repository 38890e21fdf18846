//! Two replicas as an operator has them: two processes of medseal on one PostgreSQL and one bucket, each with a data directory
//! and connections of its own, which a test can cut.

use super::bucket::Bucket;
use super::commands::{MEDSEAL, Served};
use super::postgres::Server;
use super::proxy::{Proxy, To};
use bridge::commands::client;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;
use tempfile::TempDir;
use warp::http::{Request, Response};

/// The database that both use.
pub const DATABASE: &str = "replicas";
/// Replicas are one service to their clients: they have one address.
const ADDRESS: &str = "http://replicas.example";
/// How long a client waits for an answer, unless a test says otherwise: where a replica is paused it asks the other one then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Both replicas and what they share.
pub struct Pair {
    pub server: Server,
    pub replicas: [Replica; 2],
    pub directory: TempDir,
    pub patience: Duration,
    token: String,
}

/// One process, and its ways to database and bucket.
pub struct Replica {
    pub database: Proxy,
    pub objects: Proxy,
    /// HTTP and MLLP of the process that runs now.
    pub addresses: Mutex<(String, String)>,
    folder: PathBuf,
    served: Mutex<Option<Served>>,
}

impl Pair {
    /// Starts both; none: PostgreSQL is not installed, and it was said.
    pub async fn start() -> Option<Self> {
        let server = Server::start()?;
        server.database(DATABASE);
        let directory = tempfile::tempdir().unwrap();
        let bucket = Bucket::serve(&directory.path().join("s3")).await;
        let mut replicas = Vec::new();
        for name in ["one", "two"] {
            let replica = Replica::new(directory.path().join(name), &server, &bucket).await;
            if let Some(first) = replicas.first() {
                copy_root_key(first, &replica);
            }
            replica.start().await;
            replicas.push(replica);
        }
        let token = replicas[0].token();
        let [one, two]: [Replica; 2] = replicas.try_into().ok().unwrap();
        Some(Self { server, replicas: [one, two], directory, patience: PATIENCE, token })
    }

    /// One request to one replica; none: it did not answer in time.
    pub async fn request(
        &self,
        which: usize,
        method: &str,
        path: &str,
        condition: &str,
        body: &str,
    ) -> Option<Response<Bytes>> {
        let mut request = Request::builder().method(method).uri(path);
        request = request.header("authorization", format!("Bearer {}", self.token));
        request = request.header("content-type", "application/fhir+json");
        if !condition.is_empty() {
            request = request.header("if-none-exist", condition);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let address = self.replicas[which].addresses.lock().unwrap().0.parse().unwrap();
        tokio::time::timeout(self.patience, client::send(address, request)).await.ok()?.ok()
    }

    /// The body of an answer that must come: asked for again where it does not come in time.
    pub async fn bytes(&self, which: usize, path: &str) -> Bytes {
        for _ in 0..10 {
            if let Some(reply) = self.request(which, "GET", path, "", "").await
                && reply.status() != 503
            {
                assert_eq!(reply.status(), 200, "{path}: {}", String::from_utf8_lossy(reply.body()));
                return reply.into_body();
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("{path}: no answer");
    }

    pub async fn json(&self, which: usize, path: &str) -> Value {
        serde_json::from_slice(&self.bytes(which, path).await).unwrap()
    }

    /// The entries of all pages.
    pub async fn entries(&self, which: usize, path: &str) -> Vec<Value> {
        let (mut entries, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let mut page = self.json(which, &path).await;
            entries.extend(page["entry"].as_array_mut().map(std::mem::take).unwrap_or_default());
            let links = page["link"].as_array().unwrap();
            let link = links.iter().find(|link| link["relation"] == "next");
            next = link.map(|link| link["url"].as_str().unwrap().strip_prefix(ADDRESS).unwrap().to_owned());
        }
        entries
    }

    /// Creates a patient unless there is one with the number; its id.
    pub async fn create(&self, which: usize, number: &str) -> Option<(u16, String)> {
        let patient = serde_json::json!({
            "resourceType": "Patient", "identifier": [{"system": "urn:n", "value": number}],
            "name": [{"family": "KAOSFAMILY"}], "birthDate": "1980-02-29"
        });
        let condition = format!("identifier=urn:n|{number}");
        let reply = self.request(which, "POST", "/fhir/Patient", &condition, &patient.to_string()).await?;
        let resource: Value = serde_json::from_slice(reply.body()).unwrap_or(Value::Null);
        Some((reply.status().as_u16(), resource["id"].as_str().unwrap_or_default().to_owned()))
    }

    /// The sizes of log, checkpoint and chain, as a replica tells them.
    pub async fn progress(&self, which: usize) -> Option<[u64; 3]> {
        let reply = self.request(which, "GET", "/readyz", "", "").await?;
        let json: Value = serde_json::from_slice(reply.body()).ok()?;
        let sizes = ["size", "checkpoint", "anchored"].map(|name| json["log"][name].as_u64().unwrap());
        (reply.status() == 200).then_some(sizes)
    }

    /// Everything that lies about: the dump of the database, the bucket, data directories, what the processes said.
    pub fn remains(&self) -> Vec<(String, Vec<u8>)> {
        let dump = self.server.program("pg_dump").arg(DATABASE).output().unwrap();
        assert!(dump.status.success());
        let mut remains = vec![("the dump".to_owned(), dump.stdout)];
        collect(self.directory.path(), &mut remains);
        remains
    }
}

impl Replica {
    async fn new(folder: PathBuf, server: &Server, bucket: &Bucket) -> Self {
        std::fs::create_dir(&folder).unwrap();
        let database = Proxy::start(To::Unix(server.socket())).await;
        let objects = Proxy::start(To::Tcp(bucket.endpoint.trim_start_matches("http://").to_owned())).await;
        let (pg, s3) = (database.port, objects.port);
        let text = format!(
            "base_url = \"{ADDRESS}/fhir\"\n[log]\ncheckpoint_ms = 20\nanchor_ms = 40\n[feed]\nzone = \"Europe/Berlin\"\n\
             [index]\npostgres = \"postgres://medseal@127.0.0.1:{pg}/{DATABASE}?sslmode=disable\"\n\
             [s3]\nbucket = \"records\"\nendpoint = \"http://127.0.0.1:{s3}\"\npath_style = true\n"
        );
        std::fs::write(folder.join("medseal.toml"), text).unwrap();
        Self { database, objects, addresses: Mutex::default(), folder, served: Mutex::default() }
    }

    /// A command beside the replica, with its configuration.
    pub fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new(MEDSEAL);
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret");
        command.args(verb).arg("--config").arg(self.folder.join("medseal.toml")).arg("--data").arg(self.data());
        command
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What the processes said.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub async fn start(&self) {
        let mut command = self.command(&["serve"]);
        command.stderr(File::options().create(true).append(true).open(self.log()).unwrap());
        let served = tokio::task::spawn_blocking(move || Served::ready(command)).await.unwrap();
        *self.addresses.lock().unwrap() = (served.http.clone(), served.mllp.clone());
        *self.served.lock().unwrap() = Some(served);
    }

    fn token(&self) -> String {
        let token = self.command(&["token"]).args(["--scope", "system/*.cruds"]).output().unwrap();
        assert!(token.status.success(), "{}", String::from_utf8_lossy(&token.stderr));
        String::from_utf8(token.stdout).unwrap().trim().to_owned()
    }

    /// What a command beside the replica says, and whether it went well.
    pub async fn said(&self, verb: &[&str]) -> (bool, String) {
        let mut command = self.command(verb);
        let done = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        (done.status.success(), super::erasure::out(&done))
    }

    /// KILL, STOP, CONT.
    pub fn signal(&self, name: &str) {
        let mut served = self.served.lock().unwrap();
        let child = &mut served.as_mut().unwrap().child;
        let done = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
        assert!(done.success());
        if name == "KILL" {
            child.wait().unwrap();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        if let Some(served) = self.served.get_mut().unwrap() {
            let _ = served.child.kill();
            let _ = served.child.wait();
        }
    }
}

fn copy_root_key(from: &Replica, to: &Replica) {
    bridge::app::private_directory(&to.data()).unwrap();
    std::fs::copy(from.data().join("root.key"), to.data().join("root.key")).unwrap();
}

fn collect(folder: &Path, files: &mut Vec<(String, Vec<u8>)>) {
    for path in std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.is_file() {
            // What is no file is a socket: it holds nothing.
            files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
}
