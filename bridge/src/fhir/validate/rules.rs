//! Rules of the standard that are no FHIRPath constraint: they stand in its text, or span several elements.

use super::contained::Contained;
use super::walk::{Place, walk};
use super::{Findings, Severity};
use crate::error::Issue;
use crate::fhir::fhirpath::Budget;
use crate::fhir::fhirpath::node::Node;
use notary::canonical::Json;
use std::collections::HashSet;

/// The longest string that R4 allows.
const MAX_STRING: usize = 1 << 20;

/// Checks a resource and all that is in it.
pub fn check<'a>(resource: Node<'a>, budget: &'a Budget, findings: &mut Findings) {
    let mut ids = HashSet::new();
    let mut contained = Contained::default();
    walk(resource, budget, &mut |place| {
        contained.see(place);
        unique_id(place, &mut ids, findings);
        let fault = match place.node.kind {
            "Attachment" => attachment(place.node.json),
            "Coding" => coding(place.node.json),
            "Extension" => extension(place),
            "xhtml" => narrative(place.node.json),
            "string" | "markdown" | "code" | "id" | "uri" | "url" => string(place.node),
            "CodeableConcept" => unbound(place),
            "CodeSystem" => code_system(place.node.json),
            "SearchParameter" => search_parameter(place.node.json),
            _ => None,
        };
        if let Some((code, member, text)) = fault {
            let dot = if member.is_empty() { "" } else { "." };
            findings.add(Severity::Error, Issue::at(code, &format!("{}{dot}{member}", place.path), text));
        }
        if let Some((code, text)) = doubt(place.node) {
            findings.add(Severity::Warning, Issue::at(code, place.path, text));
        }
        if place.node.kind == "Bundle" {
            super::bundle::check(place, findings);
        }
    });
    contained.finish(findings);
}

/// FHIR's issue type, the member at fault, the text.
type Fault = Option<(&'static str, &'static str, &'static str)>;

/// An id is unique among the elements of one resource, and among its contained resources (R4 2.24.0.2).
fn unique_id<'a>(place: &Place<'_, 'a>, ids: &mut HashSet<(*const Json, bool, &'a str)>, findings: &mut Findings) {
    let holder = if place.node.is_primitive() { place.node.shadow } else { Some(place.node.json) };
    let Some(id) = holder.and_then(|json| json.text("id")) else { return };
    let contained = place.within.is_some_and(|(_, element)| element.name == "contained");
    let is_resource = std::ptr::eq(place.node.json, place.scope.resource.json);
    // An element of a snapshot and of a differential have the same id, by design.
    if (is_resource && !contained) || place.node.kind == "ElementDefinition" {
        return;
    }
    let of = if contained { place.scope.root } else { place.scope.resource };
    if !ids.insert((std::ptr::from_ref(of.json), contained, id)) {
        let text = "an id stands twice in one resource";
        findings.add(Severity::Error, Issue::at("duplicate", &format!("{}.id", place.path), text));
    }
}

fn attachment(json: &Json) -> Fault {
    let (data, Some(Json::Number(size))) = (json.text("data")?, json.get("size")) else { return None };
    let digits = data.bytes().filter(|b| !b.is_ascii_whitespace() && *b != b'=').count();
    (size.parse() != Ok(digits * 3 / 4)).then_some(("value", "size", "is not the size of the data"))
}

fn coding(json: &Json) -> Fault {
    let system = json.text("system")?;
    (!is_absolute(system)).then_some(("value", "system", "must be an absolute URI"))
}

/// A nested extension's url is a name that its parent defines; any other is a URL.
fn extension(place: &Place) -> Fault {
    let url = place.node.json.text("url")?;
    let nested = place.within.is_some_and(|(owner, _)| owner == "Extension");
    match () {
        () if !nested && !is_absolute(url) => Some(("value", "url", "must be an absolute URL")),
        () if url.contains('|') => Some(("value", "url", "must not name a version")),
        () => None,
    }
}

/// What the standard does not forbid in so many words, and is hardly meant.
fn doubt(node: Node) -> Option<(&'static str, &'static str)> {
    let text = node.text()?;
    match node.kind {
        "canonical" if !text.starts_with('#') && !is_absolute(text) => {
            Some(("value", "should be an absolute URL, or #id"))
        }
        "string" | "markdown" if text.contains('<') && text.to_ascii_lowercase().contains("<script") => {
            Some(("security", "looks like a script in HTML"))
        }
        _ => None,
    }
}

/// Strings have a longest length (R4 2.24.0.1).
fn string(node: Node) -> Fault {
    let text = node.text()?;
    match () {
        () if text.len() > MAX_STRING => Some(("too-long", "", "longer than 1 MB")),
        () => None,
    }
}

fn narrative(json: &Json) -> Fault {
    super::narrative::says_nothing(json.as_str()?).then_some(("invariant", "", "the narrative says nothing (txt-2)"))
}

/// A scheme, and something after it (RFC 3986 section 3.1).
fn is_absolute(uri: &str) -> bool {
    let Some((scheme, rest)) = uri.split_once(':') else { return false };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.bytes().all(plain) && !rest.is_empty()
}

/// Where a code is required, a text alone does not do.
fn unbound(place: &Place) -> Fault {
    place.within?.1.codes?;
    let coded = place.node.json.get("coding").is_some_and(|c| c.items().iter().any(|c| c.text("code").is_some()));
    let said_absent = place.node.json.get("extension").is_some();
    (!coded && !said_absent).then_some(("code-invalid", "", "needs a code of its value set"))
}

fn code_system(json: &Json) -> Fault {
    if json.text("content") == Some("complete")
        && let Some(Json::Number(count)) = json.get("count")
        && count.parse() != Ok(concepts(json))
    {
        return Some(("value", "count", "is not the number of concepts, and the content is complete"));
    }
    let properties = json.get("property").map_or(&[][..], Json::items);
    let mut codes = HashSet::new();
    let twice = properties.iter().filter_map(|p| p.text("code")).any(|code| !codes.insert(code));
    twice.then_some(("duplicate", "property", "a property's code stands twice"))
}

fn concepts(json: &Json) -> usize {
    let nested = json.get("concept").map_or(&[][..], Json::items);
    nested.iter().map(|concept| 1 + concepts(concept)).sum()
}

fn search_parameter(json: &Json) -> Fault {
    let components = json.get("component").map_or(0, |c| c.items().len());
    let few = json.text("type") == Some("composite") && components < 2;
    few.then_some(("business-rule", "component", "a composite has two or more"))
}
