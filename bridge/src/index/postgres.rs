//! PostgreSQL: sessions, and the pool of them. The store's functions are called from wherever the work is, also from inside
//! asynchronous tasks; so the sockets are driven by a small runtime of their own, and the caller waits for the answer.

mod args;
mod connect;
mod session;

pub use connect::Settings;
pub(super) use session::Session;

use super::store::StoreError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

/// How long a caller waits for one of the sessions.
const FREE_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a first failure to connect; it doubles up to the last one. Meanwhile callers are told at once.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

/// Sessions that are kept open.
pub(super) struct Pool {
    settings: Settings,
    /// Some until it is dropped.
    runtime: Option<Runtime>,
    state: Mutex<State>,
    freed: Condvar,
    /// The mark of the recovery that was the newest when the index was opened.
    mark: Mutex<Option<String>>,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// Idle and lent.
    open: usize,
    /// When it may be tried again to connect, after how long a pause.
    down: Option<(Instant, Duration)>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({:?})", self.settings)
    }
}

impl Pool {
    /// A pool without a session yet.
    pub(super) fn new(settings: Settings) -> Result<Self, StoreError> {
        let away = |error: std::io::Error| StoreError::Away { place: settings.place(), what: error.to_string() };
        // One thread: it moves bytes between sockets and waiting callers and does nothing else.
        let builder = Builder::new_multi_thread().worker_threads(1).thread_name("postgres").enable_all().build();
        let runtime = builder.map_err(away)?;
        Ok(Self {
            runtime: Some(runtime),
            settings,
            state: Mutex::default(),
            freed: Condvar::new(),
            mark: Mutex::default(),
        })
    }

    /// Where the database is, for messages.
    pub(super) fn place(&self) -> String {
        self.settings.place()
    }

    /// Notes which recovery was the newest.
    pub(super) fn set_mark(&self, mark: Option<String>) {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner) = mark;
    }

    /// Whether it is this one.
    pub(super) fn has_mark(&self, mark: Option<&str>) -> bool {
        self.mark.lock().unwrap_or_else(PoisonError::into_inner).as_deref() == mark
    }

    /// A session for a while.
    pub(super) fn take(&self) -> Result<Session, StoreError> {
        let deadline = Instant::now() + FREE_TIMEOUT;
        let mut state = self.lock();
        loop {
            while let Some(session) = state.idle.pop() {
                if session.is_sound() {
                    return Ok(session);
                }
                state.open -= 1;
            }
            if state.open < self.settings.connections {
                state.open += 1;
                break;
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Err(self.away("all its connections are in use"));
            }
            state = self.freed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(state);
        self.connect().inspect_err(|_| self.discard())
    }

    /// Takes a session back.
    pub(super) fn give_back(&self, session: Session) {
        let mut state = self.lock();
        if session.is_sound() {
            state.idle.push(session);
        } else {
            // What broke this one broke the idle ones too, as a rule: each caller would find that out anew.
            state.open -= 1 + state.idle.len();
            state.idle.clear();
        }
        self.freed.notify_one();
    }

    /// A session is gone that was lent.
    pub(super) fn discard(&self) {
        self.lock().open -= 1;
        self.freed.notify_one();
    }

    fn connect(&self) -> Result<Session, StoreError> {
        if let Some((until, _)) = self.lock().down
            && until > Instant::now()
        {
            return Err(self.away("it did not answer a moment ago"));
        }
        let runtime = self.runtime.as_ref().ok_or_else(|| self.away("the service is stopping"))?;
        let connected = Session::open(&self.settings, runtime.handle());
        let mut state = self.lock();
        state.down = match (&connected, state.down) {
            (Ok(_), _) => None,
            (Err(_), None) => Some((Instant::now() + FIRST_PAUSE, FIRST_PAUSE)),
            (Err(_), Some((_, pause))) => {
                let pause = (pause * 2).min(LAST_PAUSE);
                Some((Instant::now() + pause, pause))
            }
        };
        connected
    }

    fn away(&self, what: &str) -> StoreError {
        StoreError::Away { place: self.place(), what: what.to_owned() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.lock().idle.clear();
        if let Some(runtime) = self.runtime.take() {
            // The last holder may be a task, which must not wait for threads to end.
            runtime.shutdown_background();
        }
    }
}
