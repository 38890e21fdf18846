//! Compiles map files into plans: paths are resolved against R4's elements, conditions parsed, maps and
//! tables linked by number. A map that names an element, map or table that does not exist is
//! refused here, with its row id, before any message arrives.

use crate::condition::Condition;
use crate::map_file::{By, MapFile, MessageFile, MessageRow, RuleRow, TableFile, TableRow};
use crate::path::{self, Label, Source, Step};
use crate::r4::{self, Found};
use crate::structure::Structure;
use std::collections::HashMap;

/// A fault in the maps: which file or row, and what is wrong.
#[derive(Debug, thiserror::Error)]
#[error("map {place}: {problem}")]
pub struct PlanError {
    pub place: String,
    pub problem: String,
}

pub(crate) fn fault(place: impl Into<String>, problem: impl ToString) -> PlanError {
    PlanError { place: place.into(), problem: problem.to_string() }
}

/// A compiled table.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    pub rows: HashMap<String, TableRow>,
}

/// A resolved target step.
#[derive(Debug, Clone)]
pub enum Hop {
    Element { name: &'static str, label: Label, repeats: bool, shadow: bool },
    Through(&'static str),
}

/// A resolved target: where to go, and what stands there.
#[derive(Debug, Clone)]
pub struct Target {
    pub hops: Vec<Hop>,
    pub type_name: &'static str,
    /// The last element is an array.
    pub repeats: bool,
    pub codes: Option<&'static [&'static str]>,
}

/// What a rule does at its target.
#[derive(Debug)]
pub enum Action {
    /// Converts the source's text to the target's primitive type.
    Convert,
    /// Applies datatype map number n.
    With(usize),
    Constant(String),
    Concat(Vec<Piece>),
    First(Vec<Piece>),
    Now,
}

/// An argument of a function.
#[derive(Debug)]
pub enum Piece {
    Path(Source),
    Text(String),
}

/// A compiled rule of a segment or datatype map.
#[derive(Debug)]
pub struct Rule {
    /// `PID[Patient]/PID-7`.
    pub id: String,
    pub source: Source,
    pub when: Option<Condition>,
    pub target: Target,
    pub action: Action,
    pub table: Option<usize>,
    pub because: Option<String>,
}

/// How a resource is recognised.
#[derive(Debug)]
pub enum Identify {
    Identifier { prefer: Vec<String> },
    Parts(Vec<IdentityPart>),
}

#[derive(Debug)]
pub enum IdentityPart {
    /// Which of those with the same other parts it is in the message.
    Nth,
    Path(Source),
    Resource(String),
}

/// A compiled segment or datatype map.
#[derive(Debug)]
pub struct Plan {
    pub name: String,
    pub source: String,
    pub target: &'static str,
    pub identity: Vec<Identify>,
    pub rules: Vec<Rule>,
    /// Fields that the map knows and leaves alone.
    pub known: Vec<u16>,
}

/// `Patient[1]`, and perhaps an element inside it.
#[derive(Debug, Clone)]
pub struct Slotted {
    pub type_name: &'static str,
    pub label: u16,
    pub target: Target,
}

/// The right side of a `set`.
#[derive(Debug)]
pub enum Given {
    Resource { type_name: String, label: u16 },
    Text(String),
}

/// A compiled row of a message map.
#[derive(Debug)]
pub struct MessageRule {
    pub id: String,
    pub when: Option<Condition>,
    pub to: Slotted,
    pub with: usize,
    pub set: Vec<(Slotted, Given)>,
    /// The resource is spoken of second-hand.
    pub weak: bool,
}

/// A compiled message map.
#[derive(Debug)]
pub struct MessagePlan {
    pub name: String,
    pub structure: Structure,
    /// The rules of each slot of the structure.
    pub rules: Vec<Vec<MessageRule>>,
}

/// Names to numbers, while compiling.
pub(crate) struct Names<'n> {
    pub maps: &'n HashMap<String, usize>,
    pub tables: &'n HashMap<String, usize>,
}

impl Names<'_> {
    fn map(&self, place: &str, name: &str) -> Result<usize, PlanError> {
        self.maps.get(name).copied().ok_or_else(|| fault(place, format!("there is no map {name}")))
    }

    fn table(&self, place: &str, name: &str) -> Result<usize, PlanError> {
        self.tables.get(name).copied().ok_or_else(|| fault(place, format!("there is no table {name}")))
    }
}

pub(crate) fn table(file: TableFile) -> Table {
    let rows = file.rows.into_iter().map(|row| (row.from.clone(), row)).collect();
    Table { name: file.table, rows }
}

pub(crate) fn map(file: &MapFile, names: &Names<'_>) -> Result<Plan, PlanError> {
    let target = r4::model().get(&file.target).ok_or_else(|| fault(&file.map, "unknown target type"))?;
    let on = file.rules.iter().filter(|row| !row.off);
    let rules = on.map(|row| rule(row, file, names)).collect::<Result<Vec<_>, _>>()?;
    let identity = file.identity.iter().map(|row| match &row.by {
        By::Identifier(_) => Ok(Identify::Identifier { prefer: row.prefer.clone() }),
        By::Parts(parts) => {
            parts.iter().map(|p| identity_part(p, &file.map)).collect::<Result<_, _>>().map(Identify::Parts)
        }
    });
    Ok(Plan {
        name: file.map.clone(),
        source: file.source.clone(),
        target: target.name,
        identity: identity.collect::<Result<_, _>>()?,
        rules,
        known: file.unmapped.keys().filter_map(|key| field_number(key)).collect(),
    })
}

fn field_number(row: &str) -> Option<u16> {
    match Source::parse(row) {
        Ok(Source::Field { field, .. }) => Some(field),
        _ => None,
    }
}

fn identity_part(text: &str, place: &str) -> Result<IdentityPart, PlanError> {
    if text == "nth" {
        return Ok(IdentityPart::Nth);
    }
    if r4::model().is_resource(text) {
        return Ok(IdentityPart::Resource(text.to_owned()));
    }
    Source::parse(text).map(IdentityPart::Path).map_err(|e| fault(place, e))
}

fn rule(row: &RuleRow, file: &MapFile, names: &Names<'_>) -> Result<Rule, PlanError> {
    let id = format!("{}/{}", file.map, row.row);
    let source = Source::parse(row.from.as_deref().unwrap_or(&row.row)).map_err(|e| fault(&id, e))?;
    let steps = path::target(&row.to).map_err(|e| fault(&id, e))?;
    let start = r4::model().get(&file.target).map_or("", |t| t.name);
    let target = resolve(&steps, start, &id)?;
    let action = action(row, &id, names)?;
    check_fit(&action, &target, &id)?;
    Ok(Rule {
        source,
        when: row.when.as_deref().map(Condition::parse).transpose().map_err(|e| fault(&id, e))?,
        target,
        action,
        table: row.table.as_deref().map(|t| names.table(&id, t)).transpose()?,
        because: row.because.clone(),
        id,
    })
}

fn action(row: &RuleRow, id: &str, names: &Names<'_>) -> Result<Action, PlanError> {
    match (&row.with, &row.value, &row.eval) {
        (Some(with), None, None) => Ok(Action::With(names.map(id, with)?)),
        (None, Some(value), None) => Ok(Action::Constant(value.text())),
        (None, None, Some(eval)) => function(eval, id),
        (None, None, None) => Ok(Action::Convert),
        _ => Err(fault(id, "only one of with, value and eval")),
    }
}

/// A primitive needs text and a structure needs a map.
fn check_fit(action: &Action, target: &Target, id: &str) -> Result<(), PlanError> {
    let primitive = r4::model().is_primitive(target.type_name);
    match action {
        Action::With(_) => Ok(()),
        _ if primitive => Ok(()),
        _ => Err(fault(id, format!("{} is a structure: it needs a datatype map", target.type_name))),
    }
}

fn function(text: &str, id: &str) -> Result<Action, PlanError> {
    let bad = || fault(id, format!("`{text}` is not one of concat(...), first(...), now()"));
    let (name, rest) = text.split_once('(').ok_or_else(bad)?;
    let inside = rest.trim_end().strip_suffix(')').ok_or_else(bad)?;
    let pieces = || arguments(inside).into_iter().map(|a| piece(&a, id)).collect::<Result<Vec<_>, _>>();
    match name.trim() {
        "concat" => Ok(Action::Concat(pieces()?)),
        "first" => Ok(Action::First(pieces()?)),
        "now" if inside.trim().is_empty() => Ok(Action::Now),
        _ => Err(bad()),
    }
}

/// Splits at commas outside quotes.
fn arguments(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        quoted ^= c == '"';
        match (c, quoted) {
            (',', false) => out.push(String::new()),
            _ => out.last_mut().into_iter().for_each(|s| s.push(c)),
        }
    }
    out.into_iter().map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect()
}

fn piece(text: &str, id: &str) -> Result<Piece, PlanError> {
    match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(text) => Ok(Piece::Text(text.to_owned())),
        None => Source::parse(text).map(Piece::Path).map_err(|e| fault(id, e)),
    }
}

/// Walks a target path from a type through R4's elements.
pub(crate) fn resolve(steps: &[Step], start: &'static str, id: &str) -> Result<Target, PlanError> {
    let mut target = Target { hops: Vec::new(), type_name: start, repeats: false, codes: None };
    for step in steps {
        match step {
            Step::Through(type_name) => {
                let model = r4::model().get(type_name).filter(|_| target.type_name == "Reference");
                let model = model.ok_or_else(|| fault(id, format!("no reference to {type_name} here")))?;
                target.hops.push(Hop::Through(model.name));
                target.type_name = model.name;
                target.repeats = false;
                target.codes = None;
            }
            Step::Element { name, label } => element(&mut target, name, *label, id)?,
        }
    }
    Ok(target)
}

fn element(target: &mut Target, name: &str, label: Label, id: &str) -> Result<(), PlanError> {
    let into_primitive = r4::model().is_primitive(target.type_name);
    if into_primitive {
        let repeats = target.repeats;
        let Some(Hop::Element { shadow, .. }) = target.hops.last_mut() else {
            return Err(fault(id, format!("no element {name}")));
        };
        if repeats {
            return Err(fault(id, "an extension of a repeating primitive is not supported"));
        }
        *shadow = true;
        target.type_name = "Element";
    }
    let owner = r4::model().get(target.type_name);
    let found = owner.and_then(|t| t.element(name));
    let Some(Found { element, type_name }) = found else {
        return Err(fault(id, format!("{} has no element {name}", target.type_name)));
    };
    // The JSON name of a choice is not in the table: it lives as long as the program.
    let json_name: &'static str = if element.choice { name.to_owned().leak() } else { element.name };
    target.hops.push(Hop::Element { name: json_name, label, repeats: element.repeats, shadow: false });
    target.type_name = type_name;
    target.repeats = element.repeats;
    target.codes = element.codes;
    Ok(())
}

pub(crate) fn message(file: &MessageFile, names: &Names<'_>) -> Result<MessagePlan, PlanError> {
    let structure = Structure::new(&file.structure);
    let mut rules: Vec<Vec<MessageRule>> = structure.slots.iter().map(|_| Vec::new()).collect();
    for row in file.rules.iter().filter(|row| !row.off) {
        let id = format!("{}/{}", file.map, row.row);
        let path = row.row.split('/').next().unwrap_or("");
        let slot = structure.slots.iter().position(|s| s.path == path);
        let slot = slot.ok_or_else(|| fault(&id, "the structure has no such segment"))?;
        rules[slot].push(message_rule(row, id, names)?);
    }
    Ok(MessagePlan { name: file.map.clone(), structure, rules })
}

fn message_rule(row: &MessageRow, id: String, names: &Names<'_>) -> Result<MessageRule, PlanError> {
    let with = row.with.as_deref().ok_or_else(|| fault(&id, "a message row needs a map"))?;
    Ok(MessageRule {
        when: row.when.as_deref().map(Condition::parse).transpose().map_err(|e| fault(&id, e))?,
        to: slotted(&row.to, &id)?,
        with: names.map(&id, with)?,
        weak: row.weak,
        set: row.set.iter().map(|text| assignment(text, &id)).collect::<Result<_, _>>()?,
        id,
    })
}

/// `Patient[1].contact`: the resource, then the path inside it.
fn slotted(text: &str, id: &str) -> Result<Slotted, PlanError> {
    let (head, rest) = text.split_once('.').unwrap_or((text, "$this"));
    let (type_name, label) = labelled(head).ok_or_else(|| fault(id, format!("`{head}` is not Type[n]")))?;
    let model = r4::model().get(type_name).ok_or_else(|| fault(id, format!("no type {type_name}")))?;
    let steps = path::target(rest).map_err(|e| fault(id, e))?;
    Ok(Slotted { type_name: model.name, label, target: resolve(&steps, model.name, id)? })
}

fn labelled(text: &str) -> Option<(&str, u16)> {
    match text.split_once('[') {
        None => Some((text, 0)),
        Some((name, rest)) => Some((name, rest.strip_suffix(']')?.parse().ok()?)),
    }
}

fn assignment(text: &str, id: &str) -> Result<(Slotted, Given), PlanError> {
    let (left, right) = text.split_once('=').ok_or_else(|| fault(id, format!("`{text}` sets nothing")))?;
    let left = slotted(left.trim(), id)?;
    let right = right.trim();
    let given = match right.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(text) => Given::Text(text.to_owned()),
        None => {
            let (type_name, label) = labelled(right).ok_or_else(|| fault(id, format!("`{right}` is not Type[n]")))?;
            if left.target.type_name != "Reference" {
                return Err(fault(id, format!("`{text}`: the left side is no reference")));
            }
            Given::Resource { type_name: type_name.to_owned(), label }
        }
    };
    Ok((left, given))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(rule: &str) -> Result<Plan, PlanError> {
        let text = format!("map: PID[Patient]\nsource: PID\ntarget: Patient\nrules:\n  - {rule}\n");
        let file: MapFile = serde_saphyr::from_str(&text).unwrap();
        let (maps, tables) = (HashMap::from([("X[Y]".to_owned(), 0)]), HashMap::new());
        map(&file, &Names { maps: &maps, tables: &tables })
    }

    #[test]
    fn a_target_is_resolved_with_its_type_and_codes() {
        let plan = compiled("{row: PID-8, to: gender}").unwrap();
        let target = &plan.rules[0].target;
        assert_eq!((target.type_name, target.codes.map(<[_]>::len), target.repeats), ("code", Some(4), false));
        let plan = compiled("{row: PID-7, to: \"birthDate.extension[1].valueDateTime\"}").unwrap();
        assert!(matches!(plan.rules[0].target.hops[0], Hop::Element { name: "birthDate", shadow: true, .. }));
        assert_eq!(plan.rules[0].target.type_name, "dateTime");
        let plan = compiled("{row: PID-1, to: \"generalPractitioner[1](Practitioner.active)\", value: true}").unwrap();
        assert!(matches!(plan.rules[0].target.hops[1], Hop::Through("Practitioner")));
    }

    #[test]
    fn what_does_not_exist_is_refused_with_its_row() {
        for (rule, part) in [
            ("{row: PID-8, to: sex}", "Patient has no element sex"),
            ("{row: PID-5, to: name}", "it needs a datatype map"),
            ("{row: PID-5, to: name, with: \"XPN[Nothing]\"}", "there is no map XPN[Nothing]"),
            ("{row: PID-8, to: gender, table: Nothing}", "there is no table Nothing"),
            ("{row: PID-8, to: gender, when: maybe}", "condition"),
            ("{row: PID-8, to: gender, eval: \"run(PID-8)\"}", "is not one of concat"),
            ("{row: PID-8, to: gender, value: male, eval: \"now()\"}", "only one of"),
            ("{row: PID-8, to: \"gender(Patient)\"}", "no reference to Patient here"),
            ("{row: nonsense, to: gender}", "is not a path"),
        ] {
            let error = compiled(rule).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("PID[Patient]/"), "{rule}: {error}");
        }
    }
}
