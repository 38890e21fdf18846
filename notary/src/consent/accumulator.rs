//! The hash chain over all events of the registry, which is one slot: whoever replays what he was given and comes to
//! what a storage proof of that slot shows has missed nothing (`IAccumulator.sol`).

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolValue;
use serde::{Deserialize, Serialize};

const DOMAIN: &[u8] = b"medseal/v1/consent-registry";
/// The low bits that count.
const COUNT: u64 = (1 << 48) - 1;

/// 208 bits of hash over all events so far, and their number in the low 48 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Accumulator(pub U256);

/// What an event says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Another contract follows this one.
    Succeeded = 0,
    /// A sealed grant stands.
    Registered = 1,
    /// A direct grant stands.
    Granted = 2,
    /// A grant is revoked, whether it was registered before or not.
    Revoked = 3,
}

/// An event of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The number of its block.
    pub block: u64,
    pub kind: Kind,
    /// The grant's key; of a succession, the address that follows.
    pub key: B256,
    pub word: U256,
}

impl Accumulator {
    /// That of a registry without events.
    pub fn start(chain_id: u64, contract: Address) -> Self {
        let start = keccak256((keccak256(DOMAIN), U256::from(chain_id), contract).abi_encode());
        Self(U256::from_be_bytes(start.0) & !U256::from(COUNT))
    }

    /// With one more event.
    pub fn with(self, event: &Event) -> Self {
        let hash = keccak256((self.0, U256::from(event.kind as u8), event.key, event.word).abi_encode());
        let count = (self.0 + U256::from(1)) & U256::from(COUNT);
        Self((U256::from_be_bytes(hash.0) & !U256::from(COUNT)) | count)
    }

    /// How many events it stands for.
    pub fn count(self) -> u64 {
        (self.0 & U256::from(COUNT)).to::<u64>()
    }
}
