//! A running medseal on a temporary data directory, and clients for it.

use super::{contract, stores};
use bridge::commands::client;
use bridge::commands::send::Connection;
use bridge::commands::serve::{self, Running};
use bridge::config::{Apps, Config, Hidden};
use bridge::ids::Name;
use bridge::smart::scopes;
use bridge::smart::token::Caller;
use bytes::Bytes;
use http_body_util::Full;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use warp::http::{Request, Response};

pub struct World {
    pub running: Running,
    pub token: String,
    pub directory: TempDir,
}

/// A configuration on a directory, any ports, quick anchors.
pub fn config(data: &Path) -> Config {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut config = Config { data: data.to_owned(), http: any, mllp: any, ..Config::default() };
    config.s3 = stores::s3(data);
    config.log.checkpoint_ms = 20;
    config.log.anchor_ms = 40;
    config.feed.zone = Some("Europe/Berlin".into());
    // Tests of apps that are about something else approve; `letting` is about signing.
    config.consent.apps = Apps::Approved;
    config.index.postgres = stores::on_postgres().then(|| Hidden(stores::database(data)));
    config
}

/// What the corpora are called where they are present; tests that need them say that they skip.
pub fn corpora() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora");
    let found = path.is_dir();
    if !found {
        println!("skipped: the corpora are not here ({})", path.display());
    }
    found.then_some(path)
}

impl World {
    pub async fn new() -> Self {
        Self::on(tempfile::tempdir().unwrap()).await
    }

    pub async fn on(directory: TempDir) -> Self {
        let config = config(&directory.path().join("data"));
        Self::with(directory, config).await
    }

    pub async fn with(directory: TempDir, config: Config) -> Self {
        let running = serve::start(config).await.unwrap_or_else(|e| panic!("{e}"));
        let token = mint(&running, "system/*.cruds");
        Self { running, token, directory }
    }

    /// Stops the service and starts it again on the same data.
    pub async fn restarted(self) -> Self {
        let Self { running, directory, .. } = self;
        let config = Config { http: running.http, mllp: running.mllp, ..running.app.config.clone() };
        running.stop().await;
        Self::with(directory, config).await
    }

    pub async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Bytes> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let reply = client::send(self.running.http, request).await.unwrap();
        contract::check(method, path, &reply);
        reply
    }

    pub async fn call(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let token = format!("Bearer {}", self.token);
        let json = "application/fhir+json";
        let headers = [("authorization", token.as_str()), ("content-type", json), ("accept", json)];
        let reply = self.request(method, path, &headers, body.as_bytes()).await;
        let json = serde_json::from_slice(reply.body()).unwrap_or(Value::Null);
        (reply.status().as_u16(), json)
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, "").await
    }

    /// The raw bytes of a successful read.
    pub async fn bytes(&self, path: &str) -> Bytes {
        let token = format!("Bearer {}", self.token);
        let reply = self.request("GET", path, &[("authorization", token.as_str())], b"").await;
        assert_eq!(reply.status(), 200, "{path}");
        reply.into_body()
    }

    pub async fn mllp(&self) -> Connection {
        Connection::open(&self.running.mllp.to_string()).await.unwrap()
    }

    /// Sends one message on a connection of its own, with CR ends, and gives the acknowledgement.
    pub async fn send(&self, message: &str) -> String {
        self.mllp().await.exchange(message.replace('\n', "\r").as_bytes()).await.unwrap()
    }

    /// The only resource that a search finds.
    pub async fn only(&self, path: &str) -> Value {
        let (status, bundle) = self.get(path).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(bundle["total"], 1, "{path}: {bundle}");
        bundle["entry"][0]["resource"].clone()
    }

    /// A receipt with its anchor.
    pub async fn anchored_receipt(&self, path: &str) -> Bytes {
        let token = format!("Bearer {}", self.token);
        for _ in 0..3_000 {
            let reply = self.request("GET", path, &[("authorization", token.as_str())], b"").await;
            if reply.status() == 200 && reply.body().windows(8).any(|w| w == b"\"anchor\"") {
                return reply.into_body();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path}: no anchored receipt came");
    }
}

pub fn mint(running: &Running, scope: &str) -> String {
    let now = running.app.core.clock.now().as_second() as u64;
    running.app.token_key.mint("test", scope, now, Duration::from_secs(3_600)).unwrap()
}

/// A token that speaks of a patient, or of a user.
pub fn issue(running: &Running, scope: &str, patient: Option<&str>, user: Option<&str>) -> String {
    let now = running.app.core.clock.now().as_second() as u64;
    let name = |text: Option<&str>| text.map(|text| Name::parse(text).unwrap());
    let scopes = scopes::parse(scope).unwrap();
    let caller = Caller { patient: name(patient), user: name(user), ..Caller::new("test", scopes) };
    running.app.token_key.issue(&caller, now, Duration::from_secs(3_600)).unwrap()
}

/// The code of MSA-1 and the control id of MSA-2.
pub fn msa(ack: &str) -> (String, String) {
    let message = mappings::parse::Message::parse(ack).unwrap_or_else(|e| panic!("{e}: {ack}"));
    let msa = message.first("MSA").unwrap_or_else(|| panic!("no MSA: {ack}"));
    (msa.field(1).to_owned(), msa.field(2).to_owned())
}

/// A small admission with its own numbers.
pub fn admission(control: &str, patient: &str, family: &str) -> String {
    format!(
        "MSH|^~\\&|ADT|NORTHQUAY|MED|SEAL|20260302081500||ADT^A01^ADT_A01|{control}|P|2.5.1\n\
         EVN|A01|20260302081500\n\
         PID|1||{patient}^^^NQ&1.2.3.4&ISO^MR||{family}^Ada||19800229|F\n\
         PV1|1|I|W^1^2^NQ||||||||||||||||V{patient}^^^NQ&1.2.3.5&ISO^VN|||||||||||||||||||||||||20260302080000\n"
    )
}

/// Admits one patient after the other, until it is aborted.
pub async fn admit_on(world: Arc<World>) {
    for n in 0.. {
        assert_eq!(msa(&world.send(&admission(&format!("B{n}"), &format!("{n}"), "Hopper")).await).0, "AA");
    }
}
