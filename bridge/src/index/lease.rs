//! What replicas on one PostgreSQL share beside records: the lease that says which of them does the background work, and the
//! blocks of the embedded ledger. Expiry is by the database's clock alone. Each takeover has a new epoch, and whatever the
//! holder writes names its own in the same transaction: who was paused past its lease can write no more.

use super::replicas::RECOVERING;
use super::sql::{Connection, values};
use super::store::{Store, StoreError};
use std::time::Duration;

/// The one lease there is: sequencing, anchoring, subscriptions and exports go together.
const WORKERS: &str = "workers";
/// Who holds it while the index is recovered.
pub const RECOVERY: &str = "recovery";
pub(super) const NOW: &str = "CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)";

impl Store {
    /// Takes the lease, or goes on holding it. Tells the epoch; none: another has it. SQLite has one process, and it holds.
    pub fn hold(&self, holder: &str, life: Duration) -> Result<Option<i64>, StoreError> {
        if !self.is_shared() {
            return Ok(Some(0));
        }
        self.with(|c| take(c, holder, life))
    }

    /// Lets the lease go, so that another need not wait for its end.
    pub fn let_go(&self, holder: &str) -> Result<(), StoreError> {
        if self.is_shared() {
            let sql = "UPDATE lease SET expires = 0 WHERE name = ?1 AND holder = ?2";
            self.with(|c| c.execute(sql, values![WORKERS, holder]))?;
        }
        Ok(())
    }

    /// The newest row and the newest export: what differs from before was done by some replica.
    pub fn news(&self) -> Result<(i64, Option<String>), StoreError> {
        let export = self.waiting_export()?.map(|job| job.id);
        Ok((self.newest()?, export))
    }

    /// The ledger's blocks from a number on, as its journal has them.
    pub fn blocks(&self, from: u64) -> Result<Vec<String>, StoreError> {
        const SQL: &str = "SELECT line FROM ledger_block WHERE number >= ?1 ORDER BY number";
        self.read(|c| c.rows(SQL, values![from as i64], |r| r.string(0)))
    }

    /// Keeps a block of the ledger; its number must be free. The first one, which deploys the contract, is made by whoever
    /// comes first; each other by the holder of the lease.
    pub fn keep_block(&self, number: u64, line: &str, epoch: Option<i64>) -> Result<(), StoreError> {
        self.transaction(|c| {
            if number > 0 {
                check(c, epoch.ok_or(StoreError::Fenced)?)?;
            }
            let sql = "INSERT INTO ledger_block (number, line) VALUES (?1, ?2)";
            c.execute(sql, values![number as i64, line]).map(|_| ())
        })
    }
}

/// Takes the lease on PostgreSQL; while the index is recovered for nobody else.
pub(super) fn take(c: &Connection, holder: &str, life: Duration) -> Result<Option<i64>, StoreError> {
    let sql = format!(
        "INSERT INTO lease (name, holder, epoch, expires) VALUES (?1, ?2, 1, {NOW} + ?3) \
         ON CONFLICT (name) DO UPDATE SET holder = ?2, expires = {NOW} + ?3, \
         epoch = CASE WHEN lease.holder = ?2 AND lease.expires > {NOW} THEN lease.epoch ELSE lease.epoch + 1 END \
         WHERE (lease.holder = ?2 OR lease.expires <= {NOW}) AND (?2 = '{RECOVERY}' OR NOT EXISTS \
         (SELECT 1 FROM setting WHERE setting.name = '{RECOVERING}' AND setting.value = 'yes')) RETURNING epoch"
    );
    c.first(&sql, values![WORKERS, holder, life.as_millis() as i64], |r| r.int(0))
}

/// Whether the lease is still the one of this epoch; until the transaction ends nobody can take it over.
pub(super) fn check(c: &Connection, epoch: i64) -> Result<(), StoreError> {
    if let Connection::Sqlite(_) = c {
        return Ok(());
    }
    let sql = "SELECT epoch FROM lease WHERE name = ?1 AND epoch = ?2 FOR SHARE";
    c.first(sql, values![WORKERS, epoch], |_| Ok(()))?.ok_or(StoreError::Fenced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::log::LogReader;
    use crate::index::notices::Followed;
    use crate::index::stores;

    const LIFE: Duration = Duration::from_secs(60);

    #[test]
    fn one_holds_the_lease_until_it_ends_and_who_lost_it_writes_no_more() {
        for (_keep, store) in stores().into_iter().filter(|(_, store)| store.is_shared()) {
            let first = store.hold("a", LIFE).unwrap().unwrap();
            assert_eq!(store.hold("a", LIFE).unwrap(), Some(first), "holding on is no takeover");
            assert_eq!(store.hold("b", LIFE).unwrap(), None);
            store.let_go("b").unwrap();
            assert_eq!(store.hold("b", LIFE).unwrap(), None, "nobody lets go for another");
            store.keep_block(0, "deploy", None).unwrap();
            store.keep_block(1, "one", Some(first)).unwrap();
            store.hold("a", Duration::ZERO).unwrap();
            let second = store.hold("b", LIFE).unwrap().unwrap();
            assert!(second > first);
            let fenced = |done: Result<(), StoreError>| assert!(matches!(done, Err(StoreError::Fenced)), "{done:?}");
            fenced(store.keep_block(2, "two", Some(first)));
            fenced(store.keep_block(2, "two", None));
            fenced(store.follow(&Followed { epoch: first, ..Followed::default() }, 1));
            let grow = |_: u64, _: &[u8], _: &LogReader<'_>| Ok::<_, StoreError>(Vec::new());
            fenced(store.sequence(first, 1, grow, |_, _| Ok(String::new())).map(|_| ()));
            assert!(matches!(store.keep_block(1, "another", Some(second)), Err(StoreError::Conflict)), "one chain");
            assert_eq!(store.blocks(0).unwrap(), ["deploy", "one"]);
            store.let_go("b").unwrap();
            assert!(store.hold("a", LIFE).unwrap().unwrap() > second);
        }
    }
}
