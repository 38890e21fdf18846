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

/// The number of a type in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TypeNumber(pub u16);

/// The number of an element's JSON name, a choice's names included: `valueQuantity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(pub u16);

impl Name {
    /// The number of a name that some type has.
    pub fn of(text: &str) -> Option<Self> {
        model().name_numbers.get(text).copied()
    }

    /// The name.
    pub fn text(self) -> &'static str {
        model().names.get(usize::from(self.0)).map_or("", |name| &name[1..name.len() - 2])
    }

    /// The name as it stands in JSON before its value: `"birthDate":`.
    pub fn quoted(self) -> &'static str {
        model().names.get(usize::from(self.0)).copied().unwrap_or("\"\":")
    }
}

/// One type and its elements, in the order of the standard.
#[derive(Debug)]
pub struct Type {
    pub name: &'static str,
    pub number: TypeNumber,
    pub kind: Kind,
    pub elements: Vec<Element>,
    /// Element and type by JSON name.
    by_name: HashMap<&'static str, (usize, &'static str)>,
    /// The same by the name's number, for the elements that must be there.
    pub required: Vec<Required>,
}

/// An element that must be there, and the names that it may have.
#[derive(Debug)]
pub struct Required {
    pub element: usize,
    pub names: Vec<Name>,
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
    types: Vec<Type>,
    by_name: HashMap<&'static str, TypeNumber>,
    /// Each as [`Name::quoted`] gives it.
    names: Vec<&'static str>,
    name_numbers: HashMap<&'static str, Name>,
    codes: HashMap<&'static str, Vec<&'static str>>,
}

/// The table of R4, read once.
pub fn model() -> &'static Model {
    &R4
}

impl Model {
    fn read(table: &'static str) -> Self {
        let mut model = Self {
            types: Vec::new(),
            by_name: HashMap::new(),
            names: Vec::new(),
            name_numbers: HashMap::new(),
            codes: HashMap::new(),
        };
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
            model.add_element(row[1], element(&row, &codes));
        }
        model
    }

    fn add(&mut self, name: &'static str, kind: Kind) {
        let number = TypeNumber(self.types.len() as u16);
        if let std::collections::hash_map::Entry::Vacant(entry) = self.by_name.entry(name) {
            entry.insert(number);
            let (elements, by_name, required) = (Vec::new(), HashMap::new(), Vec::new());
            self.types.push(Type { name, number, kind, elements, by_name, required });
        }
    }

    fn add_element(&mut self, owner: &str, element: Element) {
        let Some(&TypeNumber(owner)) = self.by_name.get(owner) else { return };
        let names = element.json_names();
        let numbers: Vec<Name> = names.iter().map(|(name, _)| self.intern(name)).collect();
        let owner = &mut self.types[usize::from(owner)];
        let at = owner.elements.len();
        owner.by_name.extend(names.into_iter().map(|(name, type_name)| (name, (at, type_name))));
        if element.min > 0 {
            owner.required.push(Required { element: at, names: numbers });
        }
        owner.elements.push(element);
    }

    fn intern(&mut self, name: &'static str) -> Name {
        let next = Name(self.names.len() as u16);
        *self.name_numbers.entry(name).or_insert_with(|| {
            self.names.push(format!("\"{name}\":").leak());
            next
        })
    }

    /// The type of that name.
    pub fn get(&self, name: &str) -> Option<&Type> {
        self.by_name.get(name).map(|&number| self.at(number))
    }

    /// The type of that number.
    pub fn at(&self, number: TypeNumber) -> &Type {
        &self.types[usize::from(number.0)]
    }

    /// Whether it is one of R4's resource types.
    pub fn is_resource(&self, name: &str) -> bool {
        self.get(name).is_some_and(|t| t.kind == Kind::Resource)
    }

    /// The names of R4's resource types, sorted.
    pub fn resource_types(&self) -> Vec<&'static str> {
        let resources = self.types.iter().filter(|t| t.kind == Kind::Resource);
        let mut names: Vec<_> = resources.map(|t| t.name).collect();
        names.sort_unstable();
        names
    }

    /// Whether the type is a primitive.
    pub fn is_primitive(&self, name: &str) -> bool {
        self.get(name).is_some_and(|t| t.kind == Kind::Primitive)
    }
}

impl Type {
    /// The element of that JSON name: `valueQuantity` finds `value[x]` as a Quantity.
    pub fn element(&'static self, name: &str) -> Option<Found> {
        let &(at, type_name) = self.by_name.get(name)?;
        Some(Found { element: &self.elements[at], type_name })
    }
}

impl Element {
    /// Its JSON names with their types: one, or one for each type of a choice.
    fn json_names(&self) -> Vec<(&'static str, &'static str)> {
        if !self.choice {
            return vec![(self.name, self.types.first().copied().unwrap_or(""))];
        }
        let types: &[&'static str] = if self.types == ["*"] { OPEN } else { &self.types };
        // Made once, when the table is read, and needed as long as the program runs.
        types
            .iter()
            .map(|t| (&*format!("{}{}{}", self.name, t[..1].to_ascii_uppercase(), &t[1..]).leak(), *t))
            .collect()
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
        "uri" | "url" | "canonical" => is_word(text),
        "oid" => text.strip_prefix("urn:oid:").is_some_and(is_oid),
        "uuid" => text.strip_prefix("urn:uuid:").is_some_and(is_uuid),
        "date" => crate::time::is_date(text),
        "dateTime" => crate::time::is_date_time(text),
        "instant" => crate::time::is_instant(text),
        "time" => crate::time::is_time(text),
        "base64Binary" => is_base64(text),
        // Most texts are plain ASCII: no need to look at characters.
        _ if text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) => text.bytes().any(|b| b != b' '),
        _ => !text.trim().is_empty() && text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')),
    }
}

fn is_code(text: &str) -> bool {
    text.split(' ').all(is_word)
}

/// Without white space and control characters, and not empty.
fn is_word(text: &str) -> bool {
    let is_plain = text.bytes().all(|b| b.is_ascii_graphic());
    !text.is_empty() && (is_plain || !text.contains(|c: char| c.is_whitespace() || c.is_control()))
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
            ("uri", "urn:é", "urn:\u{8}x"),
            ("code", "a", "a\u{1}"),
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
