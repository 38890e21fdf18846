//! `medseal serve`: opens the data directory, listens, and stops cleanly on SIGTERM or Ctrl-C.

use super::Failed;
use crate::app::{self, App, Workers};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::{http, intake};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A service that listens.
pub struct Running {
    pub app: Arc<App>,
    pub http: SocketAddr,
    pub mllp: SocketAddr,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    workers: Workers,
}

/// Starts everything; when this returns, both ports answer.
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
    let mut listeners = vec![
        tokio::spawn(http::server::serve(app.clone(), http, stopped.clone())),
        tokio::spawn(intake::mllp::serve(app.clone(), mllp, stopped.clone())),
    ];
    listeners.extend(metrics.map(|listener| tokio::spawn(http::metrics::serve(app.clone(), listener, stopped))));
    let (http, mllp) = (app.config.http, app.config.mllp);
    Ok(Running { app, http, mllp, stop, listeners, workers })
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
        for listener in self.listeners {
            if tokio::time::timeout(crate::limits::DRAIN_TIMEOUT, listener).await.is_err() {
                tracing::warn!("a listener did not stop in time");
            }
        }
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
    let reloading = tokio::spawn(reload_maps(running.app.clone()));
    signals.await;
    reloading.abort();
    tracing::info!("stopping: what was taken is committed first");
    running.stop().await;
    Ok(())
}

/// At each SIGHUP reads the maps and overlays anew; faulty ones are told of, and the old ones stay.
async fn reload_maps(app: Arc<App>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        let app = app.clone();
        let reloaded = tokio::task::spawn_blocking(move || app.core.reload_maps(&app.config)).await;
        match reloaded {
            Ok(Ok(())) => tracing::info!("the maps were read anew"),
            Ok(Err(error)) => tracing::error!(%error, "the maps were not read anew: the old ones stay"),
            Err(_) => tracing::error!("reading the maps anew broke off: the old ones stay"),
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
