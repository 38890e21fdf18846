//! Values of primitive types, and literal references.

use super::narrative;
use mappings::r4::{self, Element};
use notary::canonical::Json;

/// What is wrong with a primitive value: FHIR's issue type, and a text without the value.
pub fn fault(value: &Json, element: &Element, type_name: &str) -> Option<(&'static str, String)> {
    let good = match (type_name, value) {
        ("xhtml", Json::String(text)) => return narrative::fault(text).map(|what| ("invariant", what.to_owned())),
        ("boolean", Json::Bool(_)) | ("decimal", Json::Number(_)) => true,
        ("integer" | "positiveInt" | "unsignedInt", Json::Number(lexeme)) => is_integer(lexeme, type_name),
        ("boolean" | "decimal" | "integer" | "positiveInt" | "unsignedInt", _) => false,
        (_, Json::String(text)) => r4::is_valid_text(type_name, text),
        _ => false,
    };
    if !good {
        return Some(("value", format!("not a valid {type_name}")));
    }
    let (codes, code) = (element.codes?, value.as_str()?);
    (!codes.contains(&code)).then(|| ("code-invalid", must_be_one_of(codes)))
}

/// The allowed codes, or the first of them.
pub fn must_be_one_of(codes: &[&str]) -> String {
    let some: Vec<&str> = codes.iter().copied().take(12).collect();
    format!("must be one of {}", some.join(", "))
}

fn is_integer(lexeme: &str, type_name: &str) -> bool {
    let least = match type_name {
        "positiveInt" => 1,
        "unsignedInt" => 0,
        _ => i32::MIN,
    };
    // `-0` is a number of JSON, and not of FHIR's integer.
    lexeme != "-0" && lexeme.parse::<i32>().is_ok_and(|n| n >= least)
}

/// What is wrong with a Reference that points elsewhere on this server.
pub fn reference_fault(reference: &str, element: &Element) -> Option<String> {
    let (kind, id) = relative(reference)?;
    if !r4::model().is_resource(kind) {
        Some("refers to a type that is not FHIR R4's".to_owned())
    } else if !element.targets.is_empty() && !element.targets.contains(&kind) {
        Some(format!("may refer to {} only", element.targets.join(", ")))
    } else if !r4::is_valid_text("id", id) {
        Some("does not end in a valid id".to_owned())
    } else {
        None
    }
}

/// Type and id of a relative literal reference; absolute ones, URNs, fragments and searches are not judged here.
pub fn relative(reference: &str) -> Option<(&str, &str)> {
    if reference.starts_with('#') || reference.contains(':') || reference.contains('?') {
        return None;
    }
    let (kind, rest) = reference.split_once('/')?;
    Some((kind, rest.split("/_history/").next().unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of google/fhir, where they are present: `date_time.invalid.ndjson` has a value a line.
    #[test]
    fn the_values_of_google_are_judged_as_google_does() {
        let Some(folder) = super::super::tests::corpora("google-fhir-r4-validation") else { return };
        let entries = std::fs::read_dir(&folder).unwrap();
        let element = r4::model().get("Extension").unwrap().element("valueString").unwrap().element;
        let (mut good, mut bad) = (0, 0);
        for path in entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "ndjson")) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let (kind, expected) = name.split_once('.').unwrap();
            let Some(kind) = primitive(kind) else { continue };
            for line in std::fs::read_to_string(&path).unwrap().lines().filter(|l| !l.is_empty()) {
                // A null is a gap in an array here, and an empty narrative says nothing (txt-2).
                if line == "null" || (kind == "xhtml" && line == "\"\"") {
                    continue;
                }
                let valid = Json::parse(line.as_bytes()).is_ok_and(|json| fault(&json, element, kind).is_none());
                assert_eq!(valid, expected == "valid.ndjson", "{name}: {line}");
                *(if valid { &mut good } else { &mut bad }) += 1;
            }
        }
        println!("{good} valid values taken, {bad} invalid ones refused");
        assert!(good > 25 && bad > 70, "{good} {bad}");
    }

    fn primitive(file: &str) -> Option<&'static str> {
        let mut words = file.split('_');
        let mut name = words.next()?.to_owned();
        words.for_each(|word| name.push_str(&format!("{}{}", word[..1].to_uppercase(), &word[1..])));
        r4::model().get(&name).filter(|t| t.kind == r4::Kind::Primitive).map(|t| t.name)
    }
}
