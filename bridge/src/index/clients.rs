//! What the authorization server keeps: clients, assertions that were used, tokens that were revoked. All replicas see the same.

use super::sql::{Row, values};
use super::store::{Store, StoreError};
use crate::limits::MAX_CLIENTS;
use crate::people::SESSION_IDLE;
use notary::commitment::Digest;
use std::collections::HashMap;

/// A program that may ask for tokens: by a key of its own, or let in by people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub name: String,
    /// The most that it is granted.
    pub scope: String,
    pub keys: Keys,
    /// Where an app is called back, exactly so; a backend service has none.
    pub redirects: Vec<String>,
    /// Where an app is opened that people open from a record.
    pub launch: Option<String>,
    /// What it uses records for, a code of v3-ActReason; none: what is usual for who uses it.
    pub purpose: Option<String>,
    /// Nobody here has registered it: it has itself.
    pub by_itself: bool,
    /// Milliseconds since 1970.
    pub made: i64,
}

/// Where a client's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keys {
    /// A JWK set (RFC 7517).
    Inline(String),
    /// The address of one.
    At(String),
    /// It can keep no secret: a public client (RFC 6749, section 2.1).
    None,
}

/// The settings that tell when a client last had a token, and how exactly.
const USED: &str = "client.used/";
const MINUTE: i64 = 60_000;

const CLIENT: &str = "SELECT id, name, scope, published, keys, made, redirects, launch, purpose, by_itself FROM client";

impl Store {
    /// Registers a client, unless there are so many already.
    pub fn add_client(&self, client: &Client, most: usize) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO client (id, name, scope, published, keys, made, redirects, launch, purpose, by_itself) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?8, ?9, ?10, ?11 WHERE (SELECT count(*) FROM client) < ?7";
        let (published, keys): (i64, &str) = match &client.keys {
            Keys::Inline(keys) => (0, keys.as_str()),
            Keys::At(url) => (1, url.as_str()),
            Keys::None => (2, ""),
        };
        let (Client { id, name, scope, made, .. }, redirects) = (client, client.redirects.join(" "));
        let (launch, purpose) = (client.launch.as_deref(), client.purpose.as_deref());
        let (launch, purpose) = (launch.unwrap_or_default(), purpose.unwrap_or_default());
        let by_itself = i64::from(client.by_itself);
        let values =
            values![id, name, scope, published, keys, *made, most as i64, &redirects, launch, purpose, by_itself];
        Ok(self.with(|c| c.execute(SQL, values))? == 1)
    }

    /// Registers one that does so itself, unless there are so many of these already. Those that nobody has let in since a time go.
    pub fn add_by_itself(&self, client: &Client, most: usize, since: i64) -> Result<bool, StoreError> {
        const STALE: &str = "DELETE FROM client WHERE by_itself = 1 AND made < ?1 AND NOT EXISTS \
             (SELECT 1 FROM app_grant g WHERE g.client = client.id)";
        let forgotten = format!(
            "DELETE FROM setting WHERE name LIKE '{USED}%' AND NOT EXISTS \
             (SELECT 1 FROM client WHERE setting.name = '{USED}' || client.id)"
        );
        let count = "SELECT count(*) FROM client WHERE by_itself = 1";
        self.transaction(|c| {
            c.execute(STALE, values![since])?;
            c.execute(&forgotten, &[])
        })?;
        if self.read(|c| c.number(count, &[]))? >= most as i64 {
            return Ok(false);
        }
        self.add_client(client, MAX_CLIENTS)
    }

    /// A client.
    pub fn client(&self, id: &str) -> Result<Option<Client>, StoreError> {
        let sql = format!("{CLIENT} WHERE id = ?1");
        self.read(|c| c.first(&sql, values![id], client))
    }

    /// All clients, the oldest first.
    pub fn clients(&self) -> Result<Vec<Client>, StoreError> {
        let sql = format!("{CLIENT} ORDER BY made, id");
        self.read(|c| c.rows(&sql, &[], client))
    }

    /// Remembers that a client had a token, to the minute: it may ask for many; times in milliseconds since 1970.
    pub fn used_client(&self, id: &str, now: i64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO setting (name, value) SELECT ?1, ?2 WHERE EXISTS (SELECT 1 FROM client WHERE id = ?3) \
             ON CONFLICT (name) DO UPDATE SET value = ?2 WHERE CAST(setting.value AS BIGINT) < CAST(?4 AS BIGINT)";
        let (name, before) = (format!("{USED}{id}"), (now - MINUTE).to_string());
        self.with(|c| c.execute(SQL, values![&name, &now.to_string(), id, &before]).map(|_| ()))
    }

    /// When clients last had a token, by their ids.
    pub fn clients_used(&self) -> Result<HashMap<String, i64>, StoreError> {
        let sql = format!("SELECT name, value FROM setting WHERE name LIKE '{USED}%'");
        let used = |r: &Row<'_>| {
            let id = r.text(0)?.strip_prefix(USED).unwrap_or_default().to_owned();
            Ok((id, r.text(1)?.parse().map_err(|_| StoreError::Nonsense("when a client had a token"))?))
        };
        Ok(self.read(|c| c.rows(&sql, &[], used))?.into_iter().collect())
    }

    /// The apps that people open from a record, by name, this many at most.
    pub fn launchable(&self, most: usize) -> Result<Vec<Client>, StoreError> {
        let sql = format!("{CLIENT} WHERE launch <> '' ORDER BY name, id LIMIT ?1");
        self.read(|c| c.rows(&sql, values![most as i64], client))
    }

    /// Forgets a client, and all that people have allowed it. Tells whether there was one.
    pub fn drop_client(&self, id: &str) -> Result<bool, StoreError> {
        self.transaction(|c| {
            c.execute("DELETE FROM app_grant WHERE client = ?1", values![id])?;
            c.execute("DELETE FROM setting WHERE name = ?1", values![&format!("{USED}{id}")])?;
            Ok(c.execute("DELETE FROM client WHERE id = ?1", values![id])? == 1)
        })
    }

    /// Uses an assertion up; false: it was used before. Forgets those that have expired; times in seconds since 1970.
    pub fn spend(&self, assertion: &Digest, expires: u64, now: u64) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO assertion (digest, expires) VALUES (?1, ?2) ON CONFLICT (digest) DO NOTHING";
        self.with(|c| {
            c.execute("DELETE FROM assertion WHERE expires < ?1", values![now as i64])?;
            Ok(c.execute(SQL, values![&assertion.to_string(), expires as i64])? == 1)
        })
    }

    /// Revokes a token, and forgets those that have expired.
    pub fn revoke(&self, id: &str, expires: u64, now: u64) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO revoked (id, expires) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
        self.with(|c| {
            c.execute("DELETE FROM revoked WHERE expires < ?1", values![now as i64])?;
            c.execute(SQL, values![id, expires as i64]).map(|_| ())
        })
    }

    /// Whether a token still counts: it was not revoked, the client that it was issued to is still registered, and what somebody
    /// allowed that client, if it came of that, goes on: until its time is over, with the account, and with the session where it is
    /// bound to one. A session that nobody ended lies here until the next one begins. `now` in milliseconds since 1970.
    pub fn stands(&self, id: &str, client: Option<&str>, grant: Option<&str>, now: i64) -> Result<bool, StoreError> {
        const SQL: &str = "SELECT (SELECT count(*) FROM revoked WHERE id = ?1), \
             (SELECT count(*) FROM client WHERE id = ?2), \
             (SELECT count(*) FROM app_grant g JOIN account a ON a.id = g.account AND a.disabled = 0 \
              WHERE g.id = ?3 AND g.expires > ?4 AND (g.session = '' OR EXISTS \
              (SELECT 1 FROM session s WHERE s.digest = g.session AND s.expires > ?4 AND s.seen > ?5)))";
        let idle = now - SESSION_IDLE.as_millis() as i64;
        let values = values![id, client.unwrap_or(""), grant.unwrap_or(""), now, idle];
        let found = self.read(|c| c.first(SQL, values, |r| Ok((r.int(0)?, r.int(1)?, r.int(2)?))))?;
        Ok(found.is_some_and(|(revoked, clients, grants)| {
            revoked == 0 && (client.is_none() || clients == 1) && (grant.is_none() || grants == 1)
        }))
    }
}

fn client(r: &Row<'_>) -> Result<Client, StoreError> {
    let keys = r.string(4)?;
    let keys = match r.int(3)? {
        0 => Keys::Inline(keys),
        1 => Keys::At(keys),
        2 => Keys::None,
        _ => return Err(StoreError::Nonsense("a client's keys")),
    };
    let redirects = r.text(6)?.split_ascii_whitespace().map(str::to_owned).collect();
    let given = |column| Ok::<_, StoreError>(Some(r.string(column)?).filter(|text| !text.is_empty()));
    let (launch, purpose) = (given(7)?, given(8)?);
    let by_itself = r.int(9)? == 1;
    Ok(Client {
        id: r.string(0)?,
        name: r.string(1)?,
        scope: r.string(2)?,
        keys,
        redirects,
        launch,
        purpose,
        by_itself,
        made: r.int(5)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;

    fn a(id: &str, keys: Keys, made: i64) -> Client {
        let redirects = vec!["https://a/cb".into(), "http://localhost:1/cb".into()];
        Client {
            id: id.into(),
            name: "Lab".into(),
            scope: "system/*.rs".into(),
            keys,
            redirects,
            launch: None,
            purpose: Some("HRESCH".into()),
            by_itself: false,
            made,
        }
    }

    #[test]
    fn clients_come_and_go() {
        for (_keep, store) in stores() {
            let (one, two) = (a("b", Keys::None, 1), a("a", Keys::At("https://k".into()), 2));
            assert!(store.add_client(&one, 2).unwrap() && store.add_client(&two, 2).unwrap());
            assert!(!store.add_client(&a("c", Keys::At("https://k".into()), 3), 2).unwrap(), "one too many");
            assert_eq!(store.clients().unwrap(), [one.clone(), two]);
            assert_eq!(store.client("b").unwrap(), Some(one));
            for now in [100_000, 100_001, 100_000 + MINUTE, 200_000] {
                store.used_client("b", now).unwrap();
            }
            store.used_client("c", 7).unwrap();
            assert_eq!(store.clients_used().unwrap(), HashMap::from([("b".to_owned(), 200_000)]));
            store.used_client("b", 200_000 + MINUTE - 1).unwrap();
            assert_eq!(store.clients_used().unwrap()["b"], 200_000, "to the minute");
            assert!(store.drop_client("b").unwrap() && !store.drop_client("b").unwrap());
            assert!(store.clients_used().unwrap().is_empty());
            assert_eq!(store.client("b").unwrap(), None);
        }
    }

    #[test]
    fn what_is_opened_from_a_record_is_listed_by_name() {
        for (_keep, store) in stores() {
            let launch = Some("https://a/launch".to_owned());
            let all = [("b", "Zeta"), ("c", "Alpha"), ("d", "Mid")];
            for (id, name) in all {
                let client = Client { name: name.into(), launch: launch.clone(), ..a(id, Keys::None, 1) };
                assert!(store.add_client(&client, 9).unwrap());
            }
            assert!(store.add_client(&a("e", Keys::None, 1), 9).unwrap());
            let found = store.launchable(2).unwrap();
            assert_eq!(found.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["Alpha", "Mid"]);
            assert_eq!(found[0].launch, launch);
        }
    }

    #[test]
    fn those_that_register_themselves_are_few_and_go_when_nobody_lets_them_in() {
        for (_keep, store) in stores() {
            let own = |id: &str, made| Client { by_itself: true, ..a(id, Keys::None, made) };
            assert!(store.add_client(&a("theirs", Keys::None, 1), 9).unwrap());
            assert!(
                store.add_by_itself(&own("a", 10), 2, 0).unwrap() && store.add_by_itself(&own("b", 20), 2, 0).unwrap()
            );
            assert!(!store.add_by_itself(&own("c", 30), 2, 0).unwrap(), "one too many");
            assert!(store.client("a").unwrap().unwrap().by_itself);
            for id in ["a", "b", "theirs"] {
                store.used_client(id, 100_000).unwrap();
            }
            assert!(store.add_by_itself(&own("c", 30), 2, 15).unwrap(), "the old one has gone");
            assert!(store.client("a").unwrap().is_none() && store.client("theirs").unwrap().is_some());
            let used = store.clients_used().unwrap();
            assert!(used.len() == 2 && !used.contains_key("a"), "nor is it remembered when it was used: {used:?}");
        }
    }

    #[test]
    fn an_assertion_counts_once_until_it_has_expired() {
        for (_keep, store) in stores() {
            let digest = Digest::of(b"x");
            assert!(store.spend(&digest, 100, 50).unwrap());
            assert!(!store.spend(&digest, 100, 100).unwrap());
            assert!(store.spend(&Digest::of(b"y"), 200, 50).unwrap());
            assert!(store.spend(&digest, 200, 101).unwrap(), "its age refuses it by then");
        }
    }

    #[test]
    fn a_token_falls_with_its_revocation_and_with_its_client() {
        for (_keep, store) in stores() {
            assert!(store.add_client(&a("c", Keys::Inline("{}".into()), 1), 9).unwrap());
            assert!(store.stands("t", None, None, 1).unwrap() && store.stands("t", Some("c"), None, 1).unwrap());
            assert!(!store.stands("t", Some("other"), None, 1).unwrap());
            store.revoke("t", 100, 50).unwrap();
            store.revoke("t", 100, 60).unwrap();
            assert!(!store.stands("t", None, None, 1).unwrap() && store.stands("u", Some("c"), None, 1).unwrap());
            store.drop_client("c").unwrap();
            assert!(!store.stands("u", Some("c"), None, 1).unwrap());
        }
    }
}
