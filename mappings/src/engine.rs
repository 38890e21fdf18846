//! Runs a message through its maps. One pass over the segments, in order: each is placed in the structure,
//! its rules fill the resources, and what was read is remembered so that the rest can be told.

use crate::charset::Charset;
use crate::convert::{self, ConvertError};
use crate::identity::Identity;
use crate::look::{At, Level, Look};
use crate::maps::MapSet;
use crate::parse::Message;
use crate::path::{Label, Place, Source};
use crate::plan::{Action, Given, Hop, MessagePlan, MessageRule, Plan, Rule, Slotted, Target};
use crate::report::{self, Finding, Note, Report};
use crate::structure::{Placed, Placer, Slot};
use crate::time::{self, TimeError};
use crate::tree::{Address, Key, Node, Scalar};
use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// What the caller knows about a message beside its text.
#[derive(Debug, Clone)]
pub struct Context<'c> {
    pub charset: Charset,
    /// The feed's zone for times sent without one.
    pub zone: Option<&'c TimeZone>,
    /// The present instant, as FHIR writes it.
    pub now: &'c str,
}

/// Why a message cannot be mapped at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum MapError {
    #[error("MSH-9 does not name a message type and trigger event")]
    NoType,
    #[error("there is no map for messages of type {0}")]
    NoMap(String),
    #[error("the message has no {0} segment")]
    Missing(String),
    #[error("the message yields no resource")]
    Nothing,
}

/// A resource that came out of a message, before it has an id or a version.
#[derive(Debug, Clone)]
pub struct Draft {
    pub type_name: &'static str,
    /// References to other drafts read `urn:uuid:` as [`draft_urn`] makes it.
    pub resource: Map<String, Value>,
    pub identity: Option<Identity>,
    /// Elements that the sender deleted explicitly (`""`).
    pub deleted: Vec<&'static str>,
    /// The message speaks of it second-hand: it fills gaps and changes nothing.
    pub weak: bool,
    /// FHIRPath of each leaf, the rule that set it, and the source place.
    pub origins: Vec<Origin>,
}

/// Where one element came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub path: String,
    pub rule: String,
    pub place: Place,
}

/// A mapped message.
#[derive(Debug, Clone)]
pub struct Mapped {
    pub map: String,
    pub drafts: Vec<Draft>,
    pub report: Report,
}

/// The `fullUrl` of draft number n in its Bundle.
pub fn draft_urn(n: usize) -> String {
    format!("urn:uuid:00000000-0000-4000-8000-{n:012x}")
}

/// Maps one message.
pub fn map(set: &MapSet, message: &Message<'_>, context: &Context<'_>) -> Result<Mapped, MapError> {
    let plan = set.message_plan(message)?;
    if let Some(missing) = plan.structure.slots.iter().find(|slot| is_missed(slot, message)) {
        return Err(MapError::Missing(missing.segment.clone()));
    }
    let mut run = Run::new(set, plan, message, context);
    for index in 0..message.len() {
        run.segment(index);
    }
    run.finish()
}

/// Senders leave EVN and PV1 out although the standard requires them; nothing hangs on those.
fn is_missed(slot: &Slot, message: &Message<'_>) -> bool {
    slot.required && !matches!(slot.segment.as_str(), "EVN" | "PV1") && message.first(&slot.segment).is_none()
}

/// A draft under construction.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub type_name: &'static str,
    pub root: Node,
    pub origin: Option<Begun<'a>>,
    pub deleted: Vec<&'static str>,
    pub weak: bool,
}

/// What a draft's identity is made from: the map that may name it and where it began.
#[derive(Debug)]
pub(crate) struct Begun<'a> {
    pub map: usize,
    pub segment: usize,
    pub value: Option<At<'a>>,
    pub bound: Vec<(&'static str, usize)>,
}

/// A position in a draft.
#[derive(Debug, Clone)]
struct Cursor {
    draft: usize,
    address: Vec<Address>,
}

#[derive(Debug)]
struct Binding {
    type_name: &'static str,
    label: u16,
    draft: usize,
    slot: usize,
    segment: usize,
}

#[derive(Debug)]
struct Reason<'r> {
    rule: &'r str,
    place: Place,
}

#[derive(Debug)]
pub(crate) struct Run<'r, 'a> {
    pub set: &'r MapSet,
    pub message: &'r Message<'a>,
    pub sender: String,
    pub drafts: Vec<Work<'a>>,
    pub plan: &'r MessagePlan,
    pub context: &'r Context<'r>,
    pub placed: Vec<Option<Placed>>,
    occurrences: Vec<usize>,
    pub by_name: HashMap<&'a str, Vec<usize>>,
    /// References that a `set` has made already: draft, element, draft.
    linked: HashSet<(usize, &'static str, usize)>,
    bound: Vec<Binding>,
    reasons: Vec<Reason<'r>>,
    used: RefCell<HashSet<Place>>,
    notes: Vec<Note>,
    runs: u32,
    fresh: u32,
}

/// A source value of a rule: the field and repetition where it is the segment's own, and the value.
type Found<'a> = (Option<(u16, u16)>, Option<At<'a>>);

/// Where a rule stands while it runs.
#[derive(Clone, Copy)]
struct Here<'a> {
    segment: usize,
    field: Option<(u16, u16)>,
    value: Option<At<'a>>,
    /// The number of the repetition among the valued ones, from 0.
    nth: u16,
    run: u32,
    /// The table and the required codes of the rule whose datatype map runs, for what it sets as `$this`.
    table: Option<usize>,
    codes: Option<&'static [&'static str]>,
}

impl<'r, 'a> Run<'r, 'a> {
    fn new(set: &'r MapSet, plan: &'r MessagePlan, message: &'r Message<'a>, context: &'r Context<'r>) -> Self {
        let mut placer = Placer::new(&plan.structure);
        let placed = message.segments().map(|s| placer.place(s.name())).collect();
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        message.segments().for_each(|s| by_name.entry(s.name()).or_default().push(s.index()));
        Self {
            set,
            message,
            sender: format!("{}|{}", message.header(3), message.header(4)),
            drafts: Vec::new(),
            plan,
            context,
            placed,
            occurrences: report::occurrences(message),
            by_name,
            linked: HashSet::new(),
            bound: Vec::new(),
            reasons: Vec::new(),
            used: RefCell::default(),
            notes: Vec::new(),
            runs: 0,
            fresh: 0,
        }
    }

    fn segment(&mut self, index: usize) {
        let place = Place { segment: index as u32, ..Place::default() };
        let Some(placed) = self.placed[index].clone() else {
            let odd = self.message.segment(index).is_some_and(|s| s.name().len() != 3);
            self.note(place, if odd { Finding::OddName } else { Finding::NoPlace }, None);
            return;
        };
        if let Some(group) = placed.began {
            let structure = &self.plan.structure;
            self.bound.retain(|b| !structure.is_within(structure.slots[b.slot].group, group));
        }
        let plan = self.plan;
        let rules = &plan.rules[placed.slot];
        if rules.is_empty() {
            self.note(place, Finding::NoMap, None);
        }
        for rule in rules {
            let here = self.here(index);
            let look = Look { run: self, segment: index, here: None, value: None };
            if rule.when.as_ref().is_none_or(|when| when.holds(&look)) {
                self.message_rule(rule, placed.slot, here);
            }
        }
    }

    fn here(&mut self, segment: usize) -> Here<'a> {
        self.runs += 1;
        Here { segment, field: None, value: None, nth: 0, run: self.runs, table: None, codes: None }
    }

    fn message_rule(&mut self, rule: &'r MessageRule, slot: usize, here: Here<'a>) {
        let Some(draft) = self.draft_for(&rule.to, rule.weak, slot, here.segment) else {
            let place = Place { segment: here.segment as u32, ..Place::default() };
            return self.note(place, Finding::NothingToFill, Some(&rule.id));
        };
        let root = Cursor { draft, address: Vec::new() };
        let cursor = self.go(&root, &rule.to.target, 0, here);
        if rule.to.target.hops.is_empty() {
            self.begin(draft, rule.with, here);
        }
        let plan = &self.set.maps[rule.with];
        self.segment_map(plan, &cursor, here);
        for (left, given) in &rule.set {
            self.assign(left, given, &rule.id, here);
        }
    }

    /// The draft a message rule fills: a new one for a repeat of its own segment, else the bound one.
    fn draft_for(&mut self, to: &Slotted, weak: bool, slot: usize, segment: usize) -> Option<usize> {
        let at = self.bound.iter().position(|b| b.type_name == to.type_name && b.label == to.label);
        let inside = !to.target.hops.is_empty();
        match at.map(|at| &self.bound[at]) {
            Some(b) if inside || b.slot != slot || b.segment == segment => return Some(b.draft),
            None if inside => return None,
            _ => {}
        }
        if let Some(at) = at {
            self.bound.remove(at);
        }
        let draft = self.new_draft(to.type_name);
        self.drafts[draft].weak = weak;
        self.bound.push(Binding { type_name: to.type_name, label: to.label, draft, slot, segment });
        Some(draft)
    }

    fn new_draft(&mut self, type_name: &'static str) -> usize {
        self.drafts.push(Work { type_name, root: Node::default(), origin: None, deleted: Vec::new(), weak: false });
        self.drafts.len() - 1
    }

    /// Remembers what names the draft: the first map with an identity that fills it.
    fn begin(&mut self, draft: usize, map: usize, here: Here<'a>) {
        if self.drafts[draft].origin.is_none() && !self.set.maps[map].identity.is_empty() {
            let bound = self.bound.iter().filter(|b| b.draft != draft).map(|b| (b.type_name, b.draft)).collect();
            self.drafts[draft].origin = Some(Begun { map, segment: here.segment, value: here.value, bound });
        }
    }

    fn segment_map(&mut self, plan: &'r Plan, cursor: &Cursor, here: Here<'a>) {
        for rule in &plan.rules {
            for (nth, (field, value)) in self.values(rule, here).into_iter().enumerate() {
                self.rule(rule, cursor, Here { field, value, nth: nth as u16, ..here });
            }
        }
    }

    /// The source values of a segment rule, one for each valued repetition.
    fn values(&self, rule: &Rule, here: Here<'a>) -> Vec<Found<'a>> {
        let Source::Field { segment, field, .. } = &rule.source else {
            return vec![(None, None)];
        };
        let look = Look { run: self, segment: here.segment, here: None, value: None };
        let Some(found) = look.segment(segment) else { return Vec::new() };
        let Some(segment) = self.message.segment(found) else { return Vec::new() };
        let own = found == here.segment;
        segment
            .repetitions(*field as usize)
            .enumerate()
            .filter(|(_, text)| !text.trim().is_empty())
            .take(if own { usize::MAX } else { 1 })
            .map(|(n, text)| {
                let place = Place { segment: found as u32, field: *field, repetition: n as u16, ..Place::default() };
                let at = At { text, place, level: Level::Repetition };
                (own.then_some((*field, n as u16)), Some(at))
            })
            .collect()
    }

    fn rule(&mut self, rule: &'r Rule, cursor: &Cursor, here: Here<'a>) {
        let look = Look { run: self, segment: here.segment, here: here.field, value: here.value };
        let value = look.narrow(&rule.source);
        if let Some(when) = &rule.when {
            if !when.holds(&look) {
                return;
            }
            when.sources().into_iter().filter_map(|path| look.narrow(path)).for_each(|at| self.mark(at));
        }
        if let Some(at) = value
            && at.text.trim() == "\"\""
        {
            return self.delete(rule, cursor, at);
        }
        if value.is_some_and(|at| at.text.trim().is_empty()) {
            return;
        }
        let repetition = here.nth;
        if repetition > 0 && !can_repeat(&rule.target) {
            if !matches!(rule.action, Action::Constant(_))
                && let Some(at) = value
            {
                self.mark(at);
                self.note(at.place, Finding::Repeats, Some(&rule.id));
            }
            return;
        }
        self.act(rule, cursor, value, repetition, here);
    }

    fn delete(&mut self, rule: &Rule, cursor: &Cursor, at: At<'a>) {
        self.mark(at);
        match rule.target.hops.first() {
            Some(Hop::Element { name, repeats: false, .. }) if cursor.address.is_empty() => {
                self.drafts[cursor.draft].deleted.push(name);
            }
            // A repeating element holds what other fields and senders gave: it is not theirs to wipe out.
            _ => self.note(at.place, Finding::NotDeleted, Some(&rule.id)),
        }
    }

    fn act(&mut self, rule: &'r Rule, cursor: &Cursor, value: Option<At<'a>>, repetition: u16, here: Here<'a>) {
        let look = Look { run: self, segment: here.segment, here: here.field, value: here.value };
        let text = match &rule.action {
            Action::With(map) => return self.with(rule, *map, cursor, value, repetition, here),
            Action::Convert => value.map_or(String::new(), |at| look.simple(at)),
            Action::Constant(text) => {
                value.into_iter().for_each(|at| self.mark(at));
                text.clone()
            }
            Action::Concat(pieces) => pieces.iter().map(|p| look.piece(p)).collect(),
            Action::First(pieces) => pieces.iter().map(|p| look.piece(p)).find(|t| !t.is_empty()).unwrap_or_default(),
            Action::Now => self.context.now.to_owned(),
        };
        if text.is_empty() {
            return;
        }
        let place = value.map_or(Place { segment: here.segment as u32, ..Place::default() }, |at| at.place);
        let table = rule.table.or(here.table.filter(|_| rule.target.hops.is_empty()));
        let Some(text) = self.translate(text, table, rule, place) else { return };
        let codes = rule.target.codes.or(here.codes.filter(|_| rule.target.hops.is_empty()));
        let converted = match rule.action {
            // Already FHIR, unlike what a sender writes.
            Action::Now => Ok(Scalar::Text(text.clone())),
            _ => self.convert(&text, &rule.target, codes),
        };
        match converted {
            Ok(scalar) => {
                let at = self.go(cursor, &rule.target, repetition, here);
                self.set(&at, scalar, &rule.id, place);
            }
            Err(error) => self.note(place, Finding::Value(error), Some(&rule.id)),
        }
        let sent = matches!(rule.action, Action::Convert | Action::First(_));
        if sent && self.context.zone.is_none() && rule.target.type_name == "dateTime" && time::lost_clock(&text) {
            self.note(place, Finding::Value(ConvertError::Time(TimeError::NoZone)), Some(&rule.id));
        }
    }

    fn convert(&self, text: &str, target: &Target, codes: Option<&[&str]>) -> Result<Scalar, ConvertError> {
        convert::primitive(text, target.type_name, codes, self.context.zone)
    }

    /// Looks a code up. Without a row a uri keeps nothing and a code keeps itself where it may.
    fn translate(&mut self, text: String, table: Option<usize>, rule: &'r Rule, place: Place) -> Option<String> {
        let Some(table) = table else { return Some(text) };
        let table = &self.set.tables[table];
        if let Some(row) = table.row(&text) {
            return Some(row);
        }
        self.note(place, Finding::NoRow(table.name.clone()), Some(&rule.id));
        (rule.target.type_name != "uri" && rule.target.codes.is_none()).then_some(text)
    }

    fn with(
        &mut self,
        rule: &'r Rule,
        map: usize,
        cursor: &Cursor,
        value: Option<At<'a>>,
        repetition: u16,
        here: Here<'a>,
    ) {
        let Some(value) = value else { return };
        let target = self.go(cursor, &rule.target, repetition, here);
        let codes = rule.target.codes.or(here.codes);
        let inner = Here { value: Some(value), field: None, nth: 0, table: rule.table.or(here.table), codes, ..here };
        let plan = &self.set.maps[map];
        if target.address.is_empty() && target.draft != cursor.draft {
            self.begin(target.draft, map, inner);
        }
        for rule in &plan.rules {
            self.rule(rule, &target, inner);
        }
        if let Some(table) = rule.table {
            self.recode(table, &rule.target, &target, &rule.id, value, here.run);
        }
    }

    /// A table on a Coding or CodeableConcept: the translated coding comes first, the sender's own
    /// stays behind it.
    fn recode(&mut self, table: usize, target: &Target, cursor: &Cursor, rule: &'r str, value: At<'a>, run: u32) {
        let look = Look { run: self, segment: value.place.segment as usize, here: None, value: Some(value) };
        let code = look.raw_text(&Source::Part { component: 1, subcomponent: 0 });
        let table = &self.set.tables[table];
        let Some(row) = table.rows.get(&code) else {
            if !code.is_empty() {
                self.note(value.place, Finding::NoRow(table.name.clone()), Some(rule));
            }
            return;
        };
        let reason = self.reason(rule, value.place);
        let mut fields = vec![(("code", false), Node::Leaf(Scalar::Text(row.to.clone()), reason))];
        for (name, text) in [("display", &row.display), ("system", &row.system)] {
            if let Some(text) = text {
                fields.push(((name, false), Node::Leaf(Scalar::Text(text.clone()), reason)));
            }
        }
        let coding = Node::Object(fields);
        let node = self.drafts[cursor.draft].root.at(&cursor.address);
        match target.type_name {
            "Coding" => *node = coding,
            "CodeableConcept" => prepend_coding(node, coding, run),
            _ => {}
        }
    }

    /// Carries out one `set` of a message rule, if both sides are there.
    fn assign(&mut self, left: &Slotted, given: &Given, rule: &'r str, here: Here<'a>) {
        let Some(draft) = self.bound_draft(left.type_name, left.label) else { return };
        let place = Place { segment: here.segment as u32, ..Place::default() };
        let mut at = self.go(&Cursor { draft, address: Vec::new() }, &left.target, 0, here);
        match given {
            Given::Text(text) => match self.convert(text, &left.target, left.target.codes) {
                Ok(scalar) => self.set(&at, scalar, rule, place),
                Err(error) => self.note(place, Finding::Value(error), Some(rule)),
            },
            Given::Resource { type_name, label } => {
                let Some(other) = self.bound_draft(type_name, *label) else { return };
                if left.target.repeats && !self.unlinked(&mut at, other) {
                    return;
                }
                self.link(&at, other, rule, place);
            }
        }
    }

    /// Moves to a fresh item of a repeating reference, unless one links there already.
    fn unlinked(&mut self, at: &mut Cursor, other: usize) -> bool {
        let Some(last) = at.address.last_mut() else { return true };
        let key = Key::new(Label::New, 0, 0, &mut self.fresh);
        last.key = Some(key);
        self.linked.insert((at.draft, last.name, other))
    }

    fn bound_draft(&self, type_name: &str, label: u16) -> Option<usize> {
        self.bound.iter().find(|b| b.type_name == type_name && b.label == label).map(|b| b.draft)
    }

    /// Follows a target's hops; resources behind references are made where they are missing.
    fn go(&mut self, from: &Cursor, target: &Target, repetition: u16, here: Here<'a>) -> Cursor {
        let mut cursor = from.clone();
        let mut repetition = Some(repetition);
        for hop in &target.hops {
            match hop {
                Hop::Element { name, label, repeats, shadow } => {
                    let key =
                        repeats.then(|| Key::new(*label, repetition.take().unwrap_or(0), here.run, &mut self.fresh));
                    cursor.address.push(Address { name, key, shadow: *shadow });
                }
                Hop::Through(type_name) => cursor = self.through(&cursor, type_name, here),
            }
        }
        cursor
    }

    fn through(&mut self, cursor: &Cursor, type_name: &'static str, here: Here<'a>) -> Cursor {
        let node = self.drafts[cursor.draft].root.find(&cursor.address);
        let linked = match node.and_then(|n| n.field("reference")) {
            Some(Node::Link(draft, _)) if self.drafts[*draft].type_name == type_name => Some(*draft),
            _ => None,
        };
        let draft = linked.unwrap_or_else(|| {
            let draft = self.new_draft(type_name);
            let place = here.value.map_or(Place { segment: here.segment as u32, ..Place::default() }, |v| v.place);
            self.link(cursor, draft, "reference", place);
            draft
        });
        Cursor { draft, address: Vec::new() }
    }

    fn link(&mut self, at: &Cursor, to: usize, rule: &'r str, place: Place) {
        let reason = self.reason(rule, place);
        let mut address = at.address.clone();
        address.push(Address { name: "reference", key: None, shadow: false });
        *self.drafts[at.draft].root.at(&address) = Node::Link(to, reason);
    }

    fn set(&mut self, at: &Cursor, scalar: Scalar, rule: &'r str, place: Place) {
        let reason = self.reason(rule, place);
        *self.drafts[at.draft].root.at(&at.address) = Node::Leaf(scalar, reason);
    }

    fn reason(&mut self, rule: &'r str, place: Place) -> u32 {
        self.reasons.push(Reason { rule, place });
        (self.reasons.len() - 1) as u32
    }

    pub fn mark(&self, at: At<'_>) {
        let component = at.place.component.max(1);
        self.used.borrow_mut().insert(Place { component, subcomponent: 0, ..at.place });
    }

    fn note(&mut self, place: Place, finding: Finding, rule: Option<&str>) {
        self.notes.push(report::note(self.message, &self.occurrences, place, finding, rule));
    }

    fn finish(mut self) -> Result<Mapped, MapError> {
        let identities = self.identities();
        let alias = self.unite(&identities);
        let kept = self.kept(&alias);
        let number: Vec<usize> = kept.iter().scan(0, |n, k| Some(std::mem::replace(n, *n + usize::from(*k)))).collect();
        let reference = |draft: usize| draft_urn(number[alias[draft]]);
        let drafts: Vec<Draft> = (0..self.drafts.len())
            .filter(|d| kept[*d])
            .map(|d| self.draft(d, identities[d].clone(), &reference))
            .collect();
        if drafts.is_empty() {
            return Err(MapError::Nothing);
        }
        let mapped = |s: usize| self.placed[s].as_ref().is_some_and(|p| !self.plan.rules[p.slot].is_empty());
        let left_alone = |s: usize, field: u16| {
            let rules = self.placed[s].as_ref().map_or(&[][..], |p| &self.plan.rules[p.slot]);
            rules.iter().any(|r| self.set.maps[r.with].known.contains(&field))
        };
        let unused = report::unused(self.message, &self.occurrences, &self.used.borrow(), &mapped, &left_alone);
        self.notes.extend(unused);
        Ok(Mapped { map: self.plan.name.clone(), drafts, report: Report { notes: self.notes } })
    }

    /// Two drafts with one identity are one resource: the later one gives what the first lacks.
    fn unite(&mut self, identities: &[Option<Identity>]) -> Vec<usize> {
        let mut alias: Vec<usize> = (0..self.drafts.len()).collect();
        let mut first_of: HashMap<(&str, &Identity), usize> = HashMap::new();
        for (later, identity) in identities.iter().enumerate() {
            let Some(identity) = identity else { continue };
            let first = *first_of.entry((self.drafts[later].type_name, identity)).or_insert(later);
            if first == later {
                continue;
            }
            alias[later] = first;
            let moved = std::mem::take(&mut self.drafts[later].root);
            if let (Node::Object(into), Node::Object(from)) = (&mut self.drafts[first].root, moved) {
                let missing: Vec<_> = from.into_iter().filter(|(n, _)| !into.iter().any(|(m, _)| m == n)).collect();
                into.extend(missing);
            }
        }
        alias
    }

    /// Prunes until no draft is empty and no link leads nowhere.
    fn kept(&mut self, alias: &[usize]) -> Vec<bool> {
        let mut kept: Vec<bool> = (0..self.drafts.len()).map(|d| alias[d] == d).collect();
        loop {
            let before = kept.clone();
            for (draft, work) in self.drafts.iter_mut().enumerate() {
                kept[draft] = before[draft] && work.root.prune(&|d| before[alias[d]]);
            }
            if kept == before {
                return kept;
            }
        }
    }

    fn draft(&self, draft: usize, identity: Option<Identity>, reference: &impl Fn(usize) -> String) -> Draft {
        let work = &self.drafts[draft];
        let mut origins = Vec::new();
        let mut seen = |path: &str, reason: u32| {
            let reason = &self.reasons[reason as usize];
            origins.push(Origin { path: path.to_owned(), rule: reason.rule.to_owned(), place: reason.place });
        };
        let json = work.root.json(&mut work.type_name.to_owned(), reference, &mut seen);
        let mut resource = Map::new();
        resource.insert("resourceType".into(), Value::String(work.type_name.into()));
        if let Value::Object(fields) = json {
            resource.extend(fields);
        }
        Draft { type_name: work.type_name, resource, identity, deleted: work.deleted.clone(), weak: work.weak, origins }
    }
}

fn prepend_coding(node: &mut Node, coding: Node, run: u32) {
    let array = node.at(&[Address { name: "coding", key: None, shadow: false }]);
    if !matches!(array, Node::Array(_)) {
        *array = Node::Array(Vec::new());
    }
    if let Node::Array(items) = array {
        let text = |node: &Node, name| node.field(name).and_then(Node::text).map(str::to_owned);
        let same = |node: &Node| ["code", "system"].iter().all(|n| text(node, n) == text(&coding, n));
        items.retain(|(_, node)| !same(node));
        items.insert(0, (Key { label: u16::MAX, repetition: 0, run }, coding));
    }
}

fn can_repeat(target: &Target) -> bool {
    target.hops.is_empty() || target.hops.iter().any(|hop| matches!(hop, Hop::Element { repeats: true, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Mapped {
        let set = MapSet::embedded().unwrap();
        let context = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };
        map(&set, &Message::parse(text).unwrap(), &context).unwrap()
    }

    fn all<'m>(mapped: &'m Mapped, kind: &str) -> Vec<&'m Map<String, Value>> {
        mapped.drafts.iter().filter(|d| d.type_name == kind).map(|d| &d.resource).collect()
    }

    const HEAD: &str = "MSH|^~\\&|LAB|H|||20260303||ORU^R01^ORU_R01|1|P|2.5.1\r";

    #[test]
    fn two_patients_in_one_message_do_not_mix() {
        let mapped = run(&format!(
            "{HEAD}PID|1||1^^^H&1.2&ISO^MR||A^B\rOBR|1||F1|X^Y^L\rOBX|1|NM|C^N^L||1.0|mg|||||F\r\
             PID|2||2^^^H&1.2&ISO^MR||C^D\rOBR|1||F2|X^Y^L\rOBX|1|NM|C^N^L||2.0|mg|||||F\r"
        ));
        let subjects: Vec<&Value> = all(&mapped, "Observation").iter().map(|o| &o["subject"]["reference"]).collect();
        assert_eq!((all(&mapped, "Patient").len(), subjects.len()), (2, 2));
        assert_ne!(subjects[0], subjects[1]);
    }

    #[test]
    fn what_is_not_used_is_told_and_what_cannot_be_used_too() {
        let mapped = run(&format!(
            "{HEAD}PID|1||1^^^H&1.2&ISO^MR||A^B||19801399\rOBR|1||F1|X^Y^L\rOBX|1|NM|C^N^L||none|mg|||||F\rZZZ|1\r"
        ));
        let told: Vec<String> = mapped.report.notes.iter().map(|n| format!("{} {}", n.path(), n.finding)).collect();
        for expected in ["PID-7 not a date or time", "ZZZ the message structure has no place for this segment"] {
            assert!(told.iter().any(|t| t == expected), "{expected} in {told:#?}");
        }
        assert_eq!(all(&mapped, "Patient")[0].get("birthDate"), None);
        let result = all(&mapped, "Observation")[0];
        assert_eq!(
            (result["valueString"].as_str(), result.get("valueQuantity")),
            (Some("none mg"), None),
            "no value is lost"
        );
    }

    #[test]
    fn a_message_without_what_it_is_about_is_refused() {
        let set = MapSet::embedded().unwrap();
        let context = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };
        for (kind, rest, missing) in
            [("ADT^A01", "PV1|1|I", "PID"), ("ADT^A40", "PID|1||1^^^H", "MRG"), ("ORU^R01", "PID|1||1^^^H", "OBR")]
        {
            let text = format!("MSH|^~\\&|||||||{kind}|1|P|2.5\r{rest}\r");
            let error = map(&set, &Message::parse(&text).unwrap(), &context).unwrap_err();
            assert_eq!(error, MapError::Missing(missing.into()));
        }
    }

    #[test]
    fn a_renumbered_result_is_the_same_result() {
        let keys = |obx: &str| {
            let mapped = run(&format!("{HEAD}PID|1||1^^^H&1.2&ISO^MR||A^B\rOBR|1||F1|X^Y^L\r{obx}"));
            let results = mapped.drafts.iter().filter(|d| d.type_name == "Observation");
            results.map(|d| d.identity.clone().unwrap().key()).collect::<Vec<_>>()
        };
        let first = keys("OBX|1|NM|W^N^L||1|||||||P\rOBX|2|ST|C^N^L||a|||||||P\rOBX|3|ST|C^N^L||b|||||||P\r");
        let second = keys("OBX|1|ST|Z^N^L||new|||||||F\rOBX|2|NM|W^N^L||2|||||||F\r");
        assert_eq!(first[0], second[1]);
        assert_ne!(first[1], first[2], "two of one code are two");
    }

    #[test]
    fn identities_are_scoped_by_their_authority() {
        let identity = |cx: &str| {
            let mapped = run(&format!("{HEAD}PID|1||{cx}||A^B\rOBR|1||F1|X^Y^L\r"));
            mapped.drafts.iter().find(|d| d.type_name == "Patient").unwrap().identity.clone().unwrap().key()
        };
        assert_eq!(identity("1^^^H&1.2&ISO^MR"), identity("1^^^OTHER&1.2&ISO^MR"), "the OID is the authority");
        assert_ne!(identity("1^^^H"), identity("1^^^G"), "a name alone means something only with its sender");
        assert_ne!(identity("1^^^H"), identity("1"));
    }

    #[test]
    fn every_element_knows_its_rule_and_source() {
        let mapped = run(&format!("{HEAD}PID|1||1^^^H&1.2&ISO^MR||A^B|||F\rOBR|1||F1|X^Y^L\r"));
        let patient = mapped.drafts.iter().find(|d| d.type_name == "Patient").unwrap();
        let gender = patient.origins.iter().find(|o| o.path == "Patient.gender").unwrap();
        assert_eq!((gender.rule.as_str(), gender.place.field), ("PID[Patient]/PID-8", 8));
    }
}
