//! What the page `/ledger` shows: how far log and chain are, and stored records, each opened and held against the log as it is asked.

use super::fhir::may_all;
use super::query;
use super::reply::{Reply, body, failure, unreadable};
use super::routes::Call;
use crate::anchor::{Place, progress};
use crate::app::{App, Core};
use crate::error::{Issue, VaultError};
use crate::ids::{Name, Version};
use crate::index::anchors::Anchor;
use crate::index::places::LogRow;
use crate::index::store::Stored;
use crate::index::witnessed::Evidence;
use crate::read::in_background;
use crate::smart::scopes::Interaction;
use crate::vault::keys::KeyError;
use crate::vault::objects::ObjectError;
use notary::anchor::ChainKind;
use notary::tree::{LeafHash, check_inclusion, prove_inclusion};
use serde_json::{Value, json};
use std::sync::Arc;
use warp::http::StatusCode;

/// Anchors that are shown: each is a checkpoint to read.
const ANCHORS: usize = 20;
/// Records of a page, each of which is opened, and the most of them.
const RECORDS: u64 = 50;
const MAX_RECORDS: u64 = 100;

/// `GET /log/status.json`.
pub async fn status(app: &Arc<App>) -> Reply {
    let core = app.core.clone();
    match in_background(move || Ok(state(&core))).await.and_then(|state| state) {
        Ok(state) => json_body(&state),
        Err(error) => unreadable(&error),
    }
}

fn state(core: &Core) -> Result<Value, VaultError> {
    let progress = progress(core)?;
    let note = core.store.checkpoint(None)?;
    let checkpoint = note.and_then(|(_, note)| core.signer.key().open(&note).ok());
    let checkpoint = checkpoint.map(|c| json!({"size": c.size, "root": c.root.to_string()}));
    let anchors = core.store.anchors(None, ANCHORS)?;
    let anchors: Vec<Value> = anchors.iter().map(|anchor| anchor_of(core, anchor)).collect::<Result<_, _>>()?;
    let (kind, chain, contract) = match &core.chain.place {
        Place::Embedded(ledger) => (ChainKind::Embedded, notary::chain::CHAIN_ID, ledger.contract()),
        Place::Evm(evm) => (evm.kind(), evm.chain_id(), evm.contract()),
    };
    Ok(json!({
        "origin": core.signer.key().origin(),
        "size": progress.log,
        "checkpoint": checkpoint,
        "anchors": anchors,
        "lag": progress.log.saturating_sub(progress.anchored),
        "lastError": progress.trouble.map(|trouble| trouble.told()),
        "kind": kind,
        "chainId": chain,
        "contract": contract.to_string().to_lowercase(),
        "evidence": core.store.evidence()?.iter().map(found).collect::<Vec<_>>(),
    }))
}

/// Two checkpoints of a log that cannot both be true: for everybody to see, and to check.
fn found(evidence: &Evidence) -> Value {
    let Evidence { origin, size, seen, one, other } = evidence;
    let seen = jiff::Timestamp::from_millisecond(*seen).map(|seen| seen.to_string()).ok();
    json!({"origin": origin, "size": size, "seen": seen, "one": one, "other": other})
}

fn anchor_of(core: &Core, anchor: &Anchor) -> Result<Value, VaultError> {
    let note = core.store.checkpoint(anchor.size.checked_sub(1))?.filter(|(size, _)| *size == anchor.size);
    let root = note.and_then(|(_, note)| core.signer.key().open(&note).ok()).map(|c| c.root.to_string());
    let time = jiff::Timestamp::from_second(anchor.time as i64).map(|time| time.to_string()).ok();
    // In wei and as text: more than a number of JSON holds everywhere.
    let fee = anchor.fee.map(|fee| fee.to_string());
    Ok(json!({"size": anchor.size, "root": root, "block": anchor.block, "time": time, "gas": anchor.gas, "fee": fee}))
}

/// What is asked of the records.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    find: Option<Find>,
    /// Only leaves above this index.
    after: Option<u64>,
    limit: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Find {
    Leaf(u64),
    Versions(Name),
}

/// `GET /log/records.json`. It names what every patient has, and a record is opened to be held against the log, not to be shown: no
/// Consent can hold back a line. So it is for nobody whom Consents may speak of, whatever his scopes.
pub async fn records(call: Call<'_>) -> Result<Reply, Reply> {
    if !may_all(&call.caller, Interaction::Read, None)?.shows_all() {
        let what = "this names what all patients have, whatever they consent to: it is for tokens that are minted at the machine";
        return Err(failure(StatusCode::FORBIDDEN, Issue::new("forbidden", what)));
    }
    let bad = |what: String| failure(StatusCode::BAD_REQUEST, Issue::new("value", what));
    let asked = query::pairs(&call.request.query).and_then(|pairs| asked(&pairs)).map_err(bad)?;
    let done = match &asked.find {
        Some(Find::Versions(name)) => versions(&call.app.core, name).await.map(|records| (records, None)),
        find => leaves(&call.app.core, find.as_ref(), &asked).await,
    };
    let (records, next) = done.map_err(|error| unreadable(&error))?;
    Ok(json_body(&json!({"records": records, "next": next})))
}

fn asked(pairs: &[(String, String)]) -> Result<Asked, String> {
    let mut asked = Asked { find: None, after: None, limit: RECORDS };
    let number = |name: &str, value: &str| position(value).ok_or_else(|| format!("{name} is a number"));
    for (name, value) in pairs {
        match name.as_str() {
            "find" if value.is_empty() => {}
            "find" => asked.find = Some(find(value)?),
            "after" => asked.after = Some(number("after", value)?),
            "limit" => asked.limit = number("limit", value)?.clamp(1, MAX_RECORDS),
            _ => return Err("the parameters are find, after and limit".to_owned()),
        }
    }
    Ok(asked)
}

/// A place in the log, which the index counts in signed numbers.
fn position(value: &str) -> Option<u64> {
    value.parse().ok().filter(|number| i64::try_from(*number).is_ok())
}

fn find(value: &str) -> Result<Find, String> {
    let found = position(value).map(Find::Leaf).or_else(|| Name::parse(value).map(Find::Versions));
    found.ok_or_else(|| "find is Type/id or a leaf's index".to_owned())
}

/// Leaves of the log, in their order, and where the next page begins.
async fn leaves(core: &Arc<Core>, find: Option<&Find>, asked: &Asked) -> Result<(Vec<Value>, Option<u64>), VaultError> {
    let (from, limit) = match find {
        Some(Find::Leaf(leaf)) => (*leaf, 1),
        _ => (asked.after.map_or(0, |after| after.saturating_add(1)), asked.limit),
    };
    let shared = core.clone();
    let rows = in_background(move || shared.store.log_rows(from, limit)).await?;
    let next = rows.last().map(|last| last.position).filter(|_| find.is_none() && rows.len() as u64 == limit);
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        records.push(leaf(core, row).await?);
    }
    Ok((records, next))
}

/// All versions of a resource, also one that waits for its place in the log.
async fn versions(core: &Arc<Core>, name: &Name) -> Result<Vec<Value>, VaultError> {
    let mut records = Vec::new();
    let (shared, current) = (core.clone(), name.clone());
    let Some(current) = in_background(move || shared.store.current(&current)).await? else { return Ok(records) };
    for version in (1..=current.version.0).rev().take(MAX_RECORDS as usize) {
        let (shared, name) = (core.clone(), name.clone());
        let stored = in_background(move || {
            let Some(stored) = shared.store.version(&name, Version(version))? else { return Ok(None) };
            let position = shared.store.position(stored.row)?;
            Ok(Some((stored, position)))
        });
        if let Some((stored, position)) = stored.await? {
            records.push(record(core, &stored, position).await?);
        }
    }
    Ok(records)
}

async fn leaf(core: &Arc<Core>, row: LogRow) -> Result<Value, VaultError> {
    let LogRow { position, entry, row, .. } = row;
    let shared = core.clone();
    let found = in_background(move || {
        let Some((called, version)) = shared.store.called(row)? else { return Ok(None) };
        let stored = Name::parse(&called).map(|name| shared.store.version(&name, version)).transpose()?.flatten();
        Ok(Some((called, version, stored)))
    });
    Ok(match found.await? {
        Some((_, _, Some(stored))) => record(core, &stored, Some((position, entry))).await?,
        // What is said of an erasure is no resource: its leaf alone is looked at.
        Some((called, version, None)) => {
            told(Some(position), &called, &version.to_string(), in_tree(core, position, entry).await?, "intact")
        }
        None => told(Some(position), "?", "?", Some("its record is not in the index".to_owned()), "intact"),
    })
}

async fn record(core: &Arc<Core>, stored: &Stored, place: Option<(u64, Vec<u8>)>) -> Result<Value, VaultError> {
    let (name, version) = (stored.name.to_string(), stored.version.to_string());
    let (wrong, fine) = match core.open(stored).await {
        Ok(_) => (None, "intact"),
        Err(VaultError::Erased) => (None, "erased"),
        Err(error) => match why(&error) {
            Some(why) => (Some(why.to_owned()), "intact"),
            // It only cannot be read now.
            None => return Err(error),
        },
    };
    let Some((position, entry)) = place else { return Ok(told(None, &name, &version, wrong, "waiting")) };
    let wrong = match wrong {
        None => in_tree(core, position, entry).await?,
        wrong => wrong,
    };
    Ok(told(Some(position), &name, &version, wrong, fine))
}

fn told(index: Option<u64>, reference: &str, version: &str, wrong: Option<String>, fine: &str) -> Value {
    let state = if wrong.is_some() { "tampered" } else { fine };
    json!({"index": index, "reference": reference, "versionId": version, "state": state, "why": wrong})
}

/// What does not hold of a record; what only is away now is no such thing.
fn why(error: &VaultError) -> Option<&'static str> {
    Some(match error {
        VaultError::Pack { .. } => "the stored bytes are damaged: their check sum does not fit",
        VaultError::Seal { .. } => "the stored bytes do not open: they were changed",
        VaultError::Tampered { what, .. } => what,
        VaultError::Key(KeyError::NoKey { .. }) => "it names an owner who has no key",
        VaultError::Object(ObjectError::Missing { .. }) => "its pack is not there",
        VaultError::Object(ObjectError::Short { .. } | ObjectError::Damaged { .. }) => "its pack is damaged",
        _ => return None,
    })
}

/// Whether a leaf is under the newest signed checkpoint; what is wrong if not.
async fn in_tree(core: &Arc<Core>, position: u64, entry: Vec<u8>) -> Result<Option<String>, VaultError> {
    let core = core.clone();
    in_background(move || {
        let Some((size, note)) = core.store.checkpoint(None)?.filter(|(size, _)| *size > position) else {
            return Ok(None);
        };
        let Ok(checkpoint) = core.signer.key().open(&note) else {
            return Ok(Some("the log's newest checkpoint is not signed by its key".to_owned()));
        };
        let proof = core.store.read_log(|reader| prove_inclusion(size, position, reader))?;
        let leaf = LeafHash::of_bytes(&entry);
        let holds = proof.is_ok_and(|proof| check_inclusion(&proof, size, checkpoint.root, position, leaf).is_ok());
        Ok((!holds).then(|| "its entry is not the one that the log was signed over".to_owned()))
    })
    .await
}

fn json_body(value: &Value) -> Reply {
    body(StatusCode::OK, "application/json", value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_or_refused() {
        let ask = |query: &[(&str, &str)]| {
            asked(&query.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>())
        };
        let read = ask(&[("find", "17"), ("limit", "999")]).unwrap();
        assert_eq!((read.find, read.limit), (Some(Find::Leaf(17)), MAX_RECORDS));
        assert_eq!(ask(&[("find", "Patient/a"), ("after", "3")]).unwrap().after, Some(3));
        for bad in [
            ("find", "Patient"),
            ("find", "x/y"),
            ("after", "-1"),
            ("after", "9223372036854775808"),
            ("find", "9223372036854775808"),
            ("limit", "many"),
            ("other", "1"),
        ] {
            assert!(ask(&[bad]).is_err(), "{bad:?}");
        }
    }
}
