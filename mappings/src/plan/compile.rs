//! Compiles tables, and segment and datatype maps.

use super::function::{at_hand, function};
use super::{
    Action, CompiledRow, ConstantId, Group, Identify, IdentityPart, Names, Plan, PlanError, Rule, Table, Target, Tests,
    fault, resolve,
};
use crate::condition::Condition;
use crate::convert::{self, Primitive};
use crate::identity::MAX_NEEDS;
use crate::map_file::{By, MapFile, RuleRow, TableFile, TableRow};
use crate::path::{self, SegmentName, Source};
use crate::r4::{self, Kind, Name, TypeNumber};
use crate::tree::Scalar;
use std::borrow::Cow;
use std::ops::Range;

pub(crate) fn table(file: &TableFile, names: &Names<'_>) -> Table {
    let compiled = |row: &TableRow| {
        let parts = [("code", Some(&row.to)), ("display", row.display.as_ref()), ("system", row.system.as_ref())];
        let constant = |text: &String| names.constant(&Scalar::Text(Cow::Borrowed(text)));
        let coding = parts.into_iter().filter_map(|(name, text)| Some((Name::of(name)?, constant(text?))));
        CompiledRow { to: row.to.clone(), coding: coding.collect() }
    };
    Table { name: file.table.clone(), rows: file.rows.iter().map(|row| (row.from.clone(), compiled(row))).collect() }
}

pub(crate) fn map(file: &MapFile, names: &Names<'_>) -> Result<Plan, PlanError> {
    let target = r4::model().get(&file.target).ok_or_else(|| fault(&file.map, "unknown target type"))?;
    let on = file.rules.iter().filter(|row| !row.off);
    let mut rules = on.map(|row| rule(row, file, names)).collect::<Result<Vec<_>, _>>()?;
    keep_clocks(&mut rules);
    let source = SegmentName::read(&file.source);
    let of_segment = is_of_segment(file);
    let tests = number_tests(&mut rules, source.filter(|_| of_segment));
    let identity = file.identity.iter().map(|row| match &row.by {
        By::Identifier(_) => Ok(Identify::Identifier { prefer: row.prefer.clone() }),
        By::Parts(parts) => {
            parts.iter().map(|p| identity_part(p, &file.map)).collect::<Result<_, _>>().map(Identify::Parts)
        }
    });
    let identity = identity.collect::<Result<Vec<_>, _>>()?;
    let known = file.unmapped.keys().filter_map(|key| field_number(key)).collect();
    let needs = needs(&identity);
    if needs.len() > MAX_NEEDS {
        return Err(fault(&file.map, format!("an identity speaks of at most {MAX_NEEDS} resources")));
    }
    Ok(Plan {
        name: file.map.clone(),
        source,
        of_segment,
        target,
        needs,
        identity,
        groups: groups(&rules, &file.source),
        rules,
        tests,
        known,
        same: file.same.iter().map(|(own, other)| same(own, other, &file.map)).collect::<Result<_, _>>()?,
    })
}

/// A birth date has its time of day in an extension: what one rule cannot keep, another does.
fn keep_clocks(rules: &mut [Rule]) {
    let has_clock = |rule: &&Rule| matches!(rule.target.primitive, Some(Primitive::DateTime | Primitive::Instant));
    let kept: Vec<Source> = rules.iter().filter(has_clock).map(|rule| rule.source).collect();
    rules.iter_mut().for_each(|rule| rule.clock_kept = kept.contains(&rule.source));
}

fn groups(rules: &[Rule], source: &str) -> Vec<(Group, Range<u32>)> {
    let own = SegmentName::read(source);
    let group = |rule: &Rule| match rule.source {
        Source::Field { segment, field, .. } if Some(segment) == own => Group::Own(field),
        Source::Field { segment, field, .. } => Group::Other(segment, field),
        Source::Part { component, .. } if component > 0 => Group::Part(component),
        _ => Group::Whole,
    };
    let mut groups: Vec<(Group, Range<u32>)> = Vec::new();
    for (n, rule) in rules.iter().enumerate() {
        match groups.last_mut() {
            Some((last, range)) if *last == group(rule) => range.end += 1,
            _ => groups.push((group(rule), n as u32..n as u32 + 1)),
        }
    }
    groups
}

/// Numbers the tests of a map's conditions. In a segment map those that mean the repetition that their rule is at have
/// an answer for each.
fn number_tests(rules: &mut [Rule], own: Option<SegmentName>) -> Tests {
    let mut tests = Tests::default();
    for rule in rules {
        let field = |path: &Source| own.and_then(|own| own_field(path, own));
        let at = field(&rule.source);
        let is_each = |test: &Condition| {
            let of_repetition = at.is_some() && test.path().is_some_and(|path| field(path) == at);
            of_repetition && !matches!(test, Condition::Count(..))
        };
        if let Some(when) = &mut rule.when {
            when.number(&mut tests, is_each);
        }
    }
    tests
}

/// The field that a path names, if it is one of that segment.
fn own_field(path: &Source, own: SegmentName) -> Option<u16> {
    match *path {
        Source::Field { segment, field, .. } if segment == own => Some(field),
        _ => None,
    }
}

fn needs(identity: &[Identify]) -> Vec<TypeNumber> {
    let parts = identity.iter().filter_map(|i| match i {
        Identify::Parts(parts) => Some(parts),
        Identify::Identifier { .. } => None,
    });
    let resources = parts.flatten().filter_map(|part| match part {
        IdentityPart::Resource(kind) => Some(*kind),
        _ => None,
    });
    let mut kinds: Vec<TypeNumber> = Vec::new();
    resources.for_each(|kind| {
        if !kinds.contains(&kind) {
            kinds.push(kind)
        }
    });
    kinds
}

fn field_number(row: &str) -> Option<u16> {
    match Source::parse(row) {
        Ok(Source::Field { field, .. }) => Some(field),
        _ => None,
    }
}

fn same(own: &str, other: &str, place: &str) -> Result<(u16, SegmentName, u16), PlanError> {
    match (field_number(own), Source::parse(other)) {
        (Some(own), Ok(Source::Field { segment, field, .. })) => Ok((own, segment, field)),
        _ => Err(fault(place, format!("same: {own}: {other} are no two fields"))),
    }
}

fn identity_part(text: &str, place: &str) -> Result<IdentityPart, PlanError> {
    if text == "nth" {
        return Ok(IdentityPart::Nth);
    }
    if let Some(kind) = r4::model().get(text).filter(|t| t.kind == Kind::Resource) {
        return Ok(IdentityPart::Resource(kind.number));
    }
    Source::parse(text).map(IdentityPart::Path).map_err(|e| fault(place, e))
}

fn rule(row: &RuleRow, file: &MapFile, names: &Names<'_>) -> Result<Rule, PlanError> {
    let id = format!("{}/{}", file.map, row.row);
    let source = match &row.from {
        Some(from) if is_of_segment(file) => Source::parse(from),
        Some(from) => Source::parse(from).map(at_hand),
        None => Source::parse(&row.row),
    };
    let source = source.map_err(|e| fault(&id, e))?;
    let steps = path::target(&row.to).map_err(|e| fault(&id, e))?;
    let start = r4::model().get(&file.target).map_or("", |t| t.name);
    let target = resolve(&steps, start, &id)?;
    let action = action(row, &target, &id, names)?;
    check_fit(&action, &target, &id)?;
    Ok(Rule {
        source,
        when: names.condition(&id, row.when.as_deref())?,
        target,
        action,
        table: row.table.as_deref().map(|t| names.table(&id, t)).transpose()?,
        because: row.because.clone(),
        gap: row.gap,
        clock_kept: false,
        id: names.rule(&id),
    })
}

fn action(row: &RuleRow, target: &Target, id: &str, names: &Names<'_>) -> Result<Action, PlanError> {
    match (&row.with, &row.value, &row.eval) {
        (Some(with), None, None) => Ok(Action::With(names.map(id, with)?)),
        (None, Some(_), None) if row.table.is_some() => Err(fault(id, "a constant needs no table")),
        (None, Some(value), None) => Ok(Action::Constant(constant(&value.text(), target, id, names)?)),
        (None, None, Some(eval)) => function(eval, id),
        (None, None, None) => Ok(Action::Convert),
        _ => Err(fault(id, "only one of with, value and eval")),
    }
}

pub(super) fn constant(text: &str, target: &Target, id: &str, names: &Names<'_>) -> Result<ConstantId, PlanError> {
    let kind =
        target.primitive.ok_or_else(|| fault(id, format!("{} is a structure: no constant", target.type_name)))?;
    let scalar = convert::primitive(Cow::Borrowed(text), kind, target.codes, None);
    scalar.map(|(s, _)| names.constant(&s)).map_err(|e| fault(id, format!("`{text}` is {e}")))
}

/// A primitive needs text and a structure needs a map.
fn check_fit(action: &Action, target: &Target, id: &str) -> Result<(), PlanError> {
    match action {
        Action::With(_) => Ok(()),
        Action::The(_) if target.type_name == "Reference" => Ok(()),
        Action::The(_) => Err(fault(id, format!("{} is no reference", target.type_name))),
        _ if target.primitive.is_some() => Ok(()),
        _ => Err(fault(id, format!("{} is a structure: it needs a datatype map", target.type_name))),
    }
}

/// Whether a map's rows are fields: it is of a segment then.
fn is_of_segment(file: &MapFile) -> bool {
    let own = format!("{}-", file.source);
    file.rules.iter().any(|rule| rule.row.starts_with(&own))
}

#[cfg(test)]
mod tests {
    use super::super::Hop;
    use super::*;
    use std::cell::RefCell;
    use std::collections::HashMap;

    fn compiled(rule: &str) -> Result<Plan, PlanError> {
        let text = format!("map: PID[Patient]\nsource: PID\ntarget: Patient\nrules:\n  - {rule}\n");
        let file: MapFile = serde_saphyr::from_str(&text).unwrap();
        let (maps, tables) = (HashMap::from([("X[Y]".to_owned(), 0)]), HashMap::new());
        map(
            &file,
            &Names { maps: &maps, tables: &tables, kinds: &HashMap::new(), switches: &[], pool: RefCell::default() },
        )
    }

    #[test]
    fn a_target_is_resolved_with_its_type_and_codes() {
        let plan = compiled("{row: PID-8, to: gender}").unwrap();
        let target = &plan.rules[0].target;
        assert_eq!((target.type_name, target.codes.map(<[_]>::len), target.repeats), ("code", Some(4), false));
        let plan = compiled("{row: PID-7, to: \"birthDate.extension[1].valueDateTime\"}").unwrap();
        assert!(matches!(plan.rules[0].target.hops[0], Hop::Element { object: None, repeats: false, .. }));
        assert_eq!(plan.rules[0].target.type_name, "dateTime");
        let plan = compiled("{row: PID-1, to: \"generalPractitioner[1](Practitioner.active)\", value: true}").unwrap();
        assert!(matches!(plan.rules[0].target.hops[1], Hop::Through(_)));
    }

    #[test]
    fn what_does_not_exist_is_refused_with_its_row() {
        for (rule, part) in [
            ("{row: PID-8, to: sex}", "Patient has no element sex"),
            ("{row: PID-5, to: name}", "it needs a datatype map"),
            ("{row: PID-5, to: name, with: \"XPN[Nothing]\"}", "there is no map XPN[Nothing]"),
            ("{row: PID-8, to: gender, table: Nothing}", "there is no table Nothing"),
            ("{row: PID-8, to: gender, when: maybe}", "condition"),
            ("{row: PID-8, to: gender, when: '$ssn EQUALS \"keep\"'}", "no switch ssn has the choice keep"),
            ("{row: PID-8, to: gender, value: lady}", "`lady` is not one of the codes"),
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
