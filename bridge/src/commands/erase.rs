//! `medseal erase`: destroys a patient's key. It works on what is kept, beside a running service or without one; a service
//! notices within `upkeep::WATCH`.

use super::Failed;
use crate::anchor;
use crate::app::keep::Keep;
use crate::app::{self, StartError};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::ids::Name;
use crate::upkeep::WATCH;
use crate::upkeep::erase::{self, Done, said};
use std::sync::Arc;

/// The longest reason.
const MAX_REASON: usize = 1_000;

/// Erases a patient and says what was done.
pub async fn run(config: &Config, what: &str, reason: &str) -> Result<(), Failed> {
    let name = patient(what)?;
    if reason.trim().is_empty() || reason.len() > MAX_REASON {
        return Err(Failed(format!("--reason: why, in 1 to {MAX_REASON} characters; it is kept sealed")));
    }
    let keep = Keep::open(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    let tell = |what: &str| tracing::info!("erasing: {what}");
    let done = erase::erase(&keep, &name, reason, &tell).await.map_err(Failed::from_error)?;
    let done = done.ok_or_else(|| Failed(format!("{what} is not stored here")))?;
    drop(keep);
    say!("{}", told(&done));
    log_now(config).await
}

/// Without a service the tombstone goes into the log now; else the service puts it there.
async fn log_now(config: &Config) -> Result<(), Failed> {
    match app::open(config, Arc::new(SystemClock)).await {
        Ok(opened) => {
            if !anchor::step_once(&opened.core).await.map_err(Failed::from_error)? {
                service_has_it();
            }
        }
        Err(StartError::InUse { .. }) => service_has_it(),
        Err(error) => return Err(Failed(format!("erased, but the tombstone is not in the log yet: {error}"))),
    }
    Ok(())
}

fn service_has_it() {
    say!("the running service has wiped the key in {} seconds at most", WATCH.as_secs());
}

/// Lists who was erased, when and why: what to erase again where everything was restored from an older backup.
pub async fn list(config: &Config) -> Result<(), Failed> {
    let keep = Keep::open(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    for erasure in keep.store.erasures().map_err(Failed::from_error)? {
        let said = said(&keep, &erasure).map_err(Failed::from_error)?;
        let state = if erasure.done { "" } else { " (unfinished: start the service, or erase again)" };
        say!("{}\t{}\t{}{state}", erasure.owner.as_str(), said.time, said.reason.escape_debug());
    }
    Ok(())
}

fn patient(what: &str) -> Result<Name, Failed> {
    let name = Name::parse(what).filter(|name| name.kind.as_str() == "Patient");
    name.ok_or_else(|| {
        Failed(format!("{what}: write Patient/id; all that is sealed under the patient's key goes with it"))
    })
}

fn told(done: &Done) -> String {
    let Done { owner, time, rows, keys, before } = done;
    if *before {
        return format!("{} was erased on {time}", owner.as_str());
    }
    format!(
        "{} erased on {time}: {rows} versions and messages, key destroyed in the index and {keys} objects",
        owner.as_str()
    )
}
