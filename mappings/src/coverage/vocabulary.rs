//! The guide's vocabularies beside our tables.

use super::compare::{Spellings, note, told};
use super::guide::{GuideCode, GuideTable};
use super::wording::fold;
use super::{Kind, MapReport, Row, State};
use crate::map_file::{TableFile, TableRow};

/// A vocabulary of the guide beside ours of the same name.
pub fn table(guide: &GuideTable, ours: &[TableFile], spellings: &mut Spellings) -> MapReport {
    let found = ours.iter().find(|file| fold(&file.table) == fold(&guide.name));
    note(spellings, &guide.name, found.map_or("", |file| &file.table));
    let state = |code| found.map_or(State::Missing, |file| state(code, file));
    let rows = guide.rows.iter().map(|code| Row { id: code.from.clone(), state: state(code) });
    MapReport {
        kind: Kind::Table,
        name: guide.name.clone(),
        present: found.is_some(),
        rows: rows.collect(),
        faults: vec![],
    }
}

/// A code may have several rows, of which the nearest counts, and a row of the guide several codes.
fn state(guide: &GuideCode, file: &TableFile) -> State {
    let rows: Vec<&TableRow> =
        file.rows.iter().filter(|row| guide.from.split(',').any(|code| code == row.from)).collect();
    let nearest = rows.iter().map(|row| differences(guide, row)).min_by_key(Vec::len);
    let because = rows.iter().find_map(|row| row.because.as_ref()).or(file.because.as_ref()).cloned();
    match (nearest, because) {
        (Some(list), _) if list.is_empty() => State::Done(String::new()),
        (Some(_), Some(why)) => State::Different(why),
        (Some(list), None) => State::Unexplained(list.join("; ")),
        (None, Some(why)) => State::Off(why),
        (None, None) => State::Missing,
    }
}

fn differences(guide: &GuideCode, row: &TableRow) -> Vec<String> {
    let (display, system) = (row.display.as_deref().unwrap_or_default(), row.system.as_deref().unwrap_or_default());
    let parts = [
        (guide.to != row.to).then(|| told("code", &guide.to, &row.to)),
        (guide.system != system).then(|| told("system", &guide.system, system)),
        (fold(&guide.display) != fold(display)).then(|| told("display", &guide.display, display)),
    ];
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_done_different_off_or_a_gap() {
        let file =
            |row: &str| serde_saphyr::from_str::<TableFile>(&format!("table: Yes/No\nrows: [{row}]")).expect("a table");
        let code = |to: &str| GuideCode { from: "Y".into(), to: to.into(), display: "Yes".into(), system: "s".into() };
        let state = |row| state(&code("true"), &file(row));
        assert_eq!(state("{from: Y, to: \"true\", display: yes, system: s}"), State::Done(String::new()));
        assert_eq!(state("{from: Y, to: yes, because: R4.}"), State::Different("R4.".into()));
        assert_eq!(state("{from: N, to: no}"), State::Missing);
        assert_eq!(
            state("{from: Y, to: yes, display: Yes, system: s}"),
            State::Unexplained("code `true`, here `yes`".into())
        );
    }

    #[test]
    fn a_slash_in_the_name_makes_no_other_table() {
        let ours = serde_saphyr::from_str::<TableFile>("table: Yes/No\nrows: []").expect("a table");
        let mut spellings = Spellings::new();
        let report = table(&GuideTable { name: "YesNo".into(), rows: vec![] }, &[ours], &mut spellings);
        assert!(report.present && !report.has_gap());
        assert_eq!(spellings.first(), Some(&("YesNo".to_owned(), "Yes/No".to_owned())));
    }
}
