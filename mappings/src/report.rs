//! The mapping report: what a message held that no rule used, what a rule could not use, and what a site's switch
//! decided. It names places and rules, never values, so that it may be shown beside a log.

use crate::convert::ConvertError;
use crate::look::Look;
use crate::map_file::SwitchRow;
use crate::maps::MapSet;
use crate::parse::{Message, Segment, Separators};
use crate::path::Place;
use crate::plan::{MessageRule, RuleId};
use crate::run::Run;
use crate::tree::Mark;
use serde::{Deserialize, Serialize};

/// What happened to a part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Finding<'a> {
    #[error("no rule uses this value")]
    Unused,
    #[error("the map leaves this field alone")]
    LeftAlone,
    #[error("the message structure has no place for this segment")]
    NoPlace,
    #[error("the message structure has this segment once: the first was used")]
    Twice,
    #[error("no map for this segment here")]
    NoMap,
    #[error("the segment's name is not a segment name")]
    OddName,
    #[error("{0}")]
    Value(ConvertError),
    #[error("the table {0} has no row for this code")]
    NoRow(&'a str),
    #[error("the table {0} has no row for this code: it stays as sent")]
    AsSent(&'a str),
    #[error("the element does not repeat: the first repetition was used")]
    Repeats,
    #[error("the sender deletes this, and the element holds more than this field")]
    NotDeleted,
    #[error("there is no resource to put this in")]
    NothingToFill,
    #[error("the switch {} stands on {}", .0.switch, .0.default)]
    Switch(&'a SwitchRow),
    #[error("{0} is required and was not sent: said to be unknown")]
    Filled(&'static str),
    #[error("left out, since an element that FHIR requires was not sent")]
    Incomplete,
}

impl Finding<'_> {
    /// Whether a whole segment is in no resource.
    pub(crate) fn is_of_segment(&self) -> bool {
        matches!(self, Self::NoPlace | Self::NoMap | Self::OddName | Self::Twice)
    }

    /// Whether something that the sender sent is not in the result.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Switch(_) | Self::Filled(_) | Self::AsSent(_) => false,
            Self::Value(ConvertError::Time(told)) => told.is_loss(),
            _ => true,
        }
    }
}

/// One finding, where it is, and the rule that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Note<'a> {
    pub place: Mark,
    pub finding: Finding<'a>,
    pub rule: Option<RuleId>,
}

/// Everything to be told of one message.
pub struct Report<'a> {
    pub(crate) set: &'a MapSet,
    pub(crate) message: &'a Message<'a>,
    pub(crate) notes: Vec<Note<'a>>,
}

/// A finding in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// `PID-3[2].4`, as people write it.
    pub path: String,
    pub finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Something that was sent is not in the result.
    pub loss: bool,
}

impl Report<'_> {
    /// The number of findings.
    pub fn len(&self) -> usize {
        self.notes.len()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.notes.is_empty()
    }

    /// The findings in words, at most `limit` of them.
    pub fn lines(&self, limit: usize) -> Vec<Line> {
        let told = self.notes.iter().take(limit).map(|note| Line {
            path: path(self.message, Place::of(self.message, note.place)),
            finding: note.finding.to_string(),
            rule: note.rule.map(|rule| self.set.rule_name(rule.0).to_owned()),
            loss: note.finding.is_loss(),
        });
        told.collect()
    }

    /// The places of the values that are in no resource.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.notes.iter().filter(|note| note.finding.is_loss()).map(|note| Place::of(self.message, note.place))
    }

    /// Whether a value that was sent is in no resource.
    pub fn has_loss(&self) -> bool {
        self.notes.iter().any(|note| note.finding.is_loss())
    }
}

/// `PID-3[2].4`; the n-th segment of its name is `OBX(n)`.
pub fn path(message: &Message<'_>, place: Place) -> String {
    let index = place.segment as usize;
    let name = message.segment(index).map_or("", |s| s.name());
    // An odd line's "name" may be its whole text: it is not repeated into a report.
    if name.len() > 4 || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return format!("line {}", index + 1);
    }
    let mut path = name.to_owned();
    match message.segments().take(index + 1).filter(|s| s.name() == name).count() {
        0 | 1 => {}
        occurrence => path.push_str(&format!("({occurrence})")),
    }
    if place.field > 0 {
        path.push_str(&format!("-{}", place.field));
    }
    if place.repetition > 0 {
        path.push_str(&format!("[{}]", place.repetition + 1));
    }
    for part in [place.component, place.subcomponent].into_iter().filter(|n| *n > 0) {
        path.push_str(&format!(".{part}"));
    }
    path
}

/// Header fields that steer the transport and the parser instead of being mapped.
const HEADER_USED: &[u16] = &[1, 2, 9, 10, 11, 12, 13, 14, 15, 16, 18];

/// Notes every valued subcomponent that no rule read, in segments that have a map.
pub(crate) fn unused(run: &mut Run<'_>) {
    let ends = ends(run.separators);
    let mut notes = std::mem::take(&mut run.notes);
    for index in 0..run.message.len() {
        let rules = run.placed[index].as_ref().map_or(&[][..], |placed| &run.plan.rules[placed.slot]);
        if !rules.is_empty() {
            unused_in(run, index, rules, &ends, &mut notes);
        }
    }
    notes.shrink_to_fit();
    run.notes = notes;
}

fn unused_in<'a>(run: &Run<'a>, index: usize, rules: &[MessageRule], ends: &[bool; 256], notes: &mut Vec<Note<'a>>) {
    let Some(segment) = run.message.segment(index) else { return };
    let left_alone = |field: u16| {
        let mut maps = rules.iter().filter_map(|rule| rule.with);
        maps.any(|map| run.set.maps[map].known.contains(&field))
    };
    let said_elsewhere = |field: u16| {
        let maps = rules.iter().filter_map(|rule| rule.with);
        let mut pairs = maps.flat_map(|map| &run.set.maps[map].same).filter(|(own, ..)| *own == field);
        pairs.any(|(_, name, other)| {
            let look = Look { run, segment: index, here: None, value: None };
            let found = look.segment(*name).and_then(|at| run.message.segment(at));
            found.is_some_and(|found| found.field(usize::from(*other)) == segment.field(usize::from(field)))
        })
    };
    let mut asked = (0, false);
    // Asked once a field, not once a leaf: a field of a thousand parts would be compared a thousand times.
    let mut said_elsewhere = |field: u16| {
        if asked.0 != field {
            asked = (field, said_elsewhere(field));
        }
        asked.1
    };
    let is_header = segment.name() == "MSH";
    unused_leaves(run, segment, ends, |mark, field| {
        if field == 0 || is_header && HEADER_USED.contains(&field) {
            return;
        }
        if said_elsewhere(field) {
            return;
        }
        let finding = if left_alone(field) { Finding::LeftAlone } else { Finding::Unused };
        notes.push(Note { place: mark, finding, rule: None });
    });
}

/// Every valued leaf of a segment that has no place or no map; of a line that is no segment its first part too.
pub(crate) fn leaves_of(run: &Run<'_>, index: usize) -> Vec<Mark> {
    let mut marks = Vec::new();
    let named = run.names[index].is_some();
    if let Some(segment) = run.message.segment(index) {
        unused_leaves(run, segment, &ends(run.separators), |mark, field| {
            if field > 0 || !named {
                marks.push(mark);
            }
        });
    }
    marks
}

/// Which bytes end a leaf.
fn ends(signs: Separators) -> [bool; 256] {
    let mut ends = [false; 256];
    let signs = [Some(signs.field), Some(signs.component), Some(signs.repetition), signs.subcomponent];
    signs.into_iter().flatten().for_each(|sign| ends[usize::from(sign)] = true);
    ends
}

/// Shows the unread leaves of a segment with the number of their field, 0 being its name. One pass over its bytes: most
/// of them are of read leaves.
fn unused_leaves(run: &Run<'_>, segment: Segment<'_, '_>, ends: &[bool; 256], mut see: impl FnMut(Mark, u16)) {
    let signs = run.separators;
    let (mut leaf, end) = segment.span();
    let bytes = run.message.text().as_bytes();
    let (mut after_subcomponent, mut field) = (false, 0);
    while leaf <= end {
        let rest = &bytes[leaf..end];
        let length = rest.iter().position(|byte| ends[usize::from(*byte)]).unwrap_or(rest.len());
        let sign = rest.get(length).copied().unwrap_or(signs.field);
        let before_subcomponent = Some(sign) == signs.subcomponent;
        if !run.is_used(leaf) && !rest[..length].iter().all(u8::is_ascii_whitespace) {
            let level = if before_subcomponent || after_subcomponent { 3 } else { 2 };
            see(Mark::new(leaf as u32, level), field);
        }
        if sign == signs.field {
            // What follows a header's name is its second field.
            field += if field == 0 && segment.is_header() { 2 } else { 1 };
        }
        after_subcomponent = before_subcomponent;
        leaf += length + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_people_write_them_and_odd_names_are_not_repeated() {
        let message = Message::parse("MSH|^~\\&|A\rOBX|1\rOBX|2\rAda Lovelace 1815|x\r").unwrap();
        let at = |segment, field, repetition, component| {
            path(&message, Place { segment, field, repetition, component, subcomponent: 0 })
        };
        assert_eq!(at(2, 5, 1, 4), "OBX(2)-5[2].4");
        assert_eq!(at(1, 3, 0, 0), "OBX-3");
        assert_eq!(at(3, 0, 0, 0), "line 4", "a stray line may be a name");
    }
}
