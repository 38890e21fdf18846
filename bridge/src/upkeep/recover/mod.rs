//! Recovery: the index is built anew, or brought up to date, from packs, wrapped keys, the published log and the root key. It may
//! be cut short anywhere and asked for again: packs that the index has are not read a second time.

mod log;
pub mod packs;
mod record;
pub mod tail;
pub(crate) mod witness;

use self::log::Signed;
use super::erase;
use super::key_objects::{self, Walk};
use crate::anchor::publish;
use crate::app::StartError;
use crate::app::keep::{Keep, Locked};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::VaultError;
use crate::ids::{Owner, ResourceId};
use crate::index::consents::LOST;
use crate::index::lease::RECOVERY;
use crate::index::replicas::{PRESENT, RECOVERING};
use crate::index::store::{Store, StoreError};
use crate::read::in_background;
use crate::secret::{bytes, system_random};
use crate::vault::keys::{KeyError, Wrapped};
use notary::chain::Ledger;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the lease of the background work is taken for. Nobody else gets it meanwhile.
const LEASE: Duration = Duration::from_secs(10);
/// How long is waited for services that were killed to count as gone, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(PRESENT.as_secs() + 5);
const LOOK: Duration = Duration::from_millis(500);
/// Faults that are told one by one.
const MAX_FAULTS: usize = 1_000;

/// How far it is: of what, how many, of how many.
pub type Tell<'t> = &'t (dyn Fn(&str, u64, u64) + Sync);

/// What recovery works with.
pub(crate) struct Recovery {
    keep: Keep,
    base: String,
    erased: HashSet<Owner>,
    /// Where each published entry stands.
    positions: HashMap<Vec<u8>, u64>,
    /// Further keys of an owner: what a crash left, or an older wrapping.
    displaced: HashMap<Owner, Vec<Wrapped>>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// Records that were put into the index, and how many of them are messages.
    pub records: u64,
    pub messages: u64,
    /// Packs that a crash left and nobody was answered for.
    pub never_committed: u64,
    /// Patients who were erased and stay so.
    pub erased: usize,
    /// The size of the published log that the result agrees with; nothing was published where there is none.
    pub proved: Option<u64>,
    /// The size that the ledger has anchored, where it is there.
    pub anchored: Option<u64>,
    /// Logs against which this witness has evidence.
    pub evidence: u64,
    pub faults: Vec<String>,
}

impl Report {
    fn fault(&mut self, fault: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    fn missing<'n>(&mut self, packs: impl Iterator<Item = &'n String>) {
        packs.for_each(|name| self.fault(format!("{name} is missing, and the index refers to it")));
    }
}

/// Begins, once nobody is at work on the index: a service that was killed counts for a while, and one that lives refuses it at once.
pub(crate) async fn begin(store: &Arc<Store>, tell: Tell<'_>) -> Result<(), VaultError> {
    let mark = hex::encode(bytes::<16>(&system_random)?);
    let (begun, first) = (Instant::now(), seen(store).await?);
    loop {
        let (own, mark) = (store.clone(), mark.clone());
        match in_background(move || own.begin_recovery(&mark)).await {
            Err(VaultError::Index(StoreError::AtWork { .. }))
                if begun.elapsed() < PATIENCE && is_silent(&first, &seen(store).await?) =>
            {
                tell("services that are gone are waited for", begun.elapsed().as_secs(), PATIENCE.as_secs());
                tokio::time::sleep(LOOK).await;
            }
            begun => return begun,
        }
    }
}

/// When each service was heard of last.
async fn seen(store: &Arc<Store>) -> Result<HashMap<String, i64>, VaultError> {
    let store = store.clone();
    let noted = in_background(move || store.replicas()).await?;
    Ok(noted.into_iter().map(|noted| (noted.replica.id, noted.seen)).collect())
}

/// Whether none has spoken since.
fn is_silent(first: &HashMap<String, i64>, now: &HashMap<String, i64>) -> bool {
    now.iter().all(|(id, seen)| first.get(id) == Some(seen))
}

/// Recovers what a configuration names.
pub async fn recover(config: &Config, clock: Arc<dyn Clock>, tell: Tell<'_>) -> Result<Report, StartError> {
    let locked = Keep::recover(config, None, clock, tell).await?;
    recover_into(locked, config, tell).await.map(|(report, _)| report)
}

/// Recovers into what was opened; gives it back.
pub(super) async fn recover_into(
    locked: Locked,
    config: &Config,
    tell: Tell<'_>,
) -> Result<(Report, Keep), StartError> {
    let Locked { keep, signer, displaced, alone, _lock } = locked;
    let published = publish::read(&keep.objects, signer.key()).await?;
    let entries = published.iter().flat_map(|published| &published.entries);
    let positions = entries.cloned().zip(0..).collect();
    let erased = erased(&keep).await?;
    let base = config.base();
    let recovery = Recovery { keep, base, erased, positions, displaced };
    let mut report = Report { erased: recovery.erased.len(), ..Report::default() };
    recovery.packs(&mut report, tell).await?;
    // Who has lost PostgreSQL's session may not be the only one any more: another recovery goes on where this one was.
    alone.check()?;
    let mut ledger = ledger(config, recovery.keep.clock.as_ref())?;
    if let Some(published) = &published {
        recovery.log(&Signed { published, signer: &signer }, &mut report, ledger.as_mut())?;
    }
    tell("erasures", 0, 0);
    erase::finish_each(&alone, &recovery.keep).await?;
    recovery.followed()?;
    report.evidence = witness::restore_all(&recovery.keep.objects, &recovery.keep.store).await?;
    alone.check()?;
    recovery.keep.store.set_setting(LOST, "yes")?;
    recovery.keep.store.set_setting(RECOVERING, "no")?;
    recovery.keep.store.let_go(RECOVERY)?;
    Ok((report, recovery.keep))
}

/// How much of the log the ledger has anchored whose journal is here.
pub(crate) fn anchored(config: &Config, clock: &Arc<dyn Clock>, store: &Store) -> Result<Option<u64>, StartError> {
    match ledger(config, clock.as_ref())? {
        Some(mut ledger) if !store.is_shared() => Ok(Some(ledger.head()?.size)),
        _ => Ok(None),
    }
}

/// The ledger, if its journal is here; a lost one is begun anew by the service.
fn ledger(config: &Config, clock: &dyn Clock) -> Result<Option<Ledger>, StartError> {
    let path = config.data.join("ledger.journal");
    let now = clock.now().as_second().max(0) as u64;
    Ok(if path.exists() { Some(Ledger::open(&path, now)?) } else { None })
}

/// Who was erased, as it is written beside the packs.
async fn erased(keep: &Keep) -> Result<HashSet<Owner>, VaultError> {
    let (mut walk, mut erased) = (Walk::new(&keep.objects, erase::FOLDER), HashSet::new());
    while let Some(found) = walk.next().await? {
        let id = found.name.strip_prefix(erase::FOLDER).and_then(ResourceId::parse);
        erased.extend(id.map(|id| Owner::patient(&id)));
    }
    Ok(erased)
}

/// Puts all wrapped keys into the index; those of who was erased are destroyed once more. Tells what they took the place of.
pub(crate) async fn keys(
    keep_objects: &crate::vault::objects::Objects,
    store: &Store,
    tell: Tell<'_>,
) -> Result<HashMap<Owner, Vec<Wrapped>>, VaultError> {
    let (mut walk, mut displaced, mut done) =
        (Walk::new(keep_objects, key_objects::FOLDER), HashMap::<Owner, Vec<Wrapped>>::new(), 0);
    while let Some(found) = walk.next().await? {
        let keys = match key_objects::read(keep_objects, &found.name).await {
            Ok(keys) => keys,
            // What these keys opened is told record by record; all else is there.
            Err(VaultError::Key(error @ KeyError::KeyObject { .. })) => {
                tracing::error!(%error, "an object of keys is left out");
                continue;
            }
            Err(error) => return Err(error),
        };
        for (owner, wrapped) in store.restore_keys(&keys)? {
            displaced.entry(owner).or_default().push(wrapped);
        }
        done += 1;
        tell("keys", done, 0);
    }
    Ok(displaced)
}

impl Recovery {
    /// Subscriptions begin anew from here: what was an event before was told, or is not known to have been.
    fn followed(&self) -> Result<(), StartError> {
        use crate::index::notices::{Change, Followed, Waiting};
        let now = self.keep.clock.now().as_millisecond();
        let begun =
            |(row, name): (i64, crate::ids::Name)| Change::Begun { id: name.id, row, waiting: Waiting::Dropped };
        if self.keep.store.setting("followed")?.is_some() {
            return Ok(());
        }
        let changes = self.keep.store.current_of("Subscription")?.into_iter().map(begun).collect();
        let upto = self.keep.store.newest()?;
        let epoch = self.keep.store.hold(RECOVERY, LEASE)?.ok_or(StoreError::Fenced)?;
        Ok(self.keep.store.follow(&Followed { upto, changes, events: Vec::new(), epoch }, now)?)
    }
}
