//! The check of what is stored: packs, index, wrapped keys, log and ledger are held against each other, and every difference is
//! named. It changes nothing. What comes in while it looks is left out: it goes by the newest row of its beginning.

mod chain;
mod keys;
mod log;
mod packs;
mod published;
mod strangers;

use crate::app::keep::Keep;
use crate::error::VaultError;
use crate::read::in_background;
use crate::upkeep::recover::Tell;
use crate::vault::objects::ObjectError;
use serde::Serialize;
use std::collections::HashSet;
use std::path::Path;

/// Differences and notes that are told one by one; the rest is counted. More help nobody.
const MAX_TOLD: usize = 1_000;

/// Objects in a row that a bucket does not give: more, and it is the bucket that is away. One alone may be damaged where it lies.
const MAX_AWAY: u32 = 3;

/// A commit takes no longer, in milliseconds: what is not younger, and no row refers to, was never committed. What is may be half
/// written.
pub(super) const UNDER_WAY: i64 = 60_000;

/// What was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub packs: u64,
    pub bytes: u64,
    pub records: Part,
    /// Of these: what lies in another pack by the index, what nobody can open any more, what was never committed.
    pub copies: Part,
    pub erased: Part,
    pub unreferenced: Part,
    /// Wrapped keys in the index.
    pub keys: u64,
    /// Entries of the log, those that were published, and those that the ledger has anchored.
    pub log: u64,
    pub published: Option<u64>,
    pub anchored: Option<u64>,
    pub checkpoints: u64,
    pub differences: Told,
    /// What is no fault and may be of interest.
    pub notes: Told,
}

/// Some of the records.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Part {
    pub records: u64,
    pub bytes: u64,
}

/// Things that are told: the first ones, and how many more there are.
#[derive(Debug, Default, Serialize)]
pub struct Told {
    pub lines: Vec<Line>,
    pub further: u64,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// An object, a row, a position of the log.
    pub at: String,
    pub what: String,
}

impl Part {
    fn add(&mut self, bytes: u32) {
        self.records += 1;
        self.bytes += u64::from(bytes);
    }
}

impl Told {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.lines.len() as u64 + self.further
    }

    fn add(&mut self, at: impl Into<String>, what: impl Into<String>) {
        match self.lines.len() {
            MAX_TOLD => self.further += 1,
            _ => self.lines.push(Line { at: at.into(), what: what.into() }),
        }
    }
}

/// A check under way.
struct Check<'c> {
    keep: &'c Keep,
    /// The newest row of the beginning, and when that was, in milliseconds since 1970.
    upto: i64,
    begun: i64,
    /// The newest pack that the index has, where it is SQLite: what is newer it may not have followed yet.
    followed: Option<String>,
    /// Owners whose rows need not be emptied yet.
    unfinished: HashSet<String>,
    /// Objects in a row that the store did not give.
    away: u32,
    tell: Tell<'c>,
    report: Report,
}

impl Check<'_> {
    fn differs(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.report.differences.add(at, what);
    }

    /// What became of reading an object; an error only if the store itself is away.
    fn read<T>(&mut self, read: Result<T, ObjectError>) -> Result<Result<T, ObjectError>, VaultError> {
        match read {
            Err(error @ ObjectError::Refused { .. }) => Err(error.into()),
            Err(error @ ObjectError::S3 { .. }) if self.away == MAX_AWAY => Err(error.into()),
            read => {
                self.away = if matches!(read, Err(ObjectError::S3 { .. })) { self.away + 1 } else { 0 };
                Ok(read)
            }
        }
    }

    /// Whether the index has not come so far; the next start of a service puts such a pack in.
    fn is_ahead(&self, pack: &str) -> bool {
        self.followed.as_ref().is_some_and(|newest| pack > newest.as_str())
    }

    fn note(&mut self, at: impl Into<String>, what: impl Into<String>) {
        self.report.notes.add(at, what);
    }
}

/// Holds everything against everything. `data` is the data directory, where the ledger may lie. No other upkeep goes on meanwhile:
/// it moves what is looked at.
pub async fn check(keep: &Keep, data: &Path, tell: Tell<'_>) -> Result<Report, VaultError> {
    let _alone = keep.alone().await?;
    keep.notice_erasures()?;
    let begun = keep.clock.now().as_millisecond();
    let mut check = Check {
        keep,
        upto: 0,
        begun,
        followed: None,
        unfinished: HashSet::new(),
        away: 0,
        tell,
        report: Report::default(),
    };
    // In this order each is at most as far as the next one.
    let chain = check.chain(data)?;
    let published = check.published().await?;
    let store = keep.store.clone();
    let beginning = move || Ok((store.log_size()?, store.newest()?, store.newest_pack()?.unwrap_or_default()));
    let (size, upto, newest_pack) =
        in_background(beginning).await.map(|(size, upto, pack)| (size, upto, Some(pack)))?;
    check.upto = upto;
    check.followed = newest_pack.filter(|_| !keep.store.is_shared());
    check.erasures().await?;
    check.keys().await?;
    check.log(size, published, chain).await?;
    check.packs().await?;
    check.strangers().await?;
    Ok(check.report)
}
