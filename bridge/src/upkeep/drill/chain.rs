//! What the recovered log is held against outside: the embedded ledger's journal, and the contract on a chain.

use crate::app::StartError;
use crate::app::keep::Keep;
use crate::config::Config;
use crate::error::VaultError;
use crate::index::store::{Store, StoreError};
use notary::chain::evm::{EvmError, Nodes, View};
use notary::tree;
use std::path::Path;
use std::time::Duration;

/// How long a chain is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What nodes prove that the contract holds.
pub(super) enum Head {
    /// No chain is configured.
    None,
    Seen(Box<View>),
    Away(String),
}

/// Asks the chain; call it before the log is looked at, which is always further.
pub(super) async fn head(config: &Config, now: i64) -> Result<Head, StartError> {
    let Some(settings) = &config.chain else { return Ok(Head::None) };
    let manner = settings.manner().map_err(StartError::Config)?;
    let nodes = Nodes::new(&settings.urls(), settings.agree, settings.pins())?;
    let asked = nodes.view(manner.finality, (now / 1_000).max(0) as u64, manner.max_age);
    Ok(match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(view)) => Head::Seen(Box::new(view)),
        Ok(Err(error)) => Head::Away(EvmError::to_string(&error)),
        Err(_) => Head::Away("no node answers".to_owned()),
    })
}

impl Head {
    /// The size that the contract holds of this very log; or what is not so.
    pub(super) fn compare(&self, keep: &Keep) -> Result<Result<Option<u64>, String>, VaultError> {
        let view = match self {
            Self::None => return Ok(Ok(None)),
            Self::Away(why) => return Ok(Err(format!("the chain was not compared: {why}"))),
            Self::Seen(view) => view,
        };
        let log = keep.store.log_size()?;
        for state in [&view.last, &view.newest] {
            let (size, Some(root)) = (state.size, state.root) else { continue };
            if size > log {
                return Ok(Err(format!("the contract holds the root of {size} entries, and the log has {log}")));
            }
            let own = keep.store.read_log(|reader| tree::root(size, reader))?;
            if own.map_err(|_| StoreError::Nonsense("a tree"))? != root {
                return Ok(Err(format!("the contract holds another root of the first {size} entries")));
            }
        }
        Ok(Ok(Some(view.last.size)))
    }
}

/// Copies the embedded ledger's whole lines, where there is one: a service may be writing the last one.
pub(super) fn journal(config: &Config, live: Option<&Store>, to: &Path) -> Result<(), StartError> {
    let text = match live.filter(|store| store.is_shared()) {
        Some(store) => store.blocks(0)?.iter().map(|line| format!("{}\n", line.trim_end())).collect(),
        None => std::fs::read(config.data.join("ledger.journal")).map(whole).unwrap_or_default(),
    };
    if text.is_empty() {
        return Ok(());
    }
    std::fs::write(to, text).map_err(|source| StartError::Directory { path: to.to_owned(), source })
}

fn whole(journal: Vec<u8>) -> String {
    let lines = journal.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines.map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}
