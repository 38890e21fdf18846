//! What the administrator at the machine asks of a running service: over a socket in the data directory, which only its owner
//! reaches. One line of JSON is asked and one is answered.

use crate::app::{App, private_directory};
use crate::http::log as readiness;
use crate::ids::ResourceId;
use crate::limits::{MAX_CONTROL_BYTES, WRITE_TIMEOUT};
use crate::quarantine::{self, Wish};
use crate::reload::Reloader;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

/// What may be asked.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ask {
    /// To read the configuration anew.
    Reload,
    /// Whether it takes work: what `/readyz` tells.
    Health,
    /// To replay a message of the quarantine, with another text where there is one.
    Replay {
        id: String,
        text: Option<String>,
        /// Also over what came after it.
        #[serde(default)]
        over_newer: bool,
    },
}

crate::redacted_debug!(Ask);

/// What was done, or why it was not.
pub type Told = Result<String, String>;

/// Where a service listens for its administrator: in a folder of mode 0700, so that nobody else reaches it at any moment.
pub fn path(data: &Path) -> PathBuf {
    data.join("control").join("socket")
}

/// A socket that listens; dropped, it is there no more.
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that stays is in the way of nobody: the next service takes its place.
        _ = std::fs::remove_file(&self.path);
    }
}

/// Listens. What lies there is of a service that was killed: whoever holds the data directory's lock is alone.
pub fn listen(data: &Path) -> std::io::Result<Socket> {
    let path = path(data);
    path.parent().map_or(Ok(()), private_directory)?;
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(Socket { listener: UnixListener::bind(&path)?, path })
}

/// Answers until the task is aborted.
pub async fn serve(app: Arc<App>, reloader: Arc<Reloader>, socket: Socket) {
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let (app, reloader) = (app.clone(), reloader.clone());
                tokio::spawn(async move {
                    if let Err(error) = answer(&app, &reloader, stream).await {
                        tracing::info!(%error, "a request of the administrator broke off");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket does not accept");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(app: &Arc<App>, reloader: &Reloader, mut stream: UnixStream) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(MAX_CONTROL_BYTES as u64));
    timeout(WRITE_TIMEOUT, read.read_line(&mut line)).await??;
    let told = match serde_json::from_str(&line) {
        Ok(ask) => act(app, reloader, ask).await,
        Err(_) => Err("this medseal does not know what was asked: is the command of the same version?".into()),
    };
    let mut reply = serde_json::to_vec(&told).unwrap_or_default();
    reply.push(b'\n');
    write.write_all(&reply).await
}

async fn act(app: &Arc<App>, reloader: &Reloader, ask: Ask) -> Told {
    match ask {
        Ask::Reload => {
            let told = reloader.reload().await;
            log(&told);
            told
        }
        Ask::Health => match readiness::state(app).await {
            (true, page) => Ok(page.to_string()),
            (false, page) => Err(page.to_string()),
        },
        Ask::Replay { id, text, over_newer } => {
            let id = ResourceId::parse(&id).ok_or("this is no id: `medseal quarantine list` names all")?;
            let wish = Wish { text, over_newer, by: "administrator".into() };
            let taken = quarantine::replay(app, &id, wish).await.map_err(|error| error.told())?;
            let message = taken.committed.message.map(|id| id.to_string()).unwrap_or_default();
            let written = taken.committed.done.iter().filter_map(|done| done.written());
            let names: Vec<String> = written.map(|w| format!("{}/_history/{}", w.name, w.version)).collect();
            Ok(format!("stored as message {message}: {}", names.join(" ")))
        }
    }
}

/// For the operator's log.
pub fn log(told: &Told) {
    match told {
        Ok(done) => tracing::info!("{done}"),
        Err(error) => tracing::error!(%error, "nothing was read anew: all stays as it was"),
    }
}

/// Asks a running service.
pub async fn ask(data: &Path, ask: &Ask) -> Told {
    let path = path(data);
    let away = |error: std::io::Error| format!("{}: {error}; is the service running?", path.display());
    let mut stream = UnixStream::connect(&path).await.map_err(away)?;
    let mut line = serde_json::to_vec(ask).map_err(|error| error.to_string())?;
    line.push(b'\n');
    stream.write_all(&line).await.map_err(away)?;
    let mut reply = String::new();
    stream.take(MAX_CONTROL_BYTES as u64).read_to_string(&mut reply).await.map_err(away)?;
    serde_json::from_str(&reply).map_err(|_| "the service broke off".to_owned())?
}
