//! A profile as it is checked: the elements of a snapshot as a tree, slices beside the elements that they slice.

use crate::fhir::fhirpath::Path;
use crate::fhir::validate::Severity;
use crate::fhir::validate::invariants::Constraint;
use mappings::r4;
use notary::canonical::Json;
use std::collections::HashMap;

/// Where the standard's own definitions are.
pub const BASE: &str = "http://hl7.org/fhir/StructureDefinition/";

/// One profile.
#[derive(Debug)]
pub struct Profile {
    pub url: String,
    pub version: Option<String>,
    /// The type that it constrains.
    pub kind: &'static str,
    /// The first is the root.
    pub elements: Vec<Element>,
}

/// One element, or one slice of it.
#[derive(Debug, Default)]
pub struct Element {
    /// Without `[x]`.
    pub name: String,
    pub slice: Option<String>,
    /// Where the profile asks for more than R4 does.
    pub min: Option<u32>,
    pub max: Option<u32>,
    /// Type codes, and profiles on them; none where the element has just the type that R4 gives it.
    pub types: Vec<(String, Vec<String>)>,
    pub fixed: Option<Json>,
    pub pattern: Option<Json>,
    /// The value set of a required binding.
    pub value_set: Option<String>,
    pub constraints: Vec<Constraint>,
    pub slicing: Option<Slicing>,
    pub slices: Vec<usize>,
    pub children: Vec<usize>,
}

/// How an element is sliced.
#[derive(Debug)]
pub struct Slicing {
    pub discriminators: Vec<Discriminator>,
    pub closed: bool,
}

/// What tells slices apart.
#[derive(Debug)]
pub struct Discriminator {
    pub kind: String,
    pub text: String,
    pub path: Path,
}

impl Profile {
    /// Reads a StructureDefinition. Constraints that are not understood are left out and told among the doubts.
    pub fn read(json: &Json, doubts: &mut Vec<String>) -> Result<Self, String> {
        let url = json.text("url").unwrap_or("").to_owned();
        let kind = json.text("type").and_then(|name| r4::model().get(name)).map(|t| t.name);
        let kind = kind.ok_or_else(|| format!("{url}: not a profile of a type of FHIR R4"))?;
        let rows = json.get("snapshot").and_then(|s| s.get("element")).map_or(&[][..], Json::items);
        if rows.is_empty() {
            return Err(format!("{url}: has no snapshot"));
        }
        let version = json.text("version").map(str::to_owned);
        let mut profile = Self { url, version, kind, elements: Vec::with_capacity(rows.len()) };
        let mut places: HashMap<&str, usize> = HashMap::new();
        for row in rows {
            let id = row.text("id").or_else(|| row.text("path")).unwrap_or("");
            let element = element(row, id, &profile.url, doubts)?;
            profile.add(id, element, &places);
            places.insert(id, profile.elements.len() - 1);
        }
        Ok(profile)
    }

    /// `Observation.component:systolic.value[x]` is a child of `Observation.component:systolic`, and this a slice of
    /// `Observation.component`.
    fn add(&mut self, id: &str, element: Element, places: &HashMap<&str, usize>) {
        let number = self.elements.len();
        let (parent, last) = id.rsplit_once('.').unwrap_or(("", id));
        let sliced = last
            .split_once(':')
            .map(|(name, _)| if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") });
        if let Some(owner) = sliced.as_deref().and_then(|of| places.get(of)) {
            self.elements[*owner].slices.push(number);
        } else if let Some(owner) = places.get(parent) {
            self.elements[*owner].children.push(number);
        }
        self.elements.push(element);
    }
}

fn element(row: &Json, id: &str, url: &str, doubts: &mut Vec<String>) -> Result<Element, String> {
    let last = id.rsplit('.').next().unwrap_or(id);
    let (name, slice) = last.split_once(':').map_or((last, None), |(name, slice)| (name, Some(slice.to_owned())));
    let base = row.get("base");
    // A slice has no base of its own: what it asks for is all the profile's.
    let of_base = |member| if slice.is_some() { None } else { base.and_then(|base| base.get(member)) };
    let own = |member| row.get(member).filter(|value| Some(*value) != of_base(member));
    let slicing = row.get("slicing").map(|slicing| self::slicing(slicing, url, id)).transpose()?;
    Ok(Element {
        name: name.trim_end_matches("[x]").to_owned(),
        min: own("min").and_then(number),
        max: own("max").and_then(Json::as_str).and_then(|max| max.parse().ok()),
        types: types(row),
        fixed: prefixed(row, "fixed"),
        pattern: prefixed(row, "pattern"),
        value_set: required(row),
        constraints: constraints(row, url, doubts),
        slice,
        slicing,
        ..Element::default()
    })
}

fn number(json: &Json) -> Option<u32> {
    if let Json::Number(lexeme) = json { lexeme.parse().ok() } else { None }
}

fn prefixed(row: &Json, prefix: &str) -> Option<Json> {
    let typed = |name: &str| name.strip_prefix(prefix).is_some_and(|t| t.starts_with(|c: char| c.is_ascii_uppercase()));
    row.members().iter().find(|(name, _)| typed(name)).map(|(_, value)| value.clone())
}

fn types(row: &Json) -> Vec<(String, Vec<String>)> {
    let list = |json: &Json| json.items().iter().filter_map(Json::as_str).map(str::to_owned).collect();
    let one = |t: &Json| Some((t.text("code")?.to_owned(), t.get("profile").map(list).unwrap_or_default()));
    row.get("type").map_or(&[][..], Json::items).iter().filter_map(one).collect()
}

fn required(row: &Json) -> Option<String> {
    let binding = row.get("binding").filter(|binding| binding.text("strength") == Some("required"))?;
    binding.text("valueSet").map(|url| url.split('|').next().unwrap_or(url).to_owned())
}

/// The profile's own constraints; R4's own are checked anyway.
fn constraints(row: &Json, url: &str, doubts: &mut Vec<String>) -> Vec<Constraint> {
    let mut own = Vec::new();
    for json in row.get("constraint").map_or(&[][..], Json::items).iter().filter(|c| !is_of_the_standard(c)) {
        let (Some(key), Some(expression)) = (json.text("key"), json.text("expression")) else { continue };
        let severity = if json.text("severity") == Some("error") { Severity::Error } else { Severity::Warning };
        match Path::parse(expression) {
            Ok(path) => {
                let human = json.text("human").unwrap_or("").to_owned();
                own.push(Constraint { key: key.to_owned(), severity, human, path });
            }
            Err(what) => doubts.push(format!("{url}: constraint {key} is not checked: {what}")),
        }
    }
    own
}

fn is_of_the_standard(constraint: &Json) -> bool {
    match constraint.text("source") {
        Some(source) => {
            source.strip_prefix(BASE).is_some_and(|name| r4::model().get(name).is_some() || is_abstract(name))
        }
        None => constraint.text("key").is_some_and(|key| key.starts_with("ele-") || key.starts_with("ext-")),
    }
}

fn is_abstract(name: &str) -> bool {
    matches!(name, "Element" | "DomainResource" | "Resource" | "BackboneElement")
}

fn slicing(json: &Json, url: &str, id: &str) -> Result<Slicing, String> {
    let discriminators = json.get("discriminator").map_or(&[][..], Json::items).iter().map(|one| {
        let text = one.text("path").unwrap_or("$this");
        let path =
            Path::parse(text).map_err(|what| format!("{url}: {id}: its discriminator is not understood: {what}"))?;
        Ok(Discriminator { kind: one.text("type").unwrap_or("").to_owned(), text: text.to_owned(), path })
    });
    Ok(Slicing {
        discriminators: discriminators.collect::<Result<_, String>>()?,
        closed: json.text("rules") == Some("closed"),
    })
}
