//! The key that signs anchors: in a file, or held by a key service, which never gives it away.

use super::kms::KmsSigner;
use crate::config::Keys;
use crate::vault::keys::{KeyError, root_key};
use crate::vault::kms::Kms;
use notary::chain::evm::{EvmError, SenderKey, local_key};
use std::path::PathBuf;
use std::sync::Arc;

/// Where the key is.
#[derive(Debug)]
pub enum KeyPlace {
    File {
        path: PathBuf,
        /// Whether one is made where none is.
        new_allowed: bool,
    },
    /// A key of AWS KMS: `ECC_SECG_P256K1`, to sign and verify.
    Service(Kms),
}

impl KeyPlace {
    /// A key of the service that `[keys]` names.
    pub fn service(key: &str, keys: &Keys) -> Result<Self, KeyError> {
        Kms::new(key, keys.endpoint.as_deref(), keys.region.as_deref()).map(Self::Service)
    }

    /// Reads the file, or asks the service for the public half.
    pub async fn open(&self) -> Result<SenderKey, EvmError> {
        match self {
            Self::File { path, new_allowed } => {
                let key = root_key(path, *new_allowed, &crate::secret::system_random);
                local_key(key.map_err(|error| EvmError::Key(error.to_string()))?.expose())
            }
            Self::Service(kms) => {
                let signer = KmsSigner::open(kms.clone()).await;
                let wrong = |error| EvmError::Key(format!("{} at the key service: {error}", kms.key()));
                signer.map(|signer| Arc::new(signer) as SenderKey).map_err(wrong)
            }
        }
    }
}
