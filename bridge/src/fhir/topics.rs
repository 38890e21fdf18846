//! The topics of this server: what a topic-based Subscription may name in its criteria. In R4 a topic is its canonical URL;
//! `docs/subscriptions.md` says what each means.

use super::search::check::holds;
use super::search::criterion::Surroundings;
use super::search::query::{self, Filter};
use crate::http::query::pairs;
use crate::ids::TypeName;
use std::sync::LazyLock;

/// A topic: a type, and what makes a version of it an event.
pub struct Topic {
    pub url: &'static str,
    pub title: &'static str,
    kind: TypeName,
    filters: Vec<Filter>,
    /// Only if the version before did not fit.
    pub changes: bool,
}

/// Canonical, title, search, whether it must be a change.
const TOPICS: &[(&str, &str, &str, bool)] = &[
    (
        "urn:medseal:topic:admission",
        "a patient was admitted: an encounter has begun",
        "Encounter?status=arrived,triaged,in-progress",
        true,
    ),
    (
        "urn:medseal:topic:discharge",
        "a patient was discharged: an encounter is finished",
        "Encounter?status=finished",
        true,
    ),
    (
        "urn:medseal:topic:result",
        "a report has results: preliminary, final or corrected",
        "DiagnosticReport?status=partial,preliminary,final,amended,corrected,appended",
        false,
    ),
    (
        "urn:medseal:topic:observation",
        "an observation has a value: preliminary, final or corrected",
        "Observation?status=preliminary,final,amended,corrected",
        false,
    ),
];

static READ: LazyLock<Vec<Topic>> = LazyLock::new(|| TOPICS.iter().filter_map(read).collect());

fn read((url, title, search, changes): &(&'static str, &'static str, &str, bool)) -> Option<Topic> {
    let (kind, search) = search.split_once('?')?;
    let kind = TypeName::parse(kind)?;
    let read = query::read(kind, &pairs(search).ok()?, &Surroundings { base: "", now: 0, labels: None }).ok()?;
    Some(Topic { url, title, kind, filters: read.filters, changes: *changes })
}

/// All topics.
pub fn topics() -> &'static [Topic] {
    &READ
}

/// The topic of that name.
pub fn topic(url: &str) -> Option<&'static Topic> {
    READ.iter().find(|topic| topic.url == url)
}

impl Topic {
    /// The type that it is about.
    pub fn kind(&self) -> TypeName {
        self.kind
    }

    /// Whether a version is what it is about.
    pub fn holds(&self, resource: &notary::canonical::Json, around: &Surroundings<'_>) -> bool {
        self.filters.iter().all(|filter| holds(filter, resource, around))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_one_that_can_be_told() {
        assert_eq!(topics().len(), TOPICS.len());
        assert!(topics().iter().all(|t| t.filters.len() == 1 && topic(t.url).is_some()));
    }
}
