//! Grants of access, as the registry has them, and how far they have come. Times are milliseconds since 1970, but for `not_after`.

use super::lease;
use super::sql::{Row, Value, values};
use super::store::{Store, StoreError, set};
use crate::ids::ResourceId;
use notary::consent::{GrantKey, Sealed, Tag};
use std::fmt::Display;
use std::str::FromStr;

/// The setting that holds the mirror of the registry.
const MIRROR: &str = "consent.mirror";
/// The setting that a recovery leaves: the grants that Consents carry are not here yet.
pub const LOST: &str = "consent.lost";
const ROW: &str = "SELECT key, consent, commitment, tag, not_after, preimage, made, revoked, ended FROM consent_grant";

/// A grant that was given here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub key: GrantKey,
    /// The Consent that holds its opening.
    pub consent: ResourceId,
    pub sealed: Sealed,
    /// The preimage, sealed; none: the patient alone has it.
    pub preimage: Option<String>,
    pub made: i64,
    /// When it was first known to be revoked, if it was.
    pub revoked: Option<i64>,
    /// The registry shows it revoked in a block that stays.
    pub ended: bool,
}

impl Store {
    /// Keeps a grant that is to be registered. False: it was given before.
    pub fn give(&self, given: &Given) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO consent_grant (key, consent, commitment, tag, not_after, preimage, made, sent, stands, revoked, \
             shown, ended, closed) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 0, 0, 0, 0) ON CONFLICT (key) DO NOTHING";
        let Given { key, consent, sealed, preimage, made, .. } = given;
        let (key, commitment, tag) = (key.to_string(), sealed.commitment.to_string(), sealed.tag.0.to_string());
        let (preimage, not_after) = (preimage.as_deref().unwrap_or_default(), sealed.not_after as i64);
        let values = values![&key, consent.as_str(), &commitment, &tag, not_after, preimage, *made];
        Ok(self.with(|c| c.execute(SQL, values))? == 1)
    }

    /// Forgets a grant whose Consent was not stored.
    pub fn ungive(&self, key: GrantKey) -> Result<(), StoreError> {
        self.with(|c| c.execute("DELETE FROM consent_grant WHERE key = ?1", values![&key.to_string()])).map(|_| ())
    }

    /// A grant.
    pub fn given(&self, key: GrantKey) -> Result<Option<Given>, StoreError> {
        let sql = format!("{ROW} WHERE key = ?1");
        self.read(|c| c.first(&sql, values![&key.to_string()], given))
    }

    /// The grants that a preimage revokes.
    pub fn given_with(&self, tag: Tag) -> Result<Vec<Given>, StoreError> {
        self.given_where("tag = ?1", values![&tag.0.to_string()])
    }

    /// Grants that are not known to be on the registry and were not sent to it since a time; the oldest first.
    pub fn unregistered(&self, now: u64, sent_before: i64, most: usize) -> Result<Vec<Given>, StoreError> {
        let only = "stands = 0 AND revoked = 0 AND not_after > ?1 AND sent < ?2 ORDER BY made, key LIMIT ?3";
        self.given_where(only, values![now as i64, sent_before, most as i64])
    }

    /// Revoked grants whose preimage is here and was not sent to the registry since a time.
    pub fn unshown(&self, now: u64, shown_before: i64, most: usize) -> Result<Vec<Given>, StoreError> {
        let only = "revoked > 0 AND ended = 0 AND preimage <> '' AND not_after > ?1 AND shown < ?2 \
                    ORDER BY revoked, key LIMIT ?3";
        self.given_where(only, values![now as i64, shown_before, most as i64])
    }

    /// Revoked grants whose Consents still say that they are active.
    pub fn unclosed(&self, most: usize) -> Result<Vec<Given>, StoreError> {
        self.given_where("revoked > 0 AND closed = 0 ORDER BY revoked, key LIMIT ?1", values![most as i64])
    }

    /// Grants whose last second is over and that nothing was concluded from yet.
    pub fn lapsed(&self, now: u64, most: usize) -> Result<Vec<Given>, StoreError> {
        self.given_where(
            "closed = 0 AND not_after < ?1 ORDER BY not_after, key LIMIT ?2",
            values![now as i64, most as i64],
        )
    }

    fn given_where(&self, only: &str, values: &[Value<'_>]) -> Result<Vec<Given>, StoreError> {
        self.read(|c| c.rows(&format!("{ROW} WHERE {only}"), values, given))
    }

    /// What was revoked since a time, by whichever replica.
    pub fn revoked_since(&self, time: i64) -> Result<Vec<GrantKey>, StoreError> {
        let sql = "SELECT key FROM consent_grant WHERE revoked > 0 AND revoked >= ?1";
        self.read(|c| c.rows(sql, values![time], |r| text(r, 0).map(GrantKey)))
    }

    /// Grants were sent to the registry.
    pub fn sent(&self, keys: &[GrantKey], now: i64) -> Result<(), StoreError> {
        self.mark("UPDATE consent_grant SET sent = ?2 WHERE key = ?1", keys, now)
    }

    /// Their preimages were.
    pub fn shown(&self, keys: &[GrantKey], now: i64) -> Result<(), StoreError> {
        self.mark("UPDATE consent_grant SET shown = ?2 WHERE key = ?1", keys, now)
    }

    /// The registry shows them in a block that stays.
    pub fn stand(&self, keys: &[GrantKey]) -> Result<(), StoreError> {
        self.mark("UPDATE consent_grant SET stands = ?2 WHERE key = ?1", keys, 1)
    }

    /// The registry shows them revoked in a block that stays.
    pub fn end(&self, keys: &[GrantKey]) -> Result<(), StoreError> {
        self.mark("UPDATE consent_grant SET ended = ?2 WHERE key = ?1", keys, 1)
    }

    /// What was to follow has followed: the Consents' status, and the tokens of apps.
    pub fn close(&self, keys: &[GrantKey]) -> Result<(), StoreError> {
        self.mark("UPDATE consent_grant SET closed = ?2 WHERE key = ?1", keys, 1)
    }

    /// They are revoked, for good. Any replica may say so: it only ever takes access away.
    pub fn withdraw(&self, keys: &[GrantKey], now: i64) -> Result<(), StoreError> {
        self.mark("UPDATE consent_grant SET revoked = ?2 WHERE key = ?1 AND revoked = 0", keys, now)
    }

    /// Keeps a preimage that somebody has shown, so that it is sent on.
    pub fn keep_preimage(&self, key: GrantKey, sealed: &str) -> Result<(), StoreError> {
        let sql = "UPDATE consent_grant SET preimage = ?2 WHERE key = ?1 AND preimage = ''";
        self.with(|c| c.execute(sql, values![&key.to_string(), sealed])).map(|_| ())
    }

    fn mark(&self, sql: &str, keys: &[GrantKey], value: i64) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.transaction(|c| {
            keys.iter().try_for_each(|key| c.execute(sql, values![&key.to_string(), value]).map(|_| ()))
        })
    }

    /// The mirror of the registry, as it was kept.
    pub fn kept_mirror(&self) -> Result<Option<String>, StoreError> {
        self.setting(MIRROR)
    }

    /// Keeps it, if the lease is still the one of this epoch.
    pub fn keep_mirror(&self, epoch: i64, json: &str) -> Result<(), StoreError> {
        self.transaction(|c| {
            lease::check(c, epoch)?;
            set(c, MIRROR, json)
        })
    }
}

fn given(r: &Row<'_>) -> Result<Given, StoreError> {
    let consent = ResourceId::parse(r.text(1)?).ok_or(StoreError::Nonsense("a Consent's id"))?;
    let sealed = Sealed { commitment: text(r, 2)?, tag: Tag(text(r, 3)?), not_after: r.size(4)? };
    Ok(Given {
        key: GrantKey(text(r, 0)?),
        consent,
        sealed,
        preimage: Some(r.string(5)?).filter(|preimage| !preimage.is_empty()),
        made: r.int(6)?,
        revoked: Some(r.int(7)?).filter(|revoked| *revoked > 0),
        ended: r.flag(8)?,
    })
}

fn text<T: FromStr<Err: Display>>(r: &Row<'_>, at: usize) -> Result<T, StoreError> {
    r.text(at)?.parse().map_err(|_| StoreError::Nonsense("a grant"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;
    use notary::chain::evm::B256;
    use notary::consent::Preimage;

    fn a(n: u8) -> Given {
        let sealed = Sealed { commitment: B256::repeat_byte(n), tag: Preimage([n; 32]).tag(), not_after: 1_000 };
        let (key, consent) = (GrantKey(B256::with_last_byte(n)), ResourceId::from_bytes([n; 16]));
        let preimage = (n == 1).then(|| "sealed".to_owned());
        Given { key, consent, sealed, preimage, made: i64::from(n), revoked: None, ended: false }
    }

    fn keys(given: Result<Vec<Given>, StoreError>) -> Vec<GrantKey> {
        given.unwrap().into_iter().map(|given| given.key).collect()
    }

    #[test]
    fn a_grant_goes_from_given_to_closed() {
        for (_keep, store) in stores() {
            let (one, two) = (a(1), a(2));
            assert_eq!([&one, &two, &one].map(|given| store.give(given).unwrap()), [true, true, false]);
            assert_eq!(store.given(one.key).unwrap(), Some(one.clone()));
            assert_eq!(store.given_with(one.sealed.tag).unwrap(), std::slice::from_ref(&one));
            assert_eq!(keys(store.unregistered(999, 10, 9)), [one.key, two.key]);
            assert_eq!(keys(store.unregistered(1_000, 10, 9)), [], "their time is over");
            store.sent(&[one.key], 10).unwrap();
            assert_eq!(keys(store.unregistered(0, 10, 9)), [two.key], "it was sent a moment ago");
            assert_eq!(keys(store.unregistered(0, 11, 9)), [one.key, two.key], "and is not there yet");
            store.stand(&[one.key]).unwrap();
            assert_eq!(keys(store.unregistered(0, 11, 9)), [two.key]);
            store.withdraw(&[one.key, two.key], 20).unwrap();
            store.withdraw(&[one.key], 30).unwrap();
            assert_eq!(store.given(one.key).unwrap().unwrap().revoked, Some(20), "the first time counts");
            assert_eq!(store.revoked_since(21).unwrap(), []);
            assert_eq!(store.revoked_since(20).unwrap(), [one.key, two.key]);
            assert_eq!(keys(store.unregistered(0, 11, 9)), [], "what is revoked is not registered");
            assert_eq!(keys(store.unshown(0, 1, 9)), [one.key], "of the other the patient has the preimage");
            store.keep_preimage(two.key, "two").unwrap();
            store.keep_preimage(one.key, "other").unwrap();
            assert_eq!(store.given(one.key).unwrap().unwrap().preimage.as_deref(), Some("sealed"));
            store.shown(&[one.key], 5).unwrap();
            assert_eq!(keys(store.unshown(0, 5, 9)), [two.key]);
            store.end(&[one.key]).unwrap();
            assert_eq!(keys(store.unshown(0, 9, 9)), [two.key]);
            assert_eq!(keys(store.unclosed(9)), [one.key, two.key]);
            assert_eq!([1_000, 1_001].map(|now| keys(store.lapsed(now, 9)).len()), [0, 2], "their last second counts");
            store.close(&[one.key]).unwrap();
            assert_eq!(keys(store.unclosed(9)), [two.key]);
            assert_eq!(keys(store.lapsed(1_001, 9)), [two.key]);
            store.ungive(two.key).unwrap();
            assert_eq!(store.given(two.key).unwrap(), None);
        }
    }

    #[test]
    fn the_mirror_is_kept_by_who_holds_the_lease() {
        for (_keep, store) in stores() {
            let epoch = store.hold("a", std::time::Duration::from_secs(60)).unwrap().unwrap();
            store.keep_mirror(epoch, "{}").unwrap();
            assert_eq!(store.kept_mirror().unwrap().as_deref(), Some("{}"));
            if store.is_shared() {
                assert!(matches!(store.keep_mirror(epoch - 1, "[]"), Err(StoreError::Fenced)));
            }
        }
    }
}
