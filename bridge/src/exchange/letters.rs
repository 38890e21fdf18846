//! Which HL7 v2 messages carry what is pushed: a visit goes as ADT, results as ORU, appointments as SIU, vaccinations as VXU. Pure.

use mappings::to_v2::{Finding, Note};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What belongs to the patient, and goes with each ADT.
const WIDE: &[&str] = &["RelatedPerson", "AllergyIntolerance", "Coverage", "Account"];
/// What belongs to a visit where it names one.
const OF_VISIT: &[&str] = &["Condition", "Procedure"];
const RESULTS: &[&str] = &["DiagnosticReport", "Observation"];
/// What others refer to: it is in a message where something of that leads to it. Nothing else is beside a message, as some maps would
/// take it for something of the message's own: a Provenance for who made the event.
const BESIDE: &[&str] = &[
    "Organization",
    "Practitioner",
    "PractitionerRole",
    "Location",
    "HealthcareService",
    "Device",
    "Specimen",
    "ServiceRequest",
];

/// A message that is to be made: its name, and which of the resources it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub name: &'static str,
    pub parts: Vec<usize>,
}

/// The letters that carry these; the first is the patient.
pub fn letters(all: &[Value]) -> Vec<Letter> {
    let pile = Pile(all);
    let mut letters = pile.visits();
    letters.extend(pile.results());
    letters.extend(pile.each("Appointment", appointment));
    letters.extend(pile.vaccinations());
    if letters.is_empty() && all.len() == 1 {
        letters.push(pile.letter("ADT_A08", [0].into()));
    }
    letters
}

struct Pile<'p>(&'p [Value]);

impl Pile<'_> {
    /// Places of resources of these types, in their order.
    fn of(&self, kinds: &[&str]) -> Vec<usize> {
        (0..self.0.len()).filter(|n| kinds.contains(&kind(&self.0[*n]))).collect()
    }

    /// The patient, these, and what they may refer to.
    fn letter(&self, name: &'static str, own: Vec<usize>) -> Letter {
        let mut parts = vec![0];
        parts.extend(own.into_iter().chain(self.of(BESIDE)).filter(|n| *n != 0));
        Letter { name, parts }
    }

    /// A letter for each resource of a type for which there is an event.
    fn each(&self, kind: &str, event: fn(&Value) -> Option<&'static str>) -> Vec<Letter> {
        let one = |n: usize| Some(self.letter(event(&self.0[n])?, vec![n]));
        self.of(&[kind]).into_iter().filter_map(one).collect()
    }

    /// An ADT for each visit with what names it, and one for what names none.
    fn visits(&self) -> Vec<Letter> {
        let mut rest: BTreeSet<usize> = self.of(OF_VISIT).into_iter().collect();
        let (wide, mut letters) = (self.of(WIDE), Vec::new());
        for n in self.of(&["Encounter"]) {
            let Some(event) = visit(&self.0[n]) else { continue };
            let own: Vec<usize> = rest.iter().copied().filter(|part| self.is_of_visit(*part, n)).collect();
            rest.retain(|part| !own.contains(part));
            letters.push(self.letter(event, [vec![n], own, wide.clone()].concat()));
        }
        if !rest.is_empty() || (letters.is_empty() && !wide.is_empty()) {
            letters.push(self.letter("ADT_A08", rest.into_iter().chain(wide).collect()));
        }
        letters
    }

    fn results(&self) -> Option<Letter> {
        let vaccinations = self.of(&["Immunization"]);
        let of_one = |n: usize| vaccinations.iter().any(|v| refers(&self.0[n], "partOf", &self.0[*v]));
        let own: Vec<usize> = self.of(RESULTS).into_iter().filter(|n| !of_one(*n)).collect();
        (!own.is_empty()).then(|| self.letter("ORU_R01", self.with_visit(own)))
    }

    fn vaccinations(&self) -> Option<Letter> {
        let own = self.of(&["Immunization"]);
        let of_one = |n: &usize| own.iter().any(|v| refers(&self.0[*n], "partOf", &self.0[*v]));
        let observed = self.of(&["Observation"]).into_iter().filter(of_one);
        let family = self.of(&["RelatedPerson", "Coverage"]);
        let parts = [self.with_visit(own.clone()), observed.collect(), family].concat();
        (!own.is_empty()).then(|| self.letter("VXU_V04", parts))
    }

    /// The visit goes along where all of these are of one: a message has room for one.
    fn with_visit(&self, own: Vec<usize>) -> Vec<usize> {
        let named = |n: &usize| self.0[*n]["encounter"]["reference"].as_str().map(plain);
        let names: BTreeSet<&str> = own.iter().filter_map(named).collect();
        let the_one = |n: &usize| names.len() == 1 && names.contains(name(&self.0[*n]).as_str());
        let visit = self.of(&["Encounter"]).into_iter().find(|n| the_one(n) && visit(&self.0[*n]).is_some());
        own.into_iter().chain(visit).collect()
    }

    fn is_of_visit(&self, part: usize, visit: usize) -> bool {
        refers(&self.0[part], "encounter", &self.0[visit])
    }
}

fn kind(resource: &Value) -> &str {
    resource["resourceType"].as_str().unwrap_or_default()
}

fn name(resource: &Value) -> String {
    format!("{}/{}", kind(resource), resource["id"].as_str().unwrap_or_default())
}

/// A reference without the version.
fn plain(reference: &str) -> &str {
    reference.split("/_history/").next().unwrap_or(reference)
}

/// Whether an element of a resource, one reference or several, leads to another.
fn refers(from: &Value, element: &str, to: &Value) -> bool {
    let (found, to) = (&from[element], name(to));
    let all = found.as_array().map_or(std::slice::from_ref(found), Vec::as_slice);
    all.iter().any(|one| one["reference"].as_str().is_some_and(|text| plain(text) == to))
}

/// The event of a visit. There are no maps for one that is planned or that did not happen: an ADT of another event would say that the
/// patient is there.
fn visit(encounter: &Value) -> Option<&'static str> {
    let is_inpatient = matches!(encounter["class"]["code"].as_str(), Some("IMP" | "ACUTE" | "NONAC"));
    match encounter["status"].as_str()? {
        "finished" => Some("ADT_A03"),
        "arrived" | "triaged" | "in-progress" | "onleave" => Some(if is_inpatient { "ADT_A01" } else { "ADT_A04" }),
        _ => None,
    }
}

/// The event of an appointment (v2.8.2 chapter 10.3): booked, changed since, cancelled, deleted, nobody came.
fn appointment(appointment: &Value) -> Option<&'static str> {
    match appointment["status"].as_str()? {
        "proposed" | "pending" | "booked" | "waitlist" => Some("SIU_S12"),
        "arrived" | "checked-in" | "fulfilled" => Some("SIU_S14"),
        "cancelled" => Some("SIU_S15"),
        "entered-in-error" => Some("SIU_S17"),
        "noshow" => Some("SIU_S26"),
        _ => None,
    }
}

/// What no letter carries.
#[derive(Debug, Default)]
pub struct Left {
    /// By resource, what each letter that has something of it leaves out.
    by_resource: BTreeMap<usize, Vec<BTreeSet<String>>>,
}

impl Left {
    /// Notes what one message has told of the resources that it was made of.
    pub fn note(&mut self, letter: &Letter, all: &[Value], notes: &[Note]) {
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for part in &letter.parts {
            let (kind, count) = (kind(&all[*part]), counts.entry(kind(&all[*part])).or_default());
            *count += 1;
            places.insert(if *count > 1 { format!("{kind}({count})") } else { kind.to_owned() }, *part);
        }
        let mut left: BTreeMap<usize, BTreeSet<String>> =
            letter.parts.iter().map(|part| (*part, BTreeSet::new())).collect();
        for note in notes {
            let (head, rest) = note.path.split_once('.').unwrap_or((&note.path, ""));
            let Some(part) = places.get(head) else { continue };
            match note.finding {
                Finding::NoSegment => _ = left.remove(part),
                // What the maps leave alone they say why; what was cut is there.
                Finding::LeftAlone | Finding::Cut => {}
                _ => left.get_mut(part).into_iter().for_each(|paths| _ = paths.insert(without_places(rest))),
            }
        }
        left.into_iter().for_each(|(part, paths)| self.by_resource.entry(part).or_default().push(paths));
    }

    /// Whether some message has something of a resource.
    pub fn is_carried(&self, resource: usize) -> bool {
        self.by_resource.contains_key(&resource)
    }

    /// Types of resources that nothing carries, and paths of elements; no values.
    pub fn told(&self, all: &[Value]) -> BTreeSet<String> {
        let mut told = BTreeSet::new();
        for (n, resource) in all.iter().enumerate() {
            let Some(sets) = self.by_resource.get(&n) else {
                // The patient comes with each message, and is none where there is none.
                told.extend((n > 0).then(|| kind(resource).to_owned()));
                continue;
            };
            let (first, others) = (sets.first().into_iter().flatten(), sets.get(1..).unwrap_or_default());
            let everywhere = first.filter(|path| others.iter().all(|set| set.contains(*path)));
            told.extend(everywhere.map(|path| format!("{}.{path}", kind(resource))));
        }
        told
    }
}

/// `component.code` of `component[0].code`.
fn without_places(path: &str) -> String {
    path.split('.').map(|step| step.split('[').next().unwrap_or(step)).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patient() -> Value {
        json!({"resourceType": "Patient", "id": "p"})
    }

    fn with(kind: &str, id: &str, more: Value) -> Value {
        let mut resource = json!({"resourceType": kind, "id": id});
        resource.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        resource
    }

    fn sorted(others: &[Value]) -> Vec<(&'static str, Vec<usize>)> {
        let all: Vec<Value> = std::iter::once(patient()).chain(others.iter().cloned()).collect();
        letters(&all).into_iter().map(|letter| (letter.name, letter.parts)).collect()
    }

    #[test]
    fn a_visit_is_told_by_its_status_and_with_what_names_it() {
        let visit = |id: &str, status: &str, class: &str| {
            with("Encounter", id, json!({"status": status, "class": {"code": class}}))
        };
        let of = |id: &str| json!({"encounter": {"reference": format!("Encounter/{id}/_history/2")}});
        let all = [
            visit("a", "in-progress", "IMP"),
            visit("b", "finished", "AMB"),
            visit("c", "triaged", "EMER"),
            visit("d", "cancelled", "IMP"),
            with("Condition", "1", of("a")),
            with("Procedure", "2", of("b")),
            with("Condition", "3", json!({})),
            with("Coverage", "4", json!({})),
            with("Practitioner", "5", json!({})),
            with("Consent", "6", json!({})),
        ];
        assert_eq!(
            sorted(&all),
            [
                ("ADT_A01", vec![0, 1, 5, 8, 9]),
                ("ADT_A03", vec![0, 2, 6, 8, 9]),
                ("ADT_A04", vec![0, 3, 8, 9]),
                ("ADT_A08", vec![0, 7, 8, 9]),
            ]
        );
    }

    #[test]
    fn each_type_has_its_message() {
        let encounter = with("Encounter", "e", json!({"status": "finished"}));
        let in_it = json!({"encounter": {"reference": "Encounter/e"}});
        let vaccinated = json!({"partOf": [{"reference": "Immunization/i"}]});
        let all = [
            with("Observation", "o", in_it.clone()),
            with("DiagnosticReport", "d", json!({})),
            encounter,
            with("Appointment", "a", json!({"status": "booked"})),
            with("Appointment", "b", json!({"status": "noshow"})),
            with("Immunization", "i", json!({})),
            with("Observation", "v", vaccinated),
        ];
        assert_eq!(
            sorted(&all),
            [
                ("ADT_A03", vec![0, 3]),
                ("ORU_R01", vec![0, 1, 2, 3]),
                ("SIU_S12", vec![0, 4]),
                ("SIU_S26", vec![0, 5]),
                ("VXU_V04", vec![0, 6, 7]),
            ]
        );
        let elsewhere = with("Observation", "x", json!({"encounter": {"reference": "Encounter/f"}}));
        let two = [all[0].clone(), all[2].clone(), elsewhere];
        assert_eq!(sorted(&two)[1], ("ORU_R01", vec![0, 1, 3]), "of two visits it names none");
    }

    #[test]
    fn the_patient_alone_is_a_message_and_what_nothing_carries_is_none() {
        assert_eq!(sorted(&[]), [("ADT_A08", vec![0])]);
        assert_eq!(sorted(&[with("Consent", "c", json!({}))]), []);
        assert_eq!(sorted(&[with("Encounter", "c", json!({"status": "planned"}))]), []);
        assert_eq!(sorted(&[with("AllergyIntolerance", "c", json!({}))]), [("ADT_A08", vec![0, 1])]);
    }

    #[test]
    fn what_one_message_leaves_out_another_may_carry() {
        let all = [
            patient(),
            with("Observation", "o", json!({})),
            with("Observation", "x", json!({})),
            with("Consent", "c", json!({})),
        ];
        let note = |path: &str, finding| Note { path: path.to_owned(), finding, rule: None };
        let letter = |name, parts: &[usize]| Letter { name, parts: parts.to_vec() };
        let mut left = Left::default();
        left.note(
            &letter("A", &[0, 1, 2]),
            &all,
            &[
                note("Patient.photo[0]", Finding::Unused),
                note("Patient.active", Finding::LeftAlone),
                note("Patient.link[0].other", Finding::Unused),
                note("Observation.component[1].valueTime", Finding::Unused),
                note("Observation(2)", Finding::NoSegment),
            ],
        );
        left.note(&letter("B", &[0]), &all, &[note("Patient.photo[0]", Finding::Unused)]);
        let told: Vec<String> = left.told(&all).into_iter().collect();
        assert_eq!(told, ["Consent", "Observation", "Observation.component.valueTime", "Patient.photo"]);
        assert!(left.is_carried(1) && !left.is_carried(2) && !left.is_carried(3));
    }
}
