//! A message on its way through its maps: which segment stands where, which resources are at hand, and what each row of
//! the message map does with them.

use crate::answers::Answers;
use crate::engine::Context;
use crate::identity::{Begun, MAX_NEEDS, UNBOUND};
use crate::look::{At, Look, Value};
use crate::maps::MapSet;
use crate::parse::{Message, Separators};
use crate::path::SegmentName;
use crate::plan::{Assignment, Given, Hop, MessagePlan, MessageRule, RuleId, Slotted, Target, When};
use crate::r4::{Name, TypeNumber};
use crate::report::{Finding, Note};
use crate::structure::{Chain, Placed, Placer};
use crate::tree::{Id, Mark, Reason, Tree, offset_in};
use jiff::tz::TimeZone;
use std::cell::Cell;
use std::collections::HashSet;

/// A draft under construction.
#[derive(Debug)]
pub(crate) struct Work {
    pub kind: TypeNumber,
    pub root: Id,
    pub begun: Option<Begun>,
    pub weak: bool,
    /// The segment that made it.
    pub segment: u32,
}

/// A position in a draft.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot {
    pub draft: usize,
    pub node: Id,
}

#[derive(Debug)]
struct Binding {
    kind: TypeNumber,
    label: u16,
    draft: usize,
    slot: usize,
    segment: usize,
    /// An `each` goes back to it.
    remembered: bool,
}

/// Where a rule stands while it runs.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    pub segment: usize,
    pub field: Option<u16>,
    pub value: Option<Value<'a>>,
    /// The number of the repetition among the valued ones, from 0.
    pub nth: u16,
    pub run: u32,
    /// The table and the required codes of the rule whose datatype map runs, for what it sets as `$this`.
    pub table: Option<usize>,
    pub codes: Option<&'static [&'static str]>,
}

pub(crate) struct Run<'a> {
    pub set: &'a MapSet,
    pub plan: &'a MessagePlan,
    pub message: &'a Message<'a>,
    pub context: &'a Context<'a>,
    /// Those of the message; without the escape character where nothing is escaped, as in most messages.
    pub separators: Separators,
    /// The overlay's zone, or the feed's.
    pub zone: Option<&'a TimeZone>,
    pub drafts: Vec<Work>,
    /// Elements that the sender deleted, with their draft; few drafts have any.
    pub deleted: Vec<(u32, &'static str)>,
    /// Elements that only fill gaps, with their draft.
    pub gaps: Vec<(u32, &'static str)>,
    pub tree: Tree<'a>,
    pub notes: Vec<Note<'a>>,
    /// The switches that were told of.
    told: Vec<&'a str>,
    /// The names of the segments; none where it is not a name.
    pub names: Vec<Option<SegmentName>>,
    pub placed: Vec<Option<Placed>>,
    chains: Vec<(u16, u32)>,
    by_name: Vec<(SegmentName, u32)>,
    /// References that a `set` has made already: draft, element, draft.
    linked: HashSet<(u32, Name, u32), foldhash::fast::RandomState>,
    bound: Vec<Binding>,
    /// Earlier resources of the labels that an `each` speaks of.
    past: Vec<Binding>,
    /// The group that began last, and how many of `past` were looked at then.
    past_of: (usize, usize),
    /// One bit for each byte of the message: a value that was read begins there.
    used: Vec<Cell<u64>>,
    /// The references from draft to draft.
    pub links: Vec<(u32, u32)>,
    /// How many elements were left out, since they lacked what they must have.
    pub left_out: usize,
    runs: u32,
    pub fresh: u32,
    /// What the conditions of the present segment map have asked already.
    pub answers: Answers<'a>,
    /// The components of the values at hand, the innermost last.
    pub parts: Vec<&'a str>,
}

impl<'a> Run<'a> {
    pub fn new(set: &'a MapSet, plan: &'a MessagePlan, message: &'a Message<'a>, context: &'a Context<'a>) -> Self {
        let mut placer = Placer::new(&plan.structure);
        let names: Vec<_> = message.segments().map(|s| SegmentName::read(s.name())).collect();
        let placed = names.iter().map(|name| placer.place((*name)?)).collect();
        let numbered = names.iter().enumerate().filter_map(|(at, name)| Some(((*name)?, at as u32)));
        let mut by_name: Vec<(SegmentName, u32)> = numbered.collect();
        by_name.sort_unstable();
        Self {
            set,
            plan,
            message,
            context,
            separators: without_idle_escape(message),
            zone: set.zone.as_ref().or(context.zone),
            drafts: Vec::with_capacity(message.len()),
            deleted: Vec::new(),
            gaps: Vec::new(),
            tree: Tree::new(message.text(), set.constants()),
            notes: Vec::new(),
            told: Vec::new(),
            names,
            placed,
            chains: placer.chains,
            by_name,
            linked: HashSet::default(),
            bound: Vec::new(),
            past: Vec::new(),
            past_of: (0, 0),
            used: vec![Cell::new(0); message.text().len() / 64 + 1],
            links: Vec::new(),
            left_out: 0,
            runs: 0,
            fresh: 0,
            answers: Answers::of(&plan.tests),
            parts: Vec::with_capacity(32),
        }
    }

    /// The segments of that name, in order.
    pub fn named(&self, name: SegmentName) -> &[(SegmentName, u32)] {
        let start = self.by_name.partition_point(|(n, _)| *n < name);
        let length = self.by_name[start..].partition_point(|(n, _)| *n == name);
        &self.by_name[start..start + length]
    }

    /// The groups around a segment.
    pub fn chain(&self, segment: usize) -> &Chain {
        let range = self.placed[segment].as_ref().map_or(0..0, |p| p.chain.start as usize..p.chain.end as usize);
        &self.chains[range]
    }

    /// Maps segment number `index`.
    pub fn segment(&mut self, index: usize) {
        let place = self.segment_mark(index);
        let Some(Placed { slot, began, .. }) = self.placed[index].clone() else {
            let finding = match self.names[index] {
                None => Finding::OddName,
                Some(name) if self.plan.structure.knows(name) => Finding::Twice,
                Some(_) => Finding::NoPlace,
            };
            return self.note(place, finding, None);
        };
        if let Some(group) = began {
            self.begin_group(group);
        }
        let plan = self.plan;
        let rules = &plan.rules[slot];
        if rules.is_empty() {
            self.note(place, Finding::NoMap, None);
        }
        self.answers = Answers::of(&plan.tests);
        for rule in rules {
            let here = self.here(index);
            let look = Look { run: self, segment: index, here: None, value: None };
            let holds = rule.when.as_ref().is_none_or(|when| look.holds(when));
            if let Some(when) = &rule.when {
                self.tell_switches(when, place, rule.id);
            }
            if holds {
                self.message_rule(rule, slot, &here);
            }
        }
    }

    /// A group begins anew: what stood in it is past. An `each` still reaches what is in the same instance of the group
    /// around it and its rule.
    fn begin_group(&mut self, group: usize) {
        let structure = &self.plan.structure;
        let inside = |slot: usize| structure.is_within(structure.slots[slot].group, group);
        let remembered = &self.plan.remembered;
        let reached = |b: &Binding| {
            let mut rules = remembered.iter().filter(|(kind, label, _)| (*kind, *label) == (b.kind, b.label));
            b.remembered && rules.any(|(_, _, rule)| !(inside(b.slot) && structure.is_within(*rule, group)))
        };
        // What was looked at when the same group began before stays.
        let looked_at = if self.past_of.0 == group { self.past_of.1 } else { 0 };
        self.past.extract_if(looked_at.., |b| !reached(b)).for_each(drop);
        let ended = self.bound.extract_if(.., |b| inside(b.slot));
        self.past.extend(ended.filter(reached));
        self.past_of = (group, self.past.len());
    }

    fn here(&mut self, segment: usize) -> Here<'a> {
        self.runs += 1;
        Here { segment, field: None, value: None, nth: 0, run: self.runs, table: None, codes: None }
    }

    fn message_rule(&mut self, rule: &'a MessageRule, slot: usize, here: &Here<'a>) {
        let Some(draft) = self.draft_for(&rule.to, rule.weak, slot, here.segment) else {
            return self.note(self.segment_mark(here.segment), Finding::NothingToFill, Some(rule.id));
        };
        if let Some(with) = rule.with {
            let root = self.spot(draft);
            let spot = self.go(root, &rule.to.target, 0, here);
            if rule.to.target.hops.is_empty() {
                self.begin(draft, with, here);
            }
            let set = self.set;
            self.segment_map(&set.maps[with], spot, here);
        }
        for assignment in &rule.set {
            self.assign(assignment, rule.id, here);
        }
    }

    pub fn spot(&self, draft: usize) -> Spot {
        Spot { draft, node: self.drafts[draft].root }
    }

    /// The draft a message rule fills: a new one for a repeat of its own segment, else the bound one.
    fn draft_for(&mut self, to: &Slotted, weak: bool, slot: usize, segment: usize) -> Option<usize> {
        let at = self.bound.iter().position(|b| b.kind == to.kind && b.label == to.label);
        let inside = !to.target.hops.is_empty();
        match at.map(|at| &self.bound[at]) {
            Some(b) if inside || b.slot != slot || b.segment == segment => return Some(b.draft),
            None if inside => return None,
            _ => {}
        }
        if let Some(at) = at {
            let old = self.bound.remove(at);
            if old.remembered {
                self.past.push(old);
            }
        }
        let draft = self.new_draft(to.kind, segment);
        self.drafts[draft].weak = weak;
        let remembered = self.plan.remembered.iter().any(|(kind, label, _)| (*kind, *label) == (to.kind, to.label));
        self.bound.push(Binding { kind: to.kind, label: to.label, draft, slot, segment, remembered });
        Some(draft)
    }

    pub fn new_draft(&mut self, kind: TypeNumber, segment: usize) -> usize {
        let root = self.tree.root(kind);
        self.drafts.push(Work { kind, root, begun: None, weak: false, segment: segment as u32 });
        self.drafts.len() - 1
    }

    /// Remembers what names the draft: the first map with an identity that fills it.
    pub fn begin(&mut self, draft: usize, map: usize, here: &Here<'a>) {
        let plan = &self.set.maps[map];
        if self.drafts[draft].begun.is_none() && !plan.identity.is_empty() {
            let latest = |kind: &TypeNumber| {
                let same = |b: &&Binding| b.kind == *kind && b.draft != draft;
                self.bound.iter().rev().find(same).map_or(UNBOUND, |b| b.draft as u32)
            };
            let mut bound = [UNBOUND; MAX_NEEDS];
            bound.iter_mut().zip(&plan.needs).for_each(|(slot, kind)| *slot = latest(kind));
            let place = |at: At<'_>| (self.offset(at.text, at.level as u8), at.text.len() as u32);
            let value = here.value.map_or((Mark::new(0, 0), 0), |value| place(value.at));
            self.drafts[draft].begun = Some(Begun { map: map as u32, bound, value });
        }
    }

    /// Carries out one `set` of a message rule, if both sides are there.
    fn assign(&mut self, assignment: &'a Assignment, rule: RuleId, here: &Here<'a>) {
        let Assignment { each, left, given } = assignment;
        let earlier = if *each { self.past.len() } else { 0 };
        for at in 0..earlier {
            let Binding { kind, label, draft, .. } = self.past[at];
            if kind == left.kind && label == left.label {
                self.assign_one(draft, &left.target, given, rule, here);
            }
        }
        if let Some(draft) = self.bound_draft(left.kind, left.label) {
            self.assign_one(draft, &left.target, given, rule, here);
        }
    }

    fn assign_one(&mut self, draft: usize, target: &Target, given: &Given, rule: RuleId, here: &Here<'a>) {
        let reason = Reason { rule: rule.0, source: self.segment_mark(here.segment) };
        match *given {
            Given::Constant(constant) => {
                let spot = self.go(self.spot(draft), target, 0, here);
                self.tree.set_constant(spot.node, constant, reason);
            }
            Given::Resource { kind, label } => {
                let Some(other) = self.bound_draft(kind, label) else { return };
                let Some(Hop::Element { name, .. }) = target.hops.last() else { return };
                if target.repeats && !self.linked.insert((draft as u32, *name, other as u32)) {
                    return;
                }
                let spot = self.go_fresh(self.spot(draft), target, here);
                self.link(spot, other, reason);
            }
        }
    }

    /// The latest resource of a type that the message map made.
    pub fn latest(&self, kind: TypeNumber) -> Option<usize> {
        self.bound.iter().rev().find(|b| b.kind == kind).map(|b| b.draft)
    }

    fn bound_draft(&self, kind: TypeNumber, label: u16) -> Option<usize> {
        self.bound.iter().find(|b| b.kind == kind && b.label == label).map(|b| b.draft)
    }

    /// The offset of a piece of the message.
    pub fn offset(&self, text: &str, level: u8) -> Mark {
        Mark::new(offset_in(self.message.text(), text).unwrap_or(0), level)
    }

    pub fn segment_mark(&self, segment: usize) -> Mark {
        self.message.segment(segment).map_or(Mark::new(0, 0), |s| self.offset(s.name(), 0))
    }

    /// The segment that made a draft.
    pub fn draft_mark(&self, draft: usize) -> Mark {
        self.segment_mark(self.drafts[draft].segment as usize)
    }

    /// Remembers that a leaf was read.
    pub fn mark(&self, leaf: &str) {
        if let Some(offset) = offset_in(self.message.text(), leaf)
            && let Some(word) = self.used.get(offset as usize / 64)
        {
            word.set(word.get() | 1 << (offset % 64));
        }
    }

    /// Remembers that every leaf of a value was read.
    pub fn mark_all(&self, text: &str) {
        let signs = [Some(self.separators.component), self.separators.subcomponent];
        let is_sign = |b: u8| signs.contains(&Some(b));
        let starts = text.bytes().enumerate().filter(|(_, b)| is_sign(*b)).map(|(at, _)| at + 1);
        std::iter::once(0).chain(starts).filter_map(|at| text.get(at..)).for_each(|rest| self.mark(rest));
    }

    /// Whether the leaf that begins at an offset was read.
    pub fn is_used(&self, offset: usize) -> bool {
        self.used.get(offset / 64).is_some_and(|word| word.get() & (1 << (offset % 64)) != 0)
    }

    pub fn note(&mut self, place: Mark, finding: Finding<'a>, rule: Option<RuleId>) {
        self.notes.push(Note { place, finding, rule });
    }

    /// Tells which switches decided a condition, each once a message.
    pub fn tell_switches(&mut self, when: &'a When, place: Mark, rule: RuleId) {
        for name in &when.switches {
            if !self.told.contains(&name.as_str()) {
                self.told.push(name);
                let switch = self.set.switch_row(name);
                switch.into_iter().for_each(|switch| self.note(place, Finding::Switch(switch), Some(rule)));
            }
        }
    }

    /// What a look from a rule's place sees.
    pub fn look(&self, here: &Here<'a>) -> Look<'_, 'a> {
        Look { run: self, segment: here.segment, here: here.field, value: here.value }
    }
}

fn without_idle_escape(message: &Message<'_>) -> Separators {
    let separators = message.separators();
    // Once it stands in MSH-2, and an escape has it at both ends.
    let is_idle = |sign: &u8| memchr::memchr_iter(*sign, message.text().as_bytes()).nth(1).is_none();
    Separators { escape: separators.escape.filter(|sign| !is_idle(sign)), ..separators }
}
