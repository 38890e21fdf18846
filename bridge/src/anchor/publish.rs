//! The log beside the packs: what recovery has when the index is lost. Entries lie in `log/`, 256 an object as C2SP's entry
//! bundles have them, the newest checkpoint in `log/checkpoint`. A checkpoint is shown to nobody before it lies there.

use super::AnchorError;
use crate::app::keep::Keep;
use crate::app::{Core, StartError};
use crate::index::store::Store;
use crate::vault::objects::{ObjectError, Objects};
use notary::checkpoint::{Checkpoint, LogKey};
use notary::commitment::ENTRY_BYTES;

/// Entries of a whole object.
pub const WIDTH: u64 = 256;
/// Where the newest checkpoint lies.
pub const CHECKPOINT: &str = "log/checkpoint";

/// The log as it was published.
pub struct Published {
    pub note: String,
    pub checkpoint: Checkpoint,
    pub entries: Vec<Vec<u8>>,
}

/// The object of so many entries.
pub fn name(index: u64, width: u64) -> String {
    if width == WIDTH { format!("log/{index:010}") } else { format!("log/{index:010}.p{width}") }
}

/// Publishes what was signed since the last time. Each step may be done again: an object of a name has one content.
pub async fn publish(core: &Core) -> Result<(), AnchorError> {
    let epoch = core.lease.held().ok_or(AnchorError::NotHeld)?;
    let before = core.store.published()?;
    let Some((size, note)) = core.store.newest_checkpoint()?.filter(|(size, _)| *size > before) else { return Ok(()) };
    for index in before / WIDTH..size.div_ceil(WIDTH) {
        let width = WIDTH.min(size - index * WIDTH);
        let entries = core.store.entries(index * WIDTH, width)?;
        core.objects.replace(&name(index, width), bundle(&entries)).await.map_err(AnchorError::publish)?;
    }
    // A crash here leaves entries that no checkpoint speaks of.
    let shown = core.objects.replace(CHECKPOINT, note.into_bytes());
    // Who was paused past its lease must not put an older checkpoint over a newer one, nor who tries again for longer than it has
    // it: a bucket that does not answer is asked several times.
    core.lease.during(epoch, shown).await.ok_or(AnchorError::NotHeld)?.map_err(AnchorError::publish)?;
    // A crash here leaves a published checkpoint that is shown after the next start.
    core.store.keep_published(size)?;
    if !before.is_multiple_of(WIDTH) {
        let old = name(before / WIDTH, before % WIDTH);
        core.objects.remove(&old).await.map_err(AnchorError::publish)?;
    }
    Ok(())
}

/// At the start, and before anything is removed: the index must not be behind what was published.
pub async fn check(keep: &Keep) -> Result<(), StartError> {
    // In this order: both grow meanwhile.
    let published = checkpoint(&keep.objects, &keep.log_key).await?;
    let size = keep.store.log_size()?;
    match published {
        Some((_, checkpoint)) if checkpoint.size > size => Err(StartError::Contradiction(format!(
            "{} log entries were published and the index holds {size}: the index was restored from an older backup; \
             `medseal recover` brings it up to date",
            checkpoint.size
        ))),
        _ => Ok(()),
    }
}

/// At the start, and where others may write there, too: where `log/` was lost, or put back from before, it is published anew, from the index, which has every entry. What
/// the index remembers as published would be left out otherwise, and recovery would find a log with a hole.
pub async fn mend(keep: &Keep) -> Result<(), StartError> {
    // In this order: what is remembered was published before.
    let remembered = keep.store.published()?;
    let there = checkpoint(&keep.objects, &keep.log_key).await?.map_or(0, |(_, checkpoint)| checkpoint.size);
    if there >= remembered {
        return Ok(());
    }
    // Or it is another store that we look into.
    if let Some(name) = keep.store.newest_pack()?
        && keep.objects.find(&name).await?.is_none()
    {
        return Err(StartError::Pack { name, place: keep.objects.place() });
    }
    tracing::warn!(
        there,
        remembered,
        "the published log (log/) was lost or put back from before: it is published anew from the index"
    );
    Ok(keep.store.publish_again(remembered, there)?)
}

/// Before a recovery: whether the log was lost that something else speaks of. Its order is nowhere else, unless in the index itself.
pub async fn lost(objects: &Objects, store: &Store, ledger: Option<u64>) -> Result<(), StartError> {
    // What was signed and never published is in the index alone, and nobody was shown it.
    let size = store.published()?;
    if (size == 0 && ledger.unwrap_or(0) == 0) || objects.find(CHECKPOINT).await?.is_some() {
        return Ok(());
    }
    let (what, then) = match size {
        0 => (
            format!("ledger.journal has anchored {} of its entries", ledger.unwrap_or(0)),
            "Without it the order of the log cannot be had again: what was anchored then proves nothing more, and with              ledger.journal moved away (keep it) `medseal recover` begins a new log",
        ),
        size => (
            format!("the index has the {size} entries that were published"),
            "Or start `medseal serve`, if this is the newest index: it publishes the log anew. If it is not, move it away first",
        ),
    };
    Err(StartError::LogLost { place: objects.place(), what, then })
}

/// The checkpoint as it was published last; nothing where none was.
pub async fn checkpoint(objects: &Objects, key: &LogKey) -> Result<Option<(String, Checkpoint)>, StartError> {
    let bytes = match objects.read_all(CHECKPOINT).await {
        Err(ObjectError::Missing { .. }) => return Ok(None),
        bytes => bytes?,
    };
    let note = String::from_utf8(bytes).unwrap_or_default();
    let checkpoint = key.open(&note).map_err(|error| damaged(CHECKPOINT, &error))?;
    Ok(Some((note, checkpoint)))
}

/// Reads the whole published log; nothing where none was.
pub async fn read(objects: &Objects, key: &LogKey) -> Result<Option<Published>, StartError> {
    let Some((note, checkpoint)) = checkpoint(objects, key).await? else { return Ok(None) };
    let mut entries = Vec::with_capacity(checkpoint.size as usize);
    for index in 0..checkpoint.size.div_ceil(WIDTH) {
        entries.extend(part(objects, index, WIDTH.min(checkpoint.size - index * WIDTH)).await?);
    }
    Ok(Some(Published { note, checkpoint, entries }))
}

/// Reads one object of entries.
pub async fn part(objects: &Objects, index: u64, width: u64) -> Result<Vec<Vec<u8>>, StartError> {
    let name = name(index, width);
    let bytes = objects.read_all(&name).await?;
    unbundle(&bytes).ok_or_else(|| damaged(&name, &"it holds no log entries"))
}

fn damaged(name: &str, what: &dyn std::fmt::Display) -> StartError {
    StartError::Contradiction(format!("{name} is damaged ({what}): put it back from a backup"))
}

/// Entries with their lengths as two bytes each, as C2SP's entry bundles have them.
pub fn bundle(entries: &[Vec<u8>]) -> Vec<u8> {
    let length = (ENTRY_BYTES as u16).to_be_bytes();
    entries.iter().flat_map(|entry| length.iter().chain(entry).copied().collect::<Vec<u8>>()).collect()
}

fn unbundle(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let length = (ENTRY_BYTES as u16).to_be_bytes();
    let parts = bytes.chunks(2 + ENTRY_BYTES);
    parts.map(|part| part.strip_prefix(&length).filter(|e| e.len() == ENTRY_BYTES).map(<[u8]>::to_vec)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_read_as_they_were_written() {
        let entries = vec![vec![7; ENTRY_BYTES], vec![8; ENTRY_BYTES]];
        assert_eq!(unbundle(&bundle(&entries)), Some(entries.clone()));
        assert_eq!(unbundle(&bundle(&entries)[..60]), None);
        assert_eq!((name(3, 256), name(3, 17)), ("log/0000000003".into(), "log/0000000003.p17".into()));
    }
}
