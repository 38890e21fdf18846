//! Wrapped keys, page by page, to wrap them anew.

use super::sql::{Connection, values};
use super::store::{Store, StoreError};
use crate::ids::Owner;
use crate::vault::keys::Wrapped;
use crate::vault::roots::RootId;

/// Names the root that wraps what is new; while it is not set, it is the only one.
pub const NEWEST: &str = "root";
/// Names the root that a rotation goes to, while it is not finished.
pub const ROTATING: &str = "rotating";

impl Store {
    /// Wrapped keys after an owner, in the order of their names.
    pub fn keys_after(&self, after: &str, limit: usize) -> Result<Vec<(Owner, Wrapped)>, StoreError> {
        const SQL: &str = "SELECT owner, wrapped FROM data_key WHERE owner > ?1 ORDER BY owner LIMIT ?2";
        let read = |r: &super::sql::Row<'_>| Ok((Owner::from_stored(r.text(0)?), Wrapped(r.blob(1)?.to_vec())));
        self.read(|c| c.rows(SQL, values![after, limit as i64], read))
    }

    /// The root that is to wrap what is new: the one that a rotation goes to, or the newest.
    pub fn wanted_root(&self) -> Result<Option<RootId>, StoreError> {
        let rotating = self.setting(ROTATING)?.and_then(|id| RootId::parse(&id));
        Ok(rotating.or(self.setting(NEWEST)?.and_then(|id| RootId::parse(&id))))
    }

    /// How many there are.
    pub fn key_count(&self) -> Result<u64, StoreError> {
        self.read(|c| Ok(c.number("SELECT count(*) FROM data_key", &[])? as u64))
    }

    /// Puts newly wrapped keys in the place of those that they were wrapped as before. One that was destroyed meanwhile stays so.
    pub fn rewrap(&self, keys: &[(Owner, Wrapped, Wrapped)]) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE data_key SET wrapped = ?3 WHERE owner = ?1 AND wrapped = ?2";
        self.transaction(|c| {
            keys.iter()
                .try_for_each(|(owner, old, new)| c.execute(SQL, values![owner.as_str(), &old.0, &new.0]).map(|_| ()))
        })
    }
}

/// Refuses keys that are wrapped under an older root than the newest: asked in the transaction that commits them, so that after a
/// rotation nothing needs the older one.
pub(super) fn refuse_old_root(c: &Connection, keys: &[(Owner, Wrapped)]) -> Result<(), StoreError> {
    if keys.is_empty() {
        return Ok(());
    }
    let newest = c.first("SELECT value FROM setting WHERE name = ?1", values![NEWEST], |r| r.string(0))?;
    let under = |wrapped: &Wrapped| wrapped.root().map(|root| root.to_string());
    match newest {
        Some(newest) if keys.iter().any(|(_, wrapped)| under(wrapped).as_ref() != Some(&newest)) => {
            Err(StoreError::OldRoot)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::store::Batch;

    #[test]
    fn keys_are_wrapped_anew_and_none_comes_in_under_an_older_root() {
        for (_keep, store) in crate::index::stores() {
            let named = |root: u8, n: u8| Wrapped([vec![2], vec![root; 8], vec![n; 60]].concat());
            let owner = |n: u8| Owner::from_stored(&format!("Patient/{n}"));
            let keys = |root| (1..4).map(|n| (owner(n), named(root, n))).collect::<Vec<_>>();
            store.commit(&Batch { keys: keys(1), ..Batch::default() }).unwrap();
            assert_eq!(
                (store.keys_after("Patient/1", 9).unwrap(), store.key_count().unwrap()),
                (keys(1)[1..].to_vec(), 3)
            );
            store.set_setting(NEWEST, &hex::encode([7; 8])).unwrap();
            let late = Batch { keys: vec![(owner(9), named(1, 9))], ..Batch::default() };
            assert!(matches!(store.commit(&late), Err(StoreError::OldRoot)));
            store.commit(&Batch { keys: vec![(owner(9), named(7, 9))], ..Batch::default() }).unwrap();
            let pairs: Vec<_> = keys(1).into_iter().zip(keys(7)).map(|((o, old), (_, new))| (o, old, new)).collect();
            store.rewrap(&pairs[..2]).unwrap();
            store.rewrap(&[(owner(3), named(5, 3), named(7, 3))]).unwrap();
            let now: Vec<_> = store.keys_after("", 9).unwrap().into_iter().map(|(_, w)| w.0[1]).collect();
            assert_eq!(now, [7, 7, 1, 7], "only what is as it was read");
        }
    }
}
