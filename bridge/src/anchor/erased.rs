//! The receipt of a version whose content was erased: its entry is still in the log, and a tombstone there says that it was closed.

use super::{AnchorError, Logged, logged};
use crate::app::Core;
use crate::error::VaultError;
use crate::ids::{Name, Owner, Version};
use crate::index::store::{StoreError, Stored};
use crate::read::in_background;
use crate::upkeep::erase::{closed, said};
use crate::vault::pack::read_record;
use notary::erasure::{ErasedEntries, ErasureProof};
use notary::receipt::{FORMAT_ERASED, Receipt};

/// What is proved of an erasure.
struct Closed {
    owner: Owner,
    row: i64,
    entries: ErasedEntries,
    said: crate::upkeep::erase::Said,
}

/// The receipt of an erased version; nothing: it or its tombstone is not in a signed checkpoint yet, or there is no such version.
pub async fn erased_receipt(
    core: &Core,
    name: &Name,
    version: Option<Version>,
) -> Result<Option<Receipt>, AnchorError> {
    let (store, wanted) = (core.store.clone(), name.clone());
    let find = move || version.map_or_else(|| store.current(&wanted), |version| store.version(&wanted, version));
    let Some(stored) = in_background(find).await? else { return Ok(None) };
    let Some(closed) = closed_with(core, &stored).await? else { return Ok(None) };
    make(core, &stored, &closed)
}

async fn closed_with(core: &Core, stored: &Stored) -> Result<Option<Closed>, VaultError> {
    let place = &stored.place;
    let bytes = core.objects.read(&place.pack, place.extent.offset, place.extent.length as usize).await?;
    let record = read_record(&bytes).map_err(|source| VaultError::Pack {
        pack: place.pack.clone(),
        offset: place.extent.offset,
        source,
    })?;
    let (keep, owner) = (core.keep(), record.sealed.label.owner);
    let (store, of, token) = (core.store.clone(), owner.clone(), core.tokens.owner(&owner));
    let look = move || Ok((store.erasure(&of)?, store.erasure_row(&of)?, store.owned(&token, 0, usize::MAX >> 1)?));
    let (Some(erasure), Some(row), rows) = in_background(look).await? else { return Ok(None) };
    let (said, entries) = (said(&keep, &erasure)?, closed(&keep, &rows)?);
    Ok(Some(Closed { owner, row, entries, said }))
}

fn make(core: &Core, stored: &Stored, closed: &Closed) -> Result<Option<Receipt>, AnchorError> {
    let (Some(own), Some(tombstone)) = (logged(core, stored.row)?, logged(core, closed.row)?) else { return Ok(None) };
    let Some(erasure) = proof(closed, &own, &tombstone)? else { return Ok(None) };
    Ok(Some(Receipt {
        format: FORMAT_ERASED.to_owned(),
        opening: None,
        erasure: Some(erasure),
        ..own.receipt(core, &stored.name, stored.version)
    }))
}

fn proof(closed: &Closed, own: &Logged, tombstone: &Logged) -> Result<Option<ErasureProof>, AnchorError> {
    let Some((index, hashes)) = closed.entries.prove(&own.entry)? else {
        return Err(StoreError::Nonsense("an erased version that no erasure closed").into());
    };
    let said = &closed.said;
    Ok(Some(ErasureProof {
        owner: closed.owner.as_str().to_owned(),
        time: said.time.clone(),
        reason: said.reason().to_string(),
        salt: hex::encode(said.salt().0),
        size: closed.entries.size(),
        root: hex::encode(closed.entries.root()?.0),
        index,
        hashes: hashes.iter().map(hex::encode).collect(),
        entry: hex::encode(&tombstone.entry),
        proof: tombstone.proof.to_text(),
    }))
}
