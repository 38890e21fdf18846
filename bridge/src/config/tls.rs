//! `[tls]` and `[limits]`: how the listeners are reached, and how many may come.

use crate::limits::{MAX_HTTP_CONNECTIONS, MAX_MLLP_CONNECTIONS};
use serde::Deserialize;
use std::path::PathBuf;

/// TLS of our own listeners. The files are read anew with the configuration.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The server's certificate, and behind it those that lead to an authority (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// The authorities of senders' certificates (PEM). With them whoever speaks MLLP must show one (mutual TLS).
    pub clients: Option<PathBuf>,
    /// Lists of revoked certificates (PEM), one of each of these authorities and of those between: with them no certificate counts
    /// that is on one, or that no list in force speaks of.
    pub revoked: Option<PathBuf>,
    /// Whether HTTP speaks TLS; the same for MLLP.
    #[serde(default = "yes")]
    pub http: bool,
    #[serde(default = "yes")]
    pub mllp: bool,
}

fn yes() -> bool {
    true
}

impl Tls {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.clients.is_some() && !self.mllp {
            return Err("tls.clients: senders show certificates where MLLP speaks TLS, and tls.mllp is false".into());
        }
        if self.revoked.is_some() && !self.is_mutual() {
            return Err("tls.revoked: senders are asked for certificates only with `tls.clients`".into());
        }
        Ok(())
    }

    /// Whether senders must show certificates.
    pub fn is_mutual(&self) -> bool {
        self.mllp && self.clients.is_some()
    }
}

/// Bounds that depend on what stands in front of this service.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open connections, of all clients.
    pub http_connections: usize,
    pub mllp_connections: usize,
    /// The most of them from one address, so that it cannot take all places. A proxy is one address.
    pub http_connections_per_address: usize,
    pub mllp_connections_per_address: usize,
    /// Requests that one client (its token's subject) may make in a second, with as many again at once; any number where absent.
    pub requests_per_second: Option<u32>,
    /// Requests without a valid token that may come from one address in a second, with as many again at once: of strangers, and of people
    /// at the portal. A proxy is one address. Any number where absent.
    pub strangers_per_second: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            http_connections: MAX_HTTP_CONNECTIONS,
            mllp_connections: MAX_MLLP_CONNECTIONS,
            http_connections_per_address: MAX_HTTP_CONNECTIONS * 3 / 4,
            mllp_connections_per_address: MAX_MLLP_CONNECTIONS * 3 / 4,
            requests_per_second: None,
            strangers_per_second: None,
        }
    }
}

impl Limits {
    pub(super) fn check(&self) -> Result<(), String> {
        let Self { http_connections, mllp_connections, .. } = self;
        let each = [self.http_connections_per_address, self.mllp_connections_per_address];
        if [*http_connections, *mllp_connections].iter().chain(&each).any(|n| *n == 0) {
            return Err("limits: at least 1 connection".into());
        }
        if self.strangers_per_second == Some(0) {
            return Err("limits.strangers_per_second: at least 1".into());
        }
        match self.requests_per_second {
            Some(0) => Err("limits.requests_per_second: at least 1".into()),
            _ => Ok(()),
        }
    }
}
