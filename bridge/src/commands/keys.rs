//! `medseal keys rotate`: a new root key, while services go on.

use super::Failed;
use super::recover::{bar, show};
use crate::app::keep::Keep;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::upkeep::rotate::rotate;
use std::sync::Arc;

/// Rotates and says what became of the old key.
pub async fn run(config: &Config) -> Result<(), Failed> {
    let keep = Keep::open(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    let bar = bar();
    let tell = |what: &str, done: u64, total: u64| show(&bar, what, done, total);
    let done = rotate(&keep, config, &tell).await.map_err(Failed::from_error)?;
    bar.finish_and_clear();
    say!("{} keys of the index and {} objects are wrapped under the new root", done.keys, done.objects);
    if let Some(kept) = done.kept {
        say!(
            "nothing here needs the old root any more; it is in {}: keep it as long as you keep backups from before, then destroy it",
            kept.display()
        );
    }
    Ok(())
}
