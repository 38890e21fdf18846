//! What holds between the entries of a Bundle (R4 2.36.4, 3.3.1), beside its constraints.

use super::walk::Place;
use super::{Findings, Severity, primitive};
use crate::error::Issue;
use crate::fhir::fhirpath::Budget;
use crate::fhir::fhirpath::node::Node;
use notary::canonical::Json;
use std::collections::{HashMap, HashSet};

/// Checks a Bundle.
pub fn check(place: &Place, findings: &mut Findings) {
    let bundle = place.node.json;
    let mut fail = |code, path: String, text: &str| {
        findings.add(Severity::Error, Issue::at(code, &format!("{}.{path}", place.path), text));
    };
    links(bundle, &mut fail);
    let kind = bundle.text("type").unwrap_or("");
    for (n, entry) in entries(bundle).iter().enumerate() {
        full_url(entry, n, kind, &mut fail);
        if kind == "searchset" {
            searched(entry, n, &mut fail);
        }
    }
    if matches!(kind, "document" | "message") {
        first_refers_within(bundle, &mut fail);
    }
}

fn entries(bundle: &Json) -> &[Json] {
    bundle.get("entry").map_or(&[], Json::items)
}

fn links(bundle: &Json, fail: &mut impl FnMut(&'static str, String, &str)) {
    let mut seen = HashSet::new();
    let relations = bundle.get("link").map_or(&[][..], Json::items).iter().map(|link| link.text("relation"));
    for (n, relation) in relations.enumerate() {
        let single = relation.filter(|r| matches!(*r, "self" | "first" | "previous" | "prev" | "next" | "last"));
        if single.is_some_and(|relation| !seen.insert(relation)) {
            fail("duplicate", format!("link[{n}]"), "a link of this relation stands twice");
        }
    }
}

/// A fullUrl is absolute, and where it is a place on a server it ends in the resource's id.
fn full_url(entry: &Json, n: usize, kind: &str, fail: &mut impl FnMut(&'static str, String, &str)) {
    let path = format!("entry[{n}].fullUrl");
    let resource = entry.get("resource");
    let Some(url) = entry.text("fullUrl") else {
        // Only where each entry has been given its place may others refer to it.
        if resource.is_some() && matches!(kind, "document" | "message" | "searchset" | "collection") {
            fail("required", path, "a resource in a Bundle of this type has one");
        }
        return;
    };
    let scheme = url.split_once(':').is_some_and(|(s, _)| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphabetic()));
    if !scheme {
        return fail("value", path, "must be an absolute URL");
    }
    let id = resource.and_then(|r| r.text("id"));
    let kind = resource.and_then(|r| r.text("resourceType"));
    if let (Some(id), Some(kind)) = (id, kind)
        && url.starts_with("http")
        && url.contains(&format!("/{kind}/"))
        && url.rsplit('/').next() != Some(id)
    {
        fail("value", path, "does not end in the resource's id");
    }
}

fn searched(entry: &Json, n: usize, fail: &mut impl FnMut(&'static str, String, &str)) {
    let Some(resource) = entry.get("resource") else { return };
    let mode = entry.get("search").and_then(|s| s.text("mode"));
    let outcome = resource.text("resourceType") == Some("OperationOutcome");
    if mode == Some("outcome") && !outcome {
        fail("value", format!("entry[{n}].resource"), "an outcome is an OperationOutcome");
    }
    if !outcome && resource.get("id").is_none() {
        fail("required", format!("entry[{n}].resource.id"), "what a search found has an id");
    }
}

/// The resources that the first entry of a document or message names directly are in it.
fn first_refers_within(bundle: &Json, fail: &mut impl FnMut(&'static str, String, &str)) {
    let Some(first) = entries(bundle).first() else { return };
    let Some(node) = first.get("resource").and_then(Node::resource) else { return };
    let names = Names::of(bundle, first.text("fullUrl").unwrap_or(""));
    let budget = Budget::new(0);
    super::walk::walk(node, &budget, &mut |place| {
        let wanted = place.within.is_some_and(|(owner, element)| must_be_within(owner, element.name));
        let reference = place.node.json.text("reference").filter(|r| !r.starts_with('#'));
        if let Some(reference) = reference.filter(|_| wanted)
            && names.count(reference) != 1
        {
            let path = place.path.split_once('.').map_or("", |(_, rest)| rest);
            fail("not-found", format!("entry[0].resource.{path}"), "the Bundle must hold this resource, once");
        }
    });
}

/// The elements whose targets a document or message carries with it.
fn must_be_within(owner: &str, element: &str) -> bool {
    matches!(
        (owner, element),
        ("Composition", "subject" | "encounter") | ("Composition.section", "entry") | ("MessageHeader", "focus")
    )
}

/// The entries by what a reference calls them: fullUrl, and where the first entry's is no place on a server, type and id,
/// as published documents do (R4 2.36.4.1). Each with its version.
struct Names<'a> {
    root: Option<&'a str>,
    versions: HashMap<String, Vec<Option<&'a str>>>,
}

impl<'a> Names<'a> {
    fn of(bundle: &'a Json, base: &'a str) -> Self {
        let root = base.rsplitn(3, '/').nth(2).filter(|_| base.starts_with("http"));
        let mut names = Self { root, versions: HashMap::new() };
        for entry in entries(bundle) {
            let resource = entry.get("resource");
            let text = |name| resource.and_then(|r| r.text(name));
            let version = resource.and_then(|r| r.get("meta")).and_then(|m| m.text("versionId"));
            let url = entry.text("fullUrl").map(str::to_owned);
            let own = text("resourceType")
                .zip(text("id"))
                .filter(|_| root.is_none())
                .map(|(kind, id)| format!("{kind}/{id}"));
            url.into_iter().chain(own).for_each(|name| names.versions.entry(name).or_default().push(version));
        }
        names
    }

    /// How many entries a reference means.
    fn count(&self, reference: &str) -> usize {
        let (plain, version) = match reference.split_once("/_history/") {
            Some((plain, version)) => (plain, Some(version)),
            None => (reference, None),
        };
        let name = match (primitive::relative(plain), self.root) {
            (Some(_), Some(root)) => format!("{root}/{plain}"),
            _ => plain.to_owned(),
        };
        let versions = self.versions.get(&name).map_or(&[][..], Vec::as_slice);
        versions.iter().filter(|own| version.is_none() || **own == version).count()
    }
}
