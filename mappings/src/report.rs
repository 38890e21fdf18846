//! The mapping report: what a message held that no rule used, and what a rule could not use. It names places
//! and rules, never values, so that it may be shown beside a log.

use crate::convert::ConvertError;
use crate::parse::{Message, split};
use crate::path::Place;
use std::collections::{HashMap, HashSet};

/// What happened to a part of a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("no rule uses this value")]
    Unused,
    #[error("the map leaves this field alone")]
    LeftAlone,
    #[error("the message structure has no place for this segment")]
    NoPlace,
    #[error("no map for this segment here")]
    NoMap,
    #[error("the segment's name is not a segment name")]
    OddName,
    #[error("{0}")]
    Value(#[from] ConvertError),
    #[error("the table {0} has no row for this code")]
    NoRow(String),
    #[error("the element does not repeat: the first repetition was used")]
    Repeats,
    #[error("the sender deletes this, and the element holds more than this field")]
    NotDeleted,
    #[error("there is no resource to put this in")]
    NothingToFill,
}

/// One finding, where it is, and the rule that met it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub segment: String,
    /// Which of the segments of that name, from 1.
    pub occurrence: usize,
    pub place: Place,
    pub finding: Finding,
    pub rule: Option<String>,
}

/// Everything to be told of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub notes: Vec<Note>,
}

impl Note {
    /// `PID-3[2].4`, as people write it.
    pub fn path(&self) -> String {
        let mut path = self.segment.clone();
        if self.occurrence > 1 {
            path.push_str(&format!("({})", self.occurrence));
        }
        if self.place.field > 0 {
            path.push_str(&format!("-{}", self.place.field));
        }
        if self.place.repetition > 0 {
            path.push_str(&format!("[{}]", self.place.repetition + 1));
        }
        for part in [self.place.component, self.place.subcomponent].into_iter().filter(|n| *n > 0) {
            path.push_str(&format!(".{part}"));
        }
        path
    }
}

/// Which of the segments of its name each segment is, from 1.
pub(crate) fn occurrences(message: &Message<'_>) -> Vec<usize> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut count = |name| {
        let count = seen.entry(name).or_default();
        *count += 1;
        *count
    };
    message.segments().map(|s| count(s.name())).collect()
}

/// The place's segment by name and occurrence.
pub(crate) fn note(
    message: &Message<'_>,
    occurrences: &[usize],
    place: Place,
    finding: Finding,
    rule: Option<&str>,
) -> Note {
    let index = place.segment as usize;
    let segment = message.segment(index).map_or("", |s| s.name());
    let occurrence = occurrences.get(index).copied().unwrap_or(1);
    // An odd line's "name" may be its whole text: it is not repeated into a report.
    let odd = segment.len() > 4 || !segment.bytes().all(|b| b.is_ascii_alphanumeric());
    let segment = if odd { format!("line {}", index + 1) } else { segment.to_owned() };
    Note { segment, occurrence, place, finding, rule: rule.map(str::to_owned) }
}

/// Header fields that steer the transport and the parser instead of being mapped.
const HEADER_USED: &[u16] = &[1, 2, 9, 10, 11, 12, 13, 14, 15, 16, 18];

/// Every valued component that no rule read, in segments that have a map.
pub(crate) fn unused(
    message: &Message<'_>,
    occurrences: &[usize],
    used: &HashSet<Place>,
    mapped: &dyn Fn(usize) -> bool,
    left_alone: &dyn Fn(usize, u16) -> bool,
) -> Vec<Note> {
    let mut notes = Vec::new();
    for segment in message.segments().filter(|s| mapped(s.index())) {
        for field in 1..=segment.len() as u16 {
            if segment.name() == "MSH" && HEADER_USED.contains(&field) {
                continue;
            }
            for place in valued(message, segment.index(), field) {
                if used.contains(&place) {
                    continue;
                }
                let alone = left_alone(segment.index(), field);
                let finding = if alone { Finding::LeftAlone } else { Finding::Unused };
                notes.push(note(message, occurrences, place, finding, None));
            }
        }
    }
    notes
}

fn valued(message: &Message<'_>, segment: usize, field: u16) -> Vec<Place> {
    let Some(found) = message.segment(segment) else { return Vec::new() };
    let separator = Some(message.separators().component);
    let mut places = Vec::new();
    for (repetition, text) in found.repetitions(field as usize).enumerate() {
        for (component, part) in split(text, separator).enumerate() {
            if !part.trim().is_empty() {
                places.push(Place {
                    segment: segment as u32,
                    field,
                    repetition: repetition as u16,
                    component: component as u16 + 1,
                    subcomponent: 0,
                });
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_people_write_them_and_odd_names_are_not_repeated() {
        let message = Message::parse("MSH|^~\\&|A\rOBX|1\rOBX|2\rAda Lovelace 1815|x\r").unwrap();
        let numbers = occurrences(&message);
        let at = |segment, field, repetition, component| {
            let place = Place { segment, field, repetition, component, subcomponent: 0 };
            note(&message, &numbers, place, Finding::Unused, None).path()
        };
        assert_eq!(at(2, 5, 1, 4), "OBX(2)-5[2].4");
        assert_eq!(at(1, 3, 0, 0), "OBX-3");
        assert_eq!(at(3, 0, 0, 0), "line 4", "a stray line may be a name");
    }
}
