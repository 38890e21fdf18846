//! What the service tells of itself, and what it does not: metrics, traces, logs.

mod marked;
mod metrics;
mod traces;
mod typed;

use super::commands::{Served, token};
use super::stores;
use super::subscriptions::Receiver;
use bridge::commands::client;
use bytes::Bytes;
use http_body_util::Full;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use warp::http::{Request, Response};

/// `medseal serve` that tells everything: its log at `trace`, metrics and spans to a collector of the test.
struct Told {
    served: Served,
    collector: Receiver,
    directory: TempDir,
    token: String,
}

impl Told {
    async fn start(more: &str) -> Self {
        let (directory, collector) = (tempfile::tempdir().unwrap(), Receiver::new().await);
        let url = format!("http://{}", collector.address);
        let telemetry = format!("otlp = \"{url}\"\notlp_seconds = 1\nlogs = \"json\"\n");
        let data = directory.path().join("data");
        let more = format!("{more}[log]\ncheckpoint_ms = 20\nanchor_ms = 40\n[telemetry]\n{telemetry}");
        let served = tokio::task::spawn_blocking(move || serve(&data, &more)).await.unwrap();
        let token = token(&directory.path().join("data"));
        Self { served, collector, directory, token }
    }

    async fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Bytes> {
        ask(&self.served.http, method, path, headers, body).await
    }

    /// With the token of somebody who may do everything.
    async fn call(&self, method: &str, path: &str, body: &str) -> Response<Bytes> {
        let token = format!("Bearer {}", self.token);
        let headers = [("authorization", token.as_str()), ("content-type", "application/fhir+json")];
        self.request(method, path, &headers, body.as_bytes()).await
    }

    async fn send(&self, message: &str) -> String {
        let mut connection = client_of(&self.served.mllp).await;
        connection.exchange(message.replace('\n', "\r").as_bytes()).await.unwrap()
    }

    /// Stops it, which sends what was not sent yet, and gives the bodies that the collector got at an address.
    async fn end(self) -> (Receiver, TempDir) {
        let Self { served, collector, directory, .. } = self;
        assert_eq!(tokio::task::spawn_blocking(|| served.terminate()).await.unwrap(), 0);
        (collector, directory)
    }
}

async fn client_of(mllp: &str) -> bridge::commands::send::Connection {
    bridge::commands::send::Connection::open(mllp).await.unwrap()
}

fn serve(data: &Path, more: &str) -> Served {
    let arguments = stores::arguments(data);
    let mut config = std::fs::File::options().append(true).open(data.with_extension("toml")).unwrap();
    config.write_all(more.as_bytes()).unwrap();
    let mut command = Command::new(super::commands::MEDSEAL);
    command.arg("serve").args(arguments).env("MEDSEAL_LOG", "trace").env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command.stderr(std::fs::File::create(data.with_file_name("log")).unwrap());
    Served::ready(command)
}

async fn ask(to: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Response<Bytes> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
    client::send(to.parse().unwrap(), request).await.unwrap()
}

/// Asks again until it is there.
async fn eventually<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1_000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come");
}
