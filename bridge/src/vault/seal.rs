//! Seals records: AES-256-GCM under the owner's data key with a fresh nonce. The additional data names the
//! custodian and what the record is, so that a ciphertext cannot stand for another record.

use crate::ids::{Owner, ResourceId, Version};
use crate::secret::{Key, NoRandomness, Random, bytes};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// What a record is; bound into its ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    pub kind: RecordKind,
    /// A resource type, or `Message`.
    pub type_name: String,
    pub id: ResourceId,
    pub version: Version,
    pub owner: Owner,
}

/// The kinds of record in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    Resource,
    Message,
    /// That a patient was erased.
    Erasure,
}

/// A sealed record: the only form in which content leaves this module for a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub label: Label,
    /// Nonce, ciphertext, tag.
    pub body: Vec<u8>,
}

/// Why a record does not open or seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the record does not open: its bytes, its place or its key are not the ones it was sealed with")]
    Refused,
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl RecordKind {
    /// The byte in a pack.
    pub fn byte(self) -> u8 {
        match self {
            Self::Resource => 1,
            Self::Message => 2,
            Self::Erasure => 3,
        }
    }

    /// The kind of a byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Resource, Self::Message, Self::Erasure].into_iter().find(|kind| kind.byte() == byte)
    }
}

/// Seals a record.
pub fn seal(key: &Key, custodian: &str, label: Label, plain: &[u8], random: Random<'_>) -> Result<Sealed, SealError> {
    let body = seal_bytes(key, &additional(custodian, &label), plain, random)?;
    Ok(Sealed { label, body })
}

/// Opens a record; one flipped bit anywhere refuses.
pub fn open(key: &Key, custodian: &str, sealed: &Sealed) -> Result<Vec<u8>, SealError> {
    open_bytes(key, &additional(custodian, &sealed.label), &sealed.body)
}

/// Seals bytes that are no record, such as a data key, bound to what `aad` says.
pub fn seal_bytes(key: &Key, aad: &[u8], plain: &[u8], random: Random<'_>) -> Result<Vec<u8>, SealError> {
    let nonce: [u8; NONCE_LEN] = bytes(random)?;
    let mut body = Vec::with_capacity(NONCE_LEN + plain.len() + 16);
    body.extend(plain);
    cipher(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body)
        .map_err(|_| SealError::Refused)?;
    body.splice(..0, nonce);
    Ok(body)
}

/// Opens what `seal_bytes` made.
pub fn open_bytes(key: &Key, aad: &[u8], body: &[u8]) -> Result<Vec<u8>, SealError> {
    let (nonce, rest) = body.split_at_checked(NONCE_LEN).ok_or(SealError::Refused)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Refused)?;
    let mut plain = rest.to_vec();
    let length = cipher(key)?.open_in_place(nonce, Aad::from(aad), &mut plain).map_err(|_| SealError::Refused)?.len();
    plain.truncate(length);
    Ok(plain)
}

fn cipher(key: &Key) -> Result<LessSafeKey, SealError> {
    let unbound = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| SealError::Refused)?;
    Ok(LessSafeKey::new(unbound))
}

/// Custodian, kind, owner, type, id and version, each with its length.
fn additional(custodian: &str, label: &Label) -> Vec<u8> {
    let mut out = b"medseal/v1/record\0".to_vec();
    out.push(label.kind.byte());
    let version = label.version.to_string();
    for part in [custodian, label.owner.as_str(), &label.type_name, label.id.as_str(), &version] {
        out.extend((part.len() as u32).to_be_bytes());
        out.extend(part.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::system_random;
    use proptest::prelude::*;

    fn label(id: &str, version: u32) -> Label {
        Label {
            kind: RecordKind::Resource,
            type_name: "Patient".into(),
            id: ResourceId::parse(id).unwrap(),
            version: Version(version),
            owner: Owner::custodian(),
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_refused(plain in prop::collection::vec(any::<u8>(), 0..80), bit in any::<usize>()) {
            let key = Key::new([1; 32]);
            let mut sealed = seal(&key, "c", label("1", 1), &plain, &system_random).unwrap();
            prop_assert_eq!(open(&key, "c", &sealed).unwrap(), plain);
            let bit = bit % (sealed.body.len() * 8);
            sealed.body[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(open(&key, "c", &sealed), Err(SealError::Refused));
        }
    }

    #[test]
    fn a_record_cannot_stand_for_another() {
        let key = Key::new([1; 32]);
        let sealed = seal(&key, "c", label("1", 1), b"x", &system_random).unwrap();
        for other in [
            label("2", 1),
            label("1", 2),
            Label { kind: RecordKind::Message, ..label("1", 1) },
            Label { type_name: "Group".into(), ..label("1", 1) },
        ] {
            let moved = Sealed { label: other, ..sealed.clone() };
            assert_eq!(open(&key, "c", &moved), Err(SealError::Refused));
        }
        assert_eq!(open(&key, "d", &sealed), Err(SealError::Refused));
        assert_eq!(open(&Key::new([2; 32]), "c", &sealed), Err(SealError::Refused));
        assert_eq!(open_bytes(&key, b"", &[0; 5]), Err(SealError::Refused));
    }
}
