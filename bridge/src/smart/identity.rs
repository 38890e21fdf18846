//! The key that ID tokens are signed with: RSA, for RS256 is what each client of OpenID Connect can check (OpenID Connect Core 1.0, section
//! 15.1; SMART App Launch 2.2, scopes for requesting identity data). Nothing is opened by what it signs.

use super::token::{Identity, TokenError};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use notary::commitment::Digest;
use serde_json::{Value, json};
use std::path::Path;
use zeroize::Zeroizing;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----\n";
const END: &str = "\n-----END PRIVATE KEY-----\n";

/// The key.
pub struct IdentityKey {
    encoding: EncodingKey,
    public: Value,
}

crate::redacted_debug!(IdentityKey);

impl IdentityKey {
    /// Makes a key, as PKCS#8. Takes a good part of a second.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let made = KeyPair::generate(KeySize::Rsa2048).and_then(|pair| AsDer::<Pkcs8V1Der<'_>>::as_der(&pair));
        Ok(Zeroizing::new(made.map_err(|_| TokenError::Unsigned)?.as_ref().to_vec()))
    }

    /// Reads a key; `path` names in messages where it lay.
    pub fn from_der(der: &[u8], path: &Path) -> Result<Self, TokenError> {
        let malformed = || TokenError::Malformed { path: path.to_owned() };
        let pair = KeyPair::from_pkcs8(der).map_err(|_| malformed())?;
        let text = Zeroizing::new(STANDARD.encode(der));
        // All of its room at once: what grows leaves what it held behind.
        let mut pem = Zeroizing::new(String::with_capacity(text.len() + BEGIN.len() + END.len()));
        [BEGIN, text.as_str(), END].iter().for_each(|part| pem.push_str(part));
        let encoding = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| malformed())?;
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
        let public = jwk(&number(n.big_endian_without_leading_zero()), &number(e.big_endian_without_leading_zero()));
        Ok(Self { encoding, public })
    }

    /// What others check by it.
    pub fn public(&self) -> &Value {
        &self.public
    }

    /// Signs what an app is told of who let it in (OpenID Connect Core 1.0, section 2).
    pub fn sign(&self, claims: &Identity<'_>) -> Result<String, TokenError> {
        let header = Header { kid: self.public["kid"].as_str().map(str::to_owned), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, claims, &self.encoding).map_err(|_| TokenError::Unsigned)
    }
}

/// A public key as a JWK (RFC 7518, section 6.3), named by its thumbprint (RFC 7638).
fn jwk(n: &str, e: &str) -> Value {
    let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
    let thumbprint = URL_SAFE_NO_PAD.encode(Digest::of(members.as_bytes()).0);
    json!({"kty": "RSA", "n": n, "e": e, "use": "sig", "alg": "RS256", "kid": thumbprint})
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    // meets smart 210
    #[test]
    fn what_it_signs_is_checked_by_what_is_published() {
        let place = Path::new("here");
        let key = IdentityKey::from_der(&IdentityKey::generate().unwrap(), place).unwrap();
        let other = IdentityKey::from_der(&IdentityKey::generate().unwrap(), place).unwrap();
        let claims = Identity { iss: "i", sub: "s", aud: "a", iat: 1, exp: u64::MAX, nonce: "n", user: None };
        let signed = key.sign(&claims).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&["a"]);
        let check = |key: &IdentityKey| {
            let key = DecodingKey::from_jwk(&serde_json::from_value(key.public().clone()).unwrap()).unwrap();
            jsonwebtoken::decode::<Value>(&signed, &key, &validation)
        };
        assert_eq!(check(&key).unwrap().claims["sub"], "s");
        assert!(check(&other).is_err() && key.public()["kid"] != other.public()["kid"]);
        assert!(IdentityKey::from_der(b"none", place).is_err());
    }
}
