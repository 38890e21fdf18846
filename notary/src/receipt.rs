//! `medseal-receipt/1`: everything that proves one version of one resource, in one JSON file: the C2SP
//! tlog-proof, the opening of its commitment, and the anchor. See `docs/receipt.md`.

use crate::anchor::AnchorBundle;
use crate::commitment::{Digest, Entry, Kind, Salt};
use crate::erasure::ErasureProof;
use crate::tree::{MAX_PROOF, Proof};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// The format's name and version.
pub const FORMAT: &str = "medseal-receipt/1";
/// The same with the member `erasure`, for versions whose content was erased.
pub const FORMAT_ERASED: &str = "medseal-receipt/2";
/// The longest receipt that is read, in bytes; real ones have some 10 kB.
pub const MAX_RECEIPT_BYTES: usize = 1 << 20;
const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    pub format: String,
    /// The organisation that holds the resource.
    pub custodian: String,
    /// `Type/id`.
    pub reference: String,
    pub version_id: String,
    /// The log entry, hexadecimal.
    pub entry: String,
    /// The C2SP tlog-proof: index, hashes, checkpoint.
    pub proof: String,
    /// The log's verifier key. A policy pins it; the receipt only says which one it needs.
    pub log_key: String,
    /// Absent where a proof is shared without the means to open it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
    /// Absent until the checkpoint is anchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<AnchorBundle>,
    /// That the content was erased; then there is no opening.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erasure: Option<ErasureProof>,
}

/// What opens the commitment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opening {
    /// 32 bytes, hexadecimal.
    pub salt: String,
    /// SHA-256 of the canonical resource, hexadecimal.
    pub canonical: String,
    /// SHA-256 of the raw message that it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

/// The parts of a tlog-proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    pub index: u64,
    pub hashes: Proof,
    /// The signed note.
    pub checkpoint: String,
}

/// Why bytes are not a receipt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    #[error("the receipt is longer than {MAX_RECEIPT_BYTES} bytes")]
    TooLong,
    #[error("not a receipt: {0}")]
    Malformed(String),
    #[error("a receipt of another format: {0}")]
    OtherFormat(String),
}

impl Receipt {
    /// The same to share the proof alone: without the salt nobody can try what the commitment stands for.
    pub fn without_opening(self) -> Self {
        Self { opening: None, ..self }
    }

    /// Reads a receipt; nothing is verified yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > MAX_RECEIPT_BYTES {
            return Err(ReceiptError::TooLong);
        }
        let receipt: Self = serde_json::from_slice(bytes).map_err(|e| ReceiptError::Malformed(e.to_string()))?;
        receipt.in_its_only_form(bytes)?;
        let format = if receipt.erasure.is_some() { FORMAT_ERASED } else { FORMAT };
        if receipt.format != format {
            return Err(ReceiptError::OtherFormat(receipt.format.chars().take(40).collect()));
        }
        Ok(receipt)
    }

    /// Each member has one spelling: hexadecimal in lower case. Two receipts that say the same are the same.
    fn in_its_only_form(&self, bytes: &[u8]) -> Result<(), ReceiptError> {
        let hex = |text: &str| !text.bytes().any(|b| b.is_ascii_uppercase());
        let opening = self.opening.as_ref();
        let lower = hex(&self.entry)
            && opening.is_none_or(|o| hex(&o.salt) && hex(&o.canonical) && o.raw.as_deref().is_none_or(hex))
            && self
                .erasure
                .as_ref()
                .is_none_or(|e| [&e.reason, &e.salt, &e.root, &e.entry].into_iter().chain(&e.hashes).all(|h| hex(h)));
        if lower && (self.is_written_as(bytes) || self.says_the_same_as(bytes)) { Ok(()) } else { Err(bad("spelling")) }
    }

    /// Whether the bytes are our own writing, on several lines or on one: seen at once, as nearly all receipts are.
    fn is_written_as(&self, bytes: &[u8]) -> bool {
        let bytes = bytes.trim_ascii();
        let written =
            if bytes.starts_with(b"{\n") { serde_json::to_vec_pretty(self) } else { serde_json::to_vec(self) };
        written.is_ok_and(|written| written == bytes)
    }

    /// Whether the bytes say what was read, member by member, in any order and with any white space.
    fn says_the_same_as(&self, bytes: &[u8]) -> bool {
        let read: Option<serde_json::Value> = serde_json::from_slice(bytes).ok();
        read.is_some() && read == serde_json::to_value(self).ok()
    }

    /// The receipt as people file it.
    pub fn to_json(&self) -> String {
        // Strings, numbers and lists only: serialisation cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The log entry.
    pub fn log_entry(&self) -> Result<Entry, ReceiptError> {
        let bytes = hex::decode(&self.entry).map_err(|_| bad("entry"))?;
        Entry::from_bytes(&bytes).map_err(|_| bad("entry"))
    }

    /// What the entry speaks of, if it can be read.
    pub fn kind(&self) -> Option<Kind> {
        self.log_entry().ok().map(|entry| entry.kind)
    }

    /// The tlog-proof.
    pub fn tlog_proof(&self) -> Result<TlogProof, ReceiptError> {
        TlogProof::parse(&self.proof)
    }
}

impl Opening {
    /// The salt and the two digests.
    pub fn read(&self) -> Result<(Salt, Digest, Option<Digest>), ReceiptError> {
        let digest = |text: &str, name| Digest::from_hex(text).ok_or_else(|| bad(name));
        let raw = self.raw.as_deref().map(|raw| digest(raw, "opening.raw")).transpose()?;
        Ok((Salt(digest(&self.salt, "opening.salt")?.0), digest(&self.canonical, "opening.canonical")?, raw))
    }
}

impl TlogProof {
    pub(crate) fn parse(text: &str) -> Result<Self, ReceiptError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or_else(|| bad("proof"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(PROOF_HEADER) {
            return Err(bad("proof"));
        }
        let mut lines = lines.skip_while(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|l| l.strip_prefix("index ")).and_then(number);
        let hashes: Option<Proof> = lines.map(hash).collect();
        match (index, hashes) {
            (Some(index), Some(hashes)) if hashes.len() <= MAX_PROOF => {
                Ok(Self { index, hashes, checkpoint: checkpoint.to_owned() })
            }
            _ => Err(bad("proof")),
        }
    }

    /// The text form.
    pub fn to_text(&self) -> String {
        let hashes: String = self.hashes.iter().map(|h| format!("{}\n", STANDARD.encode(h))).collect();
        format!("{PROOF_HEADER}\nindex {}\n{hashes}\n{}", self.index, self.checkpoint)
    }
}

/// A decimal number in its only form.
fn number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|n| n.to_string() == text)
}

fn hash(line: &str) -> Option<[u8; 32]> {
    STANDARD.decode(line).ok()?.try_into().ok()
}

fn bad(part: &str) -> ReceiptError {
    ReceiptError::Malformed(format!("its {part} cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tlog_proof_prints_as_it_reads() {
        let proof = TlogProof { index: 7, hashes: vec![[1; 32], [2; 32]], checkpoint: "log\n9\n".into() };
        let windows = proof.to_text().replacen("index 7\n", "index 7\r\n", 1);
        assert!(TlogProof::parse(&windows).is_err(), "a second spelling");
        assert_eq!(TlogProof::parse(&proof.to_text()), Ok(proof));
        for bad in [
            "",
            "c2sp.org/tlog-proof@v1\nindex 07\n\nx",
            "c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nx",
            "other\nindex 1\n\nx",
        ] {
            assert!(TlogProof::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn other_formats_and_unknown_members_are_refused() {
        let text = r#"{"format":"medseal-receipt/9","custodian":"","reference":"","versionId":"","entry":"","proof":"","logKey":""}"#;
        assert_eq!(Receipt::parse(text.as_bytes()), Err(ReceiptError::OtherFormat("medseal-receipt/9".into())));
        let text = text.replace("/9", "/1").replace("\"logKey\"", "\"x\":1,\"logKey\"");
        assert!(matches!(Receipt::parse(text.as_bytes()), Err(ReceiptError::Malformed(_))));
    }
}
