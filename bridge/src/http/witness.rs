//! C2SP tlog-witness: other logs ask for a cosignature. Who asks is not asked for: what is signed proves itself.

use super::reply::{Reply, body, failure, unreadable};
use super::routes::{Request, not_found};
use crate::app::App;
use crate::error::{Issue, VaultError};
use crate::index::witnessed::Evidence;
use crate::read::in_background;
use crate::upkeep::recover::witness as evidence;
use crate::vault::objects::ObjectError;
use notary::checkpoint::LogKey;
use notary::commitment::Digest;
use notary::tree::Root;
use notary::witness::{AddCheckpoint, Objection};
use std::sync::Arc;
use warp::http::StatusCode;

/// The media type in which a size is told.
const SIZE: &str = "text/x.tlog.size";
const TEXT: &str = "text/plain; charset=utf-8";

/// `GET /witness/key`: what this bridge cosigns with.
pub fn key(app: &App) -> Reply {
    match &app.core.witness {
        Some(witness) => body(StatusCode::OK, TEXT, format!("{}\n", witness.key())),
        None => not_found(),
    }
}

/// `POST /witness/add-checkpoint`.
pub async fn add_checkpoint(app: &Arc<App>, request: &Request) -> Reply {
    let Some(witness) = &app.core.witness else { return not_found() };
    let asked = request.body.as_ref().map_err(|_| Objection::Malformed).and_then(|bytes| AddCheckpoint::parse(bytes));
    let asked = match asked {
        Ok(asked) => asked,
        Err(objection) => return refused(&objection),
    };
    let Some(log) = app.config.witness.as_ref().and_then(|w| w.log(asked.origin())) else {
        return plain(StatusCode::NOT_FOUND, "this log is not one that is witnessed here");
    };
    let (shared, time) = (app.clone(), app.core.clock.now());
    let (note, origin) = (asked.note.clone(), log.origin().to_owned());
    if let Err(error) = remember(app, &log).await {
        return unreadable(&error);
    }
    match in_background(move || Ok(consider(&shared, &log, &asked, time))).await.and_then(|done| done) {
        Ok(Ok(())) if let Err(error) = app.core.objects.replace(&memory(&origin), note.clone().into_bytes()).await => {
            unreadable(&error.into())
        }
        Ok(Ok(())) => match witness.cosign(&note, time.as_second().max(0) as u64) {
            Ok(line) => body(StatusCode::OK, TEXT, line),
            Err(_) => refused(&Objection::Malformed),
        },
        // A crash before it lies beside the packs: it does as soon as the log comes again.
        Ok(Err(Objection::Fork(size))) => match evidence::keep(&app.core.objects, &app.core.store, &origin).await {
            Ok(()) => refused(&Objection::Fork(size)),
            Err(error) => unreadable(&error),
        },
        Ok(Err(objection)) => refused(&objection),
        Err(error) => unreadable(&error),
    }
}

/// Where the newest checkpoint of a log that was cosigned is kept beside the packs: an index that is lost or put back must not make the
/// witness forget.
fn memory(origin: &str) -> String {
    format!("witness/{}", Digest::of(origin.as_bytes()))
}

/// Once for each log after a start: what is beside the packs goes into an index that is behind it.
async fn remember(app: &Arc<App>, log: &LogKey) -> Result<(), VaultError> {
    let (core, origin) = (&app.core, log.origin().to_owned());
    if app.witnessed().contains(&origin) {
        return Ok(());
    }
    if core.objects.find(&memory(&origin)).await?.is_some() {
        let kept = String::from_utf8(core.objects.read_all(&memory(&origin)).await?).unwrap_or_default();
        let size = log.open(&kept).map(|checkpoint| checkpoint.size);
        let size = size.map_err(|_| VaultError::Object(ObjectError::Damaged { name: memory(&origin) }))?;
        let (store, origin) = (core.store.clone(), origin.clone());
        in_background(move || {
            let known = store.witnessed(&origin)?.map_or(0, |(size, _)| size);
            if size > known {
                tracing::warn!(
                    log = origin,
                    known,
                    size,
                    "the index had forgotten what was cosigned: it was lost or put back"
                );
                store.keep_witnessed(&origin, known, size, &kept)?;
            }
            Ok(())
        })
        .await?;
    }
    evidence::restore(&core.objects, &core.store, log.origin()).await?;
    app.witnessed().insert(origin);
    Ok(())
}

/// Remembers the checkpoint before it is signed; keeps what contradicts it. A log that was convicted is not cosigned any more.
fn consider(
    app: &App,
    log: &LogKey,
    asked: &AddCheckpoint,
    now: jiff::Timestamp,
) -> Result<Result<(), Objection>, VaultError> {
    let store = &app.core.store;
    if let Some(found) = store.evidence()?.iter().find(|found| found.origin == log.origin()) {
        return Ok(Err(Objection::Fork(found.size)));
    }
    let known = store.witnessed(log.origin())?;
    let root = |(size, note): &(u64, String)| {
        log.open(note).ok().map(|checkpoint: notary::checkpoint::Checkpoint| (*size, checkpoint.root))
    };
    let known_root: Option<(u64, Root)> = known.as_ref().and_then(root);
    match asked.consider(log, known_root) {
        Ok(new) => {
            let old = known.as_ref().map_or(0, |(size, _)| *size);
            let kept = new.size == old || store.keep_witnessed(log.origin(), old, new.size, &asked.note)?;
            // Another replica was quicker.
            Ok(if kept {
                Ok(())
            } else {
                Err(Objection::OtherSize(store.witnessed(log.origin())?.map_or(0, |(size, _)| size)))
            })
        }
        Err(Objection::Fork(size)) => {
            let one = known.map(|(_, note)| note).unwrap_or_default();
            tracing::error!(
                log = log.origin(),
                size,
                "ALARM: a log has signed two histories; both checkpoints are kept as evidence"
            );
            let (origin, seen, other) = (log.origin().to_owned(), now.as_millisecond(), asked.note.clone());
            store.keep_evidence(&Evidence { origin, size, seen, one, other })?;
            Ok(Err(Objection::Fork(size)))
        }
        Err(objection) => {
            if objection == Objection::Inconsistent {
                // Whoever has any checkpoint of the log can send a wrong proof with it: this is no evidence, and worth a look.
                tracing::warn!(
                    log = log.origin(),
                    "a signed checkpoint came without a proof that it follows from the last one"
                );
            }
            Ok(Err(objection))
        }
    }
}

fn refused(objection: &Objection) -> Reply {
    let status = match objection {
        Objection::Malformed | Objection::Backwards => StatusCode::BAD_REQUEST,
        Objection::Signature => StatusCode::FORBIDDEN,
        Objection::Inconsistent => StatusCode::UNPROCESSABLE_ENTITY,
        Objection::OtherSize(size) | Objection::Fork(size) => {
            return body(StatusCode::CONFLICT, SIZE, format!("{size}\n"));
        }
    };
    plain(status, &objection.to_string())
}

fn plain(status: StatusCode, what: &str) -> Reply {
    failure(status, Issue::new("processing", what))
}
