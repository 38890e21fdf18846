//! What the verifier trusts.

use crate::anchor::ChainKind;
use alloy_primitives::{Address, B256};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};

/// What the verifier trusts. An empty policy trusts the receipt's own log key, and says so.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// Log keys that count.
    pub log_keys: Vec<String>,
    /// Contracts that count, as (chain id, address).
    pub contracts: Vec<TrustedContract>,
    /// Witnesses that count, as `name+hash+key`.
    pub witnesses: Vec<String>,
    /// How many of them must have cosigned; one unless said.
    pub witnesses_needed: Option<usize>,
    /// Block hashes that the verifier knows to be final.
    pub blocks: Vec<B256>,
    /// Who seals the blocks of a chain. A chain may have several sets, one after the other; each counts by itself.
    pub validators: Vec<Validators>,
    /// What nodes said in this very run; none where nobody was asked. No file can say it.
    #[serde(skip)]
    pub nodes: Option<NodeAnswers>,
}

/// A contract that counts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedContract {
    pub chain_id: u64,
    pub address: Address,
    /// The code that it must have.
    #[serde(default)]
    pub code_hash: Option<B256>,
    /// What kind of chain the verifier knows it to be on; a receipt's own word for it counts for nothing.
    pub kind: ChainKind,
}

/// The validators of a chain of QBFT or IBFT 2.0.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validators {
    pub chain_id: u64,
    pub addresses: BTreeSet<Address>,
}

/// What nodes said of the blocks that they were asked for, by chain id and the block's hash.
#[derive(Debug, Clone, Default)]
pub struct NodeAnswers(HashMap<(u64, B256), Said>);

/// What nodes said of one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// It is the one that they have at its number.
    Theirs {
        /// So many said so; all others did not answer.
        by: usize,
        asked: usize,
    },
    /// One of them has another, or is of another chain: in words.
    Foreign(String),
}

impl NodeAnswers {
    /// Keeps what was said.
    pub fn keep(&mut self, chain_id: u64, block: B256, said: Said) {
        self.0.insert((chain_id, block), said);
    }

    /// What was said of a block.
    pub fn of(&self, chain_id: u64, block: B256) -> Option<&Said> {
        self.0.get(&(chain_id, block))
    }
}

impl Policy {
    /// Whether a receipt must have an anchor.
    pub(super) fn asks_for_an_anchor(&self) -> bool {
        !self.contracts.is_empty() || self.asks_for_a_known_block() || self.nodes.is_some()
    }

    /// Whether it says which blocks it knows.
    pub(super) fn asks_for_a_known_block(&self) -> bool {
        !self.blocks.is_empty() || !self.validators.is_empty()
    }
}
