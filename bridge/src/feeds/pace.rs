//! How fast something may come: so many a second, and as many at once. Pure: time comes in as an argument.

use crate::limits::MAX_PACED_CLIENTS;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A rate, and what of it is taken (the generic cell rate algorithm).
#[derive(Debug)]
pub struct Pace {
    every: Duration,
    at_once: Duration,
    /// When all that was let through would have come at the very rate.
    due: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many a second; a second's worth may come at once.
    pub fn new(per_second: u32) -> Self {
        Self {
            every: Duration::from_secs(1) / per_second.max(1),
            at_once: Duration::from_secs(1),
            due: Mutex::default(),
        }
    }

    /// Takes a turn, and tells how long to wait for it. Where that is longer than `patience` no turn is taken, and the error tells
    /// how long it would be.
    pub fn turn(&self, now: Instant, patience: Duration) -> Result<Duration, Duration> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let next = due.map_or(now, |due| due.max(now)) + self.every;
        let wait = next.saturating_duration_since(now + self.at_once);
        if wait > patience {
            return Err(wait);
        }
        *due = Some(next);
        Ok(wait)
    }

    /// Whether all that it let through is so long ago that a new one would do the same.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|due| due <= now)
    }
}

/// One rate, for each of many.
#[derive(Debug)]
pub struct Paces {
    per_second: Option<u32>,
    by: Mutex<HashMap<String, Pace>>,
}

impl Paces {
    /// So many a second for each; any number where there is none.
    pub fn new(per_second: Option<u32>) -> Self {
        Self { per_second, by: Mutex::default() }
    }

    /// Takes a turn of somebody's at once, or tells how long until there is one.
    pub fn turn(&self, who: &str, now: Instant) -> Result<(), Duration> {
        let Some(per_second) = self.per_second else { return Ok(()) };
        let mut by = self.by.lock().unwrap_or_else(PoisonError::into_inner);
        if by.len() >= MAX_PACED_CLIENTS && !by.contains_key(who) {
            by.retain(|_, pace| !pace.is_idle(now));
        }
        if by.len() >= MAX_PACED_CLIENTS && !by.contains_key(who) {
            return Err(Duration::from_secs(1));
        }
        let pace = by.entry(who.to_owned()).or_insert_with(|| Pace::new(per_second));
        pace.turn(now, Duration::ZERO).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_comes_at_once_and_then_the_rate_holds() {
        let pace = Pace::new(10);
        let now = Instant::now();
        let patience = Duration::from_millis(250);
        for _ in 0..10 {
            assert_eq!(pace.turn(now, patience), Ok(Duration::ZERO));
        }
        assert_eq!(pace.turn(now, patience), Ok(Duration::from_millis(100)));
        assert_eq!(pace.turn(now, patience), Ok(Duration::from_millis(200)));
        assert_eq!(pace.turn(now, patience), Err(Duration::from_millis(300)));
        assert_eq!(pace.turn(now, patience), Err(Duration::from_millis(300)), "what was refused took no turn");
        let later = now + Duration::from_secs(2);
        assert!(!pace.is_idle(now) && pace.is_idle(later));
        assert_eq!(pace.turn(later, patience), Ok(Duration::ZERO));
    }

    #[test]
    fn each_has_a_rate_of_its_own() {
        let (paces, now) = (Paces::new(Some(1)), Instant::now());
        assert_eq!((paces.turn("a", now), paces.turn("b", now)), (Ok(()), Ok(())));
        assert_eq!(paces.turn("a", now), Err(Duration::from_secs(1)));
        for n in 0..MAX_PACED_CLIENTS {
            _ = paces.turn(&n.to_string(), now);
        }
        assert!(paces.turn("one too many", now).is_err());
        assert!(paces.turn("one too many", now + Duration::from_secs(5)).is_ok(), "the idle are forgotten");
        assert_eq!(Paces::new(None).turn("a", now), Ok(()));
    }
}
