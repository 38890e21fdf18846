//! The address that people see. What they sign is bound to it. Pure.

use std::net::IpAddr;
use warp::http::Uri;

/// The longest address to go on to after signing in: a request of an app, with all its scopes.
const MAX_NEXT: usize = 4_096;

/// Where the pages are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Scheme, host, and a port that is not the scheme's own, as browsers write it.
    pub origin: String,
    /// Host and port: the domain of EIP-4361.
    pub authority: String,
    /// The host: the relying party's id of WebAuthn.
    pub host: String,
    /// What a proxy puts before every path; empty, or `/x`.
    prefix: String,
}

impl Site {
    /// Of the FHIR API at this address: the pages are its neighbours. A browser binds keys to names and not to
    /// addresses, so that a loopback address becomes `localhost`.
    pub fn of(base: &str) -> Self {
        let uri: Uri = base.parse().unwrap_or_default();
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().unwrap_or("localhost").to_ascii_lowercase();
        let host = if ip(&host).is_some_and(|ip| ip.is_loopback()) { "localhost".to_owned() } else { host };
        let port = uri.port_u16().filter(|port| *port != if secure { 443 } else { 80 });
        let authority = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let path = uri.path().trim_end_matches('/');
        let prefix = path.strip_suffix("/fhir").unwrap_or("").to_owned();
        Self { origin: format!("{}://{authority}", if secure { "https" } else { "http" }), authority, host, prefix }
    }

    /// The path of a page as browsers see it.
    pub fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The whole address of a page.
    pub fn address(&self, path: &str) -> String {
        format!("{}{}{path}", self.origin, self.prefix)
    }

    /// Whether browsers let this site use passkeys at all: by a name, and over TLS or on this machine.
    pub fn takes_passkeys(&self) -> bool {
        ip(&self.host).is_none() && (self.origin.starts_with("https://") || self.host == "localhost")
    }
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A path of this server to go on to. Whatever a browser could read as another host's is none: `//x`, `/\x`, and what
/// has characters that browsers drop.
pub fn own_path(text: &str) -> Option<&str> {
    let plain = text.len() <= MAX_NEXT && text.bytes().all(|c| c.is_ascii_graphic() && c != b'\\');
    let own = text.starts_with('/') && !text.starts_with("//");
    (plain && own).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_is_where_the_api_is() {
        for (base, origin, host, page) in [
            ("http://127.0.0.1:8080/fhir", "http://localhost:8080", "localhost", "/me"),
            ("http://[::1]:80/fhir", "http://localhost", "localhost", "/me"),
            ("https://Seal.Example:443/fhir", "https://seal.example", "seal.example", "/me"),
            ("https://seal.example:8443/a/fhir", "https://seal.example:8443", "seal.example", "/a/me"),
            ("https://fhir.example", "https://fhir.example", "fhir.example", "/me"),
        ] {
            let site = Site::of(base);
            assert_eq!((site.origin.as_str(), site.host.as_str()), (origin, host), "{base}");
            assert_eq!(site.path("/me"), page);
            assert!(site.takes_passkeys(), "{base}");
        }
        for base in ["http://10.1.2.3:8080/fhir", "https://10.1.2.3/fhir", "http://seal.example/fhir"] {
            assert!(!Site::of(base).takes_passkeys(), "{base}");
        }
    }

    #[test]
    fn only_own_paths_are_gone_on_to() {
        for good in ["/", "/me", "/auth/authorize?client_id=a&state=%2F%2F"] {
            assert_eq!(own_path(good), Some(good));
        }
        let long = format!("/{}", "a".repeat(MAX_NEXT));
        for bad in [
            "",
            "me",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/\t/evil",
            "/a\r\nb",
            "/ü",
            " /me",
            &long,
        ] {
            assert_eq!(own_path(bad), None, "{bad:?}");
        }
    }
}
