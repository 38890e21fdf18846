//! Who works on this index: each service notes that it lives, and which root key it wraps with. A recovery ends all of that: it
//! begins only where nobody is at work, and gives the index a new mark. Whoever opened the index before, and slept meanwhile, has
//! another mark and commits no more.

use super::engine::Engine;
use super::lease;
use super::sql::{Connection, values};
use super::store::{Store, StoreError};
use crate::vault::roots::RootId;
use std::time::Duration;

/// How long a service counts as being at work that says nothing any more. It speaks twelve times as often (`app::presence`).
pub const PRESENT: Duration = Duration::from_secs(30);
/// How long what was noted of services that were killed is kept, for `medseal keys status`.
const KEPT: Duration = Duration::from_secs(86_400);
/// Set while a recovery is not finished: no service starts on such an index.
pub const RECOVERING: &str = "recovering";
/// The mark of the newest recovery.
const MARK: &str = "recovery";

/// A service, as it notes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Of one process.
    pub id: String,
    /// Machine, process and address, for its operator.
    pub place: String,
    /// What it wraps new keys with.
    pub root: Option<RootId>,
}

/// A service, as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    pub replica: Replica,
    /// When it was heard of last, and how long ago that is, in milliseconds.
    pub seen: i64,
    pub silent: i64,
}

impl Noted {
    /// Whether it counts as being at work.
    pub fn is_present(&self) -> bool {
        self.silent < PRESENT.as_millis() as i64
    }
}

impl Store {
    /// A service begins to work. SQLite has one: what was noted of others is of processes that have ended.
    pub fn enter(&self, replica: &Replica) -> Result<(), StoreError> {
        self.turn()?.end(|c| {
            match c {
                Connection::Sqlite(_) => c.execute("DELETE FROM replica", &[])?,
                Connection::Postgres(_) => {
                    let sql = format!("DELETE FROM replica WHERE seen < {} - ?1", now(c));
                    c.execute(&sql, values![KEPT.as_millis() as i64])?
                }
            };
            note(c, replica)
        })
    }

    /// It is still at work, and this is how.
    pub fn stay(&self, replica: &Replica) -> Result<(), StoreError> {
        let lent = self.lend()?;
        lent.is_current()?;
        note(&lent, replica)
    }

    /// It has ended.
    pub fn leave(&self, id: &str) -> Result<(), StoreError> {
        self.with(|c| c.execute("DELETE FROM replica WHERE id = ?1", values![id]).map(|_| ()))
    }

    /// All that were heard of, by place.
    pub fn replicas(&self) -> Result<Vec<Noted>, StoreError> {
        self.read(replicas)
    }

    /// Begins a recovery, if nobody is at work: from here on nobody begins, and who sleeps has lost his turn.
    pub fn begin_recovery(&self, mark: &str) -> Result<(), StoreError> {
        self.turn()?.end(|c| {
            if self.is_shared() {
                alone(c)?;
            }
            c.execute("DELETE FROM replica", &[])?;
            super::store::set(c, MARK, mark)?;
            super::store::set(c, RECOVERING, "yes")
        })?;
        if let Engine::Postgres(pool) = self.engine() {
            pool.set_mark(Some(mark.to_owned()));
        }
        Ok(())
    }
}

fn note(c: &Connection, Replica { id, place, root }: &Replica) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO replica (id, place, root, seen) VALUES (?1, ?2, ?3, {0}) \
         ON CONFLICT (id) DO UPDATE SET place = ?2, root = ?3, seen = {0}",
        now(c)
    );
    let root = root.map(|root| root.to_string()).unwrap_or_default();
    c.execute(&sql, values![id.as_str(), place.as_str(), root.as_str()]).map(|_| ())
}

fn replicas(c: &Connection) -> Result<Vec<Noted>, StoreError> {
    let sql = format!("SELECT id, place, root, seen, {} - seen FROM replica ORDER BY place, id", now(c));
    c.rows(&sql, &[], |r| {
        let replica = Replica { id: r.string(0)?, place: r.string(1)?, root: RootId::parse(r.text(2)?) };
        Ok(Noted { replica, seen: r.int(3)?, silent: r.int(4)? })
    })
}

/// Takes the lease for the recovery: who held it can write no more. Refused while anybody is at work.
fn alone(c: &Connection) -> Result<(), StoreError> {
    let present = replicas(c)?.into_iter().filter(Noted::is_present).map(|noted| noted.replica.place);
    let mut present: Vec<String> = present.collect();
    if present.is_empty() && lease::take(c, lease::RECOVERY, PRESENT)?.is_none() {
        present.push("the one that does the background work".to_owned());
    }
    if present.is_empty() { Ok(()) } else { Err(StoreError::AtWork { replicas: present.join("; ") }) }
}

/// The mark of the newest recovery, if there ever was one.
pub(super) fn mark(c: &Connection) -> Result<Option<String>, StoreError> {
    c.first("SELECT value FROM setting WHERE name = ?1", values![MARK], |r| r.string(0))
}

/// The index's clock, in milliseconds.
fn now(c: &Connection) -> &'static str {
    match c {
        Connection::Sqlite(_) => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
        Connection::Postgres(_) => lease::NOW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::postgres::Settings;
    use crate::index::store::Batch;

    const LIFE: Duration = Duration::from_secs(60);

    fn replica(id: &str, root: u8) -> Replica {
        Replica { id: id.into(), place: format!("host-{id}"), root: Some(RootId([root; 8])) }
    }

    #[test]
    fn services_are_noted_with_what_they_wrap_with_and_go() {
        for (_keep, store) in crate::index::stores() {
            store.enter(&replica("a", 1)).unwrap();
            store.enter(&replica("b", 1)).unwrap();
            store.stay(&replica("b", 2)).unwrap();
            let known: Vec<_> = store.replicas().unwrap();
            assert!(known.iter().all(|noted| noted.is_present() && noted.silent >= 0), "{known:?}");
            let known: Vec<_> = known.into_iter().map(|noted| noted.replica).collect();
            match store.is_shared() {
                true => assert_eq!(known, [replica("a", 1), replica("b", 2)]),
                false => assert_eq!(known, [replica("b", 2)], "one process"),
            }
            store.leave("b").unwrap();
            assert!(store.replicas().unwrap().iter().all(|noted| noted.replica.id == "a"));
        }
    }

    #[test]
    fn a_recovery_begins_where_nobody_works_and_who_was_there_before_commits_no_more() {
        let Some(server) = crate::index::server::shared() else { return };
        let text = server.database("recoveries");
        let open = || Store::postgres(Settings::parse(&text, 4, None).unwrap()).unwrap();
        let (one, other) = (open(), open());
        one.enter(&replica("one", 1)).unwrap();
        let refused = other.begin_recovery("m1").unwrap_err();
        assert!(matches!(&refused, StoreError::AtWork { replicas } if replicas == "host-one"), "{refused}");
        one.leave("one").unwrap();
        // One that notes nothing, and has the lease.
        let epoch = one.hold("one", LIFE).unwrap().unwrap();
        assert!(matches!(other.begin_recovery("m1"), Err(StoreError::AtWork { .. })));
        one.hold("one", Duration::ZERO).unwrap();
        other.begin_recovery("m1").unwrap();
        assert_eq!(other.setting(RECOVERING).unwrap().as_deref(), Some("yes"));
        // It awakes: its lease is another's, nobody gives it a new one, and its turn is over.
        assert!(matches!(one.keep_block(1, "x", Some(epoch)), Err(StoreError::Fenced)));
        other.hold(lease::RECOVERY, Duration::ZERO).unwrap();
        assert_eq!(one.hold("one", LIFE).unwrap(), None);
        for during in [true, false] {
            let late = one.commit(&Batch::default()).unwrap_err();
            assert!(matches!(late, StoreError::Recovered), "{late}");
            assert!(matches!(one.stay(&replica("one", 1)), Err(StoreError::Recovered)));
            assert!(matches!(one.enter(&replica("one", 1)), Err(StoreError::Recovered)));
            other.commit(&Batch::default()).unwrap();
            if during {
                other.set_setting(RECOVERING, "no").unwrap();
            }
        }
        let fresh = open();
        fresh.enter(&replica("fresh", 1)).unwrap();
        assert!(fresh.hold("fresh", LIFE).unwrap().unwrap() > epoch);
    }
}
