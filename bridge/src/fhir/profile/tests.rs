//! Cases of [`super`], and the profiles of guides where they are present.

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
    assert_eq!(told, ["Patient.meta.profile[0]: this profile is not configured here, and was not checked"]);
    assert_eq!(found(&profiles, &json, &["urn:y"], Severity::Error).len(), 1);
}

/// The profiles of a guide of the corpora, and its examples.
fn guide(name: &str) -> Option<(Profiles, Vec<(String, Json)>)> {
    let folder = corpora(name)?;
    let (profiles, doubts) = Profiles::read(resources(&folder.join("conformance")).into_iter().map(|(_, json)| json));
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
