//! One message to FHIR and back: both texts, and where its segments stand.

use jiff::tz::TimeZone;
use mappings::bundle::transaction;
use mappings::charset::Charset;
use mappings::engine::{Context, map};
use mappings::escape;
use mappings::maps::MapSet;
use mappings::parse::{Message, Segment, part, split};
use mappings::path::Place;
use mappings::time;
use mappings::to_v2::{self, Envelope, Party, Set};
use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::LazyLock;

/// The time of a message that does not tell it.
const NOW: &str = "2026-03-01T12:00:00.000Z";

/// A message, what its mapping told of it, and what came back.
pub struct Trip {
    pub source: String,
    /// The places that the forward report lists, as it writes them.
    pub listed: HashSet<String>,
    /// The rules that made something, and of which place.
    pub origins: HashSet<(String, Place)>,
    pub back: String,
}

/// The last two parts of a path.
pub fn short(path: &Path) -> String {
    let parts: Vec<_> = path.components().rev().take(2).map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// The zone of times that were sent without one, both ways.
pub static ZONE: LazyLock<TimeZone> = LazyLock::new(|| TimeZone::get("Europe/Berlin").unwrap());

/// Nothing where there are no maps for the message both ways, or the forward maps refuse it.
pub fn trip(forward: &MapSet, back: &Set, text: &str) -> Option<Result<Trip, String>> {
    let message = Message::parse(text).ok()?;
    let name = format!("{}_{}", header(&message, 9, 1), header(&message, 9, 2));
    let known = back.message_types().contains(&name.as_str()) || name.starts_with("ACK_");
    let now = time::instant(&header(&message, 7, 1), Some(&ZONE)).map_or_else(|_| NOW.to_owned(), |(now, _)| now);
    let context = Context { charset: Charset::Utf8, zone: Some(&ZONE), now: &now };
    let mapped = map(forward, &message, &context).ok().filter(|_| known)?;
    let bundle = serde_json::from_str(&transaction(&mapped)).unwrap();
    let written = to_v2::message(back, &name, &[bundle], &envelope(&header_fields(&message), &now));
    Some(written.map_err(|e| e.to_string()).map(|(back, _)| Trip {
        source: text.to_owned(),
        listed: mapped.report.lines(usize::MAX).into_iter().filter(|l| l.loss).map(|l| l.path).collect(),
        origins: mapped.drafts.iter().flat_map(|d| mapped.origins(d)).map(|o| (o.rule, o.place)).collect(),
        back,
    }))
}

/// The decoded text of a component of MSH.
fn header(message: &Message<'_>, field: usize, component: usize) -> String {
    let text = part(message.header(field), Some(message.separators().component), component);
    escape::decode(text, &message.separators(), Charset::Utf8).trim().to_owned()
}

/// MSH-3 to MSH-6 by component, then MSH-10, MSH-11, MSH-12.
fn header_fields(message: &Message<'_>) -> Vec<String> {
    let parties = (3..=6).flat_map(|field| (1..=3).map(move |component| (field, component)));
    parties.chain([(10, 1), (11, 1), (12, 1)]).map(|(field, component)| header(message, field, component)).collect()
}

fn envelope<'e>(fields: &'e [String], now: &'e str) -> Envelope<'e> {
    let party = |n: usize| Party {
        namespace: &fields[3 * n],
        universal_id: &fields[3 * n + 1],
        universal_id_type: &fields[3 * n + 2],
    };
    let or = |n: usize, default| if fields[n].is_empty() { default } else { fields[n].as_str() };
    Envelope {
        sending_application: party(0),
        sending_facility: party(1),
        receiving_application: party(2),
        receiving_facility: party(3),
        control_id: or(12, "1"),
        now,
        version: or(14, "2.5.1"),
        processing_id: or(13, "P"),
        charset: Charset::Utf8,
    }
}

/// What a segment is known by where others are added before it or change places: its name, the number of the patient and of
/// the order that it belongs to, the result's code and sub-id, and which of all these it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub name: String,
    patient: usize,
    order: usize,
    result: String,
    nth: usize,
}

/// The keys of a message's segments.
pub fn keys(message: &Message<'_>) -> Vec<Key> {
    let (mut patient, mut order) = (0, 0);
    let mut headed = false;
    let mut result = String::new();
    let mut seen: HashMap<Key, usize> = HashMap::new();
    let mut keys = Vec::new();
    for segment in message.segments() {
        let name = segment.name();
        match name {
            // A PID that names nobody makes no patient.
            "PID" if is_valued(&segment, 2..=5) => (patient, order) = (patient + 1, 0),
            "ORC" => (order, headed) = (order + 1, true),
            "OBR" | "RXA" => {
                order += usize::from(!headed);
                headed = false;
            }
            "OBX" => result = label(message, &segment),
            _ => {}
        }
        // A note belongs to the result before it, as an OBX is that result; all others are known without one.
        if !matches!(name, "OBX" | "NTE") {
            result.clear();
        }
        let mut key = Key { name: name.to_owned(), patient, order, result: result.clone(), nth: 0 };
        let count = seen.entry(key.clone()).or_default();
        key.nth = *count;
        // A note without text is none.
        *count += usize::from(name != "NTE" || is_valued(&segment, 3..=3));
        if name == "OBX" {
            result = format!("{result}#{}", key.nth);
        }
        keys.push(key);
    }
    keys
}

fn is_valued(segment: &Segment<'_, '_>, mut fields: RangeInclusive<usize>) -> bool {
    fields.any(|field| !segment.field(field).trim().is_empty())
}

/// OBX-3 and OBX-4, the first component that is there.
fn label(message: &Message<'_>, segment: &Segment<'_, '_>) -> String {
    let separator = Some(message.separators().component);
    let first =
        |field: usize| split(segment.field(field), separator).map(str::trim).find(|t| !t.is_empty()).unwrap_or("");
    format!("{}|{}", first(3), first(4))
}
