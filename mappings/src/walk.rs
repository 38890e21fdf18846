//! The way from a node of a draft along a target's hops: what is missing on it is made.

use crate::path::Label;
use crate::plan::{Hop, Target};
use crate::r4::TypeNumber;
use crate::run::{Here, Run, Spot};
use crate::tree::{Key, Reason};

impl<'a> Run<'a> {
    /// Follows a target's hops; resources behind references are made where they are missing.
    pub fn go(&mut self, from: Spot, target: &Target, repetition: u16, here: &Here<'a>) -> Spot {
        let mut repetition = Some(repetition);
        target.hops.iter().fold(from, |spot, hop| self.hop(spot, hop, &mut repetition, here))
    }

    /// The same, to a new item of the last element where that repeats.
    pub fn go_fresh(&mut self, from: Spot, target: &Target, here: &Here<'a>) -> Spot {
        let last = target.hops.len() - 1;
        target.hops.iter().enumerate().fold(from, |spot, (n, hop)| match hop {
            Hop::Element { name, repeats: true, object, .. } if n == last => self.hop(
                spot,
                &Hop::Element { name: *name, label: Label::New, repeats: true, object: *object },
                &mut None,
                here,
            ),
            hop => self.hop(spot, hop, &mut None, here),
        })
    }

    fn hop(&mut self, spot: Spot, hop: &Hop, repetition: &mut Option<u16>, here: &Here<'a>) -> Spot {
        match *hop {
            Hop::Through(kind) => self.through(spot, kind, here),
            Hop::Element { name, label, repeats, object } => {
                let mut node = self.tree.field(spot.node, name);
                if repeats {
                    let key = Key::new(label, repetition.take().unwrap_or(0), here.run, &mut self.fresh);
                    node = self.tree.item(node, key);
                }
                if let Some(kind) = object {
                    self.tree.make_object(node, kind);
                }
                Spot { node, ..spot }
            }
        }
    }

    fn through(&mut self, spot: Spot, kind: TypeNumber, here: &Here<'a>) -> Spot {
        let linked = self.tree.find(spot.node, self.set.known.reference).and_then(|n| self.tree.link(n));
        if let Some(draft) = linked.filter(|d| self.drafts[*d].kind == kind) {
            return self.spot(draft);
        }
        let draft = self.new_draft(kind, here.segment);
        let source = self.look(here).place(here.value.map(|value| value.at));
        self.link(spot, draft, Reason { rule: self.set.known.through.0, source });
        self.spot(draft)
    }

    pub fn link(&mut self, spot: Spot, to: usize, reason: Reason) {
        let node = self.tree.field(spot.node, self.set.known.reference);
        self.tree.set_link(node, to, reason);
        self.links.push((spot.draft as u32, to as u32));
    }
}
