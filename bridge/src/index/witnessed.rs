//! What a witness remembers: of each log the newest checkpoint that it cosigned, and what contradicted one.

use super::sql::values;
use super::store::{Store, StoreError};

/// How much is kept against a log. One piece convicts it; who holds its key can make as many as he likes.
const MOST_OF_A_LOG: i64 = 4;

/// Two checkpoints that cannot both be true.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Evidence {
    pub origin: String,
    pub size: u64,
    /// Milliseconds since 1970.
    pub seen: i64,
    pub one: String,
    pub other: String,
}

impl Store {
    /// The newest checkpoint of a log that was cosigned.
    pub fn witnessed(&self, origin: &str) -> Result<Option<(u64, String)>, StoreError> {
        const SQL: &str = "SELECT size, note FROM witnessed WHERE origin = ?1";
        self.read(|c| c.first(SQL, values![origin], |r| Ok((r.size(0)?, r.string(1)?))))
    }

    /// Remembers a newer one, if what is known is still of `old` entries. Tells whether it was.
    pub fn keep_witnessed(&self, origin: &str, old: u64, size: u64, note: &str) -> Result<bool, StoreError> {
        const FIRST: &str =
            "INSERT INTO witnessed (origin, size, note) VALUES (?1, ?2, ?3) ON CONFLICT (origin) DO NOTHING";
        const NEXT: &str = "UPDATE witnessed SET size = ?2, note = ?3 WHERE origin = ?1 AND size = ?4";
        self.with(|c| {
            if old == 0 && c.execute(FIRST, values![origin, size as i64, note])? == 1 {
                return Ok(true);
            }
            Ok(c.execute(NEXT, values![origin, size as i64, note, old as i64])? == 1)
        })
    }

    /// Keeps two contradicting checkpoints, once, and a few of a log.
    pub fn keep_evidence(&self, evidence: &Evidence) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO evidence (origin, size, seen, one, other) SELECT ?1, ?2, ?3, ?4, ?5 \
             WHERE (SELECT count(*) FROM evidence WHERE origin = ?1) < ?6 ON CONFLICT DO NOTHING";
        let Evidence { origin, size, seen, one, other } = evidence;
        self.with(|c| c.execute(SQL, values![origin, *size as i64, *seen, one, other, MOST_OF_A_LOG])).map(|_| ())
    }

    /// What was found against logs, the oldest first; at most ten.
    pub fn evidence(&self) -> Result<Vec<Evidence>, StoreError> {
        const SQL: &str = "SELECT origin, size, seen, one, other FROM evidence ORDER BY seen LIMIT 10";
        self.read(|c| {
            c.rows(SQL, &[], |r| {
                let (origin, size, seen) = (r.string(0)?, r.size(1)?, r.int(2)?);
                Ok(Evidence { origin, size, seen, one: r.string(3)?, other: r.string(4)? })
            })
        })
    }

    /// Puts a checkpoint's note in place of the one with fewer signatures.
    pub fn replace_checkpoint(&self, size: u64, note: &str) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE checkpoint SET note = ?2 WHERE size = ?1";
        self.with(|c| c.execute(SQL, values![size as i64, note])).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;

    #[test]
    fn a_log_goes_forwards_from_what_is_known_and_evidence_stays() {
        for (_keep, store) in stores() {
            assert_eq!(store.witnessed("log").unwrap(), None);
            assert!(store.keep_witnessed("log", 0, 5, "five").unwrap());
            assert!(!store.keep_witnessed("log", 0, 6, "six").unwrap(), "somebody else was first");
            assert!(!store.keep_witnessed("log", 4, 6, "six").unwrap());
            assert!(store.keep_witnessed("log", 5, 9, "nine").unwrap());
            assert_eq!(store.witnessed("log").unwrap(), Some((9, "nine".to_owned())));
            let found =
                Evidence { origin: "log".into(), size: 9, seen: 1, one: "nine".into(), other: "another nine".into() };
            store.keep_evidence(&found).unwrap();
            store.keep_evidence(&Evidence { seen: 2, ..found.clone() }).unwrap();
            assert_eq!(store.evidence().unwrap(), std::slice::from_ref(&found));
            for size in 10..20 {
                store.keep_evidence(&Evidence { size, ..found.clone() }).unwrap();
            }
            assert_eq!(store.evidence().unwrap().len() as i64, MOST_OF_A_LOG, "no more of one log");
        }
    }
}
