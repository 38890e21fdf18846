//! Small statements of the key and storage upkeep: where records lie, page by page, and what the log has for them.

use super::log::hash;
use super::sql::{Bulk, Row, values};
use super::store::{Place, Store, StoreError, set};
use crate::ids::Version;
use crate::vault::pack::Extent;

/// A row as upkeep sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lying {
    pub row: i64,
    pub place: Place,
    pub state: State,
    /// The time of its commit, in milliseconds since 1970.
    pub updated: i64,
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

/// A record that lies in two packs, and is to be read from the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub kind: String,
    pub id: String,
    pub version: Version,
    pub from: String,
    pub to: Place,
}

/// A row, and its log entry.
pub type Logged = (Lying, Option<Vec<u8>>);

impl Store {
    /// Stores a setting that may change.
    pub fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.with(|c| set(c, name, value))
    }

    /// The row of a version or a message, and the log entry that it has in the log or the outbox.
    pub fn lying(&self, kind: &str, id: &str, version: Version) -> Result<Option<Logged>, StoreError> {
        const SQL: &str = "SELECT row, pack, \"offset\", length, deleted, updated, \
             coalesce((SELECT entry FROM log WHERE log.row = record.row), \
             (SELECT entry FROM outbox WHERE outbox.row = record.row)) \
             FROM record WHERE type = ?1 AND id = ?2 AND version = ?3";
        self.read(|c| c.first(SQL, values![kind, id, version.0], |r| Ok((lying(r)?, r.maybe_blob(6)?))))
    }

    /// Rows after one, in order.
    pub fn lying_after(&self, row: i64, limit: usize) -> Result<Vec<Lying>, StoreError> {
        const SQL: &str =
            "SELECT row, pack, \"offset\", length, deleted, updated FROM record WHERE row > ?1 ORDER BY row LIMIT ?2";
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

impl Store {
    /// Moves records: each from where it must still lie to where it lies as well. All or nothing. In a turn: a commit that changes
    /// the same rows in another order would be in the way.
    pub fn move_records(&self, moves: &[Move]) -> Result<(), StoreError> {
        self.turn()?.end(|c| match c.execute_many(&moving(moves))? == moves.len() as u64 {
            true => Ok(()),
            false => Err(StoreError::Nonsense("a record that lies elsewhere")),
        })
    }
}

fn moving(moves: &[Move]) -> Bulk<'_> {
    let mut bulk = Bulk::new(
        "UPDATE record SET pack = ?4, \"offset\" = ?5, length = ?6 \
         WHERE type = ?1 AND id = ?2 AND version = ?3 AND pack = ?7",
        7,
    )
    .with_arrays(
        "UPDATE record SET pack = n.pack, \"offset\" = n.start, length = n.size \
         FROM UNNEST(?1, ?2, ?3, ?4, ?5, ?6, ?7) AS n (type, id, version, pack, start, size, old) \
         WHERE record.type = n.type AND record.id = n.id AND record.version = n.version AND record.pack = n.old",
    );
    for Move { kind, id, version, from, to } in moves {
        bulk.row(values![kind, id, version.0, &to.pack, to.extent.offset as i64, to.extent.length, from]);
    }
    bulk
}

fn lying(r: &Row<'_>) -> Result<Lying, StoreError> {
    let extent = Extent { offset: r.size(2)?, length: r.small(3)? };
    let state = match r.int(4)? {
        0 => State::There,
        1 => State::Deletion,
        _ => State::Erased,
    };
    Ok(Lying { row: r.int(0)?, place: Place { pack: r.string(1)?, extent }, state, updated: r.int(5)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Name, ResourceId};
    use crate::index::blind::Blinded;
    use crate::index::store::{Batch, NewRecord};

    fn record(id: &str) -> NewRecord {
        NewRecord {
            type_name: "Patient".into(),
            id: ResourceId::parse(id).unwrap(),
            version: Version(1),
            place: Place { pack: "packs/old".into(), extent: Extent { offset: 7, length: 9 } },
            updated: 1,
            deleted: false,
            blinded: Blinded::default(),
            entry: Some(vec![1; 35]),
        }
    }

    fn to(id: &str, from: &str) -> Move {
        let place = Place { pack: "packs/new".into(), extent: Extent { offset: 70, length: 8 } };
        Move { kind: "Patient".into(), id: id.into(), version: Version(1), from: from.into(), to: place }
    }

    #[test]
    fn records_move_together_or_not_at_all_and_only_from_where_they_lie() {
        for (_keep, store) in crate::index::stores() {
            store.commit(&Batch { records: vec![record("a"), record("b")], ..Batch::default() }).unwrap();
            let place = |id: &str| {
                let name = Name::parse(&format!("Patient/{id}")).unwrap();
                store.version(&name, Version(1)).unwrap().unwrap().place
            };
            let wrong = [to("a", "packs/old"), to("b", "packs/other")];
            assert!(store.move_records(&wrong).is_err());
            assert_eq!(place("a").pack, "packs/old");
            store.move_records(&[]).unwrap();
            store.move_records(&[to("a", "packs/old"), to("b", "packs/old")]).unwrap();
            assert_eq!((place("a"), place("b").pack), (to("a", "").to, "packs/new".into()));
            assert!(store.move_records(&[to("a", "packs/old")]).is_err(), "it was moved already");
            let (lying, entry) = store.lying("Patient", "b", Version(1)).unwrap().unwrap();
            assert_eq!((lying.row, lying.state, entry), (2, State::There, Some(vec![1; 35])));
            assert_eq!(store.lying_after(1, 9).unwrap(), [lying]);
            assert_eq!(store.called(2).unwrap(), Some(("Patient/b".into(), Version(1))));
        }
    }
}
