//! The resources under construction: one arena of small nodes for a whole message. An array's items are known by the
//! label, repetition and rule run that made them, so that rules may come in any order and never mix two instances
//! up. A text is a range of the message, of the map set's constants or of the arena's own buffer: mapping copies
//! nothing that it need not change. `json.rs` writes the arena out; no text is ever pasted together.

mod leaves;
mod mark;
mod nodes;
mod prune;
mod unite;

use crate::path::Label;
use crate::plan::Constant;
use crate::r4::{Name, TypeNumber};
pub(crate) use mark::{Mark, Reason, offset_in};
use nodes::{Node, Nodes};
use std::borrow::Cow;

/// Which item of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    label: u8,
    repetition: u16,
    /// The run of a segment map that made it: `identifier[1]` of two segments are two identifiers.
    run: u32,
}

/// The label of items that are always new.
const FRESH: u8 = u8::MAX;

impl Key {
    /// The key of a labelled element in one run; `[+]` takes a number that nothing else has.
    pub fn new(label: Label, repetition: u16, run: u32, fresh: &mut u32) -> Self {
        match label {
            Label::Number(label) => Self { label, repetition, run },
            Label::New => {
                *fresh += 1;
                Self { label: FRESH, repetition: 0, run: *fresh }
            }
        }
    }
}

/// A value of a FHIR primitive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar<'a> {
    Text(Cow<'a, str>),
    /// A number in the very digits of the source.
    Number(Cow<'a, str>),
    Bool(bool),
}

/// A node's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(u32);

const NONE: u32 = u32::MAX;
/// What a node is. A leaf may have children too: they are the extensions of a primitive, its `_name`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing yet, or a primitive that has extensions alone.
    Empty,
    /// Pruned: not there any more.
    Dead,
    Object,
    Array,
    /// Text that is `a..a+b` of the message.
    Sent,
    SentNumber,
    /// Text that is `a..a+b` of the arena's own buffer.
    Own,
    OwnNumber,
    /// Constant number a.
    Constant,
    True,
    False,
    /// A reference to draft number a.
    Link,
    /// A leaf that has no room for what it is beside its value: the key of an array's item, or children. The value is in
    /// a node of its own, and is what it is taken for.
    Held,
}

impl Shape {
    /// Whether it is a value and nothing else.
    fn is_leaf(self) -> bool {
        !matches!(self, Self::Empty | Self::Dead | Self::Object | Self::Array | Self::Held)
    }
}

/// The arena. It does not print: it holds patient data.
pub(crate) struct Tree<'a> {
    text: &'a str,
    constants: &'a [Constant],
    nodes: Nodes,
    own: String,
}

impl<'a> Tree<'a> {
    /// An arena for the resources of one message.
    pub fn new(text: &'a str, constants: &'a [Constant]) -> Self {
        Self { text, constants, nodes: Nodes::default(), own: String::with_capacity(text.len() / 4) }
    }

    /// About the length of all resources as JSON.
    pub fn length(&self) -> usize {
        const BYTES_A_NODE: usize = 24;
        self.nodes.len() * BYTES_A_NODE + self.own.len()
    }

    /// Gives back what no text will need: few are made when the segments are through.
    pub fn settle(&mut self) {
        self.own.shrink_to_fit();
    }

    /// Makes the root of a resource.
    pub fn root(&mut self, kind: TypeNumber) -> Id {
        let id = self.add(Key { label: 0, repetition: 0, run: 0 });
        self.make_object(id, kind);
        id
    }

    fn add(&mut self, key: Key) -> Id {
        Id(self.nodes.push(Node::of(key)))
    }

    fn node(&self, id: Id) -> &Node {
        &self.nodes[id.0]
    }

    fn node_mut(&mut self, id: Id) -> &mut Node {
        &mut self.nodes[id.0]
    }

    pub fn shape(&self, id: Id) -> Shape {
        self.leaf(id).shape
    }

    /// The name of a node that is no array item.
    pub fn name(&self, id: Id) -> Name {
        Name(self.node(id).repetition)
    }

    /// The type of an object.
    pub fn kind(&self, id: Id) -> TypeNumber {
        TypeNumber(self.node(id).kind() as u16)
    }

    /// Turns a node into an object of that type, where it is none.
    pub fn make_object(&mut self, id: Id, kind: TypeNumber) {
        let node = self.node_mut(id);
        if node.shape != Shape::Object {
            node.become_branch(Shape::Object, NONE, NONE, u32::from(kind.0));
        }
    }

    /// The children of a node, dead ones included.
    pub fn all_children(&self, id: Id) -> impl Iterator<Item = Id> + use<'_, 'a> {
        let mut at = self.node(id).first();
        std::iter::from_fn(move || {
            let current = Id(at);
            (at != NONE).then(|| at = self.node(current).next)?;
            Some(current)
        })
    }

    /// The first child of a node, dead or alive.
    pub fn first(&self, id: Id) -> Option<Id> {
        Some(self.node(id).first()).filter(|first| *first != NONE).map(Id)
    }

    /// The next child of the same node, dead or alive.
    pub fn next(&self, id: Id) -> Option<Id> {
        Some(self.node(id).next).filter(|next| *next != NONE).map(Id)
    }

    /// The living children of a node.
    pub fn children(&self, id: Id) -> impl Iterator<Item = Id> + use<'_, 'a> {
        self.all_children(id).filter(|child| self.shape(*child) != Shape::Dead)
    }

    /// Whether it has a child, dead or alive.
    pub fn has_children(&self, id: Id) -> bool {
        self.node(id).first() != NONE
    }

    /// The child of that name, if it is there.
    pub fn find(&self, id: Id, name: Name) -> Option<Id> {
        self.children(id).find(|child| self.name(*child) == name)
    }

    /// The child of that name, made where it is missing.
    pub fn field(&mut self, id: Id, name: Name) -> Id {
        let key = Key { label: 0, repetition: name.0, run: 0 };
        let found = self.all_children(id).find(|child| self.name(*child) == name);
        found.unwrap_or_else(|| self.append(id, key))
    }

    /// The item of an array with that key, made where it is missing.
    pub fn item(&mut self, id: Id, key: Key) -> Id {
        if self.shape(id) != Shape::Array {
            self.node_mut(id).become_branch(Shape::Array, NONE, NONE, 0);
        }
        // A fresh key is in no item: thousands of results are appended, not searched.
        let known = (key.label != FRESH).then(|| self.all_children(id).find(|c| self.node(*c).key() == key)).flatten();
        known.unwrap_or_else(|| self.append(id, key))
    }

    /// A new first item of an array.
    pub fn push_front(&mut self, id: Id, key: Key) -> Id {
        let item = self.add(key);
        let node = *self.node(id);
        let last = if node.extra() == NONE { item.0 } else { node.extra() };
        self.node_mut(item).next = node.first();
        self.node_mut(id).become_branch(Shape::Array, item.0, last, 0);
        item
    }

    fn append(&mut self, id: Id, key: Key) -> Id {
        let child = self.add(key);
        let last = match self.node(id).shape {
            Shape::Object | Shape::Array => {
                let last = self.node(id).extra();
                self.node_mut(id).set_extra(child.0);
                last
            }
            // A primitive has few extensions.
            _ => {
                self.hold(id);
                self.all_children(id).last().map_or(NONE, |last| last.0)
            }
        };
        match last {
            NONE => self.node_mut(id).set_first(child.0),
            last => self.node_mut(Id(last)).next = child.0,
        }
        child
    }

    /// Takes a node out of what is written.
    pub fn kill(&mut self, id: Id) {
        let node = self.node_mut(id);
        node.become_branch(Shape::Dead, node.first(), NONE, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::r4::model;

    fn reason() -> Reason {
        Reason { rule: 7, source: Mark::new(0, 0) }
    }

    fn name(text: &str) -> Name {
        Name::of(text).unwrap()
    }

    fn number(kind: &str) -> TypeNumber {
        model().get(kind).unwrap().number
    }

    /// A step to a labelled item of an array of structures.
    fn item(tree: &mut Tree<'_>, from: Id, list: &str, label: u8, kind: &str) -> Id {
        let list = tree.field(from, name(list));
        let item = tree.item(list, Key::new(Label::Number(label), 0, 1, &mut 0));
        tree.make_object(item, number(kind));
        item
    }

    fn set(tree: &mut Tree<'_>, from: Id, field: &str, text: &str) {
        let leaf = tree.field(from, name(field));
        tree.set(leaf, &Scalar::Text(text.into()), reason());
    }

    fn written(tree: &Tree<'_>, root: Id) -> String {
        let mut out = Vec::new();
        tree.write_resource(root, &mut out, &|draft, out| out.extend_from_slice(format!("#{draft}").as_bytes()));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn equal_labels_are_one_instance_and_nothing_stays_empty() {
        let mut tree = Tree::new("", &[]);
        let root = tree.root(number("Patient"));
        for (label, field, text) in [(2, "value", "7"), (1, "value", "8\"\n"), (2, "system", "urn:x")] {
            let identifier = item(&mut tree, root, "identifier", label, "Identifier");
            set(&mut tree, identifier, field, text);
        }
        item(&mut tree, root, "name", 1, "HumanName");
        assert!(tree.prune(root, &|_| true));
        let expected = r#"{"resourceType":"Patient","identifier":[{"value":"7","system":"urn:x"},{"value":"8\"\n"}]}"#;
        assert_eq!(written(&tree, root), expected);
        let mut paths = Vec::new();
        tree.leaves(root, &mut "Patient".into(), &mut |path, _| paths.push(path.to_owned()));
        assert_eq!(paths[1], "Patient.identifier[0].system");
    }

    #[test]
    fn a_primitives_extension_stands_beside_it() {
        let mut tree = Tree::new("", &[]);
        let root = tree.root(number("Patient"));
        let address = item(&mut tree, root, "address", 1, "Address");
        for label in [1, 2] {
            let list = tree.field(address, name("line"));
            let line = tree.item(list, Key::new(Label::Number(label), 0, 1, &mut 0));
            if label == 2 {
                let extension = item(&mut tree, line, "extension", 1, "Extension");
                set(&mut tree, extension, "url", "urn:u");
                set(&mut tree, extension, "valueString", "v");
            } else {
                tree.set(line, &Scalar::Text("a".into()), reason());
            }
        }
        let birth = tree.field(root, name("birthDate"));
        let bare = item(&mut tree, birth, "extension", 1, "Extension");
        set(&mut tree, bare, "url", "urn:nothing");
        assert!(tree.prune(root, &|_| true));
        let expected = r#"{"resourceType":"Patient","address":[{"line":["a",null],"_line":[null,{"extension":[{"url":"urn:u","valueString":"v"}]}]}]}"#;
        assert_eq!(written(&tree, root), expected);
    }

    #[test]
    fn a_list_of_extensions_alone_is_not_a_list_of_nulls() {
        let mut tree = Tree::new("", &[]);
        let root = tree.root(number("AllergyIntolerance"));
        let list = tree.field(root, name("category"));
        let category = tree.item(list, Key::new(Label::Number(1), 0, 1, &mut 0));
        let extension = item(&mut tree, category, "extension", 1, "Extension");
        set(&mut tree, extension, "url", "urn:u");
        set(&mut tree, extension, "valueString", "v");
        assert!(tree.prune(root, &|_| true));
        let expected =
            r#"{"resourceType":"AllergyIntolerance","_category":[{"extension":[{"url":"urn:u","valueString":"v"}]}]}"#;
        assert_eq!(written(&tree, root), expected);
    }

    #[test]
    fn links_that_lead_nowhere_are_pruned() {
        let mut tree = Tree::new("", &[]);
        let root = tree.root(number("Observation"));
        let subject = tree.field(root, name("subject"));
        tree.make_object(subject, number("Reference"));
        let reference = tree.field(subject, name("reference"));
        tree.set_link(reference, 3, reason());
        assert_eq!(written(&tree, root), r##"{"resourceType":"Observation","subject":{"reference":"#3"}}"##);
        assert!(!tree.prune(root, &|draft| draft != 3));
    }

    #[test]
    fn items_that_refer_to_one_resource_under_two_names_are_one_item() {
        let mut tree = Tree::new("", &[]);
        let roots = [5, 6].map(|draft| {
            let root = tree.root(number("Practitioner"));
            let identifier = item(&mut tree, root, "identifier", 1, "Identifier");
            set(&mut tree, identifier, "value", "7");
            let assigner = tree.field(identifier, name("assigner"));
            tree.make_object(assigner, number("Reference"));
            let reference = tree.field(assigner, name("reference"));
            tree.set_link(reference, draft, reason());
            root
        });
        tree.relink(&[0, 1, 2, 3, 4, 5, 5]);
        tree.adopt(roots[0], roots[1]);
        let expected =
            r##"{"resourceType":"Practitioner","identifier":[{"value":"7","assigner":{"reference":"#5"}}]}"##;
        assert_eq!(written(&tree, roots[0]), expected);
    }

    #[test]
    fn an_identifier_without_a_value_says_nothing() {
        let mut tree = Tree::new("", &[]);
        let root = tree.root(number("Patient"));
        let identifier = item(&mut tree, root, "identifier", 1, "Identifier");
        set(&mut tree, identifier, "system", "urn:oid:1.2");
        assert!(!tree.prune(root, &|_| true));
    }

    #[test]
    fn a_text_of_the_message_is_not_copied() {
        let text = "one two";
        let mut tree = Tree::new(text, &[]);
        let root = tree.root(number("Patient"));
        set(&mut tree, root, "language", &text[4..]);
        let leaf = tree.find(root, name("language")).unwrap();
        assert_eq!((tree.shape(leaf), tree.text(leaf)), (Shape::Sent, Some("two")));
        set(&mut tree, root, "language", "three");
        assert_eq!((tree.shape(leaf), tree.text(leaf)), (Shape::Own, Some("three")));
    }
}
