//! The packs, each as a whole and record by record, and the rows of the index that lie in them.

use super::{Check, UNDER_WAY};
use crate::clock::instant;
use crate::error::VaultError;
use crate::index::places::{Lying, State};
use crate::index::store::Place;
use crate::read::in_background;
use crate::upkeep::content::{Content, content};
use crate::upkeep::erase;
use crate::upkeep::key_objects::Walk;
use crate::upkeep::recover::packs::FOLDER;
use crate::vault::keys::KeyError;
use crate::vault::objects::{Found, ObjectError};
use crate::vault::pack::{Extent, Record, as_written, check_sum, count, records};
use crate::vault::seal::{RecordKind, open};
use notary::commitment::{Entry, Kind};
use std::collections::{HashMap, HashSet};

/// Rows that are read together.
const PAGE: usize = 10_000;

/// How many rows lie in each pack: some 100 bytes of memory a pack.
type Rows = HashMap<String, u64>;
/// Where the sound records of a pack are that rows refer to.
type Sound = HashSet<u64>;

/// Records of one pack that no row refers to.
#[derive(Default)]
struct Loose {
    records: Vec<(Extent, Record)>,
    /// Others of the same pack have a row: they were committed together.
    others: bool,
    /// Records that lie in another pack by the index, and those that rows refer to here.
    copies: u64,
    referred: u64,
}

impl Check<'_> {
    pub(super) async fn packs(&mut self) -> Result<(), VaultError> {
        let mut rows = Rows::new();
        self.each_row(|_, lying| *rows.entry(lying.place.pack.clone()).or_default() += 1).await?;
        let (total, mut damaged) = (rows.len() as u64, HashMap::<String, Sound>::new());
        let mut walk = Walk::new(&self.keep.objects, FOLDER);
        while let Some(found) = walk.next().await? {
            let expected = rows.remove(&found.name).unwrap_or(0);
            let sound = self.pack(&found, expected).await?;
            if (sound.len() as u64) < expected {
                damaged.insert(found.name, sound);
            }
            (self.tell)("packs", self.report.packs, total);
        }
        for (name, count) in rows {
            self.differs(&name, format!("it is not there, and {count} rows of the index refer to it"));
            damaged.insert(name, Sound::new());
        }
        if damaged.is_empty() { Ok(()) } else { self.name_rows(&damaged).await }
    }

    /// Goes through the rows of the index, in their order.
    async fn each_row(&mut self, mut each: impl FnMut(&mut Self, &Lying)) -> Result<(), VaultError> {
        let mut after = 0;
        loop {
            let store = self.keep.store.clone();
            let page = in_background(move || store.lying_after(after, PAGE)).await?;
            let upto = self.upto;
            page.iter().filter(|lying| lying.row <= upto).for_each(|lying| each(self, lying));
            match page.last() {
                Some(last) if last.row < self.upto => after = last.row,
                _ => return Ok(()),
            }
        }
    }

    /// Names the rows that refer to what is not there.
    async fn name_rows(&mut self, damaged: &HashMap<String, Sound>) -> Result<(), VaultError> {
        let wrong = |check: &mut Self, lying: &Lying| {
            let Place { pack, extent } = &lying.place;
            if damaged.get(pack).is_some_and(|sound| !sound.contains(&extent.offset)) {
                let called = check.keep.store.called(lying.row).ok().flatten();
                let called = called.map_or_else(String::new, |(name, version)| format!(", {name} version {version}"));
                let what = format!("no record of it lies at byte {} of {pack}", extent.offset);
                check.differs(format!("row {}{called}", lying.row), what);
            }
        };
        self.each_row(wrong).await
    }

    /// Looks into a pack; tells where records lie that rows refer to.
    async fn pack(&mut self, found: &Found, expected: u64) -> Result<Sound, VaultError> {
        let read = self.keep.objects.read_all(&found.name).await;
        let bytes = match self.read(read)? {
            Ok(bytes) => bytes,
            // The committer takes away what the index has refused.
            Err(ObjectError::Missing { .. }) if expected == 0 => return Ok(Sound::new()),
            Err(error) => {
                self.differs(&found.name, error.to_string());
                return Ok(Sound::new());
            }
        };
        self.report.packs += 1;
        self.report.bytes += bytes.len() as u64;
        if check_sum(&bytes).is_ok() || expected > 0 {
            return self.records(&found.name, &bytes).await;
        }
        if found.changed < self.begun - UNDER_WAY {
            self.note(&found.name, "it was cut short while it was written; nobody was answered for it");
        }
        Ok(Sound::new())
    }

    async fn records(&mut self, name: &str, bytes: &[u8]) -> Result<Sound, VaultError> {
        let (mut sound, mut loose) = (Sound::new(), Loose::default());
        if check_sum(bytes).is_err() {
            self.differs(name, "it is not as it was written: the sum at its end is another");
        }
        let mut found = 0;
        for part in records(bytes) {
            found += 1;
            match part {
                Err(error) => self.differs(format!("{name}, byte {}", error.at), "no record can be read here"),
                Ok((extent, record)) => {
                    let from = extent.offset as usize;
                    if bytes.get(from..from + extent.length as usize) != Some(&as_written(&record)) {
                        self.differs(format!("{name}, byte {from}"), "its header is not as it was written");
                    }
                    let place = Place { pack: name.to_owned(), extent };
                    if self.record(&place, record, &mut loose).await? {
                        sound.insert(extent.offset);
                    }
                }
            }
        }
        if count(bytes) != Some(found) {
            self.differs(name, "it has another number of records than it says");
        }
        self.loose(name, loose)?;
        Ok(sound)
    }

    /// Compares a record with its row. Tells whether that refers to it, and is one of the beginning.
    async fn record(&mut self, place: &Place, record: Record, loose: &mut Loose) -> Result<bool, VaultError> {
        let label = &record.sealed.label;
        let found = self.keep.store.lying(&label.type_name, label.id.as_str(), label.version)?;
        self.report.records.add(place.extent.length);
        let Some((lying, entry)) = found else {
            self.report.unreferenced.add(place.extent.length);
            loose.records.push((place.extent, record));
            return Ok(false);
        };
        loose.others = true;
        if lying.row > self.upto {
            return Ok(false);
        }
        if lying.place != *place {
            self.report.copies.add(place.extent.length);
            loose.copies += 1;
            return Ok(false);
        }
        if let Err(what) = self.compare(&record, &lying, entry).await? {
            let at = format!(
                "{}, byte {}, {}/{} version {}",
                place.pack, place.extent.offset, label.type_name, label.id, label.version
            );
            self.differs(at, what);
        }
        loose.referred += 1;
        if self.keep.keys.is_destroyed(&label.owner) {
            self.report.erased.add(place.extent.length);
        }
        Ok(true)
    }

    async fn compare(
        &self,
        record: &Record,
        lying: &Lying,
        entry: Option<Vec<u8>>,
    ) -> Result<Result<(), String>, VaultError> {
        let label = &record.sealed.label;
        match (&entry, &record.entry) {
            (ours, theirs) if ours == theirs => {}
            (None, _) => return Ok(Err("its entry is neither in the log nor waits for it".into())),
            _ => return Ok(Err("the log has another entry for it".into())),
        }
        if record.time != lying.updated {
            return Ok(Err("the index has another time for it".into()));
        }
        let erased = self.keep.keys.is_destroyed(&label.owner);
        let unfinished = self.unfinished.contains(label.owner.as_str());
        if erased != (lying.state == State::Erased) && !unfinished {
            return Ok(Err("the index does not say of it what the erasures say".into()));
        }
        if erased {
            return Ok(Ok(()));
        }
        let kind = record.entry.as_deref().and_then(|entry| Entry::from_bytes(entry).ok()).map(|entry| entry.kind);
        let deletion = label.kind == RecordKind::Resource && kind == Some(Kind::Tombstone);
        if deletion != (lying.state == State::Deletion) {
            return Ok(Err("its log entry and the index do not agree whether it is a deletion".into()));
        }
        self.opens(record).await
    }

    /// Opens a record with its owner's key. That the key cannot be had now is no fault of the record.
    async fn opens(&self, record: &Record) -> Result<Result<(), String>, VaultError> {
        let owner = &record.sealed.label.owner;
        let key = match (self.keep.keys.cached(owner), self.keep.store.key(owner)?) {
            (_, None) => return Ok(Err(format!("the index has no key of {}", owner.as_str()))),
            (Some(key), _) => key,
            (None, Some(wrapped)) => match self.keep.keys.unwrap(owner, &wrapped).await {
                Err(error @ (KeyError::Away { .. } | KeyError::Refused { .. })) => return Err(error.into()),
                Err(error) => return Ok(Err(error.to_string())),
                Ok(key) => key,
            },
        };
        let opened = match open(&key, &self.keep.custodian, &record.sealed) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error.to_string())),
        };
        match content(&self.keep.custodian, record, &opened) {
            Ok(Content::Erasure) => Ok(self.erasure(record, &opened)?),
            Ok(_) => Ok(Ok(())),
            Err(what) => Ok(Err(what.into())),
        }
    }

    /// A tombstone commits to the very entries that it closed.
    fn erasure(&self, record: &Record, said: &[u8]) -> Result<Result<(), String>, VaultError> {
        let entry = erase::entry_of(self.keep, &record.sealed.label.id, said)?;
        let same = entry.is_some_and(|entry| record.entry.as_deref() == Some(entry.to_bytes().as_slice()));
        Ok(if same { Ok(()) } else { Err("its log entry is not that of what was said and closed".into()) })
    }

    /// What compaction has left for as long as older backups of the index need it.
    fn copies(&mut self, name: &str, Loose { copies, referred, .. }: &Loose) {
        match (copies, referred) {
            (0, _) => {}
            (all, 0) => self.note(name, format!("all its {all} records lie in other packs, too: it is removed later")),
            (some, _) => self.note(name, format!("{some} of its records lie in other packs, too")),
        }
    }

    /// Records without a row: they were never committed, or the index has lost theirs.
    fn loose(&mut self, name: &str, loose: Loose) -> Result<(), VaultError> {
        self.copies(name, &loose);
        for (extent, record) in &loose.records {
            let label = &record.sealed.label;
            let is_message = label.kind == RecordKind::Message;
            let taken = record.claims.first().filter(|_| is_message).map(|token| self.keep.store.taken(token));
            let taken = taken.transpose()?.flatten().is_some_and(|id| id == label.id);
            if loose.others || taken {
                let at = format!(
                    "{name}, byte {}, {}/{} version {}",
                    extent.offset, label.type_name, label.id, label.version
                );
                self.differs(at, "it was committed, and the index has no row for it");
            }
        }
        let Some((_, first)) = loose.records.first() else { return Ok(()) };
        if self.is_ahead(name) {
            if first.time < self.begun - UNDER_WAY {
                let what = "the index has not followed it yet: the next start of a service puts it in";
                self.note(name, format!("{} of its records have no row: {what}", loose.records.len()));
            }
            return Ok(());
        }
        if loose.others {
            return Ok(());
        }
        if first.time < self.begun - UNDER_WAY {
            let time = jiff::Timestamp::from_millisecond(first.time).map(instant).unwrap_or_default();
            let what =
                format!("no row refers to it: its {} records of {time} were never committed", loose.records.len());
            self.note(name, what);
        }
        Ok(())
    }
}
