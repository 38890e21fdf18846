//! The registry of grants as this replica knows it: the mirror of `ConsentRegistry`, what was ever seen revoked, and how it is read and
//! written: on the embedded ledger, or on a chain of others. Each replica reads for itself; what is kept of it, and whatever is sent, is
//! the business of who holds the lease.

use crate::anchor::key::KeyPlace;
use crate::anchor::{Chain, Place};
use crate::app::{Core, StartError};
use crate::config::{self, Config, Registrar};
use crate::index::store::{Store, StoreError};
use alloy_primitives::{Address, Bytes};
use jiff::Timestamp;
use notary::chain::ChainError;
use notary::chain::evm::{EvmError, Nodes, Reading, SenderKey, follow, transact};
use notary::consent::{GrantKey, Mirror, MirrorError, Refusal, Registry, Standing, Taken, Word};
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::{Notify, OnceCell};

/// How often the embedded ledger is read: it is at hand.
const EMBEDDED_PAUSE: Duration = Duration::from_secs(1);

/// Why the registry was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Evm(#[from] EvmError),
    #[error(transparent)]
    Ledger(#[from] ChainError),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error("the work was cut short")]
    CutShort,
}

/// Grants of access, as far as the registry was read.
#[derive(Debug)]
pub struct Grants {
    via: Via,
    mirror: RwLock<Mirror>,
    /// Whatever was seen revoked: on the chain, by a click, by a code, here or on another replica. It never shrinks.
    revoked: RwLock<HashSet<GrantKey>>,
    /// For how many seconds what was read counts.
    bound: u64,
    /// Rung when there is something to send.
    pub wake: Notify,
}

/// Where the registry is.
#[derive(Debug)]
enum Via {
    Embedded(Registry),
    Evm(Box<Evm>),
    /// There is a chain, and no registry on it is named.
    Nowhere,
}

/// A registry on a chain of others.
struct Evm {
    registry: Registry,
    nodes: Nodes,
    reading: Reading,
    pause: Duration,
    key: KeyPlace,
    /// Made when the key is at hand.
    sender: OnceCell<SenderKey>,
    /// The most that a unit of gas may cost, in wei.
    max_fee: u128,
}

impl std::fmt::Debug for Evm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evm").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Grants {
    /// Reads the settings, and what was kept of the mirror. Asks no node yet.
    pub fn open(config: &Config, chain: &Chain, store: &Store) -> Result<Self, StartError> {
        let via = match (&chain.place, &config.chain) {
            (Place::Embedded(ledger), _) => Via::Embedded(ledger.registry()),
            (Place::Evm(_), Some(settings)) => match &settings.registry {
                Some(registrar) => Via::Evm(Box::new(Evm::open(settings, registrar, config)?)),
                None => Via::Nowhere,
            },
            (Place::Evm(_), None) => Via::Nowhere,
        };
        let registry = via.registry().copied();
        // Of another registry, as after a change of the chain, nothing is taken over.
        let kept = store.kept_mirror()?.zip(registry).and_then(|(kept, of)| Mirror::restore(&kept, of).ok());
        let nowhere = Registry { chain_id: 0, contract: Address::ZERO };
        let mirror = kept.unwrap_or_else(|| Mirror::new(registry.unwrap_or(nowhere)));
        let revoked = store.revoked_since(0)?.into_iter().collect();
        let bound = config.consent.stale_seconds;
        Ok(Self { via, mirror: RwLock::new(mirror), revoked: RwLock::new(revoked), bound, wake: Notify::new() })
    }

    /// Where grants are registered; nothing: nowhere.
    pub fn registry(&self) -> Option<&Registry> {
        self.via.registry()
    }

    /// Whether a grant stands: it counts in a block that stays, until it is seen revoked anywhere, or ends, or the chain was not read
    /// for too long.
    pub fn stands(&self, key: GrantKey, now: Timestamp) -> Result<(), Refusal> {
        if self.is_revoked(key) {
            return Err(Refusal::Revoked);
        }
        self.mirror().allow(key, seconds(now), self.bound).map(|_| ())
    }

    /// How a grant stands on the chain, whether that was read lately or not.
    pub fn standing(&self, key: GrantKey, now: Timestamp) -> Standing {
        self.mirror().standing(key, seconds(now))
    }

    /// What the registry holds of a grant in a block that stays.
    pub fn word(&self, key: GrantKey) -> Option<Word> {
        self.mirror().word(key).copied()
    }

    /// Whether it was seen revoked, by whatever way.
    pub fn is_revoked(&self, key: GrantKey) -> bool {
        self.revoked.read().unwrap_or_else(PoisonError::into_inner).contains(&key)
    }

    /// It counts no more, from now on and for ever.
    pub fn revoke(&self, keys: &[GrantKey]) {
        if !keys.is_empty() {
            self.revoked.write().unwrap_or_else(PoisonError::into_inner).extend(keys);
        }
    }

    /// Whether it is read within moments: it lies here.
    pub fn is_at_hand(&self) -> bool {
        matches!(self.via, Via::Embedded(_))
    }

    /// How long to wait between two readings.
    pub fn pause(&self) -> Duration {
        match &self.via {
            Via::Evm(evm) => evm.pause,
            Via::Embedded(_) | Via::Nowhere => EMBEDDED_PAUSE,
        }
    }

    /// The mirror, to be kept.
    pub fn to_json(&self) -> String {
        self.mirror().to_json()
    }

    fn mirror(&self) -> RwLockReadGuard<'_, Mirror> {
        self.mirror.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn mirror_mut(&self) -> RwLockWriteGuard<'_, Mirror> {
        self.mirror.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Via {
    fn registry(&self) -> Option<&Registry> {
        match self {
            Self::Embedded(registry) => Some(registry),
            Self::Evm(evm) => Some(&evm.registry),
            Self::Nowhere => None,
        }
    }
}

impl Evm {
    fn open(settings: &config::Chain, registrar: &Registrar, config: &Config) -> Result<Self, StartError> {
        let pins = settings.registry_pins(registrar);
        let manner = settings.manner().map_err(StartError::Config)?;
        let reading = Reading { finality: manner.finality, max_age: manner.max_age, from_block: registrar.from_block };
        let key = match &registrar.kms {
            Some(key) => KeyPlace::service(key, &config.keys)?,
            // Of several replicas each would make its own, without money, and lose it with its directory.
            None => {
                KeyPlace::File { path: config.data.join(&registrar.key), new_allowed: config.index.postgres.is_none() }
            }
        };
        Ok(Self {
            registry: Registry { chain_id: pins.chain_id, contract: pins.contract },
            nodes: Nodes::new(&settings.urls(), settings.agree, pins)?,
            reading,
            pause: Duration::from_millis(registrar.poll_ms),
            key,
            sender: OnceCell::new(),
            max_fee: settings.max_fee(),
        })
    }

    /// By the first node that takes it. What is sent twice does no harm.
    async fn send(&self, input: Bytes) -> Result<(), EvmError> {
        let key = self.sender.get_or_try_init(|| self.key.open()).await?;
        let mut outcome = Ok(());
        for node in self.nodes.each() {
            outcome = transact(node, key, self.registry.contract, input.clone(), self.max_fee).await.map(|_| ());
            match &outcome {
                Err(error) if error.is_away() => {}
                _ => break,
            }
        }
        outcome
    }
}

/// Reads what has come. Revocations that any node shows are told even where the rest is an error.
pub async fn read(core: &Arc<Core>) -> (Taken, Result<(), RegistryError>) {
    let now = seconds(core.clock.now());
    let (taken, outcome) = match &core.grants.via {
        Via::Nowhere => (Taken::default(), Ok(())),
        Via::Embedded(_) => match read_embedded(core, now).await {
            Ok(taken) => (taken, Ok(())),
            Err(error) => (Taken::default(), Err(error)),
        },
        Via::Evm(evm) => {
            // Nobody else writes the mirror: what a click revokes is beside it.
            let mut mirror = core.grants.mirror().clone();
            let (taken, outcome) = follow(&evm.nodes, &mut mirror, &evm.reading, now).await;
            *core.grants.mirror_mut() = mirror;
            (taken, outcome.map_err(RegistryError::from))
        }
    };
    core.grants.revoke(&taken.revoked);
    (taken, outcome)
}

async fn read_embedded(core: &Arc<Core>, now: u64) -> Result<Taken, RegistryError> {
    let core = core.clone();
    let work = move || {
        let Place::Embedded(ledger) = &core.chain.place else { return Ok(Taken::default()) };
        ledger.mirror(&core.store, &mut core.grants.mirror_mut(), now)
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(RegistryError::CutShort))
}

/// Sends a call to the registry, and waits until it is in a block.
pub async fn send(core: &Arc<Core>, input: Bytes) -> Result<(), RegistryError> {
    match &core.grants.via {
        Via::Nowhere => Ok(()),
        Via::Evm(evm) => Ok(evm.send(input).await?),
        Via::Embedded(_) => {
            let (core, now) = (core.clone(), seconds(core.clock.now()));
            let work = move || match &core.chain.place {
                Place::Embedded(ledger) => Ok(ledger.consent(&core.store, input, now)?),
                Place::Evm(_) => Ok(()),
            };
            tokio::task::spawn_blocking(work).await.unwrap_or(Err(RegistryError::CutShort))
        }
    }
}

/// Seconds since 1970, as the registry counts.
pub fn seconds(now: Timestamp) -> u64 {
    now.as_second().max(0) as u64
}
