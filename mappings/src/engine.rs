//! Runs a message through its maps: [`map`]. One pass over the segments, in order: each is placed in the structure
//! (`run.rs`), its rules fill the resources (`rules.rs`), and at the end what came out is named, united, pruned and
//! completed (`finish.rs`). What was read is remembered, so that the rest can be told.

use crate::charset::Charset;
use crate::identity::Identity;
use crate::maps::MapSet;
use crate::parse::Message;
use crate::path::Place;
use crate::report::Report;
use crate::run::Run;
use crate::structure::Slot;
use crate::tree::{Id, Tree};
use jiff::tz::TimeZone;

/// What the caller knows about a message beside its text.
#[derive(Debug, Clone, Copy)]
pub struct Context<'c> {
    pub charset: Charset,
    /// The feed's zone for times sent without one.
    pub zone: Option<&'c TimeZone>,
    /// The present instant, as FHIR writes it.
    pub now: &'c str,
}

/// Why a message cannot be mapped at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
pub enum MapError {
    #[error("MSH-9 does not name a message type and trigger event")]
    NoType,
    #[error("there is no map for messages of type {0}")]
    NoMap(String),
    #[error("the message has no {0} segment")]
    Missing(String),
    #[error("the message yields no resource")]
    Nothing,
    #[error("{0}; this feed refuses messages of which something is lost")]
    Unused(String),
    #[error("PID and {0} name the same patient: a record cannot replace itself, or be linked with itself")]
    Itself(String),
    #[error("the message yields more than {MAX_DRAFTS} resources")]
    TooMany,
}

/// The most resources that one message may yield: a segment makes a few, and a batch of results has thousands of them.
pub const MAX_DRAFTS: usize = 500_000;

/// A resource that came out of a message, before it has an id or a version. Its content is in [`Mapped`].
#[derive(Debug, Clone)]
pub struct Draft {
    pub type_name: &'static str,
    pub identity: Option<Identity>,
    /// Elements that the sender deleted explicitly (`""`).
    pub deleted: Vec<&'static str>,
    /// The message speaks of it second-hand: it fills gaps and changes nothing.
    pub weak: bool,
    /// Elements that fill gaps of the stored resource and change nothing.
    pub gaps: Vec<&'static str>,
    pub(crate) root: Id,
}

/// Where one element came from: its FHIRPath, the rule that set it, and the source place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub path: String,
    pub rule: String,
    pub place: Place,
}

/// A mapped message. The resources stay in one arena that points into the message's text.
pub struct Mapped<'a> {
    pub map: &'a str,
    pub drafts: Vec<Draft>,
    pub report: Report<'a>,
    pub(crate) tree: Tree<'a>,
    pub(crate) zone: Option<&'a TimeZone>,
    /// For each draft that was made, the number of the draft that it became.
    pub(crate) numbers: Vec<u32>,
}

impl std::fmt::Debug for Mapped<'_> {
    /// Resources do not print.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapped").field("map", &self.map).field("drafts", &self.drafts.len()).finish_non_exhaustive()
    }
}

/// The `fullUrl` of draft number n in its Bundle.
pub fn draft_urn(n: usize) -> String {
    let mut out = Vec::new();
    write_urn(n, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Writes `urn:uuid:` and a UUID that ends in the draft's number.
pub(crate) fn write_urn(n: usize, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"urn:uuid:00000000-0000-4000-8000-");
    out.extend((0..12).rev().map(|i| DIGITS[(n >> (4 * i)) & 15]));
}

impl Mapped<'_> {
    /// Writes the resource of a draft as JSON; references to other drafts read as [`draft_urn`] makes them.
    pub fn write_json(&self, draft: &Draft, out: &mut Vec<u8>) {
        self.tree.write_resource(draft.root, out, &|to, out| write_urn(self.numbers[to] as usize, out));
    }

    /// The resource of a draft as JSON text.
    pub fn json(&self, draft: &Draft) -> String {
        let mut out = Vec::new();
        self.write_json(draft, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    /// The rule and the source behind each leaf of a draft.
    pub fn origins(&self, draft: &Draft) -> Vec<Origin> {
        let mut origins = Vec::new();
        let Report { set, message, .. } = &self.report;
        self.tree.leaves(draft.root, &mut draft.type_name.to_owned(), &mut |path, reason| {
            let rule = set.rule_name(reason.rule).to_owned();
            origins.push(Origin { path: path.to_owned(), rule, place: Place::of(message, reason.source) });
        });
        origins
    }
}

/// Maps one message.
pub fn map<'a>(set: &'a MapSet, message: &'a Message<'a>, context: &'a Context<'a>) -> Result<Mapped<'a>, MapError> {
    let plan = set.message_plan(message)?;
    let mut run = Run::new(set, plan, message, context);
    if let Some(missing) = plan.structure.slots.iter().find(|slot| is_missed(slot, &run)) {
        return Err(MapError::Missing(missing.segment.to_string()));
    }
    for index in 0..message.len() {
        run.segment(index);
        if run.drafts.len() > MAX_DRAFTS {
            return Err(MapError::TooMany);
        }
    }
    run.finish()
}

/// Senders leave EVN and PV1 out although the standard requires them; nothing hangs on those.
fn is_missed(slot: &Slot, run: &Run<'_>) -> bool {
    slot.required && run.named(slot.segment).is_empty() && !matches!(slot.segment.to_string().as_str(), "EVN" | "PV1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::sync::LazyLock;

    static SET: LazyLock<MapSet> = LazyLock::new(|| MapSet::embedded().unwrap());
    static CONTEXT: Context<'_> = Context { charset: Charset::Utf8, zone: None, now: "2026-03-01T12:00:00.000Z" };

    fn parsed(text: &str) -> &'static Message<'static> {
        Box::leak(Box::new(Message::parse(text.to_owned().leak()).unwrap()))
    }

    fn run(text: &str) -> Mapped<'static> {
        map(&SET, parsed(text), &CONTEXT).unwrap()
    }

    fn all(mapped: &Mapped<'_>, kind: &str) -> Vec<Value> {
        let of_kind = mapped.drafts.iter().filter(|d| d.type_name == kind);
        of_kind.map(|d| serde_json::from_str(&mapped.json(d)).unwrap()).collect()
    }

    const HEAD: &str = "MSH|^~\\&|LAB|H|||20260303||ORU^R01^ORU_R01|1|P|2.5.1\r";

    #[test]
    fn two_patients_in_one_message_do_not_mix() {
        let mapped = run(&format!(
            "{HEAD}PID|1||1^^^H&1.2&ISO^MR||A^B\rOBR|1||F1|X^Y^L\rOBX|1|NM|C^N^L||1.0|mg|||||F\r\
             PID|2||2^^^H&1.2&ISO^MR||C^D\rOBR|1||F2|X^Y^L\rOBX|1|NM|C^N^L||2.0|mg|||||F\r"
        ));
        let results = all(&mapped, "Observation");
        assert_eq!((all(&mapped, "Patient").len(), results.len()), (2, 2));
        assert_ne!(results[0]["subject"]["reference"], results[1]["subject"]["reference"]);
    }

    #[test]
    fn what_is_not_used_is_told_and_what_cannot_be_used_too() {
        let mapped = run(&format!(
            "{HEAD}PID|1||1^^^H&1.2&ISO^MR||A^B||19801399\rOBR|1||F1|X^Y^L\rOBX|1|NM|C^N^L||none|mg|||||F\rZZZ|1\r"
        ));
        let told: Vec<String> = mapped.report.lines(99).iter().map(|n| format!("{} {}", n.path, n.finding)).collect();
        for expected in ["PID-7 not a date or time", "ZZZ the message structure has no place for this segment"] {
            assert!(told.iter().any(|t| t == expected), "{expected} in {told:#?}");
        }
        assert_eq!(all(&mapped, "Patient")[0].get("birthDate"), None);
        let result = &all(&mapped, "Observation")[0];
        assert_eq!(
            (result["valueString"].as_str(), result.get("valueQuantity")),
            (Some("none mg"), None),
            "no value is lost"
        );
    }

    #[test]
    fn a_text_of_many_repetitions_ends_and_says_so() {
        let races: Vec<String> = (0..500).map(|n| format!("R{n}^race {n}^CDCREC")).collect();
        let mapped = run(&format!("{HEAD}PID|1||1^^^H||A^B|||||{}\rOBR|1||F1|X^Y^L\r", races.join("~")));
        let patient = mapped.drafts.iter().find(|d| d.type_name == "Patient").unwrap();
        let json = mapped.json(patient);
        assert!(json.contains("race 0, race 1, race 2") && !json.contains("race 300"), "{json}");
        let told = mapped.report.lines(999);
        let full = told.iter().filter(|line| line.finding == "more than the text has room for" && line.loss);
        assert!(full.clone().any(|line| line.path == "PID-10[301]"), "{} such lines", full.count());
    }

    #[test]
    fn a_message_without_what_it_is_about_is_refused() {
        for (kind, rest, missing) in [("ADT^A01", "PV1|1|I", "PID"), ("ADT^A40", "PID|1||1^^^H", "MRG")] {
            let text = format!("MSH|^~\\&|||||||{kind}|1|P|2.5\r{rest}\r");
            let error = map(&SET, parsed(&text), &CONTEXT).unwrap_err();
            assert_eq!(error, MapError::Missing(missing.into()));
        }
    }

    #[test]
    fn a_renumbered_result_is_the_same_result() {
        let keys = |obx: &str| {
            let mapped = run(&format!("{HEAD}PID|1||1^^^H&1.2&ISO^MR||A^B\rOBR|1||F1|X^Y^L\r{obx}"));
            let results = mapped.drafts.iter().filter(|d| d.type_name == "Observation");
            results.map(|d| d.identity.clone().unwrap().key()).collect::<Vec<_>>()
        };
        let first = keys("OBX|1|NM|W^N^L||1|||||||P\rOBX|2|ST|C^N^L||a|||||||P\rOBX|3|ST|C^N^L||b|||||||P\r");
        let second = keys("OBX|1|ST|Z^N^L||new|||||||F\rOBX|2|NM|W^N^L||2|||||||F\r");
        assert_eq!(first[0], second[1]);
        assert_ne!(first[1], first[2], "two of one code are two");
    }

    #[test]
    fn a_nul_that_the_sender_sent_is_no_ordinal() {
        let head = HEAD.replace("|LAB|", "|L\u{0}|");
        let mapped = run(&format!("{head}PID|1||1||A^B\rOBR|1||F1|X^Y^L\rOBX|1|ST|C^N^L||a|||||||F\r"));
        let result = mapped.drafts.iter().find(|d| d.type_name == "Observation").unwrap();
        assert!(result.identity.clone().unwrap().key().contains("L\u{0}|H"));
    }

    #[test]
    fn identities_are_scoped_by_their_authority() {
        let identity = |cx: &str| {
            let mapped = run(&format!("{HEAD}PID|1||{cx}||A^B\rOBR|1||F1|X^Y^L\r"));
            mapped.drafts.iter().find(|d| d.type_name == "Patient").unwrap().identity.clone().unwrap().key()
        };
        assert_eq!(identity("1^^^H&1.2&ISO^MR"), identity("1^^^OTHER&1.2&ISO^MR"), "the OID is the authority");
        assert_ne!(identity("1^^^H"), identity("1^^^G"), "a name alone means something only with its sender");
        assert_ne!(identity("1^^^H"), identity("1"));
    }

    #[test]
    fn a_table_reads_only_codes_of_its_own_system() {
        let gender = |pid_8: &str| {
            let mapped = run(&format!("{HEAD}PID|1||1^^^H||A^B||||||||||{pid_8}\rOBR|1||F1|X^Y^L\r"));
            all(&mapped, "Patient")[0]["maritalStatus"]["coding"][0]["system"].as_str().unwrap_or("").to_owned()
        };
        let married = "http://terminology.hl7.org/CodeSystem/v3-MaritalStatus";
        for (status, is_translated) in
            [("M", true), ("M^Married^HL70002", true), ("M^Mourning^L", false), ("M^x^99X", false)]
        {
            assert_eq!(gender(&format!("|{status}")) == married, is_translated, "{status}");
        }
    }

    #[test]
    fn a_table_reads_the_alternate_code_too() {
        let status = |pid_16: &str| {
            let mapped = run(&format!("{HEAD}PID|1||1^^^H||A^B|||||||||||{pid_16}\rOBR|1||F1|X^Y^L\r"));
            let codings = all(&mapped, "Patient")[0]["maritalStatus"]["coding"].clone();
            let codes = codings.as_array().into_iter().flatten();
            codes
                .filter(|c| c["system"].is_string())
                .map(|c| c["code"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(status("M^^^S"), ["M", "S"], "the translated codings are in the sender's sequence");
        assert_eq!(status("77^^L^S^^HL70002"), ["S", "S"], "the sender's own, of table 0002, stays behind it");
        assert_eq!(status("M^^^S^^L"), ["M"], "a local alternate stays what it is");
        assert_eq!(status("M^^^M"), ["M"], "the same once");
    }

    #[test]
    fn every_element_knows_its_rule_and_source() {
        let mapped = run(&format!("{HEAD}PID|1||1^^^H&1.2&ISO^MR||A^B|||F\rOBR|1||F1|X^Y^L\r"));
        let patient = mapped.drafts.iter().find(|d| d.type_name == "Patient").unwrap();
        let origins = mapped.origins(patient);
        let gender = origins.iter().find(|o| o.path == "Patient.gender").unwrap();
        assert_eq!((gender.rule.as_str(), gender.place.field), ("PID[Patient]/PID-8", 8));
    }
}
