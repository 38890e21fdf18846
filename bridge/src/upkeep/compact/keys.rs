//! Objects of wrapped keys are joined like packs: a commit that made a new key left one, and erasing and recovering read each.

use super::plan::FEWEST;
use super::{Compaction, made, name_beside};
use crate::app::keep::Keep;
use crate::error::VaultError;
use crate::ids::Owner;
use crate::index::alone::Alone;
use crate::upkeep::key_objects::{self, FOLDER, Keys, Walk};
use crate::upkeep::recover::Tell;
use crate::vault::keys::Wrapped;
use crate::vault::objects::{Found, ObjectError};
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;

/// Keys of a joined object, and objects that are looked at together: one is written anew whenever one of its keys is destroyed.
const MAX_KEYS: usize = 1_000;
/// An object that is larger has its share of keys.
const SMALL: u64 = 64 << 10;
/// Objects that are read at once.
const READS: usize = 8;

/// Keys that were gathered, and the objects that they were read from.
#[derive(Default)]
struct Joined {
    keys: BTreeMap<Owner, Wrapped>,
    old: Vec<String>,
}

impl Compaction<'_> {
    pub(super) async fn keys(&mut self, tell: Tell<'_>) -> Result<(), VaultError> {
        let before = self.before(self.ages.settle);
        let (mut walk, mut run, mut seen) = (Walk::new(&self.keep.objects, FOLDER), Vec::new(), 0);
        loop {
            let next = walk.next().await?;
            // The service's own lie under names that it writes again.
            let small =
                |found: &&Found| found.length <= SMALL && made(found, FOLDER).is_some_and(|time| time <= before);
            let fits = next.as_ref().filter(small).is_some() && run.len() < MAX_KEYS;
            if !fits && run.len() >= FEWEST {
                self.join_keys(&std::mem::take(&mut run)).await?;
                self.rest().await;
            }
            let Some(found) = next else { return Ok(()) };
            match small(&&found) {
                true => run.push(found),
                false => run.clear(),
            }
            seen += 1;
            tell("objects of keys", seen, 0);
        }
    }

    async fn join_keys(&mut self, run: &[Found]) -> Result<(), VaultError> {
        let (alone, keep) = (self.alone().await?, self.keep);
        let names = run.iter().map(|found| found.name.clone()).collect::<Vec<_>>();
        let reads = names.into_iter().map(|name| async move { (key_objects::read(&keep.objects, &name).await, name) });
        let mut reads = std::pin::pin!(stream::iter(reads).buffered(READS));
        let mut joined = Joined::default();
        while let Some((read, name)) = reads.next().await {
            let keys = match read {
                Ok(keys) => keys,
                // An erasure has emptied it meanwhile.
                Err(VaultError::Object(ObjectError::Missing { .. })) => continue,
                Err(error) => return Err(error),
            };
            if joined.keys.len() + keys.len() > MAX_KEYS || !joined.take(keep, &keys).await? {
                self.write_keys(&alone, std::mem::take(&mut joined)).await?;
                joined.take(keep, &keys).await?;
            }
            joined.old.push(name);
        }
        self.write_keys(&alone, joined).await
    }

    /// Writes the new object, then removes the old ones. A crash in between leaves keys that lie twice.
    async fn write_keys(&mut self, alone: &Alone, joined: Joined) -> Result<(), VaultError> {
        let (Some(first), true) = (joined.old.first(), joined.old.len() >= FEWEST) else { return Ok(()) };
        let name = name_beside(first, FOLDER)?;
        let keys = joined.keys.into_iter().collect();
        key_objects::write(alone, &self.keep.objects, &name, &keys).await?;
        for old in &joined.old {
            key_objects::write(alone, &self.keep.objects, old, &Keys::new()).await?;
        }
        self.report.keys_joined += joined.old.len() as u64;
        self.report.keys_written += 1;
        Ok(())
    }
}

impl Joined {
    /// Adds the keys of an object, but for destroyed ones, unless two are of one owner and the index has neither: then nothing is
    /// added.
    async fn take(&mut self, keep: &Keep, keys: &Keys) -> Result<bool, VaultError> {
        let mut new = Vec::new();
        for (owner, wrapped) in keys.iter().filter(|(owner, _)| !keep.keys.is_destroyed(owner)) {
            match self.keys.get(owner) {
                Some(other) if other == wrapped || key_objects::is_in_index(keep, owner, other).await? => {}
                Some(_) if !key_objects::is_in_index(keep, owner, wrapped).await? => return Ok(false),
                _ => new.push((owner.clone(), wrapped.clone())),
            }
        }
        self.keys.extend(new);
        Ok(true)
    }
}
