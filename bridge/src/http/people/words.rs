//! A record in plain words: what a list tells of an entry, and what its page tells. Pure.

use crate::fhir::display::{any, choice, concept, concepts, items, joined, person, range, result};
use crate::fhir::summary::sections::dated;
use notary::canonical::Json;

/// One kind of entries.
pub(super) struct Group {
    pub(super) kind: &'static str,
    pub(super) title: &'static str,
    /// The search parameter that orders them.
    pub(super) order: &'static str,
}

/// In the order of a page.
pub(super) const GROUPS: &[Group] = &[
    Group { kind: "Encounter", title: "Visits", order: "date" },
    Group { kind: "Observation", title: "Results and measurements", order: "date" },
    Group { kind: "DiagnosticReport", title: "Reports", order: "date" },
    Group { kind: "MedicationRequest", title: "Prescriptions", order: "authoredon" },
    Group { kind: "MedicationStatement", title: "Medications taken", order: "effective" },
    Group { kind: "AllergyIntolerance", title: "Allergies", order: "date" },
    Group { kind: "Condition", title: "Conditions", order: "recorded-date" },
    Group { kind: "Procedure", title: "Procedures", order: "date" },
    Group { kind: "Immunization", title: "Vaccinations", order: "date" },
    Group { kind: "Appointment", title: "Appointments", order: "date" },
    Group { kind: "DocumentReference", title: "Documents", order: "date" },
    Group { kind: "CarePlan", title: "Plans of care", order: "date" },
    Group { kind: "Consent", title: "Consents", order: "date" },
];

/// The title of a kind; a type that no list shows goes by its own name.
pub(in crate::http) fn title(kind: &str) -> &str {
    GROUPS.iter().find(|group| group.kind == kind).map_or(kind, |group| group.title)
}

/// What a list tells of an entry.
pub(in crate::http) struct Line {
    pub(in crate::http) what: String,
    pub(in crate::http) more: String,
    pub(in crate::http) when: String,
}

/// The line of an entry. One that has no name of its own is called by its type.
pub(in crate::http) fn line(resource: &Json) -> Line {
    let kind = resource.text("resourceType").unwrap_or("");
    let named = match kind {
        "Patient" => person(resource),
        "Encounter" => joined([concepts(resource, "type"), concepts(resource, "serviceType"), class(resource)], ", "),
        "MedicationRequest" | "MedicationStatement" => medication(resource),
        "Immunization" => concepts(resource, "vaccineCode"),
        "Appointment" => joined([text(resource, "description"), concepts(resource, "serviceType")], ", "),
        "DocumentReference" => joined([concepts(resource, "type"), text(resource, "description")], ": "),
        "CarePlan" => joined([text(resource, "title"), concepts(resource, "category")], ", "),
        _ => concepts(resource, "code"),
    };
    let what = if named.is_empty() { words(kind) } else { named };
    Line { what, more: more(kind, resource), when: moment(&when(resource)) }
}

fn more(kind: &str, resource: &Json) -> String {
    match kind {
        "Encounter" => joined([reasons(resource), text(resource, "status")], " · "),
        "Observation" => {
            let normal = |r: &Json| r.text("text").map_or_else(|| range(r), str::to_owned);
            let usual = joined(items(resource, "referenceRange").iter().map(normal), "; ");
            let usual = if usual.is_empty() { usual } else { format!("usual {usual}") };
            joined([result(resource), usual, concepts(resource, "interpretation")], " · ")
        }
        "DiagnosticReport" => joined([text(resource, "conclusion"), text(resource, "status")], " · "),
        "MedicationRequest" => joined([doses(resource, "dosageInstruction"), text(resource, "status")], " · "),
        "MedicationStatement" => joined([doses(resource, "dosage"), text(resource, "status")], " · "),
        "AllergyIntolerance" => {
            let reactions = joined(items(resource, "reaction").iter().map(|r| concepts(r, "manifestation")), "; ");
            joined([reactions, text(resource, "criticality"), concepts(resource, "clinicalStatus")], " · ")
        }
        "Condition" => concepts(resource, "clinicalStatus"),
        _ => text(resource, "status"),
    }
}

fn text(resource: &Json, name: &str) -> String {
    resource.text(name).unwrap_or("").to_owned()
}

/// An encounter's class is a Coding.
fn class(resource: &Json) -> String {
    let class = resource.get("class");
    class.and_then(|class| class.text("display").or_else(|| class.text("code"))).unwrap_or("").to_owned()
}

fn reasons(resource: &Json) -> String {
    concepts(resource, "reasonCode")
}

fn medication(resource: &Json) -> String {
    let referred = resource.get("medicationReference").and_then(|r| r.text("display")).unwrap_or("");
    joined([concepts(resource, "medicationCodeableConcept"), referred.to_owned()], ", ")
}

fn doses(resource: &Json, name: &str) -> String {
    let dose = |dosage: &Json| {
        let rate = items(dosage, "doseAndRate").iter().map(|rate| choice(rate, "dose"));
        dosage.text("text").map_or_else(|| joined(rate, ", "), str::to_owned)
    };
    joined(items(resource, name).iter().map(dose), "; ")
}

fn when(resource: &Json) -> String {
    let found = dated(resource);
    let other = || ["start", "date", "created", "dateTime"].iter().find_map(|name| resource.text(name));
    if found.is_empty() { other().unwrap_or("").to_owned() } else { found }
}

/// `2026-03-02T08:15:00Z` as `2026-03-02 08:15`; what is less precise stays so.
pub(super) fn moment(text: &str) -> String {
    match text.split_once('T') {
        Some((day, time)) => format!("{day} {}", time.get(..5).unwrap_or("")).trim().to_owned(),
        None => text.to_owned(),
    }
}

/// A name of FHIR's as words: `reasonCode` is `Reason code`.
pub(super) fn words(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push(' ');
            out.push(letter.to_ascii_lowercase());
        } else if out.is_empty() {
            out.push(letter.to_ascii_uppercase());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Ends of names that say of which type a value is: a person reads that from the value.
const TYPES: &[&str] =
    &["DateTime", "Quantity", "CodeableConcept", "Reference", "Period", "String", "Boolean", "Integer"];

/// The name of a member as words: `valueQuantity` is `Value`.
fn label(name: &str) -> String {
    let stem = TYPES.iter().find_map(|end| name.strip_suffix(end)).filter(|stem| !stem.is_empty());
    words(stem.unwrap_or(name))
}

/// What a page tells of an entry: a name, and what stands under it.
pub(super) enum Told {
    Text(String),
    Parts(Vec<(String, Told)>),
}

/// What is for machines, or told elsewhere on the page.
const LEFT_OUT: &[&str] = &["resourceType", "id", "meta", "text", "implicitRules", "language"];
/// What of one value is told.
const MAX_TEXT: usize = 4_000;
/// How deep a page goes: beyond, the download tells it.
const MAX_DEPTH: usize = 6;

/// The members of a resource, in their order.
pub(super) fn told(resource: &Json) -> Vec<(String, Told)> {
    parts(resource, 0)
}

fn parts(json: &Json, depth: usize) -> Vec<(String, Told)> {
    let kept = json.members().iter().filter(|(name, _)| depth > 0 || !LEFT_OUT.contains(&name.as_str()));
    kept.filter_map(|(name, value)| Some((label(name), one(name, value, depth)?))).collect()
}

fn one(name: &str, value: &Json, depth: usize) -> Option<Told> {
    if name == "data" {
        return Some(Told::Text("a file".to_owned()));
    }
    let plain = if matches!(value, Json::Array(_)) { String::new() } else { plain(name, value) };
    if !plain.is_empty() {
        return Some(Told::Text(plain.chars().take(MAX_TEXT).collect()));
    }
    match value {
        _ if depth >= MAX_DEPTH => None,
        Json::Array(list) => Some(listed(name, list, depth)).filter(Told::says),
        Json::Object(_) => Some(Told::Parts(parts(value, depth + 1))).filter(Told::says),
        _ => None,
    }
}

/// Items that are words alone stand in one line.
fn listed(name: &str, list: &[Json], depth: usize) -> Told {
    let each: Vec<Told> = list.iter().filter_map(|item| one(name, item, depth + 1)).collect();
    let texts: Option<Vec<String>> =
        each.iter().map(|told| if let Told::Text(text) = told { Some(text.clone()) } else { None }).collect();
    match texts {
        Some(texts) => Told::Text(joined(texts, "; ")),
        None => Told::Parts(each.into_iter().enumerate().map(|(n, told)| (format!("{}", n + 1), told)).collect()),
    }
}

impl Told {
    fn says(&self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Parts(parts) => !parts.is_empty(),
        }
    }
}

/// A value that is one word or one line.
fn plain(name: &str, value: &Json) -> String {
    if name == "name" && (value.get("family").is_some() || value.get("given").is_some()) {
        return [&["prefix"][..], &["given"], &["family"], &["suffix"]]
            .concat()
            .iter()
            .map(|part| all(value, part))
            .fold(String::new(), |name, part| joined([name, part], " "));
    }
    if value.get("reference").is_some() || (value.get("display").is_some() && value.get("coding").is_none()) {
        return value.text("display").or_else(|| value.text("reference")).unwrap_or("").to_owned();
    }
    if value.get("code").is_some() && value.get("value").is_none() && value.get("system").is_some() {
        return text(value, "code");
    }
    if value.get("coding").is_some() {
        return concept(value);
    }
    match value {
        Json::String(_) if name.contains("ate") || name == "issued" || name == "start" || name == "end" => {
            moment(value.as_str().unwrap_or(""))
        }
        Json::Object(_) if value.get("value").is_some_and(|v| v.as_str().is_some()) => text(value, "value"),
        Json::Object(_) if value.get("text").is_some_and(|t| t.as_str().is_none()) => String::new(),
        _ => any(value),
    }
}

fn all(value: &Json, name: &str) -> String {
    match value.get(name) {
        Some(Json::String(one)) => one.clone(),
        _ => joined(items(value, name).iter().filter_map(Json::as_str).map(str::to_owned), " "),
    }
}

/// `1 byte`, `142 bytes`, `12 kB`, `3.4 MB`: rounded up, or down to a tenth.
pub(super) fn size(bytes: usize) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0 | 2..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{} kB", bytes.div_ceil(1_000)),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

/// The narrative's words, without its markup: what is shown is text, whatever stands in it.
pub(super) fn narrative(resource: &Json) -> String {
    let Some(div) = resource.get("text").and_then(|text| text.text("div")) else { return String::new() };
    let mut out = String::new();
    for piece in div.split('<') {
        let words = piece.split_once('>').map_or(piece, |(_, after)| after);
        out = joined([out, words.split_whitespace().collect::<Vec<_>>().join(" ")], " ");
    }
    let plain = out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
    plain.replace("&amp;", "&").chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn flat(told: &[(String, Told)]) -> String {
        let one = |(name, told): &(String, Told)| match told {
            Told::Text(text) => format!("{name}: {text}"),
            Told::Parts(parts) => format!("{name} [{}]", flat(parts)),
        };
        told.iter().map(one).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn entries_are_told_in_a_line() {
        for (text, what, more, when) in [
            (
                r#"{"resourceType":"Observation","code":{"text":"Glucose"},"valueQuantity":{"value":5.10,"unit":"mmol/L"},
                    "referenceRange":[{"low":{"value":4},"high":{"value":6}}],"effectiveDateTime":"2026-03-02T08:15:00Z"}"#,
                "Glucose",
                "5.10 mmol/L · usual 4 to 6",
                "2026-03-02 08:15",
            ),
            (
                r#"{"resourceType":"Encounter","status":"finished","class":{"code":"AMB","display":"ambulatory"},
                    "period":{"start":"2026-03-02"}}"#,
                "ambulatory",
                "finished",
                "2026-03-02",
            ),
            (
                r#"{"resourceType":"MedicationRequest","status":"active","medicationCodeableConcept":{"text":"Ramipril"},
                    "dosageInstruction":[{"text":"one each morning"}],"authoredOn":"2026-01"}"#,
                "Ramipril",
                "one each morning · active",
                "2026-01",
            ),
            (r#"{"resourceType":"DocumentReference","status":"current"}"#, "Document reference", "current", ""),
        ] {
            let line = line(&json(text));
            assert_eq!((line.what.as_str(), line.more.as_str(), line.when.as_str()), (what, more, when), "{text}");
        }
    }

    #[test]
    fn an_entry_is_told_whole_and_without_what_is_for_machines() {
        let told = told(&json(
            r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"1"},"name":[{"given":["Ada"],"family":"Novak"}],
                "birthDate":"1980-02-29","multipleBirthBoolean":false,"identifier":[{"system":"http://x","value":"7"}],
                "contact":[{"name":{"family":"Novak"},"telecom":[{"system":"phone","value":"1"}]}],
                "photo":[{"contentType":"image/png","data":"AAAA"}]}"#,
        ));
        assert_eq!(
            flat(&told),
            "Name: Ada Novak | Birth date: 1980-02-29 | Multiple birth: no | Identifier: 7 | Contact [1 [Name: Novak | Telecom: 1]] | \
             Photo [1 [Content type: image/png | Data: a file]]"
        );
    }

    #[test]
    fn a_size_is_told_as_people_say_it() {
        for (bytes, told) in [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1_001, "2 kB"), (3_450_000, "3.4 MB")]
        {
            assert_eq!(size(bytes), told);
        }
    }

    #[test]
    fn of_a_narrative_the_words_are_left() {
        let told = narrative(&json(r#"{"text":{"div":"<div><b>Well</b> &lt;script&gt;x</div>"}}"#));
        assert_eq!(told, "Well <script>x");
    }
}
