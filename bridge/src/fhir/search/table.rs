//! The search parameters of R4, of US Core, and the patient compartment, read once from `data/search-parameters.tsv`.

use crate::ids::TypeName;
use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("../../../data/search-parameters.tsv");
static PARAMETERS: LazyLock<Table> = LazyLock::new(|| Table::read(TABLE));

/// What values a parameter compares (R4 3.1.1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Token,
    String,
    Date,
    Number,
    Quantity,
    Uri,
    Reference,
    Composite,
}

/// The type of the element that a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    CodeableConcept,
    Coding,
    Identifier,
    /// Its system, such as `phone`, and its value.
    ContactPoint,
    /// A code, and the system that its binding gives it.
    Code(Option<&'static str>),
    Boolean,
    /// Of the whole patient: `deceased[x]` is there and not false.
    Deceased,
    Text,
    Uri,
    /// A URI that may end in `|version`.
    Canonical,
    Moment,
    Period,
    Timing,
    Number,
    Range,
    Quantity,
    Money,
    /// A reference, and the one type that it must be of.
    Reference(Option<&'static str>),
    /// A resource inside a Bundle, which is found as if it were referred to.
    Resource,
    /// `SampledData` has no single value: only its presence is searched for.
    SampledData,
}

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The JSON name.
    pub name: &'static str,
    /// Only the first of the array.
    pub first: bool,
    /// Only where this member has this value.
    pub filter: Option<(&'static str, &'static str)>,
}

/// The way from a resource, or from the base of a composite, to an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub steps: Vec<Step>,
    pub leaf: Leaf,
}

/// A search parameter of a type.
#[derive(Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub kind: Kind,
    pub paths: Vec<Path>,
    /// The types that a reference may point to; empty: any.
    pub targets: Vec<&'static str>,
    /// Of a composite only.
    pub composite: Option<Composite>,
}

impl Parameter {
    /// Whether it leads to resources: a reference does, a canonical URL names what may be anywhere, in any version.
    pub fn is_followed(&self) -> bool {
        self.kind == Kind::Reference && self.paths.iter().any(|path| path.leaf != Leaf::Canonical)
    }
}

/// What a composite parameter pairs.
#[derive(Debug)]
pub struct Composite {
    /// The elements in which all components must hold together.
    pub bases: Vec<Vec<Step>>,
    pub components: Vec<Component>,
}

/// One part of a composite.
#[derive(Debug)]
pub struct Component {
    pub kind: Kind,
    pub paths: Vec<Path>,
    /// The paths begin at the resource, not at the base.
    pub absolute: bool,
}

/// All of it.
#[derive(Debug)]
struct Table {
    by_type: HashMap<&'static str, Vec<Parameter>>,
    compartment: HashMap<&'static str, Vec<&'static str>>,
    /// For each type that may belong to a patient, all parameters of [`compartment`] as one.
    belonging: HashMap<&'static str, Parameter>,
}

/// The parameter of that name, for a type.
pub fn parameter(kind: TypeName, name: &str) -> Option<&'static Parameter> {
    parameters(kind).find(|p| p.name == name)
}

/// Every parameter of a type, those of all types included.
pub fn parameters(kind: TypeName) -> impl Iterator<Item = &'static Parameter> {
    let of = |name: &str| PARAMETERS.by_type.get(name).map_or(&[][..], Vec::as_slice).iter();
    of("Resource").chain(of(kind.as_str()))
}

/// The parameters by which a resource of a type belongs to a patient; none: it belongs to no patient.
pub fn compartment(kind: TypeName) -> &'static [&'static str] {
    PARAMETERS.compartment.get(kind.as_str()).map_or(&[], Vec::as_slice)
}

/// The name of the parameter that [`belonging`] gives.
pub const COMPARTMENT: &str = "_compartment";

/// What asks for the resources of a patient: every way by which a resource of the type belongs to one.
pub fn belonging(kind: TypeName) -> Option<&'static Parameter> {
    PARAMETERS.belonging.get(kind.as_str())
}

/// The types that may belong to a patient, in the order of their names.
pub fn compartment_types() -> Vec<TypeName> {
    let mut types: Vec<TypeName> = PARAMETERS.compartment.keys().filter_map(|name| TypeName::parse(name)).collect();
    types.sort();
    types
}

impl Table {
    fn read(text: &'static str) -> Self {
        let mut table = Self { by_type: HashMap::new(), compartment: HashMap::new(), belonging: HashMap::new() };
        for row in text.lines().filter(|l| !l.starts_with('#')).map(|l| l.split('\t').collect::<Vec<_>>()) {
            match row.as_slice() {
                ["P", of, name, kind, paths, targets] => table.add(of, plain(name, kind, paths, targets)),
                ["X", of, name, bases, components @ ..] => table.add(of, composite(name, bases, components)),
                ["K", of, names @ ..] => _ = table.compartment.insert(of, names.to_vec()),
                _ => {}
            }
        }
        table.belonging = table.compartment.keys().map(|of| (*of, table.joined(of))).collect();
        table
    }

    fn joined(&self, of: &str) -> Parameter {
        let names = self.compartment.get(of).map_or(&[][..], Vec::as_slice);
        let own = self.by_type.get(of).map_or(&[][..], Vec::as_slice);
        let by_reference = own.iter().filter(|p| p.kind == Kind::Reference && names.contains(&p.name));
        let paths = by_reference.flat_map(|p| p.paths.clone()).collect();
        Parameter { name: COMPARTMENT, kind: Kind::Reference, paths, targets: vec!["Patient"], composite: None }
    }

    fn add(&mut self, of: &'static str, parameter: Parameter) {
        self.by_type.entry(of).or_default().push(parameter);
    }
}

fn plain(name: &'static str, kind: &str, paths: &'static str, targets: &'static str) -> Parameter {
    let targets = if matches!(targets, "-" | "Any") { Vec::new() } else { targets.split('|').collect() };
    let paths = split_outside(paths, ';').into_iter().map(path).collect();
    Parameter { name, kind: self::kind(kind), paths, targets, composite: None }
}

fn composite(name: &'static str, bases: &'static str, components: &[&'static str]) -> Parameter {
    let component = |text: &&'static str| {
        let (kind, paths) = text.split_once(' ').unwrap_or((text, ""));
        let absolute = paths.starts_with('/');
        let paths = split_outside(paths, ',').into_iter().map(|p| path(p.trim_start_matches('/'))).collect();
        Component { kind: self::kind(kind), paths, absolute }
    };
    let bases = bases.split(';').map(steps).collect();
    let composite = Composite { bases, components: components.iter().map(component).collect() };
    Parameter { name, kind: Kind::Composite, paths: Vec::new(), targets: Vec::new(), composite: Some(composite) }
}

fn kind(text: &str) -> Kind {
    match text {
        "token" => Kind::Token,
        "string" => Kind::String,
        "date" => Kind::Date,
        "number" => Kind::Number,
        "quantity" => Kind::Quantity,
        "uri" => Kind::Uri,
        "reference" => Kind::Reference,
        _ => Kind::Composite,
    }
}

/// `telecom[system=email].value:string`, `gender:code=http://...`, `subject:Reference{Patient}`.
fn path(text: &'static str) -> Path {
    let (names, mut leaf_text) = rsplit_outside(text);
    let mut only = None;
    if let Some((rest, target)) = leaf_text.split_once('{') {
        (leaf_text, only) = (rest, Some(target.trim_end_matches('}')));
    }
    let (type_name, system) = leaf_text.split_once('=').map_or((leaf_text, None), |(t, s)| (t, Some(s)));
    Path { steps: steps(names), leaf: leaf(type_name, system, only) }
}

fn leaf(type_name: &str, system: Option<&'static str>, only: Option<&'static str>) -> Leaf {
    match type_name {
        "CodeableConcept" => Leaf::CodeableConcept,
        "Coding" => Leaf::Coding,
        "Identifier" => Leaf::Identifier,
        "ContactPoint" => Leaf::ContactPoint,
        "code" => Leaf::Code(system),
        "boolean" => Leaf::Boolean,
        "deceased" => Leaf::Deceased,
        "uri" | "url" => Leaf::Uri,
        "canonical" => Leaf::Canonical,
        "date" | "dateTime" | "instant" => Leaf::Moment,
        "Period" => Leaf::Period,
        "Timing" => Leaf::Timing,
        "decimal" | "integer" => Leaf::Number,
        "Range" => Leaf::Range,
        "Quantity" | "Age" | "Duration" => Leaf::Quantity,
        "Money" => Leaf::Money,
        "Reference" => Leaf::Reference(only),
        "Resource" => Leaf::Resource,
        "SampledData" => Leaf::SampledData,
        _ => Leaf::Text,
    }
}

fn steps(names: &'static str) -> Vec<Step> {
    split_outside(names, '.').into_iter().filter(|n| !n.is_empty()).map(step).collect()
}

fn step(text: &'static str) -> Step {
    let Some((name, bracket)) = text.split_once('[') else { return Step { name: text, first: false, filter: None } };
    match bracket.trim_end_matches(']').split_once('=') {
        Some(filter) => Step { name, first: false, filter: Some(filter) },
        None => Step { name, first: true, filter: None },
    }
}

/// Splits at a character that stands in no bracket: filters hold URLs.
fn split_outside(text: &'static str, at: char) -> Vec<&'static str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        depth == 0 && c == at
    })
    .collect()
}

/// At the colon before the type: the first one outside brackets.
fn rsplit_outside(text: &'static str) -> (&'static str, &'static str) {
    let mut depth = 0;
    let at = text.char_indices().find_map(|(at, c)| {
        depth += i32::from(c == '[') - i32::from(c == ']');
        (depth == 0 && c == ':').then_some(at)
    });
    at.map_or((text, ""), |at| (&text[..at], &text[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mappings::r4;

    fn find(kind: &str, name: &str) -> &'static Parameter {
        parameter(TypeName::parse(kind).unwrap(), name).unwrap()
    }

    #[test]
    fn parameters_are_read() {
        let email = find("Patient", "email");
        assert_eq!(email.paths[0].steps[0].filter, Some(("system", "email")));
        assert_eq!((email.kind, email.paths[0].leaf), (Kind::Token, Leaf::ContactPoint));
        assert_eq!(find("Observation", "patient").paths[0].leaf, Leaf::Reference(Some("Patient")));
        let race = find("Patient", "race");
        assert_eq!(race.paths[0].steps.len(), 3, "a URL's dots do not split a path");
        let system = Some("http://hl7.org/fhir/administrative-gender");
        assert_eq!(find("Patient", "gender").paths[0].leaf, Leaf::Code(system));
        let combo = find("Observation", "combo-code-value-quantity").composite.as_ref().unwrap();
        assert_eq!((combo.bases.len(), combo.bases[0].len(), combo.components.len()), (2, 0, 2));
        let chromosome = find("MolecularSequence", "chromosome-variant-coordinate").composite.as_ref().unwrap();
        assert_eq!(chromosome.components.iter().map(|c| c.absolute).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(compartment(TypeName::parse("Observation").unwrap()), ["subject", "performer"]);
        assert!(parameter(TypeName::parse("Patient").unwrap(), "phonetic").is_none(), "not held, and not promised");
        assert!(find("Practitioner", "_tag").kind == Kind::Token && compartment_types().len() > 60);
    }

    #[test]
    fn every_path_leads_somewhere_in_r4() {
        for kind in r4::model().resource_types() {
            let kind = TypeName::parse(kind).unwrap();
            for path in parameters(kind).flat_map(|p| &p.paths) {
                assert!(leads(kind.as_str(), &path.steps), "{kind}: {path:?}");
            }
        }
    }

    fn leads(type_name: &str, steps: &[Step]) -> bool {
        let Some((step, rest)) = steps.split_first() else { return true };
        let found = r4::model().get(type_name).and_then(|t| t.element(step.name));
        found.is_some_and(|f| leads(f.type_name, rest))
    }
}
