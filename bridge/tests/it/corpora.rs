//! Every message and resource of the corpora, where they are present.

use super::world::{World, corpora, msa};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files that the corpora's index names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let index = std::fs::read_to_string(folder.join("index.jsonl")).unwrap();
    let path = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        folder.join(row["repo"].as_str().unwrap()).join(row["file"].as_str().unwrap())
    };
    let mut paths: Vec<_> = index.lines().map(path).filter(|p| p.is_file()).collect();
    paths.sort();
    paths.dedup();
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_is_answered_well_formed() {
    let Some(corpora) = corpora() else { return };
    let world = World::new().await;
    let paths = files(&corpora.join("hl7v2"));
    let mut connection = world.mllp().await;
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    let mut sent = 0;
    for path in &paths {
        let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        for message in bridge::commands::send::split(&text) {
            let ack =
                connection.exchange(message.as_bytes()).await.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let (code, id) = msa(&ack);
            sent += 1;
            if let Ok(parsed) = mappings::parse::Message::parse(&message) {
                assert_eq!(id, parsed.header(10), "{}", path.display());
                let expected = parsed.header(16).trim() == "AL" && !matches!(parsed.header(15).trim(), "" | "NE");
                if expected {
                    // Enhanced mode asked for both acknowledgements: take the second one off the wire.
                    connection = world.mllp().await;
                }
            }
            *codes.entry(code).or_default() += 1;
        }
    }
    println!("{sent} messages of {} files: {codes:?}", paths.len());
    assert!(sent > 800, "{sent}");
    assert!(codes.keys().all(|c| ["AA", "AE", "AR", "CA", "CE", "CR"].contains(&c.as_str())), "{codes:?}");
    assert!(codes["AA"] > 300, "{codes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn synthea_bundles_load_and_read_back_digit_for_digit() {
    let Some(corpora) = corpora() else { return };
    let world = World::new().await;
    let folder = corpora.join("fhir/synthea-r4");
    let mut paths: Vec<_> = walk(&folder).into_iter().filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    paths.sort_by_key(|p| std::fs::metadata(p).map_or(0, |m| m.len()));
    let mut loaded = 0;
    for path in paths.iter().take(12) {
        let text = std::fs::read_to_string(path).unwrap();
        let Ok(sent) = notary::canonical::Json::parse(text.as_bytes()) else { continue };
        if sent.text("type") != Some("transaction") {
            continue;
        }
        let (status, answer) = world.call("POST", "/fhir", &text).await;
        assert_eq!(status, 200, "{}: {answer}", path.display());
        for (entry, answer) in sent.get("entry").unwrap().items().iter().zip(answer["entry"].as_array().unwrap()) {
            let location = answer["response"]["location"].as_str().unwrap();
            let path = format!("/fhir/{}", location.split("/fhir/").nth(1).unwrap());
            let read = notary::canonical::Json::parse(&world.bytes(&path).await).unwrap();
            let content = |json: &notary::canonical::Json| {
                let mut json = json.clone();
                ["id", "meta"].iter().for_each(|n| _ = json.remove(n));
                // References are resolved: everything else is as it was sent.
                let erase = &mut |_: &str| Ok::<_, ()>(Some(String::new()));
                bridge::fhir::references::rewrite(&mut json, erase).unwrap();
                json.canonical()
            };
            assert_eq!(content(&read), content(entry.get("resource").unwrap()), "{path}");
            loaded += 1;
        }
    }
    println!("{loaded} resources read back");
    assert!(loaded > 100, "{loaded}");
}

pub fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<_> =
        std::fs::read_dir(folder).map(|e| e.flatten().map(|e| e.path()).collect()).unwrap_or_default();
    entries.into_iter().flat_map(|p| if p.is_dir() { walk(&p) } else { vec![p] }).collect()
}

/// Every resource of the FHIR corpora that this server would take.
fn resources(folder: &Path) -> Vec<(PathBuf, notary::canonical::Json)> {
    let mut found = Vec::new();
    let mut keep = |path: &Path, json: notary::canonical::Json| {
        let entries = json.get("entry").map_or(&[][..], notary::canonical::Json::items);
        found.extend(entries.iter().filter_map(|e| e.get("resource")).map(|r| (path.to_owned(), r.clone())));
        found.push((path.to_owned(), json));
    };
    for path in walk(folder) {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        match path.extension().and_then(|e| e.to_str()) {
            Some("json") => _ = notary::canonical::Json::parse(&bytes).map(|json| keep(&path, json)),
            Some("ndjson") => {
                let lines = bytes.split(|b| *b == b'\n').filter_map(|l| notary::canonical::Json::parse(l).ok());
                lines.for_each(|json| keep(&path, json));
            }
            _ => {}
        }
    }
    found
}

/// A query that asks for a value as a client would write it.
fn query_for(value: &bridge::fhir::search::value::Value<'_>) -> Option<String> {
    use bridge::fhir::search::text::escape;
    use bridge::fhir::search::value::Value;
    let time = |micros: i64| jiff::Timestamp::from_microsecond(micros).ok().map(|t| t.to_string());
    let number = |n: &bridge::fhir::search::number::Interval| n.low.filter(|low| n.high == Some(*low));
    match value {
        Value::Token { system: Some(system), code: Some(code) } => Some(format!("{}|{}", escape(system), escape(code))),
        Value::Token { code: Some(code), .. } => Some(escape(code)),
        Value::Token { system: Some(system), .. } => Some(format!("{}|", escape(system))),
        Value::Text(text) => {
            let words: Vec<&str> = text.split_whitespace().take(3).collect();
            (!words.is_empty()).then(|| escape(&words.join(" ")))
        }
        Value::Span(span) if span.from != i64::MIN => time(span.from).map(|t| format!("ge{t}")),
        Value::Span(span) => time(span.to - 1).map(|t| format!("le{t}")),
        Value::Number(n) => number(n).map(|n| n.to_string()),
        Value::Quantity { number: n, code: Some(code), system: Some(system), .. } => {
            number(n).map(|n| format!("{n}|{}|{}", escape(system), escape(code)))
        }
        Value::Quantity { number: n, .. } => number(n).map(|n| n.to_string()),
        Value::Uri(uri) => Some(escape(uri)),
        Value::Reference { literal: Some(literal), .. } => {
            // A fragment or a Bundle's own name leads to nothing that could be asked for from outside.
            (!literal.starts_with('#') && !literal.is_empty()).then(|| escape(literal))
        }
        Value::Entry { kind, id } => Some(format!("{kind}/{id}")),
        _ => None,
    }
}

#[test]
fn every_resource_is_found_by_its_own_values() {
    use bridge::fhir::search::{check, criterion::Surroundings, query, table};
    use bridge::fhir::validate::validate;
    use bridge::index::tokens::Tokenizer;
    let Some(corpora) = corpora() else { return };
    let tokens = Tokenizer::new(&bridge::secret::Key::new([3; 32]));
    let around = Surroundings { base: "http://here/fhir", now: 1_767_225_600_000_000, labels: None };
    let (mut asked, mut parameters, mut types) = (0, std::collections::BTreeSet::new(), BTreeMap::new());
    for (path, json) in resources(&corpora.join("fhir")) {
        let Ok(resource) = validate(json) else { continue };
        let (kind, json) = (resource.kind(), resource.json());
        *types.entry(kind.as_str()).or_insert(0) += 1;
        // The same forms over and over: some of each type tell as much as all.
        if types[kind.as_str()] > 60 {
            continue;
        }
        let blinded = tokens.blind(kind, json, around.base);
        for parameter in table::parameters(kind).filter(|p| p.composite.is_none() && p.name != "_id") {
            for value in check::found(parameter, json).iter().take(20) {
                let Some(text) = query_for(value) else { continue };
                let place = || format!("{}: {kind}?{}", path.display(), parameter.name);
                let filter = query::filter(kind, parameter.name, &text, &around, 0);
                let filter = filter.unwrap_or_else(|e| panic!("{}: {e}", place())).unwrap();
                assert!(check::holds(&filter, json, &around), "{} does not fit", place());
                let clauses = tokens.clauses(kind, &filter, around.now).clauses;
                assert!(clauses.iter().all(|c| c.holds(&blinded.marks)), "{} is lost by the index", place());
                asked += 1;
                parameters.insert((kind, parameter.name));
            }
        }
    }
    println!("{asked} questions, {} parameters, {} types", parameters.len(), types.len());
    assert!(asked > 10_000 && parameters.len() > 500, "{asked} questions, {} parameters", parameters.len());
}
