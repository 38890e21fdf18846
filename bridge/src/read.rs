//! THE READ PATH. `authenticate -> decide -> index -> fetch -> open -> check against the leaf -> hold back what the permit is not
//! for -> reply`: whoever fetches holds a [`Permit`], which only `consent::decide` makes, and each resource that was opened is
//! held against it by [`Opened::is_for`], most of them by [`let_through`].

use crate::app::Core;
use crate::consent::decide::Permit;
use crate::error::VaultError;
use crate::fhir::search::criterion::Surroundings;
use crate::ids::{Name, Owner, Version};
use crate::index::history::{Of, Page};
use crate::index::store::{Place, Store, StoreError, Stored};
use crate::limits::MAX_PAGE_BYTES;
use crate::secret::Key;
use crate::vault::keys::{KeyError, KeyRing};
use crate::vault::objects::Part;
use crate::vault::pack::{Record, read_record};
use crate::vault::seal::{RecordKind, open};
use notary::canonical::Json;
use notary::commitment::{Digest, Entry, Kind, Salt, Subject};
use std::collections::HashMap;
use std::sync::Arc;

/// What is sealed in a record: the opening of its commitment, how it came to be, and the resource.
#[derive(Clone, PartialEq, Eq)]
pub struct Plain {
    pub salt: Salt,
    pub raw: Option<Digest>,
    /// None for a deletion, and in records from before it was kept.
    pub made: Option<Made>,
    pub resource: Vec<u8>,
}

/// How a version came to be (R4 3.1.0.14 wants a history to tell it).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    pub by: Verb,
    /// The resource was not there before.
    pub created: bool,
}

/// The interaction that makes a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Post = 1,
    Put = 2,
    Patch = 3,
}

/// A resource that was fetched, opened and checked.
#[derive(Clone)]
pub struct Opened {
    pub stored: Stored,
    /// Under whose key it is sealed.
    pub owner: Owner,
    pub salt: Salt,
    pub raw: Option<Digest>,
    pub made: Option<Made>,
    /// Of which kind its log entry is.
    pub kind: Kind,
    /// The canonical resource; nothing for a deletion.
    pub resource: Vec<u8>,
}

crate::redacted_debug!(Plain, Opened);

impl Made {
    fn to_bits(self) -> u8 {
        self.by as u8 | u8::from(self.created) << 2
    }

    /// None where nothing is said; an error where it is nonsense.
    fn from_bits(bits: u8) -> Option<Option<Self>> {
        let by = match bits & 3 {
            1 => Verb::Post,
            2 => Verb::Put,
            3 => Verb::Patch,
            _ => return (bits == 0).then_some(None),
        };
        (bits < 8).then_some(Some(Self { by, created: bits & 4 != 0 }))
    }
}

impl Plain {
    /// salt; a byte whose lowest bit says whether the raw digest follows, and whose next three how it came to be; the digest;
    /// the resource.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(65 + self.resource.len());
        out.extend(self.salt.0);
        out.push(u8::from(self.raw.is_some()) | self.made.map_or(0, Made::to_bits) << 1);
        out.extend(self.raw.iter().flat_map(|d| d.0));
        out.extend(&self.resource);
        out
    }

    /// Reads what `to_bytes` made.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (salt, rest) = bytes.split_first_chunk::<32>()?;
        let (flags, rest) = rest.split_first()?;
        let made = Made::from_bits(flags >> 1)?;
        let (raw, resource) = if flags & 1 == 0 {
            (None, rest)
        } else {
            let (digest, rest) = rest.split_first_chunk::<32>()?;
            (Some(Digest(*digest)), rest)
        };
        Some(Self { salt: Salt(*salt), raw, made, resource: resource.to_vec() })
    }
}

/// The current version, or the named one. What the permit is not for is not there; of a part of the resources an older version
/// is shown only where the current one is, too: one that was put right must not be seen as it was.
#[tracing::instrument(skip_all)]
pub async fn read(
    core: &Core,
    permit: &Permit,
    name: &Name,
    version: Option<Version>,
) -> Result<Option<Opened>, VaultError> {
    let shown = allowed(core, permit, name, version).await?;
    if shown.is_none()
        && !permit.shows_all()
        && let Ok(Some(there)) = opened(core, name, version).await
    {
        permit.seen().withholds(there.as_shown());
    }
    permit.seen().shows(shown.iter().map(Opened::as_shown));
    Ok(shown)
}

async fn allowed(
    core: &Core,
    permit: &Permit,
    name: &Name,
    version: Option<Version>,
) -> Result<Option<Opened>, VaultError> {
    if permit.shows_all() {
        return opened(core, name, version).await;
    }
    let current = for_permit(core, permit, name, None).await?;
    match (current, version) {
        (Some(_), version @ Some(_)) => for_permit(core, permit, name, version).await,
        (current, _) => Ok(current),
    }
}

/// A version that the permit is for. Whose an erased one was nobody can tell any more.
async fn for_permit(
    core: &Core,
    permit: &Permit,
    name: &Name,
    version: Option<Version>,
) -> Result<Option<Opened>, VaultError> {
    match opened(core, name, version).await {
        Err(VaultError::Erased) if !permit.is_whole() => Ok(None),
        opened => {
            let own = opened?.filter(|opened| opened.is_for(permit, &core.around()));
            Ok(core.consented(permit, own.into_iter().collect()).await?.pop())
        }
    }
}

async fn opened(core: &Core, name: &Name, version: Option<Version>) -> Result<Option<Opened>, VaultError> {
    let stored = if core.store.is_shared() {
        let (store, name) = (core.store.clone(), name.clone());
        in_background(move || row(&store, &name, version)).await?
    } else {
        // One row of an index on this machine: to hand that to another thread costs several times as much.
        row(&core.store, name, version)?
    };
    match stored {
        Some(stored) => core.open(&stored).await.map(Some),
        None => Ok(None),
    }
}

fn row(store: &Store, name: &Name, version: Option<Version>) -> Result<Option<Stored>, StoreError> {
    match version {
        Some(version) => store.version(name, version),
        None => store.current(name),
    }
}

/// The versions of a history's page, newest first.
#[derive(Debug)]
pub struct Versions {
    /// For one resource, how many there are on all pages: of all others nobody counts them, nor for who may see a part.
    pub total: Option<u64>,
    pub versions: Vec<Opened>,
    /// The last row that was looked at, where there are older ones.
    pub more: Option<i64>,
}

/// A page of a history. It may be shorter than asked: scanned documents end it early.
#[tracing::instrument(skip_all)]
pub async fn history(core: &Core, permit: &Permit, page: Page) -> Result<Versions, VaultError> {
    let store = core.store.clone();
    let limit = page.limit;
    let whole = permit.shows_all();
    let (total, stored) = in_background(move || {
        let counted = whole && matches!(page.of, Of::Resource(_));
        let total = if counted { Some(store.versions(&page)?) } else { None };
        // One more than is shown tells whether there is another page.
        Ok((total, store.history(&Page { limit: limit + 1, ..page })?))
    })
    .await?;
    let (versions, looked_at) = open_page(core, &stored[..stored.len().min(limit)]).await?;
    let last = looked_at.checked_sub(1).and_then(|last| stored.get(last)).map(|last| last.row);
    let more = last.filter(|_| looked_at < stored.len());
    let versions = let_through(core, permit, versions).await?;
    permit.seen().shows(versions.iter().map(Opened::as_shown));
    Ok(Versions { total, versions, more })
}

/// Holds back of opened resources what a permit is not for, and what their patients do not consent to. Of a part of the resources an older version, which a page of a search
/// that began before or a history may hold, is let through only where the current one is, too.
pub(crate) async fn let_through(
    core: &Core,
    permit: &Permit,
    mut opened: Vec<Opened>,
) -> Result<Vec<Opened>, VaultError> {
    let around = core.around();
    opened.retain(|one| one.is_for(permit, &around));
    if permit.shows_all() || opened.is_empty() {
        return Ok(opened);
    }
    let (store, rows) = (core.store.clone(), opened.iter().map(|one| one.stored.row).collect::<Vec<_>>());
    let old = in_background(move || store.superseded(&rows)).await?;
    let mut held: HashMap<Name, bool> = HashMap::new();
    for one in opened.iter().filter(|one| old.contains(&one.stored.row)) {
        let name = &one.stored.name;
        if !held.contains_key(name) {
            held.insert(name.clone(), for_permit(core, permit, name, None).await?.is_none());
        }
    }
    opened.retain(|one| held.get(&one.stored.name) != Some(&true));
    Box::pin(core.consented(permit, opened)).await
}

/// The first ones, as many as make a page, and how many were looked at.
async fn open_page(core: &Core, stored: &[Stored]) -> Result<(Vec<Opened>, usize), VaultError> {
    core.fetch_ahead(stored).await;
    let (mut opened, mut bytes) = (Vec::new(), 0);
    for (n, one) in stored.iter().enumerate() {
        if bytes > MAX_PAGE_BYTES {
            return Ok((opened, n));
        }
        let Some(next) = core.open_unless_erased(one).await? else { continue };
        bytes += next.resource.len();
        opened.push(next);
    }
    Ok((opened, stored.len()))
}

impl Opened {
    /// Whether a permit is for it: asked of every resource before anything of it is shown. A deletion says nothing of whose it
    /// was, and is for those alone who may see everything.
    pub fn is_for(&self, permit: &Permit, around: &Surroundings<'_>) -> bool {
        permit.is_whole() || (!self.stored.deleted && permit.covers(&self.stored.name, &self.json(), around))
    }

    /// What is told of it where it is shown.
    pub fn as_shown(&self) -> (Owner, Name, Version) {
        (self.owner.clone(), self.stored.name.clone(), self.stored.version)
    }

    /// The resource as JSON.
    pub fn json(&self) -> Json {
        // It was canonical JSON when it was sealed, and its seal held.
        Json::parse(&self.resource).unwrap_or(Json::Null)
    }
}

fn part(stored: &Stored) -> Part {
    let extent = stored.place.extent;
    Part { name: stored.place.pack.clone(), offset: extent.offset, length: extent.length as usize }
}

/// Runs index work beside the network threads.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, VaultError> {
    let joined = tokio::task::spawn_blocking(work).await;
    match joined {
        Ok(result) => Ok(result?),
        Err(_) => Err(StoreError::Nonsense("index work was cut short").into()),
    }
}

/// Whether a log entry commits to a version and its content.
fn commits(custodian: &str, of: (&Name, Version), content: (&Salt, Option<Digest>, &[u8]), entry: &Entry) -> bool {
    let (salt, raw, resource) = content;
    let (reference, version, canonical) = (of.0.to_string(), of.1.to_string(), Digest::of(resource));
    let subject = Subject { custodian, reference: &reference, version: &version, canonical, raw };
    entry.commitment.opens(salt, &subject)
}

/// Whether what was sealed opens a log entry.
pub(crate) fn opens(custodian: &str, name: &Name, version: Version, plain: &Plain, entry: &Entry) -> bool {
    commits(custodian, (name, version), (&plain.salt, plain.raw, &plain.resource), entry)
}

/// Fetching and opening; also the write path's way to see what it changes.
impl Core {
    /// What comparisons need to know.
    pub(crate) fn around(&self) -> Surroundings<'_> {
        self.around_at(self.clock.now().as_microsecond())
    }

    /// The same at another moment, in microseconds since 1970.
    pub(crate) fn around_at(&self, now: i64) -> Surroundings<'_> {
        Surroundings { base: &self.base, now, labels: Some(&self.gate.labels) }
    }

    /// Fetches a version, opens it, and checks it against its log entry.
    pub(crate) async fn open(&self, stored: &Stored) -> Result<Opened, VaultError> {
        if stored.erased {
            return Err(VaultError::Erased);
        }
        let place = &stored.place;
        let at = |what| VaultError::Tampered { pack: place.pack.clone(), offset: place.extent.offset, what };
        let record = self.record(place).await?;
        let label = &record.sealed.label;
        let expected = (RecordKind::Resource, stored.name.kind.as_str(), &stored.name.id, stored.version);
        if (label.kind, label.type_name.as_str(), &label.id, label.version) != expected {
            return Err(at("another record lies at its place"));
        }
        let key = self.owner_key(&label.owner).await?;
        let plain = open(&key, &self.custodian, &record.sealed).map_err(|source| VaultError::Seal {
            pack: place.pack.clone(),
            offset: place.extent.offset,
            source,
        })?;
        let plain = Plain::from_bytes(&plain).ok_or_else(|| at("its content is of no known form"))?;
        let Plain { salt, raw, made, resource } = plain;
        let owner = label.owner.clone();
        if stored.entry.is_some() && stored.entry != record.entry {
            return Err(at("the log holds another entry for it"));
        }
        let unopened = "its content does not open its log entry";
        let Some(Ok(entry)) = record.entry.as_deref().map(Entry::from_bytes) else { return Err(at(unopened)) };
        if (entry.kind == Kind::Tombstone) != stored.deleted {
            return Err(at("its log entry and the index do not agree whether it is a deletion"));
        }
        let opened = Opened { stored: stored.clone(), owner, salt, raw, made, kind: entry.kind, resource };
        if self.matches_entry(&opened, &entry) { Ok(opened) } else { Err(at(unopened)) }
    }

    /// A record as it lies in its pack. One that is damaged where it is kept near is fetched again.
    async fn record(&self, place: &Place) -> Result<Record, VaultError> {
        let (pack, offset, length) = (&place.pack, place.extent.offset, place.extent.length as usize);
        let mut read = read_record(&self.objects.read(pack, offset, length).await?);
        if read.is_err() && self.objects.forget(pack, offset, length) {
            read = read_record(&self.objects.read(pack, offset, length).await?);
        }
        read.map_err(|source| VaultError::Pack { pack: pack.clone(), offset, source })
    }

    /// The same; nothing for what was erased since it was found.
    pub(crate) async fn open_unless_erased(&self, stored: &Stored) -> Result<Option<Opened>, VaultError> {
        match self.open(stored).await {
            Err(VaultError::Erased) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Fetches together what will be opened next.
    pub(crate) async fn fetch_ahead(&self, rows: &[Stored]) {
        self.objects.read_ahead(rows.iter().map(part).collect()).await;
    }

    /// Whether an opened resource is the one that a log entry commits to.
    pub(crate) fn matches_entry(&self, opened: &Opened, entry: &Entry) -> bool {
        let Opened { stored, salt, raw, resource, .. } = opened;
        commits(&self.custodian, (&stored.name, stored.version), (salt, *raw, resource), entry)
    }

    pub(crate) async fn owner_key(&self, owner: &Owner) -> Result<Key, VaultError> {
        owner_key(&self.keys, &self.store, owner).await
    }
}

/// An owner's data key, from memory or unwrapped.
pub(crate) async fn owner_key(keys: &KeyRing, store: &Arc<Store>, owner: &Owner) -> Result<Key, VaultError> {
    if keys.is_destroyed(owner) {
        return Err(VaultError::Erased);
    }
    if let Some(key) = keys.cached(owner) {
        return Ok(key);
    }
    let (store, wanted) = (store.clone(), owner.clone());
    let wrapped = in_background(move || store.key(&wanted)).await?;
    let wrapped = wrapped.ok_or_else(|| KeyError::NoKey { owner: owner.as_str().to_owned() })?;
    Ok(keys.unwrap(owner, &wrapped).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_read_back_and_odd_bytes_are_refused() {
        let verbs = [Verb::Post, Verb::Put, Verb::Patch];
        let mades = verbs.into_iter().flat_map(|by| [true, false].map(|created| Some(Made { by, created })));
        for made in mades.chain([None]) {
            for raw in [None, Some(Digest([9; 32]))] {
                let plain = Plain { salt: Salt([3; 32]), raw, made, resource: b"{}".to_vec() };
                assert_eq!(Plain::from_bytes(&plain.to_bytes()), Some(plain));
            }
        }
        let old = [[3; 32].as_slice(), &[0], b"{}"].concat();
        assert_eq!(Plain::from_bytes(&old).map(|plain| plain.made), Some(None), "from before it was kept");
        assert_eq!(Plain::from_bytes(&[0; 32]), None);
        assert_eq!(Plain::from_bytes(&[8; 40]), None, "created, and by nothing");
        assert_eq!(Plain::from_bytes(&[16; 40]), None, "an unknown flag");
        assert_eq!(Plain::from_bytes(&[1; 40]), None, "half a digest");
    }
}
