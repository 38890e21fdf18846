//! Walks a message map in the order of its structure and writes a segment for each item that a row yields. A group's item
//! is what the rows in it stand at: the report of this order, the result of this report.

use super::ToV2Error;
use super::look::{Bound, Frame, Look};
use super::plan::{MessagePlan, Place, Row};
use super::report::{self, Met, Report};
use super::resources::{Item, Resources};
use super::set::Set;
use super::write::Segment;
use crate::parse::MAX_SEGMENTS;
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// One message in the making.
#[derive(Debug)]
pub(crate) struct Run<'r, 'v> {
    pub set: &'r Set,
    pub look: Look<'r, 'v>,
    pub met: Vec<Met>,
    segments: Vec<Segment>,
    /// What rows have made segments of.
    written: HashSet<*const Value>,
    /// The groups around the present place, outermost first.
    groups: Vec<Group<'r>>,
}

/// How many segments of each name an instance of a group has.
#[derive(Debug)]
struct Group<'p> {
    repeats: bool,
    /// Its first segment or group.
    first: &'p str,
    count: HashMap<&'p str, usize>,
}

impl<'r, 'v> Run<'r, 'v> {
    pub fn new(set: &'r Set, resources: &'r Resources<'v>) -> Self {
        let look = Look::new(resources);
        Self { set, look, met: Vec::new(), segments: Vec::new(), written: HashSet::new(), groups: Vec::new() }
    }

    /// The segments of a message, and what of the resources is not in them.
    pub fn message(mut self, plan: &'r MessagePlan) -> Result<(Vec<Segment>, Report), ToV2Error> {
        let nothing = Item::resource(&Value::Null);
        self.group(&plan.parts, false, &Frame { here: nothing, own: nothing, bound: None })?;
        let report = report::report(&self.look, self.met, &self.set.left_alone);
        Ok((self.segments, report))
    }

    fn group<'i>(&mut self, parts: &'r [Place], repeats: bool, frame: &Frame<'_, 'i>) -> Result<(), ToV2Error>
    where
        'v: 'i,
    {
        let first = parts.first().map_or("", |part| part.name.as_str());
        self.groups.push(Group { repeats, first, count: HashMap::new() });
        for part in parts {
            self.place(part, frame)?;
        }
        self.groups.pop();
        Ok(())
    }

    fn place<'i>(&mut self, place: &'r Place, frame: &Frame<'_, 'i>) -> Result<(), ToV2Error>
    where
        'v: 'i,
    {
        if let (Some(parts), true) = (&place.parts, place.rows.is_empty()) {
            return self.group(parts, place.repeats, frame);
        }
        let mut any = false;
        for row in &place.rows {
            for item in self.found(row, frame) {
                any |= self.instance(place, row, item, frame)?;
                if any && !place.repeats {
                    return Ok(());
                }
            }
        }
        match place.rows.first() {
            Some(row) if place.required && !any => {
                Err(ToV2Error::Missing { segment: place.name.clone(), resource: row.from.type_name.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn found<'i>(&self, row: &'r Row, frame: &Frame<'_, 'i>) -> Vec<Item<'i>>
    where
        'v: 'i,
    {
        let mut items = self.look.items(&row.from, frame);
        items.retain(|item| !(row.rest && self.written.contains(&item.place())));
        items
    }

    /// Writes what a row makes of an item; not at all where the row's condition does not hold for it.
    fn instance<'i>(
        &mut self,
        place: &'r Place,
        row: &'r Row,
        item: Item<'i>,
        frame: &Frame<'_, 'i>,
    ) -> Result<bool, ToV2Error>
    where
        'v: 'i,
    {
        let bound = Bound { type_name: row.from.type_name, item, without: &row.without, outer: frame.bound };
        let inner = Frame { here: item, own: item, bound: Some(&bound) };
        if row.when.as_ref().is_some_and(|when| !self.look.holds(when, &inner)) {
            return Ok(false);
        }
        let written = match (&place.parts, row.with) {
            (Some(parts), _) => {
                self.group(parts, place.repeats, &inner)?;
                true
            }
            (None, Some(map)) => self.segment(place, map, &inner)?,
            (None, None) => false,
        };
        if written {
            self.written.insert(item.place());
        }
        Ok(written)
    }

    /// Whether the map had anything to write.
    fn segment<'i>(&mut self, place: &'r Place, map: usize, frame: &Frame<'_, 'i>) -> Result<bool, ToV2Error>
    where
        'v: 'i,
    {
        if self.segments.len() == MAX_SEGMENTS {
            return Err(ToV2Error::TooLarge);
        }
        let mut segment = Segment { name: place.name.clone(), ..Segment::default() };
        let nth = self.count(place, 0);
        self.fill(map, frame, nth + 1, &mut segment);
        let written = !segment.fields.is_empty();
        if written {
            self.count(place, 1);
            self.segments.push(segment);
        }
        Ok(written)
    }

    /// Set ids count where a segment repeats: in its own group, or outside the groups that repeat it. A component's OBX goes
    /// on with the numbers of its observation's, whose group begins with OBX too.
    fn count(&mut self, place: &'r Place, more: usize) -> usize {
        let mut at = self.groups.len().saturating_sub(1);
        if !place.repeats {
            at = self.groups.iter().rposition(|group| group.repeats).unwrap_or(0);
            let leads = |group: &Group<'_>| group.repeats && group.first == place.name;
            while at > 0 && self.groups.get(at - 1).is_some_and(leads) {
                at -= 1;
            }
            at = at.saturating_sub(1);
        }
        let Some(group) = self.groups.get_mut(at) else { return 0 };
        let count = group.count.entry(&place.name).or_default();
        *count += more;
        *count
    }
}
