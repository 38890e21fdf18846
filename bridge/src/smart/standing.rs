//! Whether a token that was good still is: it may have been revoked, or its client removed, on another replica. The index knows; what
//! it said is believed for a short while, so that not each request asks it.

use super::token::Bearer;
use crate::index::store::{Store, StoreError};
use crate::limits::{MAX_REMEMBERED_TOKENS, STANDING_BELIEVED, STANDING_FRESH};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is known of tokens, by their ids.
#[derive(Debug, Default)]
pub struct Standing(Mutex<HashMap<String, Known>>);

#[derive(Debug, Clone, Copy)]
struct Known {
    /// Milliseconds since 1970.
    asked: i64,
    stands: bool,
}

/// What is known of one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stands {
    Yes,
    No,
    /// The index could not be asked: nothing is allowed until it answers.
    Unknown,
}

impl Standing {
    /// Asks the index about a token, unless it was asked a moment ago; `now` in milliseconds since 1970.
    pub async fn ask(&self, store: &Arc<Store>, bearer: &Bearer, now: i64) {
        let Some(id) = bearer.id.clone() else { return };
        if self.all().get(&id).is_some_and(|known| !known.stands || is_within(*known, now, STANDING_FRESH)) {
            return;
        }
        let (asked, client, grant) = (id.clone(), bearer.caller.client.clone(), bearer.caller.grant.clone());
        let answer = if store.is_shared() {
            let store = store.clone();
            let joined =
                tokio::task::spawn_blocking(move || store.stands(&asked, client.as_deref(), grant.as_deref(), now))
                    .await;
            joined.unwrap_or(Err(StoreError::Nonsense("index work was cut short")))
        } else {
            // One look into an index on this machine: to hand that to another thread costs several times as much.
            store.stands(&asked, client.as_deref(), grant.as_deref(), now)
        };
        match answer {
            Ok(stands) => self.learn(id, Known { asked: now, stands }),
            Err(error) => tracing::warn!(%error, "it is not known whether a token was revoked"),
        }
    }

    fn learn(&self, id: String, known: Known) {
        let mut all = self.all();
        if all.len() >= MAX_REMEMBERED_TOKENS {
            all.retain(|_, old| is_within(*old, known.asked, STANDING_FRESH));
        }
        if all.len() >= MAX_REMEMBERED_TOKENS {
            all.clear();
        }
        // What was asked before it was revoked here is answered too late.
        all.entry(id).and_modify(|old| *old = if old.stands { known } else { *old }).or_insert(known);
    }

    /// What is known of a token that was asked about.
    pub fn of(&self, bearer: &Bearer, now: i64) -> Stands {
        let Some(id) = &bearer.id else { return Stands::Yes };
        let all = self.all();
        let ended = |grant: &String| all.get(grant).is_some_and(|known| !known.stands);
        match all.get(id) {
            _ if bearer.caller.grant.as_ref().is_some_and(ended) => Stands::No,
            Some(Known { stands: false, .. }) => Stands::No,
            Some(known) if is_within(*known, now, STANDING_BELIEVED) => Stands::Yes,
            _ => Stands::Unknown,
        }
    }

    /// Ends a token, or all that came of a grant, here at once.
    pub fn end(&self, id: &str, now: i64) {
        self.learn(id.to_owned(), Known { asked: now, stands: false });
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that was put back makes what is known old.
fn is_within(known: Known, now: i64, bound: std::time::Duration) -> bool {
    (0..=bound.as_millis() as i64).contains(&(now - known.asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smart::scopes;
    use crate::smart::token::Caller;

    #[tokio::test]
    async fn a_revocation_elsewhere_is_seen_when_the_answer_has_aged() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(&directory.path().join("index.sqlite")).unwrap());
        let caller = Caller::new("x", scopes::parse("system/*.r").unwrap());
        let bearer = Bearer { caller, id: Some("t".into()), issued: 0, expires: 999 };
        let standing = Standing::default();
        assert_eq!(standing.of(&bearer, 1_000), Stands::Unknown, "nobody was asked");
        standing.ask(&store, &bearer, 1_000).await;
        assert_eq!(standing.of(&bearer, 1_000), Stands::Yes);
        store.revoke("t", 999, 1).unwrap();
        let fresh = STANDING_FRESH.as_millis() as i64;
        standing.ask(&store, &bearer, 1_000 + fresh).await;
        assert_eq!(standing.of(&bearer, 1_000 + fresh), Stands::Yes, "believed for a moment");
        assert_eq!(standing.of(&bearer, 500), Stands::Unknown, "the clock was put back");
        let believed = STANDING_BELIEVED.as_millis() as i64;
        assert_eq!(standing.of(&bearer, 1_001 + believed), Stands::Unknown, "and not for ever");
        standing.ask(&store, &bearer, 1_001 + fresh).await;
        assert_eq!(standing.of(&bearer, 1_001 + fresh), Stands::No);
        assert_eq!(standing.of(&bearer, 9_000_000), Stands::No, "what has ended does not begin again");
        let without = Bearer { id: None, ..bearer };
        assert_eq!(standing.of(&without, 0), Stands::Yes);
    }
}
