//! A person signs a consent with what he signs in with: a passkey (WebAuthn, the digest as challenge) or a wallet (EIP-712). What comes
//! of it is the proof that the registry's contract takes, too.

use super::enrol::Desk;
use super::passkey::{self, Assertion, Bytes, Passkey};
use super::{AccountId, Kind, Refused, wallet};
use crate::limits::GRANT_DRAFT_LIFE;
use alloy_primitives::B256;
use notary::consent::{Signer, passkey_proof, signer};
use serde_json::{Value, json};

/// ES256, which the contract verifies.
const ES256: i32 = -7;
/// The two coordinates of a P-256 key, which stand at the end of its SubjectPublicKeyInfo (RFC 5480, section 2.2).
const POINT: usize = 64;

impl Desk {
    /// What a browser is to ask a passkey of the account, so that it signs this digest.
    pub fn consent_options(&self, account: &AccountId, digest: B256) -> Result<Value, Refused> {
        let known = self.passkeys(account)?;
        let key = |passkey: &Passkey| json!({"type": "public-key", "id": passkey.id.text()});
        let known: Vec<Value> = known.iter().filter(|passkey| passkey.algorithm == ES256).map(key).collect();
        if known.is_empty() {
            return Err(Refused::Unknown);
        }
        Ok(json!({
            "challenge": Bytes(digest.to_vec()).text(), "rpId": self.site.host, "allowCredentials": known,
            "userVerification": "required", "timeout": GRANT_DRAFT_LIFE.as_millis() as u64,
        }))
    }

    /// The proof that a passkey of the account has signed this digest.
    pub fn consent_by_passkey(&self, account: &AccountId, digest: B256, said: &Assertion) -> Result<Vec<u8>, Refused> {
        let known = self.passkeys(account)?.into_iter().find(|passkey| passkey.id == said.id);
        let known = known.filter(|passkey| passkey.algorithm == ES256).ok_or(Refused::Unknown)?;
        if passkey::challenge(&said.client)? != digest.as_slice() {
            return Err(Refused::Challenge);
        }
        passkey::verify(&self.site, said, &known)?;
        let point = known.key.0.last_chunk::<POINT>().ok_or(Refused::Signature)?;
        let client = std::str::from_utf8(&said.client.0).map_err(|_| Refused::Signature)?;
        let proof = passkey_proof(point, &said.authenticator.0, client, &said.signature.0);
        let proof = proof.map_err(|_| Refused::Signature)?;
        // Ours and the contract's eyes must see the same.
        signer(digest, &proof).map_err(|_| Refused::Signature)?;
        Ok(proof.to_vec())
    }

    /// The proof that a wallet of the account has signed this digest.
    pub fn consent_by_wallet(&self, account: &AccountId, digest: B256, signature: &str) -> Result<Vec<u8>, Refused> {
        let proof = hex::decode(signature.trim_start_matches("0x")).map_err(|_| Refused::Signature)?;
        let Ok(Signer::Wallet(address)) = signer(digest, &proof) else { return Err(Refused::Signature) };
        let name = self.secrets.blind(Kind::Wallet, &[&wallet::name(address)]);
        let known = self.store.credential(&name)?.filter(|known| known.account == *account);
        known.map(|_| proof).ok_or(Refused::Unknown)
    }
}
