//! What the followers of subscriptions keep in the index: how far they have come, which subscription is due when, which row
//! was an event for whom. Holds no patient data.

use super::lease;
use super::sql::{Bulk, Connection, Row, values};
use super::store::{Store, StoreError, Stored, resource_id, set, stored_rows};
use crate::ids::{ResourceId, TypeName};
use std::collections::BTreeMap;

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
    Begun(ResourceId, i64),
    /// This server wrote down how it is.
    Noted(ResourceId, i64),
    Ended(ResourceId),
}

const COLUMNS: &str = "id, row, handshake, failures, failing, last, events";

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

    /// The receiver took everything up to this event. Only so many sent ones are kept.
    pub fn delivered(&self, id: &ResourceId, upto: u64, now: i64, due: i64, keep: u64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE subscription SET sent = CASE WHEN sent > ?2 THEN sent ELSE ?2 END, handshake = 0, \
             failures = 0, failing = NULL, last = ?3, due = ?4 WHERE id = ?1";
        const OLD: &str = "DELETE FROM notification WHERE subscription = ?1 AND number <= ?2";
        self.transaction(|c| {
            c.execute(SQL, values![id.as_str(), upto as i64, now, due])?;
            c.execute(OLD, values![id.as_str(), upto.saturating_sub(keep) as i64]).map(|_| ())
        })
    }

    /// The receiver did not take it.
    pub fn failed(&self, id: &ResourceId, now: i64, due: i64) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE subscription SET failures = failures + 1, failing = coalesce(failing, ?2), due = ?3 WHERE id = ?1";
        self.with(|c| c.execute(SQL, values![id.as_str(), now, due]).map(|_| ()))
    }

    /// Leaves a subscription for which there was nothing to do until this time, unless there is something meanwhile: the
    /// follower may have queued an event after the deliverer looked, and that event's turn must not be put off.
    pub fn rest_until(&self, id: &ResourceId, due: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE subscription SET due = ?2 WHERE id = ?1 AND handshake = 0 AND NOT EXISTS \
             (SELECT 1 FROM notification n WHERE n.subscription = ?1 AND n.number > subscription.sent)";
        self.with(|c| c.execute(SQL, values![id.as_str(), due]).map(|_| ()))
    }

    /// Looks at a subscription again at this time, whatever waits.
    pub fn wait_until(&self, id: &ResourceId, due: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE subscription SET due = ?2 WHERE id = ?1";
        self.with(|c| c.execute(SQL, values![id.as_str(), due]).map(|_| ()))
    }

    /// A row by its number.
    pub fn row(&self, row: i64) -> Result<Option<Stored>, StoreError> {
        self.read(|c| Ok(stored_rows(c, &[row])?.pop()))
    }
}

fn apply(c: &Connection, change: &Change, now: i64) -> Result<(), StoreError> {
    const BEGIN: &str = "INSERT INTO subscription (id, row, handshake, failures, failing, last, events, sent, due) \
         VALUES (?1, ?2, 1, 0, NULL, ?3, 0, 0, ?3) \
         ON CONFLICT (id) DO UPDATE SET row = ?2, handshake = 1, failures = 0, failing = NULL, due = ?3";
    match change {
        Change::Begun(id, row) => c.execute(BEGIN, values![id.as_str(), *row, now])?,
        Change::Noted(id, row) => {
            c.execute("UPDATE subscription SET row = ?2 WHERE id = ?1", values![id.as_str(), *row])?
        }
        Change::Ended(id) => {
            c.execute("DELETE FROM notification WHERE subscription = ?1", values![id.as_str()])?;
            c.execute("DELETE FROM subscription WHERE id = ?1", values![id.as_str()])?
        }
    };
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
        handshake: r.flag(2)?,
        failures: r.small(3)?,
        failing: r.maybe_int(4)?,
        last: r.int(5)?,
        events: r.size(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;

    #[test]
    fn events_keep_their_order_and_their_turn() {
        for (_keep, store) in stores() {
            let epoch = store.hold("me", std::time::Duration::from_secs(9)).unwrap().unwrap();
            let default = || Followed { epoch, ..Followed::default() };
            let id = ResourceId::parse("s").unwrap();
            let other = ResourceId::parse("unknown").unwrap();
            let begun = Followed { upto: 3, changes: vec![Change::Begun(id.clone(), 3)], ..default() };
            store.follow(&begun, 100).unwrap();
            store.rest_until(&id, i64::MAX).unwrap();
            assert_eq!(store.due(100).unwrap().0, vec![id.clone()], "the handshake is not put off");
            store.delivered(&id, 0, 100, 100, 1).unwrap();
            store.rest_until(&id, i64::MAX).unwrap();
            let events = vec![(id.clone(), 4), (other, 4), (id.clone(), 5)];
            store.follow(&Followed { upto: 5, events, ..default() }, 200).unwrap();
            assert_eq!((store.followed().unwrap(), store.due(199).unwrap()), (5, (vec![], Some(200))));
            assert_eq!((store.due(200).unwrap().0, store.unsent(&id).unwrap()), (vec![id.clone()], Some(1)));
            store.rest_until(&id, i64::MAX).unwrap();
            assert_eq!(
                store.due(200).unwrap().0,
                vec![id.clone()],
                "nor is an event that came after the deliverer looked"
            );
            store.failed(&id, 200, 900).unwrap();
            store.follow(&Followed { upto: 6, events: vec![(id.clone(), 6)], ..default() }, 300).unwrap();
            assert_eq!(store.due(300).unwrap(), (vec![], Some(900)), "a new event does not jump the queue");
            let rows: Vec<i64> = store.notices(&id, 1, u64::MAX, 9).unwrap().iter().map(|n| n.row).collect();
            assert_eq!(rows, [4, 5, 6]);
            store.delivered(&id, 2, 900, 900, 1).unwrap();
            let kept: Vec<u64> = store.notices(&id, 0, u64::MAX, 9).unwrap().iter().map(|n| n.number).collect();
            assert_eq!((kept, store.unsent(&id).unwrap()), (vec![2, 3], Some(3)));
            let seen = store.subscription(&id).unwrap().unwrap();
            assert_eq!((seen.failures, seen.failing, seen.events, seen.handshake), (0, None, 3, false));
            store.follow(&Followed { upto: 7, changes: vec![Change::Ended(id.clone())], ..default() }, 950).unwrap();
            assert!(store.subscriptions().unwrap().is_empty() && store.notices(&id, 0, 9, 9).unwrap().is_empty());
        }
    }
}
