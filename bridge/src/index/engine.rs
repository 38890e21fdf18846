//! The two engines, and how a connection to them is had and given back.

use super::postgres::{Pool, Settings};
use super::replicas::mark;
use super::sql::{Connection, values};
use super::store::StoreError;
use super::wal::Log;
use crate::vault::objects::private;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The version of the schema in `schema.sql`, the steps that were added since, and the version after them, which is kept in
/// SQLite's `user_version`.
const FIRST_VERSION: i64 = 5;
const STEPS: &[&str] =
    &[CHAIN, SMART, ACCOUNTS, APPS, FEES, EXCHANGE, CONSENT, REPLICAS, LAUNCH, GUARDIANS, EMERGENCY, RECEIVERS, LAPSED];
const SCHEMA_VERSION: i64 = FIRST_VERSION + STEPS.len() as i64;
const CHAIN: &str = include_str!("schema.chain.sql");
const SMART: &str = include_str!("schema.smart.sql");
const ACCOUNTS: &str = include_str!("schema.accounts.sql");
const APPS: &str = include_str!("schema.apps.sql");
const FEES: &str = include_str!("schema.fees.sql");
const EXCHANGE: &str = include_str!("schema.exchange.sql");
const CONSENT: &str = include_str!("schema.consent.sql");
const REPLICAS: &str = include_str!("schema.replicas.sql");
const LAUNCH: &str = include_str!("schema.launch.sql");
const GUARDIANS: &str = include_str!("schema.guardians.sql");
const EMERGENCY: &str = include_str!("schema.emergency.sql");
const RECEIVERS: &str = include_str!("schema.receivers.sql");
const LAPSED: &str = include_str!("schema.lapsed.sql");
/// How long a writer waits for the other one (the committer, the sequencer).
pub(super) const BUSY: Duration = Duration::from_secs(20);
/// Readers kept open.
const MAX_IDLE: usize = 8;
/// PostgreSQL's schema, step by step: its version is how many of them were taken. What was released is never changed.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.postgres.sql"),
    CHAIN,
    SMART,
    ACCOUNTS,
    APPS,
    FEES,
    EXCHANGE,
    CONSENT,
    REPLICAS,
    LAUNCH,
    GUARDIANS,
    EMERGENCY,
    RECEIVERS,
    LAPSED,
];
/// Whoever migrates holds this lock.
const MIGRATING: &str = "SELECT pg_advisory_xact_lock(7881706498110002)";

/// Where the index lives.
#[derive(Debug, Clone)]
pub(super) enum Engine {
    Sqlite(Arc<Files>),
    Postgres(Arc<Pool>),
}

/// SQLite's file, and the connections that wait to be used again.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    /// It is only looked at: nothing is written, not even what lies in the write-ahead log into the file.
    looked_at: bool,
    idle: Mutex<Vec<rusqlite::Connection>>,
    /// The committer's, whose commits follow packs that are on disk.
    behind: Mutex<Vec<rusqlite::Connection>>,
    /// After the connections: so it is dropped when they are.
    pub(super) log: Log,
}

/// A connection that goes back when it is dropped.
pub(super) struct Lent {
    connection: Option<Connection>,
    engine: Engine,
    sync: Sync,
}

/// What a connection keeps of the file, in KiB: SQLite's own default, and for the committer what a group touches, so that no page of it is
/// written to the log twice.
const READER_CACHE: i64 = 2_000;
const WRITER_CACHE: i64 = 16_000;
/// After how many pages of 4 KiB a commit itself puts the write-ahead log into the file, and waits for it: 256 MiB. Long before, that is done
/// beside it (`wal`).
const MOST_PAGES: i64 = 65_536;

/// Whether a commit of SQLite's is on disk when it has ended (`PRAGMA synchronous`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Full,
    /// Not before the next one that is. The file is never damaged: what is missing after a power cut are the last commits.
    Normal,
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lent({:?})", self.engine)
    }
}

impl Engine {
    pub(super) fn sqlite(path: &Path) -> Result<Self, StoreError> {
        let files = Files::new(path, false);
        let connection = files.connect(Sync::Full)?;
        files.migrate(&connection)?;
        files.give_back(connection, Sync::Full);
        Ok(Self::Sqlite(Arc::new(files)))
    }

    /// The same for who only looks. The schema must be the one that this medseal knows.
    pub(super) fn look_at_sqlite(path: &Path) -> Result<Self, StoreError> {
        let engine = Self::Sqlite(Arc::new(Files::new(path, true)));
        let found = engine.lend()?.number("PRAGMA user_version", &[])?;
        engine.is_known(found, SCHEMA_VERSION)?;
        Ok(engine)
    }

    /// The same for PostgreSQL.
    pub(super) fn look_at_postgres(settings: Settings) -> Result<Self, StoreError> {
        let engine = Self::Postgres(Arc::new(Pool::new(settings)?));
        let known = MIGRATIONS.len() as i64;
        let found = match engine.lend()?.first("SELECT version FROM schema_version", &[], |r| r.int(0)) {
            // There is no such table: no medseal was here.
            Err(StoreError::Postgres { .. }) => 0,
            found => found?.unwrap_or(0),
        };
        engine.is_known(found, known)?;
        Ok(engine)
    }

    fn is_known(&self, found: i64, known: i64) -> Result<(), StoreError> {
        match found.cmp(&known) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(StoreError::Older { place: self.place(), found, known }),
            std::cmp::Ordering::Greater => Err(StoreError::Schema { place: self.place(), found, known }),
        }
    }

    pub(super) fn postgres(settings: Settings) -> Result<Self, StoreError> {
        let engine = Self::Postgres(Arc::new(Pool::new(settings)?));
        engine.migrated()?;
        if let Self::Postgres(pool) = &engine {
            pool.set_mark(mark(&*engine.lend()?)?);
        }
        Ok(engine)
    }

    /// Sees to it that PostgreSQL has the schema that this medseal knows.
    pub(super) fn migrated(&self) -> Result<(), StoreError> {
        self.lend()?.transaction(|c| migrate(c, &self.place()))
    }

    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    fn place(&self) -> String {
        match self {
            Self::Sqlite(files) => files.path.display().to_string(),
            Self::Postgres(pool) => pool.place(),
        }
    }

    pub(super) fn lend(&self) -> Result<Lent, StoreError> {
        self.lend_with(Sync::Full)
    }

    /// A connection for commits that SQLite need not sync. PostgreSQL's are as they always are.
    pub(super) fn lend_behind(&self) -> Result<Lent, StoreError> {
        self.lend_with(Sync::Normal)
    }

    fn lend_with(&self, sync: Sync) -> Result<Lent, StoreError> {
        let connection = match self {
            Self::Sqlite(files) => Connection::Sqlite(files.take(sync)?),
            Self::Postgres(pool) => Connection::Postgres(pool.take()?),
        };
        Ok(Lent { connection: Some(connection), engine: self.clone(), sync })
    }
}

impl Lent {
    /// Refuses where the index was recovered since it was opened: what is known of it in memory is not so any more. SQLite's is
    /// recovered by whoever is alone with it.
    pub(super) fn is_current(&self) -> Result<(), StoreError> {
        match &self.engine {
            Engine::Postgres(pool) if !pool.has_mark(mark(self)?.as_deref()) => Err(StoreError::Recovered),
            _ => Ok(()),
        }
    }
}

impl Deref for Lent {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("only `drop` takes it"),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        match (&self.engine, self.connection.take()) {
            (Engine::Sqlite(files), Some(Connection::Sqlite(connection))) => files.give_back(connection, self.sync),
            (Engine::Postgres(pool), Some(Connection::Postgres(session))) => pool.give_back(session),
            _ => {}
        }
    }
}

impl Files {
    fn new(path: &Path, looked_at: bool) -> Self {
        let (idle, behind) = (Mutex::default(), Mutex::default());
        Self { path: path.to_owned(), looked_at, idle, behind, log: Log::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something that belongs to the index and lies beside it.
    pub(super) fn beside(&self, extension: &str) -> PathBuf {
        self.path.with_extension(extension)
    }

    fn idle(&self, sync: Sync) -> MutexGuard<'_, Vec<rusqlite::Connection>> {
        let idle = if sync == Sync::Full { &self.idle } else { &self.behind };
        idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, sync: Sync) -> Result<rusqlite::Connection, StoreError> {
        let idle = self.idle(sync).pop();
        idle.map_or_else(|| self.connect(sync), Ok)
    }

    fn give_back(&self, connection: rusqlite::Connection, sync: Sync) {
        let mut idle = self.idle(sync);
        // One that is still in a transaction was dropped in the middle of it.
        if idle.len() < MAX_IDLE && connection.is_autocommit() {
            idle.push(connection);
        }
    }

    fn connect(&self, sync: Sync) -> Result<rusqlite::Connection, StoreError> {
        if !self.looked_at {
            self.private()?;
        }
        let connection = rusqlite::Connection::open(&self.path).map_err(|e| self.fault(e))?;
        connection.busy_timeout(BUSY).map_err(|e| self.fault(e))?;
        if self.looked_at {
            let as_it_is = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            connection.set_db_config(as_it_is, true).map_err(|e| self.fault(e))?;
            connection.pragma_update(None, "query_only", true).map_err(|e| self.fault(e))?;
            return Ok(connection);
        }
        connection.pragma_update(None, "journal_mode", "WAL").map_err(|e| self.fault(e))?;
        let (mode, kibibytes) = if sync == Sync::Full { ("FULL", READER_CACHE) } else { ("NORMAL", WRITER_CACHE) };
        connection.pragma_update(None, "synchronous", mode).map_err(|e| self.fault(e))?;
        connection.pragma_update(None, "cache_size", -kibibytes).map_err(|e| self.fault(e))?;
        connection.pragma_update(None, "wal_autocheckpoint", MOST_PAGES).map_err(|e| self.fault(e))?;
        // Pages are split and joined, and what was moved would stay behind where it lay: a wrapped key, of somebody who is erased later.
        connection.pragma_update(None, "secure_delete", "FAST").map_err(|e| self.fault(e))?;
        // Or it would look at the values to plan by, and plan anew whenever they change: at each use.
        let steady = rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
        connection.set_db_config(steady, true).map_err(|e| self.fault(e))?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    /// A new file is its owner's alone, and so is what SQLite puts beside it: that takes after the file. One that is there is not
    /// opened, for to close it again would let go of SQLite's locks.
    fn private(&self) -> Result<(), StoreError> {
        match private().create_new(true).open(&self.path) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(StoreError::Lock { path: self.path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    fn migrate(&self, c: &rusqlite::Connection) -> Result<(), StoreError> {
        c.execute_batch("BEGIN IMMEDIATE").map_err(|e| self.fault(e))?;
        let found = c.query_row("PRAGMA user_version", [], |r| r.get(0)).map_err(|e| self.fault(e))?;
        let at = match found {
            0 => {
                c.execute_batch(include_str!("schema.sql")).map_err(|e| self.fault(e))?;
                FIRST_VERSION
            }
            FIRST_VERSION..=SCHEMA_VERSION => found,
            found => {
                let place = self.path.display().to_string();
                return Err(StoreError::Schema { place, found, known: SCHEMA_VERSION });
            }
        };
        for step in &STEPS[(at - FIRST_VERSION) as usize..] {
            c.execute_batch(step).map_err(|e| self.fault(e))?;
        }
        if found != SCHEMA_VERSION {
            c.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(|e| self.fault(e))?;
        }
        c.execute_batch("COMMIT").map_err(|e| self.fault(e))
    }

    fn fault(&self, source: rusqlite::Error) -> StoreError {
        StoreError::Open { path: self.path.clone(), source }
    }
}

/// Brings the schema to the version that this medseal knows. Those who come meanwhile wait for the lock and find it done; where
/// nothing is to be done, no right to make tables is needed.
fn migrate(c: &Connection, place: &str) -> Result<(), StoreError> {
    c.batch(MIGRATING)?;
    if c.number("SELECT (to_regclass('schema_version') IS NULL)::int::bigint", &[])? == 1 {
        c.batch("CREATE TABLE schema_version (version BIGINT NOT NULL)")?;
    }
    let found = c.first("SELECT version FROM schema_version", &[], |r| r.int(0))?;
    let known = MIGRATIONS.len() as i64;
    let at = found.unwrap_or(0);
    if at > known {
        return Err(StoreError::Schema { place: place.to_owned(), found: at, known });
    }
    for step in &MIGRATIONS[at as usize..] {
        c.batch(step)?;
    }
    match found {
        None => c.execute("INSERT INTO schema_version (version) VALUES (?1)", values![known])?,
        Some(at) if at < known => c.execute("UPDATE schema_version SET version = ?1", values![known])?,
        Some(_) => 0,
    };
    Ok(())
}
