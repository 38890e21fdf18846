//! Push and pull of a record of 1,000 resources between two services, against the plain transfer of the same bytes by the same HTTP client
//! and server library. Seconds, and how many times as long.
//!
//!     cargo bench -p bridge --bench exchange
//!     MEDSEAL_RECORD=4000 cargo bench -p bridge --bench exchange
//!
//! Each side has its own log and embedded ledger, and lists the other in its configuration. What is timed begins when everything is
//! anchored: reading, decrypting, receipts, signatures, the transfer, verifying, and where that is said, storing. A push waits in its
//! queue before it starts, half a second at most; that is in its time.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use bridge::app::App;
use bridge::commands::client;
use bridge::commands::serve::{self, Running};
use bridge::config::Config;
use bridge::exchange::parcel::pack;
use bridge::exchange::respond::select;
use bridge::ids::Name;
use bridge::outgoing::{Bounds, Outbound};
use bridge::smart::scopes;
use bridge::smart::token::Caller;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use notary::commitment::Digest;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use warp::http::{HeaderMap, Method, Request, Response};

/// Resources of a record, its patient among them, unless MEDSEAL_RECORD says otherwise.
const RECORD: usize = 1_000;
/// Transfers and pulls of which the middle one counts.
const TIMES: usize = 5;
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(300);
const LARGEST: usize = 64 << 20;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn record() -> usize {
    std::env::var("MEDSEAL_RECORD").map_or(RECORD, |number| number.parse().unwrap())
}

fn main() {
    tokio::runtime::Runtime::new().unwrap().block_on(run());
}

async fn run() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (a, b) = two(directory.path()).await;
    for (id, number) in [("ada", 1), ("eve", 2)] {
        load(&a, id, number).await;
    }
    // The one who is pulled is known at both; the other one's record begins at b with the push.
    call(&b, "PUT", "/fhir/Patient/ada", &patient("ada", 1)).await;
    let bytes = parcel(&a, "ada").await;
    let plain = plain().await;
    println!("{} resources, {} bytes with their receipts", record(), bytes.len());
    let got = median(&mut Vec::new(), || transfer(&b.app, plain, Method::GET, Bytes::new(), &bytes)).await;
    told("plain transfer, fetched", got, got);
    let sent = median(&mut Vec::new(), || transfer(&a.app, plain, Method::POST, bytes.clone(), &bytes)).await;
    told("plain transfer, sent", sent, sent);
    told("pull, verified", median(&mut Vec::new(), || pull(&b, false)).await, got);
    told("pull, verified and stored", pull(&b, true).await, got);
    told("push, verified, stored and signed for", push(&a).await, sent);
    a.stop().await;
    b.stop().await;
}

fn told(what: &str, took: Duration, plain: Duration) {
    println!("{what:<40} {:>9.4} s {:>8.1} x", took.as_secs_f64(), took.as_secs_f64() / plain.as_secs_f64());
}

async fn median<F: Future<Output = Duration>>(took: &mut Vec<Duration>, each: impl Fn() -> F) -> Duration {
    for _ in 0..TIMES {
        took.push(each().await);
    }
    took.sort();
    took[TIMES / 2]
}

/// Two services, each with the other in its list: what pins a document is known when its keys are there.
async fn two(directory: &Path) -> (Running, Running) {
    let (one, other) = (free(), free());
    let names = [("a", one), ("b", other)];
    let mut digests = Vec::new();
    for (name, address) in names {
        let running = serve::start(config(directory, name, address, "")).await.unwrap_or_else(|e| panic!("{e}"));
        digests.push(Digest::of(&running.app.exchange.as_ref().unwrap().document));
        running.stop().await;
    }
    let peer = |n: usize| {
        let (name, address) = names[n];
        format!("[[exchange.peer]]\nid = '{name}'\nendpoint = 'http://{address}/fhir'\ndocument = '{}'\n", digests[n])
    };
    let start = |n: usize| serve::start(config(directory, names[n].0, names[n].1, &peer(1 - n)));
    (start(0).await.unwrap_or_else(|e| panic!("{e}")), start(1).await.unwrap_or_else(|e| panic!("{e}")))
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn config(directory: &Path, name: &str, address: SocketAddr, peers: &str) -> Config {
    let text = format!(
        "data = '{}'\nhttp = '{address}'\nmllp = '127.0.0.1:0'\nbase_url = 'http://{address}/fhir'\ncustodian = 'urn:{name}'\n\
         outgoing = {{ allow_private = true, allow_http = true }}\n\
         log = {{ origin = '{name}.example/log', checkpoint_ms = 50, anchor_ms = 100 }}\n\
         [exchange]\nid = '{name}'\nname = 'Hospital {name}'\nconsent = 'permit'\n{peers}",
        directory.join(name).display()
    );
    Config::parse(&text).unwrap_or_else(|e| panic!("{e}"))
}

fn patient(id: &str, number: usize) -> Value {
    json!({"resourceType": "Patient", "id": id, "birthDate": "1980-02-29", "name": [{"family": format!("Bench{id}"), "given": ["Ada"]}],
        "identifier": [{"system": "urn:id", "value": number.to_string()}]})
}

/// A record, and waits until the last of it is anchored.
async fn load(at: &Running, id: &str, number: usize) {
    let put = |resource: Value| {
        let url = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        json!({"resource": resource, "request": {"method": "PUT", "url": url}})
    };
    let result = |n: usize| {
        json!({"resourceType": "Observation", "id": format!("{id}-{n}"), "status": "final", "subject": {"reference": format!("Patient/{id}")},
            "effectiveDateTime": "2026-03-02T08:15:00Z", "valueQuantity": {"value": n, "unit": "mmol/L", "system": "http://unitsofmeasure.org"},
            "code": {"coding": [{"system": "http://loinc.org", "code": "2339-0", "display": "Glucose in blood"}], "text": "Glucose in blood"}})
    };
    let entries: Vec<Value> = std::iter::once(patient(id, number)).chain((1..record()).map(result)).map(put).collect();
    for part in entries.chunks(100) {
        call(at, "POST", "/fhir", &json!({"resourceType": "Bundle", "type": "transaction", "entry": part})).await;
    }
    let last = format!("/fhir/Observation/{id}-{}/$receipt", record() - 1);
    while call(at, "GET", &last, &Value::Null).await["anchor"].is_null() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The parcel that a pull sends.
async fn parcel(at: &Running, id: &str) -> Bytes {
    let patient = Name::parse(&format!("Patient/{id}")).unwrap();
    let scopes = scopes::parse("patient/*.rs").unwrap();
    let caller = Caller { patient: Some(patient.clone()), ..Caller::new("bench", scopes) };
    let (opened, more) = select(&at.app, &caller, &patient, &["*".to_owned()]).await.unwrap();
    assert_eq!((opened.len(), more), (record(), false));
    let parcel = pack(&at.app.core, &patient, opened).await.unwrap();
    assert!(parcel.is_anchored());
    serde_json::to_vec(&parcel).unwrap().into()
}

/// A server that does nothing but take and give bytes: what is posted is kept, and given to who fetches.
async fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let kept = std::sync::Arc::new(std::sync::Mutex::new(Bytes::new()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let kept = kept.clone();
            let answer = service_fn(move |request: Request<hyper::body::Incoming>| {
                let kept = kept.clone();
                async move {
                    let posted = request.method() == Method::POST;
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let mut kept = kept.lock().unwrap();
                    if posted {
                        *kept = body;
                    }
                    let body = if posted { Bytes::new() } else { kept.clone() };
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                }
            });
            tokio::spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await });
        }
    });
    address
}

/// One transfer by the client that bridges ask each other with.
async fn transfer(app: &App, to: SocketAddr, method: Method, body: Bytes, bytes: &Bytes) -> Duration {
    let asked = |method, body| Outbound { method, url: format!("http://{to}/"), headers: HeaderMap::new(), body };
    let bounds = || Bounds { answer: LARGEST, time: PATIENCE };
    if method == Method::GET {
        app.outgoing.send_within(asked(Method::POST, bytes.clone()), bounds()).await.unwrap();
    }
    let start = Instant::now();
    let answer = app.outgoing.send_within(asked(method.clone(), body), bounds()).await.unwrap();
    let took = start.elapsed();
    assert!(method != Method::GET || answer.body == *bytes);
    took
}

async fn pull(by: &Running, store: bool) -> Duration {
    let asked = json!({"from": ["a"], "patient": "Patient/ada", "queries": ["*"], "store": store});
    let start = Instant::now();
    let found = call(by, "POST", "/exchange/pull", &asked).await;
    let took = start.elapsed();
    assert_eq!(found["total"], record(), "{}", found["entry"][0]);
    took
}

async fn push(by: &Running) -> Duration {
    let asked = json!({"to": "b", "patient": "Patient/eve", "queries": ["*"]});
    let start = Instant::now();
    let id = call(by, "POST", "/exchange/push", &asked).await["id"].as_str().unwrap().to_owned();
    loop {
        let state = call(by, "GET", &format!("/exchange/push/{id}"), &Value::Null).await;
        if state["state"] == "delivered" {
            return start.elapsed();
        }
        assert_eq!(state["state"], "waiting", "{state}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn call(at: &Running, method: &str, path: &str, body: &Value) -> Value {
    let now = at.app.core.clock.now().as_second() as u64;
    let token = at.app.token_key.mint("bench", "system/*.cruds", now, PATIENCE).unwrap();
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let request = Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
    let request = request.header("content-type", "application/fhir+json").body(Full::new(body)).unwrap();
    let reply = client::send(at.http, request).await.unwrap();
    assert!(reply.status().is_success() || path.contains("$receipt"), "{path}: {:?}", reply.body());
    serde_json::from_slice(reply.body()).unwrap_or(Value::Null)
}
