//! Every route that shows something of a patient, held against a Consent that denies one clinician: `withheld.json` says how each is asked,
//! and what another clinician is told there. All people are invented.

use super::consents::{DOCTOR, OTHER, consent, put, to};
use super::contract;
use super::door::{Browser, invitation};
use super::subscriptions::{self, Receiver, state, topical};
use super::world::{World, issue};
use bridge::people::Role;
use bytes::Bytes;
use serde_json::{Value, json};
use std::time::Duration;
use warp::http::Response;

/// What tells of Ada: her name, in base64 too; what refers to her; the ids of hers that no resource of others names.
const MARKS: &[&str] = &["SECRET-ADA", "U0VDUkVULUFEQQ", "Patient/ada", "hidden-ada"];

fn table() -> Value {
    serde_json::from_str(include_str!("withheld.json")).unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

/// How a route is asked.
struct Ask {
    method: String,
    path: String,
    body: String,
}

impl Ask {
    fn of(row: &Value) -> Self {
        let [method, path] = [0, 1].map(|at| row["ask"][at].as_str().unwrap().to_owned());
        let body = match &row["ask"][2] {
            Value::Null => String::new(),
            Value::String(form) => form.clone(),
            resource => resource.to_string(),
        };
        Self { method, path, body }
    }

    /// The marks that an answer has from nowhere but the record.
    fn marks(&self) -> impl Iterator<Item = &'static str> {
        MARKS.iter().copied().filter(|mark| !self.path.contains(mark) && !self.body.contains(mark))
    }
}

fn resource(id: &str) -> Value {
    list(&table()["resources"]).into_iter().find(|resource| resource["id"] == id).unwrap()
}

/// Ada, who denies the doctor everything, and Bea.
async fn ward(world: &World) {
    for resource in list(&table()["resources"]) {
        put(world, resource).await;
    }
    let mut again = resource("o-ada");
    again["valueString"] = "put right".into();
    put(world, again).await;
    assert_eq!(world.call("DELETE", "/fhir/Observation/hidden-ada-deleted", "").await.0, 204);
    put(world, consent("active", json!({"type": "deny", "actor": to(DOCTOR)}))).await;
}

async fn sent(world: &World, user: &str, method: &str, path: &str, body: &str) -> Response<Bytes> {
    let token = format!("Bearer {}", issue(&world.running, "user/*.cruds", None, Some(user)));
    let form = path.ends_with("_search");
    let media = if form { "application/x-www-form-urlencoded" } else { "application/fhir+json" };
    let headers = [("authorization", token.as_str()), ("content-type", media), ("prefer", "respond-async")];
    world.request(method, path, &headers, body.as_bytes()).await
}

fn text(reply: &Response<Bytes>) -> String {
    String::from_utf8_lossy(reply.body()).into_owned()
}

/// The status, and all that is told: of an export its manifest and each of its files.
async fn asked(world: &World, user: &str, ask: &Ask) -> (u16, String) {
    let reply = sent(world, user, &ask.method, &ask.path, &ask.body).await;
    let place = reply.headers().get("content-location").and_then(|place| place.to_str().ok());
    let told = match place.and_then(|place| place.find("/fhir/$export/").map(|at| &place[at..])) {
        Some(place) => exported(world, user, place).await,
        None => text(&reply),
    };
    (reply.status().as_u16(), told)
}

async fn exported(world: &World, user: &str, place: &str) -> String {
    let mut told = loop {
        let reply = sent(world, user, "GET", place, "").await;
        if reply.status() == 200 {
            break text(&reply);
        }
        assert_eq!(reply.status(), 202, "{place}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let manifest: Value = serde_json::from_str(&told).unwrap();
    for file in list(&manifest["output"]).into_iter().chain(list(&manifest["deleted"])) {
        let url = file["url"].as_str().unwrap();
        let reply = sent(world, user, "GET", &url[url.find("/fhir/").unwrap()..], "").await;
        assert_eq!(reply.status(), 200, "{url}");
        told.push_str(&text(&reply));
    }
    assert_eq!(sent(world, user, "DELETE", place, "").await.status(), 202, "{place}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn no_route_tells_anything_to_who_is_denied_and_each_tells_another() {
    let world = World::new().await;
    ward(&world).await;
    for path in ["/fhir/Observation/o-ada/_history/1/$receipt", "/fhir/Observation/o-ada/$receipt"] {
        world.anchored_receipt(path).await;
    }
    for row in list(&table()["rows"]) {
        let ask = Ask::of(&row);
        let differs = |name: &str| row[name][0] != row[name][1];
        assert!(differs("status") || differs("total") || row["told"].is_string(), "it cannot fail: {row}");
        for (at, user) in [DOCTOR, OTHER].into_iter().enumerate() {
            let (status, told) = asked(&world, user, &ask).await;
            let what = format!("{user}: {} {}{}: {told}", ask.method, ask.path, ask.body);
            assert_eq!(row["status"][at], status, "{what}");
            if row["total"].is_array() {
                let bundle: Value = serde_json::from_str(&told).unwrap();
                assert_eq!(row["total"][at], bundle["total"], "{what}");
            }
            match row["told"].as_str().filter(|_| user == OTHER) {
                Some(told_of) => assert!(told.contains(told_of), "{what}"),
                None => assert!(user == OTHER || ask.marks().all(|mark| !told.contains(mark)), "{what}"),
            }
        }
    }
}

/// Who adds a route says in a row who is told what there, or names the test that does.
#[test]
fn each_route_of_records_is_in_the_table() {
    let table = table();
    let of = |row: &Value| {
        let ask = Ask::of(row);
        (ask.method, ask.path)
    };
    let asked: Vec<(String, String)> = list(&table["rows"]).iter().map(of).collect();
    let of_records =
        |path: &str| path.starts_with("/fhir") || path.starts_with("/hl7v2") || path == "/log/records.json";
    contract::is_held(&table, &asked, of_records);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_referred_to_is_not_there_for_who_is_denied() {
    let world = World::new().await;
    ward(&world).await;
    let of = |patient: &str| {
        let subject = json!({"reference": format!("Patient/{patient}")});
        let resource =
            json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "subject": subject});
        Ask { method: "POST".into(), path: "/fhir/Observation/$validate".into(), body: resource.to_string() }
    };
    for (user, patient, missing) in
        [(DOCTOR, "ada", true), (DOCTOR, "nobody", true), (DOCTOR, "bea", false), (OTHER, "ada", false)]
    {
        let (status, told) = asked(&world, user, &of(patient)).await;
        assert_eq!(status, 200, "{told}");
        assert_eq!(told.contains("refers to what is not stored here"), missing, "{user}: {patient}: {told}");
    }
}

/// A clinician's portal.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_a_clinician_who_is_denied_show_nothing_and_anothers_do() {
    let world = World::new().await;
    ward(&world).await;
    world.anchored_receipt("/fhir/Observation/o-ada/$receipt").await;
    for user in [DOCTOR, OTHER] {
        let mut browser = Browser::new(&world);
        browser.join(&invitation(&world, Role::Clinician, Some(user), Some("Organization/clinic"))).await;
        for row in list(&table()["pages"]) {
            let path = row[0].as_str().unwrap();
            let reply = browser.get(path).await;
            let expected = if user == DOCTOR { row[1].clone() } else { json!(200) };
            assert_eq!(expected, reply.status().as_u16(), "{user}: {path}");
            assert!(user == OTHER || !text(&reply).contains("SECRET-ADA"), "{user}: {path}");
        }
        let token = browser.token().await;
        let found = browser.form("/me/patients", &format!("token={token}&identifier=4711")).await;
        for page in [text(&found), browser.page("/me/patients").await] {
            assert_eq!(page.contains("SECRET-ADA"), user == OTHER, "{user}: {page}");
        }
    }
}

/// A Subscription to Observations, by its own maker, whose receiver is called.
async fn subscribed(world: &World, user: &str, id: &str) -> Receiver {
    let receiver = Receiver::new().await;
    let mut resource = topical(&receiver.url(), "urn:medseal:topic:observation", "full-resource");
    resource["id"] = id.into();
    let reply = sent(world, user, "PUT", &format!("/fhir/Subscription/{id}"), &resource.to_string()).await;
    assert_eq!(reply.status(), 201, "{}", text(&reply));
    state(world, id, "active").await;
    receiver
}

/// Status and text of an operation on Subscriptions, the same by GET and by POST.
async fn of_subscription(world: &World, user: &str, path: &str) -> (u16, String) {
    let path = format!("/fhir/Subscription/{path}");
    let mut told = Vec::new();
    for method in ["GET", "POST"] {
        let reply = sent(world, user, method, &path, "").await;
        told.push((reply.status().as_u16(), text(&reply)));
    }
    assert_eq!(told[0].0, told[1].0, "{path}");
    let both: Vec<String> = told.iter().map(|(_, text)| text.clone()).collect();
    (told[0].0, both.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_patient_withholds_is_no_event_for_who_is_denied() {
    let world = subscriptions::world().await;
    ward(&world).await;
    let (his, hers) = (subscribed(&world, DOCTOR, "his").await, subscribed(&world, OTHER, "hers").await);
    for id in ["o-ada", "o-bea"] {
        let mut changed = resource(id);
        changed["valueString"] = "changed".into();
        put(&world, changed).await;
    }
    // A handshake, and then what there was: Bea's alone, or first Ada's. Events are found in the order of the writes.
    let (his, hers) = (his.wait(2).await, hers.wait(3).await);
    let tells = |text: &str| MARKS.iter().any(|mark| text.contains(mark));
    for (all, last, told) in [(&his, "1", false), (&hers, "2", true)] {
        assert_eq!(all.last().unwrap().status("events-since-subscription-start"), last);
        let bodies: Vec<String> = all.iter().map(|got| String::from_utf8_lossy(&got.body).into_owned()).collect();
        assert!(bodies.iter().any(|body| body.contains("Observation/o-bea")), "{bodies:?}");
        assert_eq!(bodies.iter().any(|body| tells(body)), told, "{bodies:?}");
    }
    for (user, id, events, told) in [(DOCTOR, "his", "1", false), (OTHER, "hers", "2", true)] {
        let (status, text) = of_subscription(&world, user, &format!("{id}/$events?content=full-resource")).await;
        assert_eq!((status, tells(&text)), (200, told), "{user}: {text}");
        for path in [format!("{id}/$status"), "$status".to_owned()] {
            let (status, text) = of_subscription(&world, user, &path).await;
            let count = format!("\"events-since-subscription-start\",\"valueString\":\"{events}\"");
            assert_eq!((status, text.matches(&count).count()), (200, 2), "{user}: {path}: {text}");
        }
    }
    // What another one's counts would tell is not told: neither of one nor among all.
    for path in ["hers/$status", "hers/$events"] {
        assert_eq!(of_subscription(&world, DOCTOR, path).await.0, 404, "{path}");
    }
    for path in ["$status", "$status?id=his,hers"] {
        let (_, text) = of_subscription(&world, DOCTOR, path).await;
        assert!(text.contains("Subscription/his") && !text.contains("Subscription/hers"), "{path}: {text}");
    }
    assert!(of_subscription(&world, "Practitioner/new", "$status").await.1.contains("\"total\":0"));
    // What was an event is told no more by one who has been denied since.
    put(&world, consent("active", json!({"type": "deny"}))).await;
    let (status, text) = of_subscription(&world, OTHER, "hers/$events?content=full-resource").await;
    assert!(status == 200 && !tells(&text) && text.contains("Observation/o-bea"), "{text}");
}
