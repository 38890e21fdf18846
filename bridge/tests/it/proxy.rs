//! A TCP proxy between a service and what it depends on, which a test can cut.

use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;

/// Where the proxy leads.
#[derive(Debug, Clone)]
pub enum To {
    Tcp(String),
    Unix(PathBuf),
}

/// What the proxy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Open,
    /// Connections are closed, old and new.
    Closed,
    /// Nothing comes through any more, and nobody is told. What was on its way arrives when the way is open again.
    Silent,
}

/// A running proxy.
pub struct Proxy {
    pub port: u16,
    way: watch::Sender<Way>,
}

impl Proxy {
    pub async fn start(to: To) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, seen) = watch::channel(Way::Open);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, to.clone(), seen.clone()));
            }
        });
        Self { port, way }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn connection(from: TcpStream, to: To, mut way: watch::Receiver<Way>) {
    if *way.borrow_and_update() == Way::Closed {
        return;
    }
    let (mine, own) = from.into_split();
    match to {
        To::Tcp(address) => {
            let Ok(there) = TcpStream::connect(address).await else { return };
            let (theirs, other) = there.into_split();
            both(carry(mine, other, way.clone()), carry(theirs, own, way)).await;
        }
        To::Unix(path) => {
            let Ok(there) = UnixStream::connect(path).await else { return };
            let (theirs, other) = there.into_split();
            both(carry(mine, other, way.clone()), carry(theirs, own, way)).await;
        }
    }
}

/// Both directions, until one ends.
async fn both(there: impl Future<Output = ()>, back: impl Future<Output = ()>) {
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, mut way: watch::Receiver<Way>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = closed(way.clone()) => return,
        };
        let Ok(length @ 1..) = read else { return };
        // Until it is open, what came waits here.
        let Ok(now) = way.wait_for(|way| *way != Way::Silent).await.map(|now| *now) else { return };
        if now == Way::Closed || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn closed(mut way: watch::Receiver<Way>) {
    let _ = way.wait_for(|way| *way == Way::Closed).await;
}
