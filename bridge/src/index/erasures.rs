//! Erasures in the index: whose key was destroyed, which rows were sealed under it, and how they are emptied. A row that was
//! erased stays as a place in the log and a version that is gone (`deleted` = 2); what finds it does not.

use super::posting::generation;
use super::sql::{Connection, values};
use super::store::{Store, StoreError};
use super::tokens::Token;
use crate::ids::Owner;

/// The `deleted` of a row whose content was erased.
pub(super) const ERASED: i64 = 2;

/// An erasure as the index keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    pub owner: Owner,
    /// Milliseconds since 1970.
    pub time: i64,
    /// What was said of it, sealed.
    pub sealed: Vec<u8>,
    /// Nothing is left to be done.
    pub done: bool,
}

const ERASURE: &str = "SELECT owner, erased, sealed, done FROM erasure";

impl Store {
    /// Notes that an owner's key is to be destroyed: from now on nothing more is committed under it. Tells what was noted first.
    pub fn begin_erasure(&self, erasure: &Erasure) -> Result<Erasure, StoreError> {
        const SQL: &str = "INSERT INTO erasure (owner, erased, sealed, done) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (owner) DO NOTHING";
        let (owner, sealed) = (erasure.owner.as_str(), hex::encode(&erasure.sealed));
        let done = i64::from(erasure.done);
        self.transaction(|c| c.execute(SQL, values![owner, erasure.time, &sealed, done]).map(|_| ()))?;
        self.erasure(&erasure.owner)?.ok_or(StoreError::Nonsense("an erasure that is not there"))
    }

    /// The erasure of an owner.
    pub fn erasure(&self, owner: &Owner) -> Result<Option<Erasure>, StoreError> {
        let sql = format!("{ERASURE} WHERE owner = ?1");
        self.with(|c| c.first(&sql, values![owner.as_str()], erasure))
    }

    /// All erasures, the oldest first.
    pub fn erasures(&self) -> Result<Vec<Erasure>, StoreError> {
        let sql = format!("{ERASURE} ORDER BY erased, owner");
        self.with(|c| c.rows(&sql, &[], erasure))
    }

    /// The pack that holds the tombstone of an erasure, once it is there.
    pub fn erasure_pack(&self, owner: &Owner) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT pack FROM record WHERE type = 'Erasure' AND id = ?1 AND version = 1";
        let id = owner.as_str().trim_start_matches("Patient/");
        self.with(|c| c.first(SQL, values![id], |r| r.string(0)))
    }

    /// The row of the tombstone of an erasure, once it is there.
    pub fn erasure_row(&self, owner: &Owner) -> Result<Option<i64>, StoreError> {
        const SQL: &str = "SELECT row FROM record WHERE type = 'Erasure' AND id = ?1 AND version = 1";
        let id = owner.as_str().trim_start_matches("Patient/");
        self.with(|c| c.first(SQL, values![id], |r| r.int(0)))
    }

    /// Nothing is left to be done for an erasure.
    pub fn end_erasure(&self, owner: &Owner) -> Result<(), StoreError> {
        self.with(|c| c.execute("UPDATE erasure SET done = 1 WHERE owner = ?1", values![owner.as_str()]).map(|_| ()))
    }

    /// The rows after one that an owner's token finds, in order.
    pub fn owned(&self, token: &Token, after: i64, limit: usize) -> Result<Vec<i64>, StoreError> {
        const SQL: &str =
            "SELECT row FROM posting WHERE generation = ?1 AND token = ?2 AND row > ?3 ORDER BY row LIMIT ?4";
        self.with(|c| {
            let newest = c.number("SELECT coalesce(max(row), 0) FROM record", &[])?;
            let mut rows = Vec::new();
            for generation in generation(after)..=generation(newest) {
                let room = (limit - rows.len()) as i64;
                rows.extend(c.rows(SQL, values![generation, token, after, room], |r| r.int(0))?);
                if rows.len() >= limit {
                    break;
                }
            }
            Ok(rows)
        })
    }

    /// The log entries of rows, sequenced or still waiting. A message has none.
    pub fn entries_of(&self, rows: &[i64]) -> Result<Vec<Vec<u8>>, StoreError> {
        const SQL: &str = "SELECT entry FROM log WHERE row = ?1 UNION ALL SELECT entry FROM outbox WHERE row = ?1";
        self.with(|c| {
            let found = rows.iter().map(|row| c.first(SQL, values![*row], |r| Ok(r.blob(0)?.to_vec())));
            Ok(found.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        })
    }

    /// Empties rows: what finds them goes, and they count as erased. All or nothing; those that are empty already stay so.
    pub fn empty_rows(&self, rows: &[i64]) -> Result<(), StoreError> {
        self.transaction(|c| {
            secure(c)?;
            rows.iter().try_for_each(|row| empty_row(c, *row))
        })
    }

    /// Lets go of what leads to erased resources: claims of identities, and events that wait to be told.
    pub fn forget_erased(&self) -> Result<(), StoreError> {
        const CLAIMS: &str = "DELETE FROM identity WHERE EXISTS (SELECT 1 FROM record WHERE record.type = identity.type \
             AND record.id = identity.id AND record.current = 1 AND record.deleted = 2)";
        const EVENTS: &str = "DELETE FROM notification WHERE EXISTS \
             (SELECT 1 FROM record WHERE record.row = notification.row AND record.deleted = 2)";
        self.transaction(|c| {
            secure(c)?;
            c.execute(CLAIMS, &[])?;
            c.execute(EVENTS, &[]).map(|_| ())
        })
    }

    /// Destroys an owner's wrapped key: the bytes are overwritten, in the file and in the write-ahead log.
    pub fn destroy_key(&self, owner: &Owner) -> Result<(), StoreError> {
        self.transaction(|c| {
            secure(c)?;
            c.execute("DELETE FROM data_key WHERE owner = ?1", values![owner.as_str()]).map(|_| ())
        })?;
        self.empty_log()
    }
}

/// What is deleted on this connection is overwritten. PostgreSQL does that at its next VACUUM.
fn secure(c: &Connection) -> Result<(), StoreError> {
    if let Connection::Sqlite(_) = c { c.batch("PRAGMA secure_delete = ON") } else { Ok(()) }
}

/// Refuses to commit what is sealed under a key that is destroyed: asked in the transaction that commits.
pub(super) fn refuse_erased(c: &Connection, owners: &[Owner]) -> Result<(), StoreError> {
    for owner in owners {
        let found = c.first("SELECT 1 FROM erasure WHERE owner = ?1", values![owner.as_str()], |_| Ok(()))?;
        if found.is_some() {
            return Err(StoreError::Erased { owner: owner.clone() });
        }
    }
    Ok(())
}

fn empty_row(c: &Connection, row: i64) -> Result<(), StoreError> {
    const SQL: &str = "SELECT marks, deleted FROM record WHERE row = ?1";
    let found = c.first(SQL, values![row], |r| Ok((r.blob(0)?.to_vec(), r.int(1)?)))?;
    let Some((marks, _)) = found.filter(|(_, deleted)| *deleted != ERASED) else { return Ok(()) };
    for mark in marks.as_chunks::<8>().0 {
        // A mark is the first half of its token: what lies between is the token.
        let (low, high) = ([*mark, [0; 8]].concat(), [*mark, [0xff; 8]].concat());
        const GONE: &str = "DELETE FROM posting WHERE generation = ?1 AND token >= ?2 AND token <= ?3 AND row = ?4";
        c.execute(GONE, values![generation(row), &low, &high, row])?;
    }
    const EMPTY: &str = "UPDATE record SET marks = ?2, deleted = ?3 WHERE row = ?1";
    c.execute(EMPTY, values![row, &Vec::new(), ERASED]).map(|_| ())
}

fn erasure(r: &super::sql::Row<'_>) -> Result<Erasure, StoreError> {
    let sealed = hex::decode(r.text(2)?).map_err(|_| StoreError::Nonsense("an erasure"))?;
    Ok(Erasure { owner: Owner::from_stored(r.text(0)?), time: r.int(1)?, sealed, done: r.flag(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Name, ResourceId, Version};
    use crate::index::blind::Blinded;
    use crate::index::store::{Batch, NewRecord, Place};
    use crate::vault::keys::Wrapped;
    use crate::vault::pack::Extent;

    const OWNER: Token = Token([200; 16]);

    fn record(id: &str, version: u32, tokens: &[u8], owned: bool) -> NewRecord {
        let lookups = tokens.iter().map(|t| Token([*t; 16])).chain(owned.then_some(OWNER)).collect();
        NewRecord {
            type_name: "Patient".into(),
            id: ResourceId::parse(id).unwrap(),
            version: Version(version),
            place: Place { pack: "packs/p".into(), extent: Extent { offset: 7, length: 9 } },
            updated: 1,
            deleted: false,
            blinded: Blinded { lookups, marks: tokens.iter().map(|t| [*t; 8]).collect() },
            entry: Some(vec![version as u8; 35]),
        }
    }

    #[test]
    fn what_was_erased_is_not_found_and_not_written_again() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index.sqlite")).unwrap();
        let (owner, name) = (Owner::from_stored("Patient/a"), Name::parse("Patient/a").unwrap());
        let claims = vec![(Token([50; 16]), name.clone()), (Token([51; 16]), Name::parse("Patient/b").unwrap())];
        let keys = vec![(owner.clone(), Wrapped(vec![1])), (Owner::from_stored("Patient/b"), Wrapped(vec![2]))];
        let records = vec![record("a", 1, &[1, 2], true), record("b", 1, &[1], false), record("a", 2, &[1], true)];
        let owners = vec![owner.clone()];
        store.commit(&Batch { records, identities: claims, keys, owners, ..Batch::default() }).unwrap();
        assert_eq!((store.owned(&OWNER, 0, 9).unwrap(), store.owned(&OWNER, 1, 9).unwrap()), (vec![1, 3], vec![3]));
        assert_eq!(store.owned(&OWNER, 0, 1).unwrap(), [1]);
        assert_eq!(store.entries_of(&[1, 2, 3, 99]).unwrap(), [vec![1; 35], vec![1; 35], vec![2; 35]]);
        let erasure = Erasure { owner: owner.clone(), time: 5, sealed: vec![9], done: false };
        assert_eq!(store.begin_erasure(&erasure).unwrap(), erasure);
        let later = Erasure { time: 6, ..erasure.clone() };
        assert_eq!(store.begin_erasure(&later).unwrap(), erasure, "who is erased is erased once");
        store.destroy_key(&owner).unwrap();
        store.empty_rows(&[1, 3]).unwrap();
        store.empty_rows(&[1, 3]).unwrap();
        store.forget_erased().unwrap();
        store.end_erasure(&owner).unwrap();
        assert!(store.key(&owner).unwrap().is_none() && store.key(&Owner::from_stored("Patient/b")).unwrap().is_some());
        let (first, second) =
            (store.version(&name, Version(1)).unwrap().unwrap(), store.current(&name).unwrap().unwrap());
        assert!(first.erased && second.erased && second.version == Version(2));
        assert!(
            store.identity(&Token([50; 16])).unwrap().is_none() && store.identity(&Token([51; 16])).unwrap().is_some()
        );
        assert_eq!(store.owned(&OWNER, 0, 9).unwrap(), [1, 3], "its rows are still known");
        let left = store.with(|c| c.rows("SELECT row FROM posting WHERE token <> ?1", values![&OWNER], |r| r.int(0)));
        assert_eq!(left.unwrap(), [2]);
        let again = Batch { records: vec![record("a", 3, &[], true)], owners: vec![owner.clone()], ..Batch::default() };
        assert!(matches!(store.commit(&again), Err(StoreError::Erased { owner: of }) if of == owner));
        assert_eq!(store.erasures().unwrap(), [Erasure { done: true, ..erasure }]);
    }
}
