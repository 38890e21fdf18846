//! What was received and proved becomes part of a record here: under ids that follow from where it came from, its references turned to
//! what is here, with the parcel itself and a Provenance that says from whom. Storing the same again stores nothing.

use super::contents::{attached, is_content, readdress};
use super::error::ExchangeError;
use super::parcel::{Checked, Parcel};
use super::participants::Partner;
use super::respond::{derived, is_of_record};
use crate::app::App;
use crate::clock::instant;
use crate::commit::{Author, Committed, Transaction};
use crate::consent::outside::PARCEL;
use crate::error::IngestError;
use crate::exchange::document::reference;
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, Write};
use crate::fhir::{membership, references};
use crate::ids::{Name, ResourceId, TypeName, Version};
use crate::ingest::commit;
use crate::read::in_background;
use crate::smart::token::Caller;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use notary::canonical::Json;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;

/// Types of a patient's record that are shown and never stored: what another organisation wrote there decides nothing here.
const NOT_OURS: &[&str] = &["Consent", "Group", "Person", "Provenance"];

/// Where something came from, and whose it is here.
pub struct Origin<'o> {
    pub partner: &'o Partner,
    /// The sender's patient, `Patient/id`.
    pub there: &'o str,
    /// The same person here.
    pub here: &'o Name,
    /// Whether the record of this person begins with what is received.
    pub begins: bool,
}

/// What is put beside the resources.
pub struct Evidence {
    /// What the Provenance is named by.
    pub id: ResourceId,
    /// The parcel as it came.
    pub parcel: Vec<u8>,
    /// What was signed for it, if something was.
    pub signature: Option<String>,
}

/// What came of it.
pub struct Kept {
    /// Where each resource stands here.
    pub names: Vec<(String, Name)>,
    pub provenance: Option<Name>,
    /// It was stored before.
    pub before: bool,
}

/// Stores what is proved.
pub async fn keep(
    app: &Arc<App>,
    caller: &Caller,
    origin: &Origin<'_>,
    checked: &[Checked],
    evidence: Evidence,
) -> Result<Kept, ExchangeError> {
    let held = origin.held(checked);
    let names: HashMap<&str, Name> =
        checked.iter().filter_map(|one| Some((one.name.as_str(), origin.name(one, &held)?))).collect();
    let (mut writes, mut told) = (Vec::new(), Vec::new());
    for one in checked.iter().filter(|one| one.verdict.is_ok()) {
        let Some(name) = names.get(one.name.as_str()) else { continue };
        told.push((one.place(), name.clone()));
        if !is_known(app, origin, name, one).await? {
            writes.push(write(name, origin.adopt(one, name, &names), false)?);
        }
    }
    let provenance = named("Provenance", &evidence.id)?;
    if told.is_empty() || (writes.is_empty() && evidence.signature.is_none()) {
        return Ok(Kept { names: told, provenance: None, before: true });
    }
    writes.extend(origin.evidence(app, &evidence, &told)?);
    let author = Author::Exchange(Box::new(caller.clone()));
    let kept = |before| Kept { names: told, provenance: Some(provenance), before };
    match commit(app, Transaction { by: author, writes, message: None }).await {
        Ok(Committed { .. }) => Ok(kept(false)),
        // Somebody has stored the same parcel meanwhile.
        Err(IngestError::Precondition(_)) => Ok(kept(true)),
        Err(error) => Err(error.into()),
    }
}

/// A resource as it stands, by the service itself.
pub async fn current(app: &App, name: &Name) -> Result<Option<Json>, ExchangeError> {
    let (store, wanted) = (app.core.store.clone(), name.clone());
    let stored = in_background(move || store.current(&wanted)).await?;
    match stored.filter(|stored| !stored.deleted) {
        Some(stored) => Ok(app.core.open_unless_erased(&stored).await?.map(|opened| opened.json())),
        None => Ok(None),
    }
}

/// Whether this version, or a newer one, is here already.
async fn is_known(app: &App, origin: &Origin<'_>, name: &Name, one: &Checked) -> Result<bool, ExchangeError> {
    let (store, wanted) = (app.core.store.clone(), name.clone());
    let Some(stored) = in_background(move || store.current(&wanted)).await? else { return Ok(false) };
    if stored.deleted {
        // Whoever deleted it here meant it.
        return Ok(true);
    }
    let Some(there) = current(app, name).await? else { return Ok(false) };
    let whose = membership::keeper(name, &there, &app.core.base).filter(|whose| whose != origin.here);
    // Under another number that was merged with this one it is his as well.
    if let Some(whose) = whose
        && !app.core.merged(origin.here).await?.names.contains(&whose)
    {
        const OTHER: &str =
            "it was given as another patient's before, and stays that one's here: whoever received it puts it right";
        return Err(ExchangeError::Uncertain(OTHER));
    }
    let source = there.get("meta").and_then(|meta| meta.text("source")).unwrap_or_default();
    let version = source.strip_prefix(&origin.versions(&one.name)).and_then(Version::parse);
    Ok(version.is_some_and(|version| one.named().is_none_or(|(_, new)| version >= new)))
}

fn named(kind: &str, id: &ResourceId) -> Result<Name, ExchangeError> {
    let kind = TypeName::parse(kind).ok_or(ExchangeError::Malformed("a type"))?;
    Ok(Name { kind, id: id.clone() })
}

fn write(name: &Name, resource: Json, only_new: bool) -> Result<Write, ExchangeError> {
    let resource = validate(resource).map_err(ExchangeError::Invalid)?;
    let target = Target { kind: name.kind, by: By::Id(name.id.clone()), if_match: None, only_new };
    Ok(Write::alone(Act::Update { target, resource }))
}

impl Origin<'_> {
    fn endpoint(&self) -> &str {
        &self.partner.document.said.endpoint
    }

    /// What the address of each version of a resource there begins with.
    fn versions(&self, name: &str) -> String {
        format!("{}/{name}/_history/", self.endpoint())
    }

    /// The contents of the documents that are proved.
    fn held(&self, checked: &[Checked]) -> HashSet<Name> {
        let proved = checked.iter().filter(|one| one.verdict.is_ok());
        proved.flat_map(|one| attached(&one.json, self.endpoint())).collect()
    }

    /// What a resource is called here; nothing where it is not kept.
    fn name(&self, one: &Checked, held: &HashSet<Name>) -> Option<Name> {
        let (name, _) = one.named()?;
        if one.name == self.there {
            return self.begins.then(|| self.here.clone());
        }
        let kept =
            is_of_record(name.kind) && name.kind.as_str() != "Patient" && !NOT_OURS.contains(&name.kind.as_str());
        (kept || held.contains(&name)).then(|| Name { kind: name.kind, id: adopted(self.partner, &one.name) })
    }

    /// The resource as it is to stand here.
    fn adopt(&self, one: &Checked, name: &Name, names: &HashMap<&str, Name>) -> Json {
        let mut json = one.json.clone();
        json.set("id", Json::from(name.id.as_str()));
        let mut meta = json.remove("meta").unwrap_or(Json::Object(Vec::new()));
        for stamp in ["versionId", "lastUpdated"] {
            meta.remove(stamp);
        }
        meta.set("source", Json::from(format!("{}{}", self.versions(&one.name), one.version).as_str()));
        json.set("meta", meta);
        let Ok(()) = references::rewrite(&mut json, &mut |text| Ok::<_, Infallible>(self.turned(text, names)));
        readdress(&mut json, self.endpoint(), |name| names.get(name.to_string().as_str()).map(ToString::to_string));
        if is_content(name) {
            // It is this patient's, whatever it says or does not say: it is sealed, shown and erased with his record.
            json.set("securityContext", Json::from(json!({"reference": self.here.to_string()})));
        }
        json
    }

    /// A reference as it is to be here; nothing: as it is.
    fn turned(&self, text: &str, names: &HashMap<&str, Name>) -> Option<String> {
        let prefix = format!("{}/", self.endpoint());
        let rest = text.strip_prefix(&prefix).unwrap_or(text);
        let plain = rest.split("/_history/").next().unwrap_or(rest);
        // What would be searched for here is meant there.
        let is_search = plain.split_once('?').is_some_and(|(kind, _)| TypeName::parse(kind).is_some());
        if !is_search {
            Name::parse(plain)?;
        }
        if plain == self.there {
            return Some(self.here.to_string());
        }
        Some(names.get(plain).map_or_else(|| format!("{prefix}{rest}"), ToString::to_string))
    }

    /// The parcel, sealed with the patient's record, and who gave it.
    fn evidence(&self, app: &App, evidence: &Evidence, told: &[(String, Name)]) -> Result<Vec<Write>, ExchangeError> {
        let (binary, provenance) = (named("Binary", &evidence.id)?, named("Provenance", &evidence.id)?);
        let parcel = json!({
            "resourceType": "Binary", "id": binary.id.as_str(), "contentType": PARCEL,
            "securityContext": {"reference": self.here.to_string()}, "data": STANDARD.encode(&evidence.parcel),
        });
        let now = instant(app.core.clock.now());
        let who = reference(&self.partner.id, &self.partner.document.said.name);
        // With the patient among them it is part of his record, and goes with it.
        let mut targets: Vec<Value> = vec![json!({"reference": self.here.to_string()})];
        targets.extend(told.iter().filter(|(_, n)| n != self.here).map(|(_, n)| json!({"reference": n.to_string()})));
        let sources = told.iter().map(|(place, _)| {
            let address = format!("{}/{place}", self.endpoint());
            json!({"role": "source", "what": {"identifier": {"system": "urn:ietf:rfc:3986", "value": address}}})
        });
        let parcel_entity = json!({"role": "source", "what": {"reference": binary.to_string()}});
        let mut told_by = json!({
            "resourceType": "Provenance", "id": provenance.id.as_str(), "recorded": now,
            "target": targets,
            "agent": [{"type": participant("custodian"), "who": who}],
            "entity": sources.chain([parcel_entity]).collect::<Vec<Value>>(),
        });
        if let Some(text) = &evidence.signature {
            let own = json!({"display": app.core.custodian});
            told_by["signature"] = json!([signature(text, &now, &own)]);
        }
        Ok(vec![write(&binary, Json::from(parcel), true)?, write(&provenance, Json::from(told_by), true)?])
    }
}

/// The id here of a resource that came from another organisation.
fn adopted(partner: &Partner, name: &str) -> ResourceId {
    derived("adopted", &[partner.id.as_str(), name])
}

/// The record that begins with what is received.
pub fn new_patient(partner: &Partner, there: &str) -> Option<Name> {
    Some(Name { kind: TypeName::parse("Patient")?, id: adopted(partner, there) })
}

pub(super) fn participant(code: &str) -> Value {
    let system = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
    json!({"coding": [{"system": system, "code": code}]})
}

/// A signed text as FHIR has it.
pub(super) fn signature(text: &str, now: &str, who: &Value) -> Value {
    json!({
        "type": [{"system": "urn:iso-astm:E1762-95:2013", "code": "1.2.840.10065.1.12.1.6", "display": "Validation Signature"}],
        "when": now, "who": who, "sigFormat": "application/jose", "data": STANDARD.encode(text),
    })
}

/// The signed text of a Provenance.
pub fn signed(provenance: &Json) -> Option<String> {
    let data = provenance.get("signature")?.items().first()?.text("data")?;
    String::from_utf8(STANDARD.decode(data).ok()?).ok()
}

/// The parcel that a Binary keeps.
pub fn kept(binary: &Json) -> Option<Parcel> {
    Parcel::read(&STANDARD.decode(binary.text("data")?).ok()?)
}
