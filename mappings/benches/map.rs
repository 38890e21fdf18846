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
use std::hint::black_box;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static SET: LazyLock<MapSet> = LazyLock::new(|| MapSet::embedded().unwrap());
static MIX: LazyLock<Vec<String>> = LazyLock::new(|| mix::messages(&SET));
static UTC: TimeZone = TimeZone::UTC;
static CONTEXT: Context<'_> = Context { charset: Charset::Utf8, zone: Some(&UTC), now: "2026-03-01T12:00:00.000Z" };

fn main() {
    let bytes: usize = MIX.iter().map(String::len).sum();
    let (count, size) = (MIX.len(), MIX.iter().map(|text| written(text).len()).sum::<usize>());
    println!("the mix: {count} messages of {} bytes, Bundles of {} bytes (means)", bytes / count, size / count);
    compare();
    divan::main();
}

/// The whole way against its floor, in turn, so that what else the machine does meets both: of each the fastest round.
fn compare() {
    const ROUNDS: usize = 20;
    let values = values();
    let (mut whole, mut floor) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        whole = whole.min(time(write_all));
        floor = floor.min(time(|| parse_all() + serialise_all(&values)));
    }
    let [micros, floor_micros] = [whole, floor].map(|taken| taken.as_secs_f64() * 1e6 / MIX.len() as f64);
    println!(
        "parse, map and write: {micros:.0} µs a message, {:.0} a second; only parse, and only serialise the same: {floor_micros:.0} µs; \
         ratio {:.2}",
        1e6 / micros,
        micros / floor_micros
    );
}

fn time(work: impl FnOnce() -> usize) -> Duration {
    let begun = Instant::now();
    black_box(work());
    begun.elapsed()
}

fn written(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 8);
    write_transaction(&map(&SET, &Message::parse(text).unwrap(), &CONTEXT).unwrap(), &mut out);
    out
}

/// The Bundles as ready values.
fn values() -> Vec<serde_json::Value> {
    MIX.iter().map(|text| serde_json::from_slice(&written(text)).unwrap()).collect()
}

fn parse_all() -> usize {
    MIX.iter().map(|text| Message::parse(text).unwrap().len()).sum()
}

fn serialise_all(values: &[serde_json::Value]) -> usize {
    values.iter().map(|value| serde_json::to_vec(value).unwrap().len()).sum()
}

fn map_all() -> usize {
    MIX.iter().map(|text| map(&SET, &Message::parse(text).unwrap(), &CONTEXT).unwrap().drafts.len()).sum()
}

fn write_all() -> usize {
    MIX.iter().map(|text| written(text).len()).sum()
}

fn bytes() -> BytesCount {
    BytesCount::new(MIX.iter().map(String::len).sum::<usize>())
}

#[divan::bench]
fn parse(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(MIX.len())).counter(bytes()).bench(parse_all);
}

/// What the same Bundles cost as ready values.
#[divan::bench]
fn serialise(bencher: Bencher<'_, '_>) {
    let values = values();
    bencher.counter(ItemsCount::new(MIX.len())).counter(bytes()).bench(|| serialise_all(&values));
}

#[divan::bench]
fn parse_and_map(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(MIX.len())).counter(bytes()).bench(map_all);
}

#[divan::bench]
fn parse_map_and_write(bencher: Bencher<'_, '_>) {
    bencher.counter(ItemsCount::new(MIX.len())).counter(bytes()).bench(write_all);
}
