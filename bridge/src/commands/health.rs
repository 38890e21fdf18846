//! `medseal health`: whether a running service takes work. For whoever watches it where nothing else can ask it, such as a container
//! without a shell.

use super::Failed;
use crate::config::Config;
use crate::control::{Ask, ask};

/// Prints what `/readyz` tells; fails where the service takes no work, or is not there.
pub async fn run(config: &Config) -> Result<(), Failed> {
    println!("{}", ask(&config.data, &Ask::Health).await.map_err(Failed)?);
    Ok(())
}
