//! Values as PostgreSQL takes them: each has its type, so that a statement means the same as in SQLite whatever PostgreSQL
//! would have guessed. All numbers are 64 bits.

use crate::index::sql::{Bulk, Keys, Value};
use bytes::BytesMut;
use std::error::Error;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

/// One argument of a statement.
#[derive(Debug)]
pub(super) enum Arg<'a> {
    One(Value<'a>),
    Ints(Vec<Option<i64>>),
    Texts(Vec<&'a str>),
    Blobs(Vec<&'a [u8]>),
}

impl<'a> Arg<'a> {
    pub(super) fn keys(keys: Keys<'a>) -> Self {
        match keys {
            Keys::Ints(keys) => Self::Ints(keys.iter().copied().map(Some).collect()),
            Keys::Texts(keys) => Self::Texts(keys.to_vec()),
        }
    }

    /// The columns of many rows.
    pub(super) fn columns(bulk: &Bulk<'a>) -> Vec<Self> {
        let mut columns: Vec<Self> = bulk.rows().take(1).flatten().map(|value| Self::empty(*value)).collect();
        debug_assert_eq!(columns.len(), bulk.width());
        for row in bulk.rows() {
            columns.iter_mut().zip(row).for_each(|(column, value)| column.push(*value));
        }
        columns
    }

    fn empty(like: Value<'a>) -> Self {
        match like {
            Value::Int(_) | Value::Null => Self::Ints(Vec::new()),
            Value::Text(_) => Self::Texts(Vec::new()),
            Value::Blob(_) => Self::Blobs(Vec::new()),
        }
    }

    fn push(&mut self, value: Value<'a>) {
        match (self, value) {
            (Self::Ints(column), Value::Int(value)) => column.push(Some(value)),
            (Self::Ints(column), Value::Null) => column.push(None),
            (Self::Texts(column), Value::Text(value)) => column.push(value),
            (Self::Blobs(column), Value::Blob(value)) => column.push(value),
            // A value of another type than the first row's: the column gets too short, and the statement is refused.
            _ => {}
        }
    }

    pub(super) fn type_(&self) -> Type {
        match self {
            Self::One(Value::Int(_) | Value::Null) => Type::INT8,
            Self::One(Value::Text(_)) => Type::TEXT,
            Self::One(Value::Blob(_)) => Type::BYTEA,
            Self::Ints(_) => Type::INT8_ARRAY,
            Self::Texts(_) => Type::TEXT_ARRAY,
            Self::Blobs(_) => Type::BYTEA_ARRAY,
        }
    }
}

impl ToSql for Arg<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::One(Value::Int(value)) => value.to_sql(ty, out),
            Self::One(Value::Null) => Ok(IsNull::Yes),
            Self::One(Value::Text(value)) => value.to_sql(ty, out),
            Self::One(Value::Blob(value)) => value.to_sql(ty, out),
            Self::Ints(values) => values.to_sql(ty, out),
            Self::Texts(values) => values.to_sql(ty, out),
            Self::Blobs(values) => values.to_sql(ty, out),
        }
    }

    /// The statement was prepared with these very types.
    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
