//! The guide's own tables, as CSV: which rows have a target, and what they say of it.

use super::{CoverageError, Kind};
use std::collections::HashMap;
use std::path::Path;

/// All of the guide that a map set can carry.
#[derive(Debug)]
pub struct Guide {
    /// Of messages, segments and datatypes.
    pub maps: Vec<GuideMap>,
    pub tables: Vec<GuideTable>,
}

/// One map of the guide, with its rows that have a target.
#[derive(Debug)]
pub struct GuideMap {
    pub kind: Kind,
    /// `PID[Patient]`.
    pub name: String,
    pub rows: Vec<GuideRow>,
}

/// One row; columns that its kind does not have are empty.
#[derive(Debug, Default)]
pub struct GuideRow {
    /// The field, and `/n` for the n-th row of that field.
    pub id: String,
    pub condition: String,
    /// The condition in words, where there is no other.
    pub words: String,
    pub target: String,
    pub with: String,
    pub table: String,
    pub assignment: String,
    /// `Encounter[1].subject.reference=Patient[1].id`; those of the Bundle, which is no resource of a map, left out.
    pub references: Vec<String>,
}

/// One vocabulary, with its rows that have a code on both sides.
#[derive(Debug)]
pub struct GuideTable {
    pub name: String,
    pub rows: Vec<GuideCode>,
}

/// What a code becomes.
#[derive(Debug)]
pub struct GuideCode {
    pub from: String,
    pub to: String,
    pub display: String,
    pub system: String,
}

/// The cells of one line, without the spaces around them and with one where there are several.
struct Line(Vec<String>);

impl Line {
    fn cell(&self, column: usize) -> &str {
        self.0.get(column).map_or("", String::as_str)
    }

    fn own(&self, column: usize) -> String {
        self.cell(column).to_owned()
    }
}

impl Guide {
    /// Reads the folders messages, segments, datatypes and codesystems.
    pub fn read(folder: &Path) -> Result<Self, CoverageError> {
        let mut maps = Vec::new();
        for kind in [Kind::Message, Kind::Segment, Kind::Datatype] {
            for (name, lines) in files(&folder.join(kind.folder()))? {
                maps.push(GuideMap { kind, rows: rows(kind, &name, &lines), name });
            }
        }
        let tables = files(&folder.join(Kind::Table.folder()))?;
        let tables = tables.into_iter().map(|(name, lines)| GuideTable { name, rows: codes(&lines) });
        Ok(Self { maps, tables: tables.collect() })
    }
}

/// The CSV files of a folder: the map's name, and the lines with the two of the heading.
fn files(folder: &Path) -> Result<Vec<(String, Vec<Line>)>, CoverageError> {
    let unreadable = |why: std::io::Error| CoverageError::Guide(folder.display().to_string(), why.to_string());
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if let Some(name) = path.file_name().and_then(|name| map_name(&name.to_string_lossy()).map(str::to_owned)) {
            found.push((name, lines(&path)?));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// `HL7 Segment - FHIR R4_ PID[Patient] - PID.csv` holds `PID[Patient]`.
fn map_name(file: &str) -> Option<&str> {
    let (_, name) = file.strip_suffix(".csv")?.split_once("_ ")?;
    Some(name.split_once(" - ")?.0)
}

fn lines(path: &Path) -> Result<Vec<Line>, CoverageError> {
    let unreadable = |why: csv::Error| CoverageError::Guide(path.display().to_string(), why.to_string());
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_path(path).map_err(unreadable)?;
    let squeezed = |cell: &str| cell.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = reader.records().map(|record| Ok(Line(record?.iter().map(squeezed).collect())));
    lines.collect::<Result<_, _>>().map_err(unreadable)
}

/// Rows are numbered with those that have no target, by which the ids stay what they are when the guide fills one.
fn rows(kind: Kind, map: &str, lines: &[Line]) -> Vec<GuideRow> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut rows = Vec::new();
    for line in lines.iter().skip(2) {
        let field = field(kind, map, line.cell(1));
        let count = seen.entry(field.clone()).and_modify(|n| *n += 1).or_insert(1);
        let id = if *count == 1 { field } else { format!("{field}/{count}") };
        if !line.cell(9).is_empty() {
            rows.push(row(kind, id, line));
        }
    }
    rows
}

fn row(kind: Kind, id: String, line: &Line) -> GuideRow {
    let words = if line.cell(6).is_empty() { line.own(8) } else { String::new() };
    let common = GuideRow { id, condition: line.own(6), words, target: line.own(9), ..GuideRow::default() };
    match kind {
        Kind::Message => GuideRow { with: line.own(10), references: references(line.cell(11)), ..common },
        _ => GuideRow { with: line.own(14), table: line.own(15), assignment: line.own(16), ..common },
    }
}

fn references(cell: &str) -> Vec<String> {
    let texts = cell.split([';', ' ']).filter(|text| text.contains('=') && !text.contains("Bundle"));
    texts.map(str::to_owned).collect()
}

/// The identifier column, without what is its file's habit.
fn field(kind: Kind, map: &str, identifier: &str) -> String {
    let source = map.split('[').next().unwrap_or(map);
    match (kind, identifier) {
        (_, "") => source.to_owned(),
        // The guide copied CF's rows from CWE's.
        (Kind::Datatype, other) if source == "CF" => other.replace("CWE.", "CF."),
        (Kind::Message, path) => within_message(path).replace("follow:", ""),
        (_, field) => field.to_owned(),
    }
}

/// The path behind the message structure's name, which in some rows is that of the file they were copied from.
fn within_message(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    match path.split_once(['.', ':']) {
        Some((structure, rest)) if structure.contains('_') => rest,
        _ => path,
    }
}

/// Which columns follow the v2 side differs from file to file: the heading tells.
fn codes(lines: &[Line]) -> Vec<GuideCode> {
    let Some((code, system)) = lines.get(1).and_then(code_columns) else { return Vec::new() };
    let both = lines.iter().skip(2).filter(|line| !line.cell(0).is_empty() && !line.cell(code).is_empty());
    let row = |line: &Line| GuideCode {
        from: line.own(0),
        to: line.own(code),
        display: (code + 1..system).map(|n| line.own(n)).find(|text| !text.is_empty()).unwrap_or_default(),
        system: line.own(system),
    };
    both.map(row).collect()
}

fn code_columns(heading: &Line) -> Option<(usize, usize)> {
    let position = |name: &str, from: usize| (from..heading.0.len()).find(|n| heading.cell(*n) == name);
    let code = position("Code", 1)?;
    Some((code, position("Code System", code)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: &[(usize, &str)]) -> Line {
        let mut line = vec![String::new(); 17];
        cells.iter().for_each(|(n, text)| line[*n] = (*text).to_owned());
        Line(line)
    }

    #[test]
    fn rows_are_numbered_with_those_that_have_no_target() {
        let heading = || line(&[]);
        let lines = [
            heading(),
            heading(),
            line(&[(1, "PID-7")]),
            line(&[(1, "PID-7"), (9, "birthDate")]),
            line(&[(9, "status")]),
        ];
        let rows = rows(Kind::Segment, "PID[Patient]", &lines);
        assert_eq!(rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["PID-7/2", "PID"]);
    }

    #[test]
    fn identifiers_lose_the_habits_of_their_file() {
        let message = |identifier| field(Kind::Message, "ADT_A05", identifier);
        assert_eq!(message("ADT_A05.INSURANCE.IN1"), "INSURANCE.IN1");
        assert_eq!(message("ADT_A01.PD1"), "PD1", "copied from another message");
        assert_eq!(message("ADT_A05:follow:PID.ROL"), "PID.ROL");
        assert_eq!(field(Kind::Datatype, "CF[CodeableConcept]", "CWE.1"), "CF.1");
        assert_eq!(map_name("HL7 Segment - FHIR R4_ PR1[Procedure] - PR1[Procedure].csv"), Some("PR1[Procedure]"));
        assert_eq!(map_name("HL7 Concept Map_ AddressType[Use] - Sheet1.csv"), Some("AddressType[Use]"));
        assert_eq!(map_name("filetourl.properties"), None);
    }

    #[test]
    fn the_heading_tells_the_columns_of_a_vocabulary() {
        let heading = line(&[(0, "Code"), (2, "Code System"), (6, "Code"), (8, "Display"), (9, "Code System")]);
        let row = line(&[(0, "F"), (6, "female"), (8, "Female"), (9, "urn:x")]);
        let codes = codes(&[line(&[]), heading, row, line(&[(0, "N")]), line(&[(6, "other")])]);
        assert_eq!(codes.len(), 1, "a code on both sides");
        assert_eq!([&codes[0].to, &codes[0].display, &codes[0].system], ["female", "Female", "urn:x"]);
    }
}
