//! Background work in the index: what was asked for, how far it is, which rows make which file. Holds no patient data.

use super::history::last_before;
use super::store::{Store, StoreError, Stored, many};
use super::tokens::Token;
use crate::ids::TypeName;
use rusqlite::{OptionalExtension, Row, params};

/// Work that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: String,
    /// The keyed hash of who asked.
    pub owner: Token,
    /// Sealed.
    pub request: Vec<u8>,
    /// The newest row that it sees.
    pub upto: i64,
    /// Milliseconds since 1970.
    pub made: i64,
    pub state: State,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Waiting,
    Done,
    Failed,
}

/// Rows that are sent as one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub kind: TypeName,
    /// It tells what was deleted.
    pub deleted: bool,
    /// Which members of a group.
    pub part: usize,
    /// Rows after this one, up to and with the last one.
    pub after: i64,
    pub last: i64,
    /// How many resources, where the index tells exactly.
    pub count: Option<u64>,
}

const JOB: &str = "SELECT id, owner, request, upto, made, state FROM job";

impl Store {
    /// The newest row and when it was made: whatever comes later is made then or later.
    pub fn snapshot(&self) -> Result<(i64, Option<i64>), StoreError> {
        const SQL: &str = "SELECT row, updated FROM record ORDER BY row DESC LIMIT 1";
        self.with(|c| {
            let found = c.prepare_cached(SQL)?.query_row([], |r| Ok((r.get(0)?, r.get(1)?))).optional()?;
            Ok(found.map_or((0, None), |(row, time)| (row, Some(time))))
        })
    }

    /// When a row was made.
    pub fn made(&self, row: i64) -> Result<Option<i64>, StoreError> {
        self.with(|c| {
            let sql = "SELECT updated FROM record WHERE row = ?1";
            Ok(c.prepare_cached(sql)?.query_row([row], |r| r.get(0)).optional()?)
        })
    }

    /// The last row made before a time.
    pub fn row_before(&self, time: i64) -> Result<i64, StoreError> {
        self.with(|c| last_before(c, time))
    }

    /// Keeps a new export, unless its owner has too many.
    pub fn add_export(&self, job: &Job, limit: usize) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO job (id, kind, owner, request, upto, made, state) \
             SELECT ?1, 'export', ?2, ?3, ?4, ?5, 0 WHERE (SELECT count(*) FROM job WHERE owner = ?2) < ?6";
        let owner = job.owner.0.as_slice();
        self.with(|c| Ok(c.execute(SQL, params![job.id, owner, job.request, job.upto, job.made, limit as i64])? == 1))
    }

    /// A job, for who asked for it.
    pub fn job(&self, id: &str, owner: &Token) -> Result<Option<Job>, StoreError> {
        let sql = format!("{JOB} WHERE id = ?1 AND owner = ?2");
        self.with(|c| Ok(c.prepare_cached(&sql)?.query_row(params![id, owner.0.as_slice()], job).optional()?))
    }

    /// The export that waits longest.
    pub fn waiting_export(&self) -> Result<Option<Job>, StoreError> {
        let sql = format!("{JOB} WHERE kind = 'export' AND state = 0 ORDER BY made, id LIMIT 1");
        self.with(|c| Ok(c.prepare_cached(&sql)?.query_row([], job).optional()?))
    }

    /// What became of a job: its files, or none for one that failed. A job that was deleted meanwhile gets none.
    pub fn finish_job(&self, id: &str, parts: Option<&[Part]>) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO job_file (job, number, type, deleted, part, after, last, count) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let state = if parts.is_some() { 1 } else { 2 };
        self.with(|c| {
            let c = c.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let there = c.execute("UPDATE job SET state = ?2 WHERE id = ?1", params![id, state])? == 1;
            for (number, part) in parts.unwrap_or_default().iter().enumerate().filter(|_| there) {
                let Part { kind, deleted, part, after, last, count } = part;
                let count = count.map(|n| n as i64);
                let values = params![id, number as i64, kind.as_str(), deleted, *part as i64, after, last, count];
                c.prepare_cached(SQL)?.execute(values)?;
            }
            Ok(c.commit()?)
        })
    }

    /// The files of a job, in their order.
    pub fn parts(&self, id: &str) -> Result<Vec<Part>, StoreError> {
        const SQL: &str = "SELECT type, deleted, part, after, last, count FROM job_file WHERE job = ?1 ORDER BY number";
        let raw = |r: &Row<'_>| {
            let kind: String = r.get(0)?;
            let part = |kind| -> rusqlite::Result<Part> {
                let (part, count): (i64, Option<i64>) = (r.get(2)?, r.get(5)?);
                let (after, last) = (r.get(3)?, r.get(4)?);
                let count = count.map(|n| n as u64);
                Ok(Part { kind, deleted: r.get(1)?, part: part as usize, after, last, count })
            };
            TypeName::parse(&kind).map(part).transpose()
        };
        let rows: Vec<Option<Part>> =
            self.with(|c| Ok(c.prepare_cached(SQL)?.query_map([id], raw)?.collect::<Result<_, _>>()?))?;
        rows.into_iter().collect::<Option<_>>().ok_or(StoreError::Nonsense("a resource type"))
    }

    /// Forgets a job. Tells whether there was one.
    pub fn drop_job(&self, id: &str, owner: &Token) -> Result<bool, StoreError> {
        self.forget("id = ?1 AND owner = ?2", params![id, owner.0.as_slice()])
    }

    /// Forgets what was asked for before a time.
    pub fn drop_jobs_before(&self, time: i64) -> Result<bool, StoreError> {
        self.forget("made < ?1", params![time])
    }

    fn forget(&self, which: &str, values: impl rusqlite::Params) -> Result<bool, StoreError> {
        self.with(|c| {
            let c = c.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let gone = c.execute(&format!("DELETE FROM job WHERE {which}"), values)?;
            if gone > 0 {
                c.execute("DELETE FROM job_file WHERE job NOT IN (SELECT id FROM job)", [])?;
            }
            c.commit()?;
            Ok(gone > 0)
        })
    }

    /// The next resources of a type that are deleted as a snapshot shows them.
    pub fn deletions(&self, kind: TypeName, after: i64, upto: i64, limit: usize) -> Result<Vec<Stored>, StoreError> {
        const SQL: &str = "SELECT row, type, id, version, pack, offset, length, updated, deleted, \
             (SELECT entry FROM log WHERE log.row = record.row) FROM record \
             WHERE type = ?1 AND row > ?2 AND row <= ?3 AND deleted = 1 AND (until IS NULL OR until > ?3) ORDER BY row LIMIT ?4";
        self.with(|c| many(c, SQL, params![kind.as_str(), after, upto, limit as i64]))
    }
}

fn job(r: &Row<'_>) -> rusqlite::Result<Job> {
    let state = match r.get::<_, i64>(5)? {
        0 => State::Waiting,
        1 => State::Done,
        _ => State::Failed,
    };
    let owner = Token(r.get(1)?);
    Ok(Job { id: r.get(0)?, owner, request: r.get(2)?, upto: r.get(3)?, made: r.get(4)?, state })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_its_owners_and_ends_with_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index.sqlite")).unwrap();
        let (me, other) = (Token([1; 16]), Token([2; 16]));
        let job =
            |id: &str, made| Job { id: id.into(), owner: me, request: vec![7], upto: 5, made, state: State::Waiting };
        assert!(store.add_export(&job("a", 10), 2).unwrap() && store.add_export(&job("b", 20), 2).unwrap());
        assert!(!store.add_export(&job("c", 30), 2).unwrap(), "one too many");
        assert_eq!(store.job("a", &me).unwrap(), Some(job("a", 10)));
        assert_eq!(store.job("a", &other).unwrap(), None);
        assert_eq!(store.waiting_export().unwrap().unwrap().id, "a");
        let kind = TypeName::parse("Patient").unwrap();
        let part = Part { kind, deleted: false, part: 0, after: 0, last: 5, count: Some(3) };
        store.finish_job("a", Some(std::slice::from_ref(&part))).unwrap();
        store.finish_job("gone", Some(std::slice::from_ref(&part))).unwrap();
        assert_eq!((store.parts("a").unwrap(), store.parts("gone").unwrap()), (vec![part], vec![]));
        store.finish_job("b", None).unwrap();
        assert_eq!(store.job("b", &me).unwrap().unwrap().state, State::Failed);
        assert!(!store.drop_job("a", &other).unwrap() && store.drop_jobs_before(20).unwrap());
        assert!(store.job("a", &me).unwrap().is_none() && store.parts("a").unwrap().is_empty());
    }
}
