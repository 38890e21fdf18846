//! `[exchange]`: this organisation among others, and where it finds them.

use super::{Hl7Receiver, PushRule};
use notary::chain::evm::{Address, B256};
use notary::commitment::Digest;
use serde::Deserialize;
use std::collections::HashSet;

/// The longest texts of the participants' document: names, no letters.
const MAX_TEXT: usize = 200;
/// The most identifiers or services of one organisation.
const MAX_LISTED: usize = 100;
/// The most organisations that are listed here, and the most plain FHIR servers.
const MAX_PEERS: usize = 1_000;

/// The settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Who this organisation is to others: with a directory its account there (`0x...`), else a name that they agree on.
    pub id: ParticipantId,
    /// As it is enrolled.
    pub name: String,
    /// Business identifiers, `system|value`.
    #[serde(default)]
    pub identifiers: Vec<String>,
    /// Where it is: a town.
    #[serde(default)]
    pub place: String,
    /// What it does, to be found by.
    #[serde(default)]
    pub services: Vec<String>,
    /// The contract `Participants`, on the chain of `[chain]`.
    pub directory: Option<Directory>,
    /// Without a directory: the others, each pinned by the digest of its document.
    #[serde(default)]
    pub peer: Vec<Peer>,
    /// Servers that speak FHIR and know nothing of medseal: they get resources without receipts.
    #[serde(default)]
    pub fhir: Vec<PlainServer>,
    /// Systems that take HL7 v2 over MLLP: they get messages, without receipts.
    #[serde(default)]
    pub hl7v2: Vec<Hl7Receiver>,
    /// What is pushed by itself.
    #[serde(default)]
    pub rules: Vec<PushRule>,
    /// How far a received resource must be proved before it is shown or stored.
    #[serde(default)]
    pub accept: Accept,
    /// What other organisations may see where no Consent of the patient speaks.
    #[serde(default)]
    pub consent: super::consent::Otherwise,
}

/// Where the contract `Participants` stands.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    pub contract: Address,
    /// Keccak-256 of its code.
    pub code_hash: B256,
    /// The block of its deployment, or one before it.
    #[serde(default)]
    pub from_block: u64,
}

/// An organisation that is listed here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    pub id: ParticipantId,
    /// The address of its FHIR API.
    pub endpoint: String,
    /// SHA-256 of its document, hexadecimal.
    pub document: String,
    /// It takes no part now.
    #[serde(default)]
    pub suspended: bool,
}

/// A server that speaks FHIR alone.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlainServer {
    pub id: ParticipantId,
    /// The address of its FHIR API.
    pub endpoint: String,
    /// The bearer token that it wants, if it wants one.
    pub token: Option<super::Hidden>,
}

/// How far a received resource must be proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accept {
    /// Its sender's anchor holds it.
    #[default]
    Anchored,
    /// Its sender's log holds it; the anchor may come later.
    Logged,
}

/// Who an organisation is to others: an account of the directory, in lower case, or a listed name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct ParticipantId(String);

impl ParticipantId {
    /// Reads one. What begins like an account is one, written in full: Consents speak of an organisation by this very text, so that
    /// there must be no second one for it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let harmless = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-".contains(&c);
        let id = ((1..=64).contains(&text.len()) && text.bytes().all(harmless)).then_some(Self(text))?;
        let is_one = !id.0.starts_with("0x") || id.account().is_some_and(|account| Self::of(account) == id);
        is_one.then_some(id)
    }

    /// Of an account.
    pub fn of(account: Address) -> Self {
        Self(format!("0x{}", hex::encode(account)))
    }

    /// The account, where it is one.
    pub fn account(&self) -> Option<Address> {
        self.0.strip_prefix("0x").and_then(|hex| hex.parse().ok())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ParticipantId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
            .ok_or_else(|| "an account (0x and 40 digits), or 1 to 64 of a-z, 0-9, `.` and `-`".to_owned())
    }
}

impl From<ParticipantId> for String {
    fn from(id: ParticipantId) -> Self {
        id.0
    }
}

impl std::fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Exchange {
    /// Checks what the types do not.
    pub fn check(&self, has_chain: bool) -> Result<(), String> {
        let is_text = |text: &str| text.len() <= MAX_TEXT && !text.chars().any(char::is_control);
        let texts = [&self.name, &self.place].into_iter().chain(&self.services);
        if self.name.trim().is_empty() || !texts.into_iter().all(|text| is_text(text)) {
            return Err(format!("exchange: name, place and services have at most {MAX_TEXT} bytes, and a name one"));
        }
        if self.identifiers().count() < self.identifiers.len()
            || self.identifiers.len().max(self.services.len()) > MAX_LISTED
        {
            return Err(format!("exchange.identifiers: `system|value`; at most {MAX_LISTED}, and as many services"));
        }
        if self.peer.len().max(self.fhir.len()).max(self.hl7v2.len()) > MAX_PEERS {
            return Err(format!("exchange.peer, exchange.fhir, exchange.hl7v2: at most {MAX_PEERS}"));
        }
        if let Some(peer) = self.peer.iter().find(|peer| Digest::from_hex(&peer.document).is_none()) {
            return Err(format!("exchange.peer: the document of `{}` is a SHA-256 in hexadecimal", peer.id));
        }
        self.hl7v2.iter().try_for_each(Hl7Receiver::check)?;
        self.check_ids()?;
        super::rules::check(&self.rules, |id| self.is_receiver(id))?;
        self.check_directory(has_chain)
    }

    /// A Consent that names a receiver must mean one.
    fn check_ids(&self) -> Result<(), String> {
        let mut known = HashSet::from([&self.id]);
        let others = self.peer.iter().map(|one| &one.id).chain(self.fhir.iter().map(|one| &one.id));
        match others.chain(self.hl7v2.iter().map(|one| &one.id)).find(|id| !known.insert(id)) {
            Some(id) => Err(format!("exchange: `{id}` is the id of two")),
            None => Ok(()),
        }
    }

    /// Whether something can be pushed to this one, as far as the configuration tells: who is in the directory the chain knows.
    fn is_receiver(&self, id: &ParticipantId) -> bool {
        let enrolled = self.directory.is_some() && id.account().is_some() && *id != self.id;
        let mut listed = self.peer.iter().map(|one| &one.id).chain(self.fhir.iter().map(|one| &one.id));
        enrolled || listed.any(|one| one == id) || self.hl7v2.iter().any(|one| one.id == *id)
    }

    fn check_directory(&self, has_chain: bool) -> Result<(), String> {
        match &self.directory {
            Some(_) if !has_chain => Err("exchange.directory: stands on a chain, which [chain] names".into()),
            Some(_) if self.id.account().is_none() => Err("exchange.id: with a directory, the account there".into()),
            Some(_) if !self.peer.is_empty() => Err("exchange.peer: either a directory or a list".into()),
            _ => Ok(()),
        }
    }

    /// System and value of each identifier.
    pub fn identifiers(&self) -> impl Iterator<Item = (&str, &str)> {
        let whole = |(system, value): &(&str, &str)| {
            !system.is_empty() && !value.is_empty() && system.len().max(value.len()) <= MAX_TEXT
        };
        self.identifiers.iter().filter_map(|text| text.split_once('|')).filter(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organisation_has_an_account_or_a_plain_name() {
        let account = ParticipantId::parse("0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266").unwrap();
        assert_eq!(ParticipantId::of(account.account().unwrap()), account, "in whatever case it was written");
        assert_eq!(ParticipantId::parse("northquay").unwrap().account(), None);
        let twice = format!("0x{account}");
        for bad in ["", "a b", "a/b", "a|b", &"x".repeat(65), &twice, "0x", "0x12", &account.as_str()[..41]] {
            assert_eq!(ParticipantId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let read = |text: &str| toml::from_str::<Exchange>(text).unwrap();
        let directory = "[directory]\ncontract = '0x00000000000000000000000000000000000000aa'\n\
             code_hash = '0x00000000000000000000000000000000000000000000000000000000000000aa'";
        let peer = "[[peer]]\nid = 'b'\nendpoint = 'https://b/fhir'\ndocument = 'x'";
        for (text, part) in [
            ("id = 'a'\nname = ' '".to_owned(), "name"),
            ("id = 'a'\nname = 'A'\nidentifiers = ['x']".to_owned(), "exchange.identifiers"),
            (format!("id = 'a'\nname = 'A'\n{peer}"), "exchange.peer"),
            (format!("id = 'a'\nname = 'A'\n{directory}"), "exchange.id"),
        ] {
            let error = read(&text).check(true).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        let account = format!("id = '0x{}'\nname = 'A'\n{directory}", "ab".repeat(20));
        assert!(read(&account).check(true).is_ok());
        assert!(read(&account).check(false).unwrap_err().contains("exchange.directory"));
    }
}
