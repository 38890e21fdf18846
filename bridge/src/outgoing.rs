//! Requests that this server makes itself. Where they go others decide (a Subscription names its endpoint), so each address is
//! checked before it is connected to, and the connection goes to the very address that was checked: a name that resolves
//! otherwise the second time gains nothing. No redirect is followed, nothing is read without end, nothing waits for ever.

pub mod mllp;

use crate::config::Outgoing as Settings;
use crate::limits::{CONNECT_TIMEOUT, MAX_ANSWER_BYTES, OUTGOING_TIMEOUT};
use crate::telemetry::trace;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use warp::http::uri::Authority;
use warp::http::{HeaderMap, Method, Request, StatusCode, Uri, header};

/// Why nothing is sent to an address. Names no address: who asks must not learn what resolves where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "must be an absolute URL, http or https, with a port up to 65535 if any, without user information and without a fragment"
    )]
    Url,
    #[error("must be https: this server's configuration does not allow http (outgoing.allow_http)")]
    Http,
    #[error(
        "must be over TLS (mllps): this server's configuration does not allow to send without (outgoing.allow_http)"
    )]
    Mllp,
    #[error("the host name does not resolve")]
    Unresolved,
    #[error(
        "this server sends nothing to private, local or reserved addresses, unless its configuration allows them \
         (outgoing.allow_private, outgoing.allow)"
    )]
    Address,
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    #[error("the address is refused: {0}")]
    Refused(#[from] Refusal),
    #[error("the receiver cannot be reached")]
    Unreachable,
    #[error("the receiver's certificate is not trusted, or it speaks no TLS")]
    Tls,
    #[error("the receiver did not answer in time")]
    TimedOut,
    #[error("the receiver broke off, or its answer is too long")]
    Broken,
}

/// A request that is to be made.
pub struct Outbound {
    pub method: Method,
    pub url: String,
    /// May hold secrets.
    pub headers: HeaderMap,
    pub body: Bytes,
}

crate::redacted_debug!(Outbound);

/// What came back. A redirect is an answer like others.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// How long an answer may take, and become.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// In bytes.
    pub answer: usize,
    pub time: Duration,
}

/// Sends requests, within the rules of the configuration.
#[derive(Debug)]
pub struct Outgoing {
    rules: Settings,
    /// Where the configuration itself sends to.
    named: Vec<Named>,
    tls: OnceLock<Option<Arc<ClientConfig>>>,
}

/// A host and port that the configuration names, and whether it is spoken to without TLS.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    host: String,
    port: u16,
    plain: bool,
}

/// A URL whose addresses were checked.
#[derive(Debug)]
struct Checked {
    https: bool,
    host: String,
    authority: String,
    path: String,
    addresses: Vec<SocketAddr>,
}

impl Outgoing {
    /// A sender that keeps to these rules, for what others name.
    pub fn new(rules: Settings) -> Self {
        Self::to(rules, [])
    }

    /// The same for what the configuration itself sends to, by these URLs: their hosts may be anywhere, and are spoken to, at that
    /// port, without TLS where a URL says so. All others are as others name them.
    pub fn to<'u>(rules: Settings, urls: impl IntoIterator<Item = &'u str>) -> Self {
        Self { rules, named: urls.into_iter().filter_map(named).collect(), tls: OnceLock::new() }
    }

    /// Whether a host may be spoken to without TLS.
    fn is_plain(&self, host: &str, port: u16) -> bool {
        self.rules.allow_http || self.named(host, port).any(|named| named.plain)
    }

    fn named<'n>(&'n self, host: &'n str, port: u16) -> impl Iterator<Item = &'n Named> {
        self.named.iter().filter(move |named| named.host == host && named.port == port)
    }

    /// Whether something may be sent to this URL, as far as it can be told now: it is asked again for each request.
    pub async fn allows(&self, url: &str) -> Result<(), Refusal> {
        self.check(url).await.map(|_| ())
    }

    async fn check(&self, url: &str) -> Result<Checked, Refusal> {
        let (uri, https) = parse(url)?;
        let authority = uri.authority().ok_or(Refusal::Url)?;
        let host = bare(authority.host());
        let port = authority.port_u16().unwrap_or(if https { 443 } else { 80 });
        if !https && !self.is_plain(&host, port) {
            return Err(Refusal::Http);
        }
        let addresses = self.resolve(&host, port).await?;
        Ok(Checked { https, host, authority: authority.to_string(), path: path(&uri), addresses })
    }

    /// The addresses of a host, where all of them may be sent to.
    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Refusal> {
        let resolving = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host((host, port))).await;
        let addresses: Vec<SocketAddr> = match resolving {
            Ok(Ok(found)) => found.collect(),
            _ => return Err(Refusal::Unresolved),
        };
        // One bad address among good ones is a trap: which of them is tried first is not ours to say.
        let named = self.rules.names(host) || self.named(host, port).next().is_some();
        let fine = |a: &SocketAddr| named || allowed(a.ip(), &self.rules);
        match addresses.iter().all(fine) {
            true if addresses.is_empty() => Err(Refusal::Unresolved),
            true => Ok(addresses),
            false => Err(Refusal::Address),
        }
    }

    /// Makes a request and reads the answer.
    pub async fn send(&self, outbound: Outbound) -> Result<Answer, SendError> {
        self.send_within(outbound, Bounds { answer: MAX_ANSWER_BYTES, time: OUTGOING_TIMEOUT }).await
    }

    /// The same within other bounds.
    pub async fn send_within(&self, outbound: Outbound, bounds: Bounds) -> Result<Answer, SendError> {
        match tokio::time::timeout(bounds.time, self.exchange(outbound, bounds.answer)).await {
            Ok(answer) => answer,
            Err(_) => Err(SendError::TimedOut),
        }
    }

    async fn exchange(&self, outbound: Outbound, most: usize) -> Result<Answer, SendError> {
        let to = self.check(&outbound.url).await?;
        self.exchange_with(to, outbound, most).await
    }

    /// With the very addresses that were checked: a name that leads elsewhere a moment later leads nobody there.
    async fn exchange_with(&self, to: Checked, outbound: Outbound, most: usize) -> Result<Answer, SendError> {
        let stream = connect(&to.addresses).await?;
        let request = request(&to, outbound)?;
        if !to.https {
            return speak(stream, request, most).await;
        }
        let config = self.tls.get_or_init(tls_config).clone().ok_or(SendError::Tls)?;
        let name = ServerName::try_from(to.host).map_err(|_| SendError::Tls)?;
        let secured = TlsConnector::from(config).connect(name, stream).await.map_err(|_| SendError::Tls)?;
        speak(secured, request, most).await
    }
}

/// Where a URL of the configuration leads to, whatever is spoken there.
fn named(url: &str) -> Option<Named> {
    let (scheme, rest) = url.split_once("://")?;
    let authority: Authority = rest.split(['/', '?']).next()?.parse().ok()?;
    let plain = matches!(scheme, "http" | "mllp");
    let port = authority.port_u16().unwrap_or(if plain { 80 } else { 443 });
    Some(Named { host: bare(authority.host()), port, plain })
}

fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase()
}

/// Reads a URL, and tells whether it is https.
fn parse(url: &str) -> Result<(Uri, bool), Refusal> {
    let plain = url.len() <= 2_000 && !url.contains(['#', ' ', '\\']);
    let uri: Uri = url.parse().ok().filter(|_| plain).ok_or(Refusal::Url)?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(Refusal::Url),
    };
    // A port that is none would be left out in silence, and the request would go to another one.
    if uri.authority().is_some_and(|a| a.as_str() != a.host() && a.port_u16().is_none_or(|port| port == 0)) {
        return Err(Refusal::Url);
    }
    let authority = uri.authority().map_or("", |a| a.as_str());
    if authority.is_empty() || authority.contains('@') || uri.host().is_none_or(str::is_empty) {
        return Err(Refusal::Url);
    }
    Ok((uri, https))
}

fn path(uri: &Uri) -> String {
    uri.path_and_query().map_or("/", |p| p.as_str()).to_owned()
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, SendError> {
    for address in addresses {
        if let Ok(Ok(stream)) = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            let _ = stream.set_nodelay(true);
            return Ok(stream);
        }
    }
    Err(SendError::Unreachable)
}

fn request(to: &Checked, outbound: Outbound) -> Result<Request<Full<Bytes>>, SendError> {
    let mut request = Request::builder().method(outbound.method).uri(&to.path).body(Full::new(outbound.body));
    if let Ok(request) = &mut request {
        *request.headers_mut() = outbound.headers;
        trace::goes_on(request.headers_mut());
        let host = to.authority.parse().map_err(|_| Refusal::Url)?;
        request.headers_mut().insert(header::HOST, host);
    }
    request.map_err(|_| Refusal::Url.into())
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Answer, SendError> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| SendError::Broken)?;
    let driver = Driver(tokio::spawn(async move {
        // What went wrong the request tells.
        let _ = connection.await;
    }));
    let response = sender.send_request(request).await.map_err(|_| SendError::Broken)?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|_| SendError::Broken)?;
    drop(driver);
    Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
}

/// Ends the connection, also where the request was given up.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Trusts what the machine trusts; `SSL_CERT_FILE` names others.
fn tls_config() -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (taken, _) = roots.add_parsable_certificates(found.certs);
    if taken == 0 {
        tracing::error!("this machine has no certificates to trust: nothing can be sent over https");
    }
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    Some(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}

/// Whether the configuration lets requests go to an address. Link-local ones hold the metadata of clouds, keys among it: they
/// must be named.
fn allowed(ip: IpAddr, rules: &Settings) -> bool {
    let ip = plain(ip);
    rules.covers(ip)
        || match reach(ip) {
            Reach::Public => true,
            Reach::Private => rules.allow_private,
            Reach::Never => false,
        }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    Private,
    Never,
}

/// An IPv4 address that is written in IPv6 is that IPv4 address.
fn plain(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, ..] = v6.segments();
    let last = |at: usize| {
        let octets = v6.octets();
        IpAddr::V4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]))
    };
    match (a, b, c, d, e, f) {
        // Mapped, translated, compatible (but for `::` and `::1`), 6to4.
        (0, 0, 0, 0, 0, 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => last(12),
        (0, 0, 0, 0, 0, 0) if v6.segments()[6] != 0 => last(12),
        (0x2002, ..) => last(2),
        _ => ip,
    }
}

fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(v4) => reach_v4(v4),
        IpAddr::V6(v6) => reach_v6(v6),
    }
}

/// IANA's special-purpose addresses, and Azure's platform address, which is a public one in name only.
fn reach_v4(ip: Ipv4Addr) -> Reach {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        (10, ..) | (127, ..) | (192, 168, _) | (100, 64..=127, _) | (172, 16..=31, _) => Reach::Private,
        (0 | 224..=255, ..) | (169, 254, _) | (192, 0, 0 | 2) | (192, 88, 99) => Reach::Never,
        (198, 18 | 19, _) | (198, 51, 100) | (203, 0, 113) => Reach::Never,
        _ if ip == Ipv4Addr::new(168, 63, 129, 16) => Reach::Never,
        _ => Reach::Public,
    }
}

/// Only global unicast is public; in it are Teredo, documentation and other special blocks.
fn reach_v6(ip: Ipv6Addr) -> Reach {
    let [a, b, ..] = ip.segments();
    match a {
        _ if ip.is_loopback() => Reach::Private,
        0xfc00..=0xfdff => Reach::Private,
        0x2001 if b < 0x0200 || b == 0x0db8 => Reach::Never,
        0x2000..=0x3ffe => Reach::Public,
        _ => Reach::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn only_public_addresses_are_sent_to() {
        let none = rules("");
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "198.18.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001:0:1::1",
            "fec0::1",
            "64:ff9b:1::1",
            "4000::1",
        ] {
            assert!(!allowed(ip.parse().unwrap(), &none), "{ip}");
        }
        for ip in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"] {
            assert!(allowed(ip.parse().unwrap(), &none), "{ip}");
        }
    }

    #[test]
    fn the_configuration_opens_what_it_names() {
        let private = rules("allow_private = true");
        for (ip, expected) in [("127.0.0.1", true), ("fd00::1", true), ("169.254.169.254", false), ("fe80::1", false)] {
            assert_eq!(allowed(ip.parse().unwrap(), &private), expected, "{ip}");
        }
        let some = rules("allow = ['10.1.0.0/16', 'fe80::/10', 'Hook.example', '192.168.0.7']");
        for (ip, expected) in [
            ("10.1.255.1", true),
            ("::ffff:10.1.0.1", true),
            ("10.2.0.1", false),
            ("fe80::1", true),
            ("192.168.0.7", true),
        ] {
            assert_eq!(allowed(ip.parse().unwrap(), &some), expected, "{ip}");
        }
        assert!(some.names("hook.example") && !some.names("other.example"));
    }

    #[tokio::test]
    async fn what_the_configuration_sends_to_opens_nothing_else() {
        let outgoing = Outgoing::to(rules(""), ["https://127.0.0.1:9/fhir", "mllp://[::1]:2575", "http://10.0.0.1/x"]);
        for (url, expected) in [
            ("https://127.0.0.1:9/other", Ok(())),
            ("https://127.0.0.1:10/fhir", Err(Refusal::Address)),
            ("http://127.0.0.1:9/fhir", Err(Refusal::Http)),
            ("https://127.0.0.2:9/fhir", Err(Refusal::Address)),
            ("http://10.0.0.1/y", Ok(())),
            ("http://8.8.8.8/", Err(Refusal::Http)),
            ("http://[::1]:2575/", Ok(())),
            ("https://[::1]/", Err(Refusal::Address)),
        ] {
            assert_eq!(outgoing.allows(url).await, expected, "{url}");
        }
        assert_eq!(Outgoing::new(rules("")).allows("https://127.0.0.1:9/fhir").await, Err(Refusal::Address));
    }

    #[tokio::test]
    async fn a_name_is_not_resolved_again_once_it_was_checked() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = vec![listener.local_addr().unwrap()];
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = [0; 1_024];
            let read = stream.read(&mut asked).await.unwrap();
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let (host, authority) = ("rebound.invalid".to_owned(), "rebound.invalid:80".to_owned());
        let to = Checked { https: false, host, authority, path: "/x".into(), addresses };
        let url = "http://rebound.invalid:80/x".to_owned();
        let outbound = Outbound { method: Method::GET, url, headers: HeaderMap::new(), body: Bytes::new() };
        let answer = Outgoing::new(rules("allow_http = true")).exchange_with(to, outbound, 1_000).await.unwrap();
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "nobody resolves that name");
        assert!(answering.await.unwrap().contains("host: rebound.invalid:80"));
    }

    #[tokio::test]
    async fn what_is_no_url_to_send_to_is_refused() {
        let outgoing = Outgoing::new(rules("allow_http = true"));
        for (url, expected) in [
            ("ftp://example.org/", Refusal::Url),
            ("/relative", Refusal::Url),
            ("http://user:pass@8.8.8.8/", Refusal::Url),
            ("http://8.8.8.8/#x", Refusal::Url),
            ("http://169.254.169.254/latest", Refusal::Address),
            ("http://[::1]:80/", Refusal::Address),
            ("http://2130706433/", Refusal::Address),
            ("http://localhost/", Refusal::Address),
        ] {
            assert_eq!(outgoing.allows(url).await, Err(expected), "{url}");
        }
        assert_eq!(Outgoing::new(rules("")).allows("http://8.8.8.8/").await, Err(Refusal::Http));
        assert_eq!(outgoing.allows("https://8.8.8.8/x").await, Ok(()));
    }
}
