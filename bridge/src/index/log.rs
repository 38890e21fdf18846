//! The log's half of the index: the outbox, the entries, the tree's hashes, the checkpoints.

use super::store::{Store, StoreError};
use notary::tree::{HashReader, StoredHash, TlogError, stored_hash_count};
use rusqlite::{Connection, OptionalExtension, Row, params};
/// The log's half of the index.
impl Store {
    /// The number of log entries.
    pub fn log_size(&self) -> Result<u64, StoreError> {
        self.with(|c| log_size(c))
    }

    /// How many entries wait for the sequencer.
    pub fn waiting(&self) -> Result<u64, StoreError> {
        self.with(|c| Ok(c.query_row("SELECT count(*) FROM outbox", [], |r| r.get::<_, i64>(0))? as u64))
    }

    /// Moves waiting entries into the log and stores the tree's new hashes and the checkpoint over them, all in one
    /// transaction: `grow` computes the hashes of an entry, `sign` the note. Returns the new size, or nothing if
    /// nothing waits. The size is read inside the transaction, so two sequencers cannot both extend it.
    pub fn sequence<E: From<StoreError>>(
        &self,
        limit: usize,
        mut grow: impl FnMut(u64, &[u8], &LogReader<'_>) -> Result<Vec<[u8; 32]>, E>,
        sign: impl FnOnce(u64, &LogReader<'_>) -> Result<String, E>,
    ) -> Result<Option<u64>, E> {
        let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let mut connection = idle.map_or_else(|| self.connect(), Ok)?;
        let result = (|| {
            let transaction = connection
                .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
                .map_err(StoreError::from)?;
            let waiting = waiting_entries(&transaction, limit)?;
            if waiting.is_empty() {
                return Ok(None);
            }
            let mut size = log_size(&transaction)?;
            for (row, entry) in &waiting {
                let hashes = grow(size, entry, &LogReader(&transaction))?;
                append_entry(&transaction, size, *row, entry, &hashes)?;
                size += 1;
            }
            let note = sign(size, &LogReader(&transaction))?;
            transaction
                .execute("INSERT INTO checkpoint (size, note) VALUES (?1, ?2)", params![size as i64, note])
                .map_err(StoreError::from)?;
            transaction.commit().map_err(StoreError::from)?;
            Ok(Some(size))
        })();
        self.give_back(connection);
        result
    }

    /// The newest published checkpoint, or the first one that covers a position: (size, note).
    pub fn checkpoint(&self, covering: Option<u64>) -> Result<Option<(u64, String)>, StoreError> {
        let (order, at) = match covering {
            None => ("DESC", -1),
            Some(at) => ("ASC", at as i64),
        };
        let sql = format!(
            "SELECT size, note FROM checkpoint WHERE size > ?1 AND size <= \
             (SELECT CAST(value AS BIGINT) FROM setting WHERE name = 'published') ORDER BY size {order} LIMIT 1"
        );
        self.with(|c| {
            let row = |r: &Row<'_>| Ok((r.get::<_, i64>(0)? as u64, r.get(1)?));
            Ok(c.prepare_cached(&sql)?.query_row([at], row).optional()?)
        })
    }

    /// Every checkpoint, by size.
    pub fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        self.with(|c| {
            let mut statement = c.prepare("SELECT size, note FROM checkpoint ORDER BY size")?;
            let rows = statement.query_map([], |r| Ok((r.get::<_, i64>(0)? as u64, r.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The log position and entry of a record.
    pub fn position(&self, row: i64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        const SQL: &str = "SELECT position, entry FROM log WHERE row = ?1";
        self.with(|c| {
            let found = |r: &Row<'_>| Ok((r.get::<_, i64>(0)? as u64, r.get(1)?));
            Ok(c.prepare_cached(SQL)?.query_row([row], found).optional()?)
        })
    }

    /// Log entries from a position on.
    pub fn entries(&self, from: u64, limit: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        const SQL: &str = "SELECT entry FROM log WHERE position >= ?1 ORDER BY position LIMIT ?2";
        self.with(|c| {
            let mut statement = c.prepare_cached(SQL)?;
            let rows = statement.query_map(params![from as i64, limit as i64], |r| r.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Reads the tree's hashes.
    pub fn read_log<T>(&self, work: impl FnOnce(&LogReader<'_>) -> T) -> Result<T, StoreError> {
        self.with(|c| Ok(work(&LogReader(c))))
    }
}

/// The tree's hashes in the index.
#[derive(Debug)]
pub struct LogReader<'c>(&'c Connection);

impl HashReader for LogReader<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<StoredHash>, TlogError> {
        let mut statement = self
            .0
            .prepare_cached("SELECT hash FROM log_hash WHERE number = ?1")
            .map_err(|_| TlogError::IndexesNotInTree)?;
        let one = |index: &u64| {
            let hash: Vec<u8> = statement.query_row([*index as i64], |r| r.get(0)).ok()?;
            hash.try_into().ok().map(StoredHash)
        };
        indexes.iter().map(one).collect::<Option<_>>().ok_or(TlogError::IndexesNotInTree)
    }
}

fn log_size(c: &Connection) -> Result<u64, StoreError> {
    Ok(c.query_row("SELECT coalesce(max(position) + 1, 0) FROM log", [], |r| r.get::<_, i64>(0))? as u64)
}

fn waiting_entries(c: &Connection, limit: usize) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    let mut statement = c.prepare_cached("SELECT row, entry FROM outbox ORDER BY row LIMIT ?1")?;
    let rows = statement.query_map([limit as i64], |r| Ok((r.get(0)?, r.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(super) fn append_entry(
    c: &Connection,
    position: u64,
    row: i64,
    entry: &[u8],
    hashes: &[[u8; 32]],
) -> Result<(), StoreError> {
    c.prepare_cached("INSERT INTO log (position, entry, row) VALUES (?1, ?2, ?3)")?.execute(params![
        position as i64,
        entry,
        row
    ])?;
    let first = stored_hash_count(position);
    let mut insert = c.prepare_cached("INSERT INTO log_hash (number, hash) VALUES (?1, ?2)")?;
    for (n, hash) in hashes.iter().enumerate() {
        insert.execute(params![(first + n as u64) as i64, hash.as_slice()])?;
    }
    c.prepare_cached("DELETE FROM outbox WHERE row = ?1")?.execute([row])?;
    Ok(())
}
