//! What the index asks of its engine: statements with typed values, rows, transactions. A statement is written once, in the
//! words that SQLite and PostgreSQL share; where one statement for many keys or rows is right for the one and a loop for the
//! other, the difference is here and not with those who ask.

use super::postgres::Session;
use super::store::StoreError;
use crate::index::tokens::Token;
use rusqlite::types::{ToSqlOutput, ValueRef};

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Int(i64),
    /// No number: only numbers may be missing.
    Null,
    Text(&'a str),
    Blob(&'a [u8]),
}

/// Keys that a statement is asked for together.
#[derive(Debug, Clone, Copy)]
pub(super) enum Keys<'a> {
    Ints(&'a [i64]),
    Texts(&'a [&'a str]),
}

/// One row of an answer.
pub(super) enum Row<'r> {
    Sqlite(&'r rusqlite::Row<'r>),
    Postgres(&'r tokio_postgres::Row),
}

/// An open connection to the index.
pub(super) enum Connection {
    Sqlite(rusqlite::Connection),
    Postgres(Session),
}

/// One statement for many rows of values.
pub(super) struct Bulk<'a> {
    /// An insert with `VALUES (?1, ...)`, or a deletion with `= ANY(?1)`.
    sql: &'static str,
    /// What PostgreSQL is told where its form does not follow from that one: the values come as one array a column.
    arrays: Option<&'static str>,
    width: usize,
    values: Vec<Value<'a>>,
}

/// The values of a statement, in the order of its numbers.
macro_rules! values {
    ($($value:expr),* $(,)?) => { &[$($crate::index::sql::Value::from($value)),*] as &[$crate::index::sql::Value<'_>] };
}
pub(super) use values;

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Int(value.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<'a> From<&'a Vec<u8>> for Value<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl<'a> From<&'a Token> for Value<'a> {
    fn from(token: &'a Token) -> Self {
        Self::Blob(&token.0)
    }
}

impl rusqlite::ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Int(value) => ValueRef::Integer(*value),
            Self::Null => ValueRef::Null,
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

impl Row<'_> {
    pub(super) fn int(&self, at: usize) -> Result<i64, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.get(at)?),
            Self::Postgres(row) => Ok(row.try_get(at)?),
        }
    }

    pub(super) fn maybe_int(&self, at: usize) -> Result<Option<i64>, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.get(at)?),
            Self::Postgres(row) => Ok(row.try_get(at)?),
        }
    }

    /// A number that is never negative.
    pub(super) fn size(&self, at: usize) -> Result<u64, StoreError> {
        Ok(self.int(at)? as u64)
    }

    pub(super) fn small(&self, at: usize) -> Result<u32, StoreError> {
        u32::try_from(self.int(at)?).map_err(|_| StoreError::Nonsense("a small number"))
    }

    pub(super) fn flag(&self, at: usize) -> Result<bool, StoreError> {
        Ok(self.int(at)? != 0)
    }

    pub(super) fn text(&self, at: usize) -> Result<&str, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.get_ref(at)?.as_str().map_err(rusqlite::Error::from)?),
            Self::Postgres(row) => Ok(row.try_get(at)?),
        }
    }

    pub(super) fn string(&self, at: usize) -> Result<String, StoreError> {
        self.text(at).map(str::to_owned)
    }

    pub(super) fn blob(&self, at: usize) -> Result<&[u8], StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.get_ref(at)?.as_blob().map_err(rusqlite::Error::from)?),
            Self::Postgres(row) => Ok(row.try_get(at)?),
        }
    }

    pub(super) fn maybe_blob(&self, at: usize) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Sqlite(row) => Ok(row.get(at)?),
            Self::Postgres(row) => Ok(row.try_get(at)?),
        }
    }
}

impl<'a> Bulk<'a> {
    pub(super) fn new(sql: &'static str, width: usize) -> Self {
        Self { sql, arrays: None, width, values: Vec::new() }
    }

    pub(super) fn with_arrays(self, arrays: &'static str) -> Self {
        Self { arrays: Some(arrays), ..self }
    }

    /// Adds a row: as many values as the statement has.
    pub(super) fn row(&mut self, values: &[Value<'a>]) {
        self.values.extend_from_slice(values);
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &[Value<'a>]> {
        self.values.chunks_exact(self.width)
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// As PostgreSQL is told it.
    pub(super) fn for_arrays(&self) -> String {
        self.arrays.map_or_else(|| self.sql.replace("VALUES (", "SELECT * FROM UNNEST("), str::to_owned)
    }
}

/// `= ANY(?1)` for an engine that is asked for one key after the other: preparing a statement once and running it in a loop
/// costs SQLite less than a list would.
fn for_one(sql: &str) -> String {
    sql.replace("= ANY(?1)", "= ?1")
}

impl<'a> Keys<'a> {
    fn each(self) -> Box<dyn Iterator<Item = Value<'a>> + 'a> {
        match self {
            Self::Ints(keys) => Box::new(keys.iter().map(|key| Value::Int(*key))),
            Self::Texts(keys) => Box::new(keys.iter().map(|key| Value::Text(key))),
        }
    }

    pub(super) fn is_empty(self) -> bool {
        match self {
            Self::Ints(keys) => keys.is_empty(),
            Self::Texts(keys) => keys.is_empty(),
        }
    }
}

impl Connection {
    /// All rows of an answer.
    pub(super) fn rows<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                let mut found = Vec::new();
                while let Some(row) = rows.next()? {
                    found.push(read(&Row::Sqlite(row))?);
                }
                Ok(found)
            }
            Self::Postgres(session) => session.rows(sql, values)?.iter().map(|r| read(&Row::Postgres(r))).collect(),
        }
    }

    /// The only row of an answer, or the first one.
    pub(super) fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(sql)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values))?;
                rows.next()?.map(|row| read(&Row::Sqlite(row))).transpose()
            }
            Self::Postgres(session) => {
                session.rows(sql, values)?.first().map(|row| read(&Row::Postgres(row))).transpose()
            }
        }
    }

    /// A number that is always there.
    pub(super) fn number(&self, sql: &str, values: &[Value<'_>]) -> Result<i64, StoreError> {
        self.first(sql, values, |row| row.int(0))?.ok_or(StoreError::Nonsense("nothing where a number is"))
    }

    /// The rows of all keys, in no order. The statement has the key as `= ANY(?1)`, the other values from `?2` on. Where the
    /// engines need different statements, SQLite's is for one key.
    pub(super) fn rows_of<T>(
        &self,
        sql: &str,
        keys: Keys<'_>,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut found = Vec::new();
        match self {
            _ if keys.is_empty() => {}
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(&for_one(sql))?;
                let mut all = [&[Value::Null], values].concat();
                for key in keys.each() {
                    all[0] = key;
                    let mut rows = statement.query(rusqlite::params_from_iter(&all))?;
                    while let Some(row) = rows.next()? {
                        found.push(read(&Row::Sqlite(row))?);
                    }
                }
            }
            Self::Postgres(session) => {
                for row in &session.rows_of(sql, keys, values)? {
                    found.push(read(&Row::Postgres(row))?);
                }
            }
        }
        Ok(found)
    }

    /// Runs a statement and tells how many rows it changed.
    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let changed = connection.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))?;
                Ok(changed as u64)
            }
            Self::Postgres(session) => session.execute(sql, values),
        }
    }

    /// Runs a statement over many rows and tells how many it changed.
    pub(super) fn execute_many(&self, bulk: &Bulk<'_>) -> Result<u64, StoreError> {
        match self {
            _ if bulk.is_empty() => Ok(0),
            Self::Sqlite(connection) => {
                let mut statement = connection.prepare_cached(&for_one(bulk.sql))?;
                bulk.rows().try_fold(0, |sum, row| Ok(sum + statement.execute(rusqlite::params_from_iter(row))? as u64))
            }
            Self::Postgres(session) => session.execute_many(bulk),
        }
    }

    /// Runs statements over many rows each, in their order.
    pub(super) fn execute_all(&self, work: &[Bulk<'_>]) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => {
                for bulk in work.iter().filter(|bulk| !bulk.is_empty()) {
                    let mut statement = connection.prepare_cached(&for_one(bulk.sql))?;
                    for row in bulk.rows() {
                        statement.execute(rusqlite::params_from_iter(row))?;
                    }
                }
                Ok(())
            }
            Self::Postgres(session) => session.execute_all(work),
        }
    }

    /// Runs statements without values.
    pub(super) fn batch(&self, sql: &str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Self::Postgres(session) => session.batch(sql),
        }
    }

    /// Work that reads much: SQLite takes and lets go of its lock once, and not for every statement.
    pub(super) fn reading<T>(&self, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(_) => {
                self.batch("BEGIN")?;
                self.end(work())
            }
            Self::Postgres(_) => work(),
        }
    }

    /// Holds a row until the transaction ends, and lets the statements that follow see it as it is then. A transaction of SQLite
    /// holds everything from its beginning.
    pub(super) fn hold(&self, select: &str, values: &[Value<'_>]) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(_) => Ok(()),
            Self::Postgres(session) => session.rows(&format!("{select} FOR UPDATE"), values).map(|_| ()),
        }
    }

    /// Work that counts as a whole or not at all.
    pub(super) fn transaction<T, E: From<StoreError>>(&self, work: impl FnOnce(&Self) -> Result<T, E>) -> Result<T, E> {
        self.batch(if matches!(self, Self::Sqlite(_)) { "BEGIN IMMEDIATE" } else { "BEGIN" })?;
        self.end(work(self))
    }

    /// Ends a transaction as its work ended.
    pub(super) fn end<T, E: From<StoreError>>(&self, result: Result<T, E>) -> Result<T, E> {
        match result {
            Ok(done) => match self.batch("COMMIT") {
                Ok(()) => Ok(done),
                Err(error) => self.undo(error.into()),
            },
            Err(error) => self.undo(error),
        }
    }

    fn undo<T, E>(&self, error: E) -> Result<T, E> {
        // Where this fails too, the connection is broken or closed, and the engine undoes what was not committed.
        _ = self.batch("ROLLBACK");
        Err(error)
    }
}
