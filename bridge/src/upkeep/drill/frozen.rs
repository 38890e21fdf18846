//! Live objects as they are at one moment, while a service goes on writing: the published log, and the packs that it speaks of.

use crate::anchor::publish::{self, CHECKPOINT, WIDTH};
use crate::error::VaultError;
use crate::index::store::Store;
use crate::upkeep::check::UNDER_WAY;
use crate::upkeep::key_objects::Walk;
use crate::upkeep::recover::packs::FOLDER;
use crate::vault::objects::above::Above;
use crate::vault::objects::{ObjectError, Objects};
use crate::vault::pack::{Extent, Record, read_pack};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often the end of the log is looked for that a service publishes anew meanwhile.
const TRIES: usize = 20;
/// Whoever is refused by the index takes its pack away at once; a pack that is not whole is being written, or was cut short.
const SETTLE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// What was found.
pub(super) struct Frozen {
    pub(super) objects: Objects,
    /// Packs that are not whole yet, or were taken away again.
    pub(super) left_out: u64,
}

/// Objects as they are now. In this order: each pack that the log speaks of is there, and keys, which are read later, are there for
/// each pack.
pub(super) async fn freeze(live: Objects, index: Option<&Store>, own: &Path, now: i64) -> Result<Frozen, VaultError> {
    let log = log(&live).await?;
    let (packs, left_out) = packs(&live, index, now).await?;
    let objects = Objects::Above(Arc::new(Above::new(live, own, FOLDER, packs)?));
    for (name, bytes) in log {
        objects.replace(&name, bytes).await?;
    }
    Ok(Frozen { objects, left_out })
}

/// The newest checkpoint, and the entries at its end that do not fill an object: both go when more follow.
async fn log(live: &Objects) -> Result<Vec<(String, Vec<u8>)>, ObjectError> {
    let mut log = Vec::new();
    for _ in 0..TRIES {
        let note = match live.read_all(CHECKPOINT).await {
            Err(ObjectError::Missing { .. }) => return Ok(Vec::new()),
            note => note?,
        };
        let size = size(&note);
        log = vec![(CHECKPOINT.to_owned(), note)];
        if size.is_multiple_of(WIDTH) {
            return Ok(log);
        }
        let end = publish::name(size / WIDTH, size % WIDTH);
        match live.read_all(&end).await {
            Err(ObjectError::Missing { .. }) => tokio::time::sleep(LOOK).await,
            bytes => {
                log.push((end, bytes?));
                return Ok(log);
            }
        }
    }
    // It is really missing: recovery names it.
    Ok(log)
}

/// What a checkpoint says of its size. Who signed it is looked at when it is used.
fn size(note: &[u8]) -> u64 {
    let line = std::str::from_utf8(note).ok().and_then(|note| note.lines().nth(1));
    line.and_then(|line| line.parse().ok()).unwrap_or(0)
}

async fn packs(live: &Objects, index: Option<&Store>, now: i64) -> Result<(HashSet<String>, u64), VaultError> {
    let (mut walk, mut packs, mut young) = (Walk::new(live, FOLDER), HashSet::new(), Vec::new());
    while let Some(found) = walk.next().await? {
        if found.changed < now - UNDER_WAY {
            packs.insert(found.name);
        } else {
            young.push(found.name);
        }
    }
    if !young.is_empty() {
        tokio::time::sleep(SETTLE).await;
    }
    let (until, mut left_out) = (Instant::now() + PATIENCE, 0);
    for name in young {
        if is_whole(live, index, &name, until).await? {
            packs.insert(name);
        } else {
            left_out += 1;
        }
    }
    Ok((packs, left_out))
}

/// Whether a young pack is whole. Where the live index can say so it is waited for its commit: then its keys are there, too.
async fn is_whole(live: &Objects, index: Option<&Store>, name: &str, until: Instant) -> Result<bool, VaultError> {
    loop {
        let late = Instant::now() >= until;
        match live.read_all(name).await.map(|bytes| read_pack(&bytes)) {
            Err(ObjectError::Missing { .. }) => return Ok(false),
            // A bucket gives whole objects or damaged ones: recovery names it.
            Err(ObjectError::Damaged { .. }) => return Ok(true),
            Err(error) => return Err(error.into()),
            Ok(Ok(records)) if late || is_committed(index, &records) => return Ok(true),
            Ok(Err(_)) if late => return Ok(false),
            Ok(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn is_committed(index: Option<&Store>, records: &[(Extent, Record)]) -> bool {
    let Some(index) = index else { return true };
    records.first().is_some_and(|(_, record)| {
        let label = &record.sealed.label;
        index.place_of(&label.type_name, label.id.as_str(), label.version).is_ok_and(|place| place.is_some())
    })
}
