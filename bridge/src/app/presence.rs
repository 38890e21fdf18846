//! That a service is at work, and which root key it wraps with: noted in the index, where `medseal recover` and `medseal keys` look.

use super::{App, Core};
use crate::config::Config;
use crate::error::VaultError;
use crate::index::replicas::Replica;
use crate::index::store::StoreError;
use crate::read::in_background;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How often it is noted: twelve times within the time after which a service counts as gone.
const BEAT: Duration = Duration::from_millis(2_500);
/// Of a machine's name; longer ones help nobody.
const MAX_HOST: usize = 100;

/// This process, as its operator knows it.
fn replica(core: &Core, config: &Config) -> Replica {
    let place = format!("{} (process {}, http {})", host(), std::process::id(), config.http);
    Replica { id: core.lease.holder().to_owned(), place, root: core.keys.newest_id() }
}

impl App {
    /// Which of the services on this index this is, as its operator knows it; nothing where there can be no other.
    pub fn replica(&self) -> Option<String> {
        self.core.store.is_shared().then(|| replica(&self.core, &self.config).place)
    }
}

/// The machine's name, or the pod's.
fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| !c.is_control()).take(MAX_HOST).collect();
    if name.is_empty() { "a machine without a name".to_owned() } else { name }
}

/// The service begins to work; refused where a recovery has begun since it opened the index.
pub(super) fn enter(core: &Core, config: &Config) -> Result<(), StoreError> {
    core.store.enter(&replica(core, config))
}

/// Notes it again and again. A process that a recovery has gone past takes nothing more in: it is to be started anew.
pub(super) async fn run(app: Arc<App>) {
    let mut noted = replica(&app.core, &app.config);
    loop {
        tokio::time::sleep(BEAT).await;
        let now = replica(&app.core, &app.config);
        // SQLite has one process, which its lock tells of: only what it wraps with is news.
        if !app.core.store.is_shared() && now == noted {
            continue;
        }
        noted = now.clone();
        let store = app.core.store.clone();
        match in_background(move || store.stay(&now)).await {
            Ok(()) => {}
            Err(VaultError::Index(StoreError::Recovered)) => {
                tracing::error!("the index was recovered meanwhile: nothing more is taken in; start this service anew");
                drop(app.committer.lock().unwrap_or_else(PoisonError::into_inner).take());
                return;
            }
            Err(error) => tracing::warn!(%error, "it could not be noted that this service is at work"),
        }
    }
}

/// It has ended.
pub(super) async fn leave(core: &Arc<Core>) {
    let own = core.clone();
    if let Err(error) = in_background(move || own.store.leave(own.lease.holder())).await {
        tracing::warn!(%error, "it could not be noted that this service has ended");
    }
}
