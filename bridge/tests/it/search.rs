//! Search as a client sees it: what is found, in which order, on which page, with what beside it; and what the database
//! shows to who steals it.

use super::stores::{dumped, on_postgres};
use super::world::World;
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
        ("Patient?family=", 400, "family"),
        ("Patient?phonetic=Svoboda", 400, "phonetic"),
        ("Patient?_offset=20", 400, "_offset"),
        ("Patient?_fields=id", 400, "_fields"),
        ("Organization?_compartment=Patient/ama", 400, "_compartment"),
        ("Patient/ama/Organization", 404, "belong to patients"),
        ("Patient/ama/*", 404, "$everything"),
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
async fn a_search_over_all_types_is_refused_in_words() {
    let world = World::new().await;
    for (method, path, expected) in
        [("GET", "/fhir?_type=Patient,Observation&_id=x", 405), ("POST", "/fhir/_search", 404)]
    {
        let (status, outcome) = world.call(method, path, "").await;
        let text = outcome["issue"][0]["details"]["text"].as_str().unwrap();
        assert!(status == expected && text.contains("all types"), "{path}: {status} {text}");
    }
    assert_eq!(world.get("/fhir/Patient/_search?name=x").await.0, 405, "R4 has it by POST alone");
}

#[tokio::test]
async fn who_is_lenient_hears_what_was_ignored() {
    let world = people().await;
    let token = format!("Bearer {}", world.token);
    let headers = [("authorization", token.as_str()), ("prefer", "handling=lenient")];
    let query = "/fhir/Patient?family=&gender=female&_sort=shoe-size&_include=Patient:name&favourite=blue";
    let reply = world.request("GET", query, &headers, b"").await;
    let bundle: Value = serde_json::from_slice(reply.body()).unwrap();
    let (remark, matches) = bundle["entry"].as_array().unwrap().split_last().unwrap();
    assert_eq!((reply.status().as_u16(), matches.len(), &matches[0]["resource"]["id"]), (200, 1, &json!("ama")));
    let told = remark["resource"]["issue"].to_string();
    for name in ["family", "_sort", "_include", "favourite"] {
        assert!(told.contains(name), "{name}: {told}");
    }
    assert_eq!(link(&bundle, "self").unwrap(), "/fhir/Patient?gender=female");
    let bad = world.request("GET", "/fhir/Patient?birthdate=tomorrow", &headers, b"").await;
    assert_eq!(bad.status(), 400, "what cannot be read is refused still");
}

#[tokio::test]
async fn a_patients_compartment_is_searched_by_address_by_form_and_in_a_batch() {
    let world = people().await;
    let token = format!("Bearer {}", world.token);
    let headers = [("authorization", token.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let posted = world.request("POST", "/fhir/Patient/ama/Observation/_search", &headers, b"_count=1").await;
    let page: Value = serde_json::from_slice(posted.body()).unwrap();
    assert_eq!((ids(&page).len(), &page["total"]), (1, &json!(2)));
    let next = world.get(&link(&page, "next").unwrap()).await.1;
    assert_eq!((ids(&next).len(), next["total"].as_u64()), (1, Some(2)), "its pages stay in the compartment");
    let batch = json!({"resourceType": "Bundle", "type": "batch", "entry": [{"request": {"method": "GET", "url": "Patient/ama/Observation?_summary=count"}}]});
    let (_, answer) = world.call("POST", "/fhir", &batch.to_string()).await;
    assert_eq!(answer["entry"][0]["resource"]["total"], 2, "{answer}");
    let many: Vec<String> = (0..400).map(|n| format!("nobody{n}")).collect();
    assert_eq!(ids(&search(&world, &format!("Patient?_id={},ama", many.join(","))).await), ["ama"]);
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

#[tokio::test]
async fn a_page_that_leaves_out_what_it_was_to_include_says_so() {
    let world = World::new().await;
    assert_eq!(world.call("PUT", "/fhir/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.0, 201);
    for part in 0..2 {
        let entry = |n: usize| {
            json!({"resource": {"resourceType": "Basic", "id": format!("b{part}-{n}"), "code": {"text": "x"},
                "subject": {"reference": "Patient/p"}}, "request": {"method": "PUT", "url": format!("Basic/b{part}-{n}")}})
        };
        let entries: Vec<Value> = (0..600).map(entry).collect();
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries});
        assert_eq!(world.call("POST", "/fhir", &bundle.to_string()).await.0, 200);
        let (_, page) = world.get("/fhir/Patient?_id=p&_revinclude=Basic:patient").await;
        let modes: Vec<&str> =
            page["entry"].as_array().unwrap().iter().map(|e| e["search"]["mode"].as_str().unwrap()).collect();
        let included = modes.iter().filter(|mode| **mode == "include").count();
        let told = modes.iter().filter(|mode| **mode == "outcome").count();
        assert_eq!((included, told), if part == 0 { (600, 0) } else { (1_000, 1) });
    }
}

/// Who follows a canonical URL would have to know where in the world it leads.
#[tokio::test]
async fn canonicals_are_found_and_not_followed() {
    let world = World::new().await;
    let form = json!({"resourceType": "Questionnaire", "id": "q", "url": "http://a.example/q", "version": "2", "status": "active"});
    let answers = json!({"resourceType": "QuestionnaireResponse", "id": "r", "questionnaire": "http://a.example/q|2", "status": "completed"});
    for resource in [form, answers] {
        let path = format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
        assert_eq!(world.call("PUT", &path, &resource.to_string()).await.0, 201);
    }
    assert_eq!(ids(&search(&world, "QuestionnaireResponse?questionnaire=http://a.example/q").await), ["r"]);
    for query in [
        "QuestionnaireResponse?_include=QuestionnaireResponse:questionnaire",
        "QuestionnaireResponse?questionnaire.version=2",
        "Questionnaire?_revinclude=QuestionnaireResponse:questionnaire",
        "Questionnaire?_has:QuestionnaireResponse:questionnaire:status=completed",
    ] {
        assert_eq!(world.get(&format!("/fhir/{query}")).await.0, 400, "{query}");
    }
    let statement = world.get("/fhir/metadata").await.1;
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let told = |kind: &str, what: &str| resources.iter().find(|r| r["type"] == kind).unwrap()[what].clone();
    let has = |list: Value, one: &str| list.as_array().is_some_and(|list| list.iter().any(|told| told == one));
    assert!(!has(told("QuestionnaireResponse", "searchInclude"), "QuestionnaireResponse:questionnaire"));
    assert!(!has(told("Questionnaire", "searchRevInclude"), "QuestionnaireResponse:questionnaire"));
    assert!(has(told("QuestionnaireResponse", "searchInclude"), "QuestionnaireResponse:subject"));
    assert!(
        has(told("CareTeam", "searchRevInclude"), "Provenance:target"),
        "what may refer to anything refers to it, too"
    );
}

#[tokio::test]
async fn of_a_timing_the_outer_limits_matter() {
    let world = World::new().await;
    let observation = json!({"resourceType": "Observation", "id": "t", "status": "final", "code": {"text": "x"},
        "effectiveTiming": {"event": ["2013-03-24", "2013-01-31"]}});
    assert_eq!(world.call("PUT", "/fhir/Observation/t", &observation.to_string()).await.0, 201);
    for (date, is_found) in [
        ("2013", true),
        ("2013-01-31", false),
        ("2013-03", false),
        ("ge2013-01-31", true),
        ("sa2013-01-30", true),
        ("sa2013-02-01", false),
        ("eb2013-03-01", false),
        ("eb2013-03-25", true),
        ("lt2013-02-01", true),
    ] {
        let found = ids(&search(&world, &format!("Observation?date={date}")).await);
        assert_eq!(!found.is_empty(), is_found, "{date}");
    }
}

#[tokio::test]
async fn a_narrative_alone_comes_without_what_others_would_include() {
    let world = people().await;
    assert_eq!(world.get("/fhir/Observation?_summary=text&_include=Observation:subject").await.0, 400);
    assert_eq!(world.get("/fhir/Observation?_summary=text").await.0, 200);
}
