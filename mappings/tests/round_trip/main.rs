//! The law of the maps to v2: a message that goes to FHIR and back has every component again that the forward maps used, at
//! the same place and with an equal meaning. `exceptions.yaml` has what cannot be so, each with its reason; the test prints
//! what was kept, and fails where something was lost without a reason.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod compare;
mod message;

use compare::{Exceptions, Outcome, Tables};
use mappings::charset::{Charset, decode};
use mappings::maps::MapSet;
use mappings::parse::Message;
use mappings::to_v2::Set;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What became of the components of many messages.
#[derive(Default)]
struct Tally {
    messages: usize,
    refused: usize,
    same: usize,
    moved: usize,
    excepted: usize,
    lost: BTreeMap<String, Vec<String>>,
    reasons: BTreeMap<String, usize>,
}

struct Law {
    forward: MapSet,
    back: Set,
    tables: Tables,
    exceptions: Exceptions,
}

impl Law {
    fn new() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self {
            forward: MapSet::embedded().unwrap(),
            back: Set::embedded().unwrap(),
            tables: Tables::read(&root.join("maps")),
            exceptions: Exceptions::read(&root.join("tests/round_trip/exceptions.yaml")),
        }
    }

    fn hold(&self, text: &str, name: &str, tally: &mut Tally) {
        let Some(trip) = message::trip(&self.forward, &self.back, text) else { return };
        match trip {
            Ok(trip) => {
                tally.messages += 1;
                for (place, outcome) in compare::compare(&trip, &self.tables, &self.exceptions) {
                    tally.add(place, outcome, name);
                }
            }
            Err(why) => {
                tally.refused += 1;
                println!("{name}: {why}");
            }
        }
    }
}

impl Tally {
    fn add(&mut self, place: String, outcome: Outcome, name: &str) {
        match outcome {
            Outcome::Same => self.same += 1,
            Outcome::Moved(reason) => {
                self.moved += 1;
                *self.reasons.entry(reason).or_default() += 1;
            }
            Outcome::Excepted(reason) => {
                self.excepted += 1;
                *self.reasons.entry(reason).or_default() += 1;
            }
            Outcome::Lost => self.lost.entry(place).or_default().push(name.to_owned()),
        }
    }

    fn lost(&self) -> usize {
        self.lost.values().map(Vec::len).sum()
    }

    fn all(&self) -> usize {
        self.same + self.moved + self.excepted + self.lost()
    }

    fn print(&self, what: &str) {
        let share = |n: usize| n as f64 * 100.0 / self.all().max(1) as f64;
        println!(
            "{what}: {} messages ({} refused), {} components that the forward maps used: {:.2} % at the same place, \
             {:.2} % at another place, {:.2} % excepted, {} lost without a reason",
            self.messages,
            self.refused,
            self.all(),
            share(self.same),
            share(self.moved),
            share(self.excepted),
            self.lost(),
        );
        self.reasons.iter().for_each(|(reason, n)| println!("  {n:>6} {reason}"));
        for (place, names) in &self.lost {
            println!("  LOST {place} {} times, first in {}", names.len(), names[0]);
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path()) {
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "hl7" || e == "txt") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The messages of a file, one by one.
fn each(path: &Path, mut run: impl FnMut(&str)) {
    let bytes = std::fs::read(path).unwrap();
    let Ok(decoded) = decode(&bytes, Charset::Utf8) else { return };
    mappings::batch::messages(&decoded.text).into_iter().filter(|text| Message::parse(text).is_ok()).for_each(&mut run);
}

#[test]
fn our_own_cases_come_back() {
    let law = Law::new();
    let mut tally = Tally::default();
    for path in files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")) {
        each(&path, |text| law.hold(text, &message::short(&path), &mut tally));
    }
    tally.print("own cases");
    assert!(tally.messages >= 7, "{}", tally.messages);
    assert_eq!(tally.refused, 0);
    assert!(tally.lost.is_empty(), "something was lost without a reason: see above");
}

#[test]
fn messages_of_the_corpora_come_back() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/hl7v2");
    if !corpora.is_dir() {
        println!("skipped: the corpora are not here ({})", corpora.display());
        return;
    }
    let law = Law::new();
    let mut tally = Tally::default();
    for path in files(&corpora) {
        each(&path, |text| law.hold(text, &message::short(&path), &mut tally));
    }
    tally.print("corpora");
    assert!(tally.messages > 300, "{}", tally.messages);
    // Odd messages lose odd things; the own cases above hold the law to the letter.
    assert!(tally.lost() * 200 < tally.all(), "more than one in 200 was lost without a reason");
}
