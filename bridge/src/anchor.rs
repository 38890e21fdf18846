//! The anchor's worker: `outbox -> log -> checkpoint -> chain`. Ingest never waits for it. Each step is safe to repeat:
//! start-up runs the same code as every round.

mod cosign;
mod erased;
pub mod evm;
pub mod key;
mod kms;
pub mod ledger;
pub mod publish;

use crate::app::{Core, StartError};
use crate::config::Log;
use crate::error::VaultError;
use crate::ids::{Name, Version};
use crate::index::log::LogReader;
use crate::index::store::StoreError;
use crate::limits::MAX_LEAVES;
use crate::vault::objects::ObjectError;
use notary::anchor::{AnchorBundle, ChainKind};
use notary::chain::ChainError;
use notary::chain::evm::{EvmError, Nodes};
use notary::checkpoint::CheckpointError;
use notary::commitment::Entry;
use notary::receipt::{FORMAT, Opening, Receipt, TlogProof};
use notary::tree::{self, LeafHash, TreeError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

pub use cosign::Witnesses;
pub use erased::erased_receipt;
pub use evm::Evm;
pub use ledger::Embedded;

/// How often it is looked whether what was published last still lies there, where others may write there, too.
const LOOK_AFTER: Duration = Duration::from_secs(60);

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
    #[error(transparent)]
    Evm(Box<EvmError>),
    #[error("what is kept of the anchor on its way cannot be read: remove the setting chain.pending from the index")]
    Pending,
    #[error("nothing more is signed: {0}")]
    Contradiction(String),
    #[error("anchors wait: {0}")]
    Stalled(&'static str),
    #[error("another replica does the background work")]
    NotHeld,
    #[error("the worker was cut short")]
    CutShort,
}

impl AnchorError {
    /// Whether chain and log are not of one history.
    fn is_contradiction(&self) -> bool {
        match self {
            Self::Evm(error) => matches!(**error, EvmError::LogBehind { .. } | EvmError::OtherLog { .. }),
            Self::Contradiction(_) => true,
            _ => false,
        }
    }

    pub(crate) fn publish(error: ObjectError) -> Self {
        Self::Publish(error)
    }
}

/// The chain that anchors go to.
#[derive(Debug)]
pub struct Chain {
    pub place: Place,
    trouble: Mutex<Option<Trouble>>,
}

/// Which chain it is.
#[derive(Debug)]
pub enum Place {
    Embedded(Embedded),
    Evm(Evm),
}

/// Why it does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub what: String,
    /// The chain and this log are not of one history: nothing more is signed.
    pub is_contradiction: bool,
}

impl Trouble {
    /// In words for everybody: no node's name is among them.
    pub fn told(&self) -> &'static str {
        match self.is_contradiction {
            true => "chain and log are not of one history: nothing more is signed until somebody has looked at it",
            false => "the chain is away or refuses; what waits is anchored later",
        }
    }
}

impl Chain {
    /// A chain that nothing is known against.
    pub fn new(place: Place) -> Self {
        Self { place, trouble: Mutex::default() }
    }

    /// Why it does not go on, if it does not.
    pub fn trouble(&self) -> Option<Trouble> {
        self.troubles().clone()
    }

    /// The embedded ledger, if it is that.
    pub fn embedded(&self) -> Option<&Embedded> {
        match &self.place {
            Place::Embedded(ledger) => Some(ledger),
            Place::Evm(_) => None,
        }
    }

    /// What the receipts call it.
    pub fn kind(&self) -> ChainKind {
        match &self.place {
            Place::Embedded(_) => ChainKind::Embedded,
            Place::Evm(evm) => evm.kind(),
        }
    }

    /// The nodes of a chain of others, and its id.
    pub fn nodes(&self) -> Option<(&Nodes, u64)> {
        match &self.place {
            Place::Embedded(_) => None,
            Place::Evm(evm) => Some((evm.nodes(), evm.chain_id())),
        }
    }

    fn note(&self, error: &AnchorError) {
        let trouble = Trouble { what: error.to_string(), is_contradiction: error.is_contradiction() };
        let mut noted = self.troubles();
        // What was once contradicted stays so until somebody has looked at it.
        if !noted.as_ref().is_some_and(|before| before.is_contradiction) {
            *noted = Some(trouble);
        }
    }

    fn clear(&self) {
        let mut noted = self.troubles();
        if !noted.as_ref().is_some_and(|before| before.is_contradiction) {
            *noted = None;
        }
    }

    fn troubles(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Signs and anchors until it is stopped: a checkpoint soon after entries come in, an anchor less often. A chain or a witness that
/// does not answer holds up no checkpoint. A round is never cut in the middle: what it has begun would go on beside what comes next.
pub async fn run(core: Arc<Core>, settings: Log, stop: CancellationToken) {
    let anchor_pause = Duration::from_millis(settings.anchor_ms);
    tokio::join!(
        sign_on(&core, Duration::from_millis(settings.checkpoint_ms), anchor_pause, &stop),
        anchor_on(&core, anchor_pause, &stop)
    );
}

async fn sign_on(core: &Arc<Core>, pause: Duration, idle: Duration, stop: &CancellationToken) {
    let mut looked = None;
    while let Some(epoch) = stop.run_until_cancelled(core.lease.wait()).await {
        look_after(core, epoch, &mut looked).await;
        match sign(core).await {
            // Another replica goes on with it.
            Ok(()) | Err(AnchorError::NotHeld | AnchorError::Store(StoreError::Fenced)) => {}
            Err(error) => tracing::error!(%error, "the log does not go on; entries wait in the outbox"),
        }
        // Entries gather for a while.
        let gather = async {
            tokio::time::sleep(pause).await;
            let _ = tokio::time::timeout(idle, core.wake_sequencer.notified()).await;
        };
        stop.run_until_cancelled(gather).await;
    }
}

/// What was on its way to the bucket when its sender lost the lease may arrive when it likes, and lie over what was published since: who
/// takes over looks, and from time to time whoever goes on.
async fn look_after(core: &Core, epoch: i64, looked: &mut Option<(i64, Instant)>) {
    if !core.store.is_shared() || looked.is_some_and(|(of, at)| of == epoch && at.elapsed() < LOOK_AFTER) {
        return;
    }
    match publish::mend(&core.keep()).await {
        Ok(()) => *looked = Some((epoch, Instant::now())),
        Err(error) => tracing::error!(%error, "the published log cannot be looked at"),
    }
}

async fn anchor_on(core: &Arc<Core>, pause: Duration, stop: &CancellationToken) {
    while stop.run_until_cancelled(core.lease.wait()).await.is_some() {
        match anchor(core).await {
            Ok(anchored) => core.metrics.anchors.add(1, if anchored { "anchored" } else { "nothing" }),
            // Another replica goes on with it.
            Err(AnchorError::NotHeld | AnchorError::Store(StoreError::Fenced)) => {}
            Err(error) => {
                core.metrics.anchors.add(1, "failed");
                tracing::error!(%error, "the chain does not go on; checkpoints wait");
                core.chain.note(&error);
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// One round: every waiting entry into the log, one checkpoint a portion, and an anchor. Tells whether one was made.
pub async fn step(core: &Arc<Core>) -> Result<bool, AnchorError> {
    sign(core).await?;
    anchor(core).await
}

/// Every waiting entry into the log, and the checkpoint beside the packs.
async fn sign(core: &Arc<Core>) -> Result<(), AnchorError> {
    let (sequencing, traced) = (core.clone(), core.traces.waiting());
    let sequenced = blocking(move || {
        while sequence(&sequencing)? {}
        sequencing.store.log_size().map_err(AnchorError::from)
    });
    match sequenced.await {
        Ok(size) => core.traces.logged(traced, size),
        Err(error) => {
            core.traces.put_back(traced);
            return Err(error);
        }
    }
    publish::publish(core).await
}

/// Cosignatures on the newest checkpoint, and its anchor, if the chain does not have it.
async fn anchor(core: &Arc<Core>) -> Result<bool, AnchorError> {
    // A newer one, signed meanwhile, has no cosignatures: what was shown to the witnesses is what is anchored.
    let newest = core.witnesses.collect(core).await?;
    let shared = core.clone();
    let done = blocking(move || match &shared.chain.place {
        Place::Embedded(ledger) => ledger.anchor(&shared, newest),
        Place::Evm(evm) => evm.anchor(&shared, newest),
    });
    let done = done.await?;
    core.chain.clear();
    if core.traces.awaits_anchor() {
        let shared = core.clone();
        let progress = blocking(move || Ok(progress(&shared)?)).await?;
        core.traces.anchored(progress.anchored);
    }
    Ok(done)
}

/// One round of a command, which is no service: where replicas share the index it asks for the lease. Tells whether it was its
/// turn; if not, a replica that runs does it.
pub async fn step_once(core: &Arc<Core>) -> Result<bool, AnchorError> {
    crate::lease::ask(core).await;
    if core.lease.held().is_none() {
        return Ok(false);
    }
    let done = step(core).await;
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
    if let Some(trouble) = core.chain.trouble().filter(|trouble| trouble.is_contradiction) {
        return Err(AnchorError::Contradiction(trouble.what));
    }
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

/// At the start: the chain's newest root must be a root of this very log.
pub async fn check(core: &Core) -> Result<(), StartError> {
    match &core.chain.place {
        Place::Embedded(ledger) => ledger.check(core),
        Place::Evm(evm) => evm.check(core).await,
    }
}

/// The size that is anchored, and how a receipt proves it.
fn anchored(core: &Core) -> Result<(u64, Option<AnchorBundle>), AnchorError> {
    match &core.chain.place {
        Place::Embedded(ledger) => {
            let mut ledger = ledger.current(&core.store)?;
            let size = ledger.head()?.size;
            Ok((size, ledger.bundle(size)))
        }
        Place::Evm(_) => {
            let bundle = evm::proved(core)?;
            Ok((bundle.as_ref().map_or(0, |bundle| bundle.size), bundle))
        }
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
    let (size, bundle) = anchored(core)?;
    // The newest anchored checkpoint proves most; an entry that is not anchored yet gets the newest checkpoint.
    let is_anchored = position < size;
    let checkpoint = core.store.checkpoint(is_anchored.then(|| size - 1))?;
    // One that is in the log already may be in no published checkpoint yet.
    let Some((size, note)) = checkpoint.filter(|(size, _)| *size > position) else { return Ok(None) };
    let hashes = core.store.read_log(|reader| tree::prove_inclusion(size, position, reader))??;
    let proof = TlogProof { index: position, hashes, checkpoint: note };
    Ok(Some(Logged { entry, proof, anchor: bundle.filter(|_| is_anchored) }))
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
    let anchored = match &core.chain.place {
        // What cannot be caught up with now is told as it was known.
        Place::Embedded(ledger) => ledger
            .current(&core.store)
            .map_or_else(|_| ledger.head(), |mut ledger| ledger.head())
            .map_or(0, |head| head.size),
        Place::Evm(_) => core.store.proved_anchor()?.map_or(0, |anchor| anchor.size),
    };
    Ok(Progress { log, checkpoint, anchored, trouble: core.chain.trouble() })
}

/// How far the log has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub log: u64,
    pub checkpoint: u64,
    pub anchored: u64,
    pub trouble: Option<Trouble>,
}
