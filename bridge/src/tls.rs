//! TLS of our own listeners: what they show, whose certificates they ask for, and what a sender's certificate is called.

use crate::config;
use crate::vault::objects::warn_if_open;
use notary::commitment::Digest;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use x509_parser::{parse_x509_certificate, parse_x509_crl};
use zeroize::Zeroizing;

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
    /// Who judges senders' certificates.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Whether who speaks MLLP over TLS must show a certificate.
    pub mutual: bool,
    /// When the certificate ends that is shown, or the first one behind it, and the first list of revoked ones: seconds since 1970.
    pub ends: Option<i64>,
    pub lists_end: Option<i64>,
    /// From where all this was read, and what the files held then.
    files: Option<(config::Tls, Digest)>,
}

impl Doors {
    /// Reads certificates and keys.
    pub fn load(tls: Option<&config::Tls>) -> Result<Self, TlsError> {
        let Some(tls) = tls else { return Ok(Self::default()) };
        // Before they are read: what is put in their place meanwhile is to be noticed.
        let files = Some((tls.clone(), held(tls)));
        let clients = tls.clients.as_ref().filter(|_| tls.mllp);
        let clients = clients.map(|path| verifier(path, tls.revoked.as_deref())).transpose()?;
        let http = tls.http.then(|| server(tls, None)).transpose()?;
        let mllp = tls.mllp.then(|| server(tls, clients.clone())).transpose()?;
        let ends = certificates(&tls.certificate)?.iter().filter_map(ends).min();
        let lists = tls.revoked.as_deref().map(lists).transpose()?.unwrap_or_default();
        let lists_end = lists.iter().filter_map(list_ends).min();
        Ok(Self { http, mllp, clients, mutual: tls.is_mutual(), ends, lists_end, files })
    }

    /// The same files, read again.
    pub fn again(&self) -> Result<Self, TlsError> {
        Self::load(self.files.as_ref().map(|(tls, _)| tls))
    }

    /// What the files hold now, where that is not what was read.
    pub fn replaced(&self) -> Option<Digest> {
        let (tls, read) = self.files.as_ref()?;
        Some(held(tls)).filter(|now| now != read)
    }

    /// Whether the lists of now keep somebody out whose certificate was good when his connection began: it is revoked, or no list that is in
    /// force speaks of it. Lists are looked at once by each connection. Who was revoked once stays so on his connection: lists that follow may
    /// be past their time, or of another authority, and say nothing of him.
    pub fn revokes(&self, shown: &Shown) -> bool {
        let mut judged = shown.judged.lock().unwrap_or_else(PoisonError::into_inner);
        match (&self.clients, &*judged) {
            (_, Some((_, Judgement::Revoked))) => true,
            (None, _) => false,
            (Some(now), Some((by, judgement))) if Arc::ptr_eq(by, now) => *judgement != Judgement::Good,
            (Some(now), _) => {
                let judgement = judge(now.as_ref(), &shown.chain);
                *judged = Some((now.clone(), judgement));
                judgement != Judgement::Good
            }
        }
    }
}

/// The certificates that somebody has shown, his own first, and who judged last whether it is revoked.
#[derive(Debug, Default)]
pub struct Shown {
    chain: Vec<CertificateDer<'static>>,
    judged: Mutex<Option<(Arc<dyn ClientCertVerifier>, Judgement)>>,
}

/// What lists say of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Good,
    /// None that is in force speaks of it.
    Unknown,
    Revoked,
}

impl Shown {
    /// What a handshake has let through.
    pub fn new(chain: &[CertificateDer<'_>]) -> Self {
        Self { chain: chain.iter().map(|one| one.clone().into_owned()).collect(), judged: Mutex::default() }
    }

    /// His own.
    pub fn own(&self) -> Option<&CertificateDer<'static>> {
        self.chain.first()
    }
}

/// An authority that is not trusted any more leaves open connections alone: they have shown what was good when they began.
fn judge(verifier: &dyn ClientCertVerifier, chain: &[CertificateDer<'_>]) -> Judgement {
    let Some((own, between)) = chain.split_first() else { return Judgement::Good };
    let refused = verifier.verify_client_cert(own, between, UnixTime::now()).err();
    match refused.as_ref().map(Refusal::of_tls) {
        Some(Refusal::Revoked) => Judgement::Revoked,
        Some(Refusal::Unlisted | Refusal::ListExpired) => Judgement::Unknown,
        _ => Judgement::Good,
    }
}

/// What all files hold together. One that cannot be read holds something else: who put it there is to hear of it.
fn held(tls: &config::Tls) -> Digest {
    let files = [Some(&tls.certificate), Some(&tls.key), tls.clients.as_ref(), tls.revoked.as_ref()];
    let mut all = Vec::new();
    for file in files.into_iter().flatten() {
        match std::fs::read(file).map(Zeroizing::new) {
            Ok(bytes) => all.extend(Digest::of(&bytes).0),
            Err(_) => all.extend(b"cannot be read"),
        }
    }
    Digest::of(&all)
}

/// Why a handshake fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    Revoked,
    /// No list speaks of the certificate.
    Unlisted,
    ListExpired,
    /// None was shown, or it is not good.
    Certificate,
    Other,
}

impl Refusal {
    /// What [`Self::word`] says, one word each.
    pub const WORDS: [&'static str; 5] = ["revoked", "unlisted", "list_expired", "certificate", "other"];

    /// Of a handshake.
    pub fn of(error: &std::io::Error) -> Self {
        error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()).map_or(Self::Other, Self::of_tls)
    }

    fn of_tls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::Revoked) => Self::Revoked,
            Error::InvalidCertificate(CertificateError::UnknownRevocationStatus) => Self::Unlisted,
            Error::InvalidCertificate(
                CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. },
            ) => Self::ListExpired,
            Error::InvalidCertificate(_) | Error::NoCertificatesPresented => Self::Certificate,
            _ => Self::Other,
        }
    }

    /// For counts.
    pub fn word(self) -> &'static str {
        Self::WORDS[self as usize]
    }

    /// For the log, where it is about revocation.
    pub fn about_revocation(self) -> Option<&'static str> {
        match self {
            Self::Revoked => Some("the certificate that was shown is revoked"),
            Self::Unlisted => {
                Some("no list of tls.revoked speaks of the certificate that was shown: its authority's list is missing")
            }
            Self::ListExpired => {
                Some("the list of tls.revoked is past its time: nobody is let in by it until it is renewed")
            }
            Self::Certificate | Self::Other => None,
        }
    }
}

fn verifier(clients: &Path, revoked: Option<&Path>) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let provider = Arc::new(default_provider());
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(clients)?), provider);
    let builder = match revoked {
        // A list that is out of date would let in who was revoked since.
        Some(path) => builder.with_crls(lists(path)?).enforce_revocation_expiration(),
        None => builder,
    };
    let place = revoked.unwrap_or(clients).to_owned();
    builder
        .build()
        .map(|built| built as Arc<dyn ClientCertVerifier>)
        .map_err(|e| TlsError::File { path: place, what: e.to_string() })
}

fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let fault = |what: String| TlsError::File { path: path.to_owned(), what };
    let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(fault("holds no list of revoked certificates".into())),
        read => read.map_err(|e| fault(format!("no lists of revoked certificates: {}", told(&e)))),
    }
}

fn ends(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, read) = parse_x509_certificate(certificate).ok()?;
    Some(read.validity().not_after.timestamp())
}

fn list_ends(list: &CertificateRevocationListDer<'_>) -> Option<i64> {
    let (_, read) = parse_x509_crl(list).ok()?;
    read.next_update().map(|time| time.timestamp())
}

fn server(tls: &config::Tls, clients: Option<Arc<dyn ClientCertVerifier>>) -> Result<Arc<ServerConfig>, TlsError> {
    let refused = |error: &dyn std::fmt::Display| TlsError::Refused(error.to_string());
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| refused(&e))?;
    let is_mutual = clients.is_some();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let own = builder.with_single_cert(certificates(&tls.certificate)?, private_key(&tls.key)?);
    let mut config = own.map_err(|e| refused(&e))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if is_mutual {
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
    warn_if_open(path);
    PrivateKeyDer::from_pem_file(path)
        .map_err(|e| TlsError::File { path: path.to_owned(), what: format!("no private key: {}", told(&e)) })
}

/// The library's words have the bytes of the marker, one by one.
fn told(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section that begins does not end".to_owned(),
        error => error.to_string(),
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |what: String| TlsError::File { path: path.to_owned(), what };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(fault("holds no certificate".into())),
        read => read.map_err(|e| fault(format!("no certificates: {}", told(&e)))),
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
    fn a_refusal_is_told_in_a_word_and_revocation_in_more() {
        let of = |error| Refusal::of(&std::io::Error::new(std::io::ErrorKind::InvalidData, error));
        for (error, word, part) in [
            (Error::InvalidCertificate(CertificateError::Revoked), "revoked", "is revoked"),
            (Error::InvalidCertificate(CertificateError::UnknownRevocationStatus), "unlisted", "is missing"),
            (Error::InvalidCertificate(CertificateError::ExpiredRevocationList), "list_expired", "past its time"),
            (Error::InvalidCertificate(CertificateError::Expired), "certificate", ""),
            (Error::NoCertificatesPresented, "certificate", ""),
            (Error::DecryptError, "other", ""),
        ] {
            let refusal = of(error);
            assert_eq!(refusal.word(), word);
            assert_eq!(refusal.about_revocation().is_some(), !part.is_empty(), "{word}");
            assert!(refusal.about_revocation().unwrap_or_default().contains(part), "{word}");
        }
        assert_eq!(Refusal::of(&std::io::Error::other("x")), Refusal::Other);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.pem");
        let tls = |path: &Path| config::Tls {
            certificate: path.to_owned(),
            key: path.to_owned(),
            clients: None,
            revoked: None,
            http: true,
            mllp: true,
        };
        let told = |tls: &config::Tls| Doors::load(Some(tls)).err().unwrap().to_string();
        assert!(told(&tls(&path)).contains("x.pem"));
        std::fs::write(&path, "nothing").unwrap();
        assert!(told(&tls(&path)).contains("x.pem"));
    }
}
