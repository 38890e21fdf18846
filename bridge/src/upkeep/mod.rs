//! Upkeep of what is stored: what an operator does now and then, or the service by itself. It works beside a running service and
//! without one, and each piece of it may be cut short anywhere and done again.

pub mod check;
pub mod compact;
mod content;
pub mod drill;
pub mod erase;
pub mod key_objects;
pub mod recover;
pub mod rotate;

use crate::app::keep::Keep;
use crate::app::{App, StartError, roots};
use crate::error::VaultError;
use crate::read::in_background;
use std::sync::Arc;
use std::time::Duration;

/// How long it takes at most until a running service has wiped a key that was destroyed elsewhere.
pub const WATCH: Duration = Duration::from_secs(5);

/// What a running service does by itself, for ever.
pub async fn run(app: Arc<App>) {
    tokio::join!(watch(&app), compact::run(&app));
}

async fn watch(app: &App) {
    let keep = app.core.keep();
    loop {
        if let Err(error) = notice(app, &keep).await {
            tracing::warn!(%error, "erasures could not be looked for");
        }
        if let Err(error) = erase::finish_all(&keep).await {
            tracing::error!(%error, "an erasure is not finished; it is tried again");
        }
        if let Err(error) = take_up_root(app).await {
            tracing::warn!(%error, "a new root key could not be taken up");
        }
        tokio::time::sleep(WATCH).await;
    }
}

/// Wipes the keys that a command or another replica destroyed, and sees to it that a tombstone goes into the log like all else.
async fn notice(app: &App, keep: &Keep) -> Result<(), VaultError> {
    let noticing = keep.clone();
    let waiting = in_background(move || {
        noticing.notice_erasures()?;
        Ok(noticing.store.waiting()? > 0)
    });
    if waiting.await? {
        app.core.wake_sequencer.notify_one();
    }
    Ok(())
}

/// Takes up the root that a rotation goes to.
async fn take_up_root(app: &App) -> Result<(), StartError> {
    let core = &app.core;
    let wanted = core.store.wanted_root()?;
    if wanted.is_none() || wanted == core.keys.newest_id() {
        return Ok(());
    }
    core.keys.replace_roots(roots::load(&app.config, &core.store, &core.objects, false).await?);
    match wanted.filter(|wanted| core.keys.newest_id() != Some(*wanted)) {
        None => tracing::info!("a new root key was taken up"),
        Some(root) => tracing::error!(%root, "the root key that a rotation goes to is not here: copy root.key.next"),
    }
    Ok(())
}
