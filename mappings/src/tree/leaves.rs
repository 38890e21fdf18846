//! The leaves of an arena: what a node holds, and where it came from.

use super::nodes::Node;
use super::{Id, Key, NONE, Reason, Scalar, Shape, Tree, offset_in};
use crate::plan::{Constant, ConstantId};

impl<'a> Tree<'a> {
    /// The node that has a leaf's value.
    pub(super) fn leaf(&self, id: Id) -> &Node {
        let node = self.node(id);
        if node.shape == Shape::Held { &self.nodes[node.extra()] } else { node }
    }

    pub fn reason(&self, id: Id) -> Option<Reason> {
        let leaf = self.leaf(id);
        leaf.shape.is_leaf().then(|| leaf.reason())
    }

    /// Sets a leaf.
    pub fn set(&mut self, id: Id, value: &Scalar<'_>, reason: Reason) {
        let (shape, a, b) = match value {
            Scalar::Bool(true) => (Shape::True, 0, 0),
            Scalar::Bool(false) => (Shape::False, 0, 0),
            Scalar::Text(text) => self.range(text, Shape::Sent, Shape::Own),
            Scalar::Number(text) => self.range(text, Shape::SentNumber, Shape::OwnNumber),
        };
        self.set_leaf(id, shape, (a, b), reason);
    }

    fn range(&mut self, text: &str, sent: Shape, own: Shape) -> (Shape, u32, u32) {
        if let Some(offset) = offset_in(self.text, text) {
            return (sent, offset, text.len() as u32);
        }
        let start = self.own.len() as u32;
        self.own.push_str(text);
        (own, start, text.len() as u32)
    }

    /// Sets a leaf to a constant of the map set.
    pub fn set_constant(&mut self, id: Id, constant: ConstantId, reason: Reason) {
        self.set_leaf(id, Shape::Constant, (constant.0, 0), reason);
    }

    /// Sets a leaf to a reference to a draft.
    pub fn set_link(&mut self, id: Id, draft: usize, reason: Reason) {
        self.set_leaf(id, Shape::Link, (draft as u32, 0), reason);
    }

    fn set_leaf(&mut self, id: Id, shape: Shape, value: (u32, u32), reason: Reason) {
        let mut node = *self.node(id);
        if matches!(node.shape, Shape::Object | Shape::Array) {
            node.set_first(NONE);
        }
        let leaf = if node.shape == Shape::Held {
            Id(node.extra())
        } else if node.first() == NONE && node.key().run == 0 {
            id
        } else {
            let leaf = self.add(Key { label: 0, repetition: 0, run: 0 });
            self.node_mut(id).become_branch(Shape::Held, node.first(), leaf.0, 0);
            leaf
        };
        self.node_mut(leaf).become_leaf(shape, value, reason);
    }

    /// The draft that a node refers to.
    pub fn link(&self, id: Id) -> Option<usize> {
        let leaf = self.leaf(id);
        (leaf.shape == Shape::Link).then_some(leaf.value().0 as usize)
    }

    /// Turns each link to a draft into one to `target[draft]`.
    pub fn relink(&mut self, target: &[usize]) {
        for node in self.nodes.iter_mut().filter(|node| node.shape == Shape::Link) {
            let (draft, _) = node.value();
            node.become_leaf(Shape::Link, (target[draft as usize] as u32, 0), node.reason());
        }
    }

    /// The text of a leaf, numbers included.
    pub fn text(&self, id: Id) -> Option<&str> {
        let leaf = self.leaf(id);
        let (start, length) = leaf.value();
        let range = start as usize..(start as usize).saturating_add(length as usize);
        match leaf.shape {
            Shape::Sent | Shape::SentNumber => self.text.get(range),
            Shape::Own | Shape::OwnNumber => self.own.get(range),
            Shape::Constant => Some(self.constant(id).text.as_str()),
            _ => None,
        }
    }

    /// The constant that a leaf holds.
    pub fn constant(&self, id: Id) -> &'a Constant {
        &self.constants[self.leaf(id).value().0 as usize]
    }

    /// Gives a leaf room for children.
    pub(super) fn hold(&mut self, id: Id) {
        let node = *self.node(id);
        if node.shape.is_leaf() {
            let value = self.nodes.push(node);
            self.node_mut(id).become_branch(Shape::Held, NONE, value, 0);
        }
    }
}
