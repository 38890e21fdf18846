//! An EVM chain, reached by JSON-RPC. No node is believed further than it proves: what the contract holds is taken from storage
//! proofs under a block's header, the chain and the contract's code are pinned, and where several nodes are named they must agree
//! on the blocks.

mod confirm;
mod consent;
mod events;
mod node;
mod nodes;
mod transport;

#[cfg(feature = "chain")]
mod deploy;
#[cfg(feature = "chain")]
pub mod pending;
#[cfg(feature = "chain")]
pub mod round;
#[cfg(feature = "chain")]
mod sender;
#[cfg(feature = "chain")]
mod transact;

pub use confirm::confirm;
pub use consent::{Reading, follow};
pub use node::{Block, Held, Node, State};
pub use nodes::{Agreed, Nodes, View};

#[cfg(feature = "chain")]
pub use deploy::{Deployed, deploy};
#[cfg(feature = "chain")]
pub use sender::{Fees, Paid, Sender, SenderKey, local_key};
#[cfg(feature = "chain")]
pub use transact::{Mined, transact};

use crate::consent::MirrorError;
pub use alloy_primitives::{Address, B256};
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// What must not change: another chain, or other code, is not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    pub chain_id: u64,
    /// The hash of block 0.
    pub genesis: B256,
    pub contract: Address,
    /// Keccak-256 of the contract's code.
    pub code_hash: B256,
}

/// When a block counts as one that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// The chain says so (Ethereum after the merge, most L2s).
    Finalized,
    /// So many blocks stand above it.
    Depth(u64),
    /// At once: a chain whose consensus makes no forks (QBFT, IBFT).
    Latest,
}

impl FromStr for Finality {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "finalized" => Ok(Self::Finalized),
            "latest" => Ok(Self::Latest),
            depth => depth
                .parse()
                .map(Self::Depth)
                .map_err(|_| format!("`{depth}` is no finality: it is `finalized`, `latest` or a number of blocks")),
        }
    }
}

/// Why the chain was not read or written. Whose fault it is: [`EvmError::is_away`] tells what is tried again; the rest is for a
/// person to look at.
#[derive(Debug, thiserror::Error)]
pub enum EvmError {
    /// It is not repeated: it may hold a secret.
    #[error("that is no address of a node: give http://HOST:PORT or https://HOST")]
    Url,
    #[error("a node is named twice: it would only agree with itself")]
    Twice,
    /// Retry later.
    #[error("the node at {node} does not answer: {why}")]
    Away { node: String, why: String },
    #[error("only {found} of the {wanted} nodes that must agree answer: {why}")]
    TooFew { found: usize, wanted: usize, why: String },
    #[error("the node at {node} is on another chain: its {what} is {found}, pinned is {pinned}")]
    OtherChain { node: String, what: &'static str, found: String, pinned: String },
    #[error("at {contract} the node at {node} has other code than what is pinned, or none")]
    OtherCode { node: String, contract: Address },
    #[error("the node at {node} says what its own block does not prove")]
    Unproved { node: String },
    #[error("the nodes at {one} and {other} have different blocks {number}: one of them is forked or lies")]
    Disagree { one: String, other: String, number: u64 },
    #[error("the newest block that the nodes agree on is {age} seconds old: they are cut off")]
    Stale { age: u64 },
    #[error("the chain has anchored {size} log entries and this log is shorter: it was restored from an older backup")]
    LogBehind { size: u64 },
    #[error("the first {size} log entries are not the ones that the chain has anchored: the log was changed")]
    OtherLog { size: u64 },
    #[error("block {number}, which was final, is another one now: the chain was rewritten deeper than its finality")]
    Rewritten { number: u64 },
    /// Retry later, or ask another node.
    #[error("the node at {node} does not show the consent registry as it is: {why}")]
    Events { node: String, why: MirrorError },
    /// The contract's own word.
    #[error("the contract refused: {0}")]
    Refused(String),
    #[error("the node at {node} took no transaction: {why}")]
    NotTaken { node: String, why: String },
    #[error("the key that signs transactions: {0}")]
    Key(String),
}

impl EvmError {
    /// Whether time may mend it.
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::Away { .. }
                | Self::TooFew { .. }
                | Self::Stale { .. }
                | Self::NotTaken { .. }
                | Self::Unproved { .. }
                | Self::Events { .. }
        )
    }
}
