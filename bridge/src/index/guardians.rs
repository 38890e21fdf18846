//! Who acts for whom. When it ends by itself the record says, not the index.

use super::sql::{Row, values};
use super::store::{Store, StoreError};
use crate::ids::{Name, ResourceId};
use crate::people::AccountId;

/// Patients that one account acts for, and accounts that act for one patient: families are smaller.
pub const MAX_WARDS: usize = 16;
pub const MAX_GUARDIANS: usize = 8;

/// Somebody acts for a patient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guardian {
    pub account: AccountId,
    /// Who it is.
    pub person: Name,
    pub patient: Name,
    /// Milliseconds since 1970.
    pub made: i64,
}

const GUARDIAN: &str = "SELECT g.account, a.person, g.patient, g.made FROM guardian g \
     JOIN account a ON a.id = g.account AND a.role = 'patient' AND a.person <> ''";

impl Store {
    /// The open account of a patient acts for another one from now on. False: there is no such account, or there are too many.
    pub fn link_guardian(&self, person: &Name, patient: &Name, now: i64) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO guardian (account, patient, made) SELECT a.id, ?2, ?3 FROM account a \
             WHERE a.role = 'patient' AND a.person = ?1 AND a.disabled = 0 \
             AND (SELECT count(*) FROM guardian g WHERE g.account = a.id) < ?4 \
             AND (SELECT count(*) FROM guardian g WHERE g.patient = ?2) < ?5 ON CONFLICT (account, patient) DO NOTHING";
        const KNOWN: &str = "SELECT count(*) FROM guardian g JOIN account a ON a.id = g.account \
             WHERE a.role = 'patient' AND a.person = ?1 AND a.disabled = 0 AND g.patient = ?2";
        let (person, patient) = (person.to_string(), patient.to_string());
        self.transaction(|c| {
            c.execute(SQL, values![&person, &patient, now, MAX_WARDS as i64, MAX_GUARDIANS as i64])?;
            Ok(c.number(KNOWN, values![&person, &patient])? == 1)
        })
    }

    /// An account acts for a patient no more. Tells whether it did.
    pub fn unlink_guardian(&self, account: &AccountId, patient: &Name) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM guardian WHERE account = ?1 AND patient = ?2";
        Ok(self.with(|c| c.execute(SQL, values![account.as_str(), &patient.to_string()]))? == 1)
    }

    /// Whether an account was linked to a patient, and is still.
    pub fn is_guardian(&self, account: &AccountId, patient: &Name) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT count(*) FROM guardian g JOIN account a ON a.id = g.account AND a.disabled = 0 \
             WHERE g.account = ?1 AND g.patient = ?2";
        self.read(|c| Ok(c.number(SQL, values![account.as_str(), &patient.to_string()])? == 1))
    }

    /// Whom an account acts for.
    pub fn wards(&self, account: &AccountId) -> Result<Vec<Guardian>, StoreError> {
        let sql = format!("{GUARDIAN} WHERE g.account = ?1 ORDER BY g.made, g.patient");
        self.read(|c| c.rows(&sql, values![account.as_str()], guardian))
    }

    /// Who acts for a patient by an open account, the first first.
    pub fn guardians_of(&self, patient: &Name) -> Result<Vec<Name>, StoreError> {
        let sql = format!("{GUARDIAN} AND a.disabled = 0 WHERE g.patient = ?1 ORDER BY g.made, a.person");
        let all = self.read(|c| c.rows(&sql, values![&patient.to_string()], guardian))?;
        Ok(all.into_iter().map(|one| one.person).collect())
    }

    /// Everybody who acts for somebody, the newest first, this many at most.
    pub fn guardians(&self, most: usize) -> Result<Vec<Guardian>, StoreError> {
        let sql = format!("{GUARDIAN} ORDER BY g.made DESC, g.patient, g.account LIMIT ?1");
        self.read(|c| c.rows(&sql, values![most as i64], guardian))
    }
}

fn guardian(r: &Row<'_>) -> Result<Guardian, StoreError> {
    let name = |text: &str| Name::parse(text).ok_or(StoreError::Nonsense("a patient"));
    let account = ResourceId::parse(r.text(0)?).map(AccountId).ok_or(StoreError::Nonsense("an account's id"))?;
    Ok(Guardian { account, person: name(r.text(1)?)?, patient: name(r.text(2)?)?, made: r.int(3)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Owner;
    use crate::index::stores;

    #[test]
    fn as_many_as_a_family_has_and_gone_with_the_patient() {
        const SQL: &str =
            "INSERT INTO account (id, role, person, organisation, disabled, made) VALUES (?1, 'patient', ?2, '', 0, 1)";
        for (_keep, store) in stores() {
            let name = |text: String| Name::parse(&text).unwrap();
            let account = |n: usize| {
                let (id, person) = (AccountId(ResourceId::from_bytes([n as u8; 16])), format!("Patient/g{n}"));
                store.with(|c| c.execute(SQL, values![id.as_str(), &person])).unwrap();
                id
            };
            let link = |guardian: usize, ward: usize| {
                store
                    .link_guardian(&name(format!("Patient/g{guardian}")), &name(format!("Patient/w{ward}")), 1)
                    .unwrap()
            };
            let first = account(1);
            assert!((0..MAX_WARDS).all(|ward| link(1, ward)), "as many as there may be");
            assert!(!link(1, MAX_WARDS), "one too many");
            assert!(link(1, 0), "known is fine");
            assert_eq!(store.wards(&first).unwrap().len(), MAX_WARDS);
            let more = (2..=MAX_GUARDIANS).map(|n| (account(n), link(n, 0))).filter(|(_, linked)| *linked).count();
            assert_eq!(more, MAX_GUARDIANS - 1);
            account(99);
            assert!(!link(99, 0) && !link(98, 1), "one too many, and nobody");
            let ward = name("Patient/w0".into());
            assert!(store.is_guardian(&first, &ward).unwrap());
            store.forget_person(&Owner::patient(&ward.id)).unwrap();
            assert!(!store.is_guardian(&first, &ward).unwrap(), "erased");
            let other = name("Patient/w1".into());
            assert!(store.unlink_guardian(&first, &other).unwrap() && !store.unlink_guardian(&first, &other).unwrap());
            assert_eq!(store.guardians(3).unwrap().len(), 3);
            let third = name("Patient/w2".into());
            assert_eq!(store.guardians_of(&third).unwrap(), [name("Patient/g1".into())]);
            store.close_account(&first, true).unwrap();
            assert!(store.guardians_of(&third).unwrap().is_empty(), "a closed account acts for nobody");
        }
    }
}
