//! A chain of others, by JSON-RPC. Nothing that comes in waits for it: what it has not taken yet is anchored later.

use super::AnchorError;
use super::cosign::Newest;
use super::key::KeyPlace;
use crate::app::{Core, StartError};
use crate::config::{Chain as Settings, Keys};
use crate::index::anchors::Anchor;
use notary::anchor::{AnchorBundle, ChainKind};
use notary::chain::evm::pending::Pending;
use notary::chain::evm::round::{AnchoredLog, Done, Manner, round, same_log};
use notary::chain::evm::{Address, EvmError, Nodes, Paid, Sender, View};
use notary::tree::{self, Root};
use std::path::Path;
use std::time::Duration;
use tokio::sync::OnceCell;

/// How long a start waits for the chain to tell whether it knows this log: a chain that is away keeps nobody from starting.
const START_PATIENCE: Duration = Duration::from_secs(15);

/// The chain, and how it is written to.
#[derive(Debug)]
pub struct Evm {
    nodes: Nodes,
    key: KeyPlace,
    /// Made when the key is at hand: a key service that is away keeps nobody from starting.
    sender: OnceCell<Sender>,
    /// The most that a unit of gas may cost, in wei.
    max_fee: u128,
    manner: Manner,
    kind: ChainKind,
}

impl Evm {
    /// Reads the settings, and the key's file. Asks no node and no key service yet.
    pub async fn open(settings: &Settings, keys: &Keys, data: &Path) -> Result<Self, StartError> {
        let manner = settings.manner().map_err(StartError::Config)?;
        let nodes = Nodes::new(&settings.urls(), settings.agree, settings.pins())?;
        let key = key_place(settings, keys, data)?;
        let (max_fee, kind, sender) = (settings.max_fee(), settings.kind, OnceCell::new());
        let opened = Self { nodes, key, sender, max_fee, manner, kind };
        if let KeyPlace::File { .. } = opened.key {
            opened.sender().await?;
        }
        Ok(opened)
    }

    async fn sender(&self) -> Result<&Sender, EvmError> {
        let made = || async { Ok(Sender::new(self.nodes.clone(), self.key.open().await?, self.max_fee)) };
        self.sender.get_or_try_init(made).await
    }

    /// The contract that is written to.
    pub fn contract(&self) -> Address {
        self.nodes.pins().contract
    }

    /// The nodes that are asked.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The chain's id.
    pub fn chain_id(&self) -> u64 {
        self.nodes.pins().chain_id
    }

    /// What the receipts call it.
    pub fn kind(&self) -> ChainKind {
        self.kind
    }

    /// One round; see `notary::chain::evm::round`. Tells whether an anchor set out or came to rest. Call it where blocking is
    /// allowed: the index is asked in between.
    pub(super) fn anchor(&self, core: &Core, newest: Option<Newest>) -> Result<bool, AnchorError> {
        let log = Own { core, epoch: core.lease.held().ok_or(AnchorError::NotHeld)?, newest };
        // A round forgets what has come to rest, and what that cost is not known yet.
        let before = log.pending()?;
        let asked = async { round(self.sender().await?, &log, &self.manner, now(core)).await };
        let handle = tokio::runtime::Handle::current();
        let (view, done) = handle.block_on(asked)?;
        let settled = self.keep(core, &view, |view| handle.block_on(self.paid(view, before.as_ref())))?;
        match done {
            Done::AboveCap => return Err(AnchorError::Stalled("the chain asks more for gas than chain.max_fee_gwei")),
            Done::SentAgain | Done::Raised => tracing::info!(?done, "an anchor was sent again"),
            Done::Sent | Done::Nothing | Done::Waiting => {}
        }
        Ok(settled || done == Done::Sent)
    }

    /// Whether it may be the fault of one node of several: that keeps nobody from starting. A single one that is on another chain is
    /// a mistake of the configuration.
    fn is_one_of_many(&self, error: &EvmError) -> bool {
        let of_a_node =
            matches!(error, EvmError::Disagree { .. } | EvmError::OtherChain { .. } | EvmError::OtherCode { .. });
        error.is_away() || (of_a_node && self.nodes.each().len() > 1)
    }

    /// What the newest anchor that stays cost, where it is the one that was on its way.
    async fn paid(&self, view: &View, pending: Option<&Pending>) -> Option<Paid> {
        let pending = pending.filter(|pending| pending.size == view.last.size)?;
        self.sender().await.ok()?.paid(view, pending).await
    }

    /// Keeps the newest anchor that stays, with its proof and what it cost.
    fn keep(&self, core: &Core, view: &View, paid: impl FnOnce(&View) -> Option<Paid>) -> Result<bool, AnchorError> {
        let (state, pins) = (&view.last, self.nodes.pins());
        let (Some(root), Some(bundle)) = (state.root, state.bundle(self.kind, pins)) else { return Ok(false) };
        let known = proved(core)?;
        if known.is_some_and(|known| known.contract == pins.contract && known.size >= state.size) {
            return Ok(false);
        }
        // Ed25519 signs the same text the same way: after a recovery this is the checkpoint that was anchored.
        core.store.keep_checkpoint(state.size, &core.signer.sign(state.size, root)?)?;
        let (block, hash, time) = (state.block.number, state.block.hash.to_string(), state.block.timestamp);
        let (bundle, paid) = (serde_json::to_string(&bundle).ok(), paid(view));
        let (gas, fee) = (paid.map(|paid| paid.gas), paid.map(|paid| paid.fee));
        core.store.keep_anchor(&Anchor { size: state.size, block, hash, time, gas, fee, bundle })?;
        core.metrics.gas.add(gas.unwrap_or_default(), &[]);
        tracing::info!(size = state.size, block, "anchored");
        Ok(true)
    }

    /// At the start: what the chain has anchored must be of this very log. A chain that is away is asked again later.
    pub(super) async fn check(&self, core: &Core) -> Result<(), StartError> {
        let asked = self.nodes.view(self.manner.finality, now(core), self.manner.max_age);
        let view = match tokio::time::timeout(START_PATIENCE, asked).await {
            Ok(Ok(view)) => view,
            Ok(Err(error)) if !self.is_one_of_many(&error) => return Err(error.into()),
            answer => {
                let why = answer.err().map_or("it says nothing of use", |_| "it does not answer");
                tracing::warn!(why, "the chain is away: anchors wait");
                return Ok(());
            }
        };
        // Nothing is written here, so no epoch is asked for.
        let log = Own { core, epoch: 0, newest: None };
        for state in [&view.last, &view.newest] {
            same_log(&log, state.size, state.root).map_err(contradiction)?;
        }
        Ok(())
    }
}

/// The proof that receipts carry.
pub(super) fn proved(core: &Core) -> Result<Option<AnchorBundle>, AnchorError> {
    let newest = core.store.proved_anchor()?;
    Ok(newest.and_then(|anchor| serde_json::from_str(&anchor.bundle?).ok()))
}

/// Where the configuration says that the key is.
fn key_place(settings: &Settings, keys: &Keys, data: &Path) -> Result<KeyPlace, StartError> {
    if let Some(key) = &settings.kms {
        return Ok(KeyPlace::service(key, keys)?);
    }
    let path = settings.key_path(data);
    if !path.exists() {
        let what = format!("chain.key: {} is not there: `medseal contracts deploy` makes one", path.display());
        return Err(StartError::Config(what));
    }
    Ok(KeyPlace::File { path, new_allowed: false })
}

fn now(core: &Core) -> u64 {
    core.clock.now().as_second().max(0) as u64
}

fn contradiction(error: AnchorError) -> StartError {
    match error {
        AnchorError::Evm(error) => StartError::Contradiction(error.to_string()),
        AnchorError::Store(error) => error.into(),
        other => StartError::Contradiction(other.to_string()),
    }
}

/// Our own log, as it is anchored.
struct Own<'c> {
    core: &'c Core,
    epoch: i64,
    /// The checkpoint that may be anchored.
    newest: Option<Newest>,
}

impl AnchoredLog for Own<'_> {
    type Error = AnchorError;

    fn newest(&self) -> Result<Option<(u64, Root)>, AnchorError> {
        let Some((size, note)) = &self.newest else { return Ok(None) };
        Ok(Some((*size, self.core.signer.key().open(note)?.root)))
    }

    fn root(&self, size: u64) -> Result<Option<Root>, AnchorError> {
        if size > self.core.store.log_size()? {
            return Ok(None);
        }
        Ok(Some(self.core.store.read_log(|reader| tree::root(size, reader))??))
    }

    fn prove(&self, from: u64, to: u64) -> Result<Vec<[u8; 32]>, AnchorError> {
        Ok(self.core.store.read_log(|reader| tree::prove_consistency(from, to, reader))??)
    }

    fn pending(&self) -> Result<Option<Pending>, AnchorError> {
        let kept = self.core.store.pending_anchor()?;
        kept.map(|kept| serde_json::from_str(&kept).map_err(|_| AnchorError::Pending)).transpose()
    }

    fn keep(&self, pending: Option<&Pending>) -> Result<(), AnchorError> {
        let text = pending.map(serde_json::to_string).transpose().map_err(|_| AnchorError::Pending)?;
        Ok(self.core.store.keep_pending_anchor(self.epoch, text.as_deref())?)
    }
}

impl From<EvmError> for AnchorError {
    fn from(error: EvmError) -> Self {
        Self::Evm(Box::new(error))
    }
}
