//! A copy of the index in SQLite while others write to it: made anew from what it holds at one moment, so that nothing comes along
//! that was deleted.

use super::drills::BACKUP;
use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// How long is waited for who writes to the index.
const BUSY: Duration = Duration::from_secs(20);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("it is no whole index: {0}")]
    Damaged(String),
}

/// Copies an index durably; the file counts once it has its name, and only its owner may read it. It says when it was made: `now`, in
/// milliseconds since 1970.
pub fn backup(from: &Path, to: &Path, now: i64) -> Result<(), BackupError> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    let _ = std::fs::remove_file(unfinished);
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // Writers go on in the write-ahead log meanwhile.
    source.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])?;
    note(unfinished, now)?;
    std::fs::File::open(unfinished)?.sync_all()?;
    std::fs::rename(unfinished, to)?;
    let folder = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(std::fs::File::open(folder)?.sync_all()?)
}

/// Writes into an index when it was copied last.
pub fn note(index: &Path, now: i64) -> Result<(), BackupError> {
    const SQL: &str = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    let index = Connection::open_with_flags(index, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    index.busy_timeout(BUSY)?;
    index.execute(SQL, (BACKUP, now.to_string()))?;
    Ok(())
}

/// Puts a copy where an index is to be, for its owner alone, and looks whether SQLite finds it whole.
pub fn restore(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut source = std::fs::File::open(from)?;
    let mut target = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
    std::io::copy(&mut source, &mut target)?;
    target.sync_all()?;
    let index = Connection::open_with_flags(to, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let found: String = index.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(BackupError::Damaged(found)) }
}
