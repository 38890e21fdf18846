//! What the profiles of the International Patient Summary 1.1.0 demand of single resources beyond R4. The document claims the
//! profile only where all of this holds: a summary of a thin record is useful, but is no IPS.

use crate::fhir::display::items;
use notary::canonical::Json;

/// The profile of the document and of its Composition.
pub const BUNDLE: &str = "http://hl7.org/fhir/uv/ips/StructureDefinition/Bundle-uv-ips";
pub const COMPOSITION: &str = "http://hl7.org/fhir/uv/ips/StructureDefinition/Composition-uv-ips";

/// Type and the elements that must be there; `x[x]` is one of several types.
const REQUIRED: &[(&str, &[&str])] = &[
    ("AllergyIntolerance", &["patient.reference"]),
    ("Condition", &["clinicalStatus", "code", "subject.reference"]),
    ("DeviceUseStatement", &["subject.reference", "timing[x]"]),
    ("DiagnosticReport", &["category", "subject.reference", "effective[x]"]),
    ("Immunization", &["patient.reference", "occurrence[x]"]),
    ("Medication", &["code"]),
    ("MedicationRequest", &["subject.reference"]),
    ("MedicationStatement", &["subject.reference", "effective[x]"]),
    ("Observation", &["subject.reference", "effective[x]"]),
    ("Organization", &["name"]),
    ("Patient", &["birthDate", "name"]),
    ("Practitioner", &["name"]),
    ("Procedure", &["code", "subject.reference", "performed[x]"]),
    ("Specimen", &["type"]),
];

/// Types whose status must be `final`.
const FINAL: &[&str] = &["DiagnosticReport", "Observation"];

/// Whether a resource may stand in a document that claims the profile.
pub fn meets(resource: &Json) -> bool {
    let kind = resource.text("resourceType").unwrap_or("");
    let required = REQUIRED.iter().filter(|(name, _)| *name == kind).flat_map(|(_, paths)| *paths);
    let done = !FINAL.contains(&kind) || resource.text("status") == Some("final");
    let named = |name: &Json| ["family", "given", "text"].iter().any(|part| name.get(part).is_some());
    let called = kind != "Patient" || items(resource, "name").iter().all(named);
    let one_category = kind != "DiagnosticReport" || items(resource, "category").len() == 1;
    done && called && one_category && required.into_iter().all(|path| has(resource, path))
}

fn has(json: &Json, path: &str) -> bool {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    match (name.strip_suffix("[x]"), rest) {
        (Some(stem), _) => json.members().iter().any(|(key, _)| of_choice(key, stem)),
        (None, Some(rest)) => json.get(name).is_some_and(|child| has(child, rest)),
        (None, None) => json.get(name).is_some(),
    }
}

fn of_choice(key: &str, stem: &str) -> bool {
    key.strip_prefix(stem).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_something_does_not_meet_it() {
        let whole = r#"{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/1"},"effectiveDateTime":"2024"}"#;
        let meets = |text: &str| meets(&Json::parse(text.as_bytes()).unwrap());
        assert!(meets(whole));
        for (from, to) in [("final", "amended"), ("\"reference\"", "\"display\""), ("effectiveDateTime", "issued")] {
            assert!(!meets(&whole.replace(from, to)), "{to}");
        }
        assert!(meets(r#"{"resourceType":"Patient","name":[{"family":"N"}],"birthDate":"1980"}"#));
        assert!(!meets(r#"{"resourceType":"Patient","name":[{"use":"usual"}],"birthDate":"1980"}"#));
        assert!(meets(r#"{"resourceType":"Encounter"}"#), "of which it demands nothing");
    }
}
