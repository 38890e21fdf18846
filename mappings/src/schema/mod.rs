//! Map files against the JSON Schemas of `mappings/schema/`: a violation is told at the line and column where it stands.
//! What a schema cannot say (whether an element, map or table is there) is told when the maps are compiled.

mod directory;
mod explain;
pub(crate) mod place;
pub(crate) mod yaml;

use crate::plan::{PlanError, fault};
pub use directory::all_faults;
use explain::{Violation, explain};
use include_dir::{Dir, include_dir};
use jsonschema::{Registry, Validator};
use serde_json::Value;
use std::collections::HashMap;
use std::error::Error;
use std::sync::LazyLock;
pub use yaml::Fault;
use yaml::{Mark, Node};

static FILES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/schema");

/// The schemas refer to each other by relative paths; nothing is fetched.
const BASE: &str = "medseal:///";

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A map of a segment or datatype.
    Map,
    Message,
    Table,
    Switches,
    Overlay,
    /// A map onto a segment or v2 datatype.
    ToV2Map,
    ToV2Message,
    /// The codes that are preferred on the way back.
    ToV2Table,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Map,
        Self::Message,
        Self::Table,
        Self::Switches,
        Self::Overlay,
        Self::ToV2Map,
        Self::ToV2Message,
        Self::ToV2Table,
    ];

    /// The kind of a file in a folder of a map set; none if nobody reads it there.
    pub fn of(folder: &str, file: &str) -> Option<Self> {
        Some(match folder {
            "" if file.ends_with("switches.yaml") => Self::Switches,
            "segments" | "datatypes" => Self::Map,
            "messages" => Self::Message,
            "tables" => Self::Table,
            "to_v2/segments" | "to_v2/datatypes" => Self::ToV2Map,
            "to_v2/messages" => Self::ToV2Message,
            "to_v2/tables" => Self::ToV2Table,
            _ => return None,
        })
    }

    /// Its schema.
    fn file(self) -> &'static str {
        match self {
            Self::Map => "map.json",
            Self::Message => "message.json",
            Self::Table => "table.json",
            Self::Switches => "switches.json",
            Self::Overlay => "overlay.json",
            Self::ToV2Map => "to_v2/map.json",
            Self::ToV2Message => "to_v2/message.json",
            Self::ToV2Table => "to_v2/table.json",
        }
    }
}

/// Checks a file: the fault that helps most, if there is one.
pub fn check(text: &str, kind: Kind) -> Result<(), Fault> {
    let found = violations(&yaml::parse(text)?, kind)?;
    found.into_iter().min_by_key(|v| (v.rank, v.fault.line, v.fault.column)).map_or(Ok(()), |v| Err(v.fault))
}

/// Checks a file; the fault has its name.
pub(crate) fn check_file(name: &str, text: &str, kind: Kind) -> Result<(), PlanError> {
    check(text, kind).map_err(|fault| fault.of_file(name))
}

impl Fault {
    pub(crate) fn of_file(self, name: &str) -> PlanError {
        fault(format!("{name}:{}:{}", self.line, self.column), self.message)
    }
}

/// All faults of a file, in its order.
pub fn faults(text: &str, kind: Kind) -> Vec<Fault> {
    let found = yaml::parse(text).and_then(|tree| violations(&tree, kind));
    let mut faults = found.map_or_else(|fault| vec![fault], |all| all.into_iter().map(|v| v.fault).collect());
    faults.sort_by_key(|fault| (fault.line, fault.column));
    faults.dedup();
    faults
}

fn violations(tree: &Node, kind: Kind) -> Result<Vec<Violation>, Fault> {
    // Our own schemas compile, or a unit test fails.
    let broken = |problem: &str| tree.at.fault(format!("the schema of this file is broken: {problem}"));
    let validators = VALIDATORS.as_ref().map_err(|e| broken(e))?;
    let validator = validators.get(&kind).ok_or_else(|| broken("it is missing"))?;
    let value = tree.value();
    let mut found: Vec<Violation> = validator.iter_errors(&value).flat_map(|error| explain(&error, tree)).collect();
    twice(tree, &mut found);
    Ok(found)
}

/// Rows that have the id of an earlier one: a schema cannot say that.
fn twice(node: &Node, found: &mut Vec<Violation>) {
    let mut seen: HashMap<_, Mark> = HashMap::new();
    for item in node.items() {
        let id = (item.text("map"), item.text("row").or_else(|| item.text("from")));
        let Some(name) = id.1 else { continue };
        if let Some(first) = seen.insert(id, item.at) {
            found.push(Violation::value(item.at, format!("`{name}` stands twice; first in line {}", first.line)));
        }
    }
    node.children().for_each(|child| twice(child, found));
}

/// The schemas by path.
static SCHEMAS: LazyLock<HashMap<String, Value>> = LazyLock::new(|| {
    let folders = FILES.dirs().flat_map(|folder| folder.files());
    let read = |file: &include_dir::File<'_>| {
        Some((file.path().to_str()?.to_owned(), serde_json::from_slice(file.contents()).ok()?))
    };
    FILES.files().chain(folders).filter_map(read).collect()
});

static VALIDATORS: LazyLock<Result<HashMap<Kind, Validator>, String>> =
    LazyLock::new(|| validators(&SCHEMAS).map_err(|e| e.to_string()));

fn validators(schemas: &HashMap<String, Value>) -> Result<HashMap<Kind, Validator>, Box<dyn Error>> {
    let uri = |file: &str| format!("{BASE}{file}");
    let registry = Registry::new().extend(schemas.iter().map(|(file, schema)| (uri(file), schema)))?.prepare()?;
    let mut validators = HashMap::new();
    for kind in Kind::ALL {
        let schema = schemas.get(kind.file()).ok_or_else(|| format!("{} is missing", kind.file()))?;
        let options = jsonschema::options().with_base_uri(uri(kind.file())).with_registry(&registry);
        validators.insert(kind, options.build(schema)?);
    }
    Ok(validators)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    static MAPS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/maps");

    fn files(folder: &'static Dir<'static>) -> Vec<&'static include_dir::File<'static>> {
        folder.files().chain(folder.dirs().flat_map(files)).collect()
    }

    #[test]
    fn the_built_in_maps_fit_their_schemas() {
        for file in files(&MAPS) {
            let folder = file.path().parent().unwrap().to_str().unwrap();
            let name = file.path().display().to_string();
            let found = faults(file.contents_utf8().unwrap(), Kind::of(folder, &name).unwrap());
            assert!(found.is_empty(), "{name}: {found:#?}");
        }
    }

    /// The keys that a shape of the maps has, as serde tells them to who writes another one.
    fn keys<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let error = serde_json::from_str::<T>("{\"?\": 0}").err().unwrap().to_string();
        error.split('`').skip(3).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn the_schemas_have_the_keys_that_are_read() {
        use crate::{map_file as forward, overlay, to_v2::map_file as back};
        for (read, place) in [
            (keys::<forward::MapFile>(), "map.json#"),
            (keys::<forward::IdentityRow>(), "map.json#/$defs/identity"),
            (keys::<forward::RuleRow>(), "map.json#/$defs/rule"),
            (keys::<forward::MessageFile>(), "message.json#"),
            (keys::<forward::MessageRow>(), "message.json#/$defs/rule"),
            (keys::<forward::TableFile>(), "table.json#"),
            (keys::<forward::TableRow>(), "table.json#/$defs/row"),
            (keys::<forward::SwitchRow>(), "switches.json#/items"),
            (keys::<overlay::OverlayFile>(), "overlay.json#"),
            (keys::<overlay::Applies>(), "overlay.json#/$defs/applies"),
            (keys::<overlay::Authority>(), "overlay.json#/$defs/authority"),
            (keys::<overlay::MessageChange>(), "overlay.json#/$defs/change"),
            (keys::<overlay::Insert>(), "overlay.json#/$defs/insert"),
            (keys::<overlay::Case>(), "overlay.json#/$defs/case"),
            ([keys::<forward::RuleRow>(), vec!["map".into(), "replaces".into()]].concat(), "overlay.json#/$defs/rule"),
            (keys::<back::MapFile>(), "to_v2/map.json#"),
            (keys::<back::RuleRow>(), "to_v2/map.json#/$defs/rule"),
            (keys::<back::MessageFile>(), "to_v2/message.json#"),
            (keys::<back::MessageRow>(), "to_v2/message.json#/$defs/rule"),
            (keys::<back::PreferFile>(), "to_v2/table.json#"),
        ] {
            let (file, pointer) = place.split_once('#').unwrap();
            let schema = SCHEMAS[file].pointer(pointer).unwrap();
            let told = schema["properties"].as_object().unwrap().keys().cloned();
            let (read, told): (BTreeSet<String>, BTreeSet<String>) = (read.into_iter().collect(), told.collect());
            assert_eq!(read, told, "{place}");
        }
    }

    const MAP: &str = "map: PID[Patient]\nsource: PID\ntarget: Patient\nrules:\n";

    #[test]
    fn the_fault_that_helps_most_is_told_at_its_place() {
        for (rule, told) in [
            ("{row: PID-8, too: gender}", "5:18: there is no key `too` here, but row, from, when, to, with,"),
            ("{row: PID_8, to: gender}", "5:11: `PID_8` is no row id. The guide's row: a field"),
            ("{row: PID-8, to: a..b}", "5:22: `a..b` is no target path. FHIR elements"),
            ("{row: PID-8, to: gender, when: maybe}", "5:36: `maybe` is no condition. X VALUED,"),
            ("{row: PID-8, to: gender, off: yes}", "5:35: it must be true or false"),
            ("{row: PID-8, to: gender, off: true}", "5:5: `because` is missing"),
            ("{row: PID-8, to: 8}", "5:22: `8` must be text: put it in quotes"),
            ("{row: PID-8, to: gender, because: }", "5:37: nothing stands here: it must be text"),
            ("{row: PID-8, to: gender, value: [1]}", "5:37: it must be true or false or a whole number or text"),
            ("PID-8", "5:5: it must be keys and their values"),
        ] {
            let fault = check(&format!("{MAP}  - {rule}\n"), Kind::Map).unwrap_err().to_string();
            assert!(fault.starts_with(told), "{rule}: {fault}");
        }
        let twice = format!("{MAP}  - {{row: PID-8, to: gender}}\n  - {{row: PID-8, to: gender}}\n");
        assert_eq!(check(&twice, Kind::Map).unwrap_err().to_string(), "6:5: `PID-8` stands twice; first in line 5");
    }

    #[test]
    fn all_faults_are_told_in_the_order_of_the_file() {
        let text = "table: X\nrows:\n  - {from: 1, to: a}\n  - {from: b, too: c}\n";
        let told: Vec<String> = faults(text, Kind::Table).iter().map(ToString::to_string).collect();
        let keys = "from, to, display, system, because, when";
        assert_eq!(
            told,
            [
                "3:12: `1` must be text: put it in quotes",
                "4:5: `to` is missing",
                &format!("4:15: there is no key `too` here, but {keys}"),
            ]
        );
    }

    #[test]
    fn a_message_map_has_groups_and_rows() {
        let head = "map: ADT_A01\nmessages: [ADT_A01]\n";
        for (rest, told) in [
            ("structure: [MSH, PIDD9]\nrules: []", "3:18: `PIDD9` is no segment or group."),
            ("structure: [{group*: [PID]}]\nrules: []", "3:14: `group*` is no group name. Capital letters"),
            ("structure: [{A: [PID], B: [PV1]}]\nrules: []", "3:13: value has more than 1 property"),
            ("structure: [PID]\nrules: [{row: PID}]", "4:9: `to` is missing"),
            ("structure: [PID]\nrules: [{row: PID, to: patient}]", "4:24: `patient` is no resource of the message."),
            ("structure: [PID]\nrules: [{row: PID, to: A, set: [x]}]", "4:33: `x` is no assignment."),
            ("structure: []\nrules: []", "3:12: nothing stands here"),
        ] {
            let fault = check(&format!("{head}{rest}\n"), Kind::Message).unwrap_err().to_string();
            assert!(fault.starts_with(told), "{rest}: {fault}");
        }
    }

    const OVERLAY: &str = r#"overlay: north
applies: {sender: ["LAB|*", "*|NORTH"], messages: [ADT_A01, ADT_*], versions: ["2.3"]}
extends: [base]
zone: Europe/Berlin
switches: {nk1: contact}
authorities: [{name: HOSP, system: "urn:oid:1.2.3"}]
policy: extension
rules:
  - {map: "PID[Patient]", row: PID-11, off: true}
  - {map: "PID[Patient]", row: PID-8, to: gender, table: AdministrativeSex, replaces: true}
maps:
  - {map: "ZPI[Patient]", source: ZPI, target: Patient, rules: [{row: ZPI-1, to: "name[1].text"}]}
messages:
  - {map: ADT_A01, insert: [{after: PID, segment: "ZPI?"}], rules: [{row: ZPI, to: "Patient[1]", with: "ZPI[Patient]"}]}
  - {map: ZZZ_Z01, messages: [ZZZ_Z01], structure: [MSH], rules: []}
tables: [{table: AdministrativeSex, rows: [{from: W, to: female}]}]
cases:
  - name: a woman
    message: |
      MSH|^~\&|LAB|NORTH
    expect: [Patient.gender = female, Patient.maritalStatus absent]
"#;

    #[test]
    fn an_overlay_is_checked_down_to_its_parts() {
        assert_eq!(check(OVERLAY, Kind::Overlay), Ok(()));
        for (old, new, told) in [
            ("policy: extension", "policy: drop", "7:9: `drop` is not one of [\"note\",\"extension\",\"refuse\"]"),
            ("\"2.3\"", "2.3", "2:80: `2.3` must be text: put it in quotes"),
            ("off: true", "of: true", "9:40: there is no key `of` here, but map, row,"),
            ("row: ZPI-1, to", "row: ZPI-1, too", "12:78: there is no key `too` here, but row, from,"),
            ("insert:", "inserts:", "14:20: there is no key `inserts` here, but map, insert, rules"),
            ("rules: []}", "rule: []}", "15:59: there is no key `rule` here, but map, messages,"),
            ("nk1:", "NK1:", "5:12: `NK1` is no switch name."),
            ("urn:oid:1.2.3", "1.2.3", "6:36: `1.2.3` is no URI."),
            ("Patient.gender = female", "gender", "21:14: `gender` is no expectation."),
            ("zone: Europe/Berlin", "zone: [here]", "4:7: it must be text"),
        ] {
            let fault = check(&OVERLAY.replacen(old, new, 1), Kind::Overlay).unwrap_err().to_string();
            assert!(fault.starts_with(told), "{new}: {fault}");
        }
    }
}
