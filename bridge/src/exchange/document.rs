//! The participant's document: a JWK set (RFC 7517, whose section 5 lets it have further members) that says who an organisation is, where
//! it is reached, by which log and anchor its records are proved, and with which keys it signs. Its SHA-256 stands in the
//! directory, so that whoever reads that has everything pinned. Pure.

use crate::config::{Exchange, ParticipantId};
use crate::consent::outside::PARTICIPANT;
use crate::limits::MAX_KEY_SET_BYTES;
use crate::smart::keys::{PublicKey, parse as parse_keys};
use notary::anchor::ChainKind;
use notary::canonical::Json;
use notary::chain::evm::{Address, B256};
use notary::commitment::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where an organisation publishes it, beside its FHIR API.
pub const PLACE: &str = "/.well-known/medseal-participant.json";
/// The format's name and version.
pub const FORMAT: &str = "medseal-participant/1";

/// What an organisation says of itself.
#[derive(Debug, Clone)]
pub struct Document {
    pub said: Said,
    pub keys: Vec<PublicKey>,
}

/// The members beside the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    pub format: String,
    pub name: String,
    /// The address of its FHIR API, without a slash at its end.
    pub endpoint: String,
    #[serde(default)]
    pub identifiers: Vec<Identifier>,
    #[serde(default)]
    pub place: String,
    #[serde(default)]
    pub services: Vec<String>,
    /// What stands in its commitments.
    pub custodian: String,
    /// The verifier key of its log.
    pub log: String,
    /// The contract that anchors its log.
    pub anchor: Anchor,
}

/// A business identifier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identifier {
    pub system: String,
    pub value: String,
}

/// A contract on a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Anchor {
    pub kind: ChainKind,
    pub chain_id: u64,
    pub contract: Address,
    /// Keccak-256 of its code, where it is on a chain of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_hash: Option<B256>,
}

/// Why a text is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("it is not the document whose digest is pinned")]
    Digest,
    #[error("it is no {FORMAT}")]
    Malformed,
    #[error("its name or its endpoint is another than the directory's")]
    Other,
}

/// This organisation's own. `keys` is its key set, `base` the address of its FHIR API.
pub fn own(settings: &Exchange, base: &str, custodian: &str, log: &str, anchor: &Anchor, keys: &Value) -> Vec<u8> {
    let identifiers: Vec<Value> =
        settings.identifiers().map(|(system, value)| json!({"system": system, "value": value})).collect();
    let document = json!({
        "format": FORMAT,
        "name": settings.name,
        "endpoint": base,
        "identifiers": identifiers,
        "place": settings.place,
        "services": settings.services,
        "custodian": custodian,
        "log": log,
        "anchor": anchor,
        "keys": keys["keys"],
    });
    // One form only: the digest must be the same after each start.
    Json::from(document).canonical()
}

impl Document {
    /// Reads the document that a digest pins.
    pub fn parse(bytes: &[u8], pinned: Digest) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_KEY_SET_BYTES || Digest::of(bytes) != pinned {
            return Err(DocumentError::Digest);
        }
        let said: Said = serde_json::from_slice(bytes).map_err(|_| DocumentError::Malformed)?;
        let keys = parse_keys(bytes).map_err(|_| DocumentError::Malformed)?;
        let plain = said.endpoint == said.endpoint.trim_end_matches('/') && said.endpoint.starts_with("http");
        if said.format == FORMAT && plain { Ok(Self { said, keys }) } else { Err(DocumentError::Malformed) }
    }
}

/// Where an organisation answers others, by the address of its FHIR API.
pub fn beside(endpoint: &str, path: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    format!("{}{path}", endpoint.strip_suffix("/fhir").unwrap_or(endpoint))
}

/// A participant as a FHIR reference.
pub fn reference(id: &ParticipantId, name: &str) -> Value {
    json!({"identifier": {"system": PARTICIPANT, "value": id.as_str()}, "display": name})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::token::TokenKey;
    use std::path::Path;

    fn document() -> Vec<u8> {
        let settings: Exchange =
            toml::from_str("id = 'a'\nname = 'Northquay'\nidentifiers = ['urn:oid:1.2.3|NQ']").unwrap();
        let key = TokenKey::from_der(&TokenKey::generate().unwrap(), Path::new("a test")).unwrap();
        let anchor = Anchor { kind: ChainKind::Embedded, chain_id: 7, contract: Address::ZERO, code_hash: None };
        own(&settings, "https://a/fhir", "urn:a", "a/log+00000000+x", &anchor, &key.public())
    }

    #[test]
    fn what_is_pinned_is_read_and_nothing_else() {
        let bytes = document();
        let read = Document::parse(&bytes, Digest::of(&bytes)).unwrap();
        assert_eq!((read.said.name.as_str(), read.keys.len()), ("Northquay", 1));
        assert_eq!(read.said.identifiers, [Identifier { system: "urn:oid:1.2.3".into(), value: "NQ".into() }]);
        let changed = String::from_utf8(bytes.clone()).unwrap().replace("Northquay", "Southquay").into_bytes();
        assert_eq!(Document::parse(&changed, Digest::of(&bytes)).unwrap_err(), DocumentError::Digest);
        for bad in [changed.strip_suffix(b"}").unwrap().to_vec(), b"{\"keys\":[]}".to_vec()] {
            assert_eq!(Document::parse(&bad, Digest::of(&bad)).unwrap_err(), DocumentError::Malformed);
        }
    }

    #[test]
    fn exchange_lies_beside_the_fhir_api() {
        assert_eq!(beside("https://a/fhir", PLACE), format!("https://a{PLACE}"));
        assert_eq!(beside("https://a/x/", "/exchange"), "https://a/x/exchange");
    }
}
