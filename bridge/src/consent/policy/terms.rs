//! What is a kind of what, by `data/consent-terms.tsv`, and the words of the code systems that Consents are written in.

use super::Coding;
use std::collections::HashMap;
use std::sync::LazyLock;

const TABLE: &str = include_str!("../../../data/consent-terms.tsv");
const HL7: &str = "http://terminology.hl7.org/CodeSystem/";

pub(super) const SCOPE: &str = "http://terminology.hl7.org/CodeSystem/consentscope";
pub(super) const ACTION: &str = "http://terminology.hl7.org/CodeSystem/consentaction";
/// The code system of degrees of confidentiality.
pub const CONFIDENTIALITY: &str = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
/// The code system of sensitivities, obligations and more.
pub const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
pub(super) const PARTICIPATION: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
pub(super) const RESOURCE_TYPES: &str = "http://hl7.org/fhir/resource-types";

/// (code system, code) to what it is a kind of.
static KINDS: LazyLock<HashMap<(&str, &str), Vec<&str>>> = LazyLock::new(|| {
    let mut kinds: HashMap<_, Vec<_>> = HashMap::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let mut parts = line.split('\t');
        if let (Some(system), Some(code), Some(kind)) = (parts.next(), parts.next(), parts.next()) {
            kinds.entry((system, code)).or_default().push(kind);
        }
    }
    kinds
});

/// Whether `one` is `other`, or a kind of it.
pub fn is_kind_of(one: &Coding, other: &Coding) -> bool {
    one == other || (one.system == other.system && within(&one.system, &one.code, &other.code))
}

/// Whether this is a code of v3-ActReason that says what records are used for.
pub fn is_purpose(code: &str) -> bool {
    within(&format!("{HL7}v3-ActReason"), code, "PurposeOfUse")
}

fn within(system: &str, code: &str, other: &str) -> bool {
    let Some(short) = system.strip_prefix(HL7) else { return false };
    let above = KINDS.get(&(short, code)).map_or(&[][..], Vec::as_slice);
    above.iter().any(|kind| *kind == other || within(system, kind, other))
}

/// Whether a label says what sort of information this is.
pub(super) fn is_sensitivity(label: &Coding) -> bool {
    label.system == ACT_CODE && within(ACT_CODE, &label.code, "_InformationSensitivityPolicy")
}

/// Whether a label says what whoever receives must do, or must not.
pub(super) fn is_obligation(label: &Coding) -> bool {
    let under = |root| within(ACT_CODE, &label.code, root);
    label.system == ACT_CODE && (under("ObligationPolicy") || under("RefrainPolicy"))
}

/// How confidential, from 0, unrestricted, to 5, very restricted; nothing for what is no degree of it.
pub fn degree(label: &Coding) -> Option<usize> {
    let degrees = ["U", "L", "M", "N", "R", "V"];
    degrees.iter().position(|code| label.system == CONFIDENTIALITY && *code == label.code)
}

/// That of what nobody has labelled.
pub(super) const NORMAL: usize = 3;
/// That of what is labelled in a way that is not understood.
pub(super) const HIGHEST: usize = 5;
