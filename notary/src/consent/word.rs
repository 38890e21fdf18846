//! The words of the registry: key, tag, preimage, and the one slot that a grant is.

use crate::commitment::Digest;
use alloy_primitives::{B256, FixedBytes, U256, keccak256};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a tag is the hash of, before the preimage.
const TAG_DOMAIN: &[u8] = b"medseal/v1/revocation\0";
/// Times have 48 bits on chain.
pub(super) const MOST_TIME: u64 = (1 << 48) - 1;
/// The slot of the mapping from keys to words, which the contract's storage layout promises.
const WORDS_SLOT: u64 = 1;

/// The key of a grant: a hash that looks random and says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GrantKey(pub B256);

/// Of a sealed grant the hash of what revokes it; of a direct one its grantor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tag(pub FixedBytes<20>);

/// 32 random bytes that revoke a sealed grant. Whoever has them can: they do not print.
#[derive(Clone, PartialEq, Eq)]
pub struct Preimage(pub [u8; 32]);

/// What the contract stores of a grant: `tag160 | notAfter48 | revokedAt48`. Times in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "U256", into = "U256")]
pub struct Word {
    pub tag: Tag,
    /// The last second at which it holds.
    pub not_after: u64,
    pub revoked_at: Option<u64>,
}

impl GrantKey {
    /// The storage slot of this grant's word, for a proof of it alone.
    pub fn slot(self) -> B256 {
        let mut preimage = [0; 64];
        preimage[..32].copy_from_slice(self.0.as_slice());
        preimage[56..].copy_from_slice(&WORDS_SLOT.to_be_bytes());
        keccak256(preimage)
    }
}

impl fmt::Display for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Preimage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preimage(<redacted>)")
    }
}

impl Preimage {
    /// What is given away of it: the first twenty bytes of a SHA-256.
    pub fn tag(&self) -> Tag {
        let hash = Digest::of(&[TAG_DOMAIN, &self.0].concat());
        Tag(FixedBytes::from_slice(&hash.0[..20]))
    }
}

impl From<U256> for Word {
    fn from(word: U256) -> Self {
        let bytes: [u8; 32] = word.to_be_bytes();
        let time = |at: usize| bytes[at..at + 6].iter().fold(0, |time, byte| (time << 8) | u64::from(*byte));
        let (not_after, revoked) = (time(20), time(26));
        Self {
            tag: Tag(FixedBytes::from_slice(&bytes[..20])),
            not_after,
            revoked_at: (revoked != 0).then_some(revoked),
        }
    }
}

impl From<Word> for U256 {
    fn from(word: Word) -> Self {
        let time = |time: u64| U256::from(time.min(MOST_TIME));
        let tag: U256 = U256::from_be_slice(word.tag.0.as_slice()) << 96;
        tag | (time(word.not_after) << 48) | time(word.revoked_at.unwrap_or_default())
    }
}
