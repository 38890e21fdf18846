//! When others were last heard of, by this process: for the administrator's page.

use crate::config::ParticipantId;
use crate::limits::MAX_PARTICIPANTS;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last signed request or answer of each, in seconds since 1970.
#[derive(Debug, Default)]
pub struct Met(Mutex<HashMap<ParticipantId, u64>>);

impl Met {
    /// Somebody signed something at this time.
    pub fn saw(&self, who: &ParticipantId, now: u64) {
        let mut all = self.all();
        if all.len() < MAX_PARTICIPANTS || all.contains_key(who) {
            all.insert(who.clone(), now);
        }
    }

    /// When that was, if it was since this process began.
    pub fn when(&self, who: &ParticipantId) -> Option<u64> {
        self.all().get(who).copied()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<ParticipantId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_time_counts_and_there_is_a_bound() {
        let (met, id) = (Met::default(), |n: usize| ParticipantId::parse(&format!("p{n}")).unwrap());
        met.saw(&id(0), 5);
        met.saw(&id(0), 7);
        assert_eq!((met.when(&id(0)), met.when(&id(1))), (Some(7), None));
        (1..=MAX_PARTICIPANTS).for_each(|n| met.saw(&id(n), 9));
        met.saw(&id(0), 11);
        assert_eq!((met.when(&id(0)), met.when(&id(MAX_PARTICIPANTS))), (Some(11), None));
    }
}
