//! What lies in SQLite's write-ahead log is put into its file, beside those who write. PostgreSQL does that by itself.

use super::engine::Engine;
use super::sql::Connection;
use super::store::{Store, StoreError};
use std::fs::File;
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// From how many pages of 4 KiB on the log begins anew: 32 MiB. Pages that are written again and again meanwhile go into the file once.
const ENOUGH: i64 = 8_192;
/// How long writers wait at most for readers who still need what is in the log: then it goes on growing, and it is tried again.
const PATIENCE: Duration = Duration::from_millis(50);

/// The index's file once more, to wait until what was written to it is on the disk. Not closed as long as SQLite has it open: with any
/// descriptor of a file that is closed a process loses its locks on it.
#[derive(Debug, Default)]
pub(super) struct Synced(OnceLock<Option<File>>);

impl Synced {
    /// SQLite syncs it, too: what fails here fails there.
    fn wait(&self, path: &Path) {
        if let Some(file) = self.0.get_or_init(|| File::open(path).ok()) {
            _ = file.sync_data();
        }
    }
}

impl Store {
    /// Puts the log into the file, as far as no reader still needs what is there. That the disk has it is waited for before writers are
    /// kept waiting: for the little that came last, and until the log begins anew.
    pub fn put_away(&self) -> Result<(), StoreError> {
        let Engine::Sqlite(files) = self.engine() else { return Ok(()) };
        let c = self.lend()?;
        if copied(&c)? < ENOUGH {
            return Ok(());
        }
        for _ in 0..2 {
            files.synced.wait(files.path());
            copied(&c)?;
        }
        let before = c.number("PRAGMA busy_timeout", &[])?;
        c.batch(&format!("PRAGMA busy_timeout = {}", PATIENCE.as_millis()))?;
        let done = c.first("PRAGMA wal_checkpoint(RESTART)", &[], |_| Ok(()));
        c.batch(&format!("PRAGMA busy_timeout = {before}"))?;
        done.map(|_| ())
    }
}

/// Nobody waits for it. How many pages are in the log.
fn copied(c: &Connection) -> Result<i64, StoreError> {
    Ok(c.first("PRAGMA wal_checkpoint(PASSIVE)", &[], |row| row.int(1))?.unwrap_or(0))
}
