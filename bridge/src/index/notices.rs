//! What the followers of subscriptions keep in the index: how far they have come, which subscription is due when, which row
//! was an event for whom. Holds no patient data.

use super::store::{Store, StoreError, Stored, stored_row};
use crate::ids::{ResourceId, TypeName};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

/// A subscription as the deliverer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribed {
    pub id: ResourceId,
    /// The version of the Subscription that counts.
    pub row: i64,
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
    Begun(ResourceId, i64),
    /// This server wrote down how it is.
    Noted(ResourceId, i64),
    Ended(ResourceId),
}

const COLUMNS: &str = "id, row, handshake, failures, failing, last, events";

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

    /// The receiver took everything up to this event. Only so many sent ones are kept.
    pub fn delivered(&self, id: &ResourceId, upto: u64, now: i64, due: i64, keep: u64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE subscription SET sent = max(sent, ?2), handshake = 0, failures = 0, failing = NULL, \
             last = ?3, due = ?4 WHERE id = ?1";
        const OLD: &str = "DELETE FROM notification WHERE subscription = ?1 AND number <= ?2";
        self.with(|c| {
            let c = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
            c.prepare_cached(SQL)?.execute(params![id.as_str(), upto as i64, now, due])?;
            c.prepare_cached(OLD)?.execute(params![id.as_str(), upto.saturating_sub(keep) as i64])?;
            Ok(c.commit()?)
        })
    }

    /// The receiver did not take it.
    pub fn failed(&self, id: &ResourceId, now: i64, due: i64) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE subscription SET failures = failures + 1, failing = coalesce(failing, ?2), due = ?3 WHERE id = ?1";
        self.with(|c| Ok(c.prepare_cached(SQL)?.execute(params![id.as_str(), now, due]).map(|_| ())?))
    }

    /// Leaves a subscription for which there was nothing to do until this time, unless there is something meanwhile: the
    /// follower may have queued an event after the deliverer looked, and that event's turn must not be put off.
    pub fn rest_until(&self, id: &ResourceId, due: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE subscription SET due = ?2 WHERE id = ?1 AND handshake = 0 AND NOT EXISTS \
             (SELECT 1 FROM notification n WHERE n.subscription = ?1 AND n.number > subscription.sent)";
        self.with(|c| Ok(c.prepare_cached(SQL)?.execute(params![id.as_str(), due]).map(|_| ())?))
    }

    /// Looks at a subscription again at this time, whatever waits.
    pub fn wait_until(&self, id: &ResourceId, due: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE subscription SET due = ?2 WHERE id = ?1";
        self.with(|c| Ok(c.prepare_cached(SQL)?.execute(params![id.as_str(), due]).map(|_| ())?))
    }

    /// A row by its number.
    pub fn row(&self, row: i64) -> Result<Option<Stored>, StoreError> {
        self.with(|c| stored_row(c, row))
    }
}

fn apply(c: &Transaction<'_>, change: &Change, now: i64) -> Result<(), StoreError> {
    const BEGIN: &str = "INSERT INTO subscription (id, row, handshake, failures, failing, last, events, sent, due) \
         VALUES (?1, ?2, 1, 0, NULL, ?3, 0, 0, ?3) \
         ON CONFLICT (id) DO UPDATE SET row = ?2, handshake = 1, failures = 0, failing = NULL, due = ?3";
    match change {
        Change::Begun(id, row) => c.execute(BEGIN, params![id.as_str(), row, now])?,
        Change::Noted(id, row) => {
            c.execute("UPDATE subscription SET row = ?2 WHERE id = ?1", params![id.as_str(), row])?
        }
        Change::Ended(id) => {
            c.execute("DELETE FROM notification WHERE subscription = ?1", [id.as_str()])?;
            c.execute("DELETE FROM subscription WHERE id = ?1", [id.as_str()])?
        }
    };
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
    let (row, handshake, failures, failing) = (r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?);
    let (last, events) = (r.get(5)?, r.get::<_, i64>(6)? as u64);
    let id = ResourceId::parse(&id).ok_or(StoreError::Nonsense("a resource id"));
    Ok(id.map(|id| Subscribed { id, row, handshake, failures, failing, last, events }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_keep_their_order_and_their_turn() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index.sqlite")).unwrap();
        let id = ResourceId::parse("s").unwrap();
        let other = ResourceId::parse("unknown").unwrap();
        let begun = Followed { upto: 3, changes: vec![Change::Begun(id.clone(), 3)], events: vec![] };
        store.follow(&begun, 100).unwrap();
        store.rest_until(&id, i64::MAX).unwrap();
        assert_eq!(store.due(100).unwrap().0, vec![id.clone()], "the handshake is not put off");
        store.delivered(&id, 0, 100, 100, 1).unwrap();
        store.rest_until(&id, i64::MAX).unwrap();
        let events = vec![(id.clone(), 4), (other, 4), (id.clone(), 5)];
        store.follow(&Followed { upto: 5, changes: vec![], events }, 200).unwrap();
        assert_eq!((store.followed().unwrap(), store.due(199).unwrap()), (5, (vec![], Some(200))));
        assert_eq!((store.due(200).unwrap().0, store.unsent(&id).unwrap()), (vec![id.clone()], Some(1)));
        store.rest_until(&id, i64::MAX).unwrap();
        assert_eq!(store.due(200).unwrap().0, vec![id.clone()], "nor is an event that came after the deliverer looked");
        store.failed(&id, 200, 900).unwrap();
        store.follow(&Followed { upto: 6, changes: vec![], events: vec![(id.clone(), 6)] }, 300).unwrap();
        assert_eq!(store.due(300).unwrap(), (vec![], Some(900)), "a new event does not jump the queue");
        let rows: Vec<i64> = store.notices(&id, 1, u64::MAX, 9).unwrap().iter().map(|n| n.row).collect();
        assert_eq!(rows, [4, 5, 6]);
        store.delivered(&id, 2, 900, 900, 1).unwrap();
        let kept: Vec<u64> = store.notices(&id, 0, u64::MAX, 9).unwrap().iter().map(|n| n.number).collect();
        assert_eq!((kept, store.unsent(&id).unwrap()), (vec![2, 3], Some(3)));
        let seen = store.subscription(&id).unwrap().unwrap();
        assert_eq!((seen.failures, seen.failing, seen.events, seen.handshake), (0, None, 3, false));
        store.follow(&Followed { upto: 7, changes: vec![Change::Ended(id.clone())], events: vec![] }, 950).unwrap();
        assert!(store.subscriptions().unwrap().is_empty() && store.notices(&id, 0, 9, 9).unwrap().is_empty());
    }
}
