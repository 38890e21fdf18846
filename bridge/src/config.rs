//! Configuration: `medseal.toml`, every key optional, unknown keys refused with the nearest right name.

mod chain;
mod consent;
mod exchange;
mod feeds;
mod hl7v2;
mod login;
mod registration;
mod rules;
mod telemetry;
mod tls;
mod witness;

use crate::index::postgres::Settings;
use crate::vault::objects::s3::S3Settings;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub use chain::{Chain, GWEI, Registrar};
pub use consent::{Apps, Consents, Otherwise, PURPOSES, Stance};
pub use exchange::{Accept, Directory, Exchange, ParticipantId, Peer, PlainServer};
pub use feeds::{Feed, NamedFeed, OnError};
pub use hl7v2::Hl7Receiver;
pub use login::{Login, Provider};
pub use registration::Registration;
pub use rules::PushRule;
pub use telemetry::{Logs, Telemetry};
pub use tls::{Limits, Tls};
pub use witness::{Witness, WitnessPeer};

/// A year: who keeps packs for longer lets nothing be removed, by `compact = false`.
const MAX_KEEP_HOURS: u64 = 366 * 24;
/// What the feed is called that `[feed]` describes.
pub const UNNAMED: &str = "default";

/// The configuration as it was checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The organisation that holds the records: a name or URI that will stand in every commitment. Never change it.
    pub custodian: String,
    /// Where everything lies that is not in a bucket.
    pub data: PathBuf,
    pub http: SocketAddr,
    pub mllp: SocketAddr,
    /// The address that clients see, where a proxy stands in front.
    pub base_url: Option<String>,
    /// The origins whose pages may call from a browser, `https://app.example`; `*` is any. None unless named.
    pub cors: Vec<String>,
    /// A directory of maps instead of those built in.
    pub maps: Option<PathBuf>,
    /// A directory of overlays: what senders need otherwise. SIGHUP reads it anew.
    pub overlays: Option<PathBuf>,
    /// What holds for each sender, unless its own feed says otherwise.
    pub feed: Feed,
    pub feeds: Vec<NamedFeed>,
    pub tls: Option<Tls>,
    pub limits: Limits,
    pub log: Log,
    /// The chain that anchors go to; the embedded ledger where there is none.
    pub chain: Option<Chain>,
    /// Logs of others that are cosigned here.
    pub witness: Option<Witness>,
    pub validation: Validation,
    pub index: Index,
    /// A bucket for packs and keys instead of the data directory.
    pub s3: Option<S3Settings>,
    pub keys: Keys,
    pub storage: Storage,
    pub outgoing: Outgoing,
    /// What holds where patients' Consents say nothing.
    pub consent: Consents,
    pub login: Login,
    pub registration: Registration,
    /// What the service tells of itself.
    pub telemetry: Telemetry,
    /// Other organisations; none are spoken to without it.
    pub exchange: Option<Exchange>,
    /// The file that this was read from.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// What the service does by itself to what it has stored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Join small packs, and remove those that others have taken the place of.
    pub compact: bool,
    /// Hours that a pack stays when others have taken its place: an index put back from a backup that is no older finds all.
    pub keep_hours: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self { compact: true, keep_hours: 24 }
    }
}

/// Where the root key is: in the file `root.key`, unless a key service holds it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// A key of AWS KMS: its ARN, or `alias/...`. Credentials come from the environment.
    pub kms: Option<String>,
    /// Any server that speaks like AWS KMS; AWS itself where absent.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// How long an open key stays in memory: the longest that revoking the service's key may take to work.
    pub cache_seconds: u64,
}

impl Default for Keys {
    fn default() -> Self {
        Self { kms: None, endpoint: None, region: None, cache_seconds: 600 }
    }
}

impl Config {
    /// The providers that people sign in by.
    pub fn issuers(&self) -> Vec<&str> {
        self.login.openid.iter().map(|provider| provider.issuer.as_str()).collect()
    }

    /// The organisations that this configuration lists.
    pub fn partners(&self) -> Vec<&str> {
        let peers = self.exchange.iter().flat_map(|exchange| &exchange.peer);
        peers.map(|peer| peer.endpoint.as_str()).collect()
    }

    /// The receivers that know nothing of medseal.
    pub fn receivers(&self) -> Vec<&str> {
        let receivers = self.exchange.iter().flat_map(|exchange| {
            let plain = exchange.fhir.iter().map(|server| server.endpoint.as_str());
            plain.chain(exchange.hl7v2.iter().map(|receiver| receiver.endpoint.as_str()))
        });
        receivers.collect()
    }
}

impl Keys {
    fn check(&self) -> Result<(), String> {
        if !(1..=86_400).contains(&self.cache_seconds) {
            return Err("keys.cache_seconds: 1 to 86400".into());
        }
        said("keys.kms", self.kms.as_deref())?;
        said("keys.region", self.region.as_deref())?;
        url("keys.endpoint", self.endpoint.as_deref())
    }
}

/// Whether a name says something where it is there: one that is empty is taken for one that was forgotten.
pub(crate) fn said(name: &str, text: Option<&str>) -> Result<(), String> {
    let wrong = |text: &str| text.is_empty() || text.chars().any(|c| c.is_whitespace() || c.is_control());
    match text.filter(|text| wrong(text)) {
        Some(_) => Err(format!("{name}: a name without blanks, or leave it out")),
        None => Ok(()),
    }
}

/// Whether an address is one.
pub(crate) fn url(name: &str, text: Option<&str>) -> Result<(), String> {
    said(name, text)?;
    let host = |text: &str| text.strip_prefix("https://").or(text.strip_prefix("http://")).map(str::len);
    match text.filter(|text| host(text).unwrap_or(0) == 0) {
        Some(_) => Err(format!("{name}: an address, as `https://service.example`, or leave it out")),
        None => Ok(()),
    }
}

/// Where this server may send requests of its own to, such as notifications. Public addresses over https, unless this says more.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outgoing {
    /// Also to private, loopback and unique-local addresses; never to link-local ones, which hold the metadata of clouds.
    pub allow_private: bool,
    /// Also without TLS.
    pub allow_http: bool,
    /// Hosts, addresses and blocks (`10.1.0.0/16`) that may be sent to whatever they are.
    pub allow: Vec<String>,
}

impl Outgoing {
    /// Whether a host is named.
    pub fn names(&self, host: &str) -> bool {
        self.allow.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
    }

    /// Whether an address, or a block that it lies in, is named.
    pub fn covers(&self, ip: IpAddr) -> bool {
        self.allow.iter().filter_map(|allowed| block(allowed)).any(|block| lies_in(ip, block))
    }
}

/// Reads `10.1.0.0/16` or an address alone.
fn block(text: &str) -> Option<(IpAddr, u32)> {
    let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
    let ip: IpAddr = ip.parse().ok()?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Some(whole), |bits| bits.parse().ok())?;
    (bits <= whole).then_some((ip, bits))
}

fn lies_in(ip: IpAddr, (block, bits): (IpAddr, u32)) -> bool {
    let bytes = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    };
    let differ = bytes(ip) ^ bytes(block);
    ip.is_ipv4() == block.is_ipv4() && differ.checked_shr(128 - bits).unwrap_or(0) == 0
}

/// What `$validate` knows beside the standard itself.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// A directory of StructureDefinitions, ValueSets and CodeSystems: an implementation guide's package, unpacked.
    pub profiles: Option<PathBuf>,
}

/// Where the index lies: in a file of the data directory, or in a PostgreSQL that several replicas may share.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Index {
    /// `postgres://user:password@host/database?sslmode=require`; the environment variable MEDSEAL_POSTGRES goes before it.
    pub postgres: Option<Hidden>,
    /// The most connections of this process: all replicas' together must stay below the server's `max_connections`.
    pub connections: usize,
    /// Certificates that the server's may be signed by, instead of those that the system trusts.
    pub authorities: Option<PathBuf>,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Default for Index {
    fn default() -> Self {
        Self { postgres: None, connections: 16, authorities: None }
    }
}

impl Index {
    /// How PostgreSQL is reached, where the index lies there.
    pub fn settings(&self) -> Result<Option<Settings>, String> {
        let read = |text: &Hidden| Settings::parse(&text.0, self.connections, self.authorities.as_deref());
        self.postgres.as_ref().map(read).transpose().map_err(|what| format!("index.postgres {what}"))
    }
}

/// How often the log is signed and anchored.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The log's name in its checkpoints. Never change it.
    pub origin: String,
    /// Milliseconds between checkpoints while entries come in.
    pub checkpoint_ms: u64,
    /// Milliseconds between anchors: each costs gas, whatever it covers.
    pub anchor_ms: u64,
    /// Who cosigns checkpoints before they are anchored.
    pub witnesses: Vec<WitnessPeer>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            custodian: "urn:medseal:custodian:local".into(),
            data: "medseal-data".into(),
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            mllp: SocketAddr::from(([127, 0, 0, 1], 2575)),
            base_url: None,
            cors: Vec::new(),
            maps: None,
            overlays: None,
            feed: Feed::default(),
            feeds: Vec::new(),
            tls: None,
            limits: Limits::default(),
            log: Log::default(),
            chain: None,
            witness: None,
            validation: Validation::default(),
            index: Index::default(),
            s3: None,
            keys: Keys::default(),
            storage: Storage::default(),
            outgoing: Outgoing::default(),
            consent: Consents::default(),
            login: Login::default(),
            registration: Registration::default(),
            exchange: None,
            file: None,
            telemetry: Telemetry::default(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { origin: "medseal.local/log".into(), checkpoint_ms: 500, anchor_ms: 5_000, witnesses: Vec::new() }
    }
}

/// What is wrong with the configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: {what}")]
    Wrong { path: PathBuf, what: String },
}

impl Config {
    /// Reads a file. Without one named, `medseal.toml` is read where it is, and all is default where it is not.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let default = Path::new("medseal.toml");
        let named = path.unwrap_or(default);
        let wrong = |what| ConfigError::Wrong { path: named.to_owned(), what };
        let mut config = match std::fs::read_to_string(named) {
            Ok(text) => Self { file: Some(named.to_owned()), ..Self::parse(&text).map_err(wrong)? },
            Err(e) if path.is_none() && e.kind() == std::io::ErrorKind::NotFound => Self::default(),
            Err(source) => return Err(ConfigError::Unreadable { path: named.to_owned(), source }),
        };
        if let Ok(text) = std::env::var("MEDSEAL_POSTGRES") {
            config.index.postgres = Some(Hidden(text));
        }
        Ok(config)
    }

    /// Reads and checks a text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| explain(text, &error))?;
        config.feed.check().map_err(|what| format!("feed.{what}"))?;
        let mutual = config.tls.as_ref().is_some_and(Tls::is_mutual);
        config.tls.as_ref().map_or(Ok(()), Tls::check)?;
        feeds::check(&config.feeds, config.mllp, mutual)?;
        config.limits.check()?;
        if config.custodian.trim().is_empty() || config.custodian.len() > 200 {
            return Err("custodian: 1 to 200 characters".into());
        }
        if let Some(wrong) = config.outgoing.allow.iter().find(|a| a.contains('/') && block(a).is_none()) {
            return Err(format!("outgoing.allow: `{wrong}` is no block of addresses; an example is `10.1.0.0/16`"));
        }
        config.keys.check()?;
        config.paths()?;
        if !(1..=MAX_KEEP_HOURS).contains(&config.storage.keep_hours) {
            return Err(format!("storage.keep_hours: 1 to {MAX_KEEP_HOURS}"));
        }
        config.chain.as_ref().map_or(Ok(()), Chain::check)?;
        config.witness.as_ref().map_or(Ok(()), Witness::check)?;
        config.login.check()?;
        config.registration.check()?;
        config.exchange.as_ref().map_or(Ok(()), |exchange| exchange.check(config.chain.is_some()))?;
        config.telemetry.check()?;
        config.consent.check()?;
        witness::check_peers(&config.log.witnesses)?;
        if let Some(s3) = &config.s3 {
            s3.check()?;
        }
        if let Some(wrong) = config.cors.iter().find(|origin| !is_origin(origin)) {
            return Err(format!("cors: `{wrong}` is no origin; an example is `https://app.example`"));
        }
        config.index.settings()?;
        if config.index.connections < 2 {
            return Err("index.connections: at least 2".into());
        }
        if config.log.checkpoint_ms == 0 || config.log.anchor_ms == 0 {
            return Err("log.checkpoint_ms and log.anchor_ms: at least 1".into());
        }
        Ok(config)
    }

    /// Paths that are there must say something: an empty one is the directory that the service happens to be started in.
    fn paths(&self) -> Result<(), String> {
        let tls = self.tls.as_ref();
        let named = [
            ("data", Some(&self.data)),
            ("maps", self.maps.as_ref()),
            ("overlays", self.overlays.as_ref()),
            ("validation.profiles", self.validation.profiles.as_ref()),
            ("consent.labels", self.consent.labels.as_ref()),
            ("index.authorities", self.index.authorities.as_ref()),
            ("telemetry.metrics_token", self.telemetry.metrics_token.as_ref()),
            ("tls.certificate", tls.map(|tls| &tls.certificate)),
            ("tls.key", tls.map(|tls| &tls.key)),
        ];
        let wrong = |path: &Path| path.as_os_str().is_empty() || path.to_string_lossy().contains('\0');
        match named.iter().find(|(_, path)| path.is_some_and(|path| wrong(path))) {
            Some((name, _)) => Err(format!("{name}: a path, or leave it out")),
            None => Ok(()),
        }
    }

    /// The address of the FHIR API, without a slash at its end.
    pub fn base(&self) -> String {
        let configured = self.base_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        let scheme = if self.tls.as_ref().is_some_and(|tls| tls.http) { "https" } else { "http" };
        configured.unwrap_or_else(|| format!("{scheme}://{}/fhir", self.http))
    }
}

/// An origin as browsers write it: scheme, host, and a port that is not the scheme's own; or `*`.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let plain =
        |host: &str| host.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || b"-.:[]".contains(&c));
    text == "*" || host.is_some_and(|host| !host.is_empty() && plain(host))
}

/// Line, what is wrong, and for an unknown key the nearest right one.
fn explain(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
    let message = error.message();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let nearest = match quoted.next() {
        Some(wrong) if message.starts_with("unknown field") => {
            let score = |right: &&str| (strsim::jaro_winkler(wrong, right) * 1_000.0) as u32;
            quoted.max_by_key(score).map(|right| format!("; did you mean `{right}`?"))
        }
        _ => None,
    };
    format!("line {line}: {message}{}", nearest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_has_a_default_and_nothing_unknown_passes() {
        assert!(Config::parse("").is_ok());
        for prefix in ["", "hospital", "hospital/", "a/b-1/c_2.d"] {
            assert!(Config::parse(&format!("[s3]\nbucket = \"a\"\nprefix = \"{prefix}\"")).is_ok(), "{prefix}");
        }
        let error = Config::parse("custodian = \"x\"\n[log]\nchekpoint_ms = 5").unwrap_err();
        assert!(
            error.starts_with("line 3: unknown field `chekpoint_ms`")
                && error.ends_with("did you mean `checkpoint_ms`?"),
            "{error}"
        );
        for (text, part) in [
            ("[feed]\nzone = \"Mars/Base\"", "no time zone"),
            ("[feed]\ncharset = \"klingon\"", "not supported"),
            ("[feed]\nmessages_per_second = 0", "feed.messages_per_second"),
            ("[[feeds]]\nname = \"a b\"", "feeds.name"),
            ("[[feeds]]\nname = \"a\"\n[[feeds]]\nname = \"a\"", "`a` is taken"),
            ("[[feeds]]\nname = \"default\"", "`default` is taken"),
            ("[[feeds]]\nname = \"a\"\nzone = \"Mars/Base\"", "feeds, a: zone: there is no time zone"),
            ("[[feeds]]\nname = \"a\"\nmllp = \"127.0.0.1:2575\"", "the address that all share"),
            ("[[feeds]]\nname = \"a\"\ncertificates = [\"x\"]", "only with `tls.clients`"),
            (
                "[tls]\ncertificate = \"c\"\nkey = \"k\"\nclients = \"a\"\n[[feeds]]\nname = \"a\"\ncertificates = []\n[[feeds]]\nname = \"b\"",
                "feeds, b: other feeds name `certificates`",
            ),
            ("[[feeds]]\nname = \"a\"\non_error = \"drop\"", "line 3"),
            ("[tls]\ncertificate = \"a\"\nkey = \"b\"\nrevoked = \"c\"", "tls.revoked"),
            ("[limits]\nmllp_connections = 0", "at least 1"),
            ("http = 8080", "line 1"),
            ("[log]\nanchor_ms = 0", "at least 1"),
            ("custodian = \"\"", "custodian"),
            ("[index]\npostgres = \"postgres://u:secret@h:port/d\"", "index.postgres is no connection text"),
            ("[index]\npostgres = \"postgres://u:secret@h\"", "names no database"),
            ("[index]\nconnections = 1", "at least 2"),
            ("[keys]\ncache_seconds = 0", "keys.cache_seconds"),
            ("[keys]\nkms = \"\"", "keys.kms"),
            ("[keys]\nkms = \" \"", "keys.kms"),
            ("[keys]\nkms = \"k\"\nendpoint = \"kms.example\"", "keys.endpoint"),
            ("[keys]\nkms = \"k\"\nendpoint = \"https://\"", "keys.endpoint"),
            ("[keys]\nkms = \"k\"\nregion = \"\"", "keys.region"),
            ("data = \"\"", "data: a path"),
            ("maps = \"\"", "maps: a path"),
            ("[consent]\nlabels = \"\"", "consent.labels: a path"),
            ("[s3]\nbucket = \"a/b\"", "s3.bucket"),
            ("[s3]\nbucket = \"..\"", "s3.bucket"),
            ("[s3]\nbucket = \"a\"\nprefix = \"../x\"", "s3.prefix"),
            ("[s3]\nbucket = \"a\"\nprefix = \"/x\"", "s3.prefix"),
            ("[s3]\nbucket = \"a\"\nprefix = \"/\"", "s3.prefix"),
            ("[s3]\nbucket = \"a\"\nprefix = \"x//y\"", "s3.prefix"),
            ("[s3]\nbucket = \"a\"\nprefix = \"x/./y\"", "s3.prefix"),
            ("[s3]\nbucket = \"a\"\nprefix = \"x\\u0000y\"", "s3.prefix"),
            ("[s3]\nbucket = \"a\"\nprefix = \"x y\"", "s3.prefix"),
            ("[s3]\nbucket = \"a\"\nendpoint = \"s3.example\"", "s3.endpoint"),
            ("[s3]\nbucket = \"a\"\nregion = \"\"", "s3.region"),
            ("[s3]\nbucket = \"a\"\nsse = \"aws:kms\"\nsse_kms_key = \"\"", "s3.sse_kms_key"),
            ("[storage]\nkeep_hours = 0", "storage.keep_hours"),
            ("[s3]\nprefix = \"a\"", "s3.bucket"),
            ("[s3]\nbucket = \"a\"\nchecksum = \"md5\"", "line 3"),
            ("[s3]\nbucket = \"a\"\nsse = \"AES256\"\nsse_kms_key = \"k\"", "s3.sse_kms_key"),
            ("cors = [\"https://app.example/\"]", "is no origin"),
            ("[[login.openid]]\nname = \"H\"\nissuer = \"login.example\"\nclient_id = \"m\"", "login.openid.issuer"),
            ("[[login.openid]]\nname = \"H\"\nclient_id = \"m\"", "missing field `issuer`"),
            ("cors = [\"app.example\"]", "is no origin"),
            ("[telemetry]\nsample = 2", "telemetry.sample"),
            ("[telemetry]\notlp = \"collector:4318\"", "telemetry.otlp"),
            ("[telemetry]\notlp_seconds = 0", "telemetry.otlp_seconds"),
            ("[telemetry]\nlogs = \"xml\"", "line 2"),
            ("[outgoing]\nallow = [\"10.0.0.0/33\"]", "outgoing.allow"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret@"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let config = Config::parse("[index]\npostgres = \"postgres://u:s3cr3t@db:5433/d?sslmode=disable\"").unwrap();
        let settings = config.index.settings().unwrap().unwrap();
        assert_eq!(format!("{settings:?}"), "db:5433/d");
        assert!(!format!("{config:?}").contains("s3cr3t"));
    }
}
