//! Validates a resource by the table of R4's elements: unknown elements, cardinality, types, required codes,
//! choices, reference targets. Every issue names its element.

use crate::error::Issue;
use crate::ids::TypeName;
use crate::limits::MAX_ISSUES;
use mappings::r4::{self, Element, Kind, Type};
use notary::canonical::Json;
use std::collections::HashSet;

/// A resource that was checked. Only [`validate`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Validated {
    kind: TypeName,
    json: Json,
}

impl Validated {
    /// Its type.
    pub fn kind(&self) -> TypeName {
        self.kind
    }

    /// The resource.
    pub fn json(&self) -> &Json {
        &self.json
    }

    /// The resource, given away.
    pub fn into_json(self) -> Json {
        self.json
    }
}

/// Checks a resource, or tells what is wrong with it.
pub fn validate(json: Json) -> Result<Validated, Vec<Issue>> {
    let kind = resource_type(&json).map_err(|issue| vec![issue])?;
    let mut checker = Checker { issues: Vec::new() };
    checker.resource(&json, &mut kind.as_str().to_owned());
    if checker.issues.is_empty() { Ok(Validated { kind, json }) } else { Err(checker.issues) }
}

fn resource_type(json: &Json) -> Result<TypeName, Issue> {
    let Json::Object(_) = json else {
        return Err(Issue::new("structure", "a resource is a JSON object"));
    };
    let name = json.text("resourceType").ok_or_else(|| Issue::new("structure", "resourceType is missing"))?;
    TypeName::parse(name).ok_or_else(|| Issue::at("structure", "resourceType", "not a resource type of FHIR R4"))
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

    fn resource(&mut self, json: &Json, path: &mut String) {
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
        let mut present: HashSet<&'static str> = HashSet::new();
        let mut chosen: HashSet<(&'static str, &str)> = HashSet::new();
        for (name, value) in members {
            if name == "resourceType" && model.kind == Kind::Resource {
                continue;
            }
            let length = path.len();
            path.push('.');
            path.push_str(printable(name));
            let plain = name.strip_prefix('_').unwrap_or(name);
            match model.element(plain) {
                Some(found) if name.len() == plain.len() || r4::model().is_primitive(found.type_name) => {
                    present.insert(found.element.name);
                    chosen.insert((found.element.name, plain));
                    self.member(value, found.element, found.type_name, name.len() > plain.len(), path);
                }
                _ => self.fail("structure", path, "no such element in FHIR R4"),
            }
            path.truncate(length);
        }
        self.cardinality(model, &present, &chosen, path);
        if model.name == "Extension" {
            self.extension(json, path);
        }
        if model.name == "Reference"
            && !["reference", "identifier", "display", "extension"].iter().any(|n| json.get(n).is_some())
        {
            self.fail("invariant", path, "a reference needs reference, identifier or display");
        }
    }

    fn cardinality(
        &mut self,
        model: &'static Type,
        present: &HashSet<&'static str>,
        chosen: &HashSet<(&'static str, &str)>,
        path: &mut String,
    ) {
        for element in &model.elements {
            if element.min > 0 && !present.contains(element.name) {
                let name = if element.choice { format!("{}[x]", element.name) } else { element.name.to_owned() };
                self.fail("required", &format!("{path}.{name}"), "is required");
            }
            if element.choice && chosen.iter().filter(|(name, _)| *name == element.name).count() > 1 {
                self.fail("structure", &format!("{path}.{}", element.name), "only one type of a choice may be given");
            }
        }
    }

    fn extension(&mut self, json: &Json, path: &str) {
        let value = json.members().iter().any(|(name, _)| name.starts_with("value") || name.starts_with("_value"));
        if value == json.get("extension").is_some() {
            self.fail("invariant", path, "an extension has either a value or extensions (ext-1)");
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
                    path.push_str(&format!("[{n}]"));
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
            return self.resource(value, path);
        }
        let type_name = if shadow { "Element" } else { type_name };
        let Some(model) = r4::model().get(type_name) else {
            return self.fail("structure", path, "a type that this server does not know");
        };
        if model.kind == Kind::Primitive {
            return self.primitive(value, element, type_name, path);
        }
        self.object(value, model, path);
        if type_name == "Reference" {
            self.reference(value, element, path);
        }
    }

    fn primitive(&mut self, value: &Json, element: &'static Element, type_name: &'static str, path: &str) {
        let good = match (type_name, value) {
            ("boolean", Json::Bool(_)) | ("decimal", Json::Number(_)) => true,
            ("integer" | "positiveInt" | "unsignedInt", Json::Number(lexeme)) => is_integer(lexeme, type_name),
            ("boolean" | "decimal" | "integer" | "positiveInt" | "unsignedInt", _) => false,
            ("xhtml", Json::String(text)) => is_narrative(text),
            (_, Json::String(text)) => r4::is_valid_text(type_name, text),
            _ => false,
        };
        if !good {
            return self.fail("value", path, format!("not a valid {type_name}"));
        }
        if let (Some(codes), Some(code)) = (element.codes, value.as_str())
            && !codes.contains(&code)
        {
            let some: Vec<&str> = codes.iter().copied().take(12).collect();
            self.fail("code-invalid", path, format!("must be one of {}", some.join(", ")));
        }
    }

    fn reference(&mut self, value: &Json, element: &'static Element, path: &str) {
        let Some(reference) = value.text("reference") else { return };
        let Some((kind, id)) = relative(reference) else { return };
        let path = format!("{path}.reference");
        if TypeName::parse(kind).is_none() {
            self.fail("value", &path, "refers to a type that is not FHIR R4's");
        } else if !element.targets.is_empty() && !element.targets.contains(&kind) {
            self.fail("value", &path, format!("may refer to {} only", element.targets.join(", ")));
        } else if !r4::is_valid_text("id", id) {
            self.fail("value", &path, "does not end in a valid id");
        }
    }
}

/// Type and id of a relative literal reference; absolute ones, URNs, fragments and searches are not judged here.
fn relative(reference: &str) -> Option<(&str, &str)> {
    if reference.starts_with('#') || reference.contains(':') || reference.contains('?') {
        return None;
    }
    let (kind, rest) = reference.split_once('/')?;
    Some((kind, rest.split("/_history/").next().unwrap_or(rest)))
}

/// An element's name goes into a path only if it looks like one: it comes from outside.
fn printable(name: &str) -> &str {
    let plain = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { name } else { "(unprintable)" }
}

fn is_integer(lexeme: &str, type_name: &str) -> bool {
    let least = match type_name {
        "positiveInt" => 1,
        "unsignedInt" => 0,
        _ => i32::MIN,
    };
    lexeme.parse::<i32>().is_ok_and(|n| n >= least)
}

/// A narrative is one `div` and holds nothing that runs (R4 2.4.0, txt-1). The full check is the renderer's.
fn is_narrative(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let runs =
        ["<script", "<iframe", "<object", "<embed", "<form", "<link", "<style", "javascript:", "<!doctype", "<!entity"];
    lower.trim_start().starts_with("<div")
        && lower.trim_end().ends_with('>')
        && !runs.iter().any(|bad| lower.contains(bad))
        && !has_event_handler(&lower)
}

/// `onclick=` and its like inside a tag.
fn has_event_handler(lower: &str) -> bool {
    lower.match_indices("on").any(|(at, _)| {
        let before = lower[..at].chars().next_back();
        let after = &lower[at + 2..];
        let name: usize = after.bytes().take_while(u8::is_ascii_lowercase).count();
        let in_tag = lower[..at].rfind('<') > lower[..at].rfind('>');
        in_tag
            && before.is_some_and(|c| c.is_whitespace() || c == '"' || c == '\'' || c == '/')
            && name > 0
            && after[name..].trim_start().starts_with('=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issues(text: &str) -> Vec<(String, &'static str)> {
        let json = Json::parse(text.as_bytes()).unwrap();
        let issues = validate(json).err().unwrap_or_default();
        issues.into_iter().map(|i| (i.expression.unwrap_or_default(), i.code)).collect()
    }

    #[test]
    fn a_good_resource_passes_with_its_digits() {
        let text = r#"{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.00},
            "_issued":{"extension":[{"url":"http://x","valueCode":"unknown"}]},"note":[{"text":"a"}],
            "subject":{"reference":"Patient/1"},"contained":[{"resourceType":"Patient","gender":"male"}]}"#;
        assert_eq!(issues(text), []);
    }

    #[test]
    fn each_fault_is_located() {
        let cases: serde_json::Value = serde_json::from_str(include_str!("invalid.json")).unwrap();
        for case in cases.as_array().unwrap() {
            let text = case["resource"].to_string();
            let found = issues(&text);
            let expected = (case["expression"].as_str().unwrap().to_owned(), case["code"].as_str().unwrap());
            assert!(found.iter().any(|(e, c)| (e, *c) == (&expected.0, expected.1)), "{case}: {found:?}");
        }
    }

    #[test]
    fn the_standards_own_examples_pass() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/fhir/hl7-r4-examples");
        let Ok(entries) = std::fs::read_dir(&folder) else {
            println!("skipped: the corpora are not here ({})", folder.display());
            return;
        };
        // Faults of the examples themselves: they refer to types that R4 does not allow there.
        let known = ["DeviceMetric-example", "DeviceUseStatement-example", "Observation-clinical-gender"];
        let mut count = 0;
        for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json")) {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let Ok(json) = Json::parse(&std::fs::read(&path).unwrap()) else { continue };
            if json.text("resourceType").is_none() || known.contains(&name.as_str()) {
                continue;
            }
            assert_eq!(validate(json).err(), None, "{name}");
            count += 1;
        }
        assert!(count > 400, "{count}");
    }
}
