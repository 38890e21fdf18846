//! The embedded ledger: the chain of whoever has no other. No independent trust.

use super::AnchorError;
use super::cosign::Newest;
use crate::app::{Core, StartError};
use crate::index::anchors::Anchor;
use crate::index::store::Store;
use crate::lease::Lease;
use notary::chain::evm::Address;
use notary::chain::{ChainError, Head, JournalError, Keeper, Ledger};
use notary::tree::{self, Root};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The ledger, and what was last seen on it.
#[derive(Debug)]
pub struct Embedded(Mutex<Ledger>);

impl Embedded {
    /// Opens the ledger: its journal is a file in the data directory, or lies in the index where several replicas share that.
    pub fn open(data: &Path, store: &Arc<Store>, lease: &Arc<Lease>, now: u64) -> Result<Self, StartError> {
        if !store.is_shared() {
            return Ok(Self(Mutex::new(Ledger::open(&data.join("ledger.journal"), now)?)));
        }
        let open = |lines: &[String]| {
            let keeper = InIndex { store: store.clone(), lease: lease.clone() };
            Ledger::kept(Path::new("in the index"), lines, Box::new(keeper), now)
        };
        let opened = match open(&store.blocks(0)?) {
            // Another replica was quicker to deploy the contract: its block is the first.
            Err(ChainError::Journal(JournalError::NotKept(_))) => open(&store.blocks(0)?)?,
            opened => opened?,
        };
        Ok(Self(Mutex::new(opened)))
    }

    /// The ledger with what other replicas mined: with PostgreSQL its journal lies in the index.
    pub(super) fn current(&self, store: &Store) -> Result<MutexGuard<'_, Ledger>, ChainError> {
        let mut ledger = self.lock();
        if store.is_shared() {
            let news = store.blocks(ledger.next()).map_err(|error| JournalError::NotKept(error.into()))?;
            ledger.catch_up(&news)?;
        }
        Ok(ledger)
    }

    /// The contract's address.
    pub fn contract(&self) -> Address {
        self.lock().contract()
    }

    /// The contract's head, as it is known here.
    pub fn head(&self) -> Result<Head, ChainError> {
        self.lock().head()
    }

    /// The root anchored at a size, if any, as it is known here.
    pub fn root_at(&self, size: u64) -> Result<Option<Root>, ChainError> {
        self.lock().root_at(size)
    }

    /// Anchors the newest checkpoint if the ledger does not have it. The contract itself checks that history was only added to.
    pub(super) fn anchor(&self, core: &Core, newest: Option<Newest>) -> Result<bool, AnchorError> {
        let Some((size, note)) = newest else { return Ok(false) };
        let checkpoint = core.signer.key().open(&note)?;
        let mut ledger = self.current(&core.store)?;
        let head = ledger.head()?;
        if head.size >= size {
            return Ok(false);
        }
        let proof = core.store.read_log(|reader| tree::prove_consistency(head.size, size, reader))??;
        let time = core.clock.now().as_second().max(0) as u64;
        // A crash here anchors nothing; a crash inside leaves the block in the ledger's journal or not at all.
        let gas = ledger.anchor(size, checkpoint.root, &proof, time)?;
        let (block, hash) = ledger.tip().map_or((0, String::new()), |(block, hash)| (block, hash.to_string()));
        // A crash here leaves a chain that is ahead of what the index remembers: harmless, the other way round is not.
        core.store.keep_anchor(&Anchor { size, block, hash, time, gas: Some(gas), fee: None, bundle: None })?;
        core.metrics.gas.add(gas, &[]);
        tracing::info!(size, gas, entries = size - head.size, "anchored");
        Ok(true)
    }

    /// At the start: the ledger's newest root must be a root of this very log. If not, the index was rolled back or changed.
    pub(super) fn check(&self, core: &Core) -> Result<(), StartError> {
        // First what is remembered: another replica may anchor meanwhile.
        let remembered = core.store.anchored()?;
        let head = self.current(&core.store)?.head()?;
        if head.size < remembered {
            return Err(StartError::Contradiction(format!(
                "the ledger has anchored {} log entries and the index remembers {remembered}: ledger.journal was lost or is an older \
                 one; put it back from your backup",
                head.size
            )));
        }
        if head.size == 0 {
            return Ok(());
        }
        let size = core.store.log_size()?;
        if size < head.size {
            return Err(StartError::Contradiction(format!(
                "the ledger has anchored {} log entries and the index holds {size}: the index was restored from an older backup",
                head.size
            )));
        }
        let root = core.store.read_log(|reader| tree::root(head.size, reader))?;
        match root {
            Ok(root) if root == head.root => Ok(()),
            _ => Err(StartError::Contradiction(format!(
                "the first {} log entries are not the ones that the ledger anchored: the index was changed",
                head.size
            ))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the ledger's blocks in the index.
#[derive(Debug)]
struct InIndex {
    store: Arc<Store>,
    lease: Arc<Lease>,
}

impl Keeper for InIndex {
    fn keep(&mut self, number: u64, line: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.store.keep_block(number, line, self.lease.held())?)
    }
}
