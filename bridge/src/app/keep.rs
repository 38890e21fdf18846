//! What upkeep works with: all that is kept, and no service. A command may open it beside a running service.

use super::{Core, StartError, roots, system_key};
use crate::clock::Clock;
use crate::config::Config;
use crate::index::store::Store;
use crate::index::tokens::Tokenizer;
use crate::secret::Key;
use crate::vault::keys::KeyRing;
use crate::vault::objects::Objects;
use std::sync::Arc;

/// The key of the server's own that seals what is said of erasures.
pub(super) const ERASURES: &str = ".erasures";

/// What is kept.
#[derive(Clone)]
pub struct Keep {
    pub clock: Arc<dyn Clock>,
    pub custodian: String,
    pub store: Arc<Store>,
    pub objects: Objects,
    pub keys: Arc<KeyRing>,
    pub tokens: Arc<Tokenizer>,
    pub(crate) erasures: Key,
}

impl Keep {
    /// Opens a data directory that there is, beside a service that runs on it or without one.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let path = config.data.join("index.sqlite");
        if !path.exists() {
            return Err(StartError::Nothing { path: config.data.clone() });
        }
        let store = Arc::new(Store::open(&path)?);
        // The cache on disk is the service's: whoever opens it empties it.
        let objects = Objects::open(config, None)?;
        let keys = Arc::new(roots::open(config, &store, &objects, false).await?);
        let index_key = system_key(&keys, &store, &objects, ".index").await?;
        let erasures = system_key(&keys, &store, &objects, ERASURES).await?;
        let tokens = Arc::new(Tokenizer::new(&index_key));
        let keep = Self { clock, custodian: config.custodian.clone(), store, objects, keys, tokens, erasures };
        keep.notice_erasures()?;
        Ok(keep)
    }

    /// Wipes the keys that were destroyed, here or elsewhere.
    pub fn notice_erasures(&self) -> Result<(), StartError> {
        self.store.erasures()?.iter().for_each(|erasure| self.keys.destroy(&erasure.owner));
        Ok(())
    }
}

impl Core {
    /// What upkeep works with.
    pub fn keep(&self) -> Keep {
        Keep {
            clock: self.clock.clone(),
            custodian: self.custodian.clone(),
            store: self.store.clone(),
            objects: self.objects.clone(),
            keys: self.keys.clone(),
            tokens: self.tokens.clone(),
            erasures: self.erasures.clone(),
        }
    }
}
