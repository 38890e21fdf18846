//! `medseal serve`: opens the data directory, listens, and stops cleanly on SIGTERM or Ctrl-C.

use super::Failed;
use crate::app::{self, App, Workers};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::feeds::Listener;
use crate::intake::listeners::Listeners;
use crate::limits::RENEWAL_LOOK;
use crate::reload::Reloader;
use crate::{control, http};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

/// A service that listens.
pub struct Running {
    pub app: Arc<App>,
    pub http: SocketAddr,
    pub mllp: SocketAddr,
    pub listeners: Arc<Listeners>,
    pub reloader: Arc<Reloader>,
    stop: watch::Sender<bool>,
    http_tasks: Vec<JoinHandle<()>>,
    control: Option<JoinHandle<()>>,
    workers: Workers,
}

/// Starts everything; when this returns, all ports answer.
pub async fn start(mut config: Config) -> Result<Running, Failed> {
    let http = bind("http", config.http).await?;
    let mllp = bind("mllp", config.mllp).await?;
    let metrics = match config.telemetry.metrics {
        Some(address) => Some(bind("metrics", address).await?),
        None => None,
    };
    // Port 0 asks for any: links must name the one that it became.
    config.http = http.local_addr().map_err(Failed::from_error)?;
    config.mllp = mllp.local_addr().map_err(Failed::from_error)?;
    config.telemetry.metrics = metrics.as_ref().and_then(|listener| listener.local_addr().ok());
    let (app, workers) = app::start(config, Arc::new(SystemClock)).await.map_err(Failed::from_error)?;
    let (stop, stopped) = watch::channel(false);
    let listeners = Arc::new(Listeners::new(app.clone(), stopped.clone()));
    let own = app.core.feeds().listeners();
    let bound = listeners.bind(&own).await.map_err(Failed)?;
    listeners.serve(Listener::Shared, mllp).map_err(Failed::from_error)?;
    listeners.follow(bound, &own).map_err(Failed::from_error)?;
    let mut http_tasks = vec![tokio::spawn(http::server::serve(app.clone(), http, stopped.clone()))];
    http_tasks.extend(metrics.map(|listener| tokio::spawn(http::metrics::serve(app.clone(), listener, stopped))));
    let reloader = Arc::new(Reloader::new(app.clone(), listeners.clone()));
    let control = controlled(&app, &reloader);
    let (http, mllp) = (app.config.http, app.config.mllp);
    Ok(Running { app, http, mllp, listeners, reloader, stop, http_tasks, control, workers })
}

/// Without the socket the service serves all the same: the path of a socket may be about a hundred bytes long.
fn controlled(app: &Arc<App>, reloader: &Arc<Reloader>) -> Option<JoinHandle<()>> {
    match control::listen(&app.config.data) {
        Ok(socket) => Some(tokio::spawn(control::serve(app.clone(), reloader.clone(), socket))),
        Err(error) => {
            tracing::warn!(%error, "no control socket: `medseal reload` and `medseal quarantine replay` do not work");
            None
        }
    }
}

async fn bind(name: &str, address: SocketAddr) -> Result<TcpListener, Failed> {
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failed(format!(
            "{name} address {address} is in use by another program: stop it, or name another with --{name} ADDRESS:PORT"
        )),
        _ => Failed(format!("{name} address {address}: {error}")),
    })
}

impl Running {
    /// Stops accepting, answers what was taken, commits, anchors.
    pub async fn stop(self) {
        // The listeners hold receivers: if they are gone already there is nothing to stop.
        let _ = self.stop.send(true);
        if let Some(control) = self.control {
            // It holds the application, and with it the lock of the data directory.
            control.abort();
            _ = control.await;
        }
        for task in self.http_tasks {
            if tokio::time::timeout(crate::limits::DRAIN_TIMEOUT, task).await.is_err() {
                tracing::warn!("an HTTP listener did not stop in time");
            }
        }
        self.listeners.ended().await;
        drop((self.listeners, self.reloader));
        self.workers.drain(&self.app).await;
        let app = self.app;
        // It waits for the network, where metrics are sent.
        _ = tokio::task::spawn_blocking(move || app.core.metrics.end()).await;
    }
}

/// Serves until a signal asks to stop.
pub async fn run(config: Config) -> Result<(), Failed> {
    let signals = stop_signal()?;
    let running = start(config).await?;
    say!("ready http={} mllp={}", running.http, running.mllp);
    let reloading = tokio::spawn(reload(running.reloader.clone()));
    signals.await;
    reloading.abort();
    _ = reloading.await;
    tracing::info!("stopping: what was taken is committed first");
    running.stop().await;
    Ok(())
}

/// At each SIGHUP reads the configuration anew, and without being told what of TLS was replaced.
async fn reload(reloader: Arc<Reloader>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    let mut looks = tokio::time::interval(RENEWAL_LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            Some(()) = hangup.recv() => Some(reloader.reload().await),
            _ = looks.tick() => reloader.look().await,
        };
        if let Some(told) = told {
            control::log(&told);
        }
    }
}

/// Completes at SIGTERM or Ctrl-C.
pub fn stop_signal() -> Result<impl Future<Output = ()>, Failed> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Failed::from_error)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failed::from_error)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
