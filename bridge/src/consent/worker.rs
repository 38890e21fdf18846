//! What goes on with grants in the background. Each replica reads the registry and hears what others have revoked; who holds the lease
//! keeps the mirror, registers what was given, shows what revokes, and lets Consents follow. Each step is safe to repeat.

use super::give;
use super::grant::{Choice, claim, opening};
use super::policy::Claim;
use super::registry::{self, RegistryError, seconds};
use crate::app::{App, Core};
use crate::error::{Fault, VaultError};
use crate::ids::Name;
use crate::index::consents::{Given, LOST};
use crate::index::store::{Store, StoreError};
use crate::limits::{GRANT_OVERLAP, GRANT_RESEND, GRANTS_CLOSED_AT_ONCE};
use notary::canonical::Json;
use notary::chain::registry::{MAX_BATCH, forestall, register, revoke_all};
use notary::consent::{GrantKey, Preimage, Registry, Standing, Taken};
use std::sync::Arc;

/// A registry that lies here is read before the first request: its grants count from the start.
pub async fn begin(core: &Arc<Core>) {
    match restore(core).await {
        Ok(0) => {}
        Ok(grants) => tracing::info!(grants, "grants were found again in Consents"),
        Err(error) => tracing::error!(%error, "grants are not found again in Consents; the next start tries it again"),
    }
    if core.grants.is_at_hand()
        && let Err(error) = look(core).await
    {
        tracing::error!(%error, "the registry of grants cannot be read; no grant counts until it can");
    }
}

/// After a recovery the index has no grants: each comes back from the Consent that carries its opening. A copy of what revokes it does not:
/// that was in the index alone.
async fn restore(core: &Arc<Core>) -> Result<usize, VaultError> {
    let lost = core.store.setting(LOST)?.as_deref() == Some("yes");
    let Some(registry) = core.grants.registry().filter(|_| lost) else { return Ok(0) };
    let (mut found, mut unread) = (0, None);
    for (_, name) in core.store.current_of("Consent")? {
        let opened = match give::by_service(core, &name).await {
            Ok(Some(opened)) => opened,
            Ok(None) => continue,
            Err(error) if error.is_erased() => continue,
            Err(error) if error.fault() == Fault::RetryLater => return Err(error),
            // One that is damaged keeps none of the others away.
            Err(error) => {
                unread = Some(error);
                continue;
            }
        };
        let (consent, now) = (opened.json(), core.clock.now().as_millisecond());
        let Some(given) = given(&consent, &name, &core.custodian, registry, now) else { continue };
        found += usize::from(core.store.give(&given)?);
        if consent.text("status") != Some("active") {
            core.store.withdraw(&[given.key], now)?;
            core.store.close(&[given.key])?;
            core.grants.revoke(&[given.key]);
        }
    }
    if let Some(error) = unread {
        return Err(error);
    }
    core.store.set_setting(LOST, "no")?;
    Ok(found)
}

/// The grant that a Consent names and proves.
fn given(consent: &Json, name: &Name, custodian: &str, registry: &Registry, now: i64) -> Option<Given> {
    let Claim::Of(key) = claim(consent, custodian, Some(registry))? else { return None };
    let said = Choice::read(consent).map(|choice| choice.given.as_millisecond());
    let (sealed, made) = (opening(consent)?.sealed(registry), said.unwrap_or(now));
    Some(Given { key, consent: name.id.clone(), sealed, preimage: None, made, revoked: None, ended: false })
}

/// Reads and sends for ever. A chain that takes its time with what is sent holds up no reading.
pub async fn run(app: Arc<App>) {
    tokio::join!(read_on(&app.core), send_on(&app), follow_on(&app));
}

async fn read_on(core: &Arc<Core>) {
    let mut told = None;
    loop {
        let trouble = look(core).await.err().map(|error| error.to_string());
        if trouble != told {
            match &trouble {
                Some(error) => tracing::error!(
                    error,
                    "the registry of grants is not read; grants count until that is too long ago"
                ),
                None => tracing::info!("the registry of grants is read again"),
            }
            told = trouble;
        }
        tokio::time::sleep(core.grants.pause()).await;
    }
}

async fn send_on(app: &Arc<App>) {
    loop {
        app.core.lease.wait().await;
        if let Err(error) = send(app).await {
            tracing::warn!(%error, "grants wait for the registry");
        }
        let _ = tokio::time::timeout(app.core.grants.pause(), app.core.grants.wake.notified()).await;
    }
}

/// Lets Consents and tokens follow, however long the chain takes.
async fn follow_on(app: &Arc<App>) {
    loop {
        app.core.lease.wait().await;
        for done in [close_all(app).await, lapse_all(app).await] {
            if let Err(error) = done {
                tracing::warn!(%error, "what was granted has ended, and not all that rests on it yet");
            }
        }
        tokio::time::sleep(app.core.grants.pause()).await;
    }
}

/// One look: what other replicas revoked, what the registry says, and what of it is news.
pub async fn look(core: &Arc<Core>) -> Result<(), RegistryError> {
    let since = core.clock.now().as_millisecond() - GRANT_OVERLAP.as_millis() as i64;
    let heard = in_index(core, move |store| store.revoked_since(since)).await;
    if let Ok(revoked) = &heard {
        core.grants.revoke(revoked);
    }
    let (taken, outcome) = registry::read(core).await;
    note(core, taken).await?;
    outcome.and(heard.map(|_| ()))
}

/// Writes down what has changed. The mirror last: after a crash before that, all this is read again.
async fn note(core: &Arc<Core>, taken: Taken) -> Result<(), RegistryError> {
    if taken == Taken::default() {
        return Ok(());
    }
    let (now, held, mirror) = (core.clock.now().as_millisecond(), core.lease.held(), core.grants.to_json());
    let kept = in_index(core, move |store| {
        store.withdraw(&taken.revoked, now)?;
        store.stand(&taken.granted)?;
        held.map_or(Ok(()), |epoch| store.keep_mirror(epoch, &mirror))
    });
    match kept.await {
        Err(RegistryError::Store(StoreError::Fenced)) => Ok(()),
        kept => kept,
    }
}

/// Registers what waits, and shows what revokes.
pub async fn send(app: &Arc<App>) -> Result<(), RegistryError> {
    if app.core.grants.registry().is_none() {
        return Ok(());
    }
    let shown = show(&app.core).await;
    register_all(&app.core).await.and(shown)
}

async fn register_all(core: &Arc<Core>) -> Result<(), RegistryError> {
    let now = core.clock.now();
    let before = now.as_millisecond() - GRANT_RESEND.as_millis() as i64;
    let waiting = in_index(core, move |store| store.unregistered(seconds(now), before, MAX_BATCH)).await?;
    let unknown = |given: &&Given| core.grants.standing(given.key, now) == Standing::Unknown;
    let batch: Vec<&Given> = waiting.iter().filter(unknown).collect();
    let sealed: Vec<_> = batch.iter().map(|given| given.sealed).collect();
    for call in register(&sealed) {
        // A crash after this sends it again: what is there already is passed over.
        registry::send(core, call).await?;
    }
    let sent: Vec<GrantKey> = batch.iter().map(|given| given.key).collect();
    if !sent.is_empty() {
        tracing::info!(grants = sent.len(), "registered");
    }
    in_index(core, move |store| store.sent(&sent, now.as_millisecond())).await
}

/// Shows the preimages of revoked grants, until the registry has them in a block that stays.
async fn show(core: &Arc<Core>) -> Result<(), RegistryError> {
    let now = core.clock.now();
    let ended = |given: &Given| core.grants.word(given.key).is_some_and(|word| word.revoked_at.is_some());
    let all = in_index(core, move |store| store.unshown(seconds(now), i64::MAX, MAX_BATCH)).await?;
    let over: Vec<GrantKey> = all.iter().filter(|given| ended(given)).map(|given| given.key).collect();
    in_index(core, move |store| store.end(&over)).await?;
    let before = now.as_millisecond() - GRANT_RESEND.as_millis() as i64;
    let waiting = in_index(core, move |store| store.unshown(seconds(now), before, MAX_BATCH)).await?;
    let mut known = Vec::new();
    for given in waiting.iter().filter(|given| !ended(given)) {
        let Some(preimage) = preimage(core, given) else { continue };
        if core.grants.word(given.key).is_some() {
            known.push((given.key, preimage));
        } else {
            // It may be on its way: shown now, it can never stand.
            registry::send(core, forestall(given.key, &given.sealed, &preimage)).await?;
        }
    }
    for call in revoke_all(&known) {
        registry::send(core, call).await?;
    }
    let shown: Vec<GrantKey> = waiting.iter().map(|given| given.key).collect();
    in_index(core, move |store| store.shown(&shown, now.as_millisecond())).await
}

fn preimage(core: &Core, given: &Given) -> Option<Preimage> {
    let opened = given.preimage.as_ref().and_then(|sealed| core.secrets.open_preimage(given.key, sealed));
    if opened.is_none() {
        tracing::error!(grant = %given.key, "what revokes a grant does not open; its patient's own code still does it");
    }
    opened
}

async fn close_all(app: &Arc<App>) -> Result<(), RegistryError> {
    let waiting = in_index(&app.core, |store| store.unclosed(GRANTS_CLOSED_AT_ONCE)).await?;
    // Tokens first: they wait for no Consent to be written.
    for given in &waiting {
        if let Err(error) = give::cut(app, given).await {
            tracing::warn!(%error, grant = %given.key, "the tokens that rest on a revoked grant have not ended");
        }
    }
    for given in waiting {
        if let Err(error) = give::close(app, &given).await {
            tracing::warn!(%error, grant = %given.key, "the Consent of a revoked grant still calls itself active; it permits nothing");
        }
    }
    Ok(())
}

async fn lapse_all(app: &Arc<App>) -> Result<(), RegistryError> {
    let now = seconds(app.core.clock.now());
    for given in in_index(&app.core, move |store| store.lapsed(now, GRANTS_CLOSED_AT_ONCE)).await? {
        if let Err(error) = give::lapse(app, &given).await {
            tracing::warn!(%error, grant = %given.key, "the tokens that rest on a grant whose last day is over have not ended");
        }
    }
    Ok(())
}

async fn in_index<T: Send + 'static>(
    core: &Core,
    work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, RegistryError> {
    let store = core.store.clone();
    let joined = tokio::task::spawn_blocking(move || work(&store)).await;
    Ok(joined.unwrap_or(Err(StoreError::Nonsense("index work was cut short")))?)
}
