//! The server's own keys: data keys that belong to no patient, wrapped like those (ADR 0004), and the key that signs tokens.

use super::{StartError, index, objects, private_directory, roots};
use crate::config::Config;
use crate::ids::Owner;
use crate::index::store::{Batch, Store};
use crate::secret::{Key, system_random};
use crate::smart::identity::IdentityKey;
use crate::smart::token::{Make, TokenError, TokenKey, read_or_make};
use crate::upkeep::key_objects;
use crate::vault::keys::{KeyError, KeyRing, Wrapped};
use crate::vault::objects::Objects;
use crate::vault::seal::{open_bytes, seal_bytes};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use zeroize::Zeroizing;

/// What the keys that sign are sealed under, where the index has them.
const SEALS: &str = ".token";
const TOKENS: Kept = Kept { name: "token.key", purpose: b"medseal/v1/token-key" };
const IDENTITIES: Kept = Kept { name: "identity.key", purpose: b"medseal/v1/identity-token-key" };

/// A key that signs: its file, or its name in the index, and what it is sealed for there.
#[derive(Clone, Copy)]
struct Kept {
    name: &'static str,
    purpose: &'static [u8],
}

/// Where the server's own keys lie.
#[derive(Clone, Copy)]
pub(super) struct OwnKeys<'s> {
    pub keys: &'s KeyRing,
    pub store: &'s Store,
    pub objects: &'s Objects,
}

impl OwnKeys<'_> {
    /// A key of the server's own, made at the first start, by whichever replica comes first.
    pub async fn key(self, name: &str) -> Result<Key, StartError> {
        let Self { keys, store, objects } = self;
        let owner = Owner::from_stored(name);
        if let Some(wrapped) = store.key(&owner)? {
            return Ok(keys.unwrap(&owner, &wrapped).await?);
        }
        // Nobody else makes one meanwhile, and writes over the object.
        let turn = store.turn()?;
        if let Some(wrapped) = store.key(&owner)? {
            return Ok(keys.unwrap(&owner, &wrapped).await?);
        }
        let object = format!("keys/system{name}");
        let (key, wrapped) = match objects.find(&object).await? {
            // Left by a crash between the two below, or by an index that is not this one: a key is never written over.
            Some(_) => self.found(&owner, &object).await?,
            None => {
                let (key, wrapped) = keys.newest().await?.generate(&owner, &system_random)?;
                objects.replace(&object, key_objects::to_bytes(&[(owner.clone(), wrapped.clone())])).await?;
                (key, wrapped)
            }
        };
        store.commit_in(turn, &Batch { keys: vec![(owner, wrapped)], ..Batch::default() })?;
        Ok(key)
    }

    async fn found(self, owner: &Owner, object: &str) -> Result<(Key, Wrapped), StartError> {
        let kept = key_objects::read(self.objects, object).await?;
        let own = kept.into_iter().find(|(of, _)| of == owner);
        let (_, wrapped) = own.ok_or_else(|| KeyError::NoKey { owner: owner.as_str().to_owned() })?;
        Ok((self.keys.unwrap(owner, &wrapped).await?, wrapped))
    }

    /// A key that a service has made. Whoever only looks makes none: where the index is lost, or another one, that would bury what
    /// everything here was made with.
    pub async fn existing(self, name: &str) -> Result<Key, StartError> {
        let owner = Owner::from_stored(name);
        let wrapped = self.store.key(&owner)?.ok_or_else(|| KeyError::NoKey { owner: name.to_owned() })?;
        Ok(self.keys.unwrap(&owner, &wrapped).await?)
    }

    /// The key that signs tokens.
    pub async fn token_key(self, config: &Config) -> Result<TokenKey, StartError> {
        let der = self.signing_key(config, TOKENS, TokenKey::generate).await?;
        Ok(TokenKey::from_der(&der, Path::new(TOKENS.name))?)
    }

    /// The key that signs ID tokens.
    pub async fn identity_key(self, config: &Config) -> Result<IdentityKey, StartError> {
        let der = self.signing_key(config, IDENTITIES, IdentityKey::generate).await?;
        Ok(IdentityKey::from_der(&der, Path::new(IDENTITIES.name))?)
    }

    /// A file in the data directory. All replicas must have the same key, so that with PostgreSQL it lies in the index, sealed.
    async fn signing_key(self, config: &Config, kept: Kept, make: Make) -> Result<Zeroizing<Vec<u8>>, StartError> {
        let store = self.store;
        if !store.is_shared() {
            let path = config.data.join(kept.name);
            return Ok(beside(move || read_or_make(&path, make)).await?);
        }
        let key = self.key(SEALS).await?;
        if store.setting(kept.name)?.is_none() {
            let sealed = seal_bytes(&key, kept.purpose, &beside(make).await?, &system_random);
            store.first_setting(kept.name, &hex::encode(sealed.map_err(|_| TokenError::Unsigned)?))?;
        }
        sealed(&key, store, kept)
    }
}

/// Making a key takes a moment, which holds up no other request.
async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
) -> Result<T, TokenError> {
    // One after the other: who asked for it may have gone, and what he began goes on.
    static MAKING: Mutex<()> = Mutex::new(());
    let alone = move || {
        let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        work()
    };
    tokio::task::spawn_blocking(alone).await.unwrap_or(Err(TokenError::Unsigned))
}

fn sealed(key: &Key, store: &Store, kept: Kept) -> Result<Zeroizing<Vec<u8>>, StartError> {
    let malformed = || TokenError::Malformed { path: Path::new("in the index").join(kept.name) };
    let sealed = hex::decode(store.setting(kept.name)?.unwrap_or_default()).map_err(|_| malformed())?;
    Ok(Zeroizing::new(open_bytes(key, kept.purpose, &sealed).map_err(|_| malformed())?))
}

/// The key that signs tokens, for a command beside a running service.
pub async fn existing_token_key(config: &Config) -> Result<TokenKey, StartError> {
    let data = &config.data;
    if config.index.postgres.is_none() {
        let directory = |source| StartError::Directory { path: data.clone(), source };
        private_directory(data).map_err(directory)?;
        return Ok(TokenKey::open(&data.join(TOKENS.name))?);
    }
    let (store, owner) = (index(config)?, Owner::from_stored(SEALS));
    let wrapped = store.key(&owner)?.ok_or(KeyError::NoKey { owner: SEALS.into() })?;
    // Not in the service's own folder, which is emptied by whoever opens it.
    let keys = roots::open(config, &store, &objects(config, None)?, false).await?;
    let der = sealed(&keys.unwrap(&owner, &wrapped).await?, &store, TOKENS)?;
    Ok(TokenKey::from_der(&der, Path::new(TOKENS.name))?)
}
