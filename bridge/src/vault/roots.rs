//! Root keys: what wraps the data keys. One is in a key file, or was made by a key service (KMS) and lies wrapped beside the
//! packs; then it is opened by a call to the service, and held for a bounded time. See `docs/adr/0010`.

use super::keys::KeyError;
use super::kms::Kms;
use crate::secret::{Key, NoRandomness, Random, bytes};
use notary::commitment::Digest;
use std::fmt;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Which root key: it stands in each wrapped key. Of a key in a file it is the beginning of a hash, so that the file alone
/// tells what it opens; the hash of 256 random bits tells nothing of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootId(pub [u8; 8]);

impl RootId {
    fn of(key: &Key) -> Self {
        let digest = Digest::of(&[b"medseal/v1/root-id\0", key.expose().as_slice()].concat());
        let mut id = [0; 8];
        id.copy_from_slice(&digest.0[..8]);
        Self(id)
    }

    /// An id for a root that a key service makes.
    pub fn generate(random: Random<'_>) -> Result<Self, NoRandomness> {
        Ok(Self(bytes(random)?))
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut id = [0; 8];
        hex::decode_to_slice(text, &mut id).ok().map(|()| Self(id))
    }
}

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A root key, and how it is come by.
#[derive(Debug)]
pub struct Root {
    pub id: RootId,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    File(Key),
    Service {
        kms: Kms,
        wrapped: Vec<u8>,
        /// Open until then. Who finds it closed opens it while the others wait: one call for all.
        open: Mutex<Option<(Key, Instant)>>,
        life: Duration,
    },
}

impl Root {
    /// The key of a key file.
    pub fn file(key: Key) -> Self {
        Self { id: RootId::of(&key), kept: Kept::File(key) }
    }

    /// A root of a key service, as the service wrapped it.
    pub fn service(kms: Kms, id: RootId, wrapped: Vec<u8>, life: Duration) -> Self {
        Self { id, kept: Kept::Service { kms, wrapped, open: Mutex::new(None), life } }
    }

    /// Whether it is the key of a file: it opens what was wrapped before roots had ids.
    pub fn is_file(&self) -> bool {
        matches!(self.kept, Kept::File(_))
    }

    /// The key itself.
    pub(super) async fn key(&self) -> Result<Key, KeyError> {
        let (kms, wrapped, open, life) = match &self.kept {
            Kept::File(key) => return Ok(key.clone()),
            Kept::Service { kms, wrapped, open, life } => (kms, wrapped, open, life),
        };
        let mut open = open.lock().await;
        if let Some((key, until)) = &*open
            && *until > Instant::now()
        {
            return Ok(key.clone());
        }
        // What was held too long is wiped, whether or not the service answers.
        *open = None;
        let key = kms.open(&self.id, wrapped).await?;
        *open = Some((key.clone(), Instant::now() + *life));
        Ok(key)
    }

    /// Wipes a key that was held long enough.
    pub(super) async fn tidy(&self) {
        if let Kept::Service { open, .. } = &self.kept {
            let mut open = open.lock().await;
            if open.as_ref().is_some_and(|(_, until)| *until <= Instant::now()) {
                *open = None;
            }
        }
    }
}
