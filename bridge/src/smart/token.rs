//! Bearer tokens: JWTs signed by the data directory's own ES384 key. Whoever can read the key file can mint: the
//! administrator at the machine. Clients are issued theirs by the token endpoint, with the same key.

use super::scopes::{self, Scope};
use crate::audit::event::Who;
use crate::audit::seen::Seen;
use crate::consent::outside::Outside;
use crate::ids::Name;
use crate::limits::{CLOCK_SKEW, MAX_REMEMBERED_TOKENS, MAX_TOKEN_BYTES};
use crate::secret::{bytes, system_random};
use crate::vault::keys::write_secret;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use notary::commitment::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Issuer and audience of the tokens that are minted at the machine, where nobody knows the address that clients see.
const SELF: &str = "medseal";

/// The key that signs and checks tokens.
pub struct TokenKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    /// The public key as a JWK (RFC 7517).
    public: Value,
    /// Of the tokens that are issued to clients.
    server: Option<Server>,
    /// Tokens whose signature was found good, by their SHA-256: checking a signature on P-384 costs more than reading a
    /// resource.
    good: Mutex<HashMap<Digest, Arc<Bearer>>>,
}

/// Who issues tokens, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address of the authorization server.
    pub issuer: String,
    /// The address of the FHIR API.
    pub audience: String,
}

impl Server {
    /// Of the FHIR API at an address: the authorization server is its neighbour, `/auth` beside `/fhir`.
    pub fn of(base: &str) -> Self {
        let issuer = base.strip_suffix("/fhir").unwrap_or(base).to_owned();
        Self { issuer, audience: base.to_owned() }
    }

    /// The address of one of the authorization server's endpoints.
    pub fn endpoint(&self, name: &str) -> String {
        format!("{}/auth/{name}", self.issuer)
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    scope: String,
    iat: u64,
    exp: u64,
    /// Tokens of before it was given have none: they cannot be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patient: Option<String>,
    #[serde(default, rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
}

/// An ID token's claims (OpenID Connect Core 1.0, section 2). Its audience is the app, so that it is no token for the API.
#[derive(Debug, Serialize)]
pub struct Identity<'i> {
    pub iss: &'i str,
    /// The account.
    pub sub: &'i str,
    /// The client.
    pub aud: &'i str,
    pub iat: u64,
    pub exp: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub nonce: &'i str,
    /// The address of the resource that the person is (SMART App Launch 2.2, section 3.4).
    #[serde(rename = "fhirUser", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Who calls, as a checked token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub subject: String,
    pub scopes: Vec<Scope>,
    /// The patient whose record `patient/` scopes open.
    pub patient: Option<Name>,
    /// He looks at that one record for somebody else, and is not that patient.
    pub narrowed: bool,
    /// Who the user is that `user/` scopes speak of.
    pub user: Option<Name>,
    /// The client that the token was issued to; none: it was minted at the machine.
    pub client: Option<String>,
    /// What somebody allowed the client: the token ends with it.
    pub grant: Option<String>,
    /// What records are used for, a code of v3-ActReason; none: what is configured.
    pub purpose: Option<String>,
    /// The user acts for the patient: what is the patient's own is not asked of Consents.
    pub guards: bool,
    /// The other organisation that asks, where one does.
    pub outside: Option<Arc<Outside>>,
    /// What the present request is shown.
    pub seen: Seen,
}

impl Caller {
    /// As he is told of.
    pub fn who(&self) -> Who {
        let behalf = self.outside.as_deref().map(Outside::behalf);
        let purpose = self.purpose.clone().filter(|_| behalf.is_none());
        Who { client: self.subject.clone(), user: self.user.clone(), purpose, behalf }
    }

    /// The same for one request, whose answer is told of.
    pub fn asks(self, seen: &Seen) -> Self {
        seen.by(self.who());
        Self { seen: seen.clone(), ..self }
    }

    /// Whether the token speaks of a person: somebody acts in his own name, or an app for him. All others are systems.
    pub fn speaks_of_person(&self) -> bool {
        self.user.is_some() || self.patient.is_some()
    }

    /// One with nothing but scopes.
    pub fn new(subject: &str, scopes: Vec<Scope>) -> Self {
        let subject = subject.to_owned();
        Self {
            subject,
            scopes,
            patient: None,
            narrowed: false,
            user: None,
            client: None,
            grant: None,
            purpose: None,
            guards: false,
            outside: None,
            seen: Seen::default(),
        }
    }
}

/// A caller as he is kept beside what he has asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    subject: String,
    scopes: String,
    #[serde(default)]
    patient: Option<String>,
    #[serde(default)]
    user: Option<String>,
    #[serde(default)]
    client: Option<String>,
    #[serde(default)]
    grant: Option<String>,
    #[serde(default)]
    purpose: Option<String>,
}

impl Kept {
    /// What of a caller decides what he may see.
    pub fn of(caller: &Caller) -> Self {
        let text = |name: &Option<Name>| name.as_ref().map(ToString::to_string);
        let (subject, scopes) = (caller.subject.clone(), scopes::text(&caller.scopes));
        let (patient, user) = (text(&caller.patient), text(&caller.user));
        let (client, grant, purpose) = (caller.client.clone(), caller.grant.clone(), caller.purpose.clone());
        Self { subject, scopes, patient, user, client, grant, purpose }
    }

    /// The caller again; none: something of it cannot be read, and nothing is allowed.
    pub fn caller(&self) -> Option<Caller> {
        let scopes = scopes::parse(&self.scopes).ok()?;
        let (patient, user) = (name(&self.patient)?, name(&self.user)?);
        let (client, grant, purpose) = (self.client.clone(), self.grant.clone(), self.purpose.clone());
        Some(Caller { patient, user, client, grant, purpose, ..Caller::new(&self.subject, scopes) })
    }
}

/// A name that may be absent, and must be one where it is not.
#[expect(clippy::option_option, reason = "the outer one is an error")]
fn name(text: &Option<String>) -> Option<Option<Name>> {
    match text {
        None => Some(None),
        Some(text) => Name::parse(text).map(Some),
    }
}

/// A token whose signature holds.
#[derive(Debug, Clone)]
pub struct Bearer {
    pub caller: Caller,
    /// What it is revoked by.
    pub id: Option<String>,
    /// Seconds since 1970.
    pub issued: u64,
    pub expires: u64,
}

/// Why there is no key, or no caller.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("token key {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("token key {path} may be read by others: run `chmod 600 {path}`")]
    Exposed { path: PathBuf },
    #[error("{path} is not a key of the kind that belongs there")]
    Malformed { path: PathBuf },
    #[error("{0}")]
    Scope(String),
    #[error("the token cannot be signed")]
    Unsigned,
    #[error("the bearer token is not one of this server, or has expired")]
    Refused,
}

/// What makes a key that signs.
pub type Make = fn() -> Result<zeroize::Zeroizing<Vec<u8>>, TokenError>;

impl TokenKey {
    /// Reads the key file, or makes one.
    pub fn open(path: &Path) -> Result<Self, TokenError> {
        Self::from_der(&read_or_make(path, Self::generate)?, path)
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
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let decoding = DecodingKey::from_ec_components(&x, &y).map_err(|_| malformed())?;
        let encoding = EncodingKey::from_ec_der(der);
        Ok(Self { encoding, decoding, public: jwk(&x, &y), server: None, good: Mutex::default() })
    }

    /// The key of a running server, which issues tokens to clients.
    pub fn serving(self, base: &str) -> Self {
        Self { server: Some(Server::of(base)), ..self }
    }

    /// The key set that others check this server's tokens by.
    pub fn public(&self) -> Value {
        json!({"keys": [self.public]})
    }

    /// Mints a token for `subject` at the machine; `now` in seconds since 1970.
    pub fn mint(&self, subject: &str, scope: &str, now: u64, life: Duration) -> Result<String, TokenError> {
        let scopes = scopes::parse(scope).map_err(TokenError::Scope)?;
        self.issue(&Caller::new(subject, scopes), now, life)
    }

    /// Signs a token for a caller: of this server where it is a client's.
    pub fn issue(&self, caller: &Caller, now: u64, life: Duration) -> Result<String, TokenError> {
        let own = || Server { issuer: SELF.into(), audience: SELF.into() };
        let server = match &caller.client {
            None => own(),
            Some(_) => self.server.clone().ok_or(TokenError::Unsigned)?,
        };
        let text = |name: &Option<Name>| name.as_ref().map(ToString::to_string);
        let claims = Claims {
            iss: server.issuer,
            aud: server.audience,
            sub: caller.subject.clone(),
            scope: scopes::text(&caller.scopes),
            iat: now,
            exp: now + life.as_secs(),
            jti: Some(hex::encode(bytes::<16>(&system_random).map_err(|_| TokenError::Unsigned)?)),
            client_id: caller.client.clone(),
            patient: text(&caller.patient),
            user: text(&caller.user),
            grant: caller.grant.clone(),
            purpose: caller.purpose.clone(),
        };
        let token = jsonwebtoken::encode(&self.header(), &claims, &self.encoding).map_err(|_| TokenError::Unsigned)?;
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Scope("the scopes are too long for a token".into()));
        }
        Ok(token)
    }

    /// Signs what another organisation is told.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        jsonwebtoken::encode(&self.header(), claims, &self.encoding).map_err(|_| TokenError::Unsigned)
    }

    /// Whether what was signed names this key, and not one that we had before.
    pub fn is_named_in(&self, signed: &str) -> bool {
        jsonwebtoken::decode_header(signed).is_ok_and(|header| header.kid == self.header().kid)
    }

    fn header(&self) -> Header {
        Header { kid: self.public["kid"].as_str().map(str::to_owned), ..Header::new(Algorithm::ES384) }
    }

    /// Checks a token's signature and time; `now` in seconds since 1970. Whether it was revoked, `Standing` knows.
    pub fn check(&self, token: &str, now: u64) -> Result<Arc<Bearer>, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Refused);
        }
        let digest = Digest::of(token.as_bytes());
        if let Some(bearer) = self.good().get(&digest) {
            return if bearer.expires > now { Ok(bearer.clone()) } else { Err(TokenError::Refused) };
        }
        let bearer = Arc::new(self.verify(token, now)?);
        let mut good = self.good();
        if good.len() >= MAX_REMEMBERED_TOKENS {
            good.clear();
        }
        good.insert(digest, bearer.clone());
        Ok(bearer)
    }

    fn good(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Bearer>>> {
        self.good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn verify(&self, token: &str, now: u64) -> Result<Bearer, TokenError> {
        let mut validation = Validation::new(Algorithm::ES384);
        // Asked below: there are two issuers, and the library asks the machine's clock where ours comes in as an argument.
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let claims =
            jsonwebtoken::decode::<Claims>(token, &self.decoding, &validation).map_err(|_| TokenError::Refused)?.claims;
        // Another replica's clock may be a little ahead; what is to begin later still is no token yet.
        let begun = claims.iat <= now.saturating_add(CLOCK_SKEW.as_secs());
        if claims.exp <= now || !begun || !self.issued(&claims) {
            return Err(TokenError::Refused);
        }
        let (issued, expires, id) = (claims.iat, claims.exp, claims.jti.clone());
        let caller = caller(claims).ok_or(TokenError::Refused)?;
        Ok(Bearer { caller, id, issued, expires })
    }

    /// Whether a token names who issued it and for whom: the machine for itself, or this server a client's for its API.
    fn issued(&self, claims: &Claims) -> bool {
        let by = |server: &Server| server.issuer == claims.iss && server.audience == claims.aud;
        match (&claims.client_id, &claims.jti) {
            (Some(_), Some(_)) => self.server.as_ref().is_some_and(by),
            (Some(_), None) => false,
            (None, _) => claims.iss == SELF && claims.aud == SELF,
        }
    }
}

/// A key file that is its owner's alone; made where it is not there.
pub fn read_or_make(path: &Path, make: Make) -> Result<zeroize::Zeroizing<Vec<u8>>, TokenError> {
    let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
    if !path.exists() {
        write_secret(path, &make()?).map_err(unreadable)?;
    }
    if std::fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o077 != 0 {
        return Err(TokenError::Exposed { path: path.to_owned() });
    }
    Ok(zeroize::Zeroizing::new(std::fs::read(path).map_err(unreadable)?))
}

fn caller(claims: Claims) -> Option<Caller> {
    let scopes = scopes::parse(&claims.scope).ok()?;
    let (patient, user) = (name(&claims.patient)?, name(&claims.user)?);
    let Claims { client_id: client, grant, purpose, sub, .. } = claims;
    Some(Caller { patient, user, client, grant, purpose, ..Caller::new(&sub, scopes) })
}

/// A point on P-384 as a JWK (RFC 7518, section 6.2), named by its thumbprint (RFC 7638).
fn jwk(x: &str, y: &str) -> Value {
    let members = format!(r#"{{"crv":"P-384","kty":"EC","x":"{x}","y":"{y}"}}"#);
    let thumbprint = URL_SAFE_NO_PAD.encode(Digest::of(members.as_bytes()).0);
    json!({"kty": "EC", "crv": "P-384", "x": x, "y": y, "use": "sig", "alg": "ES384", "kid": thumbprint})
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    // meets smart 77 94 265
    #[test]
    fn a_token_holds_for_its_key_and_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let key = TokenKey::open(&directory.path().join("token.key")).unwrap();
        let token = key.mint("me", "system/*.rs", 1_000, HOUR).unwrap();
        assert_eq!(key.check(&token, 4_599).unwrap().caller.subject, "me");
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
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
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

    #[test]
    fn a_token_from_the_future_is_none_yet() {
        let directory = tempfile::tempdir().unwrap();
        let key = TokenKey::open(&directory.path().join("token.key")).unwrap();
        let token = key.mint("me", "system/*.rs", 2_000, HOUR).unwrap();
        assert!(key.check(&token, 2_000 - CLOCK_SKEW.as_secs() - 1).is_err());
        assert!(key.check(&token, 2_000 - CLOCK_SKEW.as_secs()).is_ok(), "a replica's clock is a little ahead");
    }

    /// The public key is everybody's: what is made with it as a secret, or brings a key of its own, is no token.
    #[test]
    fn keys_are_not_confused() {
        let directory = tempfile::tempdir().unwrap();
        let key = TokenKey::open(&directory.path().join("token.key")).unwrap();
        let claims = json!({"iss": SELF, "aud": SELF, "sub": "me", "scope": "system/*.rs", "iat": 1, "exp": 9_999});
        let own = key.sign(&claims).unwrap();
        assert!(key.check(&own, 2_000).is_ok(), "but for the key they would be");
        let (x, y) = (key.public["x"].as_str().unwrap(), key.public["y"].as_str().unwrap());
        let point: Vec<u8> = [vec![4], URL_SAFE_NO_PAD.decode(x).unwrap(), URL_SAFE_NO_PAD.decode(y).unwrap()].concat();
        let jwk = key.public.to_string();
        for (algorithm, secret) in [
            (Algorithm::HS256, &point[..]),
            (Algorithm::HS384, &point),
            (Algorithm::HS384, jwk.as_bytes()),
            (Algorithm::HS512, x.as_bytes()),
        ] {
            let header = Header { alg: algorithm, ..key.header() };
            let forged = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(secret)).unwrap();
            assert!(key.check(&forged, 2_000).is_err(), "{algorithm:?}");
        }
        let other = TokenKey::open(&directory.path().join("other.key")).unwrap();
        let brought = serde_json::from_value(other.public.clone()).unwrap();
        let header = Header { jwk: Some(brought), kid: key.header().kid, ..Header::new(Algorithm::ES384) };
        let forged = jsonwebtoken::encode(&header, &claims, &other.encoding).unwrap();
        assert!(key.check(&forged, 2_000).is_err(), "a key that the token brings");
    }

    // meets smart 96
    #[test]
    fn a_clients_token_is_of_this_server_alone() {
        let directory = tempfile::tempdir().unwrap();
        let open = || TokenKey::open(&directory.path().join("token.key")).unwrap();
        let (here, there) = (open().serving("http://here/fhir"), open().serving("http://there/fhir"));
        let scopes = scopes::parse("patient/*.rs").unwrap();
        let patient = Name::parse("Patient/p");
        let grant = Some("g".into());
        let caller = Caller { patient, client: Some("c".into()), grant, ..Caller::new("c", scopes) };
        let token = here.issue(&caller, 1_000, HOUR).unwrap();
        let bearer = here.check(&token, 1_001).unwrap();
        assert_eq!((&bearer.caller, bearer.issued, bearer.expires), (&caller, 1_000, 4_600));
        assert!(there.check(&token, 1_001).is_err(), "issued elsewhere, for elsewhere");
        assert!(open().issue(&caller, 1_000, HOUR).is_err(), "no server, no tokens for clients");
        assert!(there.check(&here.mint("me", "system/*.rs", 1_000, HOUR).unwrap(), 1_001).is_ok());
        assert_eq!(Kept::of(&caller).caller(), Some(caller));
    }

    #[test]
    fn the_endpoints_are_beside_the_api() {
        assert_eq!(Server::of("https://h/x/fhir").endpoint("token"), "https://h/x/auth/token");
        assert_eq!(Server::of("https://fhir.h").endpoint("token"), "https://fhir.h/auth/token");
    }
}
