//! Messages in quarantine. The first version of one is the message, the second says what became of it.

use super::sql::{Row, values};
use super::store::{Place, Store, StoreError, place};
use crate::ids::ResourceId;

/// One of them, by its newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub row: i64,
    pub id: ResourceId,
    /// It was replayed.
    pub closed: bool,
    /// Its key was destroyed.
    pub erased: bool,
    /// When it came, or was replayed: milliseconds since 1970.
    pub updated: i64,
    pub place: Place,
}

const HELD: &str = "SELECT row, id, version, deleted, updated, pack, \"offset\", length FROM record \
     WHERE type = 'Quarantine' AND current = 1";

impl Store {
    /// Those before a row, the newest first; with `all` also those that were replayed.
    pub fn held(&self, all: bool, before: i64, limit: usize) -> Result<Vec<Waiting>, StoreError> {
        let open = if all { "" } else { "AND version = 1 AND deleted = 0" };
        let sql = format!("{HELD} {open} AND row < ?1 ORDER BY row DESC LIMIT ?2");
        self.read(|c| c.rows(&sql, values![before, limit as i64], waiting))
    }

    /// One of them.
    pub fn held_one(&self, id: &ResourceId) -> Result<Option<Waiting>, StoreError> {
        let sql = format!("{HELD} AND id = ?1");
        self.read(|c| c.first(&sql, values![id.as_str()], waiting))
    }

    /// How many wait, counted up to a limit.
    pub fn held_count(&self, limit: usize) -> Result<usize, StoreError> {
        const SQL: &str = "SELECT count(*) FROM (SELECT row FROM record \
             WHERE type = 'Quarantine' AND current = 1 AND version = 1 AND deleted = 0 LIMIT ?1) AS waiting";
        self.read(|c| c.number(SQL, values![limit as i64])).map(|n| n as usize)
    }
}

fn waiting(r: &Row<'_>) -> Result<Waiting, StoreError> {
    let id = ResourceId::parse(r.text(1)?).ok_or(StoreError::Nonsense("an id in quarantine"))?;
    Ok(Waiting {
        row: r.int(0)?,
        id,
        closed: r.int(2)? > 1,
        erased: r.int(3)? == super::erasures::ERASED,
        updated: r.int(4)?,
        place: place(r, 5)?,
    })
}
