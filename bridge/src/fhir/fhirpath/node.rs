//! Places in a resource, with their types, and what else may stand in a collection.

use mappings::r4::{self, Element, Kind, Type};
use notary::canonical::Json;
use std::borrow::Cow;

static NULL: Json = Json::Null;

/// A place in a resource.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// The value; null where a primitive has extensions only.
    pub json: &'a Json,
    /// Of a primitive: its id and extensions, `_birthDate`.
    pub shadow: Option<&'a Json>,
    /// The FHIR type: `Quantity`, `Patient.contact`.
    pub kind: &'static str,
}

/// A child of a node and what it is called there.
pub struct Child<'a> {
    pub node: Node<'a>,
    pub element: &'static Element,
    /// As in JSON: `valueQuantity`.
    pub name: &'a str,
    /// Its place, where the element repeats.
    pub index: Option<usize>,
}

/// One thing in a collection.
#[derive(Debug, Clone)]
pub enum Item<'a> {
    Node(Node<'a>),
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
}

impl std::fmt::Debug for Node<'_> {
    /// Content is patient data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind)
    }
}

impl<'a> Node<'a> {
    /// The node of a resource, if it is of a type that is known.
    pub fn resource(json: &'a Json) -> Option<Self> {
        let model = r4::model().get(json.text("resourceType")?).filter(|t| t.kind == Kind::Resource)?;
        Some(Self { json, shadow: None, kind: model.name })
    }

    /// Whether it is a primitive.
    pub fn is_primitive(self) -> bool {
        r4::model().is_primitive(self.kind)
    }

    fn model(self) -> Option<&'static Type> {
        r4::model().get(if self.is_primitive() { "Element" } else { self.kind })
    }

    /// Where its members stand.
    fn object(self) -> &'a Json {
        if self.is_primitive() { self.shadow.unwrap_or(&NULL) } else { self.json }
    }

    /// The children of that name; `value` finds `valueQuantity`.
    pub fn named(self, name: &str, out: &mut Vec<Child<'a>>) {
        let Some(model) = self.model() else { return };
        let Some(element) = model.elements.iter().find(|e| e.name == name) else { return };
        if element.choice {
            let of = |child: &Child| std::ptr::eq(child.element, element);
            out.extend(self.children().into_iter().filter(of));
        } else if let Some((key, value)) = self.object().members().iter().find(|(key, _)| key == name) {
            add(self.object(), element, key, value, element.types.first().copied().unwrap_or(""), out);
        } else if let Some((key, _)) =
            self.object().members().iter().find(|(key, _)| key.strip_prefix('_') == Some(name))
        {
            add(self.object(), element, &key[1..], &NULL, element.types.first().copied().unwrap_or(""), out);
        }
    }

    /// All children that the type knows.
    pub fn children(self) -> Vec<Child<'a>> {
        let mut out = Vec::new();
        let (object, Some(model)) = (self.object(), self.model()) else { return out };
        for (key, value) in object.members() {
            let plain = key.strip_prefix('_').unwrap_or(key);
            // A shadow goes with its value; alone, it stands for it.
            if plain.len() < key.len() && object.get(plain).is_some() {
                continue;
            }
            let Some(found) = model.element(plain) else { continue };
            let value = if plain.len() < key.len() { &NULL } else { value };
            add(object, found.element, plain, value, found.type_name, &mut out);
        }
        out
    }

    /// Its text, if it is a string of JSON.
    pub fn text(self) -> Option<&'a str> {
        self.json.as_str()
    }

    /// Whether it is of that type. FHIRPath's own `Boolean` is FHIR's `boolean`.
    pub fn is(self, type_name: &str) -> bool {
        let same_but_first =
            |a: &str, b: &str| a.len() == b.len() && a[..1].eq_ignore_ascii_case(&b[..1]) && a[1..] == b[1..];
        self.kind == type_name
            || (self.is_primitive() && same_but_first(self.kind, type_name))
            || matches!((type_name, self.kind), ("Quantity", "Age" | "Count" | "Distance" | "Duration" | "Money"))
            || (matches!(type_name, "string" | "String") && matches!(self.kind, "code" | "id" | "markdown"))
            || (type_name == "uri" && matches!(self.kind, "url" | "canonical" | "oid" | "uuid"))
    }
}

/// Adds a member as one child, or as many as it has items.
fn add<'a>(
    object: &'a Json,
    element: &'static Element,
    name: &'a str,
    value: &'a Json,
    kind: &'static str,
    out: &mut Vec<Child<'a>>,
) {
    let primitive = r4::model().is_primitive(kind);
    let shadow = if primitive { shadow(object, name) } else { None };
    let ((Json::Array(_), _) | (_, Some(Json::Array(_)))) = (value, shadow) else {
        return out.extend(node(value, shadow, kind).map(|node| Child { node, element, name, index: None }));
    };
    let (values, shadows) = (value.items(), shadow.map_or(&[][..], Json::items));
    for index in 0..values.len().max(shadows.len()) {
        let made = node(values.get(index).unwrap_or(&NULL), shadows.get(index), kind);
        out.extend(made.map(|node| Child { node, element, name, index: Some(index) }));
    }
}

fn shadow<'a>(object: &'a Json, name: &str) -> Option<&'a Json> {
    object.members().iter().find(|(key, _)| key.strip_prefix('_') == Some(name)).map(|(_, value)| value)
}

fn node<'a>(json: &'a Json, shadow: Option<&'a Json>, kind: &'static str) -> Option<Node<'a>> {
    match kind {
        "Resource" => Node::resource(json),
        _ if *json == Json::Null && shadow.is_none_or(|s| *s == Json::Null) => None,
        _ => Some(Node { json, shadow, kind }),
    }
}
