//! What mapping one message takes of memory at most. Shared by the bench `memory` and the test of the same name.

use jiff::tz::TimeZone;
use mappings::bundle::transaction;
use mappings::charset::Charset;
use mappings::engine::{Context, Mapped, map};
use mappings::maps::MapSet;
use mappings::parse::Message;

/// The most bytes that were allocated at one time while a message was parsed, mapped and written, divided by its size.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Each resource is written when the one before is gone, as the bridge takes them.
    pub one_by_one: f64,
    /// The whole Bundle is held as text.
    pub bundle: f64,
}

/// Nothing if the message is refused.
pub fn times(set: &MapSet, text: &str) -> Option<Times> {
    let of = |write| Some(bytes(set, text, write)? as f64 / text.len() as f64);
    // What is made once for the process, such as the tables of zones, is not the message's.
    of(one_by_one)?;
    Some(Times { one_by_one: of(one_by_one)?, bundle: of(whole)? })
}

fn one_by_one(mapped: &Mapped<'_>) {
    let mut out = Vec::new();
    for draft in &mapped.drafts {
        out.clear();
        mapped.write_json(draft, &mut out);
    }
}

fn whole(mapped: &Mapped<'_>) {
    std::hint::black_box(transaction(mapped));
}

fn bytes(set: &MapSet, text: &str, write: fn(&Mapped<'_>)) -> Option<u64> {
    let context = Context { charset: Charset::Utf8, zone: Some(&TimeZone::UTC), now: "2026-03-01T12:00:00.000Z" };
    let mut is_mapped = false;
    let measured = allocation_counter::measure(|| {
        let message = Message::parse(text);
        let mapped = message.as_ref().ok().and_then(|message| map(set, message, &context).ok());
        is_mapped = mapped.map(|mapped| write(&mapped)).is_some();
    });
    is_mapped.then_some(measured.bytes_max)
}
