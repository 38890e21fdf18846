//! Writing a group. Rows become visible in their order and with growing times, whoever writes: snapshots, histories and the
//! follower of subscriptions rely on it. SQLite has one writer at a time anyway; on PostgreSQL a lock that ends with the
//! transaction makes the replicas write in turn, and the rows are numbered under it.

use super::engine::Lent;
use super::erasures::refuse_erased;
use super::posting::generation;
use super::rewrap::refuse_old_root;
use super::sql::{Bulk, Connection, values};
use super::store::{Batch, NewRecord, StoreError};
use super::tokens::Token;
use crate::ids::Version;

/// PostgreSQL's turn. In a statement of its own: the next one sees what was committed while this one waited.
const TURN: &str = "BEGIN; SELECT pg_advisory_xact_lock(7881706498110001)";

/// The pack of the newest record.
pub(super) const NEWEST_PACK: &str = "SELECT pack FROM record ORDER BY row DESC LIMIT 1";

/// The turn to commit, in an open transaction. Dropped unused, it is as if it had never been.
#[derive(Debug)]
pub struct Turn {
    connection: Lent,
    ended: bool,
}

impl Turn {
    pub(super) fn take(connection: Lent) -> Result<Self, StoreError> {
        let begin = if let Connection::Sqlite(_) = &*connection { "BEGIN IMMEDIATE" } else { TURN };
        let turn = Self { connection, ended: false };
        turn.connection.batch(begin)?;
        // Under the lock that a recovery begins under, too.
        turn.connection.is_current()?;
        Ok(turn)
    }

    pub(super) fn commit(self, batch: &Batch) -> Result<(), StoreError> {
        self.end(|c| write_batch(c, batch))
    }

    /// The same for a pack that SQLite follows.
    pub(super) fn follow(self, batch: &Batch) -> Result<(), StoreError> {
        self.end(|c| in_order(c, batch).and_then(|()| write_batch(c, batch)))
    }

    /// Does the work that the turn was taken for.
    pub(super) fn end<T>(mut self, work: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.ended = true;
        let done = work(&self.connection);
        self.connection.end(done)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.ended {
            _ = self.connection.batch("ROLLBACK");
        }
    }
}

/// Whether a batch was committed: the pack is named by chance, so that nobody else's record can lie in it.
pub(super) fn is_there(turn: &Turn, batch: &Batch) -> Result<bool, StoreError> {
    let c = &turn.connection;
    match (batch.records.first(), batch.keys.first()) {
        (Some(record), _) => {
            const SQL: &str = "SELECT pack FROM record WHERE type = ?1 AND id = ?2 AND version = ?3";
            let values = values![&record.type_name, record.id.as_str(), record.version.0];
            Ok(c.first(SQL, values, |r| r.string(0))?.is_some_and(|pack| pack == record.place.pack))
        }
        (None, Some((owner, wrapped))) => {
            let sql = "SELECT wrapped FROM data_key WHERE owner = ?1";
            Ok(c.first(sql, values![owner.as_str()], |r| Ok(r.blob(0)? == wrapped.0))?.unwrap_or(false))
        }
        (None, None) => Ok(true),
    }
}

/// The newest row and when it was made.
pub(super) fn newest(c: &Connection) -> Result<Option<(i64, i64)>, StoreError> {
    c.first("SELECT row, updated FROM record ORDER BY row DESC LIMIT 1", &[], |r| Ok((r.int(0)?, r.int(1)?)))
}

/// What a power cut takes from SQLite is found by the names of the packs: they grow with the rows. PostgreSQL's rows are on disk.
fn in_order(c: &Connection, batch: &Batch) -> Result<(), StoreError> {
    let (Connection::Sqlite(_), Some(record)) = (c, batch.records.first()) else { return Ok(()) };
    let newest = c.first(NEWEST_PACK, &[], |r| r.string(0))?;
    if newest.is_some_and(|newest| newest >= record.place.pack) { Err(StoreError::Stale) } else { Ok(()) }
}

fn write_batch(c: &Connection, batch: &Batch) -> Result<(), StoreError> {
    refuse_erased(c, &batch.owners)?;
    refuse_old_root(c, &batch.keys)?;
    let (last, time) = newest(c)?.unwrap_or((0, 0));
    if batch.records.first().is_some_and(|record| record.updated < time) {
        return Err(StoreError::Stale);
    }
    let marks: Vec<Vec<u8>> = batch.records.iter().map(|record| record.blinded.marks.concat()).collect();
    let mut work = records(&batch.records, &marks, last + 1);
    work.push(postings(&batch.records, last + 1));
    work.extend(claims(batch));
    c.execute_all(&work)
}

/// The records, which versions they follow, and what goes into the log.
fn records<'b>(records: &'b [NewRecord], marks: &'b [Vec<u8>], first: i64) -> Vec<Bulk<'b>> {
    let mut new = Bulk::new(
        "INSERT INTO record (row, type, id, version, current, pack, \"offset\", length, updated, deleted, marks) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        11,
    );
    // After all are there: the version before may be one of them.
    let mut old = Bulk::new(
        "UPDATE record SET current = 0, until = ?4 WHERE type = ?1 AND id = ?2 AND version = ?3",
        4,
    )
    .with_arrays(
        "UPDATE record SET current = 0, until = n.row FROM UNNEST(?1, ?2, ?3, ?4) AS n (type, id, version, row) \
             WHERE record.type = n.type AND record.id = n.id AND record.version = n.version",
    );
    let mut outbox = Bulk::new("INSERT INTO outbox (row, entry) VALUES (?1, ?2)", 2);
    for (n, (record, marks)) in records.iter().zip(marks).enumerate() {
        let row = first + n as i64;
        let (kind, id, version) = (record.type_name.as_str(), record.id.as_str(), record.version);
        let (pack, extent) = (record.place.pack.as_str(), record.place.extent);
        let place = [pack.into(), (extent.offset as i64).into(), extent.length.into()];
        new.row(values![row, kind, id, version.0, true]);
        new.row(&place);
        new.row(values![record.updated, record.deleted, marks]);
        if version > Version(1) {
            old.row(values![kind, id, version.0 - 1, row]);
        }
        if let Some(entry) = &record.entry {
            outbox.row(values![row, entry]);
        }
    }
    vec![new, old, outbox]
}

/// Sorted inserts touch each page once.
fn postings(records: &[NewRecord], first: i64) -> Bulk<'_> {
    let mut found: Vec<(&Token, i64)> = Vec::new();
    for (n, record) in records.iter().enumerate() {
        found.extend(record.blinded.lookups.iter().map(|token| (token, first + n as i64)));
    }
    found.sort_unstable_by_key(|(token, row)| (generation(*row), **token, *row));
    let mut bulk = Bulk::new("INSERT INTO posting (generation, token, row) VALUES (?1, ?2, ?3)", 3);
    for (token, row) in found {
        bulk.row(values![generation(row), token, row]);
    }
    bulk
}

/// What belongs to one resource, one message, one owner, whoever comes first.
fn claims(batch: &Batch) -> [Bulk<'_>; 4] {
    let mut stale = Bulk::new("DELETE FROM identity WHERE token = ?1 AND type = ?2 AND id = ?3", 3).with_arrays(
        "DELETE FROM identity USING UNNEST(?1, ?2, ?3) AS gone (token, type, id) \
             WHERE identity.token = gone.token AND identity.type = gone.type AND identity.id = gone.id",
    );
    for (token, name) in &batch.stale {
        stale.row(values![token, name.kind.as_str(), name.id.as_str()]);
    }
    let mut identities = Bulk::new("INSERT INTO identity (token, type, id) VALUES (?1, ?2, ?3)", 3);
    for (token, name) in &batch.identities {
        identities.row(values![token, name.kind.as_str(), name.id.as_str()]);
    }
    let mut messages = Bulk::new("INSERT INTO message (token, id) VALUES (?1, ?2)", 2);
    batch.messages.iter().for_each(|(token, id)| messages.row(values![token, id.as_str()]));
    let mut keys = Bulk::new("INSERT INTO data_key (owner, wrapped) VALUES (?1, ?2)", 2);
    batch.keys.iter().for_each(|(owner, wrapped)| keys.row(values![owner.as_str(), &wrapped.0]));
    [stale, identities, messages, keys]
}
