//! The MLLP listeners: the one that feeds share, and those of their own. Which there are follows the configuration; a connection
//! outlives the listener that it came by.

use super::mllp::connection;
use crate::app::App;
use crate::feeds::Listener;
use crate::limits::DRAIN_TIMEOUT;
use crate::places::Places;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long is waited after a failure to accept: out of file descriptors, most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// All listeners of a service.
pub struct Listeners {
    app: Arc<App>,
    places: Arc<Places>,
    stop: watch::Receiver<bool>,
    open: Mutex<HashMap<Listener, Open>>,
    /// Those that were closed, and still have connections.
    closed: Mutex<Vec<JoinHandle<()>>>,
}

struct Open {
    address: SocketAddr,
    /// Dropped, the listener closes.
    _open: watch::Sender<()>,
    task: JoinHandle<()>,
}

/// Sockets that listen already, and accept once the configuration is taken that names them.
pub struct Bound(Vec<(Listener, TcpListener)>);

impl Listeners {
    /// Of a service that stops when `stop` turns true.
    pub fn new(app: Arc<App>, stop: watch::Receiver<bool>) -> Self {
        let limits = &app.config.limits;
        let places = Places::new(limits.mllp_connections, limits.mllp_connections_per_address);
        Self { app, places, stop, open: Mutex::default(), closed: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Listener, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts on a socket.
    pub fn serve(&self, listener: Listener, socket: TcpListener) -> std::io::Result<()> {
        let address = socket.local_addr()?;
        let (_open, closing) = watch::channel(());
        let (app, places, stop) = (self.app.clone(), self.places.clone(), self.stop.clone());
        let task = tokio::spawn(accept(app, listener, socket, places, closing, stop));
        if let Listener::Own(_) = listener {
            tracing::info!(%address, "a feed's own listener is open");
        }
        self.open().insert(listener, Open { address, _open, task });
        Ok(())
    }

    /// Binds those of these addresses that no socket has yet; all or none.
    pub async fn bind(&self, addresses: &[SocketAddr]) -> Result<Bound, String> {
        let mut bound = Vec::new();
        for address in addresses {
            let listener = Listener::Own(*address);
            if self.open().contains_key(&listener) {
                continue;
            }
            let socket =
                TcpListener::bind(address).await.map_err(|e| format!("mllp address {address} of a feed: {e}"))?;
            bound.push((listener, socket));
        }
        Ok(Bound(bound))
    }

    /// Accepts on those that were bound, and closes the feeds' own that are not among `addresses`. Connections go on.
    pub fn follow(&self, bound: Bound, addresses: &[SocketAddr]) -> std::io::Result<()> {
        let stays = |listener: &Listener| match listener {
            Listener::Shared => true,
            Listener::Own(address) => addresses.contains(address),
        };
        let gone: Vec<Open> = self.open().extract_if(|listener, _| !stays(listener)).map(|(_, open)| open).collect();
        for open in gone {
            tracing::info!(address = %open.address, "a feed's own listener is closed");
            self.closed.lock().unwrap_or_else(PoisonError::into_inner).push(open.task);
        }
        bound.0.into_iter().try_for_each(|(listener, socket)| self.serve(listener, socket))
    }

    /// The address that one listens at.
    pub fn address(&self, listener: Listener) -> Option<SocketAddr> {
        self.open().get(&listener).map(|open| open.address)
    }

    /// Waits until all connections have ended, after `stop` has turned true.
    pub async fn ended(&self) {
        let mut tasks: Vec<_> = self.open().drain().map(|(_, open)| open.task).collect();
        tasks.append(&mut self.closed.lock().unwrap_or_else(PoisonError::into_inner));
        let all = async {
            for task in tasks {
                _ = task.await;
            }
        };
        if tokio::time::timeout(DRAIN_TIMEOUT, all).await.is_err() {
            tracing::warn!("some MLLP connections did not end in time");
        }
    }
}

/// Accepts connections until the listener closes or the service stops, then waits for those that are answering.
async fn accept(
    app: Arc<App>,
    listener: Listener,
    socket: TcpListener,
    places: Arc<Places>,
    mut closing: watch::Receiver<()>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stopping| *stopping) => break,
            _ = closing.changed() => break,
            accepted = socket.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(place) = places.take(peer.ip()) else {
            app.core.metrics.refused_connections.add(1, "mllp");
            if places.refusals.is_news(std::time::Instant::now()) {
                tracing::warn!(%peer, "an MLLP connection was refused: too many are open, in all or of its address");
            }
            continue;
        };
        let (app, stop) = (app.clone(), stop.clone());
        connections.spawn(async move {
            if let Err(error) = connection(&app, listener, peer, stream, stop).await {
                tracing::info!(%error, %peer, "an MLLP connection ended");
            }
            drop(place);
        });
    }
    drop(socket);
    while connections.join_next().await.is_some() {}
}
