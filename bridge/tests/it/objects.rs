//! Both object stores keep the same promises: the directory, and an S3 API in process.

use super::commands::{MEDSEAL, Served};
use super::world::{admission, msa};
use aws_sdk_s3::config::Credentials;
use bridge::vault::objects::{ObjectError, Objects, S3Settings};
use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use std::path::Path;
use std::process::Command;
use tokio::net::TcpListener;

/// Serves a directory as an S3 API; the bucket is a folder in it.
async fn s3_server(root: &Path) -> String {
    std::fs::create_dir_all(root.join("records")).unwrap();
    let service = {
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(root).unwrap());
        builder.set_auth(SimpleAuth::from_single("key", "secret"));
        builder.build()
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = service.clone();
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    format!("http://{address}")
}

fn settings(endpoint: &str) -> S3Settings {
    S3Settings {
        bucket: "records".into(),
        prefix: "one/two".into(),
        endpoint: Some(endpoint.to_owned()),
        region: "us-east-1".into(),
        path_style: true,
    }
}

async fn keeps_its_promises(objects: &Objects) {
    let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
    objects.put("packs/a", content.clone()).await.unwrap();
    objects.put("packs/b", b"x".to_vec()).await.unwrap();
    objects.put("keys/a", b"k".to_vec()).await.unwrap();
    assert_eq!(objects.read_all("packs/a").await.unwrap(), content);
    assert_eq!(objects.read("packs/a", 1_000, 77).await.unwrap(), content[1_000..1_077]);
    assert_eq!(objects.list("packs/").await.unwrap(), ["packs/a", "packs/b"]);
    assert!(matches!(objects.read_all("packs/none").await, Err(ObjectError::Missing { name }) if name == "packs/none"));
}

#[tokio::test]
async fn the_directory_and_s3_keep_the_same_promises() {
    let directory = tempfile::tempdir().unwrap();
    keeps_its_promises(&Objects::directory(&directory.path().join("objects")).unwrap()).await;
    let endpoint = s3_server(&directory.path().join("s3")).await;
    let credentials = Credentials::new("key", "secret", None, None, "test");
    keeps_its_promises(&Objects::s3_with(&settings(&endpoint), credentials)).await;
    let wrong = Credentials::new("key", "wrong", None, None, "test");
    let refused = Objects::s3_with(&settings(&endpoint), wrong).read_all("packs/a").await.unwrap_err().to_string();
    assert!(refused.contains("packs/a") && !refused.contains("wrong"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_over_s3_stores_reads_and_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = s3_server(&directory.path().join("s3")).await;
    let config = directory.path().join("medseal.toml");
    let text =
        format!("[s3]\nbucket = \"records\"\nendpoint = \"{endpoint}\"\npath_style = true\nprefix = \"hospital\"\n");
    std::fs::write(&config, text).unwrap();
    let data = directory.path().join("data");
    for round in 0..2 {
        let mut command = Command::new(MEDSEAL);
        command
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .arg("serve")
            .arg("--config")
            .arg(&config);
        let at = data.clone();
        let served = tokio::task::spawn_blocking(move || Served::spawn(command, &at)).await.unwrap();
        let mut connection = bridge::commands::send::Connection::open(&served.mllp).await.unwrap();
        let message = admission(&format!("C{round}"), "77", "Lovelace").replace('\n', "\r");
        assert_eq!(msa(&connection.exchange(message.as_bytes()).await.unwrap()).0, "AA");
        let request = warp::http::Request::builder().uri("/readyz").body(Default::default()).unwrap();
        let reply = bridge::commands::client::send(served.http.parse().unwrap(), request).await.unwrap();
        assert_eq!(reply.status(), 200);
        assert_eq!(tokio::task::spawn_blocking(move || served.terminate()).await.unwrap(), 0);
    }
    assert!(std::fs::read_dir(directory.path().join("s3/records/hospital/packs")).unwrap().count() >= 2);
    assert!(!data.join("objects").exists(), "nothing of it lies in the data directory");
    let without = Command::new(MEDSEAL)
        .env_remove("AWS_ACCESS_KEY_ID")
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .arg("--data")
        .arg(directory.path().join("d2"))
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&without.stderr).contains("AWS_ACCESS_KEY_ID"));
}
