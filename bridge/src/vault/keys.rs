//! Keys: one root key in a file (mode 0600) wraps one data key an owner. The wrapped keys lie in the index and, for
//! recovery, beside the packs; unwrapped they are only in memory.

use super::seal::{SealError, open_bytes, seal_bytes};
use crate::ids::Owner;
use crate::limits::MAX_CACHED_KEYS;
use crate::secret::{Key, NoRandomness, Random};
use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

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
    #[error("there is no data key of {owner}")]
    NoKey { owner: String },
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

/// The root key and the data keys it has opened.
#[derive(Debug)]
pub struct KeyRing {
    root: Key,
    open: Mutex<HashMap<Owner, Key>>,
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

impl KeyRing {
    /// A ring with nothing opened yet.
    pub fn new(root: Key) -> Self {
        Self { root, open: Mutex::new(HashMap::new()) }
    }

    /// Makes a data key for an owner. It counts once its wrapped form is stored.
    pub fn generate(&self, owner: &Owner, random: Random<'_>) -> Result<(Key, Wrapped), KeyError> {
        let key = Key::generate(random)?;
        let wrapped = seal_bytes(&self.root, &binding(owner), key.expose(), random);
        match wrapped {
            Ok(wrapped) => Ok((key, Wrapped(wrapped))),
            Err(SealError::Randomness(e)) => Err(e.into()),
            Err(SealError::Refused) => Err(KeyError::WrongRoot { owner: owner.as_str().to_owned() }),
        }
    }

    /// The owner's key if it is open already.
    pub fn cached(&self, owner: &Owner) -> Option<Key> {
        self.lock().get(owner).cloned()
    }

    /// Opens a wrapped key and keeps it.
    pub fn unwrap(&self, owner: &Owner, wrapped: &Wrapped) -> Result<Key, KeyError> {
        let plain = open_bytes(&self.root, &binding(owner), &wrapped.0).ok().map(zeroize::Zeroizing::new);
        let bytes = plain.and_then(|p| <[u8; 32]>::try_from(p.as_slice()).ok());
        let key = Key::new(bytes.ok_or(KeyError::WrongRoot { owner: owner.as_str().to_owned() })?);
        self.keep(owner.clone(), key.clone());
        Ok(key)
    }

    /// Keeps an open key.
    pub fn keep(&self, owner: Owner, key: Key) {
        let mut open = self.lock();
        if open.len() >= MAX_CACHED_KEYS {
            // Keys are cheap to open again: no order of age is worth its bookkeeping.
            open.clear();
        }
        open.insert(owner, key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Owner, Key>> {
        self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn binding(owner: &Owner) -> Vec<u8> {
    [b"medseal/v1/key\0", owner.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::system_random;

    #[test]
    fn a_wrapped_key_opens_for_its_owner_and_root_only() {
        let ring = KeyRing::new(Key::new([1; 32]));
        let owner = Owner::custodian();
        let (key, wrapped) = ring.generate(&owner, &system_random).unwrap();
        assert_eq!(ring.unwrap(&owner, &wrapped).unwrap(), key);
        let other = Owner::from_stored("p1");
        assert!(matches!(ring.unwrap(&other, &wrapped), Err(KeyError::WrongRoot { .. })));
        let stranger = KeyRing::new(Key::new([2; 32]));
        assert!(matches!(stranger.unwrap(&owner, &wrapped), Err(KeyError::WrongRoot { .. })));
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
