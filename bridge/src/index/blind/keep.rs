//! What the index keeps of a resource.

use super::{BEGINNINGS, Blinded, LOOKED_UP, SPACES, end_name};
use crate::fhir::search::criterion::{normal, unversioned};
use crate::fhir::search::table::Kind;
use crate::fhir::search::text::fold;
use crate::fhir::search::value::{Value, values};
use crate::ids::TypeName;
use crate::index::cells::{self, Cell, End};
use crate::index::tokens::{Token, Tokenizer};
use notary::canonical::Json;

/// Longer strings are not cut into trigrams: `:contains` looks at all of them.
const MAX_TRIGRAM_TEXT: usize = 64;

impl Tokenizer {
    /// What the index stores of a resource. References that begin with `base` are this server's own.
    pub fn blind(&self, kind: TypeName, resource: &Json, base: &str) -> Blinded {
        let mut all = Blinded::default();
        for space in SPACES.get(&kind).map_or(&[][..], Vec::as_slice) {
            let found = values(resource, &space.path);
            if found.is_empty() {
                continue;
            }
            let mut maker = Maker { tokens: self, kind, space: &space.name, out: std::mem::take(&mut all) };
            maker.mark(&["present"]);
            found.iter().for_each(|value| maker.value(space.kind, value, base));
            all = maker.out;
        }
        all.lookups.sort_unstable();
        all.lookups.dedup();
        all.marks.sort_unstable();
        all.marks.dedup();
        all
    }
}

/// Makes the tokens of one element.
struct Maker<'t> {
    tokens: &'t Tokenizer,
    kind: TypeName,
    space: &'t str,
    out: Blinded,
}

impl Maker<'_> {
    fn token(&self, parts: &[&str]) -> Token {
        let mut whole = vec![self.kind.as_str(), self.space];
        whole.extend(parts);
        self.tokens.token(&whole)
    }

    fn look_up(&mut self, parts: &[&str]) {
        let token = self.token(parts);
        self.out.lookups.push(token);
        self.out.marks.push(token.mark());
    }

    fn mark(&mut self, parts: &[&str]) {
        let mark = self.token(parts).mark();
        self.out.marks.push(mark);
    }

    fn value(&mut self, kind: Kind, value: &Value<'_>, base: &str) {
        match (kind, value) {
            (_, Value::Token { system, code }) => self.pair(*system, *code),
            (Kind::Token, Value::Text(text) | Value::Uri(text)) => self.pair(None, Some(text)),
            (_, Value::Text(text)) => self.text(text),
            (_, Value::Span(span)) => cells::of_span(*span).into_iter().for_each(|(end, cell)| self.cell(end, cell)),
            (_, Value::Number(number) | Value::Quantity { number, .. }) => match cells::of_number(*number) {
                Some(digits) => self.mark(&["digits", &digits.name()]),
                None => self.mark(&["range"]),
            },
            (Kind::Uri, Value::Uri(uri)) => self.look_up(&["url", unversioned(uri)]),
            (_, Value::Uri(uri)) => self.refer(uri, base),
            (_, Value::Reference { literal, identifier }) => {
                if let Some(literal) = literal {
                    self.refer(literal, base);
                }
                if let Some(value) = identifier.and_then(|i| i.text("value")) {
                    self.look_up(&["identifier", value]);
                }
            }
            (_, Value::Entry { kind, id }) => self.look_up(&["local", &format!("{kind}/{id}")]),
            (_, Value::Present) => {}
        }
    }

    fn pair(&mut self, system: Option<&str>, code: Option<&str>) {
        if let Some(code) = code {
            self.look_up(&["code", code]);
            self.mark(&["pair", system.unwrap_or(""), code]);
        }
        if let Some(system) = system {
            self.mark(&["system", system]);
        }
    }

    fn text(&mut self, text: &str) {
        let folded: Vec<char> = fold(text).chars().collect();
        for length in BEGINNINGS.iter().filter(|l| **l <= folded.len()) {
            let beginning: String = folded[..*length].iter().collect();
            let parts = ["starts", &length.to_string(), &beginning];
            if LOOKED_UP.contains(length) { self.look_up(&parts) } else { self.mark(&parts) }
        }
        if folded.len() > MAX_TRIGRAM_TEXT {
            return self.look_up(&["long"]);
        }
        for trigram in folded.windows(3) {
            self.look_up(&["trigram", &trigram.iter().collect::<String>()]);
        }
    }

    fn cell(&mut self, end: End, cell: Cell) {
        let parts = [end_name(end), &cell.name()];
        let looked_up = end != End::Finish && matches!(cell, Cell::Day(_) | Cell::Month(_));
        if looked_up { self.look_up(&parts) } else { self.mark(&parts) }
    }

    fn refer(&mut self, literal: &str, base: &str) {
        self.look_up(&["local", unversioned(normal(literal, base))]);
    }
}
