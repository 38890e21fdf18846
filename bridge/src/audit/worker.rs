//! Commits what waits to be told.

use super::event::{Access, Detail, Naming, audit_event};
use super::trail::{Full, Trail};
use crate::app::App;
use crate::commit::{Author, Transaction};
use crate::error::{IngestError, Issue};
use crate::fhir::validate::validate;
use crate::fhir::write::{Act, Write};
use crate::ingest::commit;
use crate::limits::{AUDIT_PATIENCE, AUDIT_WINDOW, MAX_AUDIT_AT_ONCE};
use notary::canonical::Json;
use std::sync::Arc;

type Told = (Access, Detail);

/// Tells for ever: what was done within a moment, together.
pub async fn run(app: Arc<App>) {
    loop {
        let _ = tokio::time::timeout(AUDIT_WINDOW, app.core.trail.crowded.notified()).await;
        if let Err(error) = flush(&app).await {
            tracing::error!(%error, "what was read could not be told; it is tried again");
        }
    }
}

/// Commits everything that waits, and returns when what others took out before is committed, too. What cannot be committed
/// goes on waiting.
pub async fn flush(app: &Arc<App>) -> Result<(), IngestError> {
    let _telling = app.core.trail.telling.lock().await;
    let flushed = flush_all(app).await;
    app.core.trail.note(flushed.is_err());
    flushed
}

async fn flush_all(app: &Arc<App>) -> Result<(), IngestError> {
    let mut waiting = app.core.trail.take();
    while !waiting.is_empty() {
        let rest = waiting.split_off(waiting.len().min(MAX_AUDIT_AT_ONCE));
        let told = waiting.len() as u64;
        if let Err((error, untold)) = tell_all(app, waiting).await {
            app.core.metrics.audit.add(untold.len() as u64, "failed");
            app.core.trail.put_back(untold.into_iter().chain(rest).collect());
            return Err(error);
        }
        app.core.metrics.audit.add(told, "committed");
        waiting = rest;
    }
    app.core.trail.emptied.notify_waiters();
    Ok(())
}

/// All of them together; one by one where that fails: one that cannot be told must not hold up the others. Gives back what is left.
async fn tell_all(app: &Arc<App>, told: Vec<Told>) -> Result<(), (IngestError, Vec<Told>)> {
    if tell(app, &told, Naming::Reference).await.is_ok() {
        return Ok(());
    }
    let mut left = told.into_iter();
    while let Some(one) = left.next() {
        let mut done = tell(app, std::slice::from_ref(&one), Naming::Reference).await;
        if done.as_ref().is_err_and(is_erased) {
            // Nothing more is sealed under a destroyed key, and it is told all the same.
            done = tell(app, std::slice::from_ref(&one), Naming::Words).await;
        }
        if let Err(error) = done {
            return Err((error, std::iter::once(one).chain(left).collect()));
        }
    }
    Ok(())
}

fn is_erased(error: &IngestError) -> bool {
    match error {
        IngestError::Vault(error) => error.is_erased(),
        IngestError::NotStored(error) => error.is_erased(),
        IngestError::Gone(_) => true,
        _ => false,
    }
}

async fn tell(app: &Arc<App>, told: &[Told], naming: Naming) -> Result<(), IngestError> {
    let (custodian, base) = (&app.core.custodian, &app.core.base);
    let write = |(access, detail): &Told| act(access, detail, naming, custodian, base).map(Write::alone);
    let writes = told.iter().map(write).collect::<Result<Vec<_>, _>>()?;
    commit(app, Transaction { by: Author::Service, writes, message: None }).await.map(|_| ())
}

/// The AuditEvent as it is to be stored.
pub fn act(access: &Access, detail: &Detail, naming: Naming, custodian: &str, base: &str) -> Result<Act, IngestError> {
    let ours = || IngestError::Invalid(vec![Issue::new("exception", "an AuditEvent came out wrong")]);
    let event = audit_event(access, detail, naming, custodian, base).to_string();
    let resource = Json::parse(event.as_bytes()).ok().and_then(|json| validate(json).ok()).ok_or_else(ours)?;
    Ok(Act::Create { resource, if_none_exist: None })
}

/// Adds what was done; waits for room for a while.
pub async fn add(trail: &Trail, mut accesses: Vec<Told>) -> Result<(), Full> {
    let patience = tokio::time::sleep(AUDIT_PATIENCE);
    let mut patience = std::pin::pin!(patience);
    loop {
        let emptied = trail.emptied.notified();
        accesses = match trail.add(accesses) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        tokio::select! {
            () = &mut patience => return Err(Full),
            () = emptied => {}
        }
    }
}
