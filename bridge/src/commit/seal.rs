//! Writing: references, merge, version, seal. What leaves here is sealed.

use super::allowed::Rights;
use super::resolve::Goal;
use super::view::{Newest, Pending};
use super::{Author, Deleted, Done, Group, Stage, Written};
use crate::audit::{is_trail, tells_of_emergency};
use crate::clock::instant;
use crate::error::{IngestError, Issue, VaultError};
use crate::fhir::patch::Patch;
use crate::fhir::search::criterion::{Surroundings, normal};
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, By, Target, conditional_reference};
use crate::fhir::{membership, merge, references};
use crate::ids::{Name, Owner, Version};
use crate::index::blind::Blinded;
use crate::read::{Made, Verb};
use crate::secret::{Key, bytes, system_random};
use crate::vault::pack::Record;
use crate::vault::seal::{Label, RecordKind, seal};
use notary::canonical::Json;
use notary::commitment::{Commitment, Digest, Entry, Kind, Salt, Subject};
use std::collections::HashMap;
use std::sync::Arc;

/// Refuses a patient who is linked to himself: a merge of two numbers that turn out to be one record's would replace the
/// record by itself, and nobody could reach it any more.
fn not_its_own(json: &Json, name: &Name) -> Result<(), IngestError> {
    let own = name.to_string();
    let is_own = |link: &Json| link.get("other").and_then(|other| other.text("reference")) == Some(own.as_str());
    if name.kind.as_str() != "Patient" || !json.get("link").map_or(&[][..], Json::items).iter().any(is_own) {
        return Ok(());
    }
    let text = "a patient cannot be linked to the very same record: both numbers of the merge name one patient";
    Err(IngestError::Invalid(vec![Issue::at("invariant", "Patient.link", text)]))
}

/// What references are resolved by.
#[derive(Clone, Copy)]
pub(super) struct Links<'a> {
    /// Whose conditions they are.
    pub(super) by: &'a Author,
    /// What the entries call each other.
    pub(super) by_url: &'a HashMap<String, String>,
}

/// What a version holds.
enum Content {
    Resource(Json, Made, Kind),
    /// A deletion, sealed like what it deletes.
    Nothing(Owner),
}

impl Group<'_> {
    pub(super) async fn write_one(
        &mut self,
        rights: &Rights,
        act: Act,
        goal: Goal,
        links: Links<'_>,
        raw: Option<Digest>,
        stage: &mut Stage,
    ) -> Result<Done, IngestError> {
        let (found, new) = (matches!(goal, Goal::Found(_)), matches!(goal, Goal::New(_)));
        let Some(name) = goal.into_name() else { return Ok(Done::Nothing) };
        let newest = if new { None } else { self.newest(&name).await? };
        if !self.is_shown(rights, &name, newest.as_ref()).await? {
            return withheld(&act);
        }
        rights.hold(&name, newest.as_ref(), &self.around())?;
        if let (true, Some(newest)) = (found, &newest) {
            if let Some(permit) = rights.reads() {
                permit.seen().shows(self.seen_as(&name, newest));
            }
            return Ok(unchanged(name, newest));
        }
        rights.only_grows(&name, newest.as_ref())?;
        check_match(&act, newest.as_ref())?;
        let old = newest.as_ref().and_then(|newest| newest.resource.as_ref());
        let verb = verb(&act, newest.is_some());
        let mut json = match act {
            Act::Delete { .. } => {
                rights.hold_deletion(&name, newest.as_ref())?;
                return self.delete(name, newest, stage).await;
            }
            Act::Create { resource, .. } | Act::Update { resource, .. } => {
                self.with_references(resource.into_json(), links).await?
            }
            Act::Patch { patch, .. } => match (self.patched(old, &patch, links).await, rights.reads(), &newest) {
                // Its tests have told him something of what is there.
                (Err(error), Some(permit), Some(newest)) => {
                    self.seen_as(&name, newest).into_iter().for_each(|one| permit.seen().withholds(one));
                    return Err(error);
                }
                (patched, ..) => patched?,
            },
            Act::Recognise { resource, deleted, weak, gaps, .. } => {
                let news = self.with_references(resource.into_json(), links).await?;
                match self.merged(&name, old, news, &deleted, weak, &gaps).await? {
                    Some(merged) => {
                        self.notice_newer(&name, newest.as_ref(), stage);
                        merged
                    }
                    None => return Ok(newest.as_ref().map_or(Done::Nothing, |newest| unchanged(name, newest))),
                }
            }
        };
        not_its_own(&json, &name)?;
        let (version, created) = next(newest.as_ref());
        if rights.keeps_labels() {
            self.keep_labels(&mut json, &name, newest.as_ref()).await?;
        }
        stamp(&mut json, &name, version, self.now);
        rights.hold_new(&name, &json, newest.as_ref(), &self.around())?;
        let made = Made { by: verb, created };
        // What this service itself tells of accesses has log entries of a kind of its own: no client can write what looks like it.
        let is_access = rights.is_service() && is_trail(name.kind);
        let kind = match is_access {
            true if tells_of_emergency(&json) => Kind::Emergency,
            true => Kind::Access,
            false => Kind::Resource,
        };
        let content = Content::Resource(json, made, kind);
        let resource = self.seal_version(content, &name, version, raw, stage).await?;
        Ok(Done::Written(Written { name, version, created, updated: self.now, resource }))
    }

    /// Labels of the version before; where it was deleted in between, of the one before that: who deletes and writes again takes none away.
    async fn keep_labels(&self, json: &mut Json, name: &Name, newest: Option<&Newest>) -> Result<(), IngestError> {
        let gone = match newest {
            Some(Newest { version, resource: None, .. }) => self.before(name, *version).await?,
            _ => None,
        };
        if let Some(old) = newest.and_then(|newest| newest.resource.as_ref()).or(gone.as_ref()) {
            keep_labels(json, old);
        }
        Ok(())
    }

    /// Notes what came after a message that is replayed, and would be written over. What the message itself wrote did not.
    fn notice_newer(&self, name: &Name, newest: Option<&Newest>, stage: &mut Stage) {
        let own = self.fresh.resources.contains_key(name);
        if let (Some(since), Some(newest), false) = (stage.since, newest, own)
            && newest.updated > since
        {
            stage.newer.push(format!("{name}/_history/{}", newest.version));
        }
    }

    /// Who patches a resource, or finds one by a condition, learns what is in it: it must be one that its patient lets him see. So must
    /// what somebody changes or deletes in his own name.
    async fn is_shown(&self, rights: &Rights, name: &Name, newest: Option<&Newest>) -> Result<bool, IngestError> {
        let old = newest.and_then(|newest| newest.resource.as_ref());
        let (Some(permit), Some(newest), Some(old)) = (rights.asks(), newest, old) else { return Ok(true) };
        let is_shown = self.core.consents_to(permit, name, old).await?;
        if !is_shown {
            self.seen_as(name, newest).into_iter().for_each(|one| permit.seen().withholds(one));
        }
        Ok(is_shown)
    }

    /// A resource that is there, as it is told of.
    fn seen_as(&self, name: &Name, newest: &Newest) -> Option<(Owner, Name, Version)> {
        let owner = owner(name, newest.resource.as_ref()?, &self.core.base);
        Some((owner, name.clone(), newest.version))
    }

    /// What comparisons need to know.
    fn around(&self) -> Surroundings<'_> {
        self.core.around_at(self.now * 1_000)
    }

    /// The resource that is there, patched; what comes out is validated like anything that comes in.
    async fn patched(&self, old: Option<&Json>, patch: &Patch, links: Links<'_>) -> Result<Json, IngestError> {
        let patched = patch.apply(old.unwrap_or(&Json::Null)).map_err(|issue| IngestError::Invalid(vec![issue]))?;
        // What is stored has none: it came with the patch, and nobody asked whether its sender may search there.
        if references::has_conditional(&patched) {
            let text = "a patch cannot bring a conditional reference";
            return Err(IngestError::Invalid(vec![Issue::new("not-supported", text)]));
        }
        let patched = self.with_references(patched, links).await?;
        Ok(validate(patched).map_err(IngestError::Invalid)?.into_json())
    }

    /// What a message makes of the resource that is there, or nothing where it says nothing new.
    async fn merged(
        &self,
        name: &Name,
        old: Option<&Json>,
        news: Json,
        deleted: &[&str],
        weak: bool,
        gaps: &[&str],
    ) -> Result<Option<Json>, IngestError> {
        let Some(old) = old else { return Ok(Some(news)) };
        self.same_patient(name, old, &news).await?;
        let merged = merge::news(old, news, deleted, weak, gaps);
        Ok((without_meta(&merged) != without_meta(old)).then_some(merged))
    }

    /// A deletion is a version without content. Deleting twice is deleting once.
    async fn delete(&mut self, name: Name, newest: Option<Newest>, stage: &mut Stage) -> Result<Done, IngestError> {
        let Some(newest) = newest else { return Ok(Done::Nothing) };
        let Some(old) = newest.resource else {
            return Ok(Done::Deleted(Deleted { name, version: newest.version, updated: newest.updated }));
        };
        let version = newest.version.next();
        self.seal_version(Content::Nothing(owner(&name, &old, &self.core.base)), &name, version, None, stage).await?;
        if let Some(pending) = self.fresh.resources.get_mut(&name) {
            pending.gone = Some(Arc::new(old.compact()));
        }
        Ok(Done::Deleted(Deleted { name, version, updated: self.now }))
    }

    /// A visit or result does not change its patient, but for a merge: a number used twice must not move one person's record
    /// to another.
    async fn same_patient(&self, name: &Name, old: &Json, new: &Json) -> Result<(), IngestError> {
        let base = &self.core.base;
        let (before, after) = (membership::keeper(name, old, base), membership::keeper(name, new, base));
        let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
        // Of several, such as those who come to an appointment, it is enough that the one of before is among them.
        if membership::of(name, new, base).contains(&before)
            || before == after
            || self.was_merged(&before, &after).await?
        {
            return Ok(());
        }
        let text = "the visit, order or result number belongs to another patient already";
        Err(IngestError::Conflict(Issue::new("conflict", text)))
    }

    async fn was_merged(&self, from: &Name, into: &Name) -> Result<bool, IngestError> {
        let Some(patient) = self.current(from).await? else { return Ok(false) };
        let links = patient.get("link").map_or(&[][..], Json::items);
        let leads = |link: &Json| {
            let other = link.get("other").and_then(|other| other.text("reference"));
            other.and_then(|text| Name::parse(normal(text, &self.core.base))).as_ref() == Some(into)
        };
        Ok(links.iter().any(|link| link.text("type") == Some("replaced-by") && leads(link)))
    }

    /// The resource with the references that its sender left to be resolved.
    async fn with_references(&self, mut json: Json, links: Links<'_>) -> Result<Json, IngestError> {
        let Links { by, by_url } = links;
        let mut conditional = Vec::new();
        references::rename(&mut json, by_url);
        references::rewrite(&mut json, &mut |reference| {
            if conditional_reference(reference).is_some() {
                conditional.push(reference.to_owned());
            }
            Ok::<_, IngestError>(by_url.get(reference).cloned())
        })?;
        if let Some(path) = references::unresolved(&json) {
            let text = "refers to an entry by its fullUrl, and there is no such entry";
            return Err(IngestError::Invalid(vec![Issue::at("not-found", &path, text)]));
        }
        let mut found: HashMap<String, String> = HashMap::new();
        for reference in conditional {
            let Some((kind, criteria)) = conditional_reference(&reference) else { continue };
            let criteria = criteria.map_err(|issue| IngestError::Invalid(vec![issue]))?;
            let name = self.one_match(by, kind, &criteria).await?.shown.ok_or_else(|| {
                IngestError::Precondition(Issue::new("not-found", "a conditional reference matches no resource"))
            })?;
            found.insert(reference, name.to_string());
        }
        if !found.is_empty() {
            references::rewrite(&mut json, &mut |reference| Ok::<_, IngestError>(found.get(reference).cloned()))?;
        }
        Ok(json)
    }

    async fn seal_version(
        &mut self,
        content: Content,
        name: &Name,
        version: Version,
        raw: Option<Digest>,
        stage: &mut Stage,
    ) -> Result<Arc<Vec<u8>>, IngestError> {
        let (resource, owner, made, kind, blinded) = match &content {
            Content::Resource(json, made, kind) => {
                let blinded = self.core.tokens.blind(name.kind, json, &self.core.base);
                (json.canonical(), owner(name, json, &self.core.base), Some(*made), *kind, blinded)
            }
            Content::Nothing(owner) => (Vec::new(), owner.clone(), None, Kind::Tombstone, Blinded::default()),
        };
        let salt = Salt(bytes(&system_random).map_err(VaultError::from)?);
        let subject = Subject {
            custodian: &self.core.custodian,
            reference: &name.to_string(),
            version: &version.to_string(),
            canonical: Digest::of(&resource),
            raw,
        };
        let entry = Entry { kind, commitment: Commitment::new(&salt, &subject) };
        let label = Label {
            kind: RecordKind::Resource,
            type_name: name.kind.as_str().to_owned(),
            id: name.id.clone(),
            version,
            owner,
        };
        let plain = crate::read::Plain { salt, raw, made, resource };
        let record = self.sealed(label, &plain.to_bytes(), Some(entry.to_bytes().to_vec())).await?;
        let deleted = kind == Kind::Tombstone;
        self.fresh.marks.entry(name.kind).or_default().push((name.clone(), blinded.marks.clone()));
        stage.records.push((record, deleted, blinded));
        let resource = Arc::new(plain.resource);
        let current = (!deleted).then(|| resource.clone());
        let pending = Pending { version, updated: self.now, resource: current, gone: None };
        self.fresh.resources.insert(name.clone(), pending);
        Ok(resource)
    }

    pub(super) async fn sealed(
        &mut self,
        label: Label,
        plain: &[u8],
        entry: Option<Vec<u8>>,
    ) -> Result<Record, IngestError> {
        let key = self.key(&label.owner).await?;
        let sealed = seal(&key, &self.core.custodian, label, plain, &system_random).map_err(|source| {
            VaultError::Seal { pack: "(being filled)".into(), offset: self.pack.len() as u64, source }
        })?;
        Ok(Record { sealed, time: self.now, entry, claims: Vec::new() })
    }

    async fn key(&mut self, owner: &Owner) -> Result<Key, VaultError> {
        if self.core.keys.is_destroyed(owner) {
            return Err(VaultError::Erased);
        }
        if let Some((key, _)) = self.known(|seen| seen.keys.get(owner)) {
            return Ok(key.clone());
        }
        if let Some(key) = self.core.stored_key(owner).await? {
            return Ok(key);
        }
        let (key, wrapped) = self.core.keys.newest().await?.generate(owner, &system_random)?;
        self.fresh.keys.insert(owner.clone(), (key.clone(), wrapped));
        Ok(key)
    }
}

/// Whose key seals a resource: its patient's, else the custodian's.
pub(super) fn owner(name: &Name, json: &Json, base: &str) -> Owner {
    membership::keeper(name, json, base).map_or_else(Owner::custodian, |patient| Owner::patient(&patient.id))
}

fn check_match(act: &Act, newest: Option<&Newest>) -> Result<(), IngestError> {
    if let Act::Patch { .. } = act {
        there(newest)?;
    }
    let target = match act {
        Act::Update { target, .. } | Act::Patch { target, .. } | Act::Delete { target } => target,
        Act::Create { .. } | Act::Recognise { .. } => return Ok(()),
    };
    let failed = |text| Err(IngestError::Precondition(Issue::new("conflict", text)));
    if target.only_new && newest.is_some_and(|newest| newest.resource.is_some()) {
        return failed("If-None-Match: the resource is there already");
    }
    match target.if_match {
        Some(expected) if newest.map(|n| n.version) != Some(expected) => {
            failed("If-Match names another version than the current one")
        }
        _ => Ok(()),
    }
}

/// What a history will say of it; a message creates and updates like a client without ids of its own.
fn verb(act: &Act, exists: bool) -> Verb {
    match act {
        Act::Create { .. } => Verb::Post,
        Act::Recognise { .. } if !exists => Verb::Post,
        Act::Update { .. } | Act::Recognise { .. } | Act::Delete { .. } => Verb::Put,
        Act::Patch { .. } => Verb::Patch,
    }
}

/// How a write ends whose target is withheld: as if it were not there, where that is possible.
fn withheld(act: &Act) -> Result<Done, IngestError> {
    match act {
        Act::Delete { target: Target { by: By::Id(_), .. } } => Ok(Done::Nothing),
        Act::Patch { target: Target { by: By::Id(_), .. }, .. } => there(None).map(|()| Done::Nothing),
        Act::Update { target: Target { by: By::Id(_), .. }, .. } => {
            Err(IngestError::Forbidden(Issue::new("forbidden", "what stands under this id is not for you")))
        }
        _ => {
            let text = "the condition finds a resource that is not for you";
            Err(IngestError::Precondition(Issue::new("conflict", text)))
        }
    }
}

/// A patch needs something to change.
fn there(newest: Option<&Newest>) -> Result<(), IngestError> {
    match newest {
        None => Err(IngestError::NotFound(Issue::new("not-found", "there is no such resource"))),
        Some(Newest { resource: None, .. }) => {
            Err(IngestError::Gone(Issue::new("deleted", "the resource was deleted")))
        }
        Some(_) => Ok(()),
    }
}

/// The version after the newest one, and whether the resource comes into being with it.
fn next(newest: Option<&Newest>) -> (Version, bool) {
    newest.map_or((Version(1), true), |n| (n.version.next(), n.resource.is_none()))
}

fn unchanged(name: Name, newest: &Newest) -> Done {
    let resource = Arc::new(newest.resource.as_ref().map_or(Vec::new(), Json::canonical));
    Done::Written(Written { name, version: newest.version, created: false, updated: newest.updated, resource })
}

fn without_meta(json: &Json) -> Vec<u8> {
    let mut copy = json.clone();
    copy.remove("meta");
    copy.remove("id");
    copy.canonical()
}

/// What is labelled stays so (R4, security labels): what patients withhold by a label would be shown without it.
fn keep_labels(json: &mut Json, old: &Json) {
    let labels =
        |json: &Json| json.get("meta").and_then(|meta| meta.get("security")).map_or(&[][..], Json::items).to_vec();
    let mut all = labels(json);
    let lost: Vec<Json> =
        labels(old).into_iter().filter(|one| !all.iter().any(|there| there.canonical() == one.canonical())).collect();
    if lost.is_empty() {
        return;
    }
    all.extend(lost);
    let mut meta = json.remove("meta").unwrap_or(Json::Object(Vec::new()));
    meta.set("security", Json::Array(all));
    json.set("meta", meta);
}

/// Puts in what the server decides: id, version and time.
fn stamp(json: &mut Json, name: &Name, version: Version, now: i64) {
    let time = jiff::Timestamp::from_millisecond(now).unwrap_or_default();
    json.set("id", name.id.as_str().into());
    let mut meta = json.remove("meta").unwrap_or(Json::Object(Vec::new()));
    meta.set("versionId", version.to_string().as_str().into());
    meta.set("lastUpdated", instant(time).as_str().into());
    json.set("meta", meta);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::write::{By, Target};
    use crate::ids::{ResourceId, TypeName};

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_record_belongs_to_its_patient_or_to_the_custodian() {
        let owner =
            |name: &str, text: &str| owner(&Name::parse(name).unwrap(), &json(text), "http://h").as_str().to_owned();
        assert_eq!(owner("Patient/p", "{}"), "Patient/p");
        assert_eq!(owner("Observation/o", r#"{"subject":{"reference":"Patient/p"}}"#), "Patient/p");
        assert_eq!(owner("Observation/o", r#"{"subject":{"reference":"Group/g"}}"#), ".custodian");
        assert_eq!(owner("Organization/o", "{}"), ".custodian");
        let absolute = r#"{"subject":{"reference":"http://h/Patient/p"}}"#;
        assert_eq!(owner("Observation/o", absolute), "Patient/p", "whichever way it is written");
        let visit = r#"{"participant":[{"actor":{"reference":"Location/l"}},{"actor":{"reference":"Patient/p"}}]}"#;
        assert_eq!(owner("Appointment/a", visit), "Patient/p", "wherever it is written");
        assert_eq!(owner("Binary/b", r#"{"securityContext":{"reference":"Patient/p"}}"#), "Patient/p");
    }

    #[test]
    fn the_server_decides_id_version_and_time_and_keeps_the_rest_of_meta() {
        let mut resource = json(r#"{"id":"x","meta":{"versionId":"9","profile":["http://p"]}}"#);
        stamp(&mut resource, &Name::parse("Patient/p").unwrap(), Version(2), 0);
        let expected =
            r#"{"id":"p","meta":{"lastUpdated":"1970-01-01T00:00:00.000Z","profile":["http://p"],"versionId":"2"}}"#;
        assert_eq!(String::from_utf8(resource.canonical()).unwrap(), expected);
    }

    #[test]
    fn if_match_holds_the_version() {
        let target = Target {
            kind: TypeName::parse("Patient").unwrap(),
            by: By::Id(ResourceId::parse("p").unwrap()),
            if_match: Some(Version(2)),
            only_new: false,
        };
        let act = Act::Delete { target };
        let newest = |n| Newest { version: Version(n), updated: 0, resource: None };
        assert!(check_match(&act, Some(&newest(2))).is_ok());
        assert!(check_match(&act, Some(&newest(3))).is_err() && check_match(&act, None).is_err());
    }
}
