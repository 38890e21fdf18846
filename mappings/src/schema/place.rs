//! Where a fault of compiled maps stands. The plans keep no places: the files are read once more when there is a fault,
//! and what it names is looked up in them.

use super::yaml::{self, Mark, Node};
use crate::plan::PlanError;
use crate::sources::{self, yaml_files};
use std::path::Path;

/// A file with the place of each of its nodes.
pub(crate) struct Placed {
    pub name: String,
    pub tree: Node,
}

impl Placed {
    /// None if it is not YAML.
    pub fn read(name: &str, text: &str) -> Option<Self> {
        Some(Self { name: name.to_owned(), tree: yaml::parse(text).ok()? })
    }
}

/// What can be read in the folders of a directory.
pub(crate) fn placed(directory: &Path, folders: &[&str]) -> Vec<Placed> {
    let paths = folders.iter().flat_map(|folder| yaml_files(&directory.join(folder)).unwrap_or_default());
    let read = |path: &Path| Placed::read(&path.display().to_string(), &std::fs::read_to_string(path).ok()?);
    paths.filter_map(|path| read(&path)).collect()
}

/// A fault of the maps of a directory with file, line and column, if its files have what it names.
pub(crate) fn located<'d>(error: PlanError, directories: impl IntoIterator<Item = &'d Path>) -> PlanError {
    directories.into_iter().fold(error, |error, directory| error.located(&placed(directory, &sources::KINDS)))
}

impl PlanError {
    /// With file, line and column of what it names.
    pub(crate) fn located<'p>(self, files: impl IntoIterator<Item = &'p Placed>) -> Self {
        let found =
            files.into_iter().find_map(|file| Some((&file.name, find(&file.tree, &self.place, Around::default())?)));
        match found {
            Some((file, at)) => Self { place: format!("{file}:{}:{}: {}", at.line, at.column, self.place), ..self },
            None => self,
        }
    }
}

/// The map and the overlay that a node stands in.
#[derive(Clone, Copy, Default)]
struct Around<'n> {
    map: Option<&'n str>,
    overlay: Option<&'n str>,
}

/// The innermost node that is named so.
fn find<'n>(node: &'n Node, place: &str, around: Around<'n>) -> Option<Mark> {
    let around = Around { map: node.text("map").or(around.map), overlay: node.text("overlay").or(around.overlay) };
    let inner = node.children().find_map(|child| find(child, place, around));
    inner.or_else(|| is_named(node, place, around).then_some(node.at))
}

/// `PID[Patient]/PID-8`, `PID[Patient]`, `AdministrativeSex`, `overlay north`, `overlay north, case one`.
fn is_named(node: &Node, place: &str, around: Around<'_>) -> bool {
    let is_row =
        |(map, row): (&str, &str)| place.strip_prefix(map).and_then(|rest| rest.strip_prefix('/')) == Some(row);
    let in_overlay = place.strip_prefix("overlay ").zip(around.overlay).and_then(|(p, name)| p.strip_prefix(name));
    let is_case = |name: &str| in_overlay.and_then(|rest| rest.strip_prefix(", case ")) == Some(name);
    ["map", "table"].iter().any(|key| node.text(key) == Some(place))
        || around.map.zip(node.text("row")).is_some_and(is_row)
        || (node.text("overlay").is_some() && in_overlay == Some(""))
        || node.text("name").is_some_and(is_case)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fault;

    #[test]
    fn what_a_fault_names_is_found_in_maps_and_overlays() {
        let map = "map: PID[Patient]\nrules:\n  - {row: PID-8}\n  - {row: Yes/2}\n";
        let overlay = "overlay: north\nrules:\n  - {map: \"PID[Patient]\", row: PID-9}\n\
            messages:\n  - {map: ADT_A01, rules: [{row: PID}]}\ntables: [{table: Sex}]\ncases: [{name: one}]\n";
        let files = [("a.yaml", map), ("b.yaml", overlay)].map(|(name, text)| Placed::read(name, text).unwrap());
        for (named, place) in [
            ("PID[Patient]/PID-8", "a.yaml:3:5"),
            ("PID[Patient]/Yes/2", "a.yaml:4:5"),
            ("PID[Patient]", "a.yaml:1:1"),
            ("PID[Patient]/PID-9", "b.yaml:3:5"),
            ("ADT_A01", "b.yaml:5:5"),
            ("ADT_A01/PID", "b.yaml:5:28"),
            ("Sex", "b.yaml:6:10"),
            ("overlay north", "b.yaml:1:1"),
            ("overlay north, case one", "b.yaml:7:9"),
        ] {
            let error = fault(named, "is wrong").located(&files).to_string();
            assert_eq!(error, format!("map {place}: {named}: is wrong"));
        }
        assert_eq!(fault("PID", "is wrong").located(&files).to_string(), "map PID: is wrong");
    }
}
