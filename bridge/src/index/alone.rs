//! One piece of upkeep at a time: two that write the same objects anew would undo each other's work, and bring back a key that
//! was destroyed. A lock beside SQLite's file, or one of PostgreSQL's that ends with its session.

use super::engine::{Engine, Lent};
use super::store::{Store, StoreError};
use crate::vault::objects::private;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const LOCK: &str = "SELECT CAST(CAST(pg_try_advisory_lock(7881706498110003) AS INT) AS BIGINT)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(7881706498110003)";

/// Whoever has it is the only one at upkeep, until it is dropped.
#[derive(Debug)]
pub struct Alone(Held);

#[derive(Debug)]
enum Held {
    File(#[expect(dead_code, reason = "the lock ends when the file is closed")] File),
    Session(Box<Mutex<Lent>>),
}

impl Store {
    /// Takes the lock; nothing if another has it.
    pub fn alone(&self) -> Result<Option<Alone>, StoreError> {
        Ok(match self.engine() {
            Engine::Sqlite(files) => lock_file(&files.beside("upkeep"))?.map(Held::File).map(Alone),
            Engine::Postgres(_) => {
                lock_session(self.lend()?)?.map(|session| Alone(Held::Session(Box::new(Mutex::new(session)))))
            }
        })
    }
}

impl Alone {
    /// Whether it is still so: PostgreSQL lets the lock go with a session that it has lost. Asked before each write.
    pub fn check(&self) -> Result<(), StoreError> {
        match &self.0 {
            Held::File(_) => Ok(()),
            Held::Session(session) => {
                let session = session.lock().unwrap_or_else(PoisonError::into_inner);
                session.number("SELECT CAST(1 AS BIGINT)", &[]).map(|_| ())
            }
        }
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if let Held::Session(session) = &self.0 {
            // A session that does not answer is not used again, and its lock ends with it.
            _ = session.lock().unwrap_or_else(PoisonError::into_inner).batch(UNLOCK);
        }
    }
}

fn lock_session(session: Lent) -> Result<Option<Lent>, StoreError> {
    let taken = session.number(LOCK, &[])? == 1;
    Ok(taken.then_some(session))
}

fn lock_file(path: &Path) -> Result<Option<File>, StoreError> {
    let wrong = |source| StoreError::Lock { path: path.to_owned(), source };
    let file = private().create(true).truncate(false).open(path).map_err(wrong)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(e)) => Err(wrong(e)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_is_alone_and_the_next_when_it_has_ended() {
        for (_keep, store) in crate::index::stores() {
            let first = store.alone().unwrap().unwrap();
            assert!(store.alone().unwrap().is_none());
            first.check().unwrap();
            drop(first);
            assert!(store.alone().unwrap().is_some());
        }
    }
}
