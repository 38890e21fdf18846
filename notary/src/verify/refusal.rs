//! Why a receipt is refused: each reason has a name that verifiers share (`docs/receipt.md`, "Refusals").

use crate::anchor::AnchorError;
use crate::bft::SealFault;
use crate::canonical::CanonError;
use crate::checkpoint::CheckpointError;
use crate::erasure::ErasureFault;
use crate::receipt::ReceiptError;

/// Why a receipt is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("MALFORMED: {0}")]
    Receipt(#[from] ReceiptError),
    #[error("MALFORMED: the resource is not JSON: {0}")]
    Resource(#[from] CanonError),
    #[error("RESOURCE-CHANGED: the resource is not the one that was sealed")]
    ResourceChanged,
    #[error("RESOURCE-SWAPPED: the resource is {found}, the receipt is of {receipt}")]
    ResourceSwapped { found: String, receipt: String },
    #[error("DELETED: the receipt is of a deletion, and a deletion has no resource")]
    Deleted,
    #[error("TOMBSTONE-FILLED: the log entry says that it is a deletion, and it was sealed over some content")]
    TombstoneFilled,
    #[error("MESSAGE-CHANGED: the raw message is not the one that was received")]
    RawChanged,
    #[error("NO-OPENING: the receipt has no opening, so it cannot speak for a resource")]
    NoOpening,
    #[error("OPENING-FORGED: the opening does not open the log entry's commitment")]
    Opening,
    #[error("PROOF-FORGED: the entry is not in the log at this place")]
    NotIncluded,
    #[error("CHECKPOINT-FORGED: {0}")]
    Checkpoint(CheckpointError),
    #[error("UNTRUSTED-LOG: the policy does not name the log key {0}")]
    UntrustedLog(String),
    #[error("UNTRUSTED-CHAIN: the policy does not name the anchor's chain and contract, or its code")]
    UntrustedChain,
    /// What asking a node could still mend.
    #[error("UNTRUSTED-CHAIN: the policy does not know the anchor's block")]
    UnknownBlock,
    #[error("FOREIGN-BLOCK: {0}")]
    ForeignBlock(String),
    #[error("NOT-SEALED: {0}")]
    NotSealed(#[from] SealFault),
    #[error("NOT-WITNESSED: {found} of the {wanted} witnesses that the policy asks for have cosigned the checkpoint")]
    NotWitnessed { found: usize, wanted: usize },
    #[error("NOT-ANCHORED: the policy, or asking nodes, takes an anchor, and the receipt has none")]
    NotAnchored,
    #[error("OTHER-KIND: the log entry speaks of a {0}, not of a resource")]
    OtherKind(&'static str),
    #[error("LOG-REWRITTEN: the chain holds another root for this log size")]
    LogRewritten,
    #[error("ANCHOR-FORGED: {0}")]
    Anchor(AnchorError),
    #[error(
        "ERASED: the receipt is of a version whose content was erased, so it cannot speak for a resource or message"
    )]
    Erased,
    #[error("ERASURE-FORGED: {0}")]
    Erasure(#[from] ErasureFault),
}
