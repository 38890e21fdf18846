//! The log as it was published, put back in its order, and held against its checkpoint and the ledger.

use super::{Recovery, Report};
use crate::anchor::publish::Published;
use crate::app::StartError;
use crate::index::restore::Appended;
use crate::index::store::StoreError;
use notary::chain::Ledger;
use notary::checkpoint::LogSigner;
use notary::tree::{self, LeafHash, MemoryTree, Root, stored_hash_count};
use std::collections::HashMap;

/// Entries of one transaction.
const AT_ONCE: usize = 10_000;

/// The log as it was published, and who signs it.
pub(super) struct Signed<'s> {
    pub(super) published: &'s Published,
    pub(super) signer: &'s LogSigner,
}

impl Recovery {
    /// Puts the published entries back and checks the tree against the checkpoint that was signed.
    pub(super) fn log(
        &self,
        Signed { published, signer }: &Signed<'_>,
        report: &mut Report,
        ledger: Option<&mut Ledger>,
    ) -> Result<(), StartError> {
        let tree = tree_of(&published.entries)?;
        let size = published.checkpoint.size;
        if root(size, &tree)? != published.checkpoint.root {
            return Err(contradiction(
                "the published entries are not those that the published checkpoint was signed over",
            ));
        }
        self.same_beginning(&published.entries)?;
        self.append(&published.entries, &tree, report)?;
        self.keep.store.keep_checkpoint(size, &published.note)?;
        self.keep.store.set_setting("published", &size.to_string())?;
        report.proved = Some(size);
        ledger.map_or(Ok(()), |ledger| self.against(ledger, signer, size, &tree, report))
    }

    /// An index that was restored from a backup has a beginning of the same log; one of today may have entries more, which were not
    /// published yet.
    fn same_beginning(&self, entries: &[Vec<u8>]) -> Result<(), StartError> {
        let size = self.keep.store.log_size()?;
        let own = self.keep.store.entries(0, size)?;
        if entries.starts_with(&own) || own.starts_with(entries) {
            return Ok(());
        }
        Err(contradiction(
            "the index has log entries that are not the published ones: move it away and recover from nothing",
        ))
    }

    fn append(&self, entries: &[Vec<u8>], tree: &MemoryTree, report: &mut Report) -> Result<(), StartError> {
        let rows: HashMap<Vec<u8>, i64> =
            self.keep.store.outbox()?.into_iter().map(|(row, entry)| (entry, row)).collect();
        let first = self.keep.store.log_size()?;
        for (n, some) in entries.get(first as usize..).unwrap_or_default().chunks(AT_ONCE).enumerate() {
            let from = first + (n * AT_ONCE) as u64;
            let some = (from..).zip(some).map(|(position, entry)| appended(position, entry, &rows, tree, report));
            let some: Vec<Appended> = some.collect::<Result<_, _>>()?;
            self.keep.store.restore_log(&some)?;
        }
        Ok(())
    }

    fn against(
        &self,
        ledger: &mut Ledger,
        signer: &LogSigner,
        size: u64,
        tree: &MemoryTree,
        report: &mut Report,
    ) -> Result<(), StartError> {
        let head = ledger.head()?;
        if head.size == 0 {
            return Ok(());
        }
        if head.size > size || root(head.size, tree)? != head.root {
            return Err(contradiction(&format!(
                "the ledger has anchored {} entries that are not the published ones",
                head.size
            )));
        }
        // Ed25519 signs the same text the same way: this is the checkpoint that was anchored.
        let note = signer.sign(head.size, head.root)?;
        self.keep.store.keep_checkpoint(head.size, &note)?;
        // With PostgreSQL a new ledger begins there: what the file has anchored proves what was recovered, and nothing beyond.
        if !self.keep.store.is_shared() {
            self.keep.store.remember_anchored(head.size)?;
        }
        report.anchored = Some(head.size);
        Ok(())
    }
}

/// An entry whose pack is missing keeps its place in the log, with a row that there is not.
fn appended(
    position: u64,
    entry: &[u8],
    rows: &HashMap<Vec<u8>, i64>,
    tree: &MemoryTree,
    report: &mut Report,
) -> Result<Appended, StartError> {
    let row = rows.get(entry).copied().unwrap_or_else(|| {
        report.fault(format!("log entry {position} has no record: its pack is missing or damaged"));
        -(position as i64) - 1
    });
    let (first, next) = (stored_hash_count(position), stored_hash_count(position + 1));
    let numbers: Vec<u64> = (first..next).collect();
    let hashes = tree::HashReader::read_hashes(tree, &numbers).map_err(|_| StoreError::Nonsense("a tree"))?;
    Ok((row, entry.to_vec(), hashes.into_iter().map(|hash| hash.0).collect()))
}

fn tree_of(entries: &[Vec<u8>]) -> Result<MemoryTree, StartError> {
    let mut tree = MemoryTree::default();
    for entry in entries {
        tree.push(LeafHash::of_bytes(entry)).map_err(|_| StoreError::Nonsense("a tree"))?;
    }
    Ok(tree)
}

fn root(size: u64, tree: &MemoryTree) -> Result<Root, StartError> {
    Ok(tree::root(size, tree).map_err(|_| StoreError::Nonsense("a tree"))?)
}

fn contradiction(what: &str) -> StartError {
    StartError::Contradiction(what.to_owned())
}
