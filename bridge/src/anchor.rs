//! The anchor's worker: `outbox -> log -> checkpoint -> chain`. Ingest never waits for it. Each step is safe to repeat:
//! start-up runs the same code as every round.

mod erased;
pub mod publish;

use crate::app::{Core, StartError};
use crate::config::Log;
use crate::error::VaultError;
use crate::ids::{Name, Version};
use crate::index::log::LogReader;
use crate::index::store::{Store, StoreError};
use crate::lease::Lease;
use crate::limits::MAX_LEAVES;
use crate::vault::objects::ObjectError;
use notary::anchor::AnchorBundle;
use notary::chain::{ChainError, Head, JournalError, Keeper, Ledger};
use notary::checkpoint::CheckpointError;
use notary::commitment::Entry;
use notary::receipt::{FORMAT, Opening, Receipt, TlogProof};
use notary::tree::{self, LeafHash, TreeError};
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

pub use erased::erased_receipt;

/// Why the log or the chain did not go on.
#[derive(Debug, thiserror::Error)]
pub enum AnchorError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error("the log cannot be published: {0}")]
    Publish(ObjectError),
    #[error("the outbox holds something that is no log entry")]
    Entry,
    #[error("another replica does the background work")]
    NotHeld,
    #[error("the worker was cut short")]
    CutShort,
}

impl AnchorError {
    pub(crate) fn publish(error: ObjectError) -> Self {
        Self::Publish(error)
    }
}

/// The embedded ledger and what was last seen on it.
#[derive(Debug)]
pub struct LedgerState {
    ledger: Ledger,
    last_error: Option<String>,
}

impl LedgerState {
    /// A freshly opened ledger.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger, last_error: None }
    }

    /// The contract's head.
    pub fn head(&mut self) -> Result<Head, ChainError> {
        self.ledger.head()
    }

    /// The root anchored at a size, if any.
    pub fn root_at(&mut self, size: u64) -> Result<Option<tree::Root>, ChainError> {
        self.ledger.root_at(size)
    }

    /// The last failure, for the readiness page.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }
}

/// Signs and anchors for ever: a checkpoint soon after entries come in, an anchor less often.
pub async fn run(core: Arc<Core>, settings: Log) {
    let checkpoint_pause = Duration::from_millis(settings.checkpoint_ms);
    let anchor_pause = Duration::from_millis(settings.anchor_ms);
    let mut anchored: Option<tokio::time::Instant> = None;
    loop {
        core.lease.wait().await;
        let due = anchored.is_none_or(|at| at.elapsed() >= anchor_pause);
        match step(&core, due).await {
            Ok(true) => anchored = Some(tokio::time::Instant::now()),
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "the log or the ledger does not go on; entries wait in the outbox");
                lock(&core).last_error = Some(error.to_string());
            }
        }
        // Entries gather for a while; without any, a late anchor is still made.
        tokio::time::sleep(checkpoint_pause).await;
        let _ = tokio::time::timeout(anchor_pause, core.wake_sequencer.notified()).await;
    }
}

/// One round: every waiting entry into the log, one checkpoint a portion, and an anchor if it is due. Tells whether one
/// was made.
pub async fn step(core: &Arc<Core>, anchor_due: bool) -> Result<bool, AnchorError> {
    let sequencing = core.clone();
    blocking(move || {
        while sequence(&sequencing)? {}
        Ok(())
    })
    .await?;
    publish::publish(core).await?;
    let core = core.clone();
    if anchor_due { blocking(move || anchor(&core)).await } else { Ok(false) }
}

/// One round of a command, which is no service: where replicas share the index it asks for the lease. Tells whether it was its
/// turn; if not, a replica that runs does it.
pub async fn step_once(core: &Arc<Core>) -> Result<bool, AnchorError> {
    crate::lease::ask(core).await;
    if core.lease.held().is_none() {
        return Ok(false);
    }
    let done = step(core, true).await;
    crate::lease::end(core).await;
    done.map(|_| true)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AnchorError> + Send + 'static,
) -> Result<T, AnchorError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(AnchorError::CutShort))
}

/// Takes a portion of the outbox into the log and signs the new tree, in one transaction of the index.
fn sequence(core: &Core) -> Result<bool, AnchorError> {
    let grow = |size: u64, entry: &[u8], reader: &LogReader<'_>| -> Result<_, AnchorError> {
        let entry = Entry::from_bytes(entry).map_err(|_| AnchorError::Entry)?;
        Ok(tree::append(size, LeafHash::of(&entry.to_bytes()), reader)?)
    };
    let sign = |size: u64, reader: &LogReader<'_>| -> Result<_, AnchorError> {
        Ok(core.signer.sign(size, tree::root(size, reader)?)?)
    };
    // A crash before the commit leaves the entries in the outbox; after it, log and checkpoint stand together.
    let epoch = core.lease.held().ok_or(AnchorError::NotHeld)?;
    Ok(core.store.sequence(epoch, MAX_LEAVES, grow, sign)?.is_some())
}

/// Anchors the newest checkpoint if the chain does not have it. The chain itself checks that history was only added to.
fn anchor(core: &Core) -> Result<bool, AnchorError> {
    let Some((size, note)) = core.store.checkpoint(None)? else { return Ok(false) };
    let checkpoint = core.signer.key().open(&note)?;
    let mut state = current(core)?;
    let head = state.ledger.head()?;
    if head.size >= size {
        state.last_error = None;
        return Ok(false);
    }
    let proof = core.store.read_log(|reader| tree::prove_consistency(head.size, size, reader))??;
    let now = core.clock.now().as_second().max(0) as u64;
    // A crash here anchors nothing; a crash inside leaves the block in the ledger's journal or not at all.
    let gas = state.ledger.anchor(size, checkpoint.root, &proof, now)?;
    // A crash here leaves a chain that is ahead of what the index remembers: harmless, the other way round is not.
    core.store.remember_anchored(size)?;
    state.last_error = None;
    tracing::info!(size, gas, entries = size - head.size, "anchored");
    Ok(true)
}

/// At the start: the chain's newest root must be a root of this very log. If not, the index was rolled back or changed.
pub fn check(core: &Core) -> Result<(), StartError> {
    // First what is remembered: another replica may anchor meanwhile.
    let remembered = core.store.anchored()?;
    let head = current(core)?.ledger.head()?;
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

/// An entry that stands in the log, as its receipts prove it.
pub(crate) struct Logged {
    entry: Vec<u8>,
    proof: TlogProof,
    anchor: Option<AnchorBundle>,
}

/// The entry of a row, or nothing while it is not in a signed checkpoint.
pub(crate) fn logged(core: &Core, row: i64) -> Result<Option<Logged>, AnchorError> {
    let Some((position, entry)) = core.store.position(row)? else { return Ok(None) };
    let mut state = current(core)?;
    let head = state.ledger.head()?;
    // The newest anchored checkpoint proves most; an entry that is not anchored yet gets the newest checkpoint.
    let anchored = (position < head.size).then_some(head.size);
    let covering = anchored.map(|size| size - 1);
    let Some((size, note)) = core.store.checkpoint(covering)? else { return Ok(None) };
    let hashes = core.store.read_log(|reader| tree::prove_inclusion(size, position, reader))??;
    let proof = TlogProof { index: position, hashes, checkpoint: note };
    Ok(Some(Logged { entry, proof, anchor: anchored.and_then(|size| state.ledger.bundle(size)) }))
}

impl Logged {
    fn receipt(&self, core: &Core, name: &Name, version: Version) -> Receipt {
        Receipt {
            format: FORMAT.to_owned(),
            custodian: core.custodian.clone(),
            reference: name.to_string(),
            version_id: version.to_string(),
            entry: hex::encode(&self.entry),
            proof: self.proof.to_text(),
            log_key: core.signer.key().to_string(),
            opening: None,
            anchor: self.anchor.clone(),
            erasure: None,
        }
    }
}

/// Builds the receipt of one version, or says that its entry is not in a signed checkpoint yet.
pub fn receipt(core: &Core, opened: &crate::read::Opened) -> Result<Option<Receipt>, AnchorError> {
    let Some(logged) = logged(core, opened.stored.row)? else { return Ok(None) };
    let opening = Opening {
        salt: hex::encode(opened.salt.0),
        canonical: notary::commitment::Digest::of(&opened.resource).to_string(),
        raw: opened.raw.map(|d| d.to_string()),
    };
    let bare = logged.receipt(core, &opened.stored.name, opened.stored.version);
    Ok(Some(Receipt { opening: Some(opening), ..bare }))
}

/// The sizes of log and chain, for the readiness page.
pub fn progress(core: &Core) -> Result<Progress, VaultError> {
    let log = core.store.log_size()?;
    let checkpoint = core.store.checkpoint(None)?.map_or(0, |(size, _)| size);
    // What cannot be caught up with now is told as it was known.
    let mut state = current(core).unwrap_or_else(|_| lock(core));
    let anchored = state.head().map_or(0, |head| head.size);
    Ok(Progress { log, checkpoint, anchored, last_error: state.last_error().map(str::to_owned) })
}

/// How far the log has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub log: u64,
    pub checkpoint: u64,
    pub anchored: u64,
    pub last_error: Option<String>,
}

/// The ledger with what other replicas mined: with PostgreSQL its journal lies in the index.
fn current(core: &Core) -> Result<MutexGuard<'_, LedgerState>, ChainError> {
    let mut state = lock(core);
    if core.store.is_shared() {
        let news = core.store.blocks(state.ledger.next()).map_err(|error| JournalError::NotKept(error.into()))?;
        state.ledger.catch_up(&news)?;
    }
    Ok(state)
}

fn lock(core: &Core) -> MutexGuard<'_, LedgerState> {
    core.ledger.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Opens the ledger: its journal is a file in the data directory, or lies in the index where several replicas share that.
pub fn ledger(data: &Path, store: &Arc<Store>, lease: &Arc<Lease>, now: u64) -> Result<Ledger, StartError> {
    if !store.is_shared() {
        return Ok(Ledger::open(&data.join("ledger.journal"), now)?);
    }
    let open = |lines: &[String]| {
        let keeper = InIndex { store: store.clone(), lease: lease.clone() };
        Ledger::kept(Path::new("in the index"), lines, Box::new(keeper), now)
    };
    match open(&store.blocks(0)?) {
        // Another replica was quicker to deploy the contract: its block is the first.
        Err(ChainError::Journal(JournalError::NotKept(_))) => Ok(open(&store.blocks(0)?)?),
        opened => Ok(opened?),
    }
}
