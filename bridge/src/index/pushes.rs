//! The queue of what is pushed to other organisations. What it holds is sealed: here are ids, times and states.

use super::sql::{Row, values};
use super::store::{Store, StoreError};

/// A push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    pub id: String,
    /// Which queue it stands in: its receiver, as a blind token.
    pub receiver: String,
    pub state: State,
    pub failures: u32,
    /// When to try next; all times in milliseconds since 1970.
    pub due: i64,
    pub made: i64,
    pub changed: i64,
    pub sealed: Vec<u8>,
}

/// How far a push has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waits = 0,
    Delivered = 1,
    /// The receiver, or the patient's Consents, refused it.
    Refused = 2,
    /// It was tried for too long.
    GivenUp = 3,
}

impl State {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waits => "waiting",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::GivenUp => "given-up",
        }
    }
}

const COLUMNS: &str = "id, state, failures, due, made, changed, sealed, receiver";

impl Store {
    /// Queues a push, unless so many wait already.
    pub fn add_push(&self, push: &Push, most: usize) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO push (id, state, failures, due, made, changed, sealed, receiver) \
             SELECT ?1, 0, 0, ?2, ?3, ?3, ?4, ?6 WHERE (SELECT count(*) FROM push WHERE state = 0) < ?5";
        let sealed = hex::encode(&push.sealed);
        let values = values![&push.id, push.due, push.made, &sealed, most as i64, &push.receiver];
        self.with(|c| Ok(c.execute(SQL, values)? == 1))
    }

    /// A push.
    pub fn push(&self, id: &str) -> Result<Option<Push>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM push WHERE id = ?1");
        self.read(|c| c.first(&sql, values![id], push))
    }

    /// The receivers of those that are due.
    pub fn due_receivers(&self, now: i64) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT DISTINCT receiver FROM push WHERE state = 0 AND due <= ?1";
        self.read(|c| c.rows(SQL, values![now], |r| r.string(0)))
    }

    /// Those to a receiver that are due, the oldest first.
    pub fn due_pushes(&self, receiver: &str, now: i64, limit: usize) -> Result<Vec<Push>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM push WHERE state = 0 AND receiver = ?1 AND due <= ?2 ORDER BY due, id LIMIT ?3"
        );
        self.read(|c| c.rows(&sql, values![receiver, now, limit as i64], push))
    }

    /// Those that have not arrived, the newest change first.
    pub fn open_pushes(&self, limit: usize) -> Result<Vec<Push>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM push WHERE state <> 1 ORDER BY changed DESC, id LIMIT ?1");
        self.read(|c| c.rows(&sql, values![limit as i64], push))
    }

    /// Lets one that has not arrived be tried now, whether it waits or has ended.
    pub fn retry_push(&self, id: &str, now: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE push SET state = 0, due = ?2, changed = ?2 WHERE id = ?1 AND state <> 1";
        self.with(|c| Ok(c.execute(SQL, values![id, now])? == 1))
    }

    /// Notes what became of a push, if nobody has noted anything since: another replica may have.
    pub fn settle_push(&self, before: &Push, after: &Push) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE push SET state = ?3, failures = ?4, due = ?5, changed = ?6, sealed = ?7 \
             WHERE id = ?1 AND state = 0 AND failures = ?2";
        let (sealed, state) = (hex::encode(&after.sealed), after.state as i64);
        let values = values![&before.id, before.failures, state, after.failures, after.due, after.changed, &sealed];
        self.with(|c| Ok(c.execute(SQL, values)? == 1))
    }

    /// Forgets what has ended before a time.
    pub fn forget_pushes(&self, before: i64) -> Result<(), StoreError> {
        self.with(|c| c.execute("DELETE FROM push WHERE state <> 0 AND changed < ?1", values![before]).map(|_| ()))
    }
}

fn push(r: &Row<'_>) -> Result<Push, StoreError> {
    const BAD: StoreError = StoreError::Nonsense("a push");
    let state = match r.int(1)? {
        0 => State::Waits,
        1 => State::Delivered,
        2 => State::Refused,
        3 => State::GivenUp,
        _ => return Err(BAD),
    };
    Ok(Push {
        id: r.string(0)?,
        state,
        failures: u32::try_from(r.int(2)?).map_err(|_| BAD)?,
        due: r.int(3)?,
        made: r.int(4)?,
        changed: r.int(5)?,
        sealed: hex::decode(r.text(6)?).map_err(|_| BAD)?,
        receiver: r.string(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;

    #[test]
    fn a_push_waits_until_it_is_due_and_ends_once() {
        for (_keep, store) in stores() {
            let sealed = vec![1, 2];
            let receiver = "r".to_owned();
            let one = Push {
                id: "a".into(),
                receiver,
                state: State::Waits,
                failures: 0,
                due: 10,
                made: 5,
                changed: 5,
                sealed,
            };
            let due = |now| store.due_pushes("r", now, 9).unwrap();
            assert!(store.add_push(&one, 1).unwrap());
            assert!(!store.add_push(&Push { id: "b".into(), ..one.clone() }, 1).unwrap(), "one too many");
            assert_eq!(store.push("a").unwrap(), Some(one.clone()));
            assert_eq!(due(9), []);
            assert_eq!(due(10), std::slice::from_ref(&one));
            assert_eq!(store.due_pushes("another", 10, 9).unwrap(), []);
            assert_eq!(store.due_receivers(9).unwrap(), [""; 0]);
            assert_eq!(store.due_receivers(10).unwrap(), ["r"]);
            let later = Push { failures: 1, due: 20, changed: 11, ..one.clone() };
            assert!(store.settle_push(&one, &later).unwrap());
            assert!(!store.settle_push(&one, &later).unwrap(), "somebody has noted something since");
            let refused = Push { state: State::Refused, changed: 12, ..later.clone() };
            assert!(store.settle_push(&later, &refused).unwrap());
            assert_eq!(due(99), []);
            assert_eq!(store.open_pushes(9).unwrap(), std::slice::from_ref(&refused));
            assert!(store.retry_push("a", 20).unwrap() && !store.retry_push("none", 20).unwrap());
            assert_eq!(due(20).len(), 1, "it is tried again");
            let done = Push { state: State::Delivered, changed: 21, sealed: vec![3], ..later.clone() };
            assert!(store.settle_push(&later, &done).unwrap());
            assert!(!store.settle_push(&done, &later).unwrap(), "what has ended stays so");
            assert!(!store.retry_push("a", 30).unwrap(), "what has arrived is not sent again");
            assert_eq!(store.open_pushes(9).unwrap(), []);
            assert_eq!(due(99), []);
            store.forget_pushes(21).unwrap();
            assert_eq!(store.push("a").unwrap(), Some(done));
            store.forget_pushes(22).unwrap();
            assert_eq!(store.push("a").unwrap(), None);
        }
    }
}
