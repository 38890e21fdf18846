//! Metrics: who may read them, what they count, that a Prometheus takes them, and that dashboard and alerts ask for nothing else.

use super::{ask, eventually};
use crate::consents;
use crate::world::{World, admission, config, msa};
use bridge::commands::send::Connection;
use bridge::config::{NamedFeed, OnError};
use bridge::feeds::Listener;
use bridge::index::drills::Drill;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A service with `/metrics` beside its API and on an address of its own.
async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    let file = directory.path().join("metrics.token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    config.telemetry.metrics = Some(([127, 0, 0, 1], 0).into());
    config.telemetry.metrics_token = Some(file);
    let on_error = Some(OnError::Quarantine);
    let (mllp, senders) = (Some(([127, 0, 0, 1], 0).into()), vec!["LAB|*".into()]);
    config.feeds = vec![NamedFeed { name: "lab".into(), mllp, senders, on_error, ..NamedFeed::default() }];
    World::with(directory, config).await
}

fn own(world: &World) -> String {
    world.running.app.config.telemetry.metrics.unwrap().to_string()
}

async fn text(world: &World) -> String {
    let reply = ask(&own(world), "GET", "/metrics", &[], b"").await;
    assert_eq!(reply.status(), 200);
    String::from_utf8(reply.into_body().to_vec()).unwrap()
}

/// The value of a series.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_who_bears_the_token_or_reaches_their_own_address() {
    let closed = World::new().await;
    let token = format!("Bearer {}", closed.token);
    assert_eq!(closed.request("GET", "/metrics", &[("authorization", &token)], b"").await.status(), 404);
    assert!(closed.running.app.config.telemetry.metrics.is_none());
    let world = world().await;
    let right = format!("Bearer {TOKEN}");
    for (given, expected) in
        [("", 401), ("Bearer 0123", 401), (TOKEN, 401), (token.as_str(), 401), (right.as_str(), 200)]
    {
        assert_eq!(
            world.request("GET", "/metrics", &[("authorization", given)], b"").await.status(),
            expected,
            "{given}"
        );
    }
    assert_eq!(world.request("POST", "/metrics", &[("authorization", &right)], b"").await.status(), 405);
    assert!(text(&world).await.contains("medseal_build_info{"));
    for path in ["/", "/fhir/Patient", "/healthz"] {
        assert_eq!(ask(&own(&world), "GET", path, &[("authorization", &token)], b"").await.status(), 404, "{path}");
    }
}

/// By the feed's own listener: a message that nothing can be made of, and one of a sender that is no feed's.
async fn quarantined_and_unclaimed(world: &World) {
    let lab = world.running.listeners.address(Listener::Own(([127, 0, 0, 1], 0).into())).unwrap();
    let mut connection = Connection::open(&lab.to_string()).await.unwrap();
    let faulty = admission("Q1", "77", "Lovelace").replace("PID|1", "ZZZ|1").replace("|ADT|", "|LAB|");
    for (message, code) in [(faulty, "AA"), (admission("Q2", "77", "Lovelace"), "AE")] {
        assert_eq!(msa(&connection.exchange(message.replace('\n', "\r").as_bytes()).await.unwrap()).0, code);
    }
}

/// What commands write into the index.
fn copied_and_drilled(world: &World) {
    let store = &world.running.app.core.store;
    store.set_setting("backup.newest", "1790000000000").unwrap();
    store.note_drill(&Drill { at: 1_790_000_100_000, proved: true, backup: None, log: 1 }).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let world = world().await;
    let message = admission("C1", "77", "Lovelace");
    assert_eq!(msa(&world.send(&message).await).0, "AA");
    assert_eq!(msa(&world.send(&message).await).0, "AA");
    assert_eq!(msa(&world.send("MSH|^~\\&|A|B|C|D|20260302||ZZZ^Z99|C2|P|2.5.1\n").await).0, "AE");
    quarantined_and_unclaimed(&world).await;
    copied_and_drilled(&world);
    world.only("/fhir/Patient?identifier=77").await;
    assert_eq!(world.get("/fhir/Patient/none").await.0, 404);
    consents::ward(&world).await;
    assert_eq!(consents::get_as(&world, consents::DOCTOR, "/fhir/Observation/o-ada").await.0, 200);
    let kept_back = json!({"type": "deny", "actor": consents::to(consents::DOCTOR)});
    consents::put(&world, consents::consent("active", kept_back)).await;
    assert_eq!(consents::get_as(&world, consents::DOCTOR, "/fhir/Observation/o-ada").await.0, 404);
    assert_eq!(consents::get_as(&world, consents::OTHER, "/fhir/Observation/o-ada").await.0, 200);
    bridge::audit::worker::flush(&world.running.app).await.unwrap();
    let anchored = async || {
        let text = text(&world).await;
        let anchored = value(&text, "medseal_anchor_rounds_total{outcome=\"anchored\"}")? > 0.0;
        // What lies in the index is looked up once a second.
        let looked_up =
            value(&text, "medseal_quarantine_waiting")? > 0.0 && value(&text, "medseal_log_anchored_size")? > 0.0;
        (anchored && looked_up).then_some(text)
    };
    let text = eventually(anchored).await;
    for (series, least) in [
        ("medseal_message_duration_seconds_count{feed=\"default\",outcome=\"taken\"}", 1.0),
        ("medseal_message_duration_seconds_count{feed=\"default\",outcome=\"duplicate\"}", 1.0),
        ("medseal_message_duration_seconds_count{feed=\"default\",outcome=\"unsupported\"}", 1.0),
        ("medseal_http_request_duration_seconds_count{method=\"GET\",route=\"/fhir/{type}\",status=\"ok\"}", 1.0),
        ("medseal_http_request_duration_seconds_count{method=\"GET\",route=\"/fhir/{type}/{id}\",status=\"4xx\"}", 1.0),
        ("medseal_commit_duration_seconds_count{outcome=\"stored\"}", 1.0),
        ("medseal_records_total{kind=\"message\"}", 1.0),
        ("medseal_records_total{kind=\"resource\"}", 2.0),
        ("medseal_anchor_gas_total", 50_000.0),
        ("medseal_log_size", 2.0),
        ("medseal_consent_decisions_total{decision=\"permit\"}", 1.0),
        ("medseal_consent_decisions_total{decision=\"deny\"}", 1.0),
        ("medseal_audit_events_total{outcome=\"committed\"}", 1.0),
        ("medseal_feed_connections{feed=\"lab\"}", 0.0),
        ("medseal_feed_last_message_seconds{feed=\"default\"}", 1_700_000_000.0),
        ("process_resident_memory_bytes", 1_000_000.0),
    ] {
        assert!(value(&text, series).is_some_and(|value| value >= least), "{series}: {text}");
    }
    for (series, exactly) in [
        ("medseal_message_duration_seconds_count{feed=\"default\",outcome=\"taken\"}", 1.0),
        ("medseal_quarantine_waiting", 1.0),
        ("medseal_message_duration_seconds_count{feed=\"lab\",outcome=\"quarantined\"}", 1.0),
        ("medseal_message_duration_seconds_count{feed=\"\",outcome=\"unclaimed\"}", 1.0),
        ("medseal_drill_proved", 1.0),
        ("medseal_backup_time_seconds", 1_790_000_000.0),
        ("medseal_audit_failing", 0.0),
        ("medseal_chain_contradiction", 0.0),
        ("medseal_lease_held", 1.0),
        ("medseal_subscriptions", 0.0),
        ("medseal_notifications_total{outcome=\"missed\"}", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(exactly), "{series}");
    }
}

/// What a file asks for, without what a histogram adds to its name.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let own = words.filter(|word| word.starts_with("medseal_") || word.starts_with("process_"));
    own.map(|word| {
        ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word).to_owned()
    })
    .collect()
}

fn ops(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ops").join(name).canonicalize().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboard_and_alerts_ask_for_metrics_that_there_are() {
    let world = world().await;
    world.send(&admission("D1", "78", "Hopper")).await;
    world.get("/fhir/Patient").await;
    copied_and_drilled(&world);
    let told = names(&text(&world).await);
    // What a bucket has, and what TLS has.
    let elsewhere =
        ["cache_hits_total", "cache_misses_total", "tls_certificate_expires_seconds", "tls_revoked_expires_seconds"];
    let elsewhere: BTreeSet<String> = elsewhere.map(|name| format!("medseal_{name}")).into();
    for file in ["dashboard.json", "alerts.yaml"] {
        let asked = names(&std::fs::read_to_string(ops(file)).unwrap());
        assert!(asked.len() > 10, "{file}");
        let missing: Vec<_> = asked.difference(&told).filter(|name| !elsewhere.contains(*name)).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}");
    }
    let shown = names(&std::fs::read_to_string(ops("dashboard.json")).unwrap());
    let unseen: Vec<_> = told.difference(&shown).filter(|name| *name != "process_start_time_seconds").collect();
    assert!(unseen.is_empty(), "the dashboard does not show {unseen:?}");
}

/// Each alert has its own heading in the operating guide, which the alert names.
#[test]
fn each_alert_is_explained() {
    let alerts = std::fs::read_to_string(ops("alerts.yaml")).unwrap();
    let guide = std::fs::read_to_string(ops("../docs/operating.md")).unwrap();
    let named = |key: &str| {
        let of_line = |line: &str| line.trim().strip_prefix(key).map(|name| name.trim().to_owned());
        alerts.lines().filter_map(of_line).collect::<Vec<_>>()
    };
    let (names, runbooks) = (named("- alert:"), named("runbook:"));
    assert_eq!(names.len(), runbooks.len());
    for (name, runbook) in names.iter().zip(runbooks) {
        assert!(guide.contains(&format!("#### {name}\n")), "docs/operating.md does not explain {name}");
        assert_eq!(runbook, format!("docs/operating.md#{}", name.to_lowercase()));
    }
}

/// A Prometheus that ends with the test.
struct Prometheus {
    process: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    use std::io::Write;
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn prometheus(target: &str) -> Prometheus {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let (rules, config) = (ops("alerts.yaml"), directory.path().join("prometheus.yml"));
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{}']\nscrape_configs:\n\
         - job_name: medseal\n  authorization: {{credentials_file: '{}'}}\n  static_configs: [{{targets: ['{target}']}}]\n",
        rules.display(),
        token.display()
    );
    std::fs::write(&config, text).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display())).arg(format!("--web.listen-address={free}"));
    command.arg(format!("--storage.tsdb.path={}", directory.path().join("tsdb").display()));
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    Prometheus { process, address: free, _directory: directory }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_it_and_takes_the_alerts() {
    if Command::new("prometheus").arg("--version").output().is_err() {
        println!("skipped: there is no prometheus here (Debian's package of that name)");
        return;
    }
    for (verb, file) in [("check", "alerts.yaml"), ("test", "alerts.test.yaml")] {
        let (fine, said) = promtool(&[verb, "rules", ops(file).to_str().unwrap()], "");
        assert!(fine, "{said}");
    }
    let world = world().await;
    world.send(&admission("P1", "79", "Hamilton")).await;
    let (fine, said) = promtool(&["check", "metrics"], &text(&world).await);
    assert!(fine, "{said}");
    let prometheus = prometheus(&world.running.http.to_string());
    let query = |path: &'static str| {
        let address = prometheus.address.clone();
        async move {
            tokio::net::TcpStream::connect(&address).await.ok()?;
            let reply = ask(&address, "GET", path, &[], b"").await;
            serde_json::from_slice::<serde_json::Value>(reply.body()).ok()
        }
    };
    let taken = "/api/v1/query?query=medseal_message_duration_seconds_count%7Boutcome%3D%22taken%22%7D";
    let counted = async || query(taken).await?["data"]["result"][0]["value"][1].as_str().map(str::to_owned);
    assert_eq!(eventually(counted).await, "1");
    let rules = async || {
        let groups = query("/api/v1/rules").await?["data"]["groups"].as_array()?.clone();
        let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules).filter(|rules| !rules.is_empty())
    };
    for rule in eventually(rules).await {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}
