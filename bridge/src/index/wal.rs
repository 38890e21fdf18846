//! SQLite's write-ahead log: it is put into the file beside those who write, and emptied when somebody is erased. PostgreSQL looks after its
//! own.

use super::engine::{BUSY, Engine, Files};
use super::sql::Connection;
use super::store::{Store, StoreError};
use std::fs::File;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// From how many pages of 4 KiB on the log begins anew: 32 MiB. Pages that are written again and again meanwhile go into the file once.
const ENOUGH: i64 = 8_192;
/// How long writers wait at most for readers who still need what is in the log: then it goes on growing, and it is tried again.
const PATIENCE: Duration = Duration::from_millis(50);

/// What is known of the log of a file.
#[derive(Debug)]
pub(super) struct Log {
    /// The file once more, to wait until what was written to it is on the disk. Not closed as long as SQLite has it open: with any descriptor
    /// of a file that is closed a process loses its locks on it.
    file: OnceLock<Option<File>>,
    /// Somebody was erased, and what is to be overwritten may lie in it still.
    is_stale: AtomicBool,
}

impl Default for Log {
    /// It may be of a process that was killed before it had emptied it.
    fn default() -> Self {
        Self { file: OnceLock::new(), is_stale: AtomicBool::new(true) }
    }
}

impl Files {
    /// Until the disk has what was copied. SQLite waits for that, too: what fails here fails there.
    fn synced(&self) {
        if let Some(file) = self.log.file.get_or_init(|| File::open(self.path()).ok()) {
            _ = file.sync_data();
        }
    }

    /// Whether the log is empty now. Who is erased meanwhile is not forgotten.
    fn empty(&self, c: &Connection) -> Result<bool, StoreError> {
        self.log.is_stale.store(false, Ordering::SeqCst);
        let done = begun_anew(c, "TRUNCATE");
        if !matches!(done, Ok(true)) {
            self.log.is_stale.store(true, Ordering::SeqCst);
        }
        done
    }
}

impl Store {
    /// Puts the log into the file, as far as no reader still needs what is there. That the disk has it is waited for before writers are
    /// kept waiting: for the little that came last, and until the log begins anew.
    pub fn put_log_away(&self) -> Result<(), StoreError> {
        let Engine::Sqlite(files) = self.engine() else { return Ok(()) };
        let c = self.lend()?;
        let is_stale = files.log.is_stale.load(Ordering::SeqCst);
        if copied(&c)? < ENOUGH && !is_stale {
            return Ok(());
        }
        for _ in 0..2 {
            files.synced();
            copied(&c)?;
        }
        c.batch(&format!("PRAGMA busy_timeout = {}", PATIENCE.as_millis()))?;
        let done = if is_stale { files.empty(&c).map(drop) } else { begun_anew(&c, "RESTART").map(drop) };
        c.batch(&format!("PRAGMA busy_timeout = {}", BUSY.as_millis()))?;
        done
    }

    /// Empties the log, in which old pages lie. Who puts it away or reads it now is waited for, for a while; after that it is done as soon as
    /// it can be, by who puts it away.
    pub(super) fn empty_log(&self) -> Result<(), StoreError> {
        let Engine::Sqlite(files) = self.engine() else { return Ok(()) };
        files.log.is_stale.store(true, Ordering::SeqCst);
        let (c, begun) = (self.lend()?, Instant::now());
        while !files.empty(&c)? {
            if begun.elapsed() > BUSY {
                tracing::warn!("what was erased lies in the index's write-ahead log until nobody reads there");
                break;
            }
            // SQLite waits for readers, and not for who puts the log away.
            std::thread::sleep(PATIENCE);
        }
        Ok(())
    }
}

/// Nobody waits for it. How many pages are in the log.
fn copied(c: &Connection) -> Result<i64, StoreError> {
    Ok(c.first("PRAGMA wal_checkpoint(PASSIVE)", &[], |row| row.int(1))?.unwrap_or(0))
}

/// Writers wait for it. Whether it was done: a reader, or who does the same, may stand in the way.
fn begun_anew(c: &Connection, how: &str) -> Result<bool, StoreError> {
    Ok(c.number(&format!("PRAGMA wal_checkpoint({how})"), &[])? == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Owner;
    use crate::vault::keys::Wrapped;

    #[test]
    fn who_is_erased_while_the_log_is_put_away_is_not_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.sqlite");
        let store = Store::open(&path).unwrap();
        let (done, owner) = (AtomicBool::new(false), Owner::from_stored("Patient/a"));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    store.put_log_away().unwrap();
                }
            });
            for _ in 0..100 {
                store.restore_keys(&[(owner.clone(), Wrapped(vec![7; 60]))]).unwrap();
                store.destroy_key(&owner).unwrap();
                assert_eq!(std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().len(), 0);
            }
            done.store(true, Ordering::SeqCst);
        });
    }

    #[test]
    fn what_a_killed_process_has_left_in_the_log_goes_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("index.sqlite"), directory.path().join("copy.sqlite"));
        let store = Store::open(&path).unwrap();
        store.set_setting("a", "1").unwrap();
        for of in ["sqlite", "sqlite-wal"] {
            std::fs::copy(path.with_extension(of), copy.with_extension(of)).unwrap();
        }
        let left = || std::fs::metadata(copy.with_extension("sqlite-wal")).unwrap().len();
        let again = Store::open(&copy).unwrap();
        assert!(left() > 0);
        again.put_log_away().unwrap();
        assert_eq!((left(), again.setting("a").unwrap()), (0, Some("1".into())));
    }

    #[test]
    fn what_a_reader_has_kept_in_the_log_goes_when_he_has_gone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("index.sqlite");
        let store = Store::open(&path).unwrap();
        let Engine::Sqlite(files) = store.engine() else { unreachable!() };
        let length = || std::fs::metadata(path.with_extension("sqlite-wal")).unwrap().len();
        store.set_setting("a", "1").unwrap();
        let reader = rusqlite::Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM setting").unwrap();
        store.set_setting("a", "2").unwrap();
        files.log.is_stale.store(true, Ordering::SeqCst);
        store.put_log_away().unwrap();
        assert!(length() > 0 && files.log.is_stale.load(Ordering::SeqCst), "he needs it");
        reader.execute_batch("COMMIT").unwrap();
        store.put_log_away().unwrap();
        assert!(length() == 0 && !files.log.is_stale.load(Ordering::SeqCst));
    }
}
