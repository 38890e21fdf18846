//! Where sealed objects lie: a directory, or an S3 bucket. Packs are never changed; their names are unique by
//! construction. When `put` returns, the object is durable. A read gives exactly what was asked for, or an error.

pub mod above;
mod cache;
mod directory;
pub mod s3;

use super::pack::Extent;
use above::Above;
use aws_sdk_s3::config::Credentials;
pub use directory::{close_to_others, private, private_directory, warn_if_open};
use s3::{Bounds, Bucket, S3Settings};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where it is tried whether anything can be written, and how much is written to a disk for that: less room is none.
pub const PROBES: &str = "probe/";
const PROBE_BYTES: usize = 64 << 10;

/// The object store.
#[derive(Debug, Clone)]
pub enum Objects {
    Directory(PathBuf),
    S3(Box<Bucket>),
    /// One of these as it was at one moment; what is written lies elsewhere.
    Above(Arc<Above>),
}

/// An object that a listing tells of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub name: String,
    pub length: u64,
    /// Milliseconds since 1970, by the store's clock.
    pub changed: i64,
}

/// Part of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub offset: u64,
    pub length: usize,
}

/// Why an object could not be read or written: which one, and what the store said.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("object {name}: {source}")]
    Io { name: String, source: std::io::Error },
    #[error("object {name} is not in the store")]
    Missing { name: String },
    #[error("object {name} is shorter than what should lie in it")]
    Short { name: String },
    #[error("object {name} is not as it was written: its checksum is another")]
    Damaged { name: String },
    #[error("object {name} is there already, with other content")]
    Taken { name: String },
    /// The same may succeed later: the server is busy, broken or out of reach.
    #[error("object {name}: the S3 server does not answer as it should: {what}")]
    S3 { name: String, what: String },
    /// The same will fail again until somebody mends the configuration or the bucket.
    #[error("object {name}: the S3 server refuses: {what}")]
    Refused { name: String, what: String },
    #[error("S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")]
    Credentials,
}

impl Objects {
    /// A store in a directory, which is made if it is not there.
    pub fn directory(path: &Path) -> Result<Self, ObjectError> {
        private_directory(path).map_err(|source| io(&path.display().to_string(), source))?;
        Ok(Self::Directory(path.to_owned()))
    }

    /// A store in a bucket, with the credentials of the environment, and perhaps a folder to keep parts of packs in.
    pub fn s3(settings: &S3Settings, cache: Option<&Path>) -> Result<Self, ObjectError> {
        let credentials = s3::credentials().ok_or(ObjectError::Credentials)?;
        Ok(Self::s3_with(settings, credentials, Bounds::default(), cache))
    }

    /// A store in a bucket with the given credentials and time-outs.
    pub fn s3_with(settings: &S3Settings, credentials: Credentials, bounds: Bounds, cache: Option<&Path>) -> Self {
        Self::S3(Box::new(Bucket::new(settings, credentials, bounds, cache)))
    }

    /// Where it is, for messages.
    pub fn place(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::S3(bucket) => bucket.place(),
            Self::Above(above) => above.place(),
        }
    }

    /// Whether it is quicker to write an object whose name was prepared.
    pub fn prepares(&self) -> bool {
        matches!(self, Self::Directory(_))
    }

    /// Makes names durable before there is what will be put there: `put` waits for one sync then, not for its folder's, too. Until then
    /// there is no such object.
    pub async fn prepare(&self, names: Vec<String>) -> Result<(), ObjectError> {
        let Self::Directory(root) = self else { return Ok(()) };
        let paths: Vec<_> = names.iter().map(|name| root.join(name)).collect();
        let first = names.into_iter().next().unwrap_or_default();
        let name = first.clone();
        blocking(&first, move || directory::prepare(&paths).map_err(|e| io(&name, e))).await
    }

    /// Lets go of a name that was prepared and not used. If that fails, it is one that nobody sees.
    pub async fn give_up(&self, name: &str) {
        let Self::Directory(root) = self else { return };
        let path = root.join(name);
        _ = blocking(name, move || directory::give_up(&path).map_err(|e| io("(prepared)", e))).await;
    }

    /// The same for all those that come after a name (`packs/1`) in its folder, when nobody is about to write to one.
    pub async fn give_up_after(&self, name: &str) -> Result<(), ObjectError> {
        let Self::Directory(root) = self else { return Ok(()) };
        let (root, after) = (root.clone(), name.to_owned());
        blocking(name, move || directory::give_up_after(&root, &after)).await
    }

    /// Writes a new object durably. Its name is one that nobody else uses.
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        match self {
            // That no second process makes the same name is the part of the data directory's lock.
            Self::Directory(root) => write_new(root, name, bytes).await,
            Self::S3(bucket) => bucket.put(name, bytes.into()).await,
            Self::Above(above) => above.put(name, bytes).await,
        }
    }

    /// Writes a pack like any new object. Its records are kept near: what was just written is what the next message changes.
    pub async fn put_pack(&self, name: &str, bytes: Vec<u8>, records: Vec<Extent>) -> Result<(), ObjectError> {
        match self {
            Self::Directory(root) => write_new(root, name, bytes).await,
            Self::S3(bucket) => bucket.put_pack(name, bytes.into(), records).await,
            Self::Above(above) => above.put(name, bytes).await,
        }
    }

    /// Writes a new object durably, and whole or not at all: for a name that a start does not look at.
    pub async fn put_whole(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        match self {
            Self::Directory(_) | Self::Above(_) => self.replace(name, bytes).await,
            Self::S3(bucket) => bucket.put(name, bytes.into()).await,
        }
    }

    /// Writes an object durably, whatever was there: for wrapped keys, which are rewrapped. Never for packs.
    pub async fn replace(&self, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
        match self {
            Self::Directory(root) => {
                let (path, owned) = (root.join(name), name.to_owned());
                blocking(name, move || directory::write_file(&path, &bytes).map_err(|e| io(&owned, e))).await
            }
            Self::S3(bucket) => bucket.replace(name, bytes.into()).await,
            Self::Above(above) => above.put(name, bytes).await,
        }
    }

    /// Reads part of an object, whole or not at all. From a directory it is read on the spot: some kilobytes that mostly lie
    /// in the page cache cost a tenth of what handing them to another thread does.
    pub async fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, ObjectError> {
        match self {
            Self::Directory(root) => directory::read_file(root, name, offset, length),
            Self::S3(bucket) => bucket.read(name, offset, length).await,
            Self::Above(above) => above.read(name, offset, length).await,
        }
    }

    /// Lets go of what is kept near of an object, because it is damaged; tells whether anything may be: then another read goes to
    /// where it came from.
    pub fn forget(&self, name: &str, offset: u64, length: usize) -> bool {
        match self {
            Self::Directory(_) | Self::Above(_) => false,
            Self::S3(bucket) => bucket.forget(name, offset, length),
        }
    }

    /// Prepares for reads that come next. From a directory they are cheap as they are.
    pub async fn read_ahead(&self, parts: Vec<Part>) {
        if let Self::S3(bucket) = self {
            bucket.read_ahead(parts).await;
        }
    }

    /// How often parts of packs were found near, and how often not; nothing where they always are.
    pub fn cache_use(&self) -> Option<(u64, u64)> {
        match self {
            Self::Directory(_) | Self::Above(_) => None,
            Self::S3(bucket) => Some(bucket.cache_use()),
        }
    }

    /// Reads a whole object.
    pub async fn read_all(&self, name: &str) -> Result<Vec<u8>, ObjectError> {
        match self {
            Self::Directory(root) => {
                let (path, owned) = (root.join(name), name.to_owned());
                blocking(name, move || std::fs::read(&path).map_err(|e| io(&owned, e))).await
            }
            Self::S3(bucket) => bucket.read_all(name).await,
            Self::Above(above) => above.read_all(name).await,
        }
    }

    /// What lies beside the folders that are ours, and in them beside objects: names, at most so many.
    pub async fn strangers(&self, folders: &'static [&'static str], limit: usize) -> Result<Vec<String>, ObjectError> {
        match self {
            Self::Directory(root) => {
                let root = root.clone();
                blocking("(listing)", move || directory::strangers(&root, folders, limit)).await
            }
            Self::S3(bucket) => bucket.strangers(folders, limit).await,
            Self::Above(above) => above.strangers(folders, limit).await,
        }
    }

    /// Tries whether an object can be written, and takes it away again; in a directory also whether packs and keys can be made.
    pub async fn probe(&self, id: &str) -> Result<(), ObjectError> {
        let name = format!("{PROBES}{id}");
        let made = ["packs/", "keys/"].map(|folder| format!("{folder}probe-{id}"));
        for name in &made {
            self.give_up(name).await;
        }
        self.prepare(made.to_vec()).await?;
        for name in &made {
            self.give_up(name).await;
        }
        // A disk that is full takes some bytes yet; a bucket takes a thousand as it takes one.
        let length = if matches!(self, Self::Directory(_)) { PROBE_BYTES } else { 1 };
        self.replace(&name, vec![0; length]).await?;
        self.remove(&name).await
    }

    /// The objects of a folder (`packs/`) by name, after a name, at most so many.
    pub async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<Found>, ObjectError> {
        match self {
            Self::Directory(root) => {
                let (root, folder, after) = (root.clone(), folder.to_owned(), after.to_owned());
                blocking("(listing)", move || directory::list_page(&root, &folder, &after, limit)).await
            }
            Self::S3(bucket) => bucket.list(folder, after, limit).await,
            Self::Above(above) => above.list(folder, after, limit).await,
        }
    }

    /// What a listing would tell of an object; nothing if it is not there.
    pub async fn find(&self, name: &str) -> Result<Option<Found>, ObjectError> {
        match self {
            Self::Directory(root) => {
                let (root, owned) = (root.clone(), name.to_owned());
                blocking(name, move || directory::found(&root, owned)).await
            }
            // It is the first of those that begin with its name.
            Self::S3(bucket) => {
                Ok(bucket.list(name, "", 1).await?.into_iter().next().filter(|found| found.name == name))
            }
            Self::Above(above) => above.find(name).await,
        }
    }

    /// Removes an object. One that is not there is removed.
    pub async fn remove(&self, name: &str) -> Result<(), ObjectError> {
        match self {
            Self::Directory(root) => {
                let (root, owned) = (root.clone(), name.to_owned());
                blocking(name, move || directory::remove_file(&root, &owned)).await
            }
            Self::S3(bucket) => bucket.remove(name).await,
            Self::Above(above) => above.remove(name).await,
        }
    }
}

async fn write_new(root: &Path, name: &str, bytes: Vec<u8>) -> Result<(), ObjectError> {
    let (path, owned) = (root.join(name), name.to_owned());
    blocking(name, move || directory::write_new(&path, &bytes).map_err(|e| io(&owned, e))).await
}

async fn blocking<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> Result<T, ObjectError> + Send + 'static,
) -> Result<T, ObjectError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|e| Err(io(name, std::io::Error::other(e))))
}

fn io(name: &str, source: std::io::Error) -> ObjectError {
    match source.kind() {
        std::io::ErrorKind::NotFound => ObjectError::Missing { name: name.to_owned() },
        _ => ObjectError::Io { name: name.to_owned(), source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_cannot_make_packs_or_keys_is_told_so_beforehand() {
        let directory = tempfile::tempdir().unwrap();
        let objects = Objects::directory(directory.path()).unwrap();
        for folder in ["packs", "keys"] {
            objects.probe("a").await.unwrap();
            let place = directory.path().join(folder);
            assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0, "nothing is left of it");
            std::fs::remove_dir(&place).unwrap();
            std::fs::write(&place, "in the way").unwrap();
            assert!(objects.probe("a").await.is_err(), "{folder}");
            std::fs::remove_file(&place).unwrap();
        }
    }
}
