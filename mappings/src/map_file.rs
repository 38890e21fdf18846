//! The map files as they are written: YAML, read into these shapes, unknown keys refused by name. Meaning is given to them in `plan.rs`.

use serde::Deserialize;
use std::collections::BTreeMap;

/// A map of a segment or of a datatype.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct MapFile {
    /// `PID[Patient]`.
    pub map: String,
    /// `PID`, `CX`.
    pub source: String,
    /// The FHIR type that it fills.
    pub target: String,
    #[serde(default)]
    pub identity: Vec<IdentityRow>,
    #[serde(default)]
    pub rules: Vec<RuleRow>,
    /// Fields that have no rule, and why.
    #[serde(default)]
    pub unmapped: BTreeMap<String, String>,
    /// Fields that are left alone where another field says the same.
    #[serde(default)]
    pub same: BTreeMap<String, String>,
    /// Where the rows came from.
    #[serde(default)]
    pub guide: Option<String>,
}

/// One alternative by which messages recognise the same resource.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct IdentityRow {
    pub by: By,
    #[serde(default)]
    pub prefer: Vec<String>,
    #[serde(default)]
    pub because: Option<String>,
}

/// `identifier`, or a list of source paths and resource types.
#[derive(Debug, Deserialize, Clone)]
#[serde(untagged)]
pub enum By {
    Identifier(String),
    Parts(Vec<String>),
}

/// One row of a segment or datatype map.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct RuleRow {
    pub row: String,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub when: Option<String>,
    #[serde(default)]
    pub to: String,
    #[serde(default)]
    pub with: Option<String>,
    #[serde(default)]
    pub table: Option<String>,
    #[serde(default)]
    pub value: Option<Constant>,
    #[serde(default)]
    pub eval: Option<String>,
    /// Where the resource is stored already, the element fills a gap and changes nothing.
    #[serde(default)]
    pub gap: bool,
    #[serde(default)]
    pub because: Option<String>,
    #[serde(default)]
    pub off: bool,
}

/// A constant of a rule.
#[derive(Debug, Deserialize, Clone)]
#[serde(untagged)]
pub enum Constant {
    Bool(bool),
    Number(i64),
    Text(String),
}

impl Constant {
    /// As text, to be converted to the target's type.
    pub fn text(&self) -> String {
        match self {
            Self::Bool(b) => b.to_string(),
            Self::Number(n) => n.to_string(),
            Self::Text(t) => t.clone(),
        }
    }
}

/// A message map.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct MessageFile {
    pub map: String,
    pub messages: Vec<String>,
    pub structure: Vec<Part>,
    pub rules: Vec<MessageRow>,
    #[serde(default)]
    pub unmapped: BTreeMap<String, String>,
    #[serde(default)]
    pub guide: Option<String>,
}

/// A segment, or a group with its parts; the sign behind the name is its cardinality.
#[derive(Debug, Deserialize, Clone)]
#[serde(untagged)]
pub enum Part {
    Segment(String),
    Group(BTreeMap<String, Vec<Part>>),
}

/// One row of a message map.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct MessageRow {
    pub row: String,
    #[serde(default)]
    pub when: Option<String>,
    #[serde(default)]
    pub to: String,
    #[serde(default)]
    pub with: Option<String>,
    #[serde(default)]
    pub set: Vec<String>,
    /// Second-hand news: where the resource exists already, it fills gaps and changes nothing.
    #[serde(default)]
    pub weak: bool,
    #[serde(default)]
    pub because: Option<String>,
    #[serde(default)]
    pub off: bool,
}

/// A choice that the guide leaves to the site.
#[derive(Debug, Deserialize, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SwitchRow {
    pub switch: String,
    /// Where it stands unless an overlay says otherwise.
    pub default: String,
    pub choices: Vec<String>,
    /// What it decides.
    pub because: String,
}

/// A vocabulary table.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct TableFile {
    pub table: String,
    pub rows: Vec<TableRow>,
    #[serde(default)]
    pub guide: Option<String>,
    #[serde(default)]
    pub because: Option<String>,
}

/// One code and what it becomes.
#[derive(Debug, Deserialize, Clone)]
#[serde(deny_unknown_fields)]
pub struct TableRow {
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub display: Option<String>,
    #[serde(default)]
    pub system: Option<String>,
    #[serde(default)]
    pub because: Option<String>,
    #[serde(default)]
    pub when: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let text = "map: PID[Patient]\nsource: PID\ntarget: Patient\nrules:\n- row: PID-3\n  too: identifier\n";
        let error = serde_saphyr::from_str::<MapFile>(text).unwrap_err().to_string();
        assert!(error.contains("unknown field `too`"), "{error}");
    }

    #[test]
    fn a_rule_in_one_line_reads() {
        let text = "map: PID[Patient]\nsource: PID\ntarget: Patient\nrules:\n- {row: PID-3, to: \"identifier[2]\", with: \"CX[Identifier]\", value: true}\n";
        let file: MapFile = serde_saphyr::from_str(text).unwrap();
        assert_eq!(file.rules[0].value.as_ref().unwrap().text(), "true");
    }
}
