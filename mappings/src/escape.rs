//! Takes HL7 v2 escapes out of a value (v2.8.2 chapter 2.7). An escape that nobody can read stays as it
//! was sent: it is the sender's text, and dropping it would be silent loss.

use crate::charset::Charset;
use crate::parse::{Separators, position};
use std::borrow::Cow;

/// The most line breaks that `\.sp n\` may ask for; formatting beyond a page is an attack.
const MAX_SKIP: usize = 60;

/// The plain text of a value. Borrowed where there is nothing to decode.
pub fn decode<'a>(raw: &'a str, separators: &Separators, charset: Charset) -> Cow<'a, str> {
    let Some(escape) = separators.escape else { return Cow::Borrowed(raw) };
    if position(raw.as_bytes(), escape).is_none() {
        return Cow::Borrowed(raw);
    }
    Cow::Owned(decode_escaped(raw, char::from(escape), separators, charset))
}

fn decode_escaped(raw: &str, mark: char, separators: &Separators, charset: Charset) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    let mut shift: Option<Vec<u8>> = None;
    while let Some(at) = rest.find(mark) {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        push_shifted(&mut out, before, shift.as_deref());
        let Some(end) = after.find(mark) else {
            out.push_str(&rest[at..]);
            return out;
        };
        let body = &after[..end];
        match (body.as_bytes().first(), meaning(body, separators, charset)) {
            (Some(b'C' | b'M'), _) if hex_bytes(&body[1..]).is_some() => {
                shift = hex_bytes(&body[1..]);
            }
            (_, Some(text)) => out.push_str(&text),
            // Not an escape: the mark is text, and the next mark may begin a true one.
            (_, None) => {
                out.push_str(&rest[at..at + 1 + end]);
                rest = &after[end..];
                if !known_form(body) {
                    continue;
                }
                out.push(mark);
                rest = &rest[1..];
                continue;
            }
        }
        rest = &after[end + 1..];
    }
    push_shifted(&mut out, rest, shift.as_deref());
    out
}

/// `\Zxx\` and undecodable `\X..\` are escapes with no meaning here: kept whole, both marks.
fn known_form(body: &str) -> bool {
    matches!(body.as_bytes().first(), Some(b'X' | b'Z' | b'.'))
}

fn meaning(body: &str, separators: &Separators, charset: Charset) -> Option<Cow<'static, str>> {
    let one = |byte: Option<u8>| byte.map(|b| Cow::Owned(char::from(b).to_string()));
    match body {
        "F" => one(Some(separators.field)),
        "S" => one(Some(separators.component)),
        "T" => one(separators.subcomponent),
        "R" => one(Some(separators.repetition)),
        "E" => one(separators.escape),
        "P" | "L" => one(separators.truncation),
        "H" | "N" => Some(Cow::Borrowed("")),
        _ => match (body.as_bytes().first(), body.get(1..)) {
            (Some(b'X'), Some(hex)) => hexadecimal(hex, charset).map(Cow::Owned),
            (Some(b'.'), Some(command)) => formatting(command),
            _ => None,
        },
    }
}

/// `\Xdddd..\`: bytes in the message's character set. Control characters that FHIR strings cannot hold
/// leave the escape standing.
fn hexadecimal(hex: &str, charset: Charset) -> Option<String> {
    let text = charset.decode_fragment(&hex_bytes(hex)?)?;
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t').then_some(text)
}

fn hex_bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    if digits.is_empty() || !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            pair.iter().all(u8::is_ascii_hexdigit).then(|| u8::from_str_radix(text, 16).ok())?
        })
        .collect()
}

/// Formatting commands of FT (chapter 2.7.6): line breaks survive, indentation does not.
fn formatting(command: &str) -> Option<Cow<'static, str>> {
    let name: String = command.chars().take_while(char::is_ascii_alphabetic).collect();
    let number = command[name.len()..].trim_start_matches('+').trim();
    match name.as_str() {
        "br" | "ce" => Some(Cow::Borrowed("\n")),
        "sp" => {
            let lines = number.parse::<usize>().unwrap_or(1).clamp(1, MAX_SKIP);
            Some(Cow::Owned("\n".repeat(lines)))
        }
        "in" | "ti" | "fi" | "nf" => Some(Cow::Borrowed("")),
        "sk" => {
            let spaces = number.parse::<usize>().unwrap_or(1).clamp(1, MAX_SKIP);
            Some(Cow::Owned(" ".repeat(spaces)))
        }
        _ => None,
    }
}

/// Text after `\C2842\` or `\M2442\` is in the set that the escape names (ISO 2022).
fn push_shifted(out: &mut String, text: &str, shift: Option<&[u8]>) {
    let Some(shift) = shift.filter(|_| !text.is_empty()) else { return out.push_str(text) };
    let bytes = [&[0x1b], shift, text.as_bytes(), b"\x1b(B"].concat();
    match encoding_rs::ISO_2022_JP.decode_without_bom_handling_and_without_replacement(&bytes) {
        Some(decoded) => out.push_str(&decoded),
        None => out.push_str(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(raw: &str) -> String {
        decode(raw, &Separators::default(), Charset::Utf8).into_owned()
    }

    #[test]
    fn the_standards_escapes_are_decoded() {
        for (raw, expected) in [
            ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
            ("one\\.br\\two\\.sp2\\three", "one\ntwo\n\nthree"),
            ("\\H\\bold\\N\\ plain", "bold plain"),
            ("\\X41C3A9\\", "Aé"),
            ("\\X0D0A\\", "\n"),
            ("\\.in+4\\text\\.sk3\\x", "text   x"),
            ("\\M2442\\8@Fb\\C2842\\ ok", "言内 ok"),
        ] {
            assert_eq!(plain(raw), expected, "{raw}");
        }
    }

    #[test]
    fn what_cannot_be_read_stays_as_sent() {
        for raw in ["C:\\temp", "\\Zxyz\\", "\\X4\\", "\\XFF\\", "\\X00\\", "\\Q\\", "tail\\"] {
            assert_eq!(plain(raw), raw);
        }
        // A stray mark does not swallow the true escape behind it.
        assert_eq!(plain("5\\6 \\F\\ 7"), "5\\6 | 7");
    }

    proptest! {
        #[test]
        fn any_text_decodes_without_panic(raw in "[\\PC\\\\XCMZ.0-9a-f]{0,60}") {
            let _ = plain(&raw);
        }

        #[test]
        fn text_without_the_mark_is_itself(raw in "[^\\\\]{0,40}") {
            prop_assert_eq!(plain(&raw), raw);
        }
    }
}
