//! Witnesses: others who sign that a log only grew. C2SP tlog-cosignature (`cosignature/v1`) and the request of C2SP tlog-witness.

use crate::checkpoint::{Checkpoint, CheckpointError, LogKey, MAX_NOTE_BYTES};
use crate::tree::{MAX_PROOF, Proof, Root, check_consistency};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signed_note::{Note, Signature, Verifier, VerifierList};
use std::fmt;

/// The byte that says cosignature/v1 in note keys.
const ALG_COSIGNATURE: u8 = 4;
/// A time of eight bytes and an Ed25519 signature.
const SIGNATURE_BYTES: usize = 8 + 64;

/// A witness's public key, `name+hash+base64`.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessKey {
    text: String,
    name: String,
    id: u32,
    public: [u8; 32],
}

/// A witness's signing key.
pub struct Witness {
    key: WitnessKey,
    pair: Ed25519KeyPair,
}

/// What a log sends to a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is thought to know; 0 if none.
    pub old: u64,
    /// The consistency proof from there (RFC 9162 section 2.1.4).
    pub proof: Proof,
    pub note: String,
}

/// Why a witness does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    #[error("not a request of tlog-witness")]
    Malformed,
    #[error("the checkpoint bears no valid signature by the log's key")]
    Signature,
    #[error("the old size is above the checkpoint's")]
    Backwards,
    #[error("the newest checkpoint that was cosigned has {0} entries")]
    OtherSize(u64),
    #[error("the consistency proof does not lead from the checkpoint that was cosigned to this one")]
    Inconsistent,
    /// The log has signed two histories: both checkpoints are evidence.
    #[error("the log has signed another root at {0} entries")]
    Fork(u64),
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Witness({}, <redacted>)", self.key.name)
    }
}

impl fmt::Debug for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WitnessKey({})", self.text)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Witness {
    /// The witness `name` with a 32-byte Ed25519 seed.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, CheckpointError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CheckpointError::Key)?;
        let public: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| CheckpointError::Key)?;
        if !signed_note::is_key_name_valid(name) {
            return Err(CheckpointError::Origin);
        }
        let encoded = [&[ALG_COSIGNATURE], public.as_slice()].concat();
        let id = signed_note::key_id(name, &encoded);
        let text = format!("{name}+{id:08x}+{}", STANDARD.encode(encoded));
        Ok(Self { key: WitnessKey { text, name: name.to_owned(), id, public }, pair })
    }

    /// The public key.
    pub fn key(&self) -> &WitnessKey {
        &self.key
    }

    /// The line that says: at `time`, seconds since 1970, this was the newest checkpoint that the witness knew.
    pub fn cosign(&self, note: &str, time: u64) -> Result<String, CheckpointError> {
        let signature = self.pair.sign(&message(text(note)?, time));
        let bytes = [&self.key.id.to_be_bytes(), time.to_be_bytes().as_slice(), signature.as_ref()].concat();
        Ok(format!("\u{2014} {} {}\n", self.key.name, STANDARD.encode(bytes)))
    }
}

impl WitnessKey {
    /// Reads a key. It has one spelling.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CheckpointError::Key);
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| CheckpointError::Key)?;
        let public = bytes.strip_prefix(&[ALG_COSIGNATURE]).and_then(|public| public.try_into().ok());
        let public: [u8; 32] = public.ok_or(CheckpointError::Key)?;
        let expected = signed_note::key_id(name, &bytes);
        if !signed_note::is_key_name_valid(name) || id != format!("{expected:08x}") {
            return Err(CheckpointError::Key);
        }
        Ok(Self { text: text.to_owned(), name: name.to_owned(), id: expected, public })
    }

    /// The witness's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When this witness cosigned the note, in seconds since 1970; nothing if it did not.
    pub fn cosigned(&self, note: &str) -> Option<u64> {
        if note.len() > MAX_NOTE_BYTES {
            return None;
        }
        let parsed = Note::from_bytes(note.as_bytes()).ok()?;
        let (signatures, _) = parsed.verify(&VerifierList::new(vec![Box::new(self.clone())])).ok()?;
        signatures.first().map(Signature::signature).and_then(time)
    }
}

impl Verifier for WitnessKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn verify(&self, msg: &[u8], sig: &[u8]) -> bool {
        let Some((time, signature)) = time(sig).zip(sig.get(8..)) else { return false };
        sig.len() == SIGNATURE_BYTES
            && UnparsedPublicKey::new(&ED25519, self.public).verify(&message(msg, time), signature).is_ok()
    }
}

fn time(signature: &[u8]) -> Option<u64> {
    signature.first_chunk::<8>().map(|time| u64::from_be_bytes(*time))
}

fn message(text: &[u8], time: u64) -> Vec<u8> {
    [format!("cosignature/v1\ntime {time}\n").as_bytes(), text].concat()
}

/// What of a note is signed: all before its empty line.
fn text(note: &str) -> Result<&[u8], CheckpointError> {
    let end = note.rfind("\n\n").ok_or(CheckpointError::Malformed)?;
    Ok(&note.as_bytes()[..=end])
}

/// The note with more signature lines at its end, each once.
pub fn with_cosignatures(note: &str, lines: &[String]) -> String {
    let mut note = note.to_owned();
    for line in lines {
        if !note.contains(line.as_str()) {
            note.push_str(line);
        }
    }
    note
}

impl AddCheckpoint {
    /// The body of the request.
    pub fn to_text(&self) -> String {
        let lines: String = self.proof.iter().map(|hash| format!("{}\n", STANDARD.encode(hash))).collect();
        format!("old {}\n{lines}\n{}", self.old, self.note)
    }

    /// Reads a body.
    pub fn parse(body: &[u8]) -> Result<Self, Objection> {
        let text = std::str::from_utf8(body).ok().filter(|text| text.len() <= 2 * MAX_NOTE_BYTES);
        let (head, note) = text.and_then(|text| text.split_once("\n\n")).ok_or(Objection::Malformed)?;
        let mut lines = head.split('\n');
        let old = lines.next().and_then(|line| line.strip_prefix("old ")).ok_or(Objection::Malformed)?;
        let size: u64 = old.parse().map_err(|_| Objection::Malformed)?;
        let proof: Option<Proof> = lines.map(|line| STANDARD.decode(line).ok()?.try_into().ok()).collect();
        let proof =
            proof.filter(|proof| proof.len() <= MAX_PROOF && size.to_string() == old).ok_or(Objection::Malformed)?;
        Ok(Self { old: size, proof, note: note.to_owned() })
    }

    /// The log that it says it is of.
    pub fn origin(&self) -> &str {
        self.note.split('\n').next().unwrap_or_default()
    }

    /// Whether a witness that knows `known` of the log signs this.
    pub fn consider(&self, log: &LogKey, known: Option<(u64, Root)>) -> Result<Checkpoint, Objection> {
        let new = log.open(&self.note).map_err(|error| match error {
            CheckpointError::Malformed => Objection::Malformed,
            _ => Objection::Signature,
        })?;
        if self.old > new.size {
            return Err(Objection::Backwards);
        }
        let (size, root) = known.unwrap_or((0, new.root));
        match (size == new.size, root == new.root) {
            // Both are signed by the log: whoever sent it, and whatever it thought we know.
            (true, false) => return Err(Objection::Fork(size)),
            _ if self.old != size => return Err(Objection::OtherSize(size)),
            (true, true) => return Ok(new),
            _ => {}
        }
        let holds = match size {
            0 => self.proof.is_empty(),
            _ => check_consistency(&self.proof, (size, root), (new.size, new.root)).is_ok(),
        };
        if holds { Ok(new) } else { Err(Objection::Inconsistent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::LogSigner;
    use crate::tree::{LeafHash, MemoryTree, prove_consistency, root};

    fn tree(leaves: u64, seed: u8) -> MemoryTree {
        let mut tree = MemoryTree::default();
        for n in 0..leaves {
            tree.push(LeafHash::of_bytes(&[&[seed], n.to_be_bytes().as_slice()].concat())).unwrap();
        }
        tree
    }

    fn request(log: &LogSigner, tree: &MemoryTree, old: u64, new: u64) -> AddCheckpoint {
        let proof = if old == 0 || old == new { Vec::new() } else { prove_consistency(old, new, tree).unwrap() };
        AddCheckpoint { old, proof, note: log.sign(new, root(new, tree).unwrap()).unwrap() }
    }

    /// The vector of C2SP tlog-cosignature's form, computed with Python's `cryptography` and `hashlib` alone.
    #[test]
    fn a_cosignature_is_of_the_standards_form() {
        let witness = Witness::from_seed("witness.example/w1", &[7; 32]).unwrap();
        let note = "log\n12\nBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=\n\n\u{2014} log AAAA\n";
        let line = witness.cosign(note, 1_679_315_147).unwrap();
        assert_eq!(
            (witness.key().to_string().as_str(), line.as_str()),
            (include_str!("../vectors/cosignature.key").trim_end(), include_str!("../vectors/cosignature.line"))
        );
    }

    #[test]
    fn cosignatures_are_added_and_found_and_any_change_is_noticed() {
        let (log, witness) =
            (LogSigner::from_seed("log", &[1; 32]).unwrap(), Witness::from_seed("w", &[2; 32]).unwrap());
        let note = log.sign(12, Root([5; 32])).unwrap();
        let line = witness.cosign(&note, 99).unwrap();
        let cosigned = with_cosignatures(&note, &[line.clone(), line]);
        assert_eq!(cosigned.matches('\u{2014}').count(), 2, "once");
        let key = WitnessKey::parse(&witness.key().to_string()).unwrap();
        assert_eq!((key.cosigned(&cosigned), key.cosigned(&note)), (Some(99), None));
        assert_eq!(log.key().open(&cosigned).unwrap().size, 12, "the log's own signature still holds");
        assert_eq!(key.cosigned(&cosigned.replacen("12", "13", 1)), None);
        assert_eq!(Witness::from_seed("w", &[3; 32]).unwrap().key().cosigned(&cosigned), None);
        for wrong in ["w+00000000+BAAA", "w", &log.key().to_string(), &key.to_string().to_uppercase()] {
            assert!(WitnessKey::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_witness_signs_what_grows_and_nothing_else() {
        let log = LogSigner::from_seed("log", &[1; 32]).unwrap();
        let (honest, forged) = (tree(20, 0), tree(20, 9));
        let known = |size| Some((size, root(size, &honest).unwrap()));
        let ask = |request: &AddCheckpoint, known| {
            let read = AddCheckpoint::parse(request.to_text().as_bytes()).unwrap();
            assert_eq!(&read, request);
            read.consider(log.key(), known).map(|checkpoint| checkpoint.size)
        };
        assert_eq!(ask(&request(&log, &honest, 0, 7), None), Ok(7));
        assert_eq!(ask(&request(&log, &honest, 7, 20), known(7)), Ok(20));
        assert_eq!(ask(&request(&log, &honest, 20, 20), known(20)), Ok(20), "once more");
        assert_eq!(ask(&request(&log, &honest, 5, 20), known(7)), Err(Objection::OtherSize(7)));
        assert_eq!(ask(&request(&log, &honest, 7, 9), None), Err(Objection::OtherSize(0)));
        assert_eq!(ask(&request(&log, &forged, 7, 20), known(7)), Err(Objection::Inconsistent));
        assert_eq!(ask(&request(&log, &forged, 7, 7), known(7)), Err(Objection::Fork(7)));
        assert_eq!(ask(&request(&log, &forged, 0, 7), known(7)), Err(Objection::Fork(7)));
        let backwards = AddCheckpoint { old: 8, ..request(&log, &honest, 0, 7) };
        assert_eq!(ask(&backwards, known(8)), Err(Objection::Backwards));
        let stranger = LogSigner::from_seed("log", &[3; 32]).unwrap();
        assert_eq!(ask(&request(&stranger, &honest, 0, 7), None), Err(Objection::Signature));
        for wrong in ["", "old 1", "old 01\n\nlog\n", "old x\n\nlog\n", "old 1\nAAAA\n\nlog\n1\n", "new 1\n\nlog\n"] {
            assert_eq!(AddCheckpoint::parse(wrong.as_bytes()), Err(Objection::Malformed), "{wrong:?}");
        }
    }
}
