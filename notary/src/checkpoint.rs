//! Signed checkpoints: the C2SP tlog-checkpoint in a C2SP signed note (Ed25519), as Go's checksum database,
//! Sigstore and Certificate Transparency's static logs use.

use crate::tree::Root;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use std::fmt;

/// The byte that says Ed25519 in note keys.
const ALG_ED25519: u8 = 1;
/// The longest note that is read: a checkpoint with some dozens of witnesses.
pub const MAX_NOTE_BYTES: usize = 64 << 10;

/// The log's signing key.
pub struct LogSigner {
    origin: String,
    signer: StandardSigner,
    verifier: LogKey,
}

/// The log's public key as a note verifier key: `origin+hash+base64`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct LogKey(String);

/// A checkpoint whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Root,
}

/// Why a checkpoint or key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("not a log key of the form name+hash+key")]
    Key,
    #[error("the origin must be a name without white space or `+`")]
    Origin,
    #[error("not a signed checkpoint")]
    Malformed,
    #[error("the checkpoint does not bear a valid signature by the log's key")]
    Signature,
    #[error("the checkpoint is of the log {0}, not of the key's log")]
    OtherLog(String),
}

impl fmt::Debug for LogSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogSigner({}, <redacted>)", self.origin)
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogKey({self})")
    }
}

impl fmt::Display for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl LogSigner {
    /// The signer of the log `origin` with a 32-byte Ed25519 seed.
    pub fn from_seed(origin: &str, seed: &[u8; 32]) -> Result<Self, CheckpointError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CheckpointError::Key)?;
        let public = [&[ALG_ED25519], pair.public_key().as_ref()].concat();
        if !signed_note::is_key_name_valid(origin) {
            return Err(CheckpointError::Origin);
        }
        let id = signed_note::key_id(origin, &public);
        let private = [&[ALG_ED25519], seed.as_slice()].concat();
        let skey = format!("PRIVATE+KEY+{origin}+{id:08x}+{}", STANDARD.encode(private));
        let signer = StandardSigner::new(&skey).map_err(|_| CheckpointError::Origin)?;
        let verifier = LogKey(format!("{origin}+{id:08x}+{}", STANDARD.encode(public)));
        Ok(Self { origin: origin.to_owned(), signer, verifier })
    }

    /// The public key.
    pub fn key(&self) -> &LogKey {
        &self.verifier
    }

    /// The signed note for a tree.
    pub fn sign(&self, size: u64, root: Root) -> Result<String, CheckpointError> {
        let hash = tlog_tiles::tlog::Hash(root.0);
        let text = tlog_tiles::checkpoint::Checkpoint::new(&self.origin, size, hash, "")
            .map_err(|_| CheckpointError::Origin)?
            .to_bytes();
        let mut note = Note::new(&text, &[]).map_err(|_| CheckpointError::Malformed)?;
        note.add_sigs(&[&self.signer]).map_err(|_| CheckpointError::Signature)?;
        String::from_utf8(note.to_bytes()).map_err(|_| CheckpointError::Malformed)
    }
}

impl LogKey {
    /// Reads a verifier key.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        // The id has one spelling, as all hexadecimal here.
        let id = text.split('+').nth(1).ok_or(CheckpointError::Key)?;
        if id.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(CheckpointError::Key);
        }
        StandardVerifier::new(text).map(|_| Self(text.to_owned())).map_err(|_| CheckpointError::Key)
    }

    /// The log's name.
    pub fn origin(&self) -> &str {
        self.0.split('+').next().unwrap_or("")
    }

    /// Checks a signed note and reads the checkpoint in it.
    pub fn open(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(CheckpointError::Malformed);
        }
        let verifier = StandardVerifier::new(&self.0).map_err(|_| CheckpointError::Key)?;
        let parsed = Note::from_bytes(note.as_bytes()).map_err(|_| CheckpointError::Malformed)?;
        let known = VerifierList::new(vec![Box::new(verifier)]);
        parsed.verify(&known).map_err(|_| CheckpointError::Signature)?;
        let inner =
            tlog_tiles::checkpoint::Checkpoint::from_bytes(parsed.text()).map_err(|_| CheckpointError::Malformed)?;
        if inner.origin() != self.origin() {
            return Err(CheckpointError::OtherLog(inner.origin().to_owned()));
        }
        Ok(Checkpoint { origin: inner.origin().to_owned(), size: inner.size(), root: Root(inner.hash().0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(origin: &str, byte: u8) -> LogSigner {
        LogSigner::from_seed(origin, &[byte; 32]).unwrap()
    }

    #[test]
    fn signs_and_opens() {
        let signer = signer("medseal.example/log", 1);
        let note = signer.sign(12, Root([5; 32])).unwrap();
        assert!(note.starts_with("medseal.example/log\n12\n"));
        let opened = LogKey::parse(&signer.key().to_string()).unwrap().open(&note).unwrap();
        assert_eq!((opened.size, opened.root), (12, Root([5; 32])));
    }

    #[test]
    fn a_changed_note_and_a_strangers_key_are_refused() {
        let ours = signer("log", 1);
        let note = ours.sign(12, Root([5; 32])).unwrap();
        let changed = note.replacen("12", "13", 1);
        assert_eq!(ours.key().open(&changed), Err(CheckpointError::Signature));
        assert_eq!(signer("log", 2).key().open(&note), Err(CheckpointError::Signature));
        assert_eq!(ours.key().open("log\n12\n"), Err(CheckpointError::Malformed));
        assert_eq!(LogSigner::from_seed("a b", &[1; 32]).err(), Some(CheckpointError::Origin));
        assert_eq!(LogKey::parse("log+00000000+AAAA").err(), Some(CheckpointError::Key));
        let key = ours.key().to_string();
        let (name, rest) = key.split_once('+').unwrap();
        let loud = format!("{name}+{}{}", rest[..8].to_ascii_uppercase(), &rest[8..]);
        assert_ne!(loud, key);
        assert_eq!(LogKey::parse(&loud).err(), Some(CheckpointError::Key), "a second spelling");
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(format!("{:?}", signer("log", 1)), "LogSigner(log, <redacted>)");
    }
}
