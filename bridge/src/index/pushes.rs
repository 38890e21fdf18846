//! The queue of what is pushed to other organisations. What it holds is sealed: here are ids, times and states.

use super::lease;
use super::sql::{Row, values};
use super::store::{Store, StoreError, set};

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

/// What a rule found in the rows up to one.
#[derive(Debug)]
pub struct Ruled {
    /// The rule's name.
    pub rule: String,
    /// Of the lease: what was followed under another one may have been followed by another replica since.
    pub epoch: i64,
    pub upto: i64,
    pub pushes: Vec<Push>,
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

    /// How far a rule has followed the rows; nothing: it is new.
    pub fn ruled(&self, rule: &str) -> Result<Option<i64>, StoreError> {
        let value = self.setting(&position(rule))?;
        value.map(|v| v.parse().map_err(|_| StoreError::Nonsense("the row of a rule"))).transpose()
    }

    /// Queues what a rule found and notes how far it came, all or nothing.
    pub fn rule(&self, ruled: &Ruled) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO push (id, state, failures, due, made, changed, sealed, receiver) \
             VALUES (?1, 0, 0, ?2, ?3, ?3, ?4, ?5) ON CONFLICT (id) DO NOTHING";
        self.transaction(|c| {
            lease::check(c, ruled.epoch)?;
            for push in &ruled.pushes {
                let sealed = hex::encode(&push.sealed);
                c.execute(SQL, values![&push.id, push.due, push.made, &sealed, &push.receiver])?;
            }
            set(c, &position(&ruled.rule), &ruled.upto.to_string())
        })
    }

    /// How many wait whose ids begin so: with letters, digits and `-`.
    pub fn waiting_pushes(&self, prefix: &str) -> Result<usize, StoreError> {
        const SQL: &str = "SELECT count(*) FROM push WHERE state = 0 AND id LIKE ?1";
        let like = format!("{prefix}%");
        self.read(|c| Ok(c.number(SQL, values![&like])? as usize))
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

    /// Those to a receiver that are due, the oldest first, and after them those that have failed: one that always fails starves no other.
    pub fn due_pushes(&self, receiver: &str, now: i64, limit: usize) -> Result<Vec<Push>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM push WHERE state = 0 AND receiver = ?1 AND due <= ?2 \
             ORDER BY failures, due, made, id LIMIT ?3"
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

/// What the setting is called that holds a rule's row.
fn position(rule: &str) -> String {
    format!("exchange.rule.{rule}")
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
    fn a_rule_queues_a_version_once_and_comes_on_with_it() {
        for (_keep, store) in stores() {
            let epoch = store.hold("me", std::time::Duration::from_secs(9)).unwrap().unwrap();
            let one = |id: &str| Push {
                id: id.into(),
                receiver: "r".into(),
                state: State::Waits,
                failures: 0,
                due: 10,
                made: 10,
                changed: 10,
                sealed: vec![1],
            };
            let ruled = |upto, pushes| Ruled { rule: "r".into(), epoch, upto, pushes };
            assert_eq!(store.ruled("r").unwrap(), None);
            store.rule(&ruled(3, vec![])).unwrap();
            assert_eq!((store.ruled("r").unwrap(), store.ruled("q").unwrap()), (Some(3), None));
            store.rule(&ruled(4, vec![one("rule-r-a"), one("rule-s-a")])).unwrap();
            assert_eq!((store.waiting_pushes("rule-r-").unwrap(), store.waiting_pushes("rule-").unwrap()), (1, 2));
            let gone = Push { state: State::Refused, changed: 11, ..one("rule-r-a") };
            assert!(store.settle_push(&one("rule-r-a"), &gone).unwrap());
            store.rule(&ruled(5, vec![one("rule-r-a")])).unwrap();
            assert_eq!(store.push("rule-r-a").unwrap(), Some(gone), "what has ended does not begin again");
            assert_eq!((store.ruled("r").unwrap(), store.waiting_pushes("rule-r-").unwrap()), (Some(5), 0));
            if store.is_shared() {
                let late = Ruled { epoch: epoch + 1, ..ruled(6, vec![one("rule-r-c")]) };
                assert!(matches!(store.rule(&late), Err(StoreError::Fenced)), "another one's lease");
                assert_eq!((store.push("rule-r-c").unwrap(), store.ruled("r").unwrap()), (None, Some(5)));
            }
        }
    }

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
            let behind = Push { id: "0".into(), due: 21, receiver: "s".into(), ..one.clone() };
            let failed = Push { id: "1".into(), receiver: "s".into(), ..one.clone() };
            assert!(store.add_push(&behind, 9).unwrap() && store.add_push(&failed, 9).unwrap());
            assert!(store.settle_push(&failed, &Push { failures: 1, ..failed.clone() }).unwrap());
            let turns: Vec<_> = store.due_pushes("s", 21, 9).unwrap().into_iter().map(|push| push.id).collect();
            assert_eq!(turns, ["0", "1"], "what has failed comes after the others");
            for ended in [&behind, &Push { failures: 1, ..failed.clone() }] {
                assert!(
                    store.settle_push(ended, &Push { state: State::Delivered, changed: 1, ..ended.clone() }).unwrap()
                );
            }
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
