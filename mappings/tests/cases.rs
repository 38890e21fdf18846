//! One test a pair: each `cases/*/*.hl7` must give exactly its `.fhir.json`. `UPDATE_CASES=1` writes them anew, to be read before
//! they are committed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use jiff::tz::TimeZone;
use mappings::bundle::transaction;
use mappings::charset::{Charset, decode};
use mappings::engine::{Context, map};
use mappings::maps::MapSet;
use mappings::parse::Message;
use std::path::{Path, PathBuf};

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The Bundle, and a line for each finding of the report.
fn mapped(set: &MapSet, text: &str) -> (String, String) {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let context = Context { charset: Charset::Utf8, zone: Some(&zone), now: "2026-03-01T12:00:00.000Z" };
    let message = Message::parse(text).unwrap();
    let mapped = map(set, &message, &context).unwrap();
    let bundle: serde_json::Value = serde_json::from_str(&transaction(&mapped)).unwrap();
    let lines = mapped.report.lines(usize::MAX);
    let report = lines.into_iter().map(|line| format!("{}: {}\n", line.path, line.finding)).collect();
    (serde_json::to_string_pretty(&bundle).unwrap() + "\n", report)
}

#[test]
fn every_case_gives_its_bundle_and_its_report() {
    let set = MapSet::embedded().unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let cases = files(&folder, "hl7");
    assert!(cases.len() >= 8, "{}", cases.len());
    for case in cases {
        let (bundle, report) = mapped(&set, &std::fs::read_to_string(&case).unwrap());
        for (got, extension) in [(bundle, "fhir.json"), (report, "report.txt")] {
            let expected = case.with_extension(extension);
            if std::env::var_os("UPDATE_CASES").is_some() {
                std::fs::write(&expected, &got).unwrap();
            }
            let want = std::fs::read_to_string(&expected).unwrap_or_default();
            assert!(got == want, "{} differs: see UPDATE_CASES in CONTRIBUTING.md", expected.display());
        }
    }
}

#[test]
fn references_resolve_inside_each_bundle() {
    let set = MapSet::embedded().unwrap();
    for case in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"), "hl7") {
        let (json, _) = mapped(&set, &std::fs::read_to_string(&case).unwrap());
        let bundle: serde_json::Value = serde_json::from_str(&json).unwrap();
        let urls: Vec<&str> =
            bundle["entry"].as_array().unwrap().iter().map(|e| e["fullUrl"].as_str().unwrap()).collect();
        for reference in json.lines().filter_map(|l| l.trim().strip_prefix("\"reference\": \"")) {
            let reference = reference.trim_end_matches([',', '"']);
            assert!(urls.contains(&reference), "{}: {reference}", case.display());
        }
    }
}

/// hl7-parser reads well-formed messages as we do. Elsewhere it is no oracle: see `docs/adr`.
#[test]
fn hl7_parser_agrees_on_well_formed_messages() {
    let mut compared = 0;
    for case in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"), "hl7") {
        let text = std::fs::read_to_string(&case).unwrap().trim_end().replace("\r\n", "\r").replace('\n', "\r");
        let ours = Message::parse(&text).unwrap();
        let theirs = hl7_parser::Message::parse(&text).unwrap();
        let names: Vec<&str> = theirs.segments().map(|s| s.name).collect();
        assert_eq!(ours.segments().map(|s| s.name()).collect::<Vec<_>>(), names, "{}", case.display());
        for (segment, other) in ours.segments().zip(theirs.segments()) {
            for number in 1..=segment.len() {
                let value = other.field(number).map_or("", |f| f.raw_value());
                assert_eq!(segment.field(number), value, "{} {}-{number}", case.display(), segment.name());
                compared += 1;
            }
        }
    }
    assert!(compared > 500, "{compared}");
}

#[test]
fn every_corpus_message_maps_or_is_refused_and_none_panics() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/hl7v2");
    if !corpora.is_dir() {
        println!("skipped: the corpora are not here ({})", corpora.display());
        return;
    }
    let set = MapSet::embedded().unwrap();
    let context = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };
    let (mut mapped, mut refused) = (0, 0);
    for path in ["hl7", "txt"].iter().flat_map(|e| files(&corpora, e)) {
        let bytes = std::fs::read(path).unwrap();
        let Ok(decoded) = decode(&bytes, Charset::Utf8) else { continue };
        for text in mappings::batch::messages(&decoded.text) {
            let message = Message::parse(text);
            match message.is_ok_and(|m| map(&set, &m, &context).is_ok()) {
                true => mapped += 1,
                false => refused += 1,
            }
        }
    }
    println!("{mapped} mapped, {refused} refused");
    assert!(mapped > 300, "{mapped}");
}
