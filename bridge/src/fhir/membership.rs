//! Whose a resource is: R4's patient compartment (<http://hl7.org/fhir/R4/compartmentdefinition-patient.html>), by the table of
//! search parameters. Asked by `$everything`, by exports, and by who chooses the key that seals. Pure.

use super::search::check::found;
use super::search::criterion::normal;
use super::search::table::{Kind, Parameter, compartment, parameter};
use super::search::value::Value;
use crate::ids::{Name, TypeName};
use notary::canonical::Json;

/// The patients whose compartments hold a resource, each once: itself where it is one, then in the order of the compartment's
/// parameters, then of the resource. That order is the same before and after the resource is stored.
pub fn of(name: &Name, resource: &Json, base: &str) -> Vec<Name> {
    let own = is_patient(name).then(|| name.clone());
    let by = by(name.kind, "Patient").into_iter();
    let mut all: Vec<Name> = Vec::new();
    for patient in own.into_iter().chain(by.flat_map(|parameter| patients(parameter, resource, base))) {
        if !all.contains(&patient) {
            all.push(patient);
        }
    }
    all
}

/// The parameters by which a resource of a type belongs to a Patient, by R4's table, or to an Encounter.
pub fn by(kind: TypeName, focus: &str) -> Vec<&'static Parameter> {
    let names = if focus == "Patient" { compartment(kind) } else { &["encounter", "context"] };
    let to_focus = |p: &&Parameter| p.kind == Kind::Reference && (p.targets.is_empty() || p.targets.contains(&focus));
    names.iter().filter_map(|name| parameter(kind, name)).filter(to_focus).collect()
}

/// The patient under whose key a resource is sealed: whom it is about (R4's parameter `patient`), of several the first. Where it
/// does not say that, the only one that has to do with it, or (a Binary) whom its security context names. What has to do with
/// several alike, such as a Group, is of none.
pub fn keeper(name: &Name, resource: &Json, base: &str) -> Option<Name> {
    if is_patient(name) {
        return Some(name.clone());
    }
    let about = parameter(name.kind, "patient").into_iter();
    about.flat_map(|parameter| patients(parameter, resource, base)).next().or_else(|| {
        match of(name, resource, base).as_slice() {
            [only] => Some(only.clone()),
            [] => guard(resource, base),
            _ => None,
        }
    })
}

/// The patient whose data a Binary is, as its security context says (R4 2.35.5).
fn guard(resource: &Json, base: &str) -> Option<Name> {
    let context = resource.get("securityContext").and_then(|context| context.text("reference"))?;
    Name::parse(normal(context, base)).filter(is_patient)
}

/// The types that speak of no patient (a Device may): exports of patients hold them where they are asked for by name, and who
/// may read one patient's record may read them.
pub const SUPPORTING: &[&str] = &[
    "Endpoint",
    "HealthcareService",
    "Location",
    "Medication",
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Substance",
];

/// The types that speak of how medicine is done, of codes and of systems, and never of somebody who is ill.
const KNOWLEDGE: &[&str] = &[
    "ActivityDefinition",
    "CapabilityStatement",
    "CatalogEntry",
    "ChargeItemDefinition",
    "CodeSystem",
    "CompartmentDefinition",
    "ConceptMap",
    "DeviceDefinition",
    "EffectEvidenceSynthesis",
    "EventDefinition",
    "Evidence",
    "EvidenceVariable",
    "ExampleScenario",
    "GraphDefinition",
    "ImplementationGuide",
    "InsurancePlan",
    "Library",
    "Measure",
    "MedicationKnowledge",
    "MessageDefinition",
    "NamingSystem",
    "ObservationDefinition",
    "OperationDefinition",
    "OrganizationAffiliation",
    "PlanDefinition",
    "Questionnaire",
    "ResearchDefinition",
    "ResearchElementDefinition",
    "ResearchStudy",
    "RiskEvidenceSynthesis",
    "SearchParameter",
    "SpecimenDefinition",
    "StructureDefinition",
    "StructureMap",
    "TerminologyCapabilities",
    "TestScript",
    "ValueSet",
];

/// Whether resources of a type are nobody's: what does not name a patient is then not somebody's whom nobody can tell.
pub fn is_nobodys(kind: TypeName) -> bool {
    supports(kind) || KNOWLEDGE.contains(&kind.as_str())
}

/// Whether a type is one of those.
pub fn supports(kind: TypeName) -> bool {
    SUPPORTING.contains(&kind.as_str())
}

/// Whether a resource is shown to who may see one patient's record: it is in his compartment, or about him though the table leaves
/// it out (a Device, a Task), or speaks of no patient by its type. A patient is shown himself alone, whoever is linked to him;
/// what has to do with several alike, such as a Group, would tell of the others.
pub fn is_shown_to(patient: &Name, name: &Name, resource: &Json, base: &str) -> bool {
    if is_patient(name) {
        return name == patient;
    }
    match keeper(name, resource, base) {
        Some(keeper) if keeper == *patient => true,
        Some(_) => of(name, resource, base).contains(patient),
        None => supports(name.kind) && of(name, resource, base).is_empty(),
    }
}

/// Whether a resource is about this patient, and in nobody else's compartment: who may change one patient's record may write it.
pub fn is_of_none_but(patient: &Name, name: &Name, resource: &Json, base: &str) -> bool {
    keeper(name, resource, base).as_ref() == Some(patient) && of(name, resource, base).iter().all(|of| of == patient)
}

/// What a value refers to on this server, whichever way it is written.
pub fn target(value: &Value<'_>, base: &str) -> Option<Name> {
    match value {
        Value::Reference { literal: Some(literal), .. } => Name::parse(normal(literal, base)),
        _ => None,
    }
}

fn patients(parameter: &'static Parameter, resource: &Json, base: &str) -> Vec<Name> {
    let names = found(parameter, resource).into_iter().filter_map(|value| target(&value, base));
    names.filter(is_patient).collect()
}

fn is_patient(name: &Name) -> bool {
    name.kind.as_str() == "Patient"
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "http://here/fhir";

    /// A resource `Type/x`, the patients whose compartments hold it, and whose key seals it.
    const CASES: &[(&str, &[&str], Option<&str>)] = &[
        (r#"{"resourceType":"Patient"}"#, &["x"], Some("x")),
        (r#"{"resourceType":"Patient","link":[{"other":{"reference":"Patient/p"}}]}"#, &["x", "p"], Some("x")),
        (r#"{"resourceType":"Observation","subject":{"reference":"Patient/p"}}"#, &["p"], Some("p")),
        (r#"{"resourceType":"Observation","subject":{"reference":"http://here/fhir/Patient/p"}}"#, &["p"], Some("p")),
        (r#"{"resourceType":"Observation","subject":{"reference":"Patient/p/_history/3"}}"#, &["p"], Some("p")),
        (r#"{"resourceType":"Observation","subject":{"reference":"http://there/fhir/Patient/p"}}"#, &[], None),
        (
            r#"{"resourceType":"Observation","performer":[{"reference":"Patient/q"}],"subject":{"reference":"Patient/p"}}"#,
            &["p", "q"],
            Some("p"),
        ),
        (
            r#"{"resourceType":"Observation","performer":[{"reference":"Patient/q"}],"subject":{"reference":"Group/g"}}"#,
            &["q"],
            Some("q"),
        ),
        (
            r#"{"resourceType":"Appointment","participant":[{"actor":{"reference":"Practitioner/d"}},
                {"actor":{"reference":"Patient/q"}},{"actor":{"reference":"Patient/p"}},{"actor":{"reference":"Patient/q"}}]}"#,
            &["q", "p"],
            Some("q"),
        ),
        (
            r#"{"resourceType":"Account","subject":[{"reference":"Device/d"},{"reference":"Patient/p9/_history/2"}]}"#,
            &["p9"],
            Some("p9"),
        ),
        // The insured comes before who pays, whatever the table's order.
        (
            r#"{"resourceType":"Coverage","policyHolder":{"reference":"Patient/parent"},"beneficiary":{"reference":"Patient/child"}}"#,
            &["parent", "child"],
            Some("child"),
        ),
        (r#"{"resourceType":"AdverseEvent","subject":{"reference":"Patient/p"}}"#, &["p"], Some("p")),
        // Not in R4's compartment, and about a patient all the same.
        (r#"{"resourceType":"Device","patient":{"reference":"Patient/p"}}"#, &[], Some("p")),
        (r#"{"resourceType":"Task","for":{"reference":"Patient/p"}}"#, &[], Some("p")),
        (r#"{"resourceType":"ResearchSubject","individual":{"reference":"Patient/p"}}"#, &["p"], Some("p")),
        (
            r#"{"resourceType":"Provenance","target":[{"reference":"Encounter/e"},{"reference":"Patient/p"}]}"#,
            &["p"],
            Some("p"),
        ),
        (r#"{"resourceType":"Group","member":[{"entity":{"reference":"Patient/p"}}]}"#, &["p"], Some("p")),
        (
            r#"{"resourceType":"Group","member":[{"entity":{"reference":"Patient/p"}},{"entity":{"reference":"Patient/q"}}]}"#,
            &["p", "q"],
            None,
        ),
        (r#"{"resourceType":"Organization"}"#, &[], None),
    ];

    #[test]
    fn a_resource_belongs_to_the_patients_that_the_standards_table_says() {
        for (text, patients, key) in CASES {
            let resource = Json::parse(text.as_bytes()).unwrap();
            let kind = TypeName::parse(resource.text("resourceType").unwrap()).unwrap();
            let name = Name::parse(&format!("{kind}/x")).unwrap();
            let found = of(&name, &resource, BASE);
            assert_eq!(found.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), *patients, "{text}");
            assert_eq!(keeper(&name, &resource, BASE).map(|p| p.id.as_str().to_owned()).as_deref(), *key, "{text}");
            for patient in ["p", "q"].map(|id| Name::parse(&format!("Patient/{id}")).unwrap()) {
                let shown = is_shown_to(&patient, &name, &resource, BASE);
                let own = key.is_some_and(|key| key == patient.id.as_str());
                let among = patients.contains(&patient.id.as_str()) && key.is_some() && kind.as_str() != "Patient";
                assert_eq!(shown, own || among || supports(kind), "{patient}: {text}");
                let alone = patients.iter().all(|id| *id == patient.id.as_str());
                assert_eq!(is_of_none_but(&patient, &name, &resource, BASE), own && alone, "{patient}: {text}");
            }
            let stored = Json::parse(&resource.canonical()).unwrap();
            assert_eq!(of(&name, &stored, BASE), of(&name, &resource, BASE), "the order does not change: {text}");
        }
    }
}
