//! A key of AWS KMS as a signer of transactions. `alloy-signer-aws` does the same and pins another release of the SDK.

use crate::vault::kms::Kms;
use alloy_primitives::{Address, B256, ChainId, Signature};
use alloy_signer::{Error, Result, Signer};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use k256::ecdsa::{Signature as Ecdsa, VerifyingKey};
use k256::pkcs8::DecodePublicKey;

/// The key, which never leaves the service.
#[derive(Debug)]
pub struct KmsSigner {
    kms: Kms,
    public: VerifyingKey,
}

impl KmsSigner {
    /// Asks for the public half.
    pub async fn open(kms: Kms) -> Result<Self> {
        let answer = kms.client().get_public_key().key_id(kms.key()).send().await.map_err(Error::other)?;
        let der = answer.public_key().ok_or_else(|| Error::message("an answer without a key"))?;
        let public = VerifyingKey::from_public_key_der(der.as_ref());
        let public = public.map_err(|_| Error::message("it is no secp256k1 key (ECC_SECG_P256K1)"))?;
        Ok(Self { kms, public })
    }
}

#[async_trait::async_trait]
impl Signer for KmsSigner {
    async fn sign_hash(&self, hash: &B256) -> Result<Signature> {
        let request = self.kms.client().sign().key_id(self.kms.key()).message(Blob::new(hash.as_slice()));
        let request = request.message_type(MessageType::Digest).signing_algorithm(SigningAlgorithmSpec::EcdsaSha256);
        let answer = request.send().await.map_err(Error::other)?;
        let der = answer.signature().ok_or_else(|| Error::message("an answer without a signature"))?;
        signature(der.as_ref(), hash, &self.public)
    }

    fn address(&self) -> Address {
        Address::from_public_key(&self.public)
    }

    fn chain_id(&self) -> Option<ChainId> {
        None
    }

    fn set_chain_id(&mut self, _: Option<ChainId>) {}
}

/// The signature as a chain takes it: the lower `s` (EIP-2), and the parity, which the service does not tell.
fn signature(der: &[u8], hash: &B256, public: &VerifyingKey) -> Result<Signature> {
    let signature = Ecdsa::from_der(der).map_err(|_| Error::message("an answer of another form"))?;
    let signature = signature.normalize_s().unwrap_or(signature);
    let both = [false, true].map(|parity| Signature::from_signature_and_parity(signature, parity));
    let ours = both.into_iter().find(|one| one.recover_from_prehash(hash).is_ok_and(|key| key == *public));
    ours.ok_or_else(|| Error::message("the signature is not of this key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k256::ecdsa::SigningKey;
    use k256::ecdsa::signature::hazmat::PrehashSigner;

    #[test]
    fn a_signature_of_the_service_is_one_of_the_account() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        for n in 0..16 {
            let hash = B256::repeat_byte(n);
            let low: Ecdsa = key.sign_prehash(hash.as_slice()).unwrap();
            // A service may give either of the two.
            let high = Ecdsa::from_scalars(low.r().to_bytes(), (-*low.s()).to_bytes()).unwrap();
            for der in [low.to_der(), high.to_der()] {
                let signed = signature(der.as_bytes(), &hash, key.verifying_key()).unwrap();
                let account = Address::from_public_key(key.verifying_key());
                assert_eq!(signed.recover_address_from_prehash(&hash).unwrap(), account);
                assert!(signed.normalize_s().is_none(), "the lower one");
            }
            let other = SigningKey::from_slice(&[8; 32]).unwrap();
            assert!(signature(low.to_der().as_bytes(), &hash, other.verifying_key()).is_err(), "another key's");
        }
        assert!(signature(b"no signature", &B256::ZERO, key.verifying_key()).is_err());
    }
}
