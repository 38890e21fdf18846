//! HL7 v2 over MLLP to receivers of the configuration, within the same rules as requests: the address is checked and it is that one
//! which is connected to, nothing is read without end.

use super::{Outgoing, Refusal, SendError, connect, tls_config};
use crate::intake::frame::{Decoder, Event, encode};
use crate::limits::MAX_ANSWER_BYTES;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::either::Either;

/// Where a receiver listens: `mllps://host:port`, or `mllp://host:port` without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Door {
    tls: bool,
    host: String,
    port: u16,
}

/// A connection to a receiver.
pub struct Line {
    stream: Either<TcpStream, Box<TlsStream<TcpStream>>>,
    decoder: Decoder,
}

impl Door {
    /// Reads one.
    pub fn parse(text: &str) -> Option<Self> {
        let (tls, rest) = match text.strip_prefix("mllps://") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix("mllp://")?),
        };
        let (host, port) = rest.rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_host = match bare {
            Some(bare) => bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()),
            None => !host.is_empty() && host.bytes().all(|c| c.is_ascii_alphanumeric() || b".-_".contains(&c)),
        };
        let port = port.parse().ok().filter(|port| *port != 0 && is_host)?;
        Some(Self { tls, host: bare.unwrap_or(host).to_ascii_lowercase(), port })
    }

    /// Whether it is spoken to over TLS.
    pub fn is_secured(&self) -> bool {
        self.tls
    }
}

impl Outgoing {
    /// Connects. `tls`: whom to trust and what to show, where that is not what this machine trusts and nothing.
    pub async fn line(&self, door: &Door, tls: Option<Arc<ClientConfig>>) -> Result<Line, SendError> {
        if !door.tls && !self.is_plain(&door.host, door.port) {
            return Err(Refusal::Mllp.into());
        }
        let stream = connect(&self.resolve(&door.host, door.port).await?).await?;
        let decoder = Decoder::new(MAX_ANSWER_BYTES);
        if !door.tls {
            return Ok(Line { stream: Either::Left(stream), decoder });
        }
        let config = tls.or_else(|| self.tls.get_or_init(tls_config).clone()).ok_or(SendError::Tls)?;
        let name = ServerName::try_from(door.host.clone()).map_err(|_| SendError::Tls)?;
        let secured = TlsConnector::from(config).connect(name, stream).await.map_err(|_| SendError::Tls)?;
        Ok(Line { stream: Either::Right(Box::new(secured)), decoder })
    }
}

impl Line {
    /// Sends a message and gives the first frame that comes back. Whoever waits for it bounds the time.
    pub async fn ask(&mut self, message: &[u8]) -> Result<Vec<u8>, SendError> {
        let broken = |_| SendError::Broken;
        self.stream.write_all(&encode(message)).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)?;
        let (mut buffer, mut events) = (vec![0; 4 << 10], Vec::new());
        loop {
            let read = self.stream.read(&mut buffer).await.map_err(broken)?;
            if read == 0 {
                return Err(SendError::Broken);
            }
            self.decoder.push(&buffer[..read], &mut events);
            match events.drain(..).next() {
                Some(Event::Frame(answer)) => return Ok(answer),
                Some(Event::TooLong | Event::Garbage) => return Err(SendError::Broken),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Outgoing as Settings;

    #[test]
    fn a_door_has_a_host_and_a_port() {
        let door = |tls, host: &str, port| Some(Door { tls, host: host.to_owned(), port });
        for (text, expected) in [
            ("mllp://lab.example:2575", door(false, "lab.example", 2575)),
            ("mllps://LAB:6661", door(true, "lab", 6661)),
            ("mllp://[::1]:2575", door(false, "::1", 2575)),
            ("mllp://lab", None),
            ("mllp://lab:0", None),
            ("mllp://lab:99999", None),
            ("mllp://:2575", None),
            ("mllp://::1:2575", None),
            ("mllp://[lab]:2575", None),
            ("mllp://user@lab:2575", None),
            ("mllp://lab/x:2575", None),
            ("lab:2575", None),
            ("http://lab:2575", None),
        ] {
            assert_eq!(Door::parse(text), expected, "{text}");
        }
    }

    #[tokio::test]
    async fn it_goes_where_requests_may_go() {
        let outgoing = |text: &str| Outgoing::new(toml::from_str::<Settings>(text).unwrap());
        let refused = |text: &'static str, door: &'static str| async move {
            match outgoing(text).line(&Door::parse(door).unwrap(), None).await.map(|_| ()) {
                Err(SendError::Refused(why)) => Some(why),
                _ => None,
            }
        };
        assert_eq!(refused("", "mllp://8.8.8.8:2575").await, Some(Refusal::Mllp));
        assert_eq!(refused("allow_http = true", "mllp://127.0.0.1:2575").await, Some(Refusal::Address));
        assert_eq!(refused("allow_private = true", "mllps://169.254.169.254:2575").await, Some(Refusal::Address));
        assert_eq!(refused("allow_http = true\nallow_private = true", "mllp://127.0.0.1:1").await, None);
        // What the configuration itself names needs no more said.
        let (named, door) =
            (Outgoing::to(Settings::default(), ["mllp://127.0.0.1:1"]), Door::parse("mllp://127.0.0.1:1"));
        assert!(matches!(named.line(&door.unwrap(), None).await.err(), Some(SendError::Unreachable)));
    }
}
