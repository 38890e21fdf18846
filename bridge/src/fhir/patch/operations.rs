//! FHIRPath Patch (<http://hl7.org/fhir/R4/fhirpatch.html>): add, insert, delete, replace, move.

use super::elements::{self, Value, element};
use super::path::{Node, Path, find, get_mut};
use super::{fits, numbered};
use crate::error::Issue;
use notary::canonical::Json;

/// One operation.
#[derive(Clone)]
pub struct Operation {
    path: Path,
    act: Act,
}

#[derive(Clone)]
enum Act {
    Add { name: String, value: Given },
    Insert { index: usize, value: Given },
    Delete,
    Replace { value: Given },
    Move { source: usize, destination: usize },
}

/// A value as a parameter gives it.
#[derive(Clone)]
enum Given {
    Value(Value),
    /// An element without a type of its own, part by part.
    Parts(Vec<(String, Given)>),
}

impl Operation {
    /// Reads a parameter `operation`.
    pub fn read(parameter: &Json) -> Result<Self, Issue> {
        if parameter.text("name") != Some("operation") {
            return Err(Issue::new("value", "each parameter of a patch is named `operation`"));
        }
        let parts = Parts(parameter.get("part").map_or(&[][..], Json::items));
        let path = Path::parse(parts.text("path")?)?;
        let act = match parts.text("type")? {
            "add" => Act::Add { name: parts.text("name")?.to_owned(), value: parts.value()? },
            "insert" => Act::Insert { index: parts.index("index")?, value: parts.value()? },
            "delete" => Act::Delete,
            "replace" => Act::Replace { value: parts.value()? },
            "move" => Act::Move { source: parts.index("source")?, destination: parts.index("destination")? },
            _ => return Err(Issue::new("value", "type must be add, insert, delete, replace or move")),
        };
        Ok(Self { path, act })
    }
}

/// The parts of a parameter.
struct Parts<'j>(&'j [Json]);

impl Parts<'_> {
    fn get(&self, name: &str) -> Result<&Json, Issue> {
        let found = self.0.iter().find(|part| part.text("name") == Some(name));
        found.ok_or_else(|| Issue::new("required", format!("the part `{name}` is missing")))
    }

    /// Some clients say `valueString` where R4 has `valueCode`.
    fn text(&self, name: &str) -> Result<&str, Issue> {
        let part = self.get(name)?;
        let value = part.text("valueString").or_else(|| part.text("valueCode"));
        value.ok_or_else(|| Issue::new("value", format!("the part `{name}` has no valueString")))
    }

    fn index(&self, name: &str) -> Result<usize, Issue> {
        match self.get(name)?.get("valueInteger") {
            Some(Json::Number(lexeme)) => lexeme.parse().ok(),
            _ => None,
        }
        .ok_or_else(|| Issue::new("value", format!("the part `{name}` has no valueInteger from 0")))
    }

    fn value(&self) -> Result<Given, Issue> {
        given(self.get("value")?)
    }
}

/// The value of a parameter: typed, a resource, or made of parts.
fn given(part: &Json) -> Result<Given, Issue> {
    if let Some(parts) = part.get("part") {
        let one = |part: &Json| {
            let name = part.text("name").ok_or_else(|| Issue::new("required", "a part has a name"))?;
            Ok((name.to_owned(), given(part)?))
        };
        return parts.items().iter().map(one).collect::<Result<_, _>>().map(Given::Parts);
    }
    let mut value = Value::none();
    for (name, json) in part.members() {
        if let Some(suffix) = name.strip_prefix("_value") {
            (value.shadow, value.suffix) = (json.clone(), suffix.to_owned());
        } else if let Some(suffix) = name.strip_prefix("value") {
            (value.json, value.suffix) = (json.clone(), suffix.to_owned());
        } else if name == "resource" {
            value.json = json.clone();
        }
    }
    if value.json == Json::Null && value.shadow == Json::Null {
        return Err(Issue::new("required", "the part `value` has no value"));
    }
    Ok(Given::Value(value))
}

/// Applies all operations in their order.
pub fn apply(operations: &[Operation], resource: &mut Json) -> Result<(), Issue> {
    for (n, operation) in operations.iter().enumerate() {
        one(operation, resource).map_err(|issue| {
            let expression = issue.expression.clone().unwrap_or_else(|| operation.path.text.clone());
            numbered(Issue { expression: Some(expression), ..issue }, n)
        })?;
    }
    Ok(())
}

fn one(operation: &Operation, resource: &mut Json) -> Result<(), Issue> {
    let path = &operation.path;
    match &operation.act {
        Act::Add { name, value } => add(resource, &single(path.find(resource))?, name, value),
        Act::Replace { value } => replace(resource, &single(path.find(resource))?, value),
        Act::Delete => match path.find(resource).as_slice() {
            // Nothing there: deleted already (R4: "if there's no match, nothing is deleted").
            [] => Ok(()),
            [node] => elements::take(resource, &node.place).map(|_| ()).ok_or_else(whole),
            _ => Err(several()),
        },
        Act::Insert { index, value } => change_list(resource, path, |kind, name, values| {
            let value = typed(kind, name, value)?;
            bounds(*index <= values.len())?;
            values.insert(*index, value);
            Ok(())
        }),
        Act::Move { source, destination } => change_list(resource, path, |_, _, values| {
            bounds(*source < values.len() && *destination < values.len())?;
            let value = values.remove(*source);
            values.insert(*destination, value);
            Ok(())
        }),
    }
}

fn add(resource: &mut Json, node: &Node, name: &str, given: &Given) -> Result<(), Issue> {
    let object = get_mut(resource, &node.place).ok_or_else(nothing)?;
    let value = typed(node.kind, name, given)?;
    fits(node.place.len() + 2, &value.json)?;
    let (found, member) = element(node.kind, name, &value)?;
    if found.element.repeats {
        let mut values = elements::list(object, &member);
        values.push(value);
        elements::set_list(object, &member, values);
    } else if elements::has(object, node.kind, &found) {
        return Err(Issue::new("duplicate", "the element is there already and does not repeat: replace it"));
    } else {
        elements::set(object, &member, value);
    }
    Ok(())
}

fn replace(resource: &mut Json, node: &Node, given: &Given) -> Result<(), Issue> {
    let (kind, name) = node.element.ok_or_else(whole)?;
    let value = typed(kind, name, given)?;
    fits(node.place.len(), &value.json)?;
    let (_, member) = element(kind, name, &value)?;
    let (object, old, item) = elements::take(resource, &node.place).ok_or_else(nothing)?;
    match item {
        None => elements::set(object, &member, value),
        Some(n) => {
            let mut values = elements::list(object, &old);
            values.insert(n, value);
            elements::set_list(object, &old, values);
        }
    }
    Ok(())
}

fn change_list(
    resource: &mut Json,
    path: &Path,
    change: impl FnOnce(&str, &str, &mut Vec<Value>) -> Result<(), Issue>,
) -> Result<(), Issue> {
    let (before, name) = path.split().ok_or_else(|| Issue::new("value", "the path must end in the name of a list"))?;
    let node = single(find(before, resource))?;
    let object = get_mut(resource, &node.place).ok_or_else(nothing)?;
    if !element(node.kind, name, &Value::none())?.0.element.repeats {
        return Err(Issue::new("value", "the element does not repeat"));
    }
    let mut values = elements::list(object, name);
    change(node.kind, name, &mut values)?;
    values.iter().try_for_each(|value| fits(node.place.len() + 2, &value.json))?;
    elements::set_list(object, name, values);
    Ok(())
}

/// A given value as the JSON of the element that it is for.
fn typed(kind: &str, name: &str, given: &Given) -> Result<Value, Issue> {
    let parts = match given {
        Given::Value(value) => return Ok(value.clone()),
        Given::Parts(parts) => parts,
    };
    let (found, _) = element(kind, name, &Value::none())?;
    let mut object = Json::Object(Vec::new());
    for (name, given) in parts {
        let node = Node { place: Vec::new(), kind: found.type_name, element: None };
        add(&mut object, &node, name, given)?;
    }
    Ok(Value { json: object, ..Value::none() })
}

fn single(mut nodes: Vec<Node>) -> Result<Node, Issue> {
    match nodes.len() {
        0 => Err(nothing()),
        1 => nodes.pop().ok_or_else(nothing),
        _ => Err(several()),
    }
}

fn bounds(hold: bool) -> Result<(), Issue> {
    if hold { Ok(()) } else { Err(Issue::new("value", "the index is behind the end of the list")) }
}

fn nothing() -> Issue {
    Issue::new("not-found", "the path names no element")
}

fn several() -> Issue {
    Issue::new("multiple-matches", "the path names several elements")
}

fn whole() -> Issue {
    Issue::new("value", "the whole resource cannot be patched away: delete or update it")
}
