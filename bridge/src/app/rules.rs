//! What a running service goes by and reads from files: the profiles.

use super::StartError;
use crate::config::Config;
use crate::fhir::profile::Profiles;
use notary::canonical::Json;
use std::path::Path;

/// Reads the profiles that are configured. What of them cannot be checked is told once, at the start.
pub(super) fn profiles(config: &Config) -> Result<Profiles, StartError> {
    let Some(directory) = &config.validation.profiles else { return Ok(Profiles::default()) };
    let fault = |path: &Path, what: &dyn std::fmt::Display| {
        StartError::Config(format!("validation.profiles: {}: {what}", path.display()))
    };
    let mut resources = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|e| fault(directory, &e))? {
        let path = entry.map_err(|e| fault(directory, &e))?.path();
        if path.extension().is_some_and(|e| e == "json") {
            let bytes = std::fs::read(&path).map_err(|e| fault(&path, &e))?;
            resources.push(Json::parse(&bytes).map_err(|e| fault(&path, &e))?);
        }
    }
    let (profiles, doubts) = Profiles::read(resources);
    if profiles.is_empty() {
        return Err(fault(
            directory,
            &"holds no profile: name the folder of a guide's package that has its .json files",
        ));
    }
    tracing::info!(profiles = profiles.len(), "profiles were read");
    doubts.iter().for_each(|doubt| tracing::warn!("{doubt}"));
    Ok(profiles)
}
