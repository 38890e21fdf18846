//! What the resources held that no rule used, and what a rule could not write. It names FHIR paths and rules, never values.

use super::look::Look;
use super::resources::{Item, type_of};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// What happened to an element.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    #[error("no rule uses this element")]
    Unused,
    #[error("the maps leave this element alone")]
    LeftAlone,
    #[error("no segment of this message is made of this resource")]
    NoSegment,
    #[error("a v2 time has four decimals of a second: the rest was cut")]
    Cut,
    #[error("not a valid {0}")]
    Invalid(&'static str),
    #[error("not a value but a structure")]
    NotPrimitive,
    #[error("the table {0} has no v2 code for this code")]
    NoRow(String),
    #[error("v2 has no place as deep as this")]
    TooDeep,
}

/// One finding: where, and the rule that met it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// `Observation(2).component[0].code`: the second Observation given; items of arrays count from 0, as in FHIRPath.
    pub path: String,
    pub finding: Finding,
    pub rule: Option<String>,
}

/// Everything to be told of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub notes: Vec<Note>,
}

/// A finding of a rule, before its place has a name.
#[derive(Debug)]
pub(crate) struct Met {
    pub place: *const Value,
    pub finding: Finding,
    pub rule: String,
}

/// Elements that the maps leave alone, by type.
pub(crate) type LeftAlone = HashSet<(String, String)>;

/// Walks all resources and names what was met and what was not used.
pub(crate) fn report(look: &Look<'_, '_>, met: Vec<Met>, left_alone: &LeftAlone) -> Report {
    let mut by_place: HashMap<*const Value, Vec<Met>> = HashMap::new();
    met.into_iter().for_each(|m| by_place.entry(m.place).or_default().push(m));
    let mut walk = Walk { look, left_alone, met: by_place, unused: Vec::new(), notes: Vec::new() };
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for item in &look.resources.all {
        let type_name = type_of(item.value).unwrap_or("");
        let count = seen.entry(type_name).or_default();
        *count += 1;
        let mut path = if *count > 1 { format!("{type_name}({count})") } else { type_name.to_owned() };
        walk.resource(*item, type_name, &mut path);
    }
    Report { notes: walk.notes }
}

struct Walk<'w, 'r, 'v> {
    look: &'w Look<'r, 'v>,
    left_alone: &'w LeftAlone,
    met: HashMap<*const Value, Vec<Met>>,
    unused: Vec<String>,
    notes: Vec<Note>,
}

impl Walk<'_, '_, '_> {
    fn resource(&mut self, item: Item<'_>, type_name: &str, path: &mut String) {
        let name = path.clone();
        if self.value(item, path) {
            return self.note(name, Finding::NoSegment);
        }
        for path in std::mem::take(&mut self.unused) {
            let element = path[name.len()..].trim_start_matches('.').split(['.', '[']).next().unwrap_or("");
            let alone = self.left_alone.contains(&(type_name.to_owned(), element.to_owned()));
            self.note(path, if alone { Finding::LeftAlone } else { Finding::Unused });
        }
    }

    fn note(&mut self, path: String, finding: Finding) {
        self.notes.push(Note { path, finding, rule: None });
    }

    /// Whether nothing in a value was used; what is unused in a value that was used in part is remembered.
    fn value(&mut self, item: Item<'_>, path: &mut String) -> bool {
        for met in self.met.remove(&item.place()).unwrap_or_default() {
            self.notes.push(Note { path: path.clone(), finding: met.finding, rule: Some(met.rule) });
        }
        let before = self.unused.len();
        let untouched = match item.value {
            Value::Object(fields) => self.object(item, fields, path),
            Value::Array(list) => {
                let parts = list.iter().enumerate();
                parts.fold(true, |all, (n, value)| self.part(item, value, &format!("[{n}]"), path) && all)
            }
            _ => !self.look.is_used(item),
        };
        if untouched {
            self.unused.truncate(before);
        }
        untouched
    }

    /// What names the rest of an object, an extension's url or a system of HL7's own, is told with the rest only.
    fn object(&mut self, item: Item<'_>, fields: &Map<String, Value>, path: &mut String) -> bool {
        let is_resource = fields.contains_key("resourceType");
        let names = |name: &str, value: &Value| {
            let hl7 = value.as_str().is_some_and(|text| text.starts_with("http://terminology.hl7.org/"));
            name == "url" && value.is_string() || name == "system" && hl7
        };
        let (naming, told): (Vec<_>, Vec<_>) = fields
            .iter()
            .filter(|(name, _)| !(is_resource && is_technical(name)))
            .partition(|(name, value)| names(name, value) && fields.len() > 1);
        let part = |all, (name, value): &(&String, &Value)| self.part(item, value, &format!(".{name}"), path) && all;
        let untouched = told.iter().fold(true, part);
        untouched && naming.iter().all(|(_, value)| !self.look.is_used(Item { value, ..item }))
    }

    fn part(&mut self, item: Item<'_>, value: &Value, name: &str, path: &mut String) -> bool {
        let length = path.len();
        path.push_str(name);
        let untouched = self.value(Item { value, root: item.root }, path);
        if untouched {
            self.unused.push(path.clone());
        }
        path.truncate(length);
        untouched
    }
}

/// What a server keeps about a resource and what only names it says nothing to a v2 receiver.
fn is_technical(name: &str) -> bool {
    matches!(name, "resourceType" | "id" | "meta" | "text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::to_v2::resources::Resources;
    use serde_json::json;

    #[test]
    fn what_was_not_used_is_told_once_and_as_far_up_as_it_goes() {
        let patient = json!({
            "resourceType": "Patient", "id": "p", "text": {"div": "x"}, "active": true, "gender": "female",
            "name": [{"family": "A"}, {"family": "B", "period": {"start": "2020", "end": "2021"}}],
            "extension": [{"url": "http://x", "valueString": "y"}],
        });
        let (values, envelope) = ([patient.clone(), patient], json!({}));
        let resources = Resources::new(&values, &envelope).unwrap();
        let look = Look::new(&resources);
        let first = resources.all[0];
        first.children("gender").for_each(|leaf| look.mark(leaf));
        first.children("name").flat_map(|name| name.children("family")).for_each(|leaf| look.mark(leaf));
        first.children("extension").flat_map(|e| e.children("valueString")).for_each(|leaf| look.mark(leaf));
        let alone = LeftAlone::from([("Patient".to_owned(), "active".to_owned())]);
        let told: Vec<String> =
            report(&look, Vec::new(), &alone).notes.into_iter().map(|n| format!("{} {}", n.path, n.finding)).collect();
        assert_eq!(
            told,
            [
                "Patient.active the maps leave this element alone",
                "Patient.name[1].period no rule uses this element",
                "Patient(2) no segment of this message is made of this resource",
            ]
        );
    }
}
