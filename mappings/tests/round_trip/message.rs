//! One message to FHIR and back: both texts, and where its segments stand.

use mappings::bundle::transaction;
use mappings::charset::Charset;
use mappings::engine::{Context, Origin, map};
use mappings::escape;
use mappings::maps::MapSet;
use mappings::parse::{Message, part};
use mappings::path::Place;
use mappings::time;
use mappings::to_v2::{self, Envelope, Party, Set};
use std::path::Path;

/// The time of a message that does not tell it.
const NOW: &str = "2026-03-01T12:00:00.000Z";

/// A message, what it was mapped to, and what came back.
pub struct Trip {
    pub source: String,
    /// The places that the forward report lists: they were not used, or could not be.
    pub listed: Vec<Place>,
    /// Where each element came from.
    pub origins: Vec<Origin>,
    pub back: String,
}

/// The last two parts of a path.
pub fn short(path: &Path) -> String {
    let parts: Vec<_> = path.components().rev().take(2).map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

pub fn zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::get("Europe/Berlin").unwrap()
}

/// Nothing where there are no maps for the message both ways, or the forward maps refuse it.
pub fn trip(forward: &MapSet, back: &Set, text: &str) -> Option<Result<Trip, String>> {
    let zone = zone();
    let message = Message::parse(text).ok()?;
    let name = format!("{}_{}", header(&message, 9, 1), header(&message, 9, 2));
    let known = back.message_types().contains(&name.as_str()) || name.starts_with("ACK_");
    let now = time::instant(&header(&message, 7, 1), Some(&zone)).unwrap_or_else(|_| NOW.to_owned());
    let context = Context { charset: Charset::Utf8, zone: Some(&zone), now: &now };
    let mapped = map(forward, &message, &context).ok().filter(|_| known)?;
    let bundle = serde_json::from_str(&transaction(&mapped)).unwrap();
    let written = to_v2::message(back, &name, &[bundle], &envelope(&header_fields(&message), &now));
    let listed = mapped.report.places().collect();
    let origins = mapped.drafts.iter().flat_map(|draft| mapped.origins(draft)).collect();
    Some(written.map_err(|e| e.to_string()).map(|(back, _)| Trip { source: text.to_owned(), listed, origins, back }))
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

/// A place of a segment that stays where segments are added before it: its name, the number of the patient and of the order
/// that it belongs to, of the result within the order, and which of its name it is there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    pub name: String,
    pub patient: usize,
    pub order: usize,
    pub result: usize,
    pub nth: usize,
}

/// The keys of a message's segments.
pub fn keys(message: &Message<'_>) -> Vec<Key> {
    let (mut patient, mut order, mut result) = (0, 0, 0);
    let mut headed = false;
    let mut keys: Vec<Key> = Vec::new();
    for segment in message.segments() {
        let name = segment.name();
        match name {
            "PID" => (patient, order, result) = (patient + 1, 0, 0),
            "ORC" => (order, result, headed) = (order + 1, 0, true),
            "OBR" | "RXA" => {
                order += usize::from(!headed);
                (result, headed) = (0, false);
            }
            "OBX" => result += 1,
            "SPM" | "RGS" => result = 0,
            _ => {}
        }
        let place = (patient, order, if matches!(name, "OBX" | "NTE") { result } else { 0 });
        let nth = keys.iter().filter(|k| k.name == name && (k.patient, k.order, k.result) == place).count();
        keys.push(Key { name: name.to_owned(), patient: place.0, order: place.1, result: place.2, nth });
    }
    keys
}
