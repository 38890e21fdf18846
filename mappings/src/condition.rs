//! The guide's condition language: `PID-13.2 NOT VALUED AND (PV1-2 IN ("I", "E") OR OBX-5 LST.COUNT GREATER THAN 1)`.
//! AND binds closer than OR. Reading is in `read.rs`; looking a path up is the caller's.

mod read;

use crate::path::{SegmentName, Source};
use std::borrow::Cow;

/// A compiled condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Valued(Source),
    /// There is such a segment that this one may see.
    Present(SegmentName),
    /// A site switch stands on one of these choices: `$nk1 EQUALS "contact"`.
    Switch(String, Vec<String>),
    /// The value is an NM: a decimal number.
    Numeric(Source),
    /// The value is an OID as FHIR writes it.
    Oid(Source),
    In(Source, Vec<String>),
    /// Like one of these patterns: `#` stands for digits, `*` for anything.
    Like(Source, Vec<String>),
    Length(Source, Compare, usize),
    Count(Source, Compare, usize),
    /// A test that has one answer for a whole segment, with its number among those of its map.
    Once(u8, Box<Condition>),
    Not(Box<Condition>),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

/// A comparison of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
}

/// Where a condition stops making sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("condition `{text}`: {problem} at word {word}")]
pub struct ConditionError {
    text: String,
    problem: &'static str,
    word: usize,
}

/// Answers what a condition asks of a message.
pub trait Facts {
    /// Whether any part of a path's value says something.
    fn valued(&self, path: &Source) -> bool;
    /// The decoded text of a path's first part, empty where there is none.
    fn text(&self, path: &Source) -> Cow<'_, str>;
    /// How many repetitions of a field are valued.
    fn count(&self, path: &Source) -> usize;
    /// Whether there is such a segment in sight.
    fn present(&self, segment: SegmentName) -> bool;
    /// Where a site switch stands.
    fn switch(&self, name: &str) -> &str;
    /// The answer to a numbered test, found once for a segment.
    fn once(&self, number: u8, test: &Condition) -> bool;
    /// Whether this segment did not have the numbered test's path marked before.
    fn reads_first(&self, number: u8) -> bool;
    /// Marks a path as read.
    fn read(&self, path: &Source);
}

impl Condition {
    /// Whether it holds.
    pub fn holds(&self, facts: &impl Facts) -> bool {
        let among = |list: &[String], text: &str| list.iter().any(|item| item == text);
        match self {
            Self::Valued(path) => facts.valued(path),
            Self::Present(segment) => facts.present(*segment),
            Self::Switch(name, list) => among(list, facts.switch(name)),
            Self::Numeric(path) => crate::convert::is_decimal(&facts.text(path)),
            Self::Oid(path) => crate::r4::is_oid(&facts.text(path)),
            Self::In(path, list) => among(list, &facts.text(path)),
            Self::Like(path, list) => {
                let text = facts.text(path);
                list.iter().any(|pattern| is_like(pattern.as_bytes(), text.as_bytes()))
            }
            Self::Length(path, compare, n) => compare.holds(facts.text(path).chars().count(), *n),
            Self::Count(path, compare, n) => compare.holds(facts.count(path), *n),
            Self::Once(number, test) => facts.once(*number, test),
            Self::Not(inner) => !inner.holds(facts),
            Self::All(list) => list.iter().all(|c| c.holds(facts)),
            Self::Any(list) => list.iter().any(|c| c.holds(facts)),
        }
    }

    /// Has every path that it asks for marked as read.
    pub fn read(&self, facts: &impl Facts) {
        match self {
            Self::Once(number, test) if facts.reads_first(*number) => test.read(facts),
            Self::Not(inner) => inner.read(facts),
            Self::All(list) | Self::Any(list) => list.iter().for_each(|c| c.read(facts)),
            test => test.path().into_iter().for_each(|path| facts.read(path)),
        }
    }

    /// The path that a single test asks for.
    pub fn path(&self) -> Option<&Source> {
        match self {
            Self::Valued(p)
            | Self::Numeric(p)
            | Self::Oid(p)
            | Self::In(p, _)
            | Self::Like(p, _)
            | Self::Length(p, ..)
            | Self::Count(p, ..) => Some(p),
            _ => None,
        }
    }

    /// Numbers the tests that have one answer for a whole segment: `number` gives the number.
    pub fn number(&mut self, number: &mut impl FnMut(&Self) -> Option<u8>) {
        match self {
            Self::Not(inner) => inner.number(number),
            Self::All(list) | Self::Any(list) => list.iter_mut().for_each(|c| c.number(number)),
            test => {
                if let Some(found) = number(test) {
                    *test = Self::Once(found, Box::new(test.clone()));
                }
            }
        }
    }

    /// Shows every switch that it asks, with the choices asked for.
    pub fn switches<'c>(&'c self, see: &mut impl FnMut(&'c str, &'c [String])) {
        match self {
            Self::Switch(name, choices) => see(name, choices),
            Self::Once(_, inner) | Self::Not(inner) => inner.switches(see),
            Self::All(list) | Self::Any(list) => list.iter().for_each(|c| c.switches(see)),
            _ => {}
        }
    }
}

fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| is_like(rest, &text[at..])),
        Some((b'#', rest)) => {
            let digits = text.iter().take_while(|b| b.is_ascii_digit()).count();
            digits > 0 && is_like(rest, &text[digits..])
        }
        Some((sign, rest)) => text.first() == Some(sign) && is_like(rest, &text[1..]),
    }
}

impl Compare {
    fn holds(self, left: usize, right: usize) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Greater => left > right,
            Self::Less => left < right,
            Self::GreaterOrEqual => left >= right,
            Self::LessOrEqual => left <= right,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    struct Fixed(HashMap<&'static str, Vec<&'static str>>);

    impl Facts for Fixed {
        fn valued(&self, path: &Source) -> bool {
            !self.text(path).is_empty()
        }

        fn text(&self, path: &Source) -> Cow<'_, str> {
            let Source::Field { segment, field, .. } = *path else { return Cow::Borrowed("") };
            let values = self.0.get(format!("{segment}-{field}").as_str());
            Cow::Borrowed(values.and_then(|v| v.first()).copied().unwrap_or(""))
        }

        fn count(&self, path: &Source) -> usize {
            let Source::Field { segment, field, .. } = *path else { return 0 };
            self.0.get(format!("{segment}-{field}").as_str()).map_or(0, Vec::len)
        }

        fn present(&self, segment: SegmentName) -> bool {
            self.0.keys().any(|key| key.starts_with(&segment.to_string()))
        }

        fn switch(&self, name: &str) -> &str {
            if name == "nk1" { "contact" } else { "" }
        }

        fn once(&self, _: u8, test: &Condition) -> bool {
            test.holds(self)
        }

        fn reads_first(&self, _: u8) -> bool {
            false
        }

        fn read(&self, _: &Source) {}
    }

    #[test]
    fn the_guides_words_mean_what_they_say() {
        let facts =
            Fixed(HashMap::from([("PV1-2", vec!["I"]), ("OBX-5", vec!["1", "2"]), ("PID-7", vec!["198002291305"])]));
        for (text, expected) in [
            ("PV1-2 VALUED", true),
            ("IF PV1-3 NOT VALUED", true),
            ("PV1-2 IS NOT VALUED", false),
            ("PV1-2 EQUALS \"I\"", true),
            ("PV1-2 NOT EQUALS \"I\"", false),
            ("PV1-2 IN (\"E\", \"I\")", true),
            ("PV1-2 NOT IN (\"E\")", true),
            ("PID-7 NUMERIC", true),
            ("PID-7 NOT OID", true),
            ("PV1-2 NOT NUMERIC", true),
            ("PID-7 LENGTH GREATER THAN 8", true),
            ("PID-7 LENGTH LESS THAN OR EQUALS 12", true),
            ("OBX-5 LST.COUNT GREATER THAN 1", true),
            ("OBX-5 LST.COUNT NOT EQUALS 2", false),
            ("PV1-3 VALUED OR PV1-2 VALUED AND PID-7 VALUED", true),
            ("(PV1-2 VALUED OR PV1-3 VALUED) AND PV1-4 VALUED", false),
            ("NOT (PV1-3 VALUED OR PV1-4 VALUED)", true),
            ("PID-7 LIKE (\"X#\", \"19#\")", true),
            ("PV1-2 NOT LIKE (\"*#\")", true),
            ("PV1 VALUED AND PV2 NOT VALUED", true),
            ("$nk1 EQUALS \"contact\"", true),
            ("$nk1 NOT IN (\"contact\", \"both\")", false),
        ] {
            assert_eq!(Condition::parse(text).unwrap().holds(&facts), expected, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for text in [
            "",
            "PV1-2",
            "PV1-2 VALUED PV1-3",
            "PV1-2 IN \"A\"",
            "(PV1-2 VALUED",
            "PV1-2 LENGTH 8",
            "PV1-2 EQUALS I",
            "hello VALUED",
            "PV1 EQUALS \"I\"",
            "$nk1",
        ] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
        let deep = format!("{}PV1-2 VALUED", "(".repeat(100));
        assert!(Condition::parse(&deep).unwrap_err().to_string().contains("too deep"));
    }
}
