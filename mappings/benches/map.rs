//! Parses, maps and writes HL7 v2 messages, on one core: own cases, and a mix of 100 ADT and 100 ORU from the corpora where
//! those are present (with a mean of about 2.9 kB).
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod mix;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use jiff::tz::TimeZone;
use mappings::bundle::write_transaction;
use mappings::charset::Charset;
use mappings::engine::{Context, map};
use mappings::maps::MapSet;
use mappings::parse::Message;
use std::sync::LazyLock;

static SET: LazyLock<MapSet> = LazyLock::new(|| MapSet::embedded().unwrap());
static MIX: LazyLock<Vec<String>> = LazyLock::new(|| mix::messages(&SET));
static UTC: TimeZone = TimeZone::UTC;
static CONTEXT: Context<'_> = Context { charset: Charset::Utf8, zone: Some(&UTC), now: "2026-03-01T12:00:00.000Z" };

fn main() {
    let bytes: usize = MIX.iter().map(String::len).sum();
    let (count, size) = (MIX.len(), written().len());
    println!("the mix: {count} messages of {} bytes, Bundles of {} bytes (means)", bytes / count, size / count);
    divan::main();
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
