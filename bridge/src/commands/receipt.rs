//! `medseal receipt`: writes a receipt from the data directory, with the service stopped; a running one is asked over
//! `GET .../$receipt`.

use super::Failed;
use crate::anchor;
use crate::app;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::consent::decide::decide;
use crate::error::VaultError;
use crate::ids::{Name, Version};
use crate::smart::scopes::{self, Interaction};
use crate::smart::token::Caller;
use crate::vault::objects::private;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Writes the receipt of `Type/id` or `Type/id/version`, with its opening or without, and the resource beside it if asked.
pub async fn run(
    config: &Config,
    what: &str,
    out: Option<&Path>,
    resource: Option<&Path>,
    opening: bool,
) -> Result<(), Failed> {
    let (name, version) = parse(what)?;
    let opened = app::open(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    // Whoever may read the key files of the data directory is its administrator.
    let scopes = scopes::parse("system/*.r").map_err(Failed)?;
    let caller = Caller::new("administrator", scopes);
    let permit = decide(&caller, Interaction::Read, Some(name.kind)).map_err(Failed::from_error)?;
    let core = opened.core;
    anchor::step_once(&core).await.map_err(Failed::from_error)?;
    let receipt = match crate::read::read(&core, &permit, &name, version).await {
        Err(VaultError::Erased) => anchor::erased_receipt(&core, &name, version).await,
        Err(error) => return Err(Failed::from_error(error)),
        Ok(None) => return Err(Failed(format!("{what} is not stored here"))),
        Ok(Some(read)) => {
            resource.map_or(Ok(()), |path| write(path, &read.resource))?;
            anchor::receipt(&core, &read)
        }
    };
    let receipt = receipt.map_err(Failed::from_error)?;
    let receipt = receipt.ok_or_else(|| Failed(format!("{what} is not in a signed checkpoint yet")))?;
    let receipt = if opening { receipt } else { receipt.without_opening() };
    match out {
        Some(path) => write(path, receipt.to_json().as_bytes()),
        None => {
            say!("{}", receipt.to_json());
            Ok(())
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    // The opening and the resource are for those who may see them.
    let written = private().create(true).truncate(true).open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|e| Failed(format!("{}: {e}", path.display())))
}

fn parse(what: &str) -> Result<(Name, Option<Version>), Failed> {
    let wrong = || Failed(format!("{what}: write Type/id or Type/id/version"));
    let parts: Vec<&str> = what.split('/').collect();
    match parts.as_slice() {
        [kind, id] => Ok((Name::parse(&format!("{kind}/{id}")).ok_or_else(wrong)?, None)),
        [kind, id, version] => {
            let version = Version::parse(version).ok_or_else(wrong)?;
            Ok((Name::parse(&format!("{kind}/{id}")).ok_or_else(wrong)?, Some(version)))
        }
        _ => Err(wrong()),
    }
}
