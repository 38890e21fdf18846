//! Turns received bytes into text by MSH-18 (HL7 table 0211) and byte-order marks. Bytes that the
//! named character set does not have are an error: a replaced character in a name is a wrong name.

use encoding_rs::Encoding;
use std::borrow::Cow;

/// A character set that medseal reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    Utf8,
    /// ISO 8859-1 itself, in which 0x80..0x9F are control characters; `encoding_rs` only has windows-1252.
    Latin1,
    Other(&'static Encoding),
}

/// Why bytes are not text.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CharsetError {
    #[error("MSH-18 names a character set that is not supported")]
    Unknown,
    #[error("the message has bytes that its character set {name} does not have")]
    Malformed { name: &'static str },
}

/// The decoded message.
#[derive(Debug)]
pub struct Decoded<'a> {
    pub text: Cow<'a, str>,
    pub charset: Charset,
}

/// Decodes a message. `default` is the feed's character set, for messages with an empty MSH-18.
pub fn decode(bytes: &[u8], default: Charset) -> Result<Decoded<'_>, CharsetError> {
    let charset = match utf16(bytes) {
        Some(encoding) => Charset::Other(encoding),
        None => declared(bytes, default)?,
    };
    let text = charset.decode(bytes)?;
    Ok(Decoded { text, charset })
}

impl Charset {
    /// Its name, for reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Latin1 => "ISO 8859-1",
            Self::Other(encoding) => encoding.name(),
        }
    }

    /// The character set of that name: HL7 table 0211, or an IANA label in configuration.
    pub fn named(name: &str) -> Option<Self> {
        let plain: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).collect::<String>().to_uppercase();
        Some(match plain.as_str() {
            "ASCII" | "USASCII" | "ISOIR6" | "UTF8" | "UNICODEUTF8" | "UNICODE" | "8859" => Self::Utf8,
            "88591" | "ISO88591" | "LATIN1" => Self::Latin1,
            "UNICODEUTF16" | "UTF16" => Self::Other(encoding_rs::UTF_16BE),
            "ISOIR87" | "ISOIR14" | "ISOIR159" | "ISO2022JP" => Self::Other(encoding_rs::ISO_2022_JP),
            "GB180302000" | "GB18030" | "GB2312" => Self::Other(encoding_rs::GB18030),
            "KSX1001" => Self::Other(encoding_rs::EUC_KR),
            "BIG5" | "CNS116431992" => Self::Other(encoding_rs::BIG5),
            "WINDOWS1252" | "CP1252" | "ANSI" => Self::Other(encoding_rs::WINDOWS_1252),
            other => {
                let label = match other.strip_prefix("8859") {
                    Some(part) => format!("iso-8859-{part}"),
                    None => name.trim().to_ascii_lowercase(),
                };
                Self::Other(Encoding::for_label_no_replacement(label.as_bytes())?)
            }
        })
    }

    fn decode(self, bytes: &[u8]) -> Result<Cow<'_, str>, CharsetError> {
        let malformed = CharsetError::Malformed { name: self.name() };
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| malformed),
            Self::Latin1 => Ok(Cow::Owned(bytes.iter().map(|&b| char::from(b)).collect())),
            Self::Other(encoding) => {
                let body = strip_mark(bytes, encoding);
                encoding.decode_without_bom_handling_and_without_replacement(body).ok_or(malformed)
            }
        }
    }

    /// The bytes of one `\X..\` escape, or nothing if they are no text in this set.
    pub fn decode_fragment(self, bytes: &[u8]) -> Option<String> {
        self.decode(bytes).ok().map(Cow::into_owned)
    }
}

fn strip_mark<'a>(bytes: &'a [u8], encoding: &'static Encoding) -> &'a [u8] {
    let mark: &[u8] = match encoding.name() {
        "UTF-16BE" => b"\xfe\xff",
        "UTF-16LE" => b"\xff\xfe",
        _ => b"",
    };
    bytes.strip_prefix(mark).unwrap_or(bytes)
}

/// UTF-16 cannot announce itself in MSH-18 before it is decoded: its mark, or the shape of `MSH`, does.
fn utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    match bytes {
        [0xfe, 0xff, ..] | [0, b'M', 0, b'S', ..] => Some(encoding_rs::UTF_16BE),
        [0xff, 0xfe, ..] | [b'M', 0, b'S', 0, ..] => Some(encoding_rs::UTF_16LE),
        _ => None,
    }
}

fn declared(bytes: &[u8], default: Charset) -> Result<Charset, CharsetError> {
    let field = msh18(bytes).unwrap_or(b"");
    let repetition = bytes.windows(6).find(|w| w.starts_with(b"MSH")).map_or(b'~', |w| w[5]);
    let mut names = field
        .split(|&b| b == repetition)
        .map(|name| String::from_utf8_lossy(name).trim().to_owned())
        .filter(|name| !name.is_empty())
        .peekable();
    if names.peek().is_none() {
        return Ok(default);
    }
    // The sets after the first are those that the message may shift to; the richest one reads all.
    let sets: Vec<Charset> =
        names.map(|n| Charset::named(&n).ok_or(CharsetError::Unknown)).collect::<Result<_, _>>()?;
    let shifting = sets.iter().find(|c| **c == Charset::Other(encoding_rs::ISO_2022_JP));
    let set = shifting.or(sets.first()).copied().unwrap_or(default);
    // The bytes were not UTF-16, so a sender that says so has in truth converted the text.
    match set {
        Charset::Other(e) if e.name().starts_with("UTF-16") => Ok(Charset::Utf8),
        other => Ok(other),
    }
}

/// The first message's header, as far as a sender is known by it before his character set is: names are mostly ASCII.
pub fn header(bytes: &[u8]) -> Option<String> {
    header_line(bytes).map(|line| line.iter().map(|&b| char::from(b)).collect())
}

/// MSH-18 is read from the bytes: separators and header fields up to it are ASCII in every set left.
fn msh18(bytes: &[u8]) -> Option<&[u8]> {
    let line = header_line(bytes)?;
    let separator = *line.get(3)?;
    line.split(|&b| b == separator).nth(17)
}

fn header_line(bytes: &[u8]) -> Option<&[u8]> {
    // Behind a batch's own header it is the first message's that speaks for all.
    const FAR: usize = 4_096;
    let begins = |at: usize| at == 0 || matches!(bytes[at - 1], b'\r' | b'\n' | b' ' | b'\t' | 0xbf);
    let start = bytes.windows(3).take(FAR).enumerate().find(|(at, w)| *w == b"MSH" && begins(*at))?.0;
    let line = &bytes[start..];
    let end = line.iter().position(|&b| b == b'\r' || b == b'\n').unwrap_or(line.len());
    Some(&line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_set(set: &str, name: &[u8]) -> Vec<u8> {
        let head = format!("MSH|^~\\&|A|B|C|D|20260101||ADT^A01|1|P|2.5||||||{set}\rPID|1||5||");
        [head.as_bytes(), name, b"\r"].concat()
    }

    fn name(set: &str, bytes: &[u8]) -> Result<String, CharsetError> {
        let message = with_set(set, bytes);
        let text = decode(&message, Charset::Utf8)?.text.into_owned();
        Ok(text.rsplit('|').next().unwrap_or("").trim().to_owned())
    }

    #[test]
    fn each_promised_set_is_read() {
        for (set, bytes, expected) in [
            ("", "Zoë".as_bytes(), "Zoë"),
            ("UNICODE UTF-8", "日本".as_bytes(), "日本"),
            ("ASCII", b"Zoe", "Zoe"),
            ("8859/1", b"Zo\xeb", "Zoë"),
            ("8859/15", b"\xa4", "€"),
            ("windows-1252", b"\x80", "€"),
            ("ISO IR6~ISO IR87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
            ("GB 18030-2000", b"\xcd\xf5\x95\x7c", "王晐"),
        ] {
            let got = name(set, bytes).unwrap();
            if set.starts_with("GB") {
                // The second byte of this character is the field separator: decode comes first.
                assert!(got.starts_with('王') && !got.contains('|'), "{got}");
            } else {
                assert_eq!(got, expected, "{set}");
            }
        }
    }

    #[test]
    fn utf16_is_known_by_its_mark_or_shape() {
        let text = String::from_utf8(with_set("UNICODE UTF-16", "Zoë".as_bytes())).unwrap();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [be.clone(), le.clone(), [vec![0xfe, 0xff], be].concat(), [vec![0xff, 0xfe], le].concat()] {
            assert_eq!(decode(&bytes, Charset::Utf8).unwrap().text, text);
        }
    }

    #[test]
    fn wrong_bytes_and_unknown_sets_are_refused() {
        assert_eq!(name("UNICODE UTF-8", b"\xff"), Err(CharsetError::Malformed { name: "UTF-8" }));
        assert_eq!(name("KLINGON", b"x"), Err(CharsetError::Unknown));
    }

    #[test]
    fn the_set_is_found_behind_a_batch_header_and_line_ends() {
        for before in ["FHS|^~\\&|A\rBHS|^~\\&|A\r", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n"] {
            let bytes = [before.as_bytes(), &with_set("8859/1", b"Zo\xeb")].concat();
            assert!(decode(&bytes, Charset::Utf8).unwrap().text.contains("Zoë"));
        }
    }

    #[test]
    fn an_empty_field_means_the_feeds_own_set() {
        let bytes = with_set("", b"Zo\xeb");
        assert!(decode(&bytes, Charset::Latin1).unwrap().text.contains("Zoë"));
    }
}
