//! Who is signed in, for handlers of pages.

use super::guard::borne;
use crate::app::App;
use crate::index::store::{Store, StoreError};
use crate::people::secrets::Bearer;
use crate::people::session::{Kept, SEEN_EVERY, Session};
use crate::read::in_background;
use std::sync::Arc;
use warp::http::HeaderMap;

/// The session that a request bears, if it still counts. Where the index does not say, nobody is signed in.
pub async fn of(app: &Arc<App>, headers: &HeaderMap) -> Option<Session> {
    let bearer = borne(headers)?;
    let (store, asked, now) = (app.core.store.clone(), bearer.clone(), app.core.clock.now().as_millisecond());
    match in_background(move || kept(&store, &asked, now)).await {
        Ok(kept) => kept.map(|kept| kept.session(bearer)),
        Err(error) => {
            tracing::error!(%error, "a session could not be looked up");
            None
        }
    }
}

fn kept(store: &Store, bearer: &Bearer, now: i64) -> Result<Option<Kept>, StoreError> {
    let digest = bearer.digest();
    let Some(kept) = store.session(&digest)?.filter(|kept| kept.lives(now)) else { return Ok(None) };
    if now - kept.seen >= SEEN_EVERY.as_millis() as i64 {
        store.saw_session(&digest, now)?;
    }
    Ok(Some(kept))
}
