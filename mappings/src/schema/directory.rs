//! Every fault of a directory of maps or overlays, for who writes them: `medseal-map check`. A service stops at the first.
//! A rule with a fault is told and taken out, so that the next one shows.

use super::place::Placed;
use super::yaml::{Mark, Node};
use super::{Fault, Kind, faults, yaml};
use crate::library::{Written, overlaid, placed_layers};
use crate::maps::MapSet;
use crate::plan::{PlanError, fault};
use crate::sources::{self, Sources, read, yaml_files};
use crate::to_v2::Set;
use crate::to_v2::set::{self, Files};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Where overlays lie beside maps.
const OVERLAYS: &str = "overlays";

/// A file of the directory.
struct File {
    folder: &'static str,
    placed: Placed,
    text: String,
    /// What it holds, but for what is taken out.
    value: Value,
}

/// The files, and what their schemas say of them.
#[derive(Default)]
struct Read {
    files: Vec<File>,
    found: Vec<PlanError>,
    /// A file that others refer to cannot be read: they cannot be judged.
    broken: bool,
}

/// All faults of a map set with the overlays beside it; or of overlays alone, over the maps of another directory or over
/// those built in.
pub fn all_faults(directory: &Path, maps: Option<&Path>) -> Result<Vec<PlanError>, PlanError> {
    let read = read_all(directory)?;
    if read.files.is_empty() && read.found.is_empty() {
        return Err(fault(directory.display().to_string(), "there are no maps and no overlays in it"));
    }
    let Read { mut files, mut found, broken } = read;
    if !broken {
        let forward = struck(&mut files, &sources::KINDS, &|files| MapSet::compile(&sources_of(files)?).map(drop));
        found.extend(forward);
        found.extend(struck(&mut files, &set::KINDS, &to_v2));
        let base = match maps {
            Some(maps) => Sources::load(maps)?,
            None if is_set(directory) => sources_of(&files)?,
            None => Sources::embedded()?,
        };
        found.extend(of_overlays(&mut files, &base)?);
    }
    Ok(found)
}

fn is_set(directory: &Path) -> bool {
    directory.join("segments").is_dir()
}

fn read_all(directory: &Path) -> Result<Read, PlanError> {
    let mut read = Read::default();
    if !is_set(directory) {
        read.folder(directory, OVERLAYS)?;
        return Ok(read);
    }
    let folders: BTreeSet<&str> = sources::KINDS.into_iter().chain(set::KINDS).chain([OVERLAYS]).collect();
    for folder in folders {
        read.folder(&directory.join(folder), folder)?;
    }
    Ok(read)
}

impl Read {
    fn folder(&mut self, path: &Path, folder: &'static str) -> Result<(), PlanError> {
        let paths = if path.is_dir() { yaml_files(path)? } else { Vec::new() };
        for path in paths {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path).map_err(|e| fault(&name, e))?;
            let kind = if folder == OVERLAYS { Some(Kind::Overlay) } else { Kind::of(folder, &name) };
            kind.into_iter().for_each(|kind| self.file(folder, kind, &name, &text));
        }
        Ok(())
    }

    fn file(&mut self, folder: &'static str, kind: Kind, name: &str, text: &str) {
        let told = faults(text, kind);
        match yaml::parse(text).ok().and_then(|tree| Some((sound_part(&tree, &told, kind)?, tree))) {
            Some((value, tree)) => {
                let placed = Placed { name: name.to_owned(), tree };
                self.files.push(File { folder, placed, text: text.to_owned(), value });
            }
            // Nobody refers to a message map.
            None => self.broken |= !matches!(kind, Kind::Message | Kind::ToV2Message),
        }
        self.found.extend(told.into_iter().map(|fault| fault.of_file(name)));
    }
}

/// What a file holds but for the rows and keys with a fault, if that fits the schema.
fn sound_part(tree: &Node, told: &[Fault], kind: Kind) -> Option<Value> {
    let mut value = tree.value();
    let rows: BTreeSet<_> = told.iter().map(|fault| row_around(tree, String::new(), fault)).collect();
    // From the last to the first, so that the numbers of the others hold.
    for (path, row) in rows.into_iter().rev() {
        match row {
            Some(row) => _ = value.pointer_mut(&path)?.as_array_mut()?.remove(row),
            None => _ = value.as_object_mut()?.remove(path.split('/').nth(1)?),
        }
    }
    (told.is_empty() || faults(&value.to_string(), kind).is_empty()).then_some(value)
}

/// The list that a fault lies in and the number of its row; without a row, the path to the fault.
fn row_around(node: &Node, path: String, fault: &Fault) -> (String, Option<usize>) {
    let before = |at: Mark| (at.line, at.column) <= (fault.line, fault.column);
    if let Some(n) = node.items().iter().take_while(|item| before(item.at)).count().checked_sub(1) {
        let is_row = path.ends_with("/rules") || path.ends_with("/rows");
        return if is_row { (path, Some(n)) } else { row_around(&node.items()[n], format!("{path}/{n}"), fault) };
    }
    match node.fields().iter().take_while(|field| before(field.at)).last() {
        Some(field) => row_around(&field.node, format!("{path}/{}", field.key), fault),
        None => (path, None),
    }
}

/// Takes a rule out.
fn strike(value: &mut Value, rule: &str, map: Option<&str>) -> bool {
    match value {
        Value::Array(items) => {
            let is_it = |item: &Value| {
                let map = item["map"].as_str().or(map);
                map.zip(item["row"].as_str()).is_some_and(|(map, row)| format!("{map}/{row}") == rule)
            };
            let found = items.iter().position(is_it).map(|at| items.remove(at)).is_some();
            found || items.iter_mut().any(|item| strike(item, rule, map))
        }
        Value::Object(fields) => {
            let own = fields.get("map").and_then(Value::as_str).map(str::to_owned);
            fields.values_mut().any(|field| strike(field, rule, own.as_deref().or(map)))
        }
        _ => false,
    }
}

type Compile<'c> = &'c dyn Fn(&[File]) -> Result<(), PlanError>;

/// The faults of the rules in some folders, one after the other.
fn struck(files: &mut [File], folders: &[&str], compile: Compile<'_>) -> Vec<PlanError> {
    let found = one_by_one(files, &|file| folders.contains(&file.folder), compile);
    let placed = || files.iter().filter(|file| folders.contains(&file.folder)).map(|file| &file.placed);
    found.into_iter().map(|error| error.located(placed())).collect()
}

/// Until all is well, or the fault is not a rule's.
fn one_by_one(files: &mut [File], own: &dyn Fn(&File) -> bool, compile: Compile<'_>) -> Vec<PlanError> {
    let mut found: Vec<PlanError> = Vec::new();
    while let Err(error) = compile(files) {
        // What is told twice of one place follows from the rule that is missing now.
        if found.iter().any(|known| known.place == error.place) {
            break;
        }
        let again = files.iter_mut().filter(|f| own(f)).any(|file| strike(&mut file.value, &error.place, None));
        found.push(error);
        if !again {
            break;
        }
    }
    found
}

/// JSON is YAML.
fn sources_of(files: &[File]) -> Result<Sources, PlanError> {
    let mut sources = Sources::default();
    for file in files.iter().filter(|f| sources::KINDS.contains(&f.folder)) {
        sources.add(file.folder, &file.placed.name, &file.value.to_string())?;
    }
    Ok(sources)
}

fn to_v2(files: &[File]) -> Result<(), PlanError> {
    let mut own = Files::default();
    for file in files.iter().filter(|f| set::KINDS.contains(&f.folder)) {
        own.add(file.folder, file.placed.name.clone(), file.value.to_string());
    }
    Set::compile(own).map(drop)
}

fn of_overlays(files: &mut [File], base: &Sources) -> Result<Vec<PlanError>, PlanError> {
    let names: Vec<String> = files.iter().filter(|f| f.folder == OVERLAYS).map(|f| f.placed.name.clone()).collect();
    let mut found: Vec<PlanError> = Vec::new();
    for (n, name) in names.iter().enumerate() {
        let compile = |files: &[File]| written(files).and_then(|all| overlaid(&all[n], &all, base).map(drop));
        let own = one_by_one(files, &|file| file.placed.name == *name, &compile);
        let all = written(files)?;
        let placed = placed_layers(&all[n], &all);
        found.extend(own.into_iter().map(|error| error.located(&placed)));
    }
    // A fault of an overlay is one of those that build on it too.
    let mut seen = BTreeSet::new();
    found.retain(|error| seen.insert(error.to_string()));
    Ok(found)
}

fn written(files: &[File]) -> Result<Vec<Written>, PlanError> {
    let one = |file: &File| {
        let Placed { name, .. } = &file.placed;
        Ok(Written { overlay: read(name, &file.value.to_string())?, name: name.clone(), text: file.text.clone() })
    };
    files.iter().filter(|f| f.folder == OVERLAYS).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(files: &[(&str, &str)]) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let start = format!("{}/", folder.path().display());
        let found = all_faults(folder.path(), None).unwrap();
        found.iter().map(|e| format!("{}: {}", e.place, e.problem).replace(&start, "")).collect()
    }

    const PID: &str = "map: PID[Patient]\nsource: PID\ntarget: Patient\nrules:\n";

    #[test]
    fn every_rule_with_a_fault_is_told() {
        let pid = format!(
            "{PID}  - {{row: PID-8, to: sex}}\n  - {{row: PID-7, too: birthDate}}\n  - {{row: PID-7/2, to: birthDate}}\n  \
             - {{row: PID-8/2, to: gender, when: PID-9 IS}}\n"
        );
        let table = "table: Sex\nfrom: there\nrows:\n  - {from: 1, to: 2}\n";
        let message = "map: ADT_A01\nmessages: [ADT_A01]\nstructure: [PID]\nrules:\n  \
            - {row: PID, to: \"Patient[1]\", with: \"PID[Patient]\"}\n  - {row: PV1, to: \"Encounter[1]\"}\n";
        let back = "map: Patient[PID]\nsource: Patient\ntarget: PID\nrules:\n  \
            - {row: PID-8, from: sex}\n  - {row: PID-7, from: born}\n";
        let files = [
            ("segments/PID.yaml", pid.as_str()),
            ("messages/ADT.yaml", message),
            ("messages/ORU.yaml", "map: ORU_R01\nmessages: [ORU_R01]\nstructure: [PID]\nrule: []\n"),
            ("tables/Sex.yaml", table),
            ("to_v2/segments/PID.yaml", back),
            ("overlays/north.yaml", "overlay: north\nrules:\n  - {map: \"PID[Patient]\", row: PID-1, to: one}\n"),
        ];
        assert_eq!(
            told(&files).iter().map(|line| &line[..line.find(" here").unwrap_or(line.len())]).collect::<Vec<_>>(),
            [
                "messages/ORU.yaml:1:1: `rules` is missing",
                "messages/ORU.yaml:4:1: there is no key `rule`",
                "segments/PID.yaml:6:5: `to` is missing",
                "segments/PID.yaml:6:18: there is no key `too`",
                "tables/Sex.yaml:2:1: there is no key `from`",
                "tables/Sex.yaml:4:12: `1` must be text: put it in quotes",
                "tables/Sex.yaml:4:19: `2` must be text: put it in quotes",
                "segments/PID.yaml:5:5: PID[Patient]/PID-8: Patient has no element sex",
                "segments/PID.yaml:8:5: PID[Patient]/PID-8/2: condition `PID-9 IS`: a quoted text is missing at word 3",
                "messages/ADT.yaml:6:5: ADT_A01/PV1: the structure has no such segment",
                "to_v2/segments/PID.yaml:5:5: Patient[PID]/PID-8: `sex`: Patient has no element sex at character 4",
                "to_v2/segments/PID.yaml:6:5: Patient[PID]/PID-7: `born`: Patient has no element born at character 5",
                "overlays/north.yaml:3:5: PID[Patient]/PID-1: Patient has no element one",
            ]
        );
    }

    #[test]
    fn overlays_alone_lie_over_the_maps_built_in() {
        let one = "overlay: one\nrules:\n  - {map: \"PID[Patient]\", row: PID-1, to: one}\n  \
            - {map: \"PID[Nobody]\", row: PID-1, to: one}\n";
        let lines = told(&[("one.yaml", one), ("two.yaml", "overlay: two\nextends: [one]\n")]);
        assert_eq!(
            lines,
            [
                "one.yaml:4:5: PID[Nobody]/PID-1: there is no such map",
                "one.yaml:3:5: PID[Patient]/PID-1: Patient has no element one",
            ]
        );
    }

    #[test]
    fn a_file_that_is_not_yaml_is_told_and_nothing_that_follows_from_it() {
        let lines = told(&[("segments/PID.yaml", "map: [\n"), ("segments/PV1.yaml", "map: PV1\n")]);
        assert!(lines[0].starts_with("segments/PID.yaml:2:1: not YAML"), "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("segments/PV1.yaml:1:")), "{lines:?}");
        assert!(all_faults(Path::new("/nowhere"), None).is_err());
    }
}
