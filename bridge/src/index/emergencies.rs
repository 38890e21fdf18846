//! Emergencies that somebody has declared. All times are milliseconds since 1970.

use super::sql::{Connection, Row, values};
use super::store::{Store, StoreError};
use crate::ids::{Name, ResourceId};

/// An emergency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emergency {
    /// Of the AuditEvent that tells of it.
    pub id: ResourceId,
    /// Who may see more by it.
    pub holder: String,
    /// The account that declared it; empty: none did.
    pub account: String,
    pub patient: Name,
    /// A code of v3-ActReason.
    pub purpose: String,
    pub begun: i64,
    pub expires: i64,
    /// Before its time.
    pub ended: bool,
}

const COLUMNS: &str = "id, holder, account, patient, purpose, begun, expires, ended";
/// How many emergencies a person may have.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// That count at a time.
    pub live: usize,
    /// That were begun after a time, ended or not.
    pub begun: usize,
    pub since: i64,
}

/// What counts at a time, `?1`: an account that was closed has none.
const LIVE: &str = "ended = 0 AND begun <= ?1 AND expires > ?1 AND (account = '' OR EXISTS \
     (SELECT 1 FROM account a WHERE a.id = emergency.account AND a.disabled = 0))";

impl Store {
    /// Begins an emergency, unless the holder has so many already; forgets those that have ended and were taken note of, and are
    /// counted no more.
    pub fn begin_emergency(&self, one: &Emergency, most: Most) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO emergency (id, holder, account, patient, purpose, begun, expires, ended, seen) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0)";
        const OVER: &str = "DELETE FROM emergency WHERE seen = 1 AND (ended = 1 OR expires <= ?1) AND begun <= ?2";
        let patient = one.patient.to_string();
        self.transaction(|c| {
            c.execute(OVER, values![one.begun, most.since])?;
            if !has_room(c, &one.holder, one.begun, most)? {
                return Ok(false);
            }
            let (id, account, purpose) = (one.id.as_str(), &one.account, &one.purpose);
            let row = values![id, &one.holder, account, &patient, purpose, one.begun, one.expires];
            Ok(c.execute(SQL, row)? == 1)
        })
    }

    /// Whether a holder may begin another now.
    pub fn has_room_for_emergency(&self, holder: &str, now: i64, most: Most) -> Result<bool, StoreError> {
        self.read(|c| has_room(c, holder, now, most))
    }

    /// Those of a holder that count now, the newest first.
    pub fn emergencies_of(&self, holder: &str, now: i64) -> Result<Vec<Emergency>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM emergency WHERE {LIVE} AND holder = ?2 ORDER BY begun DESC, id");
        self.read(|c| c.rows(&sql, values![now, holder], emergency))
    }

    /// All that count now, the newest first.
    pub fn live_emergencies(&self, now: i64) -> Result<Vec<Emergency>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM emergency WHERE {LIVE} ORDER BY begun DESC, id");
        self.read(|c| c.rows(&sql, values![now], emergency))
    }

    /// Those of a patient that nobody has taken note of for him, the newest first.
    pub fn unseen_emergencies(&self, patient: &Name, limit: usize) -> Result<Vec<Emergency>, StoreError> {
        let sql =
            format!("SELECT {COLUMNS} FROM emergency WHERE patient = ?1 AND seen = 0 ORDER BY begun DESC, id LIMIT ?2");
        let patient = patient.to_string();
        self.read(|c| c.rows(&sql, values![&patient, limit as i64], emergency))
    }

    /// The patient has taken note of one. Tells whether it was his.
    pub fn see_emergency(&self, patient: &Name, id: &ResourceId) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE emergency SET seen = 1 WHERE patient = ?1 AND id = ?2";
        let patient = patient.to_string();
        Ok(self.with(|c| c.execute(SQL, values![&patient, id.as_str()]))? == 1)
    }

    /// Ends one. Tells whether it had not ended.
    pub fn end_emergency(&self, id: &ResourceId, now: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE emergency SET ended = 1 WHERE id = ?1 AND ended = 0 AND expires > ?2";
        Ok(self.with(|c| c.execute(SQL, values![id.as_str(), now]))? == 1)
    }
}

fn has_room(c: &Connection, holder: &str, now: i64, most: Most) -> Result<bool, StoreError> {
    const LIVE_OF: &str = "SELECT count(*) FROM emergency WHERE holder = ?1 AND ended = 0 AND expires > ?2";
    const BEGUN_OF: &str = "SELECT count(*) FROM emergency WHERE holder = ?1 AND begun > ?2";
    let is_less = |sql, time, most: usize| Ok::<_, StoreError>(c.number(sql, values![holder, time])? < most as i64);
    Ok(is_less(LIVE_OF, now, most.live)? && is_less(BEGUN_OF, most.since, most.begun)?)
}

fn emergency(r: &Row<'_>) -> Result<Emergency, StoreError> {
    const BAD: StoreError = StoreError::Nonsense("an emergency");
    Ok(Emergency {
        id: ResourceId::parse(r.text(0)?).ok_or(BAD)?,
        holder: r.string(1)?,
        account: r.string(2)?,
        patient: Name::parse(r.text(3)?).ok_or(BAD)?,
        purpose: r.string(4)?,
        begun: r.int(5)?,
        expires: r.int(6)?,
        ended: r.flag(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Owner;
    use crate::index::stores;

    fn one(id: &str, begun: i64) -> Emergency {
        Emergency {
            id: ResourceId::parse(id).unwrap(),
            holder: "Practitioner/d".into(),
            account: String::new(),
            patient: Name::parse("Patient/p").unwrap(),
            purpose: "BTG".into(),
            begun,
            expires: begun + 10,
            ended: false,
        }
    }

    #[test]
    fn an_emergency_counts_in_its_time_until_it_is_ended_and_is_told_until_it_is_seen() {
        for (_keep, store) in stores() {
            let (first, patient) = (one("a", 100), Name::parse("Patient/p").unwrap());
            let most = |begun, since| Most { live: 2, begun, since };
            let begin = |one: &Emergency| store.begin_emergency(one, most(9, 0)).unwrap();
            assert!(begin(&first));
            let live = |now| store.emergencies_of("Practitioner/d", now).unwrap();
            assert_eq!(
                (live(99), live(100), live(109), live(110)),
                (vec![], vec![first.clone()], vec![first.clone()], vec![])
            );
            assert_eq!(store.emergencies_of("Practitioner/e", 100).unwrap(), [], "another's");
            assert!(begin(&one("b", 101)));
            assert!(!begin(&one("c", 102)), "one too many");
            assert!(store.end_emergency(&first.id, 105).unwrap() && !store.end_emergency(&first.id, 105).unwrap());
            assert_eq!(live(105), [one("b", 101)]);
            let has_room =
                |begun, since| store.has_room_for_emergency("Practitioner/d", 105, most(begun, since)).unwrap();
            assert!(!has_room(2, 99) && has_room(2, 100), "what was begun counts, ended or not");
            assert!(begin(&one("c", 105)), "there is room again");
            assert_eq!(store.live_emergencies(105).unwrap().len(), 2);
            assert_eq!(store.unseen_emergencies(&patient, 9).unwrap().len(), 3, "also what has ended");
            let other = Name::parse("Patient/q").unwrap();
            assert!(
                !store.see_emergency(&other, &first.id).unwrap() && store.see_emergency(&patient, &first.id).unwrap()
            );
            assert_eq!(store.unseen_emergencies(&patient, 9).unwrap().len(), 2);
            store.forget_person(&Owner::patient(&patient.id)).unwrap();
            assert_eq!((live(106), store.unseen_emergencies(&patient, 9).unwrap()), (vec![], vec![]));
        }
    }

    #[test]
    fn it_ends_with_the_account_that_declared_it() {
        for (_keep, store) in stores() {
            let of_nobody = Emergency { account: "gone".into(), ..one("a", 100) };
            assert!(store.begin_emergency(&of_nobody, Most { live: 9, begun: 9, since: 0 }).unwrap());
            assert_eq!(store.emergencies_of("Practitioner/d", 100).unwrap(), [], "there is no such account");
        }
    }
}
