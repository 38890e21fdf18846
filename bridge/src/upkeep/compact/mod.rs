//! Compaction: neighbouring small packs are joined, packs that are mostly dead are written anew without what nobody can open any
//! more, and what others have taken the place of is removed once it is old enough. No record is opened. Wrapped keys are joined
//! in the same way. A piece of it may be cut short anywhere: what lies twice then is found and removed later.

mod garbage;
mod join;
mod keys;
mod plan;

use crate::anchor::publish;
use crate::app::keep::Keep;
use crate::app::{App, StartError};
use crate::config::Storage;
use crate::error::VaultError;
use crate::index::alone::Alone;
use crate::secret::{bytes, system_random};
use crate::upkeep::recover::Tell;
use crate::vault::objects::Found;
use garbage::Garbage;
use plan::{Step, Sweep};
use std::time::{Duration, Instant};

/// What lies for so long is committed or never will be: a commit gives up after a minute.
const SETTLE: Duration = Duration::from_secs(10 * 60);
/// A pack that was never committed stays for so long: time enough to notice that the index is an old one, and to recover.
const NEVER: Duration = Duration::from_secs(7 * 24 * 3600);
/// Bytes that a round joins before it ends: what it knows of the packs grows old.
const ROUND: u64 = 4 << 30;
/// When the service begins with it after its start, and how long it waits between rounds.
const FIRST: Duration = Duration::from_secs(10 * 60);
const BETWEEN: Duration = Duration::from_secs(6 * 3600);
/// After so much work it rests, for the disk's sake and for others that wait to be at upkeep.
const WORK: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(500);
/// When the index was last compacted, in milliseconds since 1970.
const SETTING: &str = "compacted";
/// Digits of the time in a name, hexadecimal.
const TIME_DIGITS: usize = 13;

/// How old things must be.
#[derive(Debug, Clone, Copy)]
pub struct Ages {
    /// To be joined with others.
    pub settle: Duration,
    /// What took the place of a pack, for that to be removed.
    pub replaced: Duration,
    /// A pack that was never committed, to be removed.
    pub never: Duration,
}

impl Ages {
    /// As the configuration has them.
    pub fn of(storage: &Storage) -> Self {
        Self { settle: SETTLE, replaced: Duration::from_secs(storage.keep_hours * 3600), never: NEVER }
    }
}

/// What a round did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    /// Packs whose records were written anew, into how many, and with how many bytes.
    pub joined: u64,
    pub written: u64,
    pub written_bytes: u64,
    /// Packs that were removed, and their bytes.
    pub removed: u64,
    pub freed: u64,
    /// Objects of wrapped keys that were joined, and into how many.
    pub keys_joined: u64,
    pub keys_written: u64,
    /// Packs that cannot be read, or are not as they were written: they stay as they are.
    pub damaged: u64,
    /// There is more to do.
    pub more: bool,
}

/// A round under way.
struct Compaction<'k> {
    keep: &'k Keep,
    ages: Ages,
    /// When it began, in milliseconds since 1970.
    now: i64,
    /// Bytes of the packs that were joined.
    read: u64,
    /// When it rested last.
    rested: Instant,
    garbage: Garbage,
    report: Report,
}

/// What the service does by itself, for ever.
pub async fn run(app: &App) {
    let (keep, ages) = (app.core.keep(), Ages::of(&app.config.storage));
    let mut wait = FIRST;
    if !app.config.storage.compact {
        return;
    }
    loop {
        tokio::time::sleep(wait).await;
        if app.core.lease.held().is_none() {
            continue;
        }
        wait = match round(&keep, ages, &|_, _, _| ()).await {
            Ok(report) if report == Report::default() => BETWEEN,
            Ok(report) => {
                tracing::info!(?report, "packs were compacted");
                if report.more { FIRST } else { BETWEEN }
            }
            // A command is at work.
            Err(StartError::Vault(VaultError::Upkeep)) => FIRST,
            Err(error) => {
                tracing::warn!(%error, "packs were not compacted; it is tried again");
                BETWEEN
            }
        };
    }
}

/// One round through everything.
pub async fn round(keep: &Keep, ages: Ages, tell: Tell<'_>) -> Result<Report, StartError> {
    // An index that is behind does not know what was committed.
    publish::check(keep).await?;
    let (now, garbage) = (keep.clock.now().as_millisecond(), Garbage::default());
    // Durable, and with it all that was committed before: no start looks for that by the names that it has now (`recover::tail`).
    keep.store.set_setting(SETTING, &now.to_string())?;
    let mut round = Compaction { keep, ages, now, read: 0, rested: Instant::now(), garbage, report: Report::default() };
    round.keys(tell).await?;
    round.packs(tell).await?;
    round.never_committed().await?;
    Ok(round.report)
}

impl Compaction<'_> {
    async fn packs(&mut self, tell: Tell<'_>) -> Result<(), VaultError> {
        let mut sweep = Sweep::new(self.keep, self.before(self.ages.settle)).await?;
        while let Some(step) = sweep.next().await? {
            if self.read >= ROUND {
                self.report.more = true;
                return Ok(());
            }
            self.step(&step).await?;
            tell("packs", sweep.seen, sweep.total);
            self.rest().await;
        }
        Ok(())
    }

    async fn rest(&mut self) {
        if self.rested.elapsed() >= WORK {
            tokio::time::sleep(REST).await;
            self.rested = Instant::now();
        }
    }

    async fn step(&mut self, step: &Step) -> Result<(), VaultError> {
        let alone = self.alone().await?;
        match step {
            Step::Join(run) => self.join(&alone, run).await,
            Step::Collect(found) => self.collect(&alone, found).await,
        }
    }

    /// Nobody else is at upkeep, and it is known who was erased.
    async fn alone(&self) -> Result<Alone, VaultError> {
        let alone = self.keep.alone().await?;
        self.keep.notice_erasures()?;
        Ok(alone)
    }

    /// The time before which something must have been written to be so old.
    fn before(&self, age: Duration) -> i64 {
        self.now.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A new name beside an old one: of the same time, so that the order of names stays that of times.
fn name_beside(old: &str, folder: &str) -> Result<String, VaultError> {
    let time = old.get(..folder.len() + TIME_DIGITS).unwrap_or(old);
    Ok(format!("{time}-{}", hex::encode(bytes::<8>(&system_random)?)))
}

/// When an object was made, by its name and by the store, whichever is later; nothing for what is named otherwise.
fn made(found: &Found, folder: &str) -> Option<i64> {
    let (time, chance) = found.name.strip_prefix(folder)?.split_once('-')?;
    let of_its_form = time.len() == TIME_DIGITS && !chance.is_empty();
    i64::from_str_radix(time, 16).ok().filter(|_| of_its_form).map(|time| time.max(found.changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_name_keeps_the_time_and_a_foreign_one_has_none() {
        let found = |name: &str| Found { name: name.into(), length: 1, changed: 7 };
        let name = name_beside("packs/0000000000010-aa", "packs/").unwrap();
        assert!(name.starts_with("packs/0000000000010-") && name.len() == 20 + 16 && !name.ends_with("-aa"));
        assert_eq!(made(&found(&name), "packs/"), Some(16));
        assert_eq!(made(&found("keys/0000000000001-aa"), "keys/"), Some(7));
        for foreign in ["keys/system.log", "keys/1-aa", "packs/000000000000g-aa", "packs/0000000000010-"] {
            assert_eq!(made(&found(foreign), &foreign[..foreign.find('/').unwrap() + 1]), None, "{foreign}");
        }
    }
}
