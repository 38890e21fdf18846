//! The standard's own constraints, `invariants.tsv`, in FHIRPath.

use super::walk::{Place, walk};
use super::{Findings, Severity};
use crate::error::Issue;
use crate::fhir::fhirpath::node::Node;
use crate::fhir::fhirpath::{Budget, Path};
use mappings::r4;
use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("invariants.tsv");
static CONSTRAINTS: LazyLock<Constraints> = LazyLock::new(Constraints::read);
/// What is a Quantity too, with the constraints of one.
const QUANTITIES: &[&str] = &["Age", "Count", "Distance", "Duration"];

/// One constraint.
#[derive(Debug)]
pub struct Constraint {
    pub key: String,
    pub severity: Severity,
    /// What it asks for, in the words of whoever defined it.
    pub human: String,
    pub path: Path,
}

impl Constraint {
    /// Says so where it does not hold. What cannot be evaluated, or gives nothing, is not held against the sender.
    pub fn check(&self, place: &Place, findings: &mut Findings) {
        if self.path.holds(&place.scope) == Some(false) {
            let text = format!("{} ({})", self.human, self.key);
            findings.add(self.severity, Issue::at("invariant", place.path, text));
        }
    }
}

#[derive(Default)]
struct Constraints {
    of_type: HashMap<&'static str, Vec<Constraint>>,
    /// On an element and not on its type: type and element.
    of_element: HashMap<(&'static str, &'static str), Vec<Constraint>>,
}

impl Constraints {
    fn read() -> Self {
        let mut constraints = Self::default();
        let rows = TABLE.lines().filter(|line| !line.starts_with('#'));
        for row in rows.map(|line| line.split('\t').collect::<Vec<_>>()) {
            if let (Some(constraint), Some(owner)) = (constraint(&row), row.first()) {
                constraints.add(owner, constraint);
            }
        }
        constraints
    }

    fn add(&mut self, owner: &'static str, constraint: Constraint) {
        if owner == "DomainResource" || r4::model().get(owner).is_some() {
            return self.of_type.entry(owner).or_default().push(constraint);
        }
        if let Some(place) = owner.rsplit_once('.') {
            self.of_element.entry(place).or_default().push(constraint);
        }
    }

    fn of(&self, kind: &str) -> &[Constraint] {
        self.of_type.get(kind).map_or(&[], Vec::as_slice)
    }
}

fn constraint(row: &[&str]) -> Option<Constraint> {
    let [_, key, severity, human, expression] = row else { return None };
    let severity = if *severity == "error" { Severity::Error } else { Severity::Warning };
    let path = Path::parse(expression).ok()?;
    Some(Constraint { key: (*key).to_owned(), severity, human: (*human).to_owned(), path })
}

/// Checks a resource and all that is in it.
pub fn check<'a>(resource: Node<'a>, budget: &'a Budget, findings: &mut Findings) {
    walk(resource, budget, &mut |place| at(place, findings));
}

fn at(place: &Place, findings: &mut Findings) {
    let constraints = &*CONSTRAINTS;
    let kind = place.node.kind;
    let mut judge = |list: &[Constraint]| list.iter().for_each(|constraint| constraint.check(place, findings));
    judge(constraints.of(kind));
    if QUANTITIES.contains(&kind) {
        judge(constraints.of("Quantity"));
    }
    if is_domain_resource(place) {
        judge(constraints.of("DomainResource"));
    }
    if let Some((owner, element)) = place.within {
        constraints.of_element.get(&(owner, element.name)).into_iter().for_each(|list| judge(list));
    }
}

/// One that could contain others; a contained resource may not, and needs no narrative.
fn is_domain_resource(place: &Place) -> bool {
    let contained = place.within.is_some_and(|(_, element)| element.name == "contained");
    let model = r4::model().get(place.node.kind).filter(|t| t.kind == r4::Kind::Resource);
    !contained && model.is_some_and(|t| t.element("contained").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_constraint_of_the_standard_is_understood() {
        let rows: Vec<&str> = TABLE.lines().filter(|line| !line.starts_with('#')).collect();
        for row in &rows {
            let columns: Vec<&str> = row.split('\t').collect();
            let error = Path::parse(columns[4]).err();
            assert_eq!(error, None, "{row}");
        }
        let count = |lists: usize, more: usize| lists + more;
        let read = count(
            CONSTRAINTS.of_type.values().map(Vec::len).sum(),
            CONSTRAINTS.of_element.values().map(Vec::len).sum(),
        );
        assert_eq!(read, rows.len());
        assert!(CONSTRAINTS.of_element.contains_key(&("Organization", "telecom")));
    }
}
