//! Compiles message maps.

use super::compile::constant;
use super::{Assignment, Given, MessagePlan, MessageRule, Names, PlanError, Slotted, Tests, fault, resolve};
use crate::map_file::{MessageFile, MessageRow};
use crate::path;
use crate::r4::{self, Kind, Type};
use crate::structure::Structure;

pub(crate) fn message(file: &MessageFile, names: &Names<'_>) -> Result<MessagePlan, PlanError> {
    let structure =
        Structure::new(&file.structure).map_err(|name| fault(&file.map, format!("`{name}` is not a segment")))?;
    let mut rules: Vec<Vec<MessageRule>> = structure.slots.iter().map(|_| Vec::new()).collect();
    for row in file.rules.iter().filter(|row| !row.off) {
        let id = format!("{}/{}", file.map, row.row);
        let path = row.row.split('/').next().unwrap_or("");
        let slot = structure.slots.iter().position(|s| s.path == path);
        let slot = slot.ok_or_else(|| fault(&id, "the structure has no such segment"))?;
        rules[slot].push(message_rule(row, &id, names)?);
    }
    let mut tests = Tests::default();
    let conditions = rules.iter_mut().flatten().filter_map(|rule| rule.when.as_mut());
    conditions.for_each(|when| when.number(&mut tests, |_| false));
    let of_slot = |(slot, rules): (usize, &Vec<MessageRule>)| {
        let group = structure.slots[slot].group;
        let each = rules.iter().flat_map(|rule| &rule.set).filter(|set| set.each);
        each.map(|set| (set.left.kind, set.left.label, group)).collect::<Vec<_>>()
    };
    let remembered = rules.iter().enumerate().flat_map(of_slot).collect();
    Ok(MessagePlan { name: file.map.clone(), structure, rules, tests, remembered })
}

fn message_rule(row: &MessageRow, id: &str, names: &Names<'_>) -> Result<MessageRule, PlanError> {
    let to = slotted(&row.to, id)?;
    if let Some((with, kind)) = row.with.as_ref().and_then(|with| Some((with, names.kinds.get(with)?)))
        && *kind != to.target.type_name
    {
        return Err(fault(id, format!("{with} fills a {kind}, and {} is a {}", row.to, to.target.type_name)));
    }
    Ok(MessageRule {
        when: names.condition(id, row.when.as_deref())?,
        to,
        with: row.with.as_deref().map(|with| names.map(id, with)).transpose()?,
        weak: row.weak,
        set: row.set.iter().map(|text| assignment(text, id, names)).collect::<Result<_, _>>()?,
        id: names.rule(id),
    })
}

/// `Patient[1].contact`: the resource, then the path inside it.
fn slotted(text: &str, id: &str) -> Result<Slotted, PlanError> {
    let (head, rest) = text.split_once('.').unwrap_or((text, "$this"));
    let (model, label) = labelled(head, id)?;
    let steps = path::target(rest).map_err(|e| fault(id, e))?;
    Ok(Slotted { kind: model.number, label, target: resolve(&steps, model.name, id)? })
}

/// `Patient[1]`: a resource of the message.
fn labelled(text: &str, id: &str) -> Result<(&'static Type, u16), PlanError> {
    let (name, label) = match text.split_once('[') {
        None => (text, Some(0)),
        Some((name, rest)) => (name, rest.strip_suffix(']').and_then(|n| n.parse().ok())),
    };
    let label = label.ok_or_else(|| fault(id, format!("`{text}` is not Type[n]")))?;
    let model = r4::model().get(name).filter(|t| t.kind == Kind::Resource);
    Ok((model.ok_or_else(|| fault(id, format!("no resource type {name}")))?, label))
}

fn assignment(text: &str, id: &str, names: &Names<'_>) -> Result<Assignment, PlanError> {
    let (each, body) = text.trim().strip_prefix("each ").map_or((false, text), |rest| (true, rest));
    let (left, right) = body.split_once('=').ok_or_else(|| fault(id, format!("`{text}` sets nothing")))?;
    let left = slotted(left.trim(), id)?;
    let right = right.trim();
    let given = match right.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        Some(text) => Given::Constant(constant(text, &left.target, id, names)?),
        None if left.target.type_name != "Reference" => {
            return Err(fault(id, format!("`{text}`: the left side is no reference")));
        }
        None => {
            let (model, label) = labelled(right, id)?;
            Given::Resource { kind: model.number, label }
        }
    };
    Ok(Assignment { each, left, given })
}
