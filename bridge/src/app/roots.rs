//! The root keys at the start: from the key file, or from a key service and what it wrapped.

use super::{App, Core, StartError};
use crate::config::Config;
use crate::error::VaultError;
use crate::index::rewrap::{NEWEST, ROTATING};
use crate::index::store::{Store, StoreError};
use crate::limits::{KEY_TIDY, MAX_ROOTS};
use crate::read::in_background;
use crate::secret::system_random;
use crate::vault::keys::{KeyError, KeyRing, root_key};
use crate::vault::kms::Kms;
use crate::vault::objects::Objects;
use crate::vault::roots::{Root, RootId};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The file of a root key, and of the one that comes after it while a rotation is under way.
pub(crate) const FILE: &str = "root.key";
pub(crate) const NEXT_FILE: &str = "root.key.next";
/// Where the roots of a key service lie, wrapped.
const FOLDER: &str = "roots/";

/// A root of a key service, as it lies beside the packs under `roots/`.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The service's full name for what wrapped it.
    kms: String,
    wrapped: String,
}

/// The key ring.
pub(super) async fn open(
    config: &Config,
    store: &Store,
    objects: &Objects,
    fresh: bool,
) -> Result<KeyRing, StartError> {
    let life = Duration::from_secs(config.keys.cache_seconds);
    Ok(KeyRing::new(load(config, store, objects, fresh).await?, life))
}

/// All roots that there are, what wraps the new first: what the index says, or a key service's, or the key of the file.
pub(crate) async fn load(
    config: &Config,
    store: &Store,
    objects: &Objects,
    fresh: bool,
) -> Result<Vec<Root>, StartError> {
    let life = Duration::from_secs(config.keys.cache_seconds);
    let path = config.data.join(FILE);
    let (mut roots, mut first) = (Vec::new(), None);
    if let Some(kms) = service(config)? {
        // Who only looks has none made.
        first = if store.is_looked_at() { None } else { Some(newest(&kms, store, objects).await?) };
        roots = stored(&kms, objects, life).await?;
    }
    if roots.is_empty() || path.exists() {
        roots.push(Root::file(root_key(&path, fresh, &system_random)?));
    }
    let next = config.data.join(NEXT_FILE);
    if next.exists() {
        roots.push(Root::file(root_key(&next, false, &system_random)?));
    }
    let named = store.wanted_root()?.or(first);
    roots.sort_by_key(|root| named.is_some_and(|named| root.id != named));
    Ok(roots)
}

/// What wraps every other key, told without a key.
pub(crate) struct Wrapping {
    pub(crate) root: Option<RootId>,
    /// Whether a key service holds it.
    pub(crate) service: bool,
    /// Since when it is there, in milliseconds since 1970: by its file, or its object.
    pub(crate) since: Option<i64>,
    /// Where a rotation goes to that is not finished.
    pub(crate) rotating: Option<RootId>,
    /// How many keys there are.
    pub(crate) keys: u64,
}

/// How the keys stand.
pub(crate) async fn wrapping(app: &App) -> Result<Wrapping, VaultError> {
    let (core, root) = (&app.core, app.core.keys.newest_id());
    let store = core.store.clone();
    let looked_up = in_background(move || Ok((store.setting(ROTATING)?, store.key_count()?)));
    let (rotating, keys) = looked_up.await?;
    let stored = match root {
        Some(root) => core.objects.find(&format!("{FOLDER}{root}")).await?,
        None => None,
    };
    let of_file = || {
        let changed = std::fs::metadata(app.config.data.join(FILE)).and_then(|file| file.modified()).ok()?;
        Some(changed.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as i64)
    };
    let since = stored.as_ref().map(|found| found.changed).or_else(of_file);
    let rotating = rotating.and_then(|id| RootId::parse(&id));
    Ok(Wrapping { root, service: stored.is_some(), since, rotating, keys })
}

/// The key service, if one is configured.
fn service(config: &Config) -> Result<Option<Kms>, KeyError> {
    let new = |name: &String| Kms::new(name, config.keys.endpoint.as_deref(), config.keys.region.as_deref());
    config.keys.kms.as_ref().map(new).transpose()
}

/// Makes a root to wrap everything anew: by the key service, else in a file beside the old one. What a rotation that was cut
/// short has made is used again.
pub(crate) async fn make_next(config: &Config, objects: &Objects) -> Result<RootId, StartError> {
    match service(config)? {
        Some(kms) => generate(&kms, objects).await,
        None => Ok(Root::file(root_key(&config.data.join(NEXT_FILE), true, &system_random)?).id),
    }
}

/// Puts the new root in the place of the old ones, which nothing needs any more. A file's old key stays beside it under another
/// name, for older backups.
pub(crate) async fn retire(config: &Config, objects: &Objects, newest: RootId) -> Result<Option<PathBuf>, StartError> {
    let directory = |source| StartError::Directory { path: config.data.clone(), source };
    let kept = retire_file(config, newest).map_err(directory)?;
    for found in objects.list(FOLDER, "", MAX_ROOTS).await? {
        if found.name != format!("{FOLDER}{newest}") {
            objects.remove(&found.name).await?;
        }
    }
    Ok(kept)
}

fn retire_file(config: &Config, newest: RootId) -> std::io::Result<Option<PathBuf>> {
    let (path, next) = (config.data.join(FILE), config.data.join(NEXT_FILE));
    let mut kept = None;
    if let Ok(old) = root_key(&path, false, &system_random).map(Root::file)
        && old.id != newest
    {
        let aside = config.data.join(format!("{FILE}.old-{}", old.id));
        let _ = std::fs::remove_file(&aside);
        std::fs::hard_link(&path, &aside)?;
        // A crash here leaves the old key under both names, and the new one beside it.
        kept = Some(aside);
    }
    match (next.exists(), &kept) {
        (true, _) => std::fs::rename(&next, &path)?,
        (false, Some(_)) => std::fs::remove_file(&path)?,
        (false, None) => {}
    }
    std::fs::File::open(&config.data)?.sync_all()?;
    Ok(kept)
}

/// The root that wraps what is new; made by the service at the first start with it.
async fn newest(kms: &Kms, store: &Store, objects: &Objects) -> Result<RootId, StartError> {
    if let Some(id) = store.setting(NEWEST)? {
        return parsed(&id);
    }
    let id = generate(kms, objects).await?;
    // Another replica may have been quicker: its root is the one, and this one is such a root that wraps nothing.
    parsed(&store.first_setting(NEWEST, &id.to_string())?)
}

/// Has the service make a root. A crash leaves a root that nothing was wrapped under.
async fn generate(kms: &Kms, objects: &Objects) -> Result<RootId, StartError> {
    let id = RootId::generate(&system_random).map_err(KeyError::from)?;
    let (name, wrapped) = kms.generate(&id).await?;
    // Strings alone: serialisation cannot fail.
    let object = serde_json::to_vec(&Stored { kms: name, wrapped: hex::encode(wrapped) }).unwrap_or_default();
    objects.put(&format!("{FOLDER}{id}"), object).await?;
    Ok(id)
}

fn parsed(id: &str) -> Result<RootId, StartError> {
    Ok(RootId::parse(id).ok_or(StoreError::Nonsense("the newest root"))?)
}

async fn stored(kms: &Kms, objects: &Objects, life: Duration) -> Result<Vec<Root>, StartError> {
    let mut roots = Vec::new();
    for found in objects.list(FOLDER, "", MAX_ROOTS).await? {
        let bytes = objects.read_all(&found.name).await?;
        let read = || {
            let stored: Stored = serde_json::from_slice(&bytes).ok()?;
            let id = RootId::parse(found.name.strip_prefix(FOLDER)?)?;
            Some(Root::service(kms.named(&stored.kms), id, hex::decode(&stored.wrapped).ok()?, life))
        };
        roots.push(read().ok_or(KeyError::WrappedRoot { name: found.name.clone() })?);
    }
    Ok(roots)
}

/// Wipes keys that were held long enough, for ever.
pub(super) async fn tidy(core: Arc<Core>) {
    loop {
        tokio::time::sleep(KEY_TIDY).await;
        core.keys.tidy().await;
    }
}
