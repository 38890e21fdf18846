//! A new root key: every wrapped key is opened and wrapped anew, in the index and beside the packs, while services go on. No record
//! is touched. Cut short anywhere, it goes on with the same new root when it is asked for again.

use super::WATCH;
use super::key_objects::{self, Walk};
use super::recover::Tell;
use crate::app::StartError;
use crate::app::keep::Keep;
use crate::app::roots;
use crate::config::Config;
use crate::error::VaultError;
use crate::ids::Owner;
use crate::index::alone::Alone;
use crate::index::rewrap::{NEWEST, ROTATING};
use crate::secret::system_random;
use crate::vault::keys::KeyError;
use crate::vault::keys::{OpenRoot, Wrapped};
use crate::vault::roots::RootId;
use std::path::PathBuf;

/// Keys of one transaction.
const AT_ONCE: usize = 200;

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
    tell("services take up the new root", 0, 0);
    // Services look for it as often; then they open what it wraps, and wrap what is new under it.
    tokio::time::sleep(WATCH + WATCH / 5).await;
    // From here on no key is committed that another root has wrapped.
    keep.store.set_setting(NEWEST, &newest.to_string())?;
    let mut done = Rotated::default();
    index(keep, newest, &mut done, tell).await?;
    objects(&alone, keep, newest, &mut done, tell).await?;
    done.kept = roots::retire(config, &keep.objects, newest).await?;
    keep.store.set_setting(ROTATING, "no")?;
    Ok(done)
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
