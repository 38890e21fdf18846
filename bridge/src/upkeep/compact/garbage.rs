//! Packs that no row lies in. One is removed only if each of its records is proved to be elsewhere: in a pack that the index names,
//! that is there, intact, and old enough for whoever still looks for the old place; or never to have been committed, by a log
//! that agrees with what was published.

use super::{Compaction, made};
use crate::anchor::publish;
use crate::app::StartError;
use crate::error::VaultError;
use crate::index::alone::Alone;
use crate::index::store::Place;
use crate::read::in_background;
use crate::upkeep::recover::packs::FOLDER;
use crate::vault::objects::{Found, ObjectError};
use crate::vault::pack::{Record, check_sum, read_pack, read_record};
use notary::tree::{EdgeTree, LeafHash};
use std::collections::HashMap;

/// Packs that were never committed, and their log entries, that one round takes: they are in memory until the log was read.
const MAX_NEVER: usize = 1_000;
const MAX_ENTRIES: usize = 100_000;
/// Log entries that are read together.
const PAGE: u64 = 10_000;

/// What a round knows of garbage.
#[derive(Default)]
pub(super) struct Garbage {
    /// The pack that was last found to have another's records: the next one's mostly lie there, too.
    kept: Option<Kept>,
    /// Packs of which no row knows some record, and the entries of those, each with its pack's number.
    never: Vec<Option<Found>>,
    entries: HashMap<Vec<u8>, usize>,
}

/// A pack whose sum is right.
struct Kept {
    found: Found,
    bytes: Vec<u8>,
}

/// What becomes of a record.
enum Fate {
    Stays,
    Elsewhere,
    /// No row knows it.
    Unknown(Vec<u8>),
}

impl Compaction<'_> {
    /// Removes a pack, if nothing of it is needed.
    pub(super) async fn collect(&mut self, alone: &Alone, found: &Found) -> Result<(), VaultError> {
        let Some(bytes) = self.read_pack(&found.name).await? else { return Ok(()) };
        let Ok(records) = read_pack(&bytes) else {
            // Whatever it may have been, it is not ours to remove.
            self.report.damaged += 1;
            return Ok(());
        };
        let mut unknown = Vec::new();
        for (_, record) in &records {
            match self.fate(found, record).await? {
                Fate::Stays => return Ok(()),
                Fate::Elsewhere => {}
                Fate::Unknown(entry) => unknown.push(entry),
            }
        }
        if unknown.is_empty() {
            return self.remove(alone, found).await;
        }
        self.garbage.ask_log(found, unknown);
        Ok(())
    }

    async fn read_pack(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        match self.keep.objects.read_all(name).await {
            Err(error @ (ObjectError::S3 { .. } | ObjectError::Refused { .. })) => Err(error.into()),
            read => Ok(read.ok()),
        }
    }

    async fn fate(&mut self, found: &Found, record: &Record) -> Result<Fate, VaultError> {
        let label = &record.sealed.label;
        let lying = self.keep.store.lying(&label.type_name, label.id.as_str(), label.version)?;
        match lying {
            Some((lying, _)) if lying.place.pack != found.name && self.lies_at(&lying.place, record).await? => {
                Ok(Fate::Elsewhere)
            }
            Some(_) => Ok(Fate::Stays),
            None => Ok(self.never(found, record).map_or(Fate::Stays, Fate::Unknown)),
        }
    }

    /// A record without an entry leaves no trace by which it could be told that it was never committed.
    fn never(&self, found: &Found, record: &Record) -> Option<Vec<u8>> {
        let is_old = made(found, FOLDER).is_some_and(|time| time <= self.before(self.ages.never));
        record.entry.clone().filter(|_| is_old)
    }

    /// Whether a record lies there, in a pack that is intact and old enough.
    async fn lies_at(&mut self, place: &Place, record: &Record) -> Result<bool, VaultError> {
        if self.garbage.kept.as_ref().is_none_or(|kept| kept.found.name != place.pack) {
            self.garbage.kept = self.kept(&place.pack).await?;
        }
        let Some(kept) = &self.garbage.kept else { return Ok(false) };
        let start = place.extent.offset as usize;
        let part = kept.bytes.get(start..start.saturating_add(place.extent.length as usize));
        let there = part.and_then(|part| read_record(part).ok());
        let is_erased = self.keep.keys.is_destroyed(&record.sealed.label.owner);
        Ok(there.is_some_and(|there| is_copy(&there, record, is_erased)))
    }

    async fn kept(&self, name: &str) -> Result<Option<Kept>, VaultError> {
        let Some(found) = self.keep.objects.find(name).await? else { return Ok(None) };
        if found.changed > self.before(self.ages.replaced) {
            return Ok(None);
        }
        let bytes = self.read_pack(name).await?.filter(|bytes| check_sum(bytes).is_ok());
        Ok(bytes.map(|bytes| Kept { found, bytes }))
    }

    async fn remove(&mut self, alone: &Alone, found: &Found) -> Result<(), VaultError> {
        alone.check()?;
        self.keep.objects.remove(&found.name).await?;
        self.report.removed += 1;
        self.report.freed += found.length;
        Ok(())
    }

    /// Removes what was never committed: neither the log nor the outbox has any of it, and the published log is a beginning of
    /// this one.
    pub(super) async fn never_committed(&mut self) -> Result<(), StartError> {
        if self.garbage.never.is_empty() {
            return Ok(());
        }
        // First what waits: it goes into the log meanwhile.
        for (_, entry) in self.keep.store.outbox()? {
            self.garbage.was_committed(&entry);
        }
        if !self.read_log().await? {
            return Ok(());
        }
        let alone = self.alone().await?;
        for found in std::mem::take(&mut self.garbage.never).into_iter().flatten() {
            self.remove(&alone, &found).await?;
        }
        Ok(())
    }

    /// Reads the log through. Tells whether it goes on from the published one.
    async fn read_log(&mut self) -> Result<bool, StartError> {
        let published = publish::checkpoint(&self.keep.objects, &self.keep.log_key).await?;
        let Some((_, published)) = published else { return Ok(false) };
        let (mut tree, mut agrees) = (EdgeTree::default(), false);
        loop {
            let (store, from) = (self.keep.store.clone(), tree.size());
            let page = in_background(move || store.entries(from, PAGE)).await?;
            if page.is_empty() {
                return Ok(agrees);
            }
            for entry in page {
                self.garbage.was_committed(&entry);
                let pushed = tree.push(LeafHash::of_bytes(&entry)).and_then(|_| tree.root());
                agrees |= tree.size() == published.size && pushed.is_ok_and(|root| root == published.root);
            }
        }
    }
}

impl Garbage {
    fn ask_log(&mut self, found: &Found, entries: Vec<Vec<u8>>) {
        if self.never.len() < MAX_NEVER && self.entries.len() + entries.len() <= MAX_ENTRIES {
            let number = self.never.len();
            self.entries.extend(entries.into_iter().map(|entry| (entry, number)));
            self.never.push(Some(found.clone()));
        }
    }

    fn was_committed(&mut self, entry: &[u8]) {
        if let Some(number) = self.entries.get(entry) {
            self.never[*number] = None;
        }
    }
}

/// The same record; of who was erased it need not have the body.
fn is_copy(there: &Record, record: &Record, is_erased: bool) -> bool {
    let same = there.sealed.body == record.sealed.body || is_erased;
    let told =
        |record: &Record| (record.sealed.label.clone(), record.time, record.entry.clone(), record.claims.clone());
    same && told(there) == told(record)
}
