//! Which form of an answer a client asks for: `_format`, or else the header `Accept` (R4 3.1.0).

use super::fhir::text;
use super::query;
use super::reply::{Reply, failure};
use super::routes::Request;
use crate::error::Issue;
use warp::http::{StatusCode, header};

/// The media types that a client takes, in small letters and without their parameters.
pub(super) struct Wanted {
    ranges: Vec<String>,
    /// Something was asked for, and all of it of another version of FHIR.
    other_version: bool,
}

impl Wanted {
    /// Reads what a request asks for; nothing asked is anything taken.
    pub(super) fn of(request: &Request) -> Self {
        let pairs = query::pairs(&request.query).unwrap_or_default();
        let format = pairs.into_iter().find(|(name, _)| name == "_format").map(|(_, value)| value);
        let accept = text(&request.headers, header::ACCEPT).unwrap_or("").to_owned();
        Self::read(&format.unwrap_or(accept))
    }

    fn read(asked: &str) -> Self {
        let asked = asked.to_ascii_lowercase();
        let given: Vec<&str> = asked.split(',').filter(|range| !range.trim().is_empty()).collect();
        let ours = given.iter().filter(|range| our_version(range));
        let ranges: Vec<String> = ours.map(|range| range.split(';').next().unwrap_or("").trim().to_owned()).collect();
        Self { other_version: ranges.is_empty() && !given.is_empty(), ranges }
    }

    /// Whether one of the ranges has one of these in it.
    pub(super) fn names(&self, parts: &[&str]) -> bool {
        self.ranges.iter().any(|range| parts.iter().any(|part| range.contains(part)))
    }

    /// Which of these parts the first range has that has any.
    pub(super) fn first_of<'p>(&self, parts: &[&'p str]) -> Option<&'p str> {
        self.ranges.iter().find_map(|range| parts.iter().find(|part| range.contains(**part)).copied())
    }

    /// Whether nothing particular is asked for.
    pub(super) fn is_open(&self) -> bool {
        !self.other_version && (self.ranges.is_empty() || self.names(&["*/*"]))
    }

    /// A 406 for who insists on what this server does not speak: XML, or another version of FHIR.
    pub(super) fn fhir_json(&self) -> Result<(), Reply> {
        if self.other_version {
            return Err(refused("this server speaks FHIR 4.0: application/fhir+json; fhirVersion=4.0"));
        }
        if self.is_open() || self.names(&["json", "application/*", "text/plain", "html"]) {
            return Ok(());
        }
        Err(refused("this server speaks FHIR in JSON: application/fhir+json"))
    }
}

/// A 406 that says what there is.
pub(super) fn refused(text: &str) -> Reply {
    failure(StatusCode::NOT_ACCEPTABLE, Issue::new("not-supported", text))
}

/// Whether a media type names no version of FHIR but R4's (`fhirVersion`).
pub(super) fn our_version(media_type: &str) -> bool {
    let parameters = media_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut versions = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("fhirversion"));
    versions.all(|(_, version)| matches!(version.trim().trim_matches('"'), "4.0" | "4.0.1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_spoken_is_refused_and_the_rest_is_taken() {
        for (accept, taken) in [
            ("", true),
            ("*/*", true),
            ("application/fhir+json", true),
            ("application/fhir+xml, application/json;q=0.5", true),
            ("text/html,application/xhtml+xml,application/xml;q=0.9", true),
            ("application/fhir+json; fhirVersion=4.0", true),
            ("application/fhir+json; fhirVersion=\"4.0.1\"", true),
            ("application/fhir+json; fhirVersion=5.0, application/fhir+json; fhirVersion=4.0", true),
            ("application/fhir+json; fhirVersion=5.0", false),
            ("application/fhir+json;fhirversion=3.0, application/fhir+xml", false),
            ("application/fhir+xml", false),
            ("image/png", false),
        ] {
            assert_eq!(Wanted::read(accept).fhir_json().is_ok(), taken, "{accept}");
        }
    }
}
