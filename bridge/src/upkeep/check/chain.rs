//! The embedded ledger's newest root, read beside the service that writes it.

use super::Check;
use super::log::Claim;
use crate::error::VaultError;
use notary::chain::{ChainError, Head, Keeper, Ledger};
use std::path::Path;

/// Keeps nothing: who looks at a ledger writes no block.
#[derive(Debug)]
struct Nothing;

impl Keeper for Nothing {
    fn keep(&mut self, _: u64, _: &str) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Err("it is only looked at".into())
    }
}

impl Check<'_> {
    /// What the ledger says that the log is, if there is a ledger.
    pub(super) fn chain(&mut self, data: &Path) -> Result<Option<Claim>, VaultError> {
        // First what is remembered: the service may anchor meanwhile.
        let remembered = self.keep.store.anchored()?;
        let head = self.lines(data).map(|lines| head(&lines));
        let size = match head {
            Ok(Ok(head)) => {
                self.report.anchored = head.map(|head| head.size);
                head.map_or(0, |head| head.size)
            }
            Ok(Err(error)) => return Ok(self.unreadable(&error)),
            Err(error) => return Ok(self.unreadable(&error)),
        };
        if size < remembered {
            let what = format!("it has anchored {size} log entries, and the index remembers {remembered}");
            self.differs("the ledger", what);
        }
        let head = head.ok().and_then(Result::ok).flatten().filter(|head| head.size > 0);
        Ok(head.map(|Head { size, root }| Claim { at: "the ledger's newest root".to_owned(), size, root }))
    }

    fn unreadable(&mut self, error: &dyn std::fmt::Display) -> Option<Claim> {
        self.differs("the ledger", error.to_string());
        None
    }

    /// The journal's whole lines: a service may be writing the last one.
    fn lines(&self, data: &Path) -> Result<Vec<String>, VaultError> {
        if self.keep.store.is_shared() {
            return Ok(self.keep.store.blocks(0)?);
        }
        let text = std::fs::read(data.join("ledger.journal")).unwrap_or_default();
        let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        Ok(whole.map(|line| String::from_utf8_lossy(line).into_owned()).collect())
    }
}

/// Nothing where no ledger was begun.
fn head(lines: &[String]) -> Result<Option<Head>, ChainError> {
    if lines.is_empty() {
        return Ok(None);
    }
    Ledger::kept(Path::new("(read)"), lines, Box::new(Nothing), 0)?.head().map(Some)
}
