//! A medseal that works: its background tasks, how they begin, and how they end.

use super::probe::Probe;
use super::rules::profiles;
use super::{App, Core, Opened, StartError, open, presence, roots, wal};
use crate::clock::Clock;
use crate::config::Config;
use crate::consent::worker;
use crate::exchange::{self, Exchange};
use crate::feeds::pace::Paces;
use crate::lease;
use crate::limits::{
    DRAIN_TIMEOUT, MAX_BODIES_BYTES, MAX_BODIES_OF_ONE, MAX_FRAMES_BYTES, MAX_FRAMES_OF_ONE, MAX_REGISTERING,
    MAX_SIGN_INS, MAX_WAITING, MAX_WITHDRAWING,
};
use crate::outgoing::Outgoing;
use crate::people::openid::Providers;
use crate::rooms::Rooms;
use crate::smart::key_sets::KeySets;
use crate::smart::standing::Standing;
use crate::{anchor, audit, commit, export, notify, telemetry, upkeep};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OnceCell, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Opens everything and sets the committer and the anchor to work.
pub async fn start(config: Config, clock: Arc<dyn Clock>) -> Result<(Arc<App>, Workers), StartError> {
    let Opened { core, token_key, lock } = open(&config, clock).await?;
    let profiles = Arc::new(profiles(&config)?);
    let metrics_token = config.telemetry.token().map_err(StartError::Config)?;
    presence::enter(&core, &config)?;
    let (sender, queue) = mpsc::channel(MAX_WAITING);
    lease::ask(&core).await;
    worker::begin(&core).await;
    let committer = tokio::spawn(commit::run(core.clone(), queue));
    let stop = CancellationToken::new();
    let anchor = tokio::spawn(anchor::run(core.clone(), config.log.clone(), stop.clone()));
    let exporter = tokio::spawn(export::run(core.clone()));
    let app = Arc::new(App {
        outgoing: Outgoing::new(config.outgoing.clone()),
        partners: Outgoing::to(config.outgoing.clone(), config.partners()),
        receivers: Outgoing::to(config.outgoing.clone(), config.receivers()),
        issuers: Outgoing::to(config.outgoing.clone(), config.issuers()),
        exchange: Exchange::open(&config, &core, &token_key)?,
        started: core.clock.now(),
        paces: Paces::new(config.limits.requests_per_second),
        strangers: Paces::new(config.limits.strangers_per_second),
        core,
        config,
        token_key,
        identity_key: OnceCell::new(),
        standing: Standing::default(),
        key_sets: KeySets::default(),
        profiles,
        committer: Mutex::new(Some(sender)),
        witnessed: Mutex::default(),
        bodies: Rooms::new(MAX_BODIES_BYTES, MAX_BODIES_OF_ONE),
        frames: Rooms::new(MAX_FRAMES_BYTES, MAX_FRAMES_OF_ONE),
        sign_ins: Semaphore::new(MAX_SIGN_INS),
        registrations: Semaphore::new(MAX_REGISTERING),
        withdrawals: Semaphore::new(MAX_WITHDRAWING),
        metrics_token,
        providers: Providers::default(),
        probe: Probe::default(),
        _lock: lock,
    });
    telemetry::gauges::watch(&app);
    let others = vec![
        exporter,
        tokio::spawn(notify::run(app.clone())),
        tokio::spawn(lease::run(app.core.clone())),
        tokio::spawn(presence::run(app.clone())),
        tokio::spawn(roots::tidy(app.core.clone())),
        tokio::spawn(wal::run(app.core.clone())),
        tokio::spawn(upkeep::run(app.clone())),
        tokio::spawn(audit::worker::run(app.clone())),
        tokio::spawn(exchange::deliver::run(app.clone())),
        tokio::spawn(exchange::rules::run(app.clone())),
        tokio::spawn(worker::run(app.clone())),
    ];
    Ok((app, Workers { committer, anchor, stop, others }))
}

/// The background tasks.
pub struct Workers {
    committer: tokio::task::JoinHandle<()>,
    anchor: tokio::task::JoinHandle<()>,
    /// Ends the anchor's worker after its round.
    stop: CancellationToken,
    /// Those that may be cut short anywhere.
    others: Vec<tokio::task::JoinHandle<()>>,
}

impl Workers {
    /// Takes nothing more in, commits what waits, signs and anchors what was committed.
    pub async fn drain(self, app: &Arc<App>) {
        if let Err(error) = audit::worker::flush(app).await {
            tracing::error!(%error, "what was read last could not be told");
        }
        drop(app.committer.lock().unwrap_or_else(PoisonError::into_inner).take());
        if tokio::time::timeout(DRAIN_TIMEOUT, self.committer).await.is_err() {
            tracing::error!("the committer did not finish in time: unanswered senders will send again");
        }
        self.stop.cancel();
        for other in self.others {
            // It holds the application, and with it the lock of the data directory.
            other.abort();
            _ = other.await;
        }
        presence::leave(&app.core).await;
        last_round(&app.core, self.anchor).await;
    }
}

/// Signs and anchors what was committed last, when the worker's own round is over. A chain that does not answer keeps nobody from
/// stopping.
async fn last_round(core: &Arc<Core>, mut worker: tokio::task::JoinHandle<()>) {
    let last = async {
        _ = (&mut worker).await;
        match core.lease.held() {
            Some(_) => anchor::step(core).await.map(drop),
            None => Ok(()),
        }
    };
    match tokio::time::timeout(DRAIN_TIMEOUT, last).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the last entries are signed and anchored after the next start"),
        Err(_) => tracing::warn!("the last entries are anchored after the next start"),
    }
    worker.abort();
    if core.lease.held().is_some() {
        lease::end(core).await;
    }
}
