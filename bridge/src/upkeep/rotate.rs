//! A new root key: every wrapped key is opened and wrapped anew, in the index and beside the packs, while services go on. No record
//! is touched. Cut short anywhere, it goes on with the same new root when it is asked for again.

use super::key_objects::{self, Walk};
use super::recover::Tell;
use crate::app::StartError;
use crate::app::keep::{Keep, is_in_use};
use crate::app::roots;
use crate::config::Config;
use crate::error::VaultError;
use crate::ids::Owner;
use crate::index::alone::Alone;
use crate::index::replicas::Noted;
use crate::index::rewrap::{NEWEST, ROTATING};
use crate::secret::system_random;
use crate::vault::keys::KeyError;
use crate::vault::keys::{OpenRoot, Wrapped};
use crate::vault::roots::RootId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Keys of one transaction.
const AT_ONCE: usize = 200;
/// How long services may take to take up a new root (they look every `upkeep::WATCH`, and a key service may be slow), and how often
/// it is looked whether they have.
const TAKE_UP: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_millis(500);
/// Of a root key's file, from before roots had ids.
const UNNAMED: &str = "without an id";

/// What was done.
#[derive(Debug, Default)]
pub struct Rotated {
    pub keys: u64,
    pub objects: u64,
    /// Where the old key's file is now.
    pub kept: Option<PathBuf>,
}

/// Makes a new root and wraps everything under it.
pub async fn rotate(keep: &Keep, config: &Config, tell: Tell<'_>) -> Result<Rotated, StartError> {
    let alone = keep.alone().await?;
    let newest = begin(keep, config).await?;
    // A crash here leaves two roots, of which the new one wraps what is new; the old one still opens everything else.
    keep.keys.replace_roots(roots::load(config, &keep.store, &keep.objects, false).await?);
    taken_up(keep, config, newest, tell).await?;
    // From here on no key is committed that another root has wrapped.
    keep.store.set_setting(NEWEST, &newest.to_string())?;
    let mut done = Rotated::default();
    index(keep, newest, &mut done, tell).await?;
    objects(&alone, keep, newest, &mut done, tell).await?;
    // Before the old root goes: one may have begun meanwhile that has only that.
    taken_up(keep, config, newest, tell).await?;
    done.kept = roots::retire(config, &keep.objects, newest).await?;
    keep.store.set_setting(ROTATING, "no")?;
    Ok(done)
}

/// Waits until every service at work wraps what is new with this root: then it opens what the root wraps, too.
async fn taken_up(keep: &Keep, config: &Config, newest: RootId, tell: Tell<'_>) -> Result<(), StartError> {
    let begun = Instant::now();
    loop {
        let behind = behind(keep, config, newest)?;
        if behind.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > TAKE_UP {
            return Err(StartError::OldRoot { replicas: behind.join("; ") });
        }
        tell("services that have to take up the new root", 0, behind.len() as u64);
        tokio::time::sleep(LOOK).await;
    }
}

/// The services at work that wrap with another root.
fn behind(keep: &Keep, config: &Config, newest: RootId) -> Result<Vec<String>, StartError> {
    let noted = keep.store.replicas()?;
    let is_behind = |noted: &Noted| noted.replica.root != Some(newest);
    let place = |noted: Noted| noted.replica.place;
    if keep.store.is_shared() {
        return Ok(noted.into_iter().filter(|noted| noted.is_present() && is_behind(noted)).map(place).collect());
    }
    // One that is at work has the lock of the directory, and has noted itself once it is ready.
    let behind: Vec<_> = noted.iter().filter(|noted| is_behind(noted)).cloned().map(place).collect();
    if (noted.is_empty() || !behind.is_empty()) && is_in_use(config)? {
        return Ok(if behind.is_empty() { vec!["one that is starting".to_owned()] } else { behind });
    }
    Ok(Vec::new())
}

/// How all of it stands.
#[derive(Debug)]
pub struct Standing {
    /// What wraps what is new here, and what a rotation goes to that is not finished.
    pub newest: Option<RootId>,
    pub rotating: Option<RootId>,
    pub services: Vec<Noted>,
    /// By the root that wraps them: keys of the index, and keys in objects beside the packs.
    pub keys: BTreeMap<String, (u64, u64)>,
}

impl Standing {
    /// Whether nothing that is here needs another root than the newest.
    pub fn is_settled(&self) -> bool {
        let newest = self.newest.map(|root| root.to_string());
        let present = |noted: &&Noted| noted.is_present();
        self.rotating.is_none()
            && self.keys.keys().all(|root| Some(root) == newest.as_ref())
            && self.services.iter().filter(present).all(|noted| noted.replica.root == self.newest)
    }
}

/// Looks at which root wraps what, and which service wraps with which. Changes nothing.
pub async fn standing(keep: &Keep, config: &Config, tell: Tell<'_>) -> Result<Standing, StartError> {
    let rotating = keep.store.setting(ROTATING)?.and_then(|id| RootId::parse(&id));
    let mut services = keep.store.replicas()?;
    if !keep.store.is_shared() {
        // Its lock says whether it is at work, and not how long ago it said so.
        services.iter_mut().for_each(|noted| noted.silent = 0);
        if !is_in_use(config)? {
            services.clear();
        }
    }
    let mut keys = BTreeMap::<String, (u64, u64)>::new();
    let name = |wrapped: &Wrapped| wrapped.root().map_or_else(|| UNNAMED.to_owned(), |root| root.to_string());
    let mut after = String::new();
    loop {
        let page = keep.store.keys_after(&after, AT_ONCE)?;
        let Some((last, _)) = page.last() else { break };
        after = last.as_str().to_owned();
        page.iter().for_each(|(_, wrapped)| keys.entry(name(wrapped)).or_default().0 += 1);
    }
    let (mut walk, mut seen) = (Walk::new(&keep.objects, key_objects::FOLDER), 0);
    while let Some(found) = walk.next().await? {
        let kept = key_objects::read(&keep.objects, &found.name).await?;
        kept.iter().for_each(|(_, wrapped)| keys.entry(name(wrapped)).or_default().1 += 1);
        seen += 1;
        tell("objects of keys", seen, 0);
    }
    Ok(Standing { newest: keep.keys.newest_id(), rotating, services, keys })
}

async fn begin(keep: &Keep, config: &Config) -> Result<RootId, StartError> {
    if let Some(id) = keep.store.setting(ROTATING)?.and_then(|id| RootId::parse(&id)) {
        return Ok(id);
    }
    let id = roots::make_next(config, &keep.objects).await?;
    // Another replica has rotated, and this one kept both files: nothing would be wrapped anew.
    if keep.keys.newest_id() == Some(id) {
        return Err(KeyError::InUse.into());
    }
    keep.store.set_setting(ROTATING, &id.to_string())?;
    Ok(id)
}

async fn index(keep: &Keep, newest: RootId, done: &mut Rotated, tell: Tell<'_>) -> Result<(), VaultError> {
    let (mut after, mut seen, total) = (String::new(), 0, keep.store.key_count()?);
    loop {
        let keys = keep.store.keys_after(&after, AT_ONCE)?;
        let Some((last, _)) = keys.last() else { return Ok(()) };
        after = last.as_str().to_owned();
        seen += keys.len() as u64;
        let (old, new) = rewrapped(keep, newest, keys).await?;
        done.keys += old.len() as u64;
        let pairs: Vec<_> = old.into_iter().zip(new).map(|((owner, old), (_, new))| (owner, old, new)).collect();
        keep.store.rewrap(&pairs)?;
        tell("keys of the index", seen, total);
    }
}

async fn objects(
    alone: &Alone,
    keep: &Keep,
    newest: RootId,
    done: &mut Rotated,
    tell: Tell<'_>,
) -> Result<(), VaultError> {
    let (mut walk, mut seen) = (Walk::new(&keep.objects, key_objects::FOLDER), 0);
    while let Some(found) = walk.next().await? {
        let keys = key_objects::read(&keep.objects, &found.name).await?;
        let (old, new) = rewrapped(keep, newest, keys.clone()).await?;
        if !old.is_empty() {
            // A key that is destroyed is not written again.
            let kept = keys.into_iter().filter(|key| !old.contains(key)).chain(new);
            let kept: Vec<_> = kept.filter(|(owner, _)| !keep.keys.is_destroyed(owner)).collect();
            key_objects::write(alone, &keep.objects, &found.name, &kept).await?;
            done.objects += 1;
        }
        seen += 1;
        tell("objects of keys", seen, 0);
    }
    Ok(())
}

type Keys = Vec<(Owner, Wrapped)>;

/// Those that another root has wrapped, and the same wrapped anew.
async fn rewrapped(keep: &Keep, newest: RootId, keys: Keys) -> Result<(Keys, Keys), VaultError> {
    keep.notice_erasures()?;
    let root = keep.keys.newest().await?;
    let old =
        keys.into_iter().filter(|(owner, wrapped)| wrapped.root() != Some(newest) && !keep.keys.is_destroyed(owner));
    let (old, mut new): (Keys, Keys) = (old.collect(), Vec::new());
    for (owner, wrapped) in &old {
        new.push((owner.clone(), anew(keep, &root, owner, wrapped).await?));
    }
    Ok((old, new))
}

async fn anew(keep: &Keep, root: &OpenRoot, owner: &Owner, wrapped: &Wrapped) -> Result<Wrapped, VaultError> {
    let key = keep.keys.unwrap(owner, wrapped).await?;
    Ok(root.wrap(owner, &key, &system_random)?)
}
