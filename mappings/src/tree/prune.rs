//! Takes out what came to nothing.

use super::{Id, NONE, Shape, Tree};
use crate::r4::{self, Name, TypeNumber};
use std::sync::LazyLock;

impl Tree<'_> {
    /// Takes out what holds nothing: empty objects and arrays, bare extensions, links to drafts that `keep` refuses.
    pub fn prune(&mut self, id: Id, keep: &impl Fn(usize) -> bool) -> bool {
        let shape = self.shape(id);
        let mut at = self.node(id).first();
        let mut alive = 0;
        while at != NONE {
            let child = Id(at);
            let node = self.node(child);
            at = node.next;
            // Most nodes are values: there is nothing in them to look at.
            let is_value = node.shape.is_leaf() && node.shape != Shape::Link;
            alive += usize::from(is_value || node.shape != Shape::Dead && self.prune(child, keep));
        }
        let kept = match shape {
            Shape::Dead => false,
            Shape::Object => alive > 0 && !self.is_bare(id),
            Shape::Empty | Shape::Array => alive > 0,
            Shape::Link => self.link(id).is_some_and(keep),
            _ => true,
        };
        if !kept {
            self.kill(id);
        }
        kept
    }

    /// An extension whose value came to nothing, or an identifier of which only the kind is known.
    fn is_bare(&self, id: Id) -> bool {
        let only = |names: &[Name]| self.children(id).all(|child| names.contains(&self.name(child)));
        let bare = BARE.iter().find(|(kind, _)| *kind == self.kind(id));
        bare.is_some_and(|(_, names)| only(names))
    }
}

/// What says nothing by itself, by the type that it stands in.
static BARE: LazyLock<Vec<(TypeNumber, Vec<Name>)>> = LazyLock::new(|| {
    let all: [(&str, &[&str]); 2] = [("Extension", &["url"]), ("Identifier", &["type", "use", "system"])];
    let names = |names: &[&str]| names.iter().filter_map(|name| Name::of(name)).collect();
    all.iter().filter_map(|(kind, bare)| Some((r4::model().get(kind)?.number, names(bare)))).collect()
});
