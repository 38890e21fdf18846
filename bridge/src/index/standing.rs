//! Where a subscription stands with its deliveries, and what the outcome of a turn makes of that. Pure.

/// How a turn of a subscription ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took everything up to this event.
    Took { upto: u64 },
    /// It did not: the next try is at `due`.
    Missed { due: i64 },
    /// There was nothing to do: it is looked at again at `due`, unless there is something meanwhile.
    Rest { due: i64 },
    /// It is looked at again at `due`, whatever waits.
    Wait { due: i64 },
}

/// What the outcomes of turns change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) handshake: bool,
    pub(super) failures: u32,
    pub(super) failing: Option<i64>,
    pub(super) last: i64,
    pub(super) sent: u64,
    pub(super) due: i64,
    /// There are events that were not sent yet.
    pub(super) waits: bool,
}

impl Standing {
    /// What is kept after an outcome.
    pub(super) fn after(self, outcome: Outcome, now: i64) -> Self {
        match outcome {
            // Due at once: the next turn sees whether more waits, and when the heartbeat is due.
            Outcome::Took { upto } => Self {
                handshake: false,
                failures: 0,
                failing: None,
                last: now,
                sent: self.sent.max(upto),
                due: now,
                ..self
            },
            Outcome::Missed { due } => {
                Self { failures: self.failures.saturating_add(1), failing: self.failing.or(Some(now)), due, ..self }
            }
            // The follower may have queued an event after the deliverer looked: that event's turn must not be put off.
            Outcome::Rest { .. } if self.handshake || self.waits => self,
            Outcome::Rest { due } | Outcome::Wait { due } => Self { due, ..self },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_of_a_turn_changes_what_it_tells_of_and_no_more() {
        let fresh = Standing { handshake: true, failures: 0, failing: None, last: 1, sent: 0, due: 1, waits: false };
        let quiet = Standing { handshake: false, last: 50, sent: 4, due: 50, ..fresh };
        let failing = Standing { failures: 2, failing: Some(60), due: 90, waits: true, ..quiet };
        for (before, outcome, after) in [
            (fresh, Outcome::Took { upto: 0 }, Standing { handshake: false, last: 100, due: 100, ..fresh }),
            (fresh, Outcome::Missed { due: 200 }, Standing { failures: 1, failing: Some(100), due: 200, ..fresh }),
            (fresh, Outcome::Rest { due: 900 }, fresh),
            (fresh, Outcome::Wait { due: 900 }, Standing { due: 900, ..fresh }),
            (quiet, Outcome::Took { upto: 0 }, Standing { last: 100, due: 100, ..quiet }),
            (quiet, Outcome::Rest { due: 900 }, Standing { due: 900, ..quiet }),
            (failing, Outcome::Missed { due: 200 }, Standing { failures: 3, due: 200, ..failing }),
            (failing, Outcome::Rest { due: 900 }, failing),
            (failing, Outcome::Wait { due: 900 }, Standing { due: 900, ..failing }),
            (
                failing,
                Outcome::Took { upto: 5 },
                Standing { failures: 0, failing: None, last: 100, sent: 5, due: 100, ..failing },
            ),
        ] {
            assert_eq!(before.after(outcome, 100), after, "{outcome:?}");
        }
    }
}
