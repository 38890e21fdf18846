//! What a search parameter finds in a resource: the elements at the end of its paths, read as values that can be compared.

use super::number::Interval;
use super::span::{Span, moment, period};
use super::table::{Leaf, Path, Step};
use notary::canonical::Json;

/// One value in a resource.
#[derive(Clone, PartialEq, Eq)]
pub enum Value<'r> {
    /// A coding, an identifier, a code, a boolean.
    Token {
        system: Option<&'r str>,
        code: Option<&'r str>,
    },
    Text(&'r str),
    Span(Span),
    Number(Interval),
    Quantity {
        number: Interval,
        system: Option<&'r str>,
        code: Option<&'r str>,
        unit: Option<&'r str>,
    },
    Uri(&'r str),
    Reference {
        literal: Option<&'r str>,
        identifier: Option<&'r Json>,
    },
    /// A resource in the same Bundle, by type and id.
    Entry {
        kind: &'r str,
        id: &'r str,
    },
    /// Something is there, and nothing of it can be searched for.
    Present,
}

crate::redacted_debug!(Value<'_>);

/// The values at the end of a path.
pub fn values<'r>(root: &'r Json, path: &Path) -> Vec<Value<'r>> {
    let mut found = Vec::new();
    select(root, &path.steps, &mut |element| read(element, path.leaf, &mut found));
    found
}

/// Calls `found` with every element at the end of a path; arrays are walked through.
pub fn select<'r>(json: &'r Json, steps: &[Step], found: &mut impl FnMut(&'r Json)) {
    if let Json::Array(items) = json {
        return items.iter().for_each(|item| select(item, steps, found));
    }
    let Some((step, rest)) = steps.split_first() else { return found(json) };
    let Some(child) = json.get(step.name) else { return };
    let children = if let Json::Array(items) = child { items.as_slice() } else { std::slice::from_ref(child) };
    let wanted = |c: &&Json| step.filter.is_none_or(|(name, value)| c.text(name) == Some(value));
    let limit = if step.first { 1 } else { usize::MAX };
    children.iter().take(limit).filter(wanted).for_each(|child| select(child, rest, found));
}

fn read<'r>(element: &'r Json, leaf: Leaf, found: &mut Vec<Value<'r>>) {
    match leaf {
        Leaf::CodeableConcept => concept(element, found),
        Leaf::Coding => found.push(Value::Token { system: element.text("system"), code: element.text("code") }),
        Leaf::Identifier | Leaf::ContactPoint => {
            found.push(Value::Token { system: element.text("system"), code: element.text("value") })
        }
        Leaf::Code(system) => found.extend(element.as_str().map(|code| Value::Token { system, code: Some(code) })),
        Leaf::Boolean => found.extend(truth(element).map(yes_or_no)),
        Leaf::Deceased => found.push(yes_or_no(deceased(element))),
        Leaf::Text => found.extend(element.as_str().map(Value::Text)),
        Leaf::Uri | Leaf::Canonical => found.extend(element.as_str().map(Value::Uri)),
        Leaf::Moment => found.extend(element.as_str().and_then(moment).map(Value::Span)),
        Leaf::Period => found.extend(period(element.text("start"), element.text("end")).map(Value::Span)),
        Leaf::Timing => timing(element, found),
        Leaf::Number => found.extend(lexeme(Some(element)).and_then(Interval::point).map(Value::Number)),
        Leaf::Range | Leaf::Quantity | Leaf::Money => found.extend(quantity(element, leaf)),
        Leaf::Reference(only) => found.extend(reference(element, only)),
        Leaf::Resource => {
            let (kind, id) = (element.text("resourceType"), element.text("id"));
            found.extend(kind.zip(id).map(|(kind, id)| Value::Entry { kind, id }));
        }
        Leaf::SampledData => found.push(Value::Present),
    }
}

/// Its codings; one without any is there all the same, for `:missing`.
fn concept<'r>(element: &'r Json, found: &mut Vec<Value<'r>>) {
    let codings = element.get("coding").map_or(&[][..], Json::items);
    found.extend(codings.iter().map(|c| Value::Token { system: c.text("system"), code: c.text("code") }));
    if codings.is_empty() {
        found.push(Value::Present);
    }
}

fn truth(element: &Json) -> Option<bool> {
    if let Json::Bool(truth) = element { Some(*truth) } else { None }
}

fn yes_or_no(truth: bool) -> Value<'static> {
    Value::Token { system: None, code: Some(if truth { "true" } else { "false" }) }
}

/// Of the whole patient, so that `deceased=false` finds those of whom nothing is said.
fn deceased(patient: &Json) -> bool {
    patient.get("deceasedDateTime").is_some() || patient.get("deceasedBoolean").and_then(truth) == Some(true)
}

/// Only the outer limits matter (R4 3.1.1.4.7).
fn timing<'r>(element: &'r Json, found: &mut Vec<Value<'r>>) {
    let events = element.get("event").map_or(&[][..], Json::items);
    let events = events.iter().filter_map(Json::as_str).filter_map(moment);
    let bounds = element.get("repeat").and_then(|r| r.get("boundsPeriod"));
    let all = events.chain(bounds.and_then(|b| period(b.text("start"), b.text("end"))));
    let outer = all.reduce(|a, b| Span { from: a.from.min(b.from), to: a.to.max(b.to) });
    found.extend(outer.map(Value::Span));
}

fn lexeme(element: Option<&Json>) -> Option<&str> {
    if let Some(Json::Number(lexeme)) = element { Some(lexeme) } else { None }
}

fn quantity(element: &Json, leaf: Leaf) -> Option<Value<'_>> {
    if leaf == Leaf::Range {
        let end = |name| element.get(name).and_then(|q| lexeme(q.get("value")));
        let number = Interval::between(end("low"), end("high"))?;
        let unit = element.get("low").or_else(|| element.get("high"))?;
        return Some(with_unit(number, unit));
    }
    let number = Interval::compared(element.text("comparator"), lexeme(element.get("value"))?)?;
    if leaf == Leaf::Money {
        let (system, code) = (Some("urn:iso:std:iso:4217"), element.text("currency"));
        return Some(Value::Quantity { number, system, code, unit: None });
    }
    Some(with_unit(number, element))
}

fn with_unit(number: Interval, unit: &Json) -> Value<'_> {
    let (system, code, unit) = (unit.text("system"), unit.text("code"), unit.text("unit"));
    Value::Quantity { number, system, code, unit }
}

fn reference<'r>(element: &'r Json, only: Option<&str>) -> Option<Value<'r>> {
    // A canonical that stands where a reference may: the same string, without an object around it.
    let literal = element.as_str().or_else(|| element.text("reference"));
    if let (Some(only), Some(literal)) = (only, literal) {
        let kind = literal.split("/_history/").next().and_then(|r| r.rsplit('/').nth(1));
        let stated = element.text("type");
        if kind != Some(only) && stated != Some(only) {
            return None;
        }
    }
    Some(Value::Reference { literal, identifier: element.get("identifier") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::search::table::parameter;
    use crate::ids::TypeName;

    fn found(text: &str, name: &str) -> Vec<String> {
        let json = Json::parse(text.as_bytes()).unwrap();
        let kind = TypeName::parse(json.text("resourceType").unwrap()).unwrap();
        let parameter = parameter(kind, name).unwrap();
        parameter.paths.iter().flat_map(|p| values(&json, p)).map(|v| show(&v)).collect()
    }

    fn show(value: &Value<'_>) -> String {
        match value {
            Value::Token { system, code } => format!("{}|{}", system.unwrap_or(""), code.unwrap_or("")),
            Value::Text(text) | Value::Uri(text) => (*text).to_owned(),
            Value::Reference { literal, .. } => literal.unwrap_or("").to_owned(),
            Value::Entry { kind, id } => format!("{kind}/{id}"),
            _ => "?".into(),
        }
    }

    #[test]
    fn values_are_found_where_the_paths_lead() {
        let patient = r#"{"resourceType":"Patient","active":true,"deceasedDateTime":"2020","gender":"male",
            "telecom":[{"system":"phone","value":"1"},{"system":"email","value":"a@b"}],
            "name":[{"family":"F","given":["G","H"]}],"identifier":[{"system":"s","value":"v"}]}"#;
        assert_eq!(found(patient, "email"), ["email|a@b"]);
        assert_eq!(found(patient, "name"), ["F", "G", "H"]);
        assert_eq!(found(patient, "deceased"), ["|true"]);
        assert_eq!(found(patient, "gender"), ["http://hl7.org/fhir/administrative-gender|male"]);
        assert_eq!(found(patient, "identifier"), ["s|v"]);
        let observation = r#"{"resourceType":"Observation","subject":{"reference":"Group/1"},
            "code":{"text":"x"},"component":[{"code":{"coding":[{"code":"c"}]}}]}"#;
        assert_eq!(found(observation, "patient"), [""; 0]);
        assert_eq!(found(observation, "subject"), ["Group/1"]);
        assert_eq!(found(observation, "combo-code"), ["?", "|c"]);
        let bundle = r#"{"resourceType":"Bundle","entry":[{"resource":{"resourceType":"Composition","id":"c"}},
            {"resource":{"resourceType":"Patient","id":"p"}}]}"#;
        assert_eq!(found(bundle, "composition"), ["Composition/c"]);
    }
}
