//! `medseal migrate`: the tables in PostgreSQL, made or brought up to date by a role that may do so. The service's own role need not.

use super::Failed;
use crate::config::Config;
use crate::index::store::Store;

/// Sees to it that the index has the tables that this medseal knows, and ends. Services that are at work are not asked: stop those of
/// another version first.
pub fn run(config: &Config) -> Result<(), Failed> {
    match config.index.settings().map_err(Failed)? {
        Some(settings) => Store::postgres(settings).map_err(Failed::from_error)?,
        None => {
            return Err(Failed(
                "the index is a file, whose tables each start sees to: this is for [index] postgres".into(),
            ));
        }
    };
    say!("the index has the tables of medseal {}", env!("CARGO_PKG_VERSION"));
    Ok(())
}
