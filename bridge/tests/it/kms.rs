//! A key service holds the root key: moto's KMS stands for AWS's. Where moto is not installed the tests say so and pass;
//! `ci/test` installs it.

use super::anvil::Anvil;
use super::commands::{MEDSEAL, Served};
use super::world::{admission, msa};
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use bridge::commands::send::Connection;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Each try takes as long as the service is patient with a key service that does not answer: seconds.
const TRIES: usize = 10;

/// moto's server, with one key in it; ended with the test.
struct Moto {
    child: Child,
    endpoint: String,
    key: String,
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.signal("CONT");
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Moto {
    async fn start() -> Option<Self> {
        let tools = std::env::var("MEDSEAL_TOOLS").unwrap_or_else(|_| "/tmp/medseal-tools".into());
        let program = PathBuf::from(tools).join("moto/bin/python");
        if !program.exists() {
            println!("skipped: moto is not here ({}); ci/test installs it", program.display());
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-c", include_str!("moto.py"), "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut moto = Self { child, endpoint, key: String::new() };
        moto.key = moto.new_key(None).await;
        Some(moto)
    }

    /// A key to encrypt with, or one of a chain's accounts.
    async fn new_key(&self, signs: Option<KeySpec>) -> String {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .endpoint_url(&self.endpoint);
        let client = aws_sdk_kms::Client::from_conf(config.build());
        for _ in 0..300 {
            let usage = signs.as_ref().map(|_| KeyUsageType::SignVerify);
            let request = client.create_key().set_key_spec(signs.clone()).set_key_usage(usage);
            if let Ok(made) = request.send().await {
                return made.key_metadata.unwrap().key_id;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("moto did not start");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.unwrap().success());
    }
}

fn medseal(arguments: &[&str]) -> Command {
    let mut command = Command::new(MEDSEAL);
    command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "secret").args(arguments);
    command
}

async fn serve(config: &Path, data: &Path) -> Served {
    let command = medseal(&["serve", "--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    tokio::task::spawn_blocking(move || Served::spawn(command)).await.unwrap()
}

async fn send(served: &Served, control: &str, patient: &str) -> String {
    let mut connection = Connection::open(&served.mllp).await.unwrap();
    connection.exchange(admission(control, patient, "Lovelace").replace('\n', "\r").as_bytes()).await.unwrap()
}

/// Sends until it is taken, as a feed does; on a busy machine moto may need a while.
async fn deliver(served: &Served, control: &str, patient: &str) {
    for _ in 0..TRIES {
        if msa(&send(served, control, patient).await).0 == "AA" {
            return;
        }
        // A service that did not answer is left in peace for two seconds.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    panic!("{control} was not taken");
}

/// Looks until there is an answer.
async fn found(served: &Served, token: &str, patient: &str) -> Value {
    for _ in 0..TRIES {
        let (status, bundle) = search(served, token, patient).await;
        if status == 200 {
            return bundle["total"].clone();
        }
    }
    panic!("{patient} was not found");
}

async fn search(served: &Served, token: &str, patient: &str) -> (u16, Value) {
    let request = warp::http::Request::builder()
        .uri(format!("/fhir/Patient?identifier={patient}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Default::default())
        .unwrap();
    let reply = bridge::commands::client::send(served.http.parse().unwrap(), request).await.unwrap();
    (reply.status().as_u16(), serde_json::from_slice(reply.body()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_key_is_the_key_services_and_its_absence_loses_nothing() {
    let Some(moto) = Moto::start().await else { return };
    let directory = tempfile::tempdir().unwrap();
    let (config, data) = (directory.path().join("medseal.toml"), directory.path().join("data"));
    let keys = format!("[keys]\nkms = \"{}\"\nendpoint = \"{}\"\ncache_seconds = 1\n", moto.key, moto.endpoint);
    std::fs::write(&config, keys).unwrap();
    let served = serve(&config, &data).await;
    deliver(&served, "C1", "77").await;
    let minted = medseal(&["token", "--scope", "system/*.rs", "--data", data.to_str().unwrap()]).output().unwrap();
    let token = String::from_utf8(minted.stdout).unwrap().trim().to_owned();
    assert!(!data.join("root.key").exists(), "no root key lies on this machine");
    assert_eq!(std::fs::read_dir(data.join("objects/roots")).unwrap().count(), 1);
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    moto.signal("STOP");
    let refused = send(&served, "C2", "78").await;
    assert_eq!(msa(&refused).0, "AE", "{refused}");
    assert!(refused.contains("key service does not answer"), "{refused}");
    let (status, outcome) = search(&served, &token, "77").await;
    assert_eq!((status, outcome["issue"][0]["code"].as_str()), (503, Some("transient")), "{outcome}");
    moto.signal("CONT");
    // It goes on by itself, and nothing was lost.
    deliver(&served, "C2", "78").await;
    for patient in ["77", "78"] {
        assert_eq!(found(&served, &token, patient).await, 1);
    }
    let ended = tokio::task::spawn_blocking(move || served.terminate()).await.unwrap();
    assert_eq!(ended, 0);
    let other = moto.new_key(None).await;
    // What wrapped a root is written beside it: an alias that points elsewhere changes nothing.
    for name in [&moto.key, &other] {
        let keys = format!("[keys]\nkms = \"{name}\"\nendpoint = \"{}\"\n", moto.endpoint);
        std::fs::write(&config, keys).unwrap();
        let served = serve(&config, &data).await;
        assert_eq!(found(&served, &token, "77").await, 1);
        tokio::task::spawn_blocking(move || served.terminate()).await.unwrap();
    }
    std::fs::write(&config, "").unwrap();
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    let any = ["--http", "127.0.0.1:0", "--mllp", "127.0.0.1:0"];
    let out = medseal(&[&["serve", "--config", config, "--data", data][..], &any].concat()).output();
    let error = String::from_utf8(out.unwrap().stderr).unwrap();
    assert!(error.contains("root.key is missing"), "{error}");
}

/// What `medseal contracts deploy` prints or says.
fn deploy(config: &Path, data: &Path, rpc: &str, key: &str) -> (bool, String) {
    let (config, data) = (config.to_str().unwrap(), data.to_str().unwrap());
    let arguments = ["contracts", "deploy", "--rpc", rpc, "--kms", key, "--config", config, "--data", data];
    let done = medseal(&arguments).output().unwrap();
    let said = if done.status.success() { done.stdout } else { done.stderr };
    (done.status.success(), String::from_utf8(said).unwrap())
}

/// The account that stands in a message.
fn account(said: &str) -> &str {
    said.split_whitespace().find(|word| word.starts_with("0x")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_service_signs_anchors() {
    let Some(moto) = Moto::start().await else { return };
    let Some(anvil) = Anvil::start(&[]).await else { return };
    let directory = tempfile::tempdir().unwrap();
    let (config, data) = (directory.path().join("medseal.toml"), directory.path().join("data"));
    let service = format!("[keys]\nendpoint = \"{}\"\n", moto.endpoint);
    std::fs::write(&config, &service).unwrap();
    let (_, said) = deploy(&config, &data, &anvil.url(), &moto.key);
    assert!(said.contains("it is no secp256k1 key"), "a key to encrypt with: {said}");
    let key = moto.new_key(Some(KeySpec::EccSecgP256K1)).await;
    let (_, said) = deploy(&config, &data, &anvil.url(), &key);
    assert!(said.contains("has no money for gas"), "{said}");
    anvil.ask("anvil_setBalance", json!([account(&said), "0xde0b6b3a7640000"])).await;
    let (done, printed) = deploy(&config, &data, &anvil.url(), &key);
    assert!(done && !data.join("anchor.key").exists(), "{printed}");
    std::fs::write(&config, service + &printed.replace("\"finalized\"", "\"latest\"")).unwrap();
    moto.signal("STOP");
    let served = serve(&config, &data).await;
    deliver(&served, "C1", "77").await;
    assert_eq!(anchors(&served).await, 0, "started and took a message without the service");
    moto.signal("CONT");
    for _ in 0..600 {
        if anchors(&served).await > 0 {
            assert_eq!(served.terminate(), 0);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("nothing was anchored");
}

async fn anchors(served: &Served) -> usize {
    let request = warp::http::Request::builder().uri("/log/status.json").body(Default::default()).unwrap();
    let reply = bridge::commands::client::send(served.http.parse().unwrap(), request).await.unwrap();
    let status: Value = serde_json::from_slice(reply.body()).unwrap();
    status["anchors"].as_array().unwrap().len()
}
