//! FHIR R4 in, HL7 v2 out, for systems that subscribe to v2 messages: the maps of `maps/to_v2/` turned the other way
//! round. No network, no clock: what a message needs beside its resources stands in the [`Envelope`].
//!
//! `map_file` -> `plan` compiles the maps (`path`, `condition` and `function` read what is written in them, `table`
//! turns the forward tables round); `resources` finds what references mean, `look` reads paths, `run` writes the segments of a message map,
//! `rules` their fields, `write` turns them into text. `report` tells what no rule used. See `docs/mapping.md`.

mod condition;
mod function;
mod look;
pub(crate) mod map_file;
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
    /// Whether messages can be written in it: MSH-18 has a name for it.
    pub fn is_written(self) -> bool {
        self.table_0211().is_some()
    }

    /// The bytes of a message that was made for this set.
    pub fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            // What is beyond was refused when the message was made.
            Self::Latin1 => text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect(),
            Self::Other(encoding) => encoding.encode(text).0.into_owned(),
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    static SET: LazyLock<Set> = LazyLock::new(|| Set::embedded().unwrap());

    fn envelope() -> Envelope<'static> {
        let party = |namespace| Party { namespace, ..Party::default() };
        Envelope {
            sending_application: party("MEDSEAL"),
            sending_facility: Party { namespace: "H", universal_id: "1.2", universal_id_type: "ISO" },
            receiving_application: party("OLD|LAB"),
            receiving_facility: party("WEST"),
            control_id: "M1",
            now: "2026-03-01T12:00:00.5Z",
            version: "2.5.1",
            processing_id: "P",
            charset: Charset::Utf8,
        }
    }

    fn made(name: &str, resources: &[Value], envelope: &Envelope<'_>) -> Result<Vec<String>, ToV2Error> {
        let (text, _) = message(&SET, name, resources, envelope)?;
        Ok(text.split_terminator('\r').map(str::to_owned).collect())
    }

    fn patient() -> Value {
        json!({"resourceType": "Patient", "id": "p", "name": [{"family": "Núñez", "given": ["Ana", "B", "C"]}],
               "gender": "female", "birthDate": "1980-02", "deceasedBoolean": false})
    }

    #[test]
    fn the_header_is_the_envelopes_and_a_patient_alone_is_a_message() {
        let segments = made("ADT_A08", &[patient()], &envelope()).unwrap();
        assert_eq!(
            segments,
            [
                "MSH|^~\\&|MEDSEAL|H^1.2^ISO|OLD\\F\\LAB|WEST|20260301120000.5+0000||ADT^A08^ADT_A01|M1|P|2.5.1||||||UNICODE UTF-8",
                "EVN|A08|20260301120000.5+0000",
                "PID|1||||Núñez^Ana^B C||198002|F||||||||||||||||||||||N",
                "PV1|1|N",
            ]
        );
    }

    #[test]
    fn a_result_is_typed_by_its_value_and_found_through_references() {
        let observation = |id: &str, value: Value| {
            let mut observation = json!({"resourceType": "Observation", "id": id, "status": "final",
                "subject": {"reference": "Patient/p"}, "code": {"coding": [{"system": "http://loinc.org", "code": id}]}});
            observation.as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
            observation
        };
        let quantity = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let report = json!({"resourceType": "DiagnosticReport", "status": "final", "subject": {"reference": "Patient/p"},
            "code": {"text": "Panel"}, "performer": [{"reference": "#lab"}],
            "result": [{"reference": "Observation/a"}, {"reference": "Observation/b"}, {"reference": "Observation/c"}]});
        let bundle = json!({"resourceType": "Bundle", "entry": [
            {"resource": report}, {"resource": patient()},
            {"resource": observation("a", json!({"valueQuantity": quantity("{\"value\": 1.50, \"unit\": \"mg\"}")}))},
            {"resource": observation("b", json!({"valueString": "two\nlines", "issued": "2020-01-01T00:00:00Z"}))},
            {"resource": observation("c", json!({"component": [
                {"code": {"text": "Systolic"}, "valueQuantity": {"value": 120}},
                {"code": {"text": "Diastolic"}, "valueQuantity": {"value": 80, "comparator": "<"}}]}))},
            {"resource": observation("d", json!({"valueBoolean": true}))},
        ]});
        let segments = made("ORU_R01", &[bundle], &envelope()).unwrap();
        assert_eq!(
            segments[2..],
            [
                "OBR|1|||^Panel|||||||||||||||||||||F",
                "OBX|1|NM|a^^LN||1.50|mg|||||F",
                "OBX|2|FT|b^^LN||two\\.br\\lines||||||F",
                "OBX|3|NM|^Systolic||120||||||F",
                "OBX|4|SN|^Diastolic||<^80||||||F",
                "OBR|2|||d^^LN|||||||||||||||||||||F",
                "OBX|1|ID|d^^LN||Y||||||F",
            ]
        );
    }

    #[test]
    fn datatypes_follow_the_version() {
        let report = json!({"resourceType": "DiagnosticReport", "status": "amended", "code": {"text": "x"},
            "contained": [{"resourceType": "Observation", "id": "o", "status": "final", "code": {"text": "y"},
                           "valueCodeableConcept": {"text": "z"}}],
            "result": [{"reference": "#o"}], "specimen": [{"reference": "Specimen/s"}]});
        let specimen = json!({"resourceType": "Specimen", "id": "s", "receivedTime": "2026-01-02"});
        let with = |version| {
            made("ORU_R01", &[report.clone(), specimen.clone()], &Envelope { version, ..envelope() }).unwrap()
        };
        let (old, new) = (with("2.3.1"), with("2.5.1"));
        assert_eq!(old[2], "OBX|1|CE|^y||^z||||||F");
        assert_eq!(new[2..], ["OBX|1|CWE|^y||^z||||||F".to_owned(), "SPM|1|||||||||||||||||20260102".to_owned()]);
    }

    #[test]
    fn what_cannot_be_made_is_refused_without_its_content() {
        let refused =
            |name: &str, resources: &[Value], envelope: &Envelope<'_>| made(name, resources, envelope).unwrap_err();
        assert_eq!(refused("ZZZ_Z01", &[], &envelope()), ToV2Error::NoMap("ZZZ_Z01".into()));
        let missing = refused("ADT_A01", &[], &envelope()).to_string();
        assert_eq!(missing, "the message needs PID, and no Patient is there to make it");
        assert_eq!(refused("ADT_A01", &[json!([])], &envelope()), ToV2Error::NotResource(1));
        assert_eq!(refused("ADT_A01", &[], &Envelope { now: "today", ..envelope() }), ToV2Error::Envelope("now"));
        let many = vec![patient(); MAX_RESOURCES + 1];
        assert_eq!(refused("ADT_A01", &many, &envelope()), ToV2Error::TooMany);
        let japanese = json!({"resourceType": "Patient", "name": [{"family": "山田"}]});
        let latin = Envelope { charset: Charset::Latin1, ..envelope() };
        assert_eq!(refused("ADT_A01", &[japanese], &latin), ToV2Error::Charset("ISO 8859-1"));
        let segments = made("ADT_A01", &[patient()], &latin).unwrap();
        assert!(segments[0].ends_with("||||||8859/1") && segments[2].contains("Núñez"));
        let greek = Charset::named("8859/7").unwrap();
        assert_eq!(
            (Charset::Latin1.encode("Núñez"), Charset::Utf8.encode("ñ")),
            (b"N\xfa\xf1ez".to_vec(), vec![195, 177])
        );
        assert_eq!((greek.encode("Ω"), greek.is_written()), (vec![0xd9], true));
        assert!(!Charset::named("UTF-16").unwrap().is_written());
    }

    #[test]
    fn a_reference_to_itself_ends() {
        let role =
            json!({"resourceType": "PractitionerRole", "id": "r", "practitioner": {"reference": "PractitionerRole/r"}});
        let mut patient = patient();
        patient["generalPractitioner"] = json!([{"reference": "PractitionerRole/r"}]);
        assert!(made("ADT_A01", &[patient, role], &envelope()).is_ok());
    }
}
