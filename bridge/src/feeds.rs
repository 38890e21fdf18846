//! Feeds: who sends, and how what he sends is read. Maps, feeds and certificates are one set, which is loaded and checked as a whole
//! and takes the old one's place as a whole; a message keeps the set that it began with.

pub mod meter;
pub mod pace;

use crate::config::{Config, NamedFeed, OnError, UNNAMED};
use crate::error::IngestError;
use crate::tls::{Doors, Named, Shown, TlsError};
use jiff::tz::TimeZone;
use mappings::charset::Charset;
use mappings::library::Library;
use mappings::maps::MapSet;
use mappings::overlay::Applies;
use mappings::parse::Message;
use mappings::plan::PlanError;
use meter::Meter;
use notary::commitment::Digest;
use pace::Pace;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_rustls::rustls::ServerConfig;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Accepted,
    Quarantined,
    Refused,
    Failed,
}

/// One feed, as it was checked.
#[derive(Debug)]
pub struct Feed {
    pub name: String,
    /// Where it comes in.
    pub listener: Listener,
    tls: bool,
    applies: Applies,
    /// None: any that an authority has signed.
    certificates: Option<Vec<Named>>,
    overlay: Option<String>,
    pub zone: Option<TimeZone>,
    charset: Charset,
    on_error: OnError,
    pub pace: Option<Pace>,
    pub meter: Arc<Meter>,
}

/// A listener for MLLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The one of `mllp`.
    Shared,
    /// A feed's own, by its address in the configuration.
    Own(SocketAddr),
}

/// Through which listener somebody came, and what he has shown.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub listener: Listener,
    pub peer: SocketAddr,
    /// Its chain led to an authority of `tls.clients`.
    pub shown: Arc<Shown>,
}

/// Who brought a message.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'o> {
    Mllp(&'o Arrival),
    /// A client with a token.
    Http,
}

/// Maps, feeds and certificates.
pub struct Feeds {
    library: Arc<Library>,
    /// Who is named by none.
    unnamed: Arc<Feed>,
    named: Vec<Arc<Feed>>,
    pub doors: Doors,
}

/// Why a set is not taken.
#[derive(Debug, thiserror::Error)]
pub enum FeedsError {
    #[error(transparent)]
    Maps(#[from] PlanError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("configuration: {0}")]
    Config(String),
}

impl Arrival {
    /// The fingerprint of the certificate, for the operator's log.
    pub fn fingerprint(&self) -> Option<String> {
        self.shown.own().map(|shown| format!("sha256:{}", Digest::of(shown)))
    }
}

impl Feeds {
    /// Reads and checks maps, overlays (whose own cases must hold), feeds and certificates. Counts go on where `old` has a feed of
    /// the same name.
    pub fn load(config: &Config, old: Option<&Self>) -> Result<Self, FeedsError> {
        let library = Arc::new(Library::load(config.maps.as_deref(), config.overlays.as_deref())?);
        let doors = Doors::load(config.tls.as_ref())?;
        let meter = |name: &str| old.and_then(|old| old.find(name)).map(|feed| feed.meter.clone()).unwrap_or_default();
        let unnamed = NamedFeed { name: UNNAMED.into(), ..NamedFeed::default() };
        let feed = |of: &NamedFeed| Feed::new(of, config, &library, meter(&of.name)).map(Arc::new);
        let named = config.feeds.iter().map(feed).collect::<Result<_, _>>()?;
        Ok(Self { unnamed: feed(&unnamed)?, named, doors, library })
    }

    /// The same with its certificates and lists read again.
    pub fn renewed(&self) -> Result<Self, TlsError> {
        let (library, unnamed, named) = (self.library.clone(), self.unnamed.clone(), self.named.clone());
        Ok(Self { library, unnamed, named, doors: self.doors.again()? })
    }

    /// Whose a message is; nobody's where no feed of the listener is meant. Who comes with a token and is no feed's is the unnamed
    /// one's.
    pub fn choose(&self, origin: Origin<'_>, header: Option<&Message<'_>>) -> Option<&Arc<Feed>> {
        match origin {
            Origin::Mllp(arrival) => self.admitted(arrival).into_iter().find(|feed| feed.sends(header)),
            Origin::Http => {
                let by_name = |feed: &&Arc<Feed>| !feed.applies.sender.is_empty() && feed.sends(header);
                Some(self.named.iter().find(by_name).unwrap_or(&self.unnamed))
            }
        }
    }

    /// The feeds that somebody who came this way may speak for. As soon as any feed names certificates, each speaks for the feeds
    /// that name it, and one that none names for nobody: who is taken out of a list must not become somebody else. Where no
    /// feed shares the listener of all, whoever comes there is the unnamed one. Nobody is admitted whose certificate was revoked
    /// meanwhile.
    pub fn admitted(&self, arrival: &Arrival) -> Vec<&Arc<Feed>> {
        let asked = self.asks(arrival.listener);
        // A connection may have been open before certificates were asked for.
        if self.doors.revokes(&arrival.shown) || (asked && arrival.shown.own().is_none()) {
            return Vec::new();
        }
        let here: Vec<_> = self.named.iter().filter(|feed| feed.listener == arrival.listener).collect();
        if asked && self.named.iter().any(|feed| feed.certificates.is_some()) {
            return here.into_iter().filter(|feed| feed.is_named(arrival)).collect();
        }
        if here.is_empty() && arrival.listener == Listener::Shared {
            return vec![&self.unnamed];
        }
        here.into_iter().filter(|feed| feed.certificates.is_none()).collect()
    }

    /// Whether who comes by a listener must show a certificate.
    fn asks(&self, listener: Listener) -> bool {
        self.doors.mutual && self.door(listener).is_some()
    }

    /// What this set would ask less than another of who comes by the same listener: TLS, or a certificate.
    pub fn less_than(&self, old: &Self) -> Option<&'static str> {
        let same = |listener: &Listener| {
            *listener == Listener::Shared || self.named.iter().any(|feed| feed.listener == *listener)
        };
        let mut listeners = old.named.iter().map(|feed| feed.listener).chain([Listener::Shared]).filter(same);
        let weaker = |listener: Listener| match (old.door(listener), self.door(listener)) {
            (Some(_), None) => Some("TLS"),
            _ if old.asks(listener) && !self.asks(listener) => Some("senders' certificates"),
            _ => None,
        };
        listeners.find_map(weaker)
    }

    /// How a listener speaks, where it speaks TLS.
    pub fn door(&self, listener: Listener) -> Option<&Arc<ServerConfig>> {
        let plain = self.named.iter().any(|feed| feed.listener == listener && !feed.tls);
        self.doors.mllp.as_ref().filter(|_| !plain || listener == Listener::Shared)
    }

    /// All feeds, the unnamed one last.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Feed>> {
        self.named.iter().chain([&self.unnamed])
    }

    /// The feed of who is named by none.
    pub fn unnamed(&self) -> &Arc<Feed> {
        &self.unnamed
    }

    /// A feed by its name.
    pub fn find(&self, name: &str) -> Option<&Arc<Feed>> {
        self.all().find(|feed| feed.name == name)
    }

    /// The listeners of feeds' own, each once.
    pub fn listeners(&self) -> Vec<SocketAddr> {
        let mut own: Vec<_> = self.named.iter().filter_map(|feed| feed.own()).collect();
        own.sort_unstable();
        own.dedup();
        own
    }

    /// The maps of a feed's message.
    pub fn maps(&self, feed: &Feed, message: &Message<'_>) -> &MapSet {
        let named = feed.overlay.as_deref().and_then(|name| self.library.named(name));
        named.unwrap_or_else(|| self.library.choose(message))
    }

    /// The character set of a feed's message with an empty MSH-18: that of its overlay, or of the feed.
    pub fn charset(&self, feed: &Feed, header: Option<&Message<'_>>) -> Charset {
        header.and_then(|header| self.maps(feed, header).charset()).unwrap_or(feed.charset)
    }
}

impl Feed {
    fn new(of: &NamedFeed, config: &Config, library: &Library, meter: Arc<Meter>) -> Result<Self, FeedsError> {
        let wrong = |what: String| FeedsError::Config(format!("feeds, {}: {what}", of.name));
        if let Some(overlay) = of.overlay.as_deref().filter(|name| library.named(name).is_none()) {
            return Err(wrong(format!("there is no overlay `{overlay}`")));
        }
        let certificate = |text: &String| {
            Named::parse(text)
                .ok_or_else(|| wrong(format!("certificates: `{text}` is neither `sha256:...` nor a DNS name")))
        };
        let certificates = of.certificates.as_ref().map(|all| all.iter().map(certificate).collect::<Result<_, _>>());
        let settings = of.over(&config.feed);
        Ok(Self {
            name: of.name.clone(),
            listener: of.mllp.map_or(Listener::Shared, Listener::Own),
            tls: of.tls.unwrap_or(true),
            applies: Applies { sender: of.senders.clone(), ..Applies::default() },
            certificates: certificates.transpose()?,
            overlay: of.overlay.clone(),
            zone: settings.time_zone().map_err(wrong)?,
            charset: settings.character_set().map_err(wrong)?,
            on_error: settings.on_error.unwrap_or_default(),
            pace: settings.messages_per_second.map(Pace::new),
            meter,
        })
    }

    /// Whether it names the certificate that was shown.
    fn is_named(&self, arrival: &Arrival) -> bool {
        let names = |shown: &tokio_rustls::rustls::pki_types::CertificateDer<'_>| {
            self.certificates.iter().flatten().any(|named| named.is(shown))
        };
        arrival.shown.own().is_some_and(names)
    }

    /// Whether a message's header names one of its senders.
    fn sends(&self, header: Option<&Message<'_>>) -> bool {
        self.applies.sender.is_empty() || header.is_some_and(|message| self.applies.to(message, ""))
    }

    fn own(&self) -> Option<SocketAddr> {
        match self.listener {
            Listener::Shared => None,
            Listener::Own(address) => Some(address),
        }
    }

    /// Whether a message that failed so is to be taken into quarantine: its content is at fault, and a mended map may read it.
    pub fn keeps(&self, error: &IngestError) -> bool {
        use IngestError as E;
        let content = matches!(
            error,
            E::Unsupported(_)
                | E::Invalid(_)
                | E::Contradiction(_)
                | E::NotFound(_)
                | E::Precondition(_)
                | E::Conflict(_)
        );
        content && self.on_error == OnError::Quarantine
    }

    /// Whether its faulty messages go into quarantine.
    pub fn has_quarantine(&self) -> bool {
        self.on_error == OnError::Quarantine
    }
}
