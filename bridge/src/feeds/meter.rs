//! What a feed does: counts, and the last hour by the minute. Of this process, since its start; no patient data.

use crate::error::{Fault, IngestError};
use crate::feeds::Outcome;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Minutes that are remembered one by one.
pub const MINUTES: usize = 60;
const MINUTE: i64 = 60_000;

/// Messages by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub accepted: u64,
    pub quarantined: u64,
    /// By the sender's fault: AE or AR.
    pub refused: u64,
    /// By ours, or told to try again.
    pub failed: u64,
}

impl Counts {
    /// All of them.
    pub fn all(&self) -> u64 {
        self.accepted + self.quarantined + self.refused + self.failed
    }

    /// All together.
    pub fn sum<'c>(counts: impl IntoIterator<Item = &'c Self>) -> Self {
        counts.into_iter().fold(Self::default(), |sum, one| Self {
            accepted: sum.accepted + one.accepted,
            quarantined: sum.quarantined + one.quarantined,
            refused: sum.refused + one.refused,
            failed: sum.failed + one.failed,
        })
    }

    /// How many of a thousand were not accepted.
    pub fn errors_in_thousand(&self) -> u64 {
        (self.all() - self.accepted) * 1_000 / self.all().max(1)
    }

    fn add(&mut self, outcome: Outcome) {
        let count = match outcome {
            Outcome::Accepted => &mut self.accepted,
            Outcome::Quarantined => &mut self.quarantined,
            Outcome::Refused => &mut self.refused,
            Outcome::Failed => &mut self.failed,
        };
        *count += 1;
    }
}

impl Outcome {
    /// What a failure counts as.
    pub fn of(error: &IngestError) -> Self {
        if error.fault() == Fault::Sender { Self::Refused } else { Self::Failed }
    }
}

/// What was counted.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    pub total: Counts,
    /// Milliseconds since 1970.
    pub last: Option<i64>,
    /// Open connections.
    pub connections: usize,
    /// Of the last hour, the oldest minute first; the present one is the last.
    pub minutes: Vec<Counts>,
}

#[derive(Debug, Default)]
struct Inner {
    total: Counts,
    last: Option<i64>,
    connections: usize,
    /// Minutes since 1970 in which something came, and what.
    minutes: VecDeque<(i64, Counts)>,
}

/// Counts what one feed sends.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Inner>);

impl Meter {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a message; `now` in milliseconds since 1970.
    pub fn count(&self, outcome: Outcome, now: i64) {
        let mut inner = self.inner();
        inner.total.add(outcome);
        inner.last = Some(now);
        let minute = now.div_euclid(MINUTE);
        if inner.minutes.back().is_none_or(|(last, _)| *last < minute) {
            inner.minutes.push_back((minute, Counts::default()));
        }
        if inner.minutes.len() > MINUTES {
            inner.minutes.pop_front();
        }
        if let Some((_, counts)) = inner.minutes.back_mut() {
            counts.add(outcome);
        }
    }

    /// A connection was opened, or closed.
    pub fn connected(&self, open: bool) {
        let mut inner = self.inner();
        inner.connections = if open { inner.connections + 1 } else { inner.connections.saturating_sub(1) };
    }

    /// What was counted until now.
    pub fn read(&self, now: i64) -> Reading {
        let inner = self.inner();
        let present = now.div_euclid(MINUTE);
        let mut minutes = vec![Counts::default(); MINUTES];
        for (minute, counts) in &inner.minutes {
            let at = *minute - present + MINUTES as i64 - 1;
            if let Some(place) = usize::try_from(at).ok().and_then(|at| minutes.get_mut(at)) {
                *place = *counts;
            }
        }
        Reading { total: inner.total, last: inner.last, connections: inner.connections, minutes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hour_is_told_by_the_minute() {
        let meter = Meter::default();
        meter.count(Outcome::Accepted, 0);
        meter.count(Outcome::Refused, MINUTE);
        meter.count(Outcome::Accepted, MINUTE + 1);
        meter.connected(true);
        let reading = meter.read(2 * MINUTE);
        assert_eq!(reading.minutes.len(), MINUTES);
        assert_eq!((reading.minutes[57].all(), reading.minutes[58].all(), reading.minutes[59].all()), (1, 2, 0));
        assert_eq!((reading.total.errors_in_thousand(), reading.last, reading.connections), (333, Some(MINUTE + 1), 1));
        assert_eq!(Counts::sum(&reading.minutes), reading.total);
        let later = meter.read(61 * MINUTE);
        assert_eq!((later.minutes.iter().map(Counts::all).sum::<u64>(), later.total.all()), (0, 3));
        for n in 0..200 {
            meter.count(Outcome::Failed, n * MINUTE);
        }
        assert!(meter.inner().minutes.len() <= MINUTES);
    }
}
