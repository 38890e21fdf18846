//! Outside providers: OpenID Connect Core 1.0, the authorization code flow with PKCE (RFC 7636), discovery, and RS256
//! or ES256. They are asked through the guard that all requests of this server go through.

use crate::config::Provider;
use crate::http::query;
use crate::limits::MAX_SIGN_INS;
use crate::outgoing::{Outbound, Outgoing};
use crate::secret::{Random, bytes};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use notary::commitment::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::Semaphore;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};

/// How long a provider's word about itself is taken for true: an hour.
const FRESH: i64 = 3_600_000;
/// How far a provider's clock may be from ours, in seconds.
const SKEW: u64 = 60;
/// The longest subject (OpenID Connect Core 1.0, section 2).
const MAX_SUBJECT: usize = 255;

/// Why a provider lets nobody in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenIdError {
    #[error("this way to sign in is not offered here")]
    Provider,
    #[error("the other account's provider cannot be reached: try again")]
    Away,
    #[error("the other account's provider gave an answer that makes no sense")]
    Nonsense,
    #[error("the other account's provider did not let you in, or you cancelled it")]
    Denied,
    #[error("this is not the answer to what this browser was sent to ask: try again")]
    State,
    #[error("the other account's provider gave no valid proof of who you are")]
    Proof,
}

/// What a provider says of itself (OpenID Connect Discovery 1.0, section 3).
#[derive(Debug, Clone, Deserialize)]
pub struct Discovery {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
    /// Its answers name it (RFC 9207).
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// What the providers have said of themselves, and room for asking them.
#[derive(Debug)]
pub struct Providers {
    known: Mutex<HashMap<String, (Discovery, i64)>>,
    pub room: Semaphore,
}

impl Default for Providers {
    fn default() -> Self {
        Self { known: Mutex::default(), room: Semaphore::new(MAX_SIGN_INS) }
    }
}

impl Providers {
    /// What a provider says of itself; `now` in milliseconds since 1970.
    pub async fn ask(&self, provider: &Provider, outgoing: &Outgoing, now: i64) -> Result<Discovery, OpenIdError> {
        if let Some(known) = self.known(&provider.issuer, now) {
            return Ok(known);
        }
        let url = format!("{}/.well-known/openid-configuration", provider.issuer.trim_end_matches('/'));
        let found: Discovery = fetch(outgoing, &url).await?;
        // A browser goes there: to nothing less safe than the provider itself.
        let secure = found.authorization_endpoint.starts_with("https://") || provider.issuer.starts_with("http://");
        if found.issuer != provider.issuer || !secure {
            return Err(OpenIdError::Nonsense);
        }
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(provider.issuer.clone(), (found.clone(), now));
        Ok(found)
    }

    fn known(&self, issuer: &str, now: i64) -> Option<Discovery> {
        let all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, at) = all.get(issuer)?;
        (0..FRESH).contains(&(now - at)).then(|| found.clone())
    }
}

async fn fetch<T: DeserializeOwned>(outgoing: &Outgoing, url: &str) -> Result<T, OpenIdError> {
    let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]);
    send(outgoing, Outbound { method: Method::GET, url: url.to_owned(), headers, body: bytes::Bytes::new() }).await
}

async fn send<T: DeserializeOwned>(outgoing: &Outgoing, outbound: Outbound) -> Result<T, OpenIdError> {
    let answer = outgoing.send(outbound).await.map_err(|error| {
        tracing::warn!(%error, "an OpenID provider could not be asked");
        OpenIdError::Away
    })?;
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body).map_err(|_| OpenIdError::Nonsense),
        status if status.is_server_error() => Err(OpenIdError::Away),
        _ => Err(OpenIdError::Denied),
    }
}

/// What a browser bears, sealed, while it is at the provider.
#[derive(Clone, Serialize, Deserialize)]
pub struct Journey {
    pub provider: String,
    /// A challenge of ours, hexadecimal: it comes back, and counts once.
    pub state: String,
    nonce: String,
    verifier: String,
    pub door: Door,
    pub next: String,
}

crate::redacted_debug!(Journey, Door);

/// What is to be done when it comes back.
#[derive(Clone, Serialize, Deserialize)]
pub enum Door {
    SignIn,
    /// With the code of an invitation.
    Join(String),
    /// To an account, by whoever is signed in to it then.
    Add(String),
}

impl Journey {
    /// Sets out.
    pub fn new(provider: &Provider, state: String, door: Door, next: String, random: Random<'_>) -> Option<Self> {
        let nonce = hex::encode(bytes::<16>(random).ok()?);
        let verifier = URL_SAFE_NO_PAD.encode(bytes::<32>(random).ok()?);
        Some(Self { provider: provider.name.clone(), state, nonce, verifier, door, next })
    }

    /// Where the browser goes (section 3.1.2.1).
    pub fn address(&self, provider: &Provider, discovery: &Discovery, redirect: &str) -> String {
        let challenge = URL_SAFE_NO_PAD.encode(Digest::of(self.verifier.as_bytes()).0);
        let parameters = form(&[
            ("response_type", "code"),
            ("scope", "openid"),
            ("client_id", &provider.client_id),
            ("redirect_uri", redirect),
            ("state", &self.state),
            ("nonce", &self.nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        let endpoint = &discovery.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        format!("{endpoint}{joint}{parameters}")
    }

    /// The code of the provider's answer to this journey (section 3.1.2.5, RFC 9207).
    pub fn code<'a>(&self, discovery: &Discovery, answer: &'a HashMap<String, String>) -> Result<&'a str, OpenIdError> {
        let is = |name: &str, value: &str| answer.get(name).is_some_and(|given| given == value);
        let named = answer.contains_key("iss") || discovery.authorization_response_iss_parameter_supported;
        if !is("state", &self.state) || (named && !is("iss", &discovery.issuer)) {
            return Err(OpenIdError::State);
        }
        answer.get("code").map(String::as_str).ok_or(OpenIdError::Denied)
    }

    /// Turns the code into a proof of who somebody is, and checks it: the subject.
    pub async fn subject(
        &self,
        (provider, discovery): (&Provider, &Discovery),
        (code, redirect): (&str, &str),
        outgoing: &Outgoing,
        now: u64,
    ) -> Result<String, OpenIdError> {
        #[derive(Deserialize)]
        struct Tokens {
            id_token: String,
        }
        let request = self.token_request(provider, discovery, code, redirect)?;
        let tokens: Tokens = send(outgoing, request).await?;
        let keys: JwkSet = fetch(outgoing, &discovery.jwks_uri).await?;
        self.check(provider, &keys, &tokens.id_token, now)
    }

    fn token_request(
        &self,
        provider: &Provider,
        discovery: &Discovery,
        code: &str,
        redirect: &str,
    ) -> Result<Outbound, OpenIdError> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
            ("client_id", &provider.client_id),
            ("code_verifier", &self.verifier),
        ];
        let plain = HeaderValue::from_static("application/x-www-form-urlencoded");
        let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, plain)]);
        let methods = &discovery.token_endpoint_auth_methods_supported;
        let has = |method: &str| methods.iter().any(|known| known == method);
        match &provider.client_secret {
            Some(secret) if has("client_secret_post") && !has("client_secret_basic") => {
                fields.push(("client_secret", &secret.0));
            }
            Some(secret) => {
                let pair = format!("{}:{}", query::encode(&provider.client_id), query::encode(&secret.0));
                let value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)));
                headers.insert(header::AUTHORIZATION, value.map_err(|_| OpenIdError::Provider)?);
            }
            None => {}
        }
        let body = form(&fields).into();
        Ok(Outbound { method: Method::POST, url: discovery.token_endpoint.clone(), headers, body })
    }

    /// Checks an ID token (section 3.1.3.7); `now` in seconds since 1970.
    fn check(&self, provider: &Provider, keys: &JwkSet, token: &str, now: u64) -> Result<String, OpenIdError> {
        #[derive(Deserialize)]
        struct Claims {
            iss: String,
            sub: String,
            aud: Audience,
            exp: u64,
            iat: u64,
            nonce: String,
            azp: Option<String>,
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| OpenIdError::Proof)?;
        let key = key(keys, header.alg, header.kid.as_deref()).ok_or(OpenIdError::Proof)?;
        let mut validation = Validation::new(header.alg);
        // All of these are asked below, of our own clock.
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims = jsonwebtoken::decode::<Claims>(token, &key, &validation).map_err(|_| OpenIdError::Proof)?.claims;
        let client = &provider.client_id;
        let for_us = match &claims.aud {
            Audience::One(one) => one == client,
            Audience::Many(many) => many.contains(client) && (many.len() == 1 || claims.azp.is_some()),
        };
        let ours = claims.iss == provider.issuer && for_us && claims.azp.as_ref().is_none_or(|azp| azp == client);
        let now_is = claims.exp.saturating_add(SKEW) > now && claims.iat <= now.saturating_add(SKEW);
        let named = !claims.sub.is_empty() && claims.sub.len() <= MAX_SUBJECT;
        if ours && now_is && named && claims.nonce == self.nonce { Ok(claims.sub) } else { Err(OpenIdError::Proof) }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// The key that a token names, of the kind that its algorithm needs. A set of one needs no names.
fn key(keys: &JwkSet, algorithm: Algorithm, name: Option<&str>) -> Option<DecodingKey> {
    let fits = |jwk: &&Jwk| match (&jwk.algorithm, algorithm) {
        (AlgorithmParameters::RSA(_), Algorithm::RS256) => true,
        (AlgorithmParameters::EllipticCurve(curve), Algorithm::ES256) => curve.curve == EllipticCurve::P256,
        _ => false,
    };
    let mut fitting = keys.keys.iter().filter(fits);
    let jwk = match name {
        Some(name) => fitting.find(|jwk| jwk.common.key_id.as_deref() == Some(name)),
        None => fitting.next().filter(|_| keys.keys.len() == 1),
    };
    DecodingKey::from_jwk(jwk?).ok()
}

fn form(fields: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", query::encode(value))).collect();
    pairs.join("&")
}
