//! Passkeys: the relying party's part of WebAuthn Level 3, sections 7.1 (registration) and 7.2 (assertion). No
//! attestation is asked for, so that what a browser reads out of the new credential (`getPublicKey()`) says as much as
//! the credential itself, and no CBOR need be read. Pure; the challenge is checked by who calls.

use super::site::Site;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use notary::commitment::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The algorithms that are taken (IANA's COSE numbers), the preferred first: ES256, which a consent can be signed with
/// too, EdDSA, and RS256 of older Windows machines.
pub const ALGORITHMS: [i32; 3] = [-7, -8, -257];
/// Longest id of a credential (section 4).
const MAX_ID: usize = 1_023;
/// Hash of the site, flags, counter (section 6.1).
const LEAST_AUTHENTICATOR: usize = 37;
/// The authenticator's model, and the length of the id that follows (section 6.5.1).
const ATTESTED: usize = 16 + 2;

const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const BACKUP_ELIGIBLE: u8 = 0x08;
const BACKED_UP: u8 = 0x10;
const ATTESTED_DATA: u8 = 0x40;
const EXTENSIONS: u8 = 0x80;

/// Why a passkey is refused. The fault of who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    #[error("this is no answer of a passkey")]
    Form,
    #[error("the passkey did something else than it was asked")]
    OtherCeremony,
    #[error("the passkey answered a page of another site")]
    OtherOrigin,
    #[error("the passkey is of another site")]
    OtherSite,
    #[error("the passkey did not ask who is there: unlock it with your finger, face or PIN")]
    Unverified,
    #[error("the passkey is of a kind that is not taken here")]
    Algorithm,
    #[error("the passkey says that it belongs to somebody else")]
    OtherUser,
    #[error("the passkey's signature does not hold")]
    Signature,
}

/// Bytes, written as base64url without padding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        URL_SAFE_NO_PAD.decode(text).map(Self).map_err(serde::de::Error::custom)
    }
}

impl Bytes {
    /// In base64url.
    pub fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }
}

/// A passkey, as it is kept sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passkey {
    pub id: Bytes,
    /// One of [`ALGORITHMS`].
    pub algorithm: i32,
    /// The public key, SubjectPublicKeyInfo in DER.
    pub key: Bytes,
}

/// What a browser sends of a new passkey.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    pub id: Bytes,
    pub client: Bytes,
    pub authenticator: Bytes,
    pub key: Bytes,
    pub algorithm: i32,
}

/// What a browser sends of a signature.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assertion {
    pub id: Bytes,
    pub client: Bytes,
    pub authenticator: Bytes,
    pub signature: Bytes,
    /// The account, as the passkey knows it. It must be there: nobody has typed a name.
    pub user: Bytes,
}

/// What a browser says of a ceremony (section 5.8.1). More may stand in it, and more will.
#[derive(Deserialize)]
struct Client {
    #[serde(rename = "type")]
    kind: String,
    challenge: Bytes,
    origin: String,
    #[serde(rename = "crossOrigin", default)]
    cross_origin: bool,
}

fn client(bytes: &Bytes) -> Result<Client, PasskeyError> {
    serde_json::from_slice(&bytes.0).map_err(|_| PasskeyError::Form)
}

/// The challenge that a browser's words are about, to be looked at before all else.
pub fn challenge(said: &Bytes) -> Result<Vec<u8>, PasskeyError> {
    client(said).map(|client| client.challenge.0)
}

/// A new passkey, and its counter (section 7.1, steps 7 to 25 without attestation).
pub fn register(site: &Site, said: &Attestation) -> Result<(Passkey, u32), PasskeyError> {
    check_client(site, &said.client, "webauthn.create")?;
    let data = Authenticator::read(site, &said.authenticator.0)?;
    if data.id != Some(said.id.0.as_slice()) || said.id.0.is_empty() || said.id.0.len() > MAX_ID {
        return Err(PasskeyError::Form);
    }
    let passkey = Passkey { id: said.id.clone(), algorithm: said.algorithm, key: said.key.clone() };
    public_key(&passkey)?;
    Ok((passkey, data.counter))
}

/// Checks a signature of a known passkey, and gives its counter (section 7.2, steps 5 to 21).
pub fn verify(site: &Site, said: &Assertion, passkey: &Passkey) -> Result<u32, PasskeyError> {
    check_client(site, &said.client, "webauthn.get")?;
    let data = Authenticator::read(site, &said.authenticator.0)?;
    let signed = [&said.authenticator.0[..], &Digest::of(&said.client.0).0].concat();
    public_key(passkey)?.verify_sig(&signed, &said.signature.0).map_err(|_| PasskeyError::Signature)?;
    Ok(data.counter)
}

fn check_client(site: &Site, said: &Bytes, kind: &str) -> Result<(), PasskeyError> {
    let client = client(said)?;
    match () {
        () if client.kind != kind => Err(PasskeyError::OtherCeremony),
        () if client.origin != site.origin || client.cross_origin => Err(PasskeyError::OtherOrigin),
        () => Ok(()),
    }
}

/// What the authenticator itself says.
struct Authenticator<'d> {
    counter: u32,
    /// The id of a new credential.
    id: Option<&'d [u8]>,
}

impl<'d> Authenticator<'d> {
    fn read(site: &Site, data: &'d [u8]) -> Result<Self, PasskeyError> {
        let (head, rest) = data.split_at_checked(LEAST_AUTHENTICATOR).ok_or(PasskeyError::Form)?;
        let (hash, flags, counter) = (&head[..32], head[32], &head[33..]);
        if hash != Digest::of(site.host.as_bytes()).0 {
            return Err(PasskeyError::OtherSite);
        }
        if flags & (PRESENT | VERIFIED) != PRESENT | VERIFIED {
            return Err(PasskeyError::Unverified);
        }
        let lawful = flags & BACKED_UP == 0 || flags & BACKUP_ELIGIBLE != 0;
        if !lawful || (flags & (ATTESTED_DATA | EXTENSIONS) == 0) != rest.is_empty() {
            return Err(PasskeyError::Form);
        }
        let id = if flags & ATTESTED_DATA == 0 { None } else { Some(attested(rest).ok_or(PasskeyError::Form)?) };
        let counter = counter.iter().fold(0, |sum, byte| (sum << 8) | u32::from(*byte));
        Ok(Self { counter, id })
    }
}

fn attested(rest: &[u8]) -> Option<&[u8]> {
    let (head, rest) = rest.split_at_checked(ATTESTED)?;
    rest.get(..usize::from(u16::from_be_bytes([head[16], head[17]])))
}

fn public_key(passkey: &Passkey) -> Result<ParsedPublicKey, PasskeyError> {
    let algorithm: &'static dyn VerificationAlgorithm = match passkey.algorithm {
        -7 => &ECDSA_P256_SHA256_ASN1,
        -8 => &ED25519,
        -257 => &RSA_PKCS1_2048_8192_SHA256,
        _ => return Err(PasskeyError::Algorithm),
    };
    ParsedPublicKey::new(algorithm, &passkey.key.0).map_err(|_| PasskeyError::Algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{self, KeySize};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    };
    use serde_json::json;

    type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

    /// Number, public key, and what signs, of each algorithm.
    fn authenticators() -> Vec<(i32, Vec<u8>, Sign)> {
        let der = |key: PublicKeyX509Der<'_>| key.as_ref().to_vec();
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let ed = Ed25519KeyPair::generate().unwrap();
        let rsa = rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
        let keys = [
            der(ec.public_key().as_der().unwrap()),
            der(ed.public_key().as_der().unwrap()),
            der(rsa.public_key().as_der().unwrap()),
        ];
        let signs: [Sign; 3] = [
            Box::new(move |text| ec.sign(&SystemRandom::new(), text).unwrap().as_ref().to_vec()),
            Box::new(move |text| ed.sign(text).as_ref().to_vec()),
            Box::new(move |text| {
                let mut out = vec![0; rsa.public_modulus_len()];
                rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text, &mut out).unwrap();
                out
            }),
        ];
        ALGORITHMS.into_iter().zip(keys).zip(signs).map(|((number, key), sign)| (number, key, sign)).collect()
    }

    fn said(site: &Site, kind: &str) -> Bytes {
        Bytes(json!({"type": kind, "challenge": "AAAA", "origin": site.origin}).to_string().into_bytes())
    }

    fn data(site: &Site, flags: u8, rest: &[u8]) -> Bytes {
        Bytes([&Digest::of(site.host.as_bytes()).0[..], &[flags], &[0, 0, 1, 2], rest].concat())
    }

    #[test]
    fn each_algorithm_registers_and_signs_and_no_key_stands_for_another() {
        let site = Site::of("https://seal.example/fhir");
        let all = authenticators();
        for (number, key, sign) in &all {
            let id = Bytes(vec![7; 16]);
            let attested = [&[0; 16][..], &[0, 16], &id.0, b"key"].concat();
            let new = Attestation {
                id: id.clone(),
                client: said(&site, "webauthn.create"),
                authenticator: data(&site, 0x45, &attested),
                key: Bytes(key.clone()),
                algorithm: *number,
            };
            let (passkey, counter) = register(&site, &new).unwrap();
            assert_eq!(counter, 258, "{number}");
            let (client, authenticator) = (said(&site, "webauthn.get"), data(&site, 0x05, b""));
            let signature = Bytes(sign(&[&authenticator.0[..], &Digest::of(&client.0).0].concat()));
            let answer = Assertion { id, client, authenticator, signature, user: Bytes::default() };
            assert_eq!(verify(&site, &answer, &passkey), Ok(258), "{number}");
            for (other, key, _) in all.iter().filter(|(other, ..)| other != number) {
                let other = Passkey { algorithm: *other, key: Bytes(key.clone()), ..passkey.clone() };
                assert_eq!(verify(&site, &answer, &other), Err(PasskeyError::Signature), "{number}");
                let confused = Passkey { key: passkey.key.clone(), ..other };
                assert_eq!(verify(&site, &answer, &confused), Err(PasskeyError::Algorithm), "{number}");
            }
        }
    }

    #[test]
    fn authenticator_data_has_its_form_or_is_none() {
        let site = Site::of("https://seal.example/fhir");
        let id =
            |flags: u8, rest: &[u8]| Authenticator::read(&site, &data(&site, flags, rest).0).map(|d| d.id.is_some());
        assert_eq!(id(0x05, b""), Ok(false));
        assert_eq!(id(0x1d, b""), Ok(false), "backed up");
        assert_eq!(id(0x85, b"\xa0"), Ok(false), "extensions");
        let form = Err(PasskeyError::Form);
        assert_eq!(id(0x15, b""), form, "backed up, and not to be");
        assert_eq!(id(0x05, b"more"), form);
        assert_eq!(id(0x45, b""), form, "an id that is not there");
        assert_eq!(id(0x45, &[[0; 16].as_slice(), &[0, 9], b"short"].concat()), form, "an id that is cut off");
        assert_eq!(id(0x04, b""), Err(PasskeyError::Unverified));
        assert_eq!(id(0x01, b""), Err(PasskeyError::Unverified));
        assert!(Authenticator::read(&site, &data(&site, 0x05, b"").0[..36]).is_err());
    }
}
