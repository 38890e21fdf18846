//! Small statements of the key and storage upkeep.

use super::store::{Store, StoreError, set};

impl Store {
    /// Stores a setting that may change.
    pub fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.with(|c| set(c, name, value))
    }
}
