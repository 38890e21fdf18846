//! The elements of FHIR R4 (4.0.1): cardinality, types, required codes, reference targets. The data file is
//! generated from the standard's definitions by `tools/r4_elements.py`. The maps are checked against it
//! when they are compiled, and the bridge validates every resource by it.

use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("../data/r4-elements.tsv");
static R4: LazyLock<Model> = LazyLock::new(|| Model::read(TABLE));

/// What a type is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Primitive,
    Datatype,
    Resource,
    Backbone,
}

/// One type and its elements, in the order of the standard.
#[derive(Debug)]
pub struct Type {
    pub name: &'static str,
    pub kind: Kind,
    pub elements: Vec<Element>,
    by_name: HashMap<&'static str, usize>,
}

/// One element of a type.
#[derive(Debug)]
pub struct Element {
    /// Without the `[x]` of a choice.
    pub name: &'static str,
    pub choice: bool,
    pub min: u32,
    pub repeats: bool,
    /// Type names; `*` is the open list.
    pub types: Vec<&'static str>,
    /// The codes of a required binding.
    pub codes: Option<&'static [&'static str]>,
    /// Types that a Reference may point to; empty: any.
    pub targets: Vec<&'static str>,
}

/// An element found by its JSON name, with the type that the name chose.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub element: &'static Element,
    pub type_name: &'static str,
}

/// The whole table.
#[derive(Debug)]
pub struct Model {
    types: HashMap<&'static str, Type>,
    codes: HashMap<&'static str, Vec<&'static str>>,
}

/// The table of R4, read once.
pub fn model() -> &'static Model {
    &R4
}

impl Model {
    fn read(table: &'static str) -> Self {
        let mut model = Self { types: HashMap::new(), codes: HashMap::new() };
        let rows = || table.lines().filter(|l| !l.starts_with('#')).map(|l| l.split('\t').collect::<Vec<_>>());
        for row in rows() {
            match row[0] {
                "V" => _ = model.codes.insert(row[1], row[2..].to_vec()),
                "P" => model.add(row[1], Kind::Primitive),
                "T" => model.add(row[1], kind(row[2])),
                _ => {}
            }
        }
        // The codes live as long as the program: leaked once, so that elements can point at them.
        let codes: HashMap<&str, &'static [&'static str]> =
            model.codes.iter().map(|(k, v)| (*k, &*v.clone().leak())).collect();
        for row in rows().filter(|row| row[0] == "E") {
            let element = element(&row, &codes);
            if let Some(owner) = model.types.get_mut(row[1]) {
                owner.by_name.insert(element.name, owner.elements.len());
                owner.elements.push(element);
            }
        }
        model
    }

    fn add(&mut self, name: &'static str, kind: Kind) {
        let new = Type { name, kind, elements: Vec::new(), by_name: HashMap::new() };
        self.types.entry(name).or_insert(new);
    }

    /// The type of that name.
    pub fn get(&self, name: &str) -> Option<&Type> {
        self.types.get(name)
    }

    /// Whether it is one of R4's resource types.
    pub fn is_resource(&self, name: &str) -> bool {
        self.types.get(name).is_some_and(|t| t.kind == Kind::Resource)
    }

    /// The names of R4's resource types, sorted.
    pub fn resource_types(&self) -> Vec<&'static str> {
        let resources = self.types.values().filter(|t| t.kind == Kind::Resource);
        let mut names: Vec<_> = resources.map(|t| t.name).collect();
        names.sort_unstable();
        names
    }

    /// Whether the type is a primitive.
    pub fn is_primitive(&self, name: &str) -> bool {
        self.types.get(name).is_some_and(|t| t.kind == Kind::Primitive)
    }
}

impl Type {
    /// The element of that JSON name: `valueQuantity` finds `value[x]` as a Quantity.
    pub fn element(&'static self, name: &str) -> Option<Found> {
        if let Some(&at) = self.by_name.get(name) {
            let element = &self.elements[at];
            return (!element.choice).then(|| Found { element, type_name: element.types[0] });
        }
        let cuts = name.char_indices().filter(|(at, c)| *at > 0 && c.is_ascii_uppercase());
        for (at, _) in cuts {
            if let Some(element) = self.by_name.get(&name[..at]).map(|&i| &self.elements[i])
                && element.choice
                && let Some(type_name) = choice_type(element, &name[at..])
            {
                return Some(Found { element, type_name });
            }
        }
        None
    }
}

/// The open type list of Extension.value[x] and its like.
const OPEN: &[&str] = &[
    "base64Binary",
    "boolean",
    "canonical",
    "code",
    "date",
    "dateTime",
    "decimal",
    "id",
    "instant",
    "integer",
    "markdown",
    "oid",
    "positiveInt",
    "string",
    "time",
    "unsignedInt",
    "uri",
    "url",
    "uuid",
    "Address",
    "Age",
    "Annotation",
    "Attachment",
    "CodeableConcept",
    "Coding",
    "ContactPoint",
    "Count",
    "Distance",
    "Duration",
    "HumanName",
    "Identifier",
    "Money",
    "Period",
    "Quantity",
    "Range",
    "Ratio",
    "Reference",
    "SampledData",
    "Signature",
    "Timing",
    "ContactDetail",
    "Contributor",
    "DataRequirement",
    "Expression",
    "ParameterDefinition",
    "RelatedArtifact",
    "TriggerDefinition",
    "UsageContext",
    "Dosage",
    "Meta",
];

fn choice_type(element: &'static Element, suffix: &str) -> Option<&'static str> {
    let list: &[&'static str] = if element.types == ["*"] { OPEN } else { &element.types };
    list.iter().copied().find(|t| {
        t.len() == suffix.len() && t[1..] == suffix[1..] && t.as_bytes()[0].to_ascii_uppercase() == suffix.as_bytes()[0]
    })
}

fn kind(word: &str) -> Kind {
    match word {
        "primitive" => Kind::Primitive,
        "resource" => Kind::Resource,
        "backbone" => Kind::Backbone,
        _ => Kind::Datatype,
    }
}

fn element(row: &[&'static str], codes: &HashMap<&str, &'static [&'static str]>) -> Element {
    let list = |text: &'static str| match text {
        "-" | "Any" => Vec::new(),
        text => text.split('|').collect(),
    };
    Element {
        name: row[2].trim_end_matches("[x]"),
        choice: row[2].ends_with("[x]"),
        min: row[3].parse().unwrap_or(0),
        repeats: row[4] != "1",
        types: list(row[5]),
        codes: codes.get(row[6]).copied(),
        targets: list(row[7]),
    }
}

/// Whether a string is a valid value of a primitive type, by the patterns of the standard.
/// `date`, `dateTime` and `instant` are checked for days that exist too.
pub fn is_valid_text(type_name: &str, text: &str) -> bool {
    match type_name {
        "id" => {
            (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        }
        "code" => is_code(text),
        "uri" | "url" | "canonical" => !text.is_empty() && !text.contains(char::is_whitespace),
        "oid" => text.strip_prefix("urn:oid:").is_some_and(is_oid),
        "uuid" => text.strip_prefix("urn:uuid:").is_some_and(is_uuid),
        "date" => crate::time::is_date(text),
        "dateTime" => crate::time::is_date_time(text),
        "instant" => crate::time::is_instant(text),
        "time" => crate::time::is_time(text),
        "base64Binary" => is_base64(text),
        _ => !text.trim().is_empty() && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')),
    }
}

fn is_code(text: &str) -> bool {
    !text.is_empty() && text.split(' ').all(|word| !word.is_empty() && !word.contains(char::is_whitespace))
}

/// A dotted object identifier.
pub fn is_oid(text: &str) -> bool {
    let mut parts = text.split('.');
    let number = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) && (p == "0" || !p.starts_with('0'));
    matches!(parts.next(), Some("0" | "1" | "2")) && text.contains('.') && parts.all(number)
}

/// A UUID in lower case.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_digit() || (b'a'..=b'f').contains(&b),
        })
}

fn is_base64(text: &str) -> bool {
    let body: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let pad = body.iter().rev().take_while(|&&b| b == b'=').count();
    body.len().is_multiple_of(4)
        && !body.is_empty()
        && pad <= 2
        && body[..body.len() - pad].iter().all(|&b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_and_backbones_are_found_by_their_json_names() {
        let observation = model().get("Observation").unwrap();
        assert_eq!(observation.element("valueQuantity").unwrap().type_name, "Quantity");
        assert_eq!(observation.element("effectiveDateTime").unwrap().type_name, "dateTime");
        assert!(observation.element("value").is_none() && observation.element("valueAttachment").is_none());
        let component = observation.element("component").unwrap();
        assert!(component.element.repeats);
        assert_eq!(component.type_name, "Observation.component");
        let extension = model().get("Extension").unwrap();
        assert_eq!(extension.element("valueCodeableConcept").unwrap().type_name, "CodeableConcept");
        let gender = model().get("Patient").unwrap().element("gender").unwrap();
        assert_eq!(gender.element.codes.unwrap(), ["male", "female", "other", "unknown"]);
    }

    #[test]
    fn primitives_follow_the_patterns_of_the_standard() {
        for (kind, good, bad) in [
            ("id", "a-1.B", "a_b"),
            ("code", "a b", " a"),
            ("uri", "urn:x", "a b"),
            ("oid", "urn:oid:1.2.840", "urn:oid:1.02"),
            ("uuid", "urn:uuid:c757873d-ec9a-4326-a141-556f43239520", "urn:uuid:C757"),
            ("base64Binary", "QUI=", "QUI"),
            ("string", "a\nb", "\u{0}"),
            ("string", "x", " "),
        ] {
            assert!(is_valid_text(kind, good), "{kind} {good}");
            assert!(!is_valid_text(kind, bad), "{kind} {bad}");
        }
        assert!(!is_valid_text("id", &"x".repeat(65)));
    }
}
