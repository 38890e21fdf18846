//! One record of a pack, as recovery puts it into the index.

use super::Recovery;
use crate::ids::{Name, Owner, ResourceId};
use crate::index::blind::Blinded;
use crate::index::erasures::Erasure;
use crate::index::store::{NewRecord, Place};
use crate::index::tokens::Token;
use crate::read::Plain;
use crate::secret::Key;
use crate::upkeep::content::{self, content};
use crate::vault::keys::Wrapped;
use crate::vault::pack::{Extent, Record};
use crate::vault::seal::{RecordKind, open};
use notary::canonical::Json;
use notary::commitment::{Entry, Kind};

/// What a record brings.
pub(super) struct Found {
    pub(super) record: NewRecord,
    pub(super) identities: Vec<(Token, Name)>,
    pub(super) message: Option<(Token, ResourceId)>,
    pub(super) erasure: Option<Erasure>,
    /// What is wrong with it.
    pub(super) fault: Option<String>,
}

impl Recovery {
    /// Opens a record, checks it against its log entry, and finds anew what finds it.
    pub(super) async fn found(&self, pack: &str, extent: Extent, record: &Record) -> Found {
        let label = &record.sealed.label;
        let deleted = record.entry.as_deref().and_then(|e| Entry::from_bytes(e).ok()).map(|e| e.kind)
            == Some(Kind::Tombstone)
            && label.kind == RecordKind::Resource;
        let mut blinded = Blinded::default();
        let (mut fault, mut erasure) = (None, None);
        if !self.erased.contains(&label.owner) {
            match self.content(record).await {
                Ok(Content::Blinded(found)) => blinded = found,
                Ok(Content::Erasure(found)) => erasure = Some(found),
                Ok(Content::Nothing) => {}
                Err(what) => {
                    fault = Some(format!("{pack}, byte {}, {}/{}: {what}", extent.offset, label.type_name, label.id))
                }
            }
        }
        if label.owner.is_patient() {
            blinded.lookups.push(self.keep.tokens.owner(&label.owner));
        }
        let new = NewRecord {
            type_name: label.type_name.clone(),
            id: label.id.clone(),
            version: label.version,
            place: Place { pack: pack.to_owned(), extent },
            updated: record.time,
            deleted,
            blinded,
            entry: record.entry.clone(),
        };
        let (identities, message) = claims(record);
        Found { record: new, identities, message, erasure, fault }
    }

    async fn content(&self, record: &Record) -> Result<Content, String> {
        let bytes = self.opened(record).await?;
        Ok(match content(&self.keep.custodian, record, &bytes)? {
            content::Content::Message => Content::Nothing,
            content::Content::Erasure => Content::Erasure(self.erasure(record, &bytes)?),
            content::Content::Resource(name, plain) => Content::Blinded(self.blind(&name, &plain)),
        })
    }

    fn blind(&self, name: &Name, plain: &Plain) -> Blinded {
        // A deletion has nothing that could be found.
        Json::parse(&plain.resource)
            .map_or_else(|_| Blinded::default(), |json| self.keep.tokens.blind(name.kind, &json, &self.base))
    }

    /// By the key of the index, or by another that a crash left for the same owner.
    async fn opened(&self, record: &Record) -> Result<Vec<u8>, String> {
        let owner = &record.sealed.label.owner;
        let custodian = &self.keep.custodian;
        let first = self.keep.store.key(owner).map_err(|e| e.to_string())?;
        let first = first.ok_or_else(|| format!("there is no key of {}", owner.as_str()))?;
        let others = self.displaced.get(owner).into_iter().flatten();
        let mut last = String::new();
        for wrapped in std::iter::once(&first).chain(others) {
            match self.key(owner, wrapped).await {
                Ok(key) => match open(&key, custodian, &record.sealed) {
                    Ok(bytes) => return self.keep_key(owner, wrapped, wrapped != &first).map(|()| bytes),
                    Err(error) => last = error.to_string(),
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn key(&self, owner: &Owner, wrapped: &Wrapped) -> Result<Key, String> {
        match self.keep.keys.cached(owner).filter(|_| !self.displaced.contains_key(owner)) {
            Some(key) => Ok(key),
            None => self.keep.keys.unwrap(owner, wrapped).await.map_err(|e| e.to_string()),
        }
    }

    fn keep_key(&self, owner: &Owner, wrapped: &Wrapped, other: bool) -> Result<(), String> {
        if other {
            self.keep.store.restore_keys(&[(owner.clone(), wrapped.clone())]).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn erasure(&self, record: &Record, plain: &[u8]) -> Result<Erasure, String> {
        let owner = Owner::patient(&record.sealed.label.id);
        let sealed = crate::upkeep::erase::seal_said(&self.keep, &owner, plain).map_err(|e| e.to_string())?;
        Ok(Erasure { owner, time: record.time, sealed, done: false })
    }
}

enum Content {
    Blinded(Blinded),
    Erasure(Erasure),
    Nothing,
}

type Claims = (Vec<(Token, Name)>, Option<(Token, ResourceId)>);

fn claims(record: &Record) -> Claims {
    let label = &record.sealed.label;
    if label.kind == RecordKind::Message {
        return (Vec::new(), record.claims.first().map(|token| (*token, label.id.clone())));
    }
    let name = Name::parse(&format!("{}/{}", label.type_name, label.id));
    (name.iter().flat_map(|name| record.claims.iter().map(|token| (*token, name.clone()))).collect(), None)
}
