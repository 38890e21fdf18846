//! The root keys at the start: from the key file, or from a key service and what it wrapped.

use super::{Core, StartError};
use crate::config::Config;
use crate::index::store::{Store, StoreError};
use crate::limits::{KEY_TIDY, MAX_ROOTS};
use crate::secret::system_random;
use crate::vault::keys::{KeyError, KeyRing, root_key};
use crate::vault::kms::Kms;
use crate::vault::objects::Objects;
use crate::vault::roots::{Root, RootId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Which root wraps what is new, where a key service made it.
const NEWEST: &str = "root";

/// A root of a key service, as it lies beside the packs under `roots/`.
#[derive(Serialize, Deserialize)]
struct Stored {
    /// The service's full name for what wrapped it.
    kms: String,
    wrapped: String,
}

/// The key ring. A key service's root comes first; the key of a file still opens what it wrapped.
pub(super) async fn open(
    config: &Config,
    store: &Store,
    objects: &Objects,
    fresh: bool,
) -> Result<KeyRing, StartError> {
    let path = config.data.join("root.key");
    let life = Duration::from_secs(config.keys.cache_seconds);
    let Some(name) = &config.keys.kms else {
        return Ok(KeyRing::new(vec![Root::file(root_key(&path, fresh, &system_random)?)], life));
    };
    let kms = Kms::new(name, config.keys.endpoint.as_deref(), config.keys.region.as_deref())?;
    let newest = newest(&kms, store, objects).await?;
    let mut roots = stored(&kms, objects, life).await?;
    roots.sort_by_key(|root| root.id != newest);
    if path.exists() {
        roots.push(Root::file(root_key(&path, false, &system_random)?));
    }
    Ok(KeyRing::new(roots, life))
}

/// The root that wraps what is new; made by the service at the first start with it.
async fn newest(kms: &Kms, store: &Store, objects: &Objects) -> Result<RootId, StartError> {
    if let Some(id) = store.setting(NEWEST)? {
        return parsed(&id);
    }
    let id = RootId::generate(&system_random).map_err(KeyError::from)?;
    let (name, wrapped) = kms.generate(&id).await?;
    // Strings alone: serialisation cannot fail.
    let object = serde_json::to_vec(&Stored { kms: name, wrapped: hex::encode(wrapped) }).unwrap_or_default();
    objects.put(&format!("roots/{id}"), object).await?;
    // A crash here leaves a root that nothing was wrapped under.
    // Another replica may have been quicker: its root is the one, and this one is such a root that wraps nothing.
    parsed(&store.first_setting(NEWEST, &id.to_string())?)
}

fn parsed(id: &str) -> Result<RootId, StartError> {
    Ok(RootId::parse(id).ok_or(StoreError::Nonsense("the newest root"))?)
}

async fn stored(kms: &Kms, objects: &Objects, life: Duration) -> Result<Vec<Root>, StartError> {
    let mut roots = Vec::new();
    for found in objects.list("roots/", "", MAX_ROOTS).await? {
        let bytes = objects.read_all(&found.name).await?;
        let read = || {
            let stored: Stored = serde_json::from_slice(&bytes).ok()?;
            let id = RootId::parse(found.name.strip_prefix("roots/")?)?;
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
