//! `[chain]`: the EVM chain that anchors go to, instead of the embedded ledger. `medseal contracts deploy` prints it.

use super::{Hidden, said};
use notary::anchor::ChainKind;
use notary::chain::evm::round::Manner;
use notary::chain::evm::{Address, B256, Finality, Pins};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Wei in a gwei.
pub const GWEI: u128 = 1_000_000_000;
/// An hour: who waits longer for a block before paying more has a chain that is down.
const MAX_PATIENCE: u64 = 3_600;
/// Between two readings of the registry, in milliseconds: sooner is noise to the nodes, and later than a minute is late for a
/// revocation.
const POLL: std::ops::RangeInclusive<u64> = 100..=60_000;
/// The most nodes: each is asked in turn, in every round.
const MAX_NODES: usize = 8;

/// Which chain, and how it is written to.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The nodes' URLs. They may hold secrets.
    pub rpc: Vec<Hidden>,
    /// How many of the nodes must agree; more than half unless said.
    pub agree: Option<usize>,
    /// `consortium` or `public`: what the receipts say. Who verifies one decides by a policy of its own.
    pub kind: ChainKind,
    pub chain_id: u64,
    /// The hash of block 0.
    pub genesis: B256,
    /// The address of `NotaryAnchor`.
    pub contract: Address,
    /// Keccak-256 of its code.
    pub code_hash: B256,
    /// The file of the key that signs transactions, in the data directory unless its path is absolute.
    #[serde(default = "key_file")]
    pub key: PathBuf,
    /// Instead of a file: a key of the service that `[keys]` names (its ARN, or `alias/...`), `ECC_SECG_P256K1`, to sign and verify.
    pub kms: Option<String>,
    /// `finalized`, `latest` (a chain without forks: QBFT, IBFT), or after how many blocks one stays.
    #[serde(default = "finalized")]
    pub finality: String,
    /// Seconds without a block after which more is paid.
    #[serde(default = "patience")]
    pub patience_seconds: u64,
    /// How old the newest block may be, where blocks come regularly.
    pub max_age_seconds: Option<u64>,
    /// The most that a unit of gas may cost; 0 on a chain where gas is free.
    #[serde(default = "max_fee")]
    pub max_fee_gwei: u64,
    /// Where grants of access are registered; nowhere, if it is not named.
    pub registry: Option<Registrar>,
}

/// `[chain.registry]`: `ConsentRegistry`, and the account that registers there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registrar {
    pub contract: Address,
    /// Keccak-256 of its code.
    pub code_hash: B256,
    /// The block of its deployment, or one before it.
    pub from_block: u64,
    /// The file of the key that registers, in the data directory unless its path is absolute; made if it is not there. Not the one
    /// that anchors: the two would take each other's nonces.
    #[serde(default = "registrar_file")]
    pub key: PathBuf,
    /// Instead of a file, as `chain.kms`.
    pub kms: Option<String>,
    /// Milliseconds between two readings: how late a revocation that others relayed is seen.
    #[serde(default = "poll")]
    pub poll_ms: u64,
}

fn registrar_file() -> PathBuf {
    "registrar.key".into()
}

fn poll() -> u64 {
    4_000
}

fn key_file() -> PathBuf {
    "anchor.key".into()
}

fn finalized() -> String {
    "finalized".into()
}

fn patience() -> u64 {
    120
}

fn max_fee() -> u64 {
    300
}

impl Chain {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<(), String> {
        self.manner()?;
        said("chain.kms", self.kms.as_deref())?;
        said("chain.registry.kms", self.registry.as_ref().and_then(|registry| registry.kms.as_deref()))?;
        if self.rpc.is_empty() || self.rpc.len() > MAX_NODES {
            return Err(format!("chain.rpc: 1 to {MAX_NODES} nodes"));
        }
        if self.agree.is_some_and(|agree| agree == 0 || agree > self.rpc.len()) {
            return Err("chain.agree: 1 to the number of nodes".into());
        }
        if self.kind == ChainKind::Embedded {
            return Err(
                "chain.kind: `consortium` or `public`; the embedded ledger is what there is without [chain]".into()
            );
        }
        if let Some(registrar) = &self.registry {
            registrar.check(self)?;
        }
        if !(1..=MAX_PATIENCE).contains(&self.patience_seconds) {
            return Err(format!("chain.patience_seconds: 1 to {MAX_PATIENCE}"));
        }
        Ok(())
    }

    /// How anchoring behaves.
    pub fn manner(&self) -> Result<Manner, String> {
        let finality: Finality = self.finality.parse().map_err(|what| format!("chain.finality: {what}"))?;
        Ok(Manner { finality, patience: self.patience_seconds, max_age: self.max_age_seconds })
    }

    /// What must not change.
    pub fn pins(&self) -> Pins {
        Pins { chain_id: self.chain_id, genesis: self.genesis, contract: self.contract, code_hash: self.code_hash }
    }

    /// The same of the registry.
    pub fn registry_pins(&self, registrar: &Registrar) -> Pins {
        Pins { contract: registrar.contract, code_hash: registrar.code_hash, ..self.pins() }
    }

    /// The most that a unit of gas may cost, in wei.
    pub fn max_fee(&self) -> u128 {
        u128::from(self.max_fee_gwei) * GWEI
    }

    /// Where the key lies.
    pub fn key_path(&self, data: &Path) -> PathBuf {
        data.join(&self.key)
    }

    /// The nodes' URLs.
    pub fn urls(&self) -> Vec<String> {
        self.rpc.iter().map(|url| url.0.clone()).collect()
    }
}

impl Registrar {
    fn check(&self, chain: &Chain) -> Result<(), String> {
        if !POLL.contains(&self.poll_ms) {
            return Err(format!("chain.registry.poll_ms: {} to {}", POLL.start(), POLL.end()));
        }
        let shared = match (&self.kms, &chain.kms) {
            (None, None) => self.key == chain.key,
            (own, anchor) => own == anchor,
        };
        if shared {
            return Err("chain.registry: its key must be another than the one that anchors".into());
        }
        Ok(())
    }
}
