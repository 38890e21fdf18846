//! A copy of the index in SQLite while others write to it: made anew from what it holds at one moment, so that nothing comes along
//! that was deleted.

use rusqlite::{Connection, OpenFlags};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Copies an index durably; the file counts once it has its name, and only its owner may read it.
pub fn backup(from: &Path, to: &Path) -> Result<(), BackupError> {
    let mut unfinished = to.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = Path::new(&unfinished);
    let _ = std::fs::remove_file(unfinished);
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(unfinished)?;
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // Writers go on in the write-ahead log meanwhile.
    source.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])?;
    std::fs::File::open(unfinished)?.sync_all()?;
    std::fs::rename(unfinished, to)?;
    let folder = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok(std::fs::File::open(folder)?.sync_all()?)
}
