//! Structure: unknown elements, cardinality, types, required codes, choices, reference targets, by the table of R4's
//! elements. It runs on every write, so it looks at each value once.

use super::primitive;
use super::resource_type;
use crate::error::Issue;
use crate::limits::MAX_ISSUES;
use mappings::r4::{self, Element, Kind, Type};
use notary::canonical::Json;
use std::fmt::Write;

/// Every fault of a resource.
pub fn check(json: &Json, name: &str) -> Vec<Issue> {
    let mut checker = Checker { issues: Vec::new() };
    checker.resource(json, &mut name.to_owned(), false);
    checker.issues
}

struct Checker {
    issues: Vec<Issue>,
}

impl Checker {
    fn fail(&mut self, code: &'static str, path: &str, text: impl Into<String>) {
        if self.issues.len() < MAX_ISSUES {
            self.issues.push(Issue::at(code, path, text));
        }
    }

    fn resource(&mut self, json: &Json, path: &mut String, contained: bool) {
        if contained && json.get("contained").is_some() {
            self.fail("invariant", &format!("{path}.contained"), "a contained resource contains no others (dom-2)");
        }
        match resource_type(json) {
            Err(issue) => self.fail(issue.code, path, issue.text),
            Ok(kind) => {
                if let Some(model) = r4::model().get(kind.as_str()) {
                    self.object(json, model, path);
                }
            }
        }
    }

    fn object(&mut self, json: &Json, model: &'static Type, path: &mut String) {
        let Json::Object(members) = json else {
            return self.fail("structure", path, format!("must be an object ({})", model.name));
        };
        if members.is_empty() {
            return self.fail("structure", path, "an empty object");
        }
        // Of each choice the names that chose its type; most objects have none.
        let mut choices: Vec<(&'static str, &str)> = Vec::new();
        for (name, value) in members.iter().filter(|(name, _)| name != "resourceType" || model.kind != Kind::Resource) {
            let length = path.len();
            path.push('.');
            path.push_str(printable(name));
            let plain = name.strip_prefix('_').unwrap_or(name);
            match model.element(plain) {
                Some(found) if name.len() == plain.len() || r4::model().is_primitive(found.type_name) => {
                    if found.element.choice && !choices.contains(&(found.element.name, plain)) {
                        choices.push((found.element.name, plain));
                    }
                    self.member(value, found.element, found.type_name, name.len() > plain.len(), path);
                    self.gaps(json, name, value, path);
                }
                _ => self.fail("structure", path, unknown(model, plain)),
            }
            path.truncate(length);
        }
        self.required(members, model, path);
        self.single_types(&choices, path);
        self.own_rules(json, model.name, path);
    }

    fn required(&mut self, members: &[(String, Json)], model: &'static Type, path: &str) {
        let there = |name: &str| members.iter().any(|(n, _)| n.strip_prefix('_').unwrap_or(n) == name);
        for required in model.required.iter().filter(|required| !required.names.iter().any(|name| there(name.text()))) {
            let element = &model.elements[required.element];
            let choice = if element.choice { "[x]" } else { "" };
            self.fail("required", &format!("{path}.{}{choice}", element.name), "is required");
        }
    }

    fn single_types(&mut self, choices: &[(&'static str, &str)], path: &str) {
        let again = |n: usize| choices[..n].iter().any(|(earlier, _)| *earlier == choices[n].0);
        for n in (1..choices.len()).filter(|&n| again(n)) {
            let text = "only one type of a choice may be given";
            self.fail("structure", &format!("{path}.{}", choices[n].0), text);
        }
    }

    /// Rules that stand in the definition of a datatype and cost nothing.
    fn own_rules(&mut self, json: &Json, kind: &str, path: &str) {
        match kind {
            "Extension" => {
                let value = json.members().iter().any(|(n, _)| n.starts_with("value") || n.starts_with("_value"));
                if value == json.get("extension").is_some() {
                    self.fail("invariant", path, "an extension has either a value or extensions (ext-1)");
                }
            }
            "Reference"
                if !["reference", "identifier", "display", "extension"].iter().any(|n| json.get(n).is_some()) =>
            {
                self.fail("invariant", path, "a reference needs reference, identifier or display");
            }
            _ => {}
        }
    }

    /// A null in an array of primitives is where the other array, `given` or `_given`, has something.
    fn gaps(&mut self, json: &Json, name: &str, value: &Json, path: &str) {
        let Json::Array(items) = value else { return };
        if !items.contains(&Json::Null) {
            return;
        }
        let other = name.strip_prefix('_').map_or_else(|| format!("_{name}"), str::to_owned);
        let other = json.get(&other).map_or(&[][..], Json::items);
        for (n, _) in items.iter().enumerate().filter(|(_, item)| **item == Json::Null) {
            if other.get(n).is_none_or(|item| *item == Json::Null) {
                self.fail("structure", &format!("{path}[{n}]"), "a null that stands for nothing");
            }
        }
    }

    fn member(
        &mut self,
        value: &Json,
        element: &'static Element,
        type_name: &'static str,
        shadow: bool,
        path: &mut String,
    ) {
        match (value, element.repeats) {
            (Json::Array(items), true) if items.is_empty() => self.fail("structure", path, "an empty array"),
            (Json::Array(items), true) => {
                for (n, item) in items.iter().enumerate() {
                    let length = path.len();
                    // Writing to a String cannot fail.
                    let _ = write!(path, "[{n}]");
                    // A primitive array and its extensions are aligned with nulls.
                    if *item != Json::Null || !r4::model().is_primitive(type_name) {
                        self.value(item, element, type_name, shadow, path);
                    }
                    path.truncate(length);
                }
            }
            (_, true) => self.fail("structure", path, "must be an array"),
            (Json::Array(_), false) => self.fail("structure", path, "must not be an array"),
            (value, false) => self.value(value, element, type_name, shadow, path),
        }
    }

    fn value(
        &mut self,
        value: &Json,
        element: &'static Element,
        type_name: &'static str,
        shadow: bool,
        path: &mut String,
    ) {
        if type_name == "Resource" {
            return self.resource(value, path, element.name == "contained");
        }
        let type_name = if shadow { "Element" } else { type_name };
        let Some(model) = r4::model().get(type_name) else {
            return self.fail("structure", path, "a type that this server does not know");
        };
        if model.kind == Kind::Primitive {
            if let Some((code, text)) = primitive::fault(value, element, type_name) {
                self.fail(code, path, text);
            }
            return;
        }
        self.object(value, model, path);
        match type_name {
            "Reference" => self.reference(value, element, path),
            "Coding" | "CodeableConcept" => self.binding(value, element, type_name, path),
            _ => {}
        }
    }

    fn reference(&mut self, value: &Json, element: &'static Element, path: &str) {
        let fault = value.text("reference").and_then(|reference| primitive::reference_fault(reference, element));
        if let Some(text) = fault {
            self.fail("value", &format!("{path}.reference"), text);
        }
    }

    /// A required binding: of the codes that are given, one is of the value set.
    fn binding(&mut self, value: &Json, element: &'static Element, type_name: &str, path: &str) {
        let Some(codes) = element.codes else { return };
        let codings = if type_name == "Coding" { std::slice::from_ref(value) } else { coding(value) };
        let mut given = codings.iter().filter_map(|coding| coding.text("code")).peekable();
        if given.peek().is_some() && !given.any(|code| codes.contains(&code)) {
            self.fail("code-invalid", path, primitive::must_be_one_of(codes));
        }
    }
}

fn coding(concept: &Json) -> &[Json] {
    concept.get("coding").map_or(&[], Json::items)
}

/// Most unknown names are known ones, written otherwise.
fn unknown(model: &'static Type, name: &str) -> String {
    let near = model.elements.iter().find(|element| element.name.eq_ignore_ascii_case(name));
    match near {
        Some(element) if element.choice => format!("`{}[x]` is given with its type in its name", element.name),
        Some(element) if element.name != name => {
            format!("no such element in FHIR R4; it is written `{}`", element.name)
        }
        _ => "no such element in FHIR R4".to_owned(),
    }
}

/// An element's name goes into a path only if it looks like one: it comes from outside.
fn printable(name: &str) -> &str {
    let plain = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { name } else { "(unprintable)" }
}
