//! Objects in an S3 bucket, by AWS's SDK. What servers do differently is not relied on: conditional writes are a second
//! fence, checksums are configuration, and the length of what is read is checked here.

mod ahead;
mod failure;
mod parts;
mod settings;

pub(crate) use settings::credentials;
pub use settings::{Bounds, Checksum, S3Settings, Sse};

use super::cache::Cache;
use super::{Found, ObjectError, Part};
use crate::vault::pack::Extent;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::Object;
use bytes::Bytes;
use failure::{Failure, failed, is_damage, told};
use settings::client;
use std::path::Path;
use std::sync::Arc;

/// Names that S3 gives in one page of a listing.
const PAGE_NAMES: usize = 1_000;
/// Of the cache, where the configuration says nothing.
const CACHE_MEMORY_MB: u32 = 64;
const CACHE_DISK_MB: u32 = 1_024;

/// A bucket and the client that reaches it.
#[derive(Debug, Clone)]
pub struct Bucket {
    client: Client,
    settings: S3Settings,
    prefix: String,
    bounds: Bounds,
    cache: Arc<Cache>,
}

impl Bucket {
    pub(super) fn new(
        settings: &S3Settings,
        credentials: Credentials,
        bounds: Bounds,
        cache_folder: Option<&Path>,
    ) -> Self {
        let megabytes = |mb: Option<u32>, otherwise: u32| u64::from(mb.unwrap_or(otherwise)) << 20;
        let memory = megabytes(settings.cache_memory_mb, CACHE_MEMORY_MB);
        let cache = Arc::new(Cache::new(memory, megabytes(settings.cache_disk_mb, CACHE_DISK_MB), cache_folder));
        let prefix = settings.prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { client: client(settings, credentials, &bounds), settings: settings.clone(), prefix, bounds, cache }
    }

    pub(super) fn place(&self) -> String {
        format!("s3://{}/{}", self.settings.bucket, self.prefix)
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Writes a new object. An attempt whose answer was lost may have written it: the next one then finds the name taken,
    /// and all is well if it is taken by these very bytes.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        let fence = self.settings.fence();
        let mut attempt = 1;
        loop {
            match self.write(name, bytes.clone(), fence.clone()).await {
                Err(Failure::Exists) => return self.same(name, &bytes).await,
                // Two attempts at once: the server finishes neither until one is over.
                Err(Failure::Conflict(_)) if attempt < self.bounds.attempts => {
                    tokio::time::sleep(self.bounds.pause(attempt)).await;
                    attempt += 1;
                }
                written => return Ok(written?),
            }
        }
    }

    pub(super) async fn put_pack(&self, name: &str, bytes: Bytes, records: Vec<Extent>) -> Result<(), ObjectError> {
        self.put(name, bytes.clone()).await?;
        for extent in records {
            let from = extent.offset as usize;
            if let Some(record) = bytes.get(from..from + extent.length as usize) {
                self.cache.keep(name, extent.offset, &Bytes::copy_from_slice(record));
            }
        }
        Ok(())
    }

    pub(super) async fn replace(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        Ok(self.write(name, bytes, None).await?)
    }

    async fn same(&self, name: &str, bytes: &Bytes) -> Result<(), ObjectError> {
        match self.read_all(name).await? {
            there if there == *bytes => Ok(()),
            _ => Err(ObjectError::Taken { name: name.to_owned() }),
        }
    }

    async fn write(&self, name: &str, bytes: Bytes, fence: Option<String>) -> Result<(), Failure> {
        if bytes.len() > self.bounds.whole_bytes {
            return self.write_parts(name, bytes, fence).await;
        }
        let request = self.client.put_object().bucket(&self.settings.bucket).key(self.key(name));
        let request = request
            .set_if_none_match(fence)
            .set_checksum_algorithm(self.settings.algorithm())
            .set_server_side_encryption(self.settings.encryption())
            .set_ssekms_key_id(self.settings.sse_kms_key.clone());
        request.body(ByteStream::from(bytes)).send().await.map_err(|e| failed(name, e)).map(|_| ())
    }

    pub(super) async fn read(&self, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, ObjectError> {
        if length == 0 {
            return Ok(Vec::new());
        }
        if let Some(bytes) = self.cache.get(name, offset, length) {
            return Ok(bytes.into());
        }
        let bytes = self.get(name, Some((offset, length))).await?;
        self.cache.keep(name, offset, &bytes);
        Ok(bytes.into())
    }

    /// Hits and misses of the cache.
    pub(super) fn cache_use(&self) -> (u64, u64) {
        self.cache.uses()
    }

    pub(super) async fn read_all(&self, name: &str) -> Result<Vec<u8>, ObjectError> {
        Ok(self.get(name, None).await?.into())
    }

    /// Lets go of what is kept near of an object.
    pub fn forget(&self, name: &str, offset: u64, length: usize) -> bool {
        let kept = self.cache.holds(name, offset, length);
        self.cache.forget(name, offset, length);
        kept
    }

    /// The SDK tries again until an answer begins. An answer that breaks off is begun again here.
    async fn get(&self, name: &str, part: Option<(u64, usize)>) -> Result<Bytes, ObjectError> {
        let mut attempt = 1;
        loop {
            let reply = self.ask(name, part).await?;
            let expected = expected(name, &reply, part)?;
            let body = tokio::time::timeout(self.bounds.attempt, reply.body.collect()).await;
            let name_of = || name.to_owned();
            let s3 = |what: String| ObjectError::S3 { name: name_of(), what };
            let error = match body {
                Ok(Ok(body)) => match body.into_bytes() {
                    whole if expected.is_none_or(|length| length == whole.len() as u64) => return Ok(whole),
                    _ => s3("an answer of the wrong length".to_owned()),
                },
                Ok(Err(error)) if part.is_none() && is_damage(&error) => ObjectError::Damaged { name: name_of() },
                Ok(Err(error)) => s3(told(&error)),
                Err(_) => s3("an answer that did not end in time".to_owned()),
            };
            if attempt == self.bounds.attempts {
                return Err(error);
            }
            tokio::time::sleep(self.bounds.pause(attempt)).await;
            attempt += 1;
        }
    }

    async fn ask(&self, name: &str, part: Option<(u64, usize)>) -> Result<GetObjectOutput, ObjectError> {
        let range = part.map(|(offset, length)| format!("bytes={offset}-{}", offset + length as u64 - 1));
        let request = self.client.get_object().bucket(&self.settings.bucket).key(self.key(name)).set_range(range);
        Ok(request.send().await.map_err(|e| failed(name, e))?)
    }

    /// A page of the listing; S3 gives at most a thousand names at a time.
    pub(super) async fn list(&self, folder: &str, after: &str, limit: usize) -> Result<Vec<Found>, ObjectError> {
        let mut found = Vec::new();
        let mut next = None;
        while found.len() < limit {
            let request = self.client.list_objects_v2().bucket(&self.settings.bucket).prefix(self.key(folder));
            let start = (!after.is_empty()).then(|| self.key(after));
            let request = request.set_start_after(start).max_keys((limit - found.len()).min(PAGE_NAMES) as i32);
            let page = request.set_continuation_token(next).send().await.map_err(|e| failed(folder, e))?;
            found.extend(page.contents().iter().filter_map(|object| self.found(object)));
            next = page.next_continuation_token().map(str::to_owned);
            if next.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// What lies beside the folders: objects, and folders of others, which may well share the bucket.
    pub(super) async fn strangers(&self, folders: &[&str], limit: usize) -> Result<Vec<String>, ObjectError> {
        let (mut found, mut next) = (Vec::new(), None);
        loop {
            let request =
                self.client.list_objects_v2().bucket(&self.settings.bucket).prefix(&self.prefix).delimiter("/");
            let page = request.set_continuation_token(next).send().await.map_err(|e| failed("(listing)", e))?;
            let objects = page.contents().iter().filter_map(Object::key);
            let names = objects.chain(page.common_prefixes().iter().filter_map(|folder| folder.prefix()));
            let names = names.filter_map(|name| name.strip_prefix(&self.prefix));
            found.extend(names.filter(|name| !name.is_empty() && !folders.contains(name)).map(str::to_owned));
            next = page.next_continuation_token().map(str::to_owned);
            if next.is_none() || found.len() >= limit {
                found.truncate(limit);
                return Ok(found);
            }
        }
    }

    fn found(&self, object: &Object) -> Option<Found> {
        let name = object.key()?.strip_prefix(&self.prefix)?.to_owned();
        let changed = object.last_modified().and_then(|t| t.to_millis().ok()).unwrap_or(i64::MAX);
        Some(Found { name, length: object.size().unwrap_or(0).max(0) as u64, changed })
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), ObjectError> {
        let request = self.client.delete_object().bucket(&self.settings.bucket).key(self.key(name));
        match request.send().await.map_err(|e| ObjectError::from(failed(name, e))) {
            Err(ObjectError::Missing { .. }) => Ok(()),
            removed => removed.map(|_| ()),
        }
    }
}

/// How long the body must be. A server that sends part of a range because the object ends before it is no fault of the wire.
fn expected(name: &str, reply: &GetObjectOutput, part: Option<(u64, usize)>) -> Result<Option<u64>, ObjectError> {
    let Some((offset, length)) = part else { return Ok(reply.content_length().map(|n| n.max(0) as u64)) };
    let total = reply.content_range().and_then(|range| range.rsplit('/').next()?.parse::<u64>().ok());
    match total {
        Some(total) if total < offset + length as u64 => Err(ObjectError::Short { name: name.to_owned() }),
        _ => Ok(Some(length as u64)),
    }
}
