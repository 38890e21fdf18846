//! What a witness holds against logs, beside the packs: an index that is lost or put back must not make it forget a conviction.

use crate::error::VaultError;
use crate::index::store::Store;
use crate::index::witnessed::Evidence;
use crate::read::in_background;
use crate::upkeep::key_objects::Walk;
use crate::vault::objects::{ObjectError, Objects};
use notary::commitment::Digest;
use std::sync::Arc;

/// Where it lies, by the digest of the log's name.
const FOLDER: &str = "evidence/";

fn place(origin: &str) -> String {
    format!("{FOLDER}{}", Digest::of(origin.as_bytes()))
}

/// Keeps the first evidence against a log, once: one piece convicts it.
pub(crate) async fn keep(objects: &Objects, store: &Arc<Store>, origin: &str) -> Result<(), VaultError> {
    let (store, wanted) = (store.clone(), origin.to_owned());
    let all = in_background(move || store.evidence()).await?;
    let Some(evidence) = all.into_iter().find(|evidence| evidence.origin == wanted) else { return Ok(()) };
    if objects.find(&place(origin)).await?.is_some() {
        return Ok(());
    }
    let text = serde_json::to_vec(&evidence).unwrap_or_default();
    Ok(objects.replace(&place(origin), text).await?)
}

/// Puts what is kept against one log into the index.
pub(crate) async fn restore(objects: &Objects, store: &Arc<Store>, origin: &str) -> Result<(), VaultError> {
    match objects.find(&place(origin)).await? {
        Some(_) => put(objects, store, &place(origin)).await,
        None => Ok(()),
    }
}

/// Puts what is kept against all logs into the index; tells of how many.
pub(super) async fn restore_all(objects: &Objects, store: &Arc<Store>) -> Result<u64, VaultError> {
    let (mut walk, mut count) = (Walk::new(objects, FOLDER), 0);
    while let Some(found) = walk.next().await? {
        put(objects, store, &found.name).await?;
        count += 1;
    }
    Ok(count)
}

async fn put(objects: &Objects, store: &Arc<Store>, name: &str) -> Result<(), VaultError> {
    let bytes = objects.read_all(name).await?;
    let damaged = |_| VaultError::Object(ObjectError::Damaged { name: name.to_owned() });
    let evidence: Evidence = serde_json::from_slice(&bytes).map_err(damaged)?;
    let store = store.clone();
    in_background(move || store.keep_evidence(&evidence)).await
}
