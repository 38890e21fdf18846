//! The map files of `maps/to_v2/` as they are written. They have the form of the forward ones (`crate::map_file`) with source
//! and target changed round; meaning is given to them in `plan.rs`.

use crate::map_file::{Constant, Part};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A map onto a segment or a v2 datatype.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MapFile {
    /// `Patient[PID]`.
    pub map: String,
    /// A FHIR type: `Patient`, `Patient.contact`, `Identifier`.
    pub source: String,
    /// `PID`, `CX`.
    pub target: String,
    #[serde(default)]
    pub rules: Vec<RuleRow>,
    /// Elements or fields that have no rule, and why.
    #[serde(default)]
    pub unmapped: BTreeMap<String, String>,
}

/// One row of a segment or datatype map.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleRow {
    /// The target field or component, and `/n` for its n-th row.
    pub row: String,
    #[serde(default)]
    pub from: Option<String>,
    #[serde(default)]
    pub when: Option<String>,
    #[serde(default)]
    pub with: Option<String>,
    #[serde(default)]
    pub table: Option<String>,
    #[serde(default)]
    pub value: Option<Constant>,
    #[serde(default)]
    pub eval: Option<String>,
    /// The field is an FT: line ends are written as formatting commands (v2.8.2 chapter 2.7.6).
    #[serde(default)]
    pub formatted: bool,
    /// Only where the field has nothing yet.
    #[serde(default)]
    pub weak: bool,
    #[serde(default)]
    #[expect(dead_code, reason = "for the reader of the map")]
    pub because: Option<String>,
}

/// A message map.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageFile {
    /// The message structure, MSH-9.3.
    pub map: String,
    /// The messages that it makes: `ADT_A01`; `ACK_*` is an ACK to any event.
    pub messages: Vec<String>,
    pub structure: Vec<Part>,
    pub rules: Vec<MessageRow>,
}

/// One row of a message map: what makes a segment, or an instance of a group.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageRow {
    pub row: String,
    pub from: String,
    #[serde(default)]
    pub when: Option<String>,
    #[serde(default)]
    pub with: Option<String>,
    /// Only what no earlier row of the message has written.
    #[serde(default)]
    pub rest: bool,
    /// Types of which there is nothing inside this group: results of no patient have no patient.
    #[serde(default)]
    pub without: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "for the reader of the map")]
    pub because: Option<String>,
}

/// Which v2 code a FHIR code becomes where the forward table makes it of several; elsewhere the first row's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreferFile {
    pub table: String,
    /// FHIR code to v2 code.
    pub prefer: BTreeMap<String, String>,
    #[serde(default)]
    #[expect(dead_code, reason = "for the reader of the table")]
    pub because: Option<String>,
}
