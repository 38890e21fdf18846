//! The maps to v2: read from the files built into the program or from a directory, and compiled.

use super::ToV2Error;
use super::map_file::{MapFile, MessageFile, PreferFile};
use super::plan::{self, MessagePlan, Names, Plan, fault};
use super::report::LeftAlone;
use super::table::Table;
use crate::map_file::TableFile;
use crate::plan::PlanError;
use crate::schema::place::placed;
use crate::schema::{self, Kind};
use crate::sources::{self, yaml_files};
use include_dir::{Dir, include_dir};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

static MAPS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/maps/to_v2");
static TABLES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/maps/tables");

/// The folders of its files.
pub(crate) const KINDS: [&str; 5] = ["to_v2/messages", "to_v2/segments", "to_v2/datatypes", "tables", "to_v2/tables"];

/// Compiled maps to v2, ready to run.
#[derive(Debug)]
pub struct Set {
    pub(crate) maps: Vec<Plan>,
    pub(crate) tables: Vec<Table>,
    pub(crate) left_alone: LeftAlone,
    messages: Vec<MessagePlan>,
    by_name: HashMap<String, usize>,
}

/// The files of a set, by kind: (name, content).
#[derive(Debug, Default)]
pub(crate) struct Files {
    maps: Vec<(String, String)>,
    messages: Vec<(String, String)>,
    tables: Vec<(String, String)>,
    preferences: Vec<(String, String)>,
}

impl Set {
    /// The maps built into the program.
    pub fn embedded() -> Result<Self, PlanError> {
        let folder = |folder: &Dir<'static>| {
            let text = |f: &include_dir::File<'_>| {
                (f.path().display().to_string(), f.contents_utf8().unwrap_or("").to_owned())
            };
            folder.files().map(text).collect::<Vec<_>>()
        };
        let inside = |name: &str| MAPS.get_dir(name).map_or_else(Vec::new, folder);
        Self::compile(Files {
            maps: [inside("segments"), inside("datatypes")].concat(),
            messages: inside("messages"),
            tables: folder(&TABLES),
            preferences: inside("tables"),
        })
    }

    /// The maps of a directory: the forward `tables`, and messages, segments, datatypes and tables in `to_v2`.
    pub fn load(directory: &Path) -> Result<Self, PlanError> {
        let mut files = Files::default();
        for folder in KINDS {
            read_folder(directory, folder)?.into_iter().for_each(|(name, text)| files.add(folder, name, text));
        }
        Self::compile(files).map_err(|e| e.located(&placed(directory, &KINDS)))
    }

    pub(crate) fn compile(files: Files) -> Result<Self, PlanError> {
        let map_files: Vec<MapFile> = read(&files.maps)?;
        let maps = numbered(map_files.iter().map(|m| (&m.map, m.source.clone())))?;
        let tables = tables(&files)?;
        let table_names = tables.iter().enumerate().map(|(n, table)| (table.name.clone(), n)).collect();
        let names = Names { maps: &maps, tables: &table_names };
        let mut set = Self {
            maps: map_files.iter().map(|file| plan::map(file, &names)).collect::<Result<_, _>>()?,
            left_alone: map_files.iter().flat_map(left_alone).collect(),
            tables,
            messages: Vec::new(),
            by_name: HashMap::new(),
        };
        for file in read::<MessageFile>(&files.messages)? {
            for name in &file.messages {
                if set.by_name.insert(name.clone(), set.messages.len()).is_some() {
                    return Err(fault(&file.map, format!("{name} has two maps")));
                }
            }
            set.messages.push(plan::message(&file, &names)?);
        }
        Ok(set)
    }

    /// The messages that have a map, sorted: `ADT_A01`; `ACK_*` is an acknowledgement of any event.
    pub fn message_types(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn message_plan(&self, name: &str) -> Result<&MessagePlan, ToV2Error> {
        let any = name.split_once('_').map(|(kind, _)| format!("{kind}_*"));
        let found = self.by_name.get(name).or_else(|| self.by_name.get(&any?));
        found.map(|at| &self.messages[*at]).ok_or_else(|| ToV2Error::NoMap(name.to_owned()))
    }
}

impl Files {
    pub(crate) fn add(&mut self, folder: &str, name: String, text: String) {
        let kind = match folder {
            "to_v2/messages" => &mut self.messages,
            "to_v2/tables" => &mut self.preferences,
            "tables" => &mut self.tables,
            _ => &mut self.maps,
        };
        kind.push((name, text));
    }
}

fn left_alone(file: &MapFile) -> impl Iterator<Item = (String, String)> {
    file.unmapped.keys().map(|element| (file.source.clone(), element.clone()))
}

fn tables(files: &Files) -> Result<Vec<Table>, PlanError> {
    let mut preferences: HashMap<String, _> =
        read::<PreferFile>(&files.preferences)?.into_iter().map(|p| (p.table, p.prefer)).collect();
    let mut tables = Vec::new();
    for file in read::<TableFile>(&files.tables)? {
        let prefer = preferences.remove(&file.table).unwrap_or_default();
        let table = Table::new(file, prefer);
        if let Some(code) = table.odd_preference() {
            return Err(fault(&table.name, format!("no row makes {code} of the preferred code")));
        }
        tables.push(table);
    }
    match preferences.into_keys().next() {
        Some(table) => Err(fault(table, "a preference for a table that there is not")),
        None => Ok(tables),
    }
}

fn read<T: DeserializeOwned>(files: &[(String, String)]) -> Result<Vec<T>, PlanError> {
    files.iter().map(|(name, text)| sources::read(name, text)).collect()
}

fn read_folder(directory: &Path, folder: &str) -> Result<Vec<(String, String)>, PlanError> {
    let read_one = |path: PathBuf| {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(|e| fault(&name, e))?;
        Kind::of(folder, &name).map_or(Ok(()), |kind| schema::check_file(&name, &text, kind))?;
        Ok((name, text))
    };
    yaml_files(&directory.join(folder))?.into_iter().map(read_one).collect()
}

fn numbered<'n>(
    maps: impl Iterator<Item = (&'n String, String)>,
) -> Result<HashMap<String, (usize, String)>, PlanError> {
    let mut numbers = HashMap::new();
    for (n, (name, source)) in maps.enumerate() {
        if numbers.insert(name.clone(), (n, source)).is_some() {
            return Err(fault(name, "is defined twice"));
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_maps_compile_and_are_found_by_name() {
        let set = Set::embedded().unwrap();
        for name in ["ADT_A01", "ADT_A03", "ADT_A04", "ADT_A08", "ORU_R01", "SIU_S12", "VXU_V04", "ACK", "ACK_A01"] {
            assert!(set.message_plan(name).is_ok(), "{name}");
        }
        assert_eq!(set.message_plan("ZZZ_Z99").unwrap_err(), ToV2Error::NoMap("ZZZ_Z99".into()));
    }

    #[test]
    fn a_directory_is_a_set_too() {
        let set = Set::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("maps")).unwrap();
        assert_eq!(set.message_types(), Set::embedded().unwrap().message_types());
        assert!(Set::load(Path::new("/nowhere")).unwrap_err().to_string().contains("/nowhere/to_v2"));
    }
}
