//! Looks source paths up from where a rule stands: in the present repetition, in the segments that it may see, in the
//! value that a datatype map was given. What is read is remembered as used.

use crate::condition::Facts;
use crate::engine::Run;
use crate::escape;
use crate::parse::part;
use crate::path::{Place, Source};
use crate::plan::Piece;
use crate::structure::sees;
/// A value at hand: its raw text, its place, and how finely it may still be split.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub text: &'a str,
    pub place: Place,
    pub level: Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    Repetition,
    Component,
    Subcomponent,
}

/// Looks paths up from where a rule stands.
pub(crate) struct Look<'l, 'r, 'a> {
    pub run: &'l Run<'r, 'a>,
    pub segment: usize,
    pub here: Option<(u16, u16)>,
    pub value: Option<At<'a>>,
}

impl<'a> Look<'_, '_, 'a> {
    /// The nearest segment of that name that this one may see: itself, before it, after it. Behind a number of
    /// invisible ones, those of other groups, none is looked for.
    pub fn segment(&self, name: &str) -> Option<usize> {
        const MAX_INVISIBLE: usize = 100;
        let named = self.run.by_name.get(name)?;
        let chain = |i: usize| self.run.placed[i].as_ref().map_or(&[][..], |p| &p.chain);
        let visible = |i: &&usize| sees(chain(self.segment), chain(**i));
        let (before, after) = named.split_at(named.partition_point(|i| *i <= self.segment));
        let nearest = before.iter().rev().take(MAX_INVISIBLE).find(visible);
        nearest.or_else(|| after.iter().take(MAX_INVISIBLE).find(visible)).copied()
    }

    /// The value a source path means, at its own level.
    pub fn narrow(&self, path: &Source) -> Option<At<'a>> {
        match path {
            Source::Segment => None,
            Source::Part { component, subcomponent } => {
                let at = self.part(self.value?, *component);
                Some(if *subcomponent > 0 { self.part(at, *subcomponent) } else { at })
            }
            Source::Field { segment, field, component, subcomponent } => {
                let at = self.field(segment, *field)?;
                let at = if *component > 0 { self.part(at, *component) } else { at };
                Some(if *subcomponent > 0 { self.part(at, *subcomponent) } else { at })
            }
        }
    }

    fn field(&self, segment: &str, field: u16) -> Option<At<'a>> {
        let index = self.segment(segment)?;
        let found = self.run.message.segment(index)?;
        let here = self.here.filter(|(f, _)| *f == field && index == self.segment);
        let mut repetitions = found.repetitions(field as usize).enumerate();
        let (n, text) = match here {
            Some((_, n)) => repetitions.nth(n as usize)?,
            None => repetitions.find(|(_, t)| !t.is_empty())?,
        };
        let place = Place { segment: index as u32, field, repetition: n as u16, ..Place::default() };
        Some(At { text, place, level: Level::Repetition })
    }

    fn part(&self, at: At<'a>, number: u16) -> At<'a> {
        let separators = self.run.message.separators();
        let mut place = at.place;
        match at.level {
            Level::Repetition => {
                place.component = number;
                let text = part(at.text, Some(separators.component), number as usize);
                At { text, place, level: Level::Component }
            }
            Level::Component => {
                place.subcomponent = number;
                let text = part(at.text, separators.subcomponent, number as usize);
                At { text, place, level: Level::Subcomponent }
            }
            Level::Subcomponent if number == 1 => at,
            Level::Subcomponent => At { text: "", ..at },
        }
    }

    /// The decoded text of the first leaf of a value, marked as used.
    pub fn simple(&self, at: At<'a>) -> String {
        let mut leaf = at;
        while leaf.level != Level::Subcomponent {
            leaf = self.part(leaf, 1);
        }
        self.run.mark(leaf);
        self.decoded(leaf)
    }

    fn decoded(&self, at: At<'a>) -> String {
        if at.text.trim() == "\"\"" {
            return String::new();
        }
        escape::decode(at.text, &self.run.message.separators(), self.run.context.charset).into_owned()
    }

    /// The text of a path without marking it; a whole field or component gives its raw text.
    pub fn raw_text(&self, path: &Source) -> String {
        self.narrow(path).map_or(String::new(), |at| self.decoded(at).trim().to_owned())
    }

    pub fn piece(&self, piece: &Piece) -> String {
        match piece {
            Piece::Text(text) => text.clone(),
            Piece::Path(path) => self.narrow(path).map_or(String::new(), |at| self.simple(at)),
        }
    }
}

impl Facts for Look<'_, '_, '_> {
    fn text(&self, path: &Source) -> String {
        match path {
            Source::Segment => String::new(),
            _ => self.narrow(path).map_or(String::new(), |at| {
                let whole = self.decoded(at);
                // A comparison means the value's first part: `OBX-2 EQUALS "NM"`; VALUED any part.
                let first = self.first_leaf(at);
                if first.is_empty() { whole } else { first }
            }),
        }
    }

    fn count(&self, path: &Source) -> usize {
        let Source::Field { segment, field, .. } = path else { return 0 };
        let found = self.segment(segment).and_then(|i| self.run.message.segment(i));
        found.map_or(0, |s| s.repetitions(*field as usize).filter(|t| !t.trim().is_empty()).count())
    }
}

impl<'a> Look<'_, '_, 'a> {
    fn first_leaf(&self, at: At<'a>) -> String {
        let mut leaf = at;
        while leaf.level != Level::Subcomponent {
            leaf = self.part(leaf, 1);
        }
        self.decoded(leaf).trim().to_owned()
    }
}
