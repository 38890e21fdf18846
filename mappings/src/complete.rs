//! Resources come out whole: where a message does not say what FHIR requires, the resource says so itself, by the code
//! `unknown` or the standard's data-absent-reason. What cannot be said to be absent is left out as a whole, and told.

use crate::convert::ConvertError;
use crate::path::Label;
use crate::plan::{ConstantId, RuleId};
use crate::r4::{self, Element, Kind, Name, Required, Type, TypeNumber};
use crate::report::Finding;
use crate::run::Run;
use crate::tree::{Id, Key, Reason, Shape};
use jiff::Timestamp;

/// How deep the elements of a resource nest in the maps; the deepest of R4 stay below ten.
const MAX_DEPTH: usize = 32;
/// So many extensions of one element are compared with each other.
const MAX_EXTENSIONS: usize = 100;
/// The length of a whole date.
const DAY: usize = "2026-11-22".len();
/// With these an appointment may have no time (app-3).
const TIMELESS: [&str; 3] = ["proposed", "cancelled", "waitlist"];

impl Run<'_> {
    /// Completes a draft; false where it must go.
    pub(crate) fn complete(&mut self, draft: usize) -> bool {
        let root = self.drafts[draft].root;
        let kept = self.complete_object(root, draft, 0) || self.is_left_out(draft);
        if !kept {
            self.tree.kill(root);
            return false;
        }
        match r4::model().at(self.drafts[draft].kind).name {
            "Appointment" => self.complete_times(draft),
            "Organization" => self.drop_homes(draft),
            _ => {}
        }
        true
    }

    /// An organization has no home (org-2, org-3): the address or number stays, without that use.
    fn drop_homes(&mut self, draft: usize) {
        let [address, telecom, usage] = ["address", "telecom", "use"].map(Name::of);
        let lists = [address, telecom].into_iter().flatten();
        let lists = lists.filter_map(|name| self.tree.find(self.drafts[draft].root, name));
        let items = lists.flat_map(|list| self.tree.children(list).collect::<Vec<_>>());
        let uses = items.filter_map(|item| self.tree.find(item, usage?));
        let homes: Vec<Id> = uses.filter(|usage| self.tree.text(*usage) == Some("home")).collect();
        for home in homes {
            if let Some(reason) = self.tree.reason(home) {
                self.note(reason.source, Finding::Value(ConvertError::Code), Some(RuleId(reason.rule)));
            }
            self.tree.kill(home);
        }
    }

    /// No period ends before it begins (per-1): the start stays, and the end is told.
    fn drop_reversed_end(&mut self, period: Id) {
        let [start, end] = ["start", "end"].map(|name| Name::of(name).and_then(|name| self.tree.find(period, name)));
        let (Some(start), Some(end)) = (start, end) else { return };
        let (Some(begins), Some(ends)) = (self.tree.text(start), self.tree.text(end)) else { return };
        if !is_after(begins, ends) {
            return;
        }
        if let Some(reason) = self.tree.reason(end) {
            self.note(reason.source, Finding::Value(ConvertError::Reversed), Some(RuleId(reason.rule)));
        }
        self.tree.kill(end);
    }

    /// An appointment has start and end or neither (app-2), and both unless it is only proposed, waiting or cancelled
    /// (app-3): what nothing tells is said to be unknown, which is truer than another status.
    fn complete_times(&mut self, draft: usize) {
        let root = self.drafts[draft].root;
        let status = Name::of("status").and_then(|name| self.tree.find(root, name)).and_then(|s| self.tree.text(s));
        let may_lack = status.is_some_and(|status| TIMELESS.contains(&status));
        let times: Vec<(Name, bool)> = ["start", "end"]
            .into_iter()
            .filter_map(Name::of)
            .map(|name| (name, self.tree.find(root, name).is_some()))
            .collect();
        let told = times.iter().any(|(_, told)| *told);
        if may_lack && !told {
            return;
        }
        let reason = Reason { rule: self.set.known.absent.0, source: self.draft_mark(draft) };
        for (name, _) in times.into_iter().filter(|(_, told)| !told) {
            let at = self.tree.field(root, name);
            self.fill_extension(at, None, reason);
            self.note(reason.source, Finding::Filled(name.text()), None);
            if !told {
                self.gaps.push((draft as u32, name.text()));
            }
        }
    }

    /// Completes what is inside first: an item that has to go may leave a gap.
    fn complete_object(&mut self, node: Id, draft: usize, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        let mut at = self.tree.first(node);
        while let Some(child) = at {
            at = self.tree.next(child);
            self.complete_child(child, draft, depth);
        }
        let kind = r4::model().at(self.tree.kind(node));
        if kind.name == "Period" {
            self.drop_reversed_end(node);
        }
        kind.required.iter().all(|required| self.has(node, required) || self.fill(node, kind, required, draft))
    }

    fn complete_child(&mut self, child: Id, draft: usize, depth: usize) {
        let kept = match self.tree.shape(child) {
            Shape::Object => self.complete_object(child, draft, depth + 1) || self.is_left_out(draft),
            Shape::Array => self.complete_items(child, draft, depth),
            _ => true,
        };
        if !kept {
            self.tree.kill(child);
        }
    }

    /// Two fields may say the same: an extension stands once.
    fn drop_doubles(&mut self, list: Id) {
        if self.tree.children(list).nth(1).is_none() {
            return;
        }
        let items: Vec<Id> = self.tree.children(list).take(MAX_EXTENSIONS).collect();
        let doubles =
            items.iter().enumerate().filter(|(n, item)| items[..*n].iter().any(|i| self.tree.is_same(*i, **item, 0)));
        let doubles: Vec<Id> = doubles.map(|(_, item)| *item).collect();
        doubles.into_iter().for_each(|item| self.tree.kill(item));
    }

    fn is_left_out(&mut self, draft: usize) -> bool {
        self.left_out += 1;
        self.note(self.draft_mark(draft), Finding::Incomplete, None);
        false
    }

    fn complete_items(&mut self, list: Id, draft: usize, depth: usize) -> bool {
        if self.tree.name(list) == self.set.known.extension {
            self.drop_doubles(list);
        }
        let mut at = self.tree.first(list);
        while let Some(item) = at {
            at = self.tree.next(item);
            self.complete_child(item, draft, depth);
        }
        self.tree.children(list).next().is_some()
    }

    fn has(&self, node: Id, required: &Required) -> bool {
        self.tree.children(node).any(|child| required.names.contains(&self.tree.name(child)))
    }

    /// Says that a required element is not known, where the standard lets that be said.
    fn fill(&mut self, node: Id, kind: &'static Type, required: &'static Required, draft: usize) -> bool {
        let element = &kind.elements[required.element];
        let Some(name) = required.names.first().filter(|_| !element.choice) else { return false };
        let absent = self.absent(element, kind);
        let Some(absent) = absent else { return false };
        let field = self.tree.field(node, *name);
        let at = if element.repeats { self.first_item(field) } else { field };
        let reason = Reason { rule: self.set.known.absent.0, source: self.draft_mark(draft) };
        match absent {
            Absent::Code(code) => self.tree.set_constant(at, code, reason),
            Absent::Coding(kind) => self.fill_coding(at, kind, reason),
            Absent::Extension(kind) => self.fill_extension(at, kind, reason),
        }
        self.note(reason.source, Finding::Filled(element.name), None);
        if kind.kind == Kind::Resource {
            // What is stored already knows better.
            self.gaps.push((draft as u32, element.name));
        }
        true
    }

    fn first_item(&mut self, list: Id) -> Id {
        let key = Key::new(Label::New, 0, 0, &mut self.fresh);
        self.tree.item(list, key)
    }

    /// How to say it: a resource may lack more than an item of it, which says nothing without its reference or value.
    fn absent(&self, element: &'static Element, owner: &Type) -> Option<Absent> {
        let known = &self.set.known;
        let in_resource = owner.kind == Kind::Resource;
        let type_name = *element.types.first()?;
        let kind = r4::model().get(type_name)?;
        match (type_name, element.codes) {
            (_, Some(codes)) if kind.kind == Kind::Primitive => {
                codes.contains(&"unknown").then_some(Absent::Code(known.unknown))
            }
            (_, Some(_)) => None,
            ("CodeableConcept", None) => Some(Absent::Coding(kind.number)),
            (_, None) if !in_resource => None,
            _ if kind.kind == Kind::Primitive => Some(Absent::Extension(None)),
            ("Reference" | "Period" | "Identifier" | "Attachment", None) => Some(Absent::Extension(Some(kind.number))),
            _ => None,
        }
    }

    fn fill_coding(&mut self, at: Id, kind: TypeNumber, reason: Reason) {
        let known = &self.set.known;
        let (coding_type, coding, parts) = (known.coding_type, known.coding, known.absent_coding);
        self.tree.make_object(at, kind);
        let list = self.tree.field(at, coding);
        let item = self.first_item(list);
        self.tree.make_object(item, coding_type);
        self.constants(item, &parts, reason);
    }

    fn fill_extension(&mut self, at: Id, kind: Option<TypeNumber>, reason: Reason) {
        let known = &self.set.known;
        let (extension_type, extension, parts) = (known.extension_type, known.extension, known.absent_extension);
        if let Some(kind) = kind {
            self.tree.make_object(at, kind);
        }
        let list = self.tree.field(at, extension);
        let item = self.first_item(list);
        self.tree.make_object(item, extension_type);
        self.constants(item, &parts, reason);
    }

    fn constants(&mut self, node: Id, parts: &[(Name, ConstantId)], reason: Reason) {
        for (name, constant) in parts {
            let leaf = self.tree.field(node, *name);
            self.tree.set_constant(leaf, *constant, reason);
        }
    }
}

/// Whether one FHIR dateTime is surely later than another; where one has no zone, their days decide.
fn is_after(one: &str, other: &str) -> bool {
    if let (Ok(one), Ok(other)) = (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
        return one > other;
    }
    let shared = one.len().min(other.len()).min(DAY);
    matches!((one.get(..shared), other.get(..shared)), (Some(one), Some(other)) if one > other)
}

enum Absent {
    Code(ConstantId),
    Coding(TypeNumber),
    /// On an element of that type; none: on a primitive.
    Extension(Option<TypeNumber>),
}

#[cfg(test)]
mod tests {
    use super::is_after;

    #[test]
    fn times_are_compared_as_far_as_both_tell() {
        assert!(is_after("2026-01-02T00:30:00+01:00", "2026-01-01T23:29:59Z"));
        assert!(!is_after("2026-01-02T00:30:00+01:00", "2026-01-01T23:30:00Z"));
        assert!(is_after("2026-02", "2026-01-31"));
        assert!(!is_after("2026-01-31", "2026-01"));
        assert!(!is_after("2026-01-31T10:00:00Z", "2026-01-31"));
        assert!(is_after("2026-02-01", "2026-01-31T10:00:00Z"));
    }
}
