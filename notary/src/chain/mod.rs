//! The EVM side of the notary: the contract's interface, and the embedded ledger that runs its real bytecode.

mod journal;
mod ledger;
mod state;

use alloy_sol_types::{SolInterface, sol};

pub use journal::{JournalError, Keeper};
pub use ledger::{CHAIN_ID, Head, Ledger};

sol! {
    /// `notary/contracts/src/interfaces/INotaryAnchor.sol`
    #[derive(Debug)]
    interface INotaryAnchor {
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

/// Why the chain did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The contract refused: the log was rewritten, or its operator is confused.
    #[error("the anchor contract refused: {0}")]
    Refused(String),
    #[error("the embedded ledger cannot run: {0}")]
    Execution(String),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// The contract's own word for a refusal.
fn refusal(output: &[u8]) -> String {
    match INotaryAnchor::INotaryAnchorErrors::abi_decode(output) {
        Ok(error) => format!("{error:?}").split('(').next().unwrap_or_default().to_owned(),
        Err(_) => "an unknown error".to_owned(),
    }
}
