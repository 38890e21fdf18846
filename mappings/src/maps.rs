//! A set of maps: read from the files built into the program or from a directory, and compiled.

use crate::engine::MapError;
use crate::map_file::{MapFile, MessageFile, TableFile};
use crate::parse::{Message, part};
use crate::plan::{self, MessagePlan, Names, Plan, PlanError, Table, fault};
use include_dir::{Dir, include_dir};
use std::collections::HashMap;
use std::path::Path;

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/maps");

/// Compiled maps, ready to run.
#[derive(Debug)]
pub struct MapSet {
    pub(crate) maps: Vec<Plan>,
    pub(crate) tables: Vec<Table>,
    messages: Vec<MessagePlan>,
    by_type: HashMap<String, usize>,
}

/// The files of a map set, by kind: (name, content).
#[derive(Debug, Default)]
struct Files {
    maps: Vec<(String, String)>,
    messages: Vec<(String, String)>,
    tables: Vec<(String, String)>,
}

impl MapSet {
    /// The maps built into the program.
    pub fn embedded() -> Result<Self, PlanError> {
        let mut files = Files::default();
        for folder in EMBEDDED.dirs() {
            let kind = folder.path().to_string_lossy().into_owned();
            for file in folder.files() {
                let name = file.path().to_string_lossy().into_owned();
                files.add(&kind, name, file.contents_utf8().unwrap_or("").to_owned());
            }
        }
        Self::compile(files)
    }

    /// The maps of a directory with the folders messages, segments, datatypes and tables.
    pub fn load(directory: &Path) -> Result<Self, PlanError> {
        let mut files = Files::default();
        for kind in ["messages", "segments", "datatypes", "tables"] {
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
        Self::compile(files)
    }

    fn compile(files: Files) -> Result<Self, PlanError> {
        let map_files = files.maps.iter().map(read::<MapFile>).collect::<Result<Vec<_>, _>>()?;
        let table_files = files.tables.iter().map(read::<TableFile>).collect::<Result<Vec<_>, _>>()?;
        let maps = numbered(map_files.iter().map(|m| &m.map))?;
        let tables = numbered(table_files.iter().map(|t| &t.table))?;
        let names = Names { maps: &maps, tables: &tables };
        let mut set = Self {
            maps: map_files.iter().map(|file| plan::map(file, &names)).collect::<Result<_, _>>()?,
            tables: table_files.into_iter().map(plan::table).collect(),
            messages: Vec::new(),
            by_type: HashMap::new(),
        };
        for source in &files.messages {
            let file: MessageFile = read(source)?;
            for message in &file.messages {
                if set.by_type.insert(message.clone(), set.messages.len()).is_some() {
                    return Err(fault(&source.0, format!("{message} has two maps")));
                }
            }
            set.messages.push(plan::message(&file, &names)?);
        }
        Ok(set)
    }

    /// The message types that have a map, sorted: `ADT_A01`.
    pub fn message_types(&self) -> Vec<&str> {
        let mut types: Vec<&str> = self.by_type.keys().map(String::as_str).collect();
        types.sort_unstable();
        types
    }

    /// The rules that differ from the guide, with the reason.
    pub fn deviations(&self) -> impl Iterator<Item = (&str, &str)> {
        let rules = self.maps.iter().flat_map(|plan| &plan.rules);
        rules.filter_map(|rule| Some((rule.id.as_str(), rule.because.as_deref()?)))
    }

    /// Whether the message's type has a map.
    pub fn has_map(&self, message: &Message<'_>) -> bool {
        self.message_plan(message).is_ok()
    }

    pub(crate) fn message_plan(&self, message: &Message<'_>) -> Result<&MessagePlan, MapError> {
        let separator = Some(message.separators().component);
        let field = message.header(9);
        let (kind, event) = (part(field, separator, 1).trim(), part(field, separator, 2).trim());
        if kind.is_empty() {
            return Err(MapError::NoType);
        }
        let name = if event.is_empty() { kind.to_owned() } else { format!("{kind}_{event}") };
        let plan = self.by_type.get(&name).map(|&at| &self.messages[at]);
        // The name goes into an acknowledgement: only what looks like a type does.
        let printable = name.len() <= 11 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        plan.ok_or(MapError::NoMap(if printable { name } else { "(not a type)".into() }))
    }
}

impl Files {
    fn add(&mut self, kind: &str, name: String, text: String) {
        match kind {
            "messages" => self.messages.push((name, text)),
            "tables" => self.tables.push((name, text)),
            _ => self.maps.push((name, text)),
        }
    }
}

fn read<T: serde::de::DeserializeOwned>((name, text): &(String, String)) -> Result<T, PlanError> {
    serde_saphyr::from_str(text).map_err(|e| fault(name, e))
}

fn numbered<'n>(names: impl Iterator<Item = &'n String>) -> Result<HashMap<String, usize>, PlanError> {
    let mut numbers = HashMap::new();
    for (n, name) in names.enumerate() {
        if numbers.insert(name.clone(), n).is_some() {
            return Err(fault(name, "is defined twice"));
        }
    }
    Ok(numbers)
}

impl Table {
    /// What a code becomes. `HL7nnnn` names the v2 table of that number without a row of its own.
    pub(crate) fn row(&self, code: &str) -> Option<String> {
        if let Some(row) = self.rows.get(code) {
            return Some(row.to.clone());
        }
        if self.name == "CodingSystem" && crate::r4::is_oid(code) {
            return Some(format!("urn:oid:{code}"));
        }
        let number = code.strip_prefix("HL7").filter(|n| n.len() == 4 && n.bytes().all(|b| b.is_ascii_digit()));
        number.filter(|_| self.name == "CodingSystem").map(|n| format!("http://terminology.hl7.org/CodeSystem/v2-{n}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_maps_compile_and_are_found_by_type() {
        let set = MapSet::embedded().unwrap();
        for kind in ["ADT_A01", "ADT_A03", "ADT_A04", "ADT_A08", "ADT_A40", "ORU_R01"] {
            assert!(set.message_types().contains(&kind), "{kind}");
        }
        let named = |field: &str| {
            let text = format!("MSH|^~\\&|||||||{field}|1|P|2.5");
            set.message_plan(&Message::parse(&text).unwrap()).map(|p| p.name.clone())
        };
        assert_eq!(named("ADT^A04^ADT_A01").as_deref(), Ok("ADT_A01"));
        assert_eq!(named(""), Err(MapError::NoType));
        assert_eq!(named("ZZZ^Z99"), Err(MapError::NoMap("ZZZ_Z99".into())));
        assert_eq!(named("John Smith^19800101"), Err(MapError::NoMap("(not a type)".into())), "no content in an error");
    }

    #[test]
    fn a_directory_is_a_map_set_too_and_a_fault_names_its_file() {
        let set = MapSet::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("maps")).unwrap();
        assert_eq!(set.message_types(), MapSet::embedded().unwrap().message_types());
        let error = MapSet::load(Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/messages"), "{error}");
    }

    #[test]
    fn tables_answer_by_row_or_by_the_number_of_a_v2_table() {
        let table = Table { name: "CodingSystem".into(), rows: HashMap::new() };
        assert_eq!(table.row("HL70001").as_deref(), Some("http://terminology.hl7.org/CodeSystem/v2-0001"));
        assert_eq!(table.row("2.16.840.1.114222.4.5.277").as_deref(), Some("urn:oid:2.16.840.1.114222.4.5.277"));
        assert_eq!((table.row("HL7001"), table.row("LN")), (None, None));
    }
}
