//! Coverage for people to read.

use super::{Conditions, Kind, MapReport, Report, Row, State};
use std::collections::BTreeMap;
use std::fmt;

/// The rows that a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum What {
    Done,
    Different,
    Off,
    /// Those that are missing, and those that differ without a reason.
    Missing,
}

impl What {
    fn shows(self, state: &State) -> bool {
        match self {
            Self::Done => matches!(state, State::Done(_)),
            Self::Different => matches!(state, State::Different(_)),
            Self::Off => matches!(state, State::Off(_)),
            Self::Missing => state.is_gap(),
        }
    }
}

/// How many rows are in which state.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    done: usize,
    different: usize,
    off: usize,
    missing: usize,
    unexplained: usize,
}

impl Tally {
    fn of<'r>(rows: impl Iterator<Item = &'r Row>) -> Self {
        let mut tally = Self::default();
        for row in rows {
            *tally.slot(&row.state) += 1;
        }
        tally
    }

    fn slot(&mut self, state: &State) -> &mut usize {
        match state {
            State::Done(_) => &mut self.done,
            State::Different(_) => &mut self.different,
            State::Off(_) => &mut self.off,
            State::Missing => &mut self.missing,
            State::Unexplained(_) => &mut self.unexplained,
        }
    }

    fn all(self) -> usize {
        self.done + self.different + self.off + self.missing + self.unexplained
    }

    /// The share of the rows that run.
    fn share(self) -> f64 {
        100.0 * (self.done + self.different) as f64 / self.all().max(1) as f64
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { done, different, off, missing, unexplained } = self;
        let all = self.all();
        write!(
            f,
            "{all:>5} rows {done:>5} done {different:>4} differ {off:>4} off {missing:>4} missing {unexplained:>4} unexplained"
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for map in &self.maps {
            let absent = if map.present { "" } else { "  there is no such map" };
            write!(f, "{:<56} {}{absent}", map.name, Tally::of(map.rows.iter()))?;
            match map.faults.len() {
                0 => writeln!(f)?,
                faults => writeln!(f, "  {faults} rules of our own do not say why")?,
            }
        }
        writeln!(f)?;
        for kind in Kind::ALL {
            total(f, kind.folder(), self.maps.iter().filter(|map| map.kind == kind))?;
        }
        total(f, "maps without vocabulary", self.maps.iter().filter(|map| map.kind != Kind::Table))?;
        let in_words = |row: &&Row| matches!(&row.state, State::Done(words) if !words.is_empty());
        let in_words = self.maps.iter().flat_map(|map| &map.rows).filter(in_words).count();
        writeln!(f, "\nrows done whose condition the guide has in words only: {in_words}")?;
        write!(f, "{}", self.conditions)?;
        for (guide, ours) in &self.spellings {
            writeln!(f, "the guide's {guide} is here {ours}")?;
        }
        Ok(())
    }
}

fn total<'m>(f: &mut fmt::Formatter<'_>, what: &str, maps: impl Iterator<Item = &'m MapReport>) -> fmt::Result {
    let maps: Vec<&MapReport> = maps.collect();
    let present = maps.iter().filter(|map| map.present).count();
    let tally = Tally::of(maps.iter().flat_map(|map| &map.rows));
    let what = format!("{what}: {present} of {}", maps.len());
    writeln!(f, "{what:<56} {tally}  {:.1} % run", tally.share())
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |list: &BTreeMap<String, usize>| format!("{} (in {} rows)", list.len(), list.values().sum::<usize>());
        writeln!(f, "conditions that read as they stand: {}", count(&self.as_they_stand))?;
        writeln!(f, "conditions that read with their spelling put right: {}", count(&self.normalised))?;
        writeln!(f, "conditions that do not read: {}", count(&self.unreadable))?;
        self.unreadable.keys().try_for_each(|condition| writeln!(f, "  {condition}"))
    }
}

impl Report {
    /// The rows of one kind, one a line, with the reason.
    pub fn list(&self, what: What) -> String {
        let mut lines = String::new();
        for map in &self.maps {
            if what == What::Missing && !map.present {
                lines.push_str(&format!("{}\tthere is no such map\n", map.name));
            }
            for row in map.rows.iter().chain(&map.faults).filter(|row| what.shows(&row.state)) {
                lines.push_str(&format!("{}/{}\t{}\n", map.name, row.id, row.state));
            }
        }
        lines
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done(words) if words.is_empty() => write!(f, "done"),
            Self::Done(words) => write!(f, "done, and the guide says in words: {words}"),
            Self::Different(why) | Self::Off(why) => write!(f, "{why}"),
            Self::Missing => write!(f, "missing"),
            Self::Unexplained(what) => write!(f, "differs without a reason: {what}"),
        }
    }
}
