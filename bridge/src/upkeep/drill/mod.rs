//! The drill: a backup is restored, or nothing but the packs is there, and everything is recovered in a place of its own; then it is
//! proved. What is live is read, and nothing of it is changed: objects are looked at through a folder that takes what is written, and
//! no request is sent that would change a chain. The index alone remembers that there was a drill.

mod chain;
mod frozen;

use super::check;
use super::recover::{self, Tell};
use crate::app::keep::{Keep, alone};
use crate::app::{StartError, existing_index, objects, private_directory, roots};
use crate::clock::{Clock, instant};
use crate::config::{Config, Index};
use crate::index::alone::Alone;
use crate::index::backup::restore;
use crate::index::drills::Drill;
use crate::index::store::{Store, StoreError};
use frozen::Frozen;
use serde::Serialize;
use std::path::Path;
use std::sync::Arc;

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Up to where the backup went.
    pub backup: Option<Upto>,
    /// Up to where everything goes once it is recovered.
    pub recovered: Upto,
    /// Records that were put in from the packs.
    pub put_in: u64,
    /// Packs that nobody was answered for, or that were being written when it began.
    pub left_out: u64,
    /// Entries that no published checkpoint has yet.
    pub waiting: u64,
    /// The size that the contract on the chain holds, where one is configured.
    pub chain: Option<u64>,
    /// What recovery and the chain have against it.
    pub faults: Vec<String>,
    /// What the check of everything says.
    pub checked: check::Report,
}

/// Up to where an index goes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Upto {
    /// When the copy was made, where it says so.
    pub made: Option<String>,
    /// When the newest record was committed.
    pub newest: Option<String>,
    pub records: u64,
    pub log: u64,
}

impl Outcome {
    /// Whether everything is proved.
    pub fn is_proved(&self) -> bool {
        self.faults.is_empty() && self.checked.differences.count() == 0
    }
}

/// The live index, and its lock: no other upkeep moves what is looked at.
struct Live {
    store: Option<Arc<Store>>,
    _alone: Option<Alone>,
}

/// Drills in an empty directory of its own, with a backup or without one.
pub async fn drill(
    config: &Config,
    backup: Option<&Path>,
    place: &Path,
    clock: Arc<dyn Clock>,
    tell: Tell<'_>,
) -> Result<Outcome, StartError> {
    let live = live(config).await?;
    let at = clock.now().as_millisecond();
    let outcome = carry_out(config, &live, backup, place, clock, tell).await;
    if let Some(store) = &live.store {
        let proved = outcome.as_ref().is_ok_and(Outcome::is_proved);
        let log = outcome.as_ref().map_or(0, |outcome| outcome.recovered.log);
        let made = backup.and_then(|_| made(&place.join("data/index.sqlite")));
        store.note_drill(&Drill { at, proved, backup: made, log })?;
    }
    outcome
}

async fn carry_out(
    config: &Config,
    live: &Live,
    backup: Option<&Path>,
    place: &Path,
    clock: Arc<dyn Clock>,
    tell: Tell<'_>,
) -> Result<Outcome, StartError> {
    let now = clock.now().as_millisecond();
    let scratch = prepare(config, place)?;
    chain::journal(config, live.store.as_deref(), &scratch.data.join("ledger.journal"))?;
    let head = chain::head(config, now).await?;
    let frozen = frozen::freeze(objects(config, None)?, live.store.as_deref(), &place.join("objects"), now).await?;
    let before = backup.map(|backup| restored(backup, &scratch)).transpose()?;
    let Frozen { objects, left_out } = frozen;
    let locked = Keep::recover(&scratch, Some(objects), clock, tell).await?;
    let (report, keep) = recover::recover_into(locked, &scratch, tell).await?;
    let checked = check::check(&keep, &scratch.data, tell).await?;
    let mut faults = report.faults;
    let chain = head.compare(&keep)?.unwrap_or_else(|what| {
        faults.push(what);
        None
    });
    if report.proved.is_none() {
        faults.push("no log was published beside the packs: nothing proves what is recovered".to_owned());
    }
    Ok(Outcome {
        backup: before,
        recovered: upto(&keep.store)?,
        put_in: report.records,
        left_out: left_out + report.never_committed,
        waiting: keep.store.waiting()?,
        chain,
        faults,
        checked,
    })
}

/// The index that there is may be lost or out of reach: a drill does without it.
async fn live(config: &Config) -> Result<Live, StartError> {
    let store = match existing_index(config) {
        Ok(store) => Arc::new(store),
        Err(StartError::Nothing { .. }) => return Ok(Live { store: None, _alone: None }),
        Err(error) => {
            tracing::warn!(%error, "the live index cannot be asked: nobody remembers this drill");
            return Ok(Live { store: None, _alone: None });
        }
    };
    let alone = alone(&store).await?;
    Ok(Live { store: Some(store), _alone: Some(alone) })
}

/// A data directory with the live root keys, and a configuration that leads nowhere else.
fn prepare(config: &Config, place: &Path) -> Result<Config, StartError> {
    let data = place.join("data");
    let directory = |source| StartError::Directory { path: data.clone(), source };
    private_directory(&data).map_err(directory)?;
    for name in [roots::FILE, roots::NEXT_FILE] {
        let live = std::path::absolute(config.data.join(name)).map_err(directory)?;
        if live.exists() {
            // Not a second copy of a key.
            std::os::unix::fs::symlink(live, data.join(name)).map_err(directory)?;
        }
    }
    let index = Index { postgres: None, ..config.index.clone() };
    Ok(Config { data, index, file: None, ..config.clone() })
}

/// Puts the backup where the index is to be; tells up to where it goes.
fn restored(backup: &Path, scratch: &Config) -> Result<Upto, StartError> {
    let to = scratch.data.join("index.sqlite");
    restore(backup, &to).map_err(|source| StartError::Backup { path: backup.to_owned(), source })?;
    Ok(upto(&Store::open(&to)?)?)
}

fn upto(store: &Store) -> Result<Upto, StoreError> {
    let newest = Some(store.newest_time()?).filter(|time| *time > 0);
    let log = store.log_size()?;
    Ok(Upto { made: store.backed_up()?.map(told), newest: newest.map(told), records: store.records()?, log })
}

fn made(index: &Path) -> Option<i64> {
    index.exists().then(|| Store::open(index).ok()?.backed_up().ok()?).flatten()
}

fn told(time: i64) -> String {
    jiff::Timestamp::from_millisecond(time).map(instant).unwrap_or_default()
}
