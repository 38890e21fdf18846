//! Search as a client sees it: what is found, in which order, on which page, with what beside it; and what the database
//! shows to who steals it.

use super::world::{World, dumped, on_postgres};
use serde_json::{Value, json};

/// Two patients, a practitioner, and what was measured of them.
const PEOPLE: &str = include_str!("people.json");

async fn people() -> World {
    people_in(World::new().await).await
}

/// The same in another world.
pub async fn people_in(world: World) -> World {
    let (status, answer) = world.call("POST", "/fhir", PEOPLE).await;
    assert_eq!(status, 200, "{answer}");
    world
}

async fn search(world: &World, query: &str) -> Value {
    let (status, bundle) = world.get(&format!("/fhir/{query}")).await;
    assert_eq!(status, 200, "{query}: {bundle}");
    bundle
}

/// The ids of the matches in order, with a `+` before what was included.
fn ids(bundle: &Value) -> Vec<String> {
    let one = |entry: &Value| {
        let mark = if entry["search"]["mode"] == "include" { "+" } else { "" };
        format!("{mark}{}", entry["resource"]["id"].as_str().unwrap())
    };
    bundle["entry"].as_array().into_iter().flatten().map(one).collect()
}

#[tokio::test]
async fn every_kind_of_question_finds_what_it_should() {
    let world = people().await;
    let cases: Value = serde_json::from_str(include_str!("searches.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let query = case["query"].as_str().unwrap();
        let mut found = ids(&search(&world, query).await);
        if case["sorted"] != true {
            found.sort();
        }
        assert_eq!(json!(found), case["found"], "{query}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_parameter_and_never_the_value() {
    let world = people().await;
    for (query, status, name) in [
        ("Patient?favourite=Svoboda", 400, "favourite"),
        ("Patient?name:sounds-like=Svoboda", 400, "name:sounds-like"),
        ("Patient?identifier:text=Svoboda", 400, "identifier:text"),
        ("Patient?birthdate=Svoboda", 400, "birthdate"),
        ("Patient?_sort=Svoboda", 400, "_sort"),
        ("Patient?_cursor=Svoboda", 400, "_cursor"),
        ("Patient?general-practitioner.birthdate=Svoboda", 400, "general-practitioner"),
        ("Observation?focus.name=Svoboda", 400, "focus"),
    ] {
        let (found, outcome) = world.get(&format!("/fhir/{query}")).await;
        let text = outcome["issue"][0]["details"]["text"].as_str().unwrap().to_owned();
        assert_eq!(found, status, "{query}: {text}");
        let quotes_sort = name == "_sort";
        assert!(text.contains(name) && (quotes_sort || !text.contains("Svoboda")), "{query}: {text}");
    }
}

#[tokio::test]
async fn pages_show_one_moment_whatever_changes_between_them() {
    let world = people().await;
    for sort in ["", "&_sort=-date"] {
        let first = search(&world, &format!("Observation?_count=2{sort}")).await;
        let total = first["total"].as_u64().unwrap() as usize;
        // Between the pages one is changed, one is deleted, one is added.
        let all = ids(&search(&world, "Observation?_count=100").await);
        let changed =
            json!({"resourceType": "Observation", "id": all[2], "status": "amended", "code": {"text": "changed"}});
        assert_eq!(world.call("PUT", &format!("/fhir/Observation/{}", all[2]), &changed.to_string()).await.0, 200);
        assert!(world.call("DELETE", &format!("/fhir/Observation/{}", all[3]), "").await.0 < 300);
        let added = json!({"resourceType": "Observation", "status": "final", "code": {"text": "new"}});
        assert_eq!(world.call("POST", "/fhir/Observation", &added.to_string()).await.0, 201);
        let (mut seen, mut page) = (ids(&first), first);
        while let Some(next) = link(&page, "next") {
            assert!(next.contains("_cursor=") && !next.contains("_sort"), "{next}");
            page = world.get(&next).await.1;
            assert_eq!(page["total"].as_u64(), Some(total as u64), "{page}");
            seen.extend(ids(&page));
        }
        let mut expected = all;
        expected.sort();
        seen.sort();
        assert_eq!(seen, expected, "each once, none lost, none new ({sort})");
    }
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let link = bundle["link"].as_array().unwrap().iter().find(|l| l["relation"] == relation)?;
    Some(format!("/fhir/{}", link["url"].as_str().unwrap().split("/fhir/").nth(1).unwrap()))
}

#[tokio::test]
async fn what_was_posted_stands_in_no_link() {
    let world = people().await;
    let token = format!("Bearer {}", world.token);
    let headers = [("authorization", token.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let reply = world.request("POST", "/fhir/Observation/_search", &headers, b"patient.name=Svoboda&_count=1").await;
    let page: Value = serde_json::from_slice(reply.body()).unwrap();
    assert!(!page["link"].to_string().contains("Svoboda"), "{}", page["link"]);
    let next = world.get(&link(&page, "next").unwrap()).await.1;
    assert_eq!(ids(&next).len(), 1);
    assert_ne!(ids(&page), ids(&next));
}

#[tokio::test]
async fn a_chain_needs_the_scopes_of_every_type_on_its_way() {
    let mut world = people().await;
    world.token = super::world::mint(&world.running, "system/Observation.rs");
    assert_eq!(world.get("/fhir/Observation?subject:Patient.name=Svoboda").await.0, 403);
    assert_eq!(world.get("/fhir/Observation?status=final").await.0, 200);
    // What may not be read is not included either.
    let bundle = search(&world, "Observation?status=final&_include=Observation:subject").await;
    assert!(ids(&bundle).iter().all(|id| !id.starts_with('+')));
    assert_eq!(world.get("/fhir/Observation?_has:Provenance:target:agent=x").await.0, 403);
}

/// What PEOPLE says of them: names, numbers, dates, codes, texts.
pub const TELLING: &[&str] = &[
    "Svoboda",
    "svoboda",
    "Dvořák",
    "Amalia",
    "amalia",
    "19870412",
    "1987-04-12",
    "urn:oid:1.2.3.4.5",
    "8480-6",
    "loinc.org",
    "Hypertonie",
    "+420 777",
    "Na Příkopě",
    "2026-02-03",
    "mmHg",
];

#[tokio::test]
async fn a_stolen_database_shows_no_name_no_number_no_date() {
    let world = people().await;
    let data = world.directory.path().join("data");
    world.running.stop().await;
    let mut seen = 0;
    let files = ["index.sqlite", "index.sqlite-wal", "ledger.journal"];
    let files = files.iter().filter_map(|name| Some((*name, std::fs::read(data.join(name)).ok()?)));
    let stolen = if on_postgres() { vec![("the dump", dumped(&data))] } else { files.collect() };
    for (name, bytes) in stolen {
        seen += bytes.len();
        for word in TELLING {
            let found = bytes.windows(word.len()).any(|w| w == word.as_bytes());
            assert!(!found, "{name} shows {word}");
        }
    }
    assert!(seen > 10_000, "{seen}");
    // The words are the right ones.
    assert!(TELLING.iter().filter(|word| PEOPLE.contains(**word)).count() >= 10);
}
