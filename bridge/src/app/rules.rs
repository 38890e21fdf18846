//! What a running service goes by and reads from files: the profiles, and the house's own sensitive codes.

use super::StartError;
use crate::config::Config;
use crate::consent::labels::Rules;
use crate::fhir::profile::Profiles;
use crate::limits::MAX_LABELS_BYTES;
use notary::canonical::Json;
use std::io::Read;
use std::path::Path;

/// Reads the sensitive codes of the house, beside those that come with medseal.
pub(super) fn labels(config: &Config) -> Result<Rules, StartError> {
    let Some(path) = &config.consent.labels else { return Ok(Rules::built_in().clone()) };
    let fault =
        |what: &dyn std::fmt::Display| StartError::Config(format!("consent.labels: {}: {what}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| fault(&e))?;
    file.take(MAX_LABELS_BYTES + 1).read_to_string(&mut text).map_err(|e| fault(&e))?;
    if text.len() as u64 > MAX_LABELS_BYTES {
        return Err(fault(&format!("longer than {MAX_LABELS_BYTES} bytes")));
    }
    let rules = Rules::beside(&text).map_err(|e| fault(&e))?;
    tracing::info!(path = %path.display(), "the house's own sensitive codes were read");
    Ok(rules)
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Consents;

    #[test]
    fn what_the_house_has_not_written_as_it_must_is_refused_by_file_and_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("own.tsv");
        let config =
            Config { consent: Consents { labels: Some(path.clone()), ..Consents::default() }, ..Config::default() };
        let refused = || labels(&config).unwrap_err().to_string();
        let whole = path.display().to_string();
        assert!(refused().contains(&whole), "it is not there");
        for (text, what) in [
            ("# ours\nS\tours\turn:ours\nL\tHIV\ttheirs\t1\tx\n".to_owned(), "line 3"),
            ("# ours\n".to_owned(), "no line L"),
            ("#".repeat(MAX_LABELS_BYTES as usize + 1), "longer than"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = refused();
            assert!(error.contains(what) && error.contains(&whole) && error.contains("consent.labels"), "{error}");
        }
        std::fs::write(&path, [0xff]).unwrap();
        assert!(refused().contains(&whole), "no UTF-8");
        std::fs::write(&path, "S\tours\turn:ours\nL\tHIV\tours\t1\tx\n").unwrap();
        assert!(labels(&config).is_ok() && labels(&Config::default()).is_ok());
    }
}
