//! What was proved already: thousands of receipts share some dozens of checkpoints and anchors. Only what held is kept, under
//! all that it depends on, so that a cached answer is the one that checking again would give.

use crate::anchor::{AnchorBundle, AnchorError, Anchored};
use crate::bft::{self, SealFault};
use crate::checkpoint::{Checkpoint, CheckpointError, LogKey};
use crate::tree::Root;
use alloy_primitives::{Address, Bytes};
use std::collections::HashMap;

/// How many answers of each sort are kept: at some 10 kB each a few dozen MB at most.
const KEPT: usize = 4_096;

/// Checkpoints and anchors that held. One for each thread: nothing is locked.
#[derive(Debug, Default)]
pub struct Cache {
    keys: HashMap<String, LogKey>,
    notes: HashMap<LogKey, HashMap<String, Checkpoint>>,
    count: usize,
    /// The newest of each root: all receipts of one checkpoint have the same.
    anchors: HashMap<[u8; 32], (AnchorBundle, Anchored)>,
    sealers: HashMap<Bytes, Vec<Address>>,
}

impl Cache {
    /// Reads a log key.
    pub(super) fn key(&mut self, text: &str) -> Result<LogKey, CheckpointError> {
        if let Some(key) = self.keys.get(text) {
            return Ok(key.clone());
        }
        let key = LogKey::parse(text)?;
        room(&mut self.keys);
        self.keys.insert(text.to_owned(), key.clone());
        Ok(key)
    }

    /// Checks a signed note.
    pub(super) fn open(&mut self, key: &LogKey, note: &str) -> Result<Checkpoint, CheckpointError> {
        if let Some(checkpoint) = self.notes.get(key).and_then(|notes| notes.get(note)) {
            return Ok(checkpoint.clone());
        }
        let checkpoint = key.open(note)?;
        if self.count >= KEPT {
            (self.notes, self.count) = (HashMap::new(), 0);
        }
        self.count += 1;
        self.notes.entry(key.clone()).or_default().insert(note.to_owned(), checkpoint.clone());
        Ok(checkpoint)
    }

    /// Checks an anchor bundle.
    pub(super) fn anchor(&mut self, bundle: &AnchorBundle, root: Root) -> Result<Anchored, AnchorError> {
        if let Some((_, anchored)) = self.anchors.get(&root.0).filter(|(held, _)| held == bundle) {
            return Ok(*anchored);
        }
        let anchored = bundle.check(root)?;
        room(&mut self.anchors);
        self.anchors.insert(root.0, (bundle.clone(), anchored));
        Ok(anchored)
    }

    /// Who sealed the block of a header.
    pub(super) fn sealers(&mut self, header: &Bytes) -> Result<Vec<Address>, SealFault> {
        if let Some(sealers) = self.sealers.get(header) {
            return Ok(sealers.clone());
        }
        let sealers = bft::sealers(header)?;
        room(&mut self.sealers);
        self.sealers.insert(header.clone(), sealers.clone());
        Ok(sealers)
    }
}

/// Who sends thousands of different ones gains nothing by a cache, and must not fill the memory with it.
fn room<K, V>(map: &mut HashMap<K, V>) {
    if map.len() >= KEPT {
        map.clear();
    }
}
