//! The part of FHIRPath that names elements to be patched: names, `[n]`, `first()`, `last()`, `where(x = 'y')`, `ofType(T)`,
//! `extension('url')` (R4 fhirpatch: "simple" paths).

use crate::error::Issue;
use mappings::r4;
use notary::canonical::Json;

/// A path that could be read.
#[derive(Clone)]
pub struct Path {
    /// As it was written, for what is said about it.
    pub text: String,
    pub steps: Vec<Step>,
}

/// A step from elements to elements.
#[derive(Clone, PartialEq)]
pub enum Step {
    Child(String),
    Index(usize),
    Last,
    /// All hold: a path of names below the element, and its value.
    Where(Vec<(Vec<String>, Json)>),
    OfType(String),
}

/// A place in the resource.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub place: Vec<Segment>,
    /// The FHIR type of what is there.
    pub kind: &'static str,
    /// The type that it is an element of, and the element's name there.
    pub element: Option<(&'static str, &'static str)>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Segment {
    Member(String),
    Item(usize),
}

impl Path {
    /// Reads a path.
    pub fn parse(text: &str) -> Result<Self, Issue> {
        let mut reader = Reader { rest: text };
        let steps = reader.path();
        let steps = steps.filter(|_| reader.rest.is_empty()).ok_or_else(|| {
            let text = "a path of names, [n], first(), last(), where(name = 'value'), ofType(Type) or extension('url')";
            Issue::new("not-supported", text)
        })?;
        Ok(Self { text: text.to_owned(), steps })
    }

    /// The elements that it names.
    pub fn find(&self, resource: &Json) -> Vec<Node> {
        find(&self.steps, resource)
    }

    /// Where it ends in a name: what stands before, and the name.
    pub fn split(&self) -> Option<(&[Step], &str)> {
        match self.steps.split_last()? {
            (Step::Child(name), before) => Some((before, name)),
            _ => None,
        }
    }
}

/// The elements that steps lead to.
pub fn find(steps: &[Step], resource: &Json) -> Vec<Node> {
    let kind = resource_type(resource);
    let root = vec![Node { place: Vec::new(), kind, element: None }];
    let steps = match steps.split_first() {
        Some((Step::Child(name), rest)) if name == kind => rest,
        _ => steps,
    };
    steps.iter().fold(root, |nodes, step| walk(resource, nodes, step))
}

fn walk(resource: &Json, nodes: Vec<Node>, step: &Step) -> Vec<Node> {
    match step {
        Step::Child(name) => nodes.iter().flat_map(|node| children(resource, node, name)).collect(),
        Step::Index(n) => nodes.into_iter().nth(*n).into_iter().collect(),
        Step::Last => nodes.into_iter().next_back().into_iter().collect(),
        Step::OfType(kind) => nodes.into_iter().filter(|node| node.kind == kind).collect(),
        Step::Where(conditions) => nodes
            .into_iter()
            .filter(|node| {
                let holds = |(path, value): &(Vec<String>, Json)| {
                    let below = path.iter().fold(vec![node.clone()], |nodes, name| {
                        nodes.iter().flat_map(|node| children(resource, node, name)).collect()
                    });
                    below.iter().any(|node| get(resource, &node.place) == Some(value))
                };
                conditions.iter().all(holds)
            })
            .collect(),
    }
}

/// The elements of a name below a node. Of a choice the JSON name ends in the type, which FHIRPath leaves away.
fn children(resource: &Json, node: &Node, name: &str) -> Vec<Node> {
    let Some(object) = get(resource, &node.place) else { return Vec::new() };
    let Some(model) = r4::model().get(node.kind) else { return Vec::new() };
    let mut found = Vec::new();
    for (member, value) in object.members() {
        // A primitive may have extensions and no value.
        let plain = member.strip_prefix('_').unwrap_or(member);
        if plain.len() < member.len() && object.get(plain).is_some() {
            continue;
        }
        let Some(element) = model.element(plain) else { continue };
        if plain != name && !(element.element.choice && element.element.name == name) {
            continue;
        }
        let below = |item: Option<usize>, value: &Json| {
            let own = std::iter::once(Segment::Member(plain.to_owned())).chain(item.map(Segment::Item));
            let kind = if element.type_name == "Resource" { resource_type(value) } else { element.type_name };
            let place = node.place.iter().cloned().chain(own).collect();
            Node { place, kind, element: Some((node.kind, element.element.name)) }
        };
        match value {
            Json::Array(items) => found.extend(items.iter().enumerate().map(|(n, item)| below(Some(n), item))),
            one => found.push(below(None, one)),
        }
    }
    found
}

fn resource_type(json: &Json) -> &'static str {
    json.text("resourceType").and_then(|name| r4::model().get(name)).map_or("", |kind| kind.name)
}

/// What is at a place.
fn get<'j>(json: &'j Json, place: &[Segment]) -> Option<&'j Json> {
    place.iter().try_fold(json, |json, segment| match segment {
        Segment::Member(name) => json.get(name),
        Segment::Item(n) => json.items().get(*n),
    })
}

/// The same, to change.
pub fn get_mut<'j>(json: &'j mut Json, place: &[Segment]) -> Option<&'j mut Json> {
    place.iter().try_fold(json, |json, segment| match (segment, json) {
        (Segment::Member(name), json) => json.get_mut(name),
        (Segment::Item(n), Json::Array(items)) => items.get_mut(*n),
        (Segment::Item(_), _) => None,
    })
}

struct Reader<'t> {
    rest: &'t str,
}

impl Reader<'_> {
    fn path(&mut self) -> Option<Vec<Step>> {
        let mut steps = vec![Step::Child(self.name()?)];
        while !self.rest.is_empty() {
            if self.eat("[") {
                steps.push(Step::Index(self.number()?));
                self.eat("]").then_some(())?;
            } else {
                self.eat(".").then_some(())?;
                let name = self.name()?;
                if self.eat("(") { steps.extend(self.function(&name)?) } else { steps.push(Step::Child(name)) }
            }
        }
        Some(steps)
    }

    fn function(&mut self, name: &str) -> Option<Vec<Step>> {
        let steps = match name {
            "first" => vec![Step::Index(0)],
            "last" => vec![Step::Last],
            "ofType" => vec![Step::OfType(self.name()?)],
            "extension" => {
                let url = Json::String(self.string()?);
                vec![Step::Child("extension".into()), Step::Where(vec![(vec!["url".into()], url)])]
            }
            "where" => vec![Step::Where(self.conditions()?)],
            _ => return None,
        };
        self.space();
        self.eat(")").then_some(steps)
    }

    fn conditions(&mut self) -> Option<Vec<(Vec<String>, Json)>> {
        let mut conditions = Vec::new();
        loop {
            self.space();
            let mut path = vec![self.name()?];
            while self.eat(".") {
                path.push(self.name()?);
            }
            self.space();
            self.eat("=").then_some(())?;
            self.space();
            conditions.push((path, self.literal()?));
            self.space();
            if !self.eat("and ") {
                return Some(conditions);
            }
        }
    }

    fn literal(&mut self) -> Option<Json> {
        if self.rest.starts_with('\'') {
            return self.string().map(Json::String);
        }
        let end =
            self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Json::parse(word.as_bytes()).ok().filter(|json| matches!(json, Json::Bool(_) | Json::Number(_)))
    }

    fn string(&mut self) -> Option<String> {
        self.eat("'").then_some(())?;
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' => {
                    self.rest = &self.rest[at + 1..];
                    return Some(out);
                }
                '\\' => out.push(chars.next().map(|(_, c)| c).filter(|c| "'\\\"`/".contains(*c))?),
                c => out.push(c),
            }
        }
        None
    }

    fn name(&mut self) -> Option<String> {
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        name.starts_with(|c: char| c.is_ascii_alphabetic()).then(|| name.to_owned())
    }

    fn number(&mut self) -> Option<usize> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit())?;
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok()
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_elements() {
        let text = br#"{"resourceType":"Observation","valueQuantity":{"value":1},"_issued":{"extension":[{"url":"u"}]},
            "category":[{"text":"a"},{"coding":[{"code":"x","userSelected":true},{"code":"y's"}]}]}"#;
        let resource = Json::parse(text).unwrap();
        for (path, expected) in [
            ("Observation", 1),
            ("Observation.category", 2),
            ("category.coding", 2),
            ("Observation.category[1].coding.first()", 1),
            ("Observation.category.coding.where(code = 'y\\'s')", 1),
            ("Observation.category.where(coding.code='x' and coding.userSelected = true)", 1),
            ("Observation.category.where(text='b')", 0),
            ("Observation.category[7]", 0),
            ("Observation.value.ofType(Quantity).value", 1),
            ("Observation.value.ofType(string)", 0),
            ("Observation.issued", 1),
            ("Observation.category.last().coding.last().code", 1),
        ] {
            assert_eq!(Path::parse(path).unwrap().find(&resource).len(), expected, "{path}");
        }
    }

    #[test]
    fn other_paths_are_refused() {
        for path in
            ["", "a..b", "a[", "a[x]", "a.b()", "a.where(b)", "a.where(b='c", "a | b", "a.where(b='\\n')", "a[1"]
        {
            assert!(Path::parse(path).is_err(), "{path}");
        }
    }
}
