//! A session: what the bearer of a cookie is taken for. Pure.

use super::secrets::{Bearer, Blind};
use super::{Account, FRESH, SESSION_IDLE};
use aws_lc_rs::{constant_time, hmac};
use std::time::Duration;

/// The prefix lets browsers take it over TLS and for this host and all its paths alone (RFC 6265bis, section 4.1.3.2).
const COOKIE: &str = "__Host-medseal";
const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";
/// `seen` is written this often at most.
pub const SEEN_EVERY: Duration = Duration::from_secs(60);

/// Somebody who is signed in.
#[derive(Debug, Clone)]
pub struct Session {
    pub account: Account,
    /// What was signed in with.
    pub credential: Blind,
    /// When, in milliseconds since 1970.
    pub made: i64,
    pub(super) bearer: Bearer,
}

/// A session as the index has it. Times in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub account: Account,
    pub credential: Blind,
    pub made: i64,
    pub seen: i64,
    pub expires: i64,
}

impl Kept {
    /// Whether it still counts.
    pub fn lives(&self, now: i64) -> bool {
        let idle = SESSION_IDLE.as_millis() as i64;
        !self.account.disabled && now < self.expires && now - self.seen < idle
    }

    /// For the one who bears it.
    pub fn session(self, bearer: Bearer) -> Session {
        Session { account: self.account, credential: self.credential, made: self.made, bearer }
    }
}

impl Session {
    /// What each form of a page carries, so that no other site's page can send it: it follows from the cookie, which
    /// other pages cannot read.
    pub fn token(&self) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.bearer.expose().as_bytes());
        hex::encode(hmac::sign(&key, b"medseal/v1/form"))
    }

    /// Whether a form carries it.
    pub fn is_token(&self, given: &str) -> bool {
        constant_time::verify_slices_are_equal(self.token().as_bytes(), given.as_bytes()).is_ok()
    }

    /// Whether the person signed in lately enough to change what he signs in with.
    pub fn is_fresh(&self, now: i64) -> bool {
        now - self.made < FRESH.as_millis() as i64
    }

    /// What ends it.
    pub fn bearer(&self) -> &Bearer {
        &self.bearer
    }
}

/// The header that gives the cookie. It ends with the browser; the server ends it sooner or later.
pub fn cookie(bearer: &Bearer) -> String {
    format!("{COOKIE}={}; {ATTRIBUTES}", bearer.expose())
}

/// The header that takes it away.
pub fn no_cookie() -> String {
    format!("{COOKIE}=; {ATTRIBUTES}; Max-Age=0")
}

/// What a request bears. Two cookies of the name are none: somebody put one in.
pub fn borne<'h>(cookies: impl Iterator<Item = &'h str>) -> Option<Bearer> {
    only(cookies, COOKIE).and_then(Bearer::parse)
}

/// The value of the only cookie of a name.
pub fn only<'h>(cookies: impl Iterator<Item = &'h str>, name: &str) -> Option<&'h str> {
    let pairs = cookies.flat_map(|header| header.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(called, _)| *called == name);
    let (_, value) = found.next()?;
    found.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::system_random;

    #[test]
    fn the_cookie_comes_back_and_a_second_one_voids_it() {
        let bearer = Bearer::new(&system_random).unwrap();
        let header = cookie(&bearer);
        assert!(header.starts_with("__Host-medseal=") && header.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"));
        let pair = header.split(';').next().unwrap();
        let read = |headers: &[&str]| borne(headers.iter().copied()).map(|found| found.digest());
        assert_eq!(read(&[&format!("a=b; {pair}; c=d")]), Some(bearer.digest()));
        assert_eq!(read(&[pair, "a=b"]), Some(bearer.digest()));
        for bad in [&[] as &[&str], &["a=b"], &[pair, pair], &["__Host-medseal=short"], &["__host-medseal=x"]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert!(no_cookie().contains("Max-Age=0"));
    }
}
