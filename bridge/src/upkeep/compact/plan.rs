//! What is to be done to which packs: by the names and lengths of a listing, and by what the index has in each.

use super::made;
use crate::app::keep::Keep;
use crate::error::VaultError;
use crate::index::places::{Lying, State};
use crate::read::in_background;
use crate::upkeep::key_objects::Walk;
use crate::upkeep::recover::packs::{FOLDER, time_of};
use crate::vault::objects::Found;
use std::collections::{HashMap, VecDeque};

/// A pack that is smaller costs more than its bytes: a request, an inode, a line of each listing.
const SMALL: u64 = 1 << 20;
/// How large a joined pack may become, and how many records it may have: it is in memory, and its rows are moved in one
/// transaction, which commits wait for.
const LARGE: u64 = 16 << 20;
const MAX_RECORDS: u64 = 5_000;
/// Each is a request: others wait to be at upkeep.
const MAX_PACKS: usize = 1_000;
/// Fewer are not worth it: each record would be written anew too often.
pub(super) const FEWEST: usize = 8;
/// What may remain of an erased record: its header. What is longer has a body.
const HEADER: u64 = 512;
/// Rows that are read together.
const PAGE: usize = 10_000;

/// A piece of work.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Neighbours become one; one alone is written anew without what is dead in it.
    Join(Vec<Found>),
    /// No row lies in it.
    Collect(Found),
}

/// What the index has in a pack. Some 100 bytes of memory a pack.
#[derive(Debug, Default, Clone, Copy)]
struct Use {
    records: u64,
    /// Bytes of what can be opened.
    live: u64,
}

/// A walk through the packs, oldest first.
pub(super) struct Sweep<'k> {
    walk: Walk<'k>,
    /// What was made later is left alone, and so is the pack of the newest row: a start goes on from its name.
    before: i64,
    newest: String,
    planner: Planner,
    ended: bool,
    pub(super) seen: u64,
    pub(super) total: u64,
}

/// Makes steps of packs in their order.
#[derive(Default)]
struct Planner {
    uses: HashMap<String, Use>,
    /// Packs of one millisecond. Their names do not tell which was committed first: they are joined together or not at all.
    moment: Moment,
    run: Moment,
    ready: VecDeque<Step>,
}

/// Packs that go together.
#[derive(Default)]
struct Moment {
    time: String,
    packs: Vec<Found>,
    length: u64,
    records: u64,
    /// One is among them that stays as it is.
    stays: bool,
}

impl<'k> Sweep<'k> {
    pub(super) async fn new(keep: &'k Keep, before: i64) -> Result<Self, VaultError> {
        let (uses, newest) = uses(keep).await?;
        let (walk, total) = (Walk::new(&keep.objects, FOLDER), uses.len() as u64);
        let planner = Planner { uses, ..Planner::default() };
        Ok(Self { walk, before, newest, planner, ended: false, seen: 0, total })
    }

    pub(super) async fn next(&mut self) -> Result<Option<Step>, VaultError> {
        while self.planner.ready.is_empty() && !self.ended {
            match self.walk.next().await? {
                Some(found) => {
                    self.seen += 1;
                    let is_old = made(&found, FOLDER).is_some_and(|time| time <= self.before);
                    let is_settled = is_old && found.name < self.newest;
                    self.planner.take(found, is_settled);
                }
                None => {
                    self.planner.end();
                    self.ended = true;
                }
            }
        }
        Ok(self.planner.ready.pop_front())
    }
}

/// What the index has in each pack, and the pack of the newest row.
async fn uses(keep: &Keep) -> Result<(HashMap<String, Use>, String), VaultError> {
    let (mut uses, mut newest, mut after) = (HashMap::<String, Use>::new(), String::new(), 0);
    loop {
        let store = keep.store.clone();
        let page = in_background(move || store.lying_after(after, PAGE)).await?;
        let Some(last) = page.last() else { return Ok((uses, newest)) };
        after = last.row;
        newest.clone_from(&last.place.pack);
        page.into_iter().for_each(|lying| count(&mut uses, lying));
    }
}

fn count(uses: &mut HashMap<String, Use>, lying: Lying) {
    let length = u64::from(lying.place.extent.length);
    let used = uses.entry(lying.place.pack).or_default();
    used.records += 1;
    used.live += if lying.state == State::Erased { length.min(HEADER) } else { length };
}

impl Planner {
    fn take(&mut self, found: Found, is_settled: bool) {
        if self.moment.time != time_of(&found.name) {
            self.end_moment();
            self.moment.time = time_of(&found.name).to_owned();
        }
        match self.uses.remove(&found.name) {
            _ if !is_settled => self.moment.stays = true,
            // What no row lies in is not between others: what it has they have as well, or nobody.
            None => self.ready.push_back(Step::Collect(found)),
            Some(used) if found.length > SMALL => {
                self.moment.stays = true;
                if used.live < found.length / 2 {
                    self.ready.push_back(Step::Join(vec![found]));
                }
            }
            Some(used) => self.moment.add(found, used.records),
        }
    }

    /// Neighbours must follow each other: nothing is joined over what stays.
    fn end_moment(&mut self) {
        let moment = std::mem::take(&mut self.moment);
        let (length, records) = (self.run.length + moment.length, self.run.records + moment.records);
        if moment.stays || length > LARGE || records > MAX_RECORDS || self.run.packs.len() >= MAX_PACKS {
            self.end_run();
        }
        if !moment.stays {
            self.run.length += moment.length;
            self.run.records += moment.records;
            self.run.packs.extend(moment.packs);
        }
    }

    fn end_run(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.packs.len() >= FEWEST {
            self.ready.push_back(Step::Join(run.packs));
        }
    }

    fn end(&mut self) {
        self.end_moment();
        self.end_run();
    }
}

impl Moment {
    fn add(&mut self, found: Found, records: u64) {
        self.length += found.length;
        self.records += records;
        self.packs.push(found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned_of(at_once: usize, packs: &[(u64, u64, u64, bool)]) -> Vec<Vec<usize>> {
        let found = |n: usize, length| Found { name: format!("packs/{}-{n}", n / at_once), length, changed: 0 };
        let mut planner = Planner::default();
        for (n, (_, records, live, _)) in packs.iter().enumerate().filter(|(_, pack)| pack.1 > 0) {
            planner.uses.insert(found(n, 0).name, Use { records: *records, live: *live });
        }
        for (n, (length, _, _, is_settled)) in packs.iter().enumerate() {
            planner.take(found(n, *length), *is_settled);
        }
        planner.end();
        let number = |found: &Found| found.name.split_once('-').unwrap().1.parse().unwrap();
        let numbers = |step: &Step| match step {
            Step::Join(run) => run.iter().map(number).collect(),
            Step::Collect(found) => vec![999, number(found)],
        };
        planner.ready.iter().map(numbers).collect()
    }

    fn planned(packs: &[(u64, u64, u64, bool)]) -> Vec<Vec<usize>> {
        planned_of(1, packs)
    }

    #[test]
    fn neighbours_are_joined_and_the_dead_are_written_anew() {
        let small = (1_000, 5, 900, true);
        let eight = [small; 8];
        assert_eq!(planned(&eight), [(0..8).collect::<Vec<_>>()]);
        assert!(planned(&[small; 7]).is_empty(), "too few");
        let apart = |one| [[small; 4].as_slice(), &[one], &[small; 4]].concat();
        assert!(planned(&apart((2 << 20, 9, 2 << 20, true))).is_empty(), "a large one is between");
        assert!(planned(&apart((1_000, 5, 900, false))).is_empty(), "what is new is between");
        assert_eq!(planned(&apart((1_000, 0, 0, true))), [vec![999, 4], vec![0, 1, 2, 3, 5, 6, 7, 8]]);
        assert_eq!(planned(&[(2 << 20, 9, 1 << 19, true)]), [[0]], "mostly dead");
        let large = [(1 << 20, 5, 1 << 20, true); 20];
        assert_eq!(planned(&large), [(0..16).collect::<Vec<_>>()], "as large as it may be");
        let mut two = [[small; 10].as_slice(), &[(2 << 20, 9, 2 << 20, true)]].concat();
        assert_eq!(planned_of(4, &two), [(0..8).collect::<Vec<_>>()], "of one moment all or none");
        two.swap(8, 10);
        assert_eq!(planned_of(2, &two), [(0..8).collect::<Vec<_>>()]);
        let many = [(1_000, 600, 900, true); 18];
        assert_eq!(planned(&many), [(0..8).collect::<Vec<_>>(), (8..16).collect()]);
    }
}
