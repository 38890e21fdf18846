//! Subscriptions, with a receiver that really listens: what arrives, in which order, after which failures, and what never does.

use super::backend::client;
use super::door::{Browser, invitation};
use super::stores;
use super::world::{World, config, mint};
use bridge::ids::{Name, ResourceId};
use bridge::index::clients::Keys;
use bridge::people::session::borne;
use bridge::people::{Role, SESSION_IDLE};
use bridge::smart::grant::{Grant, Handle};
use bridge::smart::scopes;
use bridge::smart::token::Caller;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use notary::commitment::Digest;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use warp::http::{HeaderMap, Response};

pub const BACKPORT: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";

/// A request that arrived.
#[derive(Clone)]
pub struct Got {
    pub line: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// SubscriptionStatus as one object: each parameter by its name.
    pub fn status(&self, name: &str) -> Value {
        let bundle = self.json();
        let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap().clone();
        let found = parameters.into_iter().find(|p| p["name"] == name);
        found.map_or(Value::Null, |p| p.as_object().unwrap().values().nth(1).unwrap().clone())
    }
}

/// Keeps all requests and answers them with a status that can be set.
pub struct Receiver {
    pub address: SocketAddr,
    got: Arc<Mutex<Vec<Got>>>,
    pub answer: Arc<AtomicU16>,
    /// How long it takes to answer, in milliseconds.
    pub slow: Arc<AtomicU64>,
}

impl Receiver {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (got, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU16::new(200)));
        let slow = Arc::new(AtomicU64::new(0));
        let (kept, answering, slowly) = (got.clone(), answer.clone(), slow.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, answering, slowly) = (kept.clone(), answering.clone(), slowly.clone());
                let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                    let (kept, answering, slowly) = (kept.clone(), answering.clone(), slowly.clone());
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.unwrap().to_bytes();
                        let line = format!("{} {}", head.method, head.uri);
                        let status = answering.load(Ordering::SeqCst);
                        kept.lock().unwrap().push(Got { line, headers: head.headers, body });
                        tokio::time::sleep(Duration::from_millis(slowly.load(Ordering::SeqCst))).await;
                        let reply = Response::builder().status(status).header("location", "http://127.0.0.1:1/other");
                        Ok::<_, Infallible>(reply.body(Full::new(Bytes::new())).unwrap())
                    }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Self { address, got, answer, slow }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn all(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// What arrived, once that is so many requests.
    pub async fn wait(&self, count: usize) -> Vec<Got> {
        for _ in 0..1_000 {
            if self.all().len() >= count {
                return self.all();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{count} requests did not arrive: {:?}", self.all().iter().map(|g| g.line.clone()).collect::<Vec<_>>());
    }
}

/// A service that may send to this machine.
pub async fn world() -> World {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("data"));
    config.outgoing.allow_private = true;
    config.outgoing.allow_http = true;
    World::with(directory, config).await
}

fn plain(url: &str, payload: Option<&str>) -> Value {
    let mut resource = json!({"resourceType": "Subscription", "id": "s", "status": "requested", "reason": "x",
        "criteria": "Observation?code=urn:c|wanted",
        "channel": {"type": "rest-hook", "endpoint": url, "header": ["X-Secret: s3cret"]}});
    if let Some(payload) = payload {
        resource["channel"]["payload"] = json!(payload);
    }
    resource
}

pub fn topical(url: &str, topic: &str, content: &str) -> Value {
    json!({"resourceType": "Subscription", "id": "t", "status": "requested", "reason": "x", "criteria": topic,
        "meta": {"profile": [format!("{BACKPORT}backport-subscription")]},
        "channel": {"type": "rest-hook", "endpoint": url, "payload": "application/fhir+json",
            "_payload": {"extension": [{"url": format!("{BACKPORT}backport-payload-content"), "valueCode": content}]}}})
}

pub fn observation(id: &str, code: &str) -> String {
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","status":"final","code":{{"coding":[{{"system":"urn:c","code":"{code}"}}]}},"valueQuantity":{{"value":1.50}}}}"#
    )
}

pub async fn put(world: &World, path: &str, body: &str) -> Value {
    let (status, answer) = world.call("PUT", &format!("/fhir/{path}"), body).await;
    assert!(status == 200 || status == 201, "{path}: {status} {answer}");
    answer
}

pub async fn state(world: &World, id: &str, expected: &str) -> Value {
    for _ in 0..1_000 {
        let (_, resource) = world.get(&format!("/fhir/Subscription/{id}")).await;
        if resource["status"] == expected {
            return resource;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{id} did not become {expected}");
}

// meets subscriptions 7
#[tokio::test]
async fn a_rest_hook_gets_what_fits_in_order_and_nothing_else() {
    let (world, receiver) = (world().await, Receiver::new().await);
    put(&world, "Observation/before", &observation("before", "wanted")).await;
    let stored =
        put(&world, "Subscription/s", &plain(&receiver.url(), Some("application/fhir+json")).to_string()).await;
    assert_eq!(stored["status"], "requested");
    state(&world, "s", "active").await;
    for n in 0..5 {
        put(&world, &format!("Observation/o{n}"), &observation(&format!("o{n}"), "wanted")).await;
        put(&world, &format!("Observation/x{n}"), &observation(&format!("x{n}"), "other")).await;
    }
    let got = receiver.wait(5).await;
    let lines: Vec<&str> = got.iter().map(|g| g.line.as_str()).collect();
    let expected: Vec<String> = (0..5).map(|n| format!("PUT /hook/Observation/o{n}")).collect();
    assert_eq!(lines, expected);
    assert_eq!(got[0].headers["x-secret"], "s3cret");
    assert_eq!(got[0].headers["content-type"], "application/fhir+json");
    assert_eq!(got[0].body, world.bytes("/fhir/Observation/o0").await, "in its very text");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.all().len(), 5);
    let mut off = plain(&receiver.url(), None);
    off["status"] = json!("off");
    put(&world, "Subscription/s", &off.to_string()).await;
    put(&world, "Observation/late", &observation("late", "wanted")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.all().len(), 5, "it is off");
}

#[tokio::test]
async fn without_a_payload_the_receiver_is_only_rung() {
    let (world, receiver) = (world().await, Receiver::new().await);
    put(&world, "Subscription/s", &plain(&receiver.url(), None).to_string()).await;
    put(&world, "Observation/o", &observation("o", "wanted")).await;
    let got = receiver.wait(1).await;
    assert_eq!((got[0].line.as_str(), got[0].body.len()), ("POST /hook", 0));
    state(&world, "s", "active").await;
    assert_eq!(world.call("DELETE", "/fhir/Subscription/s", "").await.0, 204);
    put(&world, "Observation/late", &observation("late", "wanted")).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.all().len(), 1, "it was deleted");
}

#[tokio::test]
async fn what_fails_is_sent_again_and_survives_a_restart() {
    let (world, receiver) = (world().await, Receiver::new().await);
    put(&world, "Subscription/s", &plain(&receiver.url(), Some("application/fhir+json")).to_string()).await;
    state(&world, "s", "active").await;
    receiver.answer.store(302, Ordering::SeqCst);
    for n in 0..2 {
        put(&world, &format!("Observation/o{n}"), &observation(&format!("o{n}"), "wanted")).await;
    }
    receiver.wait(2).await;
    assert!(
        receiver.all().iter().all(|g| g.line.ends_with("/o0")),
        "the second waits for the first; no redirect is followed"
    );
    let world = world.restarted().await;
    receiver.answer.store(200, Ordering::SeqCst);
    let failed = receiver.all().len();
    let got = receiver.wait(failed + 2).await;
    let lines: Vec<&str> = got[failed..].iter().map(|g| g.line.as_str()).collect();
    assert_eq!(lines, ["PUT /hook/Observation/o0", "PUT /hook/Observation/o1"]);
    put(&world, "Observation/o2", &observation("o2", "wanted")).await;
    assert!(receiver.wait(failed + 3).await[failed + 2].line.ends_with("/o2"), "and it goes on");
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_told_of_in_the_status() {
    let (world, receiver) = (world().await, Receiver::new().await);
    receiver.answer.store(500, Ordering::SeqCst);
    put(&world, "Subscription/t", &topical(&receiver.url(), "urn:medseal:topic:observation", "empty").to_string())
        .await;
    let failing = state(&world, "t", "error").await;
    assert!(failing["error"].as_str().unwrap().contains("tried again"));
    receiver.answer.store(200, Ordering::SeqCst);
    let active = state(&world, "t", "active").await;
    assert_eq!(active.get("error"), None, "it recovers by itself");
}

// meets subscriptions 7 47 93 102 106 107 109 110 111 112 115 118 121 136
#[tokio::test]
async fn topics_shake_hands_number_their_events_and_beat() {
    let (world, receiver) = (world().await, Receiver::new().await);
    put(&world, "Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await;
    let mut subscription = topical(&receiver.url(), "urn:medseal:topic:admission", "full-resource");
    subscription["_criteria"] = json!({"extension": [{"url": format!("{BACKPORT}backport-filter-criteria"),
        "valueString": "Encounter?patient=Patient/p"}]});
    subscription["channel"]["extension"] =
        json!([{"url": format!("{BACKPORT}backport-heartbeat-period"), "valueUnsignedInt": 1}]);
    put(&world, "Subscription/t", &subscription.to_string()).await;
    state(&world, "t", "active").await;
    let encounter = |id: &str, status: &str, patient: &str| {
        json!({"resourceType": "Encounter", "id": id, "status": status, "class": {"code": "IMP"},
            "subject": {"reference": format!("Patient/{patient}")}})
        .to_string()
    };
    put(&world, "Encounter/e", &encounter("e", "planned", "p")).await;
    put(&world, "Encounter/e", &encounter("e", "in-progress", "p")).await;
    put(&world, "Encounter/e", &encounter("e", "in-progress", "p")).await;
    put(&world, "Patient/q", r#"{"resourceType":"Patient","id":"q"}"#).await;
    put(&world, "Encounter/f", &encounter("f", "in-progress", "q")).await;
    put(&world, "Encounter/g", &encounter("g", "arrived", "p")).await;
    let mut of: std::collections::HashMap<String, Vec<Got>> = Default::default();
    for _ in 0..1_000 {
        of.clear();
        for got in receiver.all() {
            of.entry(got.status("type").as_str().unwrap().to_owned()).or_default().push(got);
        }
        if of.get("event-notification").map_or(0, Vec::len) >= 2 && of.contains_key("heartbeat") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(receiver.all()[0].status("type"), "handshake");
    assert_eq!(of["handshake"].len(), 1);
    let events = &of["event-notification"];
    let told: Vec<String> =
        events.iter().map(|e| e.json()["entry"][1]["resource"]["id"].as_str().unwrap().into()).collect();
    assert_eq!(told, ["e", "g"], "each admission once, of this patient alone");
    assert_eq!(events[1].status("events-since-subscription-start"), "2");
    assert_eq!(events[0].json()["type"], "history");
    assert_eq!(events[0].status("topic"), "urn:medseal:topic:admission");
    assert_eq!(of["handshake"][0].status("events-since-subscription-start"), "0");
    let told = of["heartbeat"].last().unwrap().status("events-since-subscription-start");
    assert!(["0", "1", "2"].contains(&told.as_str().unwrap()), "a heartbeat is no event: {told}");
    let (code, bundle) = world.get("/fhir/Subscription/t/$status").await;
    assert_eq!((code, bundle["type"].as_str()), (200, Some("searchset")));
    let (_, same) = world.get("/fhir/Subscription/t/$status?id=nobody&status=off").await;
    assert_eq!(same["entry"].as_array().unwrap().len(), 1, "it is named by its address");
    for (query, expected) in [
        ("?id=t", 1),
        ("?id=nobody,t", 1),
        ("?id=t&status=active", 1),
        ("?status=error,active", 1),
        ("?status=off", 0),
        ("?id=nobody", 0),
        ("", 1),
    ] {
        let (code, all) = world.get(&format!("/fhir/Subscription/$status{query}")).await;
        assert_eq!((code, &all["type"], &all["total"]), (200, &json!("searchset"), &json!(expected)), "{query}");
    }
    let asked = r#"{"resourceType":"Parameters","parameter":[{"name":"eventsSinceNumber","valueString":"2"},{"name":"content","valueCode":"id-only"}]}"#;
    let (code, posted) = world.call("POST", "/fhir/Subscription/t/$events", asked).await;
    assert_eq!(code, 200);
    let (code, bundle) = world.get("/fhir/Subscription/t/$events?eventsSinceNumber=2&content=id-only").await;
    assert_eq!(posted["entry"].as_array().unwrap().len(), bundle["entry"].as_array().unwrap().len());
    assert_eq!((code, bundle["entry"].as_array().unwrap().len()), (200, 2));
    assert_eq!(
        (&bundle["type"], &bundle["entry"][0]["resource"]["resourceType"]),
        (&json!("history"), &json!("Parameters"))
    );
    assert!(bundle["entry"][1]["fullUrl"].as_str().unwrap().ends_with("/Encounter/g"));
    assert_eq!(bundle["entry"][1].get("resource"), None);
    let narrow = format!("Bearer {}", mint(&world.running, "system/Subscription.rs"));
    let refused = world.request("GET", "/fhir/Subscription/t/$events", &[("authorization", &narrow)], b"").await;
    assert_eq!(refused.status(), 403, "events tell of encounters");
}

#[tokio::test]
async fn what_the_old_endpoint_answers_says_nothing_of_the_new_one() {
    let (world, old, new) = (world().await, Receiver::new().await, Receiver::new().await);
    let topic = "urn:medseal:topic:observation";
    put(&world, "Subscription/t", &topical(&old.url(), topic, "id-only").to_string()).await;
    state(&world, "t", "active").await;
    old.slow.store(2_000, Ordering::SeqCst);
    put(&world, "Observation/o1", &observation("o1", "wanted")).await;
    put(&world, "Observation/o2", &observation("o2", "wanted")).await;
    old.wait(2).await;
    // The old endpoint has the first event and takes its time; the new one never shakes hands.
    new.answer.store(500, Ordering::SeqCst);
    put(&world, "Subscription/t", &topical(&new.url(), topic, "id-only").to_string()).await;
    let types = |all: Vec<Got>| all.iter().map(|g| g.status("type").as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(types(new.wait(3).await), ["handshake"; 3], "it is asked until it answers, and told nothing");
    new.answer.store(200, Ordering::SeqCst);
    state(&world, "t", "active").await;
    let asked = types(new.all()).iter().filter(|kind| *kind == "handshake").count();
    let got = new.wait(asked + 2).await;
    let numbers: Vec<_> = got[asked..].iter().map(|g| g.status("events-since-subscription-start")).collect();
    assert_eq!(numbers, ["1", "2"], "what waited goes to the new one");
    assert_eq!(old.all().len(), 2);
    let mut other = topical(&new.url(), "urn:medseal:topic:admission", "id-only");
    other["id"] = json!("t");
    put(&world, "Subscription/t", &other.to_string()).await;
    new.wait(asked + 3).await;
    let (_, events) = world.get("/fhir/Subscription/t/$events").await;
    assert_eq!(events["entry"].as_array().unwrap().len(), 1, "observations are nothing that it asks for now: {events}");
}

/// Stops the service, does something to its data, and starts it again.
async fn meddled(world: World, meddle: impl FnOnce(&rusqlite::Connection, &Path)) -> World {
    let World { running, directory, .. } = world;
    let config = running.app.config.clone();
    running.stop().await;
    let data = directory.path().join("data");
    let index = rusqlite::Connection::open(data.join("index.sqlite")).unwrap();
    meddle(&index, &data.join("objects"));
    drop(index);
    World::with(directory, config).await
}

/// Flips the last bit of the newest version of a resource, and tells its row.
fn damage(index: &rusqlite::Connection, objects: &Path, kind: &str, id: &str) -> i64 {
    let sql = "SELECT pack, offset + length - 1, row FROM record WHERE type = ?1 AND id = ?2 AND current = 1";
    let read = |r: &rusqlite::Row<'_>| Ok((r.get::<_, String>(0)?, r.get::<_, i64>(1)?, r.get::<_, i64>(2)?));
    let (pack, at, row) = index.query_row(sql, [kind, id], read).unwrap();
    let mut bytes = std::fs::read(objects.join(&pack)).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 1;
    std::fs::write(objects.join(&pack), bytes).unwrap();
    row
}

// meets subscriptions 119
#[tokio::test]
async fn events_are_told_to_the_last_and_what_is_left_out_is_seen() {
    let (world, receiver) = (world().await, Receiver::new().await);
    let mut subscription = topical(&receiver.url(), "urn:medseal:topic:observation", "id-only");
    subscription["channel"]["extension"] =
        json!([{"url": format!("{BACKPORT}backport-max-count"), "valuePositiveInt": 100}]);
    put(&world, "Subscription/t", &subscription.to_string()).await;
    state(&world, "t", "active").await;
    // Five heavy ones, then many.
    let note = json!({"text": "x".repeat(900_000)});
    let entry = |n: usize| {
        let mut resource: Value = serde_json::from_str(&observation(&format!("o{n}"), "wanted")).unwrap();
        if n < 5 {
            resource["note"] = json!(vec![note.clone(); 4]);
        }
        json!({"resource": resource, "request": {"method": "PUT", "url": format!("Observation/o{n}")}})
    };
    let entries: Vec<Value> = (0..60).map(entry).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    assert_eq!(world.call("POST", "/fhir", &bundle.to_string()).await.0, 200);
    let mut told = Value::Null;
    for _ in 0..1_000 {
        told = world.get("/fhir/Subscription/t/$events").await.1;
        if total(&told) == "60" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((total(&told), told["entry"].as_array().unwrap().len()), ("60".to_owned(), 61), "none is left out");
    assert_eq!(told.get("link"), None);
    let (_, some) = world.get("/fhir/Subscription/t/$events?eventsUntilNumber=2").await;
    assert_eq!((total(&some), some["entry"].as_array().unwrap().len()), ("60".to_owned(), 3), "58 are not here");
    let (_, heavy) = world.get("/fhir/Subscription/t/$events?content=full-resource&eventsUntilNumber=58").await;
    assert_eq!(heavy["entry"].as_array().unwrap().len(), 5, "four of the heavy ones are a page");
    let next = heavy["link"][0]["url"].as_str().unwrap();
    let at = next.find("/fhir/").unwrap();
    assert_eq!(
        &next[at..],
        "/fhir/Subscription/t/$events?eventsSinceNumber=5&eventsUntilNumber=58&content=full-resource"
    );
    let (_, rest) = world.get(&next[at..]).await;
    assert_eq!((rest["entry"].as_array().unwrap().len(), rest.get("link")), (1 + 54, None));
}

/// `events-since-subscription-start` of a Bundle.
fn total(bundle: &Value) -> String {
    let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    let found = parameters.iter().find(|p| p["name"] == "events-since-subscription-start");
    found.unwrap()["valueString"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_damaged_record_stops_no_other_subscription() {
    if stores::needs_sqlite() {
        return;
    }
    let (world, receiver) = (world().await, Receiver::new().await);
    if stores::s3(&world.directory.path().join("data")).is_some() {
        return println!("skipped: what is damaged in the bucket is whole in the cache");
    }
    put(&world, "Subscription/s", &plain(&receiver.url(), None).to_string()).await;
    let mut other = plain(&receiver.url(), Some("application/fhir+json"));
    other["id"] = json!("u");
    put(&world, "Subscription/u", &other.to_string()).await;
    state(&world, "s", "active").await;
    state(&world, "u", "active").await;
    put(&world, "Observation/o1", &observation("o1", "wanted")).await;
    receiver.wait(2).await;
    // One subscription cannot be read, nor can an event that the follower has still to look at.
    let world = meddled(world, |index, objects| {
        damage(index, objects, "Subscription", "s");
        let row = damage(index, objects, "Observation", "o1");
        let rewind = "UPDATE setting SET value = ?1 WHERE name = 'followed'";
        assert_eq!(index.execute(rewind, [(row - 1).to_string()]).unwrap(), 1);
    })
    .await;
    put(&world, "Observation/o2", &observation("o2", "wanted")).await;
    let got = receiver.wait(3).await;
    assert_eq!(got[2].line, "PUT /hook/Observation/o2");
}

#[tokio::test]
async fn a_damaged_event_is_left_out_in_the_end() {
    if stores::needs_sqlite() {
        return;
    }
    let (world, receiver) = (world().await, Receiver::new().await);
    if stores::s3(&world.directory.path().join("data")).is_some() {
        return println!("skipped: what is damaged in the bucket is whole in the cache");
    }
    let topic = "urn:medseal:topic:observation";
    put(&world, "Subscription/t", &topical(&receiver.url(), topic, "full-resource").to_string()).await;
    state(&world, "t", "active").await;
    receiver.answer.store(500, Ordering::SeqCst);
    for id in ["o1", "o2"] {
        put(&world, &format!("Observation/{id}"), &observation(id, "wanted")).await;
    }
    receiver.wait(2).await;
    let world = meddled(world, |index, objects| {
        damage(index, objects, "Observation", "o1");
        // The failures before are not waited for.
        assert_eq!(index.execute("UPDATE subscription SET failures = 4, due = 0", []).unwrap(), 1);
    })
    .await;
    receiver.answer.store(200, Ordering::SeqCst);
    let before = receiver.all().len();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.all().len(), before, "it was tried, failed, and is tried again");
    let world = meddled(world, |index, _| {
        let failed = "SELECT failures FROM subscription";
        assert_eq!(index.query_row(failed, [], |r| r.get::<_, i64>(0)).unwrap(), 5, "which counts");
        index.execute("UPDATE subscription SET due = 0", []).unwrap();
    })
    .await;
    let got = receiver.wait(before + 1).await;
    assert_eq!(got[before].status("events-since-subscription-start"), "2");
    let (status, events) = world.get("/fhir/Subscription/t/$events").await;
    assert_eq!((status, events["entry"].as_array().unwrap().len()), (200, 2), "{events}");
}

#[tokio::test]
async fn a_subscription_that_must_not_be_is_refused_where_it_is_wrong() {
    let world = World::new().await;
    for (endpoint, place) in [
        ("https://169.254.169.254/latest/meta-data", "Subscription.channel.endpoint"),
        ("https://127.0.0.1/x", "Subscription.channel.endpoint"),
        ("https://[::ffff:10.0.0.1]/x", "Subscription.channel.endpoint"),
        ("http://8.8.8.8/x", "Subscription.channel.endpoint"),
        ("file:///etc/passwd", "Subscription.channel.endpoint"),
        ("https://8.8.8.8:99999/", "Subscription.channel.endpoint"),
        ("https://8.8.8.8:0/", "Subscription.channel.endpoint"),
        ("https://8.8.8.8:/", "Subscription.channel.endpoint"),
    ] {
        let body = plain(endpoint, None).to_string();
        let (status, outcome) = world.call("POST", "/fhir/Subscription", &body).await;
        assert_eq!(
            (status, outcome["issue"][0]["expression"][0].as_str()),
            (422, Some(place)),
            "{endpoint}: {outcome}"
        );
    }
    let local = plain("https://127.0.0.1/x", None);
    let entry = json!({"resource": local, "request": {"method": "PUT", "url": "Subscription/s"}});
    for (kind, expected) in [("transaction", 422), ("batch", 200)] {
        let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": [entry]});
        let (status, answer) = world.call("POST", "/fhir", &bundle.to_string()).await;
        assert_eq!(status, expected, "{answer}");
    }
    let mut socket = plain("https://8.8.8.8/x", None);
    socket["channel"]["type"] = json!("websocket");
    assert_eq!(world.call("PUT", "/fhir/Subscription/s", &socket.to_string()).await.0, 422);
    assert_eq!(world.get("/fhir/Subscription/s").await.0, 404, "none was stored");
    let bearer = format!("Bearer {}", mint(&world.running, "system/Subscription.cruds system/Patient.rs"));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let body = plain("https://8.8.8.8/x", None).to_string();
    let reply = world.request("PUT", "/fhir/Subscription/s", &headers, body.as_bytes()).await;
    assert_eq!(reply.status(), 403, "who may not search a type is not told of it");
}

/// A transaction of Subscriptions that are put or, without an id, posted.
fn together(url: &str, ids: &[Option<&str>]) -> String {
    let entry = |id: &Option<&str>| {
        let mut resource = plain(url, None);
        let request = match id {
            Some(id) => json!({"method": "PUT", "url": format!("Subscription/{id}")}),
            None => json!({"method": "POST", "url": "Subscription"}),
        };
        match id {
            Some(id) => resource["id"] = json!(id),
            None => _ = resource.as_object_mut().unwrap().remove("id"),
        }
        json!({"resource": resource, "request": request})
    };
    let entries: Vec<Value> = ids.iter().map(entry).collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string()
}

#[tokio::test]
async fn no_more_subscriptions_are_on_than_may_be() {
    let (world, receiver) = (world().await, Receiver::new().await);
    world.running.app.core.notices.most.store(4, Ordering::Relaxed);
    let url = receiver.url();
    let send = async |ids: &[Option<&str>]| world.call("POST", "/fhir", &together(&url, ids)).await;
    let (status, outcome) = send(&[None; 51]).await;
    assert_eq!((status, outcome["issue"][0]["code"].as_str()), (422, Some("too-costly")), "{outcome}");
    assert_eq!(send(&[None; 5]).await.0, 422, "those of the transaction itself count");
    assert_eq!(send(&[Some("a"), Some("b"), None]).await.0, 200);
    // The follower may not have seen those yet. Of several at once only one finds room.
    let one = plain(&url, None).to_string().replace(r#""id":"s","#, "");
    let all = [(); 5].map(|()| world.call("POST", "/fhir/Subscription", &one));
    let mut statuses: Vec<u16> = futures_util::future::join_all(all).await.iter().map(|(status, _)| *status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 422, 422, 422, 422]);
    assert_eq!(send(&[Some("a"), Some("b")]).await.0, 200, "those that are on can be written");
    assert_eq!(send(&[Some("a"), Some("c")]).await.0, 422);
    let mut off = plain(&url, None);
    (off["id"], off["status"]) = (json!("a"), json!("off"));
    put(&world, "Subscription/a", &off.to_string()).await;
    state(&world, "b", "active").await;
    for _ in 0..100 {
        if send(&[Some("c")]).await.0 == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("one that is off makes room");
}

#[tokio::test]
async fn a_maker_that_a_client_made_up_counts_for_nothing() {
    let (world, receiver) = (world().await, Receiver::new().await);
    let mut forged = plain(&receiver.url(), None);
    forged["extension"] = json!([{"url": "urn:medseal:subscription-maker", "valueString": "forged"}]);
    let stored = put(&world, "Subscription/s", &forged.to_string()).await;
    let all = stored["extension"].as_array().unwrap();
    assert_eq!(all.len(), 1);
    assert_ne!(all[0]["valueString"], "forged");
    let bearer = format!("Bearer {}", world.token);
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json-patch+json")];
    let patch = br#"[{"op":"replace","path":"/criteria","value":"Patient"}]"#;
    let reply = world.request("PATCH", "/fhir/Subscription/s", &headers, patch).await;
    assert_eq!(reply.status(), 422, "nor does a patch slip past who may read what");
    state(&world, "s", "active").await;
    let label = r#"{"resourceType":"Parameters","parameter":[{"name":"meta","valueMeta":{"tag":[{"system":"urn:t","code":"x"}]}}]}"#;
    let (status, answer) = world.call("POST", "/fhir/Subscription/s/$meta-add", label).await;
    assert_eq!(status, 200, "a label asks for nothing: {answer}");
    put(&world, "Observation/o", &observation("o", "wanted")).await;
    assert_eq!(receiver.wait(1).await[0].line, "POST /hook", "and it goes on with it");
}

#[tokio::test]
async fn a_maker_who_may_see_a_part_is_told_of_that_part() {
    let (world, receiver) = (world().await, Receiver::new().await);
    let scopes = "system/Observation.rs?code=urn:c|seen system/Subscription.cruds";
    let bearer = format!("Bearer {}", mint(&world.running, scopes));
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    for (id, content) in [("ids", "id-only"), ("whole", "full-resource")] {
        let mut resource = topical(&receiver.url(), "urn:medseal:topic:observation", content);
        resource["id"] = json!(id);
        let path = format!("/fhir/Subscription/{id}");
        let reply = world.request("PUT", &path, &headers, resource.to_string().as_bytes()).await;
        assert_eq!(reply.status(), 201);
        state(&world, id, "active").await;
    }
    for (id, code) in [("o1", "hidden"), ("o2", "seen"), ("o3", "hidden"), ("o4", "seen")] {
        put(&world, &format!("Observation/{id}"), &observation(id, code)).await;
    }
    let got = receiver.wait(6).await;
    let told: Vec<String> = got.iter().map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect();
    assert!(told.iter().all(|text| !text.contains("Observation/o1") && !text.contains("Observation/o3")), "{told:?}");
    for id in ["o2", "o4"] {
        assert_eq!(told.iter().filter(|text| text.contains(&format!("Observation/{id}"))).count(), 2, "{id}");
    }
    for path in ["/fhir/Subscription/ids/$events", "/fhir/Subscription/ids/$status", "/fhir/Subscription/$status"] {
        assert_eq!(world.request("GET", path, &headers, b"").await.status(), 200, "{path}: its Subscriptions it sees");
    }
    let other =
        format!("Bearer {}", mint(&world.running, "system/Observation.rs?code=urn:c|hidden system/Subscription.rs"));
    let path = "/fhir/Subscription/whole/$events?content=full-resource";
    let events = world.request("GET", path, &[("authorization", &other)], b"").await;
    assert!(events.status() == 200 && !String::from_utf8_lossy(events.body()).contains("Observation/o2"));
}

#[tokio::test]
async fn a_client_that_was_removed_is_told_nothing_more() {
    let (world, receiver) = (world().await, Receiver::new().await);
    let (store, keys) = (world.running.app.core.store.clone(), Keys::At("https://keys.example/".into()));
    let scope = "system/Observation.rs system/Subscription.cruds";
    let client = client("c", keys, scope);
    assert!(store.add_client(&client, 9).unwrap());
    let caller = Caller { client: Some("c".into()), ..Caller::new("c", scopes::parse(scope).unwrap()) };
    let now = world.running.app.core.clock.now().as_second() as u64;
    let token = world.running.app.token_key.issue(&caller, now, Duration::from_secs(300)).unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
    let body = plain(&receiver.url(), Some("application/fhir+json")).to_string();
    assert_eq!(world.request("PUT", "/fhir/Subscription/s", &headers, body.as_bytes()).await.status(), 201);
    state(&world, "s", "active").await;
    put(&world, "Observation/o1", &observation("o1", "wanted")).await;
    receiver.wait(1).await;
    assert!(store.drop_client("c").unwrap());
    put(&world, "Observation/o2", &observation("o2", "wanted")).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(receiver.all().len(), 1, "nothing more");
    assert!(store.add_client(&client, 9).unwrap());
    put(&world, "Observation/o3", &observation("o3", "wanted")).await;
    let got = receiver.wait(2).await;
    assert!(got[1].line.ends_with("/Observation/o3"), "and what it missed is not told later: {}", got[1].line);
}

/// Until so many events were found for it, and all have had their turn.
async fn settled(world: &World, id: &str, events: u64) {
    let (store, id) = (&world.running.app.core.store, ResourceId::parse(id).unwrap());
    for _ in 0..1_000 {
        let found = store.subscription(&id).unwrap().is_some_and(|kept| kept.events >= events);
        if found && store.unsent(&id).unwrap().is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("something still waits for {id}");
}

/// A grant that an account gave, as an app's token names it.
fn allowed(world: &World, id: &str, session: Option<Digest>, expires: i64) -> Handle {
    let store = &world.running.app.core.store;
    let grant = Grant {
        id: id.into(),
        client: "c".into(),
        account: store.accounts().unwrap().remove(0).id,
        session,
        scope: "user/Observation.rs user/Subscription.cruds".into(),
        patient: None,
        encounter: None,
        code: None,
        made: 1,
        expires,
    };
    let handle = Handle::new(&bridge::secret::system_random).unwrap();
    store.allow(&grant, &handle, 1).unwrap();
    handle
}

#[tokio::test]
async fn what_an_app_asked_for_falls_silent_when_what_let_it_in_ends_by_itself() {
    let (world, receiver) = (world().await, Receiver::new().await);
    let (store, now) = (&world.running.app.core.store, world.running.app.core.clock.now().as_millisecond());
    let scope = "user/Observation.rs user/Subscription.cruds";
    assert!(store.add_client(&client("c", Keys::None, scope), 9).unwrap());
    put(&world, "Practitioner/dan", r#"{"resourceType":"Practitioner","id":"dan"}"#).await;
    put(&world, "Organization/org", r#"{"resourceType":"Organization","id":"org"}"#).await;
    let mut browser = Browser::new(&world);
    browser.join(&invitation(&world, Role::Clinician, Some("Practitioner/dan"), Some("Organization/org"))).await;
    let session = borne(browser.cookie.iter().map(String::as_str)).unwrap().digest();
    let later = now + 3_600_000;
    let handle = allowed(&world, "timed", None, later);
    allowed(&world, "bound", Some(session), later);
    for id in ["timed", "bound"] {
        let caller = Caller {
            client: Some("c".into()),
            grant: Some(id.into()),
            user: Name::parse("Practitioner/dan"),
            ..Caller::new("c", scopes::parse(scope).unwrap())
        };
        let token = world.running.app.token_key.issue(&caller, now as u64 / 1_000, Duration::from_secs(300)).unwrap();
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/fhir+json")];
        let mut body = plain(&format!("{}/{id}", receiver.url()), Some("application/fhir+json"));
        body["id"] = json!(id);
        let path = format!("/fhir/Subscription/{id}");
        let reply = world.request("PUT", &path, &headers, body.to_string().as_bytes()).await;
        assert_eq!(reply.status(), 201, "{id}: {:?}", reply.body());
        state(&world, id, "active").await;
    }
    let told = async |n: u64, expected: &[&str]| {
        let name = format!("o{n}");
        put(&world, &format!("Observation/{name}"), &observation(&name, "wanted")).await;
        for id in ["timed", "bound"] {
            settled(&world, id, n).await;
        }
        let all = receiver.all();
        let got = |id: &&str| all.iter().any(|got| got.line.ends_with(&format!("/{id}/Observation/{name}")));
        let got: Vec<&str> = ["timed", "bound"].into_iter().filter(|id| got(id)).collect();
        assert_eq!(got, expected, "{name}");
    };
    told(1, &["timed", "bound"]).await;
    store.saw_session(&session, now - SESSION_IDLE.as_millis() as i64).unwrap();
    told(2, &["timed"]).await;
    store.saw_session(&session, now).unwrap();
    assert!(store.advance(&handle, None, now).unwrap());
    told(3, &["bound"]).await;
    store.end_session(&session).unwrap();
    told(4, &[]).await;
}
