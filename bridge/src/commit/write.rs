//! Writing a group: ONE pack, then ONE transaction of the index.

use super::{Group, Seen};
use crate::app::Core;
use crate::error::VaultError;
use crate::ids::Owner;
use crate::index::store::{Batch, StoreError};
use crate::index::write::Turn;
use crate::upkeep::key_objects;
use crate::vault::keys::Wrapped;
use crate::vault::objects::ObjectError;
use std::sync::Arc;

/// A group that takes in nothing more.
pub(super) struct Closed {
    pack_name: String,
    pack: Vec<u8>,
    batch: Batch,
    /// What the next group sees of it, until the index knows.
    pub(super) seen: Arc<Seen>,
}

impl Group<'_> {
    /// Closes the group; its pack gets that name.
    pub(super) fn finish(mut self, pack_name: String) -> Closed {
        let pack = if self.pack.is_empty() { Vec::new() } else { self.pack.finish() };
        let keys = self.seen.keys.iter().map(|(owner, (_, wrapped))| (owner.clone(), wrapped.clone()));
        self.batch.keys = keys.collect();
        self.batch.records.iter_mut().for_each(|record| record.place.pack.clone_from(&pack_name));
        Closed { pack_name, pack, batch: self.batch, seen: Arc::new(self.seen) }
    }
}

impl Closed {
    /// Makes the group durable: keys and pack, at the same time, then the index, in the turn that was taken for it or in one of
    /// its own. The pack is the journal: SQLite follows it, and is synced by whatever needs more than that.
    pub(super) async fn write(self, core: &Core, turn: Option<Turn>) -> Result<(), VaultError> {
        let Self { pack_name, pack, batch, seen } = self;
        if pack.is_empty() {
            return Ok(());
        }
        let parts = batch.records.iter().map(|record| record.place.extent).collect();
        let pack = core.objects.put_pack(&pack_name, pack, parts);
        let (keys, pack) = tokio::join!(put_keys(core, &pack_name, &batch.keys), pack);
        if let Err(error) = keys.and(pack) {
            // A bucket that has just failed would keep everybody waiting, and may take in later what it did not answer.
            if core.objects.prepares() {
                remove(core, &pack_name).await;
            }
            return Err(error.into());
        }
        // A crash before here leaves a pack or keys that nothing refers to, perhaps cut short; no sender was answered. A crash
        // after here leaves a whole pack that the next start puts into SQLite; with PostgreSQL nothing refers to it.
        let (records, messages) = (batch.records.len() as u64, batch.messages.len() as u64);
        let store = core.store.clone();
        let committed = tokio::task::spawn_blocking(move || match turn {
            Some(turn) => store.commit_in(turn, &batch),
            None => store.commit_behind(&batch),
        })
        .await;
        let committed = committed.map_err(|e| {
            VaultError::Object(ObjectError::Io { name: "index".into(), source: std::io::Error::other(e) })
        })?;
        if let Err(error) = committed {
            return Err(refused(core, &pack_name, error).await.into());
        }
        // A crash here leaves everything stored and some senders unanswered: they send again, and the messages are
        // recognised.
        core.metrics.records.add(records - messages, "resource");
        core.metrics.records.add(messages, "message");
        for (owner, (key, _)) in &seen.keys {
            core.keys.keep(owner.clone(), key.clone());
        }
        Ok(())
    }
}

/// The wrapped keys that were made for a group.
async fn put_keys(core: &Core, pack: &str, keys: &[(Owner, Wrapped)]) -> Result<(), ObjectError> {
    let name = key_objects::of_pack(pack);
    if keys.is_empty() {
        core.objects.give_up(&name).await;
        return Ok(());
    }
    core.objects.put(&name, key_objects::to_bytes(keys)).await
}

/// What the index has refused leaves nothing behind: recovery could not tell it from what was committed a moment ago.
async fn refused(core: &Core, pack: &str, error: StoreError) -> StoreError {
    if let StoreError::Erased { owner } = &error {
        // Erased a moment ago, elsewhere: who tries again is told.
        core.keys.destroy(owner);
    }
    // Where nobody else could have committed it, it was not.
    if error.is_refusal() || !core.store.is_shared() {
        remove(core, pack).await;
    }
    error
}

/// Of a group that is not stored. Where this fails, too, the pack is one that nothing refers to.
async fn remove(core: &Core, pack: &str) {
    for name in [pack.to_owned(), key_objects::of_pack(pack)] {
        _ = core.objects.remove(&name).await;
    }
}
