//! Background work in the index: what was asked for, how far it is, which rows make which file. Holds no patient data.

use super::history::last_before;
use super::sql::{Bulk, Row, Value, values};
use super::store::{STORED, Store, StoreError, Stored, many};
use super::tokens::Token;
use super::write;
use crate::ids::TypeName;

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
        self.read(|c| Ok(write::newest(c)?.map_or((0, None), |(row, time)| (row, Some(time)))))
    }

    /// When a row was made.
    pub fn made(&self, row: i64) -> Result<Option<i64>, StoreError> {
        self.read(|c| c.first("SELECT updated FROM record WHERE row = ?1", values![row], |r| r.int(0)))
    }

    /// The last row made before a time.
    pub fn row_before(&self, time: i64) -> Result<i64, StoreError> {
        self.read(|c| last_before(c, time))
    }

    /// Keeps a new export, unless its owner has too many.
    pub fn add_export(&self, job: &Job, limit: usize) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO job (id, kind, owner, request, upto, made, state) \
             SELECT ?1, 'export', ?2, ?3, ?4, ?5, 0 WHERE (SELECT count(*) FROM job WHERE owner = ?2) < ?6";
        let values = values![&job.id, &job.owner, &job.request, job.upto, job.made, limit as i64];
        Ok(self.with(|c| c.execute(SQL, values))? == 1)
    }

    /// A job, for who asked for it.
    pub fn job(&self, id: &str, owner: &Token) -> Result<Option<Job>, StoreError> {
        let sql = format!("{JOB} WHERE id = ?1 AND owner = ?2");
        self.read(|c| c.first(&sql, values![id, owner], job))
    }

    /// The export that waits longest.
    pub fn waiting_export(&self) -> Result<Option<Job>, StoreError> {
        let sql = format!("{JOB} WHERE kind = 'export' AND state = 0 ORDER BY made, id LIMIT 1");
        self.read(|c| c.first(&sql, &[], job))
    }

    /// What became of a job: its files, or none for one that failed. A job that was deleted meanwhile gets none, and one that
    /// was finished already keeps its own.
    pub fn finish_job(&self, id: &str, parts: Option<&[Part]>) -> Result<(), StoreError> {
        let state = if parts.is_some() { 1 } else { 2 };
        self.transaction(|c| {
            let sql = "UPDATE job SET state = ?2 WHERE id = ?1 AND state = 0";
            match c.execute(sql, values![id, i64::from(state)])? {
                0 => Ok(()),
                _ => c.execute_all(&[files(id, parts.unwrap_or_default())]),
            }
        })
    }

    /// The files of a job, in their order.
    pub fn parts(&self, id: &str) -> Result<Vec<Part>, StoreError> {
        const SQL: &str = "SELECT type, deleted, part, after, last, count FROM job_file WHERE job = ?1 ORDER BY number";
        self.read(|c| c.rows(SQL, values![id], part))
    }

    /// Forgets a job. Tells whether there was one.
    pub fn drop_job(&self, id: &str, owner: &Token) -> Result<bool, StoreError> {
        self.forget("id = ?1 AND owner = ?2", values![id, owner])
    }

    /// Forgets what was asked for before a time.
    pub fn drop_jobs_before(&self, time: i64) -> Result<bool, StoreError> {
        self.forget("made < ?1", values![time])
    }

    fn forget(&self, which: &str, values: &[Value<'_>]) -> Result<bool, StoreError> {
        self.transaction(|c| {
            let gone = c.execute(&format!("DELETE FROM job WHERE {which}"), values)?;
            if gone > 0 {
                c.execute("DELETE FROM job_file WHERE job NOT IN (SELECT id FROM job)", &[])?;
            }
            Ok(gone > 0)
        })
    }

    /// The next resources of a type that are deleted as a snapshot shows them.
    pub fn deletions(&self, kind: TypeName, after: i64, upto: i64, limit: usize) -> Result<Vec<Stored>, StoreError> {
        let sql = format!(
            "{STORED} WHERE type = ?1 AND row > ?2 AND row <= ?3 AND deleted = 1 AND (until IS NULL OR until > ?3) \
             ORDER BY row LIMIT ?4"
        );
        self.read(|c| many(c, &sql, values![kind.as_str(), after, upto, limit as i64]))
    }
}

fn files<'p>(job: &'p str, parts: &'p [Part]) -> Bulk<'p> {
    let mut bulk = Bulk::new(
        "INSERT INTO job_file (job, number, type, deleted, part, after, last, count) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        8,
    );
    for (number, Part { kind, deleted, part, after, last, count }) in parts.iter().enumerate() {
        let (number, part, count) = (number as i64, *part as i64, count.map(|n| n as i64));
        bulk.row(values![job, number, kind.as_str(), *deleted, part, *after, *last, count]);
    }
    bulk
}

fn part(r: &Row<'_>) -> Result<Part, StoreError> {
    let kind = TypeName::parse(r.text(0)?).ok_or(StoreError::Nonsense("a resource type"))?;
    let count = r.maybe_int(5)?.map(|n| n as u64);
    let (deleted, part) = (r.flag(1)?, r.int(2)? as usize);
    Ok(Part { kind, deleted, part, after: r.int(3)?, last: r.int(4)?, count })
}

fn job(r: &Row<'_>) -> Result<Job, StoreError> {
    let state = match r.int(5)? {
        0 => State::Waiting,
        1 => State::Done,
        _ => State::Failed,
    };
    let owner = Token(r.blob(1)?.try_into().map_err(|_| StoreError::Nonsense("a token"))?);
    let (id, request) = (r.string(0)?, r.blob(2)?.to_vec());
    Ok(Job { id, owner, request, upto: r.int(3)?, made: r.int(4)?, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;

    #[test]
    fn a_job_is_its_owners_and_ends_with_its_files() {
        for (_keep, store) in stores() {
            let (me, other) = (Token([1; 16]), Token([2; 16]));
            let job = |id: &str, made| Job {
                id: id.into(),
                owner: me,
                request: vec![7],
                upto: 5,
                made,
                state: State::Waiting,
            };
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
}
