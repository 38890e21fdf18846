//! A directory for a while.

use super::Failed;
use crate::secret::{bytes, system_random};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// For its owner alone, and removed at the end.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    /// Makes one under a name that nobody else has.
    pub(super) fn new(parent: &Path, called: &str) -> Result<Self, Failed> {
        let unique: [u8; 6] = bytes(&system_random).map_err(Failed::from_error)?;
        let path = parent.join(format!("{called}-{}", hex::encode(unique)));
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|e| Failed(format!("{}: {e}", path.display())))?;
        Ok(Self(path))
    }

    /// Removes it, and says so if that cannot be done.
    pub(super) fn close(self) -> Result<(), Failed> {
        std::fs::remove_dir_all(&self.0)
            .map_err(|error| Failed(format!("{} is left behind, remove it: {error}", self.0.display())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Best effort: whoever minds calls `close`.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
