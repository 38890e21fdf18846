//! Reads query strings: parameters, searches, page cursors. Pure.

use crate::index::tokens::{Identifier, Term};
use crate::limits::{DEFAULT_PAGE, MAX_PAGE, MAX_QUERY_BYTES, MAX_QUERY_TERMS, MAX_QUERY_VALUES};
use jiff::Timestamp;

/// The search parameters of this release, with their FHIR types; the CapabilityStatement is made from this.
pub const PARAMETERS: &[(&str, &str)] =
    &[("_id", "token"), ("_lastUpdated", "date"), ("identifier", "token"), ("patient", "reference")];
/// Parameters that steer the reply.
const CONTROL: &[&str] = &["_count", "_cursor", "_elements", "_format", "_pretty", "_summary", "_total"];

/// A search as it was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Alternatives inside, all of the outer must hold.
    pub terms: Vec<Vec<Term>>,
    pub ids: Option<Vec<String>>,
    /// Milliseconds since 1970, from inclusive, to exclusive.
    pub updated: Vec<(Option<i64>, Option<i64>)>,
    pub count: usize,
    /// Rows after this one.
    pub cursor: i64,
    /// The parameters that this server does not know.
    pub unknown: Vec<String>,
}

/// Decodes `a=b&c=d`. A bad escape is an error, not a guess.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    if query.len() > MAX_QUERY_BYTES {
        return Err(format!("a query is at most {MAX_QUERY_BYTES} bytes long"));
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

/// Reads a search over a type.
pub fn search(pairs: &[(String, String)]) -> Result<Search, String> {
    let mut search = Search { count: DEFAULT_PAGE, ..Search::default() };
    for (name, value) in pairs {
        match name.as_str() {
            "_id" => narrow_ids(&mut search, values(value)?),
            "identifier" => {
                let parse = |v: &String| {
                    Identifier::parse(v)
                        .map(Term::Identifier)
                        .ok_or("identifier: needs a value, `value` or `system|value`")
                };
                search.terms.push(values(value)?.iter().map(parse).collect::<Result<_, _>>()?);
            }
            "patient" => search.terms.push(values(value)?.iter().map(|v| patient(v)).collect::<Result<_, _>>()?),
            "_lastUpdated" => search.updated.push(period(value)?),
            "_count" => search.count = page_size(value)?,
            "_cursor" => search.cursor = cursor(value)?,
            known if CONTROL.contains(&known) => {}
            // An unknown modifier changes the meaning: never ignored (R4 3.1.1.4.5).
            modified if modified.contains(':') || modified.contains('.') => {
                return Err("modifiers and chained parameters are not supported in this release".into());
            }
            _ => search.unknown.push(name.chars().take(100).collect()),
        }
    }
    Ok(search)
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

/// Alternatives are separated by commas; `\,` is a comma (R4 3.1.1.4.19).
fn values(text: &str) -> Result<Vec<String>, String> {
    let mut list = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let last = list.len() - 1;
        match c {
            ',' => list.push(String::new()),
            '\\' => list[last].extend(chars.next()),
            c => list[last].push(c),
        }
    }
    if list.len() > MAX_QUERY_VALUES {
        return Err(format!("at most {MAX_QUERY_VALUES} alternatives"));
    }
    Ok(list)
}

fn narrow_ids(search: &mut Search, ids: Vec<String>) {
    search.ids = Some(match search.ids.take() {
        None => ids,
        Some(old) => old.into_iter().filter(|id| ids.contains(id)).collect(),
    });
}

fn patient(text: &str) -> Result<Term, String> {
    let id = text.rsplit('/').next().unwrap_or("");
    let whole = text.strip_suffix(id).unwrap_or("");
    let named = whole.is_empty() || whole == "Patient/" || whole.ends_with("/Patient/");
    if named && !id.is_empty() { Ok(Term::Patient(id.to_owned())) } else { Err("patient: `id` or `Patient/id`".into()) }
}

/// `ge2026-01-01` and its like as a span of milliseconds. A date without a time is the whole day in UTC.
fn period(text: &str) -> Result<(Option<i64>, Option<i64>), String> {
    let bad = || "_lastUpdated: a prefix eq, ge, gt, le, lt or sa, eb, and a date or instant".to_owned();
    let (prefix, rest) = match text.get(..2) {
        Some(p @ ("eq" | "ge" | "gt" | "le" | "lt" | "sa" | "eb")) => (p, &text[2..]),
        _ => ("eq", text),
    };
    let (from, to) = span(rest).ok_or_else(bad)?;
    Ok(match prefix {
        "ge" => (Some(from), None),
        "gt" | "sa" => (Some(to), None),
        "le" => (None, Some(to)),
        "lt" | "eb" => (None, Some(from)),
        _ => (Some(from), Some(to)),
    })
}

/// A date or instant as the span of milliseconds that it covers.
pub fn span(text: &str) -> Option<(i64, i64)> {
    use jiff::ToSpan;
    if let Ok(time) = text.parse::<Timestamp>() {
        let from = time.as_millisecond();
        let length = if text.contains('.') { 1 } else { 1_000 };
        return Some((from, from + length));
    }
    if !mappings::time::is_date(text) {
        return None;
    }
    let start = match text.len() {
        4 => format!("{text}-01-01"),
        7 => format!("{text}-01"),
        _ => text.to_owned(),
    };
    let day: jiff::civil::Date = start.parse().ok()?;
    let end = match text.len() {
        4 => day.checked_add(1.year()),
        7 => day.checked_add(1.month()),
        _ => day.checked_add(1.day()),
    };
    let utc =
        |date: jiff::civil::Date| date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp().as_millisecond());
    Some((utc(day)?, utc(end.ok()?)?))
}

/// The self link's query: what was understood, in a stable order.
pub fn understood(pairs: &[(String, String)]) -> String {
    let known = |name: &str| PARAMETERS.iter().any(|(n, _)| *n == name) || name == "_count";
    let kept: Vec<String> =
        pairs.iter().filter(|(n, _)| known(n)).map(|(n, v)| format!("{}={}", encode(n), encode(v))).collect();
    kept.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(query: &str) -> Result<Search, String> {
        search(&pairs(query)?)
    }

    #[test]
    fn searches_are_read() {
        let search = read("identifier=urn%3Aa%7C1,2&patient=Patient/p&_id=a,b&_id=b&_count=5&foo=1").unwrap();
        assert_eq!(search.terms[0].len(), 2);
        assert_eq!(search.terms[1], [Term::Patient("p".into())]);
        assert_eq!(search.ids, Some(vec!["b".to_owned()]));
        assert_eq!((search.count, search.unknown), (5, vec!["foo".to_owned()]));
        assert_eq!(read("identifier=a\\,b").unwrap().terms[0], [Term::Identifier(Identifier::Value("a,b".into()))]);
        assert_eq!(read("_count=999999").unwrap().count, MAX_PAGE);
    }

    #[test]
    fn last_updated_covers_what_was_written() {
        let day = 86_400_000;
        let (from, to) = period("2026-01-02").unwrap();
        assert_eq!(to.unwrap() - from.unwrap(), day);
        assert_eq!(period("lt2026-01-02").unwrap(), (None, from));
        assert_eq!(period("gt2026-01-02").unwrap(), (to, None));
        assert_eq!(period("2026-01-02T00:00:00Z").unwrap(), (from, from.map(|f| f + 1_000)));
        let (from, to) = period("2024").unwrap();
        assert_eq!(to.unwrap() - from.unwrap(), 366 * day);
        assert!(["", "yesterday", "ne2026", "2026-13"].iter().all(|t| period(t).is_err()));
    }

    #[test]
    fn nonsense_is_refused() {
        for query in [
            "identifier=%zz",
            "identifier:not=1",
            "patient.identifier=1",
            "_count=x",
            "_cursor=-1",
            "identifier=",
            "patient=Group/1",
            "a=%ff",
        ] {
            assert!(read(query).is_err(), "{query}");
        }
        assert!(read(&"a=1&".repeat(MAX_QUERY_TERMS + 1)).is_err());
        assert!(read(&"a".repeat(MAX_QUERY_BYTES + 1)).is_err());
        assert!(read(&format!("_id={}", "a,".repeat(MAX_QUERY_VALUES))).is_err());
    }

    proptest! {
        #[test]
        fn encoding_is_undone(text in "\\PC{0,20}") {
            prop_assert_eq!(decode(&encode(&text)).unwrap(), text);
        }
    }
}
