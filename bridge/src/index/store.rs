//! The index in SQLite: the few statements that the write path, the read path and the sequencer need.
//! One writer at a time, many readers, write-ahead log, every commit synced.

use super::blind::Blinded;
use super::erasures::{ERASED, refuse_erased};
use super::scan::generation;
use super::tokens::Token;
use crate::ids::{Name, Owner, ResourceId, TypeName, Version};
use crate::vault::keys::Wrapped;
use crate::vault::pack::Extent;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// The version of the schema in `schema.sql`, kept in SQLite's `user_version`.
const SCHEMA_VERSION: i64 = 5;
/// How long a writer waits for the other one (the committer, the sequencer).
const BUSY: Duration = Duration::from_secs(20);
/// Readers kept open.
const MAX_IDLE: usize = 8;

/// Why the index did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("index {path}: {source}")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error(
        "index {path} has schema version {found}, this medseal knows {SCHEMA_VERSION}: use the medseal that wrote it, or a newer one"
    )]
    Schema { path: PathBuf, found: i64 },
    #[error("the index did not answer: {0}")]
    Query(#[from] rusqlite::Error),
    #[error("the index would have to look at too many rows")]
    TooWide,
    #[error("the index holds a row that makes no sense: {0}")]
    Nonsense(&'static str),
    #[error("the key of {} was destroyed", owner.as_str())]
    Erased { owner: Owner },
    #[error("{name} was `{stored}` when this data directory was made and must stay so: it stands in every commitment")]
    Changed { name: &'static str, stored: String },
}

impl StoreError {
    /// Somebody else wrote first: what is done anew may succeed.
    pub fn is_race(&self) -> bool {
        let Self::Query(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        error.code == rusqlite::ErrorCode::ConstraintViolation
    }
}

/// A version of a resource, and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub row: i64,
    pub name: Name,
    pub version: Version,
    pub place: Place,
    /// Milliseconds since 1970.
    pub updated: i64,
    /// The resource was deleted: this version has no content. Or it was erased.
    pub deleted: bool,
    /// The key of its content was destroyed.
    pub erased: bool,
    /// Its entry in the log, once the sequencer took it.
    pub entry: Option<Vec<u8>>,
}

/// Where a record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub pack: String,
    pub extent: Extent,
}

/// What one group commit writes.
#[derive(Debug, Default)]
pub struct Batch {
    pub records: Vec<NewRecord>,
    pub identities: Vec<(Token, Name)>,
    /// Claims of resources that have lost the identifier: let go before the new ones are made.
    pub stale: Vec<Token>,
    pub messages: Vec<(Token, ResourceId)>,
    pub keys: Vec<(Owner, Wrapped)>,
    /// Whose keys seal the records, the custodian's own apart.
    pub owners: Vec<Owner>,
}

/// A record to index.
#[derive(Debug)]
pub struct NewRecord {
    pub type_name: String,
    pub id: ResourceId,
    pub version: Version,
    pub place: Place,
    pub updated: i64,
    /// A deletion: it has no tokens, and searches leave it out.
    pub deleted: bool,
    pub blinded: Blinded,
    /// The log entry that the sequencer is to take.
    pub entry: Option<Vec<u8>>,
}

/// The index.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    pub(super) idle: Mutex<Vec<Connection>>,
}

impl Store {
    /// Opens the index, and makes it if it is new.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let store = Self { path: path.to_owned(), idle: Mutex::new(Vec::new()) };
        let mut connection = store.connect()?;
        let version = |c: &Connection| c.query_row("PRAGMA user_version", [], |r| r.get::<_, i64>(0));
        let open = |source| StoreError::Open { path: path.to_owned(), source };
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(open)?;
        match version(&transaction).map_err(open)? {
            0 => {
                transaction.execute_batch(include_str!("schema.sql")).map_err(open)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION).map_err(open)?;
            }
            SCHEMA_VERSION => {}
            found => return Err(StoreError::Schema { path: path.to_owned(), found }),
        }
        transaction.commit().map_err(open)?;
        store.give_back(connection);
        Ok(store)
    }

    pub(super) fn connect(&self) -> Result<Connection, StoreError> {
        let open = |source| StoreError::Open { path: self.path.clone(), source };
        let connection = Connection::open(&self.path).map_err(open)?;
        connection.busy_timeout(BUSY).map_err(open)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(open)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    }

    pub(super) fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        let mut connection = idle.map_or_else(|| self.connect(), Ok)?;
        let result = work(&mut connection);
        self.give_back(connection);
        result
    }

    /// The current version of a resource.
    pub fn current(&self, name: &Name) -> Result<Option<Stored>, StoreError> {
        const SQL: &str = "SELECT row, type, id, version, pack, offset, length, updated, deleted, (SELECT entry FROM log WHERE log.row = record.row) FROM record \
             WHERE type = ?1 AND id = ?2 ORDER BY version DESC LIMIT 1";
        self.with(|c| one(c, SQL, params![name.kind.as_str(), name.id.as_str()]))
    }

    /// One version of a resource.
    pub fn version(&self, name: &Name, version: Version) -> Result<Option<Stored>, StoreError> {
        const SQL: &str = "SELECT row, type, id, version, pack, offset, length, updated, deleted, (SELECT entry FROM log WHERE log.row = record.row) FROM record \
             WHERE type = ?1 AND id = ?2 AND version = ?3";
        self.with(|c| one(c, SQL, params![name.kind.as_str(), name.id.as_str(), version.0]))
    }

    /// Where a received message lies.
    pub fn message(&self, id: &ResourceId) -> Result<Option<Place>, StoreError> {
        const SQL: &str = "SELECT pack, offset, length FROM record WHERE type = 'Message' AND id = ?1";
        self.with(|c| Ok(c.prepare_cached(SQL)?.query_row([id.as_str()], |r| place(r, 0)).optional()?))
    }

    /// The resource that claimed an identity.
    pub fn identity(&self, token: &Token) -> Result<Option<Name>, StoreError> {
        const SQL: &str = "SELECT type, id FROM identity WHERE token = ?1";
        let found = self.with(|c| {
            let row = |r: &Row<'_>| Ok((r.get::<_, String>(0)?, r.get::<_, String>(1)?));
            Ok(c.prepare_cached(SQL)?.query_row([token.0.as_slice()], row).optional()?)
        })?;
        found.map(|(kind, id)| name(&kind, &id)).transpose()
    }

    /// Whether a message was taken before, and under which id.
    pub fn taken(&self, token: &Token) -> Result<Option<ResourceId>, StoreError> {
        const SQL: &str = "SELECT id FROM message WHERE token = ?1";
        let id = self.with(|c| {
            Ok(c.prepare_cached(SQL)?.query_row([token.0.as_slice()], |r| r.get::<_, String>(0)).optional()?)
        })?;
        id.map(|id| ResourceId::parse(&id).ok_or(StoreError::Nonsense("a message id"))).transpose()
    }

    /// An owner's wrapped key.
    pub fn key(&self, owner: &Owner) -> Result<Option<Wrapped>, StoreError> {
        const SQL: &str = "SELECT wrapped FROM data_key WHERE owner = ?1";
        self.with(|c| Ok(c.prepare_cached(SQL)?.query_row([owner.as_str()], |r| r.get(0).map(Wrapped)).optional()?))
    }

    /// Writes one group commit, all or nothing.
    pub fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        self.with(|c| {
            let transaction = c.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            refuse_erased(&transaction, &batch.owners)?;
            write_batch(&transaction, batch)?;
            Ok(transaction.commit()?)
        })
    }

    /// The packs that records lie in, with the end of the last record in each.
    pub fn packs(&self) -> Result<Vec<(String, u64)>, StoreError> {
        const SQL: &str = "SELECT pack, max(offset + length) FROM record GROUP BY pack ORDER BY pack";
        self.with(|c| {
            let mut statement = c.prepare(SQL)?;
            let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)? as u64)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Stores a setting that must never change, or compares it with what was stored.
    pub fn keep_setting(&self, name: &'static str, value: &str) -> Result<(), StoreError> {
        let stored: String = self.with(|c| {
            c.execute("INSERT OR IGNORE INTO setting (name, value) VALUES (?1, ?2)", [name, value])?;
            Ok(c.query_row("SELECT value FROM setting WHERE name = ?1", [name], |r| r.get(0))?)
        })?;
        if stored == value { Ok(()) } else { Err(StoreError::Changed { name, stored }) }
    }

    /// Remembers how far the chain has come.
    pub fn remember_anchored(&self, size: u64) -> Result<(), StoreError> {
        self.with(|c| {
            const SQL: &str =
                "INSERT INTO setting (name, value) VALUES ('anchored', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1";
            c.execute(SQL, [size.to_string()])?;
            Ok(())
        })
    }

    /// How far the chain had come when this index last saw it.
    pub fn anchored(&self) -> Result<u64, StoreError> {
        self.with(|c| {
            let value: Option<String> =
                c.query_row("SELECT value FROM setting WHERE name = 'anchored'", [], |r| r.get(0)).optional()?;
            value.map_or(Ok(0), |v| v.parse().map_err(|_| StoreError::Nonsense("the anchored size")))
        })
    }

    /// Whether the index holds any record.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.with(|c| Ok(c.query_row("SELECT NOT EXISTS (SELECT 1 FROM data_key)", [], |r| r.get(0))?))
    }
}

fn write_batch(c: &Transaction<'_>, batch: &Batch) -> Result<(), StoreError> {
    let mut postings: Vec<(Token, i64)> = Vec::new();
    for record in &batch.records {
        let row = write_record(c, record)?;
        postings.extend(record.blinded.lookups.iter().map(|token| (*token, row)));
    }
    // Sorted inserts touch each page once.
    postings.sort_unstable();
    let mut insert = c.prepare_cached("INSERT INTO posting (generation, token, row) VALUES (?1, ?2, ?3)")?;
    for (token, row) in &postings {
        insert.execute(params![generation(*row), token.0.as_slice(), row])?;
    }
    let mut insert = c.prepare_cached("INSERT INTO identity (token, type, id) VALUES (?1, ?2, ?3)")?;
    let mut drop = c.prepare_cached("DELETE FROM identity WHERE token = ?1")?;
    for token in &batch.stale {
        drop.execute([token.0.as_slice()])?;
    }
    for (token, name) in &batch.identities {
        insert.execute(params![token.0.as_slice(), name.kind.as_str(), name.id.as_str()])?;
    }
    let mut insert = c.prepare_cached("INSERT INTO message (token, id) VALUES (?1, ?2)")?;
    for (token, id) in &batch.messages {
        insert.execute(params![token.0.as_slice(), id.as_str()])?;
    }
    let mut insert = c.prepare_cached("INSERT INTO data_key (owner, wrapped) VALUES (?1, ?2)")?;
    for (owner, wrapped) in &batch.keys {
        insert.execute(params![owner.as_str(), wrapped.0])?;
    }
    Ok(())
}

fn write_record(c: &Transaction<'_>, record: &NewRecord) -> Result<i64, StoreError> {
    let (kind, id) = (record.type_name.as_str(), record.id.as_str());
    const SQL: &str = "INSERT INTO record (type, id, version, current, pack, offset, length, updated, deleted, marks) \
         VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9)";
    let extent = record.place.extent;
    c.prepare_cached(SQL)?.execute(params![
        kind,
        id,
        record.version.0,
        record.place.pack,
        extent.offset as i64,
        extent.length,
        record.updated,
        record.deleted,
        record.blinded.marks.concat(),
    ])?;
    let row = c.last_insert_rowid();
    if record.version > Version(1) {
        const SQL: &str = "UPDATE record SET current = 0, until = ?4 WHERE type = ?1 AND id = ?2 AND version = ?3 - 1";
        c.prepare_cached(SQL)?.execute(params![kind, id, record.version.0, row])?;
    }
    if let Some(entry) = &record.entry {
        c.prepare_cached("INSERT INTO outbox (row, entry) VALUES (?1, ?2)")?.execute(params![row, entry])?;
    }
    Ok(row)
}

/// A row by its number.
pub(super) fn stored_row(c: &Connection, row: i64) -> Result<Option<Stored>, StoreError> {
    const SQL: &str = "SELECT row, type, id, version, pack, offset, length, updated, deleted, (SELECT entry FROM log WHERE log.row = record.row) FROM record \
         WHERE row = ?1";
    one(c, SQL, params![row])
}

fn one(c: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Option<Stored>, StoreError> {
    let row = c.prepare_cached(sql)?.query_row(values, raw).optional()?;
    row.map(stored).transpose()
}

pub(super) fn many(c: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<Stored>, StoreError> {
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map(values, raw)?.collect::<Result<Vec<_>, _>>()?;
    rows.into_iter().map(stored).collect()
}

type Raw = (i64, String, String, u32, Place, i64, i64, Option<Vec<u8>>);

fn raw(r: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, place(r, 4)?, r.get(7)?, r.get(8)?, r.get(9)?))
}

fn place(r: &Row<'_>, at: usize) -> rusqlite::Result<Place> {
    let extent = Extent { offset: r.get::<_, i64>(at + 1)? as u64, length: r.get(at + 2)? };
    Ok(Place { pack: r.get(at)?, extent })
}

fn stored((row, kind, id, version, place, updated, deleted, entry): Raw) -> Result<Stored, StoreError> {
    let (name, version, erased) = (name(&kind, &id)?, Version(version), deleted == ERASED);
    Ok(Stored { row, name, version, place, updated, deleted: deleted != 0, erased, entry })
}

fn name(kind: &str, id: &str) -> Result<Name, StoreError> {
    let kind = TypeName::parse(kind).ok_or(StoreError::Nonsense("a resource type"))?;
    let id = ResourceId::parse(id).ok_or(StoreError::Nonsense("a resource id"))?;
    Ok(Name { kind, id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::blind::Clause;
    use crate::index::log::LogReader;
    use crate::index::scan::Scan;

    fn record(id: &str, version: u32, tokens: &[u8]) -> NewRecord {
        NewRecord {
            type_name: "Patient".into(),
            id: ResourceId::parse(id).unwrap(),
            version: Version(version),
            place: Place { pack: "packs/p".into(), extent: Extent { offset: 7, length: 9 } },
            updated: i64::from(version),
            deleted: false,
            blinded: Blinded {
                lookups: tokens.iter().map(|t| Token([*t; 16])).collect(),
                marks: tokens.iter().map(|t| [*t; 8]).collect(),
            },
            entry: Some(vec![version as u8; 35]),
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("index.sqlite")).unwrap();
        (directory, store)
    }

    fn scan(terms: Vec<Vec<u8>>, upto: i64) -> Scan {
        let clause = |any: Vec<u8>| Clause::Any {
            marks: any.iter().map(|b| [*b; 8]).collect(),
            lookups: Some(any.iter().map(|b| Token([*b; 16])).collect()),
        };
        let clauses = terms.into_iter().map(clause).collect();
        let kind = TypeName::parse("Patient").unwrap();
        Scan { kind, clauses, ids: None, updated: vec![], after: 0, upto, now: 0 }
    }

    #[test]
    fn the_newest_version_is_found_and_the_old_ones_stay() {
        let (_keep, store) = store();
        store
            .commit(&Batch { records: vec![record("a", 1, &[1]), record("b", 1, &[1, 2])], ..Batch::default() })
            .unwrap();
        store.commit(&Batch { records: vec![record("a", 2, &[3])], ..Batch::default() }).unwrap();
        let name = Name::parse("Patient/a").unwrap();
        assert_eq!(store.current(&name).unwrap().unwrap().version, Version(2));
        assert_eq!(store.version(&name, Version(1)).unwrap().unwrap().updated, 1);
        for (terms, expected) in
            [(vec![vec![1]], 1), (vec![vec![1, 3]], 2), (vec![vec![1], vec![2]], 1), (vec![vec![9]], 0), (vec![], 2)]
        {
            let scan = scan(terms, store.newest().unwrap());
            assert_eq!(store.count(&scan, 9).unwrap(), expected, "{scan:?}");
            assert_eq!(store.scan(&scan, 9).unwrap().len(), expected);
        }
        let before = store.scan(&scan(vec![vec![1]], 2), 9).unwrap();
        assert_eq!(before.iter().map(|s| s.version.0).collect::<Vec<_>>(), [1, 1], "an older snapshot shows what was");
        let by_id = Scan { ids: Some(vec![ResourceId::parse("a").unwrap()]), ..scan(vec![], 3) };
        assert_eq!(store.scan(&by_id, 9).unwrap()[0].version, Version(2));
    }

    #[test]
    fn a_batch_is_all_or_nothing() {
        let (_keep, store) = store();
        let twice =
            Batch { records: vec![record("a", 1, &[]), record("c", 1, &[]), record("a", 1, &[])], ..Batch::default() };
        assert!(store.commit(&twice).is_err(), "a version exists once");
        assert_eq!(store.count(&scan(vec![], i64::MAX), 9).unwrap(), 0);
    }

    #[test]
    fn the_outbox_goes_into_the_log_once_and_in_order() {
        let (_keep, store) = store();
        store.commit(&Batch { records: vec![record("a", 1, &[]), record("a", 2, &[])], ..Batch::default() }).unwrap();
        let round = || {
            let grow = |_: u64, entry: &[u8], _: &LogReader<'_>| Ok::<_, StoreError>(vec![[entry[0]; 32]]);
            store.sequence(1, grow, |size, _| Ok(format!("note {size}"))).unwrap()
        };
        assert_eq!((round(), round(), round()), (Some(1), Some(2), None));
        assert_eq!(store.entries(0, 10).unwrap(), [vec![1; 35], vec![2; 35]]);
        assert_eq!(store.checkpoint(None).unwrap(), None, "what is not published is not shown");
        store.set_setting("published", "2").unwrap();
        assert_eq!(store.checkpoint(None).unwrap(), Some((2, "note 2".into())));
        assert_eq!(store.checkpoint(Some(0)).unwrap(), Some((1, "note 1".into())), "the first that covers position 0");
        assert_eq!(store.waiting().unwrap(), 0);
    }

    #[test]
    fn a_newer_schema_and_a_changed_setting_are_refused() {
        let (directory, store) = store();
        store.keep_setting("custodian", "a").unwrap();
        assert!(
            matches!(store.keep_setting("custodian", "b"), Err(StoreError::Changed { stored, .. }) if stored == "a")
        );
        let path = directory.path().join("index.sqlite");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Schema { found: 99, .. })));
    }
}
