//! Parts of packs that were read from a bucket, kept near: in memory, and in files of the data directory. What is kept is
//! sealed, as it lay in the bucket. A pack never changes, so nothing that is kept becomes wrong; what a server does not need
//! any more simply falls out.

use super::directory::{private, private_directory};
use bytes::Bytes;
use notary::commitment::Digest;
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// Files that are written at the same time; beyond that something is simply not kept.
const WRITES_AT_ONCE: usize = 4;
/// What an entry costs beside its bytes: in memory its place in a table, on disk the rest of its block.
const ENTRY_MEMORY: u64 = 128;
const BLOCK: u64 = 4_096;

/// Name, offset and length, hashed.
type Key = [u8; 16];

/// The two caches: memory first, then disk.
#[derive(Debug)]
pub(super) struct Cache {
    memory: Mutex<Generations<Bytes>>,
    disk: Option<Disk>,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    files: Arc<Mutex<Generations<()>>>,
    writers: Arc<Semaphore>,
}

/// A bounded table in two halves: what is used goes into the young one, and when that is full the old one is dropped. Nearly
/// what an order of last use would keep, without one.
#[derive(Debug)]
struct Generations<V> {
    young: HashMap<Key, (V, u64)>,
    old: HashMap<Key, (V, u64)>,
    cost: u64,
    limit: u64,
}

impl<V: Clone> Generations<V> {
    fn new(limit: u64) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), cost: 0, limit }
    }

    /// What is kept under a key, and what had to go because it is young again.
    fn get(&mut self, key: &Key) -> (Option<V>, Vec<Key>) {
        if let Some((value, _)) = self.young.get(key) {
            return (Some(value.clone()), Vec::new());
        }
        match self.old.remove(key) {
            Some((value, cost)) => (Some(value.clone()), self.insert(*key, value, cost)),
            None => (None, Vec::new()),
        }
    }

    fn holds(&self, key: &Key) -> bool {
        self.young.contains_key(key) || self.old.contains_key(key)
    }

    fn forget(&mut self, key: &Key) {
        if let Some((_, cost)) = self.young.remove(key) {
            self.cost -= cost;
        }
        self.old.remove(key);
    }

    /// Keeps a value and tells what had to go for it.
    fn insert(&mut self, key: Key, value: V, cost: u64) -> Vec<Key> {
        if cost > self.limit / 2 {
            return vec![key];
        }
        let mut gone = Vec::new();
        if self.cost + cost > self.limit / 2 {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            gone.extend(old.into_keys().filter(|k| !self.old.contains_key(k) && *k != key));
            self.cost = 0;
        }
        if let Some((_, before)) = self.young.insert(key, (value, cost)) {
            self.cost -= before;
        }
        self.cost += cost;
        gone
    }
}

impl Cache {
    /// An empty cache of so many bytes. The folder is emptied: what a crash left in it may be half a file.
    pub(super) fn new(memory: u64, disk: u64, folder: Option<&Path>) -> Self {
        let disk = folder.filter(|_| disk > 0).and_then(|folder| {
            let _ = std::fs::remove_dir_all(folder);
            let made = private_directory(folder);
            if let Err(error) = &made {
                tracing::warn!(%error, "there is no cache on disk");
            }
            let files = Arc::new(Mutex::new(Generations::new(disk)));
            made.ok().map(|()| Disk {
                folder: folder.to_owned(),
                files,
                writers: Arc::new(Semaphore::new(WRITES_AT_ONCE)),
            })
        });
        Self { memory: Mutex::new(Generations::new(memory)), disk, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// How often something was kept that was asked for, and how often not.
    pub(super) fn uses(&self) -> (u64, u64) {
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
    }

    /// Part of an object, if it is kept.
    pub(super) fn get(&self, name: &str, offset: u64, length: usize) -> Option<Bytes> {
        let found = self.find(name, offset, length);
        let count = if found.is_some() { &self.hits } else { &self.misses };
        count.fetch_add(1, Ordering::Relaxed);
        found
    }

    fn find(&self, name: &str, offset: u64, length: usize) -> Option<Bytes> {
        let key = key(name, offset, length);
        if let (Some(bytes), _) = lock(&self.memory).get(&key) {
            return Some(bytes);
        }
        let bytes = self.disk.as_ref()?.get(&key, length)?;
        lock(&self.memory).insert(key, bytes.clone(), length as u64 + ENTRY_MEMORY);
        Some(bytes)
    }

    /// Whether it is kept, without using it.
    pub(super) fn holds(&self, name: &str, offset: u64, length: usize) -> bool {
        let key = key(name, offset, length);
        lock(&self.memory).holds(&key) || self.disk.as_ref().is_some_and(|disk| lock(&disk.files).holds(&key))
    }

    /// Lets go of part of an object that turned out to be damaged here.
    pub(super) fn forget(&self, name: &str, offset: u64, length: usize) {
        let key = key(name, offset, length);
        lock(&self.memory).forget(&key);
        if let Some(disk) = &self.disk {
            lock(&disk.files).forget(&key);
            remove(&disk.folder, &[key]);
        }
    }

    /// Keeps part of an object.
    pub(super) fn keep(&self, name: &str, offset: u64, bytes: &Bytes) {
        let key = key(name, offset, bytes.len());
        lock(&self.memory).insert(key, bytes.clone(), bytes.len() as u64 + ENTRY_MEMORY);
        if let Some(disk) = &self.disk {
            disk.keep(key, bytes.clone());
        }
    }
}

impl Disk {
    /// Read on the spot, like a pack in a directory: some kilobytes that mostly lie in the page cache.
    fn get(&self, key: &Key, length: usize) -> Option<Bytes> {
        let (found, gone) = lock(&self.files).get(key);
        remove(&self.folder, &gone);
        found?;
        let bytes = std::fs::read(self.folder.join(hex::encode(key))).ok()?;
        (bytes.len() == length).then(|| bytes.into())
    }

    fn keep(&self, key: Key, bytes: Bytes) {
        let Ok(place) = self.writers.clone().try_acquire_owned() else { return };
        let (folder, files) = (self.folder.clone(), self.files.clone());
        tokio::task::spawn_blocking(move || {
            // A file counts once it is whole. One that cannot be written is not kept.
            let file = private().create(true).truncate(true).open(folder.join(hex::encode(key)));
            if file.and_then(|mut file| file.write_all(&bytes)).is_ok() {
                let gone = lock(&files).insert(key, (), (bytes.len() as u64).next_multiple_of(BLOCK));
                remove(&folder, &gone);
            }
            drop(place);
        });
    }
}

fn remove(folder: &Path, keys: &[Key]) {
    for key in keys {
        let _ = std::fs::remove_file(folder.join(hex::encode(key)));
    }
}

fn key(name: &str, offset: u64, length: usize) -> Key {
    let digest = Digest::of(format!("{name}\0{offset}\0{length}").as_bytes());
    let mut key = [0; 16];
    key.copy_from_slice(&digest.0[..16]);
    key
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn settled(cache: &Cache) {
        let writers = &cache.disk.as_ref().unwrap().writers;
        let _all = writers.acquire_many(WRITES_AT_ONCE as u32).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_used_stays_and_both_bounds_hold() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("cache");
        let (memory, disk) = (4_000, 10 * BLOCK);
        let cache = Cache::new(memory, disk, Some(&folder));
        let bytes = |n: u8| Bytes::from(vec![n; 300]);
        for n in 0..40 {
            cache.keep("p", u64::from(n), &bytes(n));
            settled(&cache).await;
            assert_eq!(cache.get("p", 0, 300), Some(bytes(0)), "what is used all the time stays: {n}");
            let held = lock(&cache.memory);
            assert!((held.young.len() + held.old.len()) as u64 * (300 + ENTRY_MEMORY) <= memory);
            assert!(std::fs::read_dir(&folder).unwrap().count() as u64 * BLOCK <= disk);
        }
        assert_eq!(cache.get("p", 39, 300), Some(bytes(39)));
        assert_eq!((cache.get("p", 1, 300), cache.get("p", 39, 299), cache.get("q", 39, 300)), (None, None, None));
        let on_disk = (20..40).filter(|n| !lock(&cache.memory).holds(&key("p", *n, 300)) && cache.holds("p", *n, 300));
        let n = on_disk.last().unwrap();
        assert_eq!(cache.get("p", n, 300), Some(bytes(n as u8)), "from the disk");
        cache.keep("p", 99, &Bytes::from(vec![0; 3_000]));
        assert!(!lock(&cache.memory).holds(&key("p", 99, 3_000)), "one thing does not push out all others");
        settled(&cache).await;
        let again = Cache::new(memory, disk, Some(&folder));
        assert_eq!((again.get("p", 0, 300), std::fs::read_dir(&folder).unwrap().count()), (None, 0));
    }
}
