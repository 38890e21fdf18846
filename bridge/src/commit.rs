//! Group commit. One committer takes all transactions that wait, resolves them in order, writes ONE pack and then ONE
//! database transaction, and only then answers each sender. While a pack is being written the next group gathers.

use crate::app::Core;
use crate::clock::instant;
use crate::error::{IngestError, Issue, VaultError};
use crate::fhir::bundle::{Criteria, How, Write, conditional_reference};
use crate::fhir::{merge, references};
use crate::ids::{Name, Owner, ResourceId, TypeName, Version};
use crate::index::store::{Batch, NewRecord, Place};
use crate::index::tokens::{Identifier, Term, Token, patient_ids};
use crate::limits::{MAX_GROUP, MAX_GROUP_BYTES, MAX_QUERY_VALUES};
use crate::secret::{Key, bytes, system_random};
use crate::vault::keys::Wrapped;
use crate::vault::pack::{PackWriter, Record};
use crate::vault::seal::{Label, RecordKind, seal};
use mappings::identity::Identity;
use notary::canonical::Json;
use notary::commitment::{Commitment, Digest, Entry, Kind, Salt, Subject};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// What is to be committed together: writes, and the message they came from.
#[derive(Debug)]
pub struct Transaction {
    pub writes: Vec<Write>,
    pub message: Option<RawMessage>,
}

/// A received message, to be kept as it was.
#[derive(Clone)]
pub struct RawMessage {
    /// The received bytes.
    pub bytes: Vec<u8>,
    /// What makes two messages the same: sender, MSH-10 and the hash of the content.
    pub sender: String,
    pub control_id: String,
}

/// What became of a transaction. It exists only once everything is durable.
#[derive(Debug, Clone)]
pub struct Committed {
    /// One for each write, in its order.
    pub written: Vec<Written>,
    /// Where the message is kept.
    pub message: Option<ResourceId>,
    /// The message had been taken before: nothing was stored again.
    pub duplicate: bool,
}

/// One resource after its write.
#[derive(Clone)]
pub struct Written {
    pub name: Name,
    pub version: Version,
    pub created: bool,
    /// Milliseconds since 1970.
    pub updated: i64,
    /// The canonical resource as stored.
    pub resource: Arc<Vec<u8>>,
}

crate::redacted_debug!(RawMessage, Written);

/// A waiting transaction and who waits for it.
pub struct Waiting {
    pub transaction: Transaction,
    pub reply: oneshot::Sender<Result<Committed, IngestError>>,
}

/// The committer's loop: ends when the last sender is gone and all that waited is committed.
pub async fn run(core: Arc<Core>, mut queue: mpsc::Receiver<Waiting>) {
    while let Some(first) = queue.recv().await {
        let mut group = vec![first];
        while group.len() < MAX_GROUP {
            match queue.try_recv() {
                Ok(next) => group.push(next),
                Err(_) => break,
            }
        }
        commit_group(&core, group).await;
    }
}

async fn commit_group(core: &Core, waiting: Vec<Waiting>) {
    let mut group = Group::new(core);
    let mut queue = waiting.into_iter();
    let mut done = Vec::new();
    for Waiting { transaction, reply } in queue.by_ref() {
        match group.add(transaction).await {
            Ok(committed) => done.push((reply, committed)),
            // Refused alone: it leaves no trace in the group. A sender that has gone needs no answer.
            Err(error) => _ = reply.send(Err(error)),
        }
        if group.pack.len() >= MAX_GROUP_BYTES {
            break;
        }
    }
    let outcome = group.write().await.map_err(Arc::new);
    match &outcome {
        Ok(()) => core.wake_sequencer.notify_one(),
        Err(error) => {
            tracing::error!(%error, transactions = done.len(), "a group was not stored: its senders may try again")
        }
    }
    for (reply, committed) in done {
        _ = reply.send(match &outcome {
            Ok(()) => Ok(committed),
            Err(error) => Err(IngestError::NotStored(error.clone())),
        });
    }
    let rest: Vec<Waiting> = queue.collect();
    if !rest.is_empty() {
        Box::pin(commit_group(core, rest)).await;
    }
}

/// The group being gathered: what its transactions did, visible to the later ones among them.
struct Group<'c> {
    core: &'c Core,
    pack_name: String,
    pack: PackWriter,
    batch: Batch,
    /// What earlier transactions of the group did, and what the present one has done so far.
    seen: Seen,
    fresh: Seen,
    /// Milliseconds since 1970; one time for the whole group.
    now: i64,
}

/// What the group's transactions have changed and the index does not know yet.
#[derive(Default)]
struct Seen {
    resources: HashMap<Name, (Version, Arc<Vec<u8>>)>,
    terms: HashMap<Token, Vec<Name>>,
    identities: HashMap<Token, Name>,
    messages: HashMap<Token, ResourceId>,
    keys: HashMap<Owner, (Key, Wrapped)>,
}

/// What one transaction adds, until all of it is known to be good.
#[derive(Default)]
struct Stage {
    records: Vec<(Record, Vec<Token>)>,
    identities: Vec<(Token, Name)>,
    stale: Vec<Token>,
    written: Vec<Written>,
    message: Option<(Token, ResourceId)>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.resources.extend(other.resources);
        self.identities.extend(other.identities);
        self.keys.extend(other.keys);
        for (token, names) in other.terms {
            self.terms.entry(token).or_default().extend(names);
        }
    }
}

impl<'c> Group<'c> {
    fn new(core: &'c Core) -> Self {
        let now = core.clock.now();
        let mut unique = [0; 8];
        // Names are unique by time and chance; without chance the write fails below, with a reason.
        let _ = system_random(&mut unique);
        let pack_name = format!("packs/{:013x}-{}", now.as_millisecond(), hex::encode(unique));
        Self {
            core,
            pack_name,
            pack: PackWriter::default(),
            batch: Batch::default(),
            seen: Seen::default(),
            fresh: Seen::default(),
            now: now.as_millisecond(),
        }
    }

    /// Resolves and seals one transaction. On an error the group is as it was before.
    async fn add(&mut self, transaction: Transaction) -> Result<Committed, IngestError> {
        let staged = self.stage(transaction).await;
        let fresh = std::mem::take(&mut self.fresh);
        let (stage, duplicate) = staged?;
        self.seen.add(fresh);
        Ok(self.keep(stage, duplicate))
    }

    async fn stage(&mut self, transaction: Transaction) -> Result<(Stage, bool), IngestError> {
        let mut stage = Stage::default();
        let raw = transaction.message.as_ref().map(|m| Digest::of(&m.bytes));
        if let (Some(message), Some(raw)) = (&transaction.message, raw) {
            let token = self.core.identity_token(&["message", &message.sender, &message.control_id, &raw.to_string()]);
            if let Some(id) = self.taken(&token)? {
                stage.message = Some((token, id));
                return Ok((stage, true));
            }
            stage.message = Some((token, self.new_id()?));
        }
        let names = self.resolve_all(&transaction.writes, &mut stage).await?;
        for (write, target) in transaction.writes.into_iter().zip(&names.targets) {
            let written = self.write_one(write, target, &names.by_url, raw, &mut stage).await?;
            stage.written.push(written);
        }
        if let Some(message) = transaction.message {
            self.seal_message(&message, &mut stage).await?;
        }
        Ok((stage, false))
    }

    fn keep(&mut self, stage: Stage, duplicate: bool) -> Committed {
        for (record, tokens) in stage.records {
            let label = record.sealed.label.clone();
            let extent = self.pack.add(&record);
            self.batch.records.push(NewRecord {
                type_name: label.type_name,
                id: label.id,
                version: label.version,
                place: Place { pack: self.pack_name.clone(), extent },
                updated: record.time,
                tokens,
                entry: record.entry,
            });
        }
        for token in &stage.stale {
            // An earlier transaction of the group may have made the claim that this one lets go.
            self.batch.identities.retain(|(t, _)| t != token);
        }
        self.batch.stale.extend(stage.stale);
        self.batch.identities.extend(stage.identities);
        if let (Some((token, id)), false) = (&stage.message, duplicate) {
            self.seen.messages.insert(*token, id.clone());
            self.batch.messages.push((*token, id.clone()));
        }
        Committed { written: stage.written, message: stage.message.map(|(_, id)| id), duplicate }
    }

    /// Makes the group durable: keys and pack first, then the index.
    async fn write(mut self) -> Result<(), VaultError> {
        if self.pack.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = self.seen.keys.iter().map(|(o, (_, w))| (o.clone(), w.clone())).collect();
        if !keys.is_empty() {
            let name = self.pack_name.replace("packs/", "keys/");
            self.core.objects.put(&name, key_object(&keys)).await?;
        }
        // A crash here leaves keys that nothing was sealed with.
        self.core.objects.put(&self.pack_name, self.pack.finish()).await?;
        // A crash here leaves a pack that nothing refers to; no sender was answered.
        self.batch.keys = keys;
        let (store, batch) = (self.core.store.clone(), self.batch);
        let committed = tokio::task::spawn_blocking(move || store.commit(&batch)).await;
        committed.map_err(|e| {
            VaultError::Object(crate::vault::objects::ObjectError::Io {
                name: "index".into(),
                source: std::io::Error::other(e),
            })
        })??;
        // A crash here leaves everything stored and some senders unanswered: they send again, and the messages are
        // recognised.
        for (owner, (key, _)) in self.seen.keys {
            self.core.keys.keep(owner, key);
        }
        Ok(())
    }

    fn taken(&self, token: &Token) -> Result<Option<ResourceId>, VaultError> {
        match self.seen.messages.get(token) {
            Some(id) => Ok(Some(id.clone())),
            None => Ok(self.core.store.taken(token)?),
        }
    }

    fn new_id(&self) -> Result<ResourceId, VaultError> {
        Ok(ResourceId::from_bytes(bytes(&system_random)?))
    }
}

/// Which resource each write means, and the names that entries call each other by.
struct Targets {
    targets: Vec<Target>,
    by_url: HashMap<String, String>,
}

#[derive(Clone)]
struct Target {
    name: Name,
    /// A conditional create that found its resource: nothing is written.
    found: bool,
}

/// Resolution: ids, conditional identities, references.
impl Group<'_> {
    async fn resolve_all(&mut self, writes: &[Write], stage: &mut Stage) -> Result<Targets, IngestError> {
        let mut targets: Vec<Target> = Vec::new();
        let mut by_url = HashMap::new();
        let mut taken: HashSet<Name> = HashSet::new();
        for (n, write) in writes.iter().enumerate() {
            let target = self.resolve(write, stage).await?;
            let from_message = matches!(write.how, How::Recognise { .. });
            let twice = !target.found && !taken.insert(target.name.clone());
            if twice && !from_message {
                return Err(IngestError::Conflict(Issue::at(
                    "duplicate",
                    &format!("Bundle.entry[{n}]"),
                    "another entry of the transaction is the same resource",
                )));
            }
            for url in write.full_url.iter().flat_map(|url| named_by(url)) {
                if by_url.insert(url, target.name.to_string()).is_some() {
                    let path = format!("Bundle.entry[{n}].fullUrl");
                    let text = "another entry has the same fullUrl";
                    return Err(IngestError::Conflict(Issue::at("duplicate", &path, text)));
                }
            }
            targets.push(target);
        }
        Ok(Targets { targets, by_url })
    }

    async fn resolve(&mut self, write: &Write, stage: &mut Stage) -> Result<Target, IngestError> {
        let kind = write.resource.kind();
        let (name, found) = match &write.how {
            How::Create { if_none_exist: None } => (Name { kind, id: self.new_id()? }, false),
            How::Create { if_none_exist: Some(criteria) } => match self.one_match(kind, criteria).await? {
                Some(name) => (name, true),
                None => (self.claim(kind, criteria, None, stage)?, false),
            },
            How::Update { id, .. } => (Name { kind, id: id.clone() }, false),
            How::ConditionalUpdate { criteria, .. } => match self.one_match(kind, criteria).await? {
                Some(name) => (name, false),
                None => {
                    let name = self.claim(kind, criteria, write.resource.json().text("id"), stage)?;
                    if self.current(&name).await?.is_some() {
                        let text =
                            "the condition matches nothing, and the resource's own id is taken by another resource";
                        return Err(IngestError::Conflict(Issue::new("duplicate", text)));
                    }
                    (name, false)
                }
            },
            How::Recognise { identity: None, .. } => (Name { kind, id: self.new_id()? }, false),
            How::Recognise { identity: Some(identity), .. } => (self.recognise(kind, identity, stage).await?, false),
        };
        Ok(Target { name, found })
    }

    /// A new resource for a condition; the claim on it makes a second one, elsewhere, impossible.
    fn claim(
        &mut self,
        kind: TypeName,
        criteria: &Criteria,
        id: Option<&str>,
        stage: &mut Stage,
    ) -> Result<Name, IngestError> {
        let id = match (criteria, id.and_then(ResourceId::parse)) {
            (Criteria::Id(id), _) => id.clone(),
            (_, Some(id)) => id,
            (_, None) => self.new_id()?,
        };
        let name = Name { kind, id };
        if let Criteria::Identifier(Identifier::Both(system, value)) = criteria {
            let identity =
                Identity::Identifier { system: Some(system.clone()), value: value.clone(), scope: String::new() };
            self.claim_token(self.identity_token(kind, &identity), &name, stage)?;
        }
        Ok(name)
    }

    fn claim_token(&mut self, token: Token, name: &Name, stage: &mut Stage) -> Result<(), IngestError> {
        match self.claimed(&token)? {
            Some(claimed) if claimed == *name => return Ok(()),
            // Its resource has lost the identifier, or the search would have found it: the claim is let go.
            Some(_) => stage.stale.push(token),
            None => {}
        }
        self.fresh.identities.insert(token, name.clone());
        stage.identities.retain(|(t, _)| *t != token);
        stage.identities.push((token, name.clone()));
        Ok(())
    }

    fn claimed(&self, token: &Token) -> Result<Option<Name>, VaultError> {
        match self.fresh.identities.get(token).or_else(|| self.seen.identities.get(token)) {
            Some(name) => Ok(Some(name.clone())),
            None => Ok(self.core.store.identity(token)?),
        }
    }

    fn identity_token(&self, kind: TypeName, identity: &Identity) -> Token {
        self.core.identity_token(&["identity", kind.as_str(), &identity.key()])
    }

    async fn recognise(&mut self, kind: TypeName, identity: &Identity, stage: &mut Stage) -> Result<Name, IngestError> {
        let token = self.identity_token(kind, identity);
        if let Some(name) = self.claimed(&token)?
            && self.still_bears(&name, identity).await?
        {
            return Ok(name);
        }
        // Somebody may have sent the same business identifier over FHIR.
        if let Identity::Identifier { system: Some(system), value, .. } = identity {
            let criteria = Criteria::Identifier(Identifier::Both(system.clone(), value.clone()));
            if let Some(name) = self.one_match(kind, &criteria).await? {
                self.claim_token(token, &name, stage)?;
                return Ok(name);
            }
        }
        let name = Name { kind, id: self.new_id()? };
        self.claim_token(token, &name, stage)?;
        Ok(name)
    }

    /// Whether a claimed resource has the identifier still: it may have been given to somebody else since.
    async fn still_bears(&self, name: &Name, identity: &Identity) -> Result<bool, IngestError> {
        let Identity::Identifier { system, value, .. } = identity else { return Ok(true) };
        let Some((_, json)) = self.current(name).await? else {
            // Claimed by an earlier entry of this very transaction: it is not written yet.
            return Ok(self.fresh.identities.values().any(|n| n == name));
        };
        let identifier = match system {
            Some(system) => Identifier::Both(system.clone(), value.clone()),
            None => Identifier::NoSystem(value.clone()),
        };
        Ok(Term::Identifier(identifier).matches(&json))
    }

    /// The only resource that a condition finds; several are an error (R4 3.1.0.8.1).
    async fn one_match(&self, kind: TypeName, criteria: &Criteria) -> Result<Option<Name>, IngestError> {
        let mut matches = match criteria {
            Criteria::Id(id) => {
                let name = Name { kind, id: id.clone() };
                if self.current(&name).await?.is_some() { vec![name] } else { Vec::new() }
            }
            Criteria::Identifier(identifier) => self.matches(kind, &Term::Identifier(identifier.clone())).await?,
        };
        if matches.len() > 1 {
            return Err(IngestError::Precondition(Issue::new(
                "multiple-matches",
                "the condition matches several resources",
            )));
        }
        Ok(matches.pop())
    }

    /// The resources that a term finds, checked on their opened content, including those of this group.
    async fn matches(&self, kind: TypeName, term: &Term) -> Result<Vec<Name>, IngestError> {
        let token = self.core.tokens.term(kind, term);
        let terms = vec![vec![token]];
        let query = crate::index::store::Query {
            kind,
            terms,
            ids: None,
            updated: Vec::new(),
            after: 0,
            limit: MAX_QUERY_VALUES,
        };
        let mut names: Vec<Name> =
            self.core.store.search(&query).map_err(VaultError::from)?.into_iter().map(|s| s.name).collect();
        for seen in [&self.seen, &self.fresh] {
            names.extend(seen.terms.get(&token).cloned().unwrap_or_default());
        }
        names.sort_by(|a, b| a.id.cmp(&b.id));
        names.dedup();
        let mut found = Vec::new();
        for name in names {
            if let Some((_, resource)) = self.current(&name).await?
                && term.matches(&resource)
            {
                found.push(name);
            }
        }
        Ok(found)
    }

    /// The newest version of a resource, as the group sees it.
    async fn current(&self, name: &Name) -> Result<Option<(Version, Json)>, IngestError> {
        let parse = |bytes: &[u8]| Json::parse(bytes).unwrap_or(Json::Null);
        let seen = self.fresh.resources.get(name).or_else(|| self.seen.resources.get(name));
        if let Some((version, bytes)) = seen {
            return Ok(Some((*version, parse(bytes))));
        }
        let Some(stored) = self.core.store.current(name).map_err(VaultError::from)? else { return Ok(None) };
        let opened = self.core.open(&stored).await?;
        Ok(Some((stored.version, parse(&opened.resource))))
    }
}

/// Writing: references, merge, version, seal.
impl Group<'_> {
    async fn write_one(
        &mut self,
        write: Write,
        target: &Target,
        by_url: &HashMap<String, String>,
        raw: Option<Digest>,
        stage: &mut Stage,
    ) -> Result<Written, IngestError> {
        let existing = self.current(&target.name).await?;
        if let (true, Some((version, json))) = (target.found, &existing) {
            return Ok(unchanged(&target.name, *version, json));
        }
        check_match(&write.how, existing.as_ref().map(|(v, _)| *v))?;
        let mut json = write.resource.into_json();
        self.rewrite_references(&mut json, by_url).await?;
        if let (How::Recognise { deleted, weak, .. }, Some((version, old))) = (&write.how, &existing) {
            self.same_patient(old, &json).await?;
            json = if *weak { merge::fill(old, &json) } else { merge::merge(old, &json, deleted) };
            if without_meta(&json) == without_meta(old) {
                return Ok(unchanged(&target.name, *version, old));
            }
        }
        let version = existing.map_or(Version(1), |(version, _)| version.next());
        stamp(&mut json, &target.name, version, self.now);
        self.seal_resource(json, &target.name, version, raw, stage).await
    }

    /// A visit or result does not change its patient, but for a merge: a number used twice must not move one person's record
    /// to another.
    async fn same_patient(&self, old: &Json, new: &Json) -> Result<(), IngestError> {
        let (before, after) = (patient_ids(old), patient_ids(new));
        let (Some(before), Some(after)) = (before.first(), after.first()) else { return Ok(()) };
        if before == after || self.was_merged(before, after).await? {
            return Ok(());
        }
        let text = "the visit, order or result number belongs to another patient already";
        Err(IngestError::Conflict(Issue::new("conflict", text)))
    }

    async fn was_merged(&self, from: &str, into: &str) -> Result<bool, IngestError> {
        let Some(name) = Name::parse(&format!("Patient/{from}")) else { return Ok(false) };
        let Some((_, patient)) = self.current(&name).await? else { return Ok(false) };
        let links = patient.get("link").map_or(&[][..], Json::items);
        let target = format!("Patient/{into}");
        Ok(links.iter().any(|l| {
            l.text("type") == Some("replaced-by") && l.get("other").and_then(|o| o.text("reference")) == Some(&target)
        }))
    }

    async fn rewrite_references(&self, json: &mut Json, by_url: &HashMap<String, String>) -> Result<(), IngestError> {
        let mut conditional = Vec::new();
        references::rewrite(json, &mut |reference| {
            if conditional_reference(reference).is_some() {
                conditional.push(reference.to_owned());
            }
            Ok::<_, IngestError>(by_url.get(reference).cloned())
        })?;
        if let Some(path) = references::unresolved(json) {
            let text = "refers to an entry by its fullUrl, and there is no such entry";
            return Err(IngestError::Invalid(vec![Issue::at("not-found", &path, text)]));
        }
        let mut found: HashMap<String, String> = HashMap::new();
        for reference in conditional {
            let Some((kind, criteria)) = conditional_reference(&reference) else { continue };
            let criteria = criteria.map_err(|issue| IngestError::Invalid(vec![issue]))?;
            let name = self.one_match(kind, &criteria).await?.ok_or_else(|| {
                IngestError::Precondition(Issue::new("not-found", "a conditional reference matches no resource"))
            })?;
            found.insert(reference, name.to_string());
        }
        references::rewrite(json, &mut |reference| Ok(found.get(reference).cloned()))
    }

    async fn seal_resource(
        &mut self,
        json: Json,
        name: &Name,
        version: Version,
        raw: Option<Digest>,
        stage: &mut Stage,
    ) -> Result<Written, IngestError> {
        let resource = json.canonical();
        let owner = owner(name, &json);
        let salt = Salt(bytes(&system_random).map_err(VaultError::from)?);
        let subject = Subject {
            custodian: &self.core.custodian,
            reference: &name.to_string(),
            version: &version.to_string(),
            canonical: Digest::of(&resource),
            raw,
        };
        let entry = Entry { kind: Kind::Resource, commitment: Commitment::new(&salt, &subject) };
        let plain = crate::read::Plain { salt, raw, resource }.to_bytes();
        let label = Label {
            kind: RecordKind::Resource,
            type_name: name.kind.as_str().to_owned(),
            id: name.id.clone(),
            version,
            owner: owner.clone(),
        };
        let tokens = self.core.tokens.tokens(name.kind, &json);
        let record = self.sealed(label, &plain, Some(entry.to_bytes().to_vec())).await?;
        stage.records.push((record, tokens.clone()));
        for token in tokens {
            self.fresh.terms.entry(token).or_default().push(name.clone());
        }
        let resource = Arc::new(json.canonical());
        self.fresh.resources.insert(name.clone(), (version, resource.clone()));
        Ok(Written { name: name.clone(), version, created: version == Version(1), updated: self.now, resource })
    }

    /// The message is sealed under the first patient that it speaks of, so that erasing the patient erases it.
    async fn seal_message(&mut self, message: &RawMessage, stage: &mut Stage) -> Result<(), IngestError> {
        let Some((_, id)) = stage.message.clone() else { return Ok(()) };
        let patient = stage.written.iter().find(|w| w.name.kind.as_str() == "Patient");
        let owner = patient.map_or_else(Owner::custodian, |w| Owner::patient(&w.name.id));
        let label = Label { kind: RecordKind::Message, type_name: "Message".into(), id, version: Version(1), owner };
        let record = self.sealed(label, &message.bytes, None).await?;
        stage.records.push((record, Vec::new()));
        Ok(())
    }

    async fn sealed(&mut self, label: Label, plain: &[u8], entry: Option<Vec<u8>>) -> Result<Record, IngestError> {
        let key = self.key(&label.owner)?;
        let sealed = seal(&key, &self.core.custodian, label, plain, &system_random).map_err(|source| {
            VaultError::Seal { pack: self.pack_name.clone(), offset: self.pack.len() as u64, source }
        })?;
        Ok(Record { sealed, time: self.now, entry })
    }

    fn key(&mut self, owner: &Owner) -> Result<Key, VaultError> {
        if let Some((key, _)) = self.fresh.keys.get(owner).or_else(|| self.seen.keys.get(owner)) {
            return Ok(key.clone());
        }
        if let Some(key) = self.core.stored_key(owner)? {
            return Ok(key);
        }
        let (key, wrapped) = self.core.keys.generate(owner, &system_random)?;
        self.fresh.keys.insert(owner.clone(), (key.clone(), wrapped));
        Ok(key)
    }
}

/// The references that mean an entry: its fullUrl, and for an address on some server what is relative to that (R4 2.36.4.1).
fn named_by(full_url: &str) -> Vec<String> {
    let mut parts = full_url.rsplit('/');
    let relative = match (parts.next(), parts.next()) {
        (Some(id), Some(kind)) if full_url.starts_with("http") => Name::parse(&format!("{kind}/{id}")),
        _ => None,
    };
    std::iter::once(full_url.to_owned()).chain(relative.map(|name| name.to_string())).collect()
}

/// The wrapped keys of a group, beside its pack: recovery needs nothing but both and the root key.
fn key_object(keys: &[(Owner, Wrapped)]) -> Vec<u8> {
    let map: serde_json::Map<String, serde_json::Value> =
        keys.iter().map(|(owner, wrapped)| (owner.as_str().to_owned(), hex::encode(&wrapped.0).into())).collect();
    serde_json::Value::Object(map).to_string().into_bytes()
}

/// Whose key seals a resource: the patient's that it is or speaks of, else the custodian's.
fn owner(name: &Name, json: &Json) -> Owner {
    if name.kind.as_str() == "Patient" {
        return Owner::patient(&name.id);
    }
    let patient = patient_ids(json).into_iter().find_map(|id| ResourceId::parse(&id));
    patient.map_or_else(Owner::custodian, |id| Owner::patient(&id))
}

fn check_match(how: &How, current: Option<Version>) -> Result<(), IngestError> {
    let expected = match how {
        How::Update { if_match, .. } | How::ConditionalUpdate { if_match, .. } => *if_match,
        _ => None,
    };
    match expected {
        Some(expected) if current != Some(expected) => Err(IngestError::Precondition(Issue::new(
            "conflict",
            "If-Match names another version than the current one",
        ))),
        _ => Ok(()),
    }
}

fn unchanged(name: &Name, version: Version, json: &Json) -> Written {
    let updated = json.get("meta").and_then(|m| m.text("lastUpdated")).and_then(|t| t.parse::<jiff::Timestamp>().ok());
    Written {
        name: name.clone(),
        version,
        created: false,
        updated: updated.map_or(0, jiff::Timestamp::as_millisecond),
        resource: Arc::new(json.canonical()),
    }
}

fn without_meta(json: &Json) -> Vec<u8> {
    let mut copy = json.clone();
    copy.remove("meta");
    copy.remove("id");
    copy.canonical()
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

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_record_belongs_to_its_patient_or_to_the_custodian() {
        let owner = |name: &str, text: &str| owner(&Name::parse(name).unwrap(), &json(text)).as_str().to_owned();
        assert_eq!(owner("Patient/p", "{}"), "Patient/p");
        assert_eq!(owner("Observation/o", r#"{"subject":{"reference":"Patient/p"}}"#), "Patient/p");
        assert_eq!(owner("Observation/o", r#"{"subject":{"reference":"Group/g"}}"#), ".custodian");
        assert_eq!(owner("Organization/o", "{}"), ".custodian");
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
        let how = How::Update { id: ResourceId::parse("p").unwrap(), if_match: Some(Version(2)) };
        assert!(check_match(&how, Some(Version(2))).is_ok());
        assert!(check_match(&how, Some(Version(3))).is_err() && check_match(&how, None).is_err());
    }
}
