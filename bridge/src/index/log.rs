//! The log's half of the index: the outbox, the entries, the tree's hashes, the checkpoints.

use super::lease;
use super::sql::{Bulk, Connection, Keys, Row, values};
use super::store::{Store, StoreError};
use notary::tree::{HashReader, StoredHash, TlogError, stored_hash_count};
use std::cell::RefCell;
use std::collections::HashMap;

/// The log's half of the index.
impl Store {
    /// The number of log entries.
    pub fn log_size(&self) -> Result<u64, StoreError> {
        self.read(log_size)
    }

    /// How many entries wait for the sequencer.
    pub fn waiting(&self) -> Result<u64, StoreError> {
        self.read(|c| Ok(c.number("SELECT count(*) FROM outbox", &[])? as u64))
    }

    /// Moves waiting entries into the log and stores the tree's new hashes and the checkpoint over them, all in one
    /// transaction: `grow` computes the hashes of an entry, `sign` the note. Returns the new size, or nothing if
    /// nothing waits. `epoch` is that of the lease: another's is refused. The size is read inside the transaction, so two sequencers
    /// cannot both extend it.
    pub fn sequence<E: From<StoreError>>(
        &self,
        epoch: i64,
        limit: usize,
        mut grow: impl FnMut(u64, &[u8], &LogReader<'_>) -> Result<Vec<[u8; 32]>, E>,
        sign: impl FnOnce(u64, &LogReader<'_>) -> Result<String, E>,
    ) -> Result<Option<u64>, E> {
        self.transaction(|c| {
            lease::check(c, epoch)?;
            let waiting = waiting_entries(c, limit)?;
            if waiting.is_empty() {
                return Ok(None);
            }
            let first = log_size(c)?;
            let reader = LogReader::new(c);
            let mut size = first;
            for (_, entry) in &waiting {
                let hashes = grow(size, entry, &reader)?;
                reader.keep(stored_hash_count(size), &hashes);
                size += 1;
            }
            let note = sign(size, &reader)?;
            append(c, first, &waiting, &reader.into_new(stored_hash_count(first)))?;
            const SQL: &str = "INSERT INTO checkpoint (size, note) VALUES (?1, ?2)";
            c.execute(SQL, values![size as i64, &note])?;
            Ok(Some(size))
        })
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
        self.read(|c| c.first(&sql, values![at], |r| Ok((r.size(0)?, r.string(1)?))))
    }

    /// Every checkpoint, by size.
    pub fn checkpoints(&self) -> Result<Vec<(u64, String)>, StoreError> {
        self.read(|c| {
            c.rows("SELECT size, note FROM checkpoint ORDER BY size", &[], |r| Ok((r.size(0)?, r.string(1)?)))
        })
    }

    /// The log position and entry of a record.
    pub fn position(&self, row: i64) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        const SQL: &str = "SELECT position, entry FROM log WHERE row = ?1";
        self.read(|c| c.first(SQL, values![row], |r| Ok((r.size(0)?, r.blob(1)?.to_vec()))))
    }

    /// Log entries from a position on.
    pub fn entries(&self, from: u64, limit: u64) -> Result<Vec<Vec<u8>>, StoreError> {
        const SQL: &str = "SELECT entry FROM log WHERE position >= ?1 ORDER BY position LIMIT ?2";
        self.read(|c| c.rows(SQL, values![from as i64, limit as i64], |r| Ok(r.blob(0)?.to_vec())))
    }

    /// Reads the tree's hashes.
    pub fn read_log<T>(&self, work: impl FnOnce(&LogReader<'_>) -> T) -> Result<T, StoreError> {
        self.with(|c| {
            let reader = LogReader::new(c);
            let done = work(&reader);
            reader.failed.into_inner().map_or(Ok(done), Err)
        })
    }
}

/// The tree's hashes in the index, and those that are about to be. What was read once is not asked for again: the left edge of
/// the tree is needed for each new entry.
pub struct LogReader<'c> {
    c: &'c Connection,
    known: RefCell<HashMap<u64, StoredHash>>,
    /// Why the index did not answer: a tree can only be told that a hash is not there.
    failed: RefCell<Option<StoreError>>,
}

impl<'c> LogReader<'c> {
    fn new(c: &'c Connection) -> Self {
        Self { c, known: RefCell::default(), failed: RefCell::default() }
    }

    fn keep(&self, first: u64, hashes: &[[u8; 32]]) {
        self.known.borrow_mut().extend((first..).zip(hashes.iter().map(|hash| StoredHash(*hash))));
    }

    /// The hashes from a number on, by number.
    fn into_new(self, first: u64) -> Vec<(u64, StoredHash)> {
        let mut new: Vec<_> = self.known.into_inner().into_iter().filter(|(number, _)| *number >= first).collect();
        new.sort_unstable_by_key(|(number, _)| *number);
        new
    }

    fn load(&self, indexes: &[u64]) -> Result<(), StoreError> {
        const SQL: &str = "SELECT number, hash FROM log_hash WHERE number = ANY(?1)";
        let mut known = self.known.borrow_mut();
        let missing: Vec<i64> = indexes.iter().filter(|n| !known.contains_key(n)).map(|n| *n as i64).collect();
        let read = self.c.rows_of(SQL, Keys::Ints(&missing), &[], |r| Ok((r.size(0)?, StoredHash(hash(r, 1)?))))?;
        known.extend(read);
        Ok(())
    }
}

impl HashReader for LogReader<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<StoredHash>, TlogError> {
        if let Err(error) = self.load(indexes) {
            *self.failed.borrow_mut() = Some(error);
            return Err(TlogError::IndexesNotInTree);
        }
        let known = self.known.borrow();
        let found = indexes.iter().map(|index| known.get(index).copied());
        found.collect::<Option<_>>().ok_or(TlogError::IndexesNotInTree)
    }
}

pub(super) fn hash(r: &Row<'_>, at: usize) -> Result<[u8; 32], StoreError> {
    r.blob(at)?.try_into().map_err(|_| StoreError::Nonsense("a hash"))
}

fn log_size(c: &Connection) -> Result<u64, StoreError> {
    Ok(c.number("SELECT coalesce(max(position) + 1, 0) FROM log", &[])? as u64)
}

fn waiting_entries(c: &Connection, limit: usize) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
    const SQL: &str = "SELECT row, entry FROM outbox ORDER BY row LIMIT ?1";
    c.rows(SQL, values![limit as i64], |r| Ok((r.int(0)?, r.blob(1)?.to_vec())))
}

/// Entries leave the outbox for the log, with the hashes that they bring.
pub(super) fn append(
    c: &Connection,
    first: u64,
    waiting: &[(i64, Vec<u8>)],
    new: &[(u64, StoredHash)],
) -> Result<(), StoreError> {
    let mut log = Bulk::new("INSERT INTO log (position, entry, row) VALUES (?1, ?2, ?3)", 3);
    let mut gone = Bulk::new("DELETE FROM outbox WHERE row = ANY(?1)", 1);
    let mut hashes = Bulk::new("INSERT INTO log_hash (number, hash) VALUES (?1, ?2)", 2);
    for (position, (row, entry)) in (first as i64..).zip(waiting) {
        log.row(values![position, entry, *row]);
        gone.row(values![*row]);
    }
    for (number, hash) in new {
        hashes.row(values![*number as i64, &hash.0[..]]);
    }
    c.execute_all(&[log, hashes, gone])
}
