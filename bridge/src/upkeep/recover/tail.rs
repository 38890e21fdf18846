//! What a power cut took from SQLite: its commits are on disk a moment later than the packs that they follow. Packs that are newer
//! than its newest row are put in as recovery puts them, before anything is served. PostgreSQL has its commits on disk itself.

use super::{Recovery, Report};
use crate::app::keep::Keep;
use crate::error::VaultError;
use crate::ids::Owner;
use crate::index::store::{Batch, StoreError};
use crate::read::in_background;
use crate::upkeep::key_objects::{self, Walk};
use crate::vault::objects::ObjectError;
use crate::vault::pack::{Extent, Record, read_pack};
use std::collections::{HashMap, HashSet};

/// Names that are listed at a time.
const PAGE: usize = 1_000;
/// Where a pack goes that was cut short while it was written: nobody was answered for it.
const ASIDE: &str = "aside/";

/// Puts in what is missing. Tells how many packs it was.
pub(crate) async fn catch_up(keep: &Keep, base: String) -> Result<u64, VaultError> {
    if keep.store.is_shared() {
        return Ok(0);
    }
    let mut erased: HashSet<Owner> = keep.store.erasures()?.into_iter().map(|erasure| erasure.owner).collect();
    erased.extend(super::erased(keep).await?);
    let (positions, displaced) = (HashMap::new(), HashMap::new());
    let recovery = Recovery { keep: keep.clone(), base, erased, positions, displaced };
    let newest = keep.store.newest_pack()?.unwrap_or_else(|| super::packs::FOLDER.to_owned());
    // Names that a service had made ahead before it was killed.
    keep.objects.give_up_after(&newest).await?;
    keep.objects.give_up_after(&key_objects::of_pack(&newest)).await?;
    let (mut after, mut count) = (newest, 0);
    loop {
        let page = keep.objects.list(super::packs::FOLDER, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after.clone_from(&last.name);
        for found in &page {
            count += u64::from(recovery.follow(&found.name).await?);
        }
    }
    if count > 0 {
        tracing::warn!(packs = count, "the index had not followed the newest packs: they were put in");
    }
    Ok(count)
}

impl Recovery {
    /// Puts a pack in, unless the index has it, or nobody was answered for it.
    async fn follow(&self, name: &str) -> Result<bool, VaultError> {
        let bytes = self.keep.objects.read_all(name).await?;
        let Ok(records) = read_pack(&bytes) else {
            return self.set_aside(name, bytes).await.map(|()| false);
        };
        let own = key_objects::of_pack(name);
        self.keys_of(&own).await?;
        if self.lacks_key(&records)? {
            // Compaction joins objects of keys.
            let mut walk = Walk::new(&self.keep.objects, key_objects::FOLDER);
            while let Some(found) = walk.next().await? {
                self.keys_of(&found.name).await?;
            }
        }
        let put = match self.lacks_key(&records)? {
            true => Err(VaultError::Index(StoreError::Stale)),
            false => self.put_in(name, &records).await,
        };
        match put {
            // Nobody was answered for it: its keys are not on disk, or it was refused for being too late.
            Err(VaultError::Index(StoreError::Stale)) => self.set_aside(name, bytes).await.map(|()| false),
            put => put,
        }
    }

    /// Those keys of an object that the index lacks.
    async fn keys_of(&self, name: &str) -> Result<(), VaultError> {
        let keys = match key_objects::read(&self.keep.objects, name).await {
            Err(VaultError::Object(ObjectError::Missing { .. })) => return Ok(()),
            // Cut short like its pack, or never on disk.
            Err(VaultError::Key(_)) => return Ok(()),
            keys => keys?,
        };
        let mut wanted = Vec::new();
        for (owner, wrapped) in keys {
            if !self.erased.contains(&owner) && self.keep.store.key(&owner)?.is_none() {
                wanted.push((owner, wrapped));
            }
        }
        self.keep.store.restore_keys(&wanted)?;
        Ok(())
    }

    /// Keys and pack are written at the same time, and a sender is answered when both are on disk.
    fn lacks_key(&self, records: &[(Extent, Record)]) -> Result<bool, VaultError> {
        for (_, record) in records {
            let owner = &record.sealed.label.owner;
            if !self.erased.contains(owner) && self.keep.store.key(owner)?.is_none() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn put_in(&self, name: &str, records: &[(Extent, Record)]) -> Result<bool, VaultError> {
        let (mut batch, mut erasures, mut report) = (Batch::default(), Vec::new(), Report::default());
        for (extent, record) in records {
            let label = &record.sealed.label;
            if self.keep.store.place_of(&label.type_name, label.id.as_str(), label.version)?.is_none() {
                let found = self.found(name, *extent, record).await;
                self.add(found, &mut batch, &mut erasures, &mut report)?;
            }
        }
        report.faults.iter().for_each(|fault| tracing::error!(%fault, "a record of a pack that the index lacked"));
        if batch.records.is_empty() {
            return Ok(false);
        }
        let store = self.keep.store.clone();
        in_background(move || {
            erasures.iter().try_for_each(|erasure| store.begin_erasure(erasure).map(|_| ()))?;
            store.commit(&batch)
        })
        .await?;
        Ok(true)
    }

    async fn set_aside(&self, name: &str, bytes: Vec<u8>) -> Result<(), VaultError> {
        tracing::warn!(
            pack = name,
            "a pack was cut short while it was written, or its keys were; nobody was answered for it"
        );
        let aside = name.replace(super::packs::FOLDER, ASIDE);
        self.keep.objects.replace(&aside, bytes).await?;
        Ok(self.keep.objects.remove(name).await?)
    }
}
