//! FHIR R4 in, HL7 v2 out, for systems that subscribe to v2 messages: the maps of `maps/to_v2/` turned the other way
//! round. No network, no clock: what a message needs beside its resources stands in the [`Envelope`].
//!
//! `map_file` -> `plan` compiles the maps (`path` and `condition` read what is written in them, `table` turns the forward
//! tables round); `resources` finds what references mean, `look` reads paths, `run` writes the segments of a message map,
//! `rules` their fields, `write` turns them into text. `report` tells what no rule used. See `docs/mapping.md`.

mod condition;
mod look;
mod map_file;
mod path;
mod plan;
mod report;
mod resources;
mod rules;
mod run;
pub(crate) mod set;
mod table;
mod text;
mod write;

pub use report::{Finding, Note, Report};
pub use set::Set;

use crate::charset::Charset;
use serde_json::{Value, json};

/// The most resources that one message is made of. A day's results of one laboratory stay below.
pub const MAX_RESOURCES: usize = 20_000;

/// An application or facility: a name, and perhaps a universal id (v2.8.2 chapter 2.A.33, HD).
#[derive(Debug, Clone, Copy, Default)]
pub struct Party<'e> {
    pub namespace: &'e str,
    pub universal_id: &'e str,
    /// `ISO`, `DNS`, ...: table 0301.
    pub universal_id_type: &'e str,
}

/// What the header of a message says beside its type (v2.8.2 chapter 2.14.9, MSH).
#[derive(Debug, Clone)]
pub struct Envelope<'e> {
    pub sending_application: Party<'e>,
    pub sending_facility: Party<'e>,
    pub receiving_application: Party<'e>,
    pub receiving_facility: Party<'e>,
    /// MSH-10, unique for this sender.
    pub control_id: &'e str,
    /// The present instant, as FHIR writes it.
    pub now: &'e str,
    /// MSH-12, such as `2.5.1`; the maps choose datatypes by it.
    pub version: &'e str,
    /// MSH-11, table 0103: `P`, `T`, `D`.
    pub processing_id: &'e str,
    /// The set that the text will be encoded in: MSH-18 names it, and what it does not have is refused.
    pub charset: Charset,
}

/// Why there is no message. All but [`ToV2Error::NoMap`] and [`ToV2Error::Envelope`] are the fault of who gave the
/// resources. No variant carries any of their content.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum ToV2Error {
    #[error("there is no map to messages of type {0}")]
    NoMap(String),
    #[error("the envelope's {0} cannot be written into a header")]
    Envelope(&'static str),
    #[error("resource number {0} is no FHIR resource: it has no resourceType")]
    NotResource(usize),
    #[error("there are more than {MAX_RESOURCES} resources")]
    TooMany,
    #[error("the message needs {segment}, and no {resource} is there to make it")]
    Missing { segment: String, resource: String },
    #[error("the message would be larger than medseal takes itself")]
    TooLarge,
    #[error("the resources have a character that {0} does not have")]
    Charset(&'static str),
}

/// Makes the message `name` (`ADT_A01`: MSH-9.1 and MSH-9.2) of resources; a Bundle stands for those in it.
pub fn message(
    set: &Set,
    name: &str,
    resources: &[Value],
    envelope: &Envelope<'_>,
) -> Result<(String, Report), ToV2Error> {
    let plan = set.message_plan(name)?;
    let header = envelope.json(name, &plan.name)?;
    let index = resources::Resources::new(resources, &header)?;
    let (segments, report) = run::Run::new(set, &index).message(plan)?;
    let text = write::message(&segments)?;
    envelope.charset.check(&text)?;
    Ok((text, report))
}

impl Envelope<'_> {
    /// The envelope as a source of rules: a resource of its own kind, whose elements are those of `path::ENVELOPE`.
    fn json(&self, name: &str, structure: &str) -> Result<Value, ToV2Error> {
        if !crate::time::is_instant(self.now) {
            return Err(ToV2Error::Envelope("now"));
        }
        if self.control_id.is_empty() {
            return Err(ToV2Error::Envelope("control id"));
        }
        let (code, event) = name.split_once('_').unwrap_or((name, ""));
        Ok(json!({
            "resourceType": "Envelope",
            "sendingApplication": self.sending_application.json(),
            "sendingFacility": self.sending_facility.json(),
            "receivingApplication": self.receiving_application.json(),
            "receivingFacility": self.receiving_facility.json(),
            "controlId": self.control_id,
            "now": self.now,
            "version": self.version,
            "processingId": self.processing_id,
            "characterSet": self.charset.table_0211().ok_or(ToV2Error::Envelope("character set"))?,
            "messageCode": code,
            "triggerEvent": event,
            "messageStructure": structure,
        }))
    }
}

impl Party<'_> {
    fn json(&self) -> Value {
        json!({"namespace": self.namespace, "universalId": self.universal_id, "universalIdType": self.universal_id_type})
    }
}

impl Charset {
    /// Its name in table 0211, for MSH-18; nothing where the table has none.
    fn table_0211(self) -> Option<&'static str> {
        Some(match self {
            Self::Utf8 => "UNICODE UTF-8",
            Self::Latin1 => "8859/1",
            Self::Other(encoding) => match encoding.name() {
                "ISO-8859-2" => "8859/2",
                "ISO-8859-5" => "8859/5",
                "ISO-8859-7" => "8859/7",
                "ISO-8859-15" => "8859/15",
                "GB18030" | "gb18030" => "GB 18030-2000",
                "Big5" => "BIG-5",
                "EUC-KR" => "KS X 1001",
                _ => return None,
            },
        })
    }

    /// Refuses text that the set cannot hold: a replaced character in a name is a wrong name.
    fn check(self, text: &str) -> Result<(), ToV2Error> {
        let fits = match self {
            Self::Utf8 => true,
            Self::Latin1 => text.chars().all(|c| u32::from(c) < 256),
            Self::Other(encoding) => !encoding.encode(text).2,
        };
        if fits { Ok(()) } else { Err(ToV2Error::Charset(self.name())) }
    }
}
