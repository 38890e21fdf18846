//! Profiles: StructureDefinitions with a snapshot, and the value sets that they bind to, as an implementation guide
//! publishes them. Pure: somebody else reads the files. References are not followed, and `mustSupport` asks for nothing here.

mod check;
mod definition;
mod fit;
mod slicing;
mod values;

use crate::error::Issue;
use crate::fhir::fhirpath::Budget;
use crate::fhir::fhirpath::node::Node;
use crate::fhir::validate::{Findings, Severity, walk};
use crate::limits::MAX_STEPS;
use definition::{BASE, Profile};
use mappings::r4;
use notary::canonical::Json;
use std::collections::HashMap;
use values::ValueSets;

/// All that was configured.
#[derive(Debug, Default)]
pub struct Profiles {
    by_url: HashMap<String, Profile>,
    values: ValueSets,
}

/// Types that no resource is by itself.
const ABSTRACT: [&str; 2] = ["Resource", "DomainResource"];
/// The version whose definitions are checked always.
const R4: &str = "4.0.1";

const UNKNOWN: &str = "this profile is not configured here, and was not checked: put its definition into the folder that \
    `validation.profiles` names in the configuration (docs/validation.md)";

/// The name behind the address of the standard's own definitions.
fn base(url: &str) -> Option<&str> {
    url.split('|').next().unwrap_or(url).strip_prefix(BASE)
}

/// Whether a type is another or a kind of it.
fn is_a(kind: &str, name: &str) -> bool {
    let without = ["Binary", "Bundle", "Parameters"];
    kind == name || name == "Resource" || (name == "DomainResource" && !without.contains(&kind))
}

/// Whether a version is the one that was asked for: `6.1` asks for any 6.1.x.
fn is_version(asked: &str, own: &str) -> bool {
    own.strip_prefix(asked).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// What [`Profiles::read`] could not use.
pub type Doubts = Vec<String>;

impl Profiles {
    /// Takes StructureDefinitions, ValueSets and CodeSystems, and passes over what else there is. The doubts say which
    /// definitions or constraints will not be checked.
    pub fn read(resources: impl IntoIterator<Item = Json>) -> (Self, Doubts) {
        let (mut profiles, mut doubts) = (Self::default(), Vec::new());
        for json in resources {
            match json.text("resourceType") {
                Some("StructureDefinition") => match Profile::read(&json, &mut doubts) {
                    Ok(profile) => _ = profiles.by_url.insert(profile.url.clone(), profile),
                    Err(doubt) => doubts.push(doubt),
                },
                Some("ValueSet" | "CodeSystem") => profiles.values.add(json),
                _ => {}
            }
        }
        (profiles, doubts)
    }

    /// How many profiles there are.
    pub fn len(&self) -> usize {
        self.by_url.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_url.is_empty()
    }

    /// The profile of that canonical URL, with or without a version.
    fn get(&self, url: &str) -> Option<&Profile> {
        self.by_url.get(url.split('|').next().unwrap_or(url))
    }

    /// Checks a resource against the profiles that were asked for, and each resource in it against those that it names.
    pub fn check(&self, resource: Node, asked: &[String], findings: &mut Findings) {
        let budget = Budget::new(MAX_STEPS);
        walk::walk(resource, &budget, &mut |place| {
            let named = place.node.json.get("meta").and_then(|meta| meta.get("profile")).map_or(&[][..], Json::items);
            if Node::resource(place.node.json).is_none() {
                return;
            }
            for (n, url) in named.iter().enumerate().filter_map(|(n, url)| Some((n, url.as_str()?))) {
                let at = format!("{}.meta.profile[{n}]", place.path);
                self.one(place, url, (Severity::Information, &at), findings);
            }
            if place.within.is_none() {
                // Who nominates a profile is not told that all is well where it was not looked at (R4, $validate).
                asked.iter().for_each(|url| self.one(place, url, (Severity::Error, place.path), findings));
            }
        });
        findings.add_if_spent(&budget);
    }

    fn one(&self, place: &walk::Place, url: &str, unknown: (Severity, &str), findings: &mut Findings) {
        let unchecked = |text: String| Issue::at("not-supported", unknown.1, text);
        let version = url.split_once('|').map(|(_, version)| version);
        match self.get(url) {
            Some(Profile { version: Some(own), .. }) if version.is_some_and(|asked| !is_version(asked, own)) => {
                findings.add(
                    unknown.0,
                    unchecked(format!("of this profile version {own} is configured here, and no other was checked")),
                );
            }
            Some(profile) if profile.kind == place.node.kind => check::check(self, profile, place, findings),
            Some(_) => findings.add(Severity::Error, Issue::at("value", unknown.1, "this profile is for another type")),
            None => match base(url).filter(|name| ABSTRACT.contains(name) || r4::model().get(name).is_some()) {
                // The standard's own definition of the type: that is checked always.
                Some(name) if is_a(place.node.kind, name) && version.is_none_or(|asked| is_version(asked, R4)) => {}
                Some(name) if is_a(place.node.kind, name) => {
                    findings.add(unknown.0, unchecked(format!("this server checks FHIR {R4}, and no other version")));
                }
                Some(_) => {
                    findings.add(Severity::Error, Issue::at("value", unknown.1, "this profile is for another type"))
                }
                None => findings.add(unknown.0, unchecked(UNKNOWN.to_owned())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::validate::tests::{corpora, resources};
    use serde_json::Value;

    /// What is found, with its place.
    fn found(profiles: &Profiles, json: &Json, asked: &[&str], severity: Severity) -> Vec<String> {
        let mut findings = Findings::default();
        let asked: Vec<String> = asked.iter().map(|url| (*url).to_owned()).collect();
        profiles.check(Node::resource(json).unwrap(), &asked, &mut findings);
        let all = findings.into_sorted().into_iter().filter(|(s, _)| *s == severity);
        all.map(|(_, issue)| format!("{}: {}", issue.expression.unwrap(), issue.text)).collect()
    }

    fn errors(profiles: &Profiles, json: &Json) -> Vec<String> {
        found(profiles, json, &[], Severity::Error)
    }

    /// The resource with one thing taken out or set.
    fn broken(mut resource: Value, case: &Value) -> Json {
        let pointer = case["remove"].as_str().or(case["set"].as_str()).unwrap();
        let (parent, last) = pointer.rsplit_once('/').unwrap();
        let holder = resource.pointer_mut(parent).unwrap_or_else(|| panic!("{case}"));
        match (holder, case.get("to")) {
            (Value::Array(items), None) => _ = items.remove(last.parse().unwrap()),
            (Value::Object(members), None) => assert!(members.remove(last).is_some(), "{case}"),
            (Value::Array(items), Some(to)) => items[last.parse::<usize>().unwrap()] = to.clone(),
            (holder, Some(to)) => holder[last] = to.clone(),
            _ => panic!("{case}"),
        }
        Json::from(resource)
    }

    fn is_at(errors: &[String], place: &str) -> bool {
        errors.iter().any(|error| error.split(':').next() == Some(place))
    }

    #[test]
    fn each_breach_of_a_profile_is_located() {
        let cases: Value = serde_json::from_str(include_str!("cases.json")).unwrap();
        let definitions = cases["definitions"].as_array().unwrap().iter().cloned().map(Json::from);
        let (profiles, doubts) = Profiles::read(definitions);
        assert_eq!(profiles.len(), 2);
        assert_eq!(doubts.len(), 1, "{doubts:?}");
        assert_eq!(errors(&profiles, &Json::from(cases["good"].clone())), [""; 0]);
        for case in cases["cases"].as_array().unwrap() {
            let errors = errors(&profiles, &broken(cases["good"].clone(), case));
            match case["at"].as_str() {
                Some(place) => assert!(is_at(&errors, place), "{case}: {errors:?}"),
                None => assert!(errors.is_empty(), "{case}: {errors:?}"),
            }
        }
    }

    #[test]
    fn a_profile_that_is_not_configured_is_told_and_nominating_one_is_an_error() {
        let json = Json::parse(br#"{"resourceType":"Patient","meta":{"profile":["urn:x"]}}"#).unwrap();
        let (profiles, _) = Profiles::read([]);
        let told = found(&profiles, &json, &[], Severity::Information);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("Patient.meta.profile[0]: this profile is not configured here"), "{told:?}");
        assert!(told[0].contains("validation.profiles"), "it says what to do: {told:?}");
        assert_eq!(found(&profiles, &json, &["urn:y"], Severity::Error).len(), 1);
    }

    #[test]
    fn the_standards_own_definitions_are_no_news_and_another_version_is_refused_by_name() {
        let patient = Json::parse(br#"{"resourceType":"Patient"}"#).unwrap();
        let definition =
            br#"{"resourceType":"StructureDefinition","url":"http://guide/pat","version":"6.1.0","type":"Patient",
            "snapshot":{"element":[{"path":"Patient"},{"path":"Patient.gender","min":1}]}}"#;
        let (profiles, _) = Profiles::read([Json::parse(definition).unwrap()]);
        for (url, expected) in [
            ("http://hl7.org/fhir/StructureDefinition/Patient", ""),
            ("http://hl7.org/fhir/StructureDefinition/Patient|4.0.1", ""),
            ("http://hl7.org/fhir/StructureDefinition/Patient|4.0", ""),
            ("http://hl7.org/fhir/StructureDefinition/DomainResource", ""),
            ("http://hl7.org/fhir/StructureDefinition/Patient|5.0.0", "4.0.1"),
            ("http://hl7.org/fhir/StructureDefinition/Observation", "another type"),
            ("http://hl7.org/fhir/StructureDefinition/vitalsigns", "validation.profiles"),
            ("http://guide/pat", "Patient"),
            ("http://guide/pat|6.1", "Patient"),
            ("http://guide/pat|7.0.0", "6.1.0"),
        ] {
            let errors = found(&profiles, &patient, &[url], Severity::Error);
            assert_eq!(errors.is_empty(), expected.is_empty(), "{url}: {errors:?}");
            assert!(errors.iter().all(|error| error.contains(expected)), "{url}: {errors:?}");
        }
    }

    /// The profiles of a guide of the corpora, and its examples.
    fn guide(name: &str) -> Option<(Profiles, Vec<(String, Json)>)> {
        let folder = corpora(name)?;
        let (profiles, doubts) =
            Profiles::read(resources(&folder.join("conformance")).into_iter().map(|(_, json)| json));
        println!("{name}: {} profiles; not checked: {doubts:?}", profiles.len());
        Some((profiles, resources(&folder.join("example"))))
    }

    #[test]
    fn examples_of_guides_fit_their_profiles() {
        for name in ["ig-us-core-6.1.0", "ig-ips-1.1.0"] {
            let Some((profiles, examples)) = guide(name) else { return };
            for (file, json) in &examples {
                assert_eq!(errors(&profiles, json), [""; 0], "{file}");
            }
            println!("{} examples fit", examples.len());
        }
    }

    #[test]
    fn broken_examples_of_us_core_do_not_fit() {
        let Some((profiles, examples)) = guide("ig-us-core-6.1.0") else { return };
        let cases: Value = serde_json::from_str(include_str!("broken.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let (_, json) = examples.iter().find(|(file, _)| *file == case["file"]).unwrap_or_else(|| panic!("{case}"));
            let value = serde_json::from_slice(&json.compact()).unwrap();
            let errors = errors(&profiles, &broken(value, case));
            assert!(is_at(&errors, case["at"].as_str().unwrap()), "{case}: {errors:?}");
        }
    }
}
