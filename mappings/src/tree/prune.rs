//! Takes out what came to nothing.

use super::{Id, NONE, Shape, Tree};
use crate::r4::TypeNumber;

impl Tree<'_> {
    /// Takes out what holds nothing: empty objects and arrays, bare extensions, links to drafts that `keep` refuses.
    pub fn prune(&mut self, id: Id, keep: &impl Fn(usize) -> bool) -> bool {
        let shape = self.shape(id);
        let mut at = self.node(id).first;
        let mut alive = 0;
        while at != NONE {
            let child = Id(at);
            at = self.node(child).next;
            alive += usize::from(self.shape(child) != Shape::Dead && self.prune(child, keep));
        }
        let kept = match shape {
            Shape::Dead => false,
            Shape::Object => alive > 0 && !self.is_bare_extension(id),
            Shape::Empty | Shape::Array => alive > 0,
            Shape::Link => keep(self.node(id).a as usize),
            _ => true,
        };
        if !kept {
            self.kill(id);
        }
        kept
    }

    /// An extension whose value came to nothing.
    fn is_bare_extension(&self, id: Id) -> bool {
        let is_url = |child: Id| self.name(child).text() == "url";
        self.kind(id) == extension_type() && self.children(id).all(is_url)
    }
}

fn extension_type() -> TypeNumber {
    static NUMBER: std::sync::LazyLock<TypeNumber> =
        std::sync::LazyLock::new(|| crate::r4::model().get("Extension").map_or(TypeNumber(u16::MAX), |t| t.number));
    *NUMBER
}
