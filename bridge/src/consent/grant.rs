//! A grant of access: who may see what, until when and for what; the FHIR Consent that says so, the terms that a patient signs, and
//! whether a Consent that names a grant is the one that was signed. Pure.
//!
//! The Consent carries its own proof: the opening of the grant is its `sourceAttachment`, and the grant's key an identifier. What is
//! signed is the Consent without these, without what a server adds, and active.

use super::outside::PARTICIPANT;
use super::policy::Claim;
use crate::clock::instant;
use crate::ids::{Name, TypeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use notary::canonical::Json;
use notary::chain::evm::B256;
use notary::commitment::Digest;
use notary::consent::{GrantKey, Instructed, Opening, Registry, Terms};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The system of the identifier that is a grant's key.
pub const KEY_SYSTEM: &str = "urn:medseal:consent-grant";
/// The media type of an opening.
const OPENING: &str = "application/vnd.medseal.grant+json";
/// What does not belong to what is signed: what names and proves the grant, and what a server adds.
const UNSIGNED: [&str; 5] = ["id", "meta", "text", "identifier", "sourceAttachment"];
const ACT_CODE: &str = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
const PURPOSES: &str = "http://terminology.hl7.org/CodeSystem/v3-ActReason";
const RECEIVES: &str = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType";
const TYPES: &str = "http://hl7.org/fhir/resource-types";
/// How long a grant may last: who wants more gives it again.
pub const MAX_YEARS: i16 = 10;

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    Treatment,
    Payment,
    Research,
    Any,
    /// What the patient does with it: an app's that was let in.
    Own,
}

/// What is left out because it is sensitive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sensitive {
    Mind,
    Substances,
    Sexuality,
    Hiv,
    Genes,
    Violence,
}

/// Who receives: a reference, and how a person calls it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// `Organization/x`, `Practitioner/x`, `Device/CLIENT-ID`, or `urn:medseal:participant|ID`: another organisation of the network.
    pub reference: String,
    pub called: String,
}

/// What a patient has chosen.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// `Patient/x`.
    pub patient: String,
    pub recipient: Recipient,
    pub purpose: Purpose,
    /// Types of resources; none: all.
    pub kinds: Vec<String>,
    /// Sorted.
    pub without: Vec<Sensitive>,
    /// The last day, in UTC.
    pub until: Date,
    /// When it was asked for.
    pub given: Timestamp,
    /// Who writes down what the patient has said, where the patient has no key: `Practitioner/x`, and the organisation.
    pub recorded_by: Option<(String, String)>,
    /// Who gives it for the patient, who is not of age: `Patient/y`.
    #[serde(default)]
    pub acted_by: Option<String>,
}

crate::redacted_debug!(Recipient, Choice);

impl Purpose {
    pub const ALL: [Self; 5] = [Self::Treatment, Self::Payment, Self::Research, Self::Any, Self::Own];
    /// What a patient chooses from. The last one comes with letting an app in.
    pub const OFFERED: [Self; 4] = [Self::Treatment, Self::Payment, Self::Research, Self::Any];

    /// Of v3-ActReason; nothing: whatever for.
    pub fn code(self) -> Option<&'static str> {
        match self {
            Self::Treatment => Some("TREAT"),
            Self::Payment => Some("HPAYMT"),
            Self::Research => Some("HRESCH"),
            Self::Own => Some("PATRQT"),
            Self::Any => None,
        }
    }

    /// In plain words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Treatment => "my treatment",
            Self::Payment => "payment and insurance",
            Self::Research => "research",
            Self::Any => "any purpose",
            Self::Own => "what I use it for myself",
        }
    }

    /// Of a code.
    pub fn of_code(code: Option<&str>) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.code() == code)
    }
}

impl Sensitive {
    pub const ALL: [Self; 6] = [Self::Mind, Self::Substances, Self::Sexuality, Self::Hiv, Self::Genes, Self::Violence];

    /// Of v3-ActCode.
    fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Mind => &["BH", "MH", "PSY", "PSYTHPN"],
            Self::Substances => &["ETH"],
            Self::Sexuality => &["SEX", "STD"],
            Self::Hiv => &["HIV"],
            Self::Genes => &["GDIS"],
            Self::Violence => &["SDV"],
        }
    }

    /// In plain words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Mind => "mental health",
            Self::Substances => "alcohol and drugs",
            Self::Sexuality => "sexuality and what is passed on by it",
            Self::Hiv => "HIV",
            Self::Genes => "what I have inherited",
            Self::Violence => "violence that I have suffered",
        }
    }
}

impl Recipient {
    /// Another organisation of the network.
    pub fn outside(id: &str, called: &str) -> Self {
        Self { reference: format!("{PARTICIPANT}|{id}"), called: called.to_owned() }
    }

    /// The id in the directory, where it is one of another organisation.
    pub fn participant(&self) -> Option<&str> {
        participant(&self.reference)
    }

    /// As a Consent names it.
    fn named(&self) -> Value {
        match self.participant() {
            Some(id) => json!({"identifier": {"system": PARTICIPANT, "value": id}, "display": self.called}),
            None => json!({"reference": self.reference, "display": self.called}),
        }
    }

    fn read(actor: &Json) -> Option<Self> {
        let called = actor.text("display")?.to_owned();
        match actor.get("identifier") {
            Some(identifier) if identifier.text("system") == Some(PARTICIPANT) => {
                Some(Self::outside(identifier.text("value")?, &called))
            }
            _ => Some(Self { reference: actor.text("reference")?.to_owned(), called }),
        }
    }
}

/// The id of an organisation of the network, as `Recipient::reference` has it.
pub fn participant(reference: &str) -> Option<&str> {
    reference.strip_prefix(PARTICIPANT)?.strip_prefix('|')
}

impl Choice {
    /// The last second at which it holds: that of the day, which many grants share.
    pub fn not_after(&self) -> u64 {
        let after = self.until.checked_add(1.day()).ok();
        let midnight = after.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
        midnight.map_or(0, |midnight| midnight.timestamp().as_second().max(1) as u64 - 1)
    }

    /// Whether its last day is one that can be chosen at this time.
    pub fn is_timely(&self) -> bool {
        let today = self.given.to_zoned(TimeZone::UTC).date();
        today <= self.until && self.until <= today.saturating_add(MAX_YEARS.years())
    }

    /// Whether it permits nothing that `other` does not.
    pub fn is_within(&self, other: &Self) -> bool {
        let kinds = other.kinds.is_empty()
            || (!self.kinds.is_empty() && self.kinds.iter().all(|kind| other.kinds.contains(kind)));
        self.patient == other.patient
            && self.recipient.reference == other.recipient.reference
            && (other.purpose == Purpose::Any || self.purpose == other.purpose)
            && kinds
            && other.without.iter().all(|sensitive| self.without.contains(sensitive))
            && self.until <= other.until
    }

    /// Whether it is what a patient signs to let an app in: it permits the app nothing that the patient's own tokens do not, and forbids nothing.
    pub fn lets_in(&self) -> bool {
        let signed = self.recorded_by.is_none() && self.acted_by.is_none();
        self.purpose == Purpose::Own && self.without.is_empty() && signed && self.client().is_some()
    }

    /// The id of the program that receives, where it is one.
    pub fn client(&self) -> Option<&str> {
        self.recipient.reference.strip_prefix("Device/")
    }

    /// What of the record, in plain words.
    pub fn records(&self, called: impl Fn(&str) -> String) -> String {
        let kinds: Vec<String> = self.kinds.iter().filter(|kind| *kind != "Patient").map(|kind| called(kind)).collect();
        let what = match self.kinds.is_empty() {
            true => "everything in my record".to_owned(),
            false if kinds.is_empty() => "name, birth date and the like".to_owned(),
            false => format!("{}; name, birth date and the like", kinds.join(", ")),
        };
        let without: Vec<&str> = self.without.iter().map(|sensitive| sensitive.words()).collect();
        if without.is_empty() { what } else { format!("{what}; but nothing about {}", without.join(", ")) }
    }

    /// The last day, in plain words.
    pub fn ends(&self) -> String {
        format!("the end of {} (UTC)", self.until)
    }

    /// What is signed, beside the registry's own words. `called`: how a person calls a type. `salt`: 32 random bytes.
    pub fn terms(&self, called: impl Fn(&str) -> String, salt: B256) -> Option<Terms> {
        let Recipient { reference, called: name } = &self.recipient;
        Some(Terms {
            recipient: format!("{name} ({reference})"),
            purpose: self.purpose.words().to_owned(),
            records: self.records(called),
            until: self.ends(),
            consent: signed(&self.consent()?),
            salt,
        })
    }

    /// The Consent that says the same (R4, in the manner of IHE PCF).
    pub fn consent(&self) -> Option<Json> {
        let signer = self.acted_by.as_ref().unwrap_or(&self.patient);
        let performer = self.recorded_by.as_ref().map_or(signer, |(who, _)| who);
        let mut consent = json!({
            "resourceType": "Consent",
            "status": "active",
            "scope": concept("http://terminology.hl7.org/CodeSystem/consentscope", "patient-privacy"),
            "category": [concept("http://loinc.org", "59284-0")],
            "patient": {"reference": self.patient},
            "dateTime": instant(self.given),
            "performer": [{"reference": performer}],
            "policyRule": concept(ACT_CODE, "OPTIN"),
            "verification": [{"verified": self.recorded_by.is_none()}],
            "provision": self.provision(),
        });
        if let Some((_, organisation)) = &self.recorded_by {
            consent["organization"] = json!([{"reference": organisation}]);
        }
        Json::parse(consent.to_string().as_bytes()).ok()
    }

    fn provision(&self) -> Value {
        let mut provision = json!({
            "type": "permit",
            "period": {"start": instant(self.given), "end": self.until.to_string()},
            "actor": [{
                "role": concept(RECEIVES, "IRCP"),
                "reference": self.recipient.named(),
            }],
        });
        if let Some(code) = self.purpose.code() {
            provision["purpose"] = json!([coding(PURPOSES, code)]);
        }
        if !self.kinds.is_empty() {
            provision["class"] = self.kinds.iter().map(|kind| coding(TYPES, kind)).collect();
        }
        if !self.without.is_empty() {
            let labels = self.without.iter().flat_map(|sensitive| sensitive.codes());
            let labels: Vec<Value> = labels.map(|code| coding(ACT_CODE, code)).collect();
            provision["provision"] = json!([{"type": "deny", "securityLabel": labels}]);
        }
        provision
    }

    /// Reads the choice back out of a Consent that `consent` made; nothing for any other.
    pub fn read(consent: &Json) -> Option<Self> {
        let provision = consent.get("provision")?;
        let actor = provision.get("actor")?.items().first()?.get("reference")?;
        let codes = |json: &Json, name: &str| -> Vec<String> {
            let listed = json.get(name).map_or(&[][..], Json::items);
            listed.iter().filter_map(|coding| coding.text("code")).map(str::to_owned).collect()
        };
        let labels = provision.get("provision").and_then(|inner| inner.items().first());
        let labels = labels.map_or(Vec::new(), |inner| codes(inner, "securityLabel"));
        let left_out = |sensitive: &Sensitive| sensitive.codes().iter().all(|code| labels.iter().any(|l| l == code));
        let first = |name: &str| consent.get(name)?.items().first()?.text("reference").map(str::to_owned);
        let patient = consent.get("patient")?.text("reference")?.to_owned();
        let performer = first("performer").filter(|performer| *performer != patient);
        let organisation = first("organization");
        let acted_by = performer.clone().filter(|_| organisation.is_none());
        let choice = Self {
            recipient: Recipient::read(actor)?,
            purpose: Purpose::of_code(codes(provision, "purpose").first().map(String::as_str))?,
            kinds: codes(provision, "class"),
            without: Sensitive::ALL.into_iter().filter(left_out).collect(),
            until: provision.get("period")?.text("end")?.parse().ok()?,
            given: consent.text("dateTime")?.parse().ok()?,
            recorded_by: performer.zip(organisation),
            acted_by,
            patient,
        };
        (signed(&choice.consent()?) == signed(consent)).then_some(choice)
    }
}

fn coding(system: &str, code: &str) -> Value {
    json!({"system": system, "code": code})
}

fn concept(system: &str, code: &str) -> Value {
    json!({"coding": [coding(system, code)]})
}

/// The hash of what is signed of a Consent.
pub fn signed(consent: &Json) -> B256 {
    let mut consent = consent.clone();
    for name in UNSIGNED {
        consent.remove(name);
    }
    consent.set("status", Json::String("active".to_owned()));
    B256::from(Digest::of(&consent.canonical()).0)
}

/// The Consent with what names and proves its grant.
pub fn proved(mut consent: Json, opening: &Opening, registry: &Registry) -> Option<Json> {
    let data = STANDARD.encode(serde_json::to_vec(opening).ok()?);
    let key = opening.key(registry).to_string();
    let attachment = json!({"contentType": OPENING, "title": "What was signed", "data": data});
    let identifier = json!([{"system": KEY_SYSTEM, "value": key}]);
    consent.set("identifier", Json::parse(identifier.to_string().as_bytes()).ok()?);
    consent.set("sourceAttachment", Json::parse(attachment.to_string().as_bytes()).ok()?);
    Some(consent)
}

/// The key of the grant that a Consent names.
pub fn key(consent: &Json) -> Option<GrantKey> {
    let named = consent.get("identifier").map_or(&[][..], Json::items);
    let named = named.iter().find(|identifier| identifier.text("system") == Some(KEY_SYSTEM))?;
    named.text("value")?.parse().ok().map(GrantKey)
}

/// The opening that a Consent carries.
pub fn opening(consent: &Json) -> Option<Opening> {
    let attachment = consent.get("sourceAttachment").filter(|a| a.text("contentType") == Some(OPENING))?;
    serde_json::from_slice(&STANDARD.decode(attachment.text("data")?).ok()?).ok()
}

/// Whether a Consent names a grant, or carries what opens one.
pub fn rests_on_grant(consent: &Json) -> bool {
    let identifiers = consent.get("identifier").map_or(&[][..], Json::items);
    let attachment = consent.get("sourceAttachment").and_then(|attachment| attachment.text("contentType"));
    attachment == Some(OPENING) || identifiers.iter().any(|one| one.text("system") == Some(KEY_SYSTEM))
}

/// What a Consent says its permissions rest on; nothing where it names no grant. `registry`: where grants are registered here.
pub fn claim(consent: &Json, custodian: &str, registry: Option<&Registry>) -> Option<Claim> {
    if !rests_on_grant(consent) {
        return None;
    }
    let proved = key(consent).ok_or("it names no grant").and_then(|named| {
        let opening = opening(consent).ok_or("what opens its grant cannot be read")?;
        prove(consent, named, &opening, custodian, registry.ok_or("there is no registry of grants here")?)
    });
    Some(proved.map_or_else(Claim::Unproved, Claim::Of))
}

fn prove(
    consent: &Json,
    named: GrantKey,
    opening: &Opening,
    custodian: &str,
    registry: &Registry,
) -> Result<GrantKey, &'static str> {
    let instructed = opening.instructed(registry).map_err(|_| "the signature on its grant does not hold")?;
    let verified = consent.get("verification").map_or(&[][..], Json::items).first();
    let verified = verified.and_then(|said| said.get("verified")) == Some(&Json::Bool(true));
    match () {
        () if opening.key(registry) != named => Err("its grant is another one"),
        () if opening.custodian != custodian => Err("its grant was given to another organisation"),
        () if opening.terms.consent != signed(consent) => Err("it says something else than was signed"),
        () if verified && instructed == Instructed::Recorded => Err("nobody has signed what it says was signed"),
        () => Ok(named),
    }
}

/// Whether a name can be granted something.
pub fn is_recipient(name: &Name) -> bool {
    matches!(name.kind.as_str(), "Organization" | "Practitioner" | "Device")
}

/// The types that somebody may choose, with the patient himself, without whom the others say little.
pub fn kinds<'k>(chosen: impl Iterator<Item = &'k str>) -> Vec<String> {
    let mut kinds: Vec<String> = chosen.filter_map(TypeName::parse).map(|kind| kind.as_str().to_owned()).collect();
    if !kinds.is_empty() {
        kinds.push("Patient".to_owned());
    }
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

#[cfg(test)]
mod tests;
