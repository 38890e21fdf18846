//! Small statements of the key and storage upkeep: where records lie, page by page, and what the log has for them.

use super::log::hash;
use super::sql::{Row, values};
use super::store::{Place, Store, StoreError, set};
use crate::ids::Version;
use crate::vault::pack::Extent;

/// A row as upkeep sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lying {
    pub row: i64,
    pub place: Place,
    pub state: State,
}

/// What the index says of a row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    There,
    /// The version is a deletion.
    Deletion,
    Erased,
}

/// A row of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    pub position: u64,
    pub entry: Vec<u8>,
    /// The record that it speaks of, and whether that is there.
    pub row: i64,
    pub is_there: bool,
}

impl Store {
    /// Stores a setting that may change.
    pub fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.with(|c| set(c, name, value))
    }

    /// The row of a version or a message, and the log entry that it has in the log or the outbox.
    pub fn lying(
        &self,
        kind: &str,
        id: &str,
        version: Version,
    ) -> Result<Option<(Lying, Option<Vec<u8>>)>, StoreError> {
        const SQL: &str = "SELECT row, pack, \"offset\", length, deleted, \
             coalesce((SELECT entry FROM log WHERE log.row = record.row), \
             (SELECT entry FROM outbox WHERE outbox.row = record.row)) \
             FROM record WHERE type = ?1 AND id = ?2 AND version = ?3";
        self.read(|c| c.first(SQL, values![kind, id, version.0], |r| Ok((lying(r)?, r.maybe_blob(5)?))))
    }

    /// Rows after one, in order.
    pub fn lying_after(&self, row: i64, limit: usize) -> Result<Vec<Lying>, StoreError> {
        const SQL: &str =
            "SELECT row, pack, \"offset\", length, deleted FROM record WHERE row > ?1 ORDER BY row LIMIT ?2";
        self.read(|c| c.rows(SQL, values![row, limit as i64], lying))
    }

    /// What a row stands for: `Type/id`, and which version.
    pub fn called(&self, row: i64) -> Result<Option<(String, Version)>, StoreError> {
        const SQL: &str = "SELECT type, id, version FROM record WHERE row = ?1";
        self.read(|c| {
            c.first(SQL, values![row], |r| Ok((format!("{}/{}", r.text(0)?, r.text(1)?), Version(r.small(2)?))))
        })
    }

    /// Rows of the log from a position on.
    pub fn log_rows(&self, from: u64, limit: u64) -> Result<Vec<LogRow>, StoreError> {
        const SQL: &str = "SELECT position, entry, row, (SELECT count(*) FROM record WHERE record.row = log.row) \
             FROM log WHERE position >= ?1 ORDER BY position LIMIT ?2";
        self.read(|c| {
            c.rows(SQL, values![from as i64, limit as i64], |r| {
                Ok(LogRow { position: r.size(0)?, entry: r.blob(1)?.to_vec(), row: r.int(2)?, is_there: r.flag(3)? })
            })
        })
    }

    /// The tree's hashes from a number on.
    pub fn hashes(&self, from: u64, limit: u64) -> Result<Vec<(u64, [u8; 32])>, StoreError> {
        const SQL: &str = "SELECT number, hash FROM log_hash WHERE number >= ?1 ORDER BY number LIMIT ?2";
        self.read(|c| c.rows(SQL, values![from as i64, limit as i64], |r| Ok((r.size(0)?, hash(r, 1)?))))
    }

    /// The checkpoints after a size.
    pub fn checkpoints_after(&self, size: u64, limit: usize) -> Result<Vec<(u64, String)>, StoreError> {
        const SQL: &str = "SELECT size, note FROM checkpoint WHERE size > ?1 ORDER BY size LIMIT ?2";
        self.read(|c| c.rows(SQL, values![size as i64, limit as i64], |r| Ok((r.size(0)?, r.string(1)?))))
    }
}

fn lying(r: &Row<'_>) -> Result<Lying, StoreError> {
    let extent = Extent { offset: r.size(2)?, length: r.small(3)? };
    let state = match r.int(4)? {
        0 => State::There,
        1 => State::Deletion,
        _ => State::Erased,
    };
    Ok(Lying { row: r.int(0)?, place: Place { pack: r.string(1)?, extent }, state })
}
