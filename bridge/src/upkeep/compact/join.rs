//! One new pack in the place of several: the records that rows lie on, as they are. Of who was erased the body, which nobody can
//! open, is left out; the header stays, with the log entry that a receipt and a recovery need.

use super::plan::FEWEST;
use super::{Compaction, name_beside};
use crate::app::keep::Keep;
use crate::error::VaultError;
use crate::index::alone::Alone;
use crate::index::places::{Move, State};
use crate::index::store::{Place, StoreError};
use crate::read::in_background;
use crate::upkeep::recover::packs::FOLDER;
use crate::vault::objects::{Found, ObjectError};
use crate::vault::pack::{Extent, PackWriter, Record, read_pack, without_body};
use crate::vault::seal::Label;
use futures_util::{StreamExt, stream};
use std::collections::BTreeMap;

/// Small packs that are read at once.
const READS: usize = 8;

/// A pack in the making.
#[derive(Default)]
struct New {
    /// In the order of the commits, which names of packs do not tell within a millisecond.
    records: BTreeMap<i64, Moving>,
    /// The packs that were gone through, and their bytes.
    old: Vec<String>,
    old_bytes: u64,
}

/// A record as it will lie in the new pack, and what it is and where it lies now.
struct Moving {
    bytes: Vec<u8>,
    label: Label,
    from: String,
}

impl Compaction<'_> {
    /// Joins neighbours. One that is damaged stays, and parts them.
    pub(super) async fn join(&mut self, alone: &Alone, run: &[Found]) -> Result<(), VaultError> {
        let objects = &self.keep.objects;
        let reads = run.iter().cloned().map(|found| async move { (objects.read_all(&found.name).await, found) });
        let mut reads = std::pin::pin!(stream::iter(reads).buffered(READS));
        let mut new = New::default();
        while let Some((read, found)) = reads.next().await {
            let records = match read {
                Err(error @ (ObjectError::S3 { .. } | ObjectError::Refused { .. })) => return Err(error.into()),
                read => read.ok().and_then(|bytes| Some((read_pack(&bytes).ok()?, bytes))),
            };
            self.read += found.length;
            match records {
                Some((records, bytes)) => new = new.with(self.keep, &found.name, records, bytes).await?,
                None => {
                    tracing::warn!(
                        pack = found.name,
                        "it is damaged and is left as it is: `medseal storage check` says more"
                    );
                    self.report.damaged += 1;
                    self.take_place(alone, std::mem::take(&mut new), run.len()).await?;
                }
            }
        }
        self.take_place(alone, new, run.len()).await
    }

    /// Writes the new pack and moves the rows to it; then the old ones are garbage.
    async fn take_place(&mut self, alone: &Alone, new: New, run: usize) -> Result<(), VaultError> {
        let worth_it = match run {
            1 => new.bytes() < new.old_bytes / 2,
            _ => new.old.len() >= FEWEST,
        };
        let (Some((_, first)), true) = (new.records.first_key_value(), worth_it) else { return Ok(()) };
        let (name, joined) = (name_beside(&first.from, FOLDER)?, new.old.len() as u64);
        let (bytes, moves) = new.written(&name);
        let length = bytes.len() as u64;
        alone.check()?;
        self.keep.objects.put_whole(&name, bytes).await?;
        // A crash here leaves a pack that no row lies in: garbage, for the old ones have all that it has.
        alone.check()?;
        let store = self.keep.store.clone();
        in_background(move || store.move_records(&moves)).await?;
        // A crash here leaves the old packs, which no row lies in any more.
        self.report.joined += joined;
        self.report.written += 1;
        self.report.written_bytes += length;
        Ok(())
    }
}

impl New {
    /// Adds what rows lie on in a pack.
    async fn with(
        mut self,
        keep: &Keep,
        name: &str,
        records: Vec<(Extent, Record)>,
        bytes: Vec<u8>,
    ) -> Result<Self, VaultError> {
        let (keep, pack) = (keep.clone(), name.to_owned());
        self.old.push(pack.clone());
        self.old_bytes += bytes.len() as u64;
        let adding = move || {
            for (extent, record) in records {
                self.add(&keep, Place { pack: pack.clone(), extent }, record.sealed.label, &bytes)?;
            }
            Ok(self)
        };
        in_background(adding).await
    }

    fn add(&mut self, keep: &Keep, from: Place, label: Label, pack: &[u8]) -> Result<(), StoreError> {
        let found = keep.store.lying(&label.type_name, label.id.as_str(), label.version)?;
        // What lies elsewhere is a copy; what has no row was never committed.
        let Some((lying, _)) = found.filter(|(lying, _)| lying.place == from) else { return Ok(()) };
        let start = from.extent.offset as usize;
        let record = &pack[start..start + from.extent.length as usize];
        let is_erased = lying.state == State::Erased && keep.keys.is_destroyed(&label.owner);
        let bare = if is_erased { without_body(record) } else { None };
        let bytes = bare.unwrap_or_else(|| record.to_vec());
        self.records.insert(lying.row, Moving { bytes, label, from: from.pack });
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.records.values().map(|moving| moving.bytes.len() as u64).sum()
    }

    /// The pack, and where its records go.
    fn written(self, name: &str) -> (Vec<u8>, Vec<Move>) {
        let mut writer = PackWriter::default();
        let moved = |Moving { bytes, label, from }: Moving| Move {
            kind: label.type_name,
            id: label.id.to_string(),
            version: label.version,
            from,
            to: Place { pack: name.to_owned(), extent: writer.copy(&bytes) },
        };
        let moves = self.records.into_values().map(moved).collect();
        (writer.finish(), moves)
    }
}
