//! What one row of a segment map or datatype map does: find the source, ask the condition, convert, and set the target.

mod codes;

use crate::answers::Answers;
use crate::convert::{self, ConvertError, Primitive};
use crate::look::{At, Level, Value};
use crate::parse::split;
use crate::path::SegmentName;
use crate::path::Source;
use crate::plan::{Action, Group, Hop, Piece, Plan, Rule, Table, When};
use crate::r4::TypeNumber;
use crate::report::Finding;
use crate::run::{Here, Run, Spot};
use crate::time::{self, TimeError};
use crate::tree::{Id, Mark, Reason, Scalar};
use base64::Engine as _;
use std::borrow::Cow;

/// The most components of one value; the longest of the standard, XCN, has 25.
const MAX_PARTS: usize = 100;
/// The most bytes that repetitions gather in one text. It is written anew with each of them, so that without a bound a field of
/// many would cost the square of its size.
const GATHERED: usize = 1_024;

impl<'a> Run<'a> {
    /// Runs the rows of a segment map, each once for each valued repetition of its field.
    pub fn segment_map(&mut self, plan: &'a Plan, spot: Spot, here: &Here<'a>) {
        // A row of one segment may run the map of another: MSH[Provenance-Operator] where EVN stands.
        let at = plan.source.and_then(|name| self.look(here).segment(name)).unwrap_or(here.segment);
        let here = &Here { segment: at, ..*here };
        let Some(own) = self.message.segment(at) else { return };
        let outer = std::mem::replace(&mut self.answers, Answers::of(&plan.tests));
        for (group, range) in &plan.groups {
            let rules = &plan.rules[range.start as usize..range.end as usize];
            match *group {
                // Most fields are empty: they are passed over at once.
                Group::Own(field) if !own.has(field) => {}
                Group::Own(field) => self.of_field(rules, own.repetitions(field.into()), field, spot, here),
                Group::Other(segment, field) => self.of_other(rules, self.elsewhere(segment, field, here), spot, here),
                Group::Part(_) | Group::Whole => rules.iter().for_each(|rule| self.rule(rule, spot, here)),
            }
        }
        self.answers = outer;
    }

    /// Runs the rules of one field, each once for each valued repetition.
    fn of_field(
        &mut self,
        rules: &'a [Rule],
        repetitions: impl Iterator<Item = &'a str>,
        field: u16,
        spot: Spot,
        here: &Here<'a>,
    ) {
        let base = self.parts.len();
        let at = |text| At { text, level: Level::Repetition };
        self.parts.extend(repetitions.filter(|text| !at(text).is_blank()));
        let count = self.parts.len() - base;
        for rule in rules {
            let ruled_out = |when: &When| self.look(here).is_ruled_out_for_all(when);
            if rule.when.as_ref().is_some_and(ruled_out) {
                continue;
            }
            for nth in 0..count {
                if count > 1 {
                    self.answers.forget_each();
                }
                let value = Some(Value::whole(at(self.parts[base + nth])));
                self.rule(rule, spot, &Here { field: Some(field), value, nth: nth as u16, ..*here });
            }
        }
        self.parts.truncate(base);
    }

    /// Runs the rules of a field of another segment, if it is valued.
    fn of_other(&mut self, rules: &'a [Rule], field: &'a str, spot: Spot, here: &Here<'a>) {
        if !field.is_empty() {
            let value = Some(Value::whole(At { text: field, level: Level::Repetition }));
            let here = &Here { field: None, value, nth: 0, ..*here };
            rules.iter().for_each(|rule| self.rule(rule, spot, here));
        }
    }

    /// A field of another segment: its first valued repetition.
    fn elsewhere(&self, segment: SegmentName, field: u16, here: &Here<'a>) -> &'a str {
        let found = self.look(here).segment(segment).and_then(|at| self.message.segment(at));
        found.and_then(|s| s.repetitions(field as usize).find(|t| !t.trim_ascii().is_empty())).unwrap_or("")
    }

    fn rule(&mut self, rule: &'a Rule, spot: Spot, here: &Here<'a>) {
        let look = self.look(here);
        if rule.when.as_ref().is_some_and(|when| look.is_refuted(when)) {
            return;
        }
        let value = look.narrow(&rule.source);
        if value.map_or(!matches!(rule.source, Source::Segment), |at| at.is_blank()) {
            return;
        }
        if let Some(when) = &rule.when {
            if !when.switches.is_empty() {
                let place = look.place(value);
                self.tell_switches(when, place, rule.id);
            }
            let look = self.look(here);
            if !look.holds(when) {
                return;
            }
            look.read_all(when);
        }
        if let Some(at) = value.filter(At::is_delete) {
            return self.delete(rule, spot, at, here);
        }
        if let (true, Some(Hop::Element { name, .. })) = (rule.gap, rule.target.hops.first()) {
            self.gaps.push((spot.draft as u32, name.text()));
        }
        if here.nth > 0 && !rule.target.can_repeat {
            return self.too_many(rule, value, here);
        }
        self.act(rule, spot, value, here);
    }

    fn too_many(&mut self, rule: &'a Rule, value: Option<At<'a>>, here: &Here<'a>) {
        if let (Some(at), false) = (value, matches!(rule.action, Action::Constant(_))) {
            self.look(here).mark_first(at);
            let place = self.look(here).place(value);
            self.note(place, Finding::Repeats, Some(rule.id));
        }
    }

    fn delete(&mut self, rule: &'a Rule, spot: Spot, at: At<'a>, here: &Here<'a>) {
        self.mark(at.text);
        match rule.target.hops.first() {
            Some(Hop::Element { name, repeats: false, .. }) if spot.node == self.drafts[spot.draft].root => {
                self.deleted.push((spot.draft as u32, name.text()));
            }
            // A repeating element holds what other fields and senders gave: it is not theirs to wipe out.
            _ => {
                let place = self.look(here).place(Some(at));
                self.note(place, Finding::NotDeleted, Some(rule.id));
            }
        }
    }

    fn act(&mut self, rule: &'a Rule, spot: Spot, value: Option<At<'a>>, here: &Here<'a>) {
        match rule.action {
            Action::With(map) => self.with(rule, map, spot, value, here),
            Action::Constant(constant) => {
                if let Some(at) = value {
                    self.look(here).mark_first(at);
                }
                let reason = Reason { rule: rule.id.0, source: self.look(here).place(value) };
                let at = self.go(spot, &rule.target, here.nth, here);
                self.tree.set_constant(at.node, constant, reason);
            }
            Action::The(kind) => self.refer(rule, kind, spot, value, here),
            _ => self.convert_and_set(rule, spot, value, here),
        }
    }

    /// A reference to the message's resource of that type, if there is one.
    fn refer(&mut self, rule: &'a Rule, kind: TypeNumber, spot: Spot, value: Option<At<'a>>, here: &Here<'a>) {
        if let Some(draft) = self.latest(kind) {
            let reason = Reason { rule: rule.id.0, source: self.look(here).place(value) };
            let at = self.go(spot, &rule.target, here.nth, here);
            self.link(at, draft, reason);
        }
    }

    /// The text that a rule's function or source gives.
    fn given(&self, rule: &'a Rule, value: Option<At<'a>>, here: &Here<'a>) -> Cow<'a, str> {
        let look = self.look(here);
        let joined = |between: &str, texts: Vec<Cow<'a, str>>| Cow::Owned(texts.join(between));
        match &rule.action {
            Action::Convert => value.map_or(Cow::Borrowed(""), |at| look.simple(at)),
            Action::Concat(pieces) => joined("", pieces.iter().map(|p| look.piece(p)).collect()),
            Action::Join(between, pieces) => {
                joined(between, pieces.iter().map(|p| look.piece(p)).filter(|t| !t.is_empty()).collect())
            }
            Action::First(pieces) | Action::Gather(pieces) => {
                pieces.iter().map(|p| look.piece(p)).find(|t| !t.is_empty()).unwrap_or(Cow::Borrowed(""))
            }
            Action::Base64(piece) => {
                Cow::Owned(base64::engine::general_purpose::STANDARD.encode(look.whole(piece).as_bytes()))
            }
            Action::Whole(piece) => look.whole(piece),
            Action::Lines(field) => Cow::Owned(look.lines(field)),
            Action::Add([from, ..]) => look.piece(from),
            Action::Minutes([number, unit]) => {
                Cow::Owned(time::minutes(&look.piece(number), &look.piece(unit)).unwrap_or_default())
            }
            Action::Digits(piece) => Cow::Owned(look.piece(piece).chars().filter(char::is_ascii_digit).collect()),
            Action::Letters(piece) => Cow::Owned(look.piece(piece).chars().filter(|c| c.is_alphabetic()).collect()),
            Action::Number(piece) => Cow::Owned(look.piece(piece).trim_start_matches(is_comparator).to_owned()),
            Action::Now => Cow::Borrowed(self.context.now),
            Action::Maps => Cow::Borrowed(self.set.hash()),
            Action::Event => Cow::Borrowed(self.set.event(self.message)),
            Action::With(_) | Action::Constant(_) | Action::The(_) => Cow::Borrowed(""),
        }
    }

    fn convert_and_set(&mut self, rule: &'a Rule, spot: Spot, value: Option<At<'a>>, here: &Here<'a>) {
        let text = self.given(rule, value, here);
        if text.is_empty() {
            return;
        }
        let place = self.look(here).place(value);
        let inherited = rule.target.hops.is_empty();
        let Some(text) = self.translate(text, rule.table.or(here.table.filter(|_| inherited)), rule, place) else {
            return;
        };
        let codes = rule.target.codes.or(here.codes.filter(|_| inherited));
        let converted = match (&rule.action, rule.target.primitive) {
            // Already FHIR, unlike what a sender writes.
            (Action::Now, _) => Ok((Scalar::Text(text), None)),
            (Action::Add([_, number, unit]), Some(kind)) => self.later(&text, [number, unit], kind, here),
            (_, Some(kind)) => convert::primitive(text, kind, codes, self.zone),
            (_, None) => return,
        };
        let told = match converted {
            Ok((scalar, told)) => {
                let gathers = matches!(rule.action, Action::Gather(_));
                let at = self.go(spot, &rule.target, if gathers { 0 } else { here.nth }, here);
                match if gathers { self.gathered(at.node, scalar) } else { Ok(scalar) } {
                    Ok(scalar) => {
                        self.tree.set(at.node, &scalar, Reason { rule: rule.id.0, source: place });
                        told.filter(|told| *told != TimeError::Clock || !rule.clock_kept).map(ConvertError::Time)
                    }
                    Err(full) => Some(full),
                }
            }
            Err(error) => Some(error),
        };
        if let Some(told) = told {
            self.note(place, Finding::Value(told), Some(rule.id));
        }
    }

    /// What a text becomes with another one behind it, unless it has that already.
    fn gathered(&self, node: Id, scalar: Scalar<'a>) -> Result<Scalar<'a>, ConvertError> {
        match (self.tree.text(node), &scalar) {
            (Some(old), Scalar::Text(new)) if old.len() + new.len() > GATHERED => Err(ConvertError::Full),
            (Some(old), Scalar::Text(new)) if old.split(", ").any(|part| part == new) => {
                Ok(Scalar::Text(Cow::Owned(old.to_owned())))
            }
            (Some(old), Scalar::Text(new)) => Ok(Scalar::Text(Cow::Owned(format!("{old}, {new}")))),
            _ => Ok(scalar),
        }
    }

    /// A time that lies a duration after another.
    fn later(
        &self,
        from: &str,
        duration: [&'a Piece; 2],
        kind: Primitive,
        here: &Here<'a>,
    ) -> Result<(Scalar<'a>, Option<TimeError>), ConvertError> {
        let look = self.look(here);
        let [number, unit] = duration.map(|piece| look.piece(piece));
        let later = time::plus(from, &number, &unit)?;
        convert::primitive(Cow::Owned(later), kind, None, self.zone)
    }

    /// Looks a code up. Without a row a uri keeps nothing and a code keeps itself where it may.
    fn translate(
        &mut self,
        text: Cow<'a, str>,
        table: Option<usize>,
        rule: &'a Rule,
        place: Mark,
    ) -> Option<Cow<'a, str>> {
        let Some(table) = table else { return Some(text) };
        let set = self.set;
        let table = &set.tables[table];
        if let Some(row) = table.row(&text) {
            return Some(row);
        }
        let kept = rule.target.type_name != "uri" && rule.target.codes.is_none();
        self.no_row(table, kept, rule, place);
        kept.then_some(text)
    }

    /// Tells of a code without a row; a table without any row (a site's own) has nothing to say.
    fn no_row(&mut self, table: &'a Table, kept: bool, rule: &'a Rule, place: Mark) {
        if !table.rows.is_empty() {
            let finding = if kept { Finding::AsSent(&table.name) } else { Finding::NoRow(&table.name) };
            self.note(place, finding, Some(rule.id));
        }
    }

    fn with(&mut self, rule: &'a Rule, map: usize, spot: Spot, value: Option<At<'a>>, here: &Here<'a>) {
        let Some(at) = value else { return };
        let target = self.go(spot, &rule.target, here.nth, here);
        let codes = rule.target.codes.or(here.codes);
        let before = self.parts.len();
        let value = Some(self.told_apart(at));
        let inner = &Here { value, field: None, nth: 0, table: rule.table.or(here.table), codes, ..*here };
        let set = self.set;
        if target.draft != spot.draft && target.node == self.drafts[target.draft].root {
            self.begin(target.draft, map, inner);
        }
        let plan = &set.maps[map];
        let has_tests = !plan.tests.is_empty();
        let outer = has_tests.then(|| std::mem::replace(&mut self.answers, Answers::of(&plan.tests)));
        for (group, range) in &plan.groups {
            // Most components are empty: they are passed over at once.
            let part = |n: u16| self.parts.get(before + usize::from(n) - 1).copied();
            if !matches!(*group, Group::Part(n) if part(n).is_none_or(str::is_empty)) {
                let rules = &plan.rules[range.start as usize..range.end as usize];
                rules.iter().for_each(|rule| self.rule(rule, target, inner));
            }
        }
        if let Some(outer) = outer {
            self.answers = outer;
        }
        if let Some(table) = rule.table {
            self.recode(table, rule, target, at, inner);
        }
        self.parts.truncate(before);
    }

    fn told_apart(&mut self, at: At<'a>) -> Value<'a> {
        let base = self.parts.len() as u32;
        let separator = match at.level {
            Level::Repetition => Some(self.separators.component),
            Level::Component => self.separators.subcomponent,
            Level::Subcomponent => None,
        };
        self.parts.extend(split(at.text, separator).take(MAX_PARTS));
        Value { at, base, count: self.parts.len() as u32 - base }
    }
}

/// Part of `<`, `>=` and their like before a number.
fn is_comparator(c: char) -> bool {
    matches!(c, '<' | '>' | '=' | ' ')
}
