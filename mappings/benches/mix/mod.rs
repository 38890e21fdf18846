//! The messages that the benches measure: 100 ADT and 100 ORU from the corpora, or own cases where those are not present.

use mappings::charset::Charset;
use mappings::engine::{Context, map};
use mappings::maps::MapSet;
use mappings::parse::Message;
use std::path::Path;

/// The messages of both types that are nearest to a length, from every second one on.
pub fn messages(set: &MapSet) -> Vec<String> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/hl7v2");
    let Ok(index) = std::fs::read_to_string(corpora.join("index.jsonl")) else {
        println!("skipped the corpora: not at {}", corpora.display());
        let own = [include_str!("../../cases/ADT_A01/admit.hl7"), include_str!("../../cases/ORU_R01/lab.hl7")];
        return own.iter().map(|text| (*text).to_owned()).collect();
    };
    let rows: Vec<serde_json::Value> = index.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    ["ADT", "ORU"].iter().flat_map(|kind| sample(set, &corpora, &rows, kind)).collect()
}

fn sample(set: &MapSet, corpora: &Path, rows: &[serde_json::Value], kind: &str) -> Vec<String> {
    let of_kind = rows.iter().filter(|row| row["type"] == kind && row["repo"] != "google__simhospital");
    let context = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };
    let texts = of_kind.filter_map(|row| {
        let path = corpora.join(row["repo"].as_str()?).join(row["file"].as_str()?);
        let bytes = std::fs::read(path).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let message = (*mappings::batch::messages(&text).get(row["idx"].as_u64()? as usize)?).to_owned();
        map(set, &Message::parse(&message).ok()?, &context).is_ok().then_some(message)
    });
    let texts: Vec<String> = texts.collect();
    let step = (texts.len() / 100).max(1);
    texts.into_iter().step_by(step).take(100).collect()
}
