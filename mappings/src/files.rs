//! The files of a map set: those built into the program, or those of a directory.

use crate::map_file::{MapFile, MessageFile, SwitchRow, TableFile};
use crate::plan::{PlanError, fault};
use include_dir::{Dir, include_dir};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use std::path::Path;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/maps");

/// A file's name and content.
type Text = (String, String);

/// The files of a map set, by kind.
#[derive(Debug, Default)]
pub(crate) struct Files {
    maps: Vec<Text>,
    messages: Vec<Text>,
    tables: Vec<Text>,
    switches: Option<Text>,
}

/// What the files say, before it is compiled.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Of segments and of datatypes.
    pub maps: Vec<MapFile>,
    pub messages: Vec<MessageFile>,
    pub tables: Vec<TableFile>,
    pub switches: Vec<SwitchRow>,
}

impl Files {
    /// Those built into the program.
    pub fn embedded() -> Self {
        let mut files = Self::default();
        let folders = EMBEDDED.dirs().flat_map(|folder| folder.files());
        for file in folders.chain(EMBEDDED.files()) {
            let kind = file.path().parent().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
            let name = file.path().to_string_lossy().into_owned();
            files.add(&kind, name, file.contents_utf8().unwrap_or("").to_owned());
        }
        files
    }

    /// Those of a directory with the folders messages, segments, datatypes and tables.
    pub fn load(directory: &Path) -> Result<Self, PlanError> {
        let mut files = Self::default();
        for kind in ["", "messages", "segments", "datatypes", "tables"] {
            let folder = directory.join(kind);
            let entries = std::fs::read_dir(&folder).map_err(|e| fault(folder.display().to_string(), e))?;
            for entry in entries {
                let path = entry.map_err(|e| fault(folder.display().to_string(), e))?.path();
                if path.extension().is_some_and(|e| e == "yaml") {
                    let name = path.display().to_string();
                    let text = std::fs::read_to_string(&path).map_err(|e| fault(&name, e))?;
                    files.add(kind, name, text);
                }
            }
        }
        Ok(files)
    }

    fn add(&mut self, kind: &str, name: String, text: String) {
        match kind {
            "messages" => self.messages.push((name, text)),
            "tables" => self.tables.push((name, text)),
            "segments" | "datatypes" => self.maps.push((name, text)),
            "" if name.ends_with("switches.yaml") => self.switches = Some((name, text)),
            _ => {}
        }
    }

    /// Reads them all.
    pub fn read(&self) -> Result<Written, PlanError> {
        Ok(Written {
            maps: all(&self.maps)?,
            messages: all(&self.messages)?,
            tables: all(&self.tables)?,
            switches: self.switches.as_ref().map(one).transpose()?.unwrap_or_default(),
        })
    }

    /// The hash does not depend on where the files lie or in which order they are read.
    pub fn hash(&self) -> String {
        let all = [&self.messages, &self.maps, &self.tables].into_iter().flatten().chain(&self.switches);
        let mut hashes: Vec<[u8; 32]> = all.map(|(_, text)| Sha256::digest(text.as_bytes()).into()).collect();
        hashes.sort_unstable();
        let whole = hashes.iter().fold(Sha256::new(), |sum, hash| sum.chain_update(hash)).finalize();
        whole.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn all<T: DeserializeOwned>(texts: &[Text]) -> Result<Vec<T>, PlanError> {
    texts.iter().map(one).collect()
}

fn one<T: DeserializeOwned>((name, text): &Text) -> Result<T, PlanError> {
    serde_saphyr::from_str(text).map_err(|e| fault(name, e))
}
