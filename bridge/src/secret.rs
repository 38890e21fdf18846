//! Secrets: they do not print, and are wiped when dropped.

use std::fmt;
use zeroize::Zeroizing;

/// A 256-bit key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Zeroizing<[u8; 32]>);

/// Debug forms that say what a thing is and nothing of what is in it: for what holds patient data.
#[macro_export]
macro_rules! redacted_debug {
    ($($name:ty),* $(,)?) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(<redacted>)"))
            }
        }
    )*};
}

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
    fn keys_do_not_print() {
        assert_eq!(format!("{:?}", Key::new([7; 32])), "Key(<redacted>)");
    }
}
