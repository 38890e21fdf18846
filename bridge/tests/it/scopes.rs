//! Every interaction against every class of token: what `scopes.json` says that a class sees is what it finds, whichever way it asks,
//! and nothing else.

use super::contract;
use super::subscriptions::{self, Receiver, state, topical};
use super::world::{World, issue};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// What no token for Ada's record may ever be told, in the clear and in base64.
const SECRETS: &[&str] = &["SECRET-BOB", "U0VDUkVULUJPQg"];

fn table() -> Value {
    serde_json::from_str(include_str!("scopes.json")).unwrap()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// A class of token, and what a world knows of it.
struct Class {
    name: String,
    row: Value,
    token: String,
}

impl Class {
    fn of(world: &World, row: &Value) -> Self {
        let patient = row["patient"].as_str().map(|id| format!("Patient/{id}"));
        let scope = row["scope"].as_str().unwrap();
        let token = issue(&world.running, scope, patient.as_deref(), row["user"].as_str());
        Self { name: row["name"].as_str().unwrap().to_owned(), row: row.clone(), token }
    }

    /// Whether it has the scope: `Observation.s`.
    fn may(&self, needed: &str) -> bool {
        let (kind, letter) = needed.split_once('.').unwrap();
        let allows = |kind: &str| self.row["allows"][kind].as_str().is_some_and(|letters| letters.contains(letter));
        allows(kind) || allows("*")
    }

    fn sees(&self, id: &str) -> bool {
        self.row["sees"] == "*" || texts(&self.row["sees"]).iter().any(|seen| seen == id)
    }

    fn is_part(&self) -> bool {
        self.row["part"] == true
    }

    /// Whether it speaks of a person, of whom Consents may speak.
    fn is_named(&self) -> bool {
        !(self.row["user"].is_null() && self.row["patient"].is_null())
    }

    /// The status that a row of operations says it is answered with.
    fn answered(&self, row: &Value) -> u64 {
        let may = texts(&row["needs"]).iter().all(|needed| self.may(needed));
        match row["of"].as_str() {
            _ if !may || (row["whole"] == true && self.is_part()) => 403,
            Some(id) if !self.sees(id) => 404,
            _ => row["named"].as_u64().filter(|_| self.is_named()).or(row["done"].as_u64()).unwrap_or(200),
        }
    }

    fn is_adas(&self) -> bool {
        self.row["patient"] == "ada" || self.row["user"] == "Patient/ada"
    }

    fn seen(&self, ids: &[String]) -> BTreeSet<String> {
        ids.iter().filter(|id| self.sees(id)).cloned().collect()
    }

    async fn ask(&self, world: &World, method: &str, path: &str, body: &str) -> (u16, Value) {
        let bearer = format!("Bearer {}", self.token);
        let media = match method {
            "PATCH" => "application/json-patch+json",
            _ if path.ends_with("_search") => "application/x-www-form-urlencoded",
            _ => "application/fhir+json",
        };
        let headers = [("authorization", bearer.as_str()), ("content-type", media), ("prefer", "respond-async")];
        let reply = world.request(method, path, &headers, body.as_bytes()).await;
        let text = String::from_utf8_lossy(reply.body()).into_owned();
        for secret in SECRETS.iter().filter(|_| self.is_adas() && method == "GET") {
            assert!(!text.contains(secret), "{}: {method} {path} tells {secret}", self.name);
        }
        let place = reply.headers().get("content-location").and_then(|value| value.to_str().ok());
        let place = place.and_then(|place| place.find("/fhir/").map(|at| json!(place[at..])));
        let json = place.unwrap_or_else(|| serde_json::from_slice(reply.body()).unwrap_or(json!(text)));
        (reply.status().as_u16(), json)
    }

    async fn get(&self, world: &World, path: &str) -> (u16, Value) {
        self.ask(world, "GET", path, "").await
    }
}

/// The ids of a Bundle's resources, in one mode or in all; the audit trail grows by being asked, and is left out.
fn ids(bundle: &Value, mode: Option<&str>) -> BTreeSet<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    let wanted = entries.filter(|entry| mode.is_none_or(|mode| entry["search"]["mode"] == mode));
    let others = ["OperationOutcome", "AuditEvent"];
    let resources = wanted.map(|entry| &entry["resource"]);
    let resources = resources.filter(|r| r["resourceType"].as_str().is_none_or(|kind| !others.contains(&kind)));
    resources.filter_map(|resource| resource["id"].as_str().map(str::to_owned)).collect()
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// The resources as they are now: the one that was put right is Ada's.
fn resources() -> Vec<Value> {
    let right = |text: String| serde_json::from_str(&text.replace("bob", "ada").replace("BOB", "ADA")).unwrap();
    list(&table()["resources"]).into_iter().map(|r| if r["id"] == "moved" { right(r.to_string()) } else { r }).collect()
}

async fn put(world: &World, resource: &Value) {
    let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
    let (status, answer) = world.call("PUT", &path, &resource.to_string()).await;
    assert!(status < 300, "{path}: {answer}");
}

async fn filled() -> (World, Vec<Class>) {
    fill(World::new().await).await
}

async fn fill(world: World) -> (World, Vec<Class>) {
    for resource in list(&table()["resources"]) {
        put(&world, &resource).await;
    }
    put(&world, resources().iter().find(|resource| resource["id"] == "moved").unwrap()).await;
    let classes = list(&table()["classes"]).iter().map(|row| Class::of(&world, row)).collect();
    (world, classes)
}

// meets smart 95 136 140 142 144 266 367 368 370
#[tokio::test]
async fn each_resource_is_read_by_who_sees_it() {
    let (world, classes) = filled().await;
    for path in ["Patient/ada", "Observation/moved"] {
        world.anchored_receipt(&format!("/fhir/{path}/$receipt")).await;
    }
    for class in &classes {
        for resource in resources() {
            let (kind, id) = (resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
            let name = format!("{kind}/{id}");
            let shown = |was_seen: bool| match class.may(&format!("{kind}.r")) {
                false => 403,
                true if was_seen => 200,
                true => 404,
            };
            for operation in ["", "/_history", "/$meta", "/$validate", "/$receipt"] {
                let (status, _) = class.get(&world, &format!("/fhir/{name}{operation}")).await;
                assert_eq!(status, shown(class.sees(id)), "{}: {name}{operation}", class.name);
            }
            let first = class.sees(id) && !(id == "moved" && class.is_adas());
            for operation in ["", "/$receipt"] {
                let (status, _) = class.get(&world, &format!("/fhir/{name}/_history/1{operation}")).await;
                assert_eq!(status, shown(first), "{}: {name}/_history/1{operation}", class.name);
            }
        }
        if class.may("Observation.r") && class.sees("moved") {
            let (_, history) = class.get(&world, "/fhir/Observation/moved/_history").await;
            let expected = if class.is_adas() { 1 } else { 2 };
            assert_eq!(history["entry"].as_array().unwrap().len(), expected, "{}: {history}", class.name);
        }
    }
}

// meets smart 139
#[tokio::test]
async fn a_link_between_patients_opens_nothing_as_the_documentation_says() {
    assert!(include_str!("../../../docs/smart.md").contains("`Patient.link` opens nothing"));
    let (world, classes) = filled().await;
    let link = json!([{"other": {"reference": "Patient/bob"}, "type": "seealso"}]);
    put(&world, &json!({"resourceType": "Patient", "id": "ada", "link": link})).await;
    for class in classes.iter().filter(|class| class.is_adas() && class.may("Patient.r")) {
        assert_eq!(class.get(&world, "/fhir/Patient/ada").await.0, 200, "{}", class.name);
        assert_eq!(class.get(&world, "/fhir/Patient/bob").await.0, 404, "{}", class.name);
        assert_eq!(class.get(&world, "/fhir/Observation/lab-bob").await.0, 404, "{}", class.name);
    }
}

#[tokio::test]
async fn a_search_finds_and_counts_what_is_seen() {
    let (world, classes) = filled().await;
    for class in &classes {
        for row in list(&table()["searches"]) {
            let (path, found) = (row[0].as_str().unwrap(), class.seen(&texts(&row[2])));
            let expected = texts(&row[1]).iter().all(|needed| class.may(needed)).then_some(found);
            finds(&world, class, path, expected.as_ref()).await;
            if !path.contains('$') && path.matches('/').count() == 2 {
                let (address, query) = path.split_once('?').unwrap_or((path, ""));
                let (status, bundle) = class.ask(&world, "POST", &format!("{address}/_search"), query).await;
                assert_eq!(status, if expected.is_some() { 200 } else { 403 }, "{}: {path}", class.name);
                assert_eq!(ids(&bundle, Some("match")), expected.clone().unwrap_or_default());
                let mark = if path.contains('?') { '&' } else { '?' };
                let (_, counted) = class.get(&world, &format!("{path}{mark}_summary=count")).await;
                let total = expected.as_ref().map(|found| json!(found.len()));
                assert_eq!(counted.get("total"), total.as_ref(), "{}: {path}", class.name);
            }
        }
        for row in list(&table()["through"]) {
            let found = row[2].as_object().unwrap().iter();
            let seen = |(id, through): (&String, &Value)| {
                (class.sees(id) && texts(through).iter().all(|id| class.sees(id))).then(|| id.clone())
            };
            let found: BTreeSet<String> = found.filter_map(seen).collect();
            let expected = texts(&row[1]).iter().all(|needed| class.may(needed)).then_some(found);
            finds(&world, class, row[0].as_str().unwrap(), expected.as_ref()).await;
        }
    }
}

/// Nothing expected: a 403.
async fn finds(world: &World, class: &Class, path: &str, expected: Option<&BTreeSet<String>>) {
    let (status, bundle) = class.get(world, path).await;
    let Some(expected) = expected else { return assert_eq!(status, 403, "{}: {path}", class.name) };
    assert_eq!(status, 200, "{}: {path}: {bundle}", class.name);
    assert_eq!(&ids(&bundle, Some("match")), expected, "{}: {path}", class.name);
    assert_eq!(bundle["total"], expected.len(), "{}: {path}", class.name);
    // The same page by page.
    let mark = if path.contains('?') { '&' } else { '?' };
    let mut next = (!path.contains('$')).then(|| format!("{path}{mark}_count=1"));
    let mut paged = BTreeSet::new();
    while let Some(path) = &next {
        let (status, page) = class.get(world, path).await;
        assert_eq!(status, 200, "{path}");
        paged.extend(ids(&page, Some("match")));
        next = link(&page);
    }
    assert!(path.contains('$') || &paged == expected, "{}: {path}: {paged:?}", class.name);
}

fn link(page: &Value) -> Option<String> {
    let links = page["link"].as_array().into_iter().flatten();
    let next = links.filter(|link| link["relation"] == "next").find_map(|link| link["url"].as_str());
    next.map(|url| url[url.find("/fhir").unwrap()..].to_owned())
}

#[tokio::test]
async fn an_include_reaches_no_further_than_a_read() {
    let (world, classes) = filled().await;
    for class in &classes {
        for row in list(&table()["includes"]) {
            let path = row[0].as_str().unwrap();
            let (status, bundle) = class.get(&world, path).await;
            if !class.may(row[1].as_str().unwrap()) {
                assert_eq!(status, 403, "{}: {path}", class.name);
                continue;
            }
            let matches = class.seen(&texts(&row[2]));
            assert_eq!(ids(&bundle, Some("match")), matches, "{}: {path}", class.name);
            let seen = |(id, needed): (&String, &Value)| {
                (!matches.is_empty() && class.sees(id) && class.may(needed.as_str().unwrap())).then(|| id.clone())
            };
            let included: BTreeSet<String> = row[3].as_object().unwrap().iter().filter_map(seen).collect();
            // What is reached by way of something that is not seen is not reached.
            let found = ids(&bundle, Some("include"));
            assert!(found.is_subset(&included), "{}: {path}: {found:?}", class.name);
            assert!(class.is_part() || found == included, "{}: {path}: {found:?}", class.name);
        }
    }
}

#[tokio::test]
async fn a_record_as_a_whole_is_what_is_seen_of_it() {
    let (world, classes) = filled().await;
    let own = set(&["ada", "enc-ada", "lab-ada", "vital-ada", "moved", "both", "doc-ada"]);
    for class in &classes {
        for (kind, id) in [("Patient", "ada"), ("Patient", "bob"), ("Encounter", "enc-ada"), ("Encounter", "enc-bob")] {
            let operations: &[&str] =
                if kind == "Patient" { &["$everything", "$summary", "$report"] } else { &["$everything"] };
            for operation in operations {
                let path = format!("/fhir/{kind}/{id}/{operation}");
                let (status, answer) = class.get(&world, &path).await;
                let expected = match (class.may(&format!("{kind}.r")), class.sees(id)) {
                    (false, _) => 403,
                    (true, false) => 404,
                    (true, true) => 200,
                };
                assert_eq!(status, expected, "{}: {path}", class.name);
                if *operation == "$everything" && status == 200 {
                    let found = ids(&answer, None);
                    assert!(found.iter().all(|id| class.sees(id)), "{}: {path}: {found:?}", class.name);
                    let whole = id != "ada" || !class.may("Observation.s") || !class.may("Encounter.s");
                    assert!(whole || own.is_subset(&found), "{}: {path}: {found:?}", class.name);
                }
            }
        }
        let asked = json!({"resourceType": "Parameters", "parameter": [{"name": "resource", "resource":
            {"resourceType": "Patient", "name": [{"family": "Bob"}], "birthDate": "1981-03-01"}}]});
        let (status, matched) = class.ask(&world, "POST", "/fhir/Patient/$match", &asked.to_string()).await;
        assert_eq!(status, if class.may("Patient.s") { 200 } else { 403 }, "{}", class.name);
        let bob = class.may("Patient.s") && class.sees("bob");
        assert_eq!(ids(&matched, Some("match")).contains("bob"), bob, "{}", class.name);
    }
}

#[tokio::test]
async fn histories_and_bundles_tell_what_is_seen() {
    let (world, classes) = filled().await;
    let observations = ["lab-ada", "vital-ada", "lab-bob", "vital-bob", "moved"].map(str::to_owned);
    let all: Vec<String> = resources().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect();
    for class in &classes {
        for (path, needed, ids_of) in
            [("/fhir/Observation/_history", "Observation.s", &observations[..]), ("/fhir/_history", "*.s", &all)]
        {
            let (status, history) = class.get(&world, &format!("{path}?_count=100")).await;
            assert_eq!(status, if class.may(needed) { 200 } else { 403 }, "{}: {path}", class.name);
            if status == 200 {
                assert_eq!(ids(&history, None), class.seen(ids_of), "{}: {path}", class.name);
                let versions = history["entry"].as_array().into_iter().flatten();
                let moved = versions.filter(|entry| entry["resource"]["id"] == "moved").count();
                assert_eq!(moved, if class.is_adas() { 1 } else { 2 }, "{}: {path}", class.name);
            }
        }
        for kind in ["batch", "transaction"] {
            for read in ["Observation/lab-bob", "Observation/lab-bob/_history/1", "Observation/lab-bob/_history"] {
                let entry = json!({"request": {"method": "GET", "url": read}});
                let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": [entry]}).to_string();
                let (status, answer) = class.ask(&world, "POST", "/fhir", &bundle).await;
                let expected = match (class.may("Observation.r"), class.sees("lab-bob")) {
                    (false, _) => 403,
                    (true, false) => 404,
                    (true, true) => 200,
                };
                let told = match kind {
                    "transaction" => status,
                    _ => answer["entry"][0]["response"]["status"].as_str().unwrap()[..3].parse().unwrap(),
                };
                assert_eq!(told, expected, "{}: {kind} {read}", class.name);
            }
            let entry = json!({"request": {"method": "GET", "url": "Observation?category=lab&_include=*"}});
            let bundle = json!({"resourceType": "Bundle", "type": kind, "entry": [entry]}).to_string();
            let (_, answer) = class.ask(&world, "POST", "/fhir", &bundle).await;
            let found = ids(&answer["entry"][0]["resource"], None);
            assert!(found.iter().all(|id| class.sees(id)), "{}: {kind}: {found:?}", class.name);
        }
    }
}

/// The ids in all files of an export, or the status that refused it.
async fn exported(world: &World, class: &Class, path: &str) -> Result<BTreeSet<String>, u16> {
    let (status, place) = class.get(world, path).await;
    if status != 202 {
        return Err(status);
    }
    let place = place.as_str().unwrap().to_owned();
    let manifest = loop {
        let (status, manifest) = class.get(world, &place).await;
        if status == 200 {
            break manifest;
        }
        assert_eq!(status, 202, "{}: {path}: {manifest}", class.name);
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let mut found = BTreeSet::new();
    for file in list(&manifest["output"]) {
        let url = file["url"].as_str().unwrap();
        let (status, lines) = class.get(world, &url[url.find("/fhir").unwrap()..]).await;
        assert_eq!(status, 200);
        let lines = if lines.is_string() { lines.as_str().unwrap().to_owned() } else { lines.to_string() };
        let parsed = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        found.extend(parsed.map(|resource| resource["id"].as_str().unwrap().to_owned()));
    }
    assert_eq!(class.ask(world, "DELETE", &place, "").await.0, 202);
    Ok(found)
}

// meets bulk 9 27 226
#[tokio::test]
async fn an_export_holds_what_is_seen() {
    let (world, classes) = filled().await;
    for class in &classes {
        let observations = ["lab-ada", "vital-ada", "lab-bob", "vital-bob", "moved"].map(str::to_owned);
        let may = class.may("Observation.r") && class.may("Observation.s");
        for level in ["", "/Patient"] {
            let path = format!("/fhir{level}/$export?_type=Observation");
            let expected = if may { Ok(class.seen(&observations)) } else { Err(403) };
            assert_eq!(exported(&world, class, &path).await, expected, "{}: {path}", class.name);
        }
        let group = exported(&world, class, "/fhir/Group/group/$export?_type=Observation").await;
        let expected = match (class.may("Group.r"), class.sees("group"), may) {
            (false, ..) | (true, true, false) => Err(403),
            (true, false, _) => Err(404),
            (true, true, true) => Ok(class.seen(&observations)),
        };
        assert_eq!(group, expected, "{}: group", class.name);
        if may {
            let everything = exported(&world, class, "/fhir/$export").await.unwrap();
            assert!(everything.iter().all(|id| class.sees(id)), "{}: {everything:?}", class.name);
        }
    }
}

// meets smart 130
#[tokio::test]
async fn a_write_outside_is_refused_and_changes_nothing() {
    let (world, classes) = filled().await;
    let mut n = 0;
    for class in &classes {
        for row in list(&table()["writes"]) {
            let [name, method, path] = [0, 1, 2].map(|at| row[at].as_str().unwrap());
            let may = texts(&row[4]).contains(&class.name);
            for way in ["alone", "batch", "transaction"] {
                n += 1;
                let filled =
                    |text: &str| text.replace("{n}", &n.to_string()).replace("{base}", &world.running.app.core.base);
                let (path, body) =
                    (filled(path), if row[3].is_null() { String::new() } else { filled(&row[3].to_string()) });
                let Some(status) = write(&world, class, way, (method, &path, &body)).await else { continue };
                let expected = match (may, texts(&row[4]).is_empty() && class.name == "all") {
                    (true, _) => status < 300,
                    (false, true) => status == 412,
                    // A label begins with a read.
                    (false, false) => status == 403 || (path.contains('$') && status == 404),
                };
                assert!(expected, "{}: {name}, {way}: {status}", class.name);
                if may {
                    restore(&world).await;
                }
            }
        }
    }
    let (_, history) = world.get("/fhir/Observation/vital-bob/_history?_count=1000").await;
    let changes = history["entry"].as_array().unwrap().iter();
    let by_delete = changes.filter(|entry| entry["request"]["method"] == "DELETE").count();
    let may = list(&table()["writes"]).iter().find(|row| row[0] == "delete bob's").map(|row| list(&row[4]).len());
    assert_eq!(by_delete, 3 * may.unwrap(), "only who may has deleted it: three ways");
}

/// The status of a write by itself or in a Bundle; nothing where a Bundle has no such entry.
async fn write(world: &World, class: &Class, way: &str, (method, path, body): (&str, &str, &str)) -> Option<u16> {
    if way == "alone" {
        return Some(class.ask(world, method, path, body).await.0);
    }
    if method == "PATCH" || path.contains('$') || (method == "POST" && path.contains('?')) {
        return None;
    }
    let mut entry = json!({"request": {"method": method, "url": path.trim_start_matches("/fhir/")}});
    if !body.is_empty() {
        entry["resource"] = serde_json::from_str(body).unwrap();
    }
    let bundle = json!({"resourceType": "Bundle", "type": way, "entry": [entry]}).to_string();
    let (status, answer) = class.ask(world, "POST", "/fhir", &bundle).await;
    let of_entry = answer["entry"][0]["response"]["status"].as_str();
    Some(of_entry.map_or(status, |status| status[..3].parse().unwrap()))
}

async fn restore(world: &World) {
    let entry = |resource: &Value| {
        let url = format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        json!({"resource": resource, "request": {"method": "PUT", "url": url}})
    };
    let entries: Vec<Value> = resources().iter().map(entry).collect();
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
    assert_eq!(world.call("POST", "/fhir", &bundle.to_string()).await.0, 200);
}

#[tokio::test]
async fn where_resources_cannot_be_told_apart_a_part_is_refused_by_name() {
    let (world, classes) = filled().await;
    put(&world, &json!({"resourceType": "Patient", "id": "erased"})).await;
    for class in &classes {
        for (method, path, media, body, needed) in [
            ("POST", "/hl7v2", "application/hl7-v2", "MSH|^~\\&|", ["*.c", "*.u"]),
            ("GET", "/hl7v2/messages/x", "", "", ["*.r", "*.r"]),
            ("GET", "/log/records.json", "", "", ["*.r", "*.r"]),
            ("GET", "/fhir/Subscription/$status", "", "", ["Subscription.r", "Subscription.s"]),
        ] {
            let bearer = format!("Bearer {}", class.token);
            let headers = [("authorization", bearer.as_str()), ("content-type", media)];
            let reply = world.request(method, path, &headers, body.as_bytes()).await;
            // It names what all patients have, and no Consent holds back a line, or what is written: it is for tokens that name nobody.
            let named = matches!(path, "/log/records.json" | "/hl7v2") && class.is_named();
            let may = needed.iter().all(|needed| class.may(needed)) && !class.is_part() && !named;
            assert_eq!(reply.status() != 403, may, "{}: {path}: {}", class.name, reply.status());
            if class.is_part() && needed.iter().all(|needed| class.may(needed)) {
                let told = String::from_utf8_lossy(reply.body()).into_owned();
                assert!(told.contains("a token for a part of the resources"), "{told}");
            }
        }
        let deleted = json!({"resourceType": "Patient", "id": "ada", "birthDate": "1980"}).to_string();
        let again = class.ask(&world, "PUT", "/fhir/Patient/erased", &deleted.replace("\"ada\"", "\"erased\"")).await.0;
        assert_eq!(again < 300, class.may("Patient.u") && !class.is_part(), "{}: {again}", class.name);
    }
}

#[tokio::test]
async fn an_operation_asks_for_its_scopes_and_whose_it_is() {
    let (world, classes) = fill(subscriptions::world().await).await;
    let receiver = Receiver::new().await;
    put(&world, &topical(&receiver.url(), "urn:medseal:topic:observation", "id-only")).await;
    state(&world, "t", "active").await;
    world.anchored_receipt("/fhir/Observation/lab-bob/$receipt").await;
    for class in &classes {
        for row in list(&table()["operations"]) {
            let [method, path] = [0, 1].map(|at| row["ask"][at].as_str().unwrap());
            let body = if row["ask"][2].is_null() { String::new() } else { row["ask"][2].to_string() };
            let (status, answer) = class.ask(&world, method, path, &body).await;
            assert_eq!(u64::from(status), class.answered(&row), "{}: {method} {path}: {answer}", class.name);
            if status == 202 {
                assert_eq!(class.ask(&world, "DELETE", answer.as_str().unwrap(), "").await.0, 202);
            }
        }
    }
}

/// A new operation has a row, or its own test, before it is served.
#[test]
fn each_operation_is_asked_by_each_class() {
    let table = table();
    let mut asked: Vec<(String, String)> = Vec::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    asked.extend(list(&table["searches"]).iter().map(|row| ("GET".to_owned(), text(&row[0]))));
    asked.extend(list(&table["writes"]).iter().map(|row| (text(&row[1]), text(&row[2]))));
    asked.extend(list(&table["operations"]).iter().map(|row| (text(&row["ask"][0]), text(&row["ask"][1]))));
    contract::is_held(&table, &asked, |path| path.starts_with("/fhir"));
}

#[tokio::test]
async fn anothers_page_tells_nothing_of_what_he_sees() {
    let (world, classes) = filled().await;
    let (_, page) = world.get("/fhir/Observation?_count=1").await;
    assert_eq!(page["total"], 5);
    let next = link(&page).unwrap();
    for class in classes.iter().filter(|class| class.is_part() && class.may("Observation.s")) {
        let (status, page) = class.get(&world, &next).await;
        assert_eq!((status, page.get("total")), (200, None), "{}", class.name);
        assert!(ids(&page, None).iter().all(|id| class.sees(id)), "{}: {page}", class.name);
    }
}

#[tokio::test]
async fn what_was_filed_under_a_wrong_patient_or_deleted_is_not_seen_by_him_any_more() {
    let (world, classes) = filled().await;
    let ada = classes.iter().find(|class| class.name == "ada").unwrap();
    let wrong = |whose: &str| {
        json!({"resourceType": "Observation", "id": "wrong", "status": "final", "code": {"text": "x"},
            "subject": {"reference": format!("Patient/{whose}")}})
    };
    let path = "/fhir/Observation/wrong";
    put(&world, &wrong("ada")).await;
    assert_eq!(ada.get(&world, path).await.0, 200);
    let (_, page) = ada.get(&world, "/fhir/Observation?subject=Patient/ada&_count=1").await;
    let (_, place) = ada.get(&world, "/fhir/$export?_type=Observation").await;
    put(&world, &wrong("bob")).await;
    let mut next = link(&page);
    while let Some(path) = next {
        let (_, page) = ada.get(&world, &path).await;
        assert!(!ids(&page, None).contains("wrong"), "a page of a search that began before");
        next = link(&page);
    }
    let file = format!("{}/0", place.as_str().unwrap());
    while ada.get(&world, place.as_str().unwrap()).await.0 == 202 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (status, lines) = ada.get(&world, &file).await;
    assert!(status == 200 && !lines.to_string().contains("wrong") && lines.to_string().contains("lab-ada"), "{lines}");
    for way in ["", "/_history/1", "/_history/2", "/_history", "/_history/1/$receipt", "/$meta"] {
        assert_eq!(ada.get(&world, &format!("{path}{way}")).await.0, 404, "{way}");
    }
    assert_eq!(world.call("DELETE", "/fhir/Observation/vital-ada", "").await.0, 204);
    for way in ["", "/_history/1", "/_history/2", "/_history"] {
        let path = format!("/fhir/Observation/vital-ada{way}");
        assert_eq!(ada.get(&world, &path).await.0, 404, "{way}");
    }
    for path in ["/fhir/Observation/_history", "/fhir/_history"] {
        let (_, history) = ada.get(&world, &format!("{path}?_count=100")).await;
        let told = ids(&history, None);
        assert!(!told.contains("wrong") && !told.contains("vital-ada"), "{path}: {told:?}");
    }
    let (status, _) = ada
        .ask(&world, "PUT", "/fhir/Observation/vital-ada", &wrong("ada").to_string().replace("wrong", "vital-ada"))
        .await;
    assert_eq!(status, 403, "whose a deleted one was nobody can tell");
    assert_eq!(world.get("/fhir/Observation/vital-ada").await.0, 410, "who sees everything is told");
}
