//! Reads and writes query strings. Pure.

use crate::fhir::search::span::moment;
use crate::limits::{MAX_PAGE, MAX_QUERY_BYTES, MAX_QUERY_TERMS};

/// Decodes `a=b&c=d`. A bad escape is an error, not a guess.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    pairs_of(query, MAX_QUERY_BYTES)
}

/// The same, of a text that may be longer than an address: a form.
pub fn pairs_of(query: &str, most: usize) -> Result<Vec<(String, String)>, String> {
    if query.len() > most {
        return Err(format!("a query is at most {most} bytes long"));
    }
    let pairs: Vec<_> = query.split('&').filter(|p| !p.is_empty()).collect();
    if pairs.len() > MAX_QUERY_TERMS {
        return Err(format!("a query has at most {MAX_QUERY_TERMS} parameters"));
    }
    pairs
        .into_iter()
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

/// Undoes percent-encoding and `+`.
pub fn decode(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = text.get(at + 1..at + 3).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
                let byte = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
                out.push(byte.ok_or("a percent sign without two hexadecimal digits")?);
                at += 2;
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    String::from_utf8(out).map_err(|_| "the query is not UTF-8".to_owned())
}

/// Percent-encodes everything but unreserved characters (RFC 3986 section 2.3).
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        })
        .collect()
}

/// A parameter's name as it may be told: it comes from outside.
pub fn shown(name: &str) -> &str {
    let plain = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b));
    if plain { name } else { "(unprintable)" }
}

/// `_count`, bounded.
pub fn page_size(text: &str) -> Result<usize, String> {
    let count = text.parse::<usize>().map_err(|_| "_count: a whole number")?;
    Ok(count.min(MAX_PAGE))
}

/// The opaque cursor of a page: a row number, which says nothing of any patient.
pub fn cursor(text: &str) -> Result<i64, String> {
    text.parse().ok().filter(|n| *n >= 0).ok_or_else(|| "_cursor: use the links of the page before".to_owned())
}

/// A date or instant as the span of milliseconds that it covers.
pub fn span(text: &str) -> Option<(i64, i64)> {
    let span = moment(text)?;
    Some((span.from.div_euclid(1_000), span.to.div_euclid(1_000).max(span.from.div_euclid(1_000) + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nonsense_is_refused() {
        for query in ["identifier=%zz", "a=%ff", &"a=1&".repeat(MAX_QUERY_TERMS + 1), &"a".repeat(MAX_QUERY_BYTES + 1)]
        {
            assert!(pairs(query).is_err(), "{query}");
        }
        assert!(page_size("x").is_err() && cursor("-1").is_err() && span("soon").is_none());
        assert_eq!(page_size("999999"), Ok(MAX_PAGE));
        assert_eq!(pairs("a=1+2&&b").unwrap(), [("a".into(), "1 2".into()), ("b".into(), String::new())]);
    }

    proptest! {
        #[test]
        fn encoding_is_undone(text in "\\PC{0,20}") {
            prop_assert_eq!(decode(&encode(&text)).unwrap(), text);
        }
    }
}
