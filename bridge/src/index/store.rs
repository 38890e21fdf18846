//! The index: the few statements that the write path, the read path and the sequencer need, on SQLite or on PostgreSQL.
//! SQLite has one process, one writer at a time, many readers; on PostgreSQL several replicas write in turn (`write`).

use super::blind::Blinded;
use super::engine::{Engine, Lent};
use super::erasures::ERASED;
use super::postgres::Settings;
use super::sql::{Connection, Row, Value, values};
use super::tokens::Token;
use super::write::{self, Turn};
use crate::ids::{Name, Owner, ResourceId, TypeName, Version};
use crate::vault::keys::Wrapped;
use crate::vault::pack::Extent;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Why the index did not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("index {path}: {source}")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error(
        "index {place} has schema version {found}, this medseal knows {known}: use the medseal that wrote it, or a newer one"
    )]
    Schema { place: String, found: i64, known: i64 },
    #[error(
        "index {place} has schema version {found}, this medseal knows {known}: start `medseal serve` once, which brings it there"
    )]
    Older { place: String, found: i64, known: i64 },
    #[error("the index did not answer: {0}")]
    Query(rusqlite::Error),
    #[error("the index would have to look at too many rows")]
    TooWide,
    #[error("the index did not do it: PostgreSQL says `{message}` ({code})")]
    Postgres { code: String, message: String },
    #[error("lock {path}: {source}")]
    Lock { path: PathBuf, source: std::io::Error },
    #[error("PostgreSQL at {place} is away: {what}")]
    Away { place: String, what: String },
    #[error("the connection to PostgreSQL at {place} was lost")]
    Lost { place: String },
    /// Somebody else wrote the same version, claimed the same identity or made the same key before.
    #[error("another writer was first")]
    Conflict,
    /// Times grow with the rows: what is older than the newest row cannot follow it.
    #[error("another writer has written something newer")]
    Stale,
    /// The lease is another's now: whatever this one was about to write, it may not any more.
    #[error("another replica has taken over the background work")]
    Fenced,
    #[error("services are at work on this index: {replicas}: stop all of them first")]
    AtWork { replicas: String },
    /// Whoever opened it before is to be started anew.
    #[error("the index was recovered since this process opened it: start it anew")]
    Recovered,
    #[error("the index holds a row that makes no sense: {0}")]
    Nonsense(&'static str),
    #[error("the key of {} was destroyed", owner.as_str())]
    Erased { owner: Owner },
    #[error("a key was wrapped under a root that is being retired: try again")]
    OldRoot,
    #[error("{name} was `{stored}` when this data directory was made and must stay so: it stands in every commitment")]
    Changed { name: &'static str, stored: String },
}

impl StoreError {
    /// The index has refused what was to be committed: it is certain that it is not there.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Erased { .. } | Self::OldRoot | Self::Conflict | Self::Stale)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::ConstraintViolation) => Self::Conflict,
            _ => Self::Query(error),
        }
    }
}

impl From<tokio_postgres::Error> for StoreError {
    /// What a session did not name itself: an answer that is not of the type that it should be.
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres { code: String::new(), message: error.to_string() }
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
    /// Claims of resources that have lost the identifier: let go before the new ones are made. Another's claim stays, and is in
    /// the way of a new one.
    pub stale: Vec<(Token, Name)>,
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
    engine: Engine,
    looked_at: bool,
}

/// How long a commit waits for a database that is away, and how long between two looks. Below `COMMIT_TIMEOUT`.
const RIDE_OUT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(200);

/// What is read into a [`Stored`], from the rows that the rest of the statement names.
macro_rules! select_stored {
    ($rest:literal) => {
        concat!(
            "SELECT row, type, id, version, pack, \"offset\", length, updated, deleted, ",
            "(SELECT entry FROM log WHERE log.row = record.row) FROM record ",
            $rest
        )
    };
}

/// The same, for statements that are put together.
pub(super) const STORED: &str = select_stored!("");
const CURRENT: &str = select_stored!("WHERE type = ?1 AND id = ?2 ORDER BY version DESC LIMIT 1");

impl Store {
    /// Opens the index in SQLite, and makes it if it is new.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { engine: Engine::sqlite(path)?, looked_at: false })
    }

    /// Opens the index in PostgreSQL, and makes it if it is new: whichever replica comes first.
    pub fn postgres(settings: Settings) -> Result<Self, StoreError> {
        Ok(Self { engine: Engine::postgres(settings)?, looked_at: false })
    }

    /// Opens an index that is there, to look at it and change nothing.
    pub fn look_at(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { engine: Engine::look_at_sqlite(path)?, looked_at: true })
    }

    /// The same in PostgreSQL.
    pub fn look_at_postgres(settings: Settings) -> Result<Self, StoreError> {
        Ok(Self { engine: Engine::look_at_postgres(settings)?, looked_at: true })
    }

    /// Whether nothing is to be changed: not here, and not beside it.
    pub fn is_looked_at(&self) -> bool {
        self.looked_at
    }

    /// Whether other replicas may write to it, too.
    pub fn is_shared(&self) -> bool {
        self.engine.is_shared()
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn lend(&self) -> Result<Lent, StoreError> {
        self.engine.lend()
    }

    /// Does work on a connection.
    pub(super) fn with<T, E: From<StoreError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        work(&*self.lend()?)
    }

    /// Work that changes nothing: if the connection is lost, it is done again on a fresh one.
    pub(super) fn read<T>(&self, work: impl Fn(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match self.with(&work) {
            Err(StoreError::Lost { .. }) => self.with(&work),
            done => done,
        }
    }

    /// Work that counts as a whole or not at all.
    pub(super) fn transaction<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.lend()?.transaction(work)
    }

    /// The current version of a resource.
    pub fn current(&self, name: &Name) -> Result<Option<Stored>, StoreError> {
        self.read(|c| c.first(CURRENT, values![name.kind.as_str(), name.id.as_str()], stored))
    }

    /// One version of a resource.
    pub fn version(&self, name: &Name, version: Version) -> Result<Option<Stored>, StoreError> {
        const SQL: &str = select_stored!("WHERE type = ?1 AND id = ?2 AND version = ?3");
        self.read(|c| c.first(SQL, values![name.kind.as_str(), name.id.as_str(), version.0], stored))
    }

    /// Where a received message lies, also one in quarantine.
    pub fn message(&self, id: &ResourceId) -> Result<Option<Place>, StoreError> {
        const SQL: &str = "SELECT pack, \"offset\", length FROM record \
             WHERE type IN ('Message', 'Quarantine') AND id = ?1 AND version = 1";
        self.read(|c| c.first(SQL, values![id.as_str()], |r| place(r, 0)))
    }

    /// The resource that claimed an identity.
    pub fn identity(&self, token: &Token) -> Result<Option<Name>, StoreError> {
        const SQL: &str = "SELECT type, id FROM identity WHERE token = ?1";
        self.read(|c| c.first(SQL, values![token], |r| name(r.text(0)?, r.text(1)?)))
    }

    /// Whether a message was taken before, and under which id.
    pub fn taken(&self, token: &Token) -> Result<Option<ResourceId>, StoreError> {
        const SQL: &str = "SELECT id FROM message WHERE token = ?1";
        self.read(|c| c.first(SQL, values![token], |r| resource_id(r, 0)))
    }

    /// An owner's wrapped key.
    pub fn key(&self, owner: &Owner) -> Result<Option<Wrapped>, StoreError> {
        const SQL: &str = "SELECT wrapped FROM data_key WHERE owner = ?1";
        self.read(|c| c.first(SQL, values![owner.as_str()], |r| Ok(Wrapped(r.blob(0)?.to_vec()))))
    }

    /// Writes one group commit, all or nothing.
    pub fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let done = self.turn().and_then(|turn| turn.commit(batch));
        self.ride_out(batch, done)
    }

    /// The same for a group whose pack is on disk: SQLite is not made to sync it, since after a power cut the next start puts the
    /// pack in again, if its name comes after those before.
    pub fn commit_behind(&self, batch: &Batch) -> Result<(), StoreError> {
        let done = self.engine.lend_behind().and_then(Turn::take).and_then(|turn| turn.follow(batch));
        self.ride_out(batch, done)
    }

    /// The same, in a turn that was taken before.
    pub fn commit_in(&self, turn: Turn, batch: &Batch) -> Result<(), StoreError> {
        let done = turn.commit(batch);
        self.ride_out(batch, done)
    }

    fn ride_out(&self, batch: &Batch, mut done: Result<(), StoreError>) -> Result<(), StoreError> {
        let begun = Instant::now();
        while is_away(&done) && begun.elapsed() < RIDE_OUT {
            std::thread::sleep(PAUSE);
            done = self.look_up(batch);
        }
        done
    }

    /// Takes the turn to commit: until it is used or dropped, nobody else commits. Others wait at most so long that a sender
    /// is told to try again.
    pub fn turn(&self) -> Result<Turn, StoreError> {
        Turn::take(self.lend()?)
    }

    /// The connection was lost while a batch was committed: whether it is there tells the index itself, once it is our turn and
    /// nobody else commits, not even the session that was lost. If it is not there, it is committed now.
    fn look_up(&self, batch: &Batch) -> Result<(), StoreError> {
        let turn = self.turn()?;
        if write::is_there(&turn, batch)? { Ok(()) } else { turn.commit(batch) }
    }

    /// The pack of the newest record.
    pub fn newest_pack(&self) -> Result<Option<String>, StoreError> {
        self.read(|c| c.first(write::NEWEST_PACK, &[], |r| r.string(0)))
    }

    /// The packs that records lie in, with the end of the last record in each.
    pub fn packs(&self) -> Result<Vec<(String, u64)>, StoreError> {
        const SQL: &str = "SELECT pack, max(\"offset\" + length) FROM record GROUP BY pack ORDER BY pack";
        self.read(|c| c.rows(SQL, &[], |r| Ok((r.string(0)?, r.size(1)?))))
    }

    /// Keeps a setting that was not there yet, and tells which one is there now.
    pub fn first_setting(&self, name: &str, value: &str) -> Result<String, StoreError> {
        const SQL: &str = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING";
        self.with(|c| c.execute(SQL, values![name, value]))?;
        self.setting(name)?.ok_or(StoreError::Nonsense("a setting that is not there"))
    }

    /// A setting, if it is there.
    pub fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.read(|c| c.first("SELECT value FROM setting WHERE name = ?1", values![name], |r| r.string(0)))
    }

    /// Stores a setting that must never change, or compares it with what was stored.
    pub fn keep_setting(&self, name: &'static str, value: &str) -> Result<(), StoreError> {
        let stored = self.first_setting(name, value)?;
        if stored == value { Ok(()) } else { Err(StoreError::Changed { name, stored }) }
    }

    /// Remembers how far the chain has come. It never comes back: a replica that awakes with an old answer changes nothing.
    pub fn remember_anchored(&self, size: u64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO setting (name, value) VALUES ('anchored', ?1) ON CONFLICT (name) DO UPDATE \
                           SET value = ?1 WHERE CAST(setting.value AS BIGINT) < CAST(?1 AS BIGINT)";
        self.with(|c| c.execute(SQL, values![&size.to_string()])).map(|_| ())
    }

    /// How far the chain had come when this index last saw it.
    pub fn anchored(&self) -> Result<u64, StoreError> {
        let value = self.setting("anchored")?;
        value.map_or(Ok(0), |v| v.parse().map_err(|_| StoreError::Nonsense("the anchored size")))
    }

    /// Tries whether it can be written. Nothing is made to wait for the disk.
    pub fn probe(&self, now: i64) -> Result<(), StoreError> {
        let lent = self.engine.lend_behind()?;
        set(&lent, "probe", &now.to_string())
    }

    /// Whether the index holds any record.
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        self.read(|c| Ok(c.first("SELECT owner FROM data_key LIMIT 1", &[], |_| Ok(()))?.is_none()))
    }
}

fn is_away(done: &Result<(), StoreError>) -> bool {
    matches!(done, Err(StoreError::Lost { .. } | StoreError::Away { .. }))
}

/// Keeps a setting that changes.
pub(super) fn set(c: &Connection, name: &str, value: &str) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO setting (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2";
    c.execute(SQL, values![name, value]).map(|_| ())
}

/// Rows by their numbers, in their order.
pub(super) fn stored_rows(c: &Connection, rows: &[i64]) -> Result<Vec<Stored>, StoreError> {
    const SQL: &str = select_stored!("WHERE row = ANY(?1)");
    let mut found = c.rows_of(SQL, super::sql::Keys::Ints(rows), &[], stored)?;
    found.sort_unstable_by_key(|stored| stored.row);
    Ok(found)
}

pub(super) fn many(c: &Connection, sql: &str, values: &[Value<'_>]) -> Result<Vec<Stored>, StoreError> {
    c.rows(sql, values, stored)
}

pub(super) fn place(r: &Row<'_>, at: usize) -> Result<Place, StoreError> {
    Ok(Place { pack: r.string(at)?, extent: Extent { offset: r.size(at + 1)?, length: r.small(at + 2)? } })
}

pub(super) fn stored(r: &Row<'_>) -> Result<Stored, StoreError> {
    Ok(Stored {
        row: r.int(0)?,
        name: name(r.text(1)?, r.text(2)?)?,
        version: Version(r.small(3)?),
        place: place(r, 4)?,
        updated: r.int(7)?,
        deleted: r.flag(8)?,
        erased: r.int(8)? == ERASED,
        entry: r.maybe_blob(9)?,
    })
}

pub(super) fn resource_id(r: &Row<'_>, at: usize) -> Result<ResourceId, StoreError> {
    ResourceId::parse(r.text(at)?).ok_or(StoreError::Nonsense("a resource id"))
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
    use crate::index::stores;

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

    fn scan(terms: Vec<Vec<u8>>, upto: i64) -> Scan {
        let clause = |any: Vec<u8>| Clause::Any {
            marks: any.iter().map(|b| [*b; 8]).collect(),
            lookups: Some(any.iter().map(|b| Token([*b; 16])).collect()),
        };
        let clauses = terms.into_iter().map(clause).collect();
        let kind = TypeName::parse("Patient").unwrap();
        Scan { kind, clauses, ids: None, updated: vec![], after: 0, upto, now: 0 }
    }

    fn batch(records: Vec<NewRecord>) -> Batch {
        Batch { records, ..Batch::default() }
    }

    #[test]
    fn the_newest_version_is_found_and_the_old_ones_stay() {
        for (_keep, store) in stores() {
            store.commit(&batch(vec![record("a", 1, &[1]), record("b", 1, &[1, 2])])).unwrap();
            store.commit(&batch(vec![record("a", 2, &[3])])).unwrap();
            let name = Name::parse("Patient/a").unwrap();
            assert_eq!(store.current(&name).unwrap().unwrap().version, Version(2));
            assert_eq!(store.version(&name, Version(1)).unwrap().unwrap().updated, 1);
            let expected = [
                (vec![vec![1]], 1),
                (vec![vec![1, 3]], 2),
                (vec![vec![1], vec![2]], 1),
                (vec![vec![9]], 0),
                (vec![], 2),
            ];
            for (terms, expected) in expected {
                let scan = scan(terms, store.newest().unwrap());
                assert_eq!(store.count(&scan, 9).unwrap(), expected, "{scan:?}");
                assert_eq!(store.scan(&scan, 9).unwrap().len(), expected);
            }
            let before = store.scan(&scan(vec![vec![1]], 2), 9).unwrap();
            let versions: Vec<u32> = before.iter().map(|s| s.version.0).collect();
            assert_eq!(versions, [1, 1], "an older snapshot shows what was");
            let by_id = Scan { ids: Some(vec![ResourceId::parse("a").unwrap()]), ..scan(vec![], 3) };
            assert_eq!(store.scan(&by_id, 9).unwrap()[0].version, Version(2));
        }
    }

    #[test]
    fn sqlite_prepares_a_statement_once_whatever_its_values() {
        let (_keep, store) = stores().swap_remove(0);
        store.commit(&batch(vec![record("a", 1, &[1])])).unwrap();
        for name in ["Patient/a", "Patient/b", "Group/c"] {
            store.current(&Name::parse(name).unwrap()).unwrap();
        }
        let Connection::Sqlite(c) = &*store.lend().unwrap() else { panic!("the first is SQLite") };
        let statement = c.prepare_cached(CURRENT).unwrap();
        let status = |what| statement.get_status(what);
        assert!(status(rusqlite::StatementStatus::Run) >= 3, "it is the one that was used");
        assert_eq!(status(rusqlite::StatementStatus::RePrepare), 0);
    }

    #[test]
    fn versions_of_one_resource_in_one_batch_follow_each_other() {
        for (_keep, store) in stores() {
            let three = vec![record("a", 1, &[1]), record("b", 1, &[]), record("a", 2, &[1]), record("a", 3, &[1])];
            let three = three.into_iter().map(|record| NewRecord { updated: 5, ..record }).collect();
            store.commit(&batch(three)).unwrap();
            let name = Name::parse("Patient/a").unwrap();
            assert_eq!(store.current(&name).unwrap().unwrap().row, 4);
            let at = |upto| store.scan(&scan(vec![vec![1]], upto), 9).unwrap()[0].version.0;
            assert_eq!((at(2), at(3), at(4)), (1, 2, 3));
        }
    }

    #[test]
    fn what_the_chain_has_reached_is_never_forgotten() {
        for (_keep, store) in stores() {
            for (told, known) in [(9, 9), (10, 10), (9, 10), (100, 100), (20, 100)] {
                store.remember_anchored(told).unwrap();
                assert_eq!(store.anchored().unwrap(), known, "after {told}");
            }
        }
    }

    /// PostgreSQL's rows are on disk when it says so: nobody looks for the packs of those that a power cut took.
    #[test]
    fn sqlite_follows_packs_in_the_order_of_their_names() {
        for (_keep, store) in stores() {
            let in_pack = |id: &str, pack: &str| {
                let place = Place { pack: pack.into(), extent: Extent { offset: 7, length: 9 } };
                batch(vec![NewRecord { place, ..record(id, 1, &[]) }])
            };
            store.commit_behind(&in_pack("a", "packs/2")).unwrap();
            let earlier = store.commit_behind(&in_pack("b", "packs/1"));
            assert_eq!(matches!(earlier, Err(StoreError::Stale)), !store.is_shared());
            assert_eq!(store.current(&Name::parse("Patient/b").unwrap()).unwrap().is_some(), store.is_shared());
            store.commit_behind(&in_pack("c", "packs/3")).unwrap();
        }
    }

    #[test]
    fn a_batch_is_all_or_nothing() {
        for (_keep, store) in stores() {
            let twice = batch(vec![record("a", 1, &[]), record("c", 1, &[]), record("a", 1, &[])]);
            assert!(matches!(store.commit(&twice), Err(StoreError::Conflict)), "a version exists once");
            assert_eq!(store.count(&scan(vec![], i64::MAX), 9).unwrap(), 0);
        }
    }

    #[test]
    fn whoever_comes_second_or_with_an_older_time_must_try_again() {
        for (_keep, store) in stores() {
            let (key, claim) = (Owner::custodian(), (Token([7; 16]), Name::parse("Patient/a").unwrap()));
            let first = Batch {
                records: vec![record("a", 5, &[])],
                identities: vec![claim.clone()],
                messages: vec![(Token([8; 16]), ResourceId::parse("m").unwrap())],
                keys: vec![(key.clone(), Wrapped(vec![1]))],
                ..Batch::default()
            };
            store.commit(&first).unwrap();
            let second = |batch: Batch| store.commit(&batch).unwrap_err();
            let conflicts = [
                Batch { identities: vec![claim.clone()], ..batch(vec![]) },
                Batch { messages: first.messages.clone(), ..batch(vec![]) },
                Batch { keys: vec![(key.clone(), Wrapped(vec![2]))], ..batch(vec![]) },
                batch(vec![record("a", 5, &[])]),
            ];
            for conflict in conflicts {
                assert!(matches!(second(conflict), StoreError::Conflict));
            }
            assert!(matches!(second(batch(vec![record("b", 1, &[])])), StoreError::Stale), "times grow with rows");
            assert_eq!(store.key(&key).unwrap(), Some(Wrapped(vec![1])));
            let moved = |from: &str| {
                let stale = vec![(claim.0, Name::parse(from).unwrap())];
                let identities = vec![(claim.0, Name::parse("Patient/b").unwrap())];
                store.commit(&Batch { stale, identities, ..batch(vec![]) })
            };
            assert!(matches!(moved("Patient/c"), Err(StoreError::Conflict)), "who let it go had not seen whose it is");
            moved("Patient/a").unwrap();
            assert_eq!(store.identity(&claim.0).unwrap(), Name::parse("Patient/b"));
        }
    }

    #[test]
    fn who_has_the_turn_keeps_others_waiting_and_leaves_nothing_if_it_goes() {
        for (_keep, store) in stores() {
            let turn = store.turn().unwrap();
            std::thread::scope(|scope| {
                let other = scope.spawn(|| store.commit(&batch(vec![record("b", 2, &[])])).unwrap());
                std::thread::sleep(Duration::from_millis(200));
                assert!(!other.is_finished());
                assert_eq!(store.newest().unwrap(), 0, "readers do not wait");
                drop(turn);
            });
            assert_eq!(store.newest().unwrap(), 1);
        }
    }

    #[test]
    fn the_outbox_goes_into_the_log_once_and_in_order() {
        for (_keep, store) in stores() {
            store.commit(&batch(vec![record("a", 1, &[]), record("a", 2, &[])])).unwrap();
            let epoch = store.hold("me", Duration::from_secs(9)).unwrap().unwrap();
            let round = || {
                let grow = |_: u64, entry: &[u8], _: &LogReader<'_>| Ok::<_, StoreError>(vec![[entry[0]; 32]]);
                store.sequence(epoch, 1, grow, |size, _| Ok(format!("note {size}"))).unwrap()
            };
            assert_eq!((round(), round(), round()), (Some(1), Some(2), None));
            assert_eq!(store.entries(0, 10).unwrap(), [vec![1; 35], vec![2; 35]]);
            assert_eq!(store.checkpoint(None).unwrap(), None, "what is not published is not shown");
            store.set_setting("published", "2").unwrap();
            assert_eq!(store.checkpoint(None).unwrap(), Some((2, "note 2".into())));
            assert_eq!(
                store.checkpoint(Some(0)).unwrap(),
                Some((1, "note 1".into())),
                "the first that covers position 0"
            );
            assert_eq!(store.waiting().unwrap(), 0);
        }
    }

    #[test]
    fn walks_find_the_same_rows_over_generations_and_steps() {
        for (_keep, store) in stores() {
            let often = 1_300;
            let many = |n: u32| NewRecord {
                updated: 1,
                ..record(&format!("r{n}"), 1, if n.is_multiple_of(2) { &[1, 3] } else { &[2] })
            };
            store.commit(&batch((0..often).map(many).collect())).unwrap();
            let found = |terms, limit| store.scan(&scan(terms, store.newest().unwrap()), limit).unwrap();
            for (terms, expected) in [(vec![vec![1]], 650), (vec![vec![1, 2]], 1_300), (vec![vec![1, 3], vec![3]], 650)]
            {
                let rows: Vec<i64> = found(terms.clone(), 9_999).iter().map(|s| s.row).collect();
                assert_eq!(rows.len(), expected, "{terms:?}");
                assert!(rows.is_sorted());
                assert_eq!(found(terms, 40).last().unwrap().row, rows[39]);
            }
        }
    }

    #[test]
    fn a_newer_schema_and_a_changed_setting_are_refused() {
        for (directory, store) in stores() {
            store.keep_setting("custodian", "a").unwrap();
            assert!(
                matches!(store.keep_setting("custodian", "b"), Err(StoreError::Changed { stored, .. }) if stored == "a")
            );
            if store.is_shared() {
                store.with(|c| c.execute("UPDATE schema_version SET version = 99", &[])).unwrap();
                assert!(matches!(store.engine.migrated(), Err(StoreError::Schema { found: 99, .. })));
            } else {
                let path = directory.path().join("index.sqlite");
                rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
                assert!(matches!(Store::open(&path), Err(StoreError::Schema { found: 99, .. })));
            }
        }
    }
}
