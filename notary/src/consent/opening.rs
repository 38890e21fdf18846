//! What opens a sealed grant: patient, custodian and recipient hold it, the chain has its commitment alone.

use super::proof::{ProofError, Signer, signer};
use super::terms::{Registry, Terms};
use super::word::{GrantKey, Preimage, Tag};
use crate::commitment::{Digest, Salt, keyed, length};
use alloy_primitives::{B256, Bytes};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The domain of grants' commitments.
const DOMAIN: &[u8] = b"medseal/v1/grant\0";

/// A grant as it is registered. It says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sealed {
    pub commitment: B256,
    pub tag: Tag,
    pub not_after: u64,
}

/// The opening of a sealed grant.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opening {
    /// The organisation that holds the records.
    pub custodian: String,
    pub terms: Terms,
    pub tag: Tag,
    /// The last second at which it holds, since 1970.
    pub not_after: u64,
    /// 32 random bytes.
    pub salt: B256,
    /// By the patient's wallet or passkey. Absent where the organisation registers on a recorded instruction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Bytes>,
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Opening(<redacted>)")
    }
}

/// On whose word a grant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructed {
    /// The patient signed it. Whether that key is the patient's, who has linked it knows.
    Signed(Signer),
    /// The organisation says that the patient said so.
    Recorded,
}

impl Opening {
    /// What the patient signs.
    pub fn digest(&self, registry: &Registry) -> B256 {
        registry.sealed_digest(&self.terms, self.tag, self.not_after)
    }

    /// What is registered.
    pub fn sealed(&self, registry: &Registry) -> Sealed {
        let mut message = DOMAIN.to_vec();
        message.extend(length(&self.custodian));
        message.extend(self.custodian.as_bytes());
        message.extend(self.digest(registry).as_slice());
        message.extend(self.signature.iter().flat_map(|signature| Digest::of(signature).0));
        let commitment = keyed(&Salt(self.salt.0), &message);
        Sealed { commitment: B256::from(commitment.0), tag: self.tag, not_after: self.not_after }
    }

    /// The key under which it stands, if it does.
    pub fn key(&self, registry: &Registry) -> GrantKey {
        self.sealed(registry).key(registry)
    }

    /// On whose word it stands; refused where there is a signature that does not hold.
    pub fn instructed(&self, registry: &Registry) -> Result<Instructed, ProofError> {
        let Some(signature) = &self.signature else { return Ok(Instructed::Recorded) };
        signer(self.digest(registry), signature).map(Instructed::Signed)
    }

    /// Whether a preimage revokes it.
    pub fn is_revoked_by(&self, preimage: &Preimage) -> bool {
        preimage.tag() == self.tag
    }
}

impl Sealed {
    /// The key under which it stands, if it does.
    pub fn key(&self, registry: &Registry) -> GrantKey {
        registry.sealed_key(self.commitment, self.tag, self.not_after)
    }
}
