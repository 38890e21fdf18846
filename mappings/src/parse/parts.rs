//! The parts of a text between separators.

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

/// Where a byte is first. Most values are a few bytes long: for them a plain loop beats the vector search.
pub(crate) fn position(bytes: &[u8], wanted: u8) -> Option<usize> {
    const SHORT: usize = 24;
    if bytes.len() <= SHORT { bytes.iter().position(|b| *b == wanted) } else { memchr::memchr(wanted, bytes) }
}
