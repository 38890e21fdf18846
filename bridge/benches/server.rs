//! The FHIR server under load, as its clients see it: over HTTP, every write durable. Loads the Synthea corpus, again and
//! again with other patients until there are as many resources as asked for, and measures reads and searches at each size.
//!
//!     cargo bench -p bridge --bench server               # the corpus once
//!     MEDSEAL_SIZES=10000,100000,1000000 cargo bench -p bridge --bench server
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use bridge::commands::serve::{self, Running};
use bridge::config::Config;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Requests of one measurement, at one client and at sixteen.
const FEW: usize = 300;
const MANY: usize = 4_000;
const LOADERS: usize = 8;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/fhir/synthea-r4");
    let mut files: Vec<PathBuf> = ["plain", "gz"].iter().flat_map(|d| list(&corpus.join(d))).collect();
    files.sort();
    if files.is_empty() {
        return println!("skipped: the Synthea corpus is not here ({})", corpus.display());
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config { data: directory.path().to_owned(), http: any, mllp: any, ..Config::default() };
    let running = serve::start(config).await.unwrap_or_else(|e| panic!("{e}"));
    let server = Server::new(&running);
    let sizes = std::env::var("MEDSEAL_SIZES").unwrap_or_else(|_| "57000".into());
    let mut loaded = Loaded::default();
    for size in sizes.split(',').map(|s| s.parse::<usize>().unwrap()) {
        load(&server, &files, size, &mut loaded).await;
        measure(&server, &loaded).await;
    }
    running.stop().await;
}

fn list(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map(|e| e.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}

struct Server {
    address: SocketAddr,
    token: String,
}

impl Server {
    fn new(running: &Running) -> Self {
        let now = running.app.core.clock.now().as_second() as u64;
        let scopes = "system/*.cruds";
        let token = running.app.token_key.mint("bench", scopes, now, Duration::from_secs(86_400)).unwrap();
        Self { address: running.http, token }
    }

    async fn connect(&self) -> Client<'_> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { server: self, sender }
    }
}

struct Client<'s> {
    server: &'s Server,
    sender: SendRequest<Full<Bytes>>,
}

impl Client<'_> {
    async fn send(&mut self, method: &str, path: &str, body: String) -> Bytes {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "bench")
            .header("authorization", format!("Bearer {}", self.server.token))
            .header("content-type", "application/fhir+json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        self.sender.ready().await.unwrap();
        let reply = self.sender.send_request(request).await.unwrap();
        let status = reply.status();
        let bytes = reply.into_body().collect().await.unwrap().to_bytes();
        assert!(
            status.is_success(),
            "{method} {path}: {status} {}",
            String::from_utf8_lossy(&bytes[..bytes.len().min(500)])
        );
        bytes
    }
}

/// What was loaded: enough to ask for.
#[derive(Default)]
struct Loaded {
    resources: usize,
    rounds: usize,
    patients: Vec<String>,
    identifiers: Vec<String>,
    families: Vec<String>,
    observations: Vec<String>,
}

async fn load(server: &Server, files: &[PathBuf], size: usize, loaded: &mut Loaded) {
    let (began, before) = (Instant::now(), loaded.resources);
    let mut waiting = Duration::ZERO;
    while loaded.resources < size {
        let round = loaded.rounds;
        for some in files.chunks(LOADERS) {
            let started = Instant::now();
            let bundles: Vec<String> = some.iter().map(|path| other_patient(&read(path), round)).collect();
            waiting += started.elapsed();
            let sent = bundles
                .iter()
                .map(|bundle| async { server.connect().await.send("POST", "/fhir", bundle.clone()).await });
            let replies = join_all(sent).await;
            let answered = Instant::now();
            for (reply, bundle) in replies.iter().zip(&bundles) {
                remember(loaded, reply, bundle);
            }
            // What the client does for itself is none of the server's time.
            waiting += answered.elapsed();
            if loaded.resources >= size {
                break;
            }
        }
        loaded.rounds += 1;
    }
    let seconds = (began.elapsed() - waiting).as_secs_f64();
    let fresh = loaded.resources - before;
    println!(
        "{} resources ({} MB resident): loaded {fresh} at {:.0}/s",
        loaded.resources,
        resident(),
        fresh as f64 / seconds
    );
}

fn read(path: &Path) -> String {
    if path.extension().is_some_and(|e| e == "gz") {
        let output = std::process::Command::new("gzip").arg("-dc").arg(path).output().unwrap();
        return String::from_utf8(output.stdout).unwrap();
    }
    std::fs::read_to_string(path).unwrap()
}

/// The same history of somebody else: other name, other numbers.
fn other_patient(bundle: &str, round: usize) -> String {
    if round == 0 {
        return bundle.to_owned();
    }
    let json: serde_json::Value = serde_json::from_str(bundle).unwrap();
    let patient = &json["entry"][0]["resource"];
    let mut text = bundle.to_owned();
    let identifiers = patient["identifier"].as_array().into_iter().flatten().map(|i| &i["value"]);
    for word in identifiers.chain([&patient["name"][0]["family"]]).filter_map(|v| v.as_str()) {
        text = text.replace(&format!("\"{word}\""), &format!("\"{word}x{round}\""));
    }
    text
}

fn remember(loaded: &mut Loaded, reply: &Bytes, bundle: &str) {
    let reply: serde_json::Value = serde_json::from_slice(reply).unwrap();
    let bundle: serde_json::Value = serde_json::from_str(bundle).unwrap();
    for (sent, got) in bundle["entry"].as_array().unwrap().iter().zip(reply["entry"].as_array().unwrap()) {
        loaded.resources += 1;
        let location = got["response"]["location"].as_str().unwrap();
        let name = location.split("/fhir/").nth(1).unwrap().split("/_history").next().unwrap().to_owned();
        let resource = &sent["resource"];
        if name.starts_with("Patient/") {
            loaded.identifiers.push(resource["identifier"][0]["value"].as_str().unwrap().to_owned());
            loaded.families.push(resource["name"][0]["family"].as_str().unwrap().to_owned());
            loaded.patients.push(name);
        } else if name.starts_with("Observation/") && loaded.resources.is_multiple_of(7) {
            loaded.observations.push(name);
        }
    }
}

type Query<'l> = Box<dyn Fn(usize) -> String + 'l>;

async fn measure(server: &Server, loaded: &Loaded) {
    let pick = |list: &[String], n: usize| list[n.wrapping_mul(7_919) % list.len()].clone();
    let queries: [(&str, Query<'_>); 6] = [
        ("read by id", Box::new(|n| format!("/fhir/{}", pick(&loaded.observations, n)))),
        ("by identifier", Box::new(|n| format!("/fhir/Patient?identifier={}", pick(&loaded.identifiers, n)))),
        (
            "one patient, a code and a date",
            Box::new(|n| {
                format!(
                    "/fhir/Observation?patient={}&code=http://loinc.org%7C8302-2&date=ge2010",
                    pick(&loaded.patients, n)
                )
            }),
        ),
        (
            "one patient, first page",
            Box::new(|n| format!("/fhir/Observation?patient={}&_count=20", pick(&loaded.patients, n))),
        ),
        (
            "chained",
            Box::new(|n| {
                format!("/fhir/Observation?patient.family={}&code=8302-2&_count=20", pick(&loaded.families, n))
            }),
        ),
        ("by name", Box::new(|n| format!("/fhir/Patient?family={}&_count=20", pick(&loaded.families, n)))),
    ];
    for (name, query) in &queries {
        let alone = timed(server, 1, FEW, query).await;
        let together = timed(server, 16, MANY, query).await;
        println!("  {name:32} 1 client: {alone}   16 clients: {together}");
    }
}

async fn timed(server: &Server, clients: usize, requests: usize, query: &dyn Fn(usize) -> String) -> String {
    let began = Instant::now();
    let one = |client: usize| async move {
        let mut connection = server.connect().await;
        let mut times = Vec::new();
        for n in 0..requests / clients {
            let path = query(n * clients + client);
            let started = Instant::now();
            connection.send("GET", &path, String::new()).await;
            times.push(started.elapsed());
        }
        times
    };
    let mut times: Vec<Duration> = join_all((0..clients).map(one)).await.into_iter().flatten().collect();
    let seconds = began.elapsed().as_secs_f64();
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
    format!("{:6.0}/s p50 {:6.2} ms p99 {:6.2} ms", times.len() as f64 / seconds, at(0.5), at(0.99))
}

/// Resident memory of this process, the clients' included, in megabytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|n| n.parse::<usize>().ok()).unwrap_or(0) / 1_024
}
