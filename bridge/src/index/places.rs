//! Small statements of the key and storage upkeep.

use super::store::{Store, StoreError};
use rusqlite::OptionalExtension;

impl Store {
    /// A setting that may change.
    pub fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM setting WHERE name = ?1";
        self.with(|c| Ok(c.query_row(SQL, [name], |r| r.get(0)).optional()?))
    }

    /// Stores a setting that may change.
    pub fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        const SQL: &str =
            "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
        self.with(|c| Ok(c.execute(SQL, [name, value]).map(|_| ())?))
    }
}
