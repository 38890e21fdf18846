//! Every resource that the maps make is parsed with fhir-sdk's model of R4B: of our own cases, and of the corpora's messages
//! where those are present. What it refuses wrongly stands in [`REFUSED`].
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use jiff::tz::TimeZone;
use mappings::bundle::transaction;
use mappings::charset::{Charset, decode};
use mappings::engine::{Context, map};
use mappings::maps::MapSet;
use mappings::parse::Message;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Required elements that may lack a value where an extension says why (`_endpoint`, R4 2.6.2): fhir-sdk knows no such thing.
/// The type, the element, and a value with which it takes the resource.
const REFUSED: &[(&str, &str, &str)] = &[
    ("ChargeItemDefinition", "url", "urn:x"),
    ("MessageHeader", "endpoint", "urn:x"),
    ("Provenance", "recorded", "2026-03-01T12:00:00Z"),
];

/// The resource with a value beside each extension that stands alone for an element of [`REFUSED`].
fn filled(resource: &Value) -> Value {
    let mut filled = resource.clone();
    let kind = resource["resourceType"].as_str().unwrap();
    REFUSED.iter().filter(|(of, ..)| *of == kind).for_each(|(_, name, value)| fill(&mut filled, name, value));
    filled
}

fn fill(at: &mut Value, name: &str, value: &str) {
    match at {
        Value::Array(items) => items.iter_mut().for_each(|item| fill(item, name, value)),
        Value::Object(members) => {
            members.values_mut().for_each(|member| fill(member, name, value));
            if members.contains_key(&format!("_{name}")) {
                members.entry(name).or_insert_with(|| value.into());
            }
        }
        _ => {}
    }
}

/// How often fhir-sdk refused, by type and error, and where first.
#[derive(Default)]
struct Tally {
    messages: usize,
    resources: usize,
    excused: usize,
    refused: BTreeMap<String, (usize, String)>,
}

impl Tally {
    fn add(&mut self, bundle: &Value, file: &Path) {
        self.messages += 1;
        for entry in bundle["entry"].as_array().unwrap() {
            self.resources += 1;
            let resource = &entry["resource"];
            let Some(error) = second_opinion::refusal(resource) else { continue };
            let kind = resource["resourceType"].as_str().unwrap();
            if second_opinion::refusal(&filled(resource)).is_none() {
                self.excused += 1;
                continue;
            }
            self.refused.entry(format!("{kind}: {error}")).or_insert_with(|| (0, file.display().to_string())).0 += 1;
        }
    }

    fn print(&self, what: &str) {
        println!(
            "{what}: {} messages, {} resources, {} refused for an extension that stands alone",
            self.messages, self.resources, self.excused
        );
        self.refused.iter().for_each(|(error, (count, file))| println!("  {count:>5} {error}, first in {file}"));
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    found.retain(|path| path.extension().is_some_and(|e| e == "hl7" || e == "txt" || e == "HL7"));
    found.sort();
    found
}

fn tally(folder: &Path) -> Tally {
    let set = MapSet::embedded().unwrap();
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let mut tally = Tally::default();
    for path in files(folder) {
        let bytes = std::fs::read(&path).unwrap();
        let Ok(decoded) = decode(&bytes, Charset::Utf8) else { continue };
        let context = Context { charset: decoded.charset, zone: Some(&zone), now: "2026-03-01T12:00:00.000Z" };
        for text in mappings::batch::messages(&decoded.text) {
            let Ok(message) = Message::parse(text) else { continue };
            let Ok(mapped) = map(&set, &message, &context) else { continue };
            tally.add(&serde_json::from_str(&transaction(&mapped)).unwrap(), &path);
        }
    }
    tally
}

#[test]
fn fhir_sdk_takes_what_our_own_cases_give() {
    let tally = tally(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../mappings/cases"));
    tally.print("own cases");
    assert!(tally.messages >= 150, "{}", tally.messages);
    assert!(tally.refused.is_empty(), "fhir-sdk refuses resources: see above");
}

#[test]
fn fhir_sdk_takes_what_the_corpora_give() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/hl7v2");
    if !corpora.is_dir() {
        println!("skipped: the corpora are not here ({})", corpora.display());
        return;
    }
    let tally = tally(&corpora);
    tally.print("corpora");
    assert!(tally.messages > 300, "{}", tally.messages);
    assert!(tally.refused.is_empty(), "fhir-sdk refuses resources: see above");
}
