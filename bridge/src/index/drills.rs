//! What the index remembers of its newest backup and of the newest drill: so that somebody sees when neither was for a long time.

use super::store::{Store, StoreError};
use serde::{Deserialize, Serialize};

/// The settings that have them.
pub(super) const BACKUP: &str = "backup.newest";
const DRILL: &str = "drill.newest";

/// A drill that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drill {
    /// When it began, in milliseconds since 1970.
    pub at: i64,
    /// Whether everything was proved.
    pub proved: bool,
    /// When the backup was made that it began with; without one it began with the packs alone.
    pub backup: Option<i64>,
    /// Entries of the log that came out.
    pub log: u64,
}

impl Store {
    /// When this index was last copied by `medseal backup`, in milliseconds since 1970. In a copy: when it was made.
    pub fn backed_up(&self) -> Result<Option<i64>, StoreError> {
        let kept = self.setting(BACKUP)?;
        kept.map(|at| at.parse().map_err(|_| StoreError::Nonsense("the time of a backup"))).transpose()
    }

    /// The newest drill.
    pub fn drilled(&self) -> Result<Option<Drill>, StoreError> {
        let kept = self.setting(DRILL)?;
        kept.map(|drill| serde_json::from_str(&drill).map_err(|_| StoreError::Nonsense("a drill"))).transpose()
    }

    /// Remembers a drill.
    pub fn note_drill(&self, drill: &Drill) -> Result<(), StoreError> {
        // Numbers alone: serialisation cannot fail.
        self.set_setting(DRILL, &serde_json::to_string(drill).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_drill_is_remembered() {
        for (_keep, store) in crate::index::stores() {
            assert_eq!((store.drilled().unwrap(), store.backed_up().unwrap()), (None, None));
            let drill = Drill { at: 7, proved: false, backup: Some(5), log: 3 };
            store.note_drill(&drill).unwrap();
            let later = Drill { at: 9, proved: true, ..drill };
            store.note_drill(&later).unwrap();
            assert_eq!(store.drilled().unwrap(), Some(later));
        }
    }
}
