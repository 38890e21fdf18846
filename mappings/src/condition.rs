//! The guide's condition language: `PID-13.2 NOT VALUED AND (PV1-2 IN ("I", "E") OR OBX-5 LST.COUNT GREATER THAN 1)`.
//! AND binds closer than OR. Reading is here; looking a path up is the caller's.

use crate::path::{SegmentName, Source};
use std::borrow::Cow;

/// How deep parentheses may nest: maps are written by people.
const MAX_DEPTH: usize = 20;

/// A path that a condition asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub source: Source,
    /// Its number among the paths of its map that mean the same for every rule of a segment; none where the answer
    /// depends on the repetition that the rule is at.
    pub memo: Option<u16>,
}

/// A compiled condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    Valued(Asked),
    /// There is such a segment that this one may see.
    Present(SegmentName),
    /// A site switch stands on one of these choices: `$nk1 EQUALS "contact"`.
    Switch(String, Vec<String>),
    /// The value is an NM: a decimal number.
    Numeric(Asked),
    In(Asked, Vec<String>),
    /// Like one of these patterns: `#` stands for digits, `*` for anything.
    Like(Asked, Vec<String>),
    Length(Asked, Compare, usize),
    Count(Asked, Compare, usize),
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
    fn valued(&self, path: &Asked) -> bool;
    /// The decoded text of a path's first part, empty where there is none.
    fn text(&self, path: &Asked) -> Cow<'_, str>;
    /// How many repetitions of a field are valued.
    fn count(&self, path: &Asked) -> usize;
    /// Whether there is such a segment in sight.
    fn present(&self, segment: SegmentName) -> bool;
    /// Where a site switch stands.
    fn switch(&self, name: &str) -> &str;
}

impl Condition {
    /// Reads a condition; a leading `IF` is the guide's habit.
    pub fn parse(text: &str) -> Result<Self, ConditionError> {
        let words = words(text);
        let mut reader = Reader { words: &words, at: 0, text, depth: 0 };
        reader.take("IF");
        let condition = reader.any()?;
        if reader.at < words.len() {
            return Err(reader.fail("something is left over"));
        }
        Ok(condition)
    }

    /// Whether it holds.
    pub fn holds(&self, facts: &impl Facts) -> bool {
        let among = |list: &[String], text: &str| list.iter().any(|item| item == text);
        match self {
            Self::Valued(path) => facts.valued(path),
            Self::Present(segment) => facts.present(*segment),
            Self::Switch(name, list) => among(list, facts.switch(name)),
            Self::Numeric(path) => crate::convert::is_decimal(&facts.text(path)),
            Self::In(path, list) => among(list, &facts.text(path)),
            Self::Like(path, list) => {
                let text = facts.text(path);
                list.iter().any(|pattern| is_like(pattern.as_bytes(), text.as_bytes()))
            }
            Self::Length(path, compare, n) => compare.holds(facts.text(path).chars().count(), *n),
            Self::Count(path, compare, n) => compare.holds(facts.count(path), *n),
            Self::Not(inner) => !inner.holds(facts),
            Self::All(list) => list.iter().all(|c| c.holds(facts)),
            Self::Any(list) => list.iter().any(|c| c.holds(facts)),
        }
    }

    /// Shows every path that it asks for.
    pub fn asked(&self, see: &mut impl FnMut(&Asked)) {
        match self {
            Self::Valued(p)
            | Self::Numeric(p)
            | Self::In(p, _)
            | Self::Like(p, _)
            | Self::Length(p, ..)
            | Self::Count(p, ..) => see(p),
            Self::Present(_) | Self::Switch(..) => {}
            Self::Not(inner) => inner.asked(see),
            Self::All(list) | Self::Any(list) => list.iter().for_each(|c| c.asked(see)),
        }
    }

    /// Numbers the paths whose answer holds for a whole segment: `memo` gives the number.
    pub fn number(&mut self, memo: &mut impl FnMut(&Source) -> Option<u16>) {
        match self {
            Self::Valued(p)
            | Self::Numeric(p)
            | Self::In(p, _)
            | Self::Like(p, _)
            | Self::Length(p, ..)
            | Self::Count(p, ..) => {
                p.memo = memo(&p.source);
            }
            Self::Present(_) | Self::Switch(..) => {}
            Self::Not(inner) => inner.number(memo),
            Self::All(list) | Self::Any(list) => list.iter_mut().for_each(|c| c.number(memo)),
        }
    }

    /// Shows every switch that it asks, with the choices asked for.
    pub fn switches<'c>(&'c self, see: &mut impl FnMut(&'c str, &'c [String])) {
        match self {
            Self::Switch(name, choices) => see(name, choices),
            Self::Not(inner) => inner.switches(see),
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

#[derive(Debug, PartialEq)]
enum Word {
    Plain(String),
    Quoted(String),
    Mark(char),
}

fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => words.push(Word::Quoted(chars.by_ref().take_while(|c| *c != '"').collect())),
            '(' | ')' | ',' => words.push(Word::Mark(c)),
            c if c.is_whitespace() => {}
            c => {
                let mut word = String::from(c);
                while let Some(next) = chars.next_if(|n| !n.is_whitespace() && !"(),\"".contains(*n)) {
                    word.push(next);
                }
                words.push(Word::Plain(word));
            }
        }
    }
    words
}

fn negated(condition: Condition, not: bool) -> Condition {
    if not { Condition::Not(Box::new(condition)) } else { condition }
}

struct Reader<'w> {
    words: &'w [Word],
    at: usize,
    text: &'w str,
    depth: usize,
}

impl Reader<'_> {
    fn fail(&self, problem: &'static str) -> ConditionError {
        ConditionError { text: self.text.to_owned(), problem, word: self.at + 1 }
    }

    fn take(&mut self, word: &str) -> bool {
        let found = matches!(self.words.get(self.at), Some(Word::Plain(w)) if w.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn mark(&mut self, mark: char) -> bool {
        let found = self.words.get(self.at) == Some(&Word::Mark(mark));
        self.at += usize::from(found);
        found
    }

    fn any(&mut self) -> Result<Condition, ConditionError> {
        let mut list = vec![self.all()?];
        while self.take("OR") {
            self.take("IF");
            list.push(self.all()?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Condition::Any(list) })
    }

    fn all(&mut self) -> Result<Condition, ConditionError> {
        let mut list = vec![self.one()?];
        while self.take("AND") {
            self.take("IF");
            list.push(self.one()?);
        }
        Ok(if list.len() == 1 { list.remove(0) } else { Condition::All(list) })
    }

    fn one(&mut self) -> Result<Condition, ConditionError> {
        if self.take("NOT") {
            return Ok(Condition::Not(Box::new(self.one()?)));
        }
        if self.mark('(') {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err(self.fail("parentheses nest too deep"));
            }
            let inner = self.any()?;
            self.depth -= 1;
            return if self.mark(')') { Ok(inner) } else { Err(self.fail("a parenthesis is missing")) };
        }
        let Some(Word::Plain(word)) = self.words.get(self.at) else {
            return Err(self.fail("a path is missing"));
        };
        if let Some(switch) = word.strip_prefix('$') {
            self.at += 1;
            return self.switch(switch.to_owned());
        }
        let path = Source::parse(word).map_err(|_| self.fail("not a path"))?;
        self.at += 1;
        match path {
            Source::Segment => self.segment(word),
            source => self.test(Asked { source, memo: None }),
        }
    }

    fn switch(&mut self, name: String) -> Result<Condition, ConditionError> {
        self.take("IS");
        let not = self.take("NOT");
        let list = if self.take("IN") {
            self.list()?
        } else {
            _ = self.take("EQUALS") || self.take("EQUAL") || self.take("=");
            vec![self.quoted()?]
        };
        Ok(negated(Condition::Switch(name, list), not))
    }

    fn segment(&mut self, name: &str) -> Result<Condition, ConditionError> {
        self.take("IS");
        let not = self.take("NOT");
        let segment = SegmentName::read(name).ok_or_else(|| self.fail("not a segment"))?;
        if self.take("VALUED") {
            Ok(negated(Condition::Present(segment), not))
        } else {
            Err(self.fail("a segment is VALUED or not"))
        }
    }

    fn test(&mut self, path: Asked) -> Result<Condition, ConditionError> {
        self.take("IS");
        let not = self.take("NOT");
        let condition = if self.take("VALUED") {
            Condition::Valued(path)
        } else if self.take("NUMERIC") {
            Condition::Numeric(path)
        } else if self.take("IN") {
            Condition::In(path, self.list()?)
        } else if self.take("LIKE") {
            Condition::Like(path, self.list()?)
        } else if self.take("LENGTH") {
            let compare = self.compare()?;
            Condition::Length(path, compare, self.number()?)
        } else if self.take("LST.COUNT") || self.take("COUNT") {
            let compare = self.compare()?;
            Condition::Count(path, compare, self.number()?)
        } else {
            _ = self.take("EQUALS") || self.take("EQUAL") || self.take("=");
            Condition::In(path, vec![self.quoted()?])
        };
        Ok(negated(condition, not))
    }

    fn compare(&mut self) -> Result<Compare, ConditionError> {
        let not = self.take("NOT");
        if self.take("EQUALS") || self.take("EQUAL") {
            return Ok(if not { Compare::NotEqual } else { Compare::Equal });
        }
        let greater = self.take("GREATER");
        if not || !(greater || self.take("LESS")) || !self.take("THAN") {
            return Err(self.fail("a comparison is missing"));
        }
        let or_equal = self.take("OR") && (self.take("EQUALS") || self.take("EQUAL"));
        Ok(match (greater, or_equal) {
            (true, false) => Compare::Greater,
            (true, true) => Compare::GreaterOrEqual,
            (false, false) => Compare::Less,
            (false, true) => Compare::LessOrEqual,
        })
    }

    fn number(&mut self) -> Result<usize, ConditionError> {
        let number = match self.words.get(self.at) {
            Some(Word::Plain(word)) => word.parse().ok(),
            _ => None,
        };
        self.at += 1;
        number.ok_or_else(|| self.fail("a number is missing"))
    }

    fn quoted(&mut self) -> Result<String, ConditionError> {
        let Some(Word::Quoted(text)) = self.words.get(self.at) else {
            return Err(self.fail("a quoted text is missing"));
        };
        self.at += 1;
        Ok(text.clone())
    }

    fn list(&mut self) -> Result<Vec<String>, ConditionError> {
        if !self.mark('(') {
            return Err(self.fail("a list is missing"));
        }
        let mut list = vec![self.quoted()?];
        while self.mark(',') {
            list.push(self.quoted()?);
        }
        if self.mark(')') { Ok(list) } else { Err(self.fail("a parenthesis is missing")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    struct Fixed(HashMap<&'static str, Vec<&'static str>>);

    impl Facts for Fixed {
        fn valued(&self, path: &Asked) -> bool {
            !self.text(path).is_empty()
        }

        fn text(&self, path: &Asked) -> Cow<'_, str> {
            let Source::Field { segment, field, .. } = path.source else { return Cow::Borrowed("") };
            let values = self.0.get(format!("{segment}-{field}").as_str());
            Cow::Borrowed(values.and_then(|v| v.first()).copied().unwrap_or(""))
        }

        fn count(&self, path: &Asked) -> usize {
            let Source::Field { segment, field, .. } = path.source else { return 0 };
            self.0.get(format!("{segment}-{field}").as_str()).map_or(0, Vec::len)
        }

        fn present(&self, segment: SegmentName) -> bool {
            self.0.keys().any(|key| key.starts_with(&segment.to_string()))
        }

        fn switch(&self, name: &str) -> &str {
            if name == "nk1" { "contact" } else { "" }
        }
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
