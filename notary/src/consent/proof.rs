//! Whether a digest was signed, and by whom: an account of Ethereum's curve, or a passkey (WebAuthn Level 2, section
//! 7.2). What is taken here the contract takes too (`Approval.sol`); contract accounts (ERC-1271) need a chain, and are
//! refused here.

use alloy_primitives::{Address, B256, Bytes, FixedBytes, Signature, U256, keccak256, uint};
use alloy_sol_types::SolValue;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// The longest proof that is read, in bytes: an assertion has some 600.
const MAX_PROOF_BYTES: usize = 4_096;
const WALLET_BYTES: usize = 65;
/// The two coordinates before an assertion.
const KEY_BYTES: usize = 64;
/// Hash of the site, flags, counter.
const LEAST_AUTHENTICATOR: usize = 37;
/// User present, user verified.
const PRESENT_AND_VERIFIED: u8 = 0x05;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
/// The order of P-256.
const P256_ORDER: U256 = uint!(0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551_U256);
/// Half of the order of P-256: of the two signatures that each one makes, the lower counts.
const P256_HALF: U256 = uint!(0x7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8_U256);
/// Half of the order of secp256k1.
const SECP256K1_HALF: U256 = uint!(0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0_U256);

/// Who signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signer {
    Wallet(Address),
    /// A passkey, by the address that Ethereum would make of its public key, and the SHA-256 of the site that it was
    /// made for.
    Passkey {
        address: Address,
        site: B256,
    },
}

impl Signer {
    /// The account.
    pub fn address(&self) -> Address {
        match self {
            Self::Wallet(address) | Self::Passkey { address, .. } => *address,
        }
    }
}

/// Why a proof does not hold. The sender's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("neither a signature of 65 bytes nor a passkey's assertion")]
    Form,
    #[error("no key makes this signature")]
    Signature,
    #[error("of this signature's two forms it is the one that does not count: replace s by n - s")]
    Malleable,
    #[error("the passkey signed something else")]
    OtherChallenge,
    #[error("the passkey made no assertion, but something else")]
    OtherCeremony,
    #[error("the passkey did not ask who is there")]
    Unverified,
}

/// Who signed `digest`.
pub fn signer(digest: B256, proof: &[u8]) -> Result<Signer, ProofError> {
    match proof.len() {
        WALLET_BYTES => wallet(digest, proof).map(Signer::Wallet),
        length if length <= MAX_PROOF_BYTES => passkey(digest, proof),
        _ => Err(ProofError::Form),
    }
}

fn wallet(digest: B256, proof: &[u8]) -> Result<Address, ProofError> {
    // The chain's own recovery takes 27 and 28 only; libraries take more.
    if !matches!(proof.last(), Some(27 | 28)) {
        return Err(ProofError::Signature);
    }
    let signature = Signature::from_raw(proof).map_err(|_| ProofError::Signature)?;
    if signature.s() > SECP256K1_HALF {
        return Err(ProofError::Malleable);
    }
    signature.recover_address_from_prehash(&digest).map_err(|_| ProofError::Signature)
}

/// r, s, challengeIndex, typeIndex, authenticatorData, clientDataJSON.
type Assertion = (FixedBytes<32>, FixedBytes<32>, U256, U256, Bytes, String);

/// What a browser writes of an assertion.
#[derive(Deserialize)]
struct Client {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
}

fn passkey(digest: B256, proof: &[u8]) -> Result<Signer, ProofError> {
    let (key, rest) = proof.split_at_checked(KEY_BYTES).ok_or(ProofError::Form)?;
    let assertion = <Assertion as SolValue>::abi_decode_params(rest).map_err(|_| ProofError::Form)?;
    // One form only: the commitment is over these bytes.
    if assertion.abi_encode_params() != rest {
        return Err(ProofError::Form);
    }
    let (r, s, challenge_at, type_at, authenticator, client) = assertion;
    check_client(digest, &client, (challenge_at, type_at))?;
    check_authenticator(&authenticator)?;
    if U256::from_be_bytes(s.0) > P256_HALF {
        return Err(ProofError::Malleable);
    }
    let hash = crate::commitment::Digest::of(client.as_bytes());
    let public = [&[0x04][..], key].concat();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public)
        .verify(&[&authenticator[..], &hash.0].concat(), &[r.0, s.0].concat())
        .map_err(|_| ProofError::Signature)?;
    Ok(Signer::Passkey {
        address: Address::from_slice(&keccak256(key)[12..]),
        site: B256::from_slice(&authenticator[..32]),
    })
}

/// The proof that the contract and [`signer`] take, of what a browser gives for an assertion: the passkey's public key
/// (x, y), and `authenticatorData`, `clientDataJSON` and `signature` (DER) of the `AuthenticatorAssertionResponse`.
/// Nothing is verified here.
pub fn passkey_proof(
    key: &[u8; KEY_BYTES],
    authenticator: &[u8],
    client: &str,
    signature: &[u8],
) -> Result<Bytes, ProofError> {
    let (r, s) = read_der(signature).ok_or(ProofError::Form)?;
    let s = if s > P256_HALF && s < P256_ORDER { P256_ORDER - s } else { s };
    let at = |part: &str| client.find(part).map(U256::from).ok_or(ProofError::Form);
    let assertion: Assertion = (
        FixedBytes(r.to_be_bytes()),
        FixedBytes(s.to_be_bytes()),
        at(r#""challenge":"#)?,
        at(r#""type":"#)?,
        Bytes::copy_from_slice(authenticator),
        client.to_owned(),
    );
    Ok([&key[..], &assertion.abi_encode_params()].concat().into())
}

/// SEQUENCE { r INTEGER, s INTEGER } (RFC 3279 section 2.2.3), which is short enough for lengths of one byte.
fn read_der(signature: &[u8]) -> Option<(U256, U256)> {
    let [0x30, length, rest @ ..] = signature else { return None };
    let (r, rest) = read_integer(rest)?;
    let (s, rest) = read_integer(rest)?;
    (usize::from(*length) + 2 == signature.len() && rest.is_empty()).then_some((r, s))
}

fn read_integer(der: &[u8]) -> Option<(U256, &[u8])> {
    let [0x02, length, rest @ ..] = der else { return None };
    let (number, rest) = rest.split_at_checked(usize::from(*length))?;
    // Positive: a zero stands before what would else be negative.
    let positive = number.first().is_some_and(|first| *first < 0x80);
    let number = number.strip_prefix(&[0]).unwrap_or(number);
    U256::try_from_be_slice(number).filter(|_| positive).map(|number| (number, rest))
}

/// Steps 11 and 12 of the standard: by the whole text, and at the very places that the contract looks at.
fn check_client(digest: B256, text: &str, (challenge_at, type_at): (U256, U256)) -> Result<(), ProofError> {
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let client: Client = serde_json::from_str(text).map_err(|_| ProofError::Form)?;
    let stands = |at: U256, part: &str| {
        let rest = usize::try_from(at).ok().and_then(|at| text.get(at..));
        rest.is_some_and(|rest| rest.starts_with(part))
    };
    if client.kind != "webauthn.get" || !stands(type_at, r#""type":"webauthn.get""#) {
        return Err(ProofError::OtherCeremony);
    }
    if client.challenge != challenge || !stands(challenge_at, &format!(r#""challenge":"{challenge}""#)) {
        return Err(ProofError::OtherChallenge);
    }
    Ok(())
}

/// Steps 16 and 17, and that what is backed up may be.
fn check_authenticator(data: &[u8]) -> Result<(), ProofError> {
    let flags = data.get(32).copied().filter(|_| data.len() >= LEAST_AUTHENTICATOR).ok_or(ProofError::Form)?;
    let lawful = flags & BACKED_UP == 0 || flags & BACKUP_ELIGIBLE != 0;
    match flags & PRESENT_AND_VERIFIED == PRESENT_AND_VERIFIED {
        true if lawful => Ok(()),
        true => Err(ProofError::Form),
        false => Err(ProofError::Unverified),
    }
}
