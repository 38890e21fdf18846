//! What a violation of a schema means for who wrote the file: in words, and at its line and column.

use super::yaml::{Fault, Mark, Node};
use super::{BASE, SCHEMAS};
use jsonschema::error::{TypeKind, ValidationErrorKind as Broken};
use jsonschema::paths::{Location, LocationSegment};
use jsonschema::{JsonType, ValidationError};
use serde_json::Value;

/// More of a value than this is not repeated in a message.
const SHOWN: usize = 60;

/// What is told first: a key that nobody knows is mostly why another is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Key,
    Value,
    Missing,
}

/// A fault, and how much it explains.
#[derive(Debug)]
pub(super) struct Violation {
    pub rank: Rank,
    pub fault: Fault,
}

impl Violation {
    pub fn value(at: Mark, message: String) -> Self {
        Self { rank: Rank::Value, fault: at.fault(message) }
    }
}

/// Each thing that is wrong, at its place.
pub(super) fn explain(error: &ValidationError<'_>, tree: &Node) -> Vec<Violation> {
    let node = at(tree, error.instance_path());
    match error.kind() {
        Broken::AdditionalProperties { unexpected } => {
            unexpected.iter().map(|key| wrong_key(key, error, node)).collect()
        }
        Broken::PropertyNames { error: inner } => vec![wrong_name(inner, node)],
        Broken::Required { property } => {
            let message = format!("{} is missing", shown(property));
            vec![Violation { rank: Rank::Missing, fault: node.at.fault(message) }]
        }
        kind => vec![Violation::value(node.at, message(kind, error))],
    }
}

/// The node that a path leads to, or the last one on the way.
fn at<'t>(tree: &'t Node, path: &Location) -> &'t Node {
    let step = |node: &'t Node, segment: LocationSegment<'_>| match segment {
        LocationSegment::Property(key) => node.get(&key),
        LocationSegment::Index(n) => node.items().get(n),
    };
    path.segments().fold(tree, |node, segment| step(node, segment).unwrap_or(node))
}

fn key_mark(node: &Node, key: &str) -> Mark {
    node.fields().iter().find(|f| f.key == key).map_or(node.at, |f| f.at)
}

fn wrong_key(key: &str, error: &ValidationError<'_>, node: &Node) -> Violation {
    let keys = schema_around(error).and_then(|schema| schema.get("properties")?.as_object());
    let known: Vec<&str> = keys.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    let message = format!("there is no key `{key}` here, but {}", known.join(", "));
    Violation { rank: Rank::Key, fault: key_mark(node, key).fault(message) }
}

fn wrong_name(error: &ValidationError<'_>, node: &Node) -> Violation {
    let key = error.instance().as_str().unwrap_or_default();
    Violation { rank: Rank::Key, fault: key_mark(node, key).fault(message(error.kind(), error)) }
}

fn message(kind: &Broken, error: &ValidationError<'_>) -> String {
    let value = shown(error.instance());
    match kind {
        Broken::Type { kind } => wrong_type(kind, error.instance()),
        Broken::Pattern { .. } => unfit(&value, error),
        Broken::Enum { options } => format!("{value} is not one of {options}"),
        Broken::Constant { expected_value } => format!("{value} is not {expected_value}"),
        Broken::MinLength { .. } | Broken::MinItems { limit: 1 } => "nothing stands here".to_owned(),
        _ => error.masked().to_string(),
    }
}

/// A pattern says little to people: the title and description beside it do.
fn unfit(value: &str, error: &ValidationError<'_>) -> String {
    let word = |key: &str| schema_around(error).and_then(|schema| schema.get(key)?.as_str());
    match (word("title"), word("description")) {
        (Some(title), Some(told)) => format!("{value} is no {title}. {told}"),
        _ => error.to_string(),
    }
}

fn wrong_type(kind: &TypeKind, value: &Value) -> String {
    let wanted: Vec<JsonType> = match kind {
        TypeKind::Single(one) => vec![*one],
        TypeKind::Multiple(all) => all.iter().collect(),
    };
    let words: Vec<&str> = wanted.iter().map(|t| type_word(*t)).collect();
    let words = words.join(" or ");
    match value {
        Value::Null => format!("nothing stands here: it must be {words}"),
        Value::Number(_) | Value::Bool(_) if wanted.contains(&JsonType::String) => {
            format!("`{value}` must be text: put it in quotes")
        }
        _ => format!("it must be {words}"),
    }
}

fn type_word(kind: JsonType) -> &'static str {
    match kind {
        JsonType::String => "text",
        JsonType::Array => "a list",
        JsonType::Object => "keys and their values",
        JsonType::Boolean => "true or false",
        JsonType::Integer => "a whole number",
        JsonType::Number => "a number",
        JsonType::Null => "empty",
    }
}

fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}...`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// The schema that the broken keyword stands in.
fn schema_around(error: &ValidationError<'_>) -> Option<&'static Value> {
    let (file, pointer) = error.absolute_keyword_location()?.as_str().strip_prefix(BASE)?.split_once('#')?;
    let (around, _keyword) = pointer.rsplit_once('/')?;
    SCHEMAS.get(file)?.pointer(around)
}
