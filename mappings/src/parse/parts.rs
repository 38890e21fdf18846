//! The parts of a text between separators.

/// Up to this length a plain loop beats the vector search; most values are a few bytes long.
const SHORT: usize = 24;

/// Splits at a separator; without one the whole text is the only part.
pub fn split(text: &str, separator: Option<u8>) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let (part, tail) = match separator.and_then(|s| position(current.as_bytes(), s)) {
            Some(at) => (current.get(..at).unwrap_or(""), current.get(at + 1..)),
            None => (current, None),
        };
        rest = tail;
        Some(part)
    })
}

/// Part number `number` (1-based) of a text split at a separator, or empty.
pub fn part(text: &str, separator: Option<u8>, number: usize) -> &str {
    split(text, separator).nth(number.saturating_sub(1)).unwrap_or("")
}

/// Where the first of two bytes is.
pub(crate) fn position_of_either(bytes: &[u8], one: u8, other: u8) -> Option<usize> {
    let is_either = |b: &u8| *b == one || *b == other;
    if bytes.len() <= SHORT { bytes.iter().position(is_either) } else { memchr::memchr2(one, other, bytes) }
}

/// Where a byte is first.
pub(crate) fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    if bytes.len() <= SHORT { bytes.iter().position(|b| *b == wanted) } else { memchr::memchr(wanted, bytes) }
}
