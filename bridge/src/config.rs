//! Configuration: `medseal.toml`, every key optional, unknown keys refused with the nearest right name.

use crate::vault::objects::S3Settings;
use jiff::tz::TimeZone;
use mappings::charset::Charset;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The configuration as it was checked.
#[derive(Debug, Clone, Deserialize)]
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
    /// A directory of maps instead of those built in.
    pub maps: Option<PathBuf>,
    /// A directory of overlays: what senders need otherwise. SIGHUP reads it anew.
    pub overlays: Option<PathBuf>,
    pub feed: Feed,
    pub log: Log,
    pub validation: Validation,
    /// A bucket for packs and keys instead of the data directory.
    pub s3: Option<S3Settings>,
}

/// What a sender does not say itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Feed {
    /// An IANA zone for times sent without an offset. Without it such times keep the day only where FHIR allows it.
    pub zone: Option<String>,
    /// The character set of messages with an empty MSH-18; UTF-8 where absent.
    pub charset: Option<String>,
}

/// What `$validate` knows beside the standard itself.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Validation {
    /// A directory of StructureDefinitions, ValueSets and CodeSystems: an implementation guide's package, unpacked.
    pub profiles: Option<PathBuf>,
}

/// How often the log is signed and anchored.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The log's name in its checkpoints. Never change it.
    pub origin: String,
    /// Milliseconds between checkpoints while entries come in.
    pub checkpoint_ms: u64,
    /// Milliseconds between anchors: each costs gas, whatever it covers.
    pub anchor_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            custodian: "urn:medseal:custodian:local".into(),
            data: "medseal-data".into(),
            http: SocketAddr::from(([127, 0, 0, 1], 8080)),
            mllp: SocketAddr::from(([127, 0, 0, 1], 2575)),
            base_url: None,
            maps: None,
            overlays: None,
            feed: Feed::default(),
            log: Log::default(),
            validation: Validation::default(),
            s3: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { origin: "medseal.local/log".into(), checkpoint_ms: 500, anchor_ms: 5_000 }
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
        match std::fs::read_to_string(named) {
            Ok(text) => Self::parse(&text).map_err(|what| ConfigError::Wrong { path: named.to_owned(), what }),
            Err(e) if path.is_none() && e.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(source) => Err(ConfigError::Unreadable { path: named.to_owned(), source }),
        }
    }

    /// Reads and checks a text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| explain(text, &error))?;
        config.zone()?;
        config.charset()?;
        if config.custodian.trim().is_empty() || config.custodian.len() > 200 {
            return Err("custodian: 1 to 200 characters".into());
        }
        if config.log.checkpoint_ms == 0 || config.log.anchor_ms == 0 {
            return Err("log.checkpoint_ms and log.anchor_ms: at least 1".into());
        }
        Ok(config)
    }

    /// The address of the FHIR API, without a slash at its end.
    pub fn base(&self) -> String {
        let configured = self.base_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        configured.unwrap_or_else(|| format!("http://{}/fhir", self.http))
    }

    /// The feed's zone.
    pub fn zone(&self) -> Result<Option<TimeZone>, String> {
        let zone = |name: &String| {
            TimeZone::get(name)
                .map_err(|_| format!("feed.zone: there is no time zone `{name}`; an example is `Europe/Berlin`"))
        };
        self.feed.zone.as_ref().map(zone).transpose()
    }

    /// The feed's character set.
    pub fn charset(&self) -> Result<Charset, String> {
        match &self.feed.charset {
            None => Ok(Charset::Utf8),
            Some(name) => Charset::named(name)
                .ok_or_else(|| format!("feed.charset: `{name}` is not supported; an example is `8859/1`")),
        }
    }
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
        let error = Config::parse("custodian = \"x\"\n[log]\nchekpoint_ms = 5").unwrap_err();
        assert!(
            error.starts_with("line 3: unknown field `chekpoint_ms`")
                && error.ends_with("did you mean `checkpoint_ms`?"),
            "{error}"
        );
        for (text, part) in [
            ("[feed]\nzone = \"Mars/Base\"", "no time zone"),
            ("[feed]\ncharset = \"klingon\"", "not supported"),
            ("http = 8080", "line 1"),
            ("[log]\nanchor_ms = 0", "at least 1"),
            ("custodian = \"\"", "custodian"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
