//! The packs, in the order in which they were committed: what they hold goes into the index, a pack a transaction.

use super::record::Found;
use super::{Recovery, Report};
use crate::error::VaultError;
use crate::index::places::Move;
use crate::index::store::{Batch, StoreError};
use crate::read::in_background;
use crate::upkeep::key_objects::Walk;
use crate::vault::objects::ObjectError;
use crate::vault::pack::{Extent, Record, read_pack};
use std::collections::HashSet;

/// Where they lie.
pub const FOLDER: &str = "packs/";
/// A pack that is not in the log, and older by so much than one that is, was never committed: nobody was answered for it.
const NEVER: i64 = 60_000;

/// A pack as it was read.
struct Pack {
    name: String,
    records: Vec<(Extent, Record)>,
}

impl Recovery {
    /// Puts all packs into the index that it does not have.
    pub(super) async fn packs(&self, report: &mut Report, tell: super::Tell<'_>) -> Result<(), VaultError> {
        let names = self.names().await?;
        let present: HashSet<String> = names.iter().cloned().collect();
        let known: HashSet<String> = self.keep.store.packs()?.into_iter().map(|(name, _)| name).collect();
        let newest = self.newest_logged(&names).await?;
        let (total, mut done, mut late) = (names.len() as u64, 0, Vec::new());
        // Packs of the same millisecond are put in the order of the log.
        for some in names.chunk_by(|a, b| time_of(a) == time_of(b)) {
            let mut packs = Vec::new();
            for name in some.iter().filter(|name| !known.contains(*name)) {
                packs.extend(self.read(name, report).await?);
            }
            packs.sort_by_key(|pack| self.first_position(pack));
            for pack in packs {
                if !self.was_committed(&pack, newest) {
                    report.never_committed += 1;
                } else if !self.put(&pack, &present, report).await? {
                    late.push(pack.name);
                }
            }
            done += some.len() as u64;
            tell("packs", done, total);
        }
        for name in late {
            self.came_late(&name, report).await?;
        }
        // Not before: what an older index looks for where it was, compaction may have moved since.
        let known: HashSet<String> = self.keep.store.packs()?.into_iter().map(|(name, _)| name).collect();
        report.missing(known.difference(&present));
        Ok(())
    }

    async fn names(&self) -> Result<Vec<String>, VaultError> {
        let (mut walk, mut names) = (Walk::new(&self.keep.objects, FOLDER), Vec::new());
        while let Some(found) = walk.next().await? {
            names.push(found.name);
        }
        Ok(names)
    }

    async fn read(&self, name: &str, report: &mut Report) -> Result<Option<Pack>, VaultError> {
        let bytes = match self.keep.objects.read_all(name).await {
            Err(error @ ObjectError::Damaged { .. }) => {
                report.fault(format!("{name}: {error}"));
                return Ok(None);
            }
            bytes => bytes?,
        };
        match read_pack(&bytes) {
            Ok(records) => Ok(Some(Pack { name: name.to_owned(), records })),
            Err(error) => {
                report.fault(format!("{name}: {error}"));
                Ok(None)
            }
        }
    }

    /// When the newest pack was made that the log has.
    async fn newest_logged(&self, names: &[String]) -> Result<i64, VaultError> {
        for name in names.iter().rev() {
            let pack = self.read(name, &mut Report::default()).await?;
            if let Some(pack) = pack.filter(|pack| self.first_position(pack) < u64::MAX) {
                return Ok(pack.records.iter().map(|(_, record)| record.time).max().unwrap_or(0));
            }
        }
        Ok(0)
    }

    fn first_position(&self, pack: &Pack) -> u64 {
        let entries = pack.records.iter().filter_map(|(_, record)| record.entry.as_ref());
        entries.filter_map(|entry| self.positions.get(entry)).min().copied().unwrap_or(u64::MAX)
    }

    /// The log takes entries in the order of the commits: what it passed over was not committed.
    fn was_committed(&self, pack: &Pack, newest: i64) -> bool {
        let has_entries = pack.records.iter().any(|(_, record)| record.entry.is_some());
        let time = pack.records.iter().map(|(_, record)| record.time).max().unwrap_or(0);
        !has_entries || self.first_position(pack) < u64::MAX || time + NEVER >= newest
    }

    /// Tells of a pack that is older than what the index had when its turn came. Where the index has what it holds, it is what a refused
    /// commit left; else it was put back after a recovery without it.
    async fn came_late(&self, name: &str, report: &mut Report) -> Result<(), VaultError> {
        for (_, record) in self.read(name, report).await?.into_iter().flat_map(|pack| pack.records) {
            let label = &record.sealed.label;
            if self.keep.store.place_of(&label.type_name, label.id.as_str(), label.version)?.is_none() {
                report.fault(format!(
                    "{name} is older than what was put into this index without it: recover again from the index as it was before \
                     (your backup of it, or none: move this one away)"
                ));
                return Ok(());
            }
        }
        report.never_committed += 1;
        Ok(())
    }

    /// Tells whether it could be put in: rows and times grow together.
    async fn put(&self, pack: &Pack, present: &HashSet<String>, report: &mut Report) -> Result<bool, VaultError> {
        let before = (report.records, report.messages);
        let (mut batch, mut erasures, mut moves) = (Batch::default(), Vec::new(), Vec::new());
        for (extent, record) in &pack.records {
            let found = self.found(&pack.name, *extent, record).await;
            let (kind, id) = (found.record.type_name.as_str(), found.record.id.as_str());
            match self.keep.store.place_of(kind, id, found.record.version)? {
                // Compaction left it in two packs.
                Some(place) if present.contains(&place.pack) => {}
                Some(place) => moves.push(Move {
                    kind: kind.to_owned(),
                    id: id.to_owned(),
                    version: found.record.version,
                    from: place.pack,
                    to: found.record.place,
                }),
                None => self.add(found, &mut batch, &mut erasures, report)?,
            }
        }
        let store = self.keep.store.clone();
        let put = in_background(move || {
            store.move_records(&moves)?;
            // Before the pack: one that is in the index is not looked at again.
            erasures.iter().try_for_each(|erasure| store.begin_erasure(erasure).map(|_| ()))?;
            match store.commit(&batch) {
                Err(StoreError::Stale) => Ok(false),
                done => done.map(|()| true),
            }
        });
        let is_in = put.await?;
        if !is_in {
            (report.records, report.messages) = before;
        }
        Ok(is_in)
    }

    pub(super) fn add(
        &self,
        found: Found,
        batch: &mut Batch,
        erasures: &mut Vec<crate::index::erasures::Erasure>,
        report: &mut Report,
    ) -> Result<(), VaultError> {
        let is_message = found.record.type_name == "Message";
        report.records += 1;
        report.messages += u64::from(is_message);
        found.fault.into_iter().for_each(|fault| report.fault(fault));
        for (token, name) in found.identities {
            // Who claimed last has it.
            batch.identities.retain(|(of, _)| *of != token);
            batch.stale.extend(self.keep.store.identity(&token)?.map(|held| (token, held)));
            batch.identities.push((token, name));
        }
        if let Some((token, id)) = found.message
            && self.keep.store.taken(&token)?.is_none()
            && !batch.messages.iter().any(|(of, _)| *of == token)
        {
            batch.messages.push((token, id));
        }
        erasures.extend(found.erasure);
        batch.records.push(found.record);
        Ok(())
    }
}

/// The milliseconds in a pack's name.
pub(in crate::upkeep) fn time_of(name: &str) -> &str {
    name.split('-').next().unwrap_or(name)
}
