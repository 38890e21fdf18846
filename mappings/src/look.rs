//! Looks source paths up from where a rule stands: in the present repetition, in the segments that it may see, in the
//! value that a datatype map was given. What is read is remembered as used.

use crate::condition::{Condition, Facts};
use crate::escape;
use crate::parse::{Separators, part, position, position_of_either};
use crate::path::{SegmentName, Source};
use crate::plan::Piece;
use crate::run::Run;
use crate::structure::sees;
use crate::tree::Mark;
use std::borrow::Cow;

/// A value at hand: its raw text, and how finely it was split already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    pub text: &'a str,
    pub level: Level,
}

/// A whole word: a struct that ends in a byte is copied in pieces, and the processor waits for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Level {
    Repetition = 1,
    Component,
    Subcomponent,
}

impl Level {
    /// The level of a mark.
    pub fn of(number: u8) -> Self {
        match number {
            0 | 1 => Self::Repetition,
            2 => Self::Component,
            _ => Self::Subcomponent,
        }
    }
}

/// `""` with some blanks around it.
const MAX_DELETE: usize = 10;

impl At<'_> {
    /// The sender says that there is nothing any more: `""`.
    pub fn is_delete(&self) -> bool {
        let may_be = |first: &u8| *first == b'"' || first.is_ascii_whitespace();
        self.text.len() < MAX_DELETE
            && self.text.as_bytes().first().is_some_and(may_be)
            && self.text.trim_ascii() == "\"\""
    }

    pub fn is_blank(&self) -> bool {
        self.text.bytes().all(|b| b.is_ascii_whitespace())
    }
}

/// A value with its components told apart: they stand in [`Run::parts`] from `base` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Value<'a> {
    pub at: At<'a>,
    pub base: u32,
    /// 0: not told apart.
    pub count: u32,
}

impl<'a> Value<'a> {
    /// A value whose components are looked for when somebody asks.
    pub fn whole(at: At<'a>) -> Self {
        Self { at, base: 0, count: 0 }
    }
}

/// Where a rule looks from.
#[derive(Clone, Copy)]
pub(crate) struct Look<'l, 'a> {
    pub run: &'l Run<'a>,
    pub segment: usize,
    /// The field that the rule is at, in the repetition `value`.
    pub here: Option<u16>,
    pub value: Option<Value<'a>>,
}

impl<'a> Look<'_, 'a> {
    /// The nearest segment of that name that this one may see: itself, before it, after it. Behind a number of
    /// invisible ones, those of other groups, none is looked for.
    pub fn segment(&self, name: SegmentName) -> Option<usize> {
        const MAX_INVISIBLE: usize = 100;
        if self.run.names[self.segment] == Some(name) {
            return Some(self.segment);
        }
        let named = self.run.named(name);
        if named.is_empty() {
            return None;
        }
        let (before, after) = named.split_at(named.partition_point(|(_, at)| *at as usize <= self.segment));
        let here = self.run.chain(self.segment);
        let visible = |at: &usize| sees(here, self.run.chain(*at));
        let mut before = before.iter().rev().take(MAX_INVISIBLE).map(|(_, at)| *at as usize);
        let mut after = after.iter().take(MAX_INVISIBLE).map(|(_, at)| *at as usize);
        before.find(visible).or_else(|| after.find(visible))
    }

    /// The value a source path means, at its own level.
    pub fn narrow(&self, path: &Source) -> Option<At<'a>> {
        let (at, component, subcomponent) = match *path {
            Source::Segment => return None,
            Source::Part { component, subcomponent } => {
                let at = self.component(self.value?, component);
                return Some(if subcomponent > 0 { self.part(at, subcomponent) } else { at });
            }
            Source::Field { segment, field, component, subcomponent } => {
                (self.field(segment, field)?, component, subcomponent)
            }
        };
        let at = if component > 0 { self.part(at, component) } else { at };
        Some(if subcomponent > 0 { self.part(at, subcomponent) } else { at })
    }

    fn field(&self, segment: SegmentName, field: u16) -> Option<At<'a>> {
        if self.here == Some(field) && self.run.names[self.segment] == Some(segment) {
            return self.value.map(|value| value.at);
        }
        let index = self.segment(segment)?;
        let found = self.run.message.segment(index)?;
        let text = found.repetitions(field as usize).find(|t| !t.is_empty())?;
        Some(At { text, level: Level::Repetition })
    }

    /// A component of the value at hand.
    fn component(&self, value: Value<'a>, number: u16) -> At<'a> {
        if number == 0 {
            return value.at;
        }
        if value.count == 0 {
            return self.part(value.at, number);
        }
        let level = if value.at.level == Level::Repetition { Level::Component } else { Level::Subcomponent };
        let parts = self.run.parts.get(value.base as usize..(value.base + value.count) as usize);
        At { text: parts.and_then(|parts| parts.get(number as usize - 1)).copied().unwrap_or(""), level }
    }

    fn part(&self, at: At<'a>, number: u16) -> At<'a> {
        let separators = self.run.separators;
        let (separator, level) = match at.level {
            Level::Repetition => (Some(separators.component), Level::Component),
            Level::Component => (separators.subcomponent, Level::Subcomponent),
            Level::Subcomponent if number == 1 => return at,
            Level::Subcomponent => return At { text: "", ..at },
        };
        At { text: part(at.text, separator, number as usize), level }
    }

    fn first_leaf(&self, at: At<'a>) -> At<'a> {
        let Separators { component, subcomponent, .. } = self.run.separators;
        let subcomponent = subcomponent.unwrap_or(component);
        let end = match at.level {
            Level::Repetition => position_of_either(at.text.as_bytes(), component, subcomponent),
            Level::Component => position(at.text.as_bytes(), subcomponent),
            Level::Subcomponent => None,
        };
        let text = end.and_then(|end| at.text.get(..end)).unwrap_or(at.text);
        At { text, level: Level::Subcomponent }
    }

    /// Marks the first leaf of a value as used.
    pub fn mark_first(&self, at: At<'a>) {
        self.run.mark(self.first_leaf(at).text);
    }

    /// The decoded text of the first leaf of a value, marked as used.
    pub fn simple(&self, at: At<'a>) -> Cow<'a, str> {
        let leaf = self.first_leaf(at);
        self.run.mark(leaf.text);
        self.decoded(leaf)
    }

    fn decoded(&self, at: At<'a>) -> Cow<'a, str> {
        if at.is_delete() {
            return Cow::Borrowed("");
        }
        escape::decode(at.text, &self.run.separators, self.run.context.charset)
    }

    /// The text of a path without marking it; a whole field or component gives its raw text.
    pub fn raw_text(&self, path: &Source) -> Cow<'a, str> {
        let text = self.narrow(path).map_or(Cow::Borrowed(""), |at| self.decoded(at));
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        }
    }

    /// The text of a function's argument.
    pub fn piece(&self, piece: &'a Piece) -> Cow<'a, str> {
        match piece {
            Piece::Text(text) => Cow::Borrowed(text),
            Piece::Path(path) => self.narrow(path).map_or(Cow::Borrowed(""), |at| self.simple(at)),
        }
    }

    /// All of a value: senders do not always escape the separators in a text.
    pub fn whole(&self, piece: &'a Piece) -> Cow<'a, str> {
        match piece {
            Piece::Path(path) => self.narrow(path).map_or(Cow::Borrowed(""), |at| {
                self.run.mark_all(at.text);
                self.decoded(at)
            }),
            Piece::Text(_) => self.piece(piece),
        }
    }

    /// All repetitions of a field, a line each: so TX and the comments of NTE send their lines.
    pub fn lines(&self, path: &Source) -> String {
        let Source::Field { segment, field, .. } = *path else { return String::new() };
        let found = self.segment(segment).and_then(|index| self.run.message.segment(index));
        let line = |text| {
            self.run.mark_all(text);
            self.decoded(At { text, level: Level::Repetition })
        };
        found.map_or_else(Vec::new, |s| s.repetitions(field as usize).map(line).collect()).join("\n")
    }

    /// The place of a value, to remember it by.
    pub fn place(&self, value: Option<At<'a>>) -> Mark {
        let at_value = value.filter(|at| !at.text.is_empty()).map(|at| self.run.offset(at.text, at.level as u8));
        at_value.unwrap_or_else(|| self.run.segment_mark(self.segment))
    }

    /// Whether some part of a value says something.
    pub fn says(&self, at: At<'a>) -> bool {
        let separators = self.run.separators;
        let is_sign =
            |b: u8| b == separators.component || Some(b) == separators.subcomponent || b.is_ascii_whitespace();
        at.text.bytes().any(|b| !is_sign(b)) && !at.is_delete()
    }

    /// The text that conditions compare: of the first leaf, without blanks around it.
    pub fn compared(&self, at: Option<At<'a>>) -> Cow<'a, str> {
        match at.map_or(Cow::Borrowed(""), |at| self.decoded(self.first_leaf(at))) {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii()),
            Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
        }
    }
}

impl Facts for Look<'_, '_> {
    fn valued(&self, path: &Source) -> bool {
        self.narrow(path).is_some_and(|at| self.says(at))
    }

    fn text(&self, path: &Source) -> Cow<'_, str> {
        self.compared(self.narrow(path))
    }

    fn count(&self, path: &Source) -> usize {
        let Source::Field { segment, field, .. } = *path else { return 0 };
        let found = self.segment(segment).and_then(|i| self.run.message.segment(i));
        found.map_or(0, |s| s.repetitions(field as usize).filter(|t| !t.trim_ascii().is_empty()).count())
    }

    fn present(&self, segment: SegmentName) -> bool {
        self.segment(segment).is_some()
    }

    fn switch(&self, name: &str) -> &str {
        self.run.set.switch(name)
    }

    fn once(&self, number: u8, _: &Condition) -> bool {
        self.holds_once(number)
    }

    fn reads_first(&self, number: u8) -> bool {
        self.reads_first_of(number)
    }

    fn read(&self, path: &Source) {
        self.narrow(path).into_iter().for_each(|at| self.mark_first(at));
    }
}
