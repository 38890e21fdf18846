//! The EVM side of the notary: the contract's interface, the embedded ledger that runs its real bytecode, and chains that are reached
//! by JSON-RPC.

pub mod evm;
#[cfg(feature = "chain")]
mod journal;
#[cfg(feature = "chain")]
mod ledger;
pub mod participants;
pub mod registry;
#[cfg(feature = "chain")]
mod state;

#[cfg(feature = "chain")]
use alloy_sol_types::SolInterface;
use alloy_sol_types::sol;

#[cfg(feature = "chain")]
pub use journal::{JournalError, Keeper};
#[cfg(feature = "chain")]
pub use ledger::{CHAIN_ID, Head, Ledger};

sol! {
    /// `notary/contracts/src/interfaces/INotaryAnchor.sol`
    #[derive(Debug)]
    interface INotaryAnchor {
        event Anchored(uint64 indexed size, bytes32 root);
        error NoNotary();
        error NotNotary(address caller);
        error SizeNotGrowing(uint64 head, uint64 size);
        error ZeroRoot(uint64 size);
        error BadProof(uint64 head, uint64 size, uint256 length);
        error InconsistentHead(bytes32 anchored, bytes32 proven);
        error InconsistentRoot(bytes32 root, bytes32 proven);
        function head() external view returns (uint64 size, bytes32 root);
        function rootAt(uint64 size) external view returns (bytes32 root);
        function anchor(uint64 size, bytes32 root, bytes32[] calldata proof) external;
        function verifyInclusion(uint64 size, uint64 index, bytes32 leafHash, bytes32[] calldata proof) external view returns (bool);
    }
}

/// A contract of `notary/contracts`.
#[cfg(feature = "chain")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contract {
    NotaryAnchor,
    ConsentRegistry,
    Participants,
    Successors,
}

/// How long a change of the administrator of `Participants` stays open to be stopped: two days, in seconds.
#[cfg(feature = "chain")]
const ADMINISTRATOR_DELAY: u64 = 2 * 24 * 3_600;

#[cfg(feature = "chain")]
impl Contract {
    fn artifact(self) -> &'static str {
        match self {
            Self::NotaryAnchor => include_str!("../../contracts/artifacts/NotaryAnchor.json"),
            Self::ConsentRegistry => include_str!("../../contracts/artifacts/ConsentRegistry.json"),
            Self::Participants => include_str!("../../contracts/artifacts/Participants.json"),
            Self::Successors => include_str!("../../contracts/artifacts/Successors.json"),
        }
    }

    /// What deploys it: creation code and the constructor's arguments. `account` anchors, or administers.
    pub fn creation(self, account: alloy_primitives::Address) -> Option<alloy_primitives::Bytes> {
        let artifact: serde_json::Value = serde_json::from_str(self.artifact()).ok()?;
        let mut input = hex::decode(artifact["bytecode"].as_str()?.trim_start_matches("0x")).ok()?;
        match self {
            Self::Successors => {}
            Self::NotaryAnchor | Self::ConsentRegistry => input.extend(account.into_word()),
            Self::Participants => {
                input.extend(account.into_word());
                input.extend(alloy_primitives::U256::from(ADMINISTRATOR_DELAY).to_be_bytes::<32>());
            }
        }
        Some(input.into())
    }
}

/// Why the embedded ledger did not do what it was asked.
#[cfg(feature = "chain")]
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The contract refused: the log was rewritten, or its operator is confused.
    #[error("the contract refused: {0}")]
    Refused(String),
    #[error("the embedded ledger cannot run: {0}")]
    Execution(String),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The contract's own word for a refusal.
#[cfg(feature = "chain")]
fn refusal(output: &[u8]) -> String {
    let anchor = INotaryAnchor::INotaryAnchorErrors::abi_decode(output).map(|error| format!("{error:?}"));
    let name = anchor
        .or_else(|_| {
            registry::IConsentRegistry::IConsentRegistryErrors::abi_decode(output).map(|error| format!("{error:?}"))
        })
        .or_else(|_| {
            participants::IParticipants::IParticipantsErrors::abi_decode(output).map(|error| format!("{error:?}"))
        });
    name.map_or_else(|_| "an unknown error".to_owned(), |name| name.split('(').next().unwrap_or_default().to_owned())
}
