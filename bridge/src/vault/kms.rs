//! AWS KMS, or a server that speaks like it: makes and opens the root keys that a key service holds. A call is made for a
//! root key, never for a patient's key.

use super::keys::KeyError;
use super::roots::RootId;
use crate::secret::Key;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::DataKeySpec;
use std::time::Duration;

/// Finding and reaching the service; one attempt; all of them: a sender waits no longer for its answer.
const CONNECT: Duration = Duration::from_secs(3);
const ATTEMPT: Duration = Duration::from_secs(5);
const OPERATION: Duration = Duration::from_secs(12);
const ATTEMPTS: u32 = 3;
/// What the wrapping is bound to beside the root's id. It stands in the service's own log.
const PURPOSE: (&str, &str) = ("medseal", "v1/root");

/// A key of the service, and the client that reaches it.
#[derive(Debug, Clone)]
pub struct Kms {
    client: Client,
    key: String,
}

impl Kms {
    /// A client for a key (its id, ARN, or `alias/...`), with the credentials of the environment.
    pub fn new(key: &str, endpoint: Option<&str>, region: Option<&str>) -> Result<Self, KeyError> {
        let credentials = super::objects::s3::credentials().ok_or(KeyError::Credentials)?;
        Ok(Self::with(key, endpoint, region, credentials))
    }

    /// A client with the given credentials.
    pub fn with(key: &str, endpoint: Option<&str>, region: Option<&str>, credentials: Credentials) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let config = aws_sdk_kms::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.unwrap_or("us-east-1").to_owned()))
            .credentials_provider(credentials)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
            .timeout_config(timeouts);
        let config = match endpoint {
            Some(endpoint) => config.endpoint_url(endpoint),
            None => config,
        };
        Self { client: Client::from_conf(config.build()), key: key.to_owned() }
    }

    /// What reaches the service.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The key's name there.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same service's key of another name: the one that an older root was wrapped with.
    pub fn named(&self, key: &str) -> Self {
        Self { client: self.client.clone(), key: key.to_owned() }
    }

    /// A new key, wrapped by the service, and the full name of what wrapped it: an alias may point elsewhere some day.
    pub async fn generate(&self, id: &RootId) -> Result<(String, Vec<u8>), KeyError> {
        // Without the key in the clear: whoever needs it asks for it, like after any restart.
        let request = self.client.generate_data_key_without_plaintext().key_id(&self.key).key_spec(DataKeySpec::Aes256);
        let request = request.encryption_context(PURPOSE.0, PURPOSE.1).encryption_context("root", id.to_string());
        let made = request.send().await.map_err(|e| self.failed(e))?;
        let name = made.key_id().unwrap_or(&self.key).to_owned();
        let wrapped = made.ciphertext_blob().map(|blob| blob.as_ref().to_vec());
        wrapped.map(|wrapped| (name, wrapped)).ok_or_else(|| self.refused("an answer without a key"))
    }

    /// Opens what `generate` made.
    pub(super) async fn open(&self, id: &RootId, wrapped: &[u8]) -> Result<Key, KeyError> {
        let request = self.client.decrypt().key_id(&self.key).ciphertext_blob(Blob::new(wrapped));
        let request = request.encryption_context(PURPOSE.0, PURPOSE.1).encryption_context("root", id.to_string());
        let opened = request.send().await.map_err(|e| self.failed(e))?;
        opened.plaintext.and_then(key_of).ok_or_else(|| self.refused("an answer without a key of 256 bits"))
    }

    /// What will pass by itself, and what somebody must mend. No key is in the SDK's errors.
    fn failed<E>(&self, error: SdkError<E>) -> KeyError
    where
        E: std::error::Error + ProvideErrorMetadata + 'static,
    {
        let status = error.raw_response().map_or(0, |r| r.status().as_u16());
        let what = DisplayErrorContext(&error).to_string();
        let passes =
            matches!(error.code(), Some("ThrottlingException" | "KeyUnavailableException" | "LimitExceededException"));
        if (400..500).contains(&status) && status != 429 && !passes {
            return self.refused(&what);
        }
        KeyError::Away { key: self.key.clone(), what }
    }

    fn refused(&self, what: &str) -> KeyError {
        KeyError::Refused { key: self.key.clone(), what: what.to_owned() }
    }
}

/// The SDK's own copy cannot be wiped; it lives as long as this function.
fn key_of(blob: Blob) -> Option<Key> {
    let bytes = zeroize::Zeroizing::new(blob.into_inner());
    <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Key::new)
}
