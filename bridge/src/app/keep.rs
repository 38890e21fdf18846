//! What upkeep works with: all that is kept, and no service. A command may open it beside a running service.

use super::own_keys::OwnKeys;
use super::{Core, StartError, index, lock, objects, private_directory, roots};
use crate::anchor::publish;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::VaultError;
use crate::ids::Owner;
use crate::index::alone::Alone;
use crate::index::replicas::RECOVERING;
use crate::index::store::{Store, StoreError};
use crate::index::tokens::Tokenizer;
use crate::read::in_background;
use crate::secret::Key;
use crate::upkeep::key_objects;
use crate::upkeep::recover::{self, Tell};
use crate::vault::keys::{KeyError, KeyRing, Wrapped};
use crate::vault::objects::Objects;
use notary::checkpoint::{LogKey, LogSigner};
use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// The key of the server's own that seals what is said of erasures.
pub(super) const ERASURES: &str = ".erasures";

/// How long is waited for another piece of upkeep, and how often it is looked whether it has ended.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// What is kept.
#[derive(Clone)]
pub struct Keep {
    pub clock: Arc<dyn Clock>,
    pub custodian: String,
    pub store: Arc<Store>,
    pub objects: Objects,
    pub keys: Arc<KeyRing>,
    pub tokens: Arc<Tokenizer>,
    /// What the log's checkpoints are signed with, to check them.
    pub log_key: LogKey,
    pub(crate) erasures: Key,
}

impl Keep {
    /// Opens a data directory that there is, beside a service that runs on it or without one.
    pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        is_there(config)?;
        let keep = Self::of(config, clock, index(config)?, objects(config, None)?).await?;
        // Without a service nobody else does it.
        if !keep.store.is_shared()
            && let Ok(_lock) = lock(config)
        {
            // An index that was restored from before has not just missed the newest packs.
            publish::check(&keep).await?;
            recover::tail::catch_up(&keep, config.base()).await?;
        }
        Ok(keep)
    }

    /// The same for who only looks: nothing is changed.
    pub async fn look(config: &Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        is_there(config)?;
        let store = match config.index.settings().map_err(StartError::Config)? {
            Some(settings) => Store::look_at_postgres(settings)?,
            None => Store::look_at(&config.data.join("index.sqlite"))?,
        };
        let objects = match &config.s3 {
            Some(settings) => Objects::s3(settings, None)?,
            None => Objects::Directory(config.data.join("objects")),
        };
        Self::of(config, clock, store, objects).await
    }

    /// The cache on disk is the service's: whoever opens it empties it.
    async fn of(config: &Config, clock: Arc<dyn Clock>, store: Store, objects: Objects) -> Result<Self, StartError> {
        let store = Arc::new(store);
        not_recovering(&store)?;
        let keys = Arc::new(roots::open(config, &store, &objects, false).await?);
        let own = OwnKeys { keys: &keys, store: &store, objects: &objects };
        let index_key = own.existing(".index").await?;
        let erasures = own.existing(ERASURES).await?;
        let log_key = log_key(config, &keys, &store).await?;
        let tokens = Arc::new(Tokenizer::new(&index_key));
        let custodian = config.custodian.clone();
        let keep = Self { clock, custodian, store, objects, keys, tokens, log_key, erasures };
        keep.notice_erasures()?;
        Ok(keep)
    }

    /// Opens what recovery needs, the index perhaps new, and puts the wrapped keys into it. Nobody else may be at work. `objects` are
    /// those of the configuration, unless they are named.
    pub async fn recover(
        config: &Config,
        objects: Option<Objects>,
        clock: Arc<dyn Clock>,
        tell: Tell<'_>,
    ) -> Result<Locked, StartError> {
        private_directory(&config.data)
            .map_err(|source| StartError::Directory { path: config.data.clone(), source })?;
        let lock = lock(config)?;
        let objects = objects.map_or_else(|| super::objects(config, None), Ok)?;
        if objects.list(key_objects::FOLDER, "", 1).await?.is_empty() {
            return Err(StartError::Keyless { place: objects.place() });
        }
        let store = Arc::new(index(config)?);
        publish::lost(&objects, &store, recover::anchored(config, &clock, &store)?).await?;
        let alone = alone(&store).await?;
        recover::begin(&store, tell).await?;
        store.keep_setting("custodian", &config.custodian)?;
        store.keep_setting("log.origin", &config.log.origin)?;
        let displaced = recover::keys(&objects, &store, tell).await?;
        let keys = Arc::new(roots::open(config, &store, &objects, false).await?);
        let own = OwnKeys { keys: &keys, store: &store, objects: &objects };
        let index_key = own.existing(".index").await?;
        let log_key = own.existing(".log").await?;
        let erasures = own.existing(ERASURES).await?;
        let signer = LogSigner::from_seed(&config.log.origin, log_key.expose())?;
        let tokens = Arc::new(Tokenizer::new(&index_key));
        let (custodian, log_key) = (config.custodian.clone(), signer.key().clone());
        let keep = Self { clock, custodian, store, objects, keys, tokens, log_key, erasures };
        Ok(Locked { keep, signer, displaced, alone, _lock: lock })
    }

    /// Takes the lock of all upkeep. Compaction lets go of it between its pieces; whoever holds it longer must have ended.
    pub async fn alone(&self) -> Result<Alone, VaultError> {
        alone(&self.store).await
    }

    /// Wipes the keys that were destroyed, here or elsewhere.
    pub fn notice_erasures(&self) -> Result<(), StoreError> {
        self.store.erasures()?.iter().for_each(|erasure| self.keys.destroy(&erasure.owner));
        Ok(())
    }
}

/// Takes the lock of all upkeep of an index.
pub(crate) async fn alone(store: &Arc<Store>) -> Result<Alone, VaultError> {
    let taking = async {
        loop {
            let store = store.clone();
            match in_background(move || store.alone()).await.transpose() {
                Some(taken) => return taken,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, taking).await.unwrap_or(Err(VaultError::Upkeep))
}

/// What recovery works with, while nobody else does.
pub struct Locked {
    pub keep: Keep,
    pub signer: LogSigner,
    /// Keys that others took the place of.
    pub displaced: HashMap<Owner, Vec<Wrapped>>,
    /// No other upkeep goes on.
    pub alone: Alone,
    pub _lock: File,
}

/// The public half of the key that a service made for its log.
async fn log_key(config: &Config, keys: &KeyRing, store: &Store) -> Result<LogKey, StartError> {
    let owner = Owner::from_stored(".log");
    let wrapped = store.key(&owner)?.ok_or_else(|| KeyError::NoKey { owner: owner.as_str().to_owned() })?;
    let seed = keys.unwrap(&owner, &wrapped).await?;
    Ok(LogSigner::from_seed(&config.log.origin, seed.expose())?.key().clone())
}

fn is_there(config: &Config) -> Result<(), StartError> {
    let is_shared = config.index.settings().map_err(StartError::Config)?.is_some();
    match is_shared || config.data.join("index.sqlite").exists() {
        true => Ok(()),
        false => Err(StartError::Nothing { path: config.data.clone() }),
    }
}

/// Whether a process holds the data directory.
pub(crate) fn is_in_use(config: &Config) -> Result<bool, StartError> {
    match lock(config) {
        Ok(_) => Ok(false),
        Err(StartError::InUse { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Refuses an index that recovery has not finished.
pub(super) fn not_recovering(store: &Store) -> Result<(), StartError> {
    match store.setting(RECOVERING)?.as_deref() {
        Some("yes") => Err(StartError::Recovering),
        _ => Ok(()),
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
            log_key: self.signer.key().clone(),
            erasures: self.erasures.clone(),
        }
    }
}
