//! A set of maps, compiled and linked.

use crate::charset::Charset;
use crate::engine::MapError;
use crate::map_file::{MessageFile, SwitchRow};
use crate::overlay::Policy;
use crate::parse::{Message, part};
use crate::plan::{
    self, CompiledRow, Constant, ConstantId, MessagePlan, Names, Plan, PlanError, Pool, RuleId, Table, fault,
};
use crate::r4::{self, Name, TypeNumber};
use crate::schema::place::located;
use crate::sources::Sources;
use crate::tree::Scalar;
use jiff::tz::TimeZone;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

/// The table that makes a URI of a coding system's name (table 0396).
pub(crate) const CODING_SYSTEMS: &str = "CodingSystem";

/// Compiled maps, ready to run.
#[derive(Debug)]
pub struct MapSet {
    pub(crate) maps: Vec<Plan>,
    pub(crate) tables: Vec<Table>,
    messages: Vec<MessagePlan>,
    by_type: HashMap<String, usize>,
    constants: Vec<Constant>,
    rules: Vec<String>,
    switches: Vec<SwitchRow>,
    pub(crate) known: Known,
    hash: String,
    /// The zone of an overlay.
    pub(crate) zone: Option<TimeZone>,
    /// The character set of an overlay.
    pub(crate) charset: Option<Charset>,
    pub(crate) policy: Policy,
}

/// Names, types and constants that the engine itself speaks of.
#[derive(Debug)]
pub(crate) struct Known {
    pub reference: Name,
    pub identifier: Name,
    pub kind: Name,
    pub coding: Name,
    pub code: Name,
    pub system: Name,
    pub value: Name,
    pub display: Name,
    pub assigner: Name,
    pub extension: Name,
    pub coding_type: TypeNumber,
    pub extension_type: TypeNumber,
    /// `unknown`, and the two ways to say why something is absent.
    pub unknown: ConstantId,
    pub absent_coding: [(Name, ConstantId); 3],
    pub absent_extension: [(Name, ConstantId); 2],
    /// The rules that stand for what the engine does by itself.
    pub through: RuleId,
    pub absent: RuleId,
    pub unmapped: RuleId,
    pub url: Name,
    pub value_string: Name,
}

impl MapSet {
    /// The character set of messages with an empty MSH-18, where an overlay names one.
    pub fn charset(&self) -> Option<Charset> {
        self.charset
    }

    /// The maps built into the program.
    pub fn embedded() -> Result<Self, PlanError> {
        Self::compile(&Sources::embedded()?)
    }

    /// The maps of a directory with the folders messages, segments, datatypes and tables.
    pub fn load(directory: &Path) -> Result<Self, PlanError> {
        Self::compile(&Sources::load(directory)?).map_err(|e| located(e, [directory]))
    }

    /// Compiles the files of a map set.
    pub fn compile(sources: &Sources) -> Result<Self, PlanError> {
        let maps = numbered(sources.maps.iter().map(|m| &m.map))?;
        let tables = numbered(sources.tables.iter().map(|t| &t.table))?;
        let kinds = sources.maps.iter().map(|file| (file.map.clone(), file.target.clone())).collect();
        let pool = RefCell::default();
        let names = Names { maps: &maps, tables: &tables, kinds: &kinds, switches: &sources.switches, pool };
        let known = Known::new(&names)?;
        let compiled_maps = sources.maps.iter().map(|file| plan::map(file, &names)).collect::<Result<_, _>>()?;
        let compiled_tables = sources.tables.iter().map(|file| plan::table(file, &names)).collect();
        let messages = sources.messages.iter().map(|file| plan::message(file, &names)).collect::<Result<_, _>>()?;
        let Pool { constants, rules, .. } = names.pool.into_inner();
        Ok(Self {
            by_type: by_type(&sources.messages)?,
            hash: sources.hash(),
            maps: compiled_maps,
            tables: compiled_tables,
            messages,
            constants,
            rules,
            switches: sources.switches.clone(),
            known,
            zone: None,
            charset: None,
            policy: Policy::default(),
        })
    }

    /// The message types that have a map, sorted: `ADT_A01`.
    pub fn message_types(&self) -> Vec<&str> {
        let mut types: Vec<&str> = self.by_type.keys().map(String::as_str).collect();
        types.sort_unstable();
        types
    }

    /// SHA-256 over the map files, in hexadecimal digits: which maps made a resource.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The rules that differ from the guide, with the reason.
    pub fn deviations(&self) -> impl Iterator<Item = (&str, &str)> {
        let rules = self.maps.iter().flat_map(|plan| &plan.rules);
        rules.filter_map(|rule| Some((self.rule_name(rule.id.0), rule.because.as_deref()?)))
    }

    /// The name of a rule: `PID[Patient]/PID-7`.
    pub(crate) fn rule_name(&self, number: u32) -> &str {
        self.rules.get(number as usize).map_or("", String::as_str)
    }

    pub(crate) fn constants(&self) -> &[Constant] {
        &self.constants
    }

    /// Where a switch stands.
    pub(crate) fn switch(&self, name: &str) -> &str {
        self.switch_row(name).map_or("", |s| &s.default)
    }

    pub(crate) fn switch_row(&self, name: &str) -> Option<&SwitchRow> {
        self.switches.iter().find(|s| s.switch == name)
    }

    /// Whether the message's type has a map.
    pub fn has_map(&self, message: &Message<'_>) -> bool {
        self.message_plan(message).is_ok()
    }

    /// Whether a code is of another coding system than a table's row speaks of: `IO^Intraosseous^L` is not the IO of
    /// table 0162. A system that nobody knows is taken for the sender's spelling of the right one.
    pub(crate) fn is_foreign(&self, coding_system: &str, row: &CompiledRow) -> bool {
        if coding_system == "L" || coding_system.starts_with("99") {
            return true;
        }
        let systems = self.tables.iter().find(|table| table.name == CODING_SYSTEMS);
        let Some(uri) = systems.and_then(|table| table.row(coding_system)) else { return false };
        let of_v2 = uri.starts_with("http://terminology.hl7.org/CodeSystem/v2-");
        let of_row = row.coding.iter().any(|(_, text)| self.constants[text.0 as usize].text == uri);
        !of_v2 && !of_row
    }

    /// The trigger event: MSH-9.2, or EVN-1 where an old sender leaves it out.
    pub(crate) fn event<'m>(&self, message: &'m Message<'m>) -> &'m str {
        let separator = Some(message.separators().component);
        let event = part(message.header(9), separator, 2).trim();
        match event {
            "" => message.first("EVN").map_or("", |evn| evn.field(1).trim()),
            event => event,
        }
    }

    /// `ADT_A01`: MSH-9.1 and the event; empty where MSH-9 says nothing.
    pub(crate) fn message_name(&self, message: &Message<'_>) -> String {
        let kind = part(message.header(9), Some(message.separators().component), 1).trim();
        match self.event(message) {
            _ if kind.is_empty() => String::new(),
            "" => before_events(kind).to_owned(),
            event => format!("{kind}_{event}"),
        }
    }

    pub(crate) fn message_plan(&self, message: &Message<'_>) -> Result<&MessagePlan, MapError> {
        let name = self.message_name(message);
        if name.is_empty() {
            return Err(MapError::NoType);
        }
        let plan = self.by_type.get(&name).map(|&at| &self.messages[at]);
        // The name goes into an acknowledgement: only what looks like a type does.
        let printable = name.len() <= 11 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        plan.ok_or(MapError::NoMap(if printable { name } else { "(not a type)".into() }))
    }
}

/// In versions 2.1 and 2.2 these types had no trigger event.
fn before_events(kind: &str) -> &str {
    match kind {
        "ORU" => "ORU_R01",
        "ORM" => "ORM_O01",
        "DFT" => "DFT_P03",
        other => other,
    }
}

fn by_type(files: &[MessageFile]) -> Result<HashMap<String, usize>, PlanError> {
    let mut by_type = HashMap::new();
    for (n, file) in files.iter().enumerate() {
        for message in &file.messages {
            if by_type.insert(message.clone(), n).is_some() {
                return Err(fault(&file.map, format!("{message} has two maps")));
            }
        }
    }
    Ok(by_type)
}

impl Known {
    fn new(names: &Names<'_>) -> Result<Self, PlanError> {
        let name = |text: &str| Name::of(text).ok_or_else(|| fault("R4", format!("no element {text}")));
        let kind =
            |text: &str| r4::model().get(text).map(|t| t.number).ok_or_else(|| fault("R4", format!("no {text}")));
        let constant = |text: &'static str| names.constant(&Scalar::Text(Cow::Borrowed(text)));
        let absent_url = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
        let absent_system = "http://terminology.hl7.org/CodeSystem/data-absent-reason";
        let unknown = constant("unknown");
        Ok(Self {
            reference: name("reference")?,
            identifier: name("identifier")?,
            kind: name("type")?,
            coding: name("coding")?,
            code: name("code")?,
            system: name("system")?,
            value: name("value")?,
            display: name("display")?,
            assigner: name("assigner")?,
            extension: name("extension")?,
            coding_type: kind("Coding")?,
            extension_type: kind("Extension")?,
            unknown,
            absent_coding: [
                (name("system")?, constant(absent_system)),
                (name("code")?, unknown),
                (name("display")?, constant("Unknown")),
            ],
            absent_extension: [(name("url")?, constant(absent_url)), (name("valueCode")?, unknown)],
            through: names.rule("reference"),
            absent: names.rule("required, and not sent"),
            unmapped: names.rule("policy: extension"),
            url: name("url")?,
            value_string: name("valueString")?,
        })
    }
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
    pub(crate) fn row(&self, code: &str) -> Option<Cow<'_, str>> {
        if let Some(row) = self.rows.get(code) {
            return Some(Cow::Borrowed(&row.to));
        }
        if self.name != CODING_SYSTEMS {
            return None;
        }
        if r4::is_oid(code) {
            return Some(Cow::Owned(format!("urn:oid:{code}")));
        }
        let number = code.strip_prefix("HL7").filter(|n| n.len() == 4 && n.bytes().all(|b| b.is_ascii_digit()));
        number.map(|n| Cow::Owned(format!("http://terminology.hl7.org/CodeSystem/v2-{n}")))
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
        assert!(error.contains("/nowhere"), "{error}");
    }

    #[test]
    fn a_fault_names_file_line_and_column() {
        let folder = tempfile::tempdir().unwrap();
        crate::sources::KINDS.iter().for_each(|kind| std::fs::create_dir_all(folder.path().join(kind)).unwrap());
        for (rule, told) in [
            ("{row: PID-8, to: sex}", "PID.yaml:5:5: PID[Patient]/PID-8: Patient has no element sex"),
            ("{row: PID-8, too: sex}", "PID.yaml:5:18: there is no key `too` here"),
        ] {
            let text = format!("map: PID[Patient]\nsource: PID\ntarget: Patient\nrules:\n  - {rule}\n");
            std::fs::write(folder.path().join("segments/PID.yaml"), text).unwrap();
            let error = MapSet::load(folder.path()).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn tables_answer_by_row_or_by_the_number_of_a_v2_table() {
        let table = Table { name: "CodingSystem".into(), rows: HashMap::default() };
        assert_eq!(table.row("HL70001").as_deref(), Some("http://terminology.hl7.org/CodeSystem/v2-0001"));
        assert_eq!(table.row("2.16.840.1.114222.4.5.277").as_deref(), Some("urn:oid:2.16.840.1.114222.4.5.277"));
        assert_eq!((table.row("HL7001"), table.row("LN")), (None, None));
    }
}
