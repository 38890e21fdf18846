//! What is to be signed: a question with its own end, marked as ours, so that nothing is kept of those that nobody
//! answers and a stranger who asks for thousands fills nothing. One that was answered is remembered until its end, and
//! counts once. Pure.

use super::Refused;
use super::secrets::Secrets;
use crate::secret::{Random, bytes};
use notary::commitment::Digest;
use std::time::Duration;

/// How long a person may take to find a key and use it.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(300);

/// End (seconds since 1970), random bytes, mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; 40]);

impl Challenge {
    /// A new one for a purpose; `now` in seconds since 1970.
    pub fn new(secrets: &Secrets, purpose: &str, now: u64, random: Random<'_>) -> Result<Self, Refused> {
        let mut all = [0; 40];
        all[..8].copy_from_slice(&(now + CHALLENGE_LIFE.as_secs()).to_be_bytes());
        all[8..24].copy_from_slice(&bytes::<16>(random).map_err(|_| Refused::Secret)?);
        let mark = mark(secrets, purpose, &all[..24]);
        all[24..].copy_from_slice(&mark);
        Ok(Self(all))
    }

    /// Reads one that this server made for this purpose, and that has not ended.
    pub fn check(secrets: &Secrets, purpose: &str, bytes: &[u8], now: u64) -> Result<Self, Refused> {
        let challenge = bytes.try_into().map(Self).map_err(|_| Refused::Challenge)?;
        let expected = mark(secrets, purpose, &challenge.0[..24]);
        let ours = aws_lc_rs::constant_time::verify_slices_are_equal(&expected, &challenge.0[24..]).is_ok();
        if ours && challenge.expires() > now { Ok(challenge) } else { Err(Refused::Challenge) }
    }

    /// When it ends, in seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.0.iter().take(8).fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
    }

    /// When it was made.
    pub fn made(&self) -> u64 {
        self.expires().saturating_sub(CHALLENGE_LIFE.as_secs())
    }

    /// What is signed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What is remembered when it was answered.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.0)
    }
}

fn mark(secrets: &Secrets, purpose: &str, of: &[u8]) -> [u8; 16] {
    secrets.marks.token(&["challenge", purpose, &hex::encode(of)]).0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Key, system_random};

    #[test]
    fn a_challenge_is_ours_for_one_purpose_and_some_minutes() {
        let secrets = Secrets::new(&Key::new([1; 32]), Key::new([2; 32]));
        let made = Challenge::new(&secrets, "login", 1_000, &system_random).unwrap();
        let check = |purpose: &str, bytes: &[u8], now| Challenge::check(&secrets, purpose, bytes, now);
        assert_eq!(check("login", made.as_bytes(), 1_299).unwrap(), made);
        assert_eq!((made.made(), made.expires()), (1_000, 1_300));
        assert!(check("login", made.as_bytes(), 1_300).is_err(), "too old");
        assert!(check("join", made.as_bytes(), 1_001).is_err(), "of another purpose");
        assert!(check("login", &made.as_bytes()[1..], 1_001).is_err());
        for at in 0..40 {
            let mut changed = made.0;
            changed[at] ^= 1;
            assert!(check("login", &changed, 1_001).is_err(), "byte {at}");
        }
        let other = Secrets::new(&Key::new([3; 32]), Key::new([2; 32]));
        assert!(Challenge::check(&other, "login", made.as_bytes(), 1_001).is_err(), "another server's");
    }
}
