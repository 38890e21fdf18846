//! Why the service does not start.

use crate::error::VaultError;
use crate::feeds::FeedsError;
use crate::index::backup::BackupError;
use crate::index::store::StoreError;
use crate::smart::token::TokenError;
use crate::vault::keys::KeyError;
use crate::vault::objects::ObjectError;
use notary::chain::ChainError;
use std::path::PathBuf;

/// Why the service does not start: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("data directory {path}: {source}")]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("data directory {path} is in use by another medseal: stop that one, or name another directory with --data")]
    InUse { path: PathBuf },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Feeds(#[from] FeedsError),
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Evm(#[from] notary::chain::evm::EvmError),
    #[error("log.origin in the configuration: {0}")]
    Log(#[from] notary::checkpoint::CheckpointError),
    #[error("configuration: {0}")]
    Config(String),
    #[error(
        "the index in {data} is new, but {what} is not: put index.sqlite back from your backup, or build it anew with `medseal recover`; nothing was changed"
    )]
    IndexLost { data: PathBuf, what: String },
    #[error("a recovery of this index was begun and is not finished: run `medseal recover` again")]
    Recovering,
    #[error(
        "these services have not taken up the new root key, and the old one is still needed: {replicas}. Nothing is lost: copy root.key.next to where it is missing, or stop them, and run `medseal keys rotate` again"
    )]
    OldRoot { replicas: String },
    #[error(
        "{place} notes (erasures/) that {owner} was erased, and the index does not know it and has the key: it was put back from before; run `medseal recover`, or `medseal erase {owner}`, so that nobody comes back who was erased"
    )]
    ErasedIsBack { place: String, owner: String },
    #[error(
        "{place} has no published log (log/), and {what}: put log/ back from your backup. {then}; nothing was changed"
    )]
    LogLost { place: String, what: String, then: &'static str },
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("the index and the ledger contradict each other: {0}")]
    Contradiction(String),
    #[error(
        "{place} holds no wrapped keys (keys/...): without them nothing can be recovered; put them back from a backup"
    )]
    Keyless { place: String },
    #[error("{path}: {source}")]
    Backup { path: PathBuf, source: BackupError },
    #[error("{path} is no data directory of a medseal: name it with --data, or start `medseal serve` first")]
    Nothing { path: PathBuf },
    #[error(
        "pack {name} is missing or too short, but the index refers to it: restore it from a backup of {place}; if the index was put back from a backup, run `medseal recover`"
    )]
    Pack { name: String, place: String },
}
