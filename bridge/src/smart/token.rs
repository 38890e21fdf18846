//! Bearer tokens: JWTs signed by the data directory's own ES384 key. Whoever can read the key file can mint: the
//! administrator at the machine.

use super::scopes::{self, Scope};
use crate::limits::{MAX_REMEMBERED_TOKENS, MAX_TOKEN_BYTES};
use crate::vault::keys::write_secret;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use notary::commitment::Digest;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Issuer and audience of the tokens that this server mints for itself.
const SELF: &str = "medseal";

/// The key that signs and checks tokens.
pub struct TokenKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// Tokens whose signature was found good, by their SHA-256, and when they expire (seconds since 1970): checking a
    /// signature on P-384 costs more than reading a resource.
    good: Mutex<HashMap<Digest, (Caller, u64)>>,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    scope: String,
    iat: u64,
    exp: u64,
}

/// Who calls, as a checked token says.
#[derive(Debug, Clone)]
pub struct Caller {
    pub subject: String,
    pub scopes: Vec<Scope>,
}

/// Why there is no key, or no caller.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("token key {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("token key {path} may be read by others: run `chmod 600 {path}`")]
    Exposed { path: PathBuf },
    #[error("token key {path} is not a P-384 key")]
    Malformed { path: PathBuf },
    #[error("{0}")]
    Scope(String),
    #[error("the token cannot be signed")]
    Unsigned,
    #[error("the bearer token is not one of this server, or has expired")]
    Refused,
}

impl TokenKey {
    /// Reads the key file, or makes one.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
        if !path.exists() {
            write_secret(path, &Self::generate()?).map_err(unreadable)?;
        }
        if std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o077 != 0 {
            return Err(TokenError::Exposed { path: path.to_owned() });
        }
        let der = zeroize::Zeroizing::new(std::fs::read(path).map_err(unreadable)?);
        Self::from_der(&der, path)
    }

    /// Makes a key that is to be kept elsewhere.
    pub fn generate() -> Result<zeroize::Zeroizing<Vec<u8>>, TokenError> {
        let new = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).and_then(|k| k.to_pkcs8v1());
        Ok(zeroize::Zeroizing::new(new.map_err(|_| TokenError::Unsigned)?.as_ref().to_vec()))
    }

    /// Reads a key; `path` names in messages where it lay.
    pub fn from_der(der: &[u8], path: &Path) -> Result<Self, TokenError> {
        let malformed = || TokenError::Malformed { path: path.to_owned() };
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map_err(|_| malformed())?;
        let public = pair.public_key().as_ref();
        // An uncompressed point: 0x04, x, y.
        let (x, y) = public.get(1..).and_then(|xy| xy.split_at_checked(48)).ok_or_else(malformed)?;
        use base64::Engine;
        let text = |part: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(part);
        let decoding = DecodingKey::from_ec_components(&text(x), &text(y)).map_err(|_| malformed())?;
        Ok(Self { encoding: EncodingKey::from_ec_der(der), decoding, good: Mutex::default() })
    }

    /// Mints a token for `subject`; `now` in seconds since 1970.
    pub fn mint(&self, subject: &str, scope: &str, now: u64, life: Duration) -> Result<String, TokenError> {
        scopes::parse(scope).map_err(TokenError::Scope)?;
        let claims = Claims {
            iss: SELF.into(),
            aud: SELF.into(),
            sub: subject.into(),
            scope: scope.into(),
            iat: now,
            exp: now + life.as_secs(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::ES384), &claims, &self.encoding).map_err(|_| TokenError::Unsigned)
    }

    /// Checks a token; `now` in seconds since 1970.
    pub fn check(&self, token: &str, now: u64) -> Result<Caller, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Refused);
        }
        let digest = Digest::of(token.as_bytes());
        if let Some((caller, expires)) = self.good().get(&digest) {
            return if *expires > now { Ok(caller.clone()) } else { Err(TokenError::Refused) };
        }
        let (caller, expires) = self.verify(token, now)?;
        let mut good = self.good();
        if good.len() >= MAX_REMEMBERED_TOKENS {
            good.clear();
        }
        good.insert(digest, (caller.clone(), expires));
        Ok(caller)
    }

    fn good(&self) -> MutexGuard<'_, HashMap<Digest, (Caller, u64)>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify(&self, token: &str, now: u64) -> Result<(Caller, u64), TokenError> {
        let mut validation = Validation::new(Algorithm::ES384);
        validation.set_audience(&[SELF]);
        validation.set_issuer(&[SELF]);
        // The library asks the machine's clock; ours comes in as an argument and is asked below.
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).map_err(|_| TokenError::Refused)?.claims;
        if claims.exp <= now {
            return Err(TokenError::Refused);
        }
        let scopes = scopes::parse(&claims.scope).map_err(|_| TokenError::Refused)?;
        Ok((Caller { subject: claims.sub, scopes }, claims.exp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_token_holds_for_its_key_and_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let key = TokenKey::open(&directory.path().join("token.key")).unwrap();
        let token = key.mint("me", "system/*.rs", 1_000, HOUR).unwrap();
        assert_eq!(key.check(&token, 4_599).unwrap().subject, "me");
        assert!(key.check(&token, 4_599).is_ok(), "remembered");
        assert!(key.check(&token, 4_600).is_err(), "expired, although it was remembered");
        let again = TokenKey::open(&directory.path().join("token.key")).unwrap();
        assert!(again.check(&token, 2_000).is_ok(), "the key file is the key");
        let other = TokenKey::open(&directory.path().join("other.key")).unwrap();
        assert!(other.check(&token, 2_000).is_err(), "a stranger's key");
        assert!(key.mint("me", "everything", 1_000, HOUR).is_err());
    }

    #[test]
    fn forged_tokens_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let key = TokenKey::open(&directory.path().join("token.key")).unwrap();
        let token = key.mint("me", "system/*.rs", 1_000, HOUR).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        let none = format!("{}.{}.", encode(r#"{"alg":"none"}"#), parts[1]);
        let widened = format!(
            "{}.{}.{}",
            parts[0],
            encode(r#"{"iss":"medseal","aud":"medseal","sub":"me","scope":"system/*.cruds","iat":1,"exp":9999}"#),
            parts[2]
        );
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        for forged in ["", "a.b.c", &none, &widened, &long, &token[..token.len() - 2]] {
            assert!(key.check(forged, 2_000).is_err());
        }
    }
}
