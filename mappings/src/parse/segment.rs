//! One segment of a parsed message, and its fields.

use super::{Line, Message, Span, split};

/// One segment.
#[derive(Debug, Clone, Copy)]
pub struct Segment<'m, 'a> {
    pub(super) message: &'m Message<'a>,
    pub(super) index: usize,
}

impl<'m, 'a> Segment<'m, 'a> {
    fn line(&self) -> &'m Line {
        &self.message.lines[self.index]
    }

    /// Its 0-based place in the message.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its name, such as `PID`.
    pub fn name(&self) -> &'a str {
        self.message.slice(self.line().name)
    }

    pub(crate) fn is_header(&self) -> bool {
        self.line().header
    }

    /// The highest field number that is there.
    pub fn len(&self) -> usize {
        self.line().fields as usize + usize::from(self.is_header())
    }

    /// Whether it has no field at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The field of that number in the standard, still escaped; empty where it is absent.
    pub fn field(&self, number: usize) -> &'a str {
        self.span_of(number).map_or("", |span| self.message.slice(span))
    }

    /// Whether anything stands in a field.
    pub(crate) fn has(&self, number: u16) -> bool {
        self.span_of(usize::from(number)).is_some_and(|span| span.start < span.end)
    }

    fn span_of(&self, number: usize) -> Option<Span> {
        let line = self.line();
        if line.header && number == 1 {
            return Some(Span { start: line.name.end, end: line.name.end + 1 });
        }
        let first = line.first_field as usize;
        let starts = &self.message.fields[first..first + line.fields as usize];
        let at = number.checked_sub(1 + usize::from(line.header))?;
        let start = *starts.get(at)?;
        Some(Span { start, end: starts.get(at + 1).map_or(line.end, |next| next - 1) })
    }

    /// Where it begins and ends in the message's text.
    pub(crate) fn span(&self) -> (usize, usize) {
        (self.line().name.start as usize, self.line().end as usize)
    }

    /// The repetitions of a field; MSH-1 and MSH-2 do not repeat.
    pub fn repetitions(&self, number: usize) -> impl Iterator<Item = &'a str> + use<'m, 'a> {
        let literal = self.is_header() && number <= 2;
        split(self.field(number), (!literal).then_some(self.message.separators.repetition))
    }
}
