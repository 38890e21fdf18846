//! Segments as text (ER7 encoding, v2.8.2 chapter 2.5), in the standard separators. A value is escaped when it is written
//! (chapter 2.7) and nowhere else; no text is pasted together with its separators before.

use super::ToV2Error;
use crate::parse::MAX_MESSAGE_BYTES;
use std::collections::BTreeMap;

/// MSH-1 and MSH-2. The truncation character of version 2.7 is not used: nothing is truncated.
const ENCODING: &str = "|^~\\&";

/// A value that stands somewhere in a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    pub text: String,
    /// In a field of type FT, where a line end is a formatting command.
    pub formatted: bool,
}

/// One repetition of a field: values by component and subcomponent, from 1.
pub(crate) type Repetition = BTreeMap<(u16, u16), Text>;

/// One segment: the repetitions of its valued fields, by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    pub name: String,
    pub fields: BTreeMap<u16, Vec<Repetition>>,
}

/// The message's text, each segment ended by CR (chapter 2.5.3).
pub(crate) fn message(segments: &[Segment]) -> Result<String, ToV2Error> {
    let mut out = String::new();
    for written in segments {
        segment(written, &mut out);
        if out.len() > MAX_MESSAGE_BYTES {
            return Err(ToV2Error::TooLarge);
        }
    }
    Ok(out)
}

fn segment(segment: &Segment, out: &mut String) {
    out.push_str(&segment.name);
    let mut field = 0;
    if segment.name == "MSH" {
        out.push_str(ENCODING);
        field = 2;
    }
    for (&number, repetitions) in segment.fields.range(field + 1..) {
        fill(out, '|', number - field);
        field = number;
        for (n, repetition) in repetitions.iter().enumerate() {
            fill(out, '~', u16::from(n > 0));
            write_repetition(repetition, out);
        }
    }
    out.push('\r');
}

fn write_repetition(repetition: &Repetition, out: &mut String) {
    let mut at = (1, 1);
    for (&(component, subcomponent), text) in repetition {
        if component > at.0 {
            fill(out, '^', component - at.0);
            at = (component, 1);
        }
        fill(out, '&', subcomponent - at.1);
        at.1 = subcomponent;
        escape(text, out);
    }
}

fn fill(out: &mut String, separator: char, times: u16) {
    out.extend((0..times).map(|_| separator));
}

/// Escapes delimiters, line ends and control characters (chapter 2.7.1); CR, LF and CRLF are one line end each.
fn escape(text: &Text, out: &mut String) {
    let mut chars = text.text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '|' => out.push_str("\\F\\"),
            '^' => out.push_str("\\S\\"),
            '&' => out.push_str("\\T\\"),
            '~' => out.push_str("\\R\\"),
            '\\' => out.push_str("\\E\\"),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\r' | '\n' if text.formatted => out.push_str("\\.br\\"),
            '\r' => out.push_str("\\X0A\\"),
            c if c.is_ascii_control() => out.push_str(&format!("\\X{:02X}\\", u32::from(c))),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charset::Charset;
    use crate::escape::decode;
    use crate::parse::{Message, Separators, part};
    use proptest::prelude::*;

    fn plain(text: &str) -> Text {
        Text { text: text.to_owned(), formatted: false }
    }

    fn repetition(values: &[(u16, u16, &str)]) -> Repetition {
        values.iter().map(|(component, subcomponent, text)| ((*component, *subcomponent), plain(text))).collect()
    }

    #[test]
    fn everything_stands_at_its_number_and_nothing_trails() {
        let number = repetition(&[(1, 1, "7"), (4, 2, "1.2"), (4, 3, "ISO"), (5, 1, "MR")]);
        let fields = [(3, vec![number, repetition(&[(1, 1, "8")])]), (8, vec![repetition(&[(1, 1, "F")])])];
        let segment = Segment { name: "PID".into(), fields: BTreeMap::from(fields) };
        assert_eq!(message(&[segment]), Ok("PID|||7^^^&1.2&ISO^MR~8|||||F\r".to_owned()));
        let fields = BTreeMap::from([(9, vec![repetition(&[(1, 1, "ACK")])])]);
        let header = Segment { name: "MSH".into(), fields };
        assert_eq!(message(&[header]), Ok("MSH|^~\\&|||||||ACK\r".to_owned()));
    }

    #[test]
    fn a_line_end_is_a_formatting_command_in_formatted_text_only() {
        let written = |formatted| {
            let mut out = String::new();
            escape(&Text { text: "a\r\nb\nc\rd\te".to_owned(), formatted }, &mut out);
            out
        };
        assert_eq!(written(true), "a\\.br\\b\\.br\\c\\.br\\d\\X09\\e");
        assert_eq!(written(false), "a\\X0A\\b\\X0A\\c\\X0A\\d\\X09\\e");
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was_and_breaks_nothing(text in "[^\\p{C}]{1,30}", other in "[|^~&\\\\\\n.brXFSTRE0-9]{1,20}", formatted: bool) {
            let values = [text, other];
            let repetition = |t: &String| BTreeMap::from([((2, 2), Text { text: t.clone(), formatted })]);
            let segment = Segment { name: "PID".into(), fields: BTreeMap::from([(5, values.iter().map(repetition).collect())]) };
            let header = Segment { name: "MSH".into(), ..Segment::default() };
            let written = message(&[header, segment]).unwrap();
            let read = Message::parse(&written).unwrap();
            prop_assert_eq!(read.len(), 2);
            let pid = read.segment(1).unwrap();
            prop_assert_eq!(pid.repetitions(5).count(), 2);
            for (raw, value) in pid.repetitions(5).zip(&values) {
                let raw = part(part(raw, Some(b'^'), 2), Some(b'&'), 2);
                prop_assert_eq!(&decode(raw, &Separators::default(), Charset::Utf8), value);
            }
        }
    }
}
