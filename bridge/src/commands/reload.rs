//! `medseal reload`: a running service reads its configuration anew, and says what came of it.

use super::Failed;
use crate::config::Config;
use crate::control::{Ask, ask};

/// Asks, and fails if nothing was taken.
pub async fn run(config: &Config) -> Result<(), Failed> {
    println!("{}", ask(&config.data, &Ask::Reload).await.map_err(Failed)?);
    Ok(())
}
