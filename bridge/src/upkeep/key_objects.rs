//! The wrapped keys beside the packs, `keys/...`: objects of JSON, `{owner: wrapped in hexadecimal}`. They are what recovery
//! has; unlike packs they change, when a key is destroyed or wrapped anew.

use crate::app::keep::Keep;
use crate::error::VaultError;
use crate::ids::Owner;
use crate::index::alone::Alone;
use crate::vault::keys::{KeyError, Wrapped};
use crate::vault::objects::{Found, ObjectError, Objects};

/// Where they lie.
pub const FOLDER: &str = "keys/";
/// Names that are listed at a time. A directory is walked through for each page.
const PAGE: usize = 10_000;

/// The keys of an object, in its order.
pub type Keys = Vec<(Owner, Wrapped)>;

/// The object of the keys that were made with a pack.
pub fn of_pack(pack: &str) -> String {
    pack.replace(super::recover::packs::FOLDER, FOLDER)
}

/// A walk over all objects of a folder.
pub struct Walk<'o> {
    objects: &'o Objects,
    folder: &'static str,
    after: String,
    page: std::vec::IntoIter<Found>,
    ended: bool,
}

impl<'o> Walk<'o> {
    /// A walk from the beginning.
    pub fn new(objects: &'o Objects, folder: &'static str) -> Self {
        Self { objects, folder, after: String::new(), page: Vec::new().into_iter(), ended: false }
    }

    /// The next object, in the order of the names.
    pub async fn next(&mut self) -> Result<Option<Found>, VaultError> {
        if self.page.len() == 0 && !self.ended {
            let page = self.objects.list(self.folder, &self.after, PAGE).await?;
            self.ended = page.len() < PAGE;
            self.page = page.into_iter();
        }
        let found = self.page.next();
        self.after = found.as_ref().map_or_else(String::new, |found| found.name.clone());
        Ok(found)
    }
}

/// Reads an object of keys.
pub async fn read(objects: &Objects, name: &str) -> Result<Keys, VaultError> {
    let bytes = objects.read_all(name).await?;
    Ok(parse(&bytes).ok_or_else(|| KeyError::KeyObject { name: name.to_owned() })?)
}

/// Writes keys in the place of those that an object had; an object without keys goes. Two at that would undo each other's work.
pub async fn write(alone: &Alone, objects: &Objects, name: &str, keys: &Keys) -> Result<(), VaultError> {
    alone.check()?;
    if keys.is_empty() {
        return Ok(objects.remove(name).await?);
    }
    Ok(objects.replace(name, to_bytes(keys)).await?)
}

/// Destroys an owner's key in every object. Tells in how many it was.
pub async fn destroy(
    alone: &Alone,
    objects: &Objects,
    owner: &Owner,
    mut seen: impl FnMut(),
) -> Result<usize, VaultError> {
    let (mut walk, mut count) = (Walk::new(objects, FOLDER), 0);
    while let Some(found) = walk.next().await? {
        let mut keys = match read(objects, &found.name).await {
            // That of a group that was refused meanwhile.
            Err(VaultError::Object(ObjectError::Missing { .. })) => continue,
            keys => keys?,
        };
        let before = keys.len();
        keys.retain(|(of, _)| of != owner);
        if keys.len() < before {
            write(alone, objects, &found.name, &keys).await?;
            count += 1;
        }
        seen();
    }
    Ok(count)
}

/// Whether the index has this very key of an owner. After a rotation it is wrapped otherwise there.
pub async fn is_in_index(keep: &Keep, owner: &Owner, wrapped: &Wrapped) -> Result<bool, VaultError> {
    match keep.store.key(owner)? {
        Some(own) if own == *wrapped => Ok(true),
        None => Ok(false),
        Some(own) => {
            let own = keep.keys.open(owner, &own).await?;
            match keep.keys.open(owner, wrapped).await {
                Err(error @ (KeyError::Away { .. } | KeyError::Refused { .. })) => Err(error.into()),
                other => Ok(other.is_ok_and(|other| other == own)),
            }
        }
    }
}

/// The wrapped keys of a group, beside its pack: recovery needs nothing but both and the root key.
pub fn to_bytes(keys: &[(Owner, Wrapped)]) -> Vec<u8> {
    let map: serde_json::Map<String, serde_json::Value> =
        keys.iter().map(|(owner, wrapped)| (owner.as_str().to_owned(), hex::encode(&wrapped.0).into())).collect();
    serde_json::Value::Object(map).to_string().into_bytes()
}

fn parse(bytes: &[u8]) -> Option<Keys> {
    let map: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(bytes).ok()?;
    let key = |(owner, wrapped): (String, serde_json::Value)| {
        Some((Owner::from_stored(&owner), Wrapped(hex::decode(wrapped.as_str()?).ok()?)))
    };
    map.into_iter().map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_object_that_goes_meanwhile_is_not_missed() {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::directory(directory.path()).unwrap();
        let store = crate::index::store::Store::open(&directory.path().join("index.sqlite")).unwrap();
        let (alone, owner) = (store.alone().unwrap().unwrap(), Owner::from_stored("Patient/a"));
        for n in 1..=3 {
            write(&alone, &objects, &format!("keys/{n}"), &vec![(owner.clone(), Wrapped(vec![n]))]).await.unwrap();
        }
        let goes = || _ = std::fs::remove_file(directory.path().join("keys/2"));
        assert_eq!(destroy(&alone, &objects, &owner, goes).await.unwrap(), 2);
        assert!(objects.list(FOLDER, "", 9).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_key_is_destroyed_wherever_it_lies_and_the_others_stay() {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::directory(directory.path()).unwrap();
        let store = crate::index::store::Store::open(&directory.path().join("index.sqlite")).unwrap();
        let alone = store.alone().unwrap().unwrap();
        let (a, b) = (Owner::from_stored("Patient/a"), Owner::from_stored("Patient/b"));
        let both = vec![(a.clone(), Wrapped(vec![1])), (b.clone(), Wrapped(vec![2]))];
        write(&alone, &objects, "keys/1", &both).await.unwrap();
        write(&alone, &objects, "keys/2", &vec![(a.clone(), Wrapped(vec![3]))]).await.unwrap();
        assert_eq!(read(&objects, "keys/1").await.unwrap(), both);
        let mut seen = 0;
        assert_eq!(destroy(&alone, &objects, &a, || seen += 1).await.unwrap(), 2);
        assert_eq!(read(&objects, "keys/1").await.unwrap(), [(b, Wrapped(vec![2]))]);
        assert_eq!((seen, objects.list(FOLDER, "", 9).await.unwrap().len()), (2, 1), "an object without keys goes");
        assert_eq!(destroy(&alone, &objects, &a, || ()).await.unwrap(), 0);
        objects.replace("keys/1", b"{\"x\":1}".to_vec()).await.unwrap();
        assert!(read(&objects, "keys/1").await.is_err());
    }
}
