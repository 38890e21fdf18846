//! Reads the text of a condition.

use super::{Compare, Condition, ConditionError};
use crate::path::{SegmentName, Source};

/// How deep parentheses may nest: maps are written by people.
const MAX_DEPTH: usize = 20;

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
            source => self.test(source),
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

    fn test(&mut self, path: Source) -> Result<Condition, ConditionError> {
        self.take("IS");
        let not = self.take("NOT");
        let condition = if self.take("VALUED") {
            Condition::Valued(path)
        } else if self.take("NUMERIC") {
            Condition::Numeric(path)
        } else if self.take("OID") {
            Condition::Oid(path)
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
