//! Key sets of clients (RFC 7517): public keys for RS384 and ES384, which SMART names (SMART App Launch 2.2, section 4.1.3). The
//! algorithm is the key's own affair, never the assertion's: a public RSA key cannot be taken for a shared secret. Pure.

use crate::limits::{MAX_CLIENT_KEYS, MAX_KEY_NAME, MAX_KEY_SET_BYTES};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Members of a JWK that only its owner may have.
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// The lengths of an RSA modulus, in bytes: weaker than 2048 bits is broken too soon, and longer than 8192 costs too much.
const MODULUS: std::ops::RangeInclusive<usize> = 256..=1_024;
/// The length of a coordinate on P-384.
const COORDINATE: usize = 48;

/// A public key that may sign assertions.
#[derive(Debug, Clone)]
pub struct PublicKey {
    pub name: String,
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// Why a text is no key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error(
        "a key set is JSON of at most {MAX_KEY_SET_BYTES} bytes: {{\"keys\": [...]}}, at most {MAX_CLIENT_KEYS} of them"
    )]
    Malformed,
    #[error("this key set holds a private or shared key: give away the public keys alone, and make new ones now")]
    Private,
    #[error(
        "the key set holds no key that can be used: with a `kid`, RSA of 2048 to 8192 bits (RS384) or EC on P-384 (ES384)"
    )]
    Nothing,
}

/// Reads a key set. Keys of other kinds are passed over: clients publish what other servers need.
pub fn parse(text: &[u8]) -> Result<Vec<PublicKey>, KeySetError> {
    let set: Option<Value> = (text.len() <= MAX_KEY_SET_BYTES).then(|| serde_json::from_slice(text).ok()).flatten();
    let set = set.ok_or(KeySetError::Malformed)?;
    let keys = set["keys"].as_array().filter(|keys| keys.len() <= MAX_CLIENT_KEYS).ok_or(KeySetError::Malformed)?;
    if keys.iter().any(|key| PRIVATE.iter().any(|member| key.get(member).is_some())) {
        return Err(KeySetError::Private);
    }
    let usable: Vec<PublicKey> = keys.iter().filter_map(public_key).collect();
    if usable.is_empty() { Err(KeySetError::Nothing) } else { Ok(usable) }
}

fn public_key(jwk: &Value) -> Option<PublicKey> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let name = text("kid").filter(|kid| !kid.is_empty() && kid.len() <= MAX_KEY_NAME)?.to_owned();
    let length = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok().map(|bytes| bytes.len());
    let (algorithm, shown, key) = match (text("kty")?, text("crv")) {
        ("RSA", _) if MODULUS.contains(&length("n")?) => {
            (Algorithm::RS384, "RS384", DecodingKey::from_rsa_components(text("n")?, text("e")?))
        }
        ("EC", Some("P-384")) if (length("x")?, length("y")?) == (COORDINATE, COORDINATE) => {
            (Algorithm::ES384, "ES384", DecodingKey::from_ec_components(text("x")?, text("y")?))
        }
        _ => return None,
    };
    let fits = text("use").is_none_or(|usage| usage == "sig") && text("alg").is_none_or(|alg| alg == shown);
    fits.then(|| Some(PublicKey { name, algorithm, key: key.ok()? })).flatten()
}

/// The key of a name for an algorithm, where there is one and no other (SMART App Launch 2.2, section 5.1.6).
pub fn find<'k>(keys: &'k [PublicKey], name: &str, algorithm: Algorithm) -> Option<&'k PublicKey> {
    let mut all = keys.iter().filter(|key| key.name == name && key.algorithm == algorithm);
    all.next().filter(|_| all.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn point(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![7; bytes])
    }

    // meets smart 338
    #[test]
    fn only_public_keys_of_the_two_algorithms_count() {
        let ec = json!({"kty": "EC", "crv": "P-384", "x": point(48), "y": point(48), "kid": "ec", "use": "sig"});
        let rsa = json!({"kty": "RSA", "n": point(256), "e": "AQAB", "kid": "rsa", "alg": "RS384"});
        let both = parse(json!({"keys": [ec, rsa]}).to_string().as_bytes()).unwrap();
        assert!(find(&both, "ec", Algorithm::ES384).is_some() && find(&both, "rsa", Algorithm::RS384).is_some());
        assert!(find(&both, "rsa", Algorithm::RS256).is_none() && find(&both, "ec", Algorithm::RS384).is_none());
        let twice = parse(json!({"keys": [ec, ec, rsa]}).to_string().as_bytes()).unwrap();
        assert!(find(&twice, "ec", Algorithm::ES384).is_none() && find(&twice, "rsa", Algorithm::RS384).is_some());
        let with = |key: &Value, name: &str, value: Value| {
            let mut key = key.clone();
            key[name] = value;
            parse(json!({"keys": [key]}).to_string().as_bytes()).err()
        };
        for (key, name, value, error) in [
            (&ec, "kid", json!(""), KeySetError::Nothing),
            (&ec, "kid", json!("x".repeat(MAX_KEY_NAME + 1)), KeySetError::Nothing),
            (&ec, "crv", json!("P-256"), KeySetError::Nothing),
            (&ec, "x", json!(point(32)), KeySetError::Nothing),
            (&ec, "use", json!("enc"), KeySetError::Nothing),
            (&rsa, "alg", json!("RS256"), KeySetError::Nothing),
            (&rsa, "n", json!(point(128)), KeySetError::Nothing),
            (&rsa, "n", json!(point(2_000)), KeySetError::Nothing),
            (&rsa, "kty", json!("oct"), KeySetError::Nothing),
            (&rsa, "d", json!("x"), KeySetError::Private),
            (&ec, "k", json!("x"), KeySetError::Private),
        ] {
            assert_eq!(with(key, name, value), Some(error), "{name}");
        }
        let many = json!({"keys": vec![ec; MAX_CLIENT_KEYS + 1]}).to_string();
        for bad in ["", "[]", "{}", r#"{"keys": 1}"#, &many, &" ".repeat(MAX_KEY_SET_BYTES + 1)] {
            assert_eq!(parse(bad.as_bytes()).err(), Some(KeySetError::Malformed));
        }
    }
}
