//! What the followers of subscriptions keep in the index: how far they have come, which subscription is due when, which row
//! was an event for whom. Holds no patient data.

use super::standing::{Outcome, Standing};
use super::store::{Store, StoreError, Stored, stored_row};
use crate::ids::{ResourceId, TypeName};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::collections::HashSet;

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
        self.with(|c| {
            let sql = "SELECT CAST(value AS INTEGER) FROM setting WHERE name = 'followed'";
            Ok(c.query_row(sql, [], |r| r.get(0)).optional()?.unwrap_or(0))
        })
    }

    /// The next rows of some types, and how far that looked.
    pub fn rows_after(&self, kinds: &[TypeName], after: i64, limit: usize) -> Result<(Vec<Stored>, i64), StoreError> {
        const SQL: &str = "SELECT row FROM record WHERE type = ?1 AND row > ?2 AND row <= ?3 ORDER BY row LIMIT ?4";
        self.with(|c| {
            let newest = "SELECT coalesce(max(row), 0) FROM record";
            let mut upto: i64 = c.prepare_cached(newest)?.query_row([], |r| r.get(0))?;
            let mut rows = Vec::new();
            for kind in kinds {
                let mut statement = c.prepare_cached(SQL)?;
                let values = params![kind.as_str(), after, upto, limit as i64];
                let found: Vec<i64> = statement.query_map(values, |r| r.get(0))?.collect::<Result<_, _>>()?;
                // What was found is whole up to the last row only.
                if let Some(last) = found.last().filter(|_| found.len() == limit) {
                    upto = *last;
                }
                rows.extend(found);
            }
            rows.retain(|row| *row <= upto);
            rows.sort_unstable();
            let stored = rows.into_iter().filter_map(|row| stored_row(c, row).transpose()).collect::<Result<_, _>>()?;
            Ok((stored, upto))
        })
    }

    /// Notes what was found in the rows, all or nothing. What is due now is due at `now`.
    pub fn follow(&self, followed: &Followed, now: i64) -> Result<(), StoreError> {
        self.with(|c| {
            let c = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for change in &followed.changes {
                apply(&c, change, now)?;
            }
            for (id, row) in &followed.events {
                note(&c, id, *row, now)?;
            }
            const SQL: &str =
                "INSERT INTO setting (name, value) VALUES ('followed', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1";
            c.execute(SQL, [followed.upto.to_string()])?;
            Ok(c.commit()?)
        })
    }

    /// Every subscription.
    pub fn subscriptions(&self) -> Result<Vec<Subscribed>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscription ORDER BY id");
        self.with(|c| {
            let found = c.prepare_cached(&sql)?.query_map([], subscribed)?.collect::<Result<Vec<_>, _>>()?;
            found.into_iter().collect()
        })
    }

    /// The subscriptions that are on, and those that were committed since the rows were followed.
    pub fn subscribed_ids(&self) -> Result<HashSet<ResourceId>, StoreError> {
        const SQL: &str = "SELECT id FROM subscription UNION \
             SELECT id FROM record WHERE type = 'Subscription' AND current = 1 AND deleted = 0 AND row > ?1";
        let after = self.followed()?;
        self.with(|c| {
            let found: Vec<String> =
                c.prepare_cached(SQL)?.query_map([after], |r| r.get(0))?.collect::<Result<_, _>>()?;
            let ids = found.iter().map(|id| ResourceId::parse(id).ok_or(StoreError::Nonsense("a resource id")));
            ids.collect()
        })
    }

    /// One subscription.
    pub fn subscription(&self, id: &ResourceId) -> Result<Option<Subscribed>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM subscription WHERE id = ?1");
        self.with(|c| c.prepare_cached(&sql)?.query_row([id.as_str()], subscribed).optional()?.transpose())
    }

    /// The subscriptions that are due, and when the next one is.
    pub fn due(&self, now: i64) -> Result<(Vec<ResourceId>, Option<i64>), StoreError> {
        self.with(|c| {
            let sql = "SELECT id FROM subscription WHERE due <= ?1 ORDER BY due";
            let ids: Vec<String> = c.prepare_cached(sql)?.query_map([now], |r| r.get(0))?.collect::<Result<_, _>>()?;
            let next = "SELECT min(due) FROM subscription WHERE due > ?1";
            let next = c.prepare_cached(next)?.query_row([now], |r| r.get(0))?;
            let ids = ids.iter().map(|id| ResourceId::parse(id).ok_or(StoreError::Nonsense("a resource id")));
            Ok((ids.collect::<Result<_, _>>()?, next))
        })
    }

    /// The events of a subscription from a number on.
    pub fn notices(&self, id: &ResourceId, from: u64, to: u64, limit: usize) -> Result<Vec<Notice>, StoreError> {
        const SQL: &str = "SELECT number, row, made FROM notification \
             WHERE subscription = ?1 AND number >= ?2 AND number <= ?3 ORDER BY number LIMIT ?4";
        let bound = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.with(|c| {
            let values = params![id.as_str(), bound(from), bound(to), limit as i64];
            let one = |r: &Row<'_>| Ok(Notice { number: r.get::<_, i64>(0)? as u64, row: r.get(1)?, made: r.get(2)? });
            Ok(c.prepare_cached(SQL)?.query_map(values, one)?.collect::<Result<_, _>>()?)
        })
    }

    /// The number of the first event that was not sent yet.
    pub fn unsent(&self, id: &ResourceId) -> Result<Option<u64>, StoreError> {
        const SQL: &str = "SELECT min(n.number) FROM notification n JOIN subscription s ON s.id = n.subscription \
             WHERE s.id = ?1 AND n.number > s.sent";
        self.with(|c| {
            Ok(c.prepare_cached(SQL)?.query_row([id.as_str()], |r| r.get::<_, Option<i64>>(0))?.map(|n| n as u64))
        })
    }

    /// Notes how a turn ended, unless the subscription ended or began anew since that turn began: what the receiver of before
    /// answered says nothing of the one of now. Only so many events that were sent are kept.
    pub fn settle(&self, of: &Subscribed, outcome: Outcome, now: i64, keep: u64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE subscription SET handshake = ?2, failures = ?3, failing = ?4, last = ?5, sent = ?6, \
             due = ?7 WHERE id = ?1";
        const OLD: &str = "DELETE FROM notification WHERE subscription = ?1 AND number <= ?2";
        self.with(|c| {
            let c = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let Some(standing) = standing(&c, of)? else { return Ok(()) };
            let Standing { handshake, failures, failing, last, sent, due, waits: _ } = standing.after(outcome, now);
            let values = params![of.id.as_str(), handshake, failures, failing, last, sent as i64, due];
            c.prepare_cached(SQL)?.execute(values)?;
            c.prepare_cached(OLD)?.execute(params![of.id.as_str(), sent.saturating_sub(keep) as i64])?;
            Ok(c.commit()?)
        })
    }

    /// A row by its number.
    pub fn row(&self, row: i64) -> Result<Option<Stored>, StoreError> {
        self.with(|c| stored_row(c, row))
    }
}

/// How a subscription stands now; nothing: it is another one since.
fn standing(c: &Connection, of: &Subscribed) -> Result<Option<Standing>, StoreError> {
    const SQL: &str = "SELECT handshake, failures, failing, last, sent, due, EXISTS (SELECT 1 FROM notification n \
         WHERE n.subscription = s.id AND n.number > s.sent) FROM subscription s WHERE id = ?1 AND begun = ?2";
    let read = |r: &Row<'_>| {
        let (handshake, failures, failing, last) = (r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?);
        let (sent, due, waits) = (r.get::<_, i64>(4)? as u64, r.get(5)?, r.get(6)?);
        Ok(Standing { handshake, failures, failing, last, sent, due, waits })
    };
    Ok(c.prepare_cached(SQL)?.query_row(params![of.id.as_str(), of.begun], read).optional()?)
}

fn apply(c: &Transaction<'_>, change: &Change, now: i64) -> Result<(), StoreError> {
    const BEGIN: &str = "INSERT INTO subscription (id, row, begun, handshake, failures, failing, last, events, sent, due) \
         VALUES (?1, ?2, ?2, 1, 0, NULL, ?3, 0, 0, ?3) \
         ON CONFLICT (id) DO UPDATE SET row = ?2, begun = ?2, handshake = 1, failures = 0, failing = NULL, due = ?3";
    match change {
        Change::Begun { id, row, waiting } => {
            if *waiting == Waiting::Dropped {
                end(c, id)?;
            }
            c.execute(BEGIN, params![id.as_str(), row, now])?;
        }
        Change::Noted(id, row) => {
            c.execute("UPDATE subscription SET row = ?2 WHERE id = ?1", params![id.as_str(), row])?;
        }
        Change::Ended(id) => end(c, id)?,
    }
    Ok(())
}

fn end(c: &Transaction<'_>, id: &ResourceId) -> Result<(), StoreError> {
    c.execute("DELETE FROM notification WHERE subscription = ?1", [id.as_str()])?;
    c.execute("DELETE FROM subscription WHERE id = ?1", [id.as_str()])?;
    Ok(())
}

/// An event; one that failed before keeps its turn.
fn note(c: &Connection, id: &ResourceId, row: i64, now: i64) -> Result<(), StoreError> {
    const COUNT: &str = "UPDATE subscription SET events = events + 1, due = CASE WHEN failures = 0 THEN min(due, ?2) ELSE due END \
         WHERE id = ?1 RETURNING events";
    let number: Option<i64> = c.prepare_cached(COUNT)?.query_row(params![id.as_str(), now], |r| r.get(0)).optional()?;
    let Some(number) = number else { return Ok(()) };
    const SQL: &str = "INSERT INTO notification (subscription, number, row, made) VALUES (?1, ?2, ?3, ?4)";
    c.prepare_cached(SQL)?.execute(params![id.as_str(), number, row, now])?;
    Ok(())
}

fn subscribed(r: &Row<'_>) -> rusqlite::Result<Result<Subscribed, StoreError>> {
    let id: String = r.get(0)?;
    let (row, begun, handshake, failures) = (r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?);
    let (failing, last, events) = (r.get(5)?, r.get(6)?, r.get::<_, i64>(7)? as u64);
    let id = ResourceId::parse(&id).ok_or(StoreError::Nonsense("a resource id"));
    Ok(id.map(|id| Subscribed { id, row, begun, handshake, failures, failing, last, events }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ResourceId {
        ResourceId::parse(text).unwrap()
    }

    fn begun(row: i64, waiting: Waiting) -> Followed {
        Followed { upto: row, changes: vec![Change::Begun { id: id("s"), row, waiting }], events: vec![] }
    }

    fn events(rows: &[i64]) -> Followed {
        let events = rows.iter().map(|row| (id("s"), *row)).collect();
        Followed { upto: *rows.last().unwrap(), changes: vec![], events }
    }

    fn kept(store: &Store) -> Subscribed {
        store.subscription(&id("s")).unwrap().unwrap()
    }

    fn numbers(store: &Store) -> Vec<u64> {
        store.notices(&id("s"), 0, u64::MAX, 9).unwrap().iter().map(|n| n.number).collect()
    }

    #[test]
    fn events_keep_their_order_and_their_turn() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index.sqlite")).unwrap();
        let settle = |outcome, now| store.settle(&kept(&store), outcome, now, 1).unwrap();
        store.follow(&begun(3, Waiting::Dropped), 100).unwrap();
        settle(Outcome::Rest { due: i64::MAX }, 100);
        assert_eq!(store.due(100).unwrap().0, vec![id("s")], "the handshake is not put off");
        settle(Outcome::Took { upto: 0 }, 100);
        settle(Outcome::Rest { due: i64::MAX }, 100);
        let followed = Followed { events: vec![(id("s"), 4), (id("unknown"), 4), (id("s"), 5)], ..events(&[5]) };
        store.follow(&followed, 200).unwrap();
        assert_eq!((store.followed().unwrap(), store.due(199).unwrap()), (5, (vec![], Some(200))));
        assert_eq!((store.due(200).unwrap().0, store.unsent(&id("s")).unwrap()), (vec![id("s")], Some(1)));
        settle(Outcome::Rest { due: i64::MAX }, 200);
        assert_eq!(store.due(200).unwrap().0, vec![id("s")], "nor is an event that came after the deliverer looked");
        settle(Outcome::Missed { due: 900 }, 200);
        store.follow(&events(&[6]), 300).unwrap();
        assert_eq!(store.due(300).unwrap(), (vec![], Some(900)), "a new event does not jump the queue");
        let rows: Vec<i64> = store.notices(&id("s"), 1, u64::MAX, 9).unwrap().iter().map(|n| n.row).collect();
        assert_eq!(rows, [4, 5, 6]);
        settle(Outcome::Took { upto: 2 }, 900);
        assert_eq!((numbers(&store), store.unsent(&id("s")).unwrap()), (vec![2, 3], Some(3)));
        let seen = kept(&store);
        assert_eq!((seen.failures, seen.failing, seen.events, seen.handshake), (0, None, 3, false));
        store.follow(&Followed { upto: 7, changes: vec![Change::Ended(id("s"))], events: vec![] }, 950).unwrap();
        assert!(store.subscriptions().unwrap().is_empty() && numbers(&store).is_empty());
    }

    #[test]
    fn a_turn_that_began_before_a_subscription_began_anew_changes_nothing_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index.sqlite")).unwrap();
        store.follow(&begun(3, Waiting::Dropped), 100).unwrap();
        store.follow(&events(&[4, 5]), 100).unwrap();
        for waiting in [Waiting::Kept, Waiting::Dropped] {
            let under_way = kept(&store);
            store.follow(&begun(under_way.row + 10, waiting), 200).unwrap();
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
        store.follow(&events(&[6]), 400).unwrap();
        assert_eq!(numbers(&store), [1], "it counts from 1 again");
    }
}
