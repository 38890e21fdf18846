//! What newer statements ask of the engine: typed values and rows.

use super::store::{Store, StoreError};
use super::tokens::Token;
use rusqlite::types::{ToSqlOutput, ValueRef};

/// A value of a statement.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Int(i64),
    Text(&'a str),
    Blob(&'a [u8]),
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
            Self::Text(value) => ValueRef::Text(value.as_bytes()),
            Self::Blob(value) => ValueRef::Blob(value),
        }))
    }
}

/// One row of an answer.
pub(super) struct Row<'r>(&'r rusqlite::Row<'r>);

impl Row<'_> {
    pub(super) fn int(&self, at: usize) -> Result<i64, StoreError> {
        Ok(self.0.get(at)?)
    }

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
        Ok(self.0.get_ref(at)?.as_str().map_err(rusqlite::Error::from)?)
    }

    pub(super) fn string(&self, at: usize) -> Result<String, StoreError> {
        self.text(at).map(str::to_owned)
    }

    pub(super) fn blob(&self, at: usize) -> Result<&[u8], StoreError> {
        Ok(self.0.get_ref(at)?.as_blob().map_err(rusqlite::Error::from)?)
    }
}

/// Statements over typed values.
pub(super) trait Statements {
    fn rows<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError>;

    fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError>;

    fn run(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError>;

    fn batch(&self, sql: &str) -> Result<(), StoreError>;

    fn number(&self, sql: &str, values: &[Value<'_>]) -> Result<i64, StoreError> {
        self.first(sql, values, |row| row.int(0))?.ok_or(StoreError::Nonsense("nothing where a number is"))
    }
}

impl Statements for rusqlite::Connection {
    fn rows<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(&Row(row))?);
        }
        Ok(found)
    }

    fn first<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(values))?;
        rows.next()?.map(|row| read(&Row(row))).transpose()
    }

    fn run(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, StoreError> {
        Ok(self.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))? as u64)
    }

    fn batch(&self, sql: &str) -> Result<(), StoreError> {
        Ok(self.execute_batch(sql)?)
    }
}

impl Store {
    /// Work that counts as a whole or not at all.
    pub(super) fn transaction<T>(
        &self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.with(|c| {
            let transaction = c.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        })
    }
}
