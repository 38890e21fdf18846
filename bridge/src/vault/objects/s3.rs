//! Objects in an S3 bucket, by AWS's SDK. What servers do differently is not relied on: conditional writes are a second
//! fence, checksums are configuration, and the length of what is read is checked here.

use super::cache::Cache;
use super::{Found, ObjectError, Part};
use crate::secret::{bytes as random_bytes, system_random};
use crate::vault::pack::Extent;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Object, ServerSideEncryption};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Parts that are under way at the same time.
const PARTS_AT_ONCE: usize = 4;
/// Names that S3 gives in one page of a listing.
const PAGE_NAMES: usize = 1_000;
/// Parts of a pack that are no further apart than this are read by one request: a request costs more than so many bytes.
const GAP_BYTES: u64 = 64 << 10;
/// The most that one such request reads, and how many of them are under way.
const AHEAD_BYTES: u64 = 4 << 20;
const AHEAD_AT_ONCE: usize = 8;
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

/// How to reach an S3 API. Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
/// AWS_SESSION_TOKEN), never from the configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3Settings {
    pub bucket: String,
    pub prefix: String,
    /// Any S3-compatible server; AWS itself where absent.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// `http://host/bucket/key` instead of `http://bucket.host/key`: most self-hosted servers need it.
    pub path_style: bool,
    /// New objects are written with `If-None-Match: *` unless this is false: some servers refuse the header.
    pub conditional_writes: Option<bool>,
    pub checksum: Checksum,
    /// Encryption at rest by the server, on top of our own: `aws:kms`, or `AES256`.
    pub sse: Option<Sse>,
    /// The key for `aws:kms`; the bucket's own where absent.
    pub sse_kms_key: Option<String>,
    /// Megabytes of sealed records that are kept in memory, and in the data directory.
    pub cache_memory_mb: Option<u32>,
    pub cache_disk_mb: Option<u32>,
}

/// What the SDK sends along so that the server can check what arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checksum {
    #[default]
    Crc32c,
    Sha256,
    /// For servers that refuse them.
    None,
}

/// How the server encrypts at rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Sse {
    #[serde(rename = "aws:kms")]
    Kms,
    #[serde(rename = "AES256")]
    Aes256,
}

/// How long and how often an operation is tried, and how large a request is. Pauses between attempts double and are cut at
/// random, so that replicas do not come back in step.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Finding and reaching the server.
    pub connect: Duration,
    /// One attempt: a part of 8 MiB at less than 1 MB/s is no store for a hospital.
    pub attempt: Duration,
    /// All attempts: a sender waits COMMIT_TIMEOUT for its answer, and no longer.
    pub operation: Duration,
    pub attempts: u32,
    pub first_pause: Duration,
    pub last_pause: Duration,
    /// Objects longer than this are written in parts: one request of 64 MiB that breaks off is 64 MiB sent again.
    pub whole_bytes: usize,
    /// The length of a part. S3 wants at least 5 MiB.
    pub part_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            attempt: Duration::from_secs(10),
            operation: Duration::from_secs(25),
            attempts: 4,
            first_pause: Duration::from_millis(100),
            last_pause: Duration::from_secs(3),
            whole_bytes: 16 << 20,
            part_bytes: 8 << 20,
        }
    }
}

impl Bounds {
    /// The pause after an attempt (the first is 1).
    fn pause(&self, attempt: u32) -> Duration {
        let longest = self.first_pause.saturating_mul(1 << attempt.min(16).saturating_sub(1)).min(self.last_pause);
        // Without randomness the pause is the longest.
        let chance = random_bytes::<1>(&system_random).map_or(255, |[byte]| byte);
        longest.mul_f64(0.25 + 0.75 * f64::from(chance) / 255.0)
    }
}

/// The credentials of the environment.
pub(crate) fn credentials() -> Option<Credentials> {
    let variable = |name| std::env::var(name).ok().filter(|v| !v.is_empty());
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
    Some(Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "environment"))
}

impl S3Settings {
    /// What is wrong with the settings.
    pub fn check(&self) -> Result<(), String> {
        if self.bucket.is_empty() {
            return Err("s3.bucket: name the bucket".into());
        }
        if self.sse_kms_key.is_some() && self.sse != Some(Sse::Kms) {
            return Err("s3.sse_kms_key: a key is for sse = \"aws:kms\"".into());
        }
        Ok(())
    }

    fn region(&self) -> Region {
        Region::new(self.region.clone().unwrap_or_else(|| "us-east-1".to_owned()))
    }

    fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        match self.checksum {
            Checksum::Crc32c => Some(ChecksumAlgorithm::Crc32C),
            Checksum::Sha256 => Some(ChecksumAlgorithm::Sha256),
            Checksum::None => None,
        }
    }

    fn encryption(&self) -> Option<ServerSideEncryption> {
        self.sse.map(|sse| match sse {
            Sse::Kms => ServerSideEncryption::AwsKms,
            Sse::Aes256 => ServerSideEncryption::Aes256,
        })
    }

    /// The header of a conditional write, where the server takes it.
    fn fence(&self) -> Option<String> {
        self.conditional_writes.unwrap_or(true).then(|| "*".to_owned())
    }
}

fn client(settings: &S3Settings, credentials: Credentials, bounds: &Bounds) -> Client {
    let retries = RetryConfig::standard()
        .with_max_attempts(bounds.attempts)
        .with_initial_backoff(bounds.first_pause)
        .with_max_backoff(bounds.last_pause);
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(bounds.connect)
        .operation_attempt_timeout(bounds.attempt)
        .operation_timeout(bounds.operation)
        .build();
    let (request, response) = match settings.checksum {
        Checksum::None => (RequestChecksumCalculation::WhenRequired, ResponseChecksumValidation::WhenRequired),
        _ => (RequestChecksumCalculation::WhenSupported, ResponseChecksumValidation::WhenSupported),
    };
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(settings.region())
        .credentials_provider(credentials)
        .force_path_style(settings.path_style)
        .retry_config(retries)
        .timeout_config(timeouts)
        .request_checksum_calculation(request)
        .response_checksum_validation(response);
    let config = match &settings.endpoint {
        Some(endpoint) => config.endpoint_url(endpoint),
        None => config,
    };
    Client::from_conf(config.build())
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

    /// Writes in parts. When one fails for good, what was sent is given up: parts that nobody completes cost space.
    async fn write_parts(&self, name: &str, bytes: Bytes, fence: Option<String>) -> Result<(), Failure> {
        let request = self.client.create_multipart_upload().bucket(&self.settings.bucket).key(self.key(name));
        let begun = request
            .set_checksum_algorithm(self.settings.algorithm())
            .set_server_side_encryption(self.settings.encryption())
            .set_ssekms_key_id(self.settings.sse_kms_key.clone())
            .send()
            .await
            .map_err(|e| failed(name, e))?;
        let upload = begun.upload_id().unwrap_or_default();
        let sent = async { self.complete(name, upload, self.parts(name, upload, &bytes).await?, fence).await };
        let sent = sent.await;
        if sent.is_err() {
            let abort = self.client.abort_multipart_upload().bucket(&self.settings.bucket).key(self.key(name));
            if let Err(error) = abort.upload_id(upload).send().await.map_err(|e| ObjectError::from(failed(name, e))) {
                // It may have been completed. If not, the bucket's rule for incomplete uploads removes it.
                tracing::debug!(%error, "an upload in parts could not be given up");
            }
        }
        match sent {
            // The answer to an earlier attempt was lost.
            Err(Failure::NoUpload(_)) => Ok(self.same(name, &bytes).await?),
            sent => sent,
        }
    }

    async fn parts(&self, name: &str, upload: &str, bytes: &Bytes) -> Result<Vec<CompletedPart>, Failure> {
        let length = self.bounds.part_bytes;
        let parts = (0..bytes.len().div_ceil(length)).map(|n| {
            let part = bytes.slice(n * length..((n + 1) * length).min(bytes.len()));
            // S3 counts from 1; a pack is far below 10,000 parts.
            self.part(name, upload, n as i32 + 1, part)
        });
        stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await
    }

    async fn part(&self, name: &str, upload: &str, number: i32, bytes: Bytes) -> Result<CompletedPart, Failure> {
        let request = self.client.upload_part().bucket(&self.settings.bucket).key(self.key(name)).upload_id(upload);
        let request = request.part_number(number).set_checksum_algorithm(self.settings.algorithm());
        let sent = request.body(ByteStream::from(bytes)).send().await.map_err(|e| failed(name, e))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32_c(sent.checksum_crc32_c)
            .set_checksum_sha256(sent.checksum_sha256)
            .build())
    }

    async fn complete(
        &self,
        name: &str,
        upload: &str,
        parts: Vec<CompletedPart>,
        fence: Option<String>,
    ) -> Result<(), Failure> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let request = self.client.complete_multipart_upload().bucket(&self.settings.bucket).key(self.key(name));
        let request = request.upload_id(upload).multipart_upload(parts).set_if_none_match(fence);
        request.send().await.map_err(|e| failed(name, e)).map(|_| ())
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

    pub(super) async fn read_all(&self, name: &str) -> Result<Vec<u8>, ObjectError> {
        Ok(self.get(name, None).await?.into())
    }

    /// Reads what will be asked for next into the cache, neighbours together. What fails here fails again, and is told, when
    /// it is asked for.
    pub(super) async fn read_ahead(&self, mut parts: Vec<Part>) {
        parts.retain(|part| part.length > 0 && !self.cache.holds(&part.name, part.offset, part.length));
        let mut spans = spans(parts);
        // What lies alone is read when it is asked for.
        spans.retain(|span| span.len() > 1);
        for some in spans.chunks(AHEAD_AT_ONCE) {
            let fetches: Vec<_> = some.iter().map(|span| self.fetch(span)).collect();
            join_all(fetches).await;
        }
    }

    async fn fetch(&self, span: &[Part]) {
        let (Some(first), Some(last)) = (span.first(), span.last()) else { return };
        let length = (last.offset - first.offset) as usize + last.length;
        let Ok(bytes) = self.get(&first.name, Some((first.offset, length))).await else { return };
        for part in span {
            let from = (part.offset - first.offset) as usize;
            // Copied: a slice of the whole would keep the whole in memory.
            self.cache.keep(&part.name, part.offset, &Bytes::copy_from_slice(&bytes[from..from + part.length]));
        }
    }

    /// The SDK tries again until an answer begins. An answer that breaks off is begun again here.
    async fn get(&self, name: &str, part: Option<(u64, usize)>) -> Result<Bytes, ObjectError> {
        let mut attempt = 1;
        loop {
            let reply = self.ask(name, part).await?;
            let expected = expected(name, &reply, part)?;
            let body = tokio::time::timeout(self.bounds.attempt, reply.body.collect()).await;
            let what = match body {
                Ok(Ok(body)) => match body.into_bytes() {
                    whole if expected.is_none_or(|length| length == whole.len() as u64) => return Ok(whole),
                    _ => "an answer of the wrong length".to_owned(),
                },
                Ok(Err(error)) => told(&error),
                Err(_) => "an answer that did not end in time".to_owned(),
            };
            if attempt == self.bounds.attempts {
                return Err(ObjectError::S3 { name: name.to_owned(), what });
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

/// Parts of one pack that lie near each other.
fn spans(mut parts: Vec<Part>) -> Vec<Vec<Part>> {
    parts.sort_unstable_by(|a, b| (&a.name, a.offset).cmp(&(&b.name, b.offset)));
    parts.dedup();
    let mut spans: Vec<Vec<Part>> = Vec::new();
    for part in parts {
        let near = |span: &Vec<Part>| match (span.first(), span.last()) {
            (Some(first), Some(last)) => {
                let end = last.offset + last.length as u64;
                let new_end = part.offset + part.length as u64;
                last.name == part.name
                    && (end..=end + GAP_BYTES).contains(&part.offset)
                    && new_end - first.offset <= AHEAD_BYTES
            }
            _ => false,
        };
        match spans.last_mut() {
            Some(span) if near(span) => span.push(part),
            _ => spans.push(vec![part]),
        }
    }
    spans
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

/// What became of a request, where more can be done about it than to tell.
enum Failure {
    /// A conditional write found the name taken.
    Exists,
    Conflict(ObjectError),
    /// The upload in parts is not there: given up, or completed.
    NoUpload(ObjectError),
    Other(ObjectError),
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::Other(error)
    }
}

impl From<Failure> for ObjectError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Exists => Self::Taken { name: "(unnamed)".to_owned() },
            Failure::Conflict(error) | Failure::NoUpload(error) | Failure::Other(error) => error,
        }
    }
}

/// Whose fault it is. The SDK's errors print their causes only in their Debug form; keys and secrets are in none of them.
fn failed<E>(name: &str, error: SdkError<E>) -> Failure
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    let status = error.raw_response().map_or(0, |r| r.status().as_u16());
    let code = error.code().unwrap_or_default().to_owned();
    let (name, what) = (name.to_owned(), told(&error));
    match (status, code.as_str()) {
        (412, _) => Failure::Exists,
        (409, _) => Failure::Conflict(ObjectError::S3 { name, what }),
        (404, "NoSuchUpload") => Failure::NoUpload(ObjectError::S3 { name, what }),
        (404, "NoSuchKey") => ObjectError::Missing { name }.into(),
        (416, _) => ObjectError::Short { name }.into(),
        (408 | 429, _) => ObjectError::S3 { name, what }.into(),
        (400, "RequestTimeout") => ObjectError::S3 { name, what }.into(),
        (400..=499, _) => ObjectError::Refused { name, what }.into(),
        _ => ObjectError::S3 { name, what }.into(),
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let mut what = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        what = format!("{what}: {inner}");
        source = inner.source();
    }
    what
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_read_together() {
        let part = |name: &str, offset, length| Part { name: name.into(), offset, length };
        let far = 10 + GAP_BYTES;
        let parts = vec![part("b", 0, 5), part("a", far + 6, 5), part("a", 10, 5), part("a", 0, 5), part("a", 10, 5)];
        assert_eq!(
            spans(parts),
            [vec![part("a", 0, 5), part("a", 10, 5)], vec![part("a", far + 6, 5)], vec![part("b", 0, 5)]]
        );
        let large = AHEAD_BYTES as usize - 5;
        assert_eq!(spans(vec![part("a", 0, large), part("a", large as u64, 5)]).len(), 1);
        assert_eq!(spans(vec![part("a", 0, large), part("a", large as u64, 6)]).len(), 2, "one request has a bound");
    }

    #[test]
    fn pauses_double_up_to_the_last_and_differ() {
        let bounds = Bounds::default();
        for attempt in 1..40 {
            let pause = bounds.pause(attempt);
            assert!(pause <= bounds.last_pause && pause >= bounds.first_pause / 4, "{attempt}: {pause:?}");
        }
        let pauses: std::collections::HashSet<_> = (0..50).map(|_| bounds.pause(3)).collect();
        assert!(pauses.len() > 5, "replicas do not come back in step");
    }
}
