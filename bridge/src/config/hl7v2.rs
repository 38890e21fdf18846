//! `[[exchange.hl7v2]]`: systems that know neither medseal nor FHIR, and take HL7 v2 over MLLP.

use super::ParticipantId;
use crate::outgoing::mllp::Door;
use mappings::charset::Charset;
use serde::Deserialize;
use std::path::PathBuf;

/// The longest names of applications and facilities: HD.1 has 20 characters, and some systems take more.
const MAX_PARTY: usize = 60;

/// A receiver of HL7 v2.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hl7Receiver {
    pub id: ParticipantId,
    /// `mllps://HOST:PORT`, or `mllp://HOST:PORT` without TLS.
    pub endpoint: String,
    /// Who has signed its certificate (PEM); whom the machine trusts where absent.
    pub authorities: Option<PathBuf>,
    /// What it is shown, certificate and key (PEM): mutual TLS.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// MSH-3.1 and MSH-4.1, what it knows this server by: `MEDSEAL|NORTH`.
    #[serde(default = "medseal")]
    pub sender: String,
    /// MSH-5.1 and MSH-6.1, what it calls itself: `LAB|NORTH`.
    #[serde(default)]
    pub receiver: String,
    /// MSH-12.
    #[serde(default = "version")]
    pub version: String,
    /// UTF-8 where absent.
    pub charset: Option<String>,
    /// MSH-11: `P`, or `T` and `D` for tests.
    #[serde(default = "production")]
    pub processing: String,
}

fn medseal() -> String {
    "MEDSEAL".to_owned()
}

fn version() -> String {
    "2.5.1".to_owned()
}

fn production() -> String {
    "P".to_owned()
}

impl Hl7Receiver {
    /// Checks what the types do not.
    pub fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(format!("exchange.hl7v2, {}: {what}", self.id));
        let is_party = |text: &str| {
            text.len() <= 2 * MAX_PARTY && text.split('|').count() <= 2 && !text.chars().any(char::is_control)
        };
        let is_version = |text: &str| text.starts_with("2.") && text.len() <= 5 && text[2..].split('.').all(is_number);
        let Some(door) = self.door() else { return wrong("endpoint: mllps://HOST:PORT, or mllp://HOST:PORT") };
        match self {
            _ if !is_party(&self.sender) || !is_party(&self.receiver) => {
                wrong("sender, receiver: `APPLICATION|FACILITY`, at most 120 bytes")
            }
            _ if !is_version(&self.version) => wrong("version: as `2.5.1`"),
            _ if !["P", "T", "D"].contains(&self.processing.as_str()) => wrong("processing: P, T or D"),
            _ if self.character_set().is_none() => wrong("charset: an example is `8859/1`"),
            _ if self.certificate.is_some() != self.key.is_some() => wrong("a certificate has a key, and a key one"),
            _ if self.certificate.is_some() && self.authorities.is_none() => {
                wrong("certificate: name authorities, too")
            }
            _ if self.authorities.is_some() && !door.is_secured() => wrong("authorities: over TLS only, mllps://"),
            _ => Ok(()),
        }
    }

    /// Where it listens.
    pub fn door(&self) -> Option<Door> {
        Door::parse(&self.endpoint)
    }

    /// The set that its messages are written in.
    pub fn character_set(&self) -> Option<Charset> {
        self.charset.as_deref().map_or(Some(Charset::Utf8), Charset::named).filter(|set| set.is_written())
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let read = |more: &str| {
            let door = if more.contains("endpoint") { "" } else { "endpoint = 'mllps://lab:2575'" };
            toml::from_str::<Hl7Receiver>(&format!("id = 'lab'\n{door}\n{more}")).unwrap().check()
        };
        for good in [
            "",
            "version = '2.8'",
            "sender = 'A|B'\nreceiver = 'C'",
            "charset = '8859/1'",
            "endpoint = 'mllp://[::1]:1'",
        ] {
            assert_eq!(read(good), Ok(()), "{good}");
        }
        for (bad, part) in [
            ("endpoint = 'https://lab:2575'", "endpoint"),
            ("sender = 'A|B|C'", "sender"),
            ("version = '3'", "version"),
            ("version = '2.x'", "version"),
            ("processing = 'X'", "processing"),
            ("charset = 'klingon'", "charset"),
            ("charset = 'UTF-16'", "charset"),
            ("certificate = 'a.pem'", "key"),
            ("certificate = 'a.pem'\nkey = 'a.key'", "authorities"),
            ("authorities = 'a.pem'\nendpoint = 'mllp://lab:2575'", "authorities"),
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains("exchange.hl7v2, lab") && error.contains(part), "{bad}: {error}");
        }
    }
}
