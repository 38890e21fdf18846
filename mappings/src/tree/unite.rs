//! What one object gives another of the same resource.

use super::{Id, Shape, Tree};

/// Items of a list are compared with this many of another: lists of results have no doubles to be found.
const MAX_COMPARED: usize = 100;
/// Resources nest less deep than this.
const MAX_DEPTH: usize = 32;

impl Tree<'_> {
    /// Moves what one object has and the other lacks: elements, and items of its lists.
    pub fn adopt(&mut self, into: Id, from: Id) {
        let children: Vec<Id> = self.children(from).collect();
        for child in children {
            let name = self.name(child);
            match self.find(into, name) {
                None => self.move_to(into, child),
                Some(list) if self.shape(list) == Shape::Array && self.shape(child) == Shape::Array => {
                    self.adopt_items(list, child);
                }
                Some(_) => {}
            }
        }
    }

    fn adopt_items(&mut self, list: Id, from: Id) {
        let known: Vec<Id> = self.children(list).take(MAX_COMPARED).collect();
        let items: Vec<Id> = self.children(from).collect();
        for item in items {
            if !known.iter().any(|known| self.is_same(*known, item, 0)) {
                self.move_to(list, item);
            }
        }
    }

    fn move_to(&mut self, into: Id, child: Id) {
        let made = self.append(into, self.node(child).key());
        let next = self.node(made).next;
        *self.node_mut(made) = *self.node(child);
        self.node_mut(made).next = next;
    }

    /// Whether two nodes say the same.
    pub fn is_same(&self, one: Id, other: Id, depth: usize) -> bool {
        let kind = |id: Id| match self.shape(id) {
            Shape::Object | Shape::Array | Shape::Link | Shape::True | Shape::False | Shape::Empty => {
                Some(self.shape(id))
            }
            _ => None,
        };
        let (mut ones, mut others) = (self.children(one), self.children(other));
        depth < MAX_DEPTH
            && kind(one) == kind(other)
            && self.text(one) == self.text(other)
            && self.link(one) == self.link(other)
            && loop {
                match (ones.next(), others.next()) {
                    (None, None) => break true,
                    (Some(a), Some(b)) if self.is_list_item(one) || self.name(a) == self.name(b) => {
                        if !self.is_same(a, b, depth + 1) {
                            break false;
                        }
                    }
                    _ => break false,
                }
            }
    }

    fn is_list_item(&self, parent: Id) -> bool {
        self.shape(parent) == Shape::Array
    }
}
