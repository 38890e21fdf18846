//! Keys: a root key (`roots`) wraps one data key an owner. The wrapped keys lie in the index and, for recovery, beside the
//! packs; unwrapped they are only in memory, a bounded number for a bounded time.
//!
//! ```text
//! wrapped = 2 root-id:8 nonce:12 ciphertext:32 tag:16    bound to the owner and the root's id
//! wrapped =             nonce:12 ciphertext:32 tag:16    as written before roots had ids: by the root key of the file
//! ```

use super::roots::{Root, RootId};
use super::seal::{SealError, open_bytes, seal_bytes};
use crate::ids::Owner;
use crate::limits::MAX_CACHED_KEYS;
use crate::secret::{Key, NoRandomness, Random};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// The first byte of a wrapped key that names its root, and how long such a one is.
const NAMED: u8 = 2;
const NAMED_BYTES: usize = 1 + 8 + 12 + 32 + 16;

/// A data key under the root key, as it may be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped(pub Vec<u8>);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("key file {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("key file {path} may be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("key file {path} does not hold 64 hexadecimal digits")]
    Malformed { path: PathBuf },
    #[error("key file {path} is missing, but the data beside it was sealed with one: put it back from your backup")]
    Lost { path: PathBuf },
    #[error("the data key of {owner} does not open with this root key")]
    WrongRoot { owner: String },
    #[error(
        "the data key of {owner} does not open with this root key: it was wrapped under root {root}; put its key file back, or name its key service in [keys]"
    )]
    NoRoot { owner: String, root: RootId },
    #[error("the key service does not answer for {key}: {what}")]
    Away { key: String, what: String },
    #[error("the key service refuses {key}: {what}")]
    Refused { key: String, what: String },
    #[error("credentials for the key service: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    Credentials,
    #[error("the wrapped root key {name} is of no known form: restore it from a backup")]
    WrappedRoot { name: String },
    #[error("the keys in {name} cannot be read: restore it from a backup")]
    KeyObject { name: String },
    #[error(
        "root.key.next of this data directory is the root that is in use already: rename it to root.key, and rotate again for a new one"
    )]
    InUse,
    #[error("there is no data key of {owner}")]
    NoKey { owner: String },
    #[error("the data key of {owner} was destroyed")]
    Destroyed { owner: String },
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// The root keys, and the data keys that they have opened.
#[derive(Debug)]
pub struct KeyRing {
    /// What is new is wrapped under the first one.
    roots: RwLock<Vec<Arc<Root>>>,
    open: Mutex<HashMap<Owner, (Key, Instant)>>,
    /// Whose keys were destroyed: none of these is held or made again.
    destroyed: RwLock<HashSet<Owner>>,
    life: Duration,
}

/// A root key at hand, to wrap with.
#[derive(Debug, Clone)]
pub struct OpenRoot {
    id: RootId,
    key: Key,
}

impl Wrapped {
    /// The root that it names.
    pub fn root(&self) -> Option<RootId> {
        let named = self.0.len() == NAMED_BYTES && self.0.first() == Some(&NAMED);
        named.then(|| self.0.get(1..9)?.try_into().ok().map(RootId))?
    }
}

/// Reads the root key's file, or makes one for a new data directory.
pub fn root_key(path: &Path, new_allowed: bool, random: Random<'_>) -> Result<Key, KeyError> {
    let unreadable = |source| KeyError::Unreadable { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            if new_allowed {
                create_root(path, random)
            } else {
                Err(KeyError::Lost { path: path.to_owned() })
            }
        }
        Err(source) => Err(unreadable(source)),
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(KeyError::Exposed { path: path.to_owned(), mode });
            }
            let text = zeroize::Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable)?);
            let mut bytes = zeroize::Zeroizing::new([0; 32]);
            hex::decode_to_slice(text.trim(), bytes.as_mut_slice())
                .map_err(|_| KeyError::Malformed { path: path.to_owned() })?;
            Ok(Key::new(*bytes))
        }
    }
}

fn create_root(path: &Path, random: Random<'_>) -> Result<Key, KeyError> {
    let key = Key::generate(random)?;
    let text = zeroize::Zeroizing::new(format!("{}\n", hex::encode(key.expose())));
    write_secret(path, text.as_bytes()).map_err(|source| KeyError::Unreadable { path: path.to_owned(), source })?;
    Ok(key)
}

/// Writes a file that only its owner may read, durably, and only if it is not there yet.
pub fn write_secret(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    // A crash here leaves a `.new` file that the next start writes over. A link, unlike a rename, replaces nothing.
    std::fs::hard_link(&temporary, path)?;
    std::fs::remove_file(&temporary)?;
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

impl OpenRoot {
    /// Makes a data key for an owner. It counts once its wrapped form is stored.
    pub fn generate(&self, owner: &Owner, random: Random<'_>) -> Result<(Key, Wrapped), KeyError> {
        let key = Key::generate(random)?;
        let wrapped = self.wrap(owner, &key, random)?;
        Ok((key, wrapped))
    }

    /// Wraps a data key.
    pub fn wrap(&self, owner: &Owner, key: &Key, random: Random<'_>) -> Result<Wrapped, KeyError> {
        match seal_bytes(&self.key, &binding(owner, Some(self.id)), key.expose(), random) {
            Ok(sealed) => Ok(Wrapped([&[NAMED], self.id.0.as_slice(), &sealed].concat())),
            Err(SealError::Randomness(e)) => Err(e.into()),
            Err(SealError::Refused) => Err(wrong_root(owner)),
        }
    }
}

impl KeyRing {
    /// A ring with nothing opened yet: what is new is wrapped under the first root, and a data key is held open for so long.
    pub fn new(roots: Vec<Root>, life: Duration) -> Self {
        let roots = RwLock::new(roots.into_iter().map(Arc::new).collect());
        Self { roots, open: Mutex::default(), destroyed: RwLock::default(), life }
    }

    /// Takes up other roots: what is new is wrapped under the first of them.
    pub fn replace_roots(&self, roots: Vec<Root>) {
        *self.roots.write().unwrap_or_else(PoisonError::into_inner) = roots.into_iter().map(Arc::new).collect();
    }

    /// Which root wraps what is new.
    pub fn newest_id(&self) -> Option<RootId> {
        self.roots().first().map(|root| root.id)
    }

    /// The root that wraps what is new.
    pub async fn newest(&self) -> Result<OpenRoot, KeyError> {
        let root = self.roots().first().cloned().ok_or(KeyError::NoKey { owner: "(root)".to_owned() })?;
        Ok(OpenRoot { id: root.id, key: root.key().await? })
    }

    /// The owner's key if it is open already.
    pub fn cached(&self, owner: &Owner) -> Option<Key> {
        let open = self.lock();
        open.get(owner).filter(|(_, until)| *until > Instant::now()).map(|(key, _)| key.clone())
    }

    /// The key of an owner was destroyed: it is wiped here too, and never opened again.
    pub fn destroy(&self, owner: &Owner) {
        self.destroyed.write().unwrap_or_else(PoisonError::into_inner).insert(owner.clone());
        // After it is marked: who keeps the key meanwhile sees the mark, or comes before this.
        self.lock().remove(owner);
    }

    /// Whether an owner's key was destroyed.
    pub fn is_destroyed(&self, owner: &Owner) -> bool {
        self.destroyed.read().unwrap_or_else(PoisonError::into_inner).contains(owner)
    }

    /// Opens a wrapped key and keeps it.
    pub async fn unwrap(&self, owner: &Owner, wrapped: &Wrapped) -> Result<Key, KeyError> {
        let key = self.open(owner, wrapped).await?;
        self.keep(owner.clone(), key.clone());
        Ok(key)
    }

    /// Opens a wrapped key that need not be the owner's.
    pub async fn open(&self, owner: &Owner, wrapped: &Wrapped) -> Result<Key, KeyError> {
        if self.is_destroyed(owner) {
            return Err(KeyError::Destroyed { owner: owner.as_str().to_owned() });
        }
        let root = self.root_of(owner, wrapped)?;
        let sealed = wrapped.root().map_or(wrapped.0.as_slice(), |_| &wrapped.0[9..]);
        let plain = open_bytes(&root.key().await?, &binding(owner, wrapped.root()), sealed).ok();
        let bytes = plain.map(zeroize::Zeroizing::new).and_then(|p| <[u8; 32]>::try_from(p.as_slice()).ok());
        Ok(Key::new(bytes.ok_or_else(|| wrong_root(owner))?))
    }

    fn root_of(&self, owner: &Owner, wrapped: &Wrapped) -> Result<Arc<Root>, KeyError> {
        let roots = self.roots();
        match wrapped.root() {
            Some(id) => roots
                .into_iter()
                .find(|root| root.id == id)
                .ok_or_else(|| KeyError::NoRoot { owner: owner.as_str().to_owned(), root: id }),
            None => roots.into_iter().find(|root| root.is_file()).ok_or_else(|| wrong_root(owner)),
        }
    }

    /// Keeps an open key.
    pub fn keep(&self, owner: Owner, key: Key) {
        let mut open = self.lock();
        if self.is_destroyed(&owner) {
            return;
        }
        if open.len() >= MAX_CACHED_KEYS {
            // Keys are cheap to open again: no order of age is worth its bookkeeping.
            open.clear();
        }
        open.insert(owner, (key, Instant::now() + self.life));
    }

    /// Wipes what was held long enough.
    pub async fn tidy(&self) {
        let now = Instant::now();
        self.lock().retain(|_, (_, until)| *until > now);
        for root in self.roots() {
            root.tidy().await;
        }
    }

    fn roots(&self) -> Vec<Arc<Root>> {
        self.roots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Owner, (Key, Instant)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wrong_root(owner: &Owner) -> KeyError {
    KeyError::WrongRoot { owner: owner.as_str().to_owned() }
}

fn binding(owner: &Owner, root: Option<RootId>) -> Vec<u8> {
    match root {
        None => [b"medseal/v1/key\0", owner.as_str().as_bytes()].concat(),
        Some(root) => [b"medseal/v2/key\0", root.0.as_slice(), owner.as_str().as_bytes()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::system_random;

    fn ring(bytes: &[u8]) -> KeyRing {
        KeyRing::new(bytes.iter().map(|b| Root::file(Key::new([*b; 32]))).collect(), Duration::from_secs(600))
    }

    #[tokio::test]
    async fn a_wrapped_key_opens_for_its_owner_and_root_only() {
        let first = ring(&[1]);
        let owner = Owner::custodian();
        let (key, wrapped) = first.newest().await.unwrap().generate(&owner, &system_random).unwrap();
        assert_eq!(first.unwrap(&owner, &wrapped).await.unwrap(), key);
        let other = Owner::from_stored("p1");
        assert!(matches!(first.unwrap(&other, &wrapped).await, Err(KeyError::WrongRoot { .. })));
        let stranger = ring(&[2]).unwrap(&owner, &wrapped).await.unwrap_err();
        assert!(matches!(stranger, KeyError::NoRoot { .. }), "{stranger}");
        assert_eq!(ring(&[2, 1]).unwrap(&owner, &wrapped).await.unwrap(), key, "an older root still opens");
        let mut renamed = wrapped.clone();
        renamed.0[1..9].copy_from_slice(&ring(&[2]).newest().await.unwrap().id.0);
        assert!(matches!(ring(&[2]).unwrap(&owner, &renamed).await, Err(KeyError::WrongRoot { .. })));
        for odd in [vec![], vec![2; 69], vec![0; 60], wrapped.0[..68].to_vec()] {
            assert!(first.unwrap(&owner, &Wrapped(odd)).await.is_err());
        }
    }

    #[tokio::test]
    async fn what_was_wrapped_before_roots_had_ids_still_opens() {
        let owner = Owner::from_stored("Patient/p1");
        let old = seal_bytes(&Key::new([1; 32]), b"medseal/v1/key\0Patient/p1", &[7; 32], &system_random).unwrap();
        assert_eq!(ring(&[1]).unwrap(&owner, &Wrapped(old.clone())).await.unwrap(), Key::new([7; 32]));
        assert!(matches!(ring(&[2]).unwrap(&owner, &Wrapped(old)).await, Err(KeyError::WrongRoot { .. })));
    }

    #[tokio::test]
    async fn open_keys_are_held_for_a_bounded_time() {
        let owner = Owner::custodian();
        for (life, held) in [(600, true), (0, false)] {
            let ring = KeyRing::new(Vec::new(), Duration::from_secs(life));
            ring.keep(owner.clone(), Key::new([7; 32]));
            assert_eq!((ring.cached(&owner).is_some(), ring.lock().len()), (held, 1));
            ring.tidy().await;
            assert_eq!(
                (ring.cached(&owner).is_some(), ring.lock().len()),
                (held, usize::from(held)),
                "wiped, not only unused"
            );
        }
    }

    #[tokio::test]
    async fn a_destroyed_key_is_neither_held_nor_opened() {
        let (ring, owner) = (ring(&[1]), Owner::from_stored("Patient/p"));
        let (key, wrapped) = ring.newest().await.unwrap().generate(&owner, &system_random).unwrap();
        ring.keep(owner.clone(), key.clone());
        ring.destroy(&owner);
        ring.keep(owner.clone(), key);
        assert!(ring.cached(&owner).is_none() && ring.is_destroyed(&owner));
        assert!(matches!(ring.unwrap(&owner, &wrapped).await, Err(KeyError::Destroyed { .. })));
    }

    #[test]
    fn the_key_file_is_private_whole_and_never_made_anew_over_data() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        assert!(matches!(root_key(&path, false, &system_random), Err(KeyError::Lost { .. })));
        let key = root_key(&path, true, &system_random).unwrap();
        assert_eq!(root_key(&path, false, &system_random).unwrap(), key);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let error = root_key(&path, false, &system_random).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("root.key"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "zz").unwrap();
        assert!(matches!(root_key(&path, false, &system_random), Err(KeyError::Malformed { .. })));
    }
}
