//! Assertions: a client proves who it is by a JWT that it signs (RFC 7523; SMART App Launch 2.2, section 4.1.4). Reading comes before
//! checking, because the assertion itself names the client whose keys check it. Pure.

use super::keys::{PublicKey, find};
use crate::limits::{CLOCK_SKEW, MAX_ASSERTION_LIFE, MAX_KEY_NAME, MAX_TOKEN_BYTES};
use jsonwebtoken::dangerous::insecure_decode;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use notary::commitment::Digest;
use serde::Deserialize;

/// What an assertion says of itself; nothing of it is true until it was checked.
#[derive(Debug)]
pub struct Claimed<'t> {
    text: &'t str,
    pub client: String,
    pub key: String,
    algorithm: Algorithm,
    /// Where its key set is, if it says so.
    pub key_set: Option<String>,
}

/// An assertion that holds. It counts once: who takes it uses it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// SHA-256 of client and `jti`, each with its length before it.
    pub digest: Digest,
    /// Until then it must be remembered; seconds since 1970.
    pub expires: u64,
}

/// Why an assertion is refused. What it says to the client is no secret: it wrote the assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssertionError {
    #[error("the client assertion is no JWT signed with RS384 or ES384, with a kid")]
    Malformed,
    #[error("the client, its key, or the signature is not known here")]
    Unknown,
    #[error("iss and sub must both be the client's id")]
    Subject,
    #[error("aud must be the address of the token endpoint")]
    Audience,
    #[error("exp must be in the future, at most five minutes from now, and iat and nbf, if any, in the past")]
    Time,
    #[error("jti must be a text of 1 to {MAX_KEY_NAME} bytes")]
    Id,
    #[error("jku is not the address that this client has registered")]
    KeySet,
    #[error("this assertion was used before")]
    Replayed,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    jti: Option<String>,
    iat: Option<f64>,
    nbf: Option<f64>,
}

/// One, or several (RFC 7519, section 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Audience {
    fn names(&self, server: &str) -> bool {
        match self {
            Self::One(one) => one == server,
            Self::Several(several) => several.iter().any(|one| one == server),
        }
    }
}

/// Reads what an assertion says.
pub fn read(text: &str) -> Result<Claimed<'_>, AssertionError> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(AssertionError::Malformed);
    }
    // An algorithm that is none, such as `none`, is no header that can be read.
    let header = decode_header(text).map_err(|_| AssertionError::Malformed)?;
    let ours = matches!(header.alg, Algorithm::RS384 | Algorithm::ES384) && header.crit.is_none();
    let key = header.kid.filter(|kid| ours && kid.len() <= MAX_KEY_NAME).ok_or(AssertionError::Malformed)?;
    let claims = insecure_decode::<Claims>(text).map_err(|_| AssertionError::Malformed)?.claims;
    Ok(Claimed { text, client: claims.iss, key, algorithm: header.alg, key_set: header.jku })
}

impl Claimed<'_> {
    /// Whether the keys hold the one that it names, for its algorithm.
    pub fn is_among(&self, keys: &[PublicKey]) -> bool {
        find(keys, &self.key, self.algorithm).is_some()
    }

    /// Checks it by the client's keys: for this token endpoint, now (seconds since 1970).
    pub fn check(&self, keys: &[PublicKey], endpoint: &str, now: u64) -> Result<Assertion, AssertionError> {
        let key = find(keys, &self.key, self.algorithm).ok_or(AssertionError::Unknown)?;
        let mut validation = Validation::new(key.algorithm);
        // Checked below: the library asks the machine's clock, and takes an hour of skew for granted.
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.required_spec_claims.clear();
        let claims = decode::<Claims>(self.text, &key.key, &validation).map_err(|_| AssertionError::Unknown)?.claims;
        if claims.iss != claims.sub || claims.iss != self.client {
            return Err(AssertionError::Subject);
        }
        if !claims.aud.names(endpoint) {
            return Err(AssertionError::Audience);
        }
        let expires = claims.in_time(now).ok_or(AssertionError::Time)?;
        let id = claims.jti.filter(|id| (1..=MAX_KEY_NAME).contains(&id.len())).ok_or(AssertionError::Id)?;
        Ok(Assertion { digest: digest(&self.client, &id), expires })
    }
}

impl Claims {
    /// When it expires, if it is of now. Times may have fractions (RFC 7519, section 2).
    fn in_time(&self, now: u64) -> Option<u64> {
        let (now, skew) = (now as f64, CLOCK_SKEW.as_secs_f64());
        let latest = now + MAX_ASSERTION_LIFE.as_secs_f64() + skew;
        let begun = |time: Option<f64>| time.is_none_or(|time| time <= now + skew);
        let holds = self.exp > now && self.exp <= latest && begun(self.iat) && begun(self.nbf);
        holds.then_some(self.exp.ceil() as u64)
    }
}

fn digest(client: &str, id: &str) -> Digest {
    let parts = [client, id].map(|part| [&(part.len() as u64).to_be_bytes(), part.as_bytes()].concat());
    Digest::of(&parts.concat())
}
