//! What waits to be told. Bounded: when it is full, whoever reads waits, because what is not told must not be shown.

use super::event::{Access, Detail};
use crate::limits::{MAX_AUDIT_ENTITIES, MAX_AUDIT_WAITING};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How long a query is that takes as much room as a resource's name, in bytes.
const QUERY_UNIT: usize = 256;

/// Accesses that are not committed yet.
#[derive(Default)]
pub struct Trail {
    waiting: Mutex<Waiting>,
    /// It is half full.
    pub crowded: Notify,
    /// Room was made.
    pub emptied: Notify,
    /// What was tried last could not be committed.
    failing: AtomicBool,
    /// Held while what was taken out is committed: who asks for everything to be told waits for what is under way, too.
    pub telling: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Waiting {
    open: HashMap<Access, Detail>,
    /// Those that have as much as one event holds.
    full: Vec<(Access, Detail)>,
}

/// Nothing more fits in: what has been gathered must be committed first.
#[derive(Debug, PartialEq, Eq)]
pub struct Full;

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").field("waiting", &self.len()).finish_non_exhaustive()
    }
}

impl Trail {
    /// Adds what was done, all of it; or gives it back, where there is no room for it.
    pub fn add(&self, accesses: Vec<(Access, Detail)>) -> Result<(), Vec<(Access, Detail)>> {
        let mut waiting = self.lock();
        if waiting.len() + accesses.len() > MAX_AUDIT_WAITING {
            return Err(accesses);
        }
        for (access, detail) in accesses {
            waiting.add(access, detail);
        }
        if waiting.len() > MAX_AUDIT_WAITING / 2 {
            self.crowded.notify_one();
        }
        Ok(())
    }

    /// Takes everything.
    pub fn take(&self) -> Vec<(Access, Detail)> {
        let Waiting { open, full } = std::mem::take(&mut *self.lock());
        full.into_iter().chain(open).collect()
    }

    /// Puts back what could not be committed, whether there is room for it or not: it must not be lost.
    pub fn put_back(&self, taken: Vec<(Access, Detail)>) {
        let mut waiting = self.lock();
        for (access, detail) in taken {
            waiting.add(access, detail);
        }
    }

    /// Whether what was tried last could not be committed.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// What was tried was committed, or not.
    pub fn note(&self, failing: bool) {
        self.failing.store(failing, Ordering::Relaxed);
    }

    /// Whether nothing more fits in.
    pub fn is_full(&self) -> bool {
        self.len() >= MAX_AUDIT_WAITING
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.open.len() + self.full.len()
    }

    fn add(&mut self, access: Access, detail: Detail) {
        let Some(known) = self.open.get_mut(&access) else {
            self.open.insert(access, detail);
            return;
        };
        if known.entities() + detail.entities() > MAX_AUDIT_ENTITIES {
            let full = std::mem::replace(known, detail);
            self.full.push((access, full));
            return;
        }
        known.first = known.first.min(detail.first);
        known.last = known.last.max(detail.last);
        known.times = known.times.saturating_add(detail.times);
        known.resources.extend(detail.resources);
        known.queries.extend(detail.queries);
        known.because.extend(detail.because);
        known.emergencies.extend(detail.emergencies);
        known.answers.extend(detail.answers);
    }
}

impl Detail {
    /// Of a moment.
    pub fn at(time: Timestamp) -> Self {
        let (resources, queries, because, emergencies, answers) = Default::default();
        Self { first: time, last: time, resources, queries, because, emergencies, answers, times: 1 }
    }

    fn entities(&self) -> usize {
        let said = self.resources.len() + self.because.len() + self.answers.len();
        said + self.queries.iter().map(|query| 1 + query.len() / QUERY_UNIT).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Did, Outcome, Who};
    use super::*;
    use crate::ids::{Name, Version};

    fn access(client: &str, patient: &str) -> Access {
        let who = Some(Who { client: client.into(), user: None, purpose: None, behalf: None });
        Access { who, did: Did("read"), outcome: Outcome::Done, patient: Name::parse(patient) }
    }

    fn detail(second: i64, resource: &str) -> Detail {
        let resources = [(Name::parse(resource).unwrap(), Version(1))].into();
        Detail { resources, ..Detail::at(Timestamp::from_second(second).unwrap()) }
    }

    #[test]
    fn a_chart_that_is_read_makes_one_event_for_each_reader_and_record() {
        let trail = Trail::default();
        for n in 0..50 {
            trail.add(vec![(access("a", "Patient/p"), detail(n, &format!("Observation/o{n}")))]).unwrap();
        }
        trail.add(vec![(access("b", "Patient/p"), detail(1, "Observation/o1"))]).unwrap();
        trail.add(vec![(access("a", "Patient/q"), detail(1, "Patient/q"))]).unwrap();
        let mut taken = trail.take();
        taken.sort_by_key(|(_, detail)| detail.resources.len());
        assert_eq!(taken.iter().map(|(_, d)| d.resources.len()).collect::<Vec<_>>(), [1, 1, 50]);
        assert_eq!((taken[2].1.first.as_second(), taken[2].1.last.as_second()), (0, 49));
        assert!(trail.is_empty());
    }

    #[test]
    fn nothing_is_dropped_and_no_event_grows_without_end() {
        let trail = Trail::default();
        let resources = 3 * MAX_AUDIT_ENTITIES;
        for n in 0..resources {
            trail.add(vec![(access("a", "Patient/p"), detail(1, &format!("Observation/o{n}")))]).unwrap();
        }
        let taken = trail.take();
        assert_eq!(taken.iter().map(|(_, d)| d.resources.len()).sum::<usize>(), resources);
        assert!(taken.iter().all(|(_, d)| d.resources.len() <= MAX_AUDIT_ENTITIES));
        let many: Vec<_> =
            (0..MAX_AUDIT_WAITING).map(|n| (access(&n.to_string(), "Patient/p"), detail(1, "Patient/p"))).collect();
        trail.add(many).unwrap();
        assert!(trail.add(vec![(access("x", "Patient/p"), detail(1, "Patient/p"))]).is_err());
        trail.put_back(taken);
        assert!(trail.len() > MAX_AUDIT_WAITING, "what could not be committed stays");
    }
}
