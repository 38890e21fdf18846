//! What goes into the log for a resource: never a hash of patient data, always a commitment under a random
//! salt. With the salt the commitment opens to one resource; once the salt is destroyed it says nothing.

use aws_lc_rs::{constant_time, digest, hmac};
use std::fmt;

/// The domain of resource commitments; a new suite takes a new text.
const DOMAIN: &[u8] = b"medseal/v1/resource\0";
/// Suite 1: HMAC-SHA256 commitments, SHA-256 digests.
pub const SUITE: u8 = 1;
/// The version byte of every entry.
const ENTRY_VERSION: u8 = 1;
/// The length of an entry in bytes: version, kind, suite, commitment.
pub const ENTRY_BYTES: usize = 35;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// The secret that opens a commitment.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

/// A commitment to one version of one resource.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Commitment(pub [u8; 32]);

/// What a log entry speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Resource,
    Tombstone,
    Consent,
    Access,
    Emergency,
}

/// One entry of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub kind: Kind,
    pub commitment: Commitment,
}

/// What a commitment binds.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// The organisation that holds the resource.
    pub custodian: &'s str,
    /// `Type/id`.
    pub reference: &'s str,
    pub version: &'s str,
    /// SHA-256 of the canonical resource.
    pub canonical: Digest,
    /// SHA-256 of the raw message it came from, where it came from one.
    pub raw: Option<Digest>,
}

/// Bytes that are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a log entry of a known version, kind and suite")]
pub struct EntryError;

impl Digest {
    /// SHA-256.
    pub fn of(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
        Self(out)
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut out = [0; 32];
        hex::decode_to_slice(text, &mut out).ok().map(|()| Self(out))
    }
}

macro_rules! prints_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    )*};
}
prints_as_hex!(Digest, Commitment);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(<redacted>)")
    }
}

impl Commitment {
    /// Commits to a subject under a salt.
    pub fn new(salt: &Salt, subject: &Subject<'_>) -> Self {
        let mut message = DOMAIN.to_vec();
        for part in [subject.custodian, subject.reference, subject.version] {
            message.extend(length(part));
            message.extend(part.as_bytes());
        }
        message.extend(subject.canonical.0);
        message.extend(subject.raw.iter().flat_map(|raw| raw.0));
        keyed(salt, &message)
    }

    /// Whether the salt and subject open this commitment; in constant time.
    pub fn opens(&self, salt: &Salt, subject: &Subject<'_>) -> bool {
        constant_time::verify_slices_are_equal(&Self::new(salt, subject).0, &self.0).is_ok()
    }
}

/// HMAC-SHA256 under the salt.
pub(crate) fn keyed(salt: &Salt, message: &[u8]) -> Commitment {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salt.0);
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, message).as_ref());
    Commitment(out)
}

/// `lp`: the length in bytes as four bytes, most significant first.
pub(crate) fn length(part: &str) -> [u8; 4] {
    // Parts are names and ids, bounded far below 4 GiB where they are made.
    (part.len() as u32).to_be_bytes()
}

impl Kind {
    /// The byte in an entry.
    pub fn byte(self) -> u8 {
        match self {
            Self::Resource => 1,
            Self::Tombstone => 2,
            Self::Consent => 3,
            Self::Access => 4,
            Self::Emergency => 5,
        }
    }

    /// The kind of a byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Resource, Self::Tombstone, Self::Consent, Self::Access, Self::Emergency]
            .into_iter()
            .find(|kind| kind.byte() == byte)
    }

    /// Its name in receipts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Tombstone => "tombstone",
            Self::Consent => "consent",
            Self::Access => "access",
            Self::Emergency => "emergency",
        }
    }
}

impl Entry {
    /// The bytes that the log holds.
    pub fn to_bytes(&self) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[..3].copy_from_slice(&[ENTRY_VERSION, self.kind.byte(), SUITE]);
        out[3..].copy_from_slice(&self.commitment.0);
        out
    }

    /// Reads an entry; an unknown version, kind or suite is refused, not guessed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let [ENTRY_VERSION, kind, SUITE, commitment @ ..] = bytes else { return Err(EntryError) };
        let kind = Kind::from_byte(*kind).ok_or(EntryError)?;
        let commitment = Commitment(commitment.try_into().map_err(|_| EntryError)?);
        Ok(Self { kind, commitment })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subject<'s>(parts: [&'s str; 3], raw: Option<Digest>) -> Subject<'s> {
        Subject { custodian: parts[0], reference: parts[1], version: parts[2], canonical: Digest::of(b"{}"), raw }
    }

    #[test]
    fn the_vectors_hold() {
        let file: serde_json::Value = serde_json::from_str(include_str!("../vectors/commitment.json")).unwrap();
        for case in file["cases"].as_array().unwrap() {
            let text = |name: &str| case[name].as_str().unwrap();
            let salt = Salt(Digest::from_hex(text("salt")).unwrap().0);
            let subject = Subject {
                custodian: text("custodian"),
                reference: text("reference"),
                version: text("version"),
                canonical: Digest::of(text("canonical").as_bytes()),
                raw: case["raw"].as_str().map(|raw| Digest::of(raw.as_bytes())),
            };
            let commitment = Commitment::new(&salt, &subject);
            assert_eq!(commitment.to_string(), text("commitment"));
            let entry = Entry { kind: Kind::Resource, commitment };
            assert_eq!(hex::encode(entry.to_bytes()), text("entry"));
        }
    }

    #[test]
    fn unknown_entries_are_refused() {
        let entry = Entry { kind: Kind::Access, commitment: Commitment([7; 32]) };
        assert_eq!(Entry::from_bytes(&entry.to_bytes()), Ok(entry));
        for (at, value) in [(0, 2), (1, 9), (2, 0)] {
            let mut bytes = entry.to_bytes();
            bytes[at] = value;
            assert_eq!(Entry::from_bytes(&bytes), Err(EntryError));
        }
        assert_eq!(Entry::from_bytes(&entry.to_bytes()[..34]), Err(EntryError));
    }

    proptest! {
        #[test]
        fn only_its_own_subject_opens_it(
            a in prop::array::uniform3("[a-z/]{0,6}"), b in prop::array::uniform3("[a-z/]{0,6}"), raw in any::<bool>()
        ) {
            let salt = Salt([3; 32]);
            let of = |p: &[String; 3], raw: bool| {
                let raw = raw.then(|| Digest::of(b"MSH"));
                Commitment::new(&salt, &subject([&p[0], &p[1], &p[2]], raw))
            };
            prop_assert_eq!(of(&a, raw) == of(&b, raw), a == b);
            prop_assert_ne!(of(&a, true), of(&a, false));
            prop_assert!(!of(&a, raw).opens(&Salt([4; 32]), &subject([&a[0], &a[1], &a[2]], None)));
        }
    }
}
