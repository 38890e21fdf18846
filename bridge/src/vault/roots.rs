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

/// How long a service that did not answer is not asked again: who waits for its answer is refused together with who asked.
const REST: Duration = Duration::from_secs(2);

/// What is known of a root of a key service.
#[derive(Debug)]
enum Open {
    Closed,
    /// Open until then.
    Until(Key, Instant),
    /// It did not answer, and is left in peace until then.
    Resting(Instant),
}

#[derive(Debug)]
enum Kept {
    File(Key),
    Service {
        kms: Kms,
        wrapped: Vec<u8>,
        /// Who finds it closed opens it while the others wait: one call for all.
        open: Mutex<Open>,
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
        Self { id, kept: Kept::Service { kms, wrapped, open: Mutex::new(Open::Closed), life } }
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
        match &*open {
            Open::Until(key, until) if *until > Instant::now() => return Ok(key.clone()),
            Open::Resting(until) if *until > Instant::now() => {
                return Err(KeyError::Away {
                    key: self.id.to_string(),
                    what: "it did not answer a moment ago".to_owned(),
                });
            }
            _ => {}
        }
        // What was held too long is wiped, whether or not the service answers.
        *open = Open::Closed;
        match kms.open(&self.id, wrapped).await {
            Ok(key) => {
                *open = Open::Until(key.clone(), Instant::now() + *life);
                Ok(key)
            }
            Err(error) => {
                *open = Open::Resting(Instant::now() + REST);
                Err(error)
            }
        }
    }

    /// Wipes a key that was held long enough.
    pub(super) async fn tidy(&self) {
        if let Kept::Service { open, .. } = &self.kept {
            let mut open = open.lock().await;
            if matches!(&*open, Open::Until(_, until) if *until <= Instant::now()) {
                *open = Open::Closed;
            }
        }
    }
}
