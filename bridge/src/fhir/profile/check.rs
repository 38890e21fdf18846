//! Checks a resource against a profile.

use super::definition::{Element, Profile};
use super::{Profiles, fit, slicing};
use crate::error::Issue;
use crate::fhir::fhirpath::Scope;
use crate::fhir::fhirpath::node::{Child, Node};
use crate::fhir::validate::walk::Place;
use crate::fhir::validate::{Findings, Severity};
use notary::canonical::Json;

/// Checks the resource, or the extension, at a place.
pub fn check(profiles: &Profiles, profile: &Profile, place: &Place, findings: &mut Findings) {
    let mut checker = Checker { profiles, profile, findings };
    if let Some(root) = profile.elements.first() {
        checker.node(root, &Found { node: place.node, scope: place.scope, path: place.path.to_owned() });
    }
}

struct Checker<'c> {
    profiles: &'c Profiles,
    profile: &'c Profile,
    findings: &'c mut Findings,
}

/// A node of the resource and where it stands.
struct Found<'a> {
    node: Node<'a>,
    scope: Scope<'a>,
    path: String,
}

impl<'a> Found<'a> {
    fn below(&self, name: &str) -> Vec<Found<'a>> {
        let mut children = Vec::new();
        self.node.named(name, &mut children);
        children.into_iter().map(|child| self.child(&child)).collect()
    }

    fn child(&self, child: &Child<'a>) -> Found<'a> {
        let index = child.index.map_or(String::new(), |n| format!("[{n}]"));
        let scope = Scope { context: child.node, ..self.scope };
        Found { node: child.node, scope, path: format!("{}.{}{index}", self.path, child.name) }
    }
}

impl<'c> Checker<'c> {
    fn fail(&mut self, code: &'static str, path: &str, text: &str) {
        let text = format!("{text} ({})", self.profile.url);
        self.findings.add(Severity::Error, Issue::at(code, path, text));
    }

    /// One element that is there, and all below it.
    fn node(&mut self, element: &'c Element, found: &Found) {
        self.types(element, found);
        if element.fixed.as_ref().is_some_and(|fixed| !fit::is_fixed(fixed, found.node.json)) {
            self.fail("value", &found.path, "is not the fixed value");
        }
        if element.pattern.as_ref().is_some_and(|pattern| !fit::fits(pattern, found.node.json)) {
            self.fail("value", &found.path, "does not fit the pattern");
        }
        let bound = element.value_set.as_ref().and_then(|url| is_bound(self.profiles, url, found.node));
        if bound == Some(false) {
            self.fail("code-invalid", &found.path, "has no code of the value set that is required");
        }
        let place = Place { node: found.node, within: None, scope: found.scope, path: &found.path };
        element.constraints.iter().for_each(|constraint| constraint.check(&place, self.findings));
        for &child in &element.children {
            self.element(&self.profile.elements[child], found);
        }
    }

    /// All of an element's occurrences below a node.
    fn element(&mut self, element: &'c Element, parent: &Found) {
        let all = parent.below(&element.name);
        let path = format!("{}.{}", parent.path, element.name);
        self.count(element, all.len(), &path);
        all.iter().for_each(|found| self.node(element, found));
        self.slices(element, &all, &path);
    }

    fn count(&mut self, element: &Element, count: usize, path: &str) {
        let slice = element.slice.as_ref().map_or(String::new(), |name| format!(" of slice {name}"));
        if let Some(min) = element.min.filter(|min| count < *min as usize) {
            self.fail("required", path, &format!("at least {min}{slice} required"));
        }
        if let Some(max) = element.max.filter(|max| count > *max as usize) {
            self.fail("structure", path, &format!("at most {max}{slice} allowed"));
        }
    }

    fn slices(&mut self, element: &'c Element, all: &[Found], path: &str) {
        let Some(slicing) = element.slicing.as_ref().filter(|_| !element.slices.is_empty()) else { return };
        let slices: Vec<&Element> = element.slices.iter().map(|&n| &self.profile.elements[n]).collect();
        let mut counts = vec![0; slices.len()];
        let mut certain = true;
        for found in all {
            let of = |slice: &Element| slicing::matches(self.profiles, self.profile, slicing, slice, &found.scope);
            let verdicts: Vec<Option<bool>> = slices.iter().map(|slice| of(slice)).collect();
            match verdicts.iter().position(|verdict| *verdict == Some(true)) {
                Some(n) => {
                    counts[n] += 1;
                    self.node(slices[n], found);
                }
                // It may be in a slice, for all that can be told.
                None if verdicts.contains(&None) => certain = false,
                None if slicing.closed => {
                    self.fail("structure", &found.path, "is in no slice, and there are no others")
                }
                None => {}
            }
        }
        for (slice, count) in slices.into_iter().zip(counts) {
            if certain || slice.max.is_some_and(|max| count > max as usize) {
                self.count(slice, count, path);
            }
        }
    }

    /// The types that the profile leaves of a choice, and the profiles on them.
    fn types(&mut self, element: &'c Element, found: &Found) {
        let plain: Vec<_> = element.types.iter().filter(|(code, _)| !code.contains('/')).collect();
        let open = |code: &str| matches!(code, "Resource" | "DomainResource" | "Element" | "BackboneElement");
        let backbone = found.node.kind.contains('.');
        if !plain.is_empty() && !backbone && !plain.iter().any(|(code, _)| code == found.node.kind || open(code)) {
            return self.fail("structure", &found.path, "is of a type that the profile does not allow");
        }
        let on_type = plain.into_iter().filter(|(code, _)| code == found.node.kind).flat_map(|(_, urls)| urls);
        let known: Vec<&Profile> = on_type.clone().filter_map(|url| self.profiles.get(url)).collect();
        // One of several would do; which one, nobody said.
        if let [profile] = known.as_slice()
            && on_type.count() == 1
            && profile.kind == found.node.kind
        {
            let place = Place { node: found.node, within: None, scope: found.scope, path: &found.path };
            check(self.profiles, profile, &place, self.findings);
        }
    }
}

/// Whether a code, a Coding or one Coding of a CodeableConcept is in a value set; None where that cannot be told.
pub fn is_bound(profiles: &Profiles, value_set: &str, node: Node) -> Option<bool> {
    let has = |system: Option<&str>, code: &str| profiles.values.has(value_set, system, code);
    let coding =
        |json: &Json| json.text("code").map_or(Some(false), |code| has(Some(json.text("system").unwrap_or("")), code));
    match node.kind {
        "CodeableConcept" => {
            let codings = node.json.get("coding").map_or(&[][..], Json::items);
            let verdicts: Vec<Option<bool>> = codings.iter().map(coding).collect();
            match () {
                () if verdicts.contains(&Some(true)) => Some(true),
                () if verdicts.contains(&None) => None,
                // Ask the value set even so: one that is not known binds nothing.
                () => has(Some(""), "").map(|_| false),
            }
        }
        "Coding" | "Quantity" => coding(node.json),
        _ => node.text().and_then(|code| has(None, code)),
    }
}
