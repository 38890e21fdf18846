//! Fills a segment by the rules of its map. A rule that names a whole field adds a repetition for each item; one that names
//! a component writes it once, and what stands there already stays.

use super::function::Function;
use super::look::Frame;
use super::plan::{Action, Rule, Spot};
use super::report::{Finding, Met};
use super::resources::Item;
use super::run::Run;
use super::table::Arranged;
use super::text;
use super::write::{Repetition, Segment, Text};
use serde_json::Value;

/// The most repetitions of one field: a field with more is no field that a receiver reads.
const MAX_REPETITIONS: usize = 1_000;

/// Where a map writes: a whole repetition (0, 0), a component or a subcomponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Base {
    component: u16,
    subcomponent: u16,
}

impl Base {
    /// The place of a map's row inside this one; nothing where v2 does not go so deep.
    fn inside(self, spot: Spot) -> Option<Self> {
        match (self.component, self.subcomponent) {
            (0, _) => Some(Self { component: spot.component, subcomponent: spot.subcomponent }),
            (_, 0) if spot.subcomponent <= 1 => Some(Self { subcomponent: spot.component, ..self }),
            _ if spot.component <= 1 && spot.subcomponent <= 1 => Some(self),
            _ => None,
        }
    }

    /// A value at a whole is its first part.
    fn leaf(self) -> (u16, u16) {
        (self.component.max(1), self.subcomponent.max(1))
    }
}

/// A rule at work: the number of its segment, and where it writes.
#[derive(Clone, Copy)]
struct At {
    nth: usize,
    base: Base,
}

impl<'v> Run<'_, 'v> {
    /// Fills a segment with what map number `map` makes of the frame's item.
    pub(super) fn fill<'i>(&mut self, map: usize, frame: &Frame<'_, 'i>, nth: usize, segment: &mut Segment)
    where
        'v: 'i,
    {
        let set = self.set;
        for rule in &set.maps[map].rules {
            self.field(rule, frame, nth, segment);
        }
    }

    fn field<'i>(&mut self, rule: &Rule, frame: &Frame<'_, 'i>, nth: usize, segment: &mut Segment)
    where
        'v: 'i,
    {
        let mut repetitions = segment.fields.remove(&rule.spot.field).unwrap_or_default();
        let base = Base { component: rule.spot.component, subcomponent: rule.spot.subcomponent };
        if rule.spot.component > 0 {
            self.part(rule, frame, At { nth, base }, &mut repetitions);
        } else if !rule.weak || repetitions.is_empty() {
            self.repetitions(rule, frame, At { nth, base }, &mut repetitions);
        }
        if !repetitions.is_empty() {
            segment.fields.insert(rule.spot.field, repetitions);
        }
    }

    fn repetitions<'i>(&mut self, rule: &Rule, frame: &Frame<'_, 'i>, at: At, repetitions: &mut Vec<Repetition>)
    where
        'v: 'i,
    {
        for item in self.look.items(&rule.from, frame) {
            let mut repetition = Repetition::new();
            if repetitions.len() < MAX_REPETITIONS && self.act(rule, &frame.at(item), at, &mut repetition) {
                repetitions.push(repetition);
            }
        }
    }

    /// A component of a field is one of its first repetition.
    fn part<'i>(&mut self, rule: &Rule, frame: &Frame<'_, 'i>, at: At, repetitions: &mut Vec<Repetition>)
    where
        'v: 'i,
    {
        let mut added = Repetition::new();
        let first = repetitions.first_mut().unwrap_or(&mut added);
        for item in self.look.items(&rule.from, frame) {
            if self.act(rule, &frame.at(item), at, first) {
                break;
            }
        }
        if !added.is_empty() {
            repetitions.push(added);
        }
    }

    /// Runs a datatype map: each of its rows writes once.
    fn datatype<'i>(&mut self, map: usize, frame: &Frame<'_, 'i>, at: At, repetition: &mut Repetition)
    where
        'v: 'i,
    {
        let set = self.set;
        for rule in &set.maps[map].rules {
            let base = at.base.inside(rule.spot);
            for item in self.look.items(&rule.from, frame) {
                let Some(base) = base else {
                    self.note(rule, item, Finding::TooDeep);
                    break;
                };
                if self.act(rule, &frame.at(item), At { base, ..at }, repetition) {
                    break;
                }
            }
        }
    }

    /// Whether a rule wrote anything.
    fn act<'i>(&mut self, rule: &Rule, frame: &Frame<'_, 'i>, at: At, repetition: &mut Repetition) -> bool
    where
        'v: 'i,
    {
        if rule.when.as_ref().is_some_and(|when| !self.look.holds(when, frame)) {
            return false;
        }
        let before = repetition.len();
        let text = match &rule.action {
            Action::With(map) => {
                self.with(rule, *map, frame, at, repetition);
                return repetition.len() > before;
            }
            Action::Constant(text) => {
                if rule.from.is_primitive() {
                    self.look.mark(frame.here);
                }
                Some(text.clone())
            }
            Action::Convert => self.converted(rule, frame.here),
            Action::Eval(function) => self.evaluated(rule, function, frame, at.nth),
        };
        let text = text.filter(|text| !text.trim().is_empty());
        if let Some(text) = text {
            repetition.entry(at.base.leaf()).or_insert(Text { text, formatted: rule.formatted });
        }
        repetition.len() > before
    }

    fn with<'i>(&mut self, rule: &Rule, map: usize, frame: &Frame<'_, 'i>, at: At, repetition: &mut Repetition)
    where
        'v: 'i,
    {
        let table = rule.table.map(|table| &self.set.tables[table]);
        let item = frame.here;
        let arranged = match (table, rule.from.type_name) {
            (Some(table), "CodeableConcept") => table.arrange(item.value),
            (Some(table), "Coding") => table.arrange_coding(item.value),
            _ => return self.datatype(map, &frame.of(item), at, repetition),
        };
        if let (true, Some(table)) = (arranged.no_row, table) {
            self.note(rule, item, Finding::NoRow(table.name.clone()));
        }
        arranged.derived.iter().for_each(|value| self.look.mark_all(Item { value, ..item }));
        let made = Item { value: &arranged.value, root: item.root };
        self.look.alias(&pairs(&arranged, item.value));
        self.datatype(map, &frame.of(made), at, repetition);
        self.look.alias(&[]);
    }

    fn converted(&mut self, rule: &Rule, item: Item<'_>) -> Option<String> {
        match text::v2(item.value, rule.from.type_name) {
            Ok((text, cut)) => {
                if cut {
                    self.note(rule, item, Finding::Cut);
                }
                self.look.mark(item);
                self.translated(rule, text, item)
            }
            Err(finding) => {
                self.note(rule, item, finding);
                None
            }
        }
    }

    /// The v2 code of a code. Without one a code is left out and told; the URI of a coding system stays itself.
    fn translated(&mut self, rule: &Rule, text: String, item: Item<'_>) -> Option<String> {
        let Some(table) = rule.table.map(|table| &self.set.tables[table]) else { return Some(text) };
        // Yes and no are written by now; the tables know them by FHIR's words.
        let code = match item.value {
            Value::Bool(yes) => yes.to_string(),
            _ => text.clone(),
        };
        if let Some(v2) = table.v2(&code, None) {
            return Some(v2);
        }
        self.note(rule, item, Finding::NoRow(table.name.clone()));
        (rule.from.type_name == "uri").then_some(text)
    }

    fn evaluated<'i>(&mut self, rule: &Rule, function: &Function, frame: &Frame<'_, 'i>, nth: usize) -> Option<String>
    where
        'v: 'i,
    {
        let text = function.evaluate(&self.look, frame, nth)?;
        match rule.table.map(|table| &self.set.tables[table]) {
            Some(table) => table.v2(&text, None),
            None => Some(text),
        }
    }

    fn note(&mut self, rule: &Rule, item: Item<'_>, finding: Finding) {
        self.met.push(Met { place: self.look.original(item), finding, rule: rule.id.clone() });
    }
}

/// The primitives of an arranged concept, and those that they are copies of.
fn pairs<'a>(arranged: &'a Arranged<'a>, original: &'a Value) -> Vec<(&'a Value, &'a Value)> {
    let made = &arranged.value;
    let coding = |n: usize| made.get("coding").map_or(Some(made), |list| list.get(n));
    let codings = arranged.taken.iter().filter_map(|(n, from)| Some((coding(*n)?, *from)));
    let all = codings.chain([(made, original)]);
    all.flat_map(|(to, from)| to.as_object().into_iter().flatten().filter_map(|(name, v)| Some((v, from.get(name)?))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datatype_in_a_component_writes_subcomponents_and_no_deeper() {
        let spot = |component, subcomponent| Spot { field: 0, component, subcomponent };
        let base = |component, subcomponent| Base { component, subcomponent };
        assert_eq!(base(0, 0).inside(spot(4, 2)), Some(base(4, 2)));
        assert_eq!(base(4, 0).inside(spot(2, 0)), Some(base(4, 2)));
        assert_eq!(base(4, 0).inside(spot(2, 2)), None);
        assert_eq!(base(4, 2).inside(spot(1, 1)), Some(base(4, 2)));
        assert_eq!(base(4, 2).inside(spot(2, 0)), None);
        assert_eq!(base(4, 0).leaf(), (4, 1));
    }
}
