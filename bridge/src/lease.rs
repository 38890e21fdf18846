//! Who does the background work: with several replicas, the holder of the lease. It is asked for again and again; a replica
//! that cannot ask stops to work when its lease has ended, and what it was about to write then is refused by the index.

use crate::app::Core;
use crate::read::in_background;
use crate::secret::{NoRandomness, bytes, system_random};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a lease lasts: a replica that is gone is missed for so long. Twice that long may the index be away without the
/// work being taken over in vain.
const LIFE: Duration = Duration::from_secs(10);
/// How often it is asked for, and how often it is looked for what other replicas committed.
const ASK: Duration = Duration::from_millis(2_500);
const LOOK: Duration = Duration::from_millis(250);
/// No epoch.
const NONE: i64 = -1;

/// The lease as this replica knows it.
#[derive(Debug)]
pub struct Lease {
    /// Named by chance: two replicas, or one before and after a restart, are never the same.
    holder: String,
    epoch: AtomicI64,
    until: Mutex<Instant>,
    /// SQLite has one process.
    alone: bool,
}

impl Lease {
    /// A lease that is not held yet.
    pub fn new(alone: bool) -> Result<Self, NoRandomness> {
        let holder = hex::encode(bytes::<16>(&system_random)?);
        Ok(Self { holder, epoch: AtomicI64::new(NONE), until: Mutex::new(Instant::now()), alone })
    }

    /// This process, as the index knows it.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// The epoch, while this replica may work.
    pub fn held(&self) -> Option<i64> {
        let epoch = self.epoch.load(Ordering::Acquire);
        let live = *self.until.lock().unwrap_or_else(PoisonError::into_inner) > Instant::now();
        if self.alone { Some(0) } else { Some(epoch).filter(|epoch| live && *epoch != NONE) }
    }

    /// Waits until this replica may work.
    pub async fn wait(&self) -> i64 {
        loop {
            match self.held() {
                Some(epoch) => return epoch,
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn took(&self, epoch: Option<i64>, asked: Instant) {
        if epoch.is_some() {
            // Counted from before it was asked: never longer than the index counts.
            *self.until.lock().unwrap_or_else(PoisonError::into_inner) = asked + LIFE;
        }
        self.epoch.store(epoch.unwrap_or(NONE), Ordering::Release);
    }
}

/// Asks for the lease once.
pub async fn ask(core: &Arc<Core>) {
    let (asked, own) = (Instant::now(), core.clone());
    match in_background(move || own.store.hold(&own.lease.holder, LIFE)).await {
        Ok(epoch) => {
            let before = core.lease.held();
            core.lease.took(epoch, asked);
            match (before, epoch) {
                (None, Some(epoch)) => tracing::info!(epoch, "this replica does the background work"),
                (Some(_), None) => tracing::warn!("another replica has taken over the background work"),
                _ => {}
            }
        }
        Err(error) => tracing::warn!(%error, "the lease of the background work cannot be asked for"),
    }
}

/// Asks for the lease for ever, and rings the workers for what other replicas brought. Nothing to do where one process is alone.
pub async fn run(core: Arc<Core>) {
    let mut asked = Instant::now();
    let mut known = None;
    if core.lease.alone {
        return;
    }
    loop {
        if asked.elapsed() >= ASK {
            asked = Instant::now();
            ask(&core).await;
        }
        if core.lease.held().is_some() {
            let store = core.store.clone();
            let news = in_background(move || store.news()).await.ok();
            if news.is_some() && news != known {
                core.wake_sequencer.notify_one();
                core.notices.committed.notify_one();
                core.exports.wake.notify_one();
                known = news;
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets the lease go at the end.
pub async fn end(core: &Arc<Core>) {
    let own = core.clone();
    if let Err(error) = in_background(move || own.store.let_go(&own.lease.holder)).await {
        tracing::warn!(%error, "the lease was not let go: the others wait for its end");
    }
}
