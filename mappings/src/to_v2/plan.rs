//! Compiles the maps to v2: paths are checked against R4's elements, conditions and functions read, maps and tables linked
//! by number. A map that names what does not exist is refused here, with its row, before any resource arrives.

use super::condition::Condition;
use super::function::Function;
use super::map_file::{MapFile, MessageFile, MessageRow, RuleRow};
use super::path::{Path, SyntaxError, Types, type_named};
use crate::map_file::Part;
use crate::plan::PlanError;
use std::collections::HashMap;

pub(crate) fn fault(place: impl Into<String>, problem: impl ToString) -> PlanError {
    PlanError { place: place.into(), problem: problem.to_string() }
}

/// A place in a field or in a datatype, 0 where the whole is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Spot {
    pub field: u16,
    pub component: u16,
    pub subcomponent: u16,
}

/// What a rule writes.
#[derive(Debug)]
pub(crate) enum Action {
    /// The primitive itself.
    Convert,
    /// Whatever map number n makes of the item.
    With(usize),
    Constant(String),
    Eval(Function),
}

/// A compiled rule.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `Patient[PID]/PID-7`.
    pub id: String,
    pub spot: Spot,
    pub from: Path,
    pub when: Option<Condition>,
    pub action: Action,
    pub table: Option<usize>,
    pub formatted: bool,
    pub weak: bool,
}

/// A compiled segment or datatype map.
#[derive(Debug)]
pub(crate) struct Plan {
    pub rules: Vec<Rule>,
}

/// A compiled row of a message map.
#[derive(Debug)]
pub(crate) struct Row {
    pub from: Path,
    pub when: Option<Condition>,
    /// The segment's map; a group has none.
    pub with: Option<usize>,
    pub rest: bool,
    /// Types of which there is nothing inside.
    pub without: Vec<&'static str>,
}

/// A segment or group of the structure, in the order of the standard, with the rows that make it.
#[derive(Debug)]
pub(crate) struct Place {
    pub name: String,
    pub repeats: bool,
    /// Every message of this structure has it.
    pub required: bool,
    pub rows: Vec<Row>,
    /// What stands in a group; nothing in a segment.
    pub parts: Option<Vec<Place>>,
}

/// A compiled message map.
#[derive(Debug)]
pub(crate) struct MessagePlan {
    pub name: String,
    pub parts: Vec<Place>,
}

/// Names to numbers, while compiling.
pub(crate) struct Names<'n> {
    /// A map's number and its source type.
    pub maps: &'n HashMap<String, (usize, String)>,
    pub tables: &'n HashMap<String, usize>,
}

impl Names<'_> {
    /// The map of that name, if it takes what the path yields.
    fn map(&self, place: &str, name: &str, path: &Path) -> Result<usize, PlanError> {
        let (number, source) = self.maps.get(name).ok_or_else(|| fault(place, format!("there is no map {name}")))?;
        if family(source) != family(path.type_name) {
            return Err(fault(place, format!("{name} takes no {}", path.type_name)));
        }
        Ok(*number)
    }

    fn table(&self, place: &str, name: &str) -> Result<usize, PlanError> {
        self.tables.get(name).copied().ok_or_else(|| fault(place, format!("there is no table {name}")))
    }
}

/// Types that are one type under several names (R4, datatypes.html).
fn family(type_name: &str) -> &str {
    match type_name {
        "Age" | "Count" | "Distance" | "Duration" | "SimpleQuantity" => "Quantity",
        "url" | "canonical" => "uri",
        "code" | "id" | "markdown" => "string",
        other => other,
    }
}

pub(crate) fn map(file: &MapFile, names: &Names<'_>) -> Result<Plan, PlanError> {
    let here = type_named(&file.source).ok_or_else(|| fault(&file.map, "unknown source type"))?;
    let types = Types { here, own: &file.source };
    let rules = file.rules.iter().map(|row| rule(row, file, types, names)).collect::<Result<_, _>>()?;
    Ok(Plan { rules })
}

fn rule(row: &RuleRow, file: &MapFile, types: Types<'_>, names: &Names<'_>) -> Result<Rule, PlanError> {
    let id = format!("{}/{}", file.map, row.row);
    let bad = |error: SyntaxError| fault(&id, error);
    let spot = spot(&row.row, &file.target).ok_or_else(|| fault(&id, format!("not a place in {}", file.target)))?;
    let from = Path::parse(row.from.as_deref().unwrap_or("$this"), types).map_err(bad)?;
    let inner = Types { here: from.type_name, ..types };
    let action = action(row, &id, &from, inner, names)?;
    Ok(Rule {
        spot,
        when: row.when.as_deref().map(|text| Condition::parse(text, inner)).transpose().map_err(bad)?,
        from,
        action,
        table: row.table.as_deref().map(|t| names.table(&id, t)).transpose()?,
        formatted: row.formatted,
        weak: row.weak,
        id,
    })
}

/// `PID-3.4/2` of PID, `CX.4.1` of CX, `ST` of ST.
fn spot(row: &str, target: &str) -> Option<Spot> {
    let place = row.split('/').next()?.strip_prefix(target)?;
    let number = |text: &str| text.parse::<u16>().ok().filter(|n| (1..=999).contains(n));
    let (field, rest) = match place.strip_prefix('-') {
        Some(rest) => {
            let (field, rest) = rest.split_once('.').map_or((rest, ""), |(f, r)| (f, r));
            (number(field)?, rest)
        }
        None => (0, place.strip_prefix('.').unwrap_or(place)),
    };
    let mut parts = rest.split('.').filter(|p| !p.is_empty()).map(number);
    let mut next = || parts.next().unwrap_or(Some(0));
    let spot = Spot { field, component: next()?, subcomponent: next()? };
    (parts.next().is_none()).then_some(spot)
}

fn action(row: &RuleRow, id: &str, from: &Path, types: Types<'_>, names: &Names<'_>) -> Result<Action, PlanError> {
    match (&row.with, &row.value, &row.eval) {
        (Some(with), None, None) => Ok(Action::With(names.map(id, with, from)?)),
        (None, Some(value), None) => Ok(Action::Constant(value.text())),
        (None, None, Some(eval)) => Function::parse(eval, types).map(Action::Eval).map_err(|e| fault(id, e)),
        (None, None, None) if from.is_primitive() => Ok(Action::Convert),
        (None, None, None) => Err(fault(id, format!("{} is a structure: it needs a datatype map", from.type_name))),
        _ => Err(fault(id, "only one of with, value and eval")),
    }
}

pub(crate) fn message(file: &MessageFile, names: &Names<'_>) -> Result<MessagePlan, PlanError> {
    let mut rows: HashMap<String, Vec<&MessageRow>> = HashMap::new();
    for row in &file.rules {
        let path = row.row.split('/').next().unwrap_or("");
        rows.entry(path.to_owned()).or_default().push(row);
    }
    let mut compiler = Compiler { file, names, rows };
    let parts = compiler.places(&file.structure, &Around { prefix: String::new(), required: true, here: "" })?;
    if let Some(path) = compiler.rows.into_keys().next() {
        return Err(fault(format!("{}/{path}", file.map), "the structure has no such place"));
    }
    Ok(MessagePlan { name: file.map.clone(), parts })
}

struct Compiler<'c> {
    file: &'c MessageFile,
    names: &'c Names<'c>,
    /// Those that no place has taken yet.
    rows: HashMap<String, Vec<&'c MessageRow>>,
}

/// What stands around a part of the structure.
struct Around {
    prefix: String,
    required: bool,
    /// The type of the items that make the group.
    here: &'static str,
}

impl Compiler<'_> {
    fn places(&mut self, parts: &[Part], around: &Around) -> Result<Vec<Place>, PlanError> {
        let mut places = Vec::new();
        for part in parts {
            match part {
                Part::Segment(text) => places.push(self.place(text, around, None)?),
                Part::Group(map) => {
                    for (text, inner) in map {
                        places.push(self.place(text, around, Some(inner))?);
                    }
                }
            }
        }
        Ok(places)
    }

    fn place(&mut self, text: &str, around: &Around, inner: Option<&Vec<Part>>) -> Result<Place, PlanError> {
        let name = text.trim_end_matches(['?', '*', '+']);
        let path = format!("{}{name}", around.prefix);
        let required = around.required && !text.ends_with(['?', '*']);
        let rows = self.rows.remove(&path).unwrap_or_default();
        if required && inner.is_none() && rows.is_empty() {
            return Err(fault(format!("{}/{path}", self.file.map), "no row makes this required segment"));
        }
        let rows: Vec<Row> =
            rows.into_iter().map(|row| self.row(row, around.here, inner.is_some())).collect::<Result<_, _>>()?;
        let here = rows.first().map_or(around.here, |row| row.from.type_name);
        let inside = Around { prefix: format!("{path}."), required, here };
        let parts = inner.map(|parts| self.places(parts, &inside)).transpose()?;
        Ok(Place { name: name.to_owned(), repeats: text.ends_with(['*', '+']), required, rows, parts })
    }

    fn type_name(name: &str, id: &str) -> Result<&'static str, PlanError> {
        type_named(name).ok_or_else(|| fault(id, format!("{name} is no type")))
    }

    fn row(&self, row: &MessageRow, here: &'static str, group: bool) -> Result<Row, PlanError> {
        let id = format!("{}/{}", self.file.map, row.row);
        let bad = |error: SyntaxError| fault(&id, error);
        let from = Path::parse(&row.from, Types { here, own: "" }).map_err(bad)?;
        if group == row.with.is_some() {
            return Err(fault(&id, "a segment needs a map, and a group has none"));
        }
        let types = Types { here: from.type_name, own: "" };
        Ok(Row {
            when: row.when.as_deref().map(|text| Condition::parse(text, types)).transpose().map_err(bad)?,
            with: row.with.as_deref().map(|with| self.names.map(&id, with, &from)).transpose()?,
            rest: row.rest,
            without: row.without.iter().map(|name| Self::type_name(name, &id)).collect::<Result<_, _>>()?,
            from,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(rule: &str) -> Result<Plan, PlanError> {
        let text = format!("map: Patient[PID]\nsource: Patient\ntarget: PID\nrules:\n  - {rule}\n");
        let file: MapFile = serde_saphyr::from_str(&text).unwrap();
        let maps = HashMap::from([("X[CX]".to_owned(), (0, "Identifier".to_owned()))]);
        map(&file, &Names { maps: &maps, tables: &HashMap::new() })
    }

    #[test]
    fn a_row_is_a_place_of_its_target() {
        let at = |field, component, subcomponent| Some(Spot { field, component, subcomponent });
        assert_eq!(spot("PID-3.4.2/2", "PID"), at(3, 4, 2));
        assert_eq!(spot("PID-3", "PID"), at(3, 0, 0));
        assert_eq!(spot("CX.4.1", "CX"), at(0, 4, 1));
        assert_eq!(spot("ST/2", "ST"), at(0, 0, 0));
        for bad in ["PV1-3", "PID-0", "PID-x", "PID-3.1.2.3", "PIDX"] {
            assert_eq!(spot(bad, "PID"), None, "{bad}");
        }
    }

    #[test]
    fn what_does_not_exist_is_refused_with_its_row() {
        for (rule, part) in [
            ("{row: PID-8, from: sex}", "Patient has no element sex"),
            ("{row: PID-5, from: name}", "HumanName is a structure: it needs a datatype map"),
            ("{row: PID-3, from: name, with: \"X[CX]\"}", "X[CX] takes no HumanName"),
            ("{row: PID-3, from: identifier, with: \"Y[CX]\"}", "there is no map Y[CX]"),
            ("{row: PID-8, from: gender, table: T}", "there is no table T"),
            ("{row: PID-8, from: gender, value: F, eval: nth()}", "only one of"),
            ("{row: PID-8, eval: \"upper(gender)\"}", "not one of concat"),
            ("{row: PID-8, eval: \"first(name)\"}", "HumanName is no single value"),
            ("{row: PV1-8, from: gender}", "not a place in PID"),
        ] {
            let error = compiled(rule).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains("Patient[PID]/P"), "{error}");
        }
        for good in [
            "{row: PID-3, from: identifier, when: system VALUED, with: \"X[CX]\"}",
            "{row: PID-1, eval: nth()}",
            "{row: PID-7, eval: \"day(birthDate)\"}",
            "{row: PID-5.2, eval: 'join(\" \", name.given, name.suffix)'}",
            "{row: PID-5.3, eval: 'split(name.text, \"-\", \"3\", \"1\")'}",
        ] {
            assert!(compiled(good).is_ok(), "{:?}", compiled(good));
        }
    }

    #[test]
    fn a_message_map_is_checked_against_its_structure() {
        let with = |structure: &str, rules: &str| {
            let text = format!("map: ADT_A01\nmessages: [ADT_A01]\nstructure: {structure}\nrules: {rules}\n");
            let file: MessageFile = serde_saphyr::from_str(&text).unwrap();
            let maps = HashMap::from([("P[PID]".to_owned(), (0, "Patient".to_owned()))]);
            message(&file, &Names { maps: &maps, tables: &HashMap::new() })
        };
        let pid = "{row: PID, from: Patient, with: \"P[PID]\"}";
        assert!(with("[PID, \"NK1*\"]", &format!("[{pid}]")).is_ok());
        for (structure, rules, part) in [
            ("[PID]", "[]".to_owned(), "no row makes this required segment"),
            ("[\"PID?\"]", format!("[{pid}, {{row: PV1, from: Patient, with: \"P[PID]\"}}]"), "no such place"),
            ("[PID]", "[{row: PID, from: Patient}]".to_owned(), "a segment needs a map"),
        ] {
            let error = with(structure, &rules).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
