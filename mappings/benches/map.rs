//! Maps one admission and one laboratory result, on one core.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use jiff::tz::TimeZone;
use mappings::charset::Charset;
use mappings::engine::{Context, map};
use mappings::maps::MapSet;
use mappings::parse::Message;

const ADT: &str = include_str!("../cases/ADT_A01/admit.hl7");
const ORU: &str = include_str!("../cases/ORU_R01/lab.hl7");

fn main() {
    divan::main();
}

fn sample(name: &str) -> &'static str {
    if name == "ADT_A01" { ADT } else { ORU }
}

#[divan::bench(args = ["ADT_A01", "ORU_R01"])]
fn parse(bencher: Bencher<'_, '_>, name: &str) {
    let text = sample(name);
    bencher
        .counter(ItemsCount::new(1usize))
        .counter(BytesCount::of_str(text))
        .bench(|| Message::parse(text).unwrap().len());
}

#[divan::bench(args = ["ADT_A01", "ORU_R01"])]
fn parse_and_map(bencher: Bencher<'_, '_>, name: &str) {
    let text = sample(name);
    let set = MapSet::embedded().unwrap();
    let context = Context { charset: Charset::Utf8, zone: Some(&TimeZone::UTC), now: "2026-03-01T12:00:00.000Z" };
    bencher.counter(ItemsCount::new(1usize)).counter(BytesCount::of_str(text)).bench(|| {
        let message = Message::parse(text).unwrap();
        map(&set, &message, &context).unwrap().drafts.len()
    });
}
