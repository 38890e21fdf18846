//! Contained resources and the references to them (R4 2.6.0.4): `ref-1` and `dom-3`, each place looked at once, since a
//! Bundle may have many thousands of both.

use super::walk::Place;
use super::{Findings, Severity};
use crate::error::Issue;
use notary::canonical::Json;
use std::collections::HashSet;

/// A resource within another has no name of its own but where it stands in memory.
type Address = *const Json;

/// What was seen on the way through a resource.
#[derive(Default)]
pub struct Contained<'a> {
    all: Vec<One<'a>>,
    /// Container and id of what is referred to.
    named: HashSet<(Address, &'a str)>,
    /// Those that refer to their container.
    referring: HashSet<Address>,
    references: Vec<(Address, &'a str, String)>,
}

struct One<'a> {
    container: Address,
    own: Address,
    id: Option<&'a str>,
    path: String,
}

impl<'a> Contained<'a> {
    /// Looks at one place.
    pub fn see(&mut self, place: &Place<'_, 'a>) {
        let json = place.node.json;
        let container: Address = place.scope.root.json;
        if place.within.is_some_and(|(_, element)| element.name == "contained") {
            self.all.push(One { container, own: json, id: json.text("id"), path: place.path.to_owned() });
        }
        let target = match place.node.kind {
            "Reference" => json.text("reference"),
            "canonical" | "uri" | "url" => json.as_str(),
            _ => None,
        };
        match target.and_then(|target| target.strip_prefix('#')) {
            Some("") => _ = self.referring.insert(place.scope.resource.json),
            Some(id) => {
                self.named.insert((container, id));
                if place.node.kind == "Reference" {
                    self.references.push((container, id, format!("{}.reference", place.path)));
                }
            }
            None => {}
        }
    }

    /// Tells what does not fit together.
    pub fn finish(self, findings: &mut Findings) {
        let mut fail = |code, path: &str, text: &str| findings.add(Severity::Error, Issue::at(code, path, text));
        let there: HashSet<_> = self.all.iter().filter_map(|one| Some((one.container, one.id?))).collect();
        for (_, _, path) in self.references.iter().filter(|(container, id, _)| !there.contains(&(*container, *id))) {
            fail("invariant", path, "there is no contained resource of that id (ref-1)");
        }
        for one in &self.all {
            match one.id {
                None => fail("required", &format!("{}.id", one.path), "nothing can refer to it"),
                Some(id) if !self.named.contains(&(one.container, id)) && !self.referring.contains(&one.own) => {
                    fail("invariant", &one.path, "neither referred to, nor referring to its container (dom-3)");
                }
                Some(_) => {}
            }
        }
    }
}
