//! Parses, maps and writes HL7 v2 messages, on one core: own cases, and a mix of 100 ADT and 100 ORU from the corpora where
//! those are present (with a mean of about 2.9 kB).
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use jiff::tz::TimeZone;
use mappings::bundle::write_transaction;
use mappings::charset::Charset;
use mappings::engine::{Context, map};
use mappings::maps::MapSet;
use mappings::parse::Message;
use std::path::Path;
use std::sync::LazyLock;

static SET: LazyLock<MapSet> = LazyLock::new(|| MapSet::embedded().unwrap());
static MIX: LazyLock<Vec<String>> = LazyLock::new(mix);
static UTC: TimeZone = TimeZone::UTC;
static CONTEXT: Context<'_> = Context { charset: Charset::Utf8, zone: Some(&UTC), now: "2026-03-01T12:00:00.000Z" };

fn main() {
    let bytes: usize = MIX.iter().map(String::len).sum();
    let (count, size) = (MIX.len(), written().len());
    println!("the mix: {count} messages of {} bytes, Bundles of {} bytes (means)", bytes / count, size / count);
    divan::main();
}

/// The messages of both types that are nearest to a length, from every second one on.
fn mix() -> Vec<String> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/hl7v2");
    let Ok(index) = std::fs::read_to_string(corpora.join("index.jsonl")) else {
        println!("skipped the corpora: not at {}", corpora.display());
        let own = [include_str!("../cases/ADT_A01/admit.hl7"), include_str!("../cases/ORU_R01/lab.hl7")];
        return own.iter().map(|text| (*text).to_owned()).collect();
    };
    let rows: Vec<serde_json::Value> = index.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    ["ADT", "ORU"].iter().flat_map(|kind| sample(&corpora, &rows, kind)).collect()
}

fn sample(corpora: &Path, rows: &[serde_json::Value], kind: &str) -> Vec<String> {
    let of_kind = rows.iter().filter(|row| row["type"] == kind && row["repo"] != "google__simhospital");
    let texts = of_kind.filter_map(|row| {
        let path = corpora.join(row["repo"].as_str()?).join(row["file"].as_str()?);
        let bytes = std::fs::read(path).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let message = (*mappings::batch::messages(&text).get(row["idx"].as_u64()? as usize)?).to_owned();
        map(&SET, &Message::parse(&message).ok()?, &CONTEXT).is_ok().then_some(message)
    });
    let texts: Vec<String> = texts.collect();
    let step = (texts.len() / 100).max(1);
    texts.into_iter().step_by(step).take(100).collect()
}

fn written() -> Vec<u8> {
    let mut out = Vec::new();
    for text in MIX.iter() {
        let message = Message::parse(text).unwrap();
        write_transaction(&map(&SET, &message, &CONTEXT).unwrap(), &mut out);
    }
    out
}

fn bytes() -> BytesCount {
    BytesCount::new(MIX.iter().map(String::len).sum::<usize>())
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    let bencher = bencher.counter(ItemsCount::new(MIX.len())).counter(bytes());
    bencher.bench(|| MIX.iter().map(|text| Message::parse(text).unwrap().len()).sum::<usize>());
}

/// What the same Bundles cost as ready values: the floor that mapping is measured against.
#[divan::bench]
fn serialise(bencher: Bencher<'_, '_>) {
    let values: Vec<serde_json::Value> = MIX
        .iter()
        .map(|text| {
            let mut out = Vec::new();
            write_transaction(&map(&SET, &Message::parse(text).unwrap(), &CONTEXT).unwrap(), &mut out);
            serde_json::from_slice(&out).unwrap()
        })
        .collect();
    let bencher = bencher.counter(ItemsCount::new(MIX.len())).counter(bytes());
    bencher.bench(|| values.iter().map(|value| serde_json::to_vec(value).unwrap().len()).sum::<usize>());
}

#[divan::bench]
fn parse_and_map(bencher: Bencher<'_, '_>) {
    let bencher = bencher.counter(ItemsCount::new(MIX.len())).counter(bytes());
    bencher.bench(|| {
        let of = |text: &String| map(&SET, &Message::parse(text).unwrap(), &CONTEXT).unwrap().drafts.len();
        MIX.iter().map(of).sum::<usize>()
    });
}

#[divan::bench]
fn parse_map_and_write(bencher: Bencher<'_, '_>) {
    let bencher = bencher.counter(ItemsCount::new(MIX.len())).counter(bytes());
    bencher.bench(|| {
        let of = |text: &String| {
            let mut out = Vec::with_capacity(text.len() * 8);
            write_transaction(&map(&SET, &Message::parse(text).unwrap(), &CONTEXT).unwrap(), &mut out);
            out.len()
        };
        MIX.iter().map(of).sum::<usize>()
    });
}
