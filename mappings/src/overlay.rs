//! What a site changes in the maps without touching them: rules by their id, tables, Z-segments, assigning authorities,
//! switches, for the senders, message types and versions that it names.

use crate::map_file::{MapFile, MessageFile, MessageRow, Part, RuleRow, TableFile, TableRow};
use crate::parse::{Message, part};
use crate::plan::{PlanError, fault};
use crate::sources::Sources;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The table of assigning authorities: namespace id to `system`.
pub(crate) const AUTHORITIES: &str = "AssigningAuthority";

/// An overlay as it is written.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct OverlayFile {
    /// Its name.
    pub overlay: String,
    #[serde(default)]
    pub applies: Applies,
    /// Other overlays that it builds on, in that order.
    #[serde(default)]
    pub extends: Vec<String>,
    /// The zone of times sent without one, such as `Europe/Berlin`.
    #[serde(default)]
    pub zone: Option<String>,
    /// The character set of messages with an empty MSH-18, such as `8859/1`.
    #[serde(default)]
    pub charset: Option<String>,
    /// Where switches stand.
    #[serde(default)]
    pub switches: BTreeMap<String, String>,
    #[serde(default)]
    pub authorities: Vec<Authority>,
    /// What happens to a value that no rule takes.
    #[serde(default)]
    pub policy: Option<Policy>,
    #[serde(default)]
    pub rules: Vec<OverlayRule>,
    /// Whole maps, such as those of Z-segments.
    #[serde(default)]
    pub maps: Vec<MapFile>,
    #[serde(default)]
    pub messages: Vec<OverlayMessage>,
    #[serde(default)]
    pub tables: Vec<TableFile>,
    #[serde(default)]
    pub cases: Vec<Case>,
}

/// Which messages it is for; an empty list is no condition.
#[derive(Debug, Deserialize, Clone, Default)]
#[serde(deny_unknown_fields)]
pub struct Applies {
    /// MSH-3.1 and MSH-4.1: `LAB|*`, `*|NORTH`, `LAB|NORTH`.
    #[serde(default)]
    pub sender: Vec<String>,
    /// `ADT_A01`, `ADT_*`.
    #[serde(default)]
    pub messages: Vec<String>,
    /// MSH-12.1.
    #[serde(default)]
    pub versions: Vec<String>,
}

/// The URI of an assigning authority's identifiers.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Authority {
    /// The namespace id, such as CX.4.1.
    pub name: String,
    pub system: String,
}

/// What happens to a value that no rule takes.
#[derive(Debug, Deserialize, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The report tells.
    #[default]
    Note,
    /// The value is kept in an extension of the resource that its segment made.
    Extension,
    /// The message is refused.
    Refuse,
}

/// A rule of a map: added, put in the place of the one with its id, or switched off.
#[derive(Debug, Deserialize, Clone)]
pub struct OverlayRule {
    pub map: String,
    #[serde(flatten)]
    pub rule: RuleRow,
}

/// A message map: a whole one, or changes to one.
#[derive(Debug, Deserialize, Clone)]
#[serde(untagged)]
pub enum OverlayMessage {
    Whole(MessageFile),
    Change(MessageChange),
}

/// Segments put into a message's structure, and rules for them.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct MessageChange {
    pub map: String,
    #[serde(default)]
    pub insert: Vec<Insert>,
    #[serde(default)]
    pub rules: Vec<MessageRow>,
}

/// A segment and what it stands behind: `PID`, or a path such as `PATIENT_RESULT.PATIENT.PID`.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Insert {
    pub after: String,
    pub segment: String,
}

/// A message and what must come out: run before the overlay is taken.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    pub message: String,
    /// `Patient.gender = female`, `Patient.maritalStatus absent`.
    pub expect: Vec<String>,
}

impl Applies {
    /// Whether a message is meant.
    pub fn to(&self, message: &Message<'_>, kind: &str) -> bool {
        let first = |field: usize| part(message.header(field), Some(message.separators().component), 1).trim();
        let sender = |pattern: &String| {
            let (application, facility) = pattern.split_once('|').unwrap_or((pattern, "*"));
            fits(application, first(3)) && fits(facility, first(4))
        };
        let any = |list: &[String], test: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(test);
        any(&self.sender, &sender)
            && any(&self.messages, &|pattern| fits(pattern, kind))
            && any(&self.versions, &|version| version == first(12))
    }
}

/// `*` at the end stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => text.starts_with(start),
        None => pattern == text,
    }
}

impl OverlayRule {
    /// `PID[Patient]/PID-8`.
    pub(crate) fn id(&self) -> String {
        format!("{}/{}", self.map, self.rule.row)
    }
}

impl OverlayFile {
    /// Lays it over the maps.
    pub fn over(&self, sources: &mut Sources) -> Result<(), PlanError> {
        self.switch(sources)?;
        self.maps.iter().for_each(|map| put(&mut sources.maps, map.clone(), |m| m.map == map.map));
        self.rules.iter().try_for_each(|row| self.rule(row, sources))?;
        self.messages.iter().try_for_each(|message| self.message(message, sources))?;
        let authorities = TableFile::of(AUTHORITIES, self.authorities.iter().map(|a| (&a.name, &a.system)));
        self.tables.iter().chain([&authorities]).for_each(|table| lay_table(table, sources));
        Ok(())
    }

    fn fault(&self, problem: impl ToString) -> PlanError {
        fault(format!("overlay {}", self.overlay), problem)
    }

    fn switch(&self, sources: &mut Sources) -> Result<(), PlanError> {
        for (name, choice) in &self.switches {
            let known = sources.switches.iter_mut().find(|s| s.switch == *name);
            let known = known.ok_or_else(|| self.fault(format!("there is no switch {name}")))?;
            if !known.choices.contains(choice) {
                return Err(self.fault(format!("the switch {name} has no choice {choice}")));
            }
            known.default.clone_from(choice);
        }
        Ok(())
    }

    fn rule(&self, row: &OverlayRule, sources: &mut Sources) -> Result<(), PlanError> {
        let map = sources.maps.iter_mut().find(|m| m.map == row.map);
        let map = map.ok_or_else(|| fault(row.id(), "there is no such map"))?;
        match map.rules.iter_mut().find(|rule| rule.row == row.rule.row) {
            Some(rule) if row.rule.off => rule.off = true,
            Some(rule) => *rule = row.rule.clone(),
            None if row.rule.off => return Err(fault(row.id(), "there is no rule to switch off")),
            None => map.rules.push(row.rule.clone()),
        }
        Ok(())
    }

    fn message(&self, message: &OverlayMessage, sources: &mut Sources) -> Result<(), PlanError> {
        let change = match message {
            OverlayMessage::Whole(file) => {
                put(&mut sources.messages, file.clone(), |m| m.map == file.map);
                return Ok(());
            }
            OverlayMessage::Change(change) => change,
        };
        let file = sources.messages.iter_mut().find(|m| m.map == change.map);
        let file = file.ok_or_else(|| fault(&change.map, "there is no such message map"))?;
        for insert in &change.insert {
            let path: Vec<&str> = insert.after.split('.').collect();
            if !put_behind(&mut file.structure, &path, &insert.segment) {
                return Err(fault(&change.map, format!("it has no {}", insert.after)));
            }
        }
        for row in &change.rules {
            put(&mut file.rules, row.clone(), |r| r.row == row.row);
        }
        Ok(())
    }
}

/// Replaces the item that is meant, or adds it.
fn put<T>(items: &mut Vec<T>, item: T, same: impl Fn(&T) -> bool) {
    match items.iter_mut().find(|i| same(i)) {
        Some(old) => *old = item,
        None => items.push(item),
    }
}

fn lay_table(table: &TableFile, sources: &mut Sources) {
    match sources.tables.iter_mut().find(|t| t.table == table.table) {
        None => sources.tables.push(table.clone()),
        Some(known) => {
            for row in &table.rows {
                put(&mut known.rows, row.clone(), |r| r.from == row.from);
            }
        }
    }
}

/// Puts a segment behind the first part that the path names.
fn put_behind(parts: &mut Vec<Part>, path: &[&str], segment: &str) -> bool {
    let bare = |text: &str| text.trim_end_matches(['?', '*', '+']).to_owned();
    for at in 0..parts.len() {
        match &mut parts[at] {
            Part::Segment(name) if path == [bare(name)] => {
                parts.insert(at + 1, Part::Segment(segment.to_owned()));
                return true;
            }
            Part::Segment(_) => {}
            Part::Group(groups) => {
                for (name, inner) in groups.iter_mut() {
                    let deeper = if path.len() > 1 && path[0] == bare(name) { &path[1..] } else { path };
                    if put_behind(inner, deeper, segment) {
                        return true;
                    }
                }
            }
        }
    }
    false
}

impl TableFile {
    /// A table of codes and what they become.
    pub(crate) fn of<'t>(name: &str, rows: impl Iterator<Item = (&'t String, &'t String)>) -> Self {
        let row = |(from, to): (&String, &String)| TableRow {
            from: from.clone(),
            to: to.clone(),
            display: None,
            system: None,
            because: None,
            when: None,
        };
        Self { table: name.to_owned(), rows: rows.map(row).collect(), guide: None, because: None }
    }
}
