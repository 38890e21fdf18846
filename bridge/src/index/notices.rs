//! What the followers of subscriptions keep in the index: how far they have come, which subscription is due when, which row
//! was an event for whom. Holds no patient data.

use super::lease;
use super::sql::{Bulk, Connection, Row, values};
use super::standing::{Outcome, Standing};
use super::store::{Store, StoreError, Stored, resource_id, set, stored_rows};
use crate::ids::{ResourceId, TypeName};
use std::collections::{BTreeMap, HashSet};

/// A subscription as the deliverer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    pub id: ResourceId,
    /// The version of the Subscription that counts.
    pub row: i64,
    /// The version with which a client let it begin, or begin anew.
    pub begun: i64,
    /// The receiver has still to be asked whether it listens.
    pub handshake: bool,
    /// Failures since the last success.
    pub failures: u32,
    /// When the first of them was, in milliseconds.
    pub failing: Option<i64>,
    /// When something was last sent.
    pub last: i64,
    /// Events since it was made.
    pub events: u64,
}

/// One event of one subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub number: u64,
    pub row: i64,
    pub made: i64,
}

/// What happened to the rows up to one.
#[derive(Debug, Default)]
pub struct Followed {
    /// Of the lease: what was followed under another one may have been followed by another replica since.
    pub epoch: i64,
    pub upto: i64,
    pub changes: Vec<Change>,
    /// A subscription, and the row that is an event for it.
    pub events: Vec<(ResourceId, i64)>,
}

/// What became of a Subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A client wants it: it begins, or begins anew.
    Begun {
        id: ResourceId,
        row: i64,
        waiting: Waiting,
    },
    /// This server wrote down how it is.
    Noted(ResourceId, i64),
    Ended(ResourceId),
}

/// What becomes of the events of a subscription that begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It asks for the same: they are sent after the handshake.
    Kept,
    /// It asks for something else: they are forgotten, and it counts from 1 again.
    Dropped,
}

const COLUMNS: &str = "id, row, begun, handshake, failures, failing, last, events";

impl Store {
    /// How far the rows were followed.
    pub fn followed(&self) -> Result<i64, StoreError> {
        let value = self.setting("followed")?;
        value.map_or(Ok(0), |v| v.parse().map_err(|_| StoreError::Nonsense("the followed row")))
    }

    /// The next rows of some types, and how far that looked.
    pub fn rows_after(&self, kinds: &[TypeName], after: i64, limit: usize) -> Result<(Vec<Stored>, i64), StoreError> {
        const SQL: &str = "SELECT row FROM record WHERE type = ?1 AND row > ?2 AND row <= ?3 ORDER BY row LIMIT ?4";
        self.read(|c| {
            let mut upto = c.number("SELECT coalesce(max(row), 0) FROM record", &[])?;
            let mut rows = Vec::new();
            for kind in kinds {
                let found = c.rows(SQL, values![kind.as_str(), after, upto, limit as i64], |r| r.int(0))?;
                // What was found is whole up to the last row only.
                if let Some(last) = found.last().filter(|_| found.len() == limit) {
                    upto = *last;
                }
                rows.extend(found);
            }
            rows.retain(|row| *row <= upto);
            Ok((stored_rows(c, &rows)?, upto))
        })
    }

    /// Notes what was found in the rows, all or nothing. What is due now is due at `now`.
    pub fn follow(&self, followed: &Followed, now: i64) -> Result<(), StoreError> {
        self.transaction(|c| {
            lease::check(c, followed.epoch)?;
            for change in &followed.changes {
                apply(c, change, now)?;
            }
            note(c, &followed.events, now)?;
            set(c, "followed", &followed.upto.to_string())
        })
    }

    /// Every subscription.
    pub fn subscriptions(&self) -> Result<Vec<Subscribed>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscription ORDER BY id");
        self.read(|c| c.rows(&sql, &[], subscribed))
    }

    /// The subscriptions that are on, and those that were committed since the rows were followed.
    pub fn subscribed_ids(&self) -> Result<HashSet<ResourceId>, StoreError> {
        const SQL: &str = "SELECT id FROM subscription UNION \
             SELECT id FROM record WHERE type = 'Subscription' AND current = 1 AND deleted = 0 AND row > ?1";
        let after = self.followed()?;
        self.read(|c| Ok(c.rows(SQL, values![after], |r| resource_id(r, 0))?.into_iter().collect()))
    }

    /// One subscription.
    pub fn subscription(&self, id: &ResourceId) -> Result<Option<Subscribed>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscription WHERE id = ?1");
        self.read(|c| c.first(&sql, values![id.as_str()], subscribed))
    }

    /// The subscriptions that are due, and when the next one is.
    pub fn due(&self, now: i64) -> Result<(Vec<ResourceId>, Option<i64>), StoreError> {
        self.read(|c| {
            let sql = "SELECT id FROM subscription WHERE due <= ?1 ORDER BY due";
            let ids = c.rows(sql, values![now], |r| resource_id(r, 0))?;
            let next = "SELECT min(due) FROM subscription WHERE due > ?1";
            Ok((ids, c.first(next, values![now], |r| r.maybe_int(0))?.flatten()))
        })
    }

    /// The events of a subscription from a number on.
    pub fn notices(&self, id: &ResourceId, from: u64, to: u64, limit: usize) -> Result<Vec<Notice>, StoreError> {
        const SQL: &str = "SELECT number, row, made FROM notification \
             WHERE subscription = ?1 AND number >= ?2 AND number <= ?3 ORDER BY number LIMIT ?4";
        let bound = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.read(|c| {
            let values = values![id.as_str(), bound(from), bound(to), limit as i64];
            c.rows(SQL, values, |r| Ok(Notice { number: r.size(0)?, row: r.int(1)?, made: r.int(2)? }))
        })
    }

    /// The number of the first event that was not sent yet.
    pub fn unsent(&self, id: &ResourceId) -> Result<Option<u64>, StoreError> {
        const SQL: &str = "SELECT min(n.number) FROM notification n JOIN subscription s ON s.id = n.subscription \
             WHERE s.id = ?1 AND n.number > s.sent";
        self.read(|c| Ok(c.first(SQL, values![id.as_str()], |r| r.maybe_int(0))?.flatten().map(|n| n as u64)))
    }

    /// Notes how a turn ended, unless the subscription ended or began anew since that turn began: what the receiver of before
    /// answered says nothing of the one of now. Only so many events that were sent are kept.
    pub fn settle(&self, of: &Subscribed, outcome: Outcome, now: i64, keep: u64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE subscription SET handshake = ?2, failures = ?3, failing = ?4, last = ?5, sent = ?6, \
             due = ?7 WHERE id = ?1";
        const OLD: &str = "DELETE FROM notification WHERE subscription = ?1 AND number <= ?2";
        self.transaction(|c| {
            // The follower may be about to queue an event: it comes before this or after it.
            c.hold("SELECT id FROM subscription WHERE id = ?1", values![of.id.as_str()])?;
            let Some(standing) = standing(c, of)? else { return Ok(()) };
            let Standing { handshake, failures, failing, last, sent, due, waits: _ } = standing.after(outcome, now);
            c.execute(SQL, values![of.id.as_str(), handshake, failures, failing, last, sent as i64, due])?;
            c.execute(OLD, values![of.id.as_str(), sent.saturating_sub(keep) as i64]).map(|_| ())
        })
    }

    /// A row by its number.
    pub fn row(&self, row: i64) -> Result<Option<Stored>, StoreError> {
        self.read(|c| Ok(stored_rows(c, &[row])?.pop()))
    }
}

/// How a subscription stands now; nothing: it is another one since.
fn standing(c: &Connection, of: &Subscribed) -> Result<Option<Standing>, StoreError> {
    const SQL: &str = "SELECT handshake, failures, failing, last, sent, due, (SELECT count(*) FROM notification n \
         WHERE n.subscription = s.id AND n.number > s.sent) FROM subscription s WHERE id = ?1 AND begun = ?2";
    c.first(SQL, values![of.id.as_str(), of.begun], |r| {
        Ok(Standing {
            handshake: r.flag(0)?,
            failures: r.small(1)?,
            failing: r.maybe_int(2)?,
            last: r.int(3)?,
            sent: r.size(4)?,
            due: r.int(5)?,
            waits: r.flag(6)?,
        })
    })
}

fn apply(c: &Connection, change: &Change, now: i64) -> Result<(), StoreError> {
    const BEGIN: &str = "INSERT INTO subscription (id, row, begun, handshake, failures, failing, last, events, sent, due) \
         VALUES (?1, ?2, ?2, 1, 0, NULL, ?3, 0, 0, ?3) \
         ON CONFLICT (id) DO UPDATE SET row = ?2, begun = ?2, handshake = 1, failures = 0, failing = NULL, due = ?3";
    match change {
        Change::Begun { id, row, waiting } => {
            if *waiting == Waiting::Dropped {
                end(c, id)?;
            }
            c.execute(BEGIN, values![id.as_str(), *row, now])?;
        }
        Change::Noted(id, row) => {
            c.execute("UPDATE subscription SET row = ?2 WHERE id = ?1", values![id.as_str(), *row])?;
        }
        Change::Ended(id) => end(c, id)?,
    }
    Ok(())
}

fn end(c: &Connection, id: &ResourceId) -> Result<(), StoreError> {
    c.execute("DELETE FROM notification WHERE subscription = ?1", values![id.as_str()])?;
    c.execute("DELETE FROM subscription WHERE id = ?1", values![id.as_str()])?;
    Ok(())
}

/// Events, numbered for each subscription in their order; one that failed before keeps its turn.
fn note(c: &Connection, events: &[(ResourceId, i64)], now: i64) -> Result<(), StoreError> {
    const COUNT: &str = "UPDATE subscription SET events = events + ?2, \
         due = CASE WHEN failures = 0 AND due > ?3 THEN ?3 ELSE due END WHERE id = ?1 RETURNING events";
    const SQL: &str = "INSERT INTO notification (subscription, number, row, made) VALUES (?1, ?2, ?3, ?4)";
    let mut own: BTreeMap<&ResourceId, Vec<i64>> = BTreeMap::new();
    for (id, row) in events {
        own.entry(id).or_default().push(*row);
    }
    let mut bulk = Bulk::new(SQL, 4);
    for (id, rows) in &own {
        let many = rows.len() as i64;
        let Some(last) = c.first(COUNT, values![id.as_str(), many, now], |r| r.int(0))? else { continue };
        for (number, row) in (last - many + 1..).zip(rows) {
            bulk.row(values![id.as_str(), number, *row, now]);
        }
    }
    c.execute_all(&[bulk])
}

fn subscribed(r: &Row<'_>) -> Result<Subscribed, StoreError> {
    Ok(Subscribed {
        id: resource_id(r, 0)?,
        row: r.int(1)?,
        begun: r.int(2)?,
        handshake: r.flag(3)?,
        failures: r.small(4)?,
        failing: r.maybe_int(5)?,
        last: r.int(6)?,
        events: r.size(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;

    /// As whoever holds the lease.
    fn follow(store: &Store, followed: Followed, now: i64) {
        let epoch = store.hold("me", std::time::Duration::from_secs(9)).unwrap().unwrap();
        store.follow(&Followed { epoch, ..followed }, now).unwrap();
    }

    fn id(text: &str) -> ResourceId {
        ResourceId::parse(text).unwrap()
    }

    fn begun(row: i64, waiting: Waiting) -> Followed {
        Followed { upto: row, changes: vec![Change::Begun { id: id("s"), row, waiting }], ..Followed::default() }
    }

    fn events(rows: &[i64]) -> Followed {
        let events = rows.iter().map(|row| (id("s"), *row)).collect();
        Followed { upto: *rows.last().unwrap(), events, ..Followed::default() }
    }

    fn kept(store: &Store) -> Subscribed {
        store.subscription(&id("s")).unwrap().unwrap()
    }

    fn numbers(store: &Store) -> Vec<u64> {
        store.notices(&id("s"), 0, u64::MAX, 9).unwrap().iter().map(|n| n.number).collect()
    }

    #[test]
    fn events_keep_their_order_and_their_turn() {
        for (_keep, store) in stores() {
            let settle = |outcome, now| store.settle(&kept(&store), outcome, now, 1).unwrap();
            follow(&store, begun(3, Waiting::Dropped), 100);
            settle(Outcome::Rest { due: i64::MAX }, 100);
            assert_eq!(store.due(100).unwrap().0, vec![id("s")], "the handshake is not put off");
            settle(Outcome::Took { upto: 0 }, 100);
            settle(Outcome::Rest { due: i64::MAX }, 100);
            let followed = Followed { events: vec![(id("s"), 4), (id("unknown"), 4), (id("s"), 5)], ..events(&[5]) };
            follow(&store, followed, 200);
            assert_eq!((store.followed().unwrap(), store.due(199).unwrap()), (5, (vec![], Some(200))));
            assert_eq!((store.due(200).unwrap().0, store.unsent(&id("s")).unwrap()), (vec![id("s")], Some(1)));
            settle(Outcome::Rest { due: i64::MAX }, 200);
            assert_eq!(
                store.due(200).unwrap().0,
                vec![id("s")],
                "nor is an event that came after the deliverer looked"
            );
            settle(Outcome::Missed { due: 900 }, 200);
            follow(&store, events(&[6]), 300);
            assert_eq!(store.due(300).unwrap(), (vec![], Some(900)), "a new event does not jump the queue");
            let rows: Vec<i64> = store.notices(&id("s"), 1, u64::MAX, 9).unwrap().iter().map(|n| n.row).collect();
            assert_eq!(rows, [4, 5, 6]);
            settle(Outcome::Took { upto: 2 }, 900);
            assert_eq!((numbers(&store), store.unsent(&id("s")).unwrap()), (vec![2, 3], Some(3)));
            let seen = kept(&store);
            assert_eq!((seen.failures, seen.failing, seen.events, seen.handshake), (0, None, 3, false));
            follow(&store, Followed { upto: 7, changes: vec![Change::Ended(id("s"))], ..Followed::default() }, 950);
            assert!(store.subscriptions().unwrap().is_empty() && numbers(&store).is_empty());
        }
    }

    #[test]
    fn a_turn_that_began_before_a_subscription_began_anew_changes_nothing_of_it() {
        for (_keep, store) in stores() {
            follow(&store, begun(3, Waiting::Dropped), 100);
            follow(&store, events(&[4, 5]), 100);
            for waiting in [Waiting::Kept, Waiting::Dropped] {
                let under_way = kept(&store);
                follow(&store, begun(under_way.row + 10, waiting), 200);
                let before = (kept(&store), store.due(200).unwrap());
                for outcome in [
                    Outcome::Took { upto: 2 },
                    Outcome::Missed { due: 900 },
                    Outcome::Rest { due: 900 },
                    Outcome::Wait { due: 900 },
                ] {
                    store.settle(&under_way, outcome, 300, 0).unwrap();
                    assert_eq!((kept(&store), store.due(200).unwrap()), before, "{outcome:?}");
                }
                let (expected, unsent) = if waiting == Waiting::Kept { (vec![1, 2], Some(1)) } else { (vec![], None) };
                assert_eq!((numbers(&store), store.unsent(&id("s")).unwrap()), (expected, unsent));
            }
            follow(&store, events(&[6]), 400);
            assert_eq!(numbers(&store), [1], "it counts from 1 again");
        }
    }
}
