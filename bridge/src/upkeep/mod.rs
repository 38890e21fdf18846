//! Upkeep of what is stored: what an operator does now and then, or the service by itself. It works beside a running service and
//! without one, and each piece of it may be cut short anywhere and done again.

pub mod erase;
pub mod key_objects;
pub mod recover;
pub mod rotate;

use crate::app::{App, StartError, roots};
use std::sync::Arc;
use std::time::Duration;

/// How long it takes at most until a running service has wiped a key that was destroyed elsewhere.
pub const WATCH: Duration = Duration::from_secs(5);

/// What a running service does by itself, for ever.
pub async fn run(app: Arc<App>) {
    let keep = app.core.keep();
    // What a crash cut short; a command that is at work at the same time does no harm.
    if let Err(error) = erase::finish_all(&keep).await {
        tracing::error!(%error, "an erasure is not finished; it is tried again at the next start");
    }
    loop {
        let noticing = keep.clone();
        let noticed = tokio::task::spawn_blocking(move || noticing.notice_erasures()).await;
        if let Ok(Err(error)) = noticed {
            tracing::warn!(%error, "erasures could not be looked for");
        }
        if let Err(error) = take_up_root(&app).await {
            tracing::warn!(%error, "a new root key could not be taken up");
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// Takes up the root that a rotation goes to.
async fn take_up_root(app: &App) -> Result<(), StartError> {
    let core = &app.core;
    let wanted = core.store.wanted_root()?;
    if wanted.is_some() && wanted != core.keys.newest_id() {
        core.keys.replace_roots(roots::load(&app.config, &core.store, &core.objects, false).await?);
        tracing::info!("a new root key was taken up");
    }
    Ok(())
}
