//! What recovery writes into the index: keys, the log in the order that was published, and how far that is.

use super::log::append;
use super::sql::values;
use super::store::{Place, Store, StoreError};
use crate::ids::{Name, Owner, Version};
use crate::vault::keys::Wrapped;
use notary::tree::{StoredHash, stored_hash_count};

/// A row, its entry, and the hashes that the tree gains by it.
pub type Appended = (i64, Vec<u8>, Vec<[u8; 32]>);

impl Store {
    /// Up to which size the log was published.
    pub fn published(&self) -> Result<u64, StoreError> {
        let value = self.setting("published")?;
        value.map_or(Ok(0), |v| v.parse().map_err(|_| StoreError::Nonsense("the published size")))
    }

    /// The log was published up to this size; never less than before.
    pub fn keep_published(&self, size: u64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO setting (name, value) VALUES ('published', ?1) ON CONFLICT (name) DO UPDATE \
             SET value = ?1 WHERE CAST(setting.value AS BIGINT) < CAST(?1 AS BIGINT)";
        self.with(|c| c.execute(SQL, values![&size.to_string()]).map(|_| ()))
    }

    /// The log is to be published again from a size on, unless somebody has done more meanwhile.
    pub fn publish_again(&self, remembered: u64, from: u64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE setting SET value = ?2 WHERE name = 'published' AND value = ?1";
        self.with(|c| c.execute(SQL, values![&remembered.to_string(), &from.to_string()]).map(|_| ()))
    }

    /// The newest checkpoint, published or not.
    pub fn newest_checkpoint(&self) -> Result<Option<(u64, String)>, StoreError> {
        const SQL: &str = "SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1";
        self.with(|c| c.first(SQL, &[], |r| Ok((r.size(0)?, r.string(1)?))))
    }

    /// Keeps a checkpoint of the log as it is.
    pub fn keep_checkpoint(&self, size: u64, note: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO checkpoint (size, note) VALUES (?1, ?2) ON CONFLICT (size) DO NOTHING";
        self.with(|c| c.execute(SQL, values![size as i64, note]).map(|_| ()))
    }

    /// Puts wrapped keys in; tells those that they took the place of.
    pub fn restore_keys(&self, keys: &[(Owner, Wrapped)]) -> Result<Vec<(Owner, Wrapped)>, StoreError> {
        const PUT: &str =
            "INSERT INTO data_key (owner, wrapped) VALUES (?1, ?2) ON CONFLICT (owner) DO UPDATE SET wrapped = ?2";
        const OLD: &str = "SELECT wrapped FROM data_key WHERE owner = ?1";
        self.transaction(|c| {
            let mut displaced = Vec::new();
            for (owner, wrapped) in keys {
                let old = c.first(OLD, values![owner.as_str()], |r| Ok(Wrapped(r.blob(0)?.to_vec())))?;
                displaced.extend(old.filter(|old| old != wrapped).map(|old| (owner.clone(), old)));
                c.execute(PUT, values![owner.as_str(), &wrapped.0])?;
            }
            Ok(displaced)
        })
    }

    /// Everything that waits for the sequencer.
    pub fn outbox(&self) -> Result<Vec<(i64, Vec<u8>)>, StoreError> {
        self.with(|c| {
            c.rows("SELECT row, entry FROM outbox ORDER BY row", &[], |r| Ok((r.int(0)?, r.blob(1)?.to_vec())))
        })
    }

    /// Appends entries to the log as they stood in it, with the tree's new hashes.
    pub fn restore_log(&self, entries: &[Appended]) -> Result<(), StoreError> {
        self.transaction(|c| {
            let size = c.number("SELECT coalesce(max(position) + 1, 0) FROM log", &[])? as u64;
            let rows: Vec<_> = entries.iter().map(|(row, entry, _)| (*row, entry.clone())).collect();
            let hashes = entries.iter().flat_map(|(_, _, hashes)| hashes).map(|hash| StoredHash(*hash));
            append(c, size, &rows, &(stored_hash_count(size)..).zip(hashes).collect::<Vec<_>>())
        })
    }

    /// Where a version or a message lies, whatever its type is called.
    pub fn place_of(&self, kind: &str, id: &str, version: Version) -> Result<Option<Place>, StoreError> {
        const SQL: &str = "SELECT pack, \"offset\", length FROM record WHERE type = ?1 AND id = ?2 AND version = ?3";
        self.with(|c| {
            c.first(SQL, values![kind, id, version.0], |r| {
                let extent = crate::vault::pack::Extent { offset: r.size(1)?, length: r.small(2)? };
                Ok(Place { pack: r.string(0)?, extent })
            })
        })
    }

    /// The newest version of each resource of a type.
    pub fn current_of(&self, kind: &str) -> Result<Vec<(i64, Name)>, StoreError> {
        const SQL: &str =
            "SELECT row, type, id FROM record WHERE type = ?1 AND current = 1 AND deleted = 0 ORDER BY row";
        let name = |text: String| Name::parse(&text).ok_or(StoreError::Nonsense("a name"));
        self.with(|c| c.rows(SQL, values![kind], |r| Ok((r.int(0)?, name(format!("{}/{}", r.text(1)?, r.text(2)?))?))))
    }
}
