//! Dynamic client registration (RFC 7591): what an app says of itself, as far as it is taken. Also the rules for what any app is registered
//! with. Pure.

use super::keys;
use super::scopes::{self, Scope};
use crate::index::clients::Keys;
use serde::Deserialize;
use serde_json::Value;
use std::net::Ipv6Addr;
use warp::http::Uri;
use warp::http::uri::Authority;

/// The longest name.
pub const MAX_NAME: usize = 100;
/// The most addresses of one app: a few of production and of tests. And the longest.
pub const MAX_REDIRECTS: usize = 16;
pub const MAX_REDIRECT: usize = 1_024;
/// What an app gets at most that names no scopes.
const USUAL: &str = "openid fhirUser launch/patient patient/*.rs";

/// What it says; all else is passed over (RFC 7591, section 2).
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    redirect_uris: Vec<String>,
    token_endpoint_auth_method: Option<String>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    client_name: Option<String>,
    scope: Option<String>,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    software_statement: Option<Value>,
}

/// What is registered. An address of keys is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub name: String,
    pub scope: String,
    pub keys: Keys,
    pub redirects: Vec<String>,
}

/// Why nothing is registered (RFC 7591, section 3.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Faulty {
    Redirect,
    Metadata(&'static str),
    Statement,
}

impl Faulty {
    /// The code, and what to do.
    pub fn told(self) -> (&'static str, &'static str) {
        match self {
            Self::Redirect => (
                "invalid_redirect_uri",
                "redirect_uris: 1 to 16 addresses, https, or http on localhost, without a fragment, each at most 1024 bytes",
            ),
            Self::Metadata(text) => ("invalid_client_metadata", text),
            Self::Statement => ("unapproved_software_statement", "no issuer of software statements is approved here"),
        }
    }
}

/// Reads what an app says of itself.
pub fn read(body: &[u8]) -> Result<Asked, Faulty> {
    let said: Said =
        serde_json::from_slice(body).map_err(|_| Faulty::Metadata("send a JSON object of client metadata"))?;
    if said.software_statement.is_some() {
        return Err(Faulty::Statement);
    }
    let many = (1..=MAX_REDIRECTS).contains(&said.redirect_uris.len());
    if !many || !said.redirect_uris.iter().all(|uri| is_redirect(uri)) {
        return Err(Faulty::Redirect);
    }
    flows(&said)?;
    let keys = keys(&said)?;
    let name = match &said.client_name {
        Some(name) => named(name).ok_or(Faulty::Metadata("client_name: 1 to 100 bytes, printable"))?,
        None => said.redirect_uris.first().and_then(|uri| host(uri)).unwrap_or_default(),
    };
    Ok(Asked { name, scope: scope(said.scope.as_deref())?, keys, redirects: said.redirect_uris })
}

/// Only codes, which people approve: a program on its own is registered by the administrator.
fn flows(said: &Said) -> Result<(), Faulty> {
    let within = |given: &Option<Vec<String>>, known: &[&str]| {
        given.as_ref().is_none_or(|given| given.iter().all(|one| known.contains(&one.as_str())))
    };
    if !within(&said.grant_types, &["authorization_code", "refresh_token"]) {
        return Err(Faulty::Metadata("grant_types: authorization_code and refresh_token"));
    }
    match within(&said.response_types, &["code"]) {
        true => Ok(()),
        false => Err(Faulty::Metadata("response_types: code")),
    }
}

fn keys(said: &Said) -> Result<Keys, Faulty> {
    let keys = match (&said.jwks, &said.jwks_uri) {
        (Some(_), Some(_)) => return Err(Faulty::Metadata("jwks or jwks_uri, and not both")),
        (Some(set), None) => {
            let text = set.to_string();
            keys::parse(text.as_bytes()).map_err(|_| {
                Faulty::Metadata(
                    "jwks: public keys with a kid, RSA of 2048 bits or more (RS384) or EC on P-384 (ES384)",
                )
            })?;
            Keys::Inline(text)
        }
        (None, Some(uri)) => Keys::At(uri.clone()),
        (None, None) => Keys::None,
    };
    let public = keys == Keys::None;
    match said.token_endpoint_auth_method.as_deref() {
        None => Ok(keys),
        Some("none") if public => Ok(keys),
        Some("private_key_jwt") if !public => Ok(keys),
        _ => Err(Faulty::Metadata(
            "token_endpoint_auth_method: none, or private_key_jwt with jwks or jwks_uri; no shared secrets",
        )),
    }
}

/// What this server knows of it, but for what is for programs on their own (RFC 7591, section 2: a server may register less).
fn scope(said: Option<&str>) -> Result<String, Faulty> {
    let mut known = scopes::parse_known(said.unwrap_or(USUAL));
    known.retain(|scope| !scope.is_system());
    let opens = known.iter().any(|scope| matches!(scope, Scope::Access(_) | Scope::Word("openid")));
    match opens {
        true => Ok(scopes::text(&known)),
        false => Err(Faulty::Metadata("scope: patient and user scopes, openid and the like")),
    }
}

/// A name as people read it.
pub fn named(name: &str) -> Option<String> {
    let shows = |c: char| !c.is_control() && !is_unseen(c);
    let fine = !name.trim().is_empty() && name.len() <= MAX_NAME && name.chars().all(shows);
    fine.then(|| name.trim().to_owned())
}

/// What changes how text looks and is not seen itself: format characters (Cf, Unicode 16) and separators of lines. With them a name reads
/// as another, or changes the words beside it.
fn is_unseen(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x890 | 0x891 | 0x8E2 | 0x180E | 0x200B..=0x200F | 0x2028..=0x202E
        | 0x2060..=0x206F | 0xFEFF | 0xFFF9..=0xFFFB | 0x110BD | 0x110CD | 0x13430..=0x1343F | 0x1BCA0..=0x1BCA3
        | 0x1D173..=0x1D17A | 0xE0001 | 0xE0020..=0xE007F)
}

fn host(uri: &str) -> Option<String> {
    let uri: Uri = uri.parse().ok()?;
    named(uri.host()?.get(..MAX_NAME.min(uri.host()?.len()))?)
}

/// Where a code may go: over TLS, or not over a network at all (RFC 9700, section 4.1; RFC 8252, section 7.3).
pub fn is_redirect(text: &str) -> bool {
    let plain = text.len() <= MAX_REDIRECT && text.bytes().all(|c| c.is_ascii_graphic() && !b"#\\\"'<>`".contains(&c));
    let Some(uri) = plain.then(|| text.parse::<Uri>().ok()).flatten() else { return false };
    let Some(authority) = uri.authority().filter(|authority| is_plain(authority)) else { return false };
    let own = matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]");
    uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && own)
}

/// A name of DNS or an address, and a port: a page's policy names it, where other signs would mean more than a host.
fn is_plain(authority: &Authority) -> bool {
    let host = authority.host();
    let is_address = |text: &str| text.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    let is_host = match host.strip_prefix('[') {
        Some(rest) => is_address(rest),
        None => !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-".contains(&c)),
    };
    let port = authority.as_str().strip_prefix(host);
    let is_port = |text: &str| text.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    is_host && port.is_some_and(|port| port.is_empty() || is_port(port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(changes: Value) -> Result<Asked, Faulty> {
        let mut all = json!({"redirect_uris": ["https://app.example/cb"]});
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        read(all.to_string().as_bytes())
    }

    #[test]
    fn what_is_not_said_is_the_least() {
        let asked = said(json!({"logo_uri": "http://169.254.169.254/", "contacts": ["x"]})).unwrap();
        let redirects = vec!["https://app.example/cb".to_owned()];
        assert_eq!(asked, Asked { name: "app.example".into(), scope: USUAL.into(), keys: Keys::None, redirects });
        let asked =
            said(json!({"scope": "system/*.cruds nonsense patient/Observation.read openid", "client_name": " A "}));
        assert_eq!(
            asked.map(|asked| (asked.name, asked.scope)),
            Ok(("A".into(), "patient/Observation.rs openid".into()))
        );
    }

    #[test]
    fn what_does_not_hold_is_refused_by_name() {
        let metadata = "invalid_client_metadata";
        let jwks = json!({"keys": [{"kty": "EC", "kid": "k", "crv": "P-384", "x": "AA", "y": "AA"}]});
        let private = json!({"keys": [{"kty": "EC", "kid": "k", "crv": "P-384", "x": "AA", "y": "AA", "d": "AA"}]});
        for (changes, expected) in [
            (json!({"redirect_uris": []}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["http://app.example/cb"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["https://app.example/cb", "javascript:alert(1)"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": vec!["https://app.example/cb"; 17]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": "https://app.example/cb"}), metadata),
            (json!({"software_statement": "eyJ"}), "unapproved_software_statement"),
            (json!({"software_statement": {"any": 1}}), "unapproved_software_statement"),
            (json!({"grant_types": ["client_credentials"]}), metadata),
            (json!({"grant_types": ["authorization_code", "implicit"]}), metadata),
            (json!({"response_types": ["token"]}), metadata),
            (json!({"token_endpoint_auth_method": "client_secret_basic"}), metadata),
            (json!({"token_endpoint_auth_method": "private_key_jwt"}), metadata),
            (json!({"token_endpoint_auth_method": "none", "jwks_uri": "https://app.example/k"}), metadata),
            (json!({"jwks": jwks}), metadata),
            (json!({"jwks": private}), metadata),
            (json!({"jwks": jwks, "jwks_uri": "https://app.example/k"}), metadata),
            (json!({"client_name": "a\nb"}), metadata),
            (json!({"client_name": "bank\u{202E}moc"}), metadata),
            (json!({"client_name": "a\u{2066}b"}), metadata),
            (json!({"client_name": "a\u{200B}b"}), metadata),
            (json!({"client_name": "a\u{2029}b"}), metadata),
            (json!({"redirect_uris": ["https://*/cb"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["https://*.example/cb"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["https://a;sandbox/cb"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["https://a,sandbox/cb"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["https://a:1;sandbox/cb"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["https://a:*/cb"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["https://u@a.example/cb"]}), "invalid_redirect_uri"),
            (json!({"redirect_uris": ["https://[v1.x]/cb"]}), "invalid_redirect_uri"),
            (json!({"client_name": "x".repeat(101)}), metadata),
            (json!({"scope": "system/*.rs"}), metadata),
            (json!({"scope": "launch/patient offline_access"}), metadata),
            (json!({"scope": ""}), metadata),
        ] {
            let faulty = said(changes.clone()).expect_err(&changes.to_string());
            assert_eq!(faulty.told().0, expected, "{changes}");
        }
        for body in ["", "[]", "null", "{", "\"x\""] {
            assert!(read(body.as_bytes()).is_err(), "{body}");
        }
    }
}
