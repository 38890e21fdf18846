//! TLS of our own listeners: what they show, whose certificates they ask for, and what a sender's certificate is called.

use crate::config;
use notary::commitment::Digest;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{ClientConfig, Error, RootCertStore, ServerConfig};

/// Why there is no TLS: the file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("tls: {path}: {what}")]
    File { path: PathBuf, what: String },
    #[error("tls: {0}")]
    Refused(String),
}

/// How the listeners speak, where they speak TLS.
#[derive(Clone, Default)]
pub struct Doors {
    pub http: Option<Arc<ServerConfig>>,
    pub mllp: Option<Arc<ServerConfig>>,
    /// Whether who speaks MLLP over TLS must show a certificate.
    pub mutual: bool,
}

impl Doors {
    /// Reads certificates and keys.
    pub fn load(tls: Option<&config::Tls>) -> Result<Self, TlsError> {
        let Some(tls) = tls else { return Ok(Self::default()) };
        let http = tls.http.then(|| server(tls, None)).transpose()?;
        let mllp = tls.mllp.then(|| server(tls, tls.clients.as_deref())).transpose()?;
        Ok(Self { http, mllp, mutual: tls.is_mutual() })
    }
}

fn server(tls: &config::Tls, clients: Option<&Path>) -> Result<Arc<ServerConfig>, TlsError> {
    let refused = |error: &dyn std::fmt::Display| TlsError::Refused(error.to_string());
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(&e))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|e| refused(&e))?)
        }
    };
    let own = builder.with_single_cert(certificates(&tls.certificate)?, private_key(&tls.key)?);
    let mut config = own.map_err(|e| refused(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if clients.is_some() {
        config.alpn_protocols.clear();
        // A session that is taken up again shows no certificate: one that has expired or lost its authority would go on.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

/// How a sender of ours speaks: whom it trusts, and what it shows, certificate and key.
pub fn client(authorities: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, TlsError> {
    let refused = |error: Error| TlsError::Refused(error.to_string());
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(refused)?;
    let builder = builder.with_root_certificates(roots(authorities)?);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((shown, key)) => {
            builder.with_client_auth_cert(certificates(shown)?, private_key(key)?).map_err(refused)?
        }
    };
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|e| TlsError::File { path: path.to_owned(), what: e.to_string() })?;
    }
    Ok(roots)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|e| TlsError::File { path: path.to_owned(), what: format!("no private key: {e}") })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |what: String| TlsError::File { path: path.to_owned(), what };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(fault("holds no certificate".into())),
        read => read.map_err(|e| fault(format!("no certificates: {e}"))),
    }
}

/// Names a sender's certificate: by its SHA-256, or by a DNS name that it was made out to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Named {
    Fingerprint(Digest),
    Host(ServerName<'static>),
}

impl Named {
    /// Reads `sha256:AB:CD:...` (as `openssl x509 -fingerprint -sha256` prints it) or a DNS name.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(hex) = text.to_ascii_lowercase().strip_prefix("sha256:") {
            let bytes = hex::decode(hex.replace(':', "")).ok()?;
            return Some(Self::Fingerprint(Digest(bytes.try_into().ok()?)));
        }
        match ServerName::try_from(text.to_owned()) {
            Ok(name @ ServerName::DnsName(_)) => Some(Self::Host(name)),
            _ => None,
        }
    }

    /// Whether it names this certificate, whose chain was checked.
    pub fn is(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Self::Fingerprint(digest) => Digest::of(certificate) == *digest,
            Self::Host(name) => {
                ParsedCertificate::try_from(certificate).is_ok_and(|parsed| verify_server_name(&parsed, name).is_ok())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_named_by_fingerprint_or_host() {
        let print = format!("SHA256:{}", ["AB"; 32].join(":"));
        assert_eq!(Named::parse(&print), Some(Named::Fingerprint(Digest([0xab; 32]))));
        assert!(matches!(Named::parse("lab.example"), Some(Named::Host(_))));
        for odd in ["", "sha256:ab", "sha256:zz", "10.0.0.1", "no name"] {
            assert_eq!(Named::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        let tls = |path: &Path| config::Tls {
            certificate: path.to_owned(),
            key: path.to_owned(),
            clients: None,
            http: true,
            mllp: true,
        };
        let told = |tls: &config::Tls| Doors::load(Some(tls)).err().unwrap().to_string();
        assert!(told(&tls(&path)).contains("x.pem"));
        std::fs::write(&path, "nothing").unwrap();
        assert!(told(&tls(&path)).contains("x.pem"));
    }
}
