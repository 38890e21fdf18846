//! Stands before a hospital and cuts connections after so many bytes, or changes what goes through.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens to one connection.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// So many bytes of the request get through.
    Asking(usize),
    /// So many bytes of the answer.
    Answering(usize),
    /// A text in the answer becomes another one of the same length.
    Changed(&'static str, &'static str),
}

#[derive(Default)]
struct Shared {
    to: Mutex<Option<SocketAddr>>,
    faults: Mutex<VecDeque<Fault>>,
    connections: AtomicUsize,
}

pub struct Cutter {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Cutter {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let own = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.connections.fetch_add(1, Ordering::SeqCst);
                let to = *own.to.lock().unwrap();
                let fault = own.faults.lock().unwrap().pop_front();
                if let Some(to) = to {
                    tokio::spawn(connection(stream, to, fault));
                }
            }
        });
        Self { port, shared }
    }

    pub fn lead_to(&self, to: SocketAddr) {
        *self.shared.to.lock().unwrap() = Some(to);
    }

    /// How many there were.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// What happens to the next connections, one after the other.
    pub fn next(&self, faults: &[Fault]) {
        self.shared.faults.lock().unwrap().extend(faults);
    }

    /// Nothing more happens.
    pub fn heals(&self) {
        self.shared.faults.lock().unwrap().clear();
    }

    /// Nobody is there any more.
    pub fn dies(&self) {
        *self.shared.to.lock().unwrap() = None;
    }
}

async fn connection(from: TcpStream, to: SocketAddr, fault: Option<Fault>) {
    let Ok(there) = TcpStream::connect(to).await else { return };
    let (mine, own) = from.into_split();
    let (theirs, other) = there.into_split();
    let (asking, answering, change) = match fault {
        None => (usize::MAX, usize::MAX, None),
        Some(Fault::Asking(bytes)) => (bytes, usize::MAX, None),
        Some(Fault::Answering(bytes)) => (usize::MAX, bytes, None),
        Some(Fault::Changed(from, to)) => (usize::MAX, usize::MAX, Some((from, to))),
    };
    tokio::select! {
        () = carry(mine, other, asking, None) => {}
        () = carry(theirs, own, answering, change) => {}
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut room: usize,
    change: Option<(&str, &str)>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        let mut bytes = buffer[..read.min(room)].to_vec();
        if let Some((old, new)) = change {
            bytes = String::from_utf8_lossy(&bytes).replace(old, new).into_bytes();
        }
        if to.write_all(&bytes).await.is_err() || read >= room {
            return;
        }
        room -= read;
    }
}
