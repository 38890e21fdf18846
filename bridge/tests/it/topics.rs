//! What a notification of the R5 backport holds, and what its maker may bound.

use super::subscriptions::{BACKPORT, Got, Receiver, observation, put, state, topical, world};
use super::world::World;
use bridge::fhir::validate::validate;
use notary::canonical::Json;
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

const TOPIC: &str = "urn:medseal:topic:observation";

/// The parts of the events that a notification tells of.
fn events(got: &Got) -> Vec<Value> {
    let bundle = got.json();
    let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    parameters.iter().filter(|p| p["name"] == "notification-event").map(|p| p["part"].clone()).collect()
}

fn part(event: &Value, name: &str) -> Value {
    event.as_array().unwrap().iter().find(|part| part["name"] == name).cloned().unwrap_or(Value::Null)
}

/// Subscribes with an extension of the channel.
async fn bounded(world: &World, receiver: &Receiver, name: &str, value: Value) {
    let mut resource = topical(&receiver.url(), TOPIC, "id-only");
    let mut extension = value;
    extension["url"] = json!(format!("{BACKPORT}{name}"));
    resource["channel"]["extension"] = json!([extension]);
    put(world, "Subscription/t", &resource.to_string()).await;
    state(world, "t", "active").await;
}

/// So many observations in one transaction.
async fn observe(world: &World, count: usize) {
    let one = |n: usize| {
        let resource: Value = serde_json::from_str(&observation(&format!("o{n}"), "wanted")).unwrap();
        json!({"resource": resource, "request": {"method": "PUT", "url": format!("Observation/o{n}")}})
    };
    let entries: Vec<Value> = (0..count).map(one).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    assert_eq!(world.call("POST", "/fhir", &bundle.to_string()).await.0, 200);
}

// meets subscriptions 14 15 20 25 26 27 28 29 30 38 39 40 42 43 44 45 49 51 53 65 67 69 70 72 73
// meets subscriptions 74 124 129 133 134 137 138 139
#[tokio::test]
async fn a_notification_tells_what_its_subscription_asks_for_and_no_more() {
    let world = world().await;
    for (content, payload) in [
        ("empty", "application/fhir+json"),
        ("id-only", "application/json"),
        ("full-resource", "application/fhir+json; fhirVersion=4.0"),
    ] {
        let receiver = Receiver::new().await;
        let mut resource = topical(&receiver.url(), TOPIC, content);
        resource["id"] = json!(content);
        resource["channel"]["payload"] = json!(payload);
        resource["channel"]["header"] = json!(["X-Secret: s3cret"]);
        let path = format!("Subscription/{content}");
        assert_eq!(put(&world, &path, &resource.to_string()).await["status"], "requested");
        state(&world, content, "active").await;
        put(&world, &format!("Observation/{content}"), &observation(content, "wanted")).await;
        for got in receiver.wait(2).await {
            assert_eq!((got.line.as_str(), got.headers["content-type"].to_str().unwrap()), ("POST /hook", payload));
            assert_eq!(got.headers["x-secret"], "s3cret");
            let bundle = got.json();
            assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("history")));
            assert_eq!(validate(Json::parse(bundle.to_string().as_bytes()).unwrap()).err(), None, "{bundle}");
            assert_eq!(bundle["meta"]["profile"], json!([format!("{BACKPORT}backport-subscription-notification-r4")]));
            let first = &bundle["entry"][0];
            assert_eq!(first["resource"]["resourceType"], "Parameters");
            assert_eq!(
                first["resource"]["meta"]["profile"],
                json!([format!("{BACKPORT}backport-subscription-status-r4")])
            );
            let address = format!("{}/{path}", world.running.app.core.base);
            assert_eq!(first["request"], json!({"method": "GET", "url": format!("{address}/$status")}));
            assert_eq!(
                (got.status("subscription"), got.status("topic")),
                (json!({"reference": address}), json!(TOPIC))
            );
            for name in ["status", "type", "events-since-subscription-start"] {
                assert!(got.status(name).is_string(), "{name}");
            }
        }
        let told = &receiver.all()[1];
        let (bundle, event) = (told.json(), events(told).remove(0));
        assert_eq!(part(&event, "event-number")["valueString"], "1");
        let url = format!("{}/Observation/{content}", world.running.app.core.base);
        let entries = bundle["entry"].as_array().unwrap();
        if content == "empty" {
            assert_eq!((entries.len(), part(&event, "focus")), (1, Value::Null));
            assert!(!bundle.to_string().contains("Observation"), "nothing of what it is about: {bundle}");
            continue;
        }
        assert_eq!((entries.len(), &part(&event, "focus")["valueReference"]["reference"]), (2, &json!(url)));
        assert_eq!(
            (&entries[1]["fullUrl"], &entries[1]["request"]),
            (&json!(url), &json!({"method": "POST", "url": "Observation"}))
        );
        assert_eq!(entries[1].get("resource").is_some(), content == "full-resource");
    }
    let (code, found) = world.get("/fhir/Subscription?url=http://nowhere.example").await;
    assert_eq!((code, &found["total"]), (200, &json!(0)));
    let (_, one) = world.get("/fhir/Subscription/empty").await;
    let endpoint = one["channel"]["endpoint"].as_str().unwrap();
    let (_, found) = world.get(&format!("/fhir/Subscription?url={endpoint}")).await;
    assert_eq!((&found["total"], &found["entry"][0]["resource"]["id"]), (&json!(1), &json!("empty")));
    assert_eq!(
        (&one["criteria"], &one["reason"], &one["channel"]["type"]),
        (&json!(TOPIC), &json!("x"), &json!("rest-hook"))
    );
}

// meets subscriptions 21 31 77 78 79
#[tokio::test]
async fn a_handshake_that_fails_is_told_at_once_and_events_count_on() {
    let (world, receiver) = (world().await, Receiver::new().await);
    receiver.answer.store(500, Ordering::SeqCst);
    put(&world, "Subscription/t", &topical(&receiver.url(), TOPIC, "id-only").to_string()).await;
    state(&world, "t", "error").await;
    assert!(receiver.all().len() < 5, "it is not waited for");
    put(&world, "Observation/o", &observation("o", "wanted")).await;
    let status = async |name: &str| {
        let (code, bundle) = world.get("/fhir/Subscription/t/$status").await;
        assert_eq!(code, 200);
        let parameters = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap().clone();
        let found = parameters.into_iter().find(|p| p["name"] == name).unwrap();
        found.as_object().unwrap().values().nth(1).unwrap().as_str().unwrap().to_owned()
    };
    for _ in 0..3_000 {
        if status("events-since-subscription-start").await == "1" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!((status("events-since-subscription-start").await, status("status").await), ("1".into(), "error".into()));
    receiver.answer.store(200, Ordering::SeqCst);
    state(&world, "t", "active").await;
}

// meets subscriptions 98 103
#[tokio::test]
async fn no_more_events_come_at_once_than_were_asked_for() {
    let (world, receiver) = (world().await, Receiver::new().await);
    bounded(&world, &receiver, "backport-max-count", json!({"valuePositiveInt": 2})).await;
    observe(&world, 5).await;
    let mut numbers: Vec<String> = Vec::new();
    for wanted in 2.. {
        let got = receiver.wait(wanted).await[wanted - 1].clone();
        let events = events(&got);
        assert!((1..=2).contains(&events.len()), "{events:?}");
        numbers.extend(events.iter().map(|e| part(e, "event-number")["valueString"].as_str().unwrap().to_owned()));
        assert_eq!(got.status("events-since-subscription-start"), json!(numbers.last().unwrap()));
        if numbers.len() == 5 {
            break;
        }
    }
    assert_eq!(numbers, ["1", "2", "3", "4", "5"]);
}

// meets subscriptions 94 97
#[tokio::test]
async fn a_receiver_has_as_long_as_its_subscription_says() {
    let (world, receiver) = (world().await, Receiver::new().await);
    bounded(&world, &receiver, "backport-timeout", json!({"valueUnsignedInt": 1})).await;
    receiver.slow.store(5_000, Ordering::SeqCst);
    observe(&world, 1).await;
    let got = receiver.wait(3).await;
    assert!(
        got[1..].iter().all(|got| got.status("events-since-subscription-start") == "1"),
        "given up, and sent again"
    );
    receiver.slow.store(0, Ordering::SeqCst);
    receiver.wait(got.len() + 1).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert!(receiver.all().iter().all(|got| got.status("type") != "heartbeat"), "nobody asked for one");
}
