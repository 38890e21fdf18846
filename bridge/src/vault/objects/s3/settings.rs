//! How to reach an S3 API: what is configured, and how long and how often is tried.

use crate::config::{said, url};
use crate::secret::{bytes as random_bytes, system_random};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use aws_sdk_s3::types::{ChecksumAlgorithm, ServerSideEncryption};
use serde::Deserialize;
use std::time::Duration;

/// Of a prefix: S3 has room for 1,024 bytes, and our own names need some of them.
const MAX_PREFIX: usize = 512;

/// How to reach an S3 API. Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
/// AWS_SESSION_TOKEN), never from the configuration file.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
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
    pub(super) fn pause(&self, attempt: u32) -> Duration {
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
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_step = |part: &str| matches!(part, "" | "." | "..");
        // An access point's ARN has colons.
        if !self.bucket.chars().all(|c| plain(c) || c == ':') || is_step(&self.bucket) {
            return Err("s3.bucket: letters, digits, `.`, `_`, `-` and `:`".into());
        }
        // One that steps out of itself would share the objects of another.
        let within = self.prefix.strip_suffix('/').unwrap_or(&self.prefix);
        let is_folder = |part: &str| part.chars().all(plain) && !is_step(part);
        if self.prefix.len() > MAX_PREFIX || !(self.prefix.is_empty() || within.split('/').all(is_folder)) {
            return Err(format!(
                "s3.prefix: folders of letters, digits, `.`, `_` and `-`, with `/` between them, {MAX_PREFIX} characters at most"
            ));
        }
        said("s3.region", self.region.as_deref())?;
        said("s3.sse_kms_key", self.sse_kms_key.as_deref())?;
        url("s3.endpoint", self.endpoint.as_deref())?;
        if self.sse_kms_key.is_some() && self.sse != Some(Sse::Kms) {
            return Err("s3.sse_kms_key: a key is for sse = \"aws:kms\"".into());
        }
        Ok(())
    }

    fn region(&self) -> Region {
        Region::new(self.region.clone().unwrap_or_else(|| "us-east-1".to_owned()))
    }

    pub(super) fn algorithm(&self) -> Option<ChecksumAlgorithm> {
        match self.checksum {
            Checksum::Crc32c => Some(ChecksumAlgorithm::Crc32C),
            Checksum::Sha256 => Some(ChecksumAlgorithm::Sha256),
            Checksum::None => None,
        }
    }

    pub(super) fn encryption(&self) -> Option<ServerSideEncryption> {
        self.sse.map(|sse| match sse {
            Sse::Kms => ServerSideEncryption::AwsKms,
            Sse::Aes256 => ServerSideEncryption::Aes256,
        })
    }

    /// The header of a conditional write, where the server takes it.
    pub(super) fn fence(&self) -> Option<String> {
        self.conditional_writes.unwrap_or(true).then(|| "*".to_owned())
    }
}

/// A client with its retries, time-outs and checksums.
pub(super) fn client(settings: &S3Settings, credentials: Credentials, bounds: &Bounds) -> Client {
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

#[cfg(test)]
mod tests {
    use super::*;

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
