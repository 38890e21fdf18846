//! The log: its tree is computed anew from the entries, a page at a time, and held against the stored hashes, every checkpoint,
//! what was published, and the ledger.

use super::Check;
use super::published::Published;
use crate::anchor::publish::WIDTH;
use crate::error::VaultError;
use crate::index::places::LogRow;
use crate::index::store::StoreError;
use crate::read::in_background;
use notary::tree::{EdgeTree, LeafHash, Root, stored_hash_count};
use std::collections::{HashMap, VecDeque};

/// Entries of a page: whole objects of the published log.
const PAGE: u64 = 32 * WIDTH;
/// Checkpoints that are read together.
const CHECKPOINTS: usize = 1_000;

/// What somebody says that the log is.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) at: String,
    pub(super) size: u64,
    pub(super) root: Root,
}

/// How far the walk through the log is.
#[derive(Default)]
struct Walk {
    tree: EdgeTree,
    claims: Vec<Claim>,
    checkpoints: Checkpoints,
    /// How many stored hashes and checkpoints are those of another log: one wrong entry makes all that follow wrong.
    other_hashes: u64,
    other_checkpoints: u64,
}

/// The checkpoints in their order.
#[derive(Default)]
struct Checkpoints {
    next: VecDeque<(u64, String)>,
    read: u64,
    ended: bool,
}

impl Check<'_> {
    /// Walks through the first `size` entries.
    pub(super) async fn log(
        &mut self,
        size: u64,
        published: Option<Published>,
        chain: Option<Claim>,
    ) -> Result<(), VaultError> {
        self.report.log = size;
        let claims = chain.into_iter().chain(published.as_ref().map(|published| published.claim.clone())).collect();
        let mut walk = Walk { claims, ..Walk::default() };
        for from in (0..size).step_by(PAGE as usize) {
            (self.tell)("log entries", from, size);
            let count = PAGE.min(size - from);
            let rows = self.log_page(from, count).await?;
            if let Some(published) = &published {
                self.published_as(published, &rows).await?;
            }
            self.follow(&mut walk, &rows).await?;
            if (rows.len() as u64) < count {
                break;
            }
        }
        self.end_log(&mut walk)
    }

    /// The entries of a page, as many as follow each other without a gap.
    async fn log_page(&mut self, from: u64, count: u64) -> Result<Vec<LogRow>, VaultError> {
        let store = self.keep.store.clone();
        let mut rows = in_background(move || store.log_rows(from, count)).await?;
        let whole = rows.iter().zip(from..).take_while(|(row, position)| row.position == *position).count();
        rows.truncate(whole);
        if (whole as u64) < count {
            self.differs(position(from + whole as u64), "there is no entry: nothing that follows is compared");
        }
        for row in rows.iter().filter(|row| !row.is_there) {
            self.differs(position(row.position), format!("row {}, which it speaks of, is not in the index", row.row));
        }
        Ok(rows)
    }

    async fn follow(&mut self, walk: &mut Walk, rows: &[LogRow]) -> Result<(), VaultError> {
        let first = stored_hash_count(walk.tree.size());
        let count = stored_hash_count(walk.tree.size() + rows.len() as u64) - first;
        let store = self.keep.store.clone();
        let stored: HashMap<u64, [u8; 32]> =
            in_background(move || store.hashes(first, count)).await?.into_iter().collect();
        for row in rows {
            let numbers = stored_hash_count(walk.tree.size())..;
            let new = walk.tree.push(LeafHash::of_bytes(&row.entry)).map_err(|_| StoreError::Nonsense("a tree"))?;
            for (number, _) in numbers.zip(new).filter(|(number, hash)| stored.get(number) != Some(hash)) {
                walk.other_hashes += 1;
                if walk.other_hashes == 1 {
                    self.differs(format!("log hash {number}"), "it is not the hash of the entries");
                }
            }
            self.claims(walk)?;
        }
        Ok(())
    }

    /// What is said of the log at the size that the walk has come to.
    fn claims(&mut self, walk: &mut Walk) -> Result<(), VaultError> {
        let size = walk.tree.size();
        let root = walk.tree.root().map_err(|_| StoreError::Nonsense("a tree"))?;
        for claim in walk.claims.iter().filter(|claim| claim.size == size && claim.root != root) {
            self.differs(&claim.at, format!("it is not the root of the first {size} entries"));
        }
        while let Some((_, note)) = walk.checkpoints.upto(self, size)? {
            self.report.checkpoints += 1;
            match self.keep.log_key.open(&note) {
                Err(error) => self.differs(checkpoint(size), error.to_string()),
                Ok(opened) if (opened.size, opened.root) == (size, root) => {}
                Ok(_) => {
                    walk.other_checkpoints += 1;
                    if walk.other_checkpoints == 1 {
                        self.differs(checkpoint(size), "it was signed over other entries");
                    }
                }
            }
        }
        Ok(())
    }

    fn end_log(&mut self, walk: &mut Walk) -> Result<(), VaultError> {
        let size = walk.tree.size();
        for claim in walk.claims.iter().filter(|claim| claim.size > size) {
            self.differs(&claim.at, format!("it speaks of {} entries, and the log has {size}", claim.size));
        }
        let more = |count: u64| count.saturating_sub(1);
        if more(walk.other_hashes) + more(walk.other_checkpoints) > 0 {
            let (hashes, checkpoints) = (more(walk.other_hashes), more(walk.other_checkpoints));
            self.note(
                "log",
                format!("{hashes} further hashes and {checkpoints} further checkpoints are of other entries"),
            );
        }
        Ok(())
    }
}

impl Checkpoints {
    /// The next one, if it is of this size.
    fn upto(&mut self, check: &Check<'_>, size: u64) -> Result<Option<(u64, String)>, VaultError> {
        if self.next.is_empty() && !self.ended {
            let page = check.keep.store.checkpoints_after(self.read, CHECKPOINTS)?;
            self.ended = page.len() < CHECKPOINTS;
            self.read = page.last().map_or(self.read, |(size, _)| *size);
            self.next = page.into();
        }
        let due = self.next.front().is_some_and(|(of, _)| *of <= size);
        Ok(if due { self.next.pop_front() } else { None })
    }
}

fn position(position: u64) -> String {
    format!("log position {position}")
}

fn checkpoint(size: u64) -> String {
    format!("checkpoint of {size} entries")
}
