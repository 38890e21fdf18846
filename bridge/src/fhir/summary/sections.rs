//! The sections of an International Patient Summary (IPS 1.1.0): which resources belong into each, and what is told of them.

use crate::fhir::display::{choice, coded, concept, concepts, day, items, joined, range, result};
use notary::canonical::Json;

/// A section.
pub struct Section {
    pub title: &'static str,
    /// LOINC, with what it is called there.
    pub code: (&'static str, &'static str),
    pub headings: &'static [&'static str],
    pub takes: fn(&Json) -> bool,
    pub row: fn(&Json, &Held<'_>) -> Vec<String>,
    /// IPS wants the section even where nothing is known, and an entry that says so.
    pub absent: Option<Absent>,
    /// The newest of each code: a summary is no archive.
    pub per_code: Option<usize>,
}

/// The resource that says that nothing is known.
pub struct Absent {
    pub type_name: &'static str,
    pub code: &'static str,
    pub display: &'static str,
}

/// Finds a resource of the same document by its reference.
pub type Held<'h> = dyn Fn(&str) -> Option<&'h Json> + 'h;

/// The newest results and vital signs of each code.
const NEWEST: usize = 5;

/// In the order of the IPS: what it requires, then what it recommends, then the rest.
pub const SECTIONS: &[Section] = &[
    Section {
        title: "Problems",
        code: ("11450-4", "Problem list - Reported"),
        headings: &["Problem", "Status", "Since"],
        takes: |r| is(r, "Condition") && believed(r) && !past(r),
        row: condition,
        absent: Some(Absent {
            type_name: "Condition",
            code: "no-problem-info",
            display: "No information about problems",
        }),
        per_code: None,
    },
    Section {
        title: "Allergies and intolerances",
        code: ("48765-2", "Allergies and adverse reactions Document"),
        headings: &["Substance", "Criticality", "Reaction", "Status", "Since"],
        takes: |r| is(r, "AllergyIntolerance") && believed(r),
        row: allergy,
        absent: Some(Absent {
            type_name: "AllergyIntolerance",
            code: "no-allergy-info",
            display: "No information about allergies",
        }),
        per_code: None,
    },
    Section {
        title: "Medications",
        code: ("10160-0", "History of Medication use Narrative"),
        headings: &["Medication", "Dosage", "Status", "Since"],
        takes: |r| {
            let taken = |statuses: &[&str]| r.text("status").is_none_or(|s| statuses.contains(&s));
            (is(r, "MedicationStatement") && taken(&["active", "intended", "on-hold", "unknown"]))
                || (is(r, "MedicationRequest") && taken(&["active", "on-hold", "unknown"]))
        },
        row: medication,
        absent: Some(Absent {
            type_name: "MedicationStatement",
            code: "no-medication-info",
            display: "No information about medications",
        }),
        per_code: None,
    },
    Section {
        title: "Immunizations",
        code: ("11369-6", "History of Immunization Narrative"),
        headings: &["Vaccine", "Date", "Dose"],
        takes: |r| is(r, "Immunization") && r.text("status") == Some("completed"),
        row: immunization,
        absent: None,
        per_code: None,
    },
    Section {
        title: "Results",
        code: ("30954-2", "Relevant diagnostic tests/laboratory data Narrative"),
        headings: RESULT,
        takes: |r| {
            let measured = is(r, "Observation")
                && final_result(r)
                && !has_category(r, &["vital-signs", "social-history", "survey"]);
            measured || (is(r, "DiagnosticReport") && final_result(r))
        },
        row: observation,
        absent: None,
        per_code: Some(NEWEST),
    },
    Section {
        title: "Procedures",
        code: ("47519-4", "History of Procedures Document"),
        headings: &["Procedure", "Date", "Status"],
        takes: |r| is(r, "Procedure") && matches!(r.text("status"), Some("completed" | "in-progress" | "unknown")),
        row: procedure,
        absent: None,
        per_code: None,
    },
    Section {
        title: "Medical devices",
        code: ("46264-8", "History of medical device use"),
        headings: &["Device", "Date", "Status"],
        takes: |r| is(r, "DeviceUseStatement") && r.text("status") != Some("entered-in-error"),
        row: device,
        absent: None,
        per_code: None,
    },
    Section {
        title: "Vital signs",
        code: ("8716-3", "Vital signs"),
        headings: RESULT,
        takes: |r| is(r, "Observation") && final_result(r) && has_category(r, &["vital-signs"]),
        row: observation,
        absent: None,
        per_code: Some(NEWEST),
    },
    Section {
        title: "Past illnesses",
        code: ("11348-0", "History of Past illness Narrative"),
        headings: &["Problem", "Status", "Since"],
        takes: |r| is(r, "Condition") && believed(r) && past(r),
        row: condition,
        absent: None,
        per_code: None,
    },
    Section {
        title: "Plan of care",
        code: ("18776-5", "Plan of care note"),
        headings: &["Plan", "Status", "Time"],
        takes: |r| is(r, "CarePlan") && r.text("status") == Some("active"),
        row: plan,
        absent: None,
        per_code: None,
    },
    Section {
        title: "Social history",
        code: ("29762-2", "Social history Narrative"),
        headings: RESULT,
        takes: |r| is(r, "Observation") && final_result(r) && has_category(r, &["social-history"]),
        row: observation,
        absent: None,
        per_code: Some(1),
    },
];

/// The types that some section takes.
pub const TYPES: &[&str] = &[
    "AllergyIntolerance",
    "CarePlan",
    "Condition",
    "DeviceUseStatement",
    "DiagnosticReport",
    "Immunization",
    "MedicationRequest",
    "MedicationStatement",
    "Observation",
    "Procedure",
];

const RESULT: &[&str] = &["What", "Value", "Reference", "Interpretation", "Date"];

fn is(resource: &Json, type_name: &str) -> bool {
    resource.text("resourceType") == Some(type_name)
}

fn has_code(resource: &Json, name: &str, codes: &[&str]) -> bool {
    resource.get(name).is_some_and(|concept| coded(concept, codes))
}

/// Neither refuted nor entered in error.
fn believed(resource: &Json) -> bool {
    !has_code(resource, "verificationStatus", &["refuted", "entered-in-error"])
}

fn past(condition: &Json) -> bool {
    has_code(condition, "clinicalStatus", &["inactive", "remission", "resolved"])
}

fn final_result(resource: &Json) -> bool {
    matches!(resource.text("status"), Some("final" | "amended" | "corrected" | "appended"))
}

fn has_category(resource: &Json, codes: &[&str]) -> bool {
    items(resource, "category").iter().any(|category| coded(category, codes))
}

/// The date by which entries are ordered, the newest first.
pub fn dated(resource: &Json) -> String {
    let direct = ["effectiveDateTime", "occurrenceDateTime", "performedDateTime", "onsetDateTime", "effectiveInstant"];
    let periods = ["effectivePeriod", "performedPeriod", "onsetPeriod", "period", "timingPeriod"];
    let later = ["timingDateTime", "authoredOn", "recordedDate", "recordedOn", "dateAsserted", "issued"];
    let start = |name: &&str| resource.get(name).and_then(|p| p.text("start"));
    let first = direct.iter().find_map(|name| resource.text(name));
    let found = first.or_else(|| periods.iter().find_map(start));
    found.or_else(|| later.iter().find_map(|name| resource.text(name))).unwrap_or("").to_owned()
}

fn condition(r: &Json, _: &Held<'_>) -> Vec<String> {
    vec![concepts(r, "code"), concepts(r, "clinicalStatus"), day(&dated(r))]
}

fn allergy(r: &Json, _: &Held<'_>) -> Vec<String> {
    let reaction = |r: &Json| concepts(r, "manifestation");
    let reactions = joined(items(r, "reaction").iter().map(reaction), "; ");
    let criticality = r.text("criticality").unwrap_or("").to_owned();
    vec![concepts(r, "code"), criticality, reactions, concepts(r, "clinicalStatus"), day(&dated(r))]
}

fn medication(r: &Json, held: &Held<'_>) -> Vec<String> {
    let referred = || r.get("medicationReference").map(|reference| referred(r, reference, held)).unwrap_or_default();
    let named = Some(concepts(r, "medicationCodeableConcept")).filter(|n| !n.is_empty()).unwrap_or_else(referred);
    let list = if is(r, "MedicationRequest") { "dosageInstruction" } else { "dosage" };
    let dosage = joined(items(r, list).iter().map(dose), "; ");
    vec![named, dosage, r.text("status").unwrap_or("").to_owned(), day(&dated(r))]
}

/// What a reference is called: in its own words, by what it holds inside, or by the resource that it leads to.
fn referred(resource: &Json, reference: &Json, held: &Held<'_>) -> String {
    let target = reference.text("reference").unwrap_or("");
    let inner = items(resource, "contained").iter().find(|c| c.text("id") == target.strip_prefix('#'));
    let code =
        inner.or_else(|| held(target)).map(|found| joined([concepts(found, "code"), concepts(found, "type")], " "));
    let shown = reference.text("display").map(str::to_owned);
    shown.or(code.filter(|c| !c.is_empty())).unwrap_or_default()
}

fn dose(dosage: &Json) -> String {
    if let Some(text) = dosage.text("text") {
        return text.to_owned();
    }
    let rate = items(dosage, "doseAndRate").iter().map(|d| choice(d, "dose"));
    let code = dosage.get("timing").map(|t| concepts(t, "code")).unwrap_or_default();
    joined(rate.chain([code, concepts(dosage, "route")]), " ")
}

fn immunization(r: &Json, _: &Held<'_>) -> Vec<String> {
    let dose = items(r, "protocolApplied").iter().map(|p| choice(p, "doseNumber"));
    let date = Some(day(&dated(r))).filter(|d| !d.is_empty()).unwrap_or_else(|| choice(r, "occurrence"));
    vec![concepts(r, "vaccineCode"), date, joined(dose, ", ")]
}

fn observation(r: &Json, _: &Held<'_>) -> Vec<String> {
    let report = is(r, "DiagnosticReport");
    let value = if report { r.text("conclusion").unwrap_or("").to_owned() } else { result(r) };
    let normal = |range_json: &Json| range_json.text("text").map_or_else(|| range(range_json), str::to_owned);
    let reference = joined(items(r, "referenceRange").iter().map(normal), "; ");
    vec![concepts(r, "code"), value, reference, concepts(r, "interpretation"), day(&dated(r))]
}

fn procedure(r: &Json, _: &Held<'_>) -> Vec<String> {
    vec![concepts(r, "code"), day(&dated(r)), r.text("status").unwrap_or("").to_owned()]
}

fn device(r: &Json, held: &Held<'_>) -> Vec<String> {
    let named = r.get("device").map(|reference| referred(r, reference, held)).unwrap_or_default();
    vec![named, day(&dated(r)), r.text("status").unwrap_or("").to_owned()]
}

fn plan(r: &Json, _: &Held<'_>) -> Vec<String> {
    let categories = joined(items(r, "category").iter().map(concept), ", ");
    let named = r.text("title").map_or(categories, str::to_owned);
    vec![named, r.text("status").unwrap_or("").to_owned(), day(&dated(r))]
}
