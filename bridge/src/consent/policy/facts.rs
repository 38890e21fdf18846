//! What a resource says of itself that a Consent may ask.

use super::Coding;
use super::terms::{HIGHEST, NORMAL, degree, is_obligation};
use crate::fhir::search::check::found;
use crate::fhir::search::criterion::normal;
use crate::fhir::search::span::Span;
use crate::fhir::search::table::parameter;
use crate::fhir::search::value::Value;
use crate::ids::TypeName;
use notary::canonical::Json;

/// The search parameters that tell when something took place, in the order in which they are tried. A prescription's
/// `date` is when to take it, so `authoredon` comes first.
const DATES: &str = "authoredon date onset-date occurrence event-date effective-time effective period started collected \
    whenhandedover whenprepared authored authored-on start-date created sent when recorded-date recorded issued";
/// The elements that tell who made it.
const AUTHORS: [&str; 6] = ["author", "recorder", "performer", "requester", "asserter", "sender"];

/// What of a resource counts for its patient's Consents.
#[derive(Clone)]
pub struct Facts {
    pub(super) kind: String,
    /// `Type/id`.
    pub(super) name: String,
    /// Type and name of each resource that it holds: contained, or in a Bundle.
    pub(super) inside: Vec<(String, String)>,
    /// Its own, and of what it holds.
    pub(super) labels: Vec<Coding>,
    /// Every code anywhere in it.
    pub(super) codes: Vec<Coding>,
    pub(super) span: Option<Span>,
    /// What it refers to.
    pub(super) references: Vec<String>,
    pub(super) authors: Vec<String>,
}

crate::redacted_debug!(Facts);

impl Facts {
    /// Reads a resource. `base` is the address of this server, which references may be written with.
    pub fn of(resource: &Json, base: &str) -> Self {
        let (kind, name) = called(resource);
        let (mut found, mut authors) = (Found { labels: labels(resource), ..Found::default() }, Found::default());
        for (name, value) in resource.members().iter().filter(|(name, _)| name != "meta") {
            found.gather(value, base);
            if AUTHORS.contains(&name.as_str()) {
                authors.gather(value, base);
            }
        }
        let Found { inside, labels, codes, references } = found;
        let (span, authors) = (span(&kind, resource), authors.references);
        Self { kind, name, inside, labels, codes, span, references, authors }
    }

    /// How confidential it is: the highest of its labels, normal where it has none.
    pub(super) fn degree(&self) -> usize {
        let own = self.labels.iter().filter(|label| label.system == super::terms::CONFIDENTIALITY);
        own.map(|label| degree(label).unwrap_or(HIGHEST)).max().unwrap_or(NORMAL)
    }

    /// What its labels ask of whoever receives it.
    pub(super) fn obligations(&self) -> Vec<Coding> {
        self.labels.iter().filter(|label| is_obligation(label)).cloned().collect()
    }
}

/// System and code, if it has both.
pub(super) fn coding(json: &Json) -> Option<Coding> {
    Some(Coding::new(json.text("system")?, json.text("code")?))
}

/// A reference in the one form in which references are compared.
pub(super) fn reference(literal: &str, base: &str) -> String {
    normal(literal, base).to_owned()
}

/// What lies anywhere in a resource.
#[derive(Default)]
struct Found {
    inside: Vec<(String, String)>,
    labels: Vec<Coding>,
    codes: Vec<Coding>,
    references: Vec<String>,
}

impl Found {
    fn gather(&mut self, json: &Json, base: &str) {
        // A quantity has a system and a code too: that of its unit.
        self.codes.extend(coding(json).filter(|_| json.get("value").is_none()));
        self.references.extend(json.text("reference").map(|literal| reference(literal, base)));
        if json.text("resourceType").is_some() {
            self.inside.push(called(json));
            self.labels.extend(labels(json));
        }
        json.items().iter().for_each(|item| self.gather(item, base));
        json.members().iter().for_each(|(_, value)| self.gather(value, base));
    }
}

/// A resource's type, and `Type/id`.
fn called(resource: &Json) -> (String, String) {
    let kind = resource.text("resourceType").unwrap_or_default().to_owned();
    let name = format!("{kind}/{}", resource.text("id").unwrap_or_default());
    (kind, name)
}

fn labels(resource: &Json) -> Vec<Coding> {
    let security = resource.get("meta").and_then(|meta| meta.get("security")).map_or(&[][..], Json::items);
    security.iter().filter_map(coding).collect()
}

/// From the first to the last that the first parameter finds which finds anything.
fn span(kind: &str, resource: &Json) -> Option<Span> {
    let kind = TypeName::parse(kind)?;
    DATES.split(' ').filter_map(|name| parameter(kind, name)).find_map(|parameter| {
        let spans = found(parameter, resource).into_iter().filter_map(|value| match value {
            Value::Span(span) => Some(span),
            _ => None,
        });
        spans.reduce(|one, other| Span { from: one.from.min(other.from), to: one.to.max(other.to) })
    })
}
