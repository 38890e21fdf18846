//! The International Patient Summary (<http://hl7.org/fhir/uv/ips/> 1.1.0) as a FHIR document (R4 3.3): a Composition, and
//! whatever it speaks of. Pure.

pub mod profile;
pub mod sections;

use super::display::{escape, items, person};
use super::search::criterion::normal;
use crate::ids::{Name, ResourceId};
use notary::canonical::Json;
use profile::{BUNDLE, COMPOSITION, meets};
use sections::{Absent, SECTIONS, Section};
use serde_json::{Value, json};
use std::collections::HashMap;

const XHTML: &str = "http://www.w3.org/1999/xhtml";
const ABSENT: &str = "http://hl7.org/fhir/uv/ips/CodeSystem/absent-unknown-uv-ips";
const WHY_ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
const CLINICAL: [(&str, &str); 2] = [
    ("Condition", "http://terminology.hl7.org/CodeSystem/condition-clinical"),
    ("AllergyIntolerance", "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical"),
];
/// Bundle, Composition, custodian, and one for each resource that may say that nothing is known.
pub const FRESH_IDS: usize = 6;

/// What a document is made of.
pub struct Parts<'p> {
    pub base: &'p str,
    pub custodian: &'p str,
    /// An instant.
    pub now: &'p str,
    pub patient: &'p Json,
    /// For each section, in its order.
    pub chosen: &'p [Vec<Json>],
    pub referred: &'p [Json],
    /// Types that the reader may not see.
    pub withheld: &'p [&'p str],
    pub ids: &'p [ResourceId; FRESH_IDS],
}

/// The resources of a document, by what refers to them.
pub struct Index<'i> {
    base: &'i str,
    by_name: HashMap<Name, &'i Json>,
}

impl<'i> Index<'i> {
    /// An index of resources.
    pub fn of(base: &'i str, resources: impl IntoIterator<Item = &'i Json>) -> Self {
        let by_name = resources.into_iter().filter_map(|r| Some((name(r)?, r))).collect();
        Self { base, by_name }
    }

    /// The resource that a reference leads to.
    pub fn find(&self, reference: &str) -> Option<&'i Json> {
        self.by_name.get(&Name::parse(normal(reference, self.base))?).copied()
    }

    /// Whether a reference leads to a resource of this server that is not here.
    fn leads_out(&self, reference: &str) -> bool {
        Name::parse(normal(reference, self.base)).is_some_and(|name| !self.by_name.contains_key(&name))
    }
}

fn name(resource: &Json) -> Option<Name> {
    Name::parse(&format!("{}/{}", resource.text("resourceType")?, resource.text("id")?))
}

/// The document. Resources stand in it as they are stored; only a reference that would lead out of it is cut.
pub fn document(parts: &Parts<'_>) -> Json {
    let chosen = || parts.chosen.iter().flatten();
    let index = Index::of(parts.base, std::iter::once(parts.patient).chain(chosen()).chain(parts.referred));
    let mut absent = Vec::new();
    let sections: Vec<Value> = SECTIONS
        .iter()
        .zip(parts.chosen)
        .filter_map(|(s, chosen)| section(parts, s, chosen, &index, &mut absent))
        .collect();
    let stored = || std::iter::once(parts.patient).chain(chosen()).chain(parts.referred);
    let claims = stored().all(meets);
    let [bundle, composition, custodian, ..] = parts.ids;
    let mut entries = vec![entry(urn(composition), composition_of(parts, sections, claims).into())];
    entries.push(stored_entry(parts, parts.patient, &index));
    let organization = json!({"resourceType": "Organization", "id": custodian.as_str(), "name": parts.custodian});
    entries.push(entry(urn(custodian), organization.into()));
    entries.extend(chosen().chain(parts.referred).map(|r| stored_entry(parts, r, &index)));
    entries.extend(absent);
    let mut document: Json = json!({
        "resourceType": "Bundle",
        "id": bundle.as_str(),
        "identifier": {"system": "urn:ietf:rfc:3986", "value": urn(bundle)},
        "type": "document",
        "timestamp": parts.now,
    })
    .into();
    if claims {
        document.set("meta", json!({"profile": [BUNDLE]}).into());
    }
    document.set("entry", Json::Array(entries));
    document
}

fn urn(id: &ResourceId) -> String {
    format!("urn:uuid:{id}")
}

fn entry(full_url: String, resource: Json) -> Json {
    Json::Object(vec![("fullUrl".to_owned(), Json::String(full_url)), ("resource".to_owned(), resource)])
}

fn stored_entry(parts: &Parts<'_>, resource: &Json, index: &Index<'_>) -> Json {
    let mut closed = resource.clone();
    close(&mut closed, index);
    entry(address(parts, resource), closed)
}

fn address(parts: &Parts<'_>, resource: &Json) -> String {
    let part = |name| resource.text(name).unwrap_or("");
    format!("{}/{}/{}", parts.base, part("resourceType"), part("id"))
}

/// Cuts each reference that would lead out of the document; its type and words stay.
fn close(json: &mut Json, index: &Index<'_>) {
    let out = json.text("reference").filter(|text| index.leads_out(text)).map(str::to_owned);
    if let Some(out) = out {
        json.remove("reference");
        let kind = normal(&out, index.base).split('/').next().unwrap_or("").to_owned();
        if json.get("type").is_none() {
            json.set("type", Json::String(kind));
        }
        if json.get("display").is_none() {
            json.set("display", Json::String("not in this document".to_owned()));
        }
    }
    match json {
        Json::Array(items) => items.iter_mut().for_each(|item| close(item, index)),
        Json::Object(members) => members.iter_mut().for_each(|(_, value)| close(value, index)),
        _ => {}
    }
}

fn section(
    parts: &Parts<'_>,
    section: &Section,
    chosen: &[Json],
    index: &Index<'_>,
    absent: &mut Vec<Json>,
) -> Option<Value> {
    let mut references: Vec<Value> = chosen.iter().map(|r| json!({"reference": address(parts, r)})).collect();
    let mut text = table(section, chosen, index);
    if chosen.is_empty() {
        let missing = section.absent.as_ref()?;
        let id = &parts.ids[FRESH_IDS - 3 + absent.len()];
        absent.push(entry(urn(id), nothing_known(parts, missing, id).into()));
        references.push(json!({"reference": urn(id)}));
        text = format!("<p>{}.</p>", escape(missing.display));
    }
    let (code, display) = section.code;
    Some(json!({
        "title": section.title,
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}]},
        "text": narrative(&text),
        "entry": references,
    }))
}

/// The entry of a required section of which nothing is known: IPS has a code for it and no emptyReason.
fn nothing_known(parts: &Parts<'_>, absent: &Absent, id: &ResourceId) -> Value {
    let patient = json!({"reference": address(parts, parts.patient)});
    let code = json!({"coding": [{"system": ABSENT, "code": absent.code, "display": absent.display}]});
    let mut resource = json!({
        "resourceType": absent.type_name,
        "id": id.as_str(),
        "text": narrative(&format!("<p>{}.</p>", escape(absent.display))),
    });
    if let Some((_, system)) = CLINICAL.iter().find(|(name, _)| *name == absent.type_name) {
        resource["clinicalStatus"] = json!({"coding": [{"system": system, "code": "active"}]});
        resource["code"] = code;
    } else {
        resource["status"] = json!("unknown");
        resource["medicationCodeableConcept"] = code;
        resource["effectivePeriod"] = json!({"extension": [{"url": WHY_ABSENT, "valueCode": "not-applicable"}]});
    }
    resource[if absent.type_name == "AllergyIntolerance" { "patient" } else { "subject" }] = patient;
    resource
}

fn composition_of(parts: &Parts<'_>, sections: Vec<Value>, claims: bool) -> Value {
    let [_, own, custodian, ..] = parts.ids;
    let custodian = json!({"reference": urn(custodian), "display": parts.custodian});
    let mut composition = json!({
        "resourceType": "Composition",
        "id": own.as_str(),
        "language": "en",
        "text": narrative(&headline(parts)),
        "identifier": {"system": "urn:ietf:rfc:3986", "value": urn(own)},
        "status": "final",
        "type": {"coding": [{"system": "http://loinc.org", "code": "60591-5", "display": "Patient summary Document"}]},
        "subject": {"reference": address(parts, parts.patient)},
        "date": parts.now,
        "author": [custodian],
        "title": "International Patient Summary",
        "custodian": custodian,
        "section": sections,
    });
    if claims {
        composition["meta"] = json!({"profile": [COMPOSITION]});
    }
    composition
}

fn headline(parts: &Parts<'_>) -> String {
    let (name, born) = (person(parts.patient), parts.patient.text("birthDate").unwrap_or("unknown"));
    let who = format!(
        "<p>Patient summary of {}, born {}, from {}.</p>",
        escape(&name),
        escape(born),
        escape(parts.custodian)
    );
    match parts.withheld {
        [] => who,
        types => format!("{who}<p>Left out, because the reader may not see it: {}.</p>", types.join(", ")),
    }
}

fn narrative(content: &str) -> Value {
    json!({"status": "generated", "div": format!("<div xmlns=\"{XHTML}\">{content}</div>")})
}

/// The table of a section, in HTML that is XHTML too; without the columns that nothing stands in.
pub fn table(section: &Section, chosen: &[Json], index: &Index<'_>) -> String {
    let find = |reference: &str| index.find(reference);
    let rows: Vec<Vec<String>> = chosen.iter().map(|r| (section.row)(r, &find)).collect();
    let told = |n: usize| n == 0 || rows.iter().any(|row| row.get(n).is_some_and(|cell| !cell.is_empty()));
    let headings: Vec<String> = section.headings.iter().map(|h| (*h).to_owned()).collect();
    let cells = |tag: &str, row: &[String]| -> String {
        let kept = row.iter().enumerate().filter(|(n, _)| told(*n));
        kept.map(|(_, cell)| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let body: String = rows.iter().map(|row| format!("<tr>{}</tr>", cells("td", row))).collect();
    format!("<table><thead><tr>{}</tr></thead><tbody>{body}</tbody></table>", cells("th", &headings))
}

/// Whether a resource is about the patient, not only written or carried out by the patient.
pub fn is_about(resource: &Json, patient: &Name, base: &str) -> bool {
    let points = |name: &&str| {
        let reference = resource.get(name).and_then(|r| r.text("reference"));
        reference.and_then(|text| Name::parse(normal(text, base))).as_ref() == Some(patient)
    };
    ["subject", "patient"].iter().any(points)
}

/// Puts the newest first; where a section says so, only so many of each code stay.
pub fn newest<T>(section: &Section, chosen: Vec<T>, per_code: Option<usize>, json: impl Fn(&T) -> Json) -> Vec<T> {
    let mut keyed: Vec<(String, String, T)> = chosen
        .into_iter()
        .map(|one| {
            let json = json(&one);
            (sections::dated(&json), code_of(&json), one)
        })
        .collect();
    keyed.sort_by(|a, b| b.0.cmp(&a.0));
    let limit = section.per_code.and(per_code).unwrap_or(usize::MAX);
    let mut seen: HashMap<String, usize> = HashMap::new();
    keyed.retain(|(_, code, _)| {
        let count = seen.entry(code.clone()).or_default();
        *count += 1;
        *count <= limit
    });
    keyed.into_iter().map(|(_, _, one)| one).collect()
}

/// What tells a series of results from another.
pub fn code_of(resource: &Json) -> String {
    let Some(code) = resource.get("code") else { return String::new() };
    let coding = items(code, "coding").first();
    let pair = coding.map(|c| format!("{}|{}", c.text("system").unwrap_or(""), c.text("code").unwrap_or("")));
    pair.unwrap_or_else(|| code.text("text").unwrap_or("").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::references::literals;
    use crate::fhir::validate::validate;

    const BASE: &str = "http://here/fhir";

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn of(patient: &str, records: &[&str], referred: &[&str]) -> Json {
        let ids = std::array::from_fn(|n| ResourceId::from_bytes([n as u8 + 1; 16]));
        let records: Vec<Json> = records.iter().map(|r| json(r)).collect();
        let takes = |s: &Section| records.iter().filter(|r| (s.takes)(r)).cloned().collect::<Vec<_>>();
        let chosen: Vec<Vec<Json>> = SECTIONS.iter().map(|s| newest(s, takes(s), s.per_code, Json::clone)).collect();
        let referred: Vec<Json> = referred.iter().map(|r| json(r)).collect();
        document(&Parts {
            base: BASE,
            custodian: "North & Quay",
            now: "2026-03-02T08:15:00.000Z",
            patient: &json(patient),
            chosen: &chosen,
            referred: &referred,
            withheld: &[],
            ids: &ids,
        })
    }

    const ADA: &str = r#"{"resourceType":"Patient","id":"ada","name":[{"family":"<b>Novak","given":["Ada"]}],"birthDate":"1980-02-29"}"#;
    const ASTHMA: &str = r#"{"resourceType":"Condition","id":"c1","subject":{"reference":"Patient/ada"},
        "clinicalStatus":{"coding":[{"code":"active"}]},"code":{"text":"Asthma <script>"},
        "encounter":{"reference":"Encounter/gone"},"recorder":{"reference":"Practitioner/p"}}"#;

    /// Everything that a document refers to is in it.
    fn closed(document: &Json) {
        let entries = document.get("entry").unwrap().items();
        let urls: Vec<&str> = entries.iter().map(|e| e.text("fullUrl").unwrap()).collect();
        for reference in literals(document) {
            assert!(urls.iter().any(|u| *u == reference || *u == format!("{BASE}/{reference}")), "{reference}");
        }
    }

    #[test]
    fn a_document_is_valid_closed_and_escaped() {
        let practitioner = r#"{"resourceType":"Practitioner","id":"p","name":[{"family":"Okafor"}]}"#;
        let document = of(ADA, &[ASTHMA], &[practitioner]);
        closed(&document);
        let text = String::from_utf8(document.compact()).unwrap();
        assert!(text.contains("Asthma &lt;script&gt;") && text.contains("&lt;b&gt;Novak"));
        assert!(text.contains("<th>Status</th>") && !text.contains("<th>Since</th>"), "no column of nothing");
        assert!(text.contains(r#""display":"not in this document""#));
        assert_eq!(document.get("meta").unwrap().get("profile").unwrap().items()[0].as_str(), Some(BUNDLE));
        assert_eq!(validate(document).err(), None);
    }

    #[test]
    fn a_required_section_of_which_nothing_is_known_says_so() {
        let document = of(ADA, &[], &[]);
        closed(&document);
        let text = String::from_utf8(document.compact()).unwrap();
        for code in ["no-problem-info", "no-allergy-info", "no-medication-info"] {
            assert!(text.contains(code), "{code}");
        }
        assert!(!text.contains("Immunizations"), "others are left out");
        assert_eq!(validate(document).err(), None);
    }

    #[test]
    fn the_profile_is_claimed_only_where_it_is_met() {
        let nameless = r#"{"resourceType":"Patient","id":"ada","birthDate":"1980"}"#;
        for (patient, records) in [
            (nameless, vec![]),
            (ADA, vec![r#"{"resourceType":"Condition","id":"c","subject":{"reference":"Patient/ada"}}"#]),
        ] {
            assert!(of(patient, &records, &[]).get("meta").is_none());
        }
    }

    #[test]
    fn a_summary_holds_the_newest_results_of_each_code() {
        let result = |n: usize, code: &str| {
            format!(
                r#"{{"resourceType":"Observation","id":"o{code}{n}","status":"final","code":{{"coding":[{{"code":"{code}"}}]}},
                "subject":{{"reference":"Patient/ada"}},"effectiveDateTime":"2024-01-{:02}"}}"#,
                n + 1
            )
        };
        let records: Vec<String> = (0..9).map(|n| result(n, "a")).chain([result(0, "b")]).collect();
        let document = of(ADA, &records.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        let text = String::from_utf8(document.compact()).unwrap();
        let urls = |id: &str| text.contains(&format!(r#""fullUrl":"{BASE}/Observation/{id}""#));
        assert!(urls("oa8") && urls("oa4") && !urls("oa3") && urls("ob0"));
    }

    #[test]
    fn what_the_patient_only_recorded_is_not_about_the_patient() {
        let ada = Name::parse("Patient/ada").unwrap();
        let recorded = r#"{"patient":{"reference":"Patient/bea"},"recorder":{"reference":"Patient/ada"}}"#;
        assert!(!is_about(&json(recorded), &ada, BASE));
        assert!(is_about(&json(r#"{"subject":{"reference":"http://here/fhir/Patient/ada"}}"#), &ada, BASE));
    }
}
