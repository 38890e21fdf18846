//! How PostgreSQL is reached: the connection text, TLS.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, NoTls};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_rustls::{TlsConnector, client};

/// How long it may take to connect, unless the connection text says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server may leave what was sent without an answer of its network before the connection counts as lost.
const SILENCE: Duration = Duration::from_secs(10);

/// Where the database is and how it is spoken to. Prints no password.
#[derive(Clone)]
pub struct Settings {
    config: Config,
    tls: Option<TlsConnector>,
    /// The most connections of this process.
    pub(super) connections: usize,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())
    }
}

impl Settings {
    /// Reads a connection text: `postgres://user:password@host:5432/database?sslmode=require`, or `host=... user=...`. With a
    /// file of certificates those are trusted, without one those that the system trusts.
    pub fn parse(text: &str, connections: usize, authorities: Option<&Path>) -> Result<Self, String> {
        // Certificates are always checked, so that the words for it all mean `require`.
        let plain =
            text.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require");
        // The reader's own words could quote a part of the password.
        let mut config: Config = plain.parse().map_err(|_| {
            "is no connection text of PostgreSQL; an example is `postgres://medseal@db.internal/medseal?sslmode=require`"
                .to_owned()
        })?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("names no host".into());
        }
        if config.get_dbname().is_none() {
            return Err("names no database".into());
        }
        config.application_name("medseal").keepalives_idle(SILENCE);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        let wanted = match config.get_ssl_mode() {
            SslMode::Disable => false,
            SslMode::Prefer => !is_local(&config),
            _ => true,
        };
        // What is wanted is insisted on: a server that offers no TLS could be anybody.
        config.ssl_mode(if wanted { SslMode::Require } else { SslMode::Disable });
        let tls = if wanted { Some(trusting(authorities)?) } else { None };
        Ok(Self { config, tls, connections })
    }

    /// Host and database, for messages.
    pub fn place(&self) -> String {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let ports: Vec<String> = self.config.get_ports().iter().map(u16::to_string).collect();
        let hosts: Vec<String> = hosts.collect();
        format!("{}:{}/{}", hosts.join(","), ports.join(","), self.config.get_dbname().unwrap_or_default())
    }

    pub(super) fn timeout(&self) -> Duration {
        self.config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT)
    }

    pub(super) async fn connect(&self, driver: &Handle) -> Result<Client, String> {
        // The task ends with the client.
        match &self.tls {
            None => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(|e| told(&e))?;
                driver.spawn(connection);
                Ok(client)
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(Tls(tls.clone())).await.map_err(|e| told(&e))?;
                driver.spawn(connection);
                Ok(client)
            }
        }
    }
}

/// An error with its cause: `error connecting to server` alone helps nobody. Neither quotes the password.
fn told(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Whether no word of it leaves this machine. A `hostaddr` is what is connected to, whatever the `host` beside it is called.
fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => ["localhost", "127.0.0.1", "::1"].contains(&name.as_str()),
    });
    hosts && config.get_hostaddrs().iter().all(|address| address.is_loopback())
}

fn trusting(authorities: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |e: &dyn fmt::Display| format!("{}: {e}", PathBuf::from(path).display());
    let found = CertificateDer::pem_file_iter(path).map_err(|e| wrong(&e))?;
    found.collect::<Result<_, _>>().map_err(|e| wrong(&e))
}

/// rustls for tokio-postgres.
#[derive(Clone)]
struct Tls(TlsConnector);

struct Handshake(TlsConnector, ServerName<'static>);

struct Stream<S>(client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Stream<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Handshake> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Handshake(self.0.clone(), name))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Handshake {
    type Stream = Stream<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.0.connect(self.1, stream).await.map(Stream) })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Stream<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_on_this_machine_goes_without_tls() {
        for local in
            ["host=localhost", "host=/run/postgresql", "hostaddr=127.0.0.1", "host=db hostaddr=::1 sslmode=disable"]
        {
            let settings = Settings::parse(&format!("{local} dbname=medseal"), 1, None).unwrap();
            assert!(settings.tls.is_none(), "{local}");
        }
        let remote = [
            "host=db",
            "hostaddr=10.0.0.5",
            "host=localhost hostaddr=10.0.0.5",
            "host=localhost,db",
            "host=127.0.0.1.nip.io",
        ];
        for remote in remote.into_iter().chain(["host=localhost sslmode=require"]) {
            let settings = Settings::parse(&format!("{remote} dbname=medseal"), 1, None).unwrap();
            assert!(settings.tls.is_some(), "{remote}");
            assert_eq!(settings.config.get_ssl_mode(), SslMode::Require, "{remote}");
        }
    }
}
