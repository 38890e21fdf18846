//! What the conditions of a map ask of one segment, or of one value: each numbered test is answered once.

use crate::look::Look;
use crate::plan::{Bits, Question, Tests, When};
use std::cell::Cell;

/// The answers so far: a bit for each numbered test.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    tests: &'a Tests,
    known: Cell<Bits>,
    holds: Cell<Bits>,
    read: Cell<Bits>,
}

impl<'a> Answers<'a> {
    /// Nothing is answered yet.
    pub fn of(tests: &'a Tests) -> Self {
        Self { tests, known: Cell::new(0), holds: Cell::new(0), read: Cell::new(0) }
    }

    /// Forgets what was said of another repetition.
    pub fn forget_each(&mut self) {
        let kept = !self.tests.each;
        [&mut self.known, &mut self.holds, &mut self.read].into_iter().for_each(|bits| *bits.get_mut() &= kept);
    }

    /// Whether the answer to one of these tests says that the condition does not hold.
    fn refute(&self, when: &When, asked: Bits) -> bool {
        let holds = self.holds.get();
        self.known.get() & asked & (when.hold & !holds | when.fail & holds) != 0
    }

    fn learn(&self, tests: Bits, holds: Bits) {
        self.known.set(self.known.get() | tests);
        self.holds.set(self.holds.get() | holds);
    }

    /// Of these tests those whose paths were not marked as read before.
    fn read_first(&self, tests: Bits) -> Bits {
        let before = self.read.replace(self.read.get() | tests);
        tests & !before
    }
}

impl Look<'_, '_> {
    pub fn holds(&self, when: &When) -> bool {
        !self.is_ruled_out(when, Bits::MAX) && when.rest.as_ref().is_none_or(|rest| rest.holds(self))
    }

    /// Whether it cannot hold for any repetition of a field: a test of the whole segment says so.
    pub fn is_ruled_out_for_all(&self, when: &When) -> bool {
        // A switch that decides is told of where there is a value.
        when.switches.is_empty() && self.is_ruled_out(when, !self.run.answers.tests.each)
    }

    /// Whether what was asked before says that it does not hold.
    pub fn is_refuted(&self, when: &When) -> bool {
        when.switches.is_empty() && self.run.answers.refute(when, Bits::MAX)
    }

    /// Whether one of these tests says that it does not hold.
    fn is_ruled_out(&self, when: &When, asked: Bits) -> bool {
        let answers = &self.run.answers;
        loop {
            if answers.refute(when, asked) {
                return true;
            }
            let unknown = (when.hold | when.fail) & asked & !answers.known.get();
            if unknown == 0 {
                return false;
            }
            self.ask(unknown.trailing_zeros() as u8);
        }
    }

    /// Whether a numbered test holds.
    pub fn holds_once(&self, number: u8) -> bool {
        if self.run.answers.known.get() & 1 << number == 0 {
            self.ask(number);
        }
        self.run.answers.holds.get() & 1 << number != 0
    }

    fn ask(&self, number: u8) {
        let answers = &self.run.answers;
        match answers.tests.question(number) {
            Some(question) => answers.learn(question.tests, self.answer(question)),
            None => answers.learn(1 << number, Bits::from(answers.tests.test(number).holds(self)) << number),
        }
    }

    fn answer(&self, question: &Question) -> Bits {
        let at = self.narrow(&question.path);
        let valued = if at.is_some_and(|at| self.says(at)) { question.valued } else { 0 };
        match question.asks_for_text() {
            true => valued | question.among(&self.compared(at)),
            false => valued,
        }
    }

    /// Has every path that a condition asks for marked as read.
    pub fn read_all(&self, when: &When) {
        let mut first = self.run.answers.read_first(when.hold | when.fail);
        while first != 0 {
            self.run.answers.tests.test(first.trailing_zeros() as u8).read(self);
            first &= first - 1;
        }
        if let Some(rest) = &when.rest {
            rest.read(self);
        }
    }

    /// Whether a numbered test's path was not marked as read before.
    pub fn reads_first_of(&self, number: u8) -> bool {
        self.run.answers.read_first(1 << number) != 0
    }
}
