//! What accounts are kept with: names are blinded, the rest is sealed, so that a stolen database tells nobody's wallet.

use super::openid::Journey;
use super::{AccountId, Kind, Refused};
use crate::ids::ResourceId;
use crate::index::tokens::Tokenizer;
use crate::secret::{Key, Random, bytes};
use crate::vault::seal::{open_bytes, seal_bytes};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use notary::commitment::Digest;
use notary::consent::{GrantKey, Preimage};
use zeroize::Zeroizing;

/// The keys of signing in: one to blind and to mark, one to seal.
#[derive(Debug)]
pub struct Secrets {
    pub(super) marks: Tokenizer,
    seal: Key,
}

/// A credential's name in the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blind(pub String);

impl Secrets {
    /// Of two keys of the server's own.
    pub fn new(marks: &Key, seal: Key) -> Self {
        Self { marks: Tokenizer::new(marks), seal }
    }

    /// What a credential is found by: a passkey's id, a wallet's address, or issuer and subject.
    pub fn blind(&self, kind: Kind, parts: &[&str]) -> Blind {
        let all = [&["credential", kind.as_str()], parts].concat();
        Blind(hex::encode(self.marks.token(&all).0))
    }

    /// The id of the account that an invitation makes. The page of the invitation needs it before there is one.
    pub fn account(&self, invitation: &Digest) -> AccountId {
        AccountId(ResourceId::from_bytes(self.marks.token(&["account", &invitation.to_string()]).0))
    }

    /// Seals what a credential is, for its name and its account alone.
    pub fn seal(&self, name: &Blind, account: &AccountId, plain: &[u8], random: Random<'_>) -> Result<String, Refused> {
        let sealed = seal_bytes(&self.seal, purpose(name, account).as_bytes(), plain, random);
        sealed.map(hex::encode).map_err(|_| Refused::Secret)
    }

    /// Opens what `seal` made.
    pub fn open(&self, name: &Blind, account: &AccountId, sealed: &str) -> Result<Vec<u8>, Refused> {
        let sealed = hex::decode(sealed).map_err(|_| Refused::Secret)?;
        open_bytes(&self.seal, purpose(name, account).as_bytes(), &sealed).map_err(|_| Refused::Secret)
    }

    /// Seals what revokes a grant, for that grant alone.
    pub fn seal_preimage(&self, key: GrantKey, preimage: &Preimage, random: Random<'_>) -> Result<String, Refused> {
        let sealed = seal_bytes(&self.seal, of_grant(key).as_bytes(), &preimage.0, random);
        sealed.map(hex::encode).map_err(|_| Refused::Secret)
    }

    /// Opens what `seal_preimage` made.
    pub fn open_preimage(&self, key: GrantKey, sealed: &str) -> Option<Preimage> {
        let plain = open_bytes(&self.seal, of_grant(key).as_bytes(), &hex::decode(sealed).ok()?).ok()?;
        plain.try_into().ok().map(Preimage)
    }

    /// Seals what a browser bears while it is at an outside provider.
    pub fn seal_journey(&self, journey: &Journey, random: Random<'_>) -> Result<String, Refused> {
        let plain = Zeroizing::new(serde_json::to_vec(journey).map_err(|_| Refused::Secret)?);
        let sealed = seal_bytes(&self.seal, JOURNEY, &plain, random);
        sealed.map(|sealed| URL_SAFE_NO_PAD.encode(sealed)).map_err(|_| Refused::Secret)
    }

    /// Seals what an app bears that was opened from a record.
    pub fn seal_launch(&self, launch: &[u8], random: Random<'_>) -> Result<String, Refused> {
        let sealed = seal_bytes(&self.seal, LAUNCH, launch, random);
        sealed.map(|sealed| URL_SAFE_NO_PAD.encode(sealed)).map_err(|_| Refused::Secret)
    }

    /// Opens what `seal_launch` made.
    pub fn open_launch(&self, sealed: &str) -> Option<Vec<u8>> {
        open_bytes(&self.seal, LAUNCH, &URL_SAFE_NO_PAD.decode(sealed).ok()?).ok()
    }

    /// Opens what `seal_journey` made.
    pub fn open_journey(&self, sealed: &str) -> Option<Journey> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = Zeroizing::new(open_bytes(&self.seal, JOURNEY, &sealed).ok()?);
        serde_json::from_slice(&plain).ok()
    }
}

const JOURNEY: &[u8] = b"medseal/v1/openid-journey";
const LAUNCH: &[u8] = b"medseal/v1/launch";

fn purpose(name: &Blind, account: &AccountId) -> String {
    format!("medseal/v1/credential\0{}\0{account}", name.0)
}

fn of_grant(key: GrantKey) -> String {
    format!("medseal/v1/preimage\0{key}")
}

/// A random text that only its bearer has: the code of an invitation, the value of a cookie. What is stored is its
/// digest.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer(Zeroizing<String>);

impl std::fmt::Debug for Bearer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bearer(<redacted>)")
    }
}

impl Bearer {
    const BYTES: usize = 32;

    /// A new one: 256 random bits, which nobody guesses.
    pub fn new(random: Random<'_>) -> Result<Self, Refused> {
        let bytes: [u8; Self::BYTES] = bytes(random).map_err(|_| Refused::Secret)?;
        Ok(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// Reads one that was given out.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == Self::BYTES)?;
        Some(Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The text, for its bearer.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::system_random;

    pub(in crate::people) fn secrets() -> Secrets {
        Secrets::new(&Key::new([1; 32]), Key::new([2; 32]))
    }

    #[test]
    fn what_is_sealed_opens_for_its_name_and_account_alone() {
        let secrets = secrets();
        let name = secrets.blind(Kind::Wallet, &["0xab"]);
        let account = |n: u8| AccountId(ResourceId::from_bytes([n; 16]));
        let sealed = secrets.seal(&name, &account(1), b"0xab", &system_random).unwrap();
        assert_eq!(secrets.open(&name, &account(1), &sealed).unwrap(), b"0xab");
        assert!(secrets.open(&name, &account(2), &sealed).is_err());
        assert_ne!(secrets.blind(Kind::Passkey, &["0xab"]), name, "kinds are apart");
        assert!(secrets.open(&secrets.blind(Kind::Wallet, &["0xac"]), &account(1), &sealed).is_err());
    }

    #[test]
    fn what_is_borne_does_not_print_and_has_one_form() {
        let bearer = Bearer::new(&system_random).unwrap();
        assert_eq!(format!("{bearer:?}"), "Bearer(<redacted>)");
        assert_eq!(Bearer::parse(bearer.expose()).unwrap().digest(), bearer.digest());
        for bad in ["", "short", &format!("{}A", bearer.expose()), &"!".repeat(43)] {
            assert!(Bearer::parse(bad).is_none(), "{bad}");
        }
    }
}
