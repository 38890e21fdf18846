//! Wrapped keys: each of the index must lie beside the packs, too, and none of who was erased anywhere.

use super::{Check, UNDER_WAY};
use crate::error::VaultError;
use crate::ids::Owner;
use crate::read::in_background;
use crate::upkeep::key_objects::{self, Walk};
use crate::upkeep::recover::packs;
use crate::vault::objects::{Found, ObjectError};
use notary::commitment::Digest;
use std::collections::HashMap;

/// Keys that are read together.
const PAGE: usize = 1_000;

/// Owners of the index, each as eight bytes of a hash, and whether an object with the key was seen: some 20 bytes of memory a
/// patient.
type Seen = HashMap<u64, bool>;

impl Check<'_> {
    pub(super) async fn keys(&mut self) -> Result<(), VaultError> {
        self.erased()?;
        let mut seen = Seen::new();
        self.each_key(|_, owner| _ = seen.insert(short(owner), false)).await?;
        self.report.keys = seen.len() as u64;
        let (mut walk, mut done) = (Walk::new(&self.keep.objects, key_objects::FOLDER), 0);
        while let Some(found) = walk.next().await? {
            self.key_object(&found, &mut seen).await?;
            done += 1;
            (self.tell)("objects of keys", done, 0);
        }
        let nowhere = |check: &mut Self, owner: &Owner| {
            // One that was made since the beginning is not in the list.
            if seen.get(&short(owner)) == Some(&false) {
                check.differs(
                    owner.as_str(),
                    "its key lies in no object under keys/: recovery could not open what it sealed",
                );
            }
        };
        self.each_key(nowhere).await
    }

    /// Goes through the keys of the index.
    async fn each_key(&mut self, mut each: impl FnMut(&mut Self, &Owner)) -> Result<(), VaultError> {
        let mut after = String::new();
        loop {
            let (store, from) = (self.keep.store.clone(), after.clone());
            let page = in_background(move || store.keys_after(&from, PAGE)).await?;
            page.iter().for_each(|(owner, _)| each(self, owner));
            match page.last() {
                Some((last, _)) => after = last.as_str().to_owned(),
                None => return Ok(()),
            }
        }
    }

    fn erased(&mut self) -> Result<(), VaultError> {
        for erasure in self.keep.store.erasures()? {
            let owner = erasure.owner.as_str().to_owned();
            if !erasure.done {
                self.differs(&owner, "its erasure is not finished: start the service, or erase again");
                self.unfinished.insert(owner);
            } else if self.keep.store.key(&erasure.owner)?.is_some() {
                self.differs(&owner, "it was erased, and the index has its key");
            }
        }
        Ok(())
    }

    async fn key_object(&mut self, found: &Found, seen: &mut Seen) -> Result<(), VaultError> {
        let name = &found.name;
        let keys = match key_objects::read(&self.keep.objects, name).await {
            Err(error @ VaultError::Object(ObjectError::S3 { .. } | ObjectError::Refused { .. })) => return Err(error),
            // The committer takes away what the index has refused.
            Err(VaultError::Object(ObjectError::Missing { .. })) => return Ok(()),
            Err(_) if found.changed >= self.begun - UNDER_WAY => return Ok(()),
            Err(_) => {
                self.differs(name, "it cannot be read as wrapped keys");
                return Ok(());
            }
            Ok(keys) => keys,
        };
        for (owner, wrapped) in keys {
            if self.keep.keys.is_destroyed(&owner) {
                self.differs(name, format!("it has the key of {}, who was erased", owner.as_str()));
            } else if key_objects::is_in_index(self.keep, &owner, &wrapped).await? {
                seen.entry(short(&owner)).and_modify(|seen| *seen = true);
            } else if self.is_ahead(&name.replacen(key_objects::FOLDER, packs::FOLDER, 1)) {
                // Its pack is named.
            } else {
                let what = format!(
                    "it has a key of {} that is not the index's: a writer that was not first left it",
                    owner.as_str()
                );
                self.note(name, what);
            }
        }
        Ok(())
    }
}

fn short(owner: &Owner) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = Digest::of(owner.as_str().as_bytes()).0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
