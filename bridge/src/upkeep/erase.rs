//! Erasing a patient: the key that seals all that is his is destroyed in the index, beside the packs and in memory; the log gets
//! a tombstone; what leads to his rows goes. What was sealed stays where it lies and can be opened by nobody.

use super::key_objects::{self, Walk};
use crate::app::keep::Keep;
use crate::clock::instant;
use crate::error::VaultError;
use crate::ids::{Name, Owner, ResourceId, Version};
use crate::index::alone::Alone;
use crate::index::blind::Blinded;
use crate::index::erasures::Erasure;
use crate::index::store::{Batch, NewRecord, Place, StoreError};
use crate::read::in_background;
use crate::secret::{bytes, system_random};
use crate::vault::pack::{PackWriter, Record};
use crate::vault::seal::{Label, RecordKind, open_bytes, seal, seal_bytes};
use notary::commitment::{Digest, Entry, Salt};
use notary::erasure::{Erased, ErasedEntries};
use serde::{Deserialize, Serialize};

/// Rows that are emptied in one transaction: others wait for it.
const ROWS: usize = 200;
/// Where it is written beside the packs who was erased: recovery must not look for these keys.
pub const FOLDER: &str = "erasures/";
/// The type that the index gives to an erasure.
pub const TYPE: &str = "Erasure";

/// What is said of an erasure. Sealed wherever it is kept.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    pub time: String,
    pub reason: String,
    /// Opens the tombstone's commitment.
    salt: String,
    /// Hides the reason in it.
    reason_salt: String,
}

crate::redacted_debug!(Said);

/// What was erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub owner: Owner,
    pub time: String,
    /// Versions and messages.
    pub rows: usize,
    /// Objects that held the key.
    pub keys: usize,
    /// The patient had been erased before.
    pub before: bool,
}

/// How far an erasure has come, for who watches.
pub type Progress<'p> = &'p (dyn Fn(&str) + Sync);

/// Erases a patient. Cut short anywhere, it is finished by the next start of a service, or by asking again.
pub async fn erase(keep: &Keep, patient: &Name, reason: &str, tell: Progress<'_>) -> Result<Option<Done>, VaultError> {
    let alone = keep.alone().await?;
    let owner = Owner::patient(&patient.id);
    let before = keep.store.erasure(&owner)?;
    if before.is_none() && rows(keep, &owner).await?.is_empty() && keep.store.key(&owner)?.is_none() {
        return Ok(None);
    }
    let erasure = match &before {
        Some(erasure) => erasure.clone(),
        None => begin(keep, &owner, reason).await?,
    };
    // From here on nothing is committed under the key. A crash leaves an erasure that the next start finishes.
    let done = finish(&alone, keep, &erasure, tell).await?;
    Ok(Some(Done { before: before.is_some_and(|erasure| erasure.done), ..done }))
}

/// Finishes what a crash cut short. One that a command is at work on is that command's.
pub async fn finish_all(keep: &Keep) -> Result<(), VaultError> {
    if unfinished(keep)?.is_empty() {
        return Ok(());
    }
    match keep.alone().await {
        Err(VaultError::Upkeep) => Ok(()),
        alone => finish_each(&alone?, keep).await,
    }
}

/// The same, for who is alone at upkeep already.
pub(super) async fn finish_each(alone: &Alone, keep: &Keep) -> Result<(), VaultError> {
    for erasure in unfinished(keep)? {
        finish(alone, keep, &erasure, &|_| ()).await?;
        tracing::info!("an erasure was finished");
    }
    Ok(())
}

fn unfinished(keep: &Keep) -> Result<Vec<Erasure>, StoreError> {
    Ok(keep.store.erasures()?.into_iter().filter(|erasure| !erasure.done).collect())
}

/// Somebody who was erased by what lies beside the packs, while the index does not know it and has his key: it was put back from
/// before.
pub async fn come_back(keep: &Keep) -> Result<Option<Owner>, VaultError> {
    let mut walk = Walk::new(&keep.objects, FOLDER);
    while let Some(found) = walk.next().await? {
        let id = found.name.strip_prefix(FOLDER).and_then(ResourceId::parse);
        let Some(owner) = id.map(|id| Owner::patient(&id)) else { continue };
        if keep.store.erasure(&owner)?.is_none() && keep.store.key(&owner)?.is_some() {
            return Ok(Some(owner));
        }
    }
    Ok(None)
}

async fn begin(keep: &Keep, owner: &Owner, reason: &str) -> Result<Erasure, VaultError> {
    let now = keep.clock.now();
    let salt = || bytes::<32>(&system_random).map(hex::encode);
    let said = Said { time: instant(now), reason: reason.to_owned(), salt: salt()?, reason_salt: salt()? };
    // Strings alone: serialisation cannot fail.
    let sealed = seal_said(keep, owner, &serde_json::to_vec(&said).unwrap_or_default())?;
    let erasure = Erasure { owner: owner.clone(), time: now.as_millisecond(), sealed, done: false };
    let store = keep.store.clone();
    in_background(move || store.begin_erasure(&erasure)).await
}

async fn finish(alone: &Alone, keep: &Keep, erasure: &Erasure, tell: Progress<'_>) -> Result<Done, VaultError> {
    let owner = &erasure.owner;
    keep.keys.destroy(owner);
    let said = said(keep, erasure)?;
    let rows = rows(keep, owner).await?;
    tell("the tombstone");
    let pack = log_it(keep, erasure, &said, &rows).await?;
    // A crash here leaves the tombstone in the log and the key still there: the next start destroys it.
    note(keep, owner, &said.time, &pack).await?;
    tell("the key");
    let keys = key_objects::destroy(alone, &keep.objects, owner, || ()).await?;
    let (store, of) = (keep.store.clone(), owner.clone());
    in_background(move || store.destroy_key(&of)).await?;
    tell("the index");
    empty(keep, owner, &rows).await?;
    Ok(Done { owner: owner.clone(), time: said.time, rows: rows.len(), keys, before: false })
}

async fn empty(keep: &Keep, owner: &Owner, rows: &[i64]) -> Result<(), VaultError> {
    for some in rows.chunks(ROWS) {
        let (store, some) = (keep.store.clone(), some.to_vec());
        in_background(move || store.empty_rows(&some)).await?;
    }
    let (store, owner) = (keep.store.clone(), owner.clone());
    in_background(move || {
        store.forget_erased()?;
        store.forget_person(&owner)?;
        store.end_erasure(&owner)
    })
    .await
}

/// All rows that were sealed under an owner's key.
async fn rows(keep: &Keep, owner: &Owner) -> Result<Vec<i64>, VaultError> {
    let (store, token) = (keep.store.clone(), keep.tokens.owner(owner));
    in_background(move || store.owned(&token, 0, usize::MAX >> 1)).await
}

/// Seals what is said of an erasure for the index.
pub(super) fn seal_said(keep: &Keep, owner: &Owner, said: &[u8]) -> Result<Vec<u8>, VaultError> {
    let sealed = seal_bytes(&keep.erasures, &binding(owner), said, &system_random);
    Ok(sealed.map_err(|_| StoreError::Nonsense("an erasure that cannot be sealed"))?)
}

/// Opens what was said of an erasure.
pub fn said(keep: &Keep, erasure: &Erasure) -> Result<Said, VaultError> {
    let plain = open_bytes(&keep.erasures, &binding(&erasure.owner), &erasure.sealed).ok();
    let said = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
    Ok(said.ok_or(StoreError::Nonsense("an erasure"))?)
}

fn binding(owner: &Owner) -> Vec<u8> {
    [b"medseal/v1/erasure\0", owner.as_str().as_bytes()].concat()
}

/// The entries that an erasure closes.
pub fn closed(keep: &Keep, rows: &[i64]) -> Result<ErasedEntries, VaultError> {
    let entries = keep.store.entries_of(rows)?;
    Ok(ErasedEntries::new(entries).map_err(|_| StoreError::Nonsense("a tree of erased entries"))?)
}

impl Said {
    /// The salt of the tombstone's commitment.
    pub fn salt(&self) -> Salt {
        Salt(Digest::from_hex(&self.salt).map_or([0; 32], |digest| digest.0))
    }

    /// The salted hash of the reason.
    pub fn reason(&self) -> Digest {
        Digest::of(&[self.reason_salt.as_bytes(), self.reason.as_bytes()].concat())
    }

    /// The tombstone's entry.
    pub fn entry(&self, keep: &Keep, owner: &Owner, closed: &ErasedEntries) -> Result<Entry, VaultError> {
        let root = closed.root().map_err(|_| StoreError::Nonsense("a tree of erased entries"))?;
        let (custodian, time, reason) = (keep.custodian.as_str(), self.time.as_str(), self.reason());
        let erased = Erased { custodian, owner: owner.as_str(), time, reason, size: closed.size(), root };
        Ok(erased.entry(&self.salt()))
    }
}

/// The entry of the tombstone of a patient, by what was said of the erasure and the entries that it closed; nothing for what says
/// nothing.
pub fn entry_of(keep: &Keep, patient: &ResourceId, said: &[u8]) -> Result<Option<Entry>, VaultError> {
    let Ok(said) = serde_json::from_slice::<Said>(said) else { return Ok(None) };
    let owner = Owner::patient(patient);
    let rows = keep.store.owned(&keep.tokens.owner(&owner), 0, usize::MAX >> 1)?;
    Ok(Some(said.entry(keep, &owner, &closed(keep, &rows)?)?))
}

/// Puts the tombstone into a pack and the outbox, unless that was done before. Tells the pack.
async fn log_it(keep: &Keep, erasure: &Erasure, said: &Said, rows: &[i64]) -> Result<String, VaultError> {
    if let Some(pack) = keep.store.erasure_pack(&erasure.owner)? {
        return Ok(pack);
    }
    let entry = said.entry(keep, &erasure.owner, &closed(keep, rows)?)?;
    let id = patient(&erasure.owner).ok_or(StoreError::Nonsense("an erasure"))?;
    let own = Owner::from_stored(".erasures");
    let label = Label { kind: RecordKind::Erasure, type_name: TYPE.into(), id, version: Version(1), owner: own };
    let plain = serde_json::to_vec(said).unwrap_or_default();
    let sealed = seal(&keep.erasures, &keep.custodian, label, &plain, &system_random)
        .map_err(|_| StoreError::Nonsense("an erasure that cannot be sealed"))?;
    let entry = Some(entry.to_bytes().to_vec());
    loop {
        let time = erasure.time.max(keep.store.newest_time()?);
        let record = Record { sealed: sealed.clone(), time, entry: entry.clone(), claims: Vec::new() };
        match keep_record(keep, &record).await {
            // Somebody committed something newer meanwhile: rows and times grow together.
            Err(VaultError::Index(error))
                if matches!(error, StoreError::Conflict | StoreError::Stale)
                    && keep.store.erasure_pack(&erasure.owner)?.is_none() => {}
            done => return done,
        }
    }
}

async fn keep_record(keep: &Keep, record: &Record) -> Result<String, VaultError> {
    let name = format!("packs/{:013x}-{}", record.time, hex::encode(bytes::<8>(&system_random)?));
    let mut pack = PackWriter::default();
    let extent = pack.add(record);
    keep.objects.put_pack(&name, pack.finish(), vec![extent]).await?;
    // A crash here leaves a pack that nothing refers to.
    let label = &record.sealed.label;
    let new = NewRecord {
        type_name: label.type_name.clone(),
        id: label.id.clone(),
        version: label.version,
        place: Place { pack: name.clone(), extent },
        updated: record.time,
        deleted: false,
        blinded: Blinded::default(),
        entry: record.entry.clone(),
    };
    let store = keep.store.clone();
    let committed = in_background(move || store.commit(&Batch { records: vec![new], ..Batch::default() })).await;
    if let Err(VaultError::Index(error)) = &committed
        && error.is_refusal()
    {
        // Where this fails, it is one that nothing refers to: recovery leaves it out.
        _ = keep.objects.remove(&name).await;
    }
    committed.map(|()| name)
}

/// Writes beside the packs who was erased, so that recovery does not look for his key.
async fn note(keep: &Keep, owner: &Owner, time: &str, pack: &str) -> Result<(), VaultError> {
    let Some(id) = patient(owner) else { return Ok(()) };
    let text = serde_json::json!({"owner": owner.as_str(), "time": time, "pack": pack}).to_string();
    Ok(keep.objects.replace(&format!("{FOLDER}{id}"), text.into_bytes()).await?)
}

/// The patient whose key it is.
pub fn patient(owner: &Owner) -> Option<ResourceId> {
    owner.as_str().strip_prefix("Patient/").and_then(ResourceId::parse)
}
