//! The resource under construction: a tree in which an array's items are known by the label, repetition
//! and rule run that made them, so that rules may come in any order and never mix two instances up.
//! It turns into JSON once, at the end; no text is ever pasted together.

use crate::path::Label;
use serde_json::{Map, Number, Value};

/// Which item of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    pub label: u16,
    pub repetition: u16,
    /// The run of a segment map that made it: `identifier[1]` of two segments are two identifiers.
    pub run: u32,
}

impl Key {
    /// The key of a labelled element in one run; `[+]` takes a number that nothing else has.
    pub fn new(label: Label, repetition: u16, run: u32, fresh: &mut u32) -> Self {
        match label {
            Label::Number(label) => Self { label, repetition, run },
            Label::New => {
                *fresh += 1;
                Self { label: u16::MAX, repetition, run: u32::MAX - *fresh }
            }
        }
    }
}

/// One step of an address inside a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub name: &'static str,
    pub key: Option<Key>,
    /// A primitive that is gone into for its extension: `_birthDate`.
    pub shadow: bool,
}

/// A value of a FHIR primitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    Text(String),
    /// A number in the very digits of the source.
    Number(String),
    Bool(bool),
}

/// A node; leaves carry the number of the reason that set them.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Object(Vec<(Name, Node)>),
    Array(Vec<(Key, Node)>),
    Leaf(Scalar, u32),
    /// A reference to draft number n.
    Link(usize, u32),
}

/// An element name, and whether it is the `_name` beside a primitive.
pub type Name = (&'static str, bool);

impl Default for Node {
    fn default() -> Self {
        Self::Object(Vec::new())
    }
}

impl Node {
    /// The node at an address, made where it is missing.
    pub fn at(&mut self, address: &[Address]) -> &mut Node {
        address.iter().fold(self, |node, step| {
            let child = node.child((step.name, step.shadow));
            match step.key {
                None => child,
                Some(key) => child.item(key),
            }
        })
    }

    /// The node at an address, if it is there.
    pub fn find(&self, address: &[Address]) -> Option<&Node> {
        address.iter().try_fold(self, |node, step| {
            let child = node.get((step.name, step.shadow))?;
            match (step.key, child) {
                (None, child) => Some(child),
                (Some(key), Node::Array(items)) => items.iter().find(|(k, _)| *k == key).map(|(_, n)| n),
                (Some(_), _) => None,
            }
        })
    }

    fn get(&self, name: Name) -> Option<&Node> {
        match self {
            Node::Object(fields) => fields.iter().find(|(n, _)| *n == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The child element of that name.
    pub fn field(&self, name: &'static str) -> Option<&Node> {
        self.get((name, false))
    }

    fn child(&mut self, name: Name) -> &mut Node {
        if !matches!(self, Node::Object(_)) {
            *self = Node::default();
        }
        let Node::Object(fields) = self else { unreachable!("made an object above") };
        let at = fields.iter().position(|(n, _)| *n == name).unwrap_or_else(|| {
            fields.push((name, Node::default()));
            fields.len() - 1
        });
        &mut fields[at].1
    }

    fn item(&mut self, key: Key) -> &mut Node {
        if !matches!(self, Node::Array(_)) {
            *self = Node::Array(Vec::new());
        }
        let Node::Array(items) = self else { unreachable!("made an array above") };
        // A fresh key is in no item but perhaps the last: thousands of results are appended, not searched.
        let known = match key.label {
            u16::MAX => items.len().checked_sub(1).filter(|last| items[*last].0 == key),
            _ => items.iter().position(|(k, _)| *k == key),
        };
        let at = known.unwrap_or_else(|| {
            items.push((key, Node::default()));
            items.len() - 1
        });
        &mut items[at].1
    }

    /// The items of an array, or none.
    pub fn items(&self) -> impl Iterator<Item = &Node> {
        let items: &[(Key, Node)] = if let Node::Array(items) = self { items } else { &[] };
        items.iter().map(|(_, node)| node)
    }

    /// The text of a leaf.
    pub fn text(&self) -> Option<&str> {
        match self {
            Node::Leaf(Scalar::Text(text), _) => Some(text),
            _ => None,
        }
    }

    /// Takes out what holds nothing: empty objects and arrays, and links to drafts that `keep` refuses.
    pub fn prune(&mut self, keep: &impl Fn(usize) -> bool) -> bool {
        match self {
            Node::Leaf(..) => true,
            Node::Link(draft, _) => keep(*draft),
            Node::Object(fields) => {
                fields.retain_mut(|((name, _), node)| {
                    let kept = node.prune(keep);
                    if let ("extension" | "modifierExtension", Node::Array(items)) = (*name, &mut *node) {
                        items.retain(|(_, item)| !is_bare_extension(item));
                        return !items.is_empty();
                    }
                    kept
                });
                !fields.is_empty()
            }
            Node::Array(items) => {
                items.retain_mut(|(_, node)| node.prune(keep));
                !items.is_empty()
            }
        }
    }

    /// The JSON form. `reference` names the drafts; `seen` hears the path of each leaf with its reason.
    pub fn json(
        &self,
        path: &mut String,
        reference: &impl Fn(usize) -> String,
        seen: &mut impl FnMut(&str, u32),
    ) -> Value {
        match self {
            Node::Leaf(scalar, reason) => {
                seen(path, *reason);
                scalar.json()
            }
            Node::Link(draft, reason) => {
                seen(path, *reason);
                Value::String(reference(*draft))
            }
            Node::Object(fields) => Value::Object(object(fields, path, reference, seen)),
            Node::Array(items) => {
                let length = path.len();
                let values = items.iter().enumerate().map(|(i, (_, node))| {
                    path.push_str(&format!("[{i}]"));
                    let value = node.json(path, reference, seen);
                    path.truncate(length);
                    value
                });
                Value::Array(values.collect())
            }
        }
    }
}

/// An extension whose value came to nothing.
fn is_bare_extension(node: &Node) -> bool {
    matches!(node, Node::Object(fields) if fields.iter().all(|((name, _), _)| *name == "url"))
}

fn object(
    fields: &[(Name, Node)],
    path: &mut String,
    reference: &impl Fn(usize) -> String,
    seen: &mut impl FnMut(&str, u32),
) -> Map<String, Value> {
    let length = path.len();
    fields
        .iter()
        .map(|((name, shadow), node)| {
            path.push('.');
            path.push_str(name);
            let value = node.json(path, reference, seen);
            path.truncate(length);
            (if *shadow { format!("_{name}") } else { (*name).to_owned() }, value)
        })
        .collect()
}

impl Scalar {
    fn json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Bool(b) => Value::Bool(*b),
            // The lexeme was checked when it was made; a number serde refuses stays visible as text.
            Self::Number(lexeme) => {
                lexeme.parse::<Number>().map_or_else(|_| Value::String(lexeme.clone()), Value::Number)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &'static str, label: Option<u16>) -> Address {
        Address { name, key: label.map(|label| Key { label, repetition: 0, run: 1 }), shadow: false }
    }

    fn leaf(text: &str) -> Node {
        Node::Leaf(Scalar::Text(text.into()), 0)
    }

    #[test]
    fn equal_labels_are_one_instance_and_nothing_stays_empty() {
        let mut root = Node::default();
        *root.at(&[step("identifier", Some(2)), step("value", None)]) = leaf("7");
        *root.at(&[step("identifier", Some(1)), step("value", None)]) = leaf("8");
        *root.at(&[step("identifier", Some(2)), step("system", None)]) = leaf("urn:x");
        root.at(&[step("name", Some(1))]);
        assert!(root.prune(&|_| true));
        let mut paths = Vec::new();
        let json = root.json(&mut "Patient".into(), &|_| String::new(), &mut |p, _| paths.push(p.to_owned()));
        assert_eq!(json, serde_json::json!({"identifier": [{"value": "7", "system": "urn:x"}, {"value": "8"}]}));
        assert_eq!(paths[1], "Patient.identifier[0].system");
    }

    #[test]
    fn digits_survive() {
        for digits in ["1.00", "1769.859285", "9007199254740993", "-0.0"] {
            let json = Scalar::Number(digits.into()).json();
            assert_eq!(serde_json::to_string(&json).unwrap(), digits);
        }
    }

    #[test]
    fn a_link_to_nothing_is_taken_out() {
        let mut root = Node::default();
        *root.at(&[step("subject", None), step("reference", None)]) = Node::Link(3, 0);
        assert!(!root.prune(&|draft| draft != 3));
    }
}
