//! What a table does to a Coding or CodeableConcept that a datatype map has filled.

use crate::look::At;
use crate::path::{Label, Source};
use crate::plan::Rule;
use crate::r4::Name;
use crate::run::{Here, Run, Spot};
use crate::tree::{Id, Key, Reason};

/// The component of a CWE that has the alternate code.
const ALTERNATE: u16 = 4;

impl<'a> Run<'a> {
    /// A table on a Coding or CodeableConcept: the translated codings come first, the sender's own stay behind them.
    pub(super) fn recode(&mut self, table: usize, rule: &'a Rule, spot: Spot, value: At<'a>, here: &Here<'a>) {
        match rule.target.type_name {
            "CodeableConcept" => {
                // What goes in front goes in last.
                self.recode_one(table, rule, spot, value, here, ALTERNATE);
                self.recode_one(table, rule, spot, value, here, 1);
            }
            "Coding" => self.recode_one(table, rule, spot, value, here, 1),
            _ => {}
        }
    }

    /// The code in one component; its coding system is two further on.
    fn recode_one(&mut self, table: usize, rule: &'a Rule, spot: Spot, value: At<'a>, here: &Here<'a>, component: u16) {
        let look = self.look(here);
        let code = look.raw_text(&Source::Part { component, subcomponent: 0 });
        if code.is_empty() {
            return;
        }
        let coding_system = look.raw_text(&Source::Part { component: component + 2, subcomponent: 0 });
        let source = look.place(Some(value));
        let set = self.set;
        let table = &set.tables[table];
        let row = table.rows.get(code.as_ref()).filter(|row| !set.is_foreign(&coding_system, row));
        let Some(row) = row else {
            if component != ALTERNATE {
                self.no_row(table, true, rule, source);
            }
            return;
        };
        let node = match rule.target.type_name {
            "Coding" => self.emptied(spot.node),
            _ => self.first_coding(spot.node, here.run),
        };
        for (name, constant) in &row.coding {
            let leaf = self.tree.field(node, *name);
            self.tree.set_constant(leaf, *constant, Reason { rule: rule.id.0, source });
        }
        if rule.target.type_name == "CodeableConcept" {
            self.drop_same_codings(spot.node, node);
        }
    }

    fn emptied(&mut self, node: Id) -> Id {
        let children: Vec<Id> = self.tree.children(node).collect();
        children.into_iter().for_each(|child| self.tree.kill(child));
        node
    }

    /// A new first coding of a CodeableConcept.
    fn first_coding(&mut self, concept: Id, run: u32) -> Id {
        let list = self.tree.field(concept, self.set.known.coding);
        let key = Key::new(Label::New, 0, run, &mut self.fresh);
        let coding = self.tree.push_front(list, key);
        self.tree.make_object(coding, self.set.known.coding_type);
        coding
    }

    /// The sender's own coding goes where it says what the translated one says.
    fn drop_same_codings(&mut self, concept: Id, first: Id) {
        let Some(list) = self.tree.find(concept, self.set.known.coding) else { return };
        let text = |node: Id, name: Name| self.tree.find(node, name).and_then(|n| self.tree.text(n));
        let known = &self.set.known;
        let is_same = |node: &Id, name: Name| text(*node, name) == text(first, name);
        let is_bare = |node: &Id| {
            text(*node, known.system).is_none()
                && (text(*node, known.display).is_none() || is_same(node, known.display))
        };
        let same = |node: &Id| is_same(node, known.code) && (is_same(node, known.system) || is_bare(node));
        let doubles: Vec<Id> = self.tree.children(list).filter(|node| *node != first).filter(same).collect();
        doubles.into_iter().for_each(|node| self.tree.kill(node));
    }
}
