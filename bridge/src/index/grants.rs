//! What people have allowed apps. All times are milliseconds since 1970.

use super::sql::{Row, values};
use super::store::{Store, StoreError};
use crate::ids::{Name, ResourceId};
use crate::people::AccountId;
use crate::smart::grant::{Code, Grant, Handle, MAX_GRANTS};
use notary::commitment::Digest;

const GRANT: &str = "SELECT id, client, account, session, scope, patient, redirect, challenge, nonce, made, expires, \
     encounter FROM app_grant";

/// What a code or a refresh token was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub grant: Grant,
    /// Whether it is the present one. If not it is an old one: somebody has a copy.
    pub present: bool,
}

impl Store {
    /// Keeps what somebody allowed, with its code, and forgets what has ended, and what is too much.
    pub fn allow(&self, grant: &Grant, code: &Handle, now: i64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO app_grant (id, family, secret, client, account, session, scope, patient, redirect, \
             challenge, nonce, made, expires, encounter) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        const TRIM: &str = "DELETE FROM app_grant WHERE account = ?1 AND id NOT IN \
             (SELECT id FROM app_grant WHERE account = ?1 ORDER BY made DESC, id LIMIT ?2)";
        let Grant { id, client, account, scope, made, expires, .. } = grant;
        let session = grant.session.map(|digest| digest.to_string()).unwrap_or_default();
        let patient = grant.patient.as_ref().map(Name::to_string).unwrap_or_default();
        let encounter = grant.encounter.as_ref().map(Name::to_string).unwrap_or_default();
        let (family, secret) = (code.family.digest().to_string(), code.secret.digest().to_string());
        let bound = grant.code.clone().unwrap_or_default();
        let Code { redirect, challenge, nonce } = &bound;
        self.transaction(|c| {
            c.execute("DELETE FROM app_grant WHERE expires <= ?1", values![now])?;
            let whose = values![
                id,
                &family,
                &secret,
                client,
                account.as_str(),
                &session,
                scope,
                &patient,
                redirect,
                challenge,
                nonce,
                *made,
                *expires,
                &encounter
            ];
            c.execute(SQL, whose)?;
            c.execute(TRIM, values![account.as_str(), MAX_GRANTS as i64]).map(|_| ())
        })
    }

    /// What a code or a refresh token came of.
    pub fn grant_of(&self, handle: &Handle) -> Result<Option<Found>, StoreError> {
        let sql = format!("{GRANT} WHERE family = ?1");
        let (family, secret) = (handle.family.digest().to_string(), handle.secret.digest().to_string());
        const PRESENT: &str = "SELECT count(*) FROM app_grant WHERE family = ?1 AND secret = ?2";
        self.read(|c| {
            let Some(grant) = c.first(&sql, values![&family], grant)? else { return Ok(None) };
            let present = c.number(PRESENT, values![&family, &secret])? == 1;
            Ok(Some(Found { grant, present }))
        })
    }

    /// What access tokens of that name came of.
    pub fn app_grant(&self, id: &str) -> Result<Option<Grant>, StoreError> {
        let sql = format!("{GRANT} WHERE id = ?1");
        self.read(|c| c.first(&sql, values![id], grant))
    }

    /// Uses a code or a refresh token up; from now on `next` counts, if there is one, and until then. False: somebody was faster.
    pub fn advance(&self, old: &Handle, next: Option<&Handle>, expires: i64) -> Result<bool, StoreError> {
        const SQL: &str = "UPDATE app_grant SET secret = ?3, expires = ?4, redirect = '', challenge = '', nonce = '' \
             WHERE family = ?1 AND secret = ?2";
        let (family, secret) = (old.family.digest().to_string(), old.secret.digest().to_string());
        let next = next.map(|next| next.secret.digest().to_string()).unwrap_or_default();
        Ok(self.with(|c| c.execute(SQL, values![&family, &secret, &next, expires]))? == 1)
    }

    /// Ends what somebody allowed, with all tokens that came of it.
    pub fn end_grant(&self, id: &str) -> Result<(), StoreError> {
        self.with(|c| c.execute("DELETE FROM app_grant WHERE id = ?1", values![id])).map(|_| ())
    }

    /// The same, where it is that account's. Tells whether it was.
    pub fn end_own_grant(&self, account: &AccountId, id: &str) -> Result<bool, StoreError> {
        const SQL: &str = "DELETE FROM app_grant WHERE account = ?1 AND id = ?2";
        Ok(self.with(|c| c.execute(SQL, values![account.as_str(), id]))? == 1)
    }

    /// Ends what was allowed a client of one patient's record until a time, by anybody, or by the patient alone. Tells what it was.
    pub fn end_grants_of(
        &self,
        client: &str,
        patient: &Name,
        (made_until, own): (i64, bool),
    ) -> Result<Vec<String>, StoreError> {
        let patient = patient.to_string();
        let by = if own { " AND account IN (SELECT id FROM account WHERE person = ?2)" } else { "" };
        let which = format!("FROM app_grant WHERE client = ?1 AND patient = ?2 AND made <= ?3{by}");
        self.transaction(|c| {
            let values = values![client, &patient, made_until];
            let ended = c.rows(&format!("SELECT id {which}"), values, |r| r.string(0))?;
            c.execute(&format!("DELETE {which}"), values)?;
            Ok(ended)
        })
    }

    /// What an account has allowed and has not ended, the newest first, each with the app's name. Codes that nobody has used are none.
    pub fn grants(&self, account: &AccountId, now: i64) -> Result<Vec<(Grant, String)>, StoreError> {
        const SQL: &str = "SELECT g.id, g.client, g.account, g.session, g.scope, g.patient, g.redirect, g.challenge, g.nonce, \
             g.made, g.expires, g.encounter, c.name FROM app_grant g JOIN client c ON c.id = g.client \
             WHERE g.account = ?1 AND g.expires > ?2 AND g.challenge = '' AND \
             (g.session = '' OR EXISTS (SELECT 1 FROM session s WHERE s.digest = g.session)) ORDER BY g.made DESC, g.id";
        self.read(|c| c.rows(SQL, values![account.as_str(), now], |r| Ok((grant(r)?, r.string(12)?))))
    }
}

fn grant(r: &Row<'_>) -> Result<Grant, StoreError> {
    let session = match r.text(3)? {
        "" => None,
        text => Some(digest(text)?),
    };
    let (patient, encounter) = (name(r.text(5)?)?, name(r.text(11)?)?);
    let code = match r.text(7)? {
        "" => None,
        challenge => Some(Code { redirect: r.string(6)?, challenge: challenge.to_owned(), nonce: r.string(8)? }),
    };
    let account = ResourceId::parse(r.text(2)?).map(AccountId).ok_or(StoreError::Nonsense("an account's id"))?;
    let (id, client, scope, made, expires) = (r.string(0)?, r.string(1)?, r.string(4)?, r.int(9)?, r.int(10)?);
    Ok(Grant { id, client, account, session, scope, patient, encounter, code, made, expires })
}

fn name(text: &str) -> Result<Option<Name>, StoreError> {
    match text {
        "" => Ok(None),
        text => Name::parse(text).map(Some).ok_or(StoreError::Nonsense("a patient or an encounter")),
    }
}

fn digest(text: &str) -> Result<Digest, StoreError> {
    let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map(Digest).ok_or(StoreError::Nonsense("a digest"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::clients::{Client, Keys};
    use crate::index::stores;
    use crate::secret::system_random;

    fn a(id: &str, expires: i64) -> Grant {
        let code = Code { redirect: "https://a/cb".into(), challenge: "c".into(), nonce: "n".into() };
        Grant {
            id: id.into(),
            client: "app".into(),
            account: AccountId(ResourceId::from_bytes([1; 16])),
            session: None,
            scope: "patient/*.rs".into(),
            patient: Name::parse("Patient/p"),
            encounter: Name::parse("Encounter/e"),
            code: Some(code),
            made: 1,
            expires,
        }
    }

    #[test]
    fn what_was_allowed_goes_from_code_to_token_and_ends() {
        for (_keep, store) in stores() {
            let redirects = vec!["https://a/cb".into()];
            let (id, name, scope) = ("app".into(), "An app".to_owned(), "patient/*.rs".into());
            let client = Client {
                id,
                name: name.clone(),
                scope,
                keys: Keys::None,
                redirects,
                launch: None,
                purpose: None,
                by_itself: false,
                made: 1,
            };
            assert!(store.add_client(&client, 9).unwrap());
            let (given, code) = (a("g", 100), Handle::new(&system_random).unwrap());
            store.allow(&given, &code, 1).unwrap();
            assert_eq!(store.grant_of(&code).unwrap(), Some(Found { grant: given.clone(), present: true }));
            assert_eq!(store.grants(&given.account, 1).unwrap(), [], "nobody has used the code");
            let token = code.next(&system_random).unwrap();
            assert!(store.advance(&code, Some(&token), 500).unwrap());
            assert!(!store.advance(&code, Some(&token), 500).unwrap(), "once");
            assert!(!store.grant_of(&code).unwrap().unwrap().present, "an old one is known as that");
            let now = Grant { code: None, expires: 500, ..given.clone() };
            assert_eq!(store.grant_of(&token).unwrap(), Some(Found { grant: now.clone(), present: true }));
            assert_eq!(store.grants(&given.account, 499).unwrap(), [(now, name)]);
            assert_eq!(store.grants(&given.account, 500).unwrap(), []);
            let other = AccountId(ResourceId::from_bytes([2; 16]));
            assert!(!store.end_own_grant(&other, "g").unwrap() && store.end_own_grant(&given.account, "g").unwrap());
            assert_eq!(store.grant_of(&token).unwrap(), None);
            store.allow(&given, &code, 1).unwrap();
            store.drop_client("app").unwrap();
            assert_eq!(store.grant_of(&code).unwrap(), None, "it ends with the app");
        }
    }

    #[test]
    fn what_has_ended_or_is_too_much_goes() {
        for (_keep, store) in stores() {
            let handle = || Handle::new(&system_random).unwrap();
            let old = handle();
            store.allow(&a("old", 10), &old, 1).unwrap();
            for n in 0..=MAX_GRANTS {
                store.allow(&Grant { made: 20 + n as i64, ..a(&format!("g{n}"), 100) }, &handle(), 10).unwrap();
            }
            assert_eq!(store.grant_of(&old).unwrap(), None);
            let left = store.with(|c| c.number("SELECT count(*) FROM app_grant", &[])).unwrap();
            assert_eq!(left, MAX_GRANTS as i64);
        }
    }
}
