//! Parses HL7 v2 (ER7 encoding, HL7 v2.8.2 chapter 2.5) without copying: a message is the received text
//! plus the offsets of its segments and fields; repetitions, components and subcomponents are
//! found in a field when somebody asks for them. Nothing is dropped: an odd line is a segment with an
//! odd name, and [`Message::oddities`] tells of it.
//!
//! Character sets are in `charset.rs`, escapes in `escape.rs`.

mod lines;
mod parts;
mod segment;
mod separators;

use lines::{LineEnds, is_segment_name, skip_line_end};
pub use parts::{part, split};
pub(crate) use parts::{position, position_of_either};
pub use segment::Segment;
pub use separators::Separators;
use separators::read_separators;
use std::fmt;

/// The longest message that is parsed, in bytes. Larger ones carry scanned documents that belong in
/// a document feed; 64 MiB is ten times the largest that the corpora and the field show.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The most segments of one message. A day's microbiology batch has some thousands.
pub const MAX_SEGMENTS: usize = 100_000;
/// The most fields of one segment; the standard's longest (OBR, PID, PV1) stay below 60.
pub const MAX_FIELDS: usize = 1_000;

/// Why text is not an HL7 v2 message. No variant carries any of its content.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum ParseError {
    #[error("the message does not begin with an MSH segment")]
    NoHeader,
    #[error("MSH-1 or MSH-2 does not hold usable separators")]
    Separators,
    #[error("the message has more than {MAX_SEGMENTS} segments")]
    TooManySegments,
    #[error("segment {segment} has more than {MAX_FIELDS} fields")]
    TooManyFields { segment: usize },
    #[error("the message is larger than {MAX_MESSAGE_BYTES} bytes")]
    TooLarge,
}

/// What the parser tolerated, to be told in the mapping report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// An empty line before segment number `before` (0-based).
    BlankLine { before: usize },
    /// Segment `at` has a name that is not three letters or digits beginning with a letter.
    SegmentName { at: usize },
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    name: Span,
    first_field: u32,
    fields: u32,
    end: u32,
    /// MSH, FHS and BHS count their own field separator as field 1, if they have one.
    header: bool,
}

/// A parsed message over the text it was parsed from.
#[derive(Debug, Clone)]
pub struct Message<'a> {
    text: &'a str,
    separators: Separators,
    lines: Vec<Line>,
    /// Where each field begins. It ends before the next of its line begins, or with the line.
    fields: Vec<u32>,
    oddities: Vec<Oddity>,
}

impl<'a> Message<'a> {
    /// Parses one message that begins with MSH; a byte-order mark and leading line ends are skipped.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        if text.len() > MAX_MESSAGE_BYTES {
            return Err(ParseError::TooLarge);
        }
        let body = text.trim_start_matches(['\u{feff}', '\r', '\n', ' ', '\t']);
        let separators = read_separators(body.as_bytes())?;
        let mut message = Self {
            text: body,
            separators,
            // What most messages need; a short one does not pay for a long one.
            lines: Vec::with_capacity(body.len() / 128 + 1),
            fields: Vec::with_capacity(body.len() / 8),
            oddities: Vec::new(),
        };
        message.split_lines()?;
        Ok(message)
    }

    /// The message's separators.
    pub fn separators(&self) -> Separators {
        self.separators
    }

    /// The text that was parsed, without a leading byte-order mark.
    pub fn text(&self) -> &'a str {
        self.text
    }

    /// What the parser tolerated.
    pub fn oddities(&self) -> &[Oddity] {
        &self.oddities
    }

    /// The number of segments.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Never true of a parsed message: it has at least MSH.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The segments, in order.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'_, 'a>> {
        (0..self.lines.len()).map(|index| Segment { message: self, index })
    }

    /// Segment number `index`, 0 being MSH.
    pub fn segment(&self, index: usize) -> Option<Segment<'_, 'a>> {
        (index < self.lines.len()).then_some(Segment { message: self, index })
    }

    /// The first segment of that name.
    pub fn first(&self, name: &str) -> Option<Segment<'_, 'a>> {
        self.segments().find(|segment| segment.name() == name)
    }

    /// A field of MSH by its number in the standard, still escaped; empty where it is absent.
    pub fn header(&self, number: usize) -> &'a str {
        self.segment(0).map_or("", |msh| msh.field(number))
    }

    /// The segment and field (0: the segment's name) around an offset into the text, and where that field begins.
    pub(crate) fn field_at(&self, offset: usize) -> (usize, usize, usize) {
        let segment = self.lines.partition_point(|line| line.name.start as usize <= offset).saturating_sub(1);
        let Some(line) = self.lines.get(segment) else { return (0, 0, 0) };
        let fields = &self.fields[line.first_field as usize..(line.first_field + line.fields) as usize];
        let passed = fields.partition_point(|field| *field as usize <= offset);
        match passed.checked_sub(1) {
            None => (segment, 0, line.name.start as usize),
            Some(at) => {
                let header = self.segment(segment).is_some_and(|s| s.is_header());
                (segment, passed + usize::from(header), fields[at] as usize)
            }
        }
    }

    fn split_lines(&mut self) -> Result<(), ParseError> {
        let bytes = self.text.as_bytes();
        let mode = LineEnds::of(bytes);
        let mut start = 0;
        while start < bytes.len() {
            let end = mode.next(bytes, start, self.separators.field);
            self.push_line(start, end)?;
            start = skip_line_end(bytes, end);
        }
        Ok(())
    }

    fn push_line(&mut self, start: usize, end: usize) -> Result<(), ParseError> {
        let bytes = self.text.as_bytes();
        if bytes[start..end].iter().all(|b| b.is_ascii_whitespace() || *b == 0) {
            if end < bytes.len() {
                self.oddities.push(Oddity::BlankLine { before: self.lines.len() });
            }
            return Ok(());
        }
        if self.lines.len() == MAX_SEGMENTS {
            return Err(ParseError::TooManySegments);
        }
        let separator = self.separators.field;
        let name_end = find(bytes, separator, start, end);
        if !is_segment_name(&bytes[start..name_end]) {
            self.oddities.push(Oddity::SegmentName { at: self.lines.len() });
        }
        let first_field = self.fields.len();
        let mut at = name_end;
        while at < end {
            let stop = find(bytes, separator, at + 1, end);
            if self.fields.len() - first_field == MAX_FIELDS {
                return Err(ParseError::TooManyFields { segment: self.lines.len() });
            }
            // MAX_MESSAGE_BYTES is far below u32::MAX.
            self.fields.push(at as u32 + 1);
            at = stop;
        }
        self.lines.push(Line {
            name: span(start, name_end),
            first_field: first_field as u32,
            fields: (self.fields.len() - first_field) as u32,
            end: end as u32,
            header: name_end < end && matches!(&bytes[start..name_end], b"MSH" | b"FHS" | b"BHS"),
        });
        Ok(())
    }

    fn slice(&self, span: Span) -> &'a str {
        // All spans begin and end at ASCII separators or at the text's ends, so they are boundaries.
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }
}

impl fmt::Display for Message<'_> {
    /// Prints the message in its own separators with CR ends, as it goes on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines
            .iter()
            .try_for_each(|line| write!(f, "{}\r", self.slice(Span { start: line.name.start, end: line.end })))
    }
}

fn find(bytes: &[u8], needle: u8, start: usize, end: usize) -> usize {
    memchr::memchr(needle, &bytes[start..end]).map_or(end, |at| start + at)
}

fn span(start: usize, end: usize) -> Span {
    // MAX_MESSAGE_BYTES is far below u32::MAX.
    Span { start: start as u32, end: end as u32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SMALL: &str = "MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5\rPID|1||5^^^H&1.2&ISO^MR~6||X^Y\r";

    #[test]
    fn fields_have_the_numbers_of_the_standard() {
        let message = Message::parse(SMALL).unwrap();
        let msh = message.segment(0).unwrap();
        assert_eq!(
            (msh.field(1), msh.field(2), msh.field(3), msh.field(12), msh.field(13)),
            ("|", "^~\\&", "A", "2.5", "")
        );
        let pid = message.first("PID").unwrap();
        assert_eq!(pid.repetitions(3).collect::<Vec<_>>(), ["5^^^H&1.2&ISO^MR", "6"]);
        assert_eq!(part(part("5^^^H&1.2&ISO", Some(b'^'), 4), Some(b'&'), 2), "1.2");
    }

    #[test]
    fn every_line_end_gives_the_same_segments() {
        for end in ["\r", "\n", "\r\n"] {
            let text = SMALL.replace('\r', end);
            let message = Message::parse(&text).unwrap();
            assert_eq!(message.to_string(), SMALL);
        }
    }

    #[test]
    fn blank_lines_and_odd_names_are_kept_and_told() {
        let text = "MSH|^~\\&|A\r\rpid|1\rthis is a stray line\rOBX|1\r";
        let message = Message::parse(text).unwrap();
        let names: Vec<_> = message.segments().map(|s| s.name()).collect();
        assert_eq!(names, ["MSH", "pid", "this is a stray line", "OBX"]);
        assert_eq!(
            message.oddities(),
            [Oddity::BlankLine { before: 1 }, Oddity::SegmentName { at: 1 }, Oddity::SegmentName { at: 2 }]
        );
    }

    #[test]
    fn a_line_feed_inside_a_segment_is_text_where_segments_end_in_cr() {
        let message = Message::parse("MSH|^~\\&|A\rOBX|1|TX|||one\ntwo\rNTE|1\nNTE|2").unwrap();
        assert_eq!(message.len(), 4);
        assert_eq!(message.segment(1).unwrap().field(5), "one\ntwo");
    }

    #[test]
    fn a_line_feed_at_the_begin_of_a_line_is_a_blank_line() {
        let message = Message::parse("MSH|^~\\&|A\r\n\nodd\rNTE|1").unwrap();
        assert_eq!(message.to_string(), "MSH|^~\\&|A\rodd\rNTE|1\r");
        assert_eq!(message.oddities()[0], Oddity::BlankLine { before: 1 });
    }

    #[test]
    fn a_header_without_a_separator_has_no_fields() {
        let message = Message::parse("MSH|^~\\&|A\rBHS\rNTE|1").unwrap();
        let header = message.segment(1).unwrap();
        assert_eq!((header.name(), header.len(), header.field(1)), ("BHS", 0, ""));
    }

    #[test]
    fn separators_are_the_messages_own() {
        let message = Message::parse("MSH$%+?!#$A\rPID$1$$7%%%H!1+8").unwrap();
        assert_eq!(message.separators().truncation, Some(b'#'));
        assert_eq!(message.first("PID").unwrap().repetitions(3).count(), 2);
    }

    #[test]
    fn what_is_no_message_is_refused_by_name() {
        assert_eq!(Message::parse("").unwrap_err(), ParseError::NoHeader);
        assert_eq!(Message::parse("PID|1").unwrap_err(), ParseError::NoHeader);
        assert_eq!(Message::parse("MSH").unwrap_err(), ParseError::Separators);
        assert_eq!(Message::parse("MSH||").unwrap_err(), ParseError::Separators);
        assert_eq!(Message::parse("MSH|^^\\&|").unwrap_err(), ParseError::Separators);
        let many = format!("MSH|^~\\&|A\rZZZ{}", "|".repeat(MAX_FIELDS + 1));
        assert_eq!(Message::parse(&many).unwrap_err(), ParseError::TooManyFields { segment: 1 });
        let long = format!("MSH|^~\\&|A\r{}", "Z|\r".repeat(MAX_SEGMENTS));
        assert_eq!(Message::parse(&long).unwrap_err(), ParseError::TooManySegments);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "(MSH\\|\\^~\\\\&)?[\\PC\\r\\n|^~&]{0,200}") {
            if let Ok(message) = Message::parse(&text) {
                for segment in message.segments() {
                    for n in 0..=segment.len() + 1 {
                        let _ = segment.repetitions(n).count();
                    }
                }
            }
        }

        #[test]
        fn printing_and_parsing_again_changes_nothing(
            lines in prop::collection::vec("[A-Z][A-Z0-9]{2}(\\|[^\\r\\n]{0,12}){0,8}", 0..12)
        ) {
            let text = format!("MSH|^~\\&|A\r{}\r", lines.join("\r"));
            let printed = Message::parse(&text).unwrap().to_string();
            let again = Message::parse(&printed).unwrap().to_string();
            prop_assert_eq!(printed, again);
        }
    }
}
