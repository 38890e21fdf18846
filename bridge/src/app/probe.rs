//! Whether what is taken in can be written: tried with an object, a row and the root key. Many may ask, and one look goes on at a
//! time; what it found holds for some seconds. Who asks waits a moment for it, and is told then what has not answered.

use super::{App, Core};
use crate::error::VaultError;
use crate::index::store::StoreError;
use crate::read::in_background;
use crate::vault::keys::KeyError;
use crate::vault::objects::{ObjectError, Objects};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long what was found holds: what asks is a supervisor, every ten seconds or so.
const FRESH: Duration = Duration::from_secs(5);
/// The same while something is wrong: that it is mended is to be seen soon.
const FRESH_TROUBLE: Duration = Duration::from_secs(1);
/// How long a bucket is asked. A disk cannot be given up: its thread waits, and no other look begins.
const BUCKET: Duration = Duration::from_secs(5);
/// How long a look may take before it is told that something does not answer: supervisors wait a few seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// How one part stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Fine,
    /// The disk has no room.
    Full,
    /// It will fail again until somebody mends it: permissions, credentials, a read-only disk.
    Refused,
    Failing,
    /// It does not answer in time.
    Silent,
}

impl Part {
    /// The word that readiness says.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Full => "no room",
            Self::Refused => "refused",
            Self::Failing => "failing",
            Self::Silent => "no answer",
        }
    }
}

/// What can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub objects: Part,
    pub index: Part,
    pub keys: Part,
}

impl Found {
    /// Whether all of it can.
    pub fn is_fine(&self) -> bool {
        [self.objects, self.index, self.keys].iter().all(|part| *part == Part::Fine)
    }
}

/// What was found last, and the look that goes on.
#[derive(Debug, Default)]
pub struct Probe {
    state: Mutex<State>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When the look began that goes on, and what of it is there: objects, index, keys.
    begun: Option<Instant>,
    parts: [Option<Part>; 3],
    /// When the last one ended.
    ended: Option<Instant>,
}

impl State {
    fn found(&self) -> Found {
        let [objects, index, keys] = self.parts.map(|part| part.unwrap_or(Part::Silent));
        Found { objects, index, keys }
    }
}

impl Probe {
    /// What can be written now, or could a few seconds ago.
    pub async fn look(app: &Arc<App>) -> Found {
        let probe = &app.probe;
        let ended = probe.ended.notified();
        let mut ended = std::pin::pin!(ended);
        // From here on it is heard, also before it is waited for.
        ended.as_mut().enable();
        let Some(begun) = probe.begin(app) else { return probe.state().found() };
        _ = tokio::time::timeout(PATIENCE.saturating_sub(begun.elapsed()), ended).await;
        probe.state().found()
    }

    /// When the look began that goes on; nothing where the last one still holds.
    fn begin(&self, app: &Arc<App>) -> Option<Instant> {
        let mut state = self.state();
        if state.begun.is_none() {
            let fresh = if state.found().is_fine() { FRESH } else { FRESH_TROUBLE };
            if state.ended.is_some_and(|ended| ended.elapsed() < fresh) {
                return None;
            }
            *state = State { begun: Some(Instant::now()), ..State::default() };
            let app = app.clone();
            tokio::spawn(async move { app.probe.run(&app.core).await });
        }
        state.begun
    }

    async fn run(&self, core: &Arc<Core>) {
        let objects = async { self.note(0, objects(core).await) };
        let index = async {
            let (store, now) = (core.store.clone(), core.clock.now().as_millisecond());
            self.note(1, of(in_background(move || store.probe(now)).await));
        };
        let keys = async { self.note(2, of(core.keys.newest().await.map(|_| ()).map_err(VaultError::from))) };
        tokio::join!(objects, index, keys);
        let mut state = self.state();
        (state.begun, state.ended) = (None, Some(Instant::now()));
        drop(state);
        self.ended.notify_waiters();
    }

    fn note(&self, which: usize, part: Part) {
        if let Some(noted) = self.state().parts.get_mut(which) {
            *noted = Some(part);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn objects(core: &Core) -> Part {
    let probe = core.objects.probe(core.lease.holder());
    let done = match &core.objects {
        Objects::Directory(_) | Objects::Above(_) => probe.await,
        Objects::S3(_) => match tokio::time::timeout(BUCKET, probe).await {
            Err(_) => return Part::Silent,
            Ok(done) => done,
        },
    };
    of(done.map_err(VaultError::from))
}

/// How a part stands that has answered so. The log has what it said.
fn of(done: Result<(), VaultError>) -> Part {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
    let Err(error) = done else { return Part::Fine };
    tracing::warn!(%error, "it was tried whether anything can be written");
    match &error {
        VaultError::Object(ObjectError::Io { source, .. }) => match source.kind() {
            StorageFull => Part::Full,
            PermissionDenied | ReadOnlyFilesystem => Part::Refused,
            _ => Part::Failing,
        },
        VaultError::Object(ObjectError::Refused { .. }) | VaultError::Key(KeyError::Refused { .. }) => Part::Refused,
        VaultError::Index(StoreError::Query(error)) => match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Part::Full,
            Some(rusqlite::ErrorCode::ReadOnly) => Part::Refused,
            _ => Part::Failing,
        },
        _ => Part::Failing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_answers_is_told_by_what_it_says() {
        let io = |kind| VaultError::Object(ObjectError::Io { name: "x".into(), source: std::io::Error::from(kind) });
        assert_eq!(of(Ok(())), Part::Fine);
        assert_eq!(of(Err(io(std::io::ErrorKind::StorageFull))), Part::Full);
        assert_eq!(of(Err(io(std::io::ErrorKind::ReadOnlyFilesystem))), Part::Refused);
        assert_eq!(of(Err(io(std::io::ErrorKind::Other))), Part::Failing);
        let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        assert_eq!(of(Err(StoreError::Query(full).into())), Part::Full);
        let state = State { parts: [Some(Part::Fine), Some(Part::Full), None], ..State::default() };
        let found = state.found();
        assert_eq!((found.objects, found.index, found.keys), (Part::Fine, Part::Full, Part::Silent));
        assert!(!found.is_fine());
    }
}
