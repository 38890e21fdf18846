//! Objects as they were at one moment, and a folder above them that takes whatever is written. Whoever works on it sees what it would
//! have done, and what lies below is read and never changed.

use super::{Found, ObjectError, Objects};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};

/// Named: an object store that asks another one would be of endless type.
type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, ObjectError>> + Send + 'a>>;

/// What lies below, and what was written above it.
#[derive(Debug)]
pub struct Above {
    below: Objects,
    own: Objects,
    /// Names of what was removed.
    gone: RwLock<HashSet<String>>,
    /// A folder of which only some are shown: what came into it later does not belong to the moment.
    folder: &'static str,
    shown: HashSet<String>,
}

impl Above {
    /// Shows of one folder only what is named. What is written goes into a directory, which is made.
    pub fn new(below: Objects, own: &Path, folder: &'static str, shown: HashSet<String>) -> Result<Self, ObjectError> {
        Ok(Self { below, own: Objects::directory(own)?, gone: RwLock::default(), folder, shown })
    }

    fn shows(&self, name: &str) -> bool {
        let gone = self.gone.read().unwrap_or_else(PoisonError::into_inner).contains(name);
        !gone && (!name.starts_with(self.folder) || self.shown.contains(name))
    }

    pub(super) fn place(&self) -> String {
        self.below.place()
    }

    pub(super) fn put<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> Answer<'a, ()> {
        Box::pin(async move {
            self.own.replace(name, bytes).await?;
            self.gone.write().unwrap_or_else(PoisonError::into_inner).remove(name);
            Ok(())
        })
    }

    pub(super) fn remove<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.gone.write().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
            self.own.remove(name).await
        })
    }

    pub(super) fn read<'a>(&'a self, name: &'a str, offset: u64, length: usize) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            match self.own.read(name, offset, length).await {
                Err(ObjectError::Missing { .. }) if self.shows(name) => self.below.read(name, offset, length).await,
                read => read,
            }
        })
    }

    pub(super) fn read_all<'a>(&'a self, name: &'a str) -> Answer<'a, Vec<u8>> {
        Box::pin(async move {
            match self.own.read_all(name).await {
                Err(ObjectError::Missing { .. }) if self.shows(name) => self.below.read_all(name).await,
                read => read,
            }
        })
    }

    pub(super) fn find<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Found>> {
        Box::pin(async move {
            match self.own.find(name).await? {
                None if self.shows(name) => self.below.find(name).await,
                found => Ok(found),
            }
        })
    }

    /// Those of what is below.
    pub(super) fn strangers(&self, folders: &'static [&'static str], limit: usize) -> Answer<'_, Vec<String>> {
        Box::pin(self.below.strangers(folders, limit))
    }

    pub(super) fn list<'a>(&'a self, folder: &'a str, after: &'a str, limit: usize) -> Answer<'a, Vec<Found>> {
        Box::pin(async move {
            let mut found = BTreeMap::new();
            let (mut from, mut ended) = (after.to_owned(), limit == 0);
            while !ended && found.len() < limit {
                let page = self.below.list(folder, &from, limit).await?;
                ended = page.len() < limit;
                from = page.last().map_or(from, |last| last.name.clone());
                let shown = page.into_iter().filter(|found| self.shows(&found.name));
                found.extend(shown.map(|found| (found.name.clone(), found)));
            }
            let own = self.own.list(folder, after, limit).await?;
            found.extend(own.into_iter().map(|found| (found.name.clone(), found)));
            Ok(found.into_values().take(limit).collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn names(found: Vec<Found>) -> Vec<String> {
        found.into_iter().map(|found| found.name).collect()
    }

    #[tokio::test]
    async fn what_is_below_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let below = Objects::directory(&directory.path().join("live")).unwrap();
        for name in ["keys/a", "keys/b", "keys/d", "packs/1", "packs/2"] {
            below.put(name, b"below".to_vec()).await.unwrap();
        }
        let shown = ["packs/1".to_owned()].into();
        let above = Above::new(below.clone(), &directory.path().join("own"), "packs/", shown).unwrap();
        let above = Objects::Above(Arc::new(above));
        above.replace("keys/a", b"above".to_vec()).await.unwrap();
        above.put("keys/c", b"above".to_vec()).await.unwrap();
        above.put_pack("packs/3", b"above".to_vec(), Vec::new()).await.unwrap();
        above.remove("keys/b").await.unwrap();
        assert_eq!(names(above.list("keys/", "", 9).await.unwrap()), ["keys/a", "keys/c", "keys/d"]);
        assert_eq!(names(above.list("keys/", "keys/a", 1).await.unwrap()), ["keys/c"]);
        assert_eq!(names(above.list("packs/", "", 9).await.unwrap()), ["packs/1", "packs/3"]);
        assert_eq!(above.read_all("keys/a").await.unwrap(), b"above");
        assert_eq!(above.read("keys/d", 1, 2).await.unwrap(), b"el");
        for gone in ["keys/b", "packs/2", "keys/x"] {
            assert!(matches!(above.read_all(gone).await, Err(ObjectError::Missing { .. })), "{gone}");
            assert!(matches!(above.read(gone, 0, 1).await, Err(ObjectError::Missing { .. })), "{gone}");
            assert_eq!(above.find(gone).await.unwrap(), None, "{gone}");
        }
        above.put("keys/b", b"again".to_vec()).await.unwrap();
        assert_eq!(above.read_all("keys/b").await.unwrap(), b"again");
        for name in ["keys/a", "keys/b", "keys/d", "packs/1", "packs/2"] {
            assert_eq!(below.read_all(name).await.unwrap(), b"below", "{name}");
        }
        assert_eq!(names(below.list("keys/", "", 9).await.unwrap()), ["keys/a", "keys/b", "keys/d"]);
    }
}
