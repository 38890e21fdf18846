//! The files of a map set as they were read, before they are compiled: those built into the program or those of a
//! directory. Overlays change them here (`overlay.rs`).

use crate::map_file::{MapFile, MessageFile, SwitchRow, TableFile};
use crate::plan::{PlanError, fault};
use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};
use std::path::Path;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/maps");

/// The kinds of map files: a folder each. The switches stand beside the folders.
const KINDS: [&str; 5] = ["", "messages", "segments", "datatypes", "tables"];

/// The parsed files of a map set.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub maps: Vec<MapFile>,
    pub messages: Vec<MessageFile>,
    pub tables: Vec<TableFile>,
    pub switches: Vec<SwitchRow>,
    hashes: Vec<[u8; 32]>,
}

impl Sources {
    /// The maps built into the program.
    pub fn embedded() -> Result<Self, PlanError> {
        let mut sources = Self::default();
        let folders = EMBEDDED.dirs().flat_map(|folder| folder.files());
        for file in folders.chain(EMBEDDED.files()) {
            let kind = file.path().parent().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
            sources.add(&kind, &file.path().to_string_lossy(), file.contents_utf8().unwrap_or(""))?;
        }
        Ok(sources)
    }

    /// The maps of a directory with the folders messages, segments, datatypes and tables, and the file switches.yaml.
    pub fn load(directory: &Path) -> Result<Self, PlanError> {
        let mut sources = Self::default();
        for kind in KINDS {
            for path in yaml_files(&directory.join(kind))? {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(&path).map_err(|e| fault(&name, e))?;
                sources.add(kind, &name, &text)?;
            }
        }
        Ok(sources)
    }

    fn add(&mut self, kind: &str, name: &str, text: &str) -> Result<(), PlanError> {
        match kind {
            "messages" => self.messages.push(read(name, text)?),
            "tables" => self.tables.push(read(name, text)?),
            "segments" | "datatypes" => self.maps.push(read(name, text)?),
            "" if name.ends_with("switches.yaml") => self.switches = read(name, text)?,
            _ => return Ok(()),
        }
        self.hashed(text);
        Ok(())
    }

    /// Takes a file's text into the hash.
    pub(crate) fn hashed(&mut self, text: &str) {
        self.hashes.push(Sha256::digest(text.as_bytes()).into());
    }

    /// SHA-256 over the files, in hexadecimal digits; it does not depend on where they lie or in which order they are read.
    pub(crate) fn hash(&self) -> String {
        let mut hashes = self.hashes.clone();
        hashes.sort_unstable();
        let whole = hashes.iter().fold(Sha256::new(), |sum, hash| sum.chain_update(hash)).finalize();
        whole.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The YAML files of a folder, sorted.
pub(crate) fn yaml_files(folder: &Path) -> Result<Vec<std::path::PathBuf>, PlanError> {
    let name = folder.display().to_string();
    let entries = std::fs::read_dir(folder).map_err(|e| fault(&name, e))?;
    let paths = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(|e| fault(&name, e))?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    paths.sort();
    Ok(paths)
}

/// Reads a map file; the error has its name, line and column.
pub(crate) fn read<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, PlanError> {
    serde_saphyr::from_str(text).map_err(|e| fault(name, e))
}
