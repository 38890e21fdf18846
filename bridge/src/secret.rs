//! Secrets: they do not print, and are wiped when dropped.

use std::fmt;
use zeroize::Zeroizing;

/// A 256-bit key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; 32]>);

/// A source of random bytes. Passed in, so that pure code stays pure and tests can fix it.
pub type Random<'r> = &'r dyn Fn(&mut [u8]) -> Result<(), NoRandomness>;

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// The operating system's random bytes, by aws-lc.
pub fn system_random(out: &mut [u8]) -> Result<(), NoRandomness> {
    aws_lc_rs::rand::fill(out).map_err(|_| NoRandomness)
}

/// N random bytes.
pub fn bytes<const N: usize>(random: Random<'_>) -> Result<[u8; N], NoRandomness> {
    let mut out = [0; N];
    random(&mut out)?;
    Ok(out)
}

impl Key {
    /// A key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh key.
    pub fn generate(random: Random<'_>) -> Result<Self, NoRandomness> {
        Ok(Self::new(bytes(random)?))
    }

    /// The bytes, for the one who encrypts.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for one purpose, by HKDF-SHA256: keys of different purposes say nothing of each other.
    pub fn derive(&self, purpose: &str) -> Self {
        use aws_lc_rs::hkdf;
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"medseal/v1/derive");
        let info = [purpose.as_bytes()];
        let mut out = [0; 32];
        let filled =
            salt.extract(self.0.as_slice()).expand(&info, hkdf::HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
        // 32 bytes are one block of HKDF-SHA256: it cannot be too long.
        debug_assert!(filled.is_ok());
        Self::new(out)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(<redacted>)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_do_not_print_and_purposes_differ() {
        let key = Key::new([7; 32]);
        assert_eq!(format!("{key:?}"), "Key(<redacted>)");
        assert_ne!(key.derive("a"), key.derive("b"));
        assert_eq!(key.derive("a"), key.derive("a"));
        assert_ne!(key.derive("a"), Key::new([8; 32]).derive("a"));
    }
}
