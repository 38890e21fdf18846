//! FHIR paths of the maps to v2: `name.given[1]`, `extension[url EQUALS "http://..."].valueString`,
//! `participant.individual(Practitioner)`, `Encounter.diagnosis[condition REFERS TO Condition].use`. They are read and checked
//! against R4's elements at once: what an element is decides how it is written.

use super::condition::{self, Condition};
use crate::r4;

/// How deep filters and parentheses may nest: maps are written by people.
const MAX_DEPTH: usize = 20;

/// A compiled path.
#[derive(Debug)]
pub(crate) struct Path {
    pub head: Head,
    pub steps: Vec<Step>,
    /// The type of what it yields.
    pub type_name: &'static str,
}

/// Where a path begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Head {
    /// At the item at hand.
    Here,
    /// At what the map was given: the path begins with the map's source type.
    Own,
    /// At the resource of that type that the message stands at, or at all of them.
    Resource(&'static str),
}

#[derive(Debug)]
pub(crate) enum Step {
    /// The JSON name; `_birthDate` where the path goes on into a primitive.
    Element(String),
    /// Through a reference to a resource of that type.
    Through(&'static str),
    /// The n-th of all that were found, from 1.
    Nth(usize),
    Where(Condition),
}

/// What is wrong in a path or condition, and at which character.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem} at character {at}")]
pub(crate) struct SyntaxError {
    text: String,
    problem: String,
    at: usize,
}

/// The types that a path starts from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Types<'t> {
    pub here: &'static str,
    /// The map's source, as written.
    pub own: &'t str,
}

/// The envelope's elements: it is no FHIR type, so R4's table does not have it.
const ENVELOPE: &[(&str, &str, &str)] = &[
    ("Envelope", "sendingApplication", "Envelope.party"),
    ("Envelope", "sendingFacility", "Envelope.party"),
    ("Envelope", "receivingApplication", "Envelope.party"),
    ("Envelope", "receivingFacility", "Envelope.party"),
    ("Envelope", "controlId", "string"),
    ("Envelope", "now", "instant"),
    ("Envelope", "version", "string"),
    ("Envelope", "processingId", "string"),
    ("Envelope", "characterSet", "string"),
    ("Envelope", "messageCode", "string"),
    ("Envelope", "triggerEvent", "string"),
    ("Envelope", "messageStructure", "string"),
    ("Envelope.party", "namespace", "string"),
    ("Envelope.party", "universalId", "string"),
    ("Envelope.party", "universalIdType", "string"),
];

/// The program's own copy of a type's name, if there is such a type.
pub(crate) fn type_named(name: &str) -> Option<&'static str> {
    let envelope = ENVELOPE.iter().map(|row| row.0).find(|n| *n == name);
    envelope.or_else(|| r4::model().get(name).map(|t| t.name))
}

fn element_type(owner: &str, name: &str) -> Option<&'static str> {
    let envelope = ENVELOPE.iter().find(|row| row.0 == owner && row.1 == name);
    envelope.map(|row| row.2).or_else(|| r4::model().get(owner)?.element(name).map(|found| found.type_name))
}

impl Path {
    /// Reads a path.
    pub fn parse(text: &str, types: Types<'_>) -> Result<Self, SyntaxError> {
        let mut reader = Reader::new(text);
        let path = reader.path(types)?;
        reader.end()?;
        Ok(path)
    }

    /// Whether it yields a single value to be written, not a structure.
    pub fn is_primitive(&self) -> bool {
        r4::model().is_primitive(self.type_name)
    }
}

/// Reads paths and conditions, character by character.
pub(super) struct Reader<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Reader<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    pub fn fail(&self, problem: impl ToString) -> SyntaxError {
        SyntaxError { text: self.text.to_owned(), problem: problem.to_string(), at: self.at + 1 }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or("")
    }

    pub fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// The very next character.
    pub fn mark(&mut self, mark: char) -> bool {
        let found = self.rest().starts_with(mark);
        self.at += usize::from(found) * mark.len_utf8();
        found
    }

    /// The next word, if it is this one.
    pub fn take(&mut self, word: &str) -> bool {
        let before = self.at;
        self.space();
        let found = self.word() == word;
        if !found {
            self.at = before;
        }
        found
    }

    pub fn word(&mut self) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '$').unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    pub fn quoted(&mut self) -> Result<String, SyntaxError> {
        self.space();
        let rest = self.rest();
        let inside = rest.strip_prefix('"').and_then(|r| r.split_once('"'));
        let (text, _) = inside.ok_or_else(|| self.fail("a quoted text is missing"))?;
        self.at += text.len() + 2;
        Ok(text.to_owned())
    }

    pub fn number(&mut self) -> Result<usize, SyntaxError> {
        self.space();
        self.word().parse().map_err(|_| self.fail("a number is missing"))
    }

    pub fn is_quoted_next(&mut self) -> bool {
        self.space();
        self.is_next('"')
    }

    pub fn is_next(&self, mark: char) -> bool {
        self.rest().starts_with(mark)
    }

    /// Whether a call of that name follows.
    pub fn is_call(&self, name: &str) -> bool {
        self.rest().strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
    }

    pub fn end(&mut self) -> Result<(), SyntaxError> {
        self.space();
        if self.rest().is_empty() { Ok(()) } else { Err(self.fail("something is left over")) }
    }

    /// Counts nesting on the way in; the way out is [`Reader::exit`].
    pub fn enter(&mut self) -> Result<(), SyntaxError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.fail("nests too deep")) } else { Ok(()) }
    }

    pub fn exit(&mut self) {
        self.depth -= 1;
    }

    pub fn leave(&mut self, mark: char) -> Result<(), SyntaxError> {
        self.exit();
        self.space();
        if self.mark(mark) { Ok(()) } else { Err(self.fail(format!("`{mark}` is missing"))) }
    }

    /// A path; filters in it are conditions on the items found so far.
    pub fn path(&mut self, types: Types<'_>) -> Result<Path, SyntaxError> {
        self.space();
        let mut path = self.head(types)?;
        loop {
            if self.mark('.') {
                self.element(&mut path)?;
            } else if self.mark('(') {
                self.through(&mut path)?;
            } else if self.mark('[') {
                self.filter(&mut path, types)?;
            } else {
                return Ok(path);
            }
        }
    }

    fn head(&mut self, types: Types<'_>) -> Result<Path, SyntaxError> {
        let at = |head, type_name| Ok(Path { head, steps: Vec::new(), type_name });
        let own = self.rest().strip_prefix(types.own).filter(|_| !types.own.is_empty());
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        if own.is_some_and(ends) {
            self.at += types.own.len();
            return at(Head::Own, type_named(types.own).unwrap_or(""));
        }
        if self.take("$this") {
            return at(Head::Here, types.here);
        }
        if !self.rest().starts_with(|c: char| c.is_ascii_uppercase()) {
            let mut path = Path { head: Head::Here, steps: Vec::new(), type_name: types.here };
            self.element(&mut path)?;
            return Ok(path);
        }
        let name = self.word();
        match type_named(name).filter(|n| r4::model().is_resource(n) || *n == "Envelope") {
            Some(name) => at(Head::Resource(name), name),
            None => Err(self.fail(format!("{name} is no resource type"))),
        }
    }

    fn element(&mut self, path: &mut Path) -> Result<(), SyntaxError> {
        let name = self.word();
        if r4::model().is_primitive(path.type_name) {
            let Some(Step::Element(primitive)) = path.steps.last_mut() else {
                return Err(self.fail("a primitive has no elements"));
            };
            *primitive = format!("_{primitive}");
            path.type_name = "Element";
        }
        let found = element_type(path.type_name, name);
        path.type_name = found.ok_or_else(|| self.fail(format!("{} has no element {name}", path.type_name)))?;
        path.steps.push(Step::Element(name.to_owned()));
        Ok(())
    }

    fn through(&mut self, path: &mut Path) -> Result<(), SyntaxError> {
        let name = self.word();
        let target = type_named(name).filter(|n| path.type_name == "Reference" && r4::model().is_resource(n));
        path.type_name = target.ok_or_else(|| self.fail(format!("no reference to {name} here")))?;
        path.steps.push(Step::Through(path.type_name));
        if self.mark(')') { Ok(()) } else { Err(self.fail("`)` is missing")) }
    }

    fn filter(&mut self, path: &mut Path, types: Types<'_>) -> Result<(), SyntaxError> {
        if self.rest().starts_with(|c: char| c.is_ascii_digit()) {
            path.steps.push(Step::Nth(self.number()?));
            return if self.mark(']') { Ok(()) } else { Err(self.fail("`]` is missing")) };
        }
        self.enter()?;
        let inner = condition::any(self, Types { here: path.type_name, ..types })?;
        path.steps.push(Step::Where(inner));
        self.leave(']')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Result<Path, SyntaxError> {
        Path::parse(text, Types { here: "Patient", own: "Patient" })
    }

    #[test]
    fn a_path_knows_where_it_begins_and_what_it_yields() {
        for (text, head, type_name, steps) in [
            ("$this", Head::Here, "Patient", 0),
            ("name.given[1]", Head::Here, "string", 3),
            ("Patient.gender", Head::Own, "code", 1),
            ("deceasedDateTime", Head::Here, "dateTime", 1),
            ("birthDate.extension[url EQUALS \"x\"].valueDateTime", Head::Here, "dateTime", 4),
            ("generalPractitioner(Practitioner).name.family", Head::Here, "string", 4),
            (
                "Encounter.diagnosis[condition REFERS TO Condition].use",
                Head::Resource("Encounter"),
                "CodeableConcept",
                3,
            ),
            ("Envelope.sendingFacility.namespace", Head::Resource("Envelope"), "string", 2),
        ] {
            let path = path(text).unwrap();
            assert_eq!((path.head, path.type_name, path.steps.len()), (head, type_name, steps), "{text}");
        }
        let shadow = path("birthDate.extension").unwrap();
        assert!(matches!(&shadow.steps[0], Step::Element(name) if name == "_birthDate"));
    }

    #[test]
    fn what_does_not_exist_is_refused_with_its_place() {
        for (text, part) in [
            ("sex", "Patient has no element sex at character 4"),
            ("Pateint.gender", "Pateint is no resource type"),
            ("name(Practitioner)", "no reference to Practitioner here"),
            ("name[given", "a test is missing"),
            ("name[1", "`]` is missing"),
            ("gender x", "something is left over"),
            ("name..given", "HumanName has no element"),
        ] {
            let error = path(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let deep = format!("name{}", "[extension".repeat(30));
        assert!(path(&deep).unwrap_err().to_string().contains("nests too deep"));
    }
}
