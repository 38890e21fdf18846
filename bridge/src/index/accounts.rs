//! Accounts, what they sign in with, invitations, and sessions. All times are milliseconds since 1970.

use super::sql::{Connection, Row, values};
use super::store::{Store, StoreError};
use crate::ids::{Name, Owner, ResourceId};
use crate::people::secrets::Blind;
use crate::people::session::Kept;
use crate::people::{Account, AccountId, Kind, MAX_CREDENTIALS, MAX_INVITATIONS, MAX_SESSIONS, Person, Refused, Role};
use notary::commitment::Digest;

/// What an account signs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    pub name: Blind,
    pub account: AccountId,
    pub kind: Kind,
    pub sealed: String,
    pub counter: u32,
    pub made: i64,
    /// 0: never.
    pub used: i64,
}

/// An answered challenge, and when it would have ended.
#[derive(Debug, Clone, Copy)]
pub struct Answered {
    pub digest: Digest,
    pub expires: i64,
}

/// A session that begins.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    pub digest: Digest,
    /// A session of the same browser, which ends.
    pub instead_of: Option<Digest>,
    pub credential: &'a Blind,
    pub now: i64,
    pub expires: i64,
}

const ACCOUNT: &str = "SELECT id, role, person, organisation, disabled, made FROM account";

impl Store {
    /// Keeps an invitation, and forgets those that have ended.
    pub fn invite(&self, code: &Digest, person: &Person, expires: i64, now: i64) -> Result<(), Refused> {
        const SQL: &str = "INSERT INTO invitation (digest, role, person, organisation, expires) \
             SELECT ?1, ?2, ?3, ?4, ?5 WHERE (SELECT count(*) FROM invitation) < ?6";
        let (digest, resource, organisation) = (code.to_string(), text(&person.resource), text(&person.organisation));
        let most = MAX_INVITATIONS as i64;
        let values = values![&digest, person.role.as_str(), &resource, &organisation, expires, most];
        let kept = self.with(|c| {
            c.execute("DELETE FROM invitation WHERE expires <= ?1", values![now])?;
            c.execute(SQL, values)
        })?;
        if kept == 1 { Ok(()) } else { Err(Refused::Invitations) }
    }

    /// Whom a code invites, and the account that the person has already.
    pub fn invited(&self, code: &Digest, now: i64) -> Result<Option<(Person, Option<Account>)>, StoreError> {
        self.read(|c| {
            let Some(person) = invitation(c, code, now)? else { return Ok(None) };
            let account = account_of(c, &person)?;
            Ok(Some((person, account)))
        })
    }

    /// An account.
    pub fn account(&self, id: &AccountId) -> Result<Option<Account>, StoreError> {
        self.read(|c| account_by_id(c, id.as_str()))
    }

    /// All accounts, the oldest first.
    pub fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.read(|c| c.rows(&format!("{ACCOUNT} ORDER BY made, id"), &[], account))
    }

    /// Closes or opens an account. Closing ends all its sessions, and all that it has allowed apps. Tells whether there is such an account.
    pub fn close_account(&self, id: &AccountId, closed: bool) -> Result<bool, StoreError> {
        self.transaction(|c| {
            if closed {
                c.execute("DELETE FROM session WHERE account = ?1", values![id.as_str()])?;
                c.execute("DELETE FROM app_grant WHERE account = ?1", values![id.as_str()])?;
                // Also what whoever it was has declared by other ways: it is the same person.
                const EMERGENCIES: &str = "UPDATE emergency SET ended = 1 WHERE account = ?1 OR holder IN \
                     (SELECT person FROM account WHERE id = ?1 AND person <> '')";
                c.execute(EMERGENCIES, values![id.as_str()])?;
            }
            let closed = i64::from(closed);
            Ok(c.execute("UPDATE account SET disabled = ?2 WHERE id = ?1", values![id.as_str(), closed])? == 1)
        })
    }

    /// What an account signs in with, the oldest first.
    pub fn credentials(&self, account: &AccountId) -> Result<Vec<Credential>, StoreError> {
        let sql = format!("{CREDENTIAL} WHERE account = ?1 ORDER BY made, name");
        self.read(|c| c.rows(&sql, values![account.as_str()], credential))
    }

    /// Whether somebody who is this patient has a key that signs, and an open account.
    pub fn signs(&self, patient: &Name) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT count(*) FROM account a JOIN credential c ON c.account = a.id \
             WHERE a.person = ?1 AND a.disabled = 0 AND c.kind IN (?2, ?3)";
        let (patient, passkey, wallet) = (patient.to_string(), Kind::Passkey.as_str(), Kind::Wallet.as_str());
        Ok(self.read(|c| c.number(SQL, values![&patient, passkey, wallet]))? > 0)
    }

    /// The organisations that somebody belongs to, by open accounts.
    pub fn organisations(&self, person: &Name) -> Result<Vec<String>, StoreError> {
        const SQL: &str =
            "SELECT DISTINCT organisation FROM account WHERE person = ?1 AND disabled = 0 AND organisation <> ''";
        self.read(|c| c.rows(SQL, values![&person.to_string()], |r| r.string(0)))
    }

    /// What is signed in with, by its name.
    pub fn credential(&self, name: &Blind) -> Result<Option<Credential>, StoreError> {
        let sql = format!("{CREDENTIAL} WHERE name = ?1");
        self.read(|c| c.first(&sql, values![&name.0], credential))
    }

    /// Uses an invitation up: the account of the person, made if it is new, signs in with this from now on.
    pub fn join(&self, code: &Digest, new: &Credential, answered: Answered, now: i64) -> Result<Account, Refused> {
        self.transaction(|c| {
            answer(c, answered, now)?;
            let person = invitation(c, code, now)?.ok_or(Refused::Invitation)?;
            let used = c.execute("DELETE FROM invitation WHERE digest = ?1", values![&code.to_string()])?;
            if used != 1 {
                return Err(Refused::Invitation);
            }
            let account = match account_of(c, &person)? {
                Some(account) => account,
                None => make(c, &new.account, person, now)?,
            };
            // Somebody else joined as this person meanwhile: the new passkey knows another account.
            if account.id != new.account {
                return Err(Refused::Challenge);
            }
            add(c, new, account)
        })
    }

    /// An account signs in with this, too, from now on.
    pub fn add_credential(&self, new: &Credential, answered: Answered, now: i64) -> Result<Account, Refused> {
        self.transaction(|c| {
            answer(c, answered, now)?;
            let account = account_by_id(c, new.account.as_str())?.ok_or(Refused::Unknown)?;
            add(c, new, account)
        })
    }

    /// An account does not sign in with this any more, and the sessions that began with it end.
    pub fn remove_credential(&self, account: &AccountId, name: &Blind) -> Result<(), Refused> {
        self.transaction(|c| {
            c.hold("SELECT id FROM account WHERE id = ?1", values![account.as_str()])?;
            let left = c.number("SELECT count(*) FROM credential WHERE account = ?1", values![account.as_str()])?;
            let sql = "DELETE FROM credential WHERE account = ?1 AND name = ?2";
            match c.execute(sql, values![account.as_str(), &name.0])? {
                0 => return Err(Refused::Unknown),
                _ if left == 1 => return Err(Refused::Last),
                _ => {}
            }
            c.execute("DELETE FROM session WHERE credential = ?1", values![&name.0])?;
            Ok(())
        })
    }

    /// A patient was erased: who signed in as him does no more, and nothing of it is left.
    pub fn forget_person(&self, patient: &Owner) -> Result<(), StoreError> {
        self.transaction(|c| {
            for sql in [
                "DELETE FROM app_grant WHERE patient = ?1 OR account IN (SELECT id FROM account WHERE person = ?1)",
                "DELETE FROM guardian WHERE patient = ?1 OR account IN (SELECT id FROM account WHERE person = ?1)",
                "DELETE FROM session WHERE account IN (SELECT id FROM account WHERE person = ?1)",
                "DELETE FROM credential WHERE account IN (SELECT id FROM account WHERE person = ?1)",
                "DELETE FROM account WHERE person = ?1",
                "DELETE FROM invitation WHERE person = ?1",
                "DELETE FROM emergency WHERE patient = ?1",
            ] {
                c.execute(sql, values![patient.as_str()])?;
            }
            Ok(())
        })
    }

    /// Begins a session by a credential whose signature was checked. A counter (of a passkey) must have grown, unless
    /// both are 0.
    pub fn begin(&self, begins: &Beginning<'_>, counter: u32, answered: Answered) -> Result<Account, Refused> {
        self.transaction(|c| {
            answer(c, answered, begins.now)?;
            owner(c, begins.credential)?;
            use_up(c, begins, counter)?;
            begin(c, begins)
        })
    }

    /// Begins a session of an account that has just got the credential.
    pub fn begin_new(&self, begins: &Beginning<'_>) -> Result<Account, Refused> {
        self.transaction(|c| begin(c, begins))
    }

    /// A session, whether it still counts or not.
    pub fn session(&self, digest: &Digest) -> Result<Option<Kept>, StoreError> {
        const SQL: &str = "SELECT a.id, a.role, a.person, a.organisation, a.disabled, a.made, s.credential, s.made, s.seen, \
             s.expires FROM session s JOIN account a ON a.id = s.account WHERE s.digest = ?1";
        self.read(|c| {
            c.first(SQL, values![&digest.to_string()], |r| {
                let credential = Blind(r.string(6)?);
                Ok(Kept { account: account(r)?, credential, made: r.int(7)?, seen: r.int(8)?, expires: r.int(9)? })
            })
        })
    }

    /// A session was used.
    pub fn saw_session(&self, digest: &Digest, now: i64) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE session SET seen = ?2 WHERE digest = ?1";
        self.with(|c| c.execute(SQL, values![&digest.to_string(), now])).map(|_| ())
    }

    /// Ends a session, and tells which grants of apps end with it.
    pub fn end_session(&self, digest: &Digest) -> Result<Vec<String>, StoreError> {
        self.transaction(|c| {
            let digest = digest.to_string();
            let ended = c.rows("SELECT id FROM app_grant WHERE session = ?1", values![&digest], |r| r.string(0))?;
            c.execute("DELETE FROM session WHERE digest = ?1", values![&digest])?;
            Ok(ended)
        })
    }
}

const CREDENTIAL: &str = "SELECT name, account, kind, sealed, counter, made, used FROM credential";

fn answer(c: &Connection, answered: Answered, now: i64) -> Result<(), Refused> {
    const SQL: &str = "INSERT INTO answered (digest, expires) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING";
    c.execute("DELETE FROM answered WHERE expires <= ?1", values![now])?;
    match c.execute(SQL, values![&answered.digest.to_string(), answered.expires])? {
        1 => Ok(()),
        _ => Err(Refused::Challenge),
    }
}

fn invitation(c: &Connection, code: &Digest, now: i64) -> Result<Option<Person>, StoreError> {
    const SQL: &str = "SELECT role, person, organisation FROM invitation WHERE digest = ?1 AND expires > ?2";
    c.first(SQL, values![&code.to_string(), now], |r| person(r, 0))
}

fn account_of(c: &Connection, person: &Person) -> Result<Option<Account>, StoreError> {
    let Some(resource) = &person.resource else { return Ok(None) };
    let sql = format!("{ACCOUNT} WHERE role = ?1 AND person = ?2 AND organisation = ?3");
    let (resource, organisation) = (resource.to_string(), text(&person.organisation));
    c.first(&sql, values![person.role.as_str(), &resource, &organisation], account)
}

fn account_by_id(c: &Connection, id: &str) -> Result<Option<Account>, StoreError> {
    c.first(&format!("{ACCOUNT} WHERE id = ?1"), values![id], account)
}

fn make(c: &Connection, id: &AccountId, person: Person, now: i64) -> Result<Account, StoreError> {
    const SQL: &str =
        "INSERT INTO account (id, role, person, organisation, disabled, made) VALUES (?1, ?2, ?3, ?4, 0, ?5)";
    let (resource, organisation) = (text(&person.resource), text(&person.organisation));
    c.execute(SQL, values![id.as_str(), person.role.as_str(), &resource, &organisation, now])?;
    Ok(Account { id: id.clone(), person, disabled: false, made: now })
}

fn add(c: &Connection, new: &Credential, account: Account) -> Result<Account, Refused> {
    const SQL: &str = "INSERT INTO credential (name, account, kind, sealed, counter, made, used) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (name) DO NOTHING";
    let Credential { name, kind, sealed, counter, made, used, .. } = new;
    let id = account.id.as_str();
    if account.disabled {
        return Err(Refused::Disabled);
    }
    c.hold("SELECT id FROM account WHERE id = ?1", values![id])?;
    if c.number("SELECT count(*) FROM credential WHERE account = ?1", values![id])? >= MAX_CREDENTIALS as i64 {
        return Err(Refused::TooMany);
    }
    match c.execute(SQL, values![&name.0, id, kind.as_str(), sealed, i64::from(*counter), *made, *used])? {
        1 => Ok(account),
        _ => Err(Refused::Taken),
    }
}

fn use_up(c: &Connection, begins: &Beginning<'_>, counter: u32) -> Result<(), Refused> {
    const SQL: &str = "UPDATE credential SET counter = ?2, used = ?3 WHERE name = ?1 AND \
         (counter < ?2 OR (counter = 0 AND ?2 = 0))";
    match c.execute(SQL, values![&begins.credential.0, i64::from(counter), begins.now])? {
        1 => Ok(()),
        _ => Err(Refused::Counter),
    }
}

/// Whose a credential is, unless the account is closed.
fn owner(c: &Connection, credential: &Blind) -> Result<Account, Refused> {
    const WHOSE: &str = "SELECT a.id, a.role, a.person, a.organisation, a.disabled, a.made FROM account a \
         JOIN credential c ON c.account = a.id WHERE c.name = ?1";
    let account = c.first(WHOSE, values![&credential.0], account)?.ok_or(Refused::Unknown)?;
    if account.disabled { Err(Refused::Disabled) } else { Ok(account) }
}

/// Sweeps too: what has ended goes, and of too many the one that was used least lately.
fn begin(c: &Connection, begins: &Beginning<'_>) -> Result<Account, Refused> {
    const SQL: &str = "INSERT INTO session (digest, account, credential, made, seen, expires) \
         SELECT ?1, account, name, ?3, ?3, ?4 FROM credential WHERE name = ?2";
    const TRIM: &str = "DELETE FROM session WHERE account = ?1 AND digest NOT IN \
         (SELECT digest FROM session WHERE account = ?1 ORDER BY seen DESC, digest LIMIT ?2)";
    let Beginning { digest, instead_of, credential, now, expires } = begins;
    let account = owner(c, credential)?;
    c.execute("DELETE FROM session WHERE expires <= ?1", values![*now])?;
    if let Some(old) = instead_of {
        c.execute("DELETE FROM session WHERE digest = ?1", values![&old.to_string()])?;
    }
    c.execute(SQL, values![&digest.to_string(), &credential.0, *now, *expires])?;
    c.execute(TRIM, values![account.id.as_str(), MAX_SESSIONS as i64])?;
    Ok(account)
}

fn text(name: &Option<Name>) -> String {
    name.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn account(r: &Row<'_>) -> Result<Account, StoreError> {
    Ok(Account { id: id(r, 0)?, person: person(r, 1)?, disabled: r.flag(4)?, made: r.int(5)? })
}

fn id(r: &Row<'_>, at: usize) -> Result<AccountId, StoreError> {
    ResourceId::parse(r.text(at)?).map(AccountId).ok_or(StoreError::Nonsense("an account's id"))
}

fn person(r: &Row<'_>, at: usize) -> Result<Person, StoreError> {
    let role = Role::parse(r.text(at)?).ok_or(StoreError::Nonsense("a role"))?;
    let name = |at: usize| match r.text(at)? {
        "" => Ok(None),
        text => Name::parse(text).map(Some).ok_or(StoreError::Nonsense("a person")),
    };
    Ok(Person { role, resource: name(at + 1)?, organisation: name(at + 2)? })
}

fn credential(r: &Row<'_>) -> Result<Credential, StoreError> {
    Ok(Credential {
        name: Blind(r.string(0)?),
        account: id(r, 1)?,
        kind: Kind::parse(r.text(2)?).ok_or(StoreError::Nonsense("a kind of credential"))?,
        sealed: r.string(3)?,
        counter: r.small(4)?,
        made: r.int(5)?,
        used: r.int(6)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;
    use crate::people::SESSION_IDLE;
    use crate::secret::system_random;

    const DAY: i64 = 86_400_000;

    fn digest(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    fn answered(text: &str) -> Answered {
        Answered { digest: digest(text), expires: DAY }
    }

    fn account_id(n: u8) -> AccountId {
        AccountId(ResourceId::from_bytes([n; 16]))
    }

    fn key(name: &str, account: &AccountId) -> Credential {
        let name = Blind(name.to_owned());
        Credential {
            name,
            account: account.clone(),
            kind: Kind::Passkey,
            sealed: "00".into(),
            counter: 0,
            made: 1,
            used: 0,
        }
    }

    fn patient(id: &str) -> Person {
        Person::new(Role::Patient, Name::parse(&format!("Patient/{id}")), None).unwrap()
    }

    fn beginning<'a>(name: &str, credential: &'a Blind, now: i64) -> Beginning<'a> {
        Beginning { digest: digest(name), instead_of: None, credential, now, expires: now + DAY }
    }

    #[test]
    fn one_invitation_one_account_one_answer() {
        for (_keep, store) in stores() {
            let (one, two) = (account_id(1), account_id(2));
            store.invite(&digest("a"), &patient("p"), DAY, 0).unwrap();
            store.invite(&digest("b"), &patient("p"), DAY, 0).unwrap();
            let joined = store.join(&digest("a"), &key("k1", &one), answered("1"), 5).unwrap();
            assert_eq!((joined.person, joined.made), (patient("p"), 5));
            let again =
                |code: &str, key: &Credential, answer: &str| store.join(&digest(code), key, answered(answer), 5);
            assert!(matches!(again("a", &key("k2", &one), "2"), Err(Refused::Invitation)), "used");
            assert!(matches!(again("b", &key("k2", &one), "1"), Err(Refused::Challenge)), "answered before");
            assert!(
                matches!(again("b", &key("k2", &two), "2"), Err(Refused::Challenge)),
                "the person has another account"
            );
            assert!(matches!(again("b", &key("k1", &one), "2"), Err(Refused::Taken)));
            assert!(matches!(store.join(&digest("b"), &key("k2", &one), answered("2"), DAY), Err(Refused::Invitation)));
            // None of the refusals has used anything up.
            assert_eq!(again("b", &key("k2", &one), "2").unwrap().id, one);
            assert_eq!(store.credentials(&one).unwrap().len(), 2);
            assert_eq!(store.accounts().unwrap().len(), 1);
        }
    }

    #[test]
    fn invitations_end_and_are_bounded_by_time() {
        for (_keep, store) in stores() {
            store.invite(&digest("a"), &patient("p"), 10, 0).unwrap();
            assert!(store.invited(&digest("a"), 9).unwrap().is_some());
            assert!(store.invited(&digest("a"), 10).unwrap().is_none());
            store.invite(&digest("b"), &patient("p"), 20, 10).unwrap();
            let left = store.with(|c| c.number("SELECT count(*) FROM invitation", &[])).unwrap();
            assert_eq!(left, 1, "what has ended goes");
        }
    }

    #[test]
    fn a_counter_grows_or_stays_away_and_closing_ends_sessions() {
        for (_keep, store) in stores() {
            let id = account_id(1);
            store.invite(&digest("a"), &patient("p"), DAY, 0).unwrap();
            store.join(&digest("a"), &key("k", &id), answered("0"), 1).unwrap();
            let name = Blind("k".into());
            let begin = |n: u32, counter| {
                store.begin(&beginning(&format!("s{n}"), &name, 1), counter, answered(&format!("c{n}")))
            };
            assert!(begin(1, 0).is_ok() && begin(2, 0).is_ok() && begin(3, 7).is_ok());
            assert!(matches!(begin(4, 7), Err(Refused::Counter)));
            assert!(matches!(begin(5, 0), Err(Refused::Counter)));
            assert!(matches!(begin(3, 8), Err(Refused::Challenge)), "answered before");
            let nobody = Blind("nobody".into());
            let strange = store.begin(&beginning("s9", &nobody, 1), 0, answered("c9"));
            assert!(matches!(strange, Err(Refused::Unknown)));
            let kept = store.session(&digest("s3")).unwrap().unwrap();
            let idle = SESSION_IDLE.as_millis() as i64;
            assert!(kept.lives(idle) && !kept.lives(1 + idle) && !Kept { seen: DAY, ..kept }.lives(1 + DAY));
            store.saw_session(&digest("s3"), 77).unwrap();
            assert_eq!(store.session(&digest("s3")).unwrap().unwrap().seen, 77);
            assert!(store.close_account(&id, true).unwrap() && !store.close_account(&account_id(9), true).unwrap());
            assert_eq!(store.session(&digest("s3")).unwrap(), None);
            assert!(matches!(begin(6, 9), Err(Refused::Disabled)));
            assert!(matches!(store.add_credential(&key("k2", &id), answered("x"), 1), Err(Refused::Disabled)));
        }
    }

    #[test]
    fn an_account_has_so_many_sessions_and_keys_and_no_more() {
        for (_keep, store) in stores() {
            let id = account_id(1);
            store.invite(&digest("a"), &patient("p"), DAY, 0).unwrap();
            store.join(&digest("a"), &key("k0", &id), answered("0"), 1).unwrap();
            let name = Blind("k0".into());
            assert!(matches!(store.remove_credential(&id, &name), Err(Refused::Last)));
            for n in 0..MAX_SESSIONS + 3 {
                store.begin_new(&beginning(&format!("s{n}"), &name, n as i64)).unwrap();
            }
            let of = |n: usize| store.session(&digest(&format!("s{n}"))).unwrap();
            assert!(of(2).is_none() && of(3).is_some() && of(MAX_SESSIONS + 2).is_some());
            store.begin_new(&beginning("late", &name, 2 * DAY)).unwrap();
            assert!(of(3).is_none(), "what has ended goes");
            for n in 1..MAX_CREDENTIALS {
                store.add_credential(&key(&format!("k{n}"), &id), answered(&format!("a{n}")), 1).unwrap();
            }
            assert!(matches!(store.add_credential(&key("more", &id), answered("more"), 1), Err(Refused::TooMany)));
            store.remove_credential(&id, &name).unwrap();
            assert_eq!(store.session(&digest("late")).unwrap(), None, "a session ends with its key");
            assert!(matches!(store.remove_credential(&id, &name), Err(Refused::Unknown)));
        }
    }

    #[test]
    fn of_an_erased_patient_nothing_is_left() {
        for (_keep, store) in stores() {
            for (n, who) in [(1, "p"), (2, "q")] {
                let name = Blind(who.into());
                store.invite(&digest(who), &patient(who), DAY, 0).unwrap();
                store.join(&digest(who), &key(who, &account_id(n)), answered(who), 1).unwrap();
                store.begin_new(&beginning(who, &name, 1)).unwrap();
                store.invite(&digest(&format!("{who} again")), &patient(who), DAY, 0).unwrap();
            }
            store.forget_person(&Owner::from_stored("Patient/p")).unwrap();
            let left = |table: &str| store.with(|c| c.number(&format!("SELECT count(*) FROM {table}"), &[])).unwrap();
            assert_eq!(["account", "credential", "session", "invitation"].map(left), [1; 4]);
            assert!(store.session(&digest("q")).unwrap().is_some() && store.session(&digest("p")).unwrap().is_none());
        }
    }

    #[test]
    fn a_stolen_database_names_no_wallet() {
        use crate::people::secrets::Secrets;
        use crate::secret::Key;
        let secrets = Secrets::new(&Key::new([1; 32]), Key::new([2; 32]));
        let address = "0xd8da6bf26964af9d7eed9e03e53415d37aa96045";
        let name = secrets.blind(Kind::Wallet, &[address]);
        let sealed = secrets.seal(&name, &account_id(1), address.as_bytes(), &system_random).unwrap();
        let row = format!("{}{sealed}", name.0);
        assert!(!row.contains("d8da6bf2") && !row.contains(&hex::encode(address)));
    }
}
