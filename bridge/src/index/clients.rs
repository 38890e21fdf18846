//! What the authorization server keeps: clients, assertions that were used, tokens that were revoked. All replicas see the same.

use super::sql::{Row, values};
use super::store::{Store, StoreError};
use notary::commitment::Digest;

/// A program that may ask for tokens by a key of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    pub id: String,
    pub name: String,
    /// The most that it is granted.
    pub scope: String,
    pub keys: Keys,
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
}

const CLIENT: &str = "SELECT id, name, scope, published, keys, made FROM client";

impl Store {
    /// Registers a client, unless there are so many already.
    pub fn add_client(&self, client: &Client, most: usize) -> Result<bool, StoreError> {
        const SQL: &str = "INSERT INTO client (id, name, scope, published, keys, made) \
             SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE (SELECT count(*) FROM client) < ?7";
        let (published, keys) = match &client.keys {
            Keys::Inline(keys) => (false, keys),
            Keys::At(url) => (true, url),
        };
        let values = values![&client.id, &client.name, &client.scope, published, keys, client.made, most as i64];
        Ok(self.with(|c| c.execute(SQL, values))? == 1)
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

    /// Forgets a client. Tells whether there was one.
    pub fn drop_client(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.with(|c| c.execute("DELETE FROM client WHERE id = ?1", values![id]))? == 1)
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

    /// Whether a token still counts: it was not revoked, and the client that it was issued to is still registered.
    pub fn stands(&self, id: &str, client: Option<&str>) -> Result<bool, StoreError> {
        const SQL: &str =
            "SELECT (SELECT count(*) FROM revoked WHERE id = ?1), (SELECT count(*) FROM client WHERE id = ?2)";
        let found = self.read(|c| c.first(SQL, values![id, client.unwrap_or("")], |r| Ok((r.int(0)?, r.int(1)?))))?;
        Ok(found.is_some_and(|(revoked, clients)| revoked == 0 && (client.is_none() || clients == 1)))
    }
}

fn client(r: &Row<'_>) -> Result<Client, StoreError> {
    let keys = r.string(4)?;
    let keys = if r.flag(3)? { Keys::At(keys) } else { Keys::Inline(keys) };
    Ok(Client { id: r.string(0)?, name: r.string(1)?, scope: r.string(2)?, keys, made: r.int(5)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::stores;

    fn a(id: &str, keys: Keys, made: i64) -> Client {
        Client { id: id.into(), name: "Lab".into(), scope: "system/*.rs".into(), keys, made }
    }

    #[test]
    fn clients_come_and_go() {
        for (_keep, store) in stores() {
            let (one, two) = (a("b", Keys::Inline("{}".into()), 1), a("a", Keys::At("https://k".into()), 2));
            assert!(store.add_client(&one, 2).unwrap() && store.add_client(&two, 2).unwrap());
            assert!(!store.add_client(&a("c", Keys::At("https://k".into()), 3), 2).unwrap(), "one too many");
            assert_eq!(store.clients().unwrap(), [one.clone(), two]);
            assert_eq!(store.client("b").unwrap(), Some(one));
            assert!(store.drop_client("b").unwrap() && !store.drop_client("b").unwrap());
            assert_eq!(store.client("b").unwrap(), None);
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
            assert!(store.stands("t", None).unwrap() && store.stands("t", Some("c")).unwrap());
            assert!(!store.stands("t", Some("other")).unwrap());
            store.revoke("t", 100, 50).unwrap();
            store.revoke("t", 100, 60).unwrap();
            assert!(!store.stands("t", None).unwrap() && store.stands("u", Some("c")).unwrap());
            store.drop_client("c").unwrap();
            assert!(!store.stands("u", Some("c")).unwrap());
        }
    }
}
