//! What a patient signs, as EIP-712 has it: texts that a wallet shows, and the hashes that become digest and key.

use super::word::{GrantKey, MOST_TIME, Tag};
use alloy_primitives::aliases::U48;
use alloy_primitives::{Address, B256, keccak256};
use alloy_sol_types::{Eip712Domain, SolStruct, SolValue, eip712_domain, sol};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// What a wallet shows when a direct grant is revoked.
pub const STATEMENT: &str = "I withdraw the consent with this key. This cannot be undone.";
const NAME: &str = "medseal ConsentRegistry";
const VERSION: &str = "1";

mod typed {
    use super::sol;

    sol! {
        struct Terms { string recipient; string purpose; string records; string until; bytes32 consent; bytes32 salt; }
        struct SealedConsent { Terms terms; bytes20 tag; uint48 notAfter; }
    }
}

/// What is granted, in words that a wallet shows. Its hash alone leaves the house.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    pub recipient: String,
    pub purpose: String,
    pub records: String,
    pub until: String,
    /// SHA-256 of the canonical FHIR Consent that says the same.
    pub consent: B256,
    /// 32 random bytes, without which the hash could be guessed.
    pub salt: B256,
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terms(<redacted>)")
    }
}

impl Terms {
    /// `hashStruct` of EIP-712.
    pub fn hash(&self) -> B256 {
        self.typed().eip712_hash_struct()
    }

    fn typed(&self) -> typed::Terms {
        let Self { recipient, purpose, records, until, consent, salt } = self.clone();
        typed::Terms { recipient, purpose, records, until, consent, salt }
    }
}

/// Which registry is meant: signatures for another one, or another chain, do not hold here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    pub chain_id: u64,
    pub contract: Address,
}

impl Registry {
    /// The digest that a wallet or passkey signs for a sealed grant.
    pub fn sealed_digest(&self, terms: &Terms, tag: Tag, not_after: u64) -> B256 {
        let sealed = typed::SealedConsent { terms: terms.typed(), tag: tag.0, notAfter: time(not_after) };
        sealed.eip712_signing_hash(&self.domain())
    }

    /// The same as the message that `eth_signTypedData_v4` takes.
    pub fn sealed_message(&self, terms: &Terms, tag: Tag, not_after: u64) -> Value {
        let field = |name: &str, kind: &str| json!({"name": name, "type": kind});
        let texts = ["recipient", "purpose", "records", "until"].map(|name| field(name, "string"));
        let hashes = ["consent", "salt"].map(|name| field(name, "bytes32"));
        json!({
            "types": {
                "EIP712Domain": [
                    field("name", "string"), field("version", "string"),
                    field("chainId", "uint256"), field("verifyingContract", "address"),
                ],
                "Terms": texts.into_iter().chain(hashes).collect::<Vec<_>>(),
                "SealedConsent": [field("terms", "Terms"), field("tag", "bytes20"), field("notAfter", "uint48")],
            },
            "primaryType": "SealedConsent",
            "domain": {"name": NAME, "version": VERSION, "chainId": self.chain_id, "verifyingContract": self.contract},
            "message": {"terms": terms, "tag": tag, "notAfter": not_after},
        })
    }

    /// The key of a sealed grant.
    pub fn sealed_key(&self, commitment: B256, tag: Tag, not_after: u64) -> GrantKey {
        let domain = keccak256(b"medseal/v1/sealed-grant");
        GrantKey(keccak256((domain, commitment, tag.0, time(not_after)).abi_encode()))
    }

    /// The key of a direct grant; `terms` is their hash.
    pub fn direct_key(&self, grantor: Address, terms: B256, not_after: u64) -> GrantKey {
        let domain = keccak256(b"medseal/v1/direct-grant");
        GrantKey(keccak256((domain, grantor, terms, time(not_after)).abi_encode()))
    }

    /// What a grantor signs for a direct grant, of whose terms the hash is enough.
    pub fn grant_digest(&self, grantor: Address, terms: B256, not_after: u64) -> B256 {
        let kind =
            format!("ConsentGrant(address grantor,Terms terms,uint48 notAfter){}", typed::Terms::eip712_root_type());
        self.digest(keccak256((keccak256(kind), grantor, terms, time(not_after)).abi_encode()))
    }

    /// What a grantor signs to revoke a direct grant.
    pub fn revocation_digest(&self, grantor: Address, key: GrantKey) -> B256 {
        let kind = keccak256(b"ConsentRevocation(string statement,address grantor,bytes32 key)");
        self.digest(keccak256((kind, keccak256(STATEMENT), grantor, key.0).abi_encode()))
    }

    fn digest(&self, of: B256) -> B256 {
        keccak256([&[0x19, 0x01][..], self.domain().separator().as_slice(), of.as_slice()].concat())
    }

    fn domain(&self) -> Eip712Domain {
        eip712_domain! {
            name: NAME,
            version: VERSION,
            chain_id: self.chain_id,
            verifying_contract: self.contract,
        }
    }
}

/// As the contract has times. What does not fit there fits nowhere else either: the contract refuses far less.
pub(super) fn time(seconds: u64) -> U48 {
    U48::from(seconds.min(MOST_TIME))
}
