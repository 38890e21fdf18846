//! How much of HL7's guide the maps carry: each of its rows that has a target runs as it says, runs differently for a
//! reason, is off for a reason, or is a gap. `guide` reads the guide's CSV, `reading` and `wording` its spelling, `ours` our maps,
//! `compare` and `vocabulary` set the rows side by side, `print` tells of it.

mod compare;
mod guide;
mod ours;
mod print;
mod reading;
mod vocabulary;
mod wording;

use crate::plan::PlanError;
use crate::sources::Sources;
use guide::{Guide, GuideMap};
use reading::{Place, Reading};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub use print::What;

/// Why nothing could be compared.
#[derive(Debug, thiserror::Error)]
pub enum CoverageError {
    #[error("guide {0}: {1}")]
    Guide(String, String),
    #[error(transparent)]
    Maps(#[from] PlanError),
}

/// The kinds of maps, in the guide's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Message,
    Segment,
    Datatype,
    Table,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Message, Self::Segment, Self::Datatype, Self::Table];

    /// The guide's folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Message => "messages",
            Self::Segment => "segments",
            Self::Datatype => "datatypes",
            Self::Table => "codesystems",
        }
    }
}

/// What has become of a row of the guide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It runs as the guide says; a condition that the guide has in words only, and of which the rule says nothing, stands here.
    Done(String),
    /// It runs otherwise, and why.
    Different(String),
    /// It cannot run, and why.
    Off(String),
    /// There is no rule.
    Missing,
    /// A rule differs in this, and does not say why.
    Unexplained(String),
}

impl State {
    /// A reason has yet to be given, or a rule to be written.
    pub fn is_gap(&self) -> bool {
        matches!(self, Self::Missing | Self::Unexplained(_))
    }
}

/// A row of the guide, or a rule of ours.
#[derive(Debug)]
pub struct Row {
    pub id: String,
    pub state: State,
}

/// One map of the guide beside ours.
#[derive(Debug)]
pub struct MapReport {
    pub kind: Kind,
    pub name: String,
    /// Our maps have one of that name.
    pub present: bool,
    pub rows: Vec<Row>,
    /// Rules of ours that are not in the guide and do not say so, or have the id of another.
    pub faults: Vec<Row>,
}

impl MapReport {
    /// A row without a rule or reason, or the whole map is not there.
    pub fn has_gap(&self) -> bool {
        !self.present || !self.faults.is_empty() || self.rows.iter().any(|row| row.state.is_gap())
    }
}

/// How the conditions of the guide read: distinct ones, with the number of rows that have them.
#[derive(Debug, Default)]
pub struct Conditions {
    pub as_they_stand: BTreeMap<String, usize>,
    pub normalised: BTreeMap<String, usize>,
    pub unreadable: BTreeMap<String, usize>,
}

/// All of the guide beside all of our maps.
#[derive(Debug)]
pub struct Report {
    pub maps: Vec<MapReport>,
    pub conditions: Conditions,
    /// Names that are the same but for capitals, spaces, a slash, or the groups around them: the guide's, and ours.
    pub spellings: BTreeSet<(String, String)>,
}

impl Report {
    /// Compares the guide with the maps of a directory, or with those built in.
    pub fn of(guide: &Path, maps: Option<&Path>) -> Result<Self, CoverageError> {
        let guide = Guide::read(guide)?;
        let ours = maps.map_or_else(Sources::embedded, Sources::load)?;
        Ok(Self::compare(&guide, &ours))
    }

    fn compare(guide: &Guide, ours: &Sources) -> Self {
        let mut spellings = BTreeSet::new();
        let maps = guide.maps.iter().map(|map| compare::map(map, ours, &mut spellings));
        let mut maps: Vec<MapReport> = maps.collect();
        maps.extend(guide.tables.iter().map(|table| vocabulary::table(table, &ours.tables, &mut spellings)));
        Self { maps, conditions: conditions(&guide.maps), spellings }
    }

    /// Nothing is missing, and nothing differs without a reason.
    pub fn is_complete(&self) -> bool {
        !self.maps.iter().any(MapReport::has_gap)
    }
}

fn conditions(maps: &[GuideMap]) -> Conditions {
    let mut conditions = Conditions::default();
    for map in maps {
        for row in map.rows.iter().filter(|row| !row.condition.is_empty()) {
            let list = match Reading::of(&row.condition, place(map, &row.id)) {
                Reading::AsItStands(_) => &mut conditions.as_they_stand,
                Reading::Normalised(_) => &mut conditions.normalised,
                Reading::Unreadable => &mut conditions.unreadable,
            };
            *list.entry(row.condition.clone()).or_default() += 1;
        }
    }
    conditions
}

fn place<'p>(map: &'p GuideMap, row: &'p str) -> Place<'p> {
    Place {
        source: map.name.split('[').next().unwrap_or_default(),
        sign: if map.kind == Kind::Datatype { '.' } else { '-' },
        field: row.split('/').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Maps that are being written.
    const UNDER_WAY: [&str; 2] = ["MDM_T02", "ORM_O01"];

    #[test]
    fn nothing_of_the_guide_is_missing_or_differs_without_a_reason() {
        let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/v2-to-fhir-ig/mappings");
        if !guide.is_dir() {
            println!("skipped: the guide is not here ({})", guide.display());
            return;
        }
        let report = Report::of(&guide, None).unwrap();
        let rows = |kind| report.maps.iter().filter(|map| map.kind == kind).map(|map| map.rows.len()).sum::<usize>();
        assert_eq!(Kind::ALL.map(rows), [402, 1055, 617, 2324], "the guide's rows with a target");
        let told = report.maps.iter().filter(|map| !UNDER_WAY.contains(&map.name.as_str()));
        let gaps: Vec<&str> = told.filter(|map| map.has_gap()).map(|map| map.name.as_str()).collect();
        assert!(gaps.is_empty(), "medseal-map coverage --list missing tells of {gaps:?}");
    }

    #[test]
    fn a_guide_that_is_not_there_is_told_of() {
        let error = Report::of(Path::new("/nowhere"), None).unwrap_err().to_string();
        assert!(error.contains("/nowhere/messages"), "{error}");
    }
}
