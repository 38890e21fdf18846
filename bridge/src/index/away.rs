//! What lies in SQLite's write-ahead log is put into its file, beside those who write. PostgreSQL does that by itself.

use super::sql::Connection;
use super::store::{Store, StoreError};

/// Commits go on meanwhile, and the log begins anew only when all of it was put away: what came in the meantime is little, and is put away in
/// less time, until none came.
const MOST_ROUNDS: usize = 40;

impl Store {
    /// Puts the log into the file, as far as no reader still needs what is there. Nobody waits for it.
    pub fn put_away(&self) -> Result<(), StoreError> {
        self.with(|c| match c {
            Connection::Sqlite(_) => put(c),
            Connection::Postgres(_) => Ok(()),
        })
    }
}

fn put(c: &Connection) -> Result<(), StoreError> {
    let mut before = None;
    for _ in 0..MOST_ROUNDS {
        // Pages in the log, and those that are in the file.
        let found = c.first("PRAGMA wal_checkpoint(PASSIVE)", &[], |row| Ok((row.int(1)?, row.int(2)?)))?;
        // The same again: a reader stands in the way, and next time he will have gone.
        if found.is_none_or(|(all, done)| all == done) || found == before {
            break;
        }
        before = found;
    }
    Ok(())
}
