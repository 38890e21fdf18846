//! A key service holds the root key: moto's KMS stands for AWS's. Where moto is not installed the tests say so and pass;
//! `ci/test` installs it.

use super::commands::{MEDSEAL, Served};
use super::world::{admission, msa};
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use bridge::commands::send::Connection;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

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
        let program = PathBuf::from(tools).join("moto/bin/moto_server");
        if !program.exists() {
            println!("skipped: moto is not here ({}); ci/test installs it", program.display());
            return None;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let endpoint = format!("http://127.0.0.1:{port}");
        let mut moto = Self { child, endpoint, key: String::new() };
        moto.key = moto.new_key().await;
        Some(moto)
    }

    async fn new_key(&self) -> String {
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("key", "secret", None, None, "test"))
            .endpoint_url(&self.endpoint);
        let client = aws_sdk_kms::Client::from_conf(config.build());
        for _ in 0..300 {
            if let Ok(made) = client.create_key().send().await {
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
    assert_eq!(msa(&send(&served, "C1", "77").await).0, "AA");
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
    assert_eq!(msa(&send(&served, "C2", "78").await).0, "AA", "it goes on by itself");
    for patient in ["77", "78"] {
        assert_eq!(search(&served, &token, patient).await.1["total"], 1, "nothing was lost");
    }
    let ended = tokio::task::spawn_blocking(move || served.terminate()).await.unwrap();
    assert_eq!(ended, 0);
    let again = serve(&config, &data).await;
    assert_eq!(search(&again, &token, "77").await.1["total"], 1);
    tokio::task::spawn_blocking(move || again.terminate()).await.unwrap();
    let other = moto.new_key().await;
    for (keys, told) in [
        (String::new(), "root.key is missing"),
        (format!("[keys]\nkms = \"alias/none\"\nendpoint = \"{}\"\n", moto.endpoint), ""),
        (format!("[keys]\nkms = \"{other}\"\nendpoint = \"{}\"\n", moto.endpoint), ""),
    ] {
        std::fs::write(&config, keys).unwrap();
        if told.is_empty() {
            // What wrapped a root is written beside it: an alias that points elsewhere changes nothing.
            let served = serve(&config, &data).await;
            assert_eq!(search(&served, &token, "77").await.1["total"], 1);
            tokio::task::spawn_blocking(move || served.terminate()).await.unwrap();
            continue;
        }
        let out = medseal(&["serve", "--config", config.to_str().unwrap(), "--data", data.to_str().unwrap()]).output();
        let error = String::from_utf8(out.unwrap().stderr).unwrap();
        assert!(error.contains(told), "{error}");
    }
}
