//! `[feed]` and `[[feeds]]`: who sends, through which door, and how what they send is read.

use jiff::tz::TimeZone;
use mappings::charset::Charset;
use serde::Deserialize;
use std::collections::HashSet;
use std::net::SocketAddr;

/// A hospital has some dozens; each is a line of a page, and tried for each message.
const MAX_FEEDS: usize = 500;
const MAX_NAME: usize = 40;

/// What becomes of a message that cannot be mapped or is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It is acknowledged with AE, and its sender keeps it.
    #[default]
    Refuse,
    /// It is acknowledged with AA and sealed into quarantine, to be replayed once the map is mended.
    Quarantine,
}

/// What a sender does not say itself; `[feed]` says it of all that no feed says it of.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Feed {
    /// An IANA zone for times sent without an offset. Without it such times keep the day only where FHIR allows it.
    pub zone: Option<String>,
    /// The character set of messages with an empty MSH-18; UTF-8 where absent.
    pub charset: Option<String>,
    pub on_error: Option<OnError>,
    /// How many messages it may send in a second; as many as it likes where absent.
    pub messages_per_second: Option<u32>,
}

/// One of `[[feeds]]`. What it leaves out is as `[feed]` says.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamedFeed {
    pub name: String,
    /// A listener of its own; without one it comes in at `mllp`.
    pub mllp: Option<SocketAddr>,
    /// `false`: its own listener speaks without TLS although `[tls]` is there.
    pub tls: Option<bool>,
    /// MSH-3.1 and MSH-4.1 of its messages: `LAB|NORTH`, `LAB|*`. Any where it is empty.
    pub senders: Vec<String>,
    /// Which client certificates are its own: `sha256:...`, or a DNS name of the certificate. Any of the authorities' as long as no
    /// feed names any; none where it is empty.
    pub certificates: Option<Vec<String>>,
    /// The overlay of its messages, whatever the overlays themselves say they are for.
    pub overlay: Option<String>,
    pub zone: Option<String>,
    pub charset: Option<String>,
    pub on_error: Option<OnError>,
    pub messages_per_second: Option<u32>,
}

impl NamedFeed {
    /// What it is, all told.
    pub fn over(&self, others: &Feed) -> Feed {
        Feed {
            zone: self.zone.clone().or_else(|| others.zone.clone()),
            charset: self.charset.clone().or_else(|| others.charset.clone()),
            on_error: self.on_error.or(others.on_error),
            messages_per_second: self.messages_per_second.or(others.messages_per_second),
        }
    }

    fn check(&self, shared: SocketAddr) -> Result<(), String> {
        let Self { name, mllp, tls, .. } = self;
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return Err(format!("feeds.name: 1 to {MAX_NAME} letters, digits, `-`, `_`, `.`; not `{name}`"));
        }
        let wrong = |what: &str| Err(format!("feeds, {name}: {what}"));
        if mllp.is_some_and(|address| address == shared && address.port() != 0) {
            return wrong("`mllp` is the address that all share: leave it out");
        }
        if mllp.is_none() && tls.is_some() {
            return wrong("`tls` is of a listener of its own: name one by `mllp`");
        }
        self.over(&Feed::default()).check().map_err(|what| format!("feeds, {name}: {what}"))
    }
}

impl Feed {
    /// Checks zone, character set and rate.
    pub fn check(&self) -> Result<(), String> {
        self.time_zone()?;
        self.character_set()?;
        match self.messages_per_second {
            Some(0) => Err("messages_per_second: at least 1".into()),
            _ => Ok(()),
        }
    }

    /// The zone.
    pub fn time_zone(&self) -> Result<Option<TimeZone>, String> {
        let zone = |name: &String| {
            TimeZone::get(name)
                .map_err(|_| format!("zone: there is no time zone `{name}`; an example is `Europe/Berlin`"))
        };
        self.zone.as_ref().map(zone).transpose()
    }

    /// The character set.
    pub fn character_set(&self) -> Result<Charset, String> {
        match &self.charset {
            None => Ok(Charset::Utf8),
            Some(name) => Charset::named(name)
                .ok_or_else(|| format!("charset: `{name}` is not supported; an example is `8859/1`")),
        }
    }
}

/// Checks all feeds together. `mutual`: whether senders must show certificates.
pub(super) fn check(feeds: &[NamedFeed], shared: SocketAddr, mutual: bool) -> Result<(), String> {
    if feeds.len() > MAX_FEEDS {
        return Err(format!("feeds: at most {MAX_FEEDS}"));
    }
    feeds.iter().try_for_each(|feed| feed.check(shared))?;
    let mut names = HashSet::new();
    if let Some(twice) = feeds.iter().find(|feed| !names.insert(&feed.name) || feed.name == super::UNNAMED) {
        return Err(format!("feeds.name: `{}` is taken; each name once", twice.name));
    }
    for feed in feeds {
        let speaks = |other: &&NamedFeed| other.mllp == feed.mllp && other.mllp.is_some();
        if feeds.iter().filter(speaks).any(|other| other.tls != feed.tls) {
            return Err(format!("feeds, {}: feeds of one listener have one `tls`", feed.name));
        }
        if feed.certificates.is_some() && (!mutual || feed.tls == Some(false)) {
            return Err(format!("feeds, {}: `certificates` are asked for only with `tls.clients`", feed.name));
        }
    }
    let asked = |feed: &&NamedFeed| mutual && feed.tls != Some(false);
    let some_name = feeds.iter().any(|feed| feed.certificates.is_some());
    if let Some(open) = feeds.iter().filter(asked).find(|feed| some_name && feed.certificates.is_none()) {
        // Who is taken out of one feed's list would come in by this one.
        return Err(format!("feeds, {}: other feeds name `certificates`: name its own, too", open.name));
    }
    Ok(())
}
