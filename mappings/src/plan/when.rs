//! Conditions as a plan has them. Their tests are numbered, and a condition is bits of those numbers as far as it can be;
//! one look at a path answers all tests of it. Most tests have one answer for a whole segment, or for the value that a
//! datatype map was given; the rest have one for each repetition of their rule's field.

use crate::condition::Condition;
use crate::path::Source;

/// The most tests of a map that are numbered; the rest are asked anew each time.
const MAX_TESTS: usize = 128;

/// A set of numbered tests.
pub type Bits = u128;

/// A compiled condition.
#[derive(Debug)]
pub struct When {
    /// The tests that have to hold.
    pub hold: Bits,
    /// The tests that must not hold.
    pub fail: Bits,
    /// What is asked anew each time.
    pub rest: Option<Condition>,
    /// The switches that it asks for.
    pub switches: Vec<String>,
}

impl When {
    pub fn of(condition: Condition) -> Self {
        let mut switches = Vec::new();
        condition.switches(&mut |name, _| switches.push(name.to_owned()));
        Self { hold: 0, fail: 0, rest: Some(condition), switches }
    }

    /// Numbers its tests; `is_each` tells those that have an answer for each repetition.
    pub fn number(&mut self, tests: &mut Tests, is_each: impl Fn(&Condition) -> bool) {
        let Some(mut condition) = self.rest.take() else { return };
        condition.number(&mut |test| tests.number(test, is_each(test)));
        let parts = match condition {
            Condition::All(list) => list,
            one => vec![one],
        };
        let mut rest: Vec<Condition> = parts.into_iter().filter_map(|part| self.take(part)).collect();
        self.rest = if rest.len() > 1 { Some(Condition::All(rest)) } else { rest.pop() };
    }

    /// Takes a part of the conjunction into the bits, or gives it back.
    fn take(&mut self, part: Condition) -> Option<Condition> {
        match &part {
            Condition::Once(number, _) => self.hold |= 1 << number,
            Condition::Not(inner) => match **inner {
                Condition::Once(number, _) => self.fail |= 1 << number,
                _ => return Some(part),
            },
            _ => return Some(part),
        }
        None
    }
}

/// The numbered tests of a map.
#[derive(Debug, Default)]
pub struct Tests {
    list: Vec<Numbered>,
    questions: Vec<Question>,
    /// Those that have an answer for each repetition of their field.
    pub each: Bits,
}

#[derive(Debug)]
struct Numbered {
    test: Condition,
    is_each: bool,
    question: Option<usize>,
}

/// The tests that one look at a path answers.
#[derive(Debug)]
pub struct Question {
    pub path: Source,
    is_each: bool,
    pub tests: Bits,
    /// Those that ask whether it is valued.
    pub valued: Bits,
    /// Those that hold for a text, sorted by the text.
    among: Vec<(String, Bits)>,
}

impl Tests {
    /// The number of a test; none where there are too many.
    fn number(&mut self, test: &Condition, is_each: bool) -> Option<u8> {
        let is_same = |known: &Numbered| known.is_each == is_each && known.test == *test;
        let found = self.list.iter().position(is_same).unwrap_or(self.list.len());
        let number = u8::try_from(found).ok().filter(|number| usize::from(*number) < MAX_TESTS)?;
        if found == self.list.len() {
            let question = self.put(test, is_each, 1 << number);
            self.list.push(Numbered { test: test.clone(), is_each, question });
            self.each |= Bits::from(is_each) << number;
        }
        Some(number)
    }

    /// Puts a test among those of its path, if one look can answer it.
    fn put(&mut self, test: &Condition, is_each: bool, bit: Bits) -> Option<usize> {
        let (path, texts) = match test {
            Condition::Valued(path) => (path, None),
            Condition::In(path, texts) => (path, Some(texts)),
            _ => return None,
        };
        let is_same = |known: &Question| known.is_each == is_each && known.path == *path;
        let at = self.questions.iter().position(is_same).unwrap_or_else(|| {
            self.questions.push(Question { path: *path, is_each, tests: 0, valued: 0, among: Vec::new() });
            self.questions.len() - 1
        });
        let question = &mut self.questions[at];
        question.tests |= bit;
        match texts {
            None => question.valued |= bit,
            Some(texts) => texts.iter().for_each(|text| question.add(text, bit)),
        }
        Some(at)
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn test(&self, number: u8) -> &Condition {
        &self.list[usize::from(number)].test
    }

    /// What answers a test together with others.
    pub fn question(&self, number: u8) -> Option<&Question> {
        self.list[usize::from(number)].question.map(|at| &self.questions[at])
    }
}

impl Question {
    fn add(&mut self, text: &str, bit: Bits) {
        match self.position(text) {
            Ok(at) => self.among[at].1 |= bit,
            Err(at) => self.among.insert(at, (text.to_owned(), bit)),
        }
    }

    fn position(&self, text: &str) -> Result<usize, usize> {
        self.among.binary_search_by(|(known, _)| known.as_str().cmp(text))
    }

    /// Whether some test asks for the text.
    pub fn asks_for_text(&self) -> bool {
        !self.among.is_empty()
    }

    /// The tests that hold for a text.
    pub fn among(&self, text: &str) -> Bits {
        self.position(text).map_or(0, |at| self.among[at].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn when(text: &str, tests: &mut Tests) -> When {
        let mut when = When::of(Condition::parse(text).unwrap());
        when.number(tests, |test| matches!(test, Condition::Length(..)));
        when
    }

    #[test]
    fn a_conjunction_is_bits_and_what_is_left_of_it() {
        let mut tests = Tests::default();
        let first = when("OBX-2 EQUALS \"NM\" AND OBX-5 NOT VALUED AND OBX-5 LENGTH LESS THAN 9", &mut tests);
        assert_eq!((first.hold, first.fail, tests.each), (0b101, 0b10, 0b100));
        let second = when("OBX-2 NOT IN (\"NM\", \"SN\") AND OBX-2 EQUALS \"NM\"", &mut tests);
        assert_eq!((second.hold, second.fail, second.rest), (0b1, 0b1000, None));
        let either = when("OBX-2 VALUED OR OBX-3 VALUED", &mut tests);
        assert_eq!((either.hold, either.fail), (0, 0));
        assert!(matches!(either.rest, Some(Condition::Any(list)) if matches!(list[0], Condition::Once(4, _))));
    }

    #[test]
    fn one_look_answers_all_tests_of_a_path() {
        let mut tests = Tests::default();
        for text in ["OBX-2 EQUALS \"NM\"", "OBX-2 IN (\"SN\", \"NM\")", "OBX-2 VALUED", "OBX-3 VALUED"] {
            when(text, &mut tests);
        }
        let question = tests.question(1).unwrap();
        assert_eq!((question.tests, question.valued), (0b111, 0b100));
        assert_eq!(["NM", "SN", ""].map(|text| question.among(text)), [0b11, 0b10, 0]);
    }
}
