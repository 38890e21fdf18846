//! The separators that a message brings along.

use super::ParseError;

/// The message's own separators, MSH-1 and MSH-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Separators {
    pub field: u8,
    pub component: u8,
    pub repetition: u8,
    pub escape: Option<u8>,
    pub subcomponent: Option<u8>,
    /// The fifth encoding character, since 2.7.
    pub truncation: Option<u8>,
}

impl Default for Separators {
    fn default() -> Self {
        Self {
            field: b'|',
            component: b'^',
            repetition: b'~',
            escape: Some(b'\\'),
            subcomponent: Some(b'&'),
            truncation: None,
        }
    }
}

/// MSH-1 is the byte after the name; MSH-2 is component, repetition, escape, subcomponent and, since
/// 2.7, truncation. Old senders leave the later ones out.
pub(super) fn read_separators(bytes: &[u8]) -> Result<Separators, ParseError> {
    let rest = bytes.strip_prefix(b"MSH").ok_or(ParseError::NoHeader)?;
    let (&field, rest) = rest.split_first().ok_or(ParseError::Separators)?;
    let end = rest.iter().position(|&b| b == field || b == b'\r' || b == b'\n').unwrap_or(rest.len());
    let encoding = &rest[..end];
    let all = || std::iter::once(&field).chain(encoding);
    let usable = |b: u8| b.is_ascii_graphic() && !b.is_ascii_alphanumeric();
    let distinct = all().enumerate().all(|(i, b)| all().skip(i + 1).all(|other| other != b));
    if !(1..=5).contains(&encoding.len()) || !all().all(|&b| usable(b)) || !distinct {
        return Err(ParseError::Separators);
    }
    let at = |n: usize| encoding.get(n).copied();
    let component = at(0).ok_or(ParseError::Separators)?;
    Ok(Separators {
        field,
        component,
        repetition: at(1).unwrap_or(if field == b'~' || component == b'~' { 0 } else { b'~' }),
        escape: at(2),
        subcomponent: at(3),
        truncation: at(4),
    })
}
