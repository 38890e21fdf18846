//! Reads paths and conditions from where a rule stands, and remembers what was read: the rest is told in the report.

use super::condition::Condition;
use super::path::{Head, Path, Step};
use super::resources::{Item, Resources, type_of};
use serde_json::Value;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// What the message stands at, and what the groups around it stand at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'f, 'i> {
    pub type_name: &'static str,
    pub item: Item<'i>,
    /// Types of which there is nothing here: a result of no patient has no patient, though the resources hold some.
    pub without: &'f [&'static str],
    pub outer: Option<&'f Bound<'f, 'i>>,
}

/// Where a rule stands: the item at hand, what its map was given, what the message stands at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'f, 'i> {
    pub here: Item<'i>,
    pub own: Item<'i>,
    pub bound: Option<&'f Bound<'f, 'i>>,
}

impl<'f, 'i> Frame<'f, 'i> {
    /// The same place, with another item at hand.
    pub fn at(self, here: Item<'i>) -> Self {
        Self { here, ..self }
    }

    /// The start of a map that is given an item.
    pub fn of(self, own: Item<'i>) -> Self {
        Self { here: own, own, ..self }
    }

    /// The item of that type that the message stands at, or none of it; nothing where no group is about such items.
    fn standing_at(&self, type_name: &str) -> Option<Option<Item<'i>>> {
        std::iter::successors(self.bound, |b| b.outer).find_map(|b| {
            let here = (b.type_name == type_name).then_some(Some(b.item));
            here.or_else(|| b.without.contains(&type_name).then_some(None))
        })
    }
}

/// The plain text of a primitive, as FHIR writes it.
pub(crate) fn plain(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(b) => Some(Cow::Borrowed(if *b { "true" } else { "false" })),
        _ => None,
    }
}

/// Reads the resources.
#[derive(Debug)]
pub(crate) struct Look<'r, 'v> {
    pub resources: &'r Resources<'v>,
    used: RefCell<HashSet<*const Value>>,
    /// Copies that a rule reads for the while, and what they are copies of.
    copies: RefCell<HashMap<*const Value, *const Value>>,
}

impl<'r, 'v> Look<'r, 'v> {
    pub fn new(resources: &'r Resources<'v>) -> Self {
        Self { resources, used: RefCell::default(), copies: RefCell::default() }
    }

    /// From now on each of the first stands for the second: it is that which is used.
    pub fn alias(&self, copies: &[(&Value, &Value)]) {
        let places = copies.iter().map(|(copy, original)| (std::ptr::from_ref(*copy), std::ptr::from_ref(*original)));
        *self.copies.borrow_mut() = places.collect();
    }

    /// The place of an item in the resources.
    pub fn original(&self, item: Item<'_>) -> *const Value {
        self.copies.borrow().get(&item.place()).copied().unwrap_or_else(|| item.place())
    }

    /// Remembers a primitive as used.
    pub fn mark(&self, item: Item<'_>) {
        let place = self.original(item);
        self.used.borrow_mut().insert(place);
    }

    /// Remembers all primitives in a structure as used.
    pub fn mark_all(&self, item: Item<'_>) {
        match item.value {
            Value::Object(fields) => fields.values().for_each(|value| self.mark_all(Item { value, ..item })),
            Value::Array(list) => list.iter().for_each(|value| self.mark_all(Item { value, ..item })),
            _ => self.mark(item),
        }
    }

    pub fn is_used(&self, item: Item<'_>) -> bool {
        self.used.borrow().contains(&item.place())
    }

    /// Everything that a path yields, in order.
    pub fn items<'i>(&self, path: &Path, frame: &Frame<'_, 'i>) -> Vec<Item<'i>>
    where
        'v: 'i,
    {
        let start = match path.head {
            Head::Here => vec![frame.here],
            Head::Own => vec![frame.own],
            Head::Resource(name) => match frame.standing_at(name) {
                Some(item) => item.into_iter().collect(),
                None => self.resources.of_type(name).to_vec(),
            },
        };
        path.steps.iter().fold(start, |items, step| self.step(step, items, frame))
    }

    fn step<'i>(&self, step: &Step, items: Vec<Item<'i>>, frame: &Frame<'_, 'i>) -> Vec<Item<'i>>
    where
        'v: 'i,
    {
        match step {
            Step::Element(name) => items.into_iter().flat_map(|item| item.children(name)).collect(),
            Step::Through(type_name) => items.into_iter().filter_map(|item| self.follow(item, type_name)).collect(),
            Step::Nth(n) => items.into_iter().nth(n.saturating_sub(1)).into_iter().collect(),
            Step::Where(condition) => items.into_iter().filter(|item| self.passes(condition, *item, frame)).collect(),
        }
    }

    /// Whether a filter lets an item through. A resource goes by its type in its own filter.
    fn passes<'i>(&self, condition: &Condition, item: Item<'i>, frame: &Frame<'_, 'i>) -> bool
    where
        'v: 'i,
    {
        let resources = self.resources.of_type(type_of(item.value).unwrap_or(""));
        let known = resources.first().and_then(|first| super::path::type_named(type_of(first.value)?));
        match known {
            Some(type_name) => {
                let bound = Bound { type_name, item, without: &[], outer: frame.bound };
                self.holds(condition, &Frame { bound: Some(&bound), ..frame.at(item) })
            }
            None => self.holds(condition, &frame.at(item)),
        }
    }

    fn follow<'i>(&self, reference: Item<'i>, type_name: &str) -> Option<Item<'i>>
    where
        'v: 'i,
    {
        let found = self.resources.resolve(reference)?;
        let found = match type_of(found.value)? {
            // A role stands for its practitioner.
            "PractitionerRole" if type_name == "Practitioner" => {
                found.children("practitioner").find_map(|inner| self.resources.resolve(inner))?
            }
            _ => found,
        };
        reference.children("reference").for_each(|leaf| self.mark(leaf));
        (type_of(found.value) == Some(type_name)).then_some(found)
    }

    /// The texts that a path yields, as FHIR has them.
    pub fn texts<'i>(&self, path: &Path, frame: &Frame<'_, 'i>) -> Vec<Cow<'i, str>>
    where
        'v: 'i,
    {
        self.items(path, frame).into_iter().filter_map(|item| plain(item.value)).collect()
    }

    /// Whether a condition holds. What made it hold counts as read.
    pub fn holds<'i>(&self, condition: &Condition, frame: &Frame<'_, 'i>) -> bool
    where
        'v: 'i,
    {
        match condition {
            Condition::Valued(path) => !self.items(path, frame).is_empty(),
            Condition::In(path, list) => self.some(path, frame, |text| list.iter().any(|l| l == text)),
            Condition::Same(left, right) => {
                let right = self.texts(right, frame);
                self.some(left, frame, |text| right.iter().any(|r| r == text))
            }
            Condition::Begins(path, start) => self.some(path, frame, |text| text.starts_with(start)),
            Condition::Contains(path, part) => self.some(path, frame, |text| text.contains(part)),
            Condition::Before(path, limit) => self.some(path, frame, |text| text < limit.as_str()),
            Condition::Length(path, order, n) => self.some(path, frame, |text| text.chars().count().cmp(n) == *order),
            Condition::Count(path, order, n) => self.items(path, frame).len().cmp(n) == *order,
            Condition::Refers(path, type_name) => self.refers(path, type_name, frame),
            Condition::Not(inner) => !self.holds(inner, frame),
            Condition::All(list) => list.iter().all(|c| self.holds(c, frame)),
            Condition::Any(list) => list.iter().any(|c| self.holds(c, frame)),
        }
    }

    fn some<'i>(&self, path: &Path, frame: &Frame<'_, 'i>, test: impl Fn(&str) -> bool) -> bool
    where
        'v: 'i,
    {
        let mut found = self.items(path, frame);
        found.retain(|item| plain(item.value).is_some_and(|text| test(&text)));
        found.iter().for_each(|item| self.mark(*item));
        !found.is_empty()
    }

    fn refers<'i>(&self, path: &Path, type_name: &str, frame: &Frame<'_, 'i>) -> bool
    where
        'v: 'i,
    {
        let standing = frame.standing_at(type_name);
        let meant = |found: Item<'_>| match standing {
            Some(standing) => standing.is_some_and(|item| item.place() == found.place()),
            None => type_of(found.value) == Some(type_name),
        };
        let mut found = self.items(path, frame);
        found.retain(|item| self.resources.resolve(*item).is_some_and(meant));
        found.iter().for_each(|item| item.children("reference").for_each(|leaf| self.mark(leaf)));
        !found.is_empty()
    }
}
