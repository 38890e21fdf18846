//! `medseal backup`: a whole copy of the index while the service goes on.

use super::Failed;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::index::backup::{backup, note};
use std::path::Path;

/// Copies the index into a file that is not there yet, and says what is in it.
pub fn run(config: &Config, to: &Path) -> Result<(), Failed> {
    copy(config, to)?;
    say!("{} is the index as it was when the copy began; packs, wrapped keys and root.key are not in it", to.display());
    Ok(())
}

/// Copies it.
pub(super) fn copy(config: &Config, to: &Path) -> Result<(), Failed> {
    let from = config.data.join("index.sqlite");
    if !from.exists() {
        return Err(Failed(format!("{} is not there: name the data directory with --data", from.display())));
    }
    if to.exists() {
        return Err(Failed(format!("{} is there already: name another file", to.display())));
    }
    let now = SystemClock.now().as_millisecond();
    backup(&from, to, now).map_err(|error| Failed(format!("{}: {error}", to.display())))?;
    // The copy is whole: that nobody is reminded of it is no reason to do without it.
    if let Err(error) = note(&from, now) {
        tracing::warn!(%error, "the index does not remember that it was copied");
    }
    Ok(())
}
