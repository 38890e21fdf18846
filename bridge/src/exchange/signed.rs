//! What one bridge signs for another: a request, an answer, a delivery. Each is a client assertion as SMART's backend services
//! make it (SMART App Launch 2.2, section 4.1.4), checked by the same code, and further bound to the very body, so that it is worth
//! nothing beside another one. Who asks, and what for, is told as the B2B extension of UDAP Security 1.1 (section 5.2.1.1). Pure.

use super::document::Document;
use crate::config::ParticipantId;
use crate::consent::policy::Coding;
use crate::ids::Name;
use crate::limits::{EXCHANGE_LIFE, MAX_KEY_NAME};
use crate::smart::assertion::{Assertion, AssertionError, read};
use crate::smart::token::{TokenError, TokenKey};
use jsonwebtoken::dangerous::insecure_decode;
use mappings::r4::is_valid_text;
use notary::commitment::Digest;
use serde::{Deserialize, Serialize};

/// The header that bears an answer's signature; a request's stands in `Authorization`.
pub const HEADER: &str = "medseal-signature";

/// What is signed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    /// The address that a request goes to; the participant that an answer is for.
    pub aud: String,
    pub iat: u64,
    pub exp: u64,
    pub jti: String,
    /// SHA-256 of the body, hexadecimal.
    pub body: String,
    /// The request that an answer is to, and its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<(String, u16)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extensions: Option<Extensions>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Extensions {
    #[serde(rename = "hl7-b2b")]
    pub b2b: B2b,
}

/// On whose behalf, and what for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct B2b {
    pub version: String,
    /// Who the user is, an address at the organisation that asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<String>,
    pub organization_id: String,
    pub organization_name: String,
    /// `system#code`.
    pub purpose_of_use: Vec<String>,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    #[error(transparent)]
    Assertion(#[from] AssertionError),
    #[error("the body is not the one that was signed")]
    Body,
    #[error("the signature is for another request, or for another answer")]
    Other,
    #[error("the signed request says no purpose of use: one, as `system#code`")]
    Purpose,
}

/// What stands under a request or an answer, before it is signed.
pub struct Draft<'d> {
    pub by: &'d ParticipantId,
    pub to: &'d str,
    pub body: &'d [u8],
    /// Random; once.
    pub nonce: String,
    /// Seconds since 1970.
    pub now: u64,
    pub re: Option<(String, u16)>,
    pub b2b: Option<B2b>,
}

impl Draft<'_> {
    /// Signs it.
    pub fn sign(self, key: &TokenKey) -> Result<String, TokenError> {
        let by = self.by.to_string();
        key.sign(&Claims {
            iss: by.clone(),
            sub: by,
            aud: self.to.to_owned(),
            iat: self.now,
            exp: self.now + EXCHANGE_LIFE.as_secs(),
            jti: self.nonce,
            body: Digest::of(self.body).to_string(),
            re: self.re,
            extensions: self.b2b.map(|b2b| Extensions { b2b }),
        })
    }
}

/// Who says to have signed; nothing of it is true until it was [`check`]ed.
pub fn claimed(text: &str) -> Result<ParticipantId, SignedError> {
    ParticipantId::parse(&read(text)?.client).ok_or(SignedError::Assertion(AssertionError::Unknown))
}

/// Checks a signature by the keys of who says to have signed: for this audience and this body, now (seconds since 1970). The
/// assertion counts once: whoever takes a request uses it up.
pub fn check(text: &str, of: &Document, to: &str, body: &[u8], now: u64) -> Result<(Assertion, Claims), SignedError> {
    let assertion = read(text)?.check(&of.keys, to, now)?;
    // Its signature was checked just now.
    let claims = insecure_decode::<Claims>(text).map_err(|_| AssertionError::Malformed)?.claims;
    if claims.body == Digest::of(body).to_string() { Ok((assertion, claims)) } else { Err(SignedError::Body) }
}

impl Claims {
    /// The purpose of use.
    pub fn purpose(&self) -> Result<Coding, SignedError> {
        let purposes = self.extensions.as_ref().map_or(&[][..], |extensions| &extensions.b2b.purpose_of_use);
        match purposes {
            [one] => purpose(one).ok_or(SignedError::Purpose),
            _ => Err(SignedError::Purpose),
        }
    }

    /// The user, as an address at his own organisation: whoever names a user of another one lies.
    pub fn user(&self, of: &Document) -> Result<Option<String>, SignedError> {
        let user = self.extensions.as_ref().and_then(|extensions| extensions.b2b.subject_id.clone());
        let name = |user: &String| {
            let rest = user.strip_prefix(of.said.endpoint.as_str())?;
            Name::parse(rest.strip_prefix('/')?)
        };
        let own = |user: &String| name(user).is_some();
        if user.as_ref().is_none_or(own) { Ok(user) } else { Err(SignedError::Other) }
    }
}

/// Reads a purpose of use, `system#code`: what is told of it in the trail must be FHIR.
pub fn purpose(text: &str) -> Option<Coding> {
    let (system, code) = text.split_once('#')?;
    let is = |kind: &str, text: &str| !text.is_empty() && text.len() <= MAX_KEY_NAME && is_valid_text(kind, text);
    (is("uri", system) && is("code", code)).then(|| Coding::new(system, code))
}

/// That something was delivered: signed by who received it, and true for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    pub iss: String,
    pub aud: String,
    pub iat: u64,
    /// The sender's id of the push.
    pub delivery: String,
    /// SHA-256 over the log entries of what was received.
    pub content: String,
}

/// Checks a delivery receipt by the keys of who signed it.
pub fn check_delivery(text: &str, of: &Document) -> Result<Delivery, SignedError> {
    let unknown = || SignedError::Assertion(AssertionError::Unknown);
    let header = jsonwebtoken::decode_header(text).map_err(|_| unknown())?;
    let named = |key: &&crate::smart::keys::PublicKey| Some(&key.name) == header.kid.as_ref();
    let key = of.keys.iter().find(named).filter(|key| key.algorithm == header.alg).ok_or_else(unknown)?;
    let mut validation = jsonwebtoken::Validation::new(key.algorithm);
    (validation.validate_exp, validation.validate_aud) = (false, false);
    validation.required_spec_claims.clear();
    Ok(jsonwebtoken::decode(text, &key.key, &validation).map_err(|_| unknown())?.claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::document::{Anchor, own};
    use notary::anchor::ChainKind;
    use notary::chain::evm::Address;
    use std::path::Path;

    const TO: &str = "https://b/exchange/peer/pull";
    const TREAT: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason#TREAT";

    fn organisation() -> (TokenKey, Document) {
        let key = TokenKey::from_der(&TokenKey::generate().unwrap(), Path::new("a test")).unwrap();
        let settings = toml::from_str("id = 'a'\nname = 'A'").unwrap();
        let anchor = Anchor { kind: ChainKind::Embedded, chain_id: 7, contract: Address::ZERO, code_hash: None };
        let bytes = own(&settings, "https://a/fhir", "urn:a", "log", &anchor, &key.public());
        (key, Document::parse(&bytes, Digest::of(&bytes)).unwrap())
    }

    fn signed(key: &TokenKey, now: u64, b2b: Option<B2b>) -> String {
        let by = ParticipantId::parse("a").unwrap();
        Draft { by: &by, to: TO, body: b"body", nonce: "n".into(), now, re: None, b2b }.sign(key).unwrap()
    }

    #[test]
    fn a_request_holds_for_its_body_its_receiver_and_its_time() {
        let (key, document) = organisation();
        let text = signed(&key, 1_000, None);
        assert_eq!(claimed(&text).unwrap().as_str(), "a");
        assert!(check(&text, &document, TO, b"body", 1_001).is_ok());
        let refused = |to: &str, body: &[u8], now| check(&text, &document, to, body, now).unwrap_err();
        assert_eq!(refused(TO, b"other", 1_001), SignedError::Body);
        assert_eq!(refused("https://c/exchange/peer/pull", b"body", 1_001), AssertionError::Audience.into());
        assert_eq!(refused(TO, b"body", 5_000), AssertionError::Time.into(), "late");
        assert_eq!(refused(TO, b"body", 900), AssertionError::Time.into(), "a clock that is ahead");
        let (other, _) = organisation();
        assert_eq!(
            check(&signed(&other, 1_000, None), &document, TO, b"body", 1_001).unwrap_err(),
            AssertionError::Unknown.into()
        );
    }

    #[test]
    fn it_says_one_purpose_and_a_user_of_its_own() {
        let (key, document) = organisation();
        let claims = |purposes: &[&str], user: Option<&str>| {
            let b2b = B2b {
                version: "1".into(),
                subject_id: user.map(str::to_owned),
                organization_id: "https://a/fhir".into(),
                organization_name: "A".into(),
                purpose_of_use: purposes.iter().map(|p| (*p).to_owned()).collect(),
            };
            check(&signed(&key, 1_000, Some(b2b)), &document, TO, b"body", 1_001).unwrap().1
        };
        let good = claims(&[TREAT], Some("https://a/fhir/Practitioner/d"));
        assert_eq!(good.purpose().unwrap().code, "TREAT");
        assert!(good.user(&document).unwrap().is_some());
        for bad in ["TREAT", "#TREAT", "urn:x#", "urn:x#a  b", "urn x#a"] {
            assert_eq!(claims(&[bad], None).purpose(), Err(SignedError::Purpose), "{bad}");
        }
        assert_eq!(claims(&[], None).purpose(), Err(SignedError::Purpose));
        assert_eq!(claims(&[TREAT, TREAT], None).purpose(), Err(SignedError::Purpose));
        for user in ["https://c/fhir/Practitioner/d", "https://a/fhir.evil/Practitioner/d", "https://a/fhir/x"] {
            assert_eq!(claims(&[TREAT], Some(user)).user(&document), Err(SignedError::Other), "{user}");
        }
    }

    #[test]
    fn a_delivery_is_true_for_ever_and_of_its_signer() {
        let (key, document) = organisation();
        let delivery = Delivery { iss: "a".into(), aud: "b".into(), iat: 1, delivery: "d".into(), content: "c".into() };
        let text = key.sign(&delivery).unwrap();
        assert_eq!(check_delivery(&text, &document).unwrap(), delivery);
        assert!(check_delivery(&text, &organisation().1).is_err());
    }
}
